"""Is this really a linear operator? A check for yours and for ours."""

from __future__ import annotations

import numpy as np

from spectra import _arrays
from spectra.operators import LinearOperator, aslinearoperator

__all__ = ["check_operator"]


def check_operator(op, dense=None, *, rng=None) -> None:
    """Assert that `op` behaves as a linear operator and keeps its claims.

    Checks shape and dtype of products with one and with many columns, linearity, repeatability, that inputs are left
    alone, the adjoint identity ``<x, A y> = <A^H x, y>``, the claims `hermitian` and `psd`, `lower_bound`, the optional
    `diagonal()`, `columns()`, `frobenius_norm()` and `in_double()`, and, where the matrix itself is given, every entry.

    Parameters
    ----------
    op : LinearOperator or anything `aslinearoperator` accepts
        The operator.
    dense : ndarray, optional
        The matrix it should be.
    rng : int or Generator, optional
        For the test vectors; default 0.

    Raises
    ------
    AssertionError
        Naming the first identity that fails, and by how much.

    Notes
    -----
    Costs about 30 products, and n more if `dense` is given.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> spectra.testing.check_operator(np.eye(3), np.eye(3))
    """
    op = aslinearoperator(op)
    generator, _ = _arrays.generator(0 if rng is None else rng)
    _Check(op, generator).run(None if dense is None else aslinearoperator(dense).todense())


class _Check:
    def __init__(self, op: LinearOperator, rng):
        self.op, self.rng = op, rng
        self.tolerance = 100 * np.sqrt(max(op.shape)) * _arrays.eps(op.dtype)

    def run(self, dense):
        m, n = self.op.shape
        X = self._block(n)
        W = self._product(self.op, X)
        self._shapes(X)
        self._close(self._product(self.op, X), W, "repeating the product gives another answer")
        self._close(self._product(self.op, X[:, :1]), W[:, :1], "one column differs from the same column in a block")
        self._close(self._product(self.op, X @ [[2.0], [-1.0], [0.5]]), W @ [[2.0], [-1.0], [0.5]],
                    "A(2x - y + z/2) differs from 2Ax - Ay + Az/2")
        if m == n or not self.op.hermitian:
            self._adjoint(X, W)
        self._claims(X, W)
        self._double(X, W)
        self._entries(dense)

    def _double(self, X, W):
        wide = self.op.in_double()
        if wide is None:
            return
        assert wide.dtype in (np.float64, np.complex128), f"in_double() must be in double precision, found {wide.dtype}"
        V = _arrays.from_host(X.astype(wide.dtype), wide.like, wide.dtype)
        self._close(_arrays.to_host(wide @ V), W, "in_double() is another matrix")

    def _block(self, n):
        X = self.rng.standard_normal((n, 3))
        if np.issubdtype(self.op.dtype, np.complexfloating):
            X = X + 1j * self.rng.standard_normal((n, 3))
        return X.astype(self.op.dtype)

    def _product(self, op, X):
        V = _arrays.from_host(X.astype(self.op.dtype), op.like, op.dtype)
        W = op @ V
        assert np.array_equal(_arrays.to_host(V), X.astype(self.op.dtype)), "the product overwrites its input"
        return _arrays.to_host(W).astype(np.result_type(self.op.dtype, np.float64))

    def _close(self, found, expected, message):
        scale = max(np.abs(expected).max(initial=0.0), np.finfo(float).tiny)
        error = np.abs(found - expected).max(initial=0.0) / scale
        assert error <= self.tolerance, f"{message}: relative error {error:.2g}, allowed {self.tolerance:.2g}"

    def _shapes(self, X):
        m = self.op.shape[0]
        x = _arrays.from_host(X[:, 0], self.op.like, self.op.dtype)
        assert tuple((self.op @ x).shape) == (m,), f"A @ x must have shape ({m},), found {(self.op @ x).shape}"
        found = _arrays.dtype_of(self.op @ x)
        assert found == self.op.dtype, f"products must have dtype {self.op.dtype}, found {found}"

    def _adjoint(self, X, W):
        try:
            adjoint = self.op.H
            adjoint @ _arrays.from_host(self._block(self.op.shape[0]), self.op.like, self.op.dtype)
        except (TypeError, NotImplementedError):  # an operator may say that it does not know its adjoint
            return
        assert adjoint.shape == self.op.shape[::-1], f"A.H must have shape {self.op.shape[::-1]}, found {adjoint.shape}"
        Y = self._block(self.op.shape[0])
        scale = np.linalg.norm(Y) * np.linalg.norm(W)
        error = np.abs(Y.conj().T @ W - self._product(adjoint, Y).conj().T @ X).max() / (scale or 1.0)
        assert error <= self.tolerance, f"<y, A x> and <A^H y, x> differ by {error:.2g} of their size"

    def _claims(self, X, W):
        if X.shape != W.shape:
            return
        form = np.real(np.sum(X.conj() * W, 0))
        scale = np.abs(W).max() * np.abs(X).max() * len(X)
        if self.op.psd:
            assert self.op.hermitian, "psd is claimed without hermitian; claim both"
            assert form.min() >= -self.tolerance * scale, f"psd is claimed, but x'Ax = {form.min():.3g} for some x"
        if self.op.lower_bound is not None:
            lowest = (form / np.sum(np.abs(X) ** 2, 0)).min()
            assert lowest >= self.op.lower_bound - self.tolerance * scale, (
                f"lower_bound is {self.op.lower_bound:.3g}, but a Rayleigh quotient is {lowest:.3g}")

    def _entries(self, dense):
        n = self.op.shape[1]
        indices = np.unique(self.rng.integers(0, n, 3))
        unit = np.zeros((n, len(indices)))
        unit[indices, np.arange(len(indices))] = 1
        columns = self.op.columns(indices)
        if columns is not None:
            self._close(_arrays.to_host(columns), self._product(self.op, unit), "columns() differs from products")
        if dense is None:
            return
        assert dense.shape == self.op.shape, f"expected a matrix of shape {dense.shape}, found {self.op.shape}"
        self._close(self._product(self.op, np.eye(n)), dense, "the operator is not the matrix given")
        self._close(_arrays.to_host(self.op.todense()), dense, "todense() is not the matrix given")
        if self.op.diagonal() is not None:
            self._close(_arrays.to_host(self.op.diagonal()), np.diagonal(dense), "diagonal() is not the diagonal")
        if self.op.frobenius_norm() is not None:
            norm = np.linalg.norm(dense)
            self._close(np.array([self.op.frobenius_norm()]), np.array([norm]), "frobenius_norm() is wrong")
