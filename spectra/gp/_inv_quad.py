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
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh

from spectra import _arrays
from spectra._progress import track
from spectra.estimators._block_slq import deflations
from spectra.estimators._exact import not_definite
from spectra.estimators._logdet import logdet
from spectra.estimators._pivoted_cholesky import PivotedCholesky
from spectra.estimators._preconditioners import knows_its_columns, measured_rounding, unit_diagonal
from spectra.estimators._problem import Problem
from spectra.estimators._slq import coarse_depths
from spectra.krylov._block_lanczos import BlockLanczosRun
from spectra.krylov._cg import cg
from spectra.krylov._columns import times, unit_columns
from spectra.krylov._quadrature import block_gauss, block_radau, safe_end
from spectra.operators import LinearOperator
from spectra.operators._door import enter
from spectra.results import ConvergenceWarning, Estimate, SpectralDensity, joined

PROBES = 16  # columns beside y; a product of a kernel with 17 costs little more than with one
_FIRST_DEPTH = 8
_GROWTH = 1.5
_MOST_STEPS = 400
_SHALLOW = 64  # steps a group of probes must have memory for
_FEWEST_TO_DEFLATE = 4  # probes
_SHARE = 0.2  # of the statistical error, before control variates, that bias may be
_ROUNDING = 4  # roundings that a residual gathers
_STALLED = 0.5  # a bracket that half as many steps again do not halve is made of rounding
_MOST_PIVOTS = 512
_MATRICES = 3  # of order n that the exact method holds


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


@dataclass(frozen=True)
class Pass:
    """All that one pass finds out: the two numbers, and blocks U, W with ``tr(K^-1 dK) ~ sum or mean of u_j'dK w_j``.

    The pairs are the columns of K^-1 and of the identity, to be summed, where `exact`; else random, to be averaged.
    """

    inv_quad: Estimate
    logdet: Estimate
    left: Any
    right: Any
    exact: bool


@dataclass(frozen=True)
class Plan:
    """How a pass is to be made."""

    method: str = "auto"
    probes: int = PROBES
    steps: int | None = None
    tol: float = 1e-4
    preconditioner: Any = None
    rng: Any = None
    memory: int | None = None
    progress: Any = False
    gradient: bool = False
    signs: Any = None  # probes, if the caller brings them

    def __post_init__(self):
        if self.method != "auto" and self.method not in METHODS:
            raise ValueError(f"method must be 'auto' or one of {sorted(METHODS)}, found {self.method!r}")
        for name, count in (("probes", self.probes), ("steps", self.steps or 1)):
            if int(count) != count or count < 1:
                raise ValueError(f"{name} must be a positive integer, found {count!r}")
        if not 0 < self.tol < 1:
            raise ValueError(f"tol must lie between 0 and 1, found {self.tol!r}; 1e-4 is customary")


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


def admitted(K, y, purpose: str, check: bool) -> tuple[LinearOperator, Any]:
    """K behind the door, and y as a block of one column in its dtype."""
    op = enter(K, purpose, check=check)
    if np.issubdtype(op.dtype, np.complexfloating):
        raise TypeError(f"{purpose} needs a real operator, found dtype {op.dtype}")
    y = y if _arrays.is_array(y) else np.asarray(y, dtype=float)
    if tuple(y.shape) != op.shape[:1]:
        raise ValueError(f"y must have shape ({op.shape[0]},) to go with K, found {tuple(y.shape)}")
    if op.like is None and not isinstance(y, np.ndarray):
        y = _arrays.to_host(y)
    y = _arrays.from_host(_arrays.to_host(y), op.like, op.dtype)
    xp = _arrays.namespace(y)
    if not xp.all(xp.isfinite(y)):
        raise ValueError("y holds NaN or Inf; expected finite targets")
    return op, y[:, None]


def one_pass(op: LinearOperator, y, plan: Plan) -> Pass:
    """The pass by the method of the plan; y is a block of one column."""
    return METHODS[chosen(op.shape[0], plan)](op, y, plan)


def chosen(n: int, plan: Plan) -> str:
    """The method for a matrix of order n."""
    if plan.method != "auto":
        return plan.method
    return "exact" if _MATRICES * 8 * n**2 <= int(plan.memory or _arrays.MEMORY) else "stochastic"


def _exact(op, y, plan) -> Pass:
    before = op.matvecs
    dense, rhs = _arrays.to_host(op.todense()).astype(float), _arrays.to_host(y).astype(float)
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
        plan = replace(plan, preconditioner=_suitable(op, int(plan.memory or _arrays.MEMORY)) or "none")
    done = _stochastic(op, y, plan, judge=False)
    value = logdet(op, method="maxent", matvecs=(plan.probes + 1) * (plan.steps or _SHALLOW), rng=done.logdet.seed,
                   preconditioner=plan.preconditioner, memory=plan.memory, check=False)
    return replace(done, logdet=value)


def _stochastic(op, y, plan, judge: bool = True) -> Pass:
    before, xp, n = op.matvecs, _arrays.namespace(y), op.shape[0]
    white = whitened(op, plan)
    problem = Problem(white.operator, plan.rng, None, plan.memory)
    b, lengths = unit_columns(white.left(y))
    group = plan.probes
    if plan.signs is None:
        group = min(group, max(problem.room(min(plan.steps or _SHALLOW, n) + 6.0) - 1, 1))
    Z = problem.probes(group) if plan.signs is None else plan.signs
    deepest = max(min(plan.steps or _MOST_STEPS, problem.room(group + 1.0) - 6, n), 1)
    with track(plan.progress, deepest * (plan.probes + 1), "block Krylov space") as advance:
        space = _Space(problem, xp.concat([np.sqrt(n) * b, Z], axis=1), beside=1)
        space.deepen(deepest, plan, advance)
        gathered = _Gathered(space)
        while gathered.probes < plan.probes and not gathered.density.complete:
            group = min(group, plan.probes - gathered.probes)
            gathered.add(_Space(problem, problem.probes(group)), advance)
    x = white.right(space.solutions()[:, :1]) * float(lengths[0] / np.sqrt(n))
    inv_quad = _quadratic(op, y, x, space, white, plan)
    determinant = _offset(gathered.density.sum(np.log), white.logdet, space)
    inv_quad, determinant = (replace(e, matvecs=op.matvecs - before, seed=problem.seed, method="stochastic",
                                     details=dict(e.details)) for e in (inv_quad, determinant))
    if not _warned(inv_quad, plan) and judge:
        _warn_of_bias(determinant)
    if not plan.gradient:
        return Pass(inv_quad, determinant, None, None, False)
    return Pass(inv_quad, determinant, *(white.right(xp.concat(blocks, axis=1))
                                         for blocks in (gathered.solutions, gathered.starts)), False)


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
    value = float(_arrays.column_dots(x, y + r)[0])
    found = {"solution": x[:, 0], "residual": whitened_norm / length}
    return Estimate(value, 0.0, (0.0, whitened_norm**2 / space.lowest()), details=found)


def _warned(inv_quad: Estimate, plan: Plan) -> bool:
    late = inv_quad.residual > 2 * plan.tol
    if late:
        warnings.warn(f"the solve reached a relative residual of {inv_quad.residual:.2g}, asked for {plan.tol:.2g}; "
                      "allow more steps or memory, or precondition", ConvergenceWarning, stacklevel=4)
    return late


def _warn_of_bias(determinant: Estimate) -> None:
    half, width = float(determinant.half_width()), _width(determinant.bias)
    if width > half + 1e-6 * abs(determinant.value):
        warnings.warn(f"quadrature bias dominates the log-determinant: {width:.3g} beside a statistical error of "
                      f"{half:.3g} at 95 %; allow more steps or memory, or precondition", ConvergenceWarning,
                      stacklevel=4)


def _width(bias) -> float:
    return 0.0 if bias is None else max(abs(bias[0]), abs(bias[1]))


# The preconditioned operator


class Whitened(NamedTuple):
    """M = S^-1 K S^-T with what S does to blocks; S S' = P."""

    operator: LinearOperator
    left: Callable  # V -> S^-1 V
    right: Callable  # V -> S^-T V
    logdet: float
    preconditioner: Any


def whitened(op: LinearOperator, plan: Plan) -> Whitened:
    """The operator scaled by the preconditioner of the plan, None for one that suits it, "none" for none."""
    P = plan.preconditioner
    if P is None:
        P = _suitable(op, int(plan.memory or _arrays.MEMORY))
    if P is None or isinstance(P, str):
        if P not in (None, "none"):
            raise ValueError(f"preconditioner must be an object with solve, congruence(A) and logdet, 'none' or None, "
                             f"found {P!r}")
        return Whitened(op, _same, _same, 0.0, None)
    M = P.congruence(op)
    measured_rounding(M)
    return Whitened(M, lambda V: _Relay(op, V).left(P), lambda V: _Relay(op, V).right(P),
                    float(P.logdet), P)


def _suitable(op, memory: int):
    """A pivot costs a column of the matrix and the memory of two vectors: a quarter of the memory at most."""
    if not knows_its_columns(op):
        return unit_diagonal(op)
    room = memory // (8 * op.shape[0] * op.dtype.itemsize)
    return PivotedCholesky(op, max(min(_MOST_PIVOTS, op.shape[0] // 3, room), 1))


def _same(V):
    return V


class _Relay(LinearOperator):
    """Stands in for K in the product S^-1 K S^-T V: notes S^-T V, and answers W, which comes out as S^-1 W.

    So any preconditioner that knows its congruence lends its factors, too.
    """

    def __init__(self, op, V):
        super().__init__(op.shape, op.dtype)
        self.like, self.hermitian, self.V = op.like, True, V

    def left(self, P):
        return P.congruence(self) @ self.V

    def right(self, P):
        P.congruence(self) @ self.V
        return self.noted

    def _matmat(self, V):
        self.noted = V
        return self.V


# The space


class _Space:
    """The block Krylov space of start vectors, the first `beside` of which are no probes."""

    def __init__(self, problem: Problem, start, beside: int = 0):
        self.problem, self.start, self.beside = problem, start, beside
        self.run = BlockLanczosRun(problem.A, start, check=False)
        self._width = np.inf  # of the last bias bracket

    @property
    def steps(self) -> int:
        return self.run.steps

    @property
    def probes(self):
        return self.start[:, self.beside :]

    def advance(self, steps: int) -> None:
        """More steps, and the Ritz values and vectors of the new T."""
        self.run.advance(steps)
        self.nodes, self.vectors = eigh(self.run.T, driver="evd", check_finite=False)
        if not self.nodes[0] > 4 * _arrays.eps(self.problem.A.dtype) * self.nodes[-1]:
            raise not_definite(f"Lanczos found a Ritz value of {self.nodes[0]:.4g} beside one of {self.nodes[-1]:.4g}")

    def deepen(self, deepest: int, plan: Plan, advance: Callable) -> None:
        """Go on until the answers are good enough."""
        while self.steps < deepest and not self.run.exact:
            before = self.steps
            self.advance(min(max(int(before * _GROWTH), _FIRST_DEPTH), deepest) - before)
            advance((self.steps - before) * self.start.shape[1])
            if self.is_deep_enough(plan):
                return

    def is_deep_enough(self, plan: Plan) -> bool:
        """Solved to tolerance, with a quadrature bias below the statistical error, or one that rounding holds up."""
        wanted = self.residuals() if plan.gradient else self.residuals()[: self.beside]
        if max(wanted) > self.tolerance(plan):
            return False
        estimate = self.density(controls=False).sum(np.log)
        width, before = _width(estimate.bias), self._width
        self._width = width
        return width <= max(_SHARE * estimate.stderr, 1e-9 * abs(estimate.value)) or width > _STALLED * before

    def tolerance(self, plan: Plan) -> float:
        """Relative residual to go for: what was asked, or what rounding allows at this condition number."""
        return max(plan.tol, _ROUNDING * _arrays.eps(self.problem.A.dtype) * self.nodes[-1] / self.nodes[0])

    def lowest(self) -> float:
        """A lower bound on the spectrum of M, or the best guess at one."""
        end = safe_end(self.problem.end, self.nodes, self.problem.precision(self.nodes))
        return float(self.nodes[0]) if end is None or end <= 0 else end

    def coefficients(self) -> np.ndarray:
        """T^-1 R, the solutions in the basis."""
        R = self.run.R
        return self.vectors @ ((self.vectors[: len(R)].T @ R) / self.nodes[:, None])

    def residuals(self) -> np.ndarray:
        """Relative residuals of the solves, which the last block of T tells without a product."""
        B, norms = self.run.last_block, np.linalg.norm(self.run.R, axis=0)
        rest = np.linalg.norm(B @ self.coefficients()[-B.shape[1] :], axis=0) if B.size else 0 * norms
        return rest / np.where(norms > 0, norms, 1.0)

    def solutions(self):
        """M^-1 times the start vectors, as far as the space reaches."""
        return times(self.run.basis(), self.coefficients())

    def density(self, controls: bool = True) -> SpectralDensity:
        """The quadrature rules of the probes."""
        run, problem, precision = self.run, self.problem, self.problem.precision(self.nodes)
        origin = {"method": "block-slq", "seed": problem.seed,
                  "details": {"steps": self.steps, "degree": 2 * self.steps - 1, "precision": precision}}
        if run.dimension == problem.n:
            return SpectralDensity(self.nodes, np.ones(problem.n), problem.n, complete=True, **origin)
        R = run.R[:, self.beside :]
        rule = self.nodes[None], (R.T @ self.vectors[: len(R)]) ** 2
        end = safe_end(problem.end, self.nodes, precision)
        variates = []
        if controls and R.shape[1] >= _FEWEST_TO_DEFLATE:
            variates = deflations(run.T, run.last_block, R, self.steps, problem.sums[: self.steps], self.nodes,
                                  self.vectors)
        return SpectralDensity(*rule, problem.n, exact=run.exact, controls=variates,
                               coarse=[block_gauss(run.projection(m), R) for m in coarse_depths(self.steps)],
                               brackets=[] if end is None else [block_radau(run.T, run.last_block, R, end)], **origin)


class _Gathered:
    """What several spaces found, each with its own probes: the rest of each is let go."""

    def __init__(self, space: _Space):
        self.density = space.density()
        self.starts, self.solutions = [space.probes], [space.solutions()[:, space.beside :]]
        self.steps = space.steps

    @property
    def probes(self) -> int:
        return sum(Z.shape[1] for Z in self.starts)

    def add(self, space: _Space, advance: Callable) -> None:
        """Take a space as deep as the first."""
        space.advance(self.steps)
        advance(self.steps * space.start.shape[1])
        self.density = joined(self.density, space.density(), self.density.seed)
        self.starts.append(space.probes)
        self.solutions.append(space.solutions())
