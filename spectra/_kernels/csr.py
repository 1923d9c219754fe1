"""One step of a three-term recurrence with a CSR matrix, fused with its inner products.

    W = a A V + b V + c U,    <v_j, w_j>,    <w_j, w_j>

The block is read once for all of it, row by row: memory is what limits a sparse product, and the plain version reads
and writes the block five times over. Sums run in the arrays' precision within a row and in float64 across rows.
"""

from __future__ import annotations

import numba
import numpy as np

_ROWS = 1024  # rows a task: small enough to balance two threads, large enough to be worth one


def step_reference(A, V, U, a, b, c):
    """What `step` computes, in plain NumPy and SciPy."""
    W = a * (A @ V) + b * V
    if U is not None:
        W = W + c * U
    W = W.astype(V.dtype, copy=False)
    wide = W.astype(np.float64)
    return W, np.einsum("ij,ij->j", V, wide), np.einsum("ij,ij->j", wide, wide)


def step(A, V, U, a, b, c):
    """The step for a SciPy CSR array and real blocks of its dtype, shape (n, k); `b`, `c` numbers or (k,)."""
    V = np.ascontiguousarray(V)
    k = V.shape[1]
    b, c = (np.broadcast_to(np.asarray(x, dtype=V.dtype), (k,)) for x in (b, c))
    W = np.empty((A.shape[0], k), dtype=V.dtype)
    tasks = -(-A.shape[0] // _ROWS)
    vw, ww = np.empty((tasks, k)), np.empty((tasks, k))
    before = V if U is None else np.ascontiguousarray(U)
    c = c if U is not None else np.zeros(k, dtype=V.dtype)
    _step(A.indptr, A.indices, A.data, V, before, V.dtype.type(a), b, c, W, vw, ww)
    return W, vw.sum(0), ww.sum(0)


@numba.njit(parallel=True, cache=True, nogil=True)
def _step(indptr, indices, data, V, U, a, b, c, W, vw, ww):
    n, k = V.shape
    for task in numba.prange(vw.shape[0]):
        total = np.empty(k, dtype=V.dtype)
        vw[task] = 0.0
        ww[task] = 0.0
        for i in range(task * _ROWS, min((task + 1) * _ROWS, n)):
            total[:] = 0
            for p in range(indptr[i], indptr[i + 1]):
                x, row = data[p], indices[p]
                for j in range(k):
                    total[j] += x * V[row, j]
            for j in range(k):
                w = a * total[j] + b[j] * V[i, j] + c[j] * U[i, j]
                W[i, j] = w
                vw[task, j] += V[i, j] * w
                ww[task, j] += w * w
