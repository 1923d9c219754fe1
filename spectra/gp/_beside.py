"""Operators beside a covariance matrix: cross-covariances with other inputs, and derivatives."""

from __future__ import annotations

import numpy as np

from spectra import _arrays
from spectra.gp import _blocks
from spectra.operators import LinearOperator


class Cross(LinearOperator):
    """variance · k(X, Y) for two sets of inputs."""

    hermitian = False
    _verified = True

    def __init__(self, block, X, Y, memory):
        super().__init__((X.shape[0], Y.shape[0]), _arrays.dtype_of(X))
        self.like = None if isinstance(X, np.ndarray) else X
        self.block, self.X, self.Y, self.memory = block, X, Y, memory

    def _matmat(self, V):
        return _blocks.product(self.block, self.X, self.Y, V, self.memory)

    def _adjoint(self):
        return Cross(self.block, self.Y, self.X, self.memory)

    def columns(self, indices):
        return _blocks.matrix(self.block, self.X, rows_of(self.Y, indices), self.memory)

    def todense(self):
        return _blocks.matrix(self.block, self.X, self.Y, self.memory)


class Derivative(LinearOperator):
    """dK/dθ for one parameter of the kernel."""

    hermitian = _verified = True

    def __init__(self, K, key):
        super().__init__(K.shape, K.dtype)
        self.like, self.X, self.kernel, self.key, self.memory = K.like, K.X, K._scaled, key, K.memory
        self.psd = key[0] == "variance"

    def _block(self, X, Y):
        return self.kernel.jet(X, Y)[1][self.key]()

    def _matmat(self, V):
        return _blocks.product(self._block, self.X, self.X, V, self.memory)

    def columns(self, indices):
        return _blocks.matrix(self._block, self.X, rows_of(self.X, indices), self.memory)

    def todense(self):
        return _blocks.matrix(self._block, self.X, self.X, self.memory)


class Identity(LinearOperator):
    """dK/d noise."""

    hermitian = psd = _verified = True

    def __init__(self, K):
        super().__init__(K.shape, K.dtype)
        self.like = K.like

    def _matmat(self, V):
        return V + 0

    def diagonal(self):
        return _arrays.from_host(np.ones(self.shape[0]), self.like, self.dtype)


def rows_of(X, indices):
    xp = _arrays.namespace(X)
    return xp.take(X, xp.asarray(np.asarray(indices), device=_arrays.device(X)), axis=0)
