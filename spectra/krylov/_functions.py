"""Functions of a Hermitian operator applied to vectors, without the matrix f(A).

    f(A) b ~ |b| Q_m f(T_m) e_1

with the Lanczos basis Q_m and the tridiagonal T_m of b. It is exact for polynomials of degree m - 1, and for every f
once the recurrence has ended in an invariant subspace. Q being orthonormal, the distance between the approximations of
two depths is that of their coefficients, |f(T_m) e_1 - f(T_j) e_1|, and costs nothing n-long.

References: Druskin and Knizhnerman, USSR Comput. Math. Math. Phys. 29 (1989), doi 10.1016/S0041-5553(89)80020-5; Saad,
SIAM J. Numer. Anal. 29 (1992), doi 10.1137/0729014; Higham, Functions of Matrices (2008), chapter 13.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh_tridiagonal

from spectra import _arrays
from spectra.krylov._columns import as_block, put, rescale, take, unit_columns
from spectra.krylov._lanczos import LanczosRun
from spectra.operators import LinearOperator
from spectra.operators._door import enter
from spectra.results import ConvergenceWarning, NotFinite

__all__ = ["FunctionBlock", "matrix_function"]


class FunctionBlock(NamedTuple):
    """What `matrix_function` returns.

    Attributes
    ----------
    value : array, shape of B
        f(A) B in the library of B.
    errors : ndarray, shape (k,)
        Estimate of ``|f(A) b - value| / |value|`` for each column: how much the value changed over the last steps
        (nothing where the recurrence ended, and the value is exact), or how much it changes when the eigenvalues move
        by the rounding of A, if that is more.
    steps : int
        Steps made by the column that took most.
    matvecs : int
        Products with single columns spent.
    """

    value: object
    errors: np.ndarray
    steps: int
    matvecs: int


def matrix_function(A, B, f: Callable, *, steps: int = 200, tol: float | None = None,
                    memory: int | None = None) -> FunctionBlock:
    """The product ``f(A) B`` for a Hermitian A, by Lanczos from each column of B.

    ``f(A) = sum_i f(lambda_i) x_i x_i^H`` is approximated by ``|b| Q f(T) e_1``.

    Parameters
    ----------
    A : operator, Hermitian of order n
        Anything `aslinearoperator` accepts.
    B : array, shape (n, k) or (n,)
        Columns to multiply.
    f : callable
        Real function of an array of eigenvalues, finite on the spectrum of A.
    steps : int
        Most steps; fewer are made where `tol` is reached.
    tol : float, optional
        Relative accuracy asked for; default: the square root of the unit roundoff, 1.5e-8 in double precision.
    memory : int, optional
        Bytes for the bases; columns are processed in groups that fit. Default 1 GiB.

    Returns
    -------
    FunctionBlock
        ``(value, errors, steps, matvecs)``.

    Raises
    ------
    ValueError
        If A is not Hermitian, B does not fit, a product is not finite, or f is not finite at a Ritz value (which lies
        between the least and the greatest eigenvalue).

    Warns
    -----
    ConvergenceWarning
        If the estimated error of a column exceeds `tol` after all steps.

    Notes
    -----
    One product a step and column; 8 n m^2 operations and n m numbers of memory a column for m steps. The error is an
    estimate: an f that lives on a part of the spectrum which b barely touches can deceive it.

    References
    ----------
    Higham, Functions of Matrices (2008), doi 10.1137/1.9780898717778, chapter 13.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> root = spectra.krylov.matrix_function(np.diag([1.0, 4.0, 9.0]), np.ones(3), np.sqrt)
    >>> root.value.round(12), root.steps
    (array([1., 2., 3.]), 3)
    """
    before = A.matvecs if isinstance(A, LinearOperator) else 0
    op = enter(A, "matrix_function")
    block, shape = as_block(op, B)
    tol = np.sqrt(_arrays.eps(op.dtype)) if tol is None else float(tol)
    if steps < 1 or not 0 < tol < 1:
        raise ValueError(f"matrix_function needs steps >= 1 and 0 < tol < 1, found steps={steps!r} and tol={tol!r}")
    most = min(int(steps), op.shape[0])
    value, errors, made = _arrays.empty(block.shape, block, op.dtype), np.zeros(block.shape[1]), 0
    room = _arrays.allowance(memory, op.like) // ((most + 6) * op.shape[0] * op.dtype.itemsize)
    for group in _arrays.chunks(block.shape[1], int(max(room, 1))):
        columns, norms = unit_columns(block[:, group])
        found, errors[group], used = _apply_where(norms > 0, op, columns, f, most, tol)
        value[:, group] = rescale(found, norms, "f(A) B")
        made = max(made, used)
    if np.any(errors > tol):
        _warn(errors, tol, made)
    return FunctionBlock(_arrays.namespace(value).reshape(value, shape), errors, made, op.matvecs - before)


def _warn(errors, tol, steps):
    warnings.warn(f"matrix_function: {np.sum(errors > tol)} of {len(errors)} columns have relative errors of up to "
                  f"about {errors.max():.2g} after {steps} steps, asked for {tol:.2g}; raise steps or tol (where more "
                  "steps change nothing, f varies too fast for the rounding of A)", ConvergenceWarning, stacklevel=3)


def _apply_where(nonzero, op: LinearOperator, V, f, most: int, tol: float):
    """The same as `_apply`, with zero for the columns that are zero."""
    if nonzero.all():
        return _apply(op, V, f, most, tol)
    value, errors, columns = 0 * V, np.zeros(len(nonzero)), np.flatnonzero(nonzero)
    if not len(columns):
        return value, errors, 0
    found, errors[columns], used = _apply(op, take(V, columns), f, most, tol)
    return put(value, columns, found), errors, used


def _apply(op: LinearOperator, V, f, most: int, tol: float):
    """f(A) V for columns of norm 1, the estimated errors, and the steps made."""
    run, changes = LanczosRun(op, V, expected=most, check=False), np.array([np.inf])
    while np.any(changes > tol) and run.steps < most and not run.broken.all():
        _advance(run, min(most, 5 + 5 * run.steps // 4))
        coefficients, changes, blurs = _coefficients(run, f)
    C = _arrays.from_host(coefficients[:, None, :], V, op.dtype)
    xp = _arrays.namespace(V)
    # From the left: the rows of the basis are contiguous, and its transpose would be copied.
    value = xp.matrix_transpose(xp.matmul(C, xp.matrix_transpose(run.basis()))[:, 0, :])
    return value, np.maximum(changes, blurs), run.steps


def _advance(run: LanczosRun, steps: int):
    while run.steps < steps and not run.broken.all():
        run.advance(1)


def _coefficients(run: LanczosRun, f):
    """f(T) e_1 for each column, shape (k, m), its relative change over the last steps, and that by rounding of A."""
    coefficients = np.zeros((len(run.norms), run.steps))
    changes, blurs = np.zeros((2, len(run.norms)))
    for i, (alpha, beta, broken) in enumerate(zip(run.alpha, run.beta, run.broken, strict=True)):
        m = int(np.argmax(beta == 0)) + 1 if broken else run.steps
        now, blur = _first_column(alpha[:m], beta[: m - 1], f, _arrays.eps(run.A.dtype))
        size = _norm(now) or 1.0
        coefficients[i, :m], blurs[i] = now, blur / size
        changes[i] = 0.0 if broken else _change(alpha, beta, f, now) / size
    return coefficients, changes, blurs


def _change(alpha, beta, f, now) -> float:
    """How much f(T) e_1 has changed lately: over the last quarter of the steps, which overrates the error of geometric
    convergence, or over the last half, which is right for an error like 1/m, where the two do not differ much."""
    changes = []
    for j in (len(now) // 2, len(now) - max(len(now) // 4, 2)):
        change = now.copy()
        if j > 0:
            change[:j] -= _first_column(alpha[:j], beta[: j - 1], f, 0.0)[0]
        changes.append(_norm(change))
    half, quarter = changes
    return quarter if 4 * quarter <= half else max(half, quarter)


def _first_column(alpha, beta, f, noise: float):
    """f(T) e_1, and its change if the eigenvalues move by `noise` times the norm of T."""
    size = max(np.abs(alpha).max(), np.abs(beta).max(initial=0.0)) or 1.0
    theta, Y = eigh_tridiagonal(alpha / size, beta / size)
    used = Y[0] != 0
    values = _values(f, size * theta)
    if not np.all(np.isfinite(values[used])):
        raise NotFinite(size * theta[used & ~np.isfinite(values)][0])
    moved = [np.abs(_values(f, size * (theta + shift)) - values) for shift in (-noise, noise)]
    blur = np.fmax(*(np.where(np.isfinite(change), change, 0.0) for change in moved))
    return Y @ (np.where(used, values, 0.0) * Y[0]), _norm(blur * Y[0])


def _norm(x) -> float:
    """Euclidean norm, safe where the squares overflow."""
    largest = np.abs(x).max()
    return largest * np.linalg.norm(x / largest) if largest else 0.0


def _values(f, theta):
    with np.errstate(all="ignore"):
        values = np.asarray(f(theta))
    if values.shape != theta.shape or np.iscomplexobj(values):
        raise ValueError(f"f must map an array of shape {theta.shape} to a real one, found shape {values.shape} and "
                         f"dtype {values.dtype}; write it with NumPy functions, a complex one as two real ones")
    return values.astype(float)
