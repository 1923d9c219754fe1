"""Spectra of operators known only by their products, with honest error bars."""

from spectra import estimators, graphs, krylov, operators, testing
from spectra._maxent import maxent
from spectra.estimators import diagonal, logdet, moments, spectral_density, spectral_sum, trace
from spectra.graphs import egs_cluster_count
from spectra.krylov import eigenpairs, lanczos, spectral_bounds
from spectra.operators import LinearOperator, aslinearoperator
from spectra.results import ConvergenceWarning, Estimate, SpectralDensity

__all__ = [
    "ConvergenceWarning",
    "Estimate",
    "LinearOperator",
    "SpectralDensity",
    "aslinearoperator",
    "diagonal",
    "egs_cluster_count",
    "eigenpairs",
    "estimators",
    "graphs",
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


_LATER = ("datasets", "gp", "nn", "optim", "plot", "rmt")


def __getattr__(name: str):
    """Rooms that the core does without are imported when first used."""
    if name in _LATER:
        import importlib

        return importlib.import_module(f"spectra.{name}")
    raise AttributeError(f"module 'spectra' has no attribute {name!r}")
