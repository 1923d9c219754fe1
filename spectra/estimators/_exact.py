"""Exact answers, and when they are cheaper than estimates."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from scipy import sparse
from scipy.linalg import cho_solve, cholesky
from scipy.sparse.csgraph import reverse_cuthill_mckee

from spectra import _arrays
from spectra.operators import LinearOperator
from spectra.operators._adapters import Dense, Sparse
from spectra.results import Estimate

_DENSE_SPEEDUP = 100  # operations of a dense factorisation in the time of one in a sparse product or factorisation
_CHOLESKY_PER_PRODUCT = 6  # a formed matrix of order n below this many times the products is cheaper to factorise


def exact_sum(A: LinearOperator, f: Callable) -> Estimate:
    """``tr f(A)`` from a factorisation (f is log) or from all eigenvalues, in double precision."""
    A = A.astype(np.result_type(A.dtype, np.float64))
    spent = A.matvecs
    value, details = exact_logdet(A) if f is np.log else (_from_eigenvalues(A, f), {"factorisation": "eigenvalues"})
    return Estimate(value, 0.0, None, A.matvecs - spent, 0, None, "exact", details)


def exact_logdet(A: LinearOperator) -> tuple[float, dict]:
    """Log-determinant by Cholesky of the formed matrix, or by sparse LU where the fill allows.

    Raises
    ------
    ValueError
        If A is not positive definite, or singular to working precision.
    """
    if isinstance(A, Sparse) and (sparse_cost(A.host) or np.inf) < dense_cost(A):
        return _sparse_lu(A.host), {"factorisation": "sparse LU"}
    return _cholesky(A), {"factorisation": "Cholesky"}


def _cholesky(A) -> float:
    dense = A.todense()
    xp = _arrays.namespace(dense)
    diagonal = _positive(_arrays.to_host(xp.linalg.diagonal(dense)))
    try:
        if isinstance(dense, np.ndarray):
            L = cholesky(dense, lower=True, check_finite=False)
        else:
            L = xp.linalg.cholesky(dense)
    except Exception as error:  # every library has its own
        if "definite" not in str(error).lower():
            raise
        raise not_definite(f"its Cholesky factorisation stopped ({error})") from None
    L, half = _arrays.to_host(L), np.sqrt(diagonal)

    def norm():
        sizes = (xp.abs(dense[rows, :]) for rows in _arrays.chunks(len(half), 256))
        sums = [_arrays.to_host(part @ _arrays.from_host(1 / half, part, _arrays.dtype_of(part))) for part in sizes]
        return np.max(np.concatenate(sums) / half)

    _require_regular(lambda x: half * cho_solve((L, True), half * x, check_finite=False), norm, A)
    return float(2 * np.sum(np.log(np.diagonal(L).real.astype(float))))


def _sparse_lu(A) -> float:
    scale = 1 / np.sqrt(_positive(A.diagonal()))
    unit = sparse.diags_array(scale) @ A @ sparse.diags_array(scale)
    from scipy.sparse.linalg import splu

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sparse.SparseEfficiencyWarning)
        try:
            factors = splu(sparse.csc_matrix(unit), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0,
                           options={"SymmetricMode": True})
        except RuntimeError:
            raise not_definite("it is exactly singular") from None
    pivots = factors.U.diagonal().real
    if pivots.min() <= 0:
        raise not_definite(f"its elimination met a pivot of {pivots.min():.4g} relative to the diagonal")
    if np.any(factors.perm_r != factors.perm_c):  # SuperLU leaves the diagonal only where it cannot divide by it
        raise not_definite("its elimination met a pivot of 0")
    _require_regular(factors.solve, lambda: abs(unit).sum(0).max(), A)
    return float(np.sum(np.log(pivots.astype(float))) - 2 * np.sum(np.log(scale)))


def _positive(diagonal) -> np.ndarray:
    diagonal = diagonal.real.astype(float)
    if diagonal.min() <= 0:
        raise not_definite(f"found the diagonal entry {diagonal.min():.4g}")
    return diagonal


def _require_regular(solve: Callable, norm: Callable, A):
    """The smallest eigenvalue, by three steps of inverse iteration, must stand out from rounding.

    `solve` and `norm` belong to A scaled to unit diagonal, the norm is that of its largest column sum: at most n, since
    no entry of a definite matrix exceeds its diagonal, and only looked up where that does not suffice. The factors of
    singular matrices had smallest eigenvalues up to 0.4 eps norm (n = 3 to 1000), of condition 1e15 1.7 and more.
    """
    x = np.random.default_rng(0).standard_normal(A.shape[0]).astype(A.dtype)
    for _ in range(3):
        x = solve(x / np.linalg.norm(x))
    smallest, eps = 1 / np.linalg.norm(x), _arrays.eps(A.dtype)
    if not (smallest > eps * A.shape[0] or smallest > eps * norm()):
        raise not_definite(f"it is singular to working precision: scaled to unit diagonal, an eigenvalue is "
                           f"{smallest:.2g} beside a norm of {norm():.3g}")


def not_definite(found: str) -> ValueError:
    """The error of every log-determinant that does not exist."""
    return ValueError(f"logdet needs a positive definite operator, but {found}; add a shift, e.g. A.shift(1e-6), or "
                      "use spectral_sum with a function that is finite on the whole spectrum")


def _from_eigenvalues(A, f) -> float:
    eigenvalues = np.linalg.eigvalsh(_arrays.to_host(A.todense()))
    with np.errstate(all="ignore"):
        values = np.asarray(f(eigenvalues), dtype=float)
    if values.shape != eigenvalues.shape:
        raise ValueError(f"f must map an array of shape {eigenvalues.shape} to the same shape, found {values.shape}")
    if not np.all(np.isfinite(values)):
        bad = eigenvalues[~np.isfinite(values)][0]
        raise ValueError(f"f is not finite at the eigenvalue {bad:.6g}; shift the operator, or change f")
    return float(values.sum())


# What would exact cost?


def products_to_form(A: LinearOperator) -> int:
    """Products that the matrix of A takes: none where its columns are known."""
    return 0 if A.columns(np.arange(1)) is not None else A.shape[0]


def affordable(A: LinearOperator, f: Callable, products: int, memory: int) -> bool:
    """Whether an exact answer costs less than `products` products, and fits `memory`."""
    n = A.shape[0]
    fits = 2 * n * n * np.result_type(A.dtype, np.float64).itemsize <= memory
    factor = 1 if f is np.log else 10  # eigenvalues against Cholesky
    if isinstance(A, Sparse):
        limit = 2 * A.host.nnz * products
        if fits and factor * dense_cost(A) <= limit:
            return True
        return f is np.log and (sparse_cost(A.host, memory) or np.inf) <= limit
    if isinstance(A, Dense):
        return n * factor <= _CHOLESKY_PER_PRODUCT * products
    if products_to_form(A) == 0:
        return fits and n * factor <= _CHOLESKY_PER_PRODUCT * products
    return fits and n <= products


def dense_cost(A: LinearOperator) -> float:
    """Operations of a dense Cholesky factorisation, in sparse ones."""
    return A.shape[0] ** 3 / 3 / _DENSE_SPEEDUP


def sparse_cost(A, memory: int | None = None) -> float | None:
    """Upper bound on the operations of a sparse factorisation, from the envelope of the reverse Cuthill-McKee order;
    None if its fill would not fit `memory`."""
    order = reverse_cuthill_mckee(sparse.csr_array(A), symmetric_mode=True)
    position = np.empty_like(order)
    position[order] = np.arange(len(order), dtype=order.dtype)
    rows = np.arange(len(order))
    first = rows.copy()
    np.minimum.at(first, np.repeat(position, np.diff(A.indptr)), position[A.indices])
    width = (rows - first).astype(float)
    if memory is not None and 12 * width.sum() > memory:
        return None
    return float(np.sum(width**2)) + A.nnz
