"""Damping by how well a quadratic model predicts the optimiser's steps: the baseline of second-order optimisation.

    rho = (L(w + d) - L(w)) / (g'd + d'Hd / 2),

near 1 where the model may be trusted, and damping may fall; near 0 or negative where it must rise.

Reference: Martens and Grosse, ICML 2015, arXiv 1503.05671, section 6.5.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from spectra.optim._batch_loss import BatchLoss
from spectra.optim._checks import assign, count, in_range, limits, positive, require_key, sit_on, trainable
from spectra.optim._products import GradientGraph, flat, gradients


class LevenbergMarquardt:
    """Sets the damping of any optimiser by how well a quadratic model predicted its last step: the usual baseline.

    ``rho = (L(w + d) - L(w)) / (g'd + d'Hd/2)`` on the batch; the damping is multiplied by `decay` where rho is above
    3/4 and divided by it where rho is below 1/4.

    Parameters
    ----------
    optimizer, key, every, bounds, model
        As `AutoDamping`.
    decay : float
        omega, for each of the `every` steps.

    Attributes
    ----------
    history : list of dict
        One entry a look: `step`, `ratio` rho and `damping`.
    damping : float

    Raises
    ------
    ValueError
        As `AutoDamping`.

    Notes
    -----
    Each look costs two losses, two gradients and a Hessian product, and a copy of the weights. Martens and Grosse
    (2015), 6.5. The damping is part of no loss, so it is not in the quadratic model (the damping paper's code adds it).
    Saved and restored with the optimiser.

    Examples
    --------
    >>> import torch, spectra
    >>> w = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = spectra.optim.LanczosOPT([w], lr=1.0, damping=1.0, k=1)
    >>> damping = spectra.optim.LevenbergMarquardt(optimizer, every=1)
    >>> _ = optimizer.step(lambda: (w**2).sum())
    >>> damping.step(lambda batch: (w**2).sum(), None)                     # a quadratic is predicted exactly
    >>> optimizer.param_groups[0]["damping"]
    0.95
    """

    def __init__(self, optimizer, key="damping", *, decay=0.95, every=5, bounds=(1e-8, 1e8), model=None):
        require_key(optimizer, key)
        in_range(decay, "decay", 0.0, 1.0)
        positive(decay, "decay")
        count(every, "every")
        self.optimizer, self.key, self.decay, self.every = optimizer, key, decay, int(every)
        self.bounds = limits(bounds)
        self.model = getattr(optimizer, "model", None) if model is None else model
        self.history: list[dict[str, Any]] = []
        self._steps = 0
        self._before: list[torch.Tensor] | None = None
        self._attach()

    def _attach(self):
        sit_on(self.optimizer, self, self.optimizer.register_step_pre_hook(self._remember))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy: its optimiser is a copy, too, which has lost its hooks."""
        self.__dict__.update(state)
        self._attach()

    @property
    def damping(self) -> float:
        return float(self.optimizer.param_groups[0][self.key])

    def step(self, loss_fn: Callable, batch) -> None:
        """Look at the optimiser's last step on a batch, every so many calls; call it after the optimiser's step."""
        self._steps += 1
        if self._steps % self.every or self._before is None:
            return
        params = trainable(self.optimizer)
        ratio = self._ratio(BatchLoss(loss_fn, self.model, params), params, batch)
        if np.isfinite(ratio):
            factor = self.decay**self.every if ratio > 0.75 else self.decay**-self.every if ratio < 0.25 else 1.0
            for group in self.optimizer.param_groups:
                assign(group, self.key, float(np.clip(float(group[self.key]) * factor, *self.bounds)))
        self.history.append({"step": self._steps, "ratio": ratio, "damping": self.damping})

    def _ratio(self, loss, params, batch) -> float:
        move = [w.detach() - old for w, old in zip(params, self._before, strict=True)]
        after = loss(batch).item()
        with _weights(params, self._before):
            value = loss(batch)
            g = flat(gradients(value, params))
            bent = flat(GradientGraph(value, params).product(move))
        predicted = float(g @ flat(move)) + 0.5 * float(bent @ flat(move))
        return (after - value.item()) / predicted if predicted else float("nan")

    def _remember(self, optimizer, args, kwargs):
        due = (self._steps + 1) % self.every == 0
        self._before = [w.detach().clone() for w in trainable(optimizer)] if due else None

    def state_dict(self) -> dict[str, Any]:
        return {"history": [dict(entry) for entry in self.history], "steps": self._steps, "damping": self.damping}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history, self._steps = [dict(entry) for entry in state["history"]], state["steps"]
        for group in self.optimizer.param_groups:
            assign(group, self.key, state["damping"])


@contextmanager
def _weights(params, values):
    own = [w.detach().clone() for w in params]
    _write(params, values)
    try:
        yield
    finally:
        _write(params, own)


@torch.no_grad()
def _write(params, values):
    for w, value in zip(params, values, strict=True):
        w.copy_(value)
