"""Lanczos tridiagonalisation of a Hermitian operator, from many start vectors at once.

For each column v the recurrence

    beta_j q_{j+1} = A q_j - alpha_j q_j - beta_{j-1} q_{j-1},    q_1 = v / |v|,

gives an orthonormal Q and a tridiagonal T with A Q = Q T + beta_m q_{m+1} e_m'. Columns share products, nothing else.
An exact invariant subspace (beta_j = 0) is success: that column stops, and its T is all there is to know.

References: Lanczos, J. Res. NBS 45 (1950), doi 10.6028/jres.045.026; Parlett, The Symmetric Eigenvalue Problem (1998).
"""

from __future__ import annotations

import json

import numpy as np

from spectra import _arrays
from spectra.krylov._columns import as_block, safe_columns, unit_columns
from spectra.krylov._quadrature import coarse_depths, gauss, radau, safe_end
from spectra.operators._door import enter
from spectra.operators._resident import resident
from spectra.results import SpectralDensity

_TINY = 1e-30  # norms whose squares lie between this and its inverse are far from overflow in any dtype
_CANCELLED = 0.01  # share of |w|^2 below which |w|^2 - <q, w>^2 has lost digits
_SAFE_EXPONENT = {4: 20, 8: 200}  # |log2| of product sizes whose squares are far from overflow, by bytes of a real


def lanczos(A, V, steps: int, *, basis: bool = False):
    """Lanczos tridiagonalisation ``A Q = Q T + residual`` from every column of V.

    Parameters
    ----------
    A : operator, Hermitian of order n
        Anything `aslinearoperator` accepts.
    V : array, shape (n, k) or (n,)
        Start vectors; they need not be normalised.
    steps : int
        Number of steps m; more than n are never made.
    basis : bool
        Whether to return the basis.

    Returns
    -------
    alpha : ndarray, shape (k, m)
        Diagonals of T, one row a column of V.
    beta : ndarray, shape (k, m - 1)
        Off-diagonals of T. Where column i found an invariant subspace after j steps, ``beta[i, j-1]`` is 0 and the
        rest of its row is padding: zeros in beta, ``alpha[i, 0]`` in alpha, zeros in Q.
    Q : array, shape (k, n, m), or None
        Orthonormal bases, in the library of V.

    Raises
    ------
    ValueError
        If A is not Hermitian, a start vector is zero, or a product is not finite.

    Notes
    -----
    k products a step. Full reorthogonalisation, twice, costs 8 n m^2 k operations and n m k numbers of memory; see
    `LanczosRun` for the variant without, and for saving a run and resuming it.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> alpha, beta, Q = spectra.lanczos(np.diag([1.0, 2.0, 3.0]), np.ones(3), 3)
    >>> alpha.round(12), beta.round(12)
    (array([[2., 2., 2.]]), array([[0.81649658, 0.57735027]]))
    """
    if int(steps) != steps or steps < 1:
        raise ValueError(f"steps must be a positive integer, found {steps!r}")
    run = LanczosRun(A, V, expected=steps)
    run.advance(min(int(steps), run.A.shape[0]))
    return run.alpha, run.beta[:, :-1], run.basis() if basis else None


class LanczosRun:
    """A Lanczos recurrence that can be advanced, looked at, saved and resumed.

    Parameters
    ----------
    A : operator, Hermitian of order n
    V : array, shape (n, k) or (n,)
        Start vectors; they are not copied, so leave them as they are until two steps are made.
    reorthogonalize : bool
        Against the whole basis, twice a step (kept: n m k numbers). Without it only the last two blocks are kept;
        copies of converged eigenvalues appear, which slows the quadrature down but leaves it right.
    expected : int
        Steps that the basis has room for from the start; for more it is copied.

    Attributes
    ----------
    alpha, beta : ndarray, shape (k, m)
        Coefficients so far; ``beta[:, m-1]`` is the norm of the residual.
    norms : ndarray, shape (k,)
        Norms of the start vectors.
    broken : ndarray of bool, shape (k,)
        Columns that ended in an invariant subspace.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> run = spectra.krylov.LanczosRun(np.diag([1.0, 2.0, 3.0]), np.ones(3))
    >>> run.advance(2)
    >>> run.advance(1)
    >>> run.alpha.round(12), run.broken
    (array([[2., 2., 2.]]), array([ True]))
    """

    def __init__(self, A, V, *, reorthogonalize: bool = True, expected: int = 16, check: bool = True):
        self.A = enter(A, "Lanczos", check=check)
        self.reorthogonalize = reorthogonalize
        V, _ = as_block(self.A, V)
        if reorthogonalize:
            (self._q, self.norms), self._unit = unit_columns(V), 1.0
        else:
            self._q, self._unit, self.norms = safe_columns(V)
        self._unit_before = 1.0
        if not np.all(self.norms > 0):
            raise ValueError(f"start vectors must not be zero, found norms {self.norms}")
        self._products = self.A if reorthogonalize else resident(self.A, self._q)[0]
        self._q_before = None
        self._scale = None
        self._alpha, self._beta = [], []
        self._basis, self._kept, self._expected = None, 0, max(int(expected), 1)
        self.broken = np.zeros(V.shape[1], dtype=bool)
        self._size = np.zeros(V.shape[1])  # norm of each T so far, against which a beta counts as zero

    @property
    def steps(self) -> int:
        """Steps made."""
        return len(self._alpha)

    @property
    def alpha(self) -> np.ndarray:
        return (self._scale or 1.0) * np.array(self._alpha).T.reshape(len(self.norms), -1)

    @property
    def beta(self) -> np.ndarray:
        return (self._scale or 1.0) * np.array(self._beta).T.reshape(len(self.norms), -1)

    def basis(self):
        """Orthonormal bases, shape (k, n, m); needs `reorthogonalize`."""
        if self._basis is None:
            raise ValueError("the basis was not kept; start the run with reorthogonalize=True")
        xp, kept = _arrays.namespace(self._basis), self._basis[:, : self._kept, :]
        if self._kept < self.steps:  # every column has ended: zeros for the steps that were not made
            missing = (kept.shape[0], self.steps - self._kept, kept.shape[2])
            kept = xp.concat([kept, xp.zeros(missing, dtype=kept.dtype, device=_arrays.device(kept))], axis=1)
        return xp.matrix_transpose(kept)

    def advance(self, steps: int) -> None:
        """Make `steps` more steps; k products each, none once every column is broken."""
        for _ in range(steps):
            if self.broken.all():
                self._alpha.append(self._alpha[0])
                self._beta.append(np.zeros_like(self.norms))
            elif self.reorthogonalize:
                self._orthogonal_step()
            else:
                self._fused_step()

    def _orthogonal_step(self):
        q = self._q
        self._keep(q)
        w = self._product()
        with np.errstate(invalid="ignore", over="ignore"):  # a product that is not finite is named below
            alpha = _arrays.resident_dots(q, w)
            w = self._orthogonal(self._orthogonal(w))
            alpha, square = _arrays.together(alpha, _arrays.resident_dots(w, w))
        inverse = self._record(self._finite(alpha.real), self._finite(np.sqrt(np.maximum(square.real, 0.0))))
        self._q_before, self._q = q, _arrays.scale_columns(w, inverse)

    def _fused_step(self):
        """A step in two passes over the blocks, one with the product and one to orthogonalise and normalise.

        With the last alpha for a guess, w = (A q - beta q_before) / scale - guess q has |w - <q, w> q|^2 =
        |w|^2 - <q, w>^2, known before the second pass; where digits would cancel, the difference is formed first.
        The start vectors are left as long as they are, and brought to norm 1, `unit`, by the products.
        """
        q, unit, first = self._q, self._unit, self._scale is None
        guess, beta = (0.0, 0.0) if first else (self._alpha[-1], self._beta[-1])
        with np.errstate(over="ignore", invalid="ignore"):  # before there is a scale, or a product is not finite
            w, cross, square = self._products._step(
                q, self._q_before, unit / (self._scale or 1.0), -guess * unit, -beta * self._unit_before)
        if first:
            self._scale = 1.0 if np.all((square > _TINY) & (square < 1 / _TINY)) else power_of_two(w)
            if self._scale != 1:
                w = w / self._scale
                cross, square = _arrays.column_dots(q, w), _arrays.column_dots(w, w).real
        cross = unit * cross.real
        alpha, left = self._finite(guess + cross), square - cross**2
        if not np.all((left > _CANCELLED * square) | self.broken):
            w = self._products._remainder(w, q, cross * unit, 1.0)
            cross, left = 0.0, _arrays.column_dots(w, w).real
        inverse = self._record(alpha, self._finite(np.sqrt(np.maximum(left, 0.0))))
        self._q_before, self._q = q, self._products._remainder(w, q, cross * unit, inverse)
        self._unit_before, self._unit = unit, 1.0

    def _finite(self, numbers):
        if not np.all(np.isfinite(numbers)):
            raise ValueError(f"product {self.steps + 1} of the Lanczos recurrence returned NaN or Inf; "
                             "expected finite numbers from the operator")
        return numbers

    def _product(self):
        """A q / scale, with a power of two for scale so that squares of entries cannot overflow."""
        w = self.A @ self._q
        if self._scale is None:
            self._scale = power_of_two(w)
        return w / self._scale if self._scale != 1 else w

    def _record(self, alpha, beta):
        """Take down a step; what normalises its residual, 0 for a column that has ended."""
        previous = self._beta[-1] if self._beta else 0.0
        self._size = np.maximum(self._size, abs(alpha) + beta + previous)
        was_broken = self.broken
        self.broken = was_broken | (beta <= noise_level(self.A) * self._size)
        if self.reorthogonalize and self.steps + 1 >= self.A.shape[0]:
            self.broken[:] = True
        self._alpha.append(np.where(was_broken, self._alpha[0] if self._alpha else alpha, alpha))
        self._beta.append(np.where(self.broken, 0.0, beta))
        return np.where(self.broken, 0.0, 1 / np.where(self.broken, 1.0, beta))

    def _keep(self, q):
        xp, j = _arrays.namespace(q), self.steps
        if self._basis is None or j == self._basis.shape[1]:
            grown = _arrays.empty((len(self.norms), max(2 * j, self._expected), q.shape[0]), q, self.A.dtype)
            if j:
                grown[:, :j, :] = self._basis
            self._basis = grown
        self._basis[:, j, :] = xp.matrix_transpose(q)
        self._kept = j + 1

    def _orthogonal(self, w):
        """w less its projection on the basis, column by column."""
        xp = _arrays.namespace(w)
        Q = self._basis[:, : self.steps + 1, :]
        columns = xp.matrix_transpose(w)[:, :, None]
        coefficients = xp.matmul(xp.conj(Q) if xp.isdtype(Q.dtype, "complex floating") else Q, columns)
        projection = xp.matmul(xp.matrix_transpose(coefficients), Q)[:, 0, :]
        return w - xp.matrix_transpose(projection)

    def density(self) -> SpectralDensity:
        """The quadrature rules of the steps so far, one a start vector: of random probes, the density of the spectrum.

        Every question to it costs no further product, and the run may go on afterwards. A `lower_bound` of the operator
        closes the bias bracket. Unlike `spectral_density`, it uses no traces known beside the products.

        Returns
        -------
        SpectralDensity

        Examples
        --------
        >>> import numpy as np, spectra
        >>> signs = np.random.default_rng(0).choice([-1.0, 1.0], (100, 8))
        >>> run = spectra.krylov.LanczosRun(np.diag(np.linspace(1.0, 2.0, 100)), signs)
        >>> run.advance(10)
        >>> rho = run.density()
        >>> round(rho.sum(np.log).value, 3), round(rho.sum(np.reciprocal).value, 3)  # of a diagonal, any signs do
        (38.589, 69.372)
        """
        if not self.steps:
            raise ValueError("a run that has not advanced has no density; call advance(steps) first")
        alpha, beta, precision = self.alpha, self.beta, _arrays.eps(self.A.dtype)
        rule = gauss(alpha, beta)
        end = safe_end(self.A.lower_bound, rule[0], precision, self.A.shape[0])
        return SpectralDensity(
            *rule, self.A.shape[0], matvecs=alpha.size, method="slq", exact=bool(self.broken.all()),
            coarse=[gauss(alpha[:, :m], beta[:, :m]) for m in coarse_depths(self.steps)],
            brackets=[] if end is None else [radau(alpha, beta, end)],
            details={"steps": self.steps, "degree": 2 * self.steps - 1, "precision": precision})

    # A run on disk

    def save(self, path) -> None:
        """Write the state to one `.npz` file; `load` continues to the same digits."""
        arrays = {"q": self._q, "q_before": self._q_before, "basis": self._basis}
        if self._basis is not None:
            arrays["basis"] = self._basis[:, : self._kept, :]
        held = {name: _arrays.to_host(x) for name, x in arrays.items() if x is not None}
        held |= {"alpha": np.array(self._alpha), "beta": np.array(self._beta), "norms": self.norms,
                 "broken": self.broken, "size": self._size,
                 "unit": np.asarray(self._unit), "unit_before": np.asarray(self._unit_before)}
        header = {"n": self.A.shape[0], "scale": self._scale, "reorthogonalize": self.reorthogonalize}
        with open(path, "wb") as file:
            np.savez(file, header=np.array(json.dumps(header)), **held)

    @classmethod
    def load(cls, path, A) -> LanczosRun:
        """Continue a saved run with the operator it belongs to."""
        with np.load(path, allow_pickle=False) as file:
            header, held = json.loads(str(file["header"])), {k: file[k] for k in file.files if k != "header"}
        run = cls.__new__(cls)
        run.A = enter(A, "Lanczos")
        if run.A.shape[0] != header["n"]:
            raise ValueError(f"the saved run belongs to an operator of order {header['n']}, found {run.A.shape[0]}")
        if held["q"].dtype != run.A.dtype:
            raise ValueError(f"the saved run is in {held['q'].dtype}, and the operator in {run.A.dtype}; convert the "
                             f"operator, A.astype('{held['q'].dtype}')")
        run.reorthogonalize, run._scale = header["reorthogonalize"], header["scale"]
        run.norms, run.broken, run._size = held["norms"], held["broken"], held["size"]
        run._unit, run._unit_before = (x if x.ndim else float(x) for x in (held["unit"], held["unit_before"]))
        run._alpha, run._beta = list(held["alpha"]), list(held["beta"])
        for name in ("q", "q_before", "basis"):
            block = held.get(name)
            setattr(run, f"_{name}", None if block is None else _arrays.from_host(block, run.A.like))
        run._products = run.A if run.reorthogonalize else resident(run.A, run._q)[0]
        run._kept = 0 if run._basis is None else run._basis.shape[1]
        run._expected = 16
        return run


def noise_level(A) -> float:
    """Relative size below which a residual is rounding. More would cut off what a spread spectrum still has to say."""
    return _arrays.eps(A.dtype) * np.sqrt(A.shape[0])


def power_of_two(w) -> float:
    """1, or the power of two nearest the largest entry of w where its square would leave the range of the dtype."""
    largest = float(_arrays.namespace(w).max(abs(w)))
    if largest == 0 or not np.isfinite(largest):
        return 1.0
    exponent = int(np.clip(np.round(np.log2(largest)), -1000, 1000))  # its inverse must not overflow
    safe = _SAFE_EXPONENT[_arrays.dtype_of(w).type(0).real.dtype.itemsize]
    return 1.0 if abs(exponent) <= safe else 2.0**exponent
