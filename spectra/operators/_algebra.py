"""Operators made of operators: sums, products, shifts, scalings, adjoints, precisions; and the diagonal matrix."""

from __future__ import annotations

import numpy as np

from spectra import _arrays
from spectra.operators._base import LinearOperator


def _common(operators) -> dict:
    """What a combination inherits from its parts."""
    return {
        "dtype": np.result_type(*(A.dtype for A in operators)),
        "like": next((A.like for A in operators if A.like is not None), None),
        "_verified": all(A._verified for A in operators),
        "width": min(A.width for A in operators),
    }


def _floor(A: LinearOperator) -> float | None:
    """A number that no eigenvalue lies below: the bound that is known, and 0 if nothing is but that A is psd."""
    return 0.0 if A.psd and A.lower_bound is None else A.lower_bound


class _Combination(LinearOperator):
    """An operator whose parts are operators."""

    def __init__(self, shape, *operators):
        self.shape = shape
        self.operators = operators
        for name, value in _common(operators).items():
            setattr(self, name, value)


class Affine(_Combination):
    """``a A + s I``: one class for scaling and for shifting."""

    def __init__(self, A: LinearOperator, a, s):
        if not (np.isscalar(a) and np.isscalar(s) and np.isfinite(a) and np.isfinite(s)):
            raise TypeError(f"an operator can be multiplied and shifted by finite numbers, found {a!r} and {s!r}")
        if s and A.shape[0] != A.shape[1]:
            raise ValueError(f"shift needs a square operator, found shape {A.shape}")
        super().__init__(A.shape, A)
        self.a, self.s = _plain_number(a), _plain_number(s)
        if isinstance(self.a, complex) or isinstance(self.s, complex):
            self.dtype = np.result_type(A.dtype, np.complex64)
        elif self.a >= 0 and (floor := _floor(A)) is not None:
            self.lower_bound = self.a * floor + self.s
            self.psd = bool(A.hermitian) and self.lower_bound >= 0
        self.hermitian = A.hermitian and not isinstance(self.a, complex) and not isinstance(self.s, complex)

    def _matmat(self, V):
        W = self.operators[0]._product(V)
        W = self.a * W if self.a != 1 else W
        return W + self.s * V if self.s else W

    def _step(self, V, U, a, b, c):
        self._spent += V.shape[1]
        return self.operators[0]._step(V, U, a * self.a, b + a * self.s, c)

    def _adjoint(self):
        return Affine(self.operators[0].H, np.conj(self.a), np.conj(self.s))

    def diagonal(self):
        d = self.operators[0].diagonal()
        return None if d is None else self.a * d + self.s

    def columns(self, indices):
        C = self.operators[0].columns(indices)
        if C is None:
            return None
        if not self.s:
            return self.a * C
        return self.a * C + self.s * _arrays.units(self.shape[0], np.asarray(indices), self.like, self.dtype)

    def in_double(self):
        A = self.operators[0].in_double()
        return None if A is None else Affine(A, self.a, self.s)

    def _astype(self, dtype):
        return Affine(self.operators[0].astype(dtype), self.a, self.s)

    def frobenius_norm(self):
        norm, d = self.operators[0].frobenius_norm(), self.operators[0].diagonal()
        if norm is None or (self.s and d is None):
            return None
        if not self.s:
            return abs(self.a) * norm
        trace = complex(_arrays.to_host(d).sum())
        square = (abs(self.a) * norm) ** 2 + 2 * np.real(np.conj(self.a) * self.s * np.conj(trace))
        return float(np.sqrt(max(square + self.shape[0] * abs(self.s) ** 2, 0.0)))


def _plain_number(x):
    """`x` as a Python float, or complex where it must be; NumPy scalars would widen float32 blocks."""
    return complex(x) if np.imag(x) else float(np.real(x))


class Sum(_Combination):
    """``A + B``."""

    def __init__(self, A: LinearOperator, B: LinearOperator):
        if A.shape != B.shape:
            raise ValueError(f"a sum needs operators of one shape, found {A.shape} and {B.shape}")
        super().__init__(A.shape, A, B)
        self.hermitian = True if A.hermitian and B.hermitian else _unknown_unless(A.hermitian, B.hermitian)
        self._verified = self._verified and self.hermitian is not None
        self.psd = A.psd and B.psd
        floors = _floor(A), _floor(B)
        if self.hermitian and None not in floors:
            self.lower_bound = sum(floors)
            self.psd = self.psd or self.lower_bound >= 0

    def _matmat(self, V):
        A, B = self.operators
        return A._product(V) + B._product(V)

    def _adjoint(self):
        A, B = self.operators
        return Sum(A.H, B.H)

    def diagonal(self):
        return _both(*(A.diagonal() for A in self.operators))

    def columns(self, indices):
        return _both(*(A.columns(indices) for A in self.operators))

    def in_double(self):
        return _both(*(A.in_double() for A in self.operators))

    def _astype(self, dtype):
        return Sum(*(A.astype(dtype) for A in self.operators))


def _unknown_unless(a, b):
    """A Hermitian and a non-Hermitian part make a non-Hermitian sum; of others nobody knows before products tell."""
    return False if {a, b} == {True, False} else None


def _both(x, y):
    return None if x is None or y is None else x + y


class Product(_Combination):
    """``A B``."""

    def __init__(self, A: LinearOperator, B: LinearOperator):
        if A.shape[1] != B.shape[0]:
            raise ValueError(f"a product A @ B needs A.shape[1] == B.shape[0], found {A.shape} and {B.shape}")
        super().__init__((A.shape[0], B.shape[1]), A, B)
        self._verified = False  # whether a product is Hermitian, products tell

    def _matmat(self, V):
        A, B = self.operators
        return A._product(B._product(V))

    def _adjoint(self):
        A, B = self.operators
        return Product(B.H, A.H)

    def in_double(self):
        A, B = (part.in_double() for part in self.operators)
        return None if A is None or B is None else Product(A, B)

    def _astype(self, dtype):
        return Product(*(A.astype(dtype) for A in self.operators))


class Congruence(_Combination):
    """``D A D`` with a real diagonal matrix D: Hermitian, or positive semi-definite, when A is."""

    def __init__(self, A: LinearOperator, d):
        super().__init__(A.shape, A)
        self.d = d
        self.hermitian, self.psd = A.hermitian, A.psd
        if A.lower_bound is not None and A.lower_bound > 0:
            least, largest = _arrays.extremes(d)
            self.lower_bound = A.lower_bound * (min(abs(least), abs(largest)) ** 2 if least * largest > 0 else 0.0)

    def _matmat(self, V):
        d = self.d[:, None]
        return d * self.operators[0]._product(d * V)

    def _adjoint(self):
        return Congruence(self.operators[0].H, self.d)

    def in_double(self):
        A = self.operators[0].in_double()
        return None if A is None else Congruence(A, _arrays.moved(self.d, self.like, np.dtype(float)))

    def diagonal(self):
        d = self.operators[0].diagonal()
        return None if d is None else self.d * d * self.d

    def frobenius_norm(self):
        entries = getattr(self.operators[0], "A", None)
        if not _arrays.is_array(entries):
            return None
        xp = _arrays.namespace(entries)
        squares = (xp.sum(xp.abs(self.d[rows, None] * entries[rows, :] * self.d[None, :]) ** 2)
                   for rows in _arrays.chunks(self.shape[0], 256))
        return float(np.sqrt(sum(float(s) for s in squares)))


class Diagonal(LinearOperator):
    """The diagonal matrix with the entries `d`, shape (n,).

    Examples
    --------
    >>> import numpy as np, spectra
    >>> spectra.trace(spectra.operators.Diagonal(np.arange(5.0)), matvecs=2, method="hutchinson", rng=0).value
    10.0
    """

    _verified = True

    def __init__(self, d):
        if not _arrays.is_array(d) or d.ndim != 1:
            raise ValueError("Diagonal needs a one-dimensional array of entries")
        super().__init__((d.shape[0], d.shape[0]), _arrays.dtype_of(d))
        entries = _arrays.to_host(d)
        if not np.all(np.isfinite(entries)):
            raise ValueError("Diagonal needs finite entries, found NaN or Inf")
        self.d = d
        self.like = d
        self.hermitian = not np.any(np.iscomplex(entries))
        if self.hermitian and len(entries):
            self.lower_bound = float(entries.real.min())
        self.psd = bool(self.hermitian and np.all(entries.real >= 0))

    def _matmat(self, V):
        return self.d[:, None] * V

    def _adjoint(self):
        return Diagonal(_arrays.namespace(self.d).conj(self.d))

    def _astype(self, dtype):
        xp = _arrays.namespace(self.d)
        require_range(float(xp.max(xp.abs(self.d))) if self.shape[0] else 0.0, dtype)
        return Diagonal(converted(self.d, dtype))

    def diagonal(self):
        return self.d

    def frobenius_norm(self):
        return float(np.linalg.norm(_arrays.to_host(self.d)))


# Precision

_PRECISIONS = {"f": ("float32", "float64"), "c": ("complex64", "complex128")}


def rounded(A: LinearOperator, dtype) -> LinearOperator:
    """A with products in `dtype`; what was rounded once comes back unrounded."""
    dtype, known = np.dtype(dtype), _PRECISIONS[A.dtype.kind]
    if dtype.name not in known:
        raise TypeError(f"astype changes the precision of {A.dtype} products, to {' or '.join(known)}, found {dtype}")
    original = A._rounded_from or A
    if dtype in (A.dtype, original.dtype):
        return A if dtype == A.dtype else original
    other = A._astype(dtype)
    other.hermitian, other.psd, other.lower_bound = A.hermitian, A.psd, A.lower_bound
    other._verified = A._verified
    if dtype.itemsize < A.dtype.itemsize:
        other._rounded_from = A
    return other


def converted(X, dtype):
    """An array of any library in a NumPy dtype."""
    xp = _arrays.namespace(X)
    return xp.astype(X, getattr(xp, dtype.name), copy=False)


def require_range(largest: float, dtype) -> None:
    """Refuse entries that would overflow, or lose digits to underflow, in `dtype`."""
    limits = np.finfo(dtype)
    if largest and not limits.tiny / limits.eps < largest < limits.max * limits.eps:
        raise ValueError(f"entries up to {largest:.3g} leave the range of {np.dtype(dtype)}; divide the operator by a "
                         "number, or keep its dtype")


class Converted(_Combination):
    """An operator whose products stay what they are, between blocks in another precision."""

    def __init__(self, A: LinearOperator, dtype):
        super().__init__(A.shape, A)
        self.hermitian, self.psd, self.lower_bound = A.hermitian, A.psd, A.lower_bound
        self.dtype = np.dtype(dtype)
        self.like = None if A.like is None else converted(A.like, self.dtype)

    def _matmat(self, V):
        A = self.operators[0]
        return converted(A._product(converted(V, A.dtype)), self.dtype)

    def _adjoint(self):
        return Converted(self.operators[0].H, self.dtype)

    def diagonal(self):
        d = self.operators[0].diagonal()
        return None if d is None else converted(d, self.dtype)

    def columns(self, indices):
        C = self.operators[0].columns(indices)
        return None if C is None else converted(C, self.dtype)

    def frobenius_norm(self):
        return self.operators[0].frobenius_norm()
