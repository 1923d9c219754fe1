"""What an estimator of tr f(A) knows before its first product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectra import _arrays
from spectra.operators import LinearOperator


@dataclass(frozen=True)
class Problem:
    """An operator, its random source, and what is known exactly about it.

    Attributes
    ----------
    A : LinearOperator
        Hermitian.
    generator : random generator
        Where probes come from.
    seed : int or None
        What reproduces it.
    end : float or None
        A number that no eigenvalue lies below.
    sums : tuple of float
        n, tr A and tr A^2, as far as stored entries give them.
    memory : int
        Budget in bytes for blocks of vectors and bases.
    """

    A: LinearOperator
    generator: object
    seed: int | None
    end: float | None
    sums: tuple[float, ...]
    memory: int

    @property
    def n(self) -> int:
        return self.A.shape[0]

    def probes(self, k: int):
        """k fresh Rademacher probes, shape (n, k)."""
        return _arrays.signs(self.generator, self.n, k, self.A.like, self.A.dtype)

    def room(self, vectors: float) -> int:
        """How many probes fit the memory if each needs so many vectors; at least one."""
        return max(int(self.memory // (vectors * self.n * self.A.dtype.itemsize)), 1)


def pose(A: LinearOperator, rng, support=None, memory: int | None = None) -> Problem:
    """The problem for an operator that has passed the door."""
    generator, seed = _arrays.generator(rng)
    end = A.lower_bound if support is None else float(support[0])
    if end is None:
        end = gershgorin_lower(A)
    return Problem(A, generator, seed, end, power_sums(A), int(memory or _arrays.MEMORY))


def power_sums(A: LinearOperator) -> tuple[float, ...]:
    """(n, tr A, tr A^2) as far as known without products."""
    diagonal = A.diagonal()
    if diagonal is None:
        return (float(A.shape[0]),)
    trace = float(np.sum(_arrays.to_host(diagonal).real, dtype=float))
    norm = A.frobenius_norm()
    return (float(A.shape[0]), trace) if norm is None else (float(A.shape[0]), trace, norm**2)


def gershgorin_lower(A: LinearOperator) -> float | None:
    """Gershgorin's lower bound where the entries are stored and it is positive (a diagonally dominant matrix)."""
    sums, diagonal = A.absolute_row_sums(), A.diagonal()
    if sums is None or diagonal is None:
        return None
    centre = _arrays.to_host(diagonal).real
    bound = float(np.min(centre - (sums - np.abs(centre))))
    return bound if bound > 0 else None
