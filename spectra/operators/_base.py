"""A matrix known by its products: the one noun that everything else is written for.

An operator must say its `shape` and implement `_matmat(V)` for blocks V of shape (n, k); blocks, because one product
with sixteen columns is about four times cheaper than sixteen products with one. Everything else has a default.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spectra import _arrays

__all__ = ["LinearOperator"]


class LinearOperator:
    """A matrix known by its products.

    Subclasses set `shape` and implement ``_matmat(V)``, which returns the product with a block V of shape (n, k) and
    does not write to V. They may claim `hermitian` and `psd`, and may give what they know beyond products:
    ``_adjoint()``, ``diagonal()``, ``columns(indices)``.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns.
    dtype : numpy.dtype
        dtype of the products (also of operators on torch or CuPy arrays); default float64.
    hermitian, psd : bool
        Claims: equal to its conjugate transpose (None: nobody has said, and products will tell); Hermitian with no
        negative eigenvalue.
    like : array or None
        An array of the library and device that V must have; None is NumPy.
    lower_bound : float or None
        A number that no eigenvalue lies below, where one is known (the noise of a kernel matrix, say).
    width : int
        Columns that a product takes for little more than the price of one, as where each product reads or computes
        all entries anew; 1 where nobody has said. An estimator that is free to choose takes blocks of that width.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> class Ones(spectra.LinearOperator):
    ...     hermitian = True
    ...     shape = (4, 4)
    ...     def _matmat(self, V):
    ...         return np.broadcast_to(V.sum(0), V.shape)
    >>> Ones() @ np.arange(4.0)
    array([6., 6., 6., 6.])
    """

    shape: tuple[int, int]
    dtype: np.dtype = np.dtype(float)
    hermitian: bool | None = None
    psd: bool = False
    like = None
    lower_bound: float | None = None
    width: int = 1
    _spent: int = 0
    _verified: bool = False  # products of an opaque operator are tested once, at the first estimator's door
    _rounded_from: LinearOperator | None = None  # see `astype`

    def __init__(self, shape=None, dtype=None):
        if shape is not None:
            self.shape = tuple(int(s) for s in shape)
        if dtype is not None:
            self.dtype = np.dtype(dtype)

    def _matmat(self, V) -> Any:
        raise TypeError(f"{type(self).__name__} must implement _matmat(V) for V of shape (n, k)")

    def _adjoint(self) -> LinearOperator:
        raise TypeError(f"{type(self).__name__} does not know its adjoint; implement _adjoint(), "
                        "or set hermitian = True if the operator equals its conjugate transpose")

    def diagonal(self):
        """The diagonal, shape (n,), or None where it takes products to find out."""
        return None

    def columns(self, indices):
        """The columns with the given indices, shape (n, len(indices)), or None where it takes products."""
        return None

    def absolute_row_sums(self):
        """Sums of the absolute values of each row, in double precision, shape (n,), or None (Gershgorin needs them)."""
        return None

    def in_double(self) -> LinearOperator | None:
        """The same matrix with products in double precision, or None where it has none: to measure rounding by."""
        if self._rounded_from is not None:
            return self._rounded_from.in_double()
        return self if self.dtype in (np.float64, np.complex128) else None

    def frobenius_norm(self) -> float | None:
        """Frobenius norm, or None where it takes products to find out."""
        return None

    @property
    def matvecs(self) -> int:
        """Products with single columns made so far, counted."""
        return self._spent

    @property
    def H(self) -> LinearOperator:
        """Conjugate transpose."""
        return self if self.hermitian else self._adjoint()

    def __matmul__(self, V):
        if isinstance(V, LinearOperator):
            from spectra.operators._algebra import Product

            return Product(self, V)
        if not _arrays.is_array(V):
            V = np.asarray(V)
        if V.ndim not in (1, 2) or V.shape[0] != self.shape[1]:
            raise ValueError(f"an operator of shape {self.shape} multiplies arrays of shape ({self.shape[1]},) or "
                             f"({self.shape[1]}, k), found {tuple(V.shape)}")
        if V.ndim == 1:
            return self._product(V[:, None])[:, 0]
        return self._product(V)

    def _product(self, V):
        """A V with the count and the shape held to account."""
        self._spent += V.shape[1]
        W = self._matmat(V)
        expected = (self.shape[0], V.shape[1])
        if not _arrays.is_array(W) or tuple(W.shape) != expected:
            found = f"shape {tuple(W.shape)}" if _arrays.is_array(W) else f"a {type(W).__name__}"
            raise ValueError(f"{type(self).__name__}._matmat must return an array of shape {expected}, found {found}")
        return W

    def _step(self, V, U, a, b, c):
        """One step of a three-term recurrence, W = a A V + b V + c U, with its inner products <V, W> and <W, W>.

        `a`, `b` and `c` are numbers or one number a column. Lanczos and Chebyshev ask for nothing else, so an operator
        that can fuse the product with the combination overrides this.
        """
        W = self._product(V)
        if np.any(np.asarray(a) != 1):
            W = _arrays.scale_columns(W, a) if np.ndim(a) else a * W
        for factor, block in ((b, V), (c, U)):
            if block is not None and np.any(factor):
                W = W + (_arrays.scale_columns(block, factor) if np.ndim(factor) else factor * block)
        cross, square = _arrays.together(_arrays.resident_dots(V, W), _arrays.resident_dots(W, W))
        return W, cross, square.real

    def _remainder(self, W, V, d, e):
        """(W - d V) e with one d and e a column; W may be overwritten."""
        return _arrays.scale_columns(W - _arrays.scale_columns(V, d) if np.any(d) else W, e)

    # Algebra

    def __add__(self, other):
        from spectra.operators import _algebra, aslinearoperator

        return _algebra.Sum(self, aslinearoperator(other))

    def __radd__(self, other):
        from spectra.operators import aslinearoperator

        return aslinearoperator(other) + self

    __array_ufunc__ = None  # NumPy leaves A + op, A - op and A @ op to the operator

    def __rmatmul__(self, other):
        from spectra.operators import aslinearoperator

        return aslinearoperator(other) @ self

    def __rsub__(self, other):
        return (-1) * self + other

    def __sub__(self, other):
        return self + (-1) * other

    def __neg__(self):
        return (-1) * self

    def __mul__(self, factor):
        from spectra.operators._algebra import Affine

        return Affine(self, factor, 0.0)

    __rmul__ = __mul__

    def __truediv__(self, factor):
        return self * (1 / factor)

    def shift(self, s: float) -> LinearOperator:
        """``A + s I``."""
        from spectra.operators._algebra import Affine

        return Affine(self, 1.0, s)

    # Conversion

    def todense(self):
        """The matrix itself, in the operator's array library; n products where the columns are not known."""
        xp = _arrays.namespace(self.like)
        n = self.shape[1]
        block = max(int(_arrays.MEMORY // (16 * max(n, 1) * self.dtype.itemsize)), 1)
        parts = []
        for start in range(0, n, block):
            stop = min(start + block, n)
            known = self.columns(np.arange(start, stop))
            if known is None:
                known = self._product(_arrays.units(n, np.arange(start, stop), self.like, self.dtype))
            parts.append(known)
            if not xp.all(xp.isfinite(known)):
                raise ValueError(f"a product of {type(self).__name__} returned NaN or Inf, in columns {start + 1} to "
                                 f"{stop} of its matrix; expected finite numbers")
        return xp.concat(parts, axis=1)

    def astype(self, dtype) -> LinearOperator:
        """The same matrix, with products in another precision.

        Parameters
        ----------
        dtype : numpy.dtype or its name
            Single or double precision, real or complex as the operator is.

        Returns
        -------
        LinearOperator
            In single precision it remembers this operator: the bias bracket of a log-determinant or a spectral sum by
            Lanczos quadrature covers the rounding of the entries as well as that of the products, by what a few
            products of both differ, and an exact one comes from the original.

        Raises
        ------
        TypeError
            If `dtype` is neither, or real where the operator is complex.
        ValueError
            If the entries of a stored matrix leave the range of `dtype`.

        Notes
        -----
        Stored matrices and kernels have their entries, or inputs, rounded, and run their products in `dtype`; so do
        combinations of them. Other operators keep their own products, and hand over blocks in `dtype`.

        Examples
        --------
        >>> import numpy as np, spectra
        >>> A = spectra.aslinearoperator([[2.0, 0.1], [0.1, 1.0]]).astype("float32")
        >>> A @ np.array([1.0, 0.0], dtype=np.float32)
        array([2. , 0.1], dtype=float32)
        >>> A.astype("float64") @ np.array([1.0, 0.0])
        array([2. , 0.1])
        """
        from spectra.operators._algebra import rounded

        return rounded(self, dtype)

    def _astype(self, dtype) -> LinearOperator:
        from spectra.operators._algebra import Converted

        return Converted(self, dtype)

    def to_scipy(self):
        """The operator as a `scipy.sparse.linalg.LinearOperator` on NumPy arrays."""
        from spectra.operators._adapters import to_scipy

        return to_scipy(self)

    def __repr__(self) -> str:
        claims = [name for name in ("hermitian", "psd") if getattr(self, name)]
        return f"<{type(self).__name__} of shape {self.shape}, {', '.join([str(self.dtype), *claims])}>"
