"""The trace of an operator from its products: exactly, or by random probes with an error bar."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from spectra import _arrays
from spectra._progress import track
from spectra.estimators._budget import reached, require_tolerance
from spectra.estimators._hutchpp import hutchinson, hutchpp
from spectra.estimators._sampling import (
    PROBES,
    Sampler,
    admit,
    exact_diagonal,
    free_diagonal,
    pick,
    real_where_possible,
)
from spectra.estimators._xtrace import xnystrace, xtrace
from spectra.operators import LinearOperator, aslinearoperator
from spectra.operators._door import TEST_COLUMNS
from spectra.results import ConvergenceWarning, Estimate

DEFAULT = 120
"""Products where the caller gives neither a budget nor a tolerance."""

CAP = 10_000
"""Products after which a tolerance is given up, where the caller gives no budget."""

_START = 24  # products before a tolerance is looked at, and then as many again each time
_FEW = 2.5  # effective eigenvalues r below which Student's t covers 83 to 93 % instead of 95 %,
_SKEWED = 100  # unless r k reaches this for k probes: the skewness of their mean is about sqrt(8 / (r k))


def trace(A, *, matvecs: int | None = None, method: str = "auto", rtol: float | None = None, rng=None,
          probe: str | None = None, memory: int | None = None, progress=False, check: bool = True) -> Estimate:
    """Trace of a square operator, ``tr A = sum_i e_i^H A e_i``.

    Parameters
    ----------
    A : operator of order n
        Anything `aslinearoperator` accepts. It need not be Hermitian, except for "xnystrace".
    matvecs : int, optional
        Products allowed, never exceeded; default 120, or 10,000 where `rtol` is given. Testing an operator known only
        by its products takes 3 of them.
    method : {"auto", "exact", "hutchinson", "hutch++", "xtrace", "xnystrace"}
        - "exact": the sum of a stored diagonal, or of n products with unit vectors.
        - "hutchinson": mean of ``v^H A v`` over random probes v.
        - "hutch++": a third of the products find a basis Q of what matters, ``tr Q^H A Q`` is exact, and the rest of
          the trace is sampled by independent probes. Never much worse than Hutchinson's, far better where the
          eigenvalues decay.
        - "xtrace": every probe serves the basis and, left out of it, tests what the others missed; better than Hutch++
          for the same products, for more arithmetic and memory.
        - "xnystrace": the same for positive semi-definite A, with twice the probes for the same products.
        - "auto": exact where the diagonal is stored (no products) or n products are allowed; else Hutchinson for less
          than 12 products, XNysTrace where A claims to be `psd` and XTrace where it does not, if their vectors fit in
          memory, and Hutch++ if they do not.
    rtol : float, optional
        Relative tolerance at 95 %: probes are added until half the width of the interval is at most ``rtol |value|``.
        Where going on costs more than n products, they buy the exact answer instead (not for "hutchinson").
    rng : int, Generator or None
        Seed of the probes; one seed gives the same probes on every backend and for every memory budget.
    probe : {"rademacher", "gaussian", "sphere"}, optional
        Distribution of the probes. Default: random signs for Hutchinson (least variance, and none for a diagonal
        matrix); for the others the sphere of radius sqrt(n), which makes a multiple of the identity cost nothing:
        ``trace(A + c I) - trace(A)`` is c n to rounding.
    memory : int, optional
        Bytes for blocks of vectors; default 1 GiB. Hutchinson's probes, and those of Hutch++ for the rest, are
        processed in groups that fit; the basis of Hutch++ is no larger than fits.
    progress : bool or callable
    check : bool
        Whether to test an operator known only by its products.

    Returns
    -------
    Estimate
        Value (float; complex if A is complex and not Hermitian) and standard error: the spread of independent samples
        (hutchinson, hutch++), or of leave-one-out samples with their covariance (xtrace, xnystrace). It is 0 where the
        answer is exact, of the size of rounding where the basis holds all of A, and inf for a single sample. There is
        no bias. Details: `effective_rank` (see Warns), `basis` (columns of Hutch++'s).

    Warns
    -----
    ConvergenceWarning
        If the budget ends before `rtol` is reached; the message has what was reached. And if few eigenvalues are behind
        the spread of the k samples, 8 or more, of Hutchinson or Hutch++: if ``r = ‖B‖_F⁴ / ‖B^H B‖_F²``, B what they
        sample and r estimated from the same products, is below 2.5 and r k below 100. Then a 95 % interval covers only
        83 to 93 %, for the samples are as skewed as squares of Gaussians.

    Raises
    ------
    ValueError
        If A is not square, a product is not finite, the budget is too small for the method, the basis of XTrace or
        XNysTrace does not fit in memory, or a negative eigenvalue turns up in XNysTrace.

    Notes
    -----
    Standard error of the mean of k Hutchinson samples for a real symmetric A: ``sqrt(2 (‖A‖_F² - sum a_ii²) / k)`` with
    signs, ``sqrt(2 ‖A‖_F² / k)`` with Gaussian probes. With `matvecs` at least n, the basis of the other methods is the
    complete one of unit vectors: they return the exact answer for n products. For k vectors in the basis
    Hutch++ adds about 12 n k² operations and XTrace 20 n k², and they hold 6 n k numbers.

    References
    ----------
    Hutchinson (1989), doi 10.1080/03610918908812806; Meyer, Musco, Musco and Woodruff (2021), doi
    10.1137/1.9781611976496.16; Epperly, Tropp and Webber (2024), doi 10.1137/23M1548323.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> A = np.diag([1.0, 2.0, 3.0, 4.0])
    >>> spectra.trace(A)
    10 (0 matvecs, exact)
    >>> spectra.trace(A, method="hutchinson", matvecs=2, rng=0).value
    10.0
    """
    pick(METHODS, method, "trace")
    require_tolerance(rtol)
    if probe is not None and probe not in PROBES:
        raise ValueError(f"probe must be one of {sorted(PROBES)}, found {probe!r}")
    op = aslinearoperator(A)
    free = method in ("auto", "exact") and free_diagonal(op) is not None
    before = admit(op, f"trace by {method}", matvecs=matvecs, hermitian=method == "xnystrace", check=check and not free)
    generator, seed = _arrays.generator(rng)
    n = op.shape[0]
    left = (matvecs or _default(method, rtol, n)) - (op.matvecs - before)
    memory = _arrays.allowance(memory, op.like)
    if method == "auto":
        method = _best(op, left, rtol, memory, free)
    with track(progress, min(left, n) if method == "exact" else left, "trace") as advance:
        sampler = Sampler(op, generator=generator, probe=probe or _usual_probe(method), memory=memory, advance=advance)
        found = _run(sampler, method, left, rtol)
    value = sampler.scale * real_where_possible(np.asarray(found.value), op)
    answer = replace(found, value=value.item(), stderr=float(sampler.scale * found.stderr),
                     matvecs=op.matvecs - before, seed=seed if found.probes else None, method=method)
    _warn(answer, rtol)
    return answer


def exact(sampler: Sampler, totals: list[int]) -> Iterator[Estimate]:
    """The exact trace, once: by n products, or none where the diagonal is stored."""
    yield Estimate(exact_diagonal(sampler, totals[-1]).sum() / sampler.scale)


METHODS = {"hutchinson": hutchinson, "hutch++": hutchpp, "xtrace": xtrace, "xnystrace": xnystrace, "exact": exact}

_HELD = {"xtrace": 3.0, "xnystrace": 6.0}  # vectors in memory for each product


def _default(method: str, rtol, n: int) -> int:
    if method == "exact":
        return n + TEST_COLUMNS
    return DEFAULT if rtol is None else CAP


def _best(op: LinearOperator, left: int, rtol, memory: int, free: bool) -> str:
    n = op.shape[0]
    if free or n <= (left if rtol is None else min(left, DEFAULT)):
        return "exact"
    if left < 12:  # too few to find a basis with
        return "hutchinson"
    # The smallest errors for the products, and error bars as true as those of Hutch++; but all probes are held at once.
    method = "xnystrace" if op.psd else "xtrace"
    return method if left <= _room(op, method, memory) else "hutch++"


def _room(op: LinearOperator, method: str, memory: int) -> int:
    """Products whose vectors fit in memory."""
    held = _HELD.get(method, 0.0) * op.shape[0] * op.dtype.itemsize
    return int(memory // held) if held else CAP**2


def _usual_probe(method: str) -> str:
    return "rademacher" if method == "hutchinson" else "sphere"


def _run(sampler: Sampler, method: str, left: int, rtol) -> Estimate:
    """The estimate at the end of the budget, or the first within the tolerance."""
    totals, complete = ([left], False) if method == "exact" else _totals(sampler, method, left, rtol)
    for found in METHODS[method](sampler, totals):
        if rtol is not None and reached(found) <= rtol:
            return found
    return next(exact(sampler, [left - sampler.spent])) if complete else found


def _totals(sampler: Sampler, method: str, left: int, rtol) -> tuple[list[int], bool]:
    """Numbers of products after which to look, and whether the exact answer is bought when they did not do.

    n products buy it, in the methods that build a basis: the unit vectors are one.
    """
    n, room, least = sampler.n, _room(sampler.op, method, sampler.memory), 2 if method == "xtrace" else 1
    basis = method != "hutchinson"
    end = min(left, n - 1, room if rtol else left) if basis else left
    totals = [] if rtol is None else [t for t in (_START << i for i in range(left.bit_length())) if t < end]
    if basis and left >= n + sum(totals[-1:]):
        return totals, True
    if end < least:
        raise ValueError(f"{method} needs at least {least} products, but {end} are left; raise matvecs or memory")
    if end > room:
        raise ValueError(f"{method} holds all its probes, and memory={sampler.memory} bytes are enough for {room} "
                         f"products of order {n}, not for {end}; raise memory, or use method='hutch++'")
    return [*totals, end], False


def _warn(answer: Estimate, rtol):
    if rtol is not None and reached(answer) > rtol:
        warnings.warn(f"trace reached a relative tolerance of {reached(answer):.2g} at 95 %, not rtol={rtol:g}, "
                      f"with {answer.matvecs} products; raise matvecs or memory, or try another method",
                      ConvergenceWarning, stacklevel=3)
    rank = answer.details.get("effective_rank", np.inf)
    if rank < _FEW and rank * answer.probes < _SKEWED:
        warnings.warn(f"about {rank:.1f} eigenvalues are behind the spread of the samples of {answer.method}, and its "
                      "95 % interval covers less than 95 %; capture them with method='xtrace', or with more products",
                      ConvergenceWarning, stacklevel=3)
