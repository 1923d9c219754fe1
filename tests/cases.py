"""Pairs (operator, dense matrix): everything the library takes for an operator, beside the matrix it stands for."""

import warnings

import array_api_strict
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator as scipy_operator

import spectra
from spectra import _arrays
from spectra.operators import Diagonal, aslinearoperator
from spectra.operators._algebra import Congruence


class Opaque(spectra.LinearOperator):
    """A matrix that shows nothing but its products, and keeps count of them."""

    def __init__(self, A, *, hermitian=None, psd=False):
        super().__init__(tuple(A.shape), _arrays.dtype_of(A))
        self.A, self.hermitian, self.psd = A, hermitian, psd
        self.like = None if isinstance(A, np.ndarray) else A
        self.columns_seen = 0

    def _matmat(self, V):
        self.columns_seen += V.shape[1]
        return self.A @ V

    def _adjoint(self):
        return Opaque(_arrays.adjoint(self.A))


class Spy(Opaque):
    """An opaque matrix that remembers the type and the dtype of every block it was given."""

    def __init__(self, A, **claims):
        super().__init__(A, **claims)
        self.seen = set()

    def _matmat(self, V):
        self.seen.add((type(V), str(V.dtype)))
        return super()._matmat(V)


class Foreign:
    """Somebody else's matrix: `shape`, `dtype`, `@`, and nothing more."""

    def __init__(self, A):
        self.A, self.shape, self.dtype = A, A.shape, A.dtype

    def __matmul__(self, V):
        return self.A @ V


def random_matrix(rows: int, columns: int, dtype=float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((rows, columns))
    if np.issubdtype(dtype, np.complexfloating):
        A = A + 1j * rng.standard_normal((rows, columns))
    return A.astype(dtype)


def hermitian_matrix(n: int, dtype=float, seed: int = 0) -> np.ndarray:
    A = random_matrix(n, n, dtype, seed)
    return (A + A.conj().T) / 2


def integers(n: int, seed: int = 0) -> np.ndarray:
    A = np.random.default_rng(seed).integers(-3, 4, (n, n))
    return A + A.T


def _holes(A):
    """A with most of its entries replaced by zero, symmetrically."""
    return np.where(np.abs(A) > 0.8, A, 0)


def _duplicated(A):
    """A as coordinates, each entry given in two halves and in no order."""
    rows, columns = np.nonzero(A)
    order = np.random.default_rng(1).permutation(2 * len(rows))
    parts = np.concatenate([A[rows, columns] / 2] * 2)[order]
    where = tuple(np.concatenate([index] * 2)[order] for index in (rows, columns))
    return sp.coo_array((parts, where), A.shape)


def to_torch(a):
    return pytest.importorskip("torch").as_tensor(np.array(a))


def _same(make, dense):
    return lambda: (aslinearoperator(make(dense)), np.asarray(dense))


_S, _H, _Z = hermitian_matrix(7), hermitian_matrix(6, np.complex128), _holes(hermitian_matrix(9, seed=2))
_I, _R = integers(5), random_matrix(4, 6)

PAIRS = {
    "dense": _same(np.asarray, _S),
    "dense, one by one": _same(np.asarray, [[3.0]]),
    "dense, not symmetric": _same(np.asarray, random_matrix(6, 6)),
    "dense, rectangular": _same(np.asarray, _R),
    "dense, complex rectangular": _same(np.asarray, random_matrix(6, 3, np.complex128)),
    "dense, float32": _same(np.asarray, _S.astype(np.float32)),
    "dense, complex": _same(np.asarray, _H),
    "dense, complex64": _same(np.asarray, _H.astype(np.complex64)),
    "dense, in Fortran's order": _same(np.asfortranarray, _S),
    "dense, strided": lambda: (aslinearoperator(np.kron(_S, np.ones((2, 2)))[::2, ::-2][:, ::-1]), _S),
    "dense, big-endian": _same(lambda A: A.astype(">f8"), _S),
    "list": _same(np.ndarray.tolist, _S),
    "numpy.matrix": lambda: (aslinearoperator(_matrix(_S)), _S),
    "integers": _same(np.asarray, _I),
    "booleans": _same(np.asarray, _I > 0),
    "half precision": _same(np.asarray, _S.astype(np.float16)),
    "zero": _same(np.asarray, np.zeros((3, 3))),
    "csr": _same(sp.csr_array, _Z),
    "csr matrix": _same(sp.csr_matrix, _Z),
    "csc": _same(sp.csc_array, _Z),
    "coordinates, duplicated": _same(_duplicated, _Z),
    "diagonals": _same(sp.dia_array, _Z),
    "csr of integers": _same(sp.csr_array, _I),
    "csr, complex": _same(sp.csr_array, _holes(_H)),
    "csr, not symmetric": _same(sp.csr_array, _holes(random_matrix(6, 6))),
    "csr, rectangular": _same(sp.csr_array, _holes(_R)),
    "csr, empty": _same(sp.csr_array, np.zeros((4, 4))),
    "torch": _same(to_torch, _S),
    "torch, float32": _same(to_torch, _S.astype(np.float32)),
    "torch, half precision": _same(to_torch, _S.astype(np.float16)),
    "torch, complex": _same(to_torch, _H),
    "torch, lazily conjugated": lambda: (aslinearoperator(to_torch(_H).conj()), _H.conj()),
    "torch, differentiable": _same(lambda A: to_torch(A).requires_grad_(), _S),
    "torch, integers": _same(to_torch, _I),
    "torch coordinates": _same(lambda A: to_torch(A).to_sparse_coo(), _Z),
    "strict": _same(array_api_strict.asarray, _S),
    "strict, complex": _same(array_api_strict.asarray, _H),
    "strict, integers": _same(array_api_strict.asarray, _I),
    "SciPy operator": _same(scipy_operator, _S),
    "SciPy operator, not symmetric": _same(scipy_operator, random_matrix(5, 5, np.complex128)),
    "SciPy operator, rectangular": _same(scipy_operator, _R),
    "SciPy operator of integers": _same(scipy_operator, _I),
    "foreign": _same(Foreign, _S),
    "subclass": lambda: (Opaque(_S, hermitian=True), _S),
    "subclass, rectangular": lambda: (Opaque(_R), _R),
    "subclass on torch": lambda: (Opaque(to_torch(_S), hermitian=True), _S),
    "diagonal": lambda: (Diagonal(np.arange(-2.0, 3.0)), np.diag(np.arange(-2.0, 3.0))),
    "diagonal, complex": lambda: (Diagonal(np.array([1j, 2.0])), np.diag([1j, 2.0])),
    "diagonal on torch": lambda: (Diagonal(to_torch(np.arange(4.0))), np.diag(np.arange(4.0))),
    "congruence": lambda: (Congruence(aslinearoperator(_S), np.arange(7.0)),
                           np.diag(np.arange(7.0)) @ _S @ np.diag(np.arange(7.0))),
    "gram": lambda: (aslinearoperator(_R).H @ aslinearoperator(_R), _R.T @ _R),
}
"""Name -> function that makes the pair afresh."""


def _matrix(A):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.matrix(A)


def torch_csr(A):
    """A NumPy matrix as a torch CSR tensor."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Sparse CSR tensor support.*")
        return to_torch(A).to_sparse_csr()


for _dtype in (np.float64, np.float32, np.float16, np.int64):
    PAIRS[f"torch csr, {np.dtype(_dtype)}"] = _same(torch_csr, (_I if _dtype is np.int64 else _Z).astype(_dtype))
