"""Curvature of neural networks: a model, a loss and data as a `LinearOperator` on vectors of parameters."""

from spectra.nn._augmented import Augmented
from spectra.nn._fisher import EmpiricalFisherOperator, FisherOperator
from spectra.nn._ggn import GGNOperator
from spectra.nn._hessian import HessianOperator
from spectra.nn._landscape import landscape, random_direction
from spectra.nn._spectrum import heaviest, negative_mass, rank_bound, rank_degeneracy, skewness
from spectra.nn._statistics import gradient_variance, statistics
from spectra.nn._variance import curvature_variance

__all__ = ["Augmented", "EmpiricalFisherOperator", "FisherOperator", "GGNOperator", "HessianOperator",
           "curvature_variance", "gradient_variance", "heaviest", "landscape", "negative_mass", "random_direction",
           "rank_bound", "rank_degeneracy", "skewness", "statistics"]
