"""Curvature of neural networks: a model, a loss and data as a `LinearOperator` on vectors of parameters."""

from spectra.nn._fisher import EmpiricalFisherOperator, FisherOperator
from spectra.nn._ggn import GGNOperator
from spectra.nn._hessian import HessianOperator
from spectra.nn._variance import curvature_variance

__all__ = ["EmpiricalFisherOperator", "FisherOperator", "GGNOperator", "HessianOperator", "curvature_variance"]
