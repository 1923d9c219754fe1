"""Products with a matrix of which only blocks exist."""

from __future__ import annotations

import numpy as np

from spectra import _arrays

_ROWS = 512


def product(block, X, Y, V):
    """k(X, Y) V from blocks ``block(X_I, Y_J)``."""
    xp = _arrays.namespace(X)
    strips = []
    for rows in _arrays.chunks(X.shape[0], _ROWS):
        strips.append(sum(block(X[rows, :], Y[columns, :]) @ V[columns, :]
                          for columns in _arrays.chunks(Y.shape[0], _ROWS)))
    return xp.concat(strips)


def matrix(block, X, Y):
    """k(X, Y) itself."""
    xp = _arrays.namespace(X)
    return xp.concat([xp.concat([block(X[rows, :], Y[columns, :]) for columns in _arrays.chunks(Y.shape[0], _ROWS)],
                                axis=1) for rows in _arrays.chunks(X.shape[0], _ROWS)])


def bilinear(derivatives, X, U, V) -> dict:
    """u_j' D v_j for every matrix D of derivatives, from functions of blocks; each a vector over j."""
    totals: dict = {}
    for rows in _arrays.chunks(X.shape[0], _ROWS):
        for columns in _arrays.chunks(X.shape[0], _ROWS):
            for key, function in derivatives(X[rows, :], X[columns, :]).items():
                terms = _arrays.column_dots(U[rows, :], function() @ V[columns, :])
                totals[key] = totals.get(key, np.zeros(len(terms))) + terms
    return totals
