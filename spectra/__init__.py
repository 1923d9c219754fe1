"""Spectra of operators known only by their products, with honest error bars."""

from spectra.results import Estimate, SpectralDensity

__all__ = ["Estimate", "SpectralDensity"]
__version__ = "0.1.0"
