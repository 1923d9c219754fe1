"""Krylov and Chebyshev recurrences, and what they give: bounds, eigenpairs, solutions, functions of matrices."""

from spectra.krylov._block_lanczos import BlockLanczosRun
from spectra.krylov._bounds import spectral_bounds
from spectra.krylov._cg import cg
from spectra.krylov._eigenpairs import eigenpairs
from spectra.krylov._functions import matrix_function
from spectra.krylov._lanczos import LanczosRun, lanczos

__all__ = ["BlockLanczosRun", "LanczosRun", "cg", "eigenpairs", "lanczos", "matrix_function", "spectral_bounds"]
