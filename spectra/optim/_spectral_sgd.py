"""SGD whose learning rate and momentum come from the spectrum of its loss.

For a quadratic with eigenvalues in [mu, L] the fastest two-term methods have

    polyak      lr = (2 / (sqrt L + sqrt mu))^2,   momentum = ((sqrt L - sqrt mu) / (sqrt L + sqrt mu))^2
    nesterov    lr = 1 / L,                        momentum = (sqrt L - sqrt mu) / (sqrt L + sqrt mu)

mu and L are extreme Ritz values of a batch, after the spike at 0, which has most of the weight and tells nothing, is
removed.

Reference: thesis 4.3.2, whose (4.3) prints other learning rates; ``rule="thesis"`` has those.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spectra import _arrays
from spectra.krylov._lanczos import LanczosRun
from spectra.krylov._quadrature import gauss
from spectra.optim._checks import assign, count, numpy_generator, one_of, require_key, sit_on, trainable
from spectra.optim._products import GradientGraph, LossCurvature, twice_differentiable


class SpectralSGDM:
    """Sets the learning rate and momentum of SGD from the extreme Ritz values of the loss.

    Parameters
    ----------
    optimizer : torch.optim.SGD
        Or any whose groups have "lr" and "momentum".
    rule : {"polyak", "nesterov", "thesis"}
        "nesterov" makes the momentum of torch's SGD Nesterov's.
    every : int
        Calls of `step` from one spectrum to the next.
    steps : int
        Lanczos steps.
    spike : float
        Ritz values with more weight than this are removed, one at a time while there is one.
    rng : int, Generator or None

    Attributes
    ----------
    history : list of dict
        `step`, `largest`, `smallest`, `lr`, `momentum`.

    Raises
    ------
    ValueError
        If a group has no momentum, or an option is out of range.

    Notes
    -----
    A spectrum costs `steps` products, about 3 gradients each. Thesis 4.3.2, with m = 20 every 20 epochs. Saved and
    restored with the optimiser.

    Examples
    --------
    >>> import torch, spectra
    >>> w = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.0)
    >>> tuning = spectra.optim.SpectralSGDM(optimizer, spike=1.0, rng=0)
    >>> tuning.step(lambda: (w * torch.tensor([1.0, 9.0]) * w).sum() / 2)
    >>> round(optimizer.param_groups[0]["lr"], 4), round(optimizer.param_groups[0]["momentum"], 4)
    (0.25, 0.25)
    """

    def __init__(self, optimizer, *, rule="polyak", every=1, steps=20, spike=0.5, rng=None):
        one_of(rule, "rule", RULES)
        for name, value in (("every", every), ("steps", steps)):
            count(value, name)
        require_key(optimizer, "momentum")
        self.optimizer, self.rule, self.every, self.steps, self.spike = optimizer, rule, every, steps, spike
        self.generator, self.seed = numpy_generator(rng)
        self.history: list[dict[str, float]] = []
        self._calls = 0
        sit_on(optimizer, self)

    def __setstate__(self, state) -> None:
        """A copy: its optimiser is a copy, too, which has lost its hooks."""
        self.__dict__.update(state)
        sit_on(self.optimizer, self)

    def step(self, closure: Callable) -> None:
        """Look at the spectrum, every so many calls; `closure` returns the loss with its graph, without backward()."""
        due = self._calls % self.every == 0
        self._calls += 1
        if not due:
            return
        params = trainable(self.optimizer)
        with twice_differentiable(params):
            loss = closure()
        operator = LossCurvature(GradientGraph(loss, params))
        start = _arrays.gaussians(self.generator, operator.shape[0], 1, operator.like, operator.dtype)
        run = LanczosRun(operator, start, check=False)
        run.advance(min(self.steps, operator.shape[0]))
        nodes, weights = gauss(run.alpha, run.beta[:, :-1])
        smallest, largest = extremes(nodes[0], weights[0], self.spike)
        if not smallest > 0:  # the loss is linear: nothing to learn from its curvature
            return
        lr, momentum = RULES[self.rule](smallest, largest)
        for group in self.optimizer.param_groups:
            assign(group, "lr", lr)
            assign(group, "momentum", momentum)
            if self.rule == "nesterov" and "nesterov" in group:
                group["nesterov"] = True
        self.history.append({"step": self._calls, "largest": largest, "smallest": smallest, "lr": lr,
                             "momentum": momentum})

    def state_dict(self):
        return {"calls": self._calls, "history": [dict(entry) for entry in self.history],
                "generator": self.generator.bit_generator.state}

    def load_state_dict(self, state):
        self._calls, self.history = state["calls"], [dict(entry) for entry in state["history"]]
        self.generator.bit_generator.state = state["generator"]


def extremes(nodes, weights, spike: float) -> tuple[float, float]:
    """Smallest and largest |Ritz value| after the heaviest are removed while one has more than `spike` of the rest."""
    kept = weights > 0
    nodes, weights = np.abs(nodes[kept]), weights[kept] / weights[kept].sum()
    while len(nodes) > 1 and weights.max() > spike:
        rest = np.arange(len(nodes)) != weights.argmax()
        nodes, weights = nodes[rest], weights[rest] / weights[rest].sum()
    return float(nodes.min()), float(nodes.max())


def _polyak(mu, L):
    low, high = np.sqrt(mu), np.sqrt(L)
    return float((2 / (high + low)) ** 2), float(((high - low) / (high + low)) ** 2)


def _nesterov(mu, L):
    low, high = np.sqrt(mu), np.sqrt(L)
    return float(1 / L), float((high - low) / (high + low))


def _thesis(mu, L):
    """(4.3) as the published code has it."""
    low, high = np.sqrt(mu), np.sqrt(L)
    return float(np.sqrt(mu / L)), float((high - low) / (high + low))


RULES = {"polyak": _polyak, "nesterov": _nesterov, "thesis": _thesis}
