"""Log-determinants and quadratic forms that autograd can differentiate, for any matrix whose product it can.

    log det A     d = tr(A^-1 dA)      ~  d [ mean_j u_j' (A w_j) ],    u_j, w_j held fixed
    y' A^-1 y     d = 2 x'dy - x'dA x  =  d [ 2 x'y - x' (A x) ],       x = A^-1 y held fixed

The solves run outside of autograd; only the products in brackets are recorded, one with the block [W, x]. So whatever
the product depends on, hyper-parameters of a kernel or the weights of a network below it, gets its gradient by one
backward pass through one product.

Gardner et al. (2018), arXiv:1809.11165.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from spectra import _arrays
from spectra.gp._inv_quad import one_pass
from spectra.gp._plan import PROBES, Plan, admitted
from spectra.operators import LinearOperator
from spectra.results import Estimate

__all__ = ["inv_quad_logdet", "logdet"]

_SYMMETRIC = 1e4  # roundings by which a product may differ from its transpose
_EXACT = 512  # order of matrices that are factorised within autograd, in every derivative


def logdet(A, *, like: torch.Tensor | None = None, method: str = "auto", probes: int | torch.Tensor = PROBES,
           steps: int | None = None, tol: float = 1e-4, preconditioner=None, rng=None,
           memory: int | None = None) -> torch.Tensor:
    """Log-determinant of a symmetric positive definite matrix, differentiable by autograd.

    Parameters
    ----------
    A : tensor of shape (n, n), or callable
        A callable maps a block V of shape (n, k) to A V, and autograd through it: a closure over whatever the matrix
        depends on.
    like : tensor, shape (n,) or (n, k)
        For a callable: order, dtype and device of the blocks.
    method : {"auto", "exact", "stochastic"}
        "exact" is Cholesky's factorisation of the formed matrix, differentiable any number of times; "stochastic" is
        the shared Krylov space of `spectra.gp.inv_quad_logdet` with one product recorded, differentiable once; "auto"
        is "exact" up to order 512.
    probes : int or tensor of shape (n, k)
        Number of random sign vectors, or the sign vectors themselves.
    steps, tol, preconditioner, rng, memory
        As in `spectra.gp.inv_quad_logdet`. The default of `preconditioner` is none.

    Returns
    -------
    tensor of order 0
        It carries its `Estimate`, with standard error and bias, as the attribute ``estimate``.

    Raises
    ------
    ValueError
        If the matrix is not positive definite, or `like` is missing for a callable.

    Notes
    -----
    Stochastic: ``probes`` products a step outside of autograd, and one with as many columns within. The gradient is
    unbiased over the probes; its expectation over all sign vectors is exact.

    Examples
    --------
    >>> import torch, spectra.gp.torch
    >>> scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    >>> value = spectra.gp.torch.logdet(lambda V: scale * V, like=torch.ones(3, dtype=torch.float64))
    >>> value.backward()
    >>> round(value.exp().item(), 10), round(scale.grad.item(), 10)
    (8.0, 1.5)
    """
    op, plan = _Detached(A, like), _plan(method, probes, steps, tol, preconditioner, rng, memory)
    zeros = torch.zeros_like(op.like)
    return _both(op, zeros, plan)[1]


def inv_quad_logdet(A, y: torch.Tensor, *, method: str = "auto", probes: int | torch.Tensor = PROBES,
                    steps: int | None = None, tol: float = 1e-4, preconditioner=None, rng=None,
                    memory: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """``y' A^-1 y`` and ``log det A``, both differentiable by autograd, in A and in y.

    Parameters
    ----------
    A : tensor of shape (n, n), or callable
        As in `logdet`.
    y : tensor, shape (n,)
        Also says order, dtype and device.
    method, probes, steps, tol, preconditioner, rng, memory
        As in `logdet`.

    Returns
    -------
    tuple of two tensors of order 0
        Each carries its `Estimate` as the attribute ``estimate``; the first one's details hold the solution.

    Raises
    ------
    ValueError
        If the matrix is not positive definite.

    Notes
    -----
    ``probes + 1`` products a step outside of autograd, one with as many columns within. The quadratic form is
    recorded as 2 x'y - x'Ax, whose error is of second order in that of x.

    Examples
    --------
    >>> import torch, spectra.gp.torch
    >>> noise = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    >>> y = torch.ones(3, dtype=torch.float64)
    >>> inv_quad, logdet = spectra.gp.torch.inv_quad_logdet(lambda V: noise * V, y)
    >>> (inv_quad + logdet).backward()
    >>> round(inv_quad.item(), 10), noise.grad.item()
    (1.5, 0.75)
    """
    return _both(_Detached(A, y), y, _plan(method, probes, steps, tol, preconditioner, rng, memory))


def _plan(method, probes, steps, tol, preconditioner, rng, memory) -> Plan:
    if method not in ("auto", "exact", "stochastic"):
        raise ValueError(f"method must be 'auto', 'exact' or 'stochastic' where autograd differentiates, found "
                         f"{method!r}")
    signs = probes if torch.is_tensor(probes) else None
    if signs is not None and signs.ndim != 2:
        raise ValueError(f"probes must be a number or a tensor of shape (n, k), found shape {tuple(signs.shape)}")
    count = probes if signs is None else signs.shape[1]
    return Plan(method, count, steps, tol, preconditioner or "none", rng, memory, gradient=True, signs=signs)


def _both(op, y, plan: Plan) -> tuple[torch.Tensor, torch.Tensor]:
    _require_vectors("y", y, op)
    small = op.shape[0] <= _EXACT and plan.signs is None
    if plan.method == "exact" or (plan.method == "auto" and small):
        return _exact(op, y)
    if plan.signs is not None:
        _require_vectors("probes", plan.signs, op)
    done = one_pass(*admitted(op, y.detach(), "inv_quad_logdet", True), replace(plan, method="stochastic"))
    x, U, W = done.inv_quad.solution, done.left, done.right
    recorded = op.product(torch.cat([W, x[:, None]], dim=1))
    inv_quad = 2 * (x @ y) - x @ recorded[:, -1]
    trace = (U * recorded[:, :-1]).sum() / W.shape[1]
    for recorded_once in (inv_quad, trace):
        if recorded_once.requires_grad:
            recorded_once.register_hook(_only_once)
    value = torch.as_tensor(float(done.logdet), dtype=trace.dtype, device=trace.device)
    return _carrying(inv_quad, done.inv_quad), _carrying(value + (trace - trace.detach()), done.logdet)


def _only_once(gradient):
    """Second derivatives would take the solves for constants, which they are not."""
    if torch.is_grad_enabled():
        raise ValueError('the stochastic method can be differentiated once, without create_graph=True; for second '
                         'derivatives take method="exact"')


def _require_vectors(name: str, x, op) -> None:
    """Refuse what is no finite tensor of the order and the dtype of the matrix."""
    if not torch.is_tensor(x):
        raise TypeError(f"{name} must be a tensor, found {type(x).__name__}; torch.as_tensor makes one")
    if x.shape[:1] != op.shape[:1] or (name == "y" and x.ndim != 1):
        raise ValueError(f"{name} must have shape ({op.shape[0]}{',' if name == 'y' else ', k'}), found "
                         f"{tuple(x.shape)}")
    if x.dtype != op.like.dtype:
        raise TypeError(f"{name} must have the dtype of the matrix, {op.like.dtype}, found {x.dtype}")
    if not torch.isfinite(x).all():
        raise ValueError(f"{name} holds NaN or Inf; expected finite numbers")


def _exact(op, y) -> tuple[torch.Tensor, torch.Tensor]:
    matrix = op.product(torch.eye(op.shape[0], dtype=op.like.dtype, device=op.like.device))
    if matrix.shape != op.shape:
        raise ValueError(f"the product with a block of shape {tuple(op.shape)} must have that shape, found "
                         f"{tuple(matrix.shape)}")
    asymmetry = (matrix - matrix.T).detach().abs().max()
    if not asymmetry <= _SYMMETRIC * _arrays.eps(op.dtype) * matrix.detach().abs().max():
        raise ValueError("logdet needs a symmetric matrix of finite numbers, found one that differs from its transpose "
                         f"by up to {asymmetry:.3g}; symmetrise it, (A + A.T) / 2")
    factor, failed = torch.linalg.cholesky_ex((matrix + matrix.T) / 2)
    if failed:
        raise ValueError(f"logdet needs a positive definite matrix, but its factorisation failed at row {int(failed)}; "
                         "add a shift, e.g. 1e-6 times the identity")
    half = torch.linalg.solve_triangular(factor, y[:, None], upper=False)
    inv_quad, value = (half**2).sum(), 2 * factor.diagonal().log().sum()
    return tuple(_carrying(x, Estimate(x.item(), method="exact")) for x in (inv_quad, value))


def _carrying(tensor: torch.Tensor, estimate: Estimate) -> torch.Tensor:
    tensor.estimate = estimate
    return tensor


class _Detached(LinearOperator):
    """The matrix outside of autograd, and within by `product`."""

    hermitian = True

    def __init__(self, A: torch.Tensor | Callable[[torch.Tensor], Any], like: torch.Tensor | None):
        if torch.is_tensor(A):
            if A.ndim != 2 or A.shape[0] != A.shape[1] or not A.shape[0]:
                raise ValueError(f"A must be a square matrix, found shape {tuple(A.shape)}")
            like = A[:, 0]
            self.product = lambda V: A @ V
        elif callable(A):
            self.product = A
        else:
            raise TypeError(f"A must be a tensor or a function V -> A V, found {type(A).__name__}")
        if like is None:
            raise ValueError("a function V -> A V needs like=, a tensor of its order, dtype and device")
        if not torch.is_tensor(like) or like.ndim not in (1, 2) or not like.shape[0]:
            raise TypeError(f"like must be a tensor of shape (n,) or (n, k), found {like!r:.60}")
        if like.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"logdet needs a real matrix in single or double precision, found {like.dtype}")
        like = like if like.ndim == 1 else like[:, 0]
        super().__init__((like.shape[0], like.shape[0]), _arrays.dtype_of(like))
        self.like = like.detach()

    def _matmat(self, V):
        with torch.no_grad():
            return self.product(V)
