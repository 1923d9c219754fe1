"""Squared Euclidean distances between the rows of two blocks, accurate also where points nearly coincide.

Sums of squared differences lose nothing to cancellation, and in few dimensions a compiled kernel makes them fast.
Elsewhere distances come from one matrix product, |x|² + |y|² - 2 x·y, and a block in which that has lost digits is
computed again by differences where it did.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from spectra import _arrays
from spectra._kernels import load
from spectra.gp._blocks import matmul

__all__ = ["difference", "squared_distances", "weighted_squares"]

_FEW = 24  # dimensions up to which differences are as fast as the matrix product
_LEAST_WORK = 4096  # distances below which a compiler need not be woken


def squared_distances(X, Y):
    """|x_i - y_j|², shape (n, m), never negative, and zero exactly where two rows are equal."""
    if X.shape[1] <= _FEW and _compiled_pays(X, Y):
        return load("distance").squared_distances(X, Y)
    if X.shape[1] <= 2:
        return _by_differences(X, Y)
    xp = _arrays.namespace(X)
    centre = xp.mean(X, axis=0, keepdims=True)
    X, Y = X - centre, Y - centre
    squares = xp.sum(X * X, axis=1)[:, None] + xp.sum(Y * Y, axis=1)[None, :]
    r2 = squares - 2 * matmul(X, xp.matrix_transpose(Y))
    lost = r2 <= _arrays.eps(_arrays.dtype_of(X)) ** (1 / 3) * squares
    return xp.where(lost, _by_differences(X, Y), r2) if xp.any(lost) else r2


def weighted_squares(weights, x, y):
    """w_ij (x_i - y_j)², shape (n, m), of two vectors."""
    if _compiled_pays(x, y):
        return load("distance").weighted_squares(weights, x, y)
    return weights * (x[:, None] - y[None, :]) ** 2


def difference(X, Y, c: int):
    """x_ic - y_jc, shape (n, m)."""
    return X[:, c][:, None] - Y[:, c][None, :]


def _by_differences(X, Y):
    r2: Any = difference(X, Y, 0) ** 2
    for c in range(1, X.shape[1]):
        r2 += difference(X, Y, c) ** 2
    return r2


def _compiled_pays(X, Y) -> bool:
    return (isinstance(X, np.ndarray) and X.dtype in (np.float32, np.float64) and X.dtype == Y.dtype
            and X.shape[0] * Y.shape[0] >= _LEAST_WORK and os.environ.get("SPECTRA_KERNELS", "1") != "0")
