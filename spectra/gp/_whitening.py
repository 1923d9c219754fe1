"""The operator scaled by its preconditioner, M = S^-1 K S^-T with S S' = P, and what S does to blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from spectra.estimators._pivoted_cholesky import PivotedCholesky
from spectra.estimators._preconditioners import knows_its_columns, measured_rounding, unit_diagonal
from spectra.gp._plan import Plan
from spectra.operators import LinearOperator

_MOST_PIVOTS = 512


class Whitened(NamedTuple):
    """M = S^-1 K S^-T with what S does to blocks; S S' = P."""

    operator: LinearOperator
    left: Callable  # V -> S^-1 V
    right: Callable  # V -> S^-T V
    logdet: float
    preconditioner: Any


def whitened(op: LinearOperator, plan: Plan) -> Whitened:
    """The operator scaled by the preconditioner of the plan, None for one that suits it, "none" for none."""
    P = plan.preconditioner
    if P is None:
        P = suitable(op, plan.room)
    if P is None or isinstance(P, str):
        if P not in (None, "none"):
            raise ValueError(f"preconditioner must be an object with solve, congruence(A) and logdet, 'none' or None, "
                             f"found {P!r}")
        return Whitened(op, _same, _same, 0.0, None)
    missing = [name for name in ("solve", "congruence", "logdet") if not hasattr(P, name)]
    if missing:
        raise TypeError(f"a preconditioner needs solve(V), congruence(A) and logdet, but {type(P).__name__} has no "
                        f"{missing[0]}; PivotedCholesky, Nystrom and Jacobi of spectra.estimators have all three")
    order = getattr(getattr(P, "operator", None), "shape", op.shape)
    if tuple(order) != op.shape:
        raise ValueError(f"the preconditioner is that of an operator of shape {tuple(order)}, but K has {op.shape}")
    M = P.congruence(op)
    measured_rounding(M, op)
    return Whitened(M, lambda V: _Relay(op, V).left(P), lambda V: _Relay(op, V).right(P),
                    float(P.logdet), P)


def suitable(op, memory: int):
    """The preconditioner for an operator of which nobody says more.

    A pivot costs a column of the matrix and the memory of two vectors: a quarter of the memory at most.
    """
    if not knows_its_columns(op):
        return unit_diagonal(op)
    room = memory // (8 * op.shape[0] * op.dtype.itemsize)
    return PivotedCholesky(op, max(min(_MOST_PIVOTS, op.shape[0] // 3, room), 1))


def _same(V):
    return V


class _Relay(LinearOperator):
    """Stands in for K in the product S^-1 K S^-T V: notes S^-T V, and answers W, which comes out as S^-1 W.

    So any preconditioner that knows its congruence lends its factors, too.
    """

    def __init__(self, op, V):
        super().__init__(op.shape, op.dtype)
        self.like, self.hermitian, self.V = op.like, True, V

    def left(self, P):
        return P.congruence(self) @ self.V

    def right(self, P):
        P.congruence(self) @ self.V
        return self.noted

    def _matmat(self, V):
        self.noted = V
        return self.V
