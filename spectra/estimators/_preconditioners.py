"""Preconditioners: a matrix P near A whose determinant and inverse are cheap.

    logdet A = logdet P + tr log(P^-1/2 A P^-1/2)

The protocol, which `logdet` and `cg` share: an object with

    solve(V)        P^-1 V, for a block of columns
    congruence(A)   the operator S^-1 A S^-H with S S^H = P, Hermitian like A
    logdet          log det P, a number
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spectra import _arrays
from spectra.operators import LinearOperator
from spectra.operators._adapters import Sparse
from spectra.operators._algebra import Congruence

_WORTH_SCALING = 1.01  # largest over smallest diagonal entry below which scaling changes nothing


class Jacobi:
    """The diagonal of A: scaling to unit diagonal, for nothing, and often all that an ill-conditioned matrix lacks.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> P = spectra.estimators.Jacobi(np.array([1.0, 4.0]))
    >>> P.solve(np.ones((2, 1))).ravel(), round(P.logdet, 4)
    (array([1.  , 0.25]), 1.3863)
    """

    def __init__(self, diagonal):
        entries = _arrays.to_host(diagonal).real.astype(float)
        if not np.all(entries > 0):
            raise ValueError(f"Jacobi needs a positive diagonal, found {entries.min():.4g}; "
                             "a positive definite matrix has one")
        self.diagonal = diagonal
        self.logdet = float(np.sum(np.log(entries)))
        self._entries = entries

    def solve(self, V):
        inverse = _arrays.from_host(1 / self._entries, V, _arrays.dtype_of(V))
        return inverse[:, None] * V

    def congruence(self, A: LinearOperator) -> LinearOperator:
        if isinstance(A, Sparse) and A.like is None:  # a scaled copy costs no more than a few products, and gives norms
            half = sparse.diags_array((1 / np.sqrt(self._entries)).astype(A.dtype))
            return Sparse(half @ A.host @ half)
        dtype = A.dtype.type(0).real.dtype
        return Congruence(A, _arrays.from_host(1 / np.sqrt(self._entries), A.like, dtype))


def unit_diagonal(A: LinearOperator) -> Jacobi | None:
    """The scaling that makes the diagonal of A one, where the diagonal is stored and not constant already."""
    diagonal = A.diagonal()
    if diagonal is None:
        return None
    entries = _arrays.to_host(diagonal).real
    if not np.all(entries > 0) or entries.max() <= _WORTH_SCALING * entries.min():
        return None
    return Jacobi(diagonal)
