"""The covariance matrix of a Gaussian process, never formed.

    K = variance · k(X, X) + noise I

Products, derivatives and cross-covariances are made of one thing: blocks k(X_I, Y_J), small enough to stay in cache,
computed, used and forgotten. A symmetric matrix computes every pair of blocks once and uses it twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from spectra import _arrays
from spectra.gp import _blocks
from spectra.gp._beside import Cross, Derivative, Identity, rows_of
from spectra.gp._covariance import Scaled
from spectra.gp._inputs import (
    covariance,
    inputs,
    noise_variance,
    positions,
    require_lengthscales,
    require_parameter,
    require_values,
)
from spectra.operators import LinearOperator
from spectra.operators._algebra import converted

__all__ = ["KernelOperator"]


class KernelOperator(LinearOperator):
    """The covariance matrix ``K = variance · k(X, X) + noise · I``, known by its products.

    Parameters
    ----------
    X : array, shape (n, d)
        Inputs, in any array library, of which a copy is kept. Products are in their dtype (float32 or float64) and
        library; integers become float64.
    kernel : str, Covariance, scikit-learn kernel, or function
        A name in `spectra.gp.KERNELS`, a covariance function made of the classes of `spectra.gp`, a kernel object of
        scikit-learn (see `from_sklearn`), or any function of two blocks, (n, d) and (m, d), that returns k(X, Y).
    lengthscale : float or array of shape (d,)
        For a kernel given by name: one length-scale, or one a dimension.
    variance : float
        Factor of the kernel.
    noise : float
        Variance of the observations' noise, added to the diagonal. No eigenvalue lies below it.
    memory : int, optional
        Bytes. A matrix that fits is formed at the first product and kept, for the products that follow; of a larger
        one, only blocks are ever in memory. Default 1 GiB: in double precision, matrices of order 11,585 are kept.
        ``memory=0`` keeps nothing.

    Attributes
    ----------
    X : array, shape (n, d)
    kernel : Covariance
    variance, noise, lower_bound : float
    parameters : dict
        Name -> positive number, or array of shape (d,): "variance", "noise", and those of the kernel.

    Raises
    ------
    TypeError
        If `kernel` is none of these, or X is not an array of real numbers.
    ValueError
        If X is not of shape (n, d), holds NaN or Inf, or a parameter is not positive or of the wrong shape.

    Notes
    -----
    A product with k columns costs n²/2 values of the kernel and 2 n² k multiplications; it is counted as k. NumPy
    blocks run in as many threads as ``OMP_NUM_THREADS`` says, or as there are cores.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> from spectra import gp
    >>> K = gp.KernelOperator([[0.0], [1.0], [3.0]], "matern12", noise=0.5)
    >>> (K @ np.array([1.0, 0.0, 0.0])).round(6)
    array([1.5     , 0.367879, 0.049787])
    >>> K.with_parameters({"noise": 1.0}).diagonal()
    array([2., 2., 2.])
    >>> round(spectra.logdet(K.with_parameters({"noise": 0.0})).value, 4)  # log (1 - e^-2)(1 - e^-4)
    -0.1639
    """

    hermitian = psd = _verified = True
    width = 16

    def __init__(self, X, kernel="rbf", *, lengthscale=1.0, variance: float = 1.0, noise: float = 0.0,
                 memory: int | None = None):
        self.X = inputs(X)
        n, d = self.X.shape
        super().__init__((n, n), _arrays.dtype_of(self.X))
        self.like = None if isinstance(self.X, np.ndarray) else self.X
        kernel, own_noise = covariance(kernel, lengthscale, d)
        self._scaled = Scaled(kernel, variance)
        self.kernel, self.variance = self._scaled.kernel, self._scaled.variance
        self.noise = self.lower_bound = noise_variance(noise) + own_noise
        self.memory = _arrays.allowance(memory, self.like)
        self._formed: Any = None
        self._norm: float | None = None
        require_lengthscales(self.kernel, d)
        require_values(self._scaled, self.X)

    @property
    def parameters(self) -> dict[str, Any]:
        return {**self._scaled.parameters, "noise": self.noise}

    def with_parameters(self, parameters: Mapping[str, Any]) -> KernelOperator:
        """The operator on the same inputs with some parameters replaced.

        Parameters
        ----------
        parameters : dict
            Name -> positive number or array of shape (d,); names as in `parameters`, those left out stay.

        Returns
        -------
        KernelOperator

        Examples
        --------
        >>> from spectra import gp
        >>> K = gp.KernelOperator([[0.0], [1.0]], noise=0.5)
        >>> K.with_parameters({"lengthscale": 2.0, "variance": 3.0}).parameters
        {'variance': 3.0, 'lengthscale': 2.0, 'noise': 0.5}
        """
        inner = {name: value for name, value in parameters.items() if name != "noise"}
        if self._rounded_from is not None:
            return self._rounded_from.with_parameters(parameters).astype(self.dtype)
        scaled = self._scaled.with_parameters(inner)
        return KernelOperator(self.X, scaled, noise=parameters.get("noise", self.noise), memory=self.memory)

    # The matrix

    def _matmat(self, V):
        if self._formed is None and self.shape[0] ** 2 * self.dtype.itemsize <= self.memory:
            self._formed = self.todense()
        if self._formed is not None:
            return self._formed @ V
        W = _blocks.product(self.kernel, self.X, self.X, V, self.memory)
        return self.variance * W + self.noise * V

    def diagonal(self):
        return self._scaled.diagonal(self.X) + self.noise

    def columns(self, indices):
        indices = positions(indices, self.shape[0])
        K = _blocks.matrix(self.kernel, self.X, rows_of(self.X, indices), self.memory)
        return self.variance * K + self.noise * _arrays.units(self.shape[0], indices, self.like, self.dtype)

    def todense(self):
        if self._formed is not None:
            return self._formed + 0
        K = _blocks.matrix(self.kernel, self.X, self.X, self.memory)
        K *= self.variance
        diagonal = np.arange(self.shape[0])
        if isinstance(K, np.ndarray):
            K[diagonal, diagonal] += self.noise
            return K
        xp = _arrays.namespace(K)
        return K + self.noise * xp.eye(self.shape[0], dtype=K.dtype, device=_arrays.device(K))

    def in_double(self):
        if self.dtype == np.float64:
            return self
        X = self.X if self._rounded_from is None else self._rounded_from.X
        return KernelOperator(converted(X, np.dtype(float)), self._scaled, noise=self.noise, memory=0)

    def _astype(self, dtype):
        return KernelOperator(converted(self.X, dtype), self._scaled, noise=self.noise, memory=self.memory)

    def frobenius_norm(self):
        """Frobenius norm; the first time in about the time of a product, which is not counted as one."""
        if self._norm is None:
            square = self.variance**2 * _blocks.squared_norm(self.kernel, self.X, self.memory)
            trace = _arrays.total(self._scaled.diagonal(self.X))
            self._norm = math.sqrt(square + 2 * self.noise * trace + self.shape[0] * self.noise**2)
        return self._norm

    # Beside it

    def cross(self, X2) -> LinearOperator:
        """The covariances of other inputs with these, ``variance · k(X2, X)``, without noise.

        Parameters
        ----------
        X2 : array, shape (m, d)
            In the library of X.

        Returns
        -------
        LinearOperator
            Of shape (m, n); its ``.H`` is k(X, X2).

        Examples
        --------
        >>> import numpy as np
        >>> from spectra import gp
        >>> K = gp.KernelOperator([[0.0], [1.0]], noise=0.5)
        >>> K.cross([[0.0]]) @ np.array([1.0, 0.0])
        array([1.])
        """
        X2 = inputs(X2, self.X)
        return Cross(self._scaled, X2, self.X, self.memory)

    def derivative(self, name: str, index: int | None = None) -> LinearOperator:
        """The derivative of the matrix in one of its parameters.

        Parameters
        ----------
        name : str
            One of `parameters`.
        index : int, optional
            The dimension, for a parameter with one value a dimension.

        Returns
        -------
        LinearOperator
            Hermitian, of shape (n, n).

        Raises
        ------
        ValueError
            If there is no such parameter, or `index` does not fit it.
        TypeError
            If the kernel is a function given without this derivative.

        Examples
        --------
        >>> import numpy as np
        >>> from spectra import gp
        >>> K = gp.KernelOperator([[0.0], [2.0]], "rbf", lengthscale=2.0)  # r = 1
        >>> (K.derivative("lengthscale") @ np.array([1.0, 0.0]) * np.exp(0.5)).round(12)  # r² / l
        array([0. , 0.5])
        """
        require_parameter(self.parameters, name, index)
        if name == "noise":
            return Identity(self)
        return Derivative(self, (name, index))

    def bilinear(self, U, V, *, each: bool = False) -> dict[str, Any]:
        """``Σ_j u_j' (dK/dθ) v_j`` for every parameter θ at once: what gradients are made of.

        Parameters
        ----------
        U, V : array, shape (n, k) or (n,)
            Columns u_j and v_j.
        each : bool, optional
            Return the terms of the sum, along a last axis of length k.

        Returns
        -------
        dict
            Name -> float, or array of shape (d,) for a parameter with one value a dimension; with `each`, arrays of
            shapes (k,) and (d, k). On the host, in double precision.

        Notes
        -----
        One pass over the blocks of the matrix, with one product for each parameter (and dimension).

        Examples
        --------
        >>> import numpy as np
        >>> from spectra import gp
        >>> K = gp.KernelOperator([[0.0], [1.0]], "rbf", noise=0.5)
        >>> forms = K.bilinear(np.array([1.0, 0.0]), np.array([1.0, 1.0]))
        >>> {name: round(form, 4) for name, form in forms.items()}
        {'variance': 1.6065, 'lengthscale': 0.6065, 'noise': 1.0}
        """
        U, V = (W if _arrays.is_array(W) else np.asarray(W, dtype=float) for W in (U, V))
        U, V = (W[:, None] if W.ndim == 1 else W for W in (U, V))
        if tuple(U.shape) != tuple(V.shape) or U.shape[0] != self.shape[0]:
            raise ValueError(f"bilinear needs two blocks of shape ({self.shape[0]}, k), found {tuple(U.shape)} and "
                             f"{tuple(V.shape)}")
        sums = _blocks.bilinear(lambda X, Y: self._scaled.jet(X, Y)[1], self.X, U, V, self.memory)
        sums["noise", None] = _arrays.column_dots(U, V)
        terms = {}
        for name, value in self.parameters.items():
            terms[name] = sums[name, None] if np.ndim(value) == 0 else np.stack(
                [sums[name, c] for c in range(len(value))])
        if each:
            return terms
        return {name: float(t.sum()) if t.ndim == 1 else t.sum(-1) for name, t in terms.items()}
