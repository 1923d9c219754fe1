"""The door of every estimator: is this an operator the method can answer for?

Entries of stored matrices were checked when they were adapted. An operator known only by its products is asked once
for the product with three columns x, y, x + y/2 (counted like any other): they tell whether the map is linear and
repeatable, whether it writes to its input, and whether it is Hermitian.
"""

from __future__ import annotations

import numpy as np

from spectra import _arrays
from spectra.operators._adapters import FLOATS, aslinearoperator
from spectra.operators._base import LinearOperator

TEST_COLUMNS = 3


def enter(A, purpose: str, *, hermitian: bool = True, check: bool = True) -> LinearOperator:
    """A as a square operator, Hermitian where the method needs it, its products tested if nobody has.

    Raises
    ------
    ValueError
        If A is not square, has order 0, or is not Hermitian where `purpose` needs it, or if its products are not those
        of a matrix.
    TypeError
        If its products are not of the dtype and the library it claims.
    """
    op = aslinearoperator(A)
    rows, columns = op.shape
    if rows != columns or rows == 0:
        raise ValueError(f"{purpose} needs a square operator of order 1 or more, found shape {op.shape}")
    if op.dtype.name not in FLOATS:
        raise TypeError(f"{purpose} needs products in single or double precision, but {type(op).__name__} claims dtype "
                        f"{op.dtype}; set `dtype` to one of {', '.join(FLOATS)}")
    if check and not op._verified:
        _verify(op)
    if hermitian and not op.hermitian:
        detail = f", which differs from its adjoint by up to {op.asymmetry:.3g}" if hasattr(op, "asymmetry") else ""
        raise ValueError(f"{purpose} needs a Hermitian operator, found {op!r}{detail}; symmetrise it, (A + A.H) / 2, "
                         "or use A.H @ A for singular values")
    return op


def _verify(op: LinearOperator):
    n = op.shape[0]
    rng = np.random.default_rng(n)
    xy = rng.standard_normal((n, 2))
    if np.issubdtype(op.dtype, np.complexfloating):
        xy = xy + 1j * rng.standard_normal((n, 2))
    block = np.concatenate([xy, xy[:, :1] + xy[:, 1:] / 2], 1).astype(op.dtype)
    V = _arrays.from_host(block, op.like, op.dtype)
    if isinstance(V, np.ndarray):
        V.flags.writeable = False
    name = type(getattr(op, "A", op)).__name__
    W = _called(op, V)
    _require_kind(op, V, W, name)
    W = _arrays.to_host(W).astype(np.result_type(op.dtype, np.float64))
    if not np.array_equal(_arrays.to_host(V), block):
        raise ValueError(f"the product of {name} overwrites the block it is given; work on a copy inside _matmat")
    if not np.all(np.isfinite(W)):
        raise ValueError(f"the first product of {name} returned NaN or Inf; expected finite numbers")
    scale = np.abs(W).max()
    tolerance = np.sqrt(_arrays.eps(op.dtype)) * scale
    if np.abs(W[:, 0] + W[:, 1] / 2 - W[:, 2]).max() > tolerance:
        raise ValueError(f"the product of {name} is not linear: A(x + y/2) differs from Ax + Ay/2 by "
                         f"{np.abs(W[:, 0] + W[:, 1] / 2 - W[:, 2]).max() / scale:.2g} of its size; "
                         "a random or state-dependent product (dropout, noise) must be made deterministic")
    pair = block[:, :2].conj().T @ (W[:, :2] / (scale or 1.0))
    symmetric = abs(pair[0, 1] - np.conj(pair[1, 0])) <= np.sqrt(_arrays.eps(op.dtype)) * n
    if op.hermitian and not symmetric:
        raise ValueError(f"{name} claims to be Hermitian, but x'(Ay) and (Ax)'y differ by "
                         f"{abs(pair[0, 1] - np.conj(pair[1, 0])) / np.abs(pair).max():.2g} of their size; "
                         "set hermitian = False, or symmetrise the product")
    if op.hermitian is None:
        op.hermitian = bool(symmetric)
    op._verified = True


def _require_kind(op, V, W, name):
    if _arrays.namespace(W) is not _arrays.namespace(V):
        raise TypeError(f"the product of {name} with an array of {type(V).__module__} is one of {type(W).__module__}; "
                        "set `like` to an array of the library it works in")
    if _arrays.dtype_of(W) != op.dtype:
        raise TypeError(f"{name} claims dtype {op.dtype}, but its product with a block of that dtype has dtype "
                        f"{_arrays.dtype_of(W)}; set `dtype`, or convert inside _matmat")


def _called(op, V):
    try:
        return op._product(V)
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise ValueError(f"the product of {type(op).__name__} writes to the block it is given; "
                         "work on a copy inside _matmat") from error
