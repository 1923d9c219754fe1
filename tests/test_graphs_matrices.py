"""Matrices of graphs: networkx as the truth, every kind of input, and the conventions for odd graphs."""

import gzip
import time

import numpy as np
import pytest
import scipy.sparse

import spectra
from spectra import graphs

networkx = pytest.importorskip("networkx")

MATRICES = {
    "adjacency": (graphs.adjacency, networkx.adjacency_matrix),
    "laplacian": (graphs.laplacian, networkx.laplacian_matrix),
    "normalized": (graphs.normalized_laplacian, networkx.normalized_laplacian_matrix),
}


def weighted_graph():
    """Two components and an isolated node, with weights and one edge that has none."""
    G = networkx.Graph()
    G.add_nodes_from(range(8))
    G.add_weighted_edges_from([(0, 1, 2.0), (1, 2, 0.5), (2, 0, 1.5), (3, 4, 3.0), (4, 5, 0.25)])
    G.add_edge(5, 6)
    return G


GRAPHS = {"karate": networkx.karate_club_graph, "path": lambda: networkx.path_graph(5), "weighted": weighted_graph,
          "edgeless": lambda: networkx.empty_graph(3), "complete": lambda: networkx.complete_graph(6)}


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", GRAPHS)
def test_matrices_are_those_of_networkx(name, matrix):
    ours, theirs = MATRICES[matrix]
    G = GRAPHS[name]()
    found = ours(G)
    assert isinstance(found, scipy.sparse.csr_array)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.toarray(), theirs(G).toarray(), rtol=1e-14, atol=1e-14)


def test_one_graph_in_every_form(tmp_path):
    G = networkx.barabasi_albert_graph(30, 2, seed=3)
    W = networkx.to_numpy_array(G)
    edges = list(G.edges())
    files = {name: tmp_path / f"graph.{name}" for name in ("txt", "gml", "graphml", "npz", "npy")}
    files["txt"].write_text("\n".join(f"{u} {v}" for u, v in edges))
    networkx.write_gml(G, files["gml"])
    networkx.write_graphml(G, files["graphml"])
    scipy.sparse.save_npz(files["npz"], scipy.sparse.csr_array(W))
    np.save(files["npy"], W)
    forms = [G, W, W.astype(int), scipy.sparse.csc_matrix(W), scipy.sparse.coo_array(W), W.tolist(), edges,
             np.array(edges), np.array([(v, u) for u, v in edges] + edges), spectra.aslinearoperator(W),
             spectra.aslinearoperator(scipy.sparse.csr_array(W)), *files.values(), str(files["txt"])]
    for form in forms:
        np.testing.assert_array_equal(graphs.adjacency(form).toarray(), W)
    for file in files.values():
        np.testing.assert_array_equal(graphs.read(file).toarray(), W)


def test_an_igraph_graph():
    igraph = pytest.importorskip("igraph")
    G = igraph.Graph(n=4, edges=[(0, 1), (1, 2), (2, 2)])
    np.testing.assert_array_equal(graphs.adjacency(G).toarray(), [[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0] * 4])
    G.es["weight"] = [None, 3.0, 4.0]
    assert (graphs.adjacency(G)[0, 1], graphs.adjacency(G)[1, 2]) == (1, 3)
    assert graphs.adjacency(G, weight=None)[1, 2] == 1
    with pytest.raises(ValueError, match="symmetrize=True"):
        graphs.adjacency(igraph.Graph(edges=[(0, 1), (1, 2), (2, 1)], directed=True))


def test_self_loops_are_dropped_and_their_nodes_stay():
    assert graphs.adjacency([(0, 1), (1, 1), (7, 7)]).toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_edges_listed_twice_are_merged_with_their_mean_weight():
    W = graphs.adjacency([(0, 1, 2.0), (1, 0, 4.0), (0, 1, 3.0)])
    assert W.toarray().tolist() == [[0, 3], [3, 0]]
    G = networkx.MultiGraph([(0, 1, {"weight": 1}), (0, 1, {"weight": 5})])
    assert graphs.adjacency(G)[0, 1] == 3


def test_weights_can_be_ignored_and_named():
    G = networkx.Graph()
    G.add_edge(0, 1, weight=2.0, length=7.0)
    found = [graphs.adjacency(G, weight=key)[0, 1] for key in ("weight", "length", None, "colour")]
    assert found == [2, 7, 1, 1]
    assert graphs.adjacency(np.array([[0, 5.0], [5.0, 0]]), weight=None)[0, 1] == 1


def test_stored_zeros_are_no_edges():
    W = scipy.sparse.coo_array(([1.0, 1.0, 0.0, 0.0], ([0, 1, 1, 2], [1, 0, 2, 1])), shape=(3, 3))
    assert graphs.components(graphs.adjacency(W)).tolist() == [0, 0, 1]
    assert graphs.adjacency(W, weight=None).nnz == 2


def test_the_null_space_counts_components():
    G = networkx.disjoint_union_all([networkx.path_graph(3), networkx.cycle_graph(5), networkx.empty_graph(4)])
    for L in (graphs.laplacian(G), graphs.normalized_laplacian(G)):
        values = np.linalg.eigvalsh(L.toarray())
        assert np.count_nonzero(values < 1e-12) == graphs.components(L).max() + 1 == 6
        assert values.min() > -1e-12
        assert values.max() < 6
    assert graphs.components(G).tolist() == [0] * 3 + [1] * 5 + [2, 3, 4, 5]


@pytest.mark.parametrize("c", [1e-12, 1e12])
def test_the_normalised_laplacian_has_no_unit(c):
    W = networkx.to_numpy_array(weighted_graph())
    np.testing.assert_allclose(graphs.normalized_laplacian(c * W).toarray(),
                               graphs.normalized_laplacian(W).toarray(), rtol=1e-13, atol=1e-14)


DIRECTED = {
    "arcs": [(0, 1), (1, 0), (1, 2)],
    "matrix": np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]]),
    "networkx": networkx.DiGraph([(0, 1), (1, 2)]),
    "two weights": np.array([[0, 1.0], [2.0, 0]]),
}


@pytest.mark.parametrize("name", DIRECTED)
def test_directed_graphs_are_refused_with_the_remedy(name):
    with pytest.raises(ValueError, match=r"symmetrize=True"):
        graphs.normalized_laplacian(DIRECTED[name])
    W = graphs.adjacency(DIRECTED[name], symmetrize=True)
    assert (W != W.T).nnz == 0
    assert W[0, 1] == (1.5 if name == "two weights" else 1)


@pytest.mark.parametrize("G", [networkx.empty_graph(0), [], np.zeros((0, 0)), np.zeros((0, 2), int)],
                         ids=["networkx", "list", "matrix", "edges"])
def test_an_empty_graph_is_an_error(G):
    with pytest.raises(ValueError, match="at least one node"):
        graphs.adjacency(G)


@pytest.mark.parametrize("G", [np.array([[0, -1.0], [-1.0, 0]]), [(0, 1, -2.0)], [(0, 1, -2.0), (0, 1, 3.0)],
                               graphs.laplacian([(0, 1), (1, 2)])], ids=["matrix", "edges", "hidden", "laplacian"])
def test_negative_weights_are_refused_with_the_remedy(G):
    with pytest.raises(ValueError, match="absolute values"):
        graphs.adjacency(G)


def test_what_is_no_graph_is_named():
    with pytest.raises(TypeError, match="found dict"):
        graphs.adjacency({0: [1]})
    with pytest.raises(ValueError, match="square"):
        graphs.adjacency(scipy.sparse.csr_array(np.ones((2, 3))))
    with pytest.raises(ValueError, match="shape \\(4, 5\\)"):
        graphs.adjacency(np.ones((4, 5)))
    with pytest.raises(ValueError, match="may be a matrix or 2 edges"):
        graphs.adjacency(np.array([[0, 1], [1, 2]]))
    with pytest.raises(ValueError, match="finite"):
        graphs.adjacency([(0, 1, np.nan)])
    with pytest.raises(ValueError, match="a weight to all edges or to none"):
        graphs.adjacency([(0, 1, 2.0), (1, 2)])
    with pytest.raises(ValueError, match="numbers as the edges' 'weight'"):
        graphs.adjacency(networkx.Graph([(0, 1, {"weight": "heavy"})]))


@pytest.mark.parametrize(("lines", "verdict"), [
    ("0 1\n1 2\n2 3\n", "once"),  # every pair once: undirected, as most files list it
    ("0 1\n1 0\n1 2\n2 1\n2 3\n3 2\n", "both ways"),  # every pair both ways: undirected, too
    ("0 1\n1 0\n1 2\n2 3\n", "directed"),  # a few pairs both ways: a directed graph, or a careless list
    ("0 1\n0 1\n1 2\n2 3\n", "repeated"),
])
def test_which_edge_lists_are_directed(lines, verdict, tmp_path):
    path = tmp_path / "graph.txt"
    path.write_text(lines)
    edges = [tuple(map(int, line.split())) for line in lines.splitlines()]
    if verdict == "directed":
        for G in (path, edges):
            with pytest.raises(ValueError, match=r"1 of its 3 connected pairs are linked both ways.*symmetrize=True"):
                graphs.adjacency(G)
    for G in (path, edges):
        W = graphs.adjacency(G, symmetrize=verdict == "directed")
        np.testing.assert_array_equal(W.toarray(), networkx.to_numpy_array(networkx.path_graph(4)))


def test_edge_lists_as_they_come(tmp_path):
    """Comments, tabs, gaps in the numbering, self loops and nodes that have nothing else, compressed."""
    path = tmp_path / "graph.txt.gz"
    path.write_bytes(gzip.compress(b"# Nodes: 4 Edges: 4\n# From\tTo\n10\t30\n30\t30\n7\t7\n30\t1000000\n"))
    expected = np.zeros((4, 4))
    expected[[1, 2], [2, 3]] = 1  # 7, 10, 30, 1000000
    np.testing.assert_array_equal(graphs.read(path).toarray(), expected + expected.T)


@pytest.mark.slow
def test_a_file_of_three_million_edges_is_read_in_seconds(tmp_path):
    path = tmp_path / "large.txt"
    edges = np.random.default_rng(0).integers(0, 10**6, (3 * 10**6, 2))
    with path.open("w") as file:
        file.write("# large\n")
        file.writelines(f"{u}\t{v}\n" for u, v in edges)
    start = time.perf_counter()
    W = graphs.read(path, symmetrize=True)
    assert time.perf_counter() - start < 30
    assert W.nnz > 5.99e6


def test_the_callers_matrix_is_left_alone():
    W = scipy.sparse.csr_array(np.array([[1.0, 2.0], [2.0, 0.0]]))
    before = W.copy()
    graphs.normalized_laplacian(W)
    assert (before != W).nnz == 0
