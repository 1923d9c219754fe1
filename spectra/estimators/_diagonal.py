"""The diagonal of an operator from its products.

For probes v of independent signs v ∘ A v has mean diag A, entry by entry. Diag++ first finds an orthonormal basis Q of
the range of A Ω and splits

    diag A = diag (A Q) Q^H + diag A (I - Q Q^H),

the first part exact, the second sampled by probes that had no share in Q. Only products with A are needed, so any
square operator will do, but Q captures what matters when A is Hermitian.

References: Bekas, Kokiopoulou and Saad, Appl. Numer. Math. 57 (2007), doi 10.1016/j.apnum.2007.01.003; Baston and
Nakatsukasa, Stochastic diagonal estimation (2022), arXiv:2201.10684.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from spectra import _arrays
from spectra._progress import track
from spectra.estimators._sampling import (
    Sampler,
    admit,
    exact_diagonal,
    extension,
    free_diagonal,
    off,
    pick,
    real_where_possible,
)
from spectra.operators import LinearOperator, aslinearoperator
from spectra.operators._door import TEST_COLUMNS
from spectra.results import Estimate

DEFAULT = 120
"""Products where the caller gives no budget."""


def diagonal(A, *, matvecs: int | None = None, method: str = "auto", rng=None, memory: int | None = None,
             progress=False, check: bool = True) -> Estimate:
    """Diagonal of a square operator, ``d_i = e_i^H A e_i``.

    Parameters
    ----------
    A : operator of order n
        Anything `aslinearoperator` accepts; it need not be Hermitian.
    matvecs : int, optional
        Products allowed; default 120. Testing an operator known only by its products takes 3 of them.
    method : {"auto", "exact", "hutchinson", "diag++"}
        "exact" reads a stored diagonal or makes n products with unit vectors. "hutchinson" is the mean of ``v ∘ A v``
        over random signs (Bekas et al. 2007). "diag++" puts a third of the products into a basis, whose part of the
        diagonal is exact. "auto" is exact where the diagonal is stored (no products) or n products are allowed; else
        diag++ for a Hermitian A and Hutchinson for any other.
    rng : int, Generator or None
        Seed of the probes.
    memory : int, optional
        Bytes for blocks of vectors; default 1 GiB. Probes are processed in groups that fit, and the basis of diag++
        is no larger than fits.
    progress : bool or callable
    check : bool
        Whether to test an operator known only by its products.

    Returns
    -------
    Estimate
        Value and standard error of shape (n,), NumPy float64 (complex128 if A is complex and not Hermitian). The
        error is the spread of the independent samples of each entry, 0 where the answer is exact and inf for a single
        probe; intervals hold entry by entry, not all at once.

    Raises
    ------
    ValueError
        If A is not square, a product is not finite, or the budget is too small for the method.

    Notes
    -----
    The variance of an entry over k sign probes is ``sum_(j != i) |a_ij|² / k`` (a real matrix). Where diag++ is allowed
    n products its basis is that of the unit vectors, and the answer is exact. Diag++ adds about ``4 n k²`` operations
    for a basis of k vectors.

    References
    ----------
    Bekas, Kokiopoulou and Saad, Appl. Numer. Math. 57 (2007), doi 10.1016/j.apnum.2007.01.003; Baston and
    Nakatsukasa (2022), arXiv:2201.10684.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> spectra.diagonal(np.diag([1.0, 2.0, 3.0]), method="hutchinson", matvecs=2, rng=0).value
    array([1., 2., 3.])
    """
    pick(METHODS, method, "diagonal")
    op = aslinearoperator(A)
    free = method in ("auto", "exact") and free_diagonal(op) is not None
    before = admit(op, "diagonal", matvecs=matvecs, check=check and not free)
    generator, seed = _arrays.generator(rng)
    n = op.shape[0]
    left = (matvecs or max(DEFAULT, method == "exact" and n + TEST_COLUMNS)) - (op.matvecs - before)
    if method == "auto":
        method = _best(op, left, free)
    # A basis of n vectors is complete, whichever it is: the unit vectors will do.
    exact = method == "exact" or (method == "diag++" and left >= n)
    with track(progress, n if exact else left, "diagonal") as advance:
        sampler = Sampler(op, generator=generator, memory=memory, advance=advance)
        value, stderr, probes = METHODS["exact" if exact else method](sampler, left)
    return Estimate(real_where_possible(value, op), stderr, None, op.matvecs - before, probes,
                    None if exact else seed, method)


def _best(op: LinearOperator, left: int, free: bool) -> str:
    if free or op.shape[0] <= left:
        return "exact"
    # Right for any A, but the basis holds much of A only where rows and columns span the same; a budget of a few
    # products is better spent on probes.
    return "diag++" if op.hermitian and left >= 12 else "hutchinson"


def _exact(sampler: Sampler, left: int):
    value = exact_diagonal(sampler, left)
    return value, np.zeros(len(value)), 0


def _hutchinson(sampler: Sampler, left: int):
    return _mean(sampler, _sample_blocks(sampler, None, left))


def _diagpp(sampler: Sampler, left: int):
    k = min((left - 2) // 3, sampler.room(6))
    if k < 1:
        return _hutchinson(sampler, left)
    Q = extension(None, sampler.multiply(sampler.draw(k)))
    xp = _arrays.namespace(Q)
    captured = xp.sum(sampler.multiply(Q) * xp.conj(Q), axis=1)
    value, stderr, count = _mean(sampler, _sample_blocks(sampler, Q, left - 2 * k))
    return value + sampler.scale * _arrays.to_host(captured), stderr, count


METHODS = {"exact": _exact, "hutchinson": _hutchinson, "diag++": _diagpp}


def _sample_blocks(sampler: Sampler, Q, count: int) -> Iterator:
    """Samples of diag A (I - Q Q^H), one a column, in blocks that fit in memory; the probes are signs, v ∘ v = 1."""
    for k in sampler.groups(count, 6, kept=0 if Q is None else Q.shape[1]):
        V = sampler.draw(k)
        yield V * sampler.multiply(off(Q, V))


def _mean(sampler: Sampler, blocks: Iterable):
    """Mean over all columns, its standard error, and their number; one block at a time, without cancellation."""
    count, mean, squares = 0, 0.0, 0.0
    for block in blocks:
        xp, k = _arrays.namespace(block), block.shape[1]
        own = xp.mean(block, axis=1)
        change = own - mean
        squares = squares + xp.sum(xp.abs(block - own[:, None]) ** 2, axis=1) + xp.abs(change) ** 2 * (
            count * k / (count + k))
        mean = mean + change * (k / (count + k))
        count += k
    value, squares = (_arrays.to_host(x) for x in (mean, squares))
    value = value.astype(np.result_type(value, np.float64))
    stderr = np.sqrt(squares.astype(float) / (count - 1) / count) if count > 1 else np.full(len(value), np.inf)
    return sampler.scale * value, sampler.scale * stderr, count
