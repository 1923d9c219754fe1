"""Spectra of operators known only by their products, with honest error bars."""

from spectra import krylov, operators, testing
from spectra.krylov import lanczos
from spectra.operators import LinearOperator, aslinearoperator
from spectra.results import ConvergenceWarning, Estimate, SpectralDensity

__all__ = ["ConvergenceWarning", "Estimate", "LinearOperator", "SpectralDensity", "aslinearoperator", "krylov", "lanczos", "operators", "testing"]
__version__ = "0.1.0"
