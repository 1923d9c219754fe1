"""How a pass over a covariance matrix is to be made, what comes out of it, and what is let in."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from spectra import _arrays
from spectra.operators import LinearOperator
from spectra.operators._door import enter
from spectra.results import Estimate

PROBES = 16  # columns beside y; a product of a kernel with 17 costs little more than with one


@dataclass(frozen=True)
class Plan:
    """How a pass is to be made."""

    method: str = "auto"
    probes: int = PROBES
    steps: int | None = None
    tol: float = 1e-4
    preconditioner: Any = None
    rng: Any = None
    memory: int | None = None
    progress: Any = False
    gradient: bool = False
    signs: Any = None  # probes, if the caller brings them

    def __post_init__(self):
        for name, count in (("probes", self.probes), ("steps", 1 if self.steps is None else self.steps)):
            if not isinstance(count, Integral) or isinstance(count, bool) or count < 1:
                raise ValueError(f"{name} must be a positive integer, found {count!r}")
        if not isinstance(self.tol, Real) or not 0 < self.tol < 1:
            raise ValueError(f"tol must lie between 0 and 1, found {self.tol!r}; 1e-4 is customary")
        if self.memory is not None and (not isinstance(self.memory, Real) or not self.memory > 0):
            raise ValueError(f"memory must be a positive number of bytes, or None for 1 GiB, found {self.memory!r}")

    @property
    def room(self) -> int:
        """Bytes."""
        return _arrays.allowance(self.memory)


@dataclass(frozen=True)
class Pass:
    """All that one pass finds out: the two numbers, and blocks U, W with ``tr(K^-1 dK) ~ sum or mean of u_j'dK w_j``.

    The pairs are the columns of K^-1 and of the identity, to be summed, where `exact`; else random, to be averaged.
    """

    inv_quad: Estimate
    logdet: Estimate
    left: Any
    right: Any
    exact: bool
    coarse: Coarse | None = None


@dataclass(frozen=True)
class Coarse:
    """What the pass knew at half its depth, which tells how far it has converged.

    Attributes
    ----------
    solution : array, shape (n, 1)
        K^-1 y.
    left : array, shape (n, k)
        The first k columns of U.
    solution_rest, left_rest : float
        What is missing at full depth, as a share of what half the depth was short of.
    """

    solution: Any
    left: Any
    solution_rest: float
    left_rest: float


def admitted(K, y, purpose: str, check: bool) -> tuple[LinearOperator, Any]:
    """K behind the door, and y as a block of one column in its dtype."""
    op = enter(K, purpose, check=check)
    if np.issubdtype(op.dtype, np.complexfloating):
        raise TypeError(f"{purpose} needs a real operator, found dtype {op.dtype}")
    try:
        y = y if _arrays.is_array(y) else np.asarray(y, dtype=float)
        kind = _arrays.dtype_of(y).kind
    except (TypeError, ValueError):
        raise TypeError(f"y must be an array of shape ({op.shape[0]},), found {y!r:.60}") from None
    if kind not in "biuf":
        raise TypeError(f"y must hold real numbers, found dtype {y.dtype}")
    if tuple(y.shape) != op.shape[:1]:
        raise ValueError(f"y must have shape ({op.shape[0]},) to go with K, found {tuple(y.shape)}")
    y = _arrays.moved(y, op.like, op.dtype)
    xp = _arrays.namespace(y)
    if not xp.all(xp.isfinite(y)):
        raise ValueError("y holds NaN or Inf; expected finite targets")
    return op, y[:, None]
