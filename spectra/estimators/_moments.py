"""Stochastic estimates of the moments of a spectral measure, (1/n) tr P_i(A).

For probes z with E z z' = I the quadratic form z' P_i(A) z has mean tr P_i(A) (thesis, Algorithm 2, with z kept beside
its iterates). Chebyshev moments come two a product; Legendre moments are exact linear combinations of them; power
moments come two a product as well, from <A^i z, A^j z> = z' A^(i+j) z.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import chebyshev, legendre

from spectra import _arrays
from spectra._progress import track
from spectra.estimators._problem import Problem
from spectra.krylov._bounds import spectral_bounds
from spectra.krylov._chebyshev import chebyshev_moments
from spectra.krylov._lanczos import power_of_two
from spectra.operators._door import enter
from spectra.results import Estimate, standard_error


def moments(A, order: int, *, basis: str = "chebyshev", support=None, probes: int = 16, rng=None,
            memory: int | None = None, progress=False, check: bool = True) -> Estimate:
    """Moments ``mu_i = (1/n) tr P_i(A)``, i = 0 ... order, of the spectral measure of a Hermitian operator.

    Parameters
    ----------
    A : operator, Hermitian of order n
    order : int
        Highest moment.
    basis : {"chebyshev", "legendre", "power"}
        P_i: Chebyshev or Legendre polynomials of the support mapped onto [-1, 1], or plain powers of A.
    support : (lo, hi), optional
        Interval that holds the spectrum; default: `spectral_bounds`, 30 products more. Powers do not need it.
    probes : int
        Rademacher vectors.
    rng : int, Generator or None
    memory : int, optional
        Bytes for the blocks of vectors; default 1 GiB. Probes are processed in groups that fit.
    progress : bool or callable

    Returns
    -------
    Estimate
        Value and standard error of shape (order + 1,). Details: `samples` (probes, order + 1), `covariance` of the
        mean, `support`, `basis`, `size`. There is no bias: each moment is an unbiased estimate.

    Raises
    ------
    ValueError
        If A is not Hermitian, the support does not hold its spectrum, or the basis has another name.

    Notes
    -----
    ``probes * ceil(order / 2)`` products and five vectors of memory a probe. Source: thesis, Algorithm 2.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> A = np.diag([-1.0, 0.0, 1.0])
    >>> spectra.moments(A, 4, support=(-1, 1), probes=2, rng=0).value.round(12) + 0.0
    array([1.        , 0.        , 0.33333333, 0.        , 1.        ])
    """
    if basis not in BASES:
        raise ValueError(f"basis must be one of {sorted(BASES)}, found {basis!r}")
    if int(order) != order or order < 0 or probes < 1:
        raise ValueError(f"moments need an order >= 0 and at least one probe, found order={order!r}, probes={probes!r}")
    op = enter(A, "moments", check=check)
    problem = Problem(op, rng, support, memory)
    with track(progress, probes * -(-order // 2), f"{basis} moments") as advance:
        return estimated_moments(problem, probes, int(order), basis, advance)


def estimated_moments(problem: Problem, probes: int, order: int, basis: str, advance) -> Estimate:
    """`moments` behind the door."""
    op, support = problem.A, problem.support
    spent = op.matvecs
    if support is None and basis != "power":
        support = _found_support(problem)
    samples = np.concatenate([BASES[basis](op, V, order, support, advance)
                              for V in problem.blocks(probes, 5)]) / problem.n
    details = {"samples": samples, "covariance": _covariance_of_mean(samples), "support": support, "basis": basis,
               "size": problem.n}
    stderr = np.array([standard_error(column) for column in samples.T])
    return Estimate(samples.mean(0), stderr, None, op.matvecs - spent, probes, problem.seed, basis, details)


def _found_support(problem: Problem):
    """Safe bounds of the spectrum, widened to an interval where there is only one eigenvalue."""
    lo, hi = spectral_bounds(problem.A, rng=problem.seed, memory=problem.memory, check=False)
    if lo < hi:
        return lo, hi
    return (lo - abs(lo) / 2, lo + abs(lo) / 2) if lo else (-1.0, 1.0)


def _power(op, V, order, support, advance):
    """z' A^i z for i = 0 ... order from A^j z, j up to half the order, scaled so that powers stay in range."""
    mu = np.empty((V.shape[1], order + 2))
    mu[:, 0] = _arrays.column_dots(V, V).real
    now, scale = V, None
    for j in range(-(-order // 2)):
        if scale is None:
            W = op @ now
            scale = power_of_two(W)
            after = W / scale
            cross, square = _arrays.column_dots(now, after), _arrays.column_dots(after, after).real
        else:
            after, cross, square = op._step(now, None, 1 / scale, 0.0, 0.0)
        mu[:, 2 * j + 1], mu[:, 2 * j + 2] = cross.real, square
        _require_in_range(mu[:, : 2 * j + 3], op)
        now = after
        advance(V.shape[1])
    mu = mu[:, : order + 1]
    if scale not in (None, 1.0):
        with np.errstate(over="ignore", invalid="ignore"):
            mu = mu * scale ** np.arange(order + 1.0)
        _require_in_range(mu, op)
    return mu


def _require_in_range(mu, op):
    bad = ~np.isfinite(mu).all(0)
    if bad.any():
        raise ValueError(f"the moment of order {np.argmax(bad)} is not finite: a product is NaN or Inf, or powers of "
                         f"the operator leave the range of {op.dtype}; then use basis='chebyshev', which maps the "
                         "spectrum onto [-1, 1]")


def _chebyshev(op, V, order, support, advance):
    return chebyshev_moments(op, V, order, support, advance)


def _legendre(op, V, order, support, advance):
    return chebyshev_moments(op, V, order, support, advance) @ legendre_in_chebyshev(order).T


BASES = {"chebyshev": _chebyshev, "legendre": _legendre, "power": _power}


def legendre_in_chebyshev(order: int) -> np.ndarray:
    """Matrix C with ``P_i = sum_j C[i, j] T_j``, from values at Chebyshev points (stable, unlike monomials)."""
    points = chebyshev.chebpts1(order + 1)
    values = legendre.legvander(points, order)
    vander = chebyshev.chebvander(points, order)
    weights = np.full(order + 1, 2.0 / (order + 1))
    weights[0] /= 2
    return ((vander * weights).T @ values).T


def _covariance_of_mean(samples):
    probes = len(samples)
    if probes < 2:
        return np.full((samples.shape[1],) * 2, np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.atleast_2d(np.cov(samples.T)) / probes
