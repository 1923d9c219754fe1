"""Partial pivoted Cholesky as a preconditioner: some columns of A exactly, of the rest the diagonal.

With r pivots, ordered first,

    A = [ A11  A12 ]      P = C C^H,    C = [ L11     0     ]    L11 L11^H = A11,  L21 = A21 L11^-H,
        [ A21  A22 ],                       [ L21  D^(1/2)  ]    D = diag S,  S = A22 - L21 L21^H.

    C^-1 A C^-H = [ I                    0 ]      log det A = log det A11 + log det D + log det D^-1/2 S D^-1/2,
                  [ 0    D^-1/2 S D^-1/2   ],

so that only the correlations of the Schur complement S are left to be estimated. S is never worse conditioned than A:
no eigenvalue of it lies below the smallest, or above the largest, of A. Where A = K + sigma^2 I, the usual choice
P = L L^H + sigma^2 I counts what L leaves of K as if it were noise of size sigma^2: with a noise far below that it is
worse than no preconditioner at all. D is what L leaves.

Pivots are taken in blocks, those of largest residual, less those that the others of the block have made superfluous:
the work is in matrix products. It takes entries of A (columns and the diagonal), no products.

References: Harbrecht, Peters and Schneider, Appl. Numer. Math. 62 (2012), doi 10.1016/j.apnum.2011.10.001; Epperly,
Tropp and Webber, Embrace rejection (2024), arXiv:2410.03969; Snelson and Ghahramani (2006), for the diagonal rest.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from spectra import _arrays
from spectra.krylov._columns import take, times, wide
from spectra.operators import LinearOperator, aslinearoperator

_BLOCK = 40  # columns asked for at once
_UNIT = 1e-4  # rounding up to which the diagonal counts as 1
_WORTH_TAKING = 0.5  # a candidate whose residual fell below this share of the block's largest is left for later


class PivotedCholesky:
    """Preconditioner ``P = C C^H`` from a partial pivoted Cholesky factorisation of A, the rest kept as its diagonal.

    ``logdet(A, preconditioner=P)`` is exact if the rank is n, and its variance falls as the rank grows; for `cg` it
    takes the large eigenvalues out of the way.

    Parameters
    ----------
    A : operator, Hermitian positive definite of order n
        It must know `diagonal()` and `columns(indices)`: matrices and kernel operators do.
    rank : int, optional
        Most pivots to take; default: enough for `rtol` or `accuracy`, or 100 where neither is given.
    rtol : float, optional
        Stop when what is left of the trace is no more than this share of it.
    accuracy : float, optional
        Stop when ``log det P`` is known to be ``log det A`` to this relative accuracy, as it is where A has a positive
        `lower_bound` a: ``0 <= log det P - log det A <= sum_i log(D_i / a)``.

    Attributes
    ----------
    rank : int
        Pivots taken; fewer than asked for where rounding is all that is left.
    pivots : ndarray of int, shape (rank,)
    residual : ndarray, shape (n - rank,)
        Diagonal D of the Schur complement.
    logdet : float
        ``log det P``.

    Raises
    ------
    ValueError
        If A does not know its columns, or its diagonal is not positive.

    Notes
    -----
    ``rank`` columns of A, as much as rank / n products; 2 n rank^2 operations; memory for ``2 n rank`` numbers. A
    product with `congruence(A)` adds 4 n rank operations to that of A.

    References
    ----------
    Harbrecht, Peters and Schneider (2012), doi 10.1016/j.apnum.2011.10.001.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> A = np.array([[4.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 0.5]])
    >>> P = spectra.estimators.PivotedCholesky(A, rank=1)
    >>> P.pivots, P.residual
    (array([0]), array([1. , 0.5]))
    >>> float(round(P.logdet - np.linalg.slogdet(A)[1], 12))
    0.0
    """

    name = "pivoted-cholesky"
    matvecs = 0

    def __init__(self, A, rank: int | None = None, *, rtol: float | None = None,
                 accuracy: float | None = None):
        self.operator = op = aslinearoperator(A)
        diagonal = op.diagonal()
        if diagonal is None or op.columns(np.arange(1)) is None:
            raise ValueError(f"PivotedCholesky needs the diagonal and the columns of A, which {type(op).__name__} does "
                             "not know; implement diagonal() and columns(indices), or take Nystrom, which needs "
                             "products alone")
        least, self.scale = _arrays.extremes(diagonal)
        if not least > 0:
            raise ValueError(f"PivotedCholesky needs a positive diagonal, found {least:.4g}; "
                             "a positive definite matrix has one")
        rank, share = _limits(op.shape[0], rank, {"rtol": rtol, "accuracy": accuracy})
        floor, trace = op.lower_bound or 0.0, _arrays.total(diagonal)

        def enough(left, logdet):
            """Of the residual diagonal, and log det L11."""
            if _arrays.total(left) <= share * trace:
                return True
            if not (accuracy and floor > 0):
                return False
            xp, positive = _arrays.namespace(left), left > 0
            rest = _arrays.total(xp.log(xp.where(positive, left, 1.0)))
            excess = rest - _arrays.total(xp.astype(positive, left.dtype)) * np.log(floor)
            return excess <= accuracy * abs(logdet + rest)

        self._floor = op.shape[0] * _arrays.eps(op.dtype) * self.scale
        rows, self.pivots, left = _factorise(op, diagonal, rank, enough, self._floor)
        self._keep(rows, _arrays.to_host(left))

    @property
    def rank(self) -> int:
        return len(self.pivots)

    def _keep(self, rows, entries):
        """What products with C^-1 and C^-H take: L11^-1, W = L21 L11^-1 and D^-1/2, in the order pivots first."""
        n, op = len(entries), self.operator
        rest = np.setdiff1d(np.arange(n), self.pivots)
        order = np.concatenate([self.pivots, rest]).astype(np.int64)
        self._order, self._back = _arrays.Lasting(order), _arrays.Lasting(np.argsort(order))
        self.residual = np.maximum(entries[rest], self._floor)
        self._scaling = _arrays.Lasting(self.residual**-0.5)
        corner = wide(_arrays.adjoint(take(rows, self.pivots)))
        self.smallest_pivot = float(np.min(np.diag(corner).real, initial=np.sqrt(self.scale)) ** 2)
        inverse = solve_triangular(corner, np.eye(self.rank), lower=True) if self.rank else corner
        self._inverse = _arrays.Lasting(inverse)
        self._weights = _arrays.adjoint(take(rows, rest)) @ _arrays.from_host(inverse, op.like, op.dtype)
        self.logdet = float(2 * np.sum(np.log(np.diag(corner).real)) + np.sum(np.log(self.residual)))

    def solve(self, V):
        """P^-1 V."""
        return self._out(self._in(V))

    def congruence(self, A: LinearOperator) -> LinearOperator:
        """C^-1 A C^-H, with A in the order pivots first."""
        return _Congruence(self, A)

    def is_of(self, A: LinearOperator) -> bool:
        """Whether A is the matrix that was factorised."""
        mine = self.operator
        return A is mine or (getattr(mine, "A", None) is not None and getattr(A, "A", None) is mine.A)

    def _in(self, V):
        """C^-1 V, V in the order of A."""
        xp, r = _arrays.namespace(V), self.rank
        V = _rows(V, self._order)
        below = self._scaling.beside(V)[:, None] * (V[r:, :] - self._cast(V) @ V[:r, :])
        return xp.concat([self._inverse.beside(V) @ V[:r, :], below], axis=0)

    def _out(self, V):
        """C^-H V, in the order of A."""
        xp, r = _arrays.namespace(V), self.rank
        below = self._scaling.beside(V)[:, None] * V[r:, :]
        above = _arrays.adjoint(self._inverse.beside(V)) @ V[:r, :] - _arrays.adjoint(self._cast(V)) @ below
        return _rows(xp.concat([above, below], axis=0), self._back)

    def _cast(self, V):
        """The weights in the dtype of V."""
        return _arrays.namespace(V).astype(self._weights, V.dtype, copy=False)


class _Congruence(LinearOperator):
    """C^-1 A C^-H; of the matrix that was factorised, the diagonal is 1 and a lower bound is known."""

    hermitian = True

    def __init__(self, P: PivotedCholesky, A: LinearOperator):
        super().__init__(A.shape, A.dtype)
        self.P, self.A, self.like, self._verified, self.psd = P, A, A.like, A._verified, A.psd
        self.width = A.width
        n, least = A.shape[0], min(P.residual.min(initial=P.scale), P.smallest_pivot)
        self.precision = _arrays.eps(A.dtype) * max(np.sqrt(n) * P.scale / least, 1.0)
        self._own = P.is_of(A)
        if self._own and A.lower_bound is not None and A.lower_bound > 0:
            self.lower_bound = min(1.0, A.lower_bound / P.residual.max(initial=A.lower_bound))

    def _matmat(self, V):
        return self.P._in(self.A @ self.P._out(V))

    def diagonal(self):
        """1, where rounding has left it that: a trace that is not quite n would bias what is controlled by it."""
        if not self._own or self.precision > _UNIT:
            return None
        return _arrays.from_host(np.ones(self.shape[0]), self.like, self.dtype)

    def in_double(self):
        """The rounding this measures is bounded by `precision`, in single precision too wide by orders of magnitude
        where the residual falls far below the diagonal."""
        A = self.A.in_double()
        return None if A is None else _Congruence(self.P, A)


# The factorisation


def _limits(n: int, rank, goals: dict) -> tuple[int, float]:
    if rank is not None and (int(rank) != rank or rank < 0):
        raise ValueError(f"rank must be an integer, 0 or more, found {rank!r}")
    for name, goal in goals.items():
        if goal is not None and not 0 < goal < 1:
            raise ValueError(f"{name} must lie between 0 and 1, found {goal!r}; 1e-3 leaves a thousandth")
    if rank is None:
        rank = n if any(goals.values()) else 100
    return min(int(rank), n), goals["rtol"] or 0.0


def _factorise(op, diagonal, rank, enough, floor):
    """L^H (a row a pivot), the pivots, and the residual diagonal; the pivots' is 0."""
    xp, n, k, logdet, pivots = _arrays.namespace(diagonal), op.shape[0], 0, 0.0, np.zeros(0, dtype=int)
    rows = _arrays.empty((rank, n), op.like, op.dtype)
    left = xp.astype(_arrays.real(diagonal), xp.float64)
    free = xp.ones_like(left)  # 0 for a pivot
    while k < rank and (largest := _arrays.extremes(left)[1]) > floor and not enough(left, logdet):
        size = min(_BLOCK, rank - k, n - k)
        candidates = _arrays.to_host(xp.argsort(left, descending=True, stable=True)[:size])
        known = take(rows[:k, :], candidates)
        G = op.columns(candidates) - _arrays.adjoint(rows[:k, :]) @ known
        H = wide(_arrays.namespace(G).take(G, xp.asarray(candidates, device=_arrays.device(G)), axis=0))
        chosen, factor = _pivots(H, max(floor, _WORTH_TAKING * largest))
        if not len(chosen):  # the diagonal had lost its digits
            left[int(candidates[0])] = 0.0
            continue
        new = times(take(G, chosen), np.linalg.inv(factor).conj().T)
        m, taken = len(chosen), candidates[chosen]
        rows[k : k + m, :] = _arrays.adjoint(new)
        free = free - xp.sum(_arrays.units(n, taken, left, np.float64), axis=1)
        left = free * (left - xp.astype(xp.sum(abs(new) ** 2, axis=1), xp.float64))
        pivots, k = np.concatenate([pivots, taken]), k + m
        logdet += 2 * np.sum(np.log(np.diag(factor).real))
    return rows[:k, :], pivots, left


def _pivots(H, least: float):
    """Pivots of a small matrix down to `least`, by the largest first, and the Cholesky factor of those."""
    left, F, chosen = np.diag(H).real.copy(), np.zeros((len(H), 0), dtype=H.dtype), []
    while len(chosen) < len(H) and left.max() >= least:
        j = int(np.argmax(left))
        column = (H[:, j] - F @ F[j].conj()) / np.sqrt(left[j])
        F = np.concatenate([F, column[:, None]], 1)
        left = left - np.abs(column) ** 2
        left[j] = -np.inf
        chosen.append(j)
    chosen = np.array(chosen, dtype=int)
    return chosen, np.tril(F[chosen])


def _rows(V, order: _arrays.Lasting):
    return _arrays.namespace(V).take(V, order.beside(V, np.int64), axis=0)
