"""Which part of an estimated spectrum is noise: a law fitted to the bulk, and the eigenvalues beyond it.

A few large eigenvalues, or an atom at 0, must not move the fit, so it goes by quantiles of the bulk, not by moments.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

from spectra.results import Estimate, SpectralDensity
from spectra.rmt._edge import edge_pvalue, edge_quantile, edge_scale
from spectra.rmt._laws import Semicircle, marchenko_pastur, semicircle

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
        eigenvalues there, and they are not noise. For Marchenko-Pastur it decides between ratios q and 1/q, which
        differ by an atom at 0: the one whose atom is nearer to what was left out.

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
    if not (np.isscalar(discard) and discard >= 0):
        raise ValueError(f"discard must be a number of at least 0, found {discard!r}")
    kept = np.abs(nodes) > discard if discard else np.ones(len(nodes), bool)
    if not kept.any():
        raise ValueError(f"nothing of the spectrum is left outside [-{discard:.4g}, {discard:.4g}]; discard less")
    bulk = SpectralDensity(nodes[kept], weights[kept], rho.size)
    if law not in FITS:
        raise ValueError(f"law must be one of {sorted(FITS)}, found {law!r}")
    quantiles = _quantiles(bulk)
    found = FITS[law](quantiles, 1 - weights[kept].sum() / weights.sum())
    lo, hi = getattr(found.law, "edges", found.support)
    misfit = np.sqrt(np.mean((_of_bulk(found) - quantiles) ** 2)) / (hi - lo)
    return SpectralDensity(found.nodes, found.weights, rho.size, support=found.support, method=law, deterministic=True,
                           law=found.law, details=dict(found.details) | {"misfit": float(misfit)})


def _quantiles(bulk: SpectralDensity) -> np.ndarray:
    """Quantiles by interpolation between the middles of the steps of the distribution function."""
    nodes, weights = bulk.nodes, bulk.weights
    return np.interp(LEVELS, np.cumsum(weights) - weights / 2, nodes)


def _of_bulk(law: SpectralDensity) -> np.ndarray:
    """Quantiles of the continuous part of a law."""
    atom = getattr(law.law, "atom", 0.0)
    return law.quantile(atom + (1 - atom) * LEVELS)


def _fit_semicircle(quantiles, discarded) -> SpectralDensity:
    unit = semicircle(1.0).quantile(LEVELS)
    scale = float(quantiles @ unit / (unit @ unit))
    if not scale > 0:
        raise ValueError("the bulk has no width around 0, so no semicircle fits it; discard less")
    return semicircle(scale**2)


def _fit_marchenko_pastur(quantiles, discarded) -> SpectralDensity:
    if not quantiles[0] > 0:
        raise ValueError("Marchenko and Pastur's law is that of positive eigenvalues, and a tenth of the bulk lies "
                         f"below {quantiles[0]:.4g}; use discard= to leave out eigenvalues at 0, or fit a semicircle")
    target = np.log(quantiles)

    def misfit(log_parameters):
        return np.log(_of_bulk(marchenko_pastur(*np.exp(log_parameters)))) - target

    spread = np.clip(quantiles.std() ** 2 / quantiles.mean() ** 2, 1e-4, 0.9)
    start = np.log([spread, quantiles.mean()])
    fit = least_squares(misfit, start, bounds=(np.log([1e-6, 1e-300]), np.log([0.999, 1e300])))
    ratio, variance = np.exp(fit.x)
    if abs(discarded - (1 - ratio)) < discarded:
        ratio, variance = 1 / ratio, ratio * variance  # the same bulk, beside an atom
    return marchenko_pastur(ratio, variance)


FITS = {"semicircle": _fit_semicircle, "marchenko-pastur": _fit_marchenko_pastur}


def count_outliers(rho: SpectralDensity, bulk: SpectralDensity | None = None, *, level: float = 0.01) -> Estimate:
    """Number of eigenvalues beyond what noise reaches: the sharp directions of a Hessian, the factors of a covariance.

    Eigenvalues above the ``1 - level`` quantile of Tracy and Widom's law for the largest eigenvalue of the noise; for a
    semicircle, the level is shared between both ends.

    Parameters
    ----------
    rho : SpectralDensity
    bulk : SpectralDensity, optional
        The noise, from `fit_bulk`, `semicircle` or `marchenko_pastur`; default: a semicircle fitted to `rho`.
    level : float
        Probability that pure noise shows an outlier, between 0 and 1.

    Returns
    -------
    Estimate
        The count, with the errors of `rho.count`. Details: `edges` (beyond which an eigenvalue counts), `margin`
        (distance from the upper edge of the noise to the nearest node beyond, in units of the edge's scale of
        fluctuation; None if there is none), `pvalue` of the largest eigenvalue (in modulus, for a semicircle).

    Raises
    ------
    ValueError
        As `fit_bulk`, or if the level is no probability.

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
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, found {level!r}")
    n, two_sided = rho.size, isinstance(bulk.law, Semicircle)
    upper = edge_quantile(np.sqrt(1 - level) if two_sided else 1 - level, bulk, n)
    lower = -upper if two_sided else -np.inf
    above, below = rho.count(np.nextafter(upper, np.inf), np.inf), None
    value, stderr, bias = above.value, above.stderr, above.bias
    if np.isfinite(lower):
        below = rho.count(-np.inf, np.nextafter(lower, -np.inf))
        value, stderr = value + below.value, float(np.hypot(stderr, below.stderr))
        bias = None if bias is None else (bias[0] + below.bias[0], bias[1] + below.bias[1])
    largest = max(rho.nodes.max(), -rho.nodes.min() if np.isfinite(lower) else -np.inf)
    beyond = rho.nodes[rho.nodes > upper]
    pvalue = float(edge_pvalue(largest, bulk, n))
    details = {"edges": (float(lower), float(upper)), "pvalue": pvalue * (2 - pvalue) if two_sided else pvalue,
               "margin": float((beyond.min() - bulk.support[1]) / edge_scale(bulk, n)) if len(beyond) else None}
    return Estimate(value, stderr, bias, rho.matvecs, rho.probes, rho.seed, rho.method, details)
