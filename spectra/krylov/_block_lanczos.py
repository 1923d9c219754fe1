"""Block Lanczos: one Krylov space shared by all start vectors.

    Q_{j+1} B_j = A Q_j - Q_j A_j - Q_{j-1} B_{j-1}^H,     V = Q_1 R_1,

gives an orthonormal basis Q of span{V, AV, ..., A^(m-1) V} and the block tridiagonal T = Q^H A Q. Since every start
vector uses the whole space, quadrature from T converges faster than from k separate runs with the same products.
Directions that are exhausted are dropped, so blocks may shrink; when none is left, T holds the answer exactly.

References: Golub and Underwood, The block Lanczos method (1977); Golub and Meurant, Matrices, Moments and Quadrature
(2010), chapter 6; Chen and Hallman, SIMAX 44 (2023), arXiv:2205.00736.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import block_diag

from spectra import _arrays
from spectra.krylov._columns import as_block
from spectra.krylov._lanczos import noise_level, power_of_two
from spectra.krylov._quadrature import block_gauss, block_radau, coarse_depths, safe_end
from spectra.operators._door import enter
from spectra.results import SpectralDensity


class BlockLanczosRun:
    """A block Lanczos recurrence with full reorthogonalisation, that can be advanced and looked at.

    Parameters
    ----------
    A : operator, Hermitian of order n
    V : array, shape (n, k)
        Start block; its columns may be dependent.
    expected : int
        Steps that the basis has room for from the start; for more it is copied.

    Attributes
    ----------
    T : ndarray, shape (d, d)
        Projection of A on the space so far, d <= k m.
    R : ndarray, shape (k', k)
        V in the first block of the basis, V = Q_1 R.
    exact : bool
        The space is invariant: functions of T are functions of A on it.

    Notes
    -----
    A step takes as many products as its block has columns. Memory is n d numbers, work 8 n d^2 operations in all.
    """

    def __init__(self, A, V, *, expected: int = 16, check: bool = True):
        self.A = enter(A, "block Lanczos", check=check)
        self._rows = None  # adjoint of the basis, a row a vector, with room to grow
        self._dimension, self._expected = 0, max(int(expected), 1)
        self._diagonal, self._below = [], []  # blocks A_j and B_j
        self._scale = None
        self._size = 0.0  # norm of T so far
        V, _ = as_block(self.A, V)
        if not np.isfinite(float(_arrays.namespace(V).max(abs(V)))):
            raise ValueError("the start block holds NaN or Inf; expected finite entries")
        self._next, self.R = self._independent(V, 0.0)
        self.exact = self._next.shape[1] == 0

    @property
    def steps(self) -> int:
        """Steps made."""
        return len(self._diagonal)

    @property
    def dimension(self) -> int:
        """Dimension of the space whose projection is known."""
        return sum(len(D) for D in self._diagonal)

    @property
    def T(self) -> np.ndarray:
        return self.projection(self.steps)

    @property
    def last_block(self) -> np.ndarray:
        """B_m, which couples the space to its continuation."""
        return self.coupling(self.steps)

    def coupling(self, steps: int) -> np.ndarray:
        """B_j, which couples the space of the first `steps` steps to its continuation."""
        return self._scale * self._below[steps - 1]

    def projection(self, steps: int) -> np.ndarray:
        """T after the first `steps` steps."""
        T = block_diag(*self._diagonal[:steps])
        start = 0
        for D, B in zip(self._diagonal[: steps - 1], self._below, strict=False):
            middle = start + len(D)
            rows, columns = slice(middle, middle + len(B)), slice(start, middle)
            T[rows, columns], T[columns, rows] = B, B.conj().T
            start = middle
        return self._scale * T

    def basis(self):
        """Orthonormal basis of the space, shape (n, d)."""
        return _arrays.adjoint(self._rows[: self.dimension, :])

    def density(self) -> SpectralDensity:
        """The quadrature rules of the steps so far, one a start vector: of random probes, the density of the spectrum.

        As `LanczosRun.density`, with nodes that all start vectors share. Unlike `spectral_density` with method
        "block-slq", it deflates no probe by the others.

        Examples
        --------
        >>> import numpy as np, spectra
        >>> signs = np.random.default_rng(0).choice([-1.0, 1.0], (100, 4))
        >>> run = spectra.krylov.BlockLanczosRun(np.diag(np.linspace(1.0, 2.0, 100)), signs)
        >>> run.advance(8)
        >>> round(run.density().sum(np.log).value, 3)
        38.589
        """
        if not self.steps:
            raise ValueError("a run that has not advanced has no density; call advance(steps) first")
        T, R, precision = self.T, self.R, _arrays.eps(self.A.dtype)
        rule = block_gauss(T, R)
        end = safe_end(self.A.lower_bound, rule[0], precision, self.A.shape[0])
        return SpectralDensity(
            *rule, self.A.shape[0], matvecs=self.dimension, method="block-slq", exact=self.exact,
            coarse=[block_gauss(self.projection(m), R) for m in coarse_depths(self.steps)],
            brackets=[] if end is None else [block_radau(T, self.last_block, R, end)],
            details={"steps": self.steps, "degree": 2 * self.steps - 1, "precision": precision})

    def advance(self, steps: int) -> None:
        """Make up to `steps` more steps; none once the space is invariant."""
        for _ in range(steps):
            if self.exact:
                return
            self._one_step()

    def extend(self, V) -> None:
        """Go on from an invariant space with what V has outside it; T becomes block diagonal."""
        if not self.exact:
            raise ValueError("the space is not invariant yet: advance the run instead")
        self._next, _ = self._independent(self._orthogonal(V), self._size, self.A.shape[0] - self._dimension)
        self._below[-1] = np.zeros((self._next.shape[1], self._below[-1].shape[1]))
        self.exact = self._next.shape[1] == 0

    def _one_step(self):
        Q = self._next
        self._keep(Q)
        W = self._product(Q)
        with np.errstate(invalid="ignore"):
            D = _arrays.gram(Q, W)
        if not np.all(np.isfinite(D)):
            raise ValueError(f"step {self.steps + 1} of block Lanczos returned NaN or Inf; "
                             "expected finite numbers from the operator")
        self._diagonal.append((D + D.conj().T) / 2)
        self._size = max(self._size, np.linalg.norm(D, 2))
        W = self._orthogonal(self._orthogonal(W))
        room = self.A.shape[0] - self._dimension
        self._next, B = self._independent(W, self._size, room)
        self._below.append(B)
        self._size = max(self._size, np.linalg.norm(B, 2) if B.size else 0.0)
        self.exact = self._next.shape[1] == 0

    def _product(self, Q):
        W = self.A @ Q
        if self._scale is None:
            self._scale = power_of_two(W)
        return W if self._scale == 1 else W / self._scale

    def _independent(self, W, size: float, room: int | None = None):
        """Orthonormal basis of the columns of W, and W in it; directions below rounding are dropped."""
        xp = _arrays.namespace(W)
        Q, R = xp.linalg.qr(W)
        U, s, Vh = np.linalg.svd(_arrays.to_host(R))
        n = W.shape[0]
        tolerance = noise_level(self.A) * max(size, s[0] if not size else 0.0)
        rank = min(int(np.sum(s > tolerance)), n if room is None else room)
        if rank == 0:
            return Q[:, :0], np.zeros((0, R.shape[1]), dtype=U.dtype)
        B = s[:rank, None] * Vh[:rank]
        Q = Q @ _arrays.from_host(U[:, :rank], W, _arrays.dtype_of(W))
        if self._dimension:
            # A weak direction carries rounding of the strong ones along the old basis, relative to its own size: out.
            Q, correction = xp.linalg.qr(self._orthogonal(Q))
            B = _arrays.to_host(correction) @ B
        return Q, B

    def _keep(self, Q):
        d, b = self._dimension, Q.shape[1]
        if self._rows is None or d + b > self._rows.shape[0]:
            room = max(d + b, min(max(2 * d, d + self._expected * b), Q.shape[0]))
            grown = _arrays.empty((room, Q.shape[0]), Q, self.A.dtype)
            if d:
                grown[:d, :] = self._rows[:d, :]
            self._rows = grown
        self._rows[d : d + b, :] = _arrays.adjoint(Q)
        self._dimension = d + b

    def _orthogonal(self, W):
        rows = self._rows[: self._dimension, :]
        return W - _arrays.adjoint(rows) @ (rows @ W)
