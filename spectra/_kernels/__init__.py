"""Compiled kernels, each the twin of a plain reference with the same signature.

They are compiled when first needed and kept on disk. SPECTRA_KERNELS=0 in the environment switches them off.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec

import numpy as np

_LEAST_WORK = 2_000_000  # multiplications a call below which starting threads, let alone a compiler, does not pay
_DTYPES = (np.float32, np.float64)
_LEAST_COLUMNS = {"step": 2, "product": 8}


def csr_kernel(name: str, A, V):
    """The compiled step or product for a CSR matrix and a block, or None where the plain one is the better choice."""
    if V.shape[1] < _LEAST_COLUMNS[name] or A.nnz * V.shape[1] < _LEAST_WORK:
        return None
    if A.dtype not in _DTYPES or V.dtype != A.dtype:
        return None
    switched_on = os.environ.get("SPECTRA_KERNELS", "1") != "0"
    return getattr(_csr(), name, None) if switched_on else None


@cache
def _csr():
    return import_module("spectra._kernels.csr") if find_spec("numba") else None
