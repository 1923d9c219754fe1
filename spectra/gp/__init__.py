"""Gaussian processes without forming their matrices."""

from spectra.gp._covariance import Constant, Covariance
from spectra.gp._inv_quad import inv_quad_logdet
from spectra.gp._kernels import (
    KERNELS,
    Linear,
    Matern12,
    Matern32,
    Matern52,
    Periodic,
    RationalQuadratic,
    SquaredExponential,
    UserKernel,
)
from spectra.gp._likelihood import log_marginal_likelihood
from spectra.gp._operator import KernelOperator
from spectra.gp._regressor import GPRegressor
from spectra.gp._sklearn import from_sklearn

__all__ = [
    "KERNELS",
    "Constant",
    "Covariance",
    "GPRegressor",
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
    "inv_quad_logdet",
    "log_marginal_likelihood",
]
