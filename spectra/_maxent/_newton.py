"""Newton's method on the dual, along a path of falling ridges and on grids that become finer where the density asks.

The ridge comes down from 1e-3 by factors of thirty, each solution predicting the next along the tangent in log ridge.
Plain Newton deepens a gap by a factor e and sharpens a peak by a factor 2 an iteration; both follow log ridge nearly
linearly, so the path halves the iterations and more.

A grid too coarse for a peak does not make the answer inaccurate, it makes the problem ill-posed: mass collapses onto
single points, and the multipliers run away. So the grid is looked at every few iterations, not at the end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy  # whose parts are loaded when first used
from scipy.linalg.lapack import dpotrf, dpotrs

from spectra._maxent._dual import Dual, Point, at_points, chebyshev_points

FIRST_RIDGE = 1e-3
GRADIENT = 1e-10  # the dual's gradient at the answer, largest component
MASS = 1e-8  # by how much the mass of the answer may differ on a grid four times finer
PATH_MASS = 1e-6  # and, on the way there, on one twice as fine
POINTS = 1 << 18  # grids are not refined beyond this
CHUNK = 8  # iterations between two looks at the grid
ITERATIONS = 600
MORE_ITERATIONS, MORE_WORK = 300, 1 << 25  # to bound the mismatch; work is iterations times points
BOUND = 199.0  # no moment shall be missed by more than this many ridges: 2e-6 for a ridge of 1e-8
RUNAWAY = 1e3  # a multiplier times the ridge; 1 is much


class Fit(NamedTuple):
    dual: Dual
    point: Point
    finer: Dual  # a grid four times finer
    there: Point  # the same multipliers on it
    objective: float  # the least value of the dual with the plain ridge
    factor: np.ndarray  # Cholesky factor of the Hessian
    gradient: float  # largest component
    iterations: int
    converged: bool
    error: float  # of the mass


def minimise(dual: Dual, ridge: float) -> Fit:
    """The minimiser for the plain ridge, and from there for the penalty that bounds the mismatch, if that is needed.

    The latter may take long where the moments leave next to no freedom, for a few atoms: then the plain one stays.
    """
    first = max(ridge, FIRST_RIDGE)
    start = min(dual.at(np.zeros(dual.order)), dual.at(_kernel_start(dual)), key=lambda point: point.value(first))
    plain = _follow(dual, start, first, ridge, ITERATIONS)
    if np.abs(plain.point.alpha).max() <= BOUND or dual.variance.max() > ridge:
        return plain
    bent = plain.dual.bent(0.9 * BOUND)
    budget = min(MORE_ITERATIONS, MORE_WORK // bent.points)
    bounded = _follow(bent, bent.at(plain.point.alpha), ridge, ridge, budget)
    best = bounded if bounded.converged and bounded.error <= PATH_MASS else plain
    return best._replace(objective=plain.objective, iterations=plain.iterations + bounded.iterations)


def _follow(dual, point, now, ridge, budget) -> Fit:
    """The minimiser as the ridge falls from `now` to `ridge`, on grids as fine as the density asks for."""
    spent = 0
    while True:
        before = point
        point, run = _newton(dual, before, now, tight=now == ridge)
        spent += run.iterations
        settled = run.done or spent >= budget
        final = settled and now == ridge
        finer = dual.refined(4 if final else 2)
        there = finer.at(point.alpha)
        error = abs(there.log_z - point.log_z)
        if error > (MASS if final else PATH_MASS) and dual.points < POINTS:
            dual = dual.refined(2)
            point = dual.at(point.alpha if error < 0.1 else before.alpha)
            if final or error > 1e-3:
                continue
        elif final:
            return Fit(dual, point, finer, there, point.value(ridge), run.factor, run.gradient, spent,
                       run.done, error)
        if settled:
            following = max(now / 30, ridge)
            tangent = -solve(run.factor, now * point.pull.slope)
            ahead = dual.at(point.alpha + run.step + np.log(following / now) * tangent)
            point = ahead if ahead.value(following) < point.value(following) else point
            now = following


class _Run(NamedTuple):
    """The end of a run of Newton's method: the next step, and what it was computed from."""

    step: np.ndarray
    factor: np.ndarray
    gradient: float
    iterations: int
    done: bool


def _newton(dual, point, ridge, tight):
    """At most CHUNK damped iterations: to rounding if `tight`, otherwise until a step gains little beside the ridge."""
    largest = np.inf
    for iteration in range(1, CHUNK + 1):
        moments = dual.moments(point.masses)
        gradient = dual.gradient(point, ridge, moments)
        factor = _cholesky(dual.hessian(point, ridge, moments))
        step = -solve(factor, gradient)
        gain, before, largest = -(gradient @ step), largest, float(np.abs(gradient).max())
        enough = 0.0 if tight else 0.1 * ridge * (point.alpha @ point.pull.slope)
        stalled = gain <= _rounding(point.value(ridge)) and largest > before / 2
        done = largest <= GRADIENT or gain <= enough or stalled
        after = None if done else _search(dual, point, step, gain, ridge)
        if after is None:
            return point, _Run(step, factor, largest, iteration, True)
        point = after
    return point, _Run(step, factor, largest, iteration, False)


def _search(dual, point, step, gain, ridge):
    """The first of the steps 1, 1/2, 1/4, ... that lowers the dual enough (Armijo); None if rounding hides them all.

    On a grid too coarse for a peak the dual may have no minimum; steps to where no multiplier of a density on a fine
    grid could be are not tried.
    """
    value, length = point.value(ridge), 1.0
    while length > 1e-9:
        alpha = point.alpha + length * step
        if np.abs(alpha).max() < RUNAWAY / ridge:
            after = dual.at(alpha)
            if after.value(ridge) <= value - 1e-4 * length * gain + _rounding(value):
                return after
        length /= 2
    return None


def _rounding(value):
    """Changes of the dual that rounding may hide or feign."""
    return 1e-13 * (1 + abs(value))


def _kernel_start(dual):
    """Multipliers of the kernel polynomial density with Jackson's damping, positive if the moments are possible."""
    m = dual.order
    k = np.arange(1, m + 1)
    angle = np.pi / (m + 2)
    damping = ((m - k + 2) * np.cos(k * angle) + np.sin(k * angle) / np.tan(angle)) / (m + 2)
    to_arcsine = at_points(np.concatenate([[1.0], 2 * damping * dual.mu]), dual.points)
    log_density = np.log(np.maximum(to_arcsine, 1e-6)) - 0.5 * np.log1p(-(chebyshev_points(dual.points) ** 2))
    return -scipy.fft.dct(log_density - at_points(dual.log_prior, dual.points), type=2)[1 : m + 1] / dual.points


def _cholesky(H):
    """Cholesky factor, of H and as much of the identity as rounding makes necessary."""
    factor, failed = dpotrf(H, lower=True)
    lift = np.finfo(float).eps * len(H)
    while failed:
        factor, failed = dpotrf(H + lift * np.eye(len(H)), lower=True)
        lift *= 10
    return factor


def solve(factor, b):
    return dpotrs(factor, b, lower=True)[0]
