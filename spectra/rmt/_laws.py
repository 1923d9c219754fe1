"""The two laws of large random matrices, in closed form.

A symmetric matrix with independent entries of variance v / n has the eigenvalues of the semicircle law, on
|x| <= 2 sqrt(v); a sample covariance X'X / T of T rows with q T independent columns of variance v has those of
Marchenko and Pastur, on v (1 -+ sqrt q)^2, with an atom 1 - 1/q at 0 where q > 1.

Both have constant recurrence coefficients, so their Gauss rules are eigenvalues of a tridiagonal matrix.

References: Wigner, Annals of Mathematics 62 (1955); Marchenko and Pastur, Math. USSR-Sbornik 1 (1967), doi
10.1070/SM1967v001n04ABEH001994; thesis, Theorems 9 and 10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectra.krylov._quadrature import gauss
from spectra.results import SpectralDensity

POINTS = 200  # of a rule: exact for polynomials up to degree 399


def semicircle(variance: float = 1.0) -> SpectralDensity:
    """Wigner's semicircle law, ``p(x) = sqrt(4 v - x^2) / (2 pi v)``, the spectrum of a symmetric matrix of pure noise.

    Parameters
    ----------
    variance : float
        v, the variance of the eigenvalues: that of the entries, times the order of the matrix.

    Returns
    -------
    SpectralDensity
        With exact `pdf`, `cdf`, `quantile`, `entropy` and `support` (the edges ``-+2 sqrt(v)``); integrals by a Gauss
        rule of 200 points. `size` is 1: counts are shares.

    Raises
    ------
    ValueError
        If the variance is not positive.

    Notes
    -----
    No products, a few kilobytes. Thesis, Theorem 9.

    Examples
    --------
    >>> import spectra
    >>> rho = spectra.rmt.semicircle(4.0)
    >>> rho.support, round(float(rho.cdf(0.0)), 12), round(rho.moment(2).value, 12)
    ((-4.0, 4.0), 0.5, 4.0)
    """
    law = Semicircle(positive(variance, "variance"))
    m = np.arange(1, POINTS)
    return _density(law, "semicircle", np.zeros(POINTS), np.full(len(m), np.sqrt(law.variance)))


def marchenko_pastur(ratio: float, variance: float = 1.0) -> SpectralDensity:
    """The law of Marchenko and Pastur, the spectrum of a sample covariance of pure noise.

    ``p(x) = sqrt((x_+ - x)(x - x_-)) / (2 pi q v x)`` between ``x_-+ = v (1 -+ sqrt(q))^2``, and an atom ``1 - 1/q`` at
    0 where q > 1.

    Parameters
    ----------
    ratio : float
        q, parameters (columns) by samples (rows).
    variance : float
        v, of the entries.

    Returns
    -------
    SpectralDensity
        As `semicircle`; with an atom the support begins at 0 and the entropy is minus infinity.

    Raises
    ------
    ValueError
        If ratio or variance is not positive.

    Notes
    -----
    No products, a few kilobytes. Thesis, Theorem 10 and (4.17), where the lambda of the denominator is q.

    Examples
    --------
    >>> import spectra
    >>> rho = spectra.rmt.marchenko_pastur(0.25)
    >>> rho.support, round(rho.moment(1).value, 12), round(rho.moment(2).value, 12)
    ((0.25, 2.25), 1.0, 1.25)
    """
    law = MarchenkoPastur(positive(ratio, "ratio"), positive(variance, "variance"))
    alpha = np.full(POINTS, law.variance * (1 + law.ratio))
    alpha[0] = law.variance
    return _density(law, "marchenko-pastur", alpha, np.full(POINTS - 1, law.variance * np.sqrt(law.ratio)))


def _density(law, method, alpha, beta) -> SpectralDensity:
    rules = [gauss(alpha[None, :k], beta[None, : k - 1]) for k in (POINTS // 4, POINTS // 2, POINTS)]
    return SpectralDensity(*rules[-1], 1, support=law.support, method=method, coarse=rules[:-1], deterministic=True,
                           law=law, details={"variance": law.variance, "ratio": getattr(law, "ratio", None)})


def positive(x, name: str) -> float:
    number = np.asarray(x)
    if number.ndim or number.dtype.kind not in "biuf" or not (np.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be a positive finite number, found {x!r}")
    return float(number)


def not_negative(x, name: str) -> float:
    number = np.asarray(x)
    if number.ndim or number.dtype.kind not in "biuf" or not (np.isfinite(number) and number >= 0):
        raise ValueError(f"{name} must be finite and not negative, found {x!r}")
    return float(number)


@dataclass(frozen=True)
class Semicircle:
    variance: float

    @property
    def support(self) -> tuple[float, float]:
        edge = 2 * np.sqrt(self.variance)
        return -float(edge), float(edge)

    def pdf(self, x):
        v = self.variance
        return np.sqrt(np.maximum(4 * v - np.square(x), 0.0)) / (2 * np.pi * v)

    def cdf(self, x):
        t = np.clip(np.asarray(x) / (2 * np.sqrt(self.variance)), -1, 1)
        return 0.5 + (t * np.sqrt(1 - t * t) + np.arcsin(t)) / np.pi

    def quantile(self, p):
        return bisected(self.cdf, p, self.support)

    def entropy(self) -> float:
        return float(np.log(2 * np.pi * np.sqrt(self.variance)) - 0.5)

    def stieltjes(self, z):
        """S(z) = ∫ p(x) / (z - x) dx, off the support: the root of v S^2 - z S + 1 = 0 that falls as 1/z."""
        edge = 2 * np.sqrt(self.variance)
        return 2 / (z + _root(z, -edge, edge))

    def r_transform(self, s):
        return self.variance * s

    def s_transform(self, u):
        raise ValueError("the S-transform belongs to distributions on the positive numbers; the semicircle is even")


@dataclass(frozen=True)
class MarchenkoPastur:
    ratio: float
    variance: float

    @property
    def edges(self) -> tuple[float, float]:
        """Of the continuous part."""
        root = np.sqrt(self.ratio)
        return float(self.variance * (1 - root) ** 2), float(self.variance * (1 + root) ** 2)

    @property
    def atom(self) -> float:
        """Weight at 0."""
        return max(1 - 1 / self.ratio, 0.0)

    @property
    def support(self) -> tuple[float, float]:
        lo, hi = self.edges
        return (0.0 if self.atom else lo), hi

    def pdf(self, x):
        """Density of the continuous part; the atom is in `cdf`."""
        lo, hi = self.edges
        x = np.asarray(x, dtype=float)
        inside = (x > lo) & (x < hi)
        safe = np.where(inside, x, 1.0)
        root = np.sqrt(np.where(inside, hi - x, 0.0)) * np.sqrt(np.where(inside, x - lo, 0.0))
        return root / safe / (2 * np.pi * self.ratio * self.variance)

    def cdf(self, x):
        """By the angle with x = v (1 + q - 2 sqrt(q) cos(angle)), in which the continuous part has the density
        ``2 sin^2(angle) / (pi (1 + r^2 - 2 r cos(angle)))``, times 1/q for q > 1, where r = sqrt(min(q, 1/q)).
        """
        lo, hi = self.edges
        x = np.asarray(x, dtype=float)
        t = np.clip(x, lo, hi)
        angle = 2 * np.arctan2(np.sqrt(t - lo), np.sqrt(hi - t))
        r = np.sqrt(min(self.ratio, 1 / self.ratio))
        turned = np.arctan2(r * np.sin(angle), 1 - r * np.cos(angle))
        below = np.clip((angle + np.sin(angle) / r - (1 - r * r) / r * (turned / r)) / np.pi, 0.0, 1.0)
        rest = 1 - self.atom
        return np.where(x < 0, 0.0, np.where(x >= hi, 1.0, self.atom + rest * below))

    def quantile(self, p):
        return np.where(np.asarray(p) <= self.atom, self.support[0], bisected(self.cdf, p, self.edges))

    def entropy(self) -> float:
        if self.atom:
            return -np.inf
        q = self.ratio
        rest = (1 - 1 / q) * np.log1p(-q) / 2 if q < 1 else 0.0
        return float(np.log(2 * np.pi) + np.log(self.variance) + np.log(q) / 2 - 1 + rest)

    def stieltjes(self, z):
        """The root of q v z S^2 - (z - v (1 - q)) S + 1 = 0 that falls as 1/z."""
        z = np.asarray(z)
        b, root = z - self.variance * (1 - self.ratio), _root(z, *self.edges)
        cancels = np.abs(b + root) < np.abs(b - root)  # left of the bulk, for q > 1
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(cancels, (b - root) / z / (2 * self.ratio * self.variance), 2 / (b + root))[()]

    def r_transform(self, s):
        rest = 1 - self.ratio * self.variance * s
        if not np.all(rest > 0):
            raise ValueError(f"the R-transform has its pole at 1 / (q v) = {1 / self.ratio / self.variance:.6g}; give "
                             f"s below, found {np.max(s):.6g}")
        return self.variance / rest

    def s_transform(self, u):
        least = self.atom - 1
        if not np.all((u >= least) & (1 + self.ratio * u > 0)):
            raise ValueError(f"u must lie above the weight at 0 less 1, {least:.6g}, found {np.min(u):.6g}")
        return 1 / (self.variance * (1 + self.ratio * u))


def _root(z, lo, hi):
    """sqrt((z - lo)(z - hi)), the branch that grows as z."""
    z = np.asarray(z)
    if not np.iscomplexobj(z):
        if np.any((z > lo) & (z < hi)):
            raise ValueError(f"the Stieltjes transform is not defined on the bulk [{lo:.6g}, {hi:.6g}]; give a real z "
                             "outside of it, or a complex one")
        return np.sign(z - lo) * np.sqrt(np.abs(z - lo)) * np.sqrt(np.abs(z - hi))
    return np.sqrt(z - lo) * np.sqrt(z - hi)


def bisected(cdf, p, ends):
    """Smallest x with cdf(x) >= p, to the last digit."""
    lo, hi = (np.full(np.shape(p), end) for end in ends)
    for _ in range(60):
        middle = (lo + hi) / 2
        above = cdf(middle) >= p
        lo, hi = np.where(above, lo, middle), np.where(above, middle, hi)
    return hi[()]
