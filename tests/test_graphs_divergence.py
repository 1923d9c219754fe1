"""Divergences of spectra: closed forms, the two ways of computing them, laws, and what graphs are near to what."""

import numpy as np
import pytest

import spectra
from spectra import datasets, graphs
from spectra.graphs._divergence import KINDS, by_quadrature
from spectra.results import SpectralDensity

networkx = pytest.importorskip("networkx")

INTEGRALS = [kind for kind in KINDS if kind != "moments"]


@pytest.fixture(scope="module")
def densities():
    family = [networkx.gnp_random_graph(200, 0.08, seed=1), networkx.gnp_random_graph(200, 0.08, seed=2),
              networkx.barabasi_albert_graph(200, 4, seed=3)]
    return [graphs.egs(G, moments=40, probes=8, rng=i) for i, G in enumerate(family)]


def exponential(a):
    """The density of maximum entropy with mean tanh-like in a: p proportional to exp(a t) on [-1, 1]."""
    mean = 1 / np.tanh(a) - 1 / a
    return spectra.maxent([1.0, mean], (-1, 1), ridge=1e-12), a, mean


@pytest.mark.parametrize("pair", [(0.5, 2.0), (-3.0, 1.0)])
def test_two_exponentials_in_closed_form(pair):
    (p, a, mean), (q, b, other) = map(exponential, pair)
    log_z = [np.log(2 * np.sinh(abs(c)) / abs(c)) for c in (a, b)]
    forward = (a - b) * mean - log_z[0] + log_z[1]
    assert graphs.divergence(p, q, kind="kl").value == pytest.approx(forward, rel=1e-8)
    assert graphs.divergence(p, q).value == pytest.approx((a - b) * (mean - other) / 2, rel=1e-8)


@pytest.mark.parametrize("kind", INTEGRALS)
def test_multipliers_and_quadrature_agree(densities, kind):
    for p in densities:
        for q in densities:
            value = graphs.divergence(p, q, kind=kind).value
            assert value == pytest.approx(by_quadrature(p, q, kind), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_divergence_is_zero_on_itself_and_positive_elsewhere(densities, kind):
    p, q, r = densities
    assert graphs.divergence(p, p, kind=kind).value < 1e-12
    near, far = graphs.divergence(p, q, kind=kind), graphs.divergence(p, r, kind=kind)
    power = 2 if kind == "moments" else 1  # a distance; the others grow like its square
    assert 0 < near.value**power < far.value**power / 5
    assert 0 < far.stderr < far.value
    assert far.order == (40, 40)
    assert far.ridge == (1e-8, 1e-8)
    if kind != "kl":
        assert graphs.divergence(r, p, kind=kind).value == pytest.approx(far.value, rel=1e-9)


def test_jensen_and_shannon_stay_below_log_2():
    left, right = (spectra.maxent([1.0, mean, 0.9], (-1, 1)) for mean in (-0.97, 0.97))
    assert 0.6 < graphs.divergence(left, right, kind="js").value <= np.log(2)


@pytest.fixture(scope="module")
def seeds():
    G, H = networkx.gnp_random_graph(120, 0.1, seed=1), networkx.barabasi_albert_graph(120, 4, seed=3)
    return [[graphs.egs(graph, moments=10, probes=8, rng=2 * i + j) for j, graph in enumerate((G, H))]
            for i in range(24)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_standard_error_is_the_spread_over_seeds(kind, seeds):
    runs = [graphs.divergence(p, q, kind=kind) for p, q in seeds]
    spread = np.std([run.value for run in runs], ddof=1)
    assert 0.6 < spread / np.mean([run.stderr for run in runs]) < 1.6


def test_points_are_smoothed_by_one_gaussian():
    """One point each: two Gaussians of width s at distance d have KL d²/(2 s²)."""
    p, q = (SpectralDensity([[x, 5.0]], [[1.0, 0.0]], 1, support=(0.0, 5.0)) for x in (1.0, 2.0))
    width = 2.5
    for kind in ("kl", "symmetric-kl"):
        assert graphs.divergence(p, q, kind=kind).value == pytest.approx(1 / (2 * width**2), rel=1e-6)


def test_lanczos_and_entropy_see_the_same_families(densities):
    family = [networkx.gnp_random_graph(200, 0.08, seed=1), networkx.gnp_random_graph(200, 0.08, seed=2),
              networkx.barabasi_albert_graph(200, 4, seed=3)]
    p, q, r = (spectra.spectral_density(graphs.normalized_laplacian(G), steps=20, rng=0) for G in family)
    assert graphs.divergence(p, q).value < graphs.divergence(p, r).value / 3
    assert graphs.divergence(densities[0], p).value < graphs.divergence(densities[0], r).value


def test_a_similarity_matrix_shows_families():
    family = [networkx.gnp_random_graph(150, 0.1, seed=s) for s in (1, 2)]
    family += [networkx.barabasi_albert_graph(150, 4, seed=s) for s in (3, 4)]
    D = graphs.similarity_matrix(family, moments=30, probes=8, rng=0)
    np.testing.assert_allclose(D, D.T, rtol=1e-9)
    np.testing.assert_array_equal(np.diagonal(D), 0)
    within, between = max(D[0, 1], D[2, 3]), D[:2, 2:].min()
    assert within < between / 3
    again = graphs.similarity_matrix(family, moments=30, probes=8, rng=0)
    np.testing.assert_array_equal(D, again)


def test_a_soft_ridge_makes_relative_entropy_steady():
    """Seeds change the depth of gaps by orders of magnitude, and of nothing else."""
    G, H = networkx.gnp_random_graph(200, 0.08, seed=1), networkx.barabasi_albert_graph(200, 4, seed=3)
    spread = {}
    for ridge in (1e-8, 1e-4):
        settings = {"moments": 40, "probes": 8, "ridge": ridge}
        values = [graphs.similarity_matrix([G, H], rng=seed, **settings)[0, 1] for seed in range(8)]
        spread[ridge] = np.std(values, ddof=1) / np.mean(values)
    assert spread[1e-4] < spread[1e-8] / 3
    assert spread[1e-4] < 0.15


@pytest.mark.parametrize("name", ["ca-GrQc", "ca-HepTh", "power"])
def test_real_graphs_are_nearest_to_their_family(name, spectra_data):
    """Collaborations to one another, a power grid to roads; in every kind."""
    names = ["ca-GrQc", "ca-HepTh", "power", "luxembourg_osm"]
    family = {"ca-GrQc": "ca-HepTh", "ca-HepTh": "ca-GrQc", "power": "luxembourg_osm"}
    family_densities = [graphs.egs(datasets.load(n), moments=30, probes=4, ridge=1e-4, rng=0) for n in names]
    for kind in KINDS:
        row = graphs.similarity_matrix(family_densities, kind=kind)[names.index(name)]
        assert names[row.argsort()[1]] == family[name]


@pytest.mark.parametrize("kind", KINDS)
def test_entries_of_the_matrix_are_divergences(kind, densities):
    D = graphs.similarity_matrix(densities, kind=kind)
    expected = [[graphs.divergence(p, q, kind=kind).value for q in densities] for p in densities]
    np.testing.assert_allclose(D, expected, rtol=1e-8, atol=1e-12)


def test_what_cannot_be_compared_is_named(densities):
    p = densities[0]
    with pytest.raises(ValueError, match="kind of divergence"):
        graphs.divergence(p, p, kind="euclid")
    with pytest.raises(ValueError, match="kind of divergence"):
        graphs.similarity_matrix([p, p], kind="euclid")
    with pytest.raises(ValueError, match="same support"):
        graphs.divergence(p, spectra.maxent([1.0, 0.0], (0, 3)))
    with pytest.raises(ValueError, match="maximum entropy"):
        graphs.divergence(p, SpectralDensity([1.0, 2.0], [0.5, 0.5], 2), kind="moments")
