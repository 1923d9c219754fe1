"""Solve and log-determinant from one block Krylov space.

Let P = S S' be near K, and M = S^-1 K S^-T. Block Lanczos on M from [S^-1 y, Z], the columns of Z random signs, gives
an orthonormal basis Q, T = Q'MQ, and [S^-1 y, Z] = Q R. Every quantity of a Gaussian likelihood is in T:

    K^-1 [y, S Z]  =  S^-T Q T^-1 R             block conjugate gradients, with full reorthogonalisation
    y' K^-1 y      =  r_0' T^-1 r_0             Gauss quadrature of 1/x: errs downwards
    log det K      =  log det P + mean_j r_j' log(T) r_j
    tr(K^-1 dK)    =  mean_j u_j' dK w_j        with U = S^-T M^-1 Z, W = S^-T Z, for any derivative dK

so that the solve, the log-determinant and the gradient share their products and their probes.

References: Gardner, Pleiss, Bindel, Weinberger and Wilson (2018), arXiv:1809.11165; Wenger, Pleiss, Hennig, Cunningham
and Gardner (2022), arXiv:2107.00243; Golub and Meurant (2010), chapter 6.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from spectra import _arrays
from spectra._progress import track
from spectra.estimators._budget import bias_width
from spectra.estimators._exact import not_definite
from spectra.estimators._logdet import logdet
from spectra.estimators._problem import Problem
from spectra.gp._plan import PROBES, Coarse, Pass, Plan, admitted
from spectra.gp._space import Gathered, KrylovSpace
from spectra.gp._whitening import suitable, whitened
from spectra.krylov._cg import cg
from spectra.krylov._columns import unit_columns
from spectra.results import ConvergenceWarning, Estimate

_MOST_STEPS = 400
_SHALLOW = 64  # steps a group of probes must have memory for
_UNSOLVED = 1e-8  # residual of a solve above which what is missing matters to a gradient
_WATCHED = 4  # probes whose convergence is watched for the bias of a gradient
_NEGLIGIBLE = 1e-6  # relative error that nobody need be told of
_MATRICES = 3  # of order n that the exact method holds
_ROUNDING = 4  # standard deviations


class InvQuadLogdet(NamedTuple):
    """What `inv_quad_logdet` returns.

    Attributes
    ----------
    inv_quad : Estimate
        ``y' K^-1 y``; its details hold the `solution` K^-1 y, and the relative `residual` recomputed from it.
    logdet : Estimate
        ``log det K``.
    """

    inv_quad: Estimate
    logdet: Estimate


def inv_quad_logdet(K, y, *, method: str = "auto", probes: int = PROBES, steps: int | None = None, tol: float = 1e-4,
                    preconditioner=None, rng=None, memory: int | None = None, progress=False,
                    check: bool = True) -> InvQuadLogdet:
    """``y' K^-1 y`` and ``log det K`` from one pass, for a positive definite operator K.

    One block Krylov space from y and the probes serves the solve and the quadrature.

    Parameters
    ----------
    K : operator, Hermitian positive definite of order n, real
        Anything `aslinearoperator` accepts.
    y : array, shape (n,)
        In the library of K.
    method : {"auto", "exact", "stochastic", "maxent"}
        "exact" factorises the formed matrix; "stochastic" is the block Krylov space; "maxent" solves with it and takes
        the log-determinant from the density of maximum entropy (thesis, Algorithm 3); "auto" is "exact" where three
        matrices of order n fit the memory, else "stochastic".
    probes : int
        Random sign vectors.
    steps : int, optional
        Most steps; by default until the solve has converged to `tol` and the quadrature bias is small beside the
        statistical error, within the memory and 400 steps.
    tol : float
        Relative residual asked of the solve.
    preconditioner : object with `solve`, `congruence(A)` and `logdet`, "none", or None
        By default a `PivotedCholesky` of `spectra.estimators` where the operator knows its columns, as a kernel does,
        else scaling to unit diagonal where the diagonal is stored and not constant.
    rng : int, Generator or None
    memory : int, optional
        Bytes for the basis and for formed matrices; default 1 GiB. Where the basis would not fit, the probes come in
        groups, and conjugate gradients finish the solve.
    progress : bool or callable
    check : bool
        Test an operator that nobody has seen with three products.

    Returns
    -------
    InvQuadLogdet
        ``(inv_quad, logdet)``. The first has no statistical error, and a bias bracket from the residual; it holds the
        solution. The standard error of the second covers the choice of probes, its bracket the quadrature.

    Raises
    ------
    ValueError
        If K is not positive definite (the Ritz value or pivot found is named), or y does not fit.

    Warns
    -----
    ConvergenceWarning
        If the solve has not reached `tol`, or bias dominates the log-determinant.

    Notes
    -----
    Each step takes ``probes + 1`` products. Memory: n (probes + 1) steps numbers.

    References
    ----------
    Gardner et al. (2018), arXiv:1809.11165; Wenger et al. (2022), arXiv:2107.00243.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> inv_quad, logdet = spectra.gp.inv_quad_logdet(np.diag([1.0, 2.0, 4.0]), np.ones(3))
    >>> float(inv_quad), float(round(logdet.value / np.log(2), 12))
    (1.75, 3.0)
    """
    plan = Plan(method, probes, steps, tol, preconditioner, rng, memory, progress)
    done = one_pass(*admitted(K, y, "inv_quad_logdet", check), plan)
    return InvQuadLogdet(done.inv_quad, done.logdet)


def one_pass(op, y, plan: Plan) -> Pass:
    """The pass by the method of the plan; y is a block of one column."""
    with np.errstate(over="ignore", invalid="ignore"):
        done = METHODS[chosen(op.shape[0], plan)](op, y, plan)
    if not np.isfinite(done.inv_quad.value):
        raise ValueError("y' K^-1 y is too large for a number, as y has entries of up to "
                         f"{np.abs(_arrays.to_host(y)).max():.3g}; divide y by a number, and K by its square")
    return done


def chosen(n: int, plan: Plan) -> str:
    """The method for a matrix of order n."""
    if plan.method == "auto":
        return "exact" if _MATRICES * 8 * n**2 <= plan.room else "stochastic"
    if plan.method not in METHODS:
        raise ValueError(f"method must be 'auto' or one of {sorted(METHODS)}, found {plan.method!r}")
    return plan.method


def _exact(op, y, plan) -> Pass:
    before = op.matvecs
    dense = _arrays.to_host(op.astype(float).todense())  # of single precision, what it was rounded from
    rhs = _arrays.to_host(y).astype(float)
    try:
        factor = cho_factor(dense, lower=True, check_finite=False)
    except np.linalg.LinAlgError as error:
        raise not_definite(f"its Cholesky factorisation stopped ({error})") from None
    x = cho_solve(factor, rhs)
    origin = {"matvecs": op.matvecs - before, "method": "exact"}
    found = {"solution": _home(op, x[:, 0]),
             "residual": float(np.linalg.norm(rhs - dense @ x) / (np.linalg.norm(rhs) or 1.0))}
    inv_quad = Estimate(float(rhs[:, 0] @ x[:, 0]), details=found, **origin)
    determinant = Estimate(float(2 * np.sum(np.log(np.diagonal(factor[0])))), **origin)
    if not plan.gradient:
        return Pass(inv_quad, determinant, None, None, True)
    identity = np.eye(len(dense))
    return Pass(inv_quad, determinant, _home(op, cho_solve(factor, identity)), _home(op, identity), True)


def _home(op, x):
    return _arrays.from_host(x, op.like, op.dtype)


def _maxent(op, y, plan) -> Pass:
    """The evidence by maximum entropy: its log-determinant beside the solves of the block Krylov space."""
    if plan.preconditioner is None:
        plan = replace(plan, preconditioner=suitable(op, plan.room) or "none")
    done = _stochastic(op, y, plan, judge=False)
    value = logdet(op, method="maxent", matvecs=(plan.probes + 1) * (plan.steps or _SHALLOW), rng=done.logdet.seed,
                   preconditioner=plan.preconditioner, memory=plan.memory, check=False)
    return replace(done, logdet=value)


def _stochastic(op, y, plan, judge: bool = True) -> Pass:
    before, xp, n = op.matvecs, _arrays.namespace(y), op.shape[0]
    white = whitened(op, plan)
    problem = Problem(white.operator, plan.rng, None, plan.memory)
    b, lengths = unit_columns(white.left(y))
    unit = float(lengths[0] / np.sqrt(n))
    space, gathered = _explored(problem, float(np.sqrt(n)) * b, plan)
    x = white.right(space.solutions()[:, :1]) * unit
    inv_quad = _quadratic(op, y, x, space, white, plan)
    determinant = _offset(gathered.density.sum(np.log), white.logdet, space)
    inv_quad, determinant = (replace(e, matvecs=op.matvecs - before, seed=problem.seed, method="stochastic",
                                     details=dict(e.details)) for e in (inv_quad, determinant))
    if not _warned(inv_quad, plan) and judge:
        _warn_of_bias(determinant, max(_NEGLIGIBLE, 100 * _arrays.eps(op.dtype)))
    if not plan.gradient:
        return Pass(inv_quad, determinant, None, None, False)
    U, W = (white.right(xp.concat(blocks, axis=1)) for blocks in (gathered.solutions, gathered.starts))
    return Pass(inv_quad, determinant, U, W, False, _coarse(space, white, unit, inv_quad.residual))


def _explored(problem: Problem, b, plan: Plan) -> tuple[KrylovSpace, Gathered]:
    """The space of b and the probes, and all that it and, where memory is short, further ones found of the probes."""
    n, group = problem.n, plan.probes
    if plan.signs is None:
        group = min(group, max(problem.room(min(plan.steps or _SHALLOW, n) + 6.0) - 1, 1))
    Z = problem.probes(group) if plan.signs is None else plan.signs
    deepest = max(min(plan.steps or _MOST_STEPS, problem.room(group + 1.0) - 6, n), 1)
    with track(plan.progress, deepest * (plan.probes + 1), "block Krylov space") as advance:
        space = KrylovSpace(problem, _arrays.namespace(b).concat([b, Z], axis=1), beside=1)
        space.deepen(deepest, plan, advance)
        gathered = Gathered(space)
        while gathered.probes < plan.probes and not gathered.density.complete:
            group = min(group, plan.probes - gathered.probes)
            gathered.add(KrylovSpace(problem, problem.probes(group)), advance)
    return space, gathered


def _coarse(space: KrylovSpace, white, unit: float, residual: float) -> Coarse:
    """What half the depth knew, with the shares of its residuals that are left."""
    X, before = space.halfway(1 + _WATCHED)
    X, after = white.right(X), space.residuals()
    shares = np.divide(after, before, out=np.zeros_like(after), where=before > 0)
    rest = float(shares[1:].max(initial=0.0))
    if space.steps < 2 and rest > _UNSOLVED:
        rest = np.inf  # one step tells nothing about the next
    return Coarse(X[:, :1] * unit, X[:, 1:], residual / (before[0] or 1.0), rest)


METHODS: dict[str, Callable] = {"exact": _exact, "stochastic": _stochastic, "maxent": _maxent}


def _offset(determinant: Estimate, known: float, space) -> Estimate:
    details = dict(determinant.details) | {"steps": space.steps}
    return replace(determinant, value=determinant.value + known, details=details)


def _quadratic(op, y, x, space, white, plan) -> Estimate:
    """y'K^-1 y from x ~ K^-1 y: 2 y'x - x'Kx errs by r'K^-1 r alone, r = y - K x, which the bracket bounds.

    Where the memory ended the space early, conjugate gradients finish the solve.
    """
    length = float(_arrays.column_norms(white.left(y))[0]) or 1.0
    r = y - op @ x
    whitened_norm = float(_arrays.column_norms(white.left(r))[0])
    if whitened_norm > space.tolerance(plan) * length and plan.steps is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the residual is judged below
            tol = max(plan.tol * length / whitened_norm / 4, 1e-8)
            x = x + cg(op, r, preconditioner=white.preconditioner, tol=tol, maxiter=_MOST_STEPS).solution
        r = y - op @ x
        whitened_norm = float(_arrays.column_norms(white.left(r))[0])
    value, rounding = float(_arrays.column_dots(x, y + r)[0]), _rounding(op, x, y)
    found = {"solution": x[:, 0], "residual": whitened_norm / length, "rounding": rounding}
    return Estimate(value, 0.0, (-rounding, whitened_norm**2 / space.lowest() + rounding), details=found)


def _rounding(op, x, y) -> float:
    """Bound on |x'Ex| where E is what rounding does to K: independent errors of eps |K_ij|, |K_ij|² <= K_ii K_jj."""
    diagonal = op.diagonal()
    if diagonal is None:
        size = float(_arrays.column_norms(x)[0] * _arrays.column_norms(y)[0])
    else:
        size = float(_arrays.column_dots(x, diagonal[:, None] * x)[0])
    return _ROUNDING * _arrays.eps(op.dtype) * size


def _warned(inv_quad: Estimate, plan: Plan) -> bool:
    late = inv_quad.residual > 2 * plan.tol
    if late:
        warnings.warn(f"the solve reached a relative residual of {inv_quad.residual:.2g}, asked for {plan.tol:.2g}; "
                      "allow more steps or memory, or precondition", ConvergenceWarning, stacklevel=4)
    return late


def _warn_of_bias(determinant: Estimate, negligible: float) -> None:
    half, width = float(determinant.half_width()), bias_width(determinant)
    if width > half + negligible * abs(determinant.value):
        warnings.warn(f"quadrature bias dominates the log-determinant: {width:.3g} beside a statistical error of "
                      f"{half:.3g} at 95 %; allow more steps or memory, or precondition", ConvergenceWarning,
                      stacklevel=4)
