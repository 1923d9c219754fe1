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

from spectra.estimators._moments import estimated_moments
from spectra.estimators._problem import Problem
from spectra.krylov._lanczos import LanczosRun
from spectra.krylov._quadrature import gauss
from spectra.results import Estimate, NotFinite, SpectralDensity, remaining_change, standard_error


def kpm_density(problem: Problem, probes: int, steps: int, support, advance: Callable) -> SpectralDensity:
    """Kernel polynomial density from 2 x steps Chebyshev moments, on as many Chebyshev points again."""
    mu = sampled_moments(problem, probes, 2 * steps, support, advance)
    order = 2 * steps
    x = chebyshev.chebpts1(2 * order)
    weights = _damped(mu.samples, order, x)
    lo, hi = mu.support
    details = {"order": order, "damping": "jackson", "steps": steps}
    return SpectralDensity((hi + lo) / 2 + (hi - lo) / 2 * x, weights, problem.n, support=mu.support,
                           matvecs=mu.matvecs, seed=problem.seed, method="kpm", details=details)


def _damped(samples, order, x):
    i = np.arange(order + 1)
    N = order + 2
    jackson = ((N - i) * np.cos(np.pi * i / N) + np.sin(np.pi * i / N) / np.tan(np.pi / N)) / N
    coefficients = np.where(i == 0, 1.0, 2.0) * jackson * samples
    return np.maximum(coefficients @ chebyshev.chebvander(x, order).T / len(x), 0.0)


def chebyshev_sum(problem: Problem, f: Callable, probes: int, steps: int, support, advance: Callable) -> Estimate:
    """tr f(A) from 2 x steps Chebyshev moments and the interpolant of f of that degree.

    The safety margin of the support may reach where f is singular, so f is continued as a constant beyond the extreme
    Ritz values of one Lanczos run. The same with a quarter and a half of degree and steps brackets the bias of both.
    """
    spent = problem.A.matvecs
    run = LanczosRun(problem.A, problem.probes(1), check=False)
    run.advance(min(steps, problem.n))
    mu = sampled_moments(problem, probes, 2 * steps, support, advance)
    depths = [max(steps // 4, 1), max(steps // 2, 1), steps]
    values = [mu.samples[:, : 2 * d + 1] @ _interpolant(f, 2 * d, mu.support, _hull(run, d)) for d in depths]
    bracket = remaining_change(*(v.mean() for v in values))
    n = problem.n
    return Estimate(n * values[-1].mean(), n * standard_error(values[-1]), (n * bracket[0], n * bracket[1]),
                    problem.A.matvecs - spent, probes, problem.seed, "chebyshev",
                    {"order": 2 * steps, "support": mu.support, "steps": steps})


def _interpolant(f, degree, support, hull):
    """Chebyshev coefficients on `support` of f held constant outside `hull`."""
    lo, hi = support
    with np.errstate(all="ignore"):
        coefficients = chebyshev.chebinterpolate(lambda x: f(np.clip((hi + lo + (hi - lo) * x) / 2, *hull)), degree)
    if not np.all(np.isfinite(coefficients)):
        raise NotFinite(hull[0])
    return coefficients


def _hull(run: LanczosRun, steps: int):
    """Extreme Ritz values after the first `steps` steps."""
    nodes, _ = gauss(run.alpha[:, :steps], run.beta[:, :steps])
    return float(nodes.min()), float(nodes.max())


def sampled_moments(problem: Problem, probes: int, order: int, support, advance) -> Estimate:
    """Chebyshev moments of the problem's operator, from its own generator."""
    return estimated_moments(problem.A, order, "chebyshev", support, probes, problem.generator, problem.seed,
                             problem.memory, advance)
