"""What can be done with a matrix of which only blocks ever exist: products, norms, bilinear forms, the matrix itself.

A block k(X_I, Y_J) is small enough to stay in the cache of one core from its distances to its product. A symmetric
matrix (Y is X) computes each pair of blocks once and uses it twice. NumPy's blocks run in threads; each of a fixed
number of tasks owns every so many-th strip of rows and its own sums, so that an answer depends neither on the number of
threads nor on who came first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from spectra import _arrays

__all__ = ["bilinear", "matmul", "matrix", "product", "squared_norm"]

_TILE = {4: 256, 8: 192}  # order of NumPy's blocks, by bytes an entry: cached, and below what malloc gives back at once
_TASKS = 8
_LARGEST_TILE, _LARGEST_ON_DEVICE = 1024, 4096  # in other libraries
_QUIET, _QUIET_VECTOR = 2**18, 2**13  # multiplications up to which OpenBLAS starts no threads, k > 1 and k = 1


def product(block: Callable, X, Y, V, memory: int):
    """k(X, Y) V, shape (n, k)."""
    if Y is X:
        return _symmetric_product(block, X, V, memory)
    side = _side(X, memory)

    def strip(rows):
        return sum(matmul(block(X[rows, :], Y[columns, :]), V[columns, :])
                   for columns in _arrays.chunks(Y.shape[0], side))

    return _arrays.namespace(X).concat(_in_threads(strip, list(_arrays.chunks(X.shape[0], side)), X))


def _symmetric_product(block, X, V, memory):
    strips = list(_arrays.chunks(X.shape[0], _side(X, memory)))
    dtype = np.result_type(_arrays.dtype_of(X), _arrays.dtype_of(V))
    tasks = _tasks(X, strips, V.shape[0] * V.shape[1] * dtype.itemsize)

    def task(first):
        W = _arrays.empty(V.shape, V, dtype)
        W[...] = 0
        for i in range(first, len(strips), tasks):
            rows = X[strips[i], :]
            W[strips[i], :] += matmul(block(rows, rows), V[strips[i], :])
            for columns in strips[i + 1:]:
                k = block(rows, X[columns, :])
                W[strips[i], :] += matmul(k, V[columns, :])
                W[columns, :] += matmul(_transposed(k), V[strips[i], :])
        return W

    return sum(_in_threads(task, list(range(tasks)), X))


def matrix(block: Callable, X, Y, memory: int):
    """k(X, Y) itself, shape (n, m)."""
    out = _arrays.empty((X.shape[0], Y.shape[0]), X, _arrays.dtype_of(X))
    side = _side(X, memory)

    def strip(rows):
        for columns in _arrays.chunks(Y.shape[0], side):
            if Y is not X or columns.start > rows.start:
                out[rows, columns] = block(X[rows, :], Y[columns, :])
                if Y is X:
                    out[columns, rows] = _transposed(out[rows, columns])
            elif columns.start == rows.start:
                out[rows, columns] = block(X[rows, :], X[rows, :])

    for _ in _in_threads(strip, list(_arrays.chunks(X.shape[0], side)), X):
        pass
    return out


def squared_norm(block: Callable, X, memory: int) -> float:
    """Sum of the squares of all entries of the symmetric matrix k(X, X)."""
    strips = list(_arrays.chunks(X.shape[0], _side(X, memory)))

    def strip(i):
        rows = X[strips[i], :]
        beside = sum(_sum_of_squares(block(rows, X[columns, :])) for columns in strips[i + 1:])
        return _sum_of_squares(block(rows, rows)) + 2 * beside

    return sum(_in_threads(strip, list(range(len(strips))), X))


def _sum_of_squares(k) -> float:
    return float(_arrays.namespace(k).sum(k * k))


def bilinear(derivatives: Callable, X, U, V, memory: int) -> dict:
    """u_j' D v_j, a vector over j, for every symmetric matrix D that ``derivatives(X_I, X_J)`` names and computes."""
    strips = list(_arrays.chunks(X.shape[0], _side(X, memory)))
    tasks = _tasks(X, strips, 0)
    xp, k = _arrays.namespace(V), V.shape[1]

    def task(first):
        sums: dict = {}
        for i in range(first, len(strips), tasks):
            rows = X[strips[i], :]
            _add(sums, derivatives(rows, rows), U[strips[i], :], V[strips[i], :], k)
            left = xp.concat([U[strips[i], :], V[strips[i], :]], axis=1)
            for columns in strips[i + 1:]:  # u_I' D v_J and, from the block on the other side, u_J' D' v_I
                right = xp.concat([V[columns, :], U[columns, :]], axis=1)
                _add(sums, derivatives(rows, X[columns, :]), left, right, k)
        return sums

    found = _in_threads(task, list(range(tasks)), X)
    return {key: sum(sums[key] for sums in found) for key in found[0]}


def _add(sums, derivatives, left, right, k):
    for key, block in derivatives.items():
        W = matmul(block(), right)
        terms = np.einsum("ij,ij->j", left, W) if isinstance(W, np.ndarray) else _arrays.column_dots(left, W)
        sums[key] = sums.get(key, 0.0) + terms.astype(float).reshape(-1, k).sum(0)


def matmul(A, B):
    """A B of two small blocks; in NumPy in pieces so small that BLAS, called from many threads, starts none itself."""
    if not isinstance(A, np.ndarray):
        return A @ B
    n, m = A.shape
    k = B.shape[1]
    rows = max((_QUIET if k > 1 else _QUIET_VECTOR) // (m * k), 1)
    if n <= rows:
        return A @ B
    whole = n - n % rows
    pieces = A[:whole].reshape(-1, rows, m)
    W = np.matmul(pieces, B).reshape(whole, k)
    return W if whole == n else np.concatenate([W, A[whole:] @ B])


def _transposed(k):
    return _arrays.namespace(k).matrix_transpose(k)


def _side(X, memory) -> int:
    """Order of the blocks: in NumPy made for the cache; elsewhere sixteen of them fit the memory."""
    if isinstance(X, np.ndarray):
        return _TILE[X.dtype.itemsize]
    largest = _LARGEST_TILE if "cpu" in str(_arrays.device(X)).lower() else _LARGEST_ON_DEVICE
    return int(np.clip(np.sqrt(memory / (16 * _arrays.dtype_of(X).itemsize)), 64, largest))


def _tasks(X, strips, bytes_each) -> int:
    """How many tasks share the strips, each with sums of its own of so many bytes."""
    if not isinstance(X, np.ndarray):
        return 1
    return max(min(_TASKS, len(strips), _arrays.MEMORY // max(bytes_each, 1)), 1)


def _in_threads(function, tasks, X) -> list:
    threads = min(_threads(), len(tasks)) if isinstance(X, np.ndarray) else 1
    if threads == 1:
        return [function(task) for task in tasks]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, tasks))


def _threads() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
