"""Naive, obviously right versions of what the library does cleverly: small, dense, in NumPy's double precision.

And the operator that tests of budgets and doors are made with: `Opaque`.
"""

import itertools

import numpy as np

import spectra
from spectra import _arrays


class Opaque(spectra.LinearOperator):
    """A matrix that shows nothing but its products, and counts their columns itself."""

    def __init__(self, A, *, hermitian=None, spoil_after=np.inf):
        super().__init__(A.shape, _arrays.dtype_of(A))
        self.A, self.hermitian, self.spoil_after = A, hermitian, spoil_after
        self.like = None if isinstance(A, np.ndarray) else A
        self.columns_seen = 0

    def _matmat(self, V):
        self.columns_seen += V.shape[1]
        W = self.A @ V
        if self.columns_seen > self.spoil_after:
            W[0, -1] = np.nan
        return W


def sign_vectors(n: int) -> np.ndarray:
    """All 2^n vectors of signs, as columns."""
    return np.array(list(itertools.product([1.0, -1.0], repeat=n))).T


def sign_matrices(n: int, k: int) -> np.ndarray:
    """All 2^(n k) matrices of signs, shape (2^(n k), n, k)."""
    return sign_vectors(n * k).T.reshape(-1, n, k)


def quadratic_forms(A, V) -> np.ndarray:
    """v^H A v for every column v."""
    return np.array([v.conj() @ A @ v for v in V.T])


def function(A, f) -> np.ndarray:
    """f(A) of a Hermitian matrix."""
    values, vectors = np.linalg.eigh(A)
    return (vectors * f(values)) @ vectors.conj().T


def projector(X) -> np.ndarray:
    """Orthogonal projector onto the range of X, whatever its rank."""
    if X.size == 0 or not X.any():
        return np.zeros((len(X), len(X)), X.dtype)
    left, sigma, _ = np.linalg.svd(X, full_matrices=False)
    left = left[:, sigma > 1e-10 * sigma[0]]
    return left @ left.conj().T


def without(X, *indices) -> np.ndarray:
    """X without the columns of these indices."""
    return np.delete(X, indices, axis=1)


def xtrace_sample(A, Omega, left_out: tuple, i: int, spherical: bool) -> complex:
    """Probe i against the basis of A Ω without the columns left out: its sample of the trace of A."""
    n = len(A)
    P = np.eye(n) - projector(without(A @ Omega, *left_out))
    v = P @ Omega[:, i]
    weight = np.trace(P).real / np.vdot(v, v).real if spherical else 1.0
    return np.trace((np.eye(n) - P) @ A) + weight * (v.conj() @ A @ v)


def xnystrace_sample(A, Omega, left_out: tuple, i: int, spherical: bool) -> complex:
    """The same with the Nyström approximation from the columns that are not left out."""
    n, rest = len(A), without(Omega, *left_out)
    Y = A @ rest
    nystrom = Y @ np.linalg.pinv(rest.conj().T @ Y, rcond=1e-10, hermitian=True) @ Y.conj().T
    P = np.eye(n) - projector(rest)
    v = P @ Omega[:, i]
    weight = np.trace(P).real / np.vdot(v, v).real if spherical else 1.0
    return np.trace(nystrom) + weight * (Omega[:, i].conj() @ (A - nystrom) @ Omega[:, i])


def leave_one_out(sample, A, Omega, spherical: bool) -> np.ndarray:
    """The sample of every probe against the basis of all others."""
    return np.array([sample(A, Omega, (i,), i, spherical) for i in range(Omega.shape[1])])


def leave_one_out_error(sample, A, Omega, spherical: bool) -> float:
    """Standard error of their mean: sample variance / k + |covariance|, from all samples without one probe more."""
    k = Omega.shape[1]
    t = leave_one_out(sample, A, Omega, spherical)
    D = np.array([[0 if i == j else t[i] - sample(A, Omega, (i, j), i, spherical) for j in range(k)] for i in range(k)])
    return np.sqrt(np.var(t, ddof=1) / k + abs(np.sum(D * D.T.conj()).real) / (k * (k - 1)))
