"""Preconditioners: a matrix P near A whose determinant and inverse are cheap.

    logdet A = logdet P + tr log(P^-1/2 A P^-1/2)

The protocol, which `logdet` and `cg` share: an object with

    solve(V)        P^-1 V, for a block of columns
    congruence(A)   the operator S^-1 A S^-H with S S^H = P, Hermitian like A
    logdet          log det P, a number

`Jacobi` is the diagonal, `PivotedCholesky` some columns exactly, `Nystrom` what products find; NAMED builds one for a
budget.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spectra import _arrays
from spectra.estimators._budget import Budget
from spectra.estimators._nystrom import Nystrom
from spectra.estimators._pivoted_cholesky import PivotedCholesky
from spectra.operators import LinearOperator
from spectra.operators._adapters import Sparse
from spectra.operators._algebra import Congruence, converted

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

    name = "jacobi"

    def __init__(self, diagonal):
        if not _arrays.is_array(diagonal) or diagonal.ndim != 1:
            raise TypeError(f"Jacobi needs the diagonal of A, an array of shape (n,), found a "
                            f"{type(diagonal).__name__}; an operator that knows it has A.diagonal()")
        least, self._largest = _arrays.extremes(diagonal)
        if not least > 0:
            raise ValueError(f"Jacobi needs a positive diagonal, found {least:.4g}; "
                             "a positive definite matrix has one")
        xp = _arrays.namespace(diagonal)
        self.diagonal, self._entries = diagonal, xp.astype(_arrays.real(diagonal), xp.float64)
        self.logdet = _arrays.total(xp.log(self._entries))

    def solve(self, V):
        return _arrays.moved(1 / self._entries, V, _arrays.dtype_of(V))[:, None] * V

    def congruence(self, A: LinearOperator) -> LinearOperator:
        root = self._entries**-0.5
        if isinstance(A, Sparse) and A.like is None:  # a scaled copy costs no more than a few products, and gives norms
            root = _arrays.to_host(root)
            half = sparse.diags_array(root.astype(A.dtype))
            scaled = Sparse(half @ A.host @ half)
            wide = A.in_double()
            scaled._rounded_from = None if wide.dtype == A.dtype else Congruence(wide, root)
        else:
            scaled = Congruence(A, _arrays.moved(root, A.like, A.dtype.type(0).real.dtype))
        if A.lower_bound is not None and A.lower_bound > 0:
            scaled.lower_bound = A.lower_bound / self._largest
        return scaled


_MEASURED = 4  # columns of which a product is made in double precision as well


def measured_rounding(M: LinearOperator, A: LinearOperator) -> int:
    """Have M, which is A or made of it, know its `rounding`; the products of A that takes.

    It is the root mean square of ‖M v - M̃ v‖ / ‖v‖ with M̃ in double precision, and thus of the eigenvalues of their
    difference. No products where M is in double precision already, or knows no other.
    """
    wide = M.in_double()
    if wide is None or wide.dtype == M.dtype:
        return 0
    V = _arrays.signs(np.random.default_rng(M.shape[0]), M.shape[0], _MEASURED, M.like, M.dtype)
    error = wide @ converted(V, wide.dtype) - converted(M @ V, wide.dtype)
    M.rounding = float(np.sqrt(np.mean(_arrays.column_norms(error) ** 2) / M.shape[0]))
    A._spent += _MEASURED  # those in double precision count as well
    return 2 * _MEASURED


def unit_diagonal(A: LinearOperator) -> Jacobi | None:
    """The scaling that makes the diagonal of A one, where the diagonal is stored and not constant already."""
    diagonal = A.diagonal()
    if diagonal is None:
        return None
    least, largest = _arrays.extremes(diagonal)
    return Jacobi(diagonal) if least > 0 and largest > _WORTH_SCALING * least else None


# By name, for a budget


def _pivoted_cholesky(A: LinearOperator, allowed: Budget, memory: int, rng) -> PivotedCholesky:
    """As many pivots as there are products, or as cost a quarter of their work if that is more: r with 2 n r^2 for
    n^2 m / 2. No more than half of all, and than fit half the memory.

    A pivot costs a column, 1 / n of a product; what is exact grows with every one, and half of it is left to estimate.
    A tolerance ends it earlier where the pivots alone answer.
    """
    n, m = A.shape[0], allowed.nominal
    room = int(memory // (4 * n * A.dtype.itemsize))
    rank = max(min(max(m, int(np.sqrt(n * m) / 2)), n // 2, room), 1)
    return PivotedCholesky(A, rank, accuracy=allowed.rtol and allowed.rtol / 2)


def _nystrom(A: LinearOperator, allowed: Budget, memory: int, rng) -> Nystrom:
    """A third of the products; its random vectors are not those of the probes."""
    room = int(memory // (6 * A.shape[0] * A.dtype.itemsize))
    rng = np.random.default_rng([rng, 1]) if isinstance(rng, int) else rng
    return Nystrom(A, max(min(allowed.nominal // 3, A.shape[0], room), 1), rng=rng)


def _jacobi(A: LinearOperator, allowed: Budget, memory: int, rng) -> Jacobi:
    diagonal = A.diagonal()
    if diagonal is None:
        raise ValueError(f"the preconditioner 'jacobi' needs the diagonal, which {type(A).__name__} does not know; "
                         "implement diagonal(), or take 'nystrom' or 'none'")
    return Jacobi(diagonal)


NAMED = {"jacobi": _jacobi, "pivoted-cholesky": _pivoted_cholesky, "nystrom": _nystrom}
"""Name -> function (A, budget, memory, rng) -> preconditioner."""


def knows_its_columns(A: LinearOperator) -> bool:
    """Whether columns may precondition A: it knows them, it is not sparse (the factors of a sparse matrix would not be
    sparse), and the diagonal is that of a definite matrix."""
    diagonal = None if isinstance(A, Sparse) else A.diagonal()
    return diagonal is not None and _arrays.extremes(diagonal)[0] > 0 and A.columns(np.arange(1)) is not None
