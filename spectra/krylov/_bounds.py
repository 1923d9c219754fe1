"""Bounds of the spectrum that are safe: every eigenvalue lies between them.

Lanczos approaches the ends of the spectrum from inside, so its Ritz values are no bounds, and neither is a Ritz value
plus its residual, which bounds *an* eigenvalue. What can be bounded is how far out an eigenvalue may hide. Let
v = sum_i gamma_i x_i be the unit start vector in eigenvectors, and p_m the orthonormal polynomial of the recurrence,
q_{m+1} = p_m(A) v. Then

    1 = |q_{m+1}|^2 = sum_i gamma_i^2 p_m(lambda_i)^2,    p_m(x) = prod_j (x - theta_j) / (beta_1 ... beta_m),

so gamma p_m(lambda_max) <= 1, and p_m grows beyond its largest zero. A random v has |gamma| > delta except with a
probability that is known exactly, and then lambda_max is at most the x with p_m(x) = 1 / delta.

References: van Dorsselaer, Hochstenbach and van der Vorst, SIMAX 22 (2001), doi 10.1137/S0895479800370859; Kuczynski
and Wozniakowski, SIMAX 13 (1992), doi 10.1137/0613066; Gershgorin (1931).
"""

from __future__ import annotations

import numpy as np
import scipy  # whose parts are loaded when first used
from scipy.linalg import eigvalsh_tridiagonal

from spectra import _arrays
from spectra.krylov._lanczos import LanczosRun
from spectra.operators import LinearOperator
from spectra.operators._door import enter

__all__ = ["spectral_bounds"]

FAILURE = 1e-6
"""Probability with which the start vectors of one call may miss an end of the spectrum."""


def spectral_bounds(A, *, steps: int = 30, rng=None, memory: int | None = None,
                    check: bool = True) -> tuple[float, float]:
    """An interval ``(lo, hi)`` that holds every eigenvalue: ``lo <= lambda_min``, ``lambda_max <= hi``.

    ``hi`` solves ``prod_j (hi - theta_j) / beta_j = 1 / delta`` for the Ritz values ``theta_j`` and residual norms
    ``beta_j`` of a Lanczos run from a random start, and ``lo`` likewise from below. The bounds are those of Gershgorin
    where they are tighter (for stored matrices), and never below the operator's `lower_bound`, or 0 if it claims `psd`.

    Parameters
    ----------
    A : operator, Hermitian of order n
        Anything `aslinearoperator` accepts.
    steps : int
        Products to spend; the excess shrinks with their square, and much faster where an end stands apart.
    rng : int, Generator or None
        For the start vector.
    memory : int, optional
        Bytes for the basis, which is kept where it fits; default 1 GiB.
    check : bool
        Test an operator that nobody has seen with three products more.

    Returns
    -------
    lo, hi : float
        Wrong with probability at most 1e-6 (over the start vector, whatever A); certain, and tight to rounding, if
        ``steps >= n`` or Gershgorin's theorem gives both. On a spectrum that fills its interval, 30 steps exceed it by
        about 8 % of its length at either end (order 1000; slowly more with log n); an isolated end is met to rounding.

    Raises
    ------
    ValueError
        If A is not Hermitian, a product is not finite, or a Ritz value lies below `lower_bound`, or below 0 where `psd`
        is claimed.

    Notes
    -----
    At most `steps` products; memory for as many vectors, or for six where those do not fit. Common
    alternatives measured less well: the Ritz value plus its residual lies inside the spectrum in 5 % of runs on a
    semicircle; plus ``beta_m`` it is safe and 25 % too wide; the bound of Kuczynski and Wozniakowski, which knows
    nothing of A, is 9 % too wide for every A.

    References
    ----------
    van Dorsselaer, Hochstenbach and van der Vorst (2001), doi 10.1137/S0895479800370859.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> lo, hi = spectra.spectral_bounds(np.diag([1.0, 2.0, 4.0]))
    >>> round(lo, 12), round(hi, 12)
    (1.0, 4.0)
    """
    op = enter(A, "spectral_bounds", check=check)
    if steps < 1:
        raise ValueError(f"spectral_bounds needs steps >= 1, found {steps!r}")
    generator, _ = _arrays.generator(rng)
    if op.shape[0] <= steps:
        inner, outer = _all_eigenvalues(op)
    else:
        inner, outer = _lanczos_bounds(op, int(steps), generator, _arrays.allowance(memory, op.like))
    size = max(abs(inner[0]), abs(inner[1]))
    _require_claims(op, inner[0], np.sqrt(_arrays.eps(op.dtype)) * size)
    rounding = 4 * np.sqrt(op.shape[0]) * _arrays.eps(op.dtype) * size
    discs = gershgorin(op) or (-np.inf, np.inf)
    floor = max(0.0 if op.psd else -np.inf, -np.inf if op.lower_bound is None else op.lower_bound)
    lo, hi = max(outer[0], discs[0]) - rounding, min(outer[1], discs[1]) + rounding
    return float(max(lo, floor)), float(max(hi, floor))


def _all_eigenvalues(op: LinearOperator):
    matrix = _arrays.to_host(op.todense())
    if not np.all(np.isfinite(matrix)):
        raise ValueError("a product in spectral_bounds returned NaN or Inf; expected finite numbers from the operator")
    eigenvalues = np.linalg.eigvalsh(matrix.astype(np.result_type(matrix.dtype, np.float64)))
    ends = float(eigenvalues[0]), float(eigenvalues[-1])
    return ends, ends


def _lanczos_bounds(op: LinearOperator, steps: int, rng, memory: int):
    """Extreme Ritz values, and the ends beyond which no eigenvalue hides."""
    runs = [_recurrences(op, 1, steps, rng, memory)]
    spent = runs[0][0][0].size
    if spent < steps // 2:
        # The recurrence has ended early: an eigenvector that it met with a component below rounding would go unseen.
        # The products left over buy more starts, which would all have to miss it.
        runs.append(_recurrences(op, steps // spent - 1, spent, rng, memory))
    rows = [row for run in runs for row in run]
    delta = smallest_component(op, FAILURE / 2, len(rows))
    above = [_end(alpha, beta, delta) for alpha, beta in rows]
    below = [_end(-alpha, beta, delta) for alpha, beta in rows]
    inner = -max(theta for theta, _ in below), max(theta for theta, _ in above)
    return inner, (-max(end for _, end in below), max(end for _, end in above))


def _recurrences(op, columns: int, steps: int, rng, memory: int):
    """(alpha, beta) of Lanczos from each of `columns` random starts, cut where the recurrence ended."""
    V = _arrays.gaussians(rng, op.shape[0], columns, op.like, op.dtype)
    # Without reorthogonalisation converged Ritz values repeat, which holds the bounds back but does not break them.
    affordable = columns * (steps + 6) * op.shape[0] * op.dtype.itemsize <= memory
    run = LanczosRun(op, V, reorthogonalize=affordable, expected=steps, check=False)
    run.advance(steps)
    noise = _arrays.eps(op.dtype) * np.sqrt(op.shape[0])
    rows = []
    for alpha, beta in zip(run.alpha, run.beta, strict=True):
        length = int(np.argmax(beta == 0)) + 1 if np.any(beta == 0) else len(beta)
        alpha, beta = alpha[:length], beta[:length]
        # A residual of zero is one below rounding, and counts as large as that.
        rows.append((alpha, np.maximum(beta, noise * (np.abs(alpha).max() + beta.max()))))
    return rows


def smallest_component(op: LinearOperator, probability: float, starts: int = 1) -> float:
    """The delta that all of some random unit vectors fall below in one given direction with this probability.

    The squared component follows the beta law with parameters 1/2, (n-1)/2, or 1, n-1 for complex vectors.
    """
    half = 1.0 if np.issubdtype(op.dtype, np.complexfloating) else 0.5
    return float(np.sqrt(scipy.special.betaincinv(half, half * (op.shape[0] - 1), probability ** (1 / starts))))


def _end(alpha: np.ndarray, beta: np.ndarray, delta: float):
    """Largest Ritz value, and the x beyond it where p_m(x) = 1 / delta."""
    if not beta.any():
        return alpha[0], alpha[0]
    size = np.abs(alpha).max() + beta.max()
    theta = eigvalsh_tridiagonal(alpha / size, beta[:-1] / size)
    gaps, target = theta[-1] - theta, np.sum(np.log(beta / size)) - np.log(delta)
    inside, outside = np.log(_arrays.eps(np.float64)), np.log(len(beta) / delta)
    for _ in range(60):  # bisection for the logarithm of the distance: sum_j log(distance + gap_j) increases
        middle = (inside + outside) / 2
        if np.sum(np.log(np.exp(middle) + gaps)) < target:
            inside = middle
        else:
            outside = middle
    return size * theta[-1], size * (theta[-1] + np.exp(outside))


def gershgorin(op: LinearOperator) -> tuple[float, float] | None:
    """Every eigenvalue lies in a disc about a diagonal entry, of radius the sum of the other entries of its row; None
    where the entries are not stored."""
    sums, diagonal = op.absolute_row_sums(), op.diagonal()
    if sums is None or diagonal is None:
        return None
    xp = _arrays.namespace(sums)
    centres = xp.astype(_arrays.real(diagonal), sums.dtype)
    radii = sums - abs(centres)
    return _arrays.extremes(centres - radii)[0], _arrays.extremes(centres + radii)[1]


def _require_claims(op: LinearOperator, lowest: float, rounding: float):
    if op.psd and lowest < -rounding:
        raise ValueError(f"{op!r} claims to be positive semi-definite, but a Ritz value is {lowest:.6g}; "
                         "set psd = False, or correct the operator")
    if op.lower_bound is not None and lowest < op.lower_bound - rounding:
        raise ValueError(f"{op!r} claims that no eigenvalue lies below {op.lower_bound:.6g}, but a Ritz value is "
                         f"{lowest:.6g}; correct lower_bound")
