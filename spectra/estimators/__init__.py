"""Estimators: traces and diagonals from products."""

from spectra.estimators._diagonal import diagonal
from spectra.estimators._trace import trace

__all__ = ["diagonal", "trace"]
