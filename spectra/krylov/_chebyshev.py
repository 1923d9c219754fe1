"""Chebyshev moments of the spectral measure, two for each product.

With A mapped to B = (2A - (hi + lo) I)/(hi - lo), spectrum in [-1, 1], the recurrence
T_{j+1} v = 2 B T_j v - T_{j-1} v and the doubling identities

    mu_{2j} = 2 <T_j v, T_j v> - mu_0,     mu_{2j+1} = 2 <T_{j+1} v, T_j v> - mu_1

give mu_0 ... mu_{2m} from m products.

Reference: Weisse, Wellein, Alvermann and Fehske, Rev. Mod. Phys. 78 (2006), arXiv:cond-mat/0504627.
"""

from __future__ import annotations

import numpy as np

from spectra import _arrays
from spectra.operators import LinearOperator
from spectra.operators._resident import resident


def chebyshev_moments(A: LinearOperator, V, order: int, support: tuple[float, float], advance=None) -> np.ndarray:
    """Moments ``<v_j, T_i(B) v_j>`` for i = 0 ... order and every column of V, shape (k, order + 1).

    Takes ceil(order / 2) products for each column and three blocks of memory. Where products gather from all over a
    sparse matrix and many are to come, its rows are put into a better order first, which costs a second copy of it.

    Raises
    ------
    ValueError
        If a product is not finite, or the moments grow beyond mu_0: the spectrum is not inside `support`.
    """
    lo, hi = support
    a, b = 2 / (hi - lo), -(hi + lo) / (hi - lo)
    mu = np.empty((V.shape[1], 2 * -(-order // 2) + 1))
    mu[:, 0] = _arrays.column_dots(V, V).real
    steps = -(-order // 2)
    A, now = resident(A, V, steps)
    before = None
    for j in range(steps):
        factor = 1 if j == 0 else 2
        after, cross, square = A._step(now, before, factor * a, factor * b, -1.0)
        mu[:, 2 * j + 1] = factor * cross.real - (mu[:, 1] if j else 0.0)
        mu[:, 2 * j + 2] = 2 * square - mu[:, 0]
        _require_bounded(mu[:, : 2 * j + 3], j + 1, support)
        before, now = now, after
        if advance is not None:
            advance(V.shape[1])
    return mu[:, : order + 1]


class OutsideSupport(ValueError):
    """An eigenvalue lies outside the interval that was to hold the spectrum."""


def _require_bounded(mu, products, support):
    newest = mu[:, -2:]
    if not np.all(np.isfinite(newest)):
        raise ValueError(f"product {products} of the Chebyshev recurrence returned NaN or Inf; "
                         "expected finite numbers from the operator")
    if np.any(np.abs(newest) > 1.001 * mu[:, :1]):
        raise OutsideSupport(f"Chebyshev moments exceed mu_0 after {products} products: an eigenvalue lies outside "
                             f"the support [{support[0]:.6g}, {support[1]:.6g}]; widen it, or use spectral_bounds")
