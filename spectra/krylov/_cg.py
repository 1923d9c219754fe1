"""Conjugate gradients for many right-hand sides at once, with a preconditioner.

All columns share one Krylov space. With R = W S, W orthonormal, and directions D that are conjugate, D_i' A D_j = 0,

    G = D' A D,   X <- X + D G^-1 S,   W' z = W - A D G^-1 (a QR factorisation),   S <- z S,   D <- W' + D z'.

This is Dubrulle's form of O'Leary's block method: the factorisation keeps the residuals well conditioned where the
textbook recurrence breaks down as soon as they become dependent. A preconditioner P replaces W orthonormal by
W' P^-1 W = I and D = W + ... by D = P^-1 W + ....

References: O'Leary, Linear Algebra Appl. 29 (1980), doi 10.1016/0024-3795(80)90247-5; Dubrulle, ETNA 12 (2001) 216-233;
Ji and Li, BIT 57 (2017), doi 10.1007/s10543-016-0631-z (dropping directions that have become dependent).
"""

from __future__ import annotations

import warnings
from typing import NamedTuple, Protocol

import numpy as np
from scipy.linalg import eigh

from spectra import _arrays
from spectra.krylov._columns import as_block, put, rescale, take, times, unit_columns, wide
from spectra.operators import LinearOperator
from spectra.operators._door import enter
from spectra.results import ConvergenceWarning

__all__ = ["Preconditioner", "Solution", "cg"]

_WIDTH = 32  # columns that share a space: the factorisations cost n * width^2 a step, the products only n * width
_HELD = 14  # vectors in memory for each of them
_NOISE = 32  # a direction this many roundings long is made of rounding
_NEAR = 10  # a residual this many times too large will be done in a few more steps


class Preconditioner(Protocol):
    """What a preconditioner P ~ A must know: a Hermitian positive definite matrix that is cheap to solve with.

    ``solve(V)`` returns P^-1 V for a block V of shape (n, k), in the library and dtype of V, and leaves V alone. That
    is all `cg` asks for. Methods that need more look for it under these names: ``logdet``, the number log det P, and
    ``congruence(A)``, the operator S^-1 A S^-H with S S^H = P.
    """

    def solve(self, V): ...


class Solution(NamedTuple):
    """What `cg` returns.

    Attributes
    ----------
    solution : array, shape of B
        X in the library of B.
    residuals : ndarray, shape (k,)
        ``|b - A x| / |b|`` for each column, recomputed from X; 0 where b = 0.
    steps : int
        Steps of the recurrence, summed over restarts.
    matvecs : int
        Products with single columns spent.
    """

    solution: object
    residuals: np.ndarray
    steps: int
    matvecs: int


def cg(A, B, *, preconditioner: Preconditioner | None = None, tol: float | None = None,
       maxiter: int | None = None, memory: int | None = None) -> Solution:
    """Solve ``A X = B`` for a Hermitian positive definite A by block conjugate gradients.

    Each column x minimises the error in the norm of A over the sum of the Krylov spaces of all columns.

    Parameters
    ----------
    A : operator, Hermitian positive definite of order n
        Anything `aslinearoperator` accepts.
    B : array, shape (n, k) or (n,)
        Right-hand sides.
    preconditioner : object with ``solve(V)``, optional
        Applies P^-1 to a block, P Hermitian positive definite; see `Preconditioner`.
    tol : float, optional
        Solved when ``|b - A x| <= tol |b|``; default: the square root of the unit roundoff, 1.5e-8 in double precision.
    maxiter : int, optional
        Most steps; default 10 n, at most 10,000.
    memory : int, optional
        Bytes for the blocks of the recurrence, which columns share in groups that fit; default 1 GiB.

    Returns
    -------
    Solution
        ``(solution, residuals, steps, matvecs)``; the residuals are recomputed from the solution.

    Raises
    ------
    ValueError
        If A or the preconditioner turns out not to be positive definite (the message names the curvature x'Ax / x'x
        found), a product is not finite, or B does not fit.

    Warns
    -----
    ConvergenceWarning
        If a column has not reached `tol`, with its residual.

    Notes
    -----
    At most k products a step, and k for each check of the true residuals; linearly dependent columns cost nothing, and
    columns that are done are dropped once they are half of all. Memory: about 14 n k numbers beside B and X, for k
    columns at once: as many as fit, at most 32.

    References
    ----------
    Dubrulle, ETNA 12 (2001) 216-233; O'Leary (1980), doi 10.1016/0024-3795(80)90247-5.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> x, residuals, steps, matvecs = spectra.krylov.cg(np.diag([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 1.0]))
    >>> x.round(8), steps
    (array([1.  , 0.5 , 0.25]), 3)
    """
    before = A.matvecs if isinstance(A, LinearOperator) else 0
    op = enter(A, "cg")
    block, shape = as_block(op, B)
    tol, maxiter = _limits(op, tol, maxiter)
    run, k, steps = _BlockCG(op, preconditioner, tol), block.shape[1], 0
    X, residuals = _arrays.empty(block.shape, block, op.dtype), np.empty(k)
    room = _arrays.allowance(memory, op.like) // (_HELD * op.shape[0] * op.dtype.itemsize)
    for group in _arrays.chunks(k, int(min(max(room, 1), _WIDTH))):
        columns, scales = unit_columns(block[:, group])
        found, residuals[group], used = run.solve(columns, scales > 0, maxiter)
        X[:, group] = rescale(found, scales, "the solution")
        steps += used
    if np.any(residuals > tol):
        _warn(residuals, tol, steps)
    return Solution(_arrays.namespace(X).reshape(X, shape), residuals, steps, op.matvecs - before)


# At the door


def _limits(op, tol, maxiter):
    tol = np.sqrt(_arrays.eps(op.dtype)) if tol is None else float(tol)
    maxiter = min(10 * op.shape[0], 10_000) if maxiter is None else int(maxiter)
    if not (0 < tol < 1 and maxiter > 0):
        raise ValueError(f"cg needs 0 < tol < 1 and maxiter > 0, found tol={tol!r} and maxiter={maxiter!r}")
    return tol, maxiter


def _warn(residuals, tol, steps):
    late = np.sum(residuals > tol)
    warnings.warn(f"cg stopped after {steps} steps with {late} of {len(residuals)} columns at a relative residual of "
                  f"up to {residuals.max():.2g}, asked for {tol:.2g}; raise maxiter, precondition, or shift A (where "
                  "more steps change nothing, rounding allows no less at this condition number)",
                  ConvergenceWarning, stacklevel=3)


class _BlockCG:
    """The recurrence, run in sweeps that each start from the true residual."""

    def __init__(self, op: LinearOperator, preconditioner: Preconditioner | None, tol: float):
        self.op = op
        self.preconditioner = preconditioner
        self.tol = tol
        self.scale = 0.0  # largest |A d| / |d| seen
        self.eps = _arrays.eps(op.dtype)

    def solve(self, B, nonzero, maxiter: int):
        """X with |b - A x| <= tol for columns of norm 1 (or 0), the residuals, and the steps.

        Starting again from what the last sweep left refines the answer beyond the drift of the recurrence, and drops
        the columns that are done. A column that claims to be done without having halved its residual has reached what
        rounding allows: it is left as it was.
        """
        X, R, residuals, steps = 0 * B, B, nonzero.astype(float), 0
        todo = np.flatnonzero(nonzero)
        while len(todo) and steps < maxiter:
            aim = self.tol / 4 if steps else self.tol  # a second sweep that aimed no lower could not halve
            change, claims, used = self._sweep(take(R, todo), aim, maxiter - steps)
            tried = take(X, todo) + change
            missing = take(B, todo) - self.op @ tried
            found = _arrays.column_norms(missing)
            moved = found <= np.maximum(self.tol, residuals[todo] / 2)
            good = np.where(claims, moved, np.isfinite(found))
            changed = np.flatnonzero(good)
            X, R = put(X, todo[good], take(tried, changed)), put(R, todo[good], take(missing, changed))
            residuals[todo[good]] = found[good]
            todo = todo[good & (found > self.tol)]
            steps += used
        return X, residuals, steps

    def _sweep(self, R, aim: float, most: int):
        """X with A X ~ R, which columns claim residuals below `aim`, and the steps made.

        Ends early when at most half of the directions carry unfinished columns, and these are far from done: the
        products of the others would be wasted, and starting afresh costs as few as carrying the old directions along.
        """
        X, (W, D, S, size, _) = 0 * R, self._factor(R, 0.0)
        for step in range(1, most + 1):
            AD = self.op @ D
            G = self._curvature(D, AD)
            if G is None:
                return X, np.ones(R.shape[1], dtype=bool), step
            inverse = np.linalg.inv(G)
            X = X + times(D, inverse @ S)
            W, Z, z, size, euclidean = self._factor(W - times(AD, inverse), size)
            S = z @ S
            residuals = np.linalg.norm(euclidean @ S, axis=0)
            claims = residuals <= aim
            if 2 * np.sum(~claims) <= len(S) and not np.any(~claims & (residuals <= _NEAR * aim)):
                break
            D = Z + times(D, z.conj().T)
        return X, claims, step

    def _factor(self, V, size: float):
        """V = W z with W' P^-1 W = I, as (W, P^-1 W, z, |W|, C) where C maps z to norms: |V x| = |C z x|.

        Directions of V that are rounding of what it was made of (of norm `size`) are dropped. Householder's
        factorisation comes first, so that the Gram matrix is no worse conditioned than P.
        """
        W, z = _arrays.namespace(V).linalg.qr(V)
        z = wide(z)
        U, s, Vh = np.linalg.svd(z, full_matrices=False)
        rank = int(np.sum(s > _NOISE * self.eps * (size + s[0])))
        if rank < len(s):
            W, z = times(W, U[:, :rank]), s[:rank, None] * Vh[:rank]
        if self.preconditioner is None or rank == 0:
            return W, W, z, 1.0, np.eye(rank)
        Z = self.preconditioner.solve(W)
        C = _cholesky(_hermitian_gram(W, Z))
        if C is None:
            raise ValueError("cg needs a positive definite preconditioner, but found x'solve(x) <= 0 or not finite; "
                             "solve must apply the inverse of a Hermitian positive definite matrix")
        inverse = np.linalg.inv(C).conj().T
        return times(W, inverse), times(Z, inverse), C.conj().T @ z, np.linalg.norm(inverse, 2), inverse

    def _curvature(self, D, AD):
        """G = D' A D, or None where rounding hides whether it is positive."""
        G, long, short = _arrays.together(
            _arrays.adjoint(D) @ AD, _arrays.resident_dots(AD, AD), _arrays.resident_dots(D, D))
        if not np.all(np.isfinite(G)):
            raise ValueError("a product in cg returned NaN or Inf; expected finite numbers from the operator")
        G = _hermitian(G)
        self.scale = max(self.scale, np.sqrt(np.max(long.real / short.real)))
        if _cholesky(G) is not None:
            return G
        lowest = eigh(G, _hermitian_gram(D, D), eigvals_only=True)[0]
        if -_NOISE * np.sqrt(self.op.shape[0]) * self.eps * self.scale <= lowest and self.scale > 0:
            return None
        raise ValueError(f"cg needs a positive definite operator, but found the curvature x'Ax / x'x = {lowest:.3g}; "
                         f"shift it, e.g. A.shift({2 * abs(lowest) or 1e-6:.2g})")


# Small matrices


def _hermitian_gram(U, V) -> np.ndarray:
    return _hermitian(_arrays.gram(U, V))


def _hermitian(G) -> np.ndarray:
    G = wide(G)
    return (G + G.conj().T) / 2


def _cholesky(G):
    """Lower factor, or None where G is not positive definite."""
    try:
        C = np.linalg.cholesky(G)
    except np.linalg.LinAlgError:
        return None
    return C if np.all(np.isfinite(C)) else None
