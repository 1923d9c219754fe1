"""One added edge: the bound is the norm of the change, holds for every eigenvalue, and the printed one does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spectra
from spectra import graphs

networkx = pytest.importorskip("networkx")


def normalized(W):
    """The definition, entry by entry."""
    d, L = W.sum(1), np.zeros_like(W)
    for a, b in np.ndindex(W.shape):
        if d[a] > 0 and d[b] > 0:
            L[a, b] = (a == b) - W[a, b] / np.sqrt(d[a] * d[b])
    return L


def linked(W, i, j, weight):
    added = W.copy()
    added[i, j] += weight
    added[j, i] += weight
    return added


@st.composite
def edges_to_add(draw):
    """A graph, with and without weights, isolated nodes and several components, two of its nodes and a weight."""
    n, weighted = draw(st.integers(2, 12)), draw(st.booleans())
    random = np.random.default_rng(draw(st.integers(0, 2**20)))
    W = np.triu(random.random((n, n)) < draw(st.floats(0, 1)), 1).astype(float)
    if weighted:
        W *= 10.0 ** random.uniform(-3, 3, (n, n))
    i, j = draw(st.permutations(range(n)))[:2]
    return W + W.T, i, j, 10.0 ** draw(st.floats(-2, 2)) if weighted else 1.0


@settings(deadline=None, max_examples=200)
@given(edges_to_add())
def test_no_eigenvalue_moves_by_more_than_the_norm_of_the_change(case):
    W, i, j, weight = case
    bound = graphs.edge_perturbation(W, i, j, weight=weight)
    L, after = normalized(W), normalized(linked(W, i, j, weight))
    values = np.linalg.eigvalsh(after - L)
    assert bound.value == pytest.approx(np.abs(values).max(), abs=1e-13)
    low, high = bound.interval_of_change
    assert (low, high) == pytest.approx((min(values[0], 0), max(values[-1], 0)), abs=1e-13)
    moved = np.linalg.eigvalsh(after) - np.linalg.eigvalsh(L)
    assert low - 1e-13 <= moved.min() <= moved.max() <= high + 1e-13


@settings(deadline=None, max_examples=50)
@given(edges_to_add())
def test_first_order_is_the_derivative_in_the_weight(case):
    W, i, j, _ = case
    small = 1e-5 * W[W > 0].min(initial=1.0)
    bound = graphs.edge_perturbation(W, i, j, weight=small)
    if W[i].any() and W[j].any():
        assert bound.first_order == pytest.approx(bound.value, rel=1e-3, abs=1e-14)
    else:
        assert bound.first_order is bound.printed is None


def test_the_printed_bound_fails_on_two_edges_that_are_joined():
    edges = [(0, 1), (2, 3)]
    before, after = (np.linalg.eigvalsh(graphs.normalized_laplacian(e).toarray()) for e in (edges, [*edges, (1, 2)]))
    bound = graphs.edge_perturbation(edges, 1, 2)
    moved = np.abs(after - before).max()
    assert moved == pytest.approx(0.5)
    assert bound.printed == 0.0
    assert moved <= bound.value < 0.65


@pytest.mark.parametrize("degree", [4, 16, 64])
def test_clusters_of_equal_degree_have_the_bound_of_the_corollary(degree):
    """1/d to first order; the printed expression gives 2 - 2/d."""
    parts = [networkx.circulant_graph(n, range(1, degree // 2 + 1)) for n in (80, 90)]
    bound = graphs.edge_perturbation(networkx.disjoint_union(*parts), 3, 97)
    assert bound.printed == pytest.approx(2 - 2 / degree)
    for value in (bound.value, bound.first_order):
        assert value == pytest.approx(1 / degree, rel=0.8 / degree)


def test_a_node_without_edges_gains_an_eigenvalue():
    bound = graphs.edge_perturbation(np.zeros((3, 3)), 0, 2)  # 0, 0, 0 become 0, 0, 2
    assert bound.value == pytest.approx(2.0)
    assert bound.first_order is None


def test_laplacians_and_graphs_agree():
    G = networkx.gnp_random_graph(30, 0.2, seed=0)
    L = graphs.normalized_laplacian(G)
    expected = graphs.edge_perturbation(G, 0, 17).value
    for same in (L, L.toarray(), spectra.aslinearoperator(L)):
        assert graphs.edge_perturbation(same, 0, 17).value == pytest.approx(expected, rel=1e-14)


def test_errors_say_what_to_do():
    triangle = [(0, 1), (1, 2), (0, 2)]
    with pytest.raises(ValueError, match="between 0 and 2, found 3"):
        graphs.edge_perturbation(triangle, 0, 3)
    with pytest.raises(ValueError, match="self loop"):
        graphs.edge_perturbation(triangle, 1, 1)
    with pytest.raises(ValueError, match="positive and finite, found -1"):
        graphs.edge_perturbation(triangle, 0, 1, weight=-1)
    weighted = graphs.normalized_laplacian([(0, 1, 1.0), (1, 2, 5.0), (0, 2, 2.0)])
    with pytest.raises(ValueError, match="give the graph itself"):
        graphs.edge_perturbation(weighted, 0, 1)
