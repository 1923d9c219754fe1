"""Compiled kernels, each the twin of a plain reference with the same signature.

They are compiled when first needed and kept on disk. SPECTRA_KERNELS=0 in the environment switches them off, and so
does a fork: the threads of the parent do not follow into the child. Each takes all threads, so one runs at a time.
"""

from __future__ import annotations

import os
import tempfile
from functools import cache, wraps
from importlib import import_module
from importlib.util import find_spec
from threading import Lock

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


_one_at_a_time = Lock()  # not every threading layer of numba survives two callers
_process: int | None = None  # that has asked for a kernel with threads, which a fork of it does not have


def _compiled(file: str, name: str):
    global _process
    if _process not in (None, os.getpid()) or os.environ.get("SPECTRA_KERNELS", "1") == "0":
        return None
    kernel = getattr(load(file), name, None)
    if kernel is None:
        return None
    _process = os.getpid()
    return _alone(kernel)


@cache
def _alone(kernel):
    @wraps(kernel)
    def call(*args, **options):
        with _one_at_a_time:
            return kernel(*args, **options)

    return call


@cache
def load(file: str):
    """The module with the kernels of one kind, or None without a compiler."""
    if not find_spec("numba"):
        return None
    try:
        return import_module(f"spectra._kernels.{file}")
    except RuntimeError:  # no folder to keep compiled code in can be written to
        from numba import config

        config.CACHE_DIR = tempfile.mkdtemp(prefix="spectra-kernels-")
        return import_module(f"spectra._kernels.{file}")
