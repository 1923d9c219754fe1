"""log det A for a positive definite operator known by its products."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from spectra import _arrays
from spectra.estimators._budget import Budget, budget, reached
from spectra.estimators._exact import not_definite
from spectra.estimators._preconditioners import NAMED, knows_its_columns, unit_diagonal
from spectra.estimators._problem import Problem, interval
from spectra.estimators._sum import admitted, chosen, estimate_sum, with_rounding
from spectra.krylov._bounds import spectral_bounds
from spectra.krylov._chebyshev import OutsideSupport
from spectra.krylov._lanczos import LanczosRun
from spectra.krylov._quadrature import gauss
from spectra.operators import LinearOperator
from spectra.operators._adapters import Sparse
from spectra.results import ConvergenceWarning, Estimate, NotFinite


def logdet(A, *, method: str = "auto", matvecs: int | None = None, probes: int | None = None,
           steps: int | None = None, rtol: float | None = None, preconditioner=None, support=None, rng=None,
           memory: int | None = None, progress=False, check: bool = True) -> Estimate:
    """Log-determinant of a positive definite operator, ``log det A = tr log A = sum_i log lambda_i``.

    Parameters
    ----------
    A : operator, Hermitian positive definite of order n
        Anything `aslinearoperator` accepts.
    method : {"auto", "exact", "stochastic", "slq", "block-slq", "chebyshev", "maxent"}
        "exact" factorises (dense Cholesky, or sparse LU where its fill is small); "slq" is stochastic Lanczos
        quadrature; "block-slq" the same with one Krylov space shared by all probes, the most accurate a product where
        its basis fits the memory; "chebyshev" and "maxent" start from Chebyshev moments (thesis, Algorithm 3);
        "stochastic" picks the best of them for the budget; "auto" also considers "exact", where it costs less than
        the budget.
    matvecs : int, optional
        Products allowed in all; depth and number of probes are then chosen. Default 1500.
    probes, steps : int, optional
        Fix the shape of the run instead.
    rtol : float, optional
        Ask for a relative tolerance at 95 %, bias included; `matvecs` is then the cap, by default 20,000.
    preconditioner : object with `congruence(A)` and `logdet`, or a name, optional
        A matrix P near A: ``log det A = log det P + tr log(P^-1/2 A P^-1/2)``. By name: "pivoted-cholesky" (takes
        columns of A, no products), "nystrom" (takes a third of the products), "jacobi" (scaling to unit diagonal),
        "none", and "auto", the default: pivoted Cholesky for method "stochastic" where A knows its columns and is not
        sparse; else scaling where the diagonal is stored and not constant.
    support : (lo, hi), optional
        Interval that holds the spectrum: of A, or of the preconditioned operator if an object is given. A positive
        lower end closes the bias bracket by Gauss-Radau quadrature, as `lower_bound` of the operator does.
    rng : int, Generator or None
    memory : int, optional
        Bytes for blocks of vectors, bases and formed matrices; default 1 GiB.
    progress : bool or callable
    check : bool
        Test an operator that nobody has seen with three products: is it linear, Hermitian, finite?

    Returns
    -------
    Estimate
        The standard error covers the choice of probes, the bias bracket the quadrature; `interval` covers both.

    Raises
    ------
    ValueError
        If A is not Hermitian, or not positive definite: the Ritz value or pivot found is named.

    Warns
    -----
    ConvergenceWarning
        If the bias dominates the statistical error, or the tolerance was not reached.

    Notes
    -----
    Gauss quadrature of log errs upwards, so the bias bracket of the Lanczos methods is one-sided where a lower end of
    the spectrum is known: say it by `support` or by the operator's `lower_bound`. Details: `preconditioner` (its name)
    and `rank`. A pivoted Cholesky preconditioner of r pivots takes r columns of A, 2 n r^2 operations and memory for
    2 n r numbers beside the basis; r is the number m of products, or sqrt(n m) / 2 if that is more, and at most n / 2.
    Ubaru, Chen and Saad, SIMAX 38 (2017), doi 10.1137/16M1104974; thesis 2.6.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> estimate = spectra.logdet(np.diag([1.0, 2.0, 4.0]))
    >>> float(round(estimate.value / np.log(2), 12)), estimate.method
    (3.0, 'exact')
    """
    op, allowed = admitted(A, "logdet", method, budget(matvecs, probes, steps, rtol), check)
    rng = _seeded(rng)
    quick = method == "auto" and _quick_look(op, preconditioner, support, allowed, rng, memory)
    if quick and reached(quick) <= rtol:
        return quick
    allowed = allowed.less(quick.matvecs, "took a quick look") if quick else allowed
    method = chosen(op, np.log, method, allowed, memory)
    if method == "exact":
        return estimate_sum(Problem(op, rng, None, memory), np.log, method, allowed, 0.0, progress, "logdet")
    return _stochastic(op, preconditioner, support, method, allowed, rng, memory, progress)


_LARGE = 2_000_000  # entries from which it costs more to weigh an exact answer than to try for a loose tolerance
_LOOK_MATVECS = 64


def _quick_look(op, preconditioner, support, allowed: Budget, rng, memory) -> Estimate | None:
    """For a tolerance on a large sparse matrix, what a few products give: mostly all that is needed."""
    if allowed.rtol is None or not isinstance(op, Sparse) or op.host.nnz < _LARGE or allowed.matvecs <= _LOOK_MATVECS:
        return None
    few = replace(allowed, matvecs=_LOOK_MATVECS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return _stochastic(op, preconditioner, support, "stochastic", few, rng, memory, False)


def _stochastic(op, preconditioner, support, method, allowed: Budget, rng, memory, progress) -> Estimate:
    left, allowed = _preconditioned(op, preconditioner, support, method, allowed, rng, memory)
    allowed = with_rounding(left.op, op, allowed)
    op = left.op
    held = left.details.get("rank", 0) * op.shape[0] * op.dtype.itemsize  # by the preconditioner
    problem = Problem(op, rng, left.support, max(_arrays.allowance(memory, op.like) - held, 1))
    if method in _ON_SUPPORT and left.support is None:
        before = op.matvecs
        allowed.less(_FOR_BOUNDS + _LOOK, "may be needed to find the ends of the spectrum (support= spares them)")
        problem.support = _positive_support(problem)
        allowed = allowed.less(op.matvecs - before, "found the ends of the spectrum")
    try:
        estimate = estimate_sum(problem, np.log, method, allowed, left.offset, progress, "logdet")
    except NotFinite as error:
        rounded = f", which may be the rounding of {op.dtype} products" if _is_single(op) else ""
        raise not_definite(f"Lanczos found a Ritz value of {error.where:.4g}{rounded}") from None
    except OutsideSupport as error:
        if support is not None:
            raise
        raise not_definite(f"an eigenvalue lies outside [{problem.support[0]:.4g}, {problem.support[1]:.4g}], which "
                           "holds the spectrum if none is negative") from error
    _require_regular(estimate, problem)
    return replace(estimate, details=dict(estimate.details) | dict(left.details))


_LOOK = 20  # steps that look for an eigenvalue that is not positive
_FOR_BOUNDS = 30  # products that `spectral_bounds` takes
_ON_SUPPORT = ("chebyshev", "maxent")  # methods that need an interval to work on


def _positive_support(problem):
    """[0, hi] or better."""
    lo, hi = spectral_bounds(problem.A, rng=problem.seed, memory=problem.memory, check=False)
    if hi <= 0:
        raise not_definite(f"its spectrum lies below {hi:.4g}")
    if lo <= 0:
        start = _arrays.gaussians(problem.generator, problem.n, 1, problem.A.like, problem.A.dtype)
        run = LanczosRun(problem.A, start, reorthogonalize=problem.fits(_LOOK + 6), expected=_LOOK, check=False)
        run.advance(min(_LOOK, problem.n))
        smallest = gauss(run.alpha, run.beta)[0].min()
        if smallest <= 4 * np.finfo(problem.A.dtype).eps * hi:
            raise not_definite(f"Lanczos found a Ritz value of {smallest:.4g}")
    lo = max(lo, 0.0)
    return (lo, hi) if hi - lo > 1e-6 * hi else (hi / 2, 2 * hi)


def _seeded(rng):
    """`rng` as one seed for the preconditioner and the probes; a generator on a device stays what it is."""
    on_device = type(rng).__module__.split(".")[0] in ("torch", "cupy")
    return rng if on_device else _arrays.generator(rng)[1]


class _Left(NamedTuple):
    """The operator whose log-determinant is left to find, and what is known of the answer."""

    op: LinearOperator
    offset: float = 0.0
    support: tuple[float, float] | None = None
    details: Mapping = MappingProxyType({})


def _preconditioned(op, preconditioner, support, method, allowed: Budget, rng, memory) -> tuple[_Left, Budget]:
    """What is left after preconditioning, and of the budget; `support` is that of A where P is chosen here."""
    name = "auto" if preconditioner is None else preconditioner
    if not isinstance(name, str):
        return _Left(name.congruence(op), name.logdet, support, _origin(name)), allowed
    if name not in ("auto", "none", *NAMED):
        raise ValueError(f"preconditioner must be an object with congruence(A) and logdet, or one of 'auto', 'none', "
                         f"{', '.join(map(repr, NAMED))}, found {preconditioner!r}")
    if name == "auto":
        name = "pivoted-cholesky" if method == "stochastic" and knows_its_columns(op) else "scaling"
    if name == "scaling":
        P = unit_diagonal(op) if support is None else None
    else:
        P = None if name == "none" else _built(name, _bounded(op, support), allowed, rng, memory)
    if P is None:
        return _Left(op, support=support), allowed
    spent = getattr(P, "matvecs", 0)
    allowed = allowed.less(spent, "the preconditioner took") if spent else allowed
    return _Left(P.congruence(getattr(P, "operator", op)), P.logdet, None, _origin(P)), allowed


def _built(name, op, allowed, rng, memory):
    return NAMED[name](op, allowed, _arrays.allowance(memory, op.like), rng)


def _bounded(op, support):
    """A with the lower end of its support known; the caller's operator stays as it is."""
    if support is None:
        return op
    lo, _ = interval(support)
    bounded = op.shift(0.0)
    bounded.lower_bound = max(lo, -np.inf if op.lower_bound is None else op.lower_bound)
    return bounded


def _origin(P) -> dict:
    return {"preconditioner": getattr(P, "name", type(P).__name__), "rank": getattr(P, "rank", 0)}


def _is_single(op) -> bool:
    return _arrays.eps(op.dtype) > _arrays.eps(float)


def _require_regular(estimate, problem):
    smallest, largest = (estimate.details.get(name) for name in ("smallest", "largest"))
    if smallest is None:
        return
    rounding = 4 * problem.precision(largest) * largest
    if smallest <= rounding and _is_single(problem.A):
        raise ValueError(f"logdet cannot tell the smallest eigenvalue, found near {smallest:.4g}, from the rounding of "
                         f"{problem.A.dtype} products, {rounding:.2g}; take them in double precision, or add a shift")
    if smallest <= rounding:
        raise not_definite(f"it is singular to working precision: Lanczos found a Ritz value of {smallest:.4g} beside "
                           f"one of {largest:.4g}")
