"""Estimators: traces, diagonals, moments, densities, sums over the spectrum, log-determinants."""

from spectra.estimators._density import spectral_density
from spectra.estimators._diagonal import diagonal
from spectra.estimators._logdet import logdet
from spectra.estimators._moments import moments
from spectra.estimators._nystrom import Nystrom
from spectra.estimators._pivoted_cholesky import PivotedCholesky
from spectra.estimators._preconditioners import Jacobi
from spectra.estimators._sum import spectral_sum
from spectra.estimators._trace import trace

__all__ = ["Jacobi", "Nystrom", "PivotedCholesky", "diagonal", "logdet", "moments", "spectral_density", "spectral_sum",
           "trace"]
