"""Krylov and Chebyshev recurrences."""

from spectra.krylov._block_lanczos import BlockLanczosRun
from spectra.krylov._lanczos import LanczosRun, lanczos

__all__ = ["BlockLanczosRun", "LanczosRun", "lanczos"]
