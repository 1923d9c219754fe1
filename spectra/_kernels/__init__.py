"""Compiled kernels, each the twin of a plain reference with the same signature.

They are compiled when first needed and kept on disk. SPECTRA_KERNELS=0 in the environment switches them off.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

import numpy as np

_LEAST_WORK = 2_000_000  # multiplications a call below which starting threads, let alone a compiler, does not pay
_DTYPES = (np.float32, np.float64)


def csr_kernel(A, V):
    """The compiled step for a CSR matrix and a block, or None where the plain one is the better choice."""
    if V.shape[1] < 2 or A.nnz * V.shape[1] < _LEAST_WORK or A.dtype not in _DTYPES or V.dtype != A.dtype:
        return None
    return _compiled() if os.environ.get("SPECTRA_KERNELS", "1") != "0" else None


@cache
def _compiled():
    if find_spec("numba") is None:
        return None
    from spectra._kernels.csr import step

    return step
