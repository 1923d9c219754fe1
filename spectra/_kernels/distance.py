"""Squared distances between the rows of two blocks, as sums of squared differences, and one dimension's share of them.

Nothing is lost to cancellation, however close two points are and however far from the origin, and in few dimensions
it costs no more than the matrix product that would lose it. Called from several threads at once, one block each.
"""

from __future__ import annotations

import numba
import numpy as np


def squared_distances_reference(X, Y):
    """What `squared_distances` computes, in plain NumPy."""
    return sum((X[:, c][:, None] - Y[:, c][None, :]) ** 2 for c in range(X.shape[1]))


def squared_distances(X, Y):
    """|x_i - y_j|², shape (n, m), for blocks of shapes (n, d) and (m, d) and one real dtype."""
    out = np.empty((X.shape[0], Y.shape[0]), dtype=X.dtype)
    _squared_distances(np.ascontiguousarray(X), np.ascontiguousarray(Y.T), out)
    return out


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _squared_distances(X, YT, out):
    n, d = X.shape
    m = YT.shape[1]
    for i in range(n):
        row = out[i]
        row[:] = 0
        c = 0
        while c + 3 <= d:  # three dimensions a sweep over the row: a third of the loads and stores
            x, y, z = X[i, c], X[i, c + 1], X[i, c + 2]
            for j in range(m):
                s, t, u = x - YT[c, j], y - YT[c + 1, j], z - YT[c + 2, j]
                row[j] += s * s + t * t + u * u
            c += 3
        while c < d:
            x = X[i, c]
            for j in range(m):
                s = x - YT[c, j]
                row[j] += s * s
            c += 1


def weighted_squares_reference(weights, x, y):
    """What `weighted_squares` computes, in plain NumPy."""
    return weights * (x[:, None] - y[None, :]) ** 2


def weighted_squares(weights, x, y):
    """w_ij (x_i - y_j)², shape (n, m), for vectors of shapes (n,) and (m,) in the dtype of the weights."""
    out = np.empty_like(weights)
    _weighted_squares(weights, np.ascontiguousarray(x), np.ascontiguousarray(y), out)
    return out


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _weighted_squares(weights, x, y, out):
    for i in range(len(x)):
        for j in range(len(y)):
            s = x[i] - y[j]
            out[i, j] = weights[i, j] * (s * s)
