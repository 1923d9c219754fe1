"""How far the largest eigenvalue of pure noise strays from the edge of the bulk, and which eigenvalues are signal.

    (lambda_max - edge) / scale  ->  Tracy and Widom's law of order 1,

    semicircle          scale = sqrt(v) n^(-2/3)
    Marchenko-Pastur    scale = v (1 + sqrt q)^(4/3) sqrt(q) n^(-2/3),     n parameters

References: Tracy and Widom, Communications in Mathematical Physics 177 (1996), doi 10.1007/BF02099545; Johnstone,
Annals of Statistics 29 (2001), doi 10.1214/aos/1009210544; the law as a shifted gamma distribution, which is off by
less than 2e-3 in the tails and 1e-3 in probability: Chiani, Journal of Multivariate Analysis 129 (2014).
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaincc, gammainccinv

from spectra.results import SpectralDensity
from spectra.rmt._laws import MarchenkoPastur, Semicircle

SHAPE, SCALE, SHIFT = 46.446, 0.186054, 9.84801  # Chiani, Table I, order 1


def edge_scale(law: SpectralDensity, n: int) -> float:
    """Scale on which the largest eigenvalue of n x n noise fluctuates around the upper edge of its bulk.

    ``sqrt(v) n^(-2/3)`` for the semicircle; ``v (1 + sqrt(q))^(4/3) sqrt(q) n^(-2/3)`` for Marchenko and Pastur with n
    parameters.

    Parameters
    ----------
    law : SpectralDensity
        From `semicircle` or `marchenko_pastur`.
    n : int
        Order of the matrix.

    Returns
    -------
    float
        The mean of the largest eigenvalue is ``edge - 1.207 scale``, its standard deviation ``1.268 scale``.

    Raises
    ------
    ValueError
        If the density is not one of the two laws, or n is below 1.

    Examples
    --------
    >>> from spectra import rmt
    >>> round(rmt.edge_scale(rmt.semicircle(), 1000), 12)
    0.01
    """
    if not n >= 1:
        raise ValueError(f"n must be the order of a matrix, at least 1, found {n!r}")
    if isinstance(law.law, Semicircle):
        return float(np.sqrt(law.law.variance) * n ** (-2 / 3))
    if isinstance(law.law, MarchenkoPastur):
        root = np.sqrt(law.law.ratio)
        return float(law.law.variance * (1 + root) ** (4 / 3) * root * n ** (-2 / 3))
    raise ValueError(f"the scale of the edge is known for semicircle and marchenko_pastur, found {law.method}")


def edge_pvalue(eigenvalues, law: SpectralDensity, n: int):
    """Probability that the largest eigenvalue of pure noise exceeds each of the given ones.

    ``P(TW_1 > (x - edge) / scale)``, and for eigenvalues below the centre of a semicircle the same on the other side: a
    p-value p of the end that was looked at. Of the larger of both ends it is ``1 - (1 - p)^2``.

    Parameters
    ----------
    eigenvalues : array_like
    law : SpectralDensity
        The noise: `semicircle`, `marchenko_pastur`, or what `fit_bulk` returns.
    n : int
        Order of the matrix.

    Returns
    -------
    ndarray
        1 inside the bulk, to the precision of the approximation.

    Raises
    ------
    ValueError
        As `edge_scale`, or if an eigenvalue is NaN.

    Notes
    -----
    For the second eigenvalue and further the p-value errs on the safe side: it is that of being the first.

    Examples
    --------
    >>> from spectra import rmt
    >>> rmt.edge_pvalue([2.0, 2.05, 1.0], rmt.semicircle(), 1000).round(3)
    array([0.169, 0.   , 1.   ])
    """
    x, (lo, hi) = np.asarray(eigenvalues, dtype=float), law.support
    if np.any(np.isnan(x)):
        raise ValueError("eigenvalues must be real numbers, found NaN")
    scale = edge_scale(law, n)
    beyond = (x - hi) / scale
    if isinstance(law.law, Semicircle):
        beyond = np.maximum(beyond, (lo - x) / scale)
    return gammaincc(SHAPE, np.maximum(beyond + SHIFT, 0.0) / SCALE)


def edge_quantile(p: float, law: SpectralDensity, n: int) -> float:
    """Number that the largest eigenvalue of pure noise stays below with probability p.

    Parameters
    ----------
    p : float
        Between 0 and 1.
    law, n
        As `edge_pvalue`.

    Raises
    ------
    ValueError
        As `edge_scale`, or if p is not a probability.

    Examples
    --------
    >>> from spectra import rmt
    >>> round(rmt.edge_quantile(0.99, rmt.semicircle(), 1000), 4)
    2.0201
    """
    if not 0 < p < 1:
        raise ValueError(f"p must lie strictly between 0 and 1, found {p!r}")
    return float(law.support[1] + edge_scale(law, n) * (SCALE * gammainccinv(SHAPE, 1 - p) - SHIFT))
