"""What every computation returns: a number with an error bar, or a quadrature rule for a spectrum."""

from spectra.results._density import SpectralDensity, joined
from spectra.results._estimate import ConvergenceWarning, Estimate
from spectra.results._rules import NotFinite, remaining_change, standard_error

__all__ = ["ConvergenceWarning", "Estimate", "NotFinite", "SpectralDensity", "joined", "remaining_change",
           "standard_error"]
