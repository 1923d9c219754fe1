"""The dual of entropy maximisation on a grid of Chebyshev points, with gradient, Hessian and penalty.

Integrals are sums with the weights of Fejér's first rule: positive, exact for polynomials, and geometrically convergent
for p = q exp(polynomial) once its peaks are resolved. Gradient and Hessian need the moments of p up to 2m, one
cosine transform of the masses, because T_j T_k = (T_{j+k} + T_{|j-k|})/2.

Reference: Waldvogel, Fast construction of the Fejér and Clenshaw-Curtis quadrature rules, BIT 46 (2006), doi
10.1007/s10543-006-0045-4.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy  # whose parts are loaded when first used


class Pull(NamedTuple):
    """The penalty for a ridge of 1, its gradient, and the diagonal that stands for its Hessian."""

    value: float
    slope: np.ndarray
    curvature: np.ndarray


def pull(alpha, knee) -> Pull:
    """Sum of alpha²/2, or, with a finite knee, of a function that turns to knee |alpha|: its slope stays below it.

    The latter is the convex conjugate of the logarithmic barrier -(knee²/2) log(1 - (y/knee)²). Its second derivative
    vanishes like alpha^-2 and slope/alpha like alpha^-1; their geometric mean makes the safest Newton steps.
    """
    if np.isinf(knee):
        return Pull(float(0.5 * alpha @ alpha), alpha, np.ones_like(alpha))
    root = np.sqrt(1 + (2 / knee * alpha) ** 2)
    slope = 2 * alpha / (1 + root)
    half = slope * alpha / knee**2  # (root - 1)/2, without cancellation
    return Pull(float(knee**2 * (half - 0.5 * np.log1p(half)).sum()), slope, 2 / (np.sqrt(root) * (1 + root)))


class Point(NamedTuple):
    """Multipliers 1 ... m and what the dual needs of them; `masses` of p on the grid sum to 1."""

    alpha: np.ndarray
    log_z: float
    linear: float
    pull: Pull
    masses: np.ndarray

    def value(self, ridge):
        return self.log_z + self.linear + ridge * self.pull.value


class Dual:
    """The dual; integrals are sums over Chebyshev points, at least `points` of them."""

    def __init__(self, mu, variance, log_prior, points, knee=np.inf):
        self.mu, self.variance, self.log_prior, self.knee = mu, variance, log_prior, knee
        self.order = len(mu)
        self.points = scipy.fft.next_fast_len(int(points), real=True)
        self.base = log_weights(self.points) + at_points(log_prior, self.points)
        self._refined: dict[int, Dual] = {}
        # Hankel and Toeplitz matrices of moments k and |k|, views of one vector whose middle is E T_0 / 2.
        m = self.order
        self._line = np.empty(4 * m + 1)
        stride = self._line.strides[0]
        view = np.lib.stride_tricks.as_strided
        self._hankel = view(self._line[2 * m + 2 :], (m, m), (stride, stride))
        self._toeplitz = view(self._line[2 * m :], (m, m), (-stride, stride))

    def refined(self, factor: int) -> Dual:
        """The same dual on a finer grid, made once."""
        if factor not in self._refined:
            self._refined[factor] = Dual(self.mu, self.variance, self.log_prior, factor * self.points, self.knee)
        return self._refined[factor]

    def bent(self, knee: float) -> Dual:
        """The dual with another penalty, linear beyond the knee."""
        return Dual(self.mu, self.variance, self.log_prior, self.points, knee)

    def at(self, alpha) -> Point:
        exponent = self.base - at_points(alpha, self.points, first=1)
        top = exponent.max()
        exponent -= top
        masses = np.exp(exponent, out=exponent)
        total = masses.sum()
        masses /= total
        linear = alpha @ (self.mu + 0.5 * self.variance * alpha)
        return Point(alpha, float(top + np.log(total)), float(linear), pull(alpha, self.knee), masses)

    def moments(self, masses):
        """Averages of T_0 ... T_2m."""
        return scipy.fft.dct(masses, type=2)[: 2 * self.order + 1] / 2

    def gradient(self, point, ridge, moments):
        return self.mu - moments[1 : self.order + 1] + ridge * point.pull.slope + self.variance * point.alpha

    def hessian(self, point, ridge, moments):
        """Covariance of T_1 ... T_m under p, and the curvature of the penalty."""
        m = self.order
        half = np.multiply(moments, 0.5, out=self._line[2 * m :])
        self._line[m : 2 * m] = half[m:0:-1]
        H = self._hankel + self._toeplitz
        H -= np.multiply.outer(2 * moments[1 : m + 1], half[1 : m + 1])
        H.flat[:: m + 1] += ridge * point.pull.curvature + self.variance
        return H


def chebyshev_points(n):
    """Chebyshev points, descending."""
    return np.cos((np.arange(n) + 0.5) * (np.pi / n))


def at_points(series, points, first=0):
    """A Chebyshev series, from T_first on, at the points."""
    if len(series) + first == 1:
        return np.full(points, float(series[0]))
    padded = np.zeros(points)
    np.multiply(series, 0.5, out=padded[first : first + len(series)])
    padded[0] *= 2
    return scipy.fft.dct(padded, type=3, overwrite_x=True)


@lru_cache(maxsize=16)
def log_weights(points):
    """Logarithms of the weights of Fejér's first rule, all positive; ∫ T_k = 2/(1 - k²) for even k, 0 for odd."""
    integrals = np.zeros(points)
    integrals[::2] = 2 / (1 - np.arange(0, points, 2.0) ** 2)
    weights = np.log(scipy.fft.dct(integrals, type=3) / points)
    weights.setflags(write=False)
    return weights
