"""Spending a budget well: first deep enough, then wide enough.

A few probes are taken deeper until the quadrature bias is small against what the budget will leave of the statistical
error (or against the tolerance asked for); the rest of the budget goes to more probes of that depth. Should the bias
stand in the way of a tolerance after all, the first probes go deeper, and the others are drawn anew. Ill-conditioned
operators thus get few probes and many steps, benign ones many probes and few steps, without anybody's choosing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spectra.estimators._block_slq import BlockQuadrature
from spectra.estimators._budget import bias_width
from spectra.estimators._problem import Problem
from spectra.estimators._slq import LanczosQuadrature
from spectra.results import Estimate, SpectralDensity, joined

Quadrature = type[LanczosQuadrature] | type[BlockQuadrature]

PILOT = 5  # probes that are taken deep: enough for a standard error, few enough to go far
_LEAST_PILOT = 3  # for a tolerance, in separate runs: on a large matrix three probes give more digits than are asked
_FIRST_DEPTH = 8
_BRACKETED_DEPTH = 5  # for a tolerance, with a known end of the spectrum: the bracket is a bound at any depth
_GROWTH = 1.5
_TYPICAL = 4  # a bias bracket may be so many times wider than half a standard error: it is wider than the bias
_WITH_MANY = 2.2  # standard errors in half a 95 % interval from a dozen probes
HALVES = 2  # of the memory: one is for the first probes, which may have to go on, the other for those that join them
_LEAST_DEPTH = 3  # two halvings need three steps to differ


def fixed(problem: Problem, kind: Quadrature, probes: int, steps: int, advance: Callable) -> SpectralDensity:
    """Exactly `probes` x `steps`, in groups that fit the memory."""
    spent, density, left = problem.A.matvecs, None, probes
    while left and not (density is not None and density.complete):
        k = min(left, problem.room(kind.vectors(steps)))
        run = None  # the last one's basis is let go
        run = kind(problem, k, steps)
        for _ in range(steps):
            if run.exact:
                break
            run.advance(1)
            advance(k)
        density = _more(density, run.density(problem.A.matvecs - spent))
        spent, left = problem.A.matvecs, left - k
    return density


def adaptive(problem: Problem, kind: Quadrature, f: Callable, budget: int, rtol: float | None, advance: Callable,
             offset: float = 0.0) -> SpectralDensity:
    """A density whose integral of `f` is as accurate as `budget` products allow, or as `rtol` asks.

    `offset` is a known part of the answer that the tolerance refers to as well.
    """
    spent = problem.A.matvecs
    bracketed = rtol is not None and problem.end is not None
    pilot = _pilot(problem, kind, rtol)
    group = 1 if kind is LanczosQuadrature else pilot  # fewer in a block are not deflated
    goal = _Goal(f, budget + spent, rtol, offset, _BRACKETED_DEPTH if bracketed else _FIRST_DEPTH, group)
    k = min(pilot, max(budget // _LEAST_DEPTH, 1), problem.room(HALVES * kind.vectors(_FIRST_DEPTH)))
    deepest = _deepest(problem, kind, k, budget)
    run = kind(problem, k, deepest)
    while True:
        _deepen(problem, run, k, deepest, goal, advance)
        density = _widened(problem, kind, run, run.density(), goal, advance)
        if run.exact or run.steps >= deepest or not goal.bias_is_in_the_way(density, problem.A.matvecs):
            density.matvecs = problem.A.matvecs - spent
            return density


def _pilot(problem, kind, rtol) -> int:
    """Probes to begin with: a budget counts products, a tolerance leaves it to the operator which are cheap."""
    if rtol is None:
        return PILOT
    return _LEAST_PILOT if kind is LanczosQuadrature else max(PILOT, problem.A.width)


def _deepen(problem, run, k, deepest, goal, advance) -> None:
    """Take the first probes deeper, by one stage at least."""
    while not run.exact and run.steps < deepest:
        before = problem.A.matvecs
        target = min(max(int(run.steps * _GROWTH), goal.depth), deepest, run.steps + (goal.limit - before) // k)
        if target <= run.steps:
            return
        run.advance(target - run.steps)
        advance(problem.A.matvecs - before)
        if goal.deep_enough(run, k, problem.A.matvecs):
            return


def _widened(problem, kind, run, density, goal, advance) -> SpectralDensity:
    """The density of the first probes, with as many more of that depth as the goal asks for."""
    while not density.complete:
        wanted = goal.probes_wanted(density, run.steps, problem.A.matvecs)
        if _can_fill(run, problem, min(wanted * run.steps, goal.limit - problem.A.matvecs)):
            run.fill()
            return run.density()
        k = min(wanted, problem.room(HALVES * kind.vectors(run.steps)))
        if k < 1:
            break
        before = problem.A.matvecs
        extra = kind(problem, k, run.steps)
        extra.advance(run.steps)
        advance(problem.A.matvecs - before)
        density = _more(density, extra.density())
    return density


def _deepest(problem, kind, k, budget):
    """Steps that the budget and, where the basis is kept, the memory allow; a few even where it allows none, for
    shallower runs would spend the budget and tell nothing."""
    memory_limit = max(problem.room(HALVES * k) - 6, _FIRST_DEPTH) if kind.vectors(1) != kind.vectors(2) else budget
    return max(min(budget // k, memory_limit, max(problem.n, _FIRST_DEPTH)), 1)


def _can_fill(run, problem, products) -> bool:
    """Whether so many products grow a shared Krylov space to the whole space, where the answer is exact."""
    left = problem.n - getattr(run, "dimension", 0)
    fits = problem.n**2 * problem.A.dtype.itemsize <= problem.memory
    return hasattr(run, "dimension") and fits and left <= products


def _more(density: SpectralDensity | None, extra: SpectralDensity) -> SpectralDensity:
    return extra if density is None or extra.complete else joined(density, extra, extra.seed)


class _Goal:
    """When is the quadrature deep enough, and how many more probes are worth their products?"""

    def __init__(self, f, limit: int, rtol: float | None, offset: float, depth: int, group: int):
        self.f, self.limit, self.rtol, self.offset, self.depth, self.group = f, limit, rtol, offset, depth, group

    def tolerance(self, estimate: Estimate) -> float:
        return self.rtol * abs(estimate.value + self.offset)

    def deep_enough(self, run, k: int, spent: int) -> bool:
        if run.steps < self.depth:
            return False
        estimate = run.density(controls=False).sum(self.f)
        width = bias_width(estimate) - estimate.rounding  # which no depth removes
        if self.rtol is not None:
            return width <= 0.4 * self.tolerance(estimate)
        more = max(self.limit - spent, 0) // run.steps
        return width <= _TYPICAL * 0.5 * estimate.stderr * np.sqrt(k / (k + more))

    def bias_is_in_the_way(self, density: SpectralDensity, spent: int) -> bool:
        """Whether the tolerance is out of reach of more probes, and the budget allows to go deeper with few."""
        if self.rtol is None or density.complete or self.limit - spent < PILOT * _FIRST_DEPTH:
            return False
        estimate = density.sum(self.f)
        width, curable = bias_width(estimate), bias_width(estimate) - estimate.rounding
        return width + estimate.half_width() > self.tolerance(estimate) < 2 * curable

    def probes_wanted(self, density: SpectralDensity, steps: int, spent: int) -> int:
        affordable = max(self.limit - spent, 0) // max(steps, 1)
        if self.rtol is None:
            return affordable
        estimate = density.sum(self.f)
        statistical = self.tolerance(estimate) - bias_width(estimate)
        if statistical <= 0.1 * self.tolerance(estimate):
            statistical = 0.5 * self.tolerance(estimate)  # bias dominates: more probes will not help, but some must do
        half = estimate.half_width()
        if half <= statistical or affordable < 1:
            return 0
        half = min(half, _WITH_MANY * estimate.stderr)  # more probes also narrow the factor that few of them pay
        factor = min((half / statistical) ** 2 if np.isfinite(half) else 8.0, 16.0)
        return min(max(int(np.ceil(density.probes * (1.1 * factor - 1))), self.group), affordable)
