"""Spectral densities: one run, then any integral against it."""

from __future__ import annotations

import warnings

import numpy as np

from spectra._maxent import maxent
from spectra._progress import track
from spectra.estimators._adaptive import fixed
from spectra.estimators._block_slq import BlockQuadrature
from spectra.estimators._budget import CAP, require_tolerance
from spectra.estimators._kpm import kpm_density
from spectra.estimators._moments import estimated_moments
from spectra.estimators._problem import Problem
from spectra.estimators._slq import LanczosQuadrature
from spectra.operators._door import enter
from spectra.results import ConvergenceWarning, SpectralDensity


def spectral_density(A, *, method: str = "slq", steps: int = 80, probes: int = 8, rtol: float | None = None,
                     support=None, rng=None, memory: int | None = None, progress=False,
                     check: bool = True) -> SpectralDensity:
    """Spectral density of a Hermitian operator, ``mu = (1/n) sum_i delta(x - lambda_i)``.

    Parameters
    ----------
    A : operator, Hermitian of order n
    method : {"slq", "block-slq", "kpm", "maxent"}
        Lanczos quadrature, one run a probe or one shared block Krylov space; kernel polynomials (Jackson); maximum
        entropy given Chebyshev moments. The first two are weighted points, exact for moments to order 2 x steps - 1;
        the others have 2 x steps moments and, for "maxent", a continuous density.
    steps : int
        Products for each probe: the resolution.
    probes : int
        Rademacher vectors: the noise. One is often enough for a large operator, and gives no error bar.
    rtol : float, optional
        Ask instead for a distribution function whose mean error is below `rtol` (of 1): steps and probes are doubled
        until it is, starting from 16 and 4, to at most 20,000 products.
    support : (lo, hi), optional
        Interval that holds the spectrum; default: found where the method needs it, for 30 products more.
    rng : int, Generator or None
    memory : int, optional
        Bytes for blocks of vectors and bases; default 1 GiB.
    progress : bool or callable

    Returns
    -------
    SpectralDensity

    Raises
    ------
    ValueError
        If A is not Hermitian, the support does not hold its spectrum, or the method has another name.

    Notes
    -----
    ``probes * steps`` products, fewer where an invariant subspace is found. Source: thesis 4.4.2 (quadrature),
    Algorithm 1 (maximum entropy); Lin, Saad and Yang, SIAM Review 58 (2016), arXiv:1308.5467.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> rho = spectra.spectral_density(np.diag([1.0, 2.0, 2.0, 4.0]), steps=4, probes=2, rng=0)
    >>> rho.nodes.round(12)[:3], round(rho.moment(2).value, 12)
    (array([1., 1., 2.]), 6.25)
    """
    if method not in DENSITIES:
        raise ValueError(f"method of spectral_density must be one of {sorted(DENSITIES)}, found {method!r}")
    for name, count in (("steps", steps), ("probes", probes)):
        if int(count) != count or count < 1:
            raise ValueError(f"{name} must be a positive integer, found {count!r}")
    problem = Problem(enter(A, "spectral_density", check=check), rng, support, memory)
    if rtol is not None:
        return _to_tolerance(problem, method, rtol, progress)
    with track(progress, probes * steps, method) as advance:
        return DENSITIES[method](problem, int(probes), int(steps), advance)


def _slq(problem: Problem, probes: int, steps: int, advance) -> SpectralDensity:
    return fixed(problem, LanczosQuadrature, probes, steps, advance)


def _block_slq(problem: Problem, probes: int, steps: int, advance) -> SpectralDensity:
    return fixed(problem, BlockQuadrature, probes, steps, advance)


def maxent_density(problem: Problem, probes: int, steps: int, advance) -> SpectralDensity:
    """Maximum entropy given 2 x steps Chebyshev moments (thesis, Algorithms 1 and 3)."""
    return maxent(estimated_moments(problem, probes, 2 * steps, "chebyshev", advance), bias=True)


DENSITIES = {"slq": _slq, "block-slq": _block_slq, "kpm": kpm_density, "maxent": maxent_density}


def _to_tolerance(problem, method, rtol, progress) -> SpectralDensity:
    require_tolerance(rtol, "0.01 asks for a mean error of 1 % in the distribution function")
    spent, steps, probes, before = problem.A.matvecs, 16, 4, None
    with track(progress, CAP, method) as advance:
        while True:
            rho = DENSITIES[method](problem, probes, steps, advance)
            noise = _mean_difference(rho.rules[: probes // 2], rho.rules[probes // 2 :], rho) / 2
            change = np.inf if before is None else _mean_difference(before.rules, rho.rules, rho)
            used = problem.A.matvecs - spent
            if (change + noise <= rtol) or rho.complete:
                break
            if used + 2 * probes * steps > CAP:
                warnings.warn(f"spectral_density was asked for a mean error of {rtol:.2g} and stopped at "
                              f"{change + noise:.2g} after {used} products", ConvergenceWarning, stacklevel=3)
                break
            steps, probes = (2 * steps, probes) if change > noise else (steps, 2 * probes)
            before = rho
    rho.matvecs = used
    return rho


def _mean_difference(first, second, rho) -> float:
    """Mean over the support of |F - G| for the averaged distribution functions of two sets of rules."""
    lo, hi = rho.support
    if not first or not second or lo == hi:
        return 0.0
    x = np.linspace(lo, hi, 1001)
    F, G = (np.mean([_steps(nodes, weights, x) for nodes, weights in rules], 0) for rules in (first, second))
    return float(np.mean(np.abs(F - G)))


def _steps(nodes, weights, x):
    order = np.argsort(nodes)
    below = np.concatenate([[0.0], np.cumsum(weights[order])])
    return below[np.searchsorted(nodes[order], x, side="right")]
