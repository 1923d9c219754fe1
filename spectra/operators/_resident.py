"""A sparse matrix in a long recurrence of which only inner products are wanted.

Such a recurrence may overwrite its own blocks; and its rows may be renumbered, P A P' and P V, which leaves inner
products as they are.
"""

from __future__ import annotations

import numpy as np

from spectra.operators._adapters import Sparse
from spectra.operators._base import LinearOperator

_LEAST_PRODUCTS = 600  # with one column each, below which a new order costs more than it saves on a scattered graph
_LEAST_BLOCK = 2**24  # bytes of a block that caches hold in any order


def resident(A: LinearOperator, V, steps: int = 0) -> tuple[LinearOperator, object]:
    """An operator with the inner products of A along a recurrence of so many steps, and V to start it from.

    A step may write over U, but not if that is the V given. Operators without a compiled step come back as they are, V
    too. A recurrence of few steps keeps the order of the rows.
    """
    if not isinstance(A, Sparse) or A._kernel("step", V) is None:
        return A, V
    long = steps * V.shape[1] >= _LEAST_PRODUCTS and V.nbytes >= _LEAST_BLOCK
    renumbered = A.renumbered if long else None
    if renumbered is None:
        return _Resident(A, A.host, V), V
    matrix, order = renumbered
    return _Resident(A, matrix), np.take(V, order, axis=0)


class _Resident(LinearOperator):
    """The steps of a sparse operator, which counts them, with its rows in an order of our choice."""

    def __init__(self, operator: Sparse, matrix, given=None):
        super().__init__(operator.shape, operator.dtype)
        self.operator, self.matrix, self.given = operator, matrix, given

    def _step(self, V, U, a, b, c):
        self.operator._spent += V.shape[1]
        return self.operator._kernel("step", V)(self.matrix, V, U, a, b, c, out=None if U is self.given else U)

    def _remainder(self, W, V, d, e):
        return self.operator._kernel("remainder", V)(W, V, d, e)
