"""What an estimator of tr f(A) knows before its first product."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from spectra import _arrays
from spectra.krylov._bounds import gershgorin
from spectra.operators import LinearOperator


class Problem:
    """An operator that has passed the door, its random source, and what is known exactly about it.

    Attributes
    ----------
    A : LinearOperator
        Hermitian.
    generator, seed
        Where probes come from, and what reproduces it.
    support : tuple or None
        Interval that holds the spectrum, if the caller gave one.
    memory : int
        Budget in bytes for blocks of vectors and bases.
    """

    def __init__(self, A: LinearOperator, rng, support=None, memory: int | None = None):
        self.A = A
        self.generator, self.seed = _arrays.generator(rng)
        self.support = None if support is None else interval(support)
        self.memory = _arrays.allowance(memory, A.like)

    @property
    def n(self) -> int:
        return self.A.shape[0]

    def precision(self, nodes) -> float:
        """Rounding of a product relative to the norm of A, which the Ritz values `nodes` tell.

        A preconditioned operator amplifies it: `rounding` is how much of it was measured, `precision` how much there
        can be.
        """
        eps, measured = _arrays.eps(self.A.dtype), getattr(self.A, "rounding", None)
        if measured is None:
            return getattr(self.A, "precision", eps)
        return max(measured / (np.abs(nodes).max() or 1.0), eps / 2)

    @property
    def perturbation(self) -> float:
        """Root mean square eigenvalue of what rounding adds to A, where that was measured; else 0."""
        return getattr(self.A, "rounding", None) or 0.0

    @cached_property
    def end(self) -> float | None:
        """A number that no eigenvalue lies below, if one is known."""
        if self.support is not None:
            return self.support[0]
        return max((e for e in (self.A.lower_bound, gershgorin_lower(self.A)) if e is not None), default=None)

    @cached_property
    def sums(self) -> tuple[float, ...]:
        """n, tr A and tr A^2, as far as stored entries give them."""
        return power_sums(self.A)

    def probes(self, k: int):
        """k fresh Rademacher probes, shape (n, k)."""
        return _arrays.signs(self.generator, self.n, k, self.A.like, self.A.dtype)

    def blocks(self, k: int, vectors: float) -> Iterator:
        """k probes in blocks that fit the memory if each needs so many vectors."""
        for size in _arrays.groups(k, vectors * self.n * self.A.dtype.itemsize, self.memory):
            yield self.probes(size)

    def fits(self, vectors: float) -> bool:
        """Whether so many vectors fit the memory."""
        return vectors * self.n * self.A.dtype.itemsize <= self.memory

    def room(self, vectors: float) -> int:
        """How many probes fit the memory if each needs so many vectors; at least one."""
        return max(int(self.memory // (vectors * self.n * self.A.dtype.itemsize)), 1)


def interval(support) -> tuple[float, float]:
    """`support`, checked."""
    lo, hi = (float(end) for end in support)
    if not (np.isfinite(lo) and np.isfinite(hi) and lo < hi):
        raise ValueError(f"support must be an interval (lo, hi) with lo < hi, found ({lo}, {hi})")
    return lo, hi


_SMALLEST_NORM = 1e-153  # the square of a smaller one has lost digits, that of its inverse may not be finite


def power_sums(A: LinearOperator) -> tuple[float, ...]:
    """(n, tr A, tr A^2) as far as known without products."""
    diagonal = A.diagonal()
    if diagonal is None:
        return (float(A.shape[0]),)
    trace = _arrays.total(diagonal)
    norm = A.frobenius_norm()
    known = norm is not None and (norm == 0 or _SMALLEST_NORM < norm < 1 / _SMALLEST_NORM)
    return (float(A.shape[0]), trace, norm**2) if known else (float(A.shape[0]), trace)


def gershgorin_lower(A: LinearOperator) -> float | None:
    """Gershgorin's lower bound where the entries are stored and it is positive (a diagonally dominant matrix)."""
    discs = gershgorin(A)
    return discs[0] if discs and discs[0] > 0 else None
