"""Squared Euclidean distances between the rows of two blocks.

Sums of squared differences lose nothing to cancellation, and where inputs have few dimensions they are also fast;
elsewhere distances are |x|² + |y|² - 2 x·y of centred inputs, one matrix product, clamped at zero.
"""

from __future__ import annotations

from spectra import _arrays

__all__ = ["difference", "squared_distances"]


def squared_distances(X, Y):
    """|x_i - y_j|², shape (n, m), never negative, and exactly zero on the diagonal when Y is X."""
    xp = _arrays.namespace(X)
    same = Y is X
    centre = xp.mean(X, axis=0, keepdims=True)
    X, Y = X - centre, Y - centre
    squares = xp.sum(X * X, axis=1)[:, None] + xp.sum(Y * Y, axis=1)[None, :]
    r2 = xp.maximum(squares - 2 * (X @ xp.matrix_transpose(Y)), xp.zeros_like(squares[:1, :1]))
    if same:
        r2 = r2 * (1 - xp.eye(X.shape[0], dtype=X.dtype, device=_arrays.device(X)))
    return r2


def difference(X, Y, c: int):
    """x_ic - y_jc, shape (n, m)."""
    return X[:, c][:, None] - Y[:, c][None, :]
