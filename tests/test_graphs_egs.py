"""Entropic graph spectra: moments against exact spectra, what is known exactly, and all sign vectors enumerated."""

import itertools

import numpy as np
import pytest
from numpy.polynomial import chebyshev

import spectra
from spectra import datasets, graphs
from spectra.graphs._egs import Spectrum

networkx = pytest.importorskip("networkx")

CASES = {
    "random": networkx.gnp_random_graph(300, 0.05, seed=1),
    "scale-free": networkx.barabasi_albert_graph(300, 3, seed=2),
    "components": networkx.disjoint_union_all([networkx.gnp_random_graph(60, 0.2, seed=s) for s in range(4)]),
    "isolated": networkx.disjoint_union(networkx.gnp_random_graph(100, 0.1, seed=3), networkx.empty_graph(40)),
    "regular": networkx.random_regular_graph(3, 80, seed=4),
}


def eigenvalues(G):
    return np.linalg.eigvalsh(graphs.normalized_laplacian(G).toarray())


@pytest.fixture(scope="module", params=CASES)
def case(request):
    G = CASES[request.param]
    return G, eigenvalues(G), graphs.egs(G, moments=40, probes=16, rng=5)


def test_the_density_has_the_moments_of_the_graph(case):
    """Within six standard errors, and the residual of the fit."""
    G, values, rho = case
    exact = chebyshev.chebvander(np.clip(values - 1, -1, 1), 40).mean(0)
    estimate = Spectrum(G, 40, 16, 5).moments
    fitted = [rho.expect(lambda x, k=k: np.cos(k * np.arccos(np.clip(x - 1, -1, 1)))) for k in range(41)]
    np.testing.assert_array_less(np.abs(estimate.value - exact), 6 * estimate.stderr + 1e-9)
    np.testing.assert_array_less(np.abs(fitted - estimate.value), 1e-5)
    assert rho.residual < 2e-6


def test_components_and_products_are_counted_exactly(case):
    G, values, rho = case
    assert rho.components == networkx.number_connected_components(G) == np.count_nonzero(values < 1e-9)
    assert rho.matvecs == 16 * 20
    assert rho.size == len(G)
    assert rho.support == (0.0, 2.0)
    assert np.isfinite(rho.entropy())


def test_the_components_are_counted_by_the_density_too(case):
    """Their moments are exact and the fit misses none by more than 200 ridge = 2e-6: so much of n at most is misplaced
    by it, about twice, and no probe has a part in it."""
    G, values, rho = case
    first = values[rho.components]
    count = rho.count(0.0, first / 2)
    assert count.value == pytest.approx(rho.components, abs=4e-6 * len(G))
    assert count.stderr < 4e-6 * len(G)


def test_the_mean_over_all_sign_vectors_is_exact():
    """n = 8, two components: the mean of (Pz)' T_k (Pz) over the 256 sign vectors is what the null space leaves."""
    G = networkx.disjoint_union(networkx.path_graph(5), networkx.complete_graph(3))
    spectrum = Spectrum(G, 12, 1, 0)
    V = spectrum.project(np.array(list(itertools.product([-1.0, 1.0], repeat=8))).T)
    from spectra.graphs._egs import SUPPORT
    from spectra.krylov._chebyshev import chebyshev_moments

    mean = chebyshev_moments(spectrum.operator, V, 12, SUPPORT).mean(0)
    rest = np.sort(eigenvalues(G))[2:]
    np.testing.assert_allclose(mean, chebyshev.chebvander(rest - 1, 12).sum(0), atol=1e-12)


def test_null_vectors_are_null_and_orthonormal():
    G = CASES["components"].copy()
    for i, (u, v) in enumerate(G.edges()):
        G[u][v]["weight"] = 1 + i % 3
    G.add_node("alone")
    spectrum = Spectrum(G)
    U = spectrum.null.toarray()
    assert U.shape[1] == graphs.components(G).max() + 1
    np.testing.assert_allclose(U.T @ U, np.eye(U.shape[1]), atol=1e-13)
    np.testing.assert_allclose(spectrum.L @ U, 0, atol=1e-13)


def test_a_graph_and_its_laplacian_give_the_same():
    G = CASES["isolated"]
    of_graph, of_laplacian = (graphs.egs(x, moments=20, rng=1) for x in (G, graphs.normalized_laplacian(G)))
    np.testing.assert_allclose(of_graph.multipliers, of_laplacian.multipliers, rtol=1e-6)


def test_a_weighted_laplacian_alone_does_not_tell_its_null_vectors_but_its_moments():
    W = np.triu(np.random.default_rng(0).uniform(size=(60, 60)), 1)
    L = graphs.normalized_laplacian(W + W.T)
    assert Spectrum(W + W.T).null.shape == (60, 1)
    assert Spectrum(L).null.shape == (60, 0)
    exact = chebyshev.chebvander(np.linalg.eigvalsh(L.toarray()) - 1, 10).mean(0)
    estimate = Spectrum(L, 10, 16, 0).moments
    np.testing.assert_array_less(np.abs(estimate.value - exact), 6 * estimate.stderr + 1e-9)


def test_what_is_known_takes_no_probe():
    """A graph of isolated nodes is all atom: every moment exact, no product."""
    moments = Spectrum(networkx.empty_graph(5), 6, 3, 0).moments
    np.testing.assert_array_equal(moments.value, [1, -1, 1, -1, 1, -1, 1])
    assert moments.matvecs == 0
    assert graphs.egs(networkx.empty_graph(5), moments=20, rng=0).cdf(0.01) > 0.99


def test_one_seed_one_density():
    first, second, other = (graphs.egs(CASES["random"], moments=10, rng=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.multipliers, second.multipliers)
    assert first.seed == 3
    assert np.any(first.multipliers != other.multipliers)


@pytest.mark.parametrize("name", ["email-Eu-core", "ca-GrQc"])
def test_real_graphs(name, spectra_data):
    W = datasets.load(name, symmetrize=True)
    rho = graphs.egs(W, moments=60, probes=8, rng=0)
    assert rho.components == datasets.info(name)["facts"]["components"]
    assert abs(rho.count(0, 1e-3).value - rho.components) < 0.02 * rho.components
    assert rho.expect(lambda x: x) == pytest.approx(np.mean(graphs.normalized_laplacian(W).diagonal()), abs=0.01)


def test_bad_arguments_are_named():
    for bad in ({"moments": 0}, {"probes": 0}, {"moments": 2.5}):
        with pytest.raises(ValueError, match="positive integer"):
            graphs.egs(CASES["random"], **bad)
    with pytest.raises(ValueError, match="absolute values"):
        graphs.egs(graphs.laplacian(CASES["random"]))
    with pytest.raises(TypeError, match="expected a graph"):
        graphs.egs(spectra.LinearOperator((3, 3)))
