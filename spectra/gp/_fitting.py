"""Hyper-parameters that maximise the marginal likelihood.

All are positive and are sought by their logarithms, d/d log theta = theta d/d theta, within bounds. L-BFGS takes the
likelihood for a smooth function, which it is where it is exact, or where the probes stay the same (common random
numbers); Adam lets every step have its own probes.

Liu and Nocedal, Math. Program. 45 (1989), doi 10.1007/BF01589116; Kingma and Ba (2015), arXiv:1412.6980.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

from spectra.gp._likelihood import log_marginal_likelihood
from spectra.results import ConvergenceWarning

BOUNDS = (1e-3, 1e4)  # in standardised units
NOISE_BOUNDS = (1e-6, 1e2)
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


def best_start(objective: Objective, pilot: Objective, restarts: int, steps: int) -> np.ndarray:
    """Where to start, as a likelihood has many local maxima: of what a few iterations of the pilot, the same likelihood
    of fewer rows, make of several starts, the one that the objective likes best."""
    ends = []
    for start in pilot.starts(restarts):
        pilot.start = start
        ends.append(lbfgs(pilot, steps, lambda: None)[0])
    return min(ends, key=lambda x: objective(x)[0])


def lbfgs(objective: Objective, steps: int, advance: Callable) -> tuple[np.ndarray, int]:
    """Logarithms of the parameters after at most `steps` iterations of L-BFGS, and the iterations made."""
    found = minimize(objective, objective.start, jac=True, method="L-BFGS-B", bounds=objective.bounds,
                     callback=lambda _: advance(), options={"maxiter": steps})
    return found.x, int(found.nit)


def adam(objective: Objective, steps: int, advance: Callable) -> tuple[np.ndarray, int]:
    """Logarithms of the parameters after `steps` steps of Adam."""
    x, first, second = objective.start, 0.0, 0.0
    for t in range(1, steps + 1):
        slope = objective(x)[1]
        first = _DECAY * first + (1 - _DECAY) * slope
        second = _SQUARE_DECAY * second + (1 - _SQUARE_DECAY) * slope**2
        unbiased = first / (1 - _DECAY**t) / (np.sqrt(second / (1 - _SQUARE_DECAY**t)) + 1e-12)
        x = np.clip(x - _RATE * unbiased, *objective.bounds.T)
        advance()
    return x, steps


OPTIMIZERS = {"l-bfgs": lbfgs, "adam": adam}
