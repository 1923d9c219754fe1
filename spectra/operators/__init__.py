"""Operators: the base class, what can be made into one, and what can be made of them."""

from spectra.operators._adapters import aslinearoperator
from spectra.operators._algebra import Diagonal
from spectra.operators._base import LinearOperator

__all__ = ["Diagonal", "LinearOperator", "aslinearoperator"]
