"""Covariance functions as blocks k(X, Y) of values and of derivatives, and the algebra they obey.

A covariance function is asked for one thing, its `jet` on two blocks of inputs: the block of values, and for every
parameter a function without arguments that computes the block of derivatives when it is called. Sums, products and
scalings then follow the rules of calculus.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from spectra import _arrays

__all__ = ["Constant", "Covariance", "Derivatives", "Leaf", "Product", "Scaled", "Sum", "like", "positive",
           "require_known"]

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
    >>> kernel([[0.0]], [[0.0], [1.0]]).round(4)
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

    def __call__(self, X, Y):
        """The block k(X, Y), shape (n, m), of inputs of shapes (n, d) and (m, d)."""
        X, Y = (x if _arrays.is_array(x) else np.asarray(x, dtype=float) for x in (X, Y))
        if X.ndim != 2 or Y.ndim != 2 or X.shape[1] != Y.shape[1]:
            raise ValueError(f"a covariance function takes blocks of shapes (n, d) and (m, d), found {tuple(X.shape)} "
                             f"and {tuple(Y.shape)}")
        return self.jet(X, Y)[0]

    def __add__(self, other):
        return Sum(self, _covariance(other))

    def __radd__(self, other):
        if np.isscalar(other) and other == 0:
            return self  # the start of Python's sum()
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


class Leaf(Covariance):
    """A covariance function without parts: its parameters are the arguments of its constructor.

    A new one says `diagonal(X)` and `jet(X, Y)`; a stationary one, see `Stationary`, only a function of distances.
    """

    def __init__(self, **parameters):
        self.parameters = {name: positive(name, value) for name, value in parameters.items()}

    def with_parameters(self, parameters):
        require_known(parameters, self.parameters)
        return type(self)(**{**self.parameters, **parameters})


# Combinations


class Constant(Leaf):
    """1 everywhere: an unknown mean, scaled by its prior variance."""

    def diagonal(self, X):
        return _arrays.namespace(X).ones_like(X[:, 0])

    def jet(self, X, Y):
        xp = _arrays.namespace(X)
        return xp.ones((X.shape[0], Y.shape[0]), dtype=X.dtype, device=_arrays.device(X)), {}


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
        scaled = derivatives if self.variance == 1 else {
            key: lambda f=f: self.variance * f() for key, f in derivatives.items()}
        return k if self.variance == 1 else self.variance * k, {("variance", None): lambda: k, **scaled}

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


# Parameters


def positive(name: str, value):
    """A parameter as a positive float, or a length-scale as an array of them, shape (d,)."""
    try:
        value = np.asarray(_arrays.to_host(value) if _arrays.is_array(value) else value, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a positive number, found {value!r}") from None
    if value.ndim > 1 or (value.ndim == 1 and (name != "lengthscale" or value.size == 0)):
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
