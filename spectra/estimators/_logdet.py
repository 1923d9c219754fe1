"""log det A for a positive definite operator known by its products."""

from __future__ import annotations

import numpy as np

from spectra import _arrays
from spectra.estimators._budget import budget
from spectra.estimators._exact import not_definite
from spectra.estimators._preconditioners import unit_diagonal
from spectra.estimators._problem import Problem
from spectra.estimators._sum import admitted, chosen, estimate_sum
from spectra.krylov._bounds import spectral_bounds
from spectra.krylov._chebyshev import OutsideSupport
from spectra.krylov._lanczos import LanczosRun
from spectra.krylov._quadrature import gauss
from spectra.results import Estimate, NotFinite


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
    preconditioner : object with `congruence(A)` and `logdet`, or "none"
        A matrix P near A: ``log det A = log det P + tr log(P^-1/2 A P^-1/2)``. Default: scaling to unit diagonal
        (`Jacobi`) where the diagonal is stored and not constant; "none" takes A as it is.
    support : (lo, hi), optional
        Interval that holds the spectrum (of the preconditioned operator, if one is given). A positive lower end closes
        the bias bracket by Gauss-Radau quadrature.
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
    the spectrum is known. At condition numbers beyond 1e6 bias dominates: give many steps or a preconditioner.
    Ubaru, Chen and Saad, SIMAX 38 (2017), doi 10.1137/16M1104974; thesis 2.6.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> estimate = spectra.logdet(np.diag([1.0, 2.0, 4.0]))
    >>> float(round(estimate.value / np.log(2), 12)), estimate.method
    (3.0, 'exact')
    """
    op, allowed = admitted(A, "logdet", method, budget(matvecs, probes, steps, rtol), check)
    method = chosen(op, np.log, method, allowed, memory)
    if method == "exact":
        return estimate_sum(Problem(op, rng, None, memory), np.log, method, allowed, 0.0, progress, "logdet")
    op, offset = _preconditioned(op, preconditioner, support)
    problem = Problem(op, rng, support, memory)
    if method in _ON_SUPPORT and support is None:
        before = op.matvecs
        allowed.less(_FOR_BOUNDS + _LOOK, "may be needed to find the ends of the spectrum (support= spares them)")
        problem.support = _positive_support(problem)
        allowed = allowed.less(op.matvecs - before, "found the ends of the spectrum")
    try:
        estimate = estimate_sum(problem, np.log, method, allowed, offset, progress, "logdet")
    except NotFinite as error:
        raise not_definite(f"Lanczos found a Ritz value of {error.where:.4g}") from None
    except OutsideSupport as error:
        if support is not None:
            raise
        raise not_definite(f"an eigenvalue lies outside [{problem.support[0]:.4g}, {problem.support[1]:.4g}], which "
                           "holds the spectrum if none is negative") from error
    _require_regular(estimate, op.dtype)
    return estimate


_LOOK = 20  # steps that look for an eigenvalue that is not positive
_FOR_BOUNDS = 30  # products that `spectral_bounds` takes
_ON_SUPPORT = ("chebyshev", "maxent")  # methods that need an interval to work on


def _positive_support(problem):
    """[0, hi] or better."""
    lo, hi = spectral_bounds(problem.A, rng=problem.seed, check=False)
    if hi <= 0:
        raise not_definite(f"its spectrum lies below {hi:.4g}")
    if lo <= 0:
        start = _arrays.gaussians(problem.generator, problem.n, 1, problem.A.like, problem.A.dtype)
        run = LanczosRun(problem.A, start, check=False)
        run.advance(min(_LOOK, problem.n))
        smallest = gauss(run.alpha, run.beta)[0].min()
        if smallest <= 4 * np.finfo(problem.A.dtype).eps * hi:
            raise not_definite(f"Lanczos found a Ritz value of {smallest:.4g}")
    lo = max(lo, 0.0)
    return (lo, hi) if hi - lo > 1e-6 * hi else (hi / 2, 2 * hi)


def _preconditioned(op, preconditioner, support):
    """The operator whose log-determinant is left to find, and what is known of the answer."""
    if isinstance(preconditioner, str):
        if preconditioner != "none":
            raise ValueError(f"preconditioner must be an object with congruence(A) and logdet, 'none' or None, found "
                             f"{preconditioner!r}")
        return op, 0.0
    if preconditioner is None:
        preconditioner = unit_diagonal(op) if support is None else None
    if preconditioner is None:
        return op, 0.0
    return preconditioner.congruence(op), preconditioner.logdet


def _require_regular(estimate, dtype):
    smallest, largest = (estimate.details.get(name) for name in ("smallest", "largest"))
    if smallest is not None and smallest <= 4 * np.finfo(dtype).eps * largest:
        raise not_definite(f"it is singular to working precision: Lanczos found a Ritz value of {smallest:.4g} beside "
                           f"one of {largest:.4g}")
