"""How far one added edge can move the eigenvalues of the normalised Laplacian.

An edge of weight w between i and j changes L = I - D^(-1/2) W D^(-1/2) to L' in the rows and columns i and j only:

    (L' - L)_ig = w_ig / sqrt(d_g) (1/sqrt(d_i) - 1/sqrt(d_i + w))     for the other neighbours g of i, and so for j,
    (L' - L)_ij = w_ij / sqrt(d_i d_j) - (w_ij + w) / sqrt((d_i + w) (d_j + w)),

and by Weyl's inequality no eigenvalue moves by more than the spectral norm of L' - L. That matrix has rank 4 at most:
with the touched rows C of the other nodes and R from C' = Q R,

    L' - L = [[M, C], [C', 0]]     has the eigenvalues of     [[M, R'], [R, 0]],     and zeros.

To first order in w/d the former are w_ig w / (2 d_i sqrt(d_i d_g)), and the latter, for w_ij = 0, -w / sqrt(d_i d_j):
between two clusters of equal degree d without weights the norm is 1/d, to first order in 1/d.

Reference: thesis, Theorem 3 and Corollary 3.1. The printed bound (3.13) lacks the factor 1/(2 d_i), and takes a signed
sum of entries for a norm: two disjoint edges that are joined have the bound 0, and move an eigenvalue by 1/2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse

from spectra.graphs._matrices import adjacency, degrees, is_normalized_laplacian
from spectra.operators import LinearOperator
from spectra.results import Estimate

__all__ = ["edge_perturbation"]


def edge_perturbation(G, i: int, j: int, *, weight: float = 1.0) -> Estimate:
    """Bound on the change of every eigenvalue of the normalised Laplacian when an edge between i and j is added.

    ``|λ'_k - λ_k| <= ||L' - L||`` for all k, eigenvalues in ascending order.

    Parameters
    ----------
    G : graph, or the normalised Laplacian of one without weights
        Anything `adjacency` accepts.
    i, j : int
        Two different nodes, as rows of the matrix. If they are linked already, the weight is added to the link's.
    weight : float
        Positive.

    Returns
    -------
    Estimate
        The norm, exact. Details: `interval_of_change`, the lowest and the highest eigenvalue of L' - L, between which
        every ``λ'_k - λ_k`` lies; `first_order`, the norm of L' - L to first order in ``weight / degree``, 1/d for
        clusters of equal degree d, not a bound, and None where i or j has no edge yet; `printed`, the expression
        (3.13) of the thesis, which is not a bound either, or None.

    Raises
    ------
    ValueError
        If i or j is no node, both are the same, the weight is not positive, or a normalised Laplacian has weights.

    Notes
    -----
    O(n) to find the degrees, and O(d_i + d_j) from there. Edges that are added one after another add their bounds.
    Source: thesis, Theorem 3 and Corollary 3.1, corrected.

    Examples
    --------
    Two disjoint edges become a path: eigenvalues 0, 0, 2, 2 move to 0, 1/2, 3/2, 2.

    >>> from spectra import graphs
    >>> bound = graphs.edge_perturbation([(0, 1), (2, 3)], 1, 2)
    >>> bool(0.5 <= bound.value < 0.7), bound.printed
    (True, 0.0)
    """
    W = _weights(G)
    n, d = W.shape[0], degrees(W)
    for node in (i, j):
        if int(node) != node or not 0 <= node < n:
            raise ValueError(f"expected two nodes between 0 and {n - 1}, found {node!r}; nodes are rows of the matrix")
    if i == j:
        raise ValueError(f"expected an edge between two nodes, found a self loop at {i}; self loops are dropped")
    if not 0 < weight < np.inf:
        raise ValueError(f"expected a weight that is positive and finite, found {weight!r}")
    i, j = int(i), int(j)
    change = _change(W, d, i, j, float(weight))
    low, high = _ends(change)
    linked = bool(d[i] and d[j])
    details = {"interval_of_change": (low, high),
               "first_order": max(map(abs, _ends(_first_order(W, d, i, j, float(weight))))) if linked else None,
               "printed": _printed(W, d, i, j) if linked else None}
    return Estimate(max(-low, high), method="weyl", details=details)


def _weights(G) -> scipy.sparse.csr_array:
    """Adjacency matrix, also of a graph that is given by its normalised Laplacian."""
    matrix = getattr(G, "host", G) if isinstance(G, LinearOperator) else G
    square = getattr(matrix, "ndim", 0) == 2 and matrix.shape[0] == matrix.shape[1]
    if not square or not (scipy.sparse.issparse(matrix) or isinstance(matrix, np.ndarray)):
        return adjacency(G)
    L = scipy.sparse.csr_array(matrix)
    if not is_normalized_laplacian(L):
        return adjacency(G)
    L = scipy.sparse.csr_array(L - scipy.sparse.diags_array(L.diagonal()))
    L.eliminate_zeros()
    d = np.diff(L.indptr).astype(float)
    W = scipy.sparse.csr_array((np.ones(L.nnz), L.indices, L.indptr), shape=L.shape)
    entries = scipy.sparse.coo_array(L)
    if not np.allclose(-entries.data * np.sqrt(d[entries.row] * d[entries.col]), 1.0, rtol=1e-5, atol=0):
        raise ValueError("expected the normalised Laplacian of a graph without weights, found one with weights, "
                         "which does not tell the degrees; give the graph itself")
    return W


class Touched(NamedTuple):
    """A symmetric matrix that is zero but for two rows and columns."""

    M: np.ndarray  # where they cross, (2, 2)
    C: np.ndarray  # the two rows elsewhere, (2, m)


def _rows(W, i, j):
    """Weights of i and of j, shape (2, m), at their other neighbours, and those."""
    others = np.setdiff1d(np.concatenate([W.indices[W.indptr[k] : W.indptr[k + 1]] for k in (i, j)]), (i, j))
    return W[[i, j]][:, others].toarray(), others


def _change(W, d, i, j, weight) -> Touched:
    rows, others = _rows(W, i, j)
    before, after = (_inverse_root(d[[i, j]] + w) for w in (0.0, weight))
    crossing = W[i, j] * before.prod() - (W[i, j] + weight) * after.prod()
    gained = (d[[i, j]] == 0).astype(float)  # a node without edges has 0 on the diagonal, any other 1
    M = np.diag(gained) + crossing * np.eye(2)[::-1]
    return Touched(M, rows * _inverse_root(d[others]) * (before - after)[:, None])


def _first_order(W, d, i, j, weight) -> Touched:
    rows, others = _rows(W, i, j)
    ends = d[[i, j]]
    lost = W[i, j] * weight * (1 / ends).sum() / 2
    M = (lost - weight) / np.sqrt(ends.prod()) * np.eye(2)[::-1]
    return Touched(M, rows * _inverse_root(d[others]) * (weight / (2 * ends**1.5))[:, None])


def _ends(change: Touched) -> tuple[float, float]:
    """Lowest and highest eigenvalue."""
    R = np.linalg.qr(change.C.T, mode="r")
    k = len(R)
    values = np.linalg.eigvalsh(np.block([[change.M, R.T], [R, np.zeros((k, k))]]))
    return float(min(values[0], 0.0)), float(max(values[-1], 0.0))


def _inverse_root(d):
    """1/sqrt(d), 0 where there is no edge."""
    return np.where(d > 0, 1 / np.sqrt(np.where(d > 0, d, 1.0)), 0.0)


def _printed(W, d, i, j) -> float:
    """(3.13): sums over the neighbours as they were, without the factors 1/(2 d)."""
    sums = [_inverse_root(d[W.indices[W.indptr[k] : W.indptr[k + 1]]]).sum() / np.sqrt(d[k]) for k in (i, j)]
    return float(abs(sum(sums) - 2 / np.sqrt(d[i] * d[j])))
