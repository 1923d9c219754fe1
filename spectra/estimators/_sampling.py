"""What the estimators of traces and diagonals share: probes, products with them and their unit, and the budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from spectra import _arrays
from spectra.krylov._lanczos import power_of_two
from spectra.operators import LinearOperator
from spectra.operators._door import TEST_COLUMNS, enter


class Sampler:
    """Probes for one operator, and its products with blocks: finite, and in units of `scale`.

    `scale` is a power of two, 1 unless squares of the entries of the first product could leave the range of the dtype.
    Whatever is linear in A is multiplied by it once, at the end; so nothing in between needs to think of overflow.
    """

    def __init__(self, op: LinearOperator, *, generator=None, probe: str = "rademacher", memory: int | None = None,
                 advance: Callable[[int], object] = lambda k: None):
        self.op, self.generator, self.probe = op, generator, probe
        self.memory, self.advance = _arrays.allowance(memory, op.like), advance
        self.scale = 1.0
        self.spent = 0
        self._seen = False  # a product that was not zero, which set the scale

    @property
    def n(self) -> int:
        return self.op.shape[0]

    @property
    def eps(self) -> float:
        return _arrays.eps(self.op.dtype)

    def room(self, held: float) -> int:
        """Probes that fit in memory when each needs `held` vectors; at least one."""
        return max(int(self.memory // (held * self.n * self.op.dtype.itemsize)), 1)

    def groups(self, k: int, held: float, kept: int = 0) -> Iterator[int]:
        """Sizes of the groups in which k probes that need `held` vectors each fit in memory beside `kept` vectors."""
        vector = self.n * self.op.dtype.itemsize
        return _arrays.groups(k, held * vector, self.memory - kept * vector)

    def draw(self, k: int):
        """The next k probes, (n, k); the same whether drawn at once or in groups."""
        return PROBES[self.probe](self.generator, self.n, k, self.op.like, self.op.dtype)

    def multiply(self, V):
        """A V / scale."""
        W = self.op @ V
        xp = _arrays.namespace(W)
        largest = _arrays.to_host(xp.max(xp.abs(W), axis=0))
        if not np.all(np.isfinite(largest)):
            which = self.spent + 1 + int(np.argmin(np.isfinite(largest)))
            raise ValueError(f"product {which} with {type(getattr(self.op, 'A', self.op)).__name__} returned NaN or "
                             "Inf; expected finite numbers from the operator")
        self.spent += V.shape[1]
        self.advance(V.shape[1])
        if not self._seen and largest.max() > 0:
            self.scale, self._seen = power_of_two(W), True
        return W if self.scale == 1 else W / self.scale


def _gaussians(generator, n, k, like, dtype):
    if not np.issubdtype(dtype, np.complexfloating):
        return _arrays.gaussians(generator, n, k, like, dtype)
    # A complex block draws its real parts first; column by column, groups do not matter.
    columns = [_arrays.gaussians(generator, n, 1, like, dtype) for _ in range(k)]
    return _arrays.namespace(columns[0]).concat(columns, axis=1)


def _on_sphere(generator, n, k, like, dtype):
    V = _gaussians(generator, n, k, like, dtype)
    return _arrays.scale_columns(V, np.sqrt(n) / _arrays.column_norms(V))


PROBES = {"rademacher": _arrays.signs, "gaussian": _gaussians, "sphere": _on_sphere}
"""Random vectors with E v v^H = I: independent signs; standard normal; uniform on the sphere of radius sqrt(n)."""


def extension(Q, Y):
    """Orthonormal columns that, beside those of Q (orthonormal, or None), span the range of [Q, Y].

    Householder's QR gives orthonormal columns whatever the rank of Y, unlike Gram and Schmidt's.
    """
    if Q is None:
        return _arrays.namespace(Y).linalg.qr(Y)[0]
    return _arrays.namespace(Y).linalg.qr(beside(Q, Y))[0][:, Q.shape[1]:]


def beside(X, Y):
    """[X, Y], with X possibly None."""
    return Y if X is None else _arrays.namespace(Y).concat([X, Y], axis=1)


def off(Q, V):
    """(I - Q Q^H) V."""
    return V if Q is None else V - Q @ (_arrays.adjoint(Q) @ V)


def effective_rank(B) -> float:
    """``(tr M)² / tr M²`` with ``M = B^H B`` seen by random probes: the number of eigenvalues that matter to tr M.

    B holds the products of a matrix X with k independent probes; the diagonal of its Gram matrix estimates ‖X‖_F², and
    the rest, of two different probes each, tr (X^H X)².
    """
    gram = _arrays.gram(B, B)
    squares = np.abs(gram.astype(np.result_type(gram, np.float64))) ** 2
    k = len(gram)
    fourth = (squares.sum() - np.trace(squares)) / (k * (k - 1))
    return float(np.trace(gram).real / k) ** 2 / fourth if fourth else np.inf


def admit(op: LinearOperator, purpose: str, *, matvecs: int | None, hermitian: bool = False, check: bool = True) -> int:
    """Let `op` through the door of an estimator with a budget; its count of products before the door tested it."""
    if matvecs is not None and (isinstance(matvecs, bool) or int(matvecs) != matvecs or matvecs < 1):
        raise ValueError(f"matvecs must be a positive integer, found {matvecs!r}")
    if check and not op._verified and matvecs is not None and matvecs <= TEST_COLUMNS:
        raise ValueError(f"a budget of {matvecs} products leaves none after the {TEST_COLUMNS} that test an operator "
                         f"nobody has seen; give at least {TEST_COLUMNS + 1}, or skip the test with check=False")
    before = op.matvecs
    enter(op, purpose, hermitian=hermitian, check=check)
    return before


def pick(methods: dict, method: str, purpose: str) -> str:
    """`method`, if it is one."""
    if method not in methods and method != "auto":
        raise ValueError(f"method of {purpose} must be 'auto' or one of {sorted(methods)}, found {method!r}")
    return method


def free_diagonal(op: LinearOperator):
    """The stored diagonal in double precision at home, or None where it takes products."""
    d = op.diagonal()
    if d is None:
        return None
    d = _arrays.to_host(d)
    if d.shape != (min(op.shape),) or not np.all(np.isfinite(d)):
        raise ValueError(f"{type(op).__name__}.diagonal() must return {min(op.shape)} finite numbers, found shape "
                         f"{d.shape}, {np.sum(~np.isfinite(d))} of them not finite")
    return d.astype(np.result_type(d, np.float64))


def exact_diagonal(sampler: Sampler, left: int):
    """The diagonal, stored or by n products with unit vectors, in double precision at home and in units of A."""
    stored = free_diagonal(sampler.op)
    if stored is not None:
        return stored
    if left < sampler.n:
        raise ValueError(f"the exact answer takes {sampler.n} products, but {left} are left; raise matvecs, or take "
                         "another method")
    op, parts, start = sampler.op, [], 0
    for k in sampler.groups(sampler.n, 4):
        W = sampler.multiply(_arrays.units(sampler.n, np.arange(start, start + k), op.like, op.dtype))
        parts.append(_arrays.to_host(_arrays.namespace(W).linalg.diagonal(W[start: start + k, :])))
        start += k
    d = np.concatenate(parts)
    return sampler.scale * d.astype(np.result_type(d, np.float64))


def real_where_possible(x, op: LinearOperator):
    """x without the imaginary rounding of a quantity that is real."""
    return np.real(x) if op.hermitian else x
