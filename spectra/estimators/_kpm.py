"""Chebyshev methods: kernel polynomial densities, and tr f(A) from an interpolant of f.

    rho(x) = (1/pi sqrt(1-x^2)) (mu_0 + 2 sum_i g_i mu_i T_i(x)),      tr f(A) ~ n sum_i c_i mu_i

with moments mu_i from random probes, Jackson's damping g_i, which keeps the density positive at a resolution of
pi/order of the support, and the Chebyshev coefficients c_i of f.

References: Weisse et al., Rev. Mod. Phys. 78 (2006), arXiv:cond-mat/0504627; Han, Malioutov and Shin (2015),
arXiv:1503.06394.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial import chebyshev

from spectra import _arrays
from spectra.estimators._moments import estimated_moments
from spectra.estimators._problem import Problem
from spectra.krylov._lanczos import LanczosRun
from spectra.krylov._quadrature import coarse_depths, gauss
from spectra.results import Estimate, NotFinite, SpectralDensity, remaining_change, standard_error


def kpm_density(problem: Problem, probes: int, steps: int, advance: Callable) -> SpectralDensity:
    """Kernel polynomial density from 2 x steps Chebyshev moments, on twice as many Chebyshev points."""
    spent = problem.A.matvecs
    mu = estimated_moments(problem, probes, 2 * steps, "chebyshev", advance)
    *coarse, rule = [_damped(mu.samples[:, : 2 * d + 1], mu.support) for d in (*coarse_depths(steps), steps)]
    return SpectralDensity(*rule, problem.n, support=mu.support, matvecs=problem.A.matvecs - spent, coarse=coarse,
                           seed=problem.seed, method="kpm", details={"steps": steps, "degree": 0, "damping": "jackson"})


def _damped(samples, support):
    """Nodes and weights of the series with Jackson's factors, which are those of a positive kernel."""
    order = samples.shape[1] - 1
    i, N = np.arange(order + 1), order + 2
    jackson = ((N - i) * np.cos(np.pi * i / N) + np.sin(np.pi * i / N) / np.tan(np.pi / N)) / N
    x = chebyshev.chebpts1(2 * order)
    weights = (np.where(i == 0, 1.0, 2.0) * jackson * samples) @ chebyshev.chebvander(x, order).T
    lo, hi = support
    return (hi + lo) / 2 + (hi - lo) / 2 * x, np.maximum(weights, 0.0)


def chebyshev_sum(problem: Problem, f: Callable, probes: int, steps: int, advance: Callable) -> Estimate:
    """tr f(A) from 2 x steps Chebyshev moments and the interpolant of f of that degree.

    Where f is singular at an end of the support (log at 0) it is continued as a constant beyond the extreme Ritz values
    of one Lanczos run. The same with a quarter and a half of degree and steps brackets the bias of both.
    """
    spent, n = problem.A.matvecs, problem.n
    mu = estimated_moments(problem, probes, 2 * steps, "chebyshev", advance)
    run = None if _finite(f, np.array(mu.support)) else _lanczos(problem, steps)
    values = []
    for depth in (*coarse_depths(steps), steps):
        hull = mu.support if run is None else _hull(run, depth)
        values.append(mu.samples[:, : 2 * depth + 1] @ _interpolant(f, 2 * depth, mu.support, hull))
    lo, hi = remaining_change(*(v.mean() for v in values))
    return Estimate(n * values[-1].mean(), n * standard_error(values[-1]), (n * lo, n * hi), problem.A.matvecs - spent,
                    probes, problem.seed, "chebyshev", {"steps": steps, "support": mu.support})


def _finite(f, x) -> bool:
    with np.errstate(all="ignore"):
        return bool(np.all(np.isfinite(f(x))))


def _interpolant(f, degree, support, hull):
    """Chebyshev coefficients on `support` of f held constant outside `hull`."""
    lo, hi = support
    with np.errstate(all="ignore"):
        coefficients = chebyshev.chebinterpolate(lambda x: f(np.clip((hi + lo + (hi - lo) * x) / 2, *hull)), degree)
    if not np.all(np.isfinite(coefficients)):
        raise NotFinite(hull[0])
    return coefficients


def _lanczos(problem: Problem, steps: int) -> LanczosRun:
    # A vector of signs may well be orthogonal to an eigenvector (of a graph, say), a Gaussian one is not.
    start = _arrays.gaussians(problem.generator, problem.n, 1, problem.A.like, problem.A.dtype)
    run = LanczosRun(problem.A, start, reorthogonalize=problem.fits(steps + 6), expected=steps, check=False)
    run.advance(min(steps, problem.n))
    return run


def _hull(run: LanczosRun, steps: int) -> tuple[float, float]:
    """Extreme Ritz values after the first `steps` steps."""
    nodes, _ = gauss(run.alpha[:, :steps], run.beta[:, :steps])
    return float(nodes.min()), float(nodes.max())
