"""Randomised Nystrom approximation as a preconditioner: for operators known by their products alone.

With Q an orthonormal basis of a block Krylov space from random vectors, and K = A - a I for a lower bound a of the
spectrum of A (0 if none is known),

    N = K Q (Q^H K Q)^-1 Q^H K = U Lambda U^H <= K,        P = U Lambda U^H + delta I,

    P^-1/2 = delta^-1/2 (I - U diag(1 - sqrt(delta / (lambda_i + delta))) U^H).

Since N lies below K, no eigenvalue of P^-1/2 A P^-1/2 lies below a / delta. The shift delta is a plus the mean of what
N leaves of the trace of K, and no less than a plus the smallest lambda: a itself, the noise of a kernel matrix, would
count what N leaves as if it were noise.

Reference: Frangella, Tropp and Udell, SIMAX 44 (2023), arXiv:2110.02820; theirs has the Krylov space of one step.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from spectra import _arrays
from spectra.krylov._block_lanczos import BlockLanczosRun
from spectra.krylov._columns import times
from spectra.operators import LinearOperator
from spectra.operators._algebra import converted
from spectra.operators._door import enter

_WIDTH = 10  # random vectors: more steps with fewer find more of a decaying spectrum
_START, _MOST = 50, 800  # ranks that are tried where it is adaptive
_FALL = 3  # doubling the rank must lower the residual so many times to be tried again


class Nystrom:
    """Preconditioner ``P = U Lambda U^H + delta I`` from a randomised Nystrom approximation of A.

    Parameters
    ----------
    A : operator, Hermitian positive semi-definite of order n
        Known by its products; what it knows of its diagonal makes `shift` exact, its `lower_bound` sharper.
    rank : int, optional
        Products to spend, and rank of the approximation. Default: doubled from 50 while each doubling lowers the shift
        by a factor of three or more, to 800 at most.
    shift : float, optional
        delta; default: chosen from the residual.
    rng : int, Generator or None

    Attributes
    ----------
    rank, matvecs : int
        Rank, and products spent, counted.
    shift : float
        delta.
    eigenvalues : ndarray, shape (rank,)
        Lambda.
    logdet : float
        ``log det P``.

    Raises
    ------
    ValueError
        If A has a negative eigenvalue, or an eigenvalue below its `lower_bound`.

    Notes
    -----
    Memory for 3 n rank numbers, work 8 n rank^2 operations. A product with `congruence(A)` adds 8 n rank operations.

    References
    ----------
    Frangella, Tropp and Udell (2023), arXiv:2110.02820.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> A = np.diag([100.0, 10.0, 1.0, 1.0])
    >>> P = spectra.estimators.Nystrom(A, rank=4, rng=0)
    >>> float(round(spectra.logdet(A, method="slq", probes=2, steps=4, preconditioner=P, rng=0).value / np.log(10), 6))
    3.0
    """

    name = "nystrom"

    def __init__(self, A, rank: int | None = None, *, shift: float | None = None, rng=None):
        op = enter(A, "Nystrom")
        if rank is not None and (int(rank) != rank or rank < 1):
            raise ValueError(f"rank must be a positive integer, found {rank!r}")
        if shift is not None and not (shift > 0 and np.isfinite(shift)):
            raise ValueError(f"shift must be a positive number, found {shift!r}")
        self.operator, before, n = op, op.matvecs, op.shape[0]
        self.floor = max(op.lower_bound or 0.0, 0.0)
        generator, _ = _arrays.generator(rng)
        most = min(rank or _MOST, n)
        start = _arrays.gaussians(generator, n, min(_WIDTH, most), op.like, op.dtype)
        run = BlockLanczosRun(op, start, check=False)
        target = most if rank else min(_START, most)
        approximation = self._approximation(run, target)
        while not rank and run.dimension < most and not run.exact:
            wider = self._approximation(run, min(2 * run.dimension, most))
            enough = wider[2] - self.floor > (approximation[2] - self.floor) / _FALL
            approximation = wider
            if enough:
                break
        self.U, self.eigenvalues, found = approximation
        self.shift = float(shift or found)
        self.matvecs = op.matvecs - before
        inside = np.log(self.eigenvalues + self.shift)
        self.logdet = float(np.sum(inside) + (n - len(inside)) * np.log(self.shift))

    @property
    def rank(self) -> int:
        return len(self.eigenvalues)

    def _approximation(self, run, rank: int):
        """U, Lambda and delta from the first `rank` vectors of the space."""
        width = run.R.shape[0]
        run.advance(max(-(-(rank - run.dimension) // max(width, 1)), 0))
        T = run.T - self.floor * np.eye(run.dimension)
        size = np.linalg.norm(T, 2)
        factor = _cholesky(T, 8 * np.sqrt(self.operator.shape[0]) * _arrays.eps(self.operator.dtype) * size)
        B = run.last_block
        below = np.zeros((len(B), len(T)), dtype=np.result_type(T, B))
        below[:, len(T) - B.shape[1] :] = B
        image = solve_triangular(factor, np.concatenate([T, below]).conj().T, lower=True).conj().T
        inner, sigma, _ = np.linalg.svd(image, full_matrices=False)
        keep = sigma**2 > _arrays.eps(self.operator.dtype) * size
        inner, Lambda = inner[:, keep], sigma[keep] ** 2
        xp = _arrays.namespace(run.basis())
        U = times(xp.concat([run.basis(), run._next], axis=1), inner)
        return U, Lambda, self._shift(run, Lambda)

    def _shift(self, run, Lambda) -> float:
        """a + the larger of the mean residual and the smallest lambda; never 0."""
        n = self.operator.shape[0]
        diagonal = self.operator.diagonal()
        if diagonal is not None:
            trace = _arrays.total(diagonal)
        else:  # Hutchinson's estimate from the start vectors, of which the first step knows all
            first = run.projection(1)
            trace = float(np.trace(run.R.conj().T @ first @ run.R).real) / run.R.shape[1]
        left = max(trace - n * self.floor - Lambda.sum(), 0.0) / max(n - len(Lambda), 1)
        least = Lambda[-1] if len(Lambda) and len(Lambda) < n else 0.0
        tiny = _arrays.eps(self.operator.dtype) * (Lambda.max(initial=0.0) + self.floor)
        return self.floor + max(left, least if diagonal is None else 0.0, tiny) or 1.0

    def solve(self, V):
        """P^-1 V."""
        W = self._apply(V, self.eigenvalues / (self.eigenvalues + self.shift))
        W /= self.shift
        return W

    def half_solve(self, V):
        """P^-1/2 V."""
        W = self._apply(V, 1 - np.sqrt(self.shift / (self.eigenvalues + self.shift)))
        W /= float(np.sqrt(self.shift))
        return W

    def congruence(self, A: LinearOperator) -> LinearOperator:
        """P^-1/2 A P^-1/2."""
        return _Congruence(self, A)

    def _apply(self, V, weights):
        """(I - U diag(weights) U^H) V."""
        U = converted(self.U, _arrays.dtype_of(V))
        W = _arrays.adjoint(U) @ V
        return V - U @ (_arrays.from_host(weights, V, _arrays.dtype_of(V))[:, None] * W)


class _Congruence(LinearOperator):
    """P^-1/2 A P^-1/2."""

    hermitian = True

    def __init__(self, P: Nystrom, A: LinearOperator):
        super().__init__(A.shape, A.dtype)
        self.P, self.A, self.like, self._verified, self.psd = P, A, A.like, A._verified, A.psd
        self.width = A.width
        largest = P.eigenvalues.max(initial=0.0) + P.shift
        self.precision = _arrays.eps(A.dtype) * max(np.sqrt(largest / P.shift), 1.0)
        same = A is P.operator or (getattr(A, "A", None) is not None and A.A is getattr(P.operator, "A", None))
        if same and P.floor > 0:
            self.lower_bound = min(1.0, P.floor / P.shift) * (1 - 64 * self.precision)

    def _matmat(self, V):
        return self.P.half_solve(self.A @ self.P.half_solve(V))

    def in_double(self):
        A = self.A.in_double()
        return None if A is None else _Congruence(self.P, A)


def _cholesky(T, jitter: float):
    """Factor of T + jitter I: a projection of a semi-definite matrix, definite up to rounding."""
    try:
        return np.linalg.cholesky(T + jitter * np.eye(len(T)))
    except np.linalg.LinAlgError:
        lowest = np.linalg.eigvalsh(T)[0]
        raise ValueError(f"Nystrom needs a positive semi-definite operator (above its lower_bound), but found a Ritz "
                         f"value of {lowest:.4g} there; shift it, e.g. A.shift({2 * abs(lowest):.2g})") from None
