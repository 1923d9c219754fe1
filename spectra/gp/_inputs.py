"""What a covariance matrix is made of, checked: inputs, kernel, noise, and the name of a parameter."""

from __future__ import annotations

from numbers import Real

import numpy as np

from spectra import _arrays
from spectra.gp._covariance import Covariance, Scaled
from spectra.gp._kernels import KERNELS, UserKernel
from spectra.gp._sklearn import from_sklearn, is_sklearn


def inputs(X, like=None):
    """Inputs as a finite real array of shape (n, d)."""
    X = np.asarray(X) if not _arrays.is_array(X) else X
    if isinstance(like, np.ndarray):
        X = _arrays.to_host(X)
    elif like is not None:
        X = _arrays.from_host(X, like) if isinstance(X, np.ndarray) else X
    X = X.detach() if hasattr(X, "detach") else X
    if X.ndim != 2 or 0 in X.shape:
        hint = "; one input of each row is X[:, None]" if X.ndim == 1 else ""
        raise ValueError(f"inputs must have shape (n, d), a row for each point, found shape {tuple(X.shape)}{hint}")
    if like is not None and X.shape[1] != like.shape[1]:
        raise ValueError(f"expected inputs of {like.shape[1]} dimensions like the operator's, found {X.shape[1]}")
    dtype = _arrays.dtype_of(X)
    if dtype.kind not in "biuf":
        raise TypeError(f"inputs must be real numbers, found dtype {X.dtype}")
    target = _arrays.dtype_of(like) if like is not None else dtype if dtype in (np.float32, np.float64) else np.float64
    xp = _arrays.namespace(X)
    X = xp.astype(X, getattr(xp, np.dtype(target).name), copy=True)
    if not xp.all(xp.isfinite(X)):
        raise ValueError("inputs hold NaN or Inf; remove or impute those rows")
    return _read_only(X)


def _read_only(X):
    """A kernel that worked in place would change the matrix from one product to the next."""
    if isinstance(X, np.ndarray):
        X.flags.writeable = False
    return X


def covariance(kernel, lengthscale, d: int) -> tuple[Covariance, float]:
    """The covariance function that a user means, and the noise that comes with it."""
    if isinstance(kernel, str):
        if kernel not in KERNELS:
            raise ValueError(f"no kernel {kernel!r}; the names are {', '.join(KERNELS)}")
        return KERNELS[kernel](lengthscale=lengthscale), 0.0
    if np.ndim(lengthscale) or lengthscale != 1.0:
        raise ValueError("lengthscale belongs to a kernel given by name; give it to the kernel itself, "
                         "e.g. SquaredExponential(lengthscale=...)")
    if is_sklearn(kernel):
        kernel, noise = from_sklearn(kernel, d)
        if kernel is None:
            raise ValueError("a WhiteKernel alone is a multiple of the identity; add a kernel to it")
        return kernel, noise
    if isinstance(kernel, Covariance):
        return kernel, 0.0
    if isinstance(kernel, type):
        raise TypeError(f"kernel is the class {kernel.__name__}; give an object, {kernel.__name__}(...)")
    if callable(kernel):
        return UserKernel(kernel), 0.0
    raise TypeError("kernel must be a name, a Covariance, a scikit-learn kernel or a function of two blocks, found "
                    f"{type(kernel).__name__}")


def noise_variance(noise) -> float:
    if _arrays.is_array(noise) and noise.ndim == 0:
        noise = _arrays.to_host(noise)[()]
    if np.ndim(noise) or not isinstance(noise, Real) or not (np.isfinite(noise) and noise >= 0):
        hint = "; noise that differs between points is a diagonal matrix, K + Diagonal(d)" if np.ndim(noise) else ""
        raise ValueError(f"noise must be a variance, a finite number of at least 0, found {noise!r:.60}{hint}")
    return float(noise)


def require_values(kernel: Scaled, X) -> None:
    """Refuse a kernel whose values at the first, the last and the extreme inputs are not finite, or not symmetric.

    Small as the block is, it finds what otherwise comes to light as NaN, or as a matrix that is not positive definite.
    """
    xp = _arrays.namespace(X)
    widest = xp.max(X, axis=1)
    rows = sorted({0, X.shape[0] - 1, int(xp.argmax(widest)), int(xp.argmin(xp.min(X, axis=1)))})
    points = [_read_only(xp.concat([X[i : i + 1, :] for i in rows])) for _ in range(2)]
    with np.errstate(all="ignore"):
        k = kernel.jet(*points)[0]
    if _arrays.dtype_of(k).kind != "f":
        raise TypeError(f"a kernel must return real numbers, found dtype {k.dtype}")
    if not xp.all(xp.isfinite(k)):
        raise ValueError("the kernel is not finite at the extreme inputs: these lie too far apart in units of the "
                         "length-scale, or the function returns NaN; rescale the columns, or repair the function")
    asymmetry, size = xp.max(xp.abs(k - xp.matrix_transpose(k))), xp.max(xp.abs(k))
    if asymmetry > 1e4 * _arrays.eps(_arrays.dtype_of(k)) * size:
        raise ValueError(f"a kernel must be symmetric, k(x, y) = k(y, x), found values that differ by "
                         f"{float(asymmetry):.3g} beside {float(size):.3g}")


def require_lengthscales(kernel: Covariance, d: int):
    for name, value in kernel.parameters.items():
        if np.ndim(value) and len(value) != d:
            raise ValueError(f"{name} has {len(value)} values for inputs of {d} dimensions; give one, or {d}")


def positions(indices, n: int) -> np.ndarray:
    """Rows of a table, given by their numbers, by a mask or by a slice."""
    found = np.arange(n)[indices] if isinstance(indices, slice) else np.asarray(_arrays.to_host(indices))
    if found.dtype == bool and found.shape == (n,):
        return np.flatnonzero(found)
    if found.size == 0:
        return np.zeros(0, dtype=int)
    if found.ndim != 1 or found.dtype.kind not in "iu" or found.min() < -n or found.max() >= n:
        raise ValueError(f"columns are asked for by a list of whole numbers below {n}, a mask or a slice, found "
                         f"{indices!r:.60}")
    return found % n


def require_parameter(parameters, name, index):
    if name not in parameters:
        raise ValueError(f"no parameter {name!r}; this operator has {', '.join(parameters)}")
    sizes = np.shape(parameters[name])
    if not sizes and index is not None:
        raise ValueError(f"{name} is one number; leave index out")
    if sizes and (index is None or not 0 <= index < sizes[0]):
        raise ValueError(f"{name} has {sizes[0]} values; give the index of one, found {index}")
