"""Hyper-parameters that maximise the marginal likelihood.

All are positive and are sought by their logarithms, d/d log theta = theta d/d theta, within bounds. L-BFGS takes the
likelihood for a smooth function, which it is where it is exact, or where the probes stay the same (common random
numbers); Adam lets every step have its own probes.

Liu and Nocedal, Math. Program. 45 (1989), doi 10.1007/BF01589116; Kingma and Ba (2015), arXiv:1412.6980.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from spectra.gp._likelihood import log_marginal_likelihood
from spectra.results import ConvergenceWarning

BOUNDS = (1e-3, 1e4)  # in standardised units
NOISE_BOUNDS = (1e-6, 1e2)
_TOUCHING = 1e-6  # of a bound, in the logarithm
_FLAT = 1e-3  # slope of the log-likelihood a row, in the logarithm of a parameter, that is as good as none
_RATE, _DECAY, _SQUARE_DECAY = 0.1, 0.9, 0.999  # Adam's


class Objective:
    """Minus the log marginal likelihood a data point, as a function of the logarithms of the parameters.

    Parameters
    ----------
    K : KernelOperator
        Its parameters are where the search begins.
    y : array, shape (n,)
    options : callable
        Maps an operator to the keyword arguments of `log_marginal_likelihood`.
    """

    def __init__(self, K, y, options: Callable):
        self.K, self.y, self.options = K, y, options
        self.names = list(K.parameters)
        self.shapes = [np.shape(K.parameters[name]) for name in self.names]
        each = [NOISE_BOUNDS if name == "noise" else BOUNDS for name in self.names]
        self._sizes = [int(np.prod(shape)) for shape in self.shapes]
        self.bounds = np.log(np.repeat(each, self._sizes, axis=0))
        values = np.concatenate([np.ravel(K.parameters[name]) for name in self.names]).astype(float)
        self.start = np.clip(np.log(np.maximum(values, NOISE_BOUNDS[0])), *self.bounds.T)
        self._accepted = self.start, 0.0

    def starts(self, restarts: int) -> list[np.ndarray]:
        """Where to begin: as asked, and with less noise and shorter and longer length-scales in turn."""
        scales = np.repeat([name.endswith("lengthscale") for name in self.names], self._sizes)
        noise = np.repeat([name == "noise" for name in self.names], self._sizes)
        powers = [(-1) ** k * ((k + 1) // 2) for k in range(1, restarts + 1)]  # -1, 1, -2, 2, ...
        moved = [self.start + np.log(3.0) * power * scales - np.log(10.0) * noise for power in powers]
        return [self.start, *(np.clip(x, *self.bounds.T) for x in moved)]

    def at_bounds(self, x: np.ndarray) -> list[str]:
        """The parameters that a search has left at a bound, in words.

        One length-scale of several is not named at its upper end: that its column says nothing is an answer.
        """
        lower, upper = self.bounds.T
        low, high = x <= lower + _TOUCHING, x >= upper - _TOUCHING
        said, start = [], 0
        for name, size in zip(self.names, self._sizes, strict=True):
            labels = [name] if size == 1 else [f"{name}[{i}]" for i in range(size)]
            each = slice(start, start + size)
            start += size
            said += [f"{label} ended at its lower bound, {np.exp(end):.3g}"
                     for label, end in zip(np.array(labels)[low[each]], lower[each][low[each]], strict=True)]
            if high[each].all() or not name.endswith("lengthscale"):
                said += [f"{label} ended at its upper bound, {np.exp(end):.3g}"
                         for label, end in zip(np.array(labels)[high[each]], upper[each][high[each]], strict=True)]
        return said

    def operator(self, x: np.ndarray):
        """The covariance operator with these logarithms of parameters."""
        parts = np.split(np.exp(x), np.cumsum(self._sizes)[:-1])
        values = {name: part.reshape(shape) if shape else float(part[0])
                  for name, part, shape in zip(self.names, parts, self.shapes, strict=True)}
        return self.K.with_parameters(values)

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        K, n = self.operator(x), self.K.shape[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of the way there; the fit judges the end of it
            try:
                evidence = log_marginal_likelihood(K, self.y, gradient=True, check=False, **self.options(K))
            except ValueError as error:
                if "positive definite" not in str(error):
                    raise
                return self._refused(x)
        slopes = [np.ravel(evidence.gradient[name].value) for name in self.names]
        self._accepted = x.copy(), -float(evidence) / n
        return -float(evidence) / n, -np.exp(x) * np.concatenate(slopes) / n

    def _refused(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Where rounding has left no positive definite matrix: a wall that sends a line search back half of the way.

        An enormous value would send it back all of the way, which it takes for convergence.
        """
        before, value = self._accepted
        step = x - before
        return value + 1.0, 2 * step / max(step @ step, 1e-12)


class Search(NamedTuple):
    """Logarithms of the parameters found, the iterations made, and what stopped them too early, in words."""

    x: np.ndarray
    iterations: int
    stopped: str = ""


def best_start(objective: Objective, pilot: Objective, restarts: int, steps: int) -> Search:
    """Where to start, as a likelihood has many local maxima: of what a few iterations of the pilot, the same likelihood
    of fewer rows, make of several starts, the one that the objective likes best."""
    ends = []
    for start in pilot.starts(restarts):
        pilot.start = start
        ends.append(lbfgs(pilot, steps, lambda: None))
    return Search(min((end.x for end in ends), key=lambda x: objective(x)[0]), sum(end.iterations for end in ends))


def lbfgs(objective: Objective, steps: int, advance: Callable) -> Search:
    """At most `steps` iterations of L-BFGS."""
    found = minimize(objective, objective.start, jac=True, method="L-BFGS-B", bounds=objective.bounds,
                     callback=lambda _: advance(), options={"maxiter": steps})
    inside = np.clip(found.x - found.jac, *objective.bounds.T) - found.x
    slope, stopped = float(np.abs(inside).max()), ""
    if found.nit >= steps and slope > _FLAT:
        stopped = f"L-BFGS stopped after max_iter={steps} iterations, where a slope of {slope:.2g} a row is left"
    elif found.status and slope > 10 * _FLAT:  # a stochastic slope is not quite the derivative of a stochastic value
        stopped = f"L-BFGS stopped early ({found.message}), where a slope of {slope:.2g} a row is left"
    return Search(found.x, int(found.nit), stopped)


def adam(objective: Objective, steps: int, advance: Callable) -> Search:
    """`steps` steps of Adam."""
    x, first, second = objective.start, 0.0, 0.0
    for t in range(1, steps + 1):
        slope = objective(x)[1]
        first = _DECAY * first + (1 - _DECAY) * slope
        second = _SQUARE_DECAY * second + (1 - _SQUARE_DECAY) * slope**2
        unbiased = first / (1 - _DECAY**t) / (np.sqrt(second / (1 - _SQUARE_DECAY**t)) + 1e-12)
        x = np.clip(x - _RATE * unbiased, *objective.bounds.T)
        advance()
    return Search(x, steps)


OPTIMIZERS = {"l-bfgs": lbfgs, "adam": adam}
