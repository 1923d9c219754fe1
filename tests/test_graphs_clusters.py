"""The number of clusters: exact where there is a gap, a lower bound and a warning where there is none."""

import importlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import splu

import spectra
from spectra import datasets, graphs
from spectra._kernels.fill import factor_entries, factor_entries_reference
from spectra.graphs import _clusters
from spectra.graphs._clusters import METHODS
from spectra.graphs._counting import ENTRY, Deflated, Inertia, ritz_below
from spectra.graphs._egs import Spectrum

networkx = pytest.importorskip("networkx")
DISTINCT = sorted(set(METHODS) - {"auto"})  # "auto" is "certified" but for a warning


def dense_blocks(clusters, joins, seed):
    """Random sub-graphs of 20 to 40 nodes, half of all pairs linked, and about `joins` edges from each to others."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(20, 41, clusters)
    starts = np.cumsum(sizes) - sizes
    parts = [starts[i] + np.argwhere(np.triu(rng.random((s, s)) < rng.uniform(0.5, 0.6), 1)) for i, s in
             enumerate(sizes)]
    i, j = np.repeat(np.arange(clusters), joins), rng.integers(0, clusters, clusters * joins)
    u, v = (starts[c] + (rng.random(len(c)) * sizes[c]).astype(int) for c in (i, j))
    parts.append(np.column_stack([np.minimum(u, v), np.maximum(u, v)])[i != j])
    return np.unique(np.concatenate([*parts, np.repeat(np.arange(sizes.sum())[:, None], 2, 1)]), axis=0)


def hierarchy(seed, between=0.02):
    """4 groups of 4 groups of 40 nodes; the inner ones are the clearer unless many edges lie between them."""
    rng = np.random.default_rng(seed)
    inner = np.arange(640) // 40
    share = np.where(inner[:, None] == inner, 0.5, np.where(inner[:, None] // 4 == inner // 4, between, 0.002))
    upper = np.triu(rng.random((640, 640)) < share, 1)
    return (upper | upper.T).astype(float)


# What is right is the widest gap of the exact spectrum that begins at 1/2 or before.
FAMILIES = {
    "unequal sizes": lambda s: networkx.random_partition_graph(
        list(np.random.default_rng(s).integers(30, 120, 8)), 0.25, 0.004, seed=s),
    "stochastic block model": lambda s: networkx.stochastic_block_model([70] * 6, 0.004 + 0.2 * np.eye(6), seed=s),
    "relaxed caveman": lambda s: networkx.relaxed_caveman_graph(25, 20, 0.1, seed=s),
    "hierarchy": hierarchy,
    "gaussian partition": lambda s: networkx.gaussian_random_partition_graph(500, 50, 10, 0.3, 0.004, seed=s),
}


def widest_gap(L):
    values = np.linalg.eigvalsh(L.toarray())
    starts = values[values <= 0.5]
    return int(np.diff(values)[: len(starts)].argmax()) + 1


@pytest.fixture
def no_dense(monkeypatch):
    """The way of large graphs, on graphs small enough for a truth."""
    monkeypatch.setattr(_clusters, "DENSE", 0)


@pytest.mark.parametrize("joins", [1, 4, 10])
@pytest.mark.parametrize("clusters", [9, 30, 90])
def test_dense_blocks_are_counted_exactly(clusters, joins, no_dense):
    G = dense_blocks(clusters, joins, seed=clusters + joins)
    count = graphs.egs_cluster_count(G, rng=0)
    assert (count.value, count.gap, count.certificate, count.stderr) == (clusters, True, "inertia", 0.0)
    assert count.components == graphs.components(G).max() + 1 <= clusters
    if clusters <= 30:
        values = np.linalg.eigvalsh(graphs.normalized_laplacian(G).toarray())
        assert np.abs(values - count.cutoff).min() >= count.margin > 0.05


@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_counted_as_their_exact_spectrum_says(family, monkeypatch):
    for seed in (1, 2):
        L = graphs.normalized_laplacian(FAMILIES[family](seed))
        exact = graphs.egs_cluster_count(L)
        assert (exact.value, exact.gap, exact.certificate, exact.matvecs) == (widest_gap(L), True, "eigenvalues", 0)
        monkeypatch.setattr(_clusters, "DENSE", 0)  # the way of large graphs
        large = graphs.egs_cluster_count(L, rng=seed)
        assert (large.value, large.gap, large.certificate) == (exact.value, True, "inertia")
        assert abs(large.cutoff - exact.cutoff) + large.margin < exact.margin + 1e-9
        monkeypatch.undo()


@pytest.mark.parametrize("method", DISTINCT)
def test_groups_of_groups_are_told_as_others(method):
    """4 groups of 4 groups: 16 below the longer gap, and 4 below one that is at least half as long."""
    count = graphs.egs_cluster_count(hierarchy(1, between=0.08), method=method, rng=0)
    assert abs(count.value - 4) <= 4 * count.stderr
    assert count.others[0] == pytest.approx(16, abs=4 if count.stderr else 0)
    assert graphs.egs_cluster_count(dense_blocks(9, 1, seed=0), method=method, rng=0).others == ()


@pytest.mark.parametrize("method", ["egs", "lanczos"])
def test_stochastic_counts_lie_within_their_noise(method):
    G = dense_blocks(20, 4, seed=1)
    counts = [graphs.egs_cluster_count(G, method=method, moments=60, rng=seed) for seed in range(12)]
    values, errors = np.array([(c.value, c.stderr) for c in counts]).T
    assert abs(values.mean() - 20) < 4 * values.std(ddof=1) / np.sqrt(12)
    assert 0.6 < values.std(ddof=1) / errors.mean() < 1.6
    assert errors.mean() < 1.2 * np.sqrt(2 * 20 / 16)
    covered = [low <= 20 <= high for low, high in (c.interval(0.9) for c in counts)]
    assert sum(covered) >= 8
    assert {c.certificate for c in counts} == {None}
    assert {c.matvecs for c in counts} == {16 * 30}


@pytest.mark.parametrize("moments", [40, 120])
@pytest.mark.parametrize("method", DISTINCT)
def test_the_number_of_moments_does_not_matter_where_the_gap_is_wide(method, moments):
    count = graphs.egs_cluster_count(dense_blocks(40, 2, seed=5), method=method, moments=moments, rng=1)
    assert count.gap
    assert abs(count.value - 40) <= 4 * count.stderr


def test_too_few_moments_to_tell_a_gap_are_not_enough():
    G = dense_blocks(40, 2, seed=5)
    for method in ("egs", "lanczos"):
        with pytest.warns(spectra.ConvergenceWarning, match="no gap"):
            assert not graphs.egs_cluster_count(G, method=method, moments=6, rng=1).gap


@pytest.mark.parametrize("method", DISTINCT)
@pytest.mark.parametrize("G", [networkx.random_regular_graph(8, 1200, seed=1),
                               networkx.barabasi_albert_graph(1200, 4, seed=2)], ids=["regular", "scale-free"])
def test_a_graph_without_groups_is_one_cluster(G, method):
    count = graphs.egs_cluster_count(G, method=method, probes=8, rng=0)
    assert (count.value, count.gap, count.components) == (pytest.approx(1, abs=0.01), True, 1)


NO_GAP = {"path": networkx.path_graph(1500), "grid": networkx.grid_2d_graph(35, 35),
          "small path": networkx.path_graph(12)}


@pytest.mark.parametrize("method", DISTINCT)
@pytest.mark.parametrize("name", NO_GAP)
def test_no_gap_is_a_lower_bound_and_a_warning(name, method):
    G = networkx.disjoint_union(NO_GAP[name], networkx.path_graph(3))
    with pytest.warns(spectra.ConvergenceWarning, match="the value 2 is the number of connected components"):
        count = graphs.egs_cluster_count(G, method=method, moments=40, probes=8, rng=0)
    assert (count.value, count.gap, count.components, count.cutoff) == (2.0, False, 2, None)


@pytest.mark.parametrize("method", DISTINCT)
def test_the_twenty_of_email_eu_core_are_its_components(method, spectra_data):
    count = graphs.egs_cluster_count(datasets.load("email-Eu-core", symmetrize=True), method=method, rng=0)
    assert count.value == pytest.approx(20, abs=0.01)
    assert (count.components, count.gap) == (20, True)
    assert count.cutoff + count.margin < 0.2122


@pytest.mark.parametrize("name, clusters", [("karate", 4), ("football", 1), ("dolphins", 2), ("polbooks", 2)])
def test_small_real_graphs_are_counted_as_their_eigenvalues_say(name, clusters, spectra_data):
    count = graphs.egs_cluster_count(datasets.load(name, weighted=False))
    assert (count.value, count.gap, count.components) == (clusters, True, 1)


@pytest.mark.parametrize("name", ["ca-GrQc", "ca-HepTh"])
@pytest.mark.parametrize("method", ["auto", "lanczos"])
def test_collaborations_have_no_gap(name, method, spectra_data):
    with pytest.warns(spectra.ConvergenceWarning, match="lower bound"):
        count = graphs.egs_cluster_count(datasets.load(name), method=method, probes=4, rng=0)
    assert not count.gap
    assert count.value == count.components == datasets.info(name)["facts"]["components"]


def test_without_room_the_count_is_stochastic_and_certified_says_so(monkeypatch, no_dense):
    monkeypatch.setattr(_clusters.Inertia, "fits", lambda *_: False)
    G = dense_blocks(9, 1, seed=0)
    ritz = graphs.egs_cluster_count(G, rng=0)
    assert (ritz.value, ritz.certificate) == (9, "ritz")
    assert graphs.egs_cluster_count(G, memory=1000, rng=0).method == "egs"
    with pytest.warns(spectra.ConvergenceWarning, match="noise of its probes"):
        graphs.egs_cluster_count(G, method="certified", memory=1000, rng=0)


def test_a_gap_that_only_the_density_sees_is_refused(monkeypatch, no_dense):
    """The exact count on both sides of the cut-off has the last word."""
    monkeypatch.setattr(_clusters.Inertia, "below", lambda self, x: int(1000 * x))
    with pytest.warns(spectra.ConvergenceWarning, match="no gap"):
        assert not graphs.egs_cluster_count(dense_blocks(9, 1, seed=0), rng=0).gap


def test_a_weighted_graph_and_its_laplacian(no_dense):
    rng = np.random.default_rng(0)
    edges = dense_blocks(12, 3, seed=2)
    weighted = np.column_stack([edges, rng.uniform(0.5, 2, len(edges))])
    for G in (weighted, graphs.normalized_laplacian(weighted)):
        assert graphs.egs_cluster_count(G, rng=0).value == 12


def test_one_seed_one_answer():
    G = dense_blocks(9, 1, seed=0)
    first, second = (graphs.egs_cluster_count(G, method="egs", rng=7) for _ in range(2))
    assert first.value == second.value
    assert first.seed == 7
    with pytest.raises(ValueError, match="method of egs_cluster_count"):
        graphs.egs_cluster_count(G, method="louvain")


# Counting exactly


@pytest.mark.parametrize("x", [-0.1, 0.05, 0.3, 0.7, 1.0001, 2.1])
def test_inertia_counts_eigenvalues(x):
    L = graphs.normalized_laplacian(networkx.barabasi_albert_graph(200, 3, seed=1))
    assert Inertia(L).below(x) == np.count_nonzero(np.linalg.eigvalsh(L.toarray()) < x)


def test_inertia_gives_up_where_signs_of_pivots_cannot_be_trusted():
    swap = scipy.sparse.csr_array(np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert Inertia(swap).below(0.0) is None  # no pivot on the diagonal
    assert Inertia(swap).below(1.0) is None  # singular


def test_ritz_values_count_eigenvalues():
    spectrum = Spectrum(dense_blocks(9, 2, seed=3))
    spectra.testing.check_operator(Deflated(spectrum.operator, spectrum.null),
                                   spectrum.L.toarray() + 2 * (spectrum.null @ spectrum.null.T).toarray())
    assert [ritz_below(spectrum.operator, spectrum.null, 0.25, guess, 0) for guess in (9, 12)] == [9, 9]
    assert ritz_below(spectrum.operator, spectrum.null, 0.25, 4, 0) is None  # all that were asked for lie below


def test_entries_of_a_factor_are_counted_from_the_pattern():
    """As many as SuperLU stores; on a path, the natural order fills nothing."""
    inertia = Inertia(graphs.normalized_laplacian(networkx.barabasi_albert_graph(400, 3, seed=1)))
    shifted = scipy.sparse.csc_array(inertia.A - 0.31 * scipy.sparse.eye_array(400))
    lu = splu(shifted, permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    for count in (factor_entries, factor_entries_reference):
        assert count(inertia.A.indptr, inertia.A.indices, 10**6) == lu.L.nnz > 2000
        assert 2000 < count(inertia.A.indptr, inertia.A.indices, 2000) <= 2400  # gives up within a row
        path = scipy.sparse.csr_array(graphs.normalized_laplacian(networkx.path_graph(50)))
        assert count(path.indptr, path.indices, 10**6) == 99
    assert inertia.fits(ENTRY * lu.L.nnz)
    assert not inertia.fits(ENTRY * lu.L.nnz - 1)


# Labels


def test_labels_find_the_blocks():
    pytest.importorskip("sklearn")
    G = networkx.planted_partition_graph(6, 40, 0.4, 0.005, seed=1)
    truth = np.arange(240) // 40
    for labels in (graphs.cluster_labels(G, rng=0), graphs.cluster_labels(graphs.normalized_laplacian(G), 6, rng=0)):
        np.testing.assert_array_equal(labels, truth)


def test_labels_are_the_components_where_there_is_nothing_else():
    G = networkx.disjoint_union_all([networkx.complete_graph(5), networkx.empty_graph(1), networkx.complete_graph(4)])
    np.testing.assert_array_equal(graphs.cluster_labels(G, 3), [0] * 5 + [1] + [2] * 4)
    for k in (2, 11, 2.5):
        with pytest.raises(ValueError, match="connected components, 3"):
            graphs.cluster_labels(G, k)


def test_no_warning_where_there_is_a_gap():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graphs.egs_cluster_count(dense_blocks(9, 1, seed=0), method="certified", rng=0)


# Reproductions, at small size


@pytest.fixture
def reproduction(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "examples" / "reproduce")
    return importlib.import_module


def test_table_3_2(reproduction):
    thesis = reproduction("thesis_table_3_2")
    rows = thesis.run((9,), probes=20)
    assert [(r["clusters"], r["joins"]) for r in rows] == [(9, j) for j in (1, 4, 10)]
    assert all(np.unique(thesis.dense_blocks(n, 4, seed=0)).size == 30 * n for n in (9, 30))
    covered = [thesis.coverage(9, 1, runs=10, probes=20)]
    assert covered[0]["cut-offs right"] == 10
    assert covered[0]["held"] >= 0.6
    assert all(thesis.claims(rows).values())
    assert thesis.compared(0.01, 0.02) == "0.01 / 0.02 / +0.01"


def test_table_3_3(reproduction, spectra_data):
    thesis = reproduction("thesis_table_3_3")
    rows = thesis.run(("power",), probes=4)
    assert list(thesis.claims(rows).values())[:2] == [True, True]  # one graph is too few for the third
    assert rows["power"]["components"] == 1
    assert not any(order["gap"] for order in rows["power"]["moments"].values())
    thesis.show(rows)
