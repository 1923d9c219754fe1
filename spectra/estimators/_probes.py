"""Blocks of random probes, as many at once as the memory budget allows."""

from __future__ import annotations

from collections.abc import Iterator

from spectra import _arrays
from spectra.operators import LinearOperator


def probe_blocks(op: LinearOperator, probes: int, generator, held: float, memory: int | None) -> Iterator:
    """Rademacher probes for `op` in blocks (n, k); `held` vectors of memory are needed for each probe."""
    n = op.shape[0]
    for k in _arrays.groups(probes, held * n * op.dtype.itemsize, memory):
        yield _arrays.signs(generator, n, k, op.like, op.dtype)
