"""The product of a CSR matrix with a block, and one step of a three-term recurrence fused with its inner products.

    W = a A V + b V + c U,    <v_j, w_j>,    <w_j, w_j>

Memory is what limits a sparse product, and the plain version reads and writes the block five times over; here it is
read once, row by row, and W may take the place of U. Where the entries of a row are scattered, each is a wait for
memory, so the rows of V are asked for some entries ahead. Sums run in the arrays' precision within a row and in float64
across rows.
"""

from __future__ import annotations

from functools import cache

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

_TASKS = 256  # of equal work, counted in entries: a graph has rows with one entry and rows with a million
_AHEAD = 16  # entries between asking for a row of V and using it
_LINE = 8  # numbers that memory hands out at a time (16 in single precision)


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
    """The step for a SciPy CSR array and real blocks of its dtype, shape (n, k); `b`, `c` numbers or (k,).

    W is written to `out`, which may be U, if that is given.
    """
    V = np.ascontiguousarray(V)
    k = V.shape[1]
    b, c = (np.full(k, x, dtype=V.dtype) for x in (b, c if U is not None else 0.0))
    W = np.empty((A.shape[0], k), dtype=V.dtype) if out is None else out
    vw, ww = np.empty((_TASKS, k)), np.empty((_TASKS, k))
    before = V if U is None else np.ascontiguousarray(U)
    _step(_width(k))(A.indptr, A.indices, A.data, V, before, V.dtype.type(a), b, c, W, vw, ww)
    return W, vw.sum(0), ww.sum(0)


def product_reference(A, V):
    """What `product` computes, in plain SciPy."""
    return A @ V


def product(A, V):
    """A V for a SciPy CSR array and a real block of its dtype, shape (n, k)."""
    V = np.ascontiguousarray(V)
    W = np.empty((A.shape[0], V.shape[1]), dtype=V.dtype)
    _product(_width(V.shape[1]))(A.indptr, A.indices, A.data, V, W)
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


_UNROLLED = 12  # columns up to which their number is compiled in: the sums of a row then stay in registers


def _width(k: int) -> int:
    return k if k <= _UNROLLED else 0


@cache
def _step(width: int):
    @numba.njit(parallel=True, cache=True, nogil=True, fastmath={"contract"})
    def compiled(indptr, indices, data, V, U, a, b, c, W, vw, ww):
        last = len(indices) - 1
        for task in numba.prange(_TASKS):
            k = width if width > 0 else V.shape[1]
            total, cross, square = np.empty(k, dtype=V.dtype), np.zeros(k), np.zeros(k)
            for i in range(_first_row(indptr, task), _first_row(indptr, task + 1)):
                for j in range(k):
                    total[j] = 0
                for p in range(indptr[i], indptr[i + 1]):
                    _prefetch(V, np.uint64(indices[min(p + _AHEAD, last)]), k)
                    x, row = data[p], np.uint64(indices[p])  # unsigned: no index counts from the end
                    for j in range(k):
                        total[j] += x * V[row, j]
                for j in range(k):
                    w = a * total[j] + b[j] * V[i, j] + c[j] * U[i, j]
                    W[i, j] = w
                    cross[j] += V[i, j] * w
                    square[j] += w * w
            vw[task], ww[task] = cross, square

    return compiled


@cache
def _product(width: int):
    @numba.njit(parallel=True, cache=True, nogil=True, fastmath={"contract"})
    def compiled(indptr, indices, data, V, W):
        last = len(indices) - 1
        for task in numba.prange(_TASKS):
            k = width if width > 0 else V.shape[1]
            total = np.empty(k, dtype=V.dtype)
            for i in range(_first_row(indptr, task), _first_row(indptr, task + 1)):
                for j in range(k):
                    total[j] = 0
                for p in range(indptr[i], indptr[i + 1]):
                    _prefetch(V, np.uint64(indices[min(p + _AHEAD, last)]), k)
                    x, row = data[p], np.uint64(indices[p])
                    for j in range(k):
                        total[j] += x * V[row, j]
                for j in range(k):
                    W[i, j] = total[j]

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
def _prefetch(V, row, k):
    for j in range(0, k, _LINE):
        _ask_for(V, row, j)


@intrinsic
def _ask_for(context, V, i, j):
    """Start the transfer of the memory of V[i, j] to the nearest cache."""

    def generate(context, builder, signature, args):
        block = signature.args[0]
        array = cgutils.create_struct_proxy(block)(context, builder, args[0])
        address = cgutils.get_item_pointer(context, builder, block, array, args[1:])
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32]), "llvm.prefetch.p0i8")
        reading, nearest, data = (ir.Constant(i32, x) for x in (0, 3, 1))
        builder.call(function, [builder.bitcast(address, byte), reading, nearest, data])
        return context.get_dummy_value()

    return numba.void(V, i, j), generate
