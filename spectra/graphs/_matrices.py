"""Matrices of a graph: adjacency W, Laplacian D - W, normalised Laplacian I - D^(-1/2) W D^(-1/2).

Every graph becomes simple and undirected: self loops are dropped, edges that are listed more than once are merged and
get their mean weight, and a node without edges stays, with a row and a column of zeros in all three matrices. So it
has eigenvalue 0 and is a component of its own: the multiplicity of 0 is the number of connected components.

Reference: Chung, Spectral Graph Theory (1997); thesis, 3.1 to 3.3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components

from spectra._formats import Arcs, read_graph, simple_graph
from spectra.operators import LinearOperator

__all__ = ["adjacency", "components", "laplacian", "normalized_laplacian", "read"]


def adjacency(G, *, symmetrize: bool = False, weight: str | None = "weight") -> scipy.sparse.csr_array:
    """Adjacency matrix W of a graph: symmetric, non-negative, zero on the diagonal.

    Parameters
    ----------
    G : graph
        A networkx or igraph graph; a square SciPy sparse or dense matrix of weights; edges, as an array of shape (m, 2)
        or (m, 3) with weights in the third column, or as a list of such tuples; or the path of a file, see `read`.
        Nodes of an edge list are numbered in the order of their numbers, and only those named exist.
    symmetrize : bool
        Forget the directions of edges; a directed graph is refused otherwise. A pair that is linked both ways gets the
        mean of the two weights.
    weight : str or None
        Edge attribute of a networkx or igraph graph that holds the weight, 1 for an edge without; None ignores weights
        of any input.

    Returns
    -------
    csr_array (n, n) of float64

    Raises
    ------
    ValueError
        If the graph is directed, has no node, or has a weight that is negative or not finite.
    TypeError
        If G is none of these.

    Examples
    --------
    >>> from spectra import graphs
    >>> graphs.adjacency([(0, 1), (1, 2), (2, 2)]).toarray()
    array([[0., 1., 0.],
           [1., 0., 1.],
           [0., 1., 0.]])
    """
    if isinstance(G, (str, Path)):
        return read(G, symmetrize=symmetrize, weighted=weight is not None)
    arcs = _arcs(G, weight)
    if weight is None:
        arcs = arcs._replace(weights=None)
    else:
        _require_non_negative(arcs.weights)
        if arcs.directed and not symmetrize:
            _require_equal_weights(arcs)
    return _checked(simple_graph(arcs, symmetrize=symmetrize))


def laplacian(G, *, symmetrize: bool = False, weight: str | None = "weight") -> scipy.sparse.csr_array:
    """Laplacian ``L = D - W`` of a graph, with D the diagonal matrix of degrees ``d_i = sum_j w_ij``.

    Positive semidefinite, which `spectra.aslinearoperator(L, psd=True)` claims. Parameters and errors: `adjacency`.

    Examples
    --------
    >>> from spectra import graphs
    >>> graphs.laplacian([(0, 1), (1, 2)]).toarray()
    array([[ 1., -1.,  0.],
           [-1.,  2., -1.],
           [ 0., -1.,  1.]])
    """
    W = adjacency(G, symmetrize=symmetrize, weight=weight)
    return scipy.sparse.csr_array(scipy.sparse.diags_array(degrees(W)) - W)


def normalized_laplacian(G, *, symmetrize: bool = False, weight: str | None = "weight") -> scipy.sparse.csr_array:
    """Normalised Laplacian ``I - D^(-1/2) W D^(-1/2)`` of a graph, with spectrum in [0, 2].

    The row and the column of a node without edges are zero, on the diagonal too. Parameters and errors: `adjacency`.

    Examples
    --------
    >>> from spectra import graphs
    >>> graphs.normalized_laplacian([(0, 1), (2, 2)]).toarray()
    array([[ 1., -1.,  0.],
           [-1.,  1.,  0.],
           [ 0.,  0.,  0.]])
    """
    return normalized(adjacency(G, symmetrize=symmetrize, weight=weight))


def read(path: str | Path, *, symmetrize: bool = False, weighted: bool = True) -> scipy.sparse.csr_array:
    """Adjacency matrix of the graph in a file.

    Parameters
    ----------
    path : str or Path
        Its suffix names the format: .txt or .edges (edge lists "node node" or "node node weight", comments # or %),
        .gml, .graphml, .mtx (MatrixMarket), .npz (SciPy), .npy; each also with .gz.
    symmetrize : bool
        Forget the directions of edges.
    weighted : bool
        Keep weights where the file has them.

    Returns
    -------
    csr_array (n, n) of float64

    Examples
    --------
    >>> from pathlib import Path
    >>> from spectra import graphs
    >>> _ = Path("triangle.txt").write_text("# a triangle\\n10 20\\n20 35\\n35 10\\n")
    >>> graphs.read("triangle.txt").toarray().sum(0)
    array([2., 2., 2.])
    """
    return _checked(read_graph(path, symmetrize=symmetrize, weighted=weighted), path)


def components(G) -> np.ndarray:
    """Connected component of every node, shape (n,): numbers from 0, in the order of the components' first nodes.

    Exact: found by a search, not from the spectrum. G is a graph, or one of its Laplacians.

    Examples
    --------
    >>> from spectra import graphs
    >>> graphs.components([(0, 1), (2, 3), (3, 4)])
    array([0, 0, 1, 1, 1], dtype=int32)
    """
    matrix = G if scipy.sparse.issparse(G) else adjacency(G)
    return connected_components(matrix, directed=False)[1]


# Between the matrices


def degrees(W) -> np.ndarray:
    """Sum of the weights at every node."""
    return np.asarray(W.sum(axis=1)).ravel()


def normalized(W: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """The normalised Laplacian of an adjacency matrix."""
    d = degrees(W)
    linked = d > 0
    root = np.zeros(len(d))
    root[linked] = 1 / np.sqrt(d[linked])
    scaled = scipy.sparse.diags_array(root) @ W @ scipy.sparse.diags_array(root)
    return scipy.sparse.csr_array(scipy.sparse.diags_array(linked.astype(float)) - scaled)


def is_normalized_laplacian(A) -> bool:
    """Whether a matrix has the entries of a normalised Laplacian: 1 on the diagonal of linked nodes, else <= 0."""
    diagonal = A.diagonal()
    rest = scipy.sparse.csr_array(A - scipy.sparse.diags_array(diagonal))
    rest.eliminate_zeros()
    linked = np.diff(rest.indptr) > 0
    return bool(rest.nnz and rest.data.max() <= 0 and np.allclose(diagonal, linked, rtol=0, atol=1e-6))


# From what the caller has to arcs


def _arcs(G, weight: str | None) -> Arcs:
    if hasattr(G, "is_directed") and hasattr(G, "edges"):
        return _networkx_arcs(G, weight)
    if hasattr(G, "is_directed") and hasattr(G, "get_edgelist"):
        return _igraph_arcs(G, weight)
    if isinstance(G, LinearOperator):
        G = getattr(G, "host", getattr(G, "A", G))
    if scipy.sparse.issparse(G):
        return _matrix_arcs(G)
    if isinstance(G, LinearOperator) or not (isinstance(G, (list, tuple)) or hasattr(G, "__array__")):
        raise TypeError("expected a graph (networkx, igraph, a sparse or dense matrix, edges, or the path of a file), "
                        f"found {type(G).__name__}; convert it to a list of edges")
    return _array_arcs(G)


def _networkx_arcs(G, weight) -> Arcs:
    index = {node: i for i, node in enumerate(G)}
    ends = np.array([(index[u], index[v]) for u, v in G.edges()], dtype=np.int64).reshape(-1, 2)
    weights = None if weight is None else _numbers([w for *_, w in G.edges(data=weight, default=1)], weight)
    return Arcs(ends[:, 0], ends[:, 1], weights, len(index), directed=G.is_directed())


def _igraph_arcs(G, weight) -> Arcs:
    ends = np.array(G.get_edgelist(), dtype=np.int64).reshape(-1, 2)
    weights = _numbers(G.es[weight], weight) if weight in G.es.attributes() else None
    return Arcs(ends[:, 0], ends[:, 1], weights, G.vcount(), directed=G.is_directed())


def _numbers(weights, name: str) -> np.ndarray:
    """Weights of edges as numbers, 1 where there is none."""
    try:
        return np.array([1 if w is None else w for w in weights], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected numbers as the edges' {name!r}, found otherwise ({error}); name another attribute, "
                         "or pass weight=None") from None


def _array_arcs(G) -> Arcs:
    pairs = isinstance(G, (list, tuple)) and all(isinstance(edge, tuple) for edge in G)
    try:
        array = np.asarray(G)
    except ValueError:
        raise ValueError("expected edges of one length, (node, node) or (node, node, weight), found several; give a "
                         "weight to all edges or to none") from None
    if array.ndim == 2 and array.shape[0] == array.shape[1] and not pairs:
        if len(array) in (2, 3) and np.any(np.diagonal(array)):
            raise ValueError(f"an array of shape {array.shape} may be a matrix or {len(array)} edges; pass edges as a "
                             "list of tuples, or a matrix with zeros on its diagonal")
        return _matrix_arcs(array)
    if array.size == 0:
        return Arcs(np.zeros(0, int), np.zeros(0, int), None, 0, directed=None)
    if array.ndim != 2 or array.shape[1] not in (2, 3):
        raise ValueError("expected a square matrix of weights, or edges of shape (m, 2) or (m, 3), found an array of "
                         f"shape {array.shape}")
    nodes, ends = np.unique(array[:, :2], return_inverse=True)
    ends = ends.reshape(-1, 2)
    weights = array[:, 2].astype(np.float64) if array.shape[1] == 3 else None
    return Arcs(ends[:, 0], ends[:, 1], weights, len(nodes), directed=None)


def _matrix_arcs(A: Any) -> Arcs:
    if A.shape[0] != A.shape[1]:
        raise ValueError(f"an adjacency matrix must be square, found shape {A.shape}; give one row to every node")
    entries = scipy.sparse.coo_array(scipy.sparse.csr_array(A))
    entries.eliminate_zeros()
    return Arcs(entries.row, entries.col, entries.data, A.shape[0], directed=True)


def _require_equal_weights(arcs: Arcs) -> None:
    """Both directions of a pair carry the same weight; that there are both is asked for elsewhere."""
    if arcs.weights is None or not len(arcs.weights) or not np.all(np.isfinite(arcs.weights)):
        return
    A = scipy.sparse.coo_array((arcs.weights, (arcs.rows, arcs.cols)), shape=(arcs.n, arcs.n)).tocsr()
    both = A.multiply(A.T != 0)
    difference = abs(both - both.T).max()
    if difference > 64 * np.finfo(float).eps * abs(A).max():
        raise ValueError(f"expected an undirected graph, found weights that differ by up to {difference:.3g} between "
                         "the two directions of an edge; pass symmetrize=True to take their mean")


def _require_non_negative(weights, source: object = "graph") -> None:
    if weights is not None and len(weights) and weights.min() < 0:
        raise ValueError(f"{source}: expected weights that are not negative, found {weights.min():.3g}; take their "
                         "absolute values, or drop those edges")


def _checked(W, source: object = "graph") -> scipy.sparse.csr_array:
    if W.shape[0] == 0:
        raise ValueError(f"{source}: expected a graph with at least one node, found an empty one")
    _require_non_negative(W.data, source)
    W.eliminate_zeros()
    return W
