"""What one pass over the entries of a square CSR matrix tells: their size, how far from symmetric it is, row sums."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

_TASKS = 64


class Survey(NamedTuple):
    """max |a_ij| (NaN if one is), sum a_ij^2, max |a_ij - a_ji|, the diagonal, and the sums of |a_ij| over rows."""

    largest: float
    square: float
    asymmetry: float
    diagonal: np.ndarray
    sums: np.ndarray


def survey_reference(A) -> Survey:
    """What `survey` computes, in plain SciPy."""
    difference, size = A - A.conj().T, abs(A)
    asymmetry = float(np.abs(difference.data).max()) if difference.nnz else 0.0
    largest = float(size.data.max()) if A.nnz else 0.0
    return Survey(largest, float(np.sum(A.data.astype(float) ** 2)), asymmetry, A.diagonal(),
                  np.asarray(size.sum(1), dtype=float).ravel())


def survey(A) -> Survey:
    """The survey of a canonical real SciPy CSR array.

    A pair of entries is looked at from its upper one. If some lower entries have been met by none, both look.
    """
    n = A.shape[0]
    diagonal, sums, found = np.zeros(n, A.dtype), np.empty(n), np.zeros((_TASKS, 3))
    unmet = _survey(A.indptr, A.indices, A.data, False, diagonal, sums, found)
    if unmet:
        _survey(A.indptr, A.indices, A.data, True, diagonal, sums, found)
    largest, square, asymmetry = found[:, 0].max(), found[:, 1].sum(), found[:, 2].max()
    return Survey(float(largest), float(square), float(asymmetry), diagonal, sums)


@numba.njit(parallel=True, cache=True, nogil=True)
def _survey(indptr, indices, data, both, diagonal, sums, found):
    """Fill diagonal, sums and what each task has found; lower entries that no upper one has met."""
    n, unmet = len(sums), 0
    for task in numba.prange(_TASKS):
        largest, square, asymmetry, left = 0.0, 0.0, 0.0, 0
        for i in range(n * task // _TASKS, n * (task + 1) // _TASKS):
            total, start, stop = 0.0, np.uint64(indptr[i]), np.uint64(indptr[i + 1])
            for p in range(start, stop):
                j, x = np.int64(indices[p]), np.float64(data[p])
                total += abs(x)
                square += x * x
                largest = max(largest, abs(x))
                if j == i:
                    diagonal[i] = data[p]
                    continue
                left += j < i
                if j > i or both:
                    q = _place(indptr, indices, j, i, p - start)
                    asymmetry = max(asymmetry, abs(x - data[q]) if q >= 0 else abs(x))
                    left -= j > i and q >= 0
            sums[i] = total
        unmet += left
        found[task] = largest if square == square else np.nan, square, asymmetry
    return unmet


@numba.njit(cache=True, nogil=True)
def _place(indptr, indices, i, j, before):
    """Where a_ij is stored, or -1.

    On a grid it stands as far from the end of its row as a_ji, with so many entries before it, does from the beginning;
    elsewhere it is found by bisection.
    """
    lo, hi = np.int64(indptr[i]), np.int64(indptr[i + 1])
    guess = hi - 1 - np.int64(before)
    if guess >= lo and indices[np.uint64(guess)] == j:
        return guess
    while lo < hi:
        middle = (lo + hi) // 2
        if indices[np.uint64(middle)] < j:
            lo = middle + 1
        else:
            hi = middle
    return lo if lo < indptr[i + 1] and indices[lo] == j else np.int64(-1)
