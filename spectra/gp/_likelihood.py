"""The logarithm of the marginal likelihood of a Gaussian process, and its gradient.

    log p(y) = -1/2 y'K^-1 y - 1/2 log det K - n/2 log 2 pi
    d log p / d theta = 1/2 a' dK a - 1/2 tr(K^-1 dK),     a = K^-1 y,  dK = dK / d theta

The trace is the mean of u_j' dK w_j over the pairs that the pass for the value leaves behind (`spectra.gp._inv_quad`),
so that all derivatives together cost one sweep over the kernel.

Rasmussen and Williams (2006), equation 5.9; Gardner et al. (2018), arXiv:1809.11165; by maximum entropy: Fitzsimons,
Granziol, Cutajar, Osborne, Filippone and Roberts (2017), arXiv:1704.07223.
"""

from __future__ import annotations

import numpy as np

from spectra import _arrays
from spectra.gp._inv_quad import one_pass
from spectra.gp._operator import KernelOperator
from spectra.gp._plan import PROBES, Pass, Plan, admitted
from spectra.results import Estimate

_MOST_MISSING = 10.0  # of a change that has hardly converged
_ROWS = 512  # of a block that stays in cache


def log_marginal_likelihood(K, y, *, gradient: bool = False, method: str = "auto", probes: int = PROBES,
                            steps: int | None = None, tol: float = 1e-4, preconditioner=None, rng=None,
                            memory: int | None = None, progress=False, check: bool = True) -> Estimate:
    """Evidence of a Gaussian process, ``-1/2 y'K^-1 y - 1/2 log det K - n/2 log 2 pi``, with its gradient.

    Parameters
    ----------
    K : operator, Hermitian positive definite of order n, real
        Covariance of the targets, noise included. A gradient needs a `KernelOperator`, or any operator with
        ``bilinear(U, V, each=)``.
    y : array, shape (n,)
        Targets less their mean.
    gradient : bool
        Also the derivatives in every parameter of K, under ``details["gradient"]``: name -> `Estimate`, a number or
        an array of shape (d,), of derivatives in the natural, positive parameters. The bias bracket of each covers
        the solves.
    method : {"auto", "exact", "stochastic", "maxent"}
        "exact" factorises the formed matrix; "stochastic" is one block Krylov space for solve, quadrature and
        gradient; "maxent" takes the log-determinant from the density of maximum entropy; "auto" is "exact" where three
        matrices of order n fit the memory, else "stochastic".
    probes, steps, tol, preconditioner, rng, memory, progress, check
        As in `inv_quad_logdet`.

    Returns
    -------
    Estimate
        The standard error covers the choice of probes, the bias bracket quadrature and solve. The details hold
        `inv_quad` and `logdet` (two Estimates), the `solution` K^-1 y, and `gradient`.

    Raises
    ------
    ValueError
        If K is not positive definite, y does not fit, or K knows no derivatives and a gradient is asked for.

    Warns
    -----
    ConvergenceWarning
        If the solve has not reached `tol`, or bias dominates the log-determinant.

    Notes
    -----
    ``probes + 1`` products a step, and one sweep of `bilinear` for the gradient; with one seed the value is a
    deterministic function of the parameters (common random numbers), as optimisers like it.

    References
    ----------
    Gardner et al. (2018), arXiv:1809.11165; Fitzsimons et al. (2017), arXiv:1704.07223.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> K, y = 2 * np.eye(3), np.array([1.0, 2.0, 3.0])
    >>> spectra.gp.log_marginal_likelihood(K, y).value.round(6)
    np.float64(-7.296536)
    """
    op, block = admitted(K, y, "log_marginal_likelihood", check)
    if gradient and not hasattr(op, "bilinear"):
        raise ValueError(f"the gradient needs an operator that knows its derivatives, such as gp.KernelOperator; "
                         f"{type(op).__name__} has no bilinear(U, V, each=)")
    done = one_pass(op, block, Plan(method, probes, steps, tol, preconditioner, rng, memory, progress, gradient))
    details = {"inv_quad": done.inv_quad, "logdet": done.logdet, "solution": done.inv_quad.solution,
               "freedom": done.logdet.details.get("freedom", max(done.logdet.probes - 1, 1))}
    if gradient:
        details["gradient"] = _gradient(op, done)
    return _evidence(done, op.shape[0], details)


def _evidence(done: Pass, n: int, details: dict) -> Estimate:
    inv_quad, logdet = done.inv_quad, done.logdet
    value = -0.5 * (inv_quad.value + logdet.value + n * np.log(2 * np.pi))
    (a, b), (c, d) = (e.bias or (0.0, 0.0) for e in (inv_quad, logdet))
    bias = None if inv_quad.bias is logdet.bias is None else (-0.5 * (b + d), -0.5 * (a + c))
    return Estimate(np.float64(value), 0.5 * logdet.stderr, bias, max(inv_quad.matvecs, logdet.matvecs), logdet.probes,
                    logdet.seed, logdet.method, details)


def _gradient(op, done: Pass) -> dict[str, Estimate]:
    """All derivatives from one sweep over the kernel."""
    a = done.inv_quad.solution[:, None]
    xp = _arrays.namespace(a)
    if done.exact:
        return {name: Estimate(0.5 * _number(form), method="exact") for name, form in _contracted(op, a, done).items()}
    coarse, k = done.coarse, done.left.shape[1]
    forms = op.bilinear(xp.concat([a, done.left, coarse.solution, coarse.left], axis=1),
                        xp.concat([a, done.right, coarse.solution, done.right[:, : coarse.left.shape[1]]], axis=1),
                        each=True)
    thetas = getattr(op, "parameters", {})
    return {name: _averaged(*np.split(np.asarray(form, dtype=float), [1 + k], axis=-1), done, thetas.get(name))
            for name, form in forms.items()}


def _slack(form, theta, inv_quad: Estimate):
    """What rounding, and the residual of the solve, may have in 1/2 a'dK a, of which `form` is twice the value.

    With dK at most K / theta, as that of a factor of K and of the noise is: where η² bounds the error of y'K^-1 y, that
    of a is η in the norm of K, and a'dK moves by η (a'dK a / theta)^1/2; rounding of K by E adds a'E a / theta.
    """
    if theta is None:
        return 0.0
    theta = np.maximum(theta, np.finfo(float).tiny)
    eta = np.sqrt(max(inv_quad.bias[1] - inv_quad.rounding, 0.0))
    return inv_quad.rounding / theta + eta * np.sqrt(np.abs(form) / theta)


def _contracted(op, a, done: Pass) -> dict:
    """a'dK a - tr(K^-1 dK): entry by entry, sum_ij (a a' - K^-1)_ij dK_ij, where the kernel tells the entries of dK."""
    if not isinstance(op, KernelOperator):
        xp = _arrays.namespace(a)
        return op.bilinear(xp.concat([a, -done.left], axis=1), xp.concat([a, done.right], axis=1))
    W = a @ _arrays.adjoint(a) - done.left
    xp, sums = _arrays.namespace(W), {("noise", None): float(_arrays.to_host(_arrays.namespace(W).linalg.trace(W)))}
    for rows in _arrays.chunks(op.shape[0], _ROWS):
        for columns in _arrays.chunks(rows.stop, _ROWS):  # symmetric: the lower triangle of blocks, twice
            weights = (1.0 if rows == columns else 2.0) * W[rows, columns]
            for key, derivative in op._scaled.jet(op.X[rows, :], op.X[columns, :])[1].items():
                sums[key] = sums.get(key, 0.0) + float(xp.sum(weights * derivative()))
    return {name: sums[name, None] if np.ndim(value) == 0 else np.array([sums[name, c] for c in range(len(value))])
            for name, value in op.parameters.items()}


def _averaged(forms, halfway, done: Pass, theta) -> Estimate:
    """1/2 a'dK a - 1/2 mean_j u_j'dK w_j, the columns along the last axis, a's first; `halfway` at half the depth.

    The forms err as the solves do, in proportion to their residuals: what the second half of the steps changed tells
    what is missing, and `theta`, the parameter, how much the solve may have left at its full depth.
    """
    traces, coarse = forms[..., 1:], done.coarse
    k, watched = traces.shape[-1], halfway.shape[-1] - 1
    stderr = np.std(traces, axis=-1, ddof=1) / np.sqrt(k) if k > 1 else np.full(traces.shape[:-1], np.inf)
    changes = np.abs(forms[..., : 1 + watched] - halfway)
    missing = changes[..., 0] * _still_missing(coarse.solution_rest)
    if watched:
        missing = missing + changes[..., 1:].mean(-1) * _still_missing(coarse.left_rest)
    missing = missing + 2 * _slack(forms[..., 0], theta, done.inv_quad)
    return Estimate(0.5 * _number(forms[..., 0] - traces.mean(-1)), 0.5 * _number(stderr),
                    (-0.5 * _number(missing), 0.5 * _number(missing)), 0, k, done.logdet.seed, "stochastic")


def _still_missing(rest: float) -> float:
    """What is missing, relative to what the second half of the steps changed, where these left `rest` of the residual:
    rest / (1 - rest) if convergence goes on as it did, and six times that to be safe, as the forms lag behind."""
    if rest < 1:
        return min(6 * rest / (1 - rest), _MOST_MISSING)
    return _MOST_MISSING if np.isfinite(rest) else np.inf


def _number(x):
    """An array of order 0 as a number."""
    return np.asarray(x, dtype=float)[()]
