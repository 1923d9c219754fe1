"""From whatever the caller has to a `LinearOperator`, and back to SciPy.

Stored matrices are looked at once, here: entries of an inexact or foreign dtype, NaN and Inf, and whether the matrix
equals its conjugate transpose. Opaque operators (SciPy's, or any object with a product) are tested by their products
at the door of the first estimator, see `_door.py`.
"""

from __future__ import annotations

import warnings
from functools import cached_property

import numpy as np
from scipy import sparse

from spectra import _arrays
from spectra._kernels import csr_kernel, survey_kernel
from spectra.operators._algebra import Affine, converted, require_range
from spectra.operators._base import LinearOperator
from spectra.operators._order import has_poor_order, renumbered

FLOATS = ("float32", "float64", "complex64", "complex128")
_HALVES = {"float16": "float32", "bfloat16": "float32", "complex32": "complex64"}


def aslinearoperator(A, *, hermitian: bool | None = None, psd: bool | None = None) -> LinearOperator:
    """A as a `LinearOperator`.

    Parameters
    ----------
    A : LinearOperator, array, sparse matrix, or any object with `shape`, `dtype` and `@`
        NumPy arrays and nested lists, SciPy sparse arrays and matrices, SciPy `LinearOperator`s, torch tensors (dense,
        CSR, COO), CuPy arrays and sparse matrices, any array of the array API standard. Integers and booleans
        become float64, half precision becomes float32.
    hermitian : bool, optional
        Claim that A equals its conjugate transpose. Default: found out, from the entries of a stored matrix or from
        products of an opaque operator when an estimator first needs to know. A claim that the entries contradict is
        refused.
    psd : bool, optional
        Claim that A is Hermitian without negative eigenvalues.

    Returns
    -------
    LinearOperator

    Raises
    ------
    TypeError
        If A is none of these, or its dtype cannot be converted exactly.
    ValueError
        If A is not two-dimensional, holds NaN or Inf, or contradicts the claim.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> A = spectra.aslinearoperator([[2, 1], [1, 2]])
    >>> A
    <Dense of shape (2, 2), float64, hermitian>
    >>> A.shift(1) @ np.array([1.0, 0.0])
    array([3., 1.])
    """
    op = _adapted(A)
    if psd:
        hermitian = True
    if hermitian and isinstance(op, _Stored) and not op.hermitian:
        raise ValueError(f"the matrix was claimed Hermitian, but differs from its conjugate transpose by up to "
                         f"{op.asymmetry:.3g}; symmetrise it, e.g. (A + A.T) / 2")
    if op is A and (hermitian is not None or psd is not None):
        op = Affine(A, 1.0, 0.0)  # claims are made on a copy, never on the caller's operator
    if hermitian is not None:
        op.hermitian = hermitian
    if psd is not None:
        op.psd = psd
    return op


def _adapted(A) -> LinearOperator:
    if isinstance(A, LinearOperator):
        if len(getattr(A, "shape", ())) != 2:
            raise TypeError(f"{type(A).__name__} must set `shape` to (rows, columns)")
        if not isinstance(A.dtype, np.dtype) or not isinstance(A.shape, tuple):
            A.dtype, A.shape = np.dtype(A.dtype), tuple(A.shape)
        return A
    if isinstance(A, (list, tuple)):
        A = np.asarray(A)
    if isinstance(A, np.ma.MaskedArray):
        raise TypeError("a masked array has entries that are not there; fill them, e.g. A.filled(0)")
    if isinstance(A, np.matrix):
        A = np.asarray(A)
    if _arrays.is_array(A):
        return Dense(A)
    if sparse.issparse(A):
        return Sparse(A)
    library = type(A).__module__.split(".")[0]
    if library == "torch":
        csr = _torch_csr(A)
        return Sparse(csr, _torch_host(csr))
    if library == "cupyx":
        return Sparse(A.tocsr(), A.tocsr().get())
    if hasattr(A, "matmat") and hasattr(A, "rmatvec") and library == "scipy":
        return FromScipy(A)
    if all(hasattr(A, name) for name in ("shape", "dtype", "__matmul__")):
        return FromMatmul(A)
    raise TypeError(f"expected a matrix or an operator (an object with shape, dtype and @), found {type(A).__name__}; "
                    "wrap a function by subclassing spectra.LinearOperator")


class _Stored(LinearOperator):
    """A matrix whose entries are at hand."""

    _verified = True
    asymmetry: float = np.inf

    def _claim(self, scale: float):
        """Set `hermitian` from the entries: equal to the conjugate transpose to rounding."""
        self.hermitian = False
        if self.shape[0] == self.shape[1]:
            self.asymmetry = self._largest_asymmetry()
            self.hermitian = bool(self.asymmetry <= 8 * _arrays.eps(self.dtype) * scale)

    def todense(self):
        return self._dense()


_LARGE = 1024  # order of a dense matrix that no cache of one core holds


class Dense(_Stored):
    """A dense matrix in any array library."""

    width = 16

    def __init__(self, A):
        _require_matrix(A)
        A = _with_float_entries(A)
        super().__init__(A.shape, _arrays.dtype_of(A))
        self.A, self.like = A, A
        scale = _largest(A)
        _require_finite(scale)
        self._claim(scale)
        # V'A takes OpenBLAS two thirds of the time of A V where A does not fit the caches, but rounds a little worse.
        self._by_rows = self.hermitian and isinstance(A, np.ndarray) and A.dtype == float and len(A) >= _LARGE

    def _matmat(self, V):
        if self._by_rows:
            rows = np.ascontiguousarray(_arrays.adjoint(V))
            return np.ascontiguousarray(_arrays.adjoint(rows @ self.A))
        return self.A @ V

    def _adjoint(self):
        return Dense(_arrays.adjoint(self.A))

    def _dense(self):
        return self.A

    def diagonal(self):
        return _arrays.namespace(self.A).linalg.diagonal(self.A)

    def columns(self, indices):
        xp = _arrays.namespace(self.A)
        return xp.take(self.A, xp.asarray(np.asarray(indices), device=_arrays.device(self.A)), axis=1)

    def frobenius_norm(self):
        return _scaled_norm(_arrays.namespace(self.A), self.A)

    def in_double(self):
        return super().in_double() or _Widened(self)

    def _astype(self, dtype):
        require_range(_largest(self.A), dtype)
        return Dense(converted(self.A, dtype))

    def absolute_row_sums(self):
        xp = _arrays.namespace(self.A)
        return xp.astype(xp.sum(xp.abs(self.A), axis=1), xp.float64)

    def _largest_asymmetry(self):
        """By tiles, which stay in cache on a host and are large on a device, over one triangle."""
        xp, n = _arrays.namespace(self.A), self.shape[0]
        size = 256 if isinstance(self.A, np.ndarray) else 4096
        tiles = [(rows, columns) for rows in _arrays.chunks(n, size) for columns in _arrays.chunks(rows.stop, size)]
        parts = [xp.max(xp.abs(self.A[rows, columns] - _arrays.adjoint(self.A[columns, rows])))
                 for rows, columns in tiles]
        return float(xp.max(xp.stack(parts))) if parts else 0.0


class _Widened(LinearOperator):
    """A matrix in single precision with products in double, a dense one some rows at a time."""

    _verified = True

    def __init__(self, single: _Stored):
        super().__init__(single.shape, np.result_type(single.dtype, np.float64))
        self.A, self.like, self.hermitian = single.A, single.like, single.hermitian

    def _matmat(self, V):
        xp = _arrays.namespace(V)
        if sparse.issparse(self.A):
            return self.A @ V  # SciPy widens the entries
        return xp.concat([xp.astype(self.A[rows, :], V.dtype) @ V for rows in _arrays.chunks(self.shape[0], 256)])


class Sparse(_Stored):
    """A sparse matrix in compressed rows: SciPy's, or another library's with a SciPy copy for its entries."""

    def __init__(self, A, host=None):
        host = A if host is None else host
        host = _with_float_entries(_canonical_csr(host))
        super().__init__(host.shape, host.dtype)
        self.host = host
        self.A = host if sparse.issparse(A) else A
        if self.A is not host:
            self.like = self.A.values() if hasattr(self.A, "crow_indices") else self.A.data
        scale = self._survey.largest if self._survey else _largest(host.data)
        _require_finite(scale)
        self._claim(scale)

    def _matmat(self, V):
        kernel = self._kernel("product", V)
        return self.A @ V if kernel is None else kernel(self.A, V)

    def _step(self, V, U, a, b, c):
        kernel = self._kernel("step", V)
        if kernel is None:
            return super()._step(V, U, a, b, c)
        self._spent += V.shape[1]
        return kernel(self.A, V, U, a, b, c)

    def _kernel(self, name, V):
        return csr_kernel(name, self.A, V) if self.like is None and isinstance(V, np.ndarray) else None

    @cached_property
    def renumbered(self):
        """The matrix with its rows in an order of close neighbours, and that order; None where the given one will do.

        Found when first wanted, and kept: a second copy of the matrix.
        """
        will_do = not self.hermitian or self.host.indices.dtype != np.int32 or not has_poor_order(self.host)
        return None if will_do else renumbered(self.host)

    def _adjoint(self):
        if self.A is not self.host:
            raise TypeError("the adjoint of a non-Hermitian sparse matrix is available for SciPy's only; convert it")
        return Sparse(self.A.conj().T)

    @cached_property
    def _survey(self):
        """What one pass over many entries tells; None where they are few."""
        kernel = survey_kernel(self.host)
        return None if kernel is None else kernel(self.host)

    def _dense(self):
        return _arrays.from_host(self.host.toarray(), self.like)

    def in_double(self):
        return super().in_double() or (_Widened(self) if self.like is None else None)

    def _astype(self, dtype):
        require_range(_largest(self.host.data), dtype)
        if self.A is self.host:
            return Sparse(self.host.astype(dtype, copy=False))
        values = converted(self.like, dtype)
        return Sparse(self.A.astype(dtype) if hasattr(self.A, "astype") else self.A.to(values.dtype),
                      self.host.astype(dtype))

    def diagonal(self):
        return _arrays.from_host(self._survey.diagonal if self._survey else self.host.diagonal(), self.like)

    def columns(self, indices):
        return _arrays.from_host(self.host[:, np.asarray(indices)].toarray(), self.like)

    def frobenius_norm(self):
        if self._survey and 1e-200 < self._survey.square < 1e200:  # as in _scaled_norm
            return float(np.sqrt(self._survey.square))
        return _scaled_norm(np, self.host.data)

    def absolute_row_sums(self):
        sums = self._survey.sums if self._survey else np.asarray(abs(self.host).sum(1), dtype=float).ravel()
        return _arrays.from_host(sums, self.like)

    def _largest_asymmetry(self):
        if self._survey:
            return self._survey.asymmetry
        difference = self.host - self.host.conj().T
        return float(np.abs(difference.data).max()) if difference.nnz else 0.0


class FromScipy(LinearOperator):
    """A SciPy `LinearOperator`."""

    def __init__(self, A):
        super().__init__(A.shape, _float_dtype(A.dtype if A.dtype is not None else float))
        self.A = A

    def _matmat(self, V):
        dtype = np.result_type(self.dtype, V.dtype)
        return np.asarray(self.A.matmat(V)).astype(dtype, casting="same_kind", copy=False)

    def _adjoint(self):
        return FromScipy(self.A.H)


class FromMatmul(LinearOperator):
    """Any object with `shape`, `dtype` and `@`."""

    def __init__(self, A):
        super().__init__(A.shape, _float_dtype(A.dtype))
        self.A = A
        if len(self.shape) != 2:
            raise ValueError(f"expected an operator with rows and columns, found shape {self.shape}")

    def _matmat(self, V):
        return self.A @ V

    def _adjoint(self):
        return FromMatmul(self.A.H) if hasattr(self.A, "H") else super()._adjoint()


def to_scipy(op: LinearOperator):
    """A SciPy `LinearOperator` that moves its vectors to the library of `op` and back."""
    from scipy.sparse.linalg import LinearOperator as ScipyOperator

    def through(operator):
        def product(V):
            V = np.asarray(V)
            W = operator @ _arrays.from_host(V, operator.like, np.result_type(operator.dtype, V.dtype))
            return _arrays.to_host(W)

        return product

    def adjoint_product(V):
        return through(op.H)(V)

    product = through(op)
    return ScipyOperator(op.shape, dtype=op.dtype, matvec=lambda v: product(v.reshape(-1)), matmat=product,
                         rmatvec=lambda v: adjoint_product(v.reshape(-1)), rmatmat=adjoint_product)


# Entries


def _require_matrix(A):
    if A.ndim != 2:
        raise ValueError(f"expected a matrix, found an array of shape {tuple(A.shape)}; "
                         "a vector of eigenvalues becomes an operator with spectra.operators.Diagonal")


def _require_finite(scale: float):
    if not np.isfinite(scale):
        raise ValueError("the matrix holds NaN or Inf; expected finite entries: find them with numpy.isnan or "
                         "numpy.isinf and repair the data")


def _float_dtype(dtype) -> np.dtype:
    """The floating dtype that holds `dtype` exactly enough to compute with."""
    dtype = np.dtype(dtype)
    if dtype.name in FLOATS:
        return np.dtype(dtype.name)  # in the byte order of this machine
    if dtype.kind in "biu":
        return np.dtype(np.float64)
    if dtype == np.float16:
        return np.dtype(np.float32)
    raise TypeError(f"expected real or complex entries in single or double precision, found dtype {dtype}; "
                    "convert with .astype(numpy.float64)")


def _with_float_entries(A):
    """A in a dtype that products run in; converted only where that is exact."""
    if not isinstance(A.dtype, np.dtype):  # torch and friends
        return _other_library_with_float_entries(A)
    target = _float_dtype(A.dtype)
    if A.dtype == target:
        return A
    converted = A.astype(target)
    if A.dtype.kind in "iu":
        _require_exact(abs(converted).max() if converted.size else 0.0, A.dtype)
    return converted


def _other_library_with_float_entries(A):
    A = A.detach() if hasattr(A, "detach") else A
    xp, name = _arrays.namespace(A), str(A.dtype).split(".")[-1]
    if name in FLOATS:
        return A
    if name in _HALVES:
        return xp.astype(A, getattr(xp, _HALVES[name]))
    converted = xp.astype(A, xp.float64)
    if name != "bool":
        _require_exact(float(xp.max(xp.abs(converted))) if 0 not in A.shape else 0.0, name)
    return converted


def _require_exact(largest: float, dtype):
    if largest > 2.0**53:
        raise TypeError(f"entries of dtype {dtype} beyond 2**53 have no exact float64; divide the matrix by a number")


def _canonical_csr(A):
    """CSR with sorted, unique indices of 32 bits where they fit, without touching the caller's matrix."""
    csr = sparse.csr_array(A)
    if not csr.has_canonical_format:
        csr = csr.copy() if csr is A or np.shares_memory(csr.data, getattr(A, "data", csr.data)) else csr
        csr.sum_duplicates()
    if csr.indices.dtype == np.int64 and max(csr.nnz, *csr.shape) < 2**31:
        csr = sparse.csr_array((csr.data, csr.indices.astype(np.int32), csr.indptr.astype(np.int32)), shape=csr.shape)
    return csr


def _largest(A) -> float:
    """The largest absolute value, without a second array where real entries are NumPy's; NaN if there is one."""
    if 0 in A.shape:
        return 0.0
    if isinstance(A, np.ndarray) and A.dtype.kind == "f":
        return float(max(A.max(), -A.min()))
    xp = _arrays.namespace(A)
    return float(xp.max(xp.abs(A)))


def _scaled_norm(xp, A) -> float:
    """Frobenius norm, safe against overflow of the squares."""
    if isinstance(A, np.ndarray) and A.dtype == np.float64:
        axes = list(range(A.ndim))  # without BLAS, whose threads would go on spinning beside those of the next kernel
        norm = float(np.sqrt(np.einsum(A, axes, A, axes, [])))  # nothing is lost far from underflow and overflow
        if 1e-100 < norm < 1e100:
            return norm
    largest = _largest(A)
    if not largest:
        return 0.0
    if 1e-100 < largest < 1e100 and A.dtype in (xp.float64, xp.complex128):
        return float(xp.sqrt(xp.sum(xp.abs(A) ** 2)))
    entries = np.abs(_arrays.to_host(A)).astype(np.float64)
    return float(largest * np.sqrt(np.sum((entries / largest) ** 2)))


def _torch_csr(A):
    import torch

    A = A.detach()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Sparse CSR tensor support.*")
        csr = A if A.layout == torch.sparse_csr else A.to_sparse_csr()
        values = _with_float_entries(csr.values())
        return torch.sparse_csr_tensor(csr.crow_indices(), csr.col_indices(), values, csr.shape, check_invariants=False)


def _torch_host(A) -> sparse.csr_array:
    parts = (A.values(), A.col_indices(), A.crow_indices())
    return sparse.csr_array(tuple(_arrays.to_host(part) for part in parts), shape=tuple(A.shape))
