"""tr f(A) = sum_i f(lambda_i), by every method there is, and which to take.

One new method is one function (problem, f, budget, offset, advance) -> Estimate and one entry in METHODS.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from spectra._arrays import allowance, eps
from spectra._progress import track
from spectra.estimators._adaptive import HALVES, adaptive, fixed
from spectra.estimators._block_slq import BlockQuadrature
from spectra.estimators._budget import Budget, bias_width, budget, reached
from spectra.estimators._density import maxent_density
from spectra.estimators._exact import affordable, exact_sum, products_to_form
from spectra.estimators._kpm import chebyshev_sum
from spectra.estimators._preconditioners import measured_rounding
from spectra.estimators._problem import Problem
from spectra.estimators._slq import LanczosQuadrature
from spectra.operators import LinearOperator, aslinearoperator
from spectra.operators._door import enter
from spectra.results import ConvergenceWarning, Estimate


def spectral_sum(A, f: Callable, *, method: str = "auto", matvecs: int | None = None, probes: int | None = None,
                 steps: int | None = None, rtol: float | None = None, support=None, rng=None,
                 memory: int | None = None, progress=False, check: bool = True) -> Estimate:
    """Sum of a function over the spectrum, ``tr f(A) = sum_i f(lambda_i)``.

    Parameters
    ----------
    A : operator, Hermitian of order n
    f : callable
        Acts on NumPy arrays of eigenvalues and is finite on the spectrum: ``np.sqrt``, ``lambda x: 1 / x``,
        ``lambda x: np.abs(x) ** p`` for Schatten norms.
    method : {"auto", "exact", "stochastic", "slq", "block-slq", "chebyshev", "maxent"}
        "exact" takes all eigenvalues; "stochastic" the better of the two Lanczos quadratures for the budget and the
        memory; "auto" is "exact" where that costs less than the budget, else "stochastic".
    matvecs : int, optional
        Products allowed in all; depth and number of probes are then chosen. Default 1500.
    probes, steps : int, optional
        Fix the shape of the run instead.
    rtol : float, optional
        Ask for a relative tolerance at 95 %, bias included; `matvecs` is then the cap, by default 20,000.
    support : (lo, hi), optional
        Interval that holds the spectrum. A lower end closes the bias bracket by Gauss-Radau quadrature.
    rng : int, Generator or None
    memory : int, optional
        Bytes for blocks of vectors and bases; default 1 GiB.
    progress : bool or callable

    Returns
    -------
    Estimate
        The standard error covers the choice of probes, the bias bracket the quadrature; `interval` covers both.

    Raises
    ------
    ValueError
        If A is not Hermitian, or f is not finite on its spectrum.

    Warns
    -----
    ConvergenceWarning
        If the bias dominates the statistical error, or the tolerance was not reached.

    Notes
    -----
    Control variates from tr A and tr A^2, where stored entries give them, and from deflation ("block-slq") lower the
    variance without a product more. Memory: 6 vectors a probe, and with "block-slq" the basis, n x probes x steps.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> spectra.spectral_sum(np.diag([1.0, 4.0, 9.0]), np.sqrt).value
    6.0
    """
    op, allowed = admitted(A, "spectral_sum", method, budget(matvecs, probes, steps, rtol), check)
    method = chosen(op, f, method, allowed, memory)
    if method != "exact":
        allowed = with_rounding(op, op, allowed)
    problem = Problem(op, rng, support, memory)
    return estimate_sum(problem, f, method, allowed, 0.0, progress, "spectral_sum")


def admitted(A, purpose: str, method: str, allowed: Budget, check: bool) -> tuple[LinearOperator, Budget]:
    """The operator behind the door, and the budget less what the door took."""
    if method != "auto" and method not in METHODS:
        raise ValueError(f"method must be 'auto' or one of {sorted(METHODS)}, found {method!r}")
    op = aslinearoperator(A)
    before = op.matvecs
    enter(op, purpose, check=check)
    return op, allowed.less(op.matvecs - before, "test an operator nobody has seen (check=False skips it)")


def chosen(op: LinearOperator, f, method: str, allowed: Budget, memory: int | None) -> str:
    """The method that "auto" stands for: exact where that costs less than the budget, else stochastic."""
    if method != "auto":
        return method
    return "exact" if affordable(op, f, allowed.nominal, allowance(memory, op.like)) else "stochastic"


def estimate_sum(problem: Problem, f, method, allowed: Budget, offset, progress, purpose) -> Estimate:
    """tr f(A) + offset by one method; warns where the answer is worse than asked."""
    with track(progress, allowed.nominal, f"{purpose}, {method}") as advance:
        estimate = METHODS[method](problem, f, allowed, offset, advance)
    estimate = replace(estimate, value=estimate.value + offset, matvecs=estimate.matvecs + allowed.spent,
                       details=dict(estimate.details))
    _warn(estimate, allowed, purpose, problem.n if f is np.log else 0.0, problem.A.dtype)
    return estimate


_WORTH_MEASURING = 80  # products of which a tenth may go into measuring their rounding


def with_rounding(M: LinearOperator, A: LinearOperator, allowed: Budget) -> Budget:
    """Have M, which is A or made of it, know its rounding; the budget that leaves."""
    small = allowed.nominal < _WORTH_MEASURING
    return allowed if small else allowed.less(measured_rounding(M, A), "measured rounding")


def _exact(problem, f, allowed, offset, advance) -> Estimate:
    if allowed.capped and products_to_form(problem.A) > allowed.matvecs:
        raise ValueError(f"the exact answer takes {problem.n} products, and {allowed.matvecs} are left; "
                         "raise matvecs, or take another method")
    return exact_sum(problem.A, f)


def _quadrature(kind):
    def run(problem, f, allowed, offset, advance) -> Estimate:
        if shape := allowed.shape():
            density = fixed(problem, kind, *shape, advance)
        else:
            density = adaptive(problem, kind, f, allowed.matvecs, allowed.rtol, advance, offset)
        estimate = density.sum(f)
        found = {"steps": density.steps, "invariant": density.exact, "smallest": density.support[0],
                 "largest": density.support[1]}
        return replace(estimate, details=dict(estimate.details) | found)

    return run


def _stochastic(problem, f, allowed, offset, advance) -> Estimate:
    """The shared Krylov space wherever its basis fits the memory; separate runs, which need none, elsewhere."""
    shape = allowed.shape()
    probes, steps = shape or (_LEAST_BLOCK, _LEAST_STEPS)
    bases = 1 if shape else HALVES
    fits = problem.room(bases * BlockQuadrature.vectors(steps)) >= min(probes, _LEAST_BLOCK)
    return METHODS["block-slq" if fits else "slq"](problem, f, allowed, offset, advance)


def _by_doubling(estimator):
    """A method of fixed shape, which meets a tolerance by doubling steps while bias dominates, else probes."""

    def run(problem, f, allowed, offset, advance) -> Estimate:
        if allowed.rtol is None:
            if problem.support is None and not (allowed.probes and allowed.steps):
                allowed = replace(allowed.less(_FOR_BOUNDS, "find the ends of the spectrum"), spent=allowed.spent)
            probes, steps = allowed.shape(beside=1) or _usual_shape(allowed.matvecs)
            return estimator(problem, f, probes, steps, advance)
        spent, probes, steps = problem.A.matvecs, 8, 16
        while True:
            estimate = estimator(problem, f, probes, steps, advance)
            used = problem.A.matvecs - spent
            estimate = replace(estimate, matvecs=used, details=dict(estimate.details))
            if reached(estimate, offset) <= allowed.rtol or used + 2 * probes * steps > allowed.matvecs:
                return estimate
            biased = bias_width(estimate) > estimate.half_width()
            probes, steps = (probes, 2 * steps) if biased else (2 * probes, steps)

    return run


def _usual_shape(matvecs: int) -> tuple[int, int]:
    """Probes and steps, with the steps of one more run for the ends of the spectrum."""
    probes = max(min(16, matvecs // 16), 1)
    if matvecs <= probes:
        raise ValueError(f"{matvecs} products are left, too few for a probe and a look at the ends of the spectrum; "
                         "raise matvecs")
    return probes, matvecs // (probes + 1)


def _maxent(problem, f, probes, steps, advance) -> Estimate:
    spent = problem.A.matvecs
    estimate = maxent_density(problem, probes, steps, advance).sum(f)
    bias = (-np.inf, np.inf) if estimate.bias is None else estimate.bias  # too few moments to tell
    return replace(estimate, bias=bias, matvecs=problem.A.matvecs - spent, seed=problem.seed, details={"steps": steps})


METHODS = {"exact": _exact, "stochastic": _stochastic, "slq": _quadrature(LanczosQuadrature),
           "block-slq": _quadrature(BlockQuadrature), "chebyshev": _by_doubling(chebyshev_sum),
           "maxent": _by_doubling(_maxent)}

_FOR_BOUNDS = 30  # products that `spectral_bounds` takes
_LEAST_BLOCK, _LEAST_STEPS = 4, 32  # a block of fewer probes, or of less depth, is not worth its memory


def _warn(estimate: Estimate, allowed: Budget, purpose: str, unit: float, dtype):
    if doubt := _doubt(estimate, allowed, purpose, unit, dtype):
        warnings.warn(doubt, ConvergenceWarning, stacklevel=4)


def _doubt(estimate: Estimate, allowed: Budget, purpose: str, unit: float, dtype) -> str:
    """What is wrong with an answer, in words; `unit` is what rounding may be measured against where the value is 0 by
    chance, as log det I is."""
    half, width = float(estimate.half_width()) if estimate.stderr else 0.0, bias_width(estimate)
    achieved, rounding = reached(estimate), estimate.details.get("rounding", 0.0)
    is_rounding = rounding > max(width / 2, half)
    remedy = "take them in double precision" if eps(dtype) > eps(float) else "the operator is near-singular"
    if allowed.rtol is not None:
        if achieved <= allowed.rtol:
            return ""
        cause = (f"the rounding of {dtype} products dominates, up to {rounding:.3g}; {remedy}" if is_rounding else
                 "quadrature bias dominates: more steps would help (raise matvecs)" if width > half else
                 "more probes would help (raise matvecs)")
        return (f"{purpose} was asked for rtol={allowed.rtol:.2g} and reached {achieved:.2g} with {estimate.matvecs} "
                f"products; {cause}")
    if not width > max(half, 1e-6 * abs(estimate.value), 1e-6 * unit if is_rounding else 1e-12 * unit):
        return ""
    if is_rounding:
        return (f"the rounding of {dtype} products may change the answer of {purpose} by up to {rounding:.3g}, beside "
                f"a statistical error of {half:.3g} at 95 %; {remedy}")
    return (f"quadrature bias dominates the answer of {purpose}: bracket [{estimate.bias[0]:.3g}, "
            f"{estimate.bias[1]:.3g}] beside a statistical error of {half:.3g} at 95 %; more steps, or a "
            "preconditioner, would help")
