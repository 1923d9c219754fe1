"""The product of a CSR matrix with a block, and one step of a three-term recurrence fused with its inner products.

    W = a A V + b V + c U,    <v_j, w_j>,    <w_j, w_j>

Memory is what limits a sparse product, and the plain version reads and writes the block five times over; here it is
read once, row by row, and W may take the place of U. The sums of a row, and those of the inner products, stay in
registers: their number is compiled in, and a wide block is done some columns at a time. Sums run in the arrays'
precision within a row and in float64 across rows.
"""

from __future__ import annotations

from functools import cache

import numba
import numpy as np

from spectra._kernels.lanes import WIDEST, ask_for, double, fill, load, multiply_add, store

_TASKS = 256  # of equal work, counted in entries: a graph has rows with one entry and rows with a million
_AHEAD = np.uint64(16)  # entries between asking for a row of V and using it
_LINE = 64  # bytes that memory hands out at a time
_ROWS = np.uint64(256)  # done for some columns, then for the next: what they share is in cache
_ZERO, _ONE = np.uint64(0), np.uint64(1)  # unsigned: no index counts from the end


def step_reference(A, V, U, a, b, c, out=None):
    """What `step` computes, in plain NumPy and SciPy."""
    W = a * (A @ V) + b * V
    if U is not None:
        W = W + c * U
    W = W.astype(V.dtype, copy=False)
    if out is not None:
        out[...], W = W, out
    wide = W.astype(np.float64)
    return W, np.einsum("ij,ij->j", V, wide), np.einsum("ij,ij->j", wide, wide)


def step(A, V, U, a, b, c, out=None):
    """The step for a SciPy CSR array and real blocks of its dtype, shape (n, k); `a`, `b`, `c` numbers or (k,).

    W is written to `out`, which may be U, if that is given; its rows must be contiguous.
    """
    V = np.ascontiguousarray(V)
    k = V.shape[1]
    a, b, c = (np.full((1, k), x, dtype=V.dtype) for x in (a, b, c if U is not None else 0.0))
    W = np.empty((A.shape[0], k), dtype=V.dtype) if out is None else out
    vw, ww = np.empty((_TASKS, k)), np.empty((_TASKS, k))
    before = V if U is None else np.ascontiguousarray(U)
    matrix = A.indptr, A.indices, A.data, is_scattered(A)
    for first, stop, width in _parts(k):
        _step(width)(*matrix, V, before, a, b, c, W, vw, ww, first, stop)
    return W, vw.sum(0), ww.sum(0)


def product_reference(A, V):
    """What `product` computes, in plain SciPy."""
    return A @ V


def product(A, V):
    """A V for a SciPy CSR array and a real block of its dtype, shape (n, k)."""
    V = np.ascontiguousarray(V)
    k = V.shape[1]
    W = np.empty((A.shape[0], k), dtype=V.dtype)
    matrix = A.indptr, A.indices, A.data, is_scattered(A)
    for first, stop, width in _parts(k):
        _product(width)(*matrix, V, W, first, stop)
    return W


def remainder_reference(W, V, d, e):
    """What `remainder` computes, in plain NumPy."""
    return ((W - d * V) * e).astype(W.dtype, copy=False)


def remainder(W, V, d, e):
    """(W - d V) e in place of W, for real blocks of shape (n, k) and one d and e a column."""
    d, e = (np.full(W.shape[1], x, dtype=W.dtype) for x in (d, e))
    _remainder(W, V, d, e)
    return W


@numba.njit(parallel=True, cache=True, nogil=True, fastmath={"contract"})
def _remainder(W, V, d, e):
    for i in numba.prange(W.shape[0]):
        for j in range(W.shape[1]):
            W[i, j] = (W[i, j] - d[j] * V[i, j]) * e[j]


def _parts(k: int) -> list[tuple[int, int, int]]:
    """First column, end and width of what is done at a time: one width for all if a good one divides k."""
    widths = [width for width in range(WIDEST, WIDEST // 2 - 1, -1) if k % width == 0]
    if k <= WIDEST or widths:
        return [(0, k, k if k <= WIDEST else widths[0])]
    rest = k % WIDEST
    return [(0, k - rest, WIDEST), (k - rest, k, rest)]


def is_scattered(A) -> bool:
    """Whether the columns of a row are others than those of the row before, give or take a few.

    Then each entry is a wait for memory, and the rows of V are asked for some entries ahead; the streams of a grid need
    no asking for. Judged by one entry in each of up to 256 rows: a quarter along, as the middle may be the diagonal.
    """
    rows = np.linspace(0, max(A.shape[0] - 2, 0), 256).astype(np.intp)
    first, second = (_a_quarter_along(A, np.minimum(rows + further, A.shape[0] - 1)) for further in (0, 1))
    return bool(np.median(np.abs(first - second)) > _LINE)


def _a_quarter_along(A, rows):
    places = (3 * A.indptr[rows].astype(np.int64) + A.indptr[rows + 1]) // 4
    return A.indices[np.minimum(places, A.nnz - 1)].astype(np.int64) if A.nnz else np.zeros(1, np.int64)


# The loop over a row stands in both kernels: in a function of its own it ran 15 to 35 % slower.


@cache
def _step(width: int):
    @numba.njit(parallel=True, cache=True, nogil=True, fastmath={"contract"})
    def compiled(indptr, indices, data, scattered, V, U, a, b, c, W, vw, ww, left, right):
        last = np.uint64(len(indices) - 1)
        for task in numba.prange(_TASKS):
            vw[task, left:right], ww[task, left:right] = 0, 0
            start, stop = np.uint64(_first_row(indptr, task)), np.uint64(_first_row(indptr, task + 1))
            while start < stop:
                middle = min(start + _ROWS, stop)
                for first in range(left, right, width):
                    j, zeros = np.uint64(first), fill(V.dtype.type(0), width)
                    a_row, b_row, c_row = load(a, _ZERO, j, width), load(b, _ZERO, j, width), load(c, _ZERO, j, width)
                    cross, square = load(vw, np.uint64(task), j, width), load(ww, np.uint64(task), j, width)
                    p = np.uint64(indptr[start])
                    for i in range(start, middle):
                        total, end = zeros, np.uint64(indptr[i + _ONE])
                        while p < end:
                            if scattered:
                                _ask_for_row(V, np.uint64(indices[min(p + _AHEAD, last)]), first, width)
                            total = multiply_add(data[p], load(V, np.uint64(indices[p]), j, width), total)
                            p += _ONE
                        v = load(V, i, j, width)
                        w = multiply_add(b_row, v, multiply_add(a_row, total, zeros))
                        w = multiply_add(c_row, load(U, i, j, width), w)
                        store(W, i, j, w)
                        cross = multiply_add(double(v), double(w), cross)
                        square = multiply_add(double(w), double(w), square)
                    store(vw, np.uint64(task), j, cross)
                    store(ww, np.uint64(task), j, square)
                start = middle

    return compiled


@cache
def _product(width: int):
    @numba.njit(parallel=True, cache=True, nogil=True, fastmath={"contract"})
    def compiled(indptr, indices, data, scattered, V, W, left, right):
        last = np.uint64(len(indices) - 1)
        for task in numba.prange(_TASKS):
            start, stop = np.uint64(_first_row(indptr, task)), np.uint64(_first_row(indptr, task + 1))
            while start < stop:
                middle = min(start + _ROWS, stop)
                for first in range(left, right, width):
                    p, j = np.uint64(indptr[start]), np.uint64(first)
                    for i in range(start, middle):
                        total, end = fill(V.dtype.type(0), width), np.uint64(indptr[i + _ONE])
                        while p < end:
                            if scattered:
                                _ask_for_row(V, np.uint64(indices[min(p + _AHEAD, last)]), first, width)
                            total = multiply_add(data[p], load(V, np.uint64(indices[p]), j, width), total)
                            p += _ONE
                        store(W, i, j, total)
                start = middle

    return compiled


@numba.njit(cache=True, nogil=True)
def _first_row(indptr, task):
    """The row at which a task begins, the work of a row being its entries and one more."""
    lo, hi = 0, len(indptr) - 1
    start = (indptr[hi] + hi) * task // _TASKS
    while lo < hi:
        middle = (lo + hi) // 2
        if indptr[middle] + middle < start:
            lo = middle + 1
        else:
            hi = middle
    return lo


@numba.njit(cache=True, nogil=True)
def _ask_for_row(V, row, first, width):
    for j in range(first, first + width, _LINE // V.itemsize):
        ask_for(V, row, j)
