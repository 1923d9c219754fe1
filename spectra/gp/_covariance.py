"""Covariance functions: blocks k(X, Y) of values, and of their derivatives in every parameter.

A covariance function is asked for one thing, its `jet` on two blocks of inputs: the block of values, and for every
parameter a function without arguments that computes the block of derivatives when it is called. Sums, products and
scalings then follow the rules of calculus. A stationary covariance is a function phi of

    r² = Σ_c (x_c - y_c)² / l_c²,

and says no more than phi and its slope in r².

Rasmussen and Williams, Gaussian Processes for Machine Learning, MIT Press 2006, chapter 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from spectra import _arrays
from spectra.gp._distances import difference, squared_distances

__all__ = [
    "KERNELS",
    "Constant",
    "Covariance",
    "Linear",
    "Matern12",
    "Matern32",
    "Matern52",
    "Periodic",
    "RationalQuadratic",
    "SquaredExponential",
    "UserKernel",
]

Key = tuple[str, int | None]
"""A parameter and, for one that has a value a dimension, the dimension."""
Derivatives = dict[Key, Callable[[], Any]]


class Covariance:
    """A covariance function k(x, y), as blocks k(X, Y) of its values.

    Made from the classes of this module, which combine by ``+`` and ``*``, also with positive numbers.

    Attributes
    ----------
    parameters : dict
        Name -> positive number, or array of shape (d,) with one a dimension. The parts of a sum or a product are
        numbered: "0.lengthscale".

    Examples
    --------
    >>> from spectra import gp
    >>> kernel = 2.0 * gp.SquaredExponential(lengthscale=0.5) + gp.Linear()
    >>> kernel.parameters
    {'0.variance': 2.0, '0.lengthscale': 0.5, '1.lengthscale': 1.0}
    >>> kernel.value([[0.0]], [[0.0], [1.0]]).round(4)
    array([[2.    , 0.2707]])
    """

    parameters: dict[str, Any]

    def jet(self, X, Y) -> tuple[Any, Derivatives]:
        """The block k(X, Y) and its derivatives, (name, dimension) -> function that computes the block."""
        raise TypeError(f"{type(self).__name__} must implement jet(X, Y)")

    def diagonal(self, X):
        """k(x, x) for the rows of X, shape (n,)."""
        raise TypeError(f"{type(self).__name__} must implement diagonal(X)")

    def with_parameters(self, parameters: Mapping[str, Any]) -> Covariance:
        """The same covariance function with some parameters replaced."""
        raise TypeError(f"{type(self).__name__} must implement with_parameters(parameters)")

    def value(self, X, Y):
        """The block k(X, Y), shape (n, m), of inputs of shapes (n, d) and (m, d)."""
        X, Y = (x if _arrays.is_array(x) else np.asarray(x, dtype=float) for x in (X, Y))
        return self.jet(X, Y)[0]

    def __add__(self, other):
        return Sum(self, _covariance(other))

    def __radd__(self, other):
        return Sum(_covariance(other), self)

    def __mul__(self, other):
        return Scaled(self, other) if np.isscalar(other) else Product(self, _covariance(other))

    __rmul__ = __mul__

    def __repr__(self):
        values = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())
        return f"{type(self).__name__}({values})"


def _covariance(kernel) -> Covariance:
    if np.isscalar(kernel) and not isinstance(kernel, str):
        return Scaled(Constant(), kernel)
    if isinstance(kernel, Covariance):
        return kernel
    raise TypeError(f"a covariance function combines with covariance functions and positive numbers, found {kernel!r}")


class _Leaf(Covariance):
    """A covariance function without parts: its parameters are the arguments of its constructor."""

    def __init__(self, **parameters):
        self.parameters = {name: positive(name, value) for name, value in parameters.items()}

    def with_parameters(self, parameters):
        require_known(parameters, self.parameters)
        return type(self)(**{**self.parameters, **parameters})


# Stationary covariance functions


class _Stationary(_Leaf):
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
        l = self.parameters["lengthscale"]
        if np.ndim(l) == 0:
            return {("lengthscale", None): lambda: self.slope(r2, k) * r2 * (-2 / l)}
        return {("lengthscale", c): lambda c=c: self.slope(r2, k) * difference(X, Y, c) ** 2 * (-2 / float(l[c]))
                for c in range(len(l))}


class SquaredExponential(_Stationary):
    """exp(-r² / 2), infinitely smooth."""

    def phi(self, r2):
        return _exp(-0.5 * r2)

    def slope(self, r2, k):
        return -0.5 * k


class Matern12(_Stationary):
    """exp(-r), continuous and nowhere differentiable."""

    def phi(self, r2):
        return _exp(-_sqrt(r2))

    def slope(self, r2, k):
        xp = _arrays.namespace(r2)
        r = _sqrt(r2)
        return xp.where(r > 0, -0.5 * k / xp.where(r > 0, r, xp.ones_like(r)), xp.zeros_like(r))


class Matern32(_Stationary):
    """(1 + s) exp(-s) with s = √3 r, once differentiable."""

    def phi(self, r2):
        s = _sqrt(3 * r2)
        return (1 + s) * _exp(-s)

    def slope(self, r2, k):
        return -1.5 * _exp(-_sqrt(3 * r2))


class Matern52(_Stationary):
    """(1 + s + s²/3) exp(-s) with s = √5 r, twice differentiable."""

    def phi(self, r2):
        s = _sqrt(5 * r2)
        return (1 + s + s * s / 3) * _exp(-s)

    def slope(self, r2, k):
        s = _sqrt(5 * r2)
        return (-5 / 6) * (1 + s) * _exp(-s)


class RationalQuadratic(_Stationary):
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


class Periodic(_Leaf):
    """exp(-2 Σ_c sin²(π (x_c - y_c) / p) / l_c²): the squared exponential of points on circles.

    With phi(x) = (cos 2πx/p, sin 2πx/p), |phi(x) - phi(y)|² = 4 sin²(π (x - y) / p). Summed over the dimensions, and
    not a function of the Euclidean distance, it is a covariance in every dimension.
    """

    def __init__(self, lengthscale=1.0, period=1.0):
        super().__init__(lengthscale=lengthscale, period=period)

    def diagonal(self, X):
        return _arrays.namespace(X).ones_like(X[:, 0])

    def jet(self, X, Y):
        xp, d = _arrays.namespace(X), X.shape[1]
        l, p = self.parameters["lengthscale"], self.parameters["period"]
        scale = like(l, X)

        def on_circles(Z):
            angle = Z * (2 * math.pi / p)
            return xp.concat([xp.cos(angle) / scale, xp.sin(angle) / scale], axis=1)

        S, T = _both(on_circles, X, Y)
        r2 = squared_distances(S, T)
        k = _exp(-0.5 * r2)

        def in_period():
            # Σ_c 2π δ_c sin(2π δ_c / p) / (p l_c)², the sine by its addition theorem
            total = 0.0
            for c in range(d):
                sine = S[:, d + c][:, None] * T[:, c][None, :] - S[:, c][:, None] * T[:, d + c][None, :]
                total = total + difference(X, Y, c) * sine
            return k * total * (2 * math.pi / p**2)

        if np.ndim(l) == 0:
            in_lengthscale = {("lengthscale", None): lambda: k * r2 / l}
        else:
            in_lengthscale = {
                ("lengthscale", c): lambda c=c: k * (difference(S, T, c) ** 2 + difference(S, T, d + c) ** 2) / l[c]
                for c in range(d)
            }
        return k, {**in_lengthscale, ("period", None): in_period}


# Others


class Linear(_Leaf):
    """Σ_c x_c y_c / l_c²: Bayesian linear regression."""

    def __init__(self, lengthscale=1.0):
        super().__init__(lengthscale=lengthscale)

    def diagonal(self, X):
        return _arrays.namespace(X).sum((X / like(self.parameters["lengthscale"], X)) ** 2, axis=1)

    def jet(self, X, Y):
        l = self.parameters["lengthscale"]
        X, Y = X / like(l, X), Y / like(l, Y)
        k = X @ _arrays.namespace(X).matrix_transpose(Y)
        if np.ndim(l) == 0:
            return k, {("lengthscale", None): lambda: k * (-2 / l)}
        return k, {("lengthscale", c): lambda c=c: X[:, c][:, None] * Y[:, c][None, :] * (-2 / float(l[c]))
                   for c in range(len(l))}


class Constant(_Leaf):
    """1 everywhere: an unknown mean, scaled by its prior variance."""

    def diagonal(self, X):
        return _arrays.namespace(X).ones_like(X[:, 0])

    def jet(self, X, Y):
        return X[:, 0][:, None] * 0 + (Y[:, 0] * 0 + 1)[None, :], {}


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


# Combinations


class Scaled(Covariance):
    """variance · k."""

    def __init__(self, kernel: Covariance, variance):
        variance = positive("variance", variance)
        if isinstance(kernel, Scaled):
            kernel, variance = kernel.kernel, variance * kernel.variance
        self.kernel, self.variance = kernel, variance
        self.parameters = {"variance": variance, **kernel.parameters}

    def with_parameters(self, parameters):
        require_known(parameters, self.parameters)
        inner = {name: value for name, value in parameters.items() if name != "variance"}
        return Scaled(self.kernel.with_parameters(inner), parameters.get("variance", self.variance))

    def diagonal(self, X):
        return self.variance * self.kernel.diagonal(X)

    def jet(self, X, Y):
        k, derivatives = self.kernel.jet(X, Y)
        scaled = {key: lambda f=f: self.variance * f() for key, f in derivatives.items()}
        return self.variance * k, {("variance", None): lambda: k, **scaled}

    def __repr__(self):
        return f"{self.variance!r} * {self.kernel!r}"


class _Combination(Covariance):
    """Parts, whose parameters are numbered."""

    symbol: str

    def __init__(self, *kernels: Covariance):
        parts = [part for kernel in kernels for part in (kernel.kernels if type(kernel) is type(self) else (kernel,))]
        self.kernels: tuple[Covariance, ...] = tuple(parts)
        self.parameters = {f"{i}.{name}": value for i, kernel in enumerate(parts)
                           for name, value in kernel.parameters.items()}

    def with_parameters(self, parameters):
        require_known(parameters, self.parameters)
        return type(self)(*(kernel.with_parameters({name: parameters[f"{i}.{name}"] for name in kernel.parameters
                                                    if f"{i}.{name}" in parameters})
                            for i, kernel in enumerate(self.kernels)))

    def _jets(self, X, Y):
        jets = [kernel.jet(X, Y) for kernel in self.kernels]
        derivatives = [{(f"{i}.{name}", c): f for (name, c), f in derivatives.items()}
                       for i, (_, derivatives) in enumerate(jets)]
        return [k for k, _ in jets], derivatives

    def __repr__(self):
        return "(" + f" {self.symbol} ".join(map(repr, self.kernels)) + ")"


class Sum(_Combination):
    """k_0 + k_1 + ..."""

    symbol = "+"

    def diagonal(self, X):
        return sum(kernel.diagonal(X) for kernel in self.kernels)

    def jet(self, X, Y):
        values, derivatives = self._jets(X, Y)
        return sum(values), {key: f for part in derivatives for key, f in part.items()}


class Product(_Combination):
    """k_0 · k_1 · ..."""

    symbol = "*"

    def diagonal(self, X):
        return math.prod(kernel.diagonal(X) for kernel in self.kernels)

    def jet(self, X, Y):
        values, derivatives = self._jets(X, Y)

        def chain(i, f):
            return lambda: math.prod((k for j, k in enumerate(values) if j != i), start=f())

        return math.prod(values), {key: chain(i, f) for i, part in enumerate(derivatives) for key, f in part.items()}


KERNELS: dict[str, type[_Leaf]] = {
    "rbf": SquaredExponential,
    "matern12": Matern12,
    "matern32": Matern32,
    "matern52": Matern52,
    "rational-quadratic": RationalQuadratic,
    "periodic": Periodic,
    "linear": Linear,
}
"""Covariance functions by name."""


# Parameters


def positive(name: str, value):
    """A parameter as a positive float, or a length-scale as an array of them, shape (d,)."""
    try:
        value = np.asarray(_arrays.to_host(value) if _arrays.is_array(value) else value, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a positive number, found {value!r}") from None
    if value.ndim > 1 or value.ndim == 1 and (name != "lengthscale" or value.size == 0):
        one_each = " or one a dimension, shape (d,)" if name == "lengthscale" else ""
        raise ValueError(f"{name} must be a positive number{one_each}, found an array of shape {value.shape}")
    if not np.all(np.isfinite(value) & (value > 0)):
        raise ValueError(f"{name} must be positive and finite, found {value}")
    return float(value) if value.ndim == 0 else value.copy()


def require_known(names, parameters):
    unknown = [name for name in names if name not in parameters]
    if unknown:
        raise ValueError(f"no parameter {unknown[0]!r}; this kernel has {', '.join(parameters) or 'none'}")


def like(value, X):
    """A parameter in the library and dtype of X; a number stays a Python float, which widens nothing."""
    return value if np.ndim(value) == 0 else _arrays.from_host(value, X, _arrays.dtype_of(X))


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
