"""The covariance functions that go by a name, and those of the user.

A stationary covariance is a function phi of

    r² = Σ_c (x_c - y_c)² / l_c²

with phi(0) = 1, and says no more than phi and its slope in r²; derivatives in the length-scales follow.

Rasmussen and Williams, Gaussian Processes for Machine Learning, MIT Press 2006, chapter 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from spectra import _arrays
from spectra.gp._blocks import matmul
from spectra.gp._covariance import Covariance, Derivatives, Leaf, like, positive, require_known
from spectra.gp._distances import difference, squared_distances, weighted_squares

__all__ = [
    "KERNELS",
    "Linear",
    "Matern12",
    "Matern32",
    "Matern52",
    "Periodic",
    "RationalQuadratic",
    "SquaredExponential",
    "UserKernel",
]


class Stationary(Leaf):
    """k(x, y) = phi(r²), with phi(0) = 1."""

    def __init__(self, lengthscale=1.0, **parameters):
        super().__init__(lengthscale=lengthscale, **parameters)

    def phi(self, r2):
        """The covariance at squared distances."""
        raise TypeError(f"{type(self).__name__} must implement phi(r2)")

    def slope(self, r2, k):
        """d phi / d r², given k = phi(r²); where that is infinite at 0, zero there."""
        raise TypeError(f"{type(self).__name__} must implement slope(r2, k)")

    def other_derivatives(self, r2, k) -> Derivatives:
        """Derivatives in parameters other than the length-scale."""
        return {}

    def diagonal(self, X):
        return _arrays.namespace(X).ones_like(X[:, 0])

    def jet(self, X, Y):
        X, Y = _both(lambda Z: Z / like(self.parameters["lengthscale"], Z), X, Y)
        r2 = squared_distances(X, Y)
        k = self.phi(r2)
        return k, {**self._in_lengthscale(X, Y, r2, k), **self.other_derivatives(r2, k)}

    def _in_lengthscale(self, X, Y, r2, k) -> Derivatives:
        """d r² / d l = -2 r² / l, and a dimension's share of it for a length-scale a dimension."""
        scale = self.parameters["lengthscale"]
        if np.ndim(scale) == 0:
            return {("lengthscale", None): lambda: (-2 / scale) * self.slope(r2, k) * r2}
        slope = cache(lambda: -self.slope(r2, k))  # for all dimensions once

        def in_dimension(c):
            factor = math.sqrt(2 / scale[c])
            return weighted_squares(slope(), factor * X[:, c], factor * Y[:, c])

        return {("lengthscale", c): lambda c=c: in_dimension(c) for c in range(len(scale))}


class SquaredExponential(Stationary):
    """exp(-r² / 2), infinitely smooth."""

    def phi(self, r2):
        return _exp(-0.5 * r2)

    def slope(self, r2, k):
        return -0.5 * k


class Matern12(Stationary):
    """exp(-r), continuous and nowhere differentiable."""

    def phi(self, r2):
        return _exp(-_sqrt(r2))

    def slope(self, r2, k):
        xp = _arrays.namespace(r2)
        r = _sqrt(r2)
        return xp.where(r > 0, -0.5 * k / xp.where(r > 0, r, xp.ones_like(r)), xp.zeros_like(r))


class Matern32(Stationary):
    """(1 + s) exp(-s) with s = √3 r, once differentiable."""

    def phi(self, r2):
        s = _sqrt(3 * r2)
        return (1 + s) * _exp(-s)

    def slope(self, r2, k):
        return -1.5 * _exp(-_sqrt(3 * r2))


class Matern52(Stationary):
    """(1 + s + s²/3) exp(-s) with s = √5 r, twice differentiable."""

    def phi(self, r2):
        s = _sqrt(5 * r2)
        return (1 + s + s * s / 3) * _exp(-s)

    def slope(self, r2, k):
        s = _sqrt(5 * r2)
        return (-5 / 6) * (1 + s) * _exp(-s)


class RationalQuadratic(Stationary):
    """(1 + r² / 2α)^-α, a mixture of squared exponentials of many length-scales."""

    def __init__(self, lengthscale=1.0, alpha=1.0):
        super().__init__(lengthscale, alpha=alpha)

    def phi(self, r2):
        alpha = self.parameters["alpha"]
        return _exp(-alpha * _log1p(r2 / (2 * alpha)))

    def slope(self, r2, k):
        return -0.5 * k / (1 + r2 / (2 * self.parameters["alpha"]))

    def other_derivatives(self, r2, k):
        u = r2 / (2 * self.parameters["alpha"])
        return {("alpha", None): lambda: k * (u / (1 + u) - _log1p(u))}


class Periodic(Leaf):
    """exp(-2 Σ_c sin²(π (x_c - y_c) / p) / l_c²): the squared exponential of points on circles.

    With z(x) = (cos 2πx/p, sin 2πx/p), |z(x) - z(y)|² = 4 sin²(π (x - y) / p). A product over the dimensions, not a
    function of the Euclidean distance, so that it is a covariance in every dimension.
    """

    def __init__(self, lengthscale=1.0, period=1.0):
        super().__init__(lengthscale=lengthscale, period=period)

    def diagonal(self, X):
        return _arrays.namespace(X).ones_like(X[:, 0])

    def jet(self, X, Y):
        xp, d = _arrays.namespace(X), X.shape[1]
        scale, period = self.parameters["lengthscale"], self.parameters["period"]

        def on_circles(Z):
            angle = Z * (2 * math.pi / period)
            return xp.concat([xp.cos(angle) / like(scale, Z), xp.sin(angle) / like(scale, Z)], axis=1)

        S, T = _both(on_circles, X, Y)
        r2 = squared_distances(S, T)
        k = _exp(-0.5 * r2)

        def in_dimension(c):
            factor = 1 / math.sqrt(scale[c])
            return sum(weighted_squares(k, factor * S[:, e], factor * T[:, e]) for e in (c, d + c))

        def in_period():  # k Σ_c 2π δ_c sin(2π δ_c / p) / (p l_c)²
            return k * sum(difference(X, Y, c) * _sine(S, T, c, d) for c in range(d)) * (2 * math.pi / period**2)

        in_lengthscale: Derivatives = {("lengthscale", None): lambda: k * r2 / scale} if np.ndim(scale) == 0 else {
            ("lengthscale", c): lambda c=c: in_dimension(c) for c in range(d)}
        return k, {**in_lengthscale, ("period", None): in_period}


def _sine(S, T, c, d):
    """sin(a - b) by its addition theorem, from cosines in column c and sines in column d + c."""
    return S[:, d + c][:, None] * T[:, c][None, :] - S[:, c][:, None] * T[:, d + c][None, :]


class Linear(Leaf):
    """Σ_c x_c y_c / l_c²: Bayesian linear regression."""

    def __init__(self, lengthscale=1.0):
        super().__init__(lengthscale=lengthscale)

    def diagonal(self, X):
        return _arrays.namespace(X).sum((X / like(self.parameters["lengthscale"], X)) ** 2, axis=1)

    def jet(self, X, Y):
        scale = self.parameters["lengthscale"]
        X, Y = X / like(scale, X), Y / like(scale, Y)
        k = matmul(X, _arrays.namespace(Y).matrix_transpose(Y))
        if np.ndim(scale) == 0:
            return k, {("lengthscale", None): lambda: k * (-2 / scale)}
        return k, {("lengthscale", c): lambda c=c: (-2 / float(scale[c])) * X[:, c][:, None] * Y[:, c][None, :]
                   for c in range(len(scale))}


class UserKernel(Covariance):
    """Any function of two blocks, ``function(X, Y, **parameters) -> (n, m)``.

    Parameters
    ----------
    function : callable
        Takes blocks of shapes (n, d) and (m, d) and the parameters by name; returns the block k(X, Y). It may be called
        from several threads.
    parameters : dict, optional
        Name -> positive number.
    derivatives : dict, optional
        Name -> function of the same arguments that returns the block of derivatives in that parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from spectra import gp
    >>> def cosine(X, Y, frequency):
    ...     return np.cos(frequency * (X - Y.T))
    >>> def slope(X, Y, frequency):
    ...     return -(X - Y.T) * np.sin(frequency * (X - Y.T))
    >>> kernel = gp.UserKernel(cosine, {"frequency": 2.0}, {"frequency": slope})
    >>> gp.KernelOperator([[0.0], [np.pi]], kernel).todense()
    array([[1., 1.],
           [1., 1.]])
    """

    def __init__(self, function: Callable, parameters: Mapping[str, Any] | None = None,
                 derivatives: Mapping[str, Callable] | None = None):
        self.function = function
        self.parameters = {name: positive(name, value) for name, value in (parameters or {}).items()}
        self.derivatives = dict(derivatives or {})
        require_known(self.derivatives, self.parameters)
        for name in ("variance", "noise"):
            if name in self.parameters:
                raise ValueError(f"a parameter of a kernel function may not be called {name!r}, which every covariance "
                                 f"matrix has already; leave it out of the function, or call it otherwise")

    def with_parameters(self, parameters):
        require_known(parameters, self.parameters)
        return UserKernel(self.function, {**self.parameters, **parameters}, self.derivatives)

    def diagonal(self, X):
        xp = _arrays.namespace(X)
        blocks = (self.jet(X[rows, :], X[rows, :])[0] for rows in _arrays.chunks(X.shape[0], 64))
        return xp.concat([xp.linalg.diagonal(block) for block in blocks])

    def jet(self, X, Y):
        k = self.function(X, Y, **self.parameters)
        if not _arrays.is_array(k) or tuple(k.shape) != (X.shape[0], Y.shape[0]):
            found = f"shape {tuple(k.shape)}" if _arrays.is_array(k) else f"a {type(k).__name__}"
            raise ValueError(f"a kernel function of blocks of shapes {tuple(X.shape)} and {tuple(Y.shape)} must return "
                             f"an array of shape {(X.shape[0], Y.shape[0])}, found {found}")
        return k, {(name, None): lambda name=name: self._derivative(name, X, Y) for name in self.parameters}

    def _derivative(self, name, X, Y):
        if name not in self.derivatives:
            raise TypeError(f"the kernel function {getattr(self.function, '__name__', 'given')} has no derivative in "
                            f"{name!r}; give it, UserKernel(function, parameters, derivatives={{{name!r}: ...}})")
        return self.derivatives[name](X, Y, **self.parameters)


KERNELS: dict[str, type[Leaf]] = {
    "rbf": SquaredExponential,
    "matern12": Matern12,
    "matern32": Matern32,
    "matern52": Matern52,
    "rational-quadratic": RationalQuadratic,
    "periodic": Periodic,
    "linear": Linear,
}
"""Covariance functions by name."""


def _both(transform, X, Y):
    """The two blocks transformed, one object if they are one."""
    S = transform(X)
    return S, S if Y is X else transform(Y)


def _exp(x):
    return _arrays.namespace(x).exp(x)


def _sqrt(x):
    return _arrays.namespace(x).sqrt(x)


def _log1p(x):
    return _arrays.namespace(x).log1p(x)
