"""What one pass over the entries of a square CSR matrix tells: how far from symmetric it is, and its row sums."""

from __future__ import annotations

import numba
import numpy as np

_TASKS = 64


def survey_reference(A):
    """What `survey` computes, in plain SciPy; `asymmetry, diagonal, row sums`."""
    difference = A - A.conj().T
    asymmetry = float(np.abs(difference.data).max()) if difference.nnz else 0.0
    return asymmetry, A.diagonal(), np.asarray(abs(A).sum(1), dtype=float).ravel()


def survey(A):
    """max |A - A'|, the diagonal, and the sums of |a_ij| over rows, for a canonical real SciPy CSR array."""
    n = A.shape[0]
    diagonal, sums, asymmetry = np.zeros(n, A.dtype), np.empty(n), np.zeros(_TASKS)
    _survey(A.indptr, A.indices, A.data, diagonal, sums, asymmetry)
    return float(asymmetry.max()), diagonal, sums


@numba.njit(parallel=True, cache=True, nogil=True)
def _survey(indptr, indices, data, diagonal, sums, asymmetry):
    n = len(sums)
    for task in numba.prange(_TASKS):
        largest = 0.0
        for i in range(n * task // _TASKS, n * (task + 1) // _TASKS):
            total = 0.0
            for p in range(indptr[i], indptr[i + 1]):
                j, x = indices[p], data[p]
                total += abs(x)
                if j == i:
                    diagonal[i] = x
                else:  # either entry of a pair may be missing, so that both rows look for the other
                    largest = max(largest, abs(np.float64(x) - _entry(indptr, indices, data, j, i)))
            sums[i] = total
        asymmetry[task] = largest


@numba.njit(cache=True, nogil=True)
def _entry(indptr, indices, data, i, j):
    """a_ij, by bisection of row i."""
    lo, hi = indptr[i], indptr[i + 1]
    while lo < hi:
        middle = (lo + hi) // 2
        if indices[middle] < j:
            lo = middle + 1
        else:
            hi = middle
    return np.float64(data[lo]) if lo < indptr[i + 1] and indices[lo] == j else 0.0
