"""What maxent is given, as Chebyshev moments of the mapped variable: moments in any basis, their noise, the prior."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy  # whose parts are loaded when first used
from scipy.linalg import eigvalsh, toeplitz
from scipy.linalg.lapack import dpotrf

from spectra._maxent._dual import at_points, chebyshev_points, log_weights
from spectra.results import Estimate, SpectralDensity

BASES = ("chebyshev", "legendre", "power")
LOST = 0.1  # rounding errors of this size in a converted moment leave nothing of it
PRIOR_POINTS = 1 << 13  # at most, for the series of a prior's logarithm


class Given(NamedTuple):
    mu: np.ndarray  # (m + 1,), mu_0 = 1
    variance: np.ndarray  # (m,), of the estimates mu_1 ... mu_m; 0 where unknown
    rounding: np.ndarray  # (m,), what conversion from another basis may have cost
    deviations: np.ndarray | None  # (probes, m + 1), moments of each probe less mu
    support: tuple[float, float]
    size: int
    basis: str
    matvecs: int
    seed: int | None
    certain: bool  # whether the moments are exact as far as anybody said

    @property
    def order(self):
        return len(self.mu) - 1

    @property
    def width(self):
        return _width(self.support)

    @property
    def noise_size(self):
        """By how much noise may make moments impossible: the sup norm of a random cosine series, about."""
        return 4 * np.sqrt(self.variance.sum()) + 4 * self.rounding.sum()

    def nodes(self, dual):
        """The points of the grid, ascending."""
        return np.mean(self.support) - self.width / 2 * chebyshev_points(dual.points)


def read(moments, support, basis, size) -> Given:
    estimate = moments if isinstance(moments, Estimate) else None
    known = dict(estimate.details) if estimate else {}
    basis = known.get("basis", basis)
    if basis not in BASES:
        raise ValueError(f"basis must be one of {list(BASES)}, found {basis!r}")
    support = _interval(support, known.get("support"), basis)
    mu = np.array(estimate.value if estimate else moments, dtype=float)
    if mu.ndim != 1 or len(mu) < 2 or not np.all(np.isfinite(mu)) or not mu[0] > 0:
        raise ValueError("maxent needs an array of finite moments mu_0 > 0, mu_1, ..., mu_m, m >= 1, "
                         f"found shape {mu.shape}" + (f", mu_0 = {mu.flat[0]:.3g}" if mu.size else ""))
    share = mu / mu[0]
    C, rounding = _conversion(share, support, basis)
    deviations = None
    if known.get("samples") is not None:
        samples = np.asarray(known["samples"], dtype=float)
        deviations = (samples - np.outer(samples[:, 0], share)) / mu[0] @ C.T
    return Given(C @ share, _variance(deviations, len(mu))[1:], rounding[1:], deviations, support,
                  int(known.get("size", size)), basis, estimate.matvecs if estimate else 0,
                  estimate.seed if estimate else None, estimate is None or not np.any(estimate.stderr))


def _variance(deviations, length):
    """Variance of the mean over probes; 0 where there is nothing to tell it."""
    if deviations is None or len(deviations) < 2:
        return np.zeros(length)
    return (deviations**2).sum(0) / (len(deviations) * (len(deviations) - 1))


def _interval(support, known, basis):
    if support is None and known is None:
        raise ValueError("maxent needs support=(lo, hi), an interval that holds the spectrum, "
                         "e.g. spectra.spectral_bounds(A)")
    lo, hi = (float(end) for end in (known if support is None else support))
    if not (np.isfinite(lo) and np.isfinite(hi) and lo <= hi):
        raise ValueError(f"support must be an interval (lo, hi) with lo <= hi, found ({lo}, {hi})")
    fixed = known is not None and support is not None and basis != "power"
    if fixed and not np.allclose((lo, hi), known, rtol=0, atol=1e-12 * (hi - lo)):
        raise ValueError(f"these {basis} moments belong to the support {tuple(known)}, found {(lo, hi)}; leave support "
                         "out, or estimate moments on the other support")
    return lo, hi


def _width(support):
    """Width of the support; 0 if its ends differ by rounding alone."""
    lo, hi = support
    return hi - lo if hi - lo > 8 * np.finfo(float).eps * max(abs(lo), abs(hi)) else 0.0


def number(value, name, above):
    if not (np.isscalar(value) and np.isfinite(value) and value >= above):
        raise ValueError(f"{name} must be a finite number of at least {above:g}, found {value!r}")
    return float(value)


def _conversion(mu, support, basis):
    """Matrix C with T_k = sum_j C[k, j] P_j, and a bound on what rounding of mu does to C mu.

    Rows follow T_{k+1} = 2 t T_k - T_{k-1}, with multiplication by t a matrix in the basis P.
    """
    m, width = len(mu) - 1, _width(support)
    if basis == "chebyshev" or width == 0:
        return np.eye(m + 1), np.zeros(m + 1)
    scale = max(abs(end) for end in support) if basis == "power" else 1.0
    times_t = _times_t_legendre(m) if basis == "legendre" else _times_t_power(m, support, scale)
    C = np.eye(m + 1)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        C[1] = times_t[0]
        for k in range(1, m):
            C[k + 1] = 2 * C[k] @ times_t - C[k - 1]
        C *= scale ** -np.arange(m + 1.0)
        rounding = 4 * np.finfo(float).eps * np.sqrt(((C * mu) ** 2).sum(1))
    lost = np.flatnonzero(~(rounding < LOST))
    if len(lost):
        raise ValueError(f"power moments of order above {lost[0] - 1} lose all digits in conversion to a stable basis "
                         f"on [{support[0]:.6g}, {support[1]:.6g}], found order {m}; "
                         'use basis="chebyshev", or fewer moments')
    return C, rounding


def _times_t_legendre(m):
    i = np.arange(m + 1.0)
    return np.diag(((i + 1) / (2 * i + 1))[:m], 1) + np.diag((i / (2 * i + 1))[1:], -1)


def _times_t_power(m, support, scale):
    """Rows: t (x/scale)^i = (2 scale (x/scale)^{i+1} - (lo + hi) (x/scale)^i)/(hi - lo)."""
    lo, hi = support
    return np.diag(np.full(m, 2 * scale / (hi - lo)), 1) - (lo + hi) / (hi - lo) * np.eye(m + 1)


def violation_of(given):
    """How far the moments are from possible ones; an error if that is beyond noise.

    mu belongs to a measure exactly if the Toeplitz matrix mu_{|i-j|} is positive semidefinite. Adding v to mu_0 lifts
    its eigenvalues by v, so no moment is farther than v from a possible one.
    """
    T = toeplitz(given.mu)
    if not dpotrf(T + 1e-9 * np.eye(len(T)))[1]:
        return 0.0
    violation = max(0.0, -float(eigvalsh(T, subset_by_index=[0, 0])[0]))
    k = int(np.abs(given.mu[1:]).argmax()) + 1
    if violation > 0.5 + given.noise_size or abs(given.mu[k]) > 1.05 + given.noise_size:
        raise ValueError(f"impossible moments: every distribution on [{given.support[0]:.6g}, {given.support[1]:.6g}] "
                         f"differs from them, by about {violation:.2g} (the largest Chebyshev moment is mu_{k} = "
                         f"{given.mu[k]:.6g}); widen the support to hold the spectrum, and check the basis")
    return violation


def log_prior_series(prior, support):
    """Chebyshev series of the logarithm of the prior as a density of t, on as many points as it takes."""
    if prior is None:
        return np.array([-np.log(2.0)])
    points = 64
    while True:
        values = _log_values(prior, np.mean(support) + np.ptp(support) / 2 * chebyshev_points(points))
        series = scipy.fft.dct(values, type=2) / points
        series[0] /= 2
        used = np.flatnonzero(np.abs(series) > 1e-14 * np.abs(series).max())[-1] + 1
        if used <= points // 2 or points >= PRIOR_POINTS:
            break
        points *= 2
    series = series[:used]
    series[0] -= np.logaddexp.reduce(log_weights(4 * points) + at_points(series, 4 * points))
    return series


def _log_values(prior, x):
    if isinstance(prior, SpectralDensity):
        values = np.asarray(prior.log_pdf(x), dtype=float)
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log(np.asarray(prior(x), dtype=float))
    if values.shape != x.shape:
        raise ValueError(f"prior must map an array of shape {x.shape} to the same shape, found {values.shape}; "
                         "write it with NumPy functions")
    bad = ~np.isfinite(values)
    if bad.any():
        raise ValueError(f"prior must be positive and finite on the whole support, found {np.exp(values[bad][0]):.3g} "
                         f"at {x[bad][0]:.6g}; narrow the support to where it is positive, or leave the prior out")
    return values
