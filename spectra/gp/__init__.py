"""Gaussian processes without forming their matrices."""

from spectra.gp._covariance import (
    KERNELS,
    Constant,
    Covariance,
    Linear,
    Matern12,
    Matern32,
    Matern52,
    Periodic,
    RationalQuadratic,
    SquaredExponential,
    UserKernel,
)
from spectra.gp._operator import KernelOperator
from spectra.gp._sklearn import from_sklearn

__all__ = [
    "KERNELS",
    "Constant",
    "Covariance",
    "KernelOperator",
    "Linear",
    "Matern12",
    "Matern32",
    "Matern52",
    "Periodic",
    "RationalQuadratic",
    "SquaredExponential",
    "UserKernel",
    "from_sklearn",
]
