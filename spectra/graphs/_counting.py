"""How many eigenvalues of a sparse symmetric matrix lie below a number, exactly.

Sylvester's law: A - x I = M D M' has as many negative eigenvalues as D has negative entries. A sparse factorisation
that keeps to the diagonal for its pivots gives D. Where it would fill too much, Ritz values count: j of them below x by
more than their residuals prove that at least j eigenvalues are, and the search, from random starts, found no more.

Reference: Parlett, The Symmetric Eigenvalue Problem (1998), 3.3.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
from scipy.sparse.linalg import spilu, splu

from spectra._kernels import load
from spectra.krylov import eigenpairs
from spectra.operators import LinearOperator

STABLE = 1e-8  # relative residual of a solve, above which signs of pivots are not trusted
ENTRY = 48  # bytes for an entry of the lower factor: 42 measured, both triangles and their copies in CSC form


class Inertia:
    """Counts of eigenvalues below any number by factorisations of A - x I that share one ordering.

    Attributes
    ----------
    A : csc_array
        The matrix with rows and columns in the order of elimination.
    """

    def __init__(self, A):
        order = np.argsort(minimum_degree(A))
        self.A = scipy.sparse.csc_array(A)[order][:, order]
        self.A.sort_indices()

    def fits(self, memory: float) -> bool:
        """Whether a factor takes at most so many bytes; its entries are counted, not guessed."""
        n, limit = self.A.shape[0], memory / ENTRY
        if n * (n + 1) / 2 <= limit:
            return True
        factor_entries = load("fill").factor_entries  # compiled only where the answer is open
        return bool(factor_entries(self.A.indptr, self.A.indices, limit) <= limit)

    def below(self, x: float) -> int | None:
        """Number of eigenvalues below x; None if a factorisation is not stable without pivoting."""
        shifted = scipy.sparse.csc_array(self.A - x * scipy.sparse.eye_array(self.A.shape[0]))
        try:
            lu = splu(shifted, permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        except RuntimeError:  # a pivot is exactly zero
            return None
        b = np.random.default_rng(0).standard_normal(shifted.shape[0])
        residual = np.linalg.norm(shifted @ lu.solve(b) - b) / np.linalg.norm(b)
        if not np.array_equal(lu.perm_r, lu.perm_c) or not residual < STABLE:
            return None
        return int(np.count_nonzero(lu.U.diagonal() < 0))


def minimum_degree(A) -> np.ndarray:
    """Place of every row in SuperLU's multiple minimum degree ordering of the pattern of A.

    An incomplete factorisation that drops every entry costs hardly more than the ordering it begins with.
    """
    n, entries = A.shape[0], scipy.sparse.coo_array(A)
    rows, columns = (np.concatenate([ends, np.arange(n)]) for ends in (entries.row, entries.col))
    values = np.concatenate([np.zeros(entries.nnz), np.ones(n)])
    pattern = scipy.sparse.csc_array((values, (rows, columns)), shape=(n, n))
    return spilu(pattern, drop_tol=1.0, fill_factor=1, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0,
                 options={"SymmetricMode": True}).perm_c


def ritz_below(A: LinearOperator, null, x: float, expected: int, rng) -> int | None:
    """Number of eigenvalues of A below x, its null vectors among them, by Ritz pairs.

    `expected` is a guess, and two more pairs than that are computed; None if all of them are below x.
    """
    known = null.shape[1]
    wanted = min(max(expected - known, 0) + 2, A.shape[0] - known)
    if wanted < 1:
        return known
    found = eigenpairs(Deflated(A, null), wanted, which="SA", tol=1e-6, rng=rng)
    below = int(np.count_nonzero(found.values + found.residuals < x))
    beyond = int(np.count_nonzero(found.values - found.residuals >= x))
    return known + below if below + beyond == wanted and (beyond or wanted == A.shape[0] - known) else None


class Deflated(LinearOperator):
    """A + 2 U U': known null vectors moved to the other end of the spectrum of a normalised Laplacian."""

    hermitian = psd = _verified = True

    def __init__(self, A: LinearOperator, null):
        super().__init__(A.shape, A.dtype)
        self.A, self.null = A, null

    def _matmat(self, V):
        return self.A @ V + 2 * (self.null @ (self.null.T @ V))
