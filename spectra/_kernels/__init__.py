"""Compiled kernels, each the twin of a plain reference with the same signature.

They are compiled when first needed and kept on disk. SPECTRA_KERNELS=0 in the environment switches them off.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec

import numpy as np

_LEAST_WORK = 500_000  # multiplications a call below which starting threads, let alone a compiler, does not pay
_DTYPES = (np.float32, np.float64)


def csr_kernel(name: str, A, V):
    """The compiled step or product for a CSR matrix and a block, or None where the plain one is the better choice."""
    if A.nnz * V.shape[1] < _LEAST_WORK:
        return None
    if A.dtype not in _DTYPES or V.dtype != A.dtype:
        return None
    return _compiled("csr", name)


def survey_kernel(A):
    """The compiled survey of a square CSR matrix in canonical form, or None where the plain one will do."""
    large = A.nnz >= _LEAST_WORK and A.dtype in _DTYPES and A.shape[0] == A.shape[1]
    return _compiled("entries", "survey") if large else None


def _compiled(file: str, name: str):
    switched_on = os.environ.get("SPECTRA_KERNELS", "1") != "0"
    return getattr(_module(file), name, None) if switched_on else None


@cache
def _module(file: str):
    return import_module(f"spectra._kernels.{file}") if find_spec("numba") else None
