"""The one file that knows array libraries: namespace, device, the way home, random probes, memory.

n-long arrays stay in the caller's library, dtype and device; what is m-by-m comes home as NumPy. The array API
standard has no random numbers, so probes are drawn on the host and moved: one seed, the same probes everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Real

import array_api_compat
import array_api_compat.numpy
import numpy as np
from array_api_compat import device, is_array_api_obj, is_cupy_array, is_numpy_array, is_torch_array

MEMORY = 2**30
"""Default budget in bytes for blocks of vectors and stored bases; every long computation takes `memory=`."""

_SHARE_OF_FREE = 1 / 4  # that the default budget takes where memory is short

_CHUNK = 8192  # rows widened to float64 at a time


def is_array(x) -> bool:
    """Whether `x` belongs to a library of the array API standard (sparse torch tensors do not count as arrays)."""
    return is_array_api_obj(x) and str(getattr(x, "layout", "torch.strided")) == "torch.strided"


def namespace(x):
    """Array API namespace of `x`; NumPy's for None."""
    return array_api_compat.numpy if x is None else array_api_compat.array_namespace(x)


def to_host(x) -> np.ndarray:
    """`x` as a NumPy array."""
    if is_torch_array(x):
        return x.detach().resolve_conj().cpu().numpy()
    if is_cupy_array(x):
        return x.get()
    return np.asarray(x)


def from_host(a: np.ndarray, like, dtype=None):
    """A NumPy array moved to the library and device of `like` (None: stays), in NumPy dtype `dtype` if given."""
    dtype = np.dtype(dtype or a.dtype)
    if like is None or is_numpy_array(like):
        return np.ascontiguousarray(a, dtype=dtype)
    xp = namespace(like)
    if not a.flags.writeable or not a.flags.c_contiguous:
        a = a.copy()
    if is_torch_array(like):  # the host goes on while the device gets it
        return xp.asarray(a).to(device=like.device, dtype=getattr(xp, dtype.name), non_blocking=True, copy=True)
    return xp.astype(xp.asarray(a, device=device(like)), getattr(xp, dtype.name))


def together(*arrays) -> list[np.ndarray]:
    """Small arrays of one library as NumPy's, in one trip: the host waits for a device at each."""
    if is_numpy_array(arrays[0]):
        return list(arrays)
    xp = namespace(arrays[0])
    kind = xp.result_type(*arrays)
    home = to_host(xp.concat([xp.reshape(xp.astype(x, kind), (-1,)) for x in arrays]))
    ends = np.cumsum([math.prod(x.shape) for x in arrays])
    return [part.reshape(x.shape) for part, x in zip(np.split(home, ends[:-1]), arrays, strict=True)]


def moved(x, like, dtype: np.dtype):
    """`x` in the library and on the device of `like`, in `dtype`; through the host where it comes from elsewhere."""
    xp = namespace(like)
    if like is None or namespace(x) is not xp or device(x) != device(like):
        return from_host(to_host(x), like, dtype)
    return xp.astype(x, getattr(xp, np.dtype(dtype).name))


def dtype_of(x) -> np.dtype:
    """dtype of an array of any library, as NumPy's."""
    if isinstance(x.dtype, np.dtype):
        return x.dtype
    name = str(x.dtype).split(".")[-1]
    return np.dtype({"bfloat16": "float32", "complex32": "complex64"}.get(name, name))


def empty(shape, like, dtype: np.dtype):
    """Uninitialised array in the library and on the device of `like`."""
    xp = namespace(like)
    where = None if like is None else device(like)
    return xp.empty(shape, dtype=getattr(xp, np.dtype(dtype).name), device=where)


def eps(dtype) -> float:
    """Unit roundoff of the arithmetic behind `dtype`."""
    return float(np.finfo(dtype).eps)


def column_dots(U, V) -> np.ndarray:
    """Inner products <u_j, v_j> of the columns of two blocks, at home in double precision."""
    return to_host(resident_dots(U, V))


def resident_dots(U, V):
    """The same where the blocks are, to be brought home with others."""
    if is_numpy_array(U):
        wide = np.result_type(U, V, np.float64)
        total = np.zeros(U.shape[1], dtype=wide)
        conjugate = np.iscomplexobj(U)
        for rows in chunks(len(U), _CHUNK):
            u, v = U[rows].astype(wide, copy=False), V[rows].astype(wide, copy=False)
            total += _dots(u.conj() if conjugate else u, v)
        return total
    xp = namespace(U)
    wide = xp.complex128 if xp.isdtype(U.dtype, "complex floating") else xp.float64
    parts = [xp.vecdot(xp.astype(U[rows, :], wide, copy=False), xp.astype(V[rows, :], wide, copy=False), axis=-2)
             for rows in chunks(U.shape[0], 16 * _CHUNK)]
    return sum(parts[1:], start=parts[0])


_PART = 128  # rows summed at a time: rounding of many equal terms, as signs have, adds up in one long sum


def _dots(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    whole = len(u) - len(u) % _PART
    u_parts, v_parts = (x[:whole].reshape(whole // _PART, _PART, x.shape[1]) for x in (u, v))
    return np.einsum("pij,pij->pj", u_parts, v_parts).sum(0) + np.einsum("ij,ij->j", u[whole:], v[whole:])


def column_norms(V) -> np.ndarray:
    """Euclidean norms of the columns, at home in double precision."""
    return np.sqrt(np.maximum(column_dots(V, V).real, 0.0))


def scale_columns(V, factors: np.ndarray):
    """V times a diagonal matrix given on the host."""
    return V * from_host(np.atleast_1d(factors)[None, :], V, dtype_of(V))


def units(n: int, indices: np.ndarray, like, dtype):
    """Unit vectors e_i, i in `indices`, as the columns of an (n, k) block made where it is wanted."""
    if like is None or is_numpy_array(like):
        block = np.zeros((n, len(indices)), dtype=dtype)
        block[indices, np.arange(len(indices))] = 1
        return block
    xp, where = namespace(like), device(like)
    places = xp.asarray(np.asarray(indices, dtype=np.int64), device=where)
    hit = xp.arange(n, dtype=xp.int64, device=where)[:, None] == places[None, :]
    return xp.astype(hit, getattr(xp, np.dtype(dtype).name))


def total(x) -> float:
    """Sum of the real parts of an array, in double precision."""
    if is_numpy_array(x):
        return float(np.sum(x.real, dtype=float))
    xp = namespace(x)
    return float(xp.sum(xp.astype(real(x), xp.float64)))


def extremes(x) -> tuple[float, float]:
    """Least and largest real part in an array; NaN where there is one."""
    xp, x = namespace(x), real(x)
    least, largest = together(xp.min(x), xp.max(x))
    return float(least), float(largest)


def real(x):
    """Real part."""
    xp = namespace(x)
    return xp.real(x) if xp.isdtype(x.dtype, "complex floating") else x


class Lasting:
    """An array of the host that a device wants again and again: moved there once."""

    def __init__(self, a: np.ndarray):
        self.a = a
        self._where = self._there = None

    def beside(self, V, dtype: np.dtype | None = None):
        """The array in the library and on the device of V, in `dtype`, by default that of V."""
        dtype = np.dtype(dtype or dtype_of(V))
        where = namespace(V), device(V), dtype
        if self._where != where:
            self._there, self._where = from_host(self.a, V, dtype), where
        return self._there


def adjoint(V):
    """Conjugate transpose of a matrix."""
    xp = namespace(V)
    transposed = xp.matrix_transpose(V)
    return xp.conj(transposed) if xp.isdtype(V.dtype, "complex floating") else transposed


def gram(U, V) -> np.ndarray:
    """U^H V at home; columns few, rows many."""
    return to_host(adjoint(U) @ V)


# Randomness


def generator(rng) -> tuple[object, int | None]:
    """Normalise `rng` (int, Generator or None) once: a generator and the seed that reproduces the answer.

    A NumPy Generator hands out a fresh seed, so that the recorded seed alone repeats the computation. A torch or CuPy
    generator is kept, and draws on its device.
    """
    if rng is None:
        rng = np.random.default_rng()
    if isinstance(rng, np.random.Generator):
        rng = int(rng.integers(2**31))
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool):
        if rng < 0:
            raise ValueError(f"rng must be a non-negative integer, a Generator or None, found {rng}")
        return np.random.default_rng(int(rng)), int(rng)
    if type(rng).__module__.split(".")[0] in ("torch", "cupy"):
        return rng, rng.initial_seed() if hasattr(rng, "initial_seed") else None
    raise TypeError(f"rng must be an integer, a random Generator or None, found {type(rng).__name__}; "
                    "legacy RandomState objects are not accepted, pass their seed")


def signs(rng, n: int, k: int, like, dtype):
    """k Rademacher probes as the columns of an (n, k) block; each column is drawn on its own, so that k probes drawn
    at once or in groups are the same probes."""
    library = type(rng).__module__.split(".")[0]
    if library == "torch":
        return _torch_signs(rng, n, k, like)
    if library == "cupy":
        return (1 - 2 * rng.integers(0, 2, (k, n))).T.astype(dtype)
    drawn = np.stack([np.frombuffer(rng.bytes((n + 7) // 8), np.uint8) for _ in range(k)], 1)
    bits = np.unpackbits(drawn, axis=0, count=n).view(np.int8)
    return from_host((1 - 2 * bits).astype(np.dtype(dtype).type(0).real.dtype), like, dtype)


def gaussians(rng, n: int, k: int, like, dtype):
    """k standard Gaussian probes as the columns of an (n, k) block (complex: E v v^H = I)."""
    library = type(rng).__module__.split(".")[0]
    if library == "torch":
        import torch

        return torch.randn((k, n), generator=rng, dtype=like.dtype, device=like.device).T
    if library == "cupy":
        return rng.standard_normal((k, n)).T.astype(dtype)
    block = rng.standard_normal((k, n))
    if np.issubdtype(dtype, np.complexfloating):
        block = (block + 1j * rng.standard_normal((k, n))) / np.sqrt(2)
    return from_host(block.T, like, dtype)


def _torch_signs(rng, n, k, like):
    import torch

    bits = torch.randint(0, 2, (k, n), generator=rng, device=like.device)
    return (1 - 2 * bits).to(like.dtype).T


# Memory


def allowance(memory: int | None, like=None) -> int:
    """Bytes to spend: `memory`, or by default 1 GiB, and no more than a quarter of what is free beside `like`.

    Raises
    ------
    ValueError
        If `memory` is not a number of bytes, at least 0.
    """
    if memory is None:
        return int(min(MEMORY, _SHARE_OF_FREE * _free(like)))
    if isinstance(memory, bool) or not isinstance(memory, Real) or not 0 <= memory < math.inf:
        raise ValueError(f"memory must be a number of bytes, at least 0, found {memory!r}")
    return int(memory)


def _free(like) -> float:
    """Bytes free on the device of `like`, or on the host; inf where nobody can tell."""
    if like is not None and is_torch_array(like) and like.is_cuda:
        import torch

        unused = torch.cuda.memory_reserved(like.device) - torch.cuda.memory_allocated(like.device)
        return torch.cuda.mem_get_info(like.device)[0] + unused
    if like is not None and is_cupy_array(like):
        import cupy

        with like.device:
            return cupy.cuda.runtime.memGetInfo()[0] + cupy.get_default_memory_pool().free_bytes()
    try:
        with open("/proc/meminfo") as file:
            return 1024.0 * next(int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return math.inf


def chunks(n: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` that cover range(n)."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def groups(total: int, bytes_each: float, memory: int) -> Iterator[int]:
    """Sizes of the groups in which `total` vectors of `bytes_each` are processed within `memory` bytes."""
    limit = max(int(memory // max(bytes_each, 1)), 1)
    count = -(-total // limit)
    for i in range(count):
        yield total // count + (i < total % count)
