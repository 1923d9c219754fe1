"""Which part of an estimated spectrum is noise: a law fitted to the bulk, and the eigenvalues beyond it.

A few large eigenvalues, or an atom at 0, must not move the fit, so it goes by quantiles of the bulk, not by moments.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

from spectra.results import Estimate, SpectralDensity
from spectra.rmt._edge import edge_pvalue, edge_quantile
from spectra.rmt._laws import marchenko_pastur, semicircle

LEVELS = np.linspace(0.1, 0.9, 17)  # quantiles of the bulk that are matched


def fit_bulk(rho: SpectralDensity, law: str = "semicircle", *, discard: float = 0.0) -> SpectralDensity:
    """Law of pure noise whose quantiles between 10 % and 90 % are nearest to those of an estimated spectrum.

    Parameters
    ----------
    rho : SpectralDensity
        Estimated, or the eigenvalues themselves with equal weights.
    law : {"semicircle", "marchenko-pastur"}
        The semicircle is centred at 0, as the fluctuations of a mini-batch Hessian are.
    discard : float
        Half-width of an interval around 0 that is left out first: rank-deficient Hessians have most of their
        eigenvalues there, and they are not noise.

    Returns
    -------
    SpectralDensity
        The fitted law, of the size of `rho`. Details: `variance`, `ratio`, `misfit` (root mean square distance of the
        quantiles, relative to the width of the law).

    Raises
    ------
    ValueError
        If the law has another name, nothing is left outside the discarded interval, or Marchenko-Pastur is asked for a
        bulk that is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from spectra import rmt, SpectralDensity
    >>> rng = np.random.default_rng(0)
    >>> W = rng.standard_normal((500, 500))
    >>> noise = np.linalg.eigvalsh((W + W.T) * np.sqrt(3 / 1000))            # variance 3
    >>> fit = rmt.fit_bulk(SpectralDensity(noise, np.ones(500), 500))
    >>> abs(fit.variance - 3) < 0.05
    True
    """
    nodes, weights = rho.nodes, rho.weights
    kept = np.abs(nodes) > discard if discard else np.ones(len(nodes), bool)
    if not kept.any():
        raise ValueError(f"nothing of the spectrum is left outside [-{discard:.4g}, {discard:.4g}]; discard less")
    bulk = SpectralDensity(nodes[kept], weights[kept], rho.size)
    if law not in FITS:
        raise ValueError(f"law must be one of {sorted(FITS)}, found {law!r}")
    found = FITS[law](_quantiles(bulk))
    misfit = np.sqrt(np.mean((found.quantile(LEVELS) - _quantiles(bulk)) ** 2)) / (found.support[1] - found.support[0])
    return SpectralDensity(found.nodes, found.weights, rho.size, support=found.support, method=law, deterministic=True,
                           law=found.law, details=dict(found.details) | {"misfit": float(misfit)})


def _quantiles(bulk: SpectralDensity) -> np.ndarray:
    """Quantiles by interpolation between the middles of the steps of the distribution function."""
    nodes, weights = bulk.nodes, bulk.weights
    return np.interp(LEVELS, np.cumsum(weights) - weights / 2, nodes)


def _fit_semicircle(quantiles) -> SpectralDensity:
    unit = semicircle(1.0).quantile(LEVELS)
    scale = float(quantiles @ unit / (unit @ unit))
    if not scale > 0:
        raise ValueError("the bulk has no width around 0, so no semicircle fits it; discard less")
    return semicircle(scale**2)


def _fit_marchenko_pastur(quantiles) -> SpectralDensity:
    if not quantiles[0] > 0:
        raise ValueError("Marchenko and Pastur's law is that of positive eigenvalues, and a tenth of the bulk lies "
                         f"below {quantiles[0]:.4g}; use discard= to leave out eigenvalues at 0, or fit a semicircle")
    target = np.log(quantiles)

    def misfit(log_parameters):
        ratio, variance = np.exp(log_parameters)
        law = marchenko_pastur(ratio, variance).law
        levels = law.atom + (1 - law.atom) * LEVELS  # of the continuous part
        return np.log(law.quantile(levels)) - target

    spread = np.clip(quantiles.std() ** 2 / quantiles.mean() ** 2, 1e-4, 0.9)
    start = np.log([spread, quantiles.mean()])
    fit = least_squares(misfit, start, bounds=(np.log([1e-6, 1e-300]), np.log([0.999, 1e300])))
    return marchenko_pastur(*np.exp(fit.x))


FITS = {"semicircle": _fit_semicircle, "marchenko-pastur": _fit_marchenko_pastur}


def count_outliers(rho: SpectralDensity, bulk: SpectralDensity | None = None, *, level: float = 0.01) -> Estimate:
    """Number of eigenvalues beyond what noise reaches: the sharp directions of a Hessian, the factors of a covariance.

    Eigenvalues above the ``1 - level`` quantile of Tracy and Widom's law for the largest eigenvalue of the noise, and
    for a semicircle those below its mirror image.

    Parameters
    ----------
    rho : SpectralDensity
    bulk : SpectralDensity, optional
        The noise, from `fit_bulk`, `semicircle` or `marchenko_pastur`; default: a semicircle fitted to `rho`.
    level : float
        Probability that pure noise shows an outlier.

    Returns
    -------
    Estimate
        The count, with the errors of `rho.count`. Details: `edges` (beyond which an eigenvalue counts), `margin`
        (distance from the upper edge of the noise to the nearest node beyond, in units of the edge's scale of
        fluctuation; None if there is none), `pvalue` of the largest eigenvalue.

    Raises
    ------
    ValueError
        As `fit_bulk`.

    Examples
    --------
    >>> import numpy as np
    >>> from spectra import rmt, SpectralDensity
    >>> rng = np.random.default_rng(0)
    >>> W = rng.standard_normal((500, 500)) / np.sqrt(1000)
    >>> W[0, 0] += 2                                                          # a spike of 4, far above 1
    >>> values = np.linalg.eigvalsh(W + W.T)
    >>> rmt.count_outliers(SpectralDensity(values, np.ones(500), 500, complete=True)).value
    1.0
    """
    bulk = fit_bulk(rho) if bulk is None else bulk
    n = rho.size
    upper = edge_quantile(1 - level, bulk, n)
    lower = -upper if bulk.law.support[0] < 0 else -np.inf
    above, below = rho.count(np.nextafter(upper, np.inf), np.inf), None
    value, stderr, bias = above.value, above.stderr, above.bias
    if np.isfinite(lower):
        below = rho.count(-np.inf, np.nextafter(lower, -np.inf))
        value, stderr = value + below.value, float(np.hypot(stderr, below.stderr))
        bias = None if bias is None else (bias[0] + below.bias[0], bias[1] + below.bias[1])
    largest = max(rho.nodes.max(), -rho.nodes.min() if np.isfinite(lower) else -np.inf)
    beyond = rho.nodes[rho.nodes > upper]
    scale = upper - bulk.support[1]
    details = {"edges": (float(lower), float(upper)), "pvalue": float(edge_pvalue(largest, bulk, n)),
               "margin": float((beyond.min() - bulk.support[1]) / scale) if len(beyond) else None}
    return Estimate(value, stderr, bias, rho.matvecs, rho.probes, rho.seed, rho.method, details)
