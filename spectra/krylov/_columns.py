"""Blocks of columns: what comes in with an operator, scaling, picking, and small matrices from the host."""

from __future__ import annotations

import numpy as np

from spectra import _arrays
from spectra.operators import LinearOperator

_SAFE = 1e-15  # norms between this and its inverse are far from overflow when squared, in any dtype


def as_block(op: LinearOperator, B):
    """B as a block (n, k) in the dtype of `op`, and the shape it came in."""
    B = B if _arrays.is_array(B) else np.asarray(B)
    xp, n, shape = _arrays.namespace(B), op.shape[0], tuple(B.shape)
    if op.like is not None and xp is not _arrays.namespace(op.like):
        raise TypeError(f"the block must be an array of the operator's library, {type(op.like).__module__}, "
                        f"found {type(B).__module__}.{type(B).__name__}; convert it")
    if B.ndim not in (1, 2) or shape[0] != n or 0 in shape:
        raise ValueError(f"the block must have shape ({n}, k), k > 0, or ({n},), found {shape}")
    if np.issubdtype(_arrays.dtype_of(B), np.complexfloating) and not np.issubdtype(op.dtype, np.complexfloating):
        raise TypeError("the block is complex and the operator real; take its real and imaginary parts in turn")
    return xp.astype(xp.reshape(B, (n, -1)), getattr(xp, op.dtype.name), copy=False), shape


def unit_columns(B):
    """B with columns of norm 1 (or 0), and the norms; safe where the squares of the entries overflow."""
    B, inverses, norms = safe_columns(B)
    return (B if np.all(inverses == 1) else _arrays.scale_columns(B, inverses)), norms


def safe_columns(B):
    """B with columns whose squares do not overflow, mostly as it came; what brings them to norm 1; their norms in B."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = _arrays.column_norms(B)
    if np.all((norms > _SAFE) & (norms < 1 / _SAFE)):
        return B, 1 / norms, norms
    largest = _arrays.to_host(_arrays.namespace(B).max(abs(B), axis=0)).astype(float)
    if not np.all(np.isfinite(largest)):
        raise ValueError("the block holds NaN or Inf; expected finite entries")
    most = np.finfo(_arrays.dtype_of(B)).maxexp - 1
    exponents = np.clip(np.frexp(largest)[1], -most, most)
    B = _arrays.scale_columns(B, np.ldexp(1.0, -exponents))
    norms = _arrays.column_norms(B)
    return B, 1 / np.where(norms > 0, norms, 1.0), np.ldexp(norms, exponents)


def rescale(V, factors: np.ndarray, name: str):
    """V with its columns scaled back to size, unless that takes them out of range."""
    with np.errstate(over="ignore"):
        V = _arrays.scale_columns(V, factors)
    if not np.isfinite(float(_arrays.namespace(V).max(abs(V)))):
        raise ValueError(f"{name} leaves the range of {_arrays.dtype_of(V)}; scale the problem by a number")
    return V


def wide(a) -> np.ndarray:
    """`a` at home in double precision."""
    a = _arrays.to_host(a)
    return a.astype(np.result_type(a.dtype, np.float64))


def times(V, C: np.ndarray):
    """A block times a small matrix from the host."""
    return V @ _arrays.from_host(C, V, _arrays.dtype_of(V))


def take(V, columns: np.ndarray):
    """The columns with these indices."""
    xp = _arrays.namespace(V)
    return xp.take(V, xp.asarray(columns, device=_arrays.device(V)), axis=1)


def put(V, columns: np.ndarray, W):
    """V with the columns of W in the places `columns`."""
    if len(columns) == 0:
        return V
    source, new = np.zeros(V.shape[1], dtype=int), np.zeros(V.shape[1], dtype=bool)
    source[columns], new[columns] = np.arange(len(columns)), True
    xp = _arrays.namespace(V)
    return xp.where(xp.asarray(new, device=_arrays.device(V))[None, :], take(W, source), V)
