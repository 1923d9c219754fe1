"""Spectra of operators known only by their products, with honest error bars."""

from spectra import estimators, krylov, operators, testing
from spectra._maxent import maxent
from spectra.estimators import diagonal, logdet, moments, spectral_density, spectral_sum, trace
from spectra.krylov import lanczos
from spectra.krylov._bounds import spectral_bounds
from spectra.operators import LinearOperator, aslinearoperator
from spectra.results import ConvergenceWarning, Estimate, SpectralDensity

__all__ = [
    "ConvergenceWarning",
    "Estimate",
    "LinearOperator",
    "SpectralDensity",
    "aslinearoperator",
    "diagonal",
    "estimators",
    "krylov",
    "lanczos",
    "logdet",
    "maxent",
    "moments",
    "operators",
    "spectral_bounds",
    "spectral_density",
    "spectral_sum",
    "testing",
    "trace",
]
__version__ = "0.1.0"
