"""A few eigenpairs of a Hermitian operator by thick-restart Lanczos.

Lanczos fills a basis Q of m vectors; the p best Ritz vectors are kept, and it goes on from the residual they share:

    A Q_p = Q_p diag(theta) + q_{p+1} s',      s_i = beta_m y_{m,i},

so the projected matrix is diagonal, bordered by s, and tridiagonal from there on. This is implicit restarting without
its bulge chasing. A single Krylov space sees one vector of each eigenspace; so once all pairs have converged they are
locked, and the search goes on from a random vector orthogonal to them, until the best it finds is worse.

ARPACK (scipy.sparse.linalg.eigsh) is not used, not even for NumPy: it multiplies its start vector by A first, which
takes out the null space, and so it can miss the smallest eigenvalue of a singular matrix without a word; it misses
copies of multiple eigenvalues, fails on A = 0, and stops by a rule with an absolute scale.

Reference: Wu and Simon, SIMAX 22 (2000), doi 10.1137/S0895479898334605.
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np

from spectra import _arrays
from spectra.krylov._lanczos import power_of_two
from spectra.operators import LinearOperator
from spectra.operators._door import enter
from spectra.results import ConvergenceWarning

__all__ = ["EigenPairs", "eigenpairs"]

_BESIDE = 8  # vectors beside the basis
_ROTATED = 2**16  # entries of each vector that are rotated at once, and not all in a second basis
_DENSE = 256  # up to this order n products and a dense factorisation cost less than a search

_WANTED = {"LM": np.abs, "LA": np.positive, "SA": np.negative}
"""How much an eigenvalue is wanted."""


class EigenPairs(NamedTuple):
    """What `eigenpairs` returns.

    Attributes
    ----------
    values : ndarray, shape (k,)
        Eigenvalues, the most wanted first.
    vectors : array, shape (n, k)
        Orthonormal eigenvectors in the library of A, column by column.
    residuals : ndarray, shape (k,)
        ``|A v - lambda v|``, recomputed: an eigenvalue of A lies within this distance of lambda.
    """

    values: np.ndarray
    vectors: object
    residuals: np.ndarray


def eigenpairs(A, k: int, *, which: str = "LM", tol: float | None = None, maxiter: int = 300, rng=None,
               memory: int | None = None) -> EigenPairs:
    """The k eigenpairs ``A v = lambda v`` at one end of the spectrum of a Hermitian operator.

    Parameters
    ----------
    A : operator, Hermitian of order n
        Anything `aslinearoperator` accepts.
    k : int
        How many, from 1 to n.
    which : {"LM", "LA", "SA"}
        Largest in modulus, largest, or smallest, in this order.
    tol : float, optional
        Done when ``|A v - lambda v| <= tol |A|`` for every pair; default: ten times the unit roundoff.
    maxiter : int
        Most restarts.
    rng : int, Generator or None
        For the start vectors.
    memory : int, optional
        Bytes for the basis: 2 k + 40 vectors, or fewer where these do not fit, at least k + 18; default 1 GiB.

    Returns
    -------
    EigenPairs
        ``(values, vectors, residuals)``, the most wanted first.

    Raises
    ------
    ValueError
        If A is not Hermitian, k is not between 1 and n, or a product is not finite.

    Warns
    -----
    ConvergenceWarning
        If the restarts did not suffice; the best pairs so far are returned, with their residuals.

    Notes
    -----
    2 k + 30 products at first, k / 2 + 15 each restart, k for the residuals; but n products if ``n <= 256`` or the
    basis would hold the whole space; restarts come sooner in a smaller basis. Copies of a multiple eigenvalue are found
    one after another, each from a new random vector; the search ends when the next best pair is known well enough to be
    worse.

    References
    ----------
    Wu and Simon, SIMAX 22 (2000) 602-616, doi 10.1137/S0895479898334605.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> values, vectors, residuals = spectra.eigenpairs(np.diag([3.0, 1.0, 2.0]), 2, which="SA")
    >>> values, abs(vectors[1, 0])
    (array([1., 2.]), np.float64(1.0))
    """
    op = enter(A, "eigenpairs")
    k, tol = _checked(op, k, which, tol, maxiter)
    generator, _ = _arrays.generator(rng)
    wanted = _WANTED[which]
    room = _arrays.allowance(memory, op.like) // (op.shape[0] * op.dtype.itemsize)
    steps = int(max(min(_basis_size(k), room - _BESIDE - k), k + 10))
    if op.shape[0] <= max(_DENSE, steps):
        values, vectors, size, finished = _dense(op, k, wanted)
    else:
        values, vectors, size, finished = _Search(op, k, wanted, tol, generator, steps).run(maxiter)
    pairs = _with_residuals(op, values, vectors)
    _require_converged(op, pairs.residuals, size, tol, finished)
    return pairs


def _checked(op: LinearOperator, k, which, tol, maxiter):
    n = op.shape[0]
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= n:
        raise ValueError(f"eigenpairs needs an integer k from 1 to the order {n} of the operator, found {k!r}")
    if which not in _WANTED:
        raise ValueError(f"which must be one of {', '.join(_WANTED)}, found {which!r}; "
                         "for the smallest in modulus take SA of A @ A")
    tol = 10 * _arrays.eps(op.dtype) if tol is None else float(tol)
    if not (0 < tol < 1 and maxiter > 0):
        raise ValueError(f"eigenpairs needs 0 < tol < 1 and maxiter > 0, found tol={tol!r} and maxiter={maxiter!r}")
    return int(k), tol


def _basis_size(k: int) -> int:
    return 2 * k + 30


def _dense(op: LinearOperator, k: int, wanted):
    matrix = _arrays.to_host(op.todense())
    if not np.all(np.isfinite(matrix)):
        raise ValueError("a product in eigenpairs returned NaN or Inf; expected finite numbers from the operator")
    theta, Y = np.linalg.eigh(matrix.astype(np.result_type(matrix.dtype, np.float64)))
    best = np.argsort(-wanted(theta), kind="stable")[:k]
    return theta[best], _arrays.from_host(Y[:, best], op.like, op.dtype), np.abs(theta).max(), True


def _with_residuals(op: LinearOperator, values, vectors) -> EigenPairs:
    missing = op @ vectors - _arrays.scale_columns(vectors, values)
    scale = power_of_two(missing)
    return EigenPairs(values, vectors, scale * _arrays.column_norms(missing / scale))


def _require_converged(op: LinearOperator, residuals, size: float, tol: float, finished: bool):
    rounding = 16 * np.sqrt(op.shape[0]) * _arrays.eps(op.dtype)
    if not finished or residuals.max() > (tol + rounding) * size:
        warnings.warn(f"eigenpairs stopped with residuals |A v - lambda v| up to {residuals.max():.2g}, asked for "
                      f"{tol * size:.2g}; raise maxiter or tol, or ask for more pairs, which tells a cluster apart",
                      ConvergenceWarning, stacklevel=3)


class _Search:
    """Thick-restart Lanczos with locking; the basis is kept as rows, so that each vector is contiguous."""

    def __init__(self, op: LinearOperator, k: int, wanted, tol: float, rng, steps: int):
        self.k, self.wanted, self.tol, self.rng = k, wanted, tol, rng
        self.steps, self.kept = steps, 0
        self.T, self.beta = np.zeros((self.steps, self.steps)), 0.0
        self.size = 0.0  # largest |A q| so far
        v = _arrays.gaussians(rng, op.shape[0], 1, op.like, op.dtype)
        self.scale = max(power_of_two(op @ v), float(np.finfo(op.dtype).tiny))
        self.op = op if self.scale == 1 else op * (1 / self.scale)
        self.Q = _arrays.empty((self.steps + 1, op.shape[0]), v, op.dtype)
        self.Q[0, :] = v[:, 0] / _norm(v[:, 0])

    def run(self, maxiter: int):
        """Eigenvalues, the most wanted first, eigenvectors, the norm of A, and whether the search came to its end."""
        k, locked, finished = self.k, None, False
        while not finished and maxiter:
            maxiter -= 1
            self._expand()
            theta, Y = np.linalg.eigh(self.T)
            best = np.argsort(-self.wanted(theta), kind="stable")
            errors, size = np.abs(self.beta * Y[-1, best]), np.abs(theta).max()
            converged = np.all(errors[:k] <= self.tol * size)
            if converged and (locked is None or np.any(np.abs(theta[best[:k]] - locked) > 2 * self.tol * size)):
                locked = theta[best[:k]]
                self._keep(theta, Y, best[:k])
                self.Q[k, :] = self._random(k)
                continue
            # The next best pair is worse beyond doubt, or as good as the last: nothing better is left.
            margin = self.wanted(theta[best[k - 1]]) - self.wanted(theta[best[k]])
            finished = converged and errors[k] <= max(margin, self.tol * size)
            self._keep(theta, Y, best[: k + (self.steps - k) // 2])
            self._couple(Y[-1, best[: self.kept]])
        vectors = _arrays.namespace(self.Q).matrix_transpose(self.Q[:k, :])
        return self.scale * np.diagonal(self.T)[:k], vectors, self.scale * size, finished

    def _expand(self):
        """Lanczos from vector `kept` until the basis is full."""
        for j in range(self.kept, self.steps):
            q = self.Q[j, :]
            w = (self.op @ q[:, None])[:, 0]
            pairs = [(q, w), (w, w)]
            with np.errstate(invalid="ignore", over="ignore"):  # a product that is not finite is named below
                w = self._orthogonal(j + 1, w)
                forms = _arrays.together(*(_arrays.resident_dots(x[:, None], y[:, None]) for x, y in [*pairs, (w, w)]))
            self.T[j, j], long, short = (float(form[0].real) for form in forms)
            self.size, self.beta = max(self.size, math.sqrt(long)), math.sqrt(short)
            if not np.isfinite(self.T[j, j] + self.beta):
                raise ValueError("a product in eigenpairs returned NaN or Inf; expected finite numbers")
            if self.beta <= np.sqrt(self.op.shape[0]) * _arrays.eps(self.op.dtype) * self.size:
                self.beta = 0.0  # an invariant subspace: go on in what is orthogonal to it
            self.Q[j + 1, :] = w / self.beta if self.beta else self._random(j + 1)
            if j + 1 < self.steps:
                self.T[j, j + 1] = self.T[j + 1, j] = self.beta

    def _keep(self, theta, Y, chosen):
        """Make the chosen Ritz vectors the first of the basis; the matrix becomes diagonal."""
        self.kept = len(chosen)
        rotation = _arrays.from_host(Y[:, chosen].T, self.Q, self.op.dtype)
        for part in _arrays.chunks(self.op.shape[0], _ROTATED):
            self.Q[: self.kept, part] = rotation @ self.Q[: self.steps, part]
        self.T[:] = 0.0
        np.fill_diagonal(self.T[: self.kept, : self.kept], theta[chosen])

    def _couple(self, last):
        """Go on from the residual that the kept vectors share."""
        p = self.kept
        self.Q[p, :] = self.Q[self.steps, :]
        self.T[p, :p] = self.T[:p, p] = self.beta * last

    def _random(self, j: int):
        """A random unit vector orthogonal to the first j."""
        w = self._orthogonal(j, _arrays.gaussians(self.rng, self.op.shape[0], 1, self.Q, self.op.dtype)[:, 0])
        return w / _norm(w)

    def _orthogonal(self, j: int, w):
        """w less its projection on the first j vectors, twice."""
        xp, Q = _arrays.namespace(self.Q), self.Q[:j, :]
        is_complex = xp.isdtype(Q.dtype, "complex floating")
        for _ in range(2):
            w = w - (xp.conj(Q @ xp.conj(w)) if is_complex else Q @ w) @ Q
        return w


def _norm(w) -> float:
    return float(_arrays.column_norms(w[:, None])[0])
