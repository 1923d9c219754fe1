"""Kernels of scikit-learn as covariance functions."""

from __future__ import annotations

import numpy as np

from spectra.gp._covariance import Constant, Covariance
from spectra.gp._kernels import (
    Linear,
    Matern12,
    Matern32,
    Matern52,
    Periodic,
    RationalQuadratic,
    SquaredExponential,
)

__all__ = ["from_sklearn", "is_sklearn"]

_MATERN = {0.5: Matern12, 1.5: Matern32, 2.5: Matern52, np.inf: SquaredExponential}


def is_sklearn(kernel) -> bool:
    """Whether `kernel` is a kernel object of scikit-learn, which need not be installed."""
    return any(cls.__module__ == "sklearn.gaussian_process.kernels" for cls in type(kernel).__mro__)


def from_sklearn(kernel, dimensions: int = 1) -> tuple[Covariance | None, float]:
    """A kernel of scikit-learn as a covariance function and a noise variance.

    Parameters
    ----------
    kernel : sklearn.gaussian_process.kernels.Kernel
        Sums and products of `RBF`, `Matern` (nu 1/2, 3/2, 5/2), `RationalQuadratic`, `ExpSineSquared`, `DotProduct`,
        `ConstantKernel` and `WhiteKernel`.
    dimensions : int, optional
        Dimensions of the inputs: `ExpSineSquared` of the Euclidean distance is no covariance in more than one.

    Returns
    -------
    Covariance, float
        The covariance function, and the noise of the white kernels.

    Notes
    -----
    Values are taken over, bounds are not: `GPRegressor` has its own, and refuses parameters that are "fixed", which
    it would move.

    Examples
    --------
    >>> from sklearn.gaussian_process.kernels import RBF, WhiteKernel
    >>> from spectra import gp
    >>> gp.from_sklearn(2.0 * RBF(0.5) + WhiteKernel(0.1))
    (2.0 * SquaredExponential(lengthscale=0.5), 0.1)
    """
    name = type(kernel).__name__
    if name not in _CONVERSIONS:
        raise TypeError(f"scikit-learn's {name} has no counterpart here; known are {', '.join(_CONVERSIONS)}; "
                        "other kernels can be given as functions of two blocks")
    return _CONVERSIONS[name](kernel, dimensions)


def _matern(kernel, dimensions):
    if kernel.nu not in _MATERN:
        raise ValueError(f"Matern kernels are known for nu 0.5, 1.5, 2.5 and inf, found {kernel.nu}")
    return _MATERN[kernel.nu](lengthscale=kernel.length_scale), 0.0


def _periodic(kernel, dimensions):
    if dimensions > 1:
        raise ValueError("scikit-learn's ExpSineSquared is a function of the Euclidean distance, which is no "
                         f"covariance in {dimensions} dimensions; use spectra.gp.Periodic, a product over dimensions")
    return Periodic(lengthscale=kernel.length_scale, period=kernel.periodicity), 0.0


def _sum(kernel, dimensions):
    (a, noise_a), (b, noise_b) = (from_sklearn(part, dimensions) for part in (kernel.k1, kernel.k2))
    return (a if b is None else b if a is None else a + b), noise_a + noise_b


def _product(kernel, dimensions):
    for constant, other in ((kernel.k1, kernel.k2), (kernel.k2, kernel.k1)):
        if type(constant).__name__ == "ConstantKernel":
            k, noise = from_sklearn(other, dimensions)
            return None if k is None else constant.constant_value * k, constant.constant_value * noise
    (a, noise_a), (b, noise_b) = (from_sklearn(part, dimensions) for part in (kernel.k1, kernel.k2))
    if noise_a or noise_b:
        raise ValueError("a WhiteKernel times another kernel is noise that differs between the points; multiply white "
                         "kernels by constants only")
    return a * b, 0.0


_CONVERSIONS = {
    "RBF": lambda kernel, _: (SquaredExponential(lengthscale=kernel.length_scale), 0.0),
    "Matern": _matern,
    "RationalQuadratic": lambda kernel, _: (
        RationalQuadratic(lengthscale=kernel.length_scale, alpha=kernel.alpha), 0.0),
    "ExpSineSquared": _periodic,
    "DotProduct": lambda kernel, _: (Linear() + kernel.sigma_0**2 * Constant() if kernel.sigma_0 else Linear(), 0.0),
    "ConstantKernel": lambda kernel, _: (kernel.constant_value * Constant(), 0.0),
    "WhiteKernel": lambda kernel, _: (None, float(kernel.noise_level)),
    "Sum": _sum,
    "Product": _product,
}
