"""Damping that sets itself, from the noise in the curvature of a mini-batch.

    s = E ||H_batch - H||_F^2 / P

is estimated on the current batch: the Hessians of its two random halves are multiplied by one random probe, and

    s ~ ||(H_1 - H_2) v||^2 / (4 P)

has the right mean. The rules turn s into a damping; the damping goes into the parameter groups of any optimiser.

Reference: damping paper, 4 and 7.1, as corrected in docs/errata.md.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from spectra import _arrays
from spectra.nn._data import batch_size, mapped
from spectra.nn._losses import _outputs_and_targets
from spectra.optim._checks import in_range
from spectra.optim._products import filled, flat, gradients, split
from spectra.rmt._shrinkage import RULES, optimal_damping

FLOOR_MODES = ("add", "max")


class AutoDamping:
    """Sets the damping of any optimiser from the variance of the mini-batch Hessian.

    Parameters
    ----------
    optimizer : torch optimiser
        Whose parameter groups have `key`: "damping" of `KFAC` and `LanczosOPT`, "eps" of Adam and its kin.
    key : str
    rule : {"variance", "edge", "shrinkage", "ledoit-wolf"}
        What damping the noise asks for, see `spectra.rmt.optimal_damping`. "variance" is the paper's; "edge",
        ``2 sqrt(s)``, is the only one that needs no floor and scales with the loss.
    floor : float, optional
        delta*, the least damping. Default: for "variance" what the optimiser has at the start, else 0.
    floor_mode : {"add", "max"}
        ``delta* + rule`` as in the published runs, or the larger of both.
    ema : float
        Weight of the old damping when a new one comes; the first estimate is taken as it is.
    every : int
        Calls of `step` from one estimate to the next.
    bounds : (lo, hi), optional
        The damping is kept between.
    compensate_lr : bool
        Multiply learning rates by ``1 + damping`` within the optimiser's steps, as in the published runs: a damped
        step is a shrunk one. Schedulers see the learning rate without it.
    model : Module, optional
        Put in evaluation mode for the estimate, so that batch norm and dropout add no noise of their own; and needed
        where the loss is a function of a model. Default: the optimiser's, if it knows one.
    per_group : bool
        A damping of its own for each parameter group.
    rng : int, Generator or None

    Attributes
    ----------
    history : list of dict
        One entry an estimate: `step`, `variance` s and `damping`, by group.
    damping : float or list
        Now in force.

    Raises
    ------
    ValueError
        If a parameter group has no such key, or an option is out of range.

    Notes
    -----
    An estimate costs 3 to 4.5 gradients of the batch. Its relative spread is a third, in the running mean a sixth. An
    estimate that is not finite leaves the damping as it was.

    Examples
    --------
    >>> import torch, spectra
    >>> _ = torch.manual_seed(0)
    >>> model, loss = torch.nn.Linear(5, 1), torch.nn.MSELoss()
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, eps=1e-3)
    >>> damping = spectra.optim.AutoDamping(optimizer, key="eps", every=1, model=model, rng=0)
    >>> batch = torch.randn(32, 5), torch.randn(32, 1)
    >>> loss(model(batch[0]), batch[1]).backward()
    >>> optimizer.step()
    >>> damping.step(loss, batch)
    >>> optimizer.param_groups[0]["eps"] > 1e-3
    True
    """

    def __init__(self, optimizer, key="damping", *, rule="variance", floor=None, floor_mode="add", ema=0.7, every=10,
                 bounds=None, compensate_lr=False, model=None, per_group=False, rng=None):
        _require_key(optimizer, key)
        if rule not in RULES:
            raise ValueError(f"rule must be one of {sorted(RULES)}, found {rule!r}")
        if floor_mode not in FLOOR_MODES:
            raise ValueError(f"floor_mode must be one of {FLOOR_MODES}, found {floor_mode!r}")
        in_range(ema, "ema", 0.0, 1.0, open_above=True)
        if int(every) != every or every < 1:
            raise ValueError(f"every must be a number of steps, at least 1, found {every!r}")
        if floor is not None and not floor >= 0:
            raise ValueError(f"floor must not be negative, found {floor!r}")
        self.optimizer, self.key, self.rule = optimizer, key, rule
        self.floor_mode, self.ema, self.every, self.per_group = floor_mode, float(ema), int(every), per_group
        self.bounds = (0.0, float("inf")) if bounds is None else tuple(map(float, bounds))
        self.compensate_lr, self.model = compensate_lr, getattr(optimizer, "model", model) if model is None else model
        starts = [float(group[key]) for group in optimizer.param_groups]
        default = starts if rule == "variance" else [0.0] * len(starts)
        self.floors = default if floor is None else [float(floor)] * len(starts)
        self.generator, self.seed = _arrays.generator(rng)
        self.history: list[dict[str, Any]] = []
        self._steps = 0
        if compensate_lr:
            _Compensation(key).watch(optimizer)

    @property
    def damping(self):
        found = [float(group[self.key]) for group in self.optimizer.param_groups]
        return found if self.per_group else found[0]

    def step(self, loss_fn: Callable, batch) -> None:
        """Look at a batch, every so many calls; call it after the optimiser's step.

        Parameters
        ----------
        loss_fn : callable
            The mean loss: of a batch, ``loss_fn(batch)``, or where a model is known ``loss_fn(model, batch)`` or a
            criterion of outputs and targets.
        batch
            Anything of tensors whose first dimension is that of samples.
        """
        due = self._steps % self.every == 0
        self._steps += 1
        if due:
            self.observe(*self._moments(_loss_of_batch(loss_fn, self.model), batch))

    def observe(self, variance, mean=None, mean_square=None) -> None:
        """Take an estimate of s, with the moments of the Hessian that the rule needs; lists, where by group."""
        groups = self.optimizer.param_groups
        asked = [self._asked(i, *[_of_group(x, i) for x in (variance, mean, mean_square)]) for i in range(len(groups))]
        for group, target in zip(groups, asked, strict=True):
            if np.isfinite(target):
                kept = self.ema if self.history else 0.0
                group[self.key] = float(np.clip(kept * float(group[self.key]) + (1 - kept) * target, *self.bounds))
        self.history.append({"step": self._steps, "variance": variance, "damping": self.damping})

    def _asked(self, i, variance, mean, mean_square) -> float:
        if not np.isfinite(variance):
            return np.nan
        if mean_square is not None:
            mean_square = max(mean_square, mean**2)
        rule = optimal_damping(variance, rule=self.rule, mean=mean, mean_square=mean_square)
        return self.floors[i] + rule if self.floor_mode == "add" else max(self.floors[i], rule)

    def _moments(self, loss, batch):
        """s, and the mean and mean square of the Hessian's eigenvalues; by group where asked for."""
        groups = [[w for w in group["params"] if w.requires_grad] for group in self.optimizer.param_groups]
        params = [w for group in groups for w in group]
        with _still(self.model), torch.enable_grad():
            products = [_hessian_product(loss(half), params, v) for half, v in self._halves(batch, params)]
        if not all(torch.isfinite(product).all() for product in products):
            return [np.nan] * len(groups) if self.per_group else np.nan, None, None
        (one, other), v = products, self._probe
        sizes = [sum(w.numel() for w in group) for group in groups]
        pieces = [x.double().split(sizes) for x in (one - other, (one + other) / 2, v)]
        difference, mean_product, probe = pieces
        noise = np.array([float(d.square().sum()) for d in difference]) / 4
        first = np.array([float(h @ z) for h, z in zip(mean_product, probe, strict=True)])
        second = np.array([float(h.square().sum()) for h in mean_product]) - noise
        if self.per_group:
            return [(x / sizes).tolist() for x in (noise, first, second)]
        return [float(x.sum() / sum(sizes)) for x in (noise, first, second)]

    def _halves(self, batch, params):
        n = batch_size(batch)
        if n < 2:
            raise ValueError(f"a batch of {n} sample has no halves to compare; call step with two samples or more")
        order = torch.from_numpy(self.generator.permutation(n))
        size = sum(w.numel() for w in params)
        like = torch.empty(0, dtype=params[0].dtype, device=params[0].device)
        self._probe = _arrays.signs(self.generator, size, 1, like, _arrays.dtype_of(like))[:, 0]
        for own in order[: n // 2 * 2].chunk(2):
            yield mapped(lambda x, own=own: x[own.to(x.device)] if x.dim() and len(x) == n else x, batch), self._probe

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on to the same numbers, beside the optimiser's own state."""
        return {"floors": self.floors, "history": list(self.history), "steps": self._steps,
                "generator": self.generator.bit_generator.state, "damping": self.damping}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.floors, self.history, self._steps = list(state["floors"]), list(state["history"]), state["steps"]
        self.generator.bit_generator.state = state["generator"]
        found = state["damping"]
        for i, group in enumerate(self.optimizer.param_groups):
            group[self.key] = _of_group(found, i)


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

    Raises
    ------
    ValueError
        As `AutoDamping`.

    Notes
    -----
    Each look costs two losses, a gradient and a Hessian product, and a copy of the weights. Martens and Grosse (2015),
    6.5. The damping is part of no loss, so it is not in the quadratic model (the damping paper's code adds it).

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
        _require_key(optimizer, key)
        in_range(decay, "decay", 0.0, 1.0)
        self.optimizer, self.key, self.decay, self.every, self.bounds = optimizer, key, decay, int(every), bounds
        self.model = getattr(optimizer, "model", None) if model is None else model
        self.history: list[dict[str, Any]] = []
        self._steps = 0
        self._before: list[torch.Tensor] | None = None
        optimizer.register_step_pre_hook(self._remember)

    @property
    def damping(self) -> float:
        return float(self.optimizer.param_groups[0][self.key])

    def step(self, loss_fn: Callable, batch) -> None:
        """Look at the optimiser's last step on a batch, every so many calls; call it after the optimiser's step."""
        self._steps += 1
        if self._steps % self.every or self._before is None:
            return
        params, before = self._params(), self._before
        loss = _loss_of_batch(loss_fn, self.model)
        move = [w.detach() - old for w, old in zip(params, before, strict=True)]
        with _still(self.model), torch.enable_grad():
            after = loss(batch).detach().item()
            with _weights(params, before):
                value = loss(batch)
                g = gradients(value, params, create_graph=True)
                curved = _derivative(g, params, flat(move))
        slope = float(flat([x.detach() for x in g]) @ flat(move))
        predicted = slope + 0.5 * float(curved @ flat(move))
        ratio = (after - value.detach().item()) / predicted if predicted else float("nan")
        if np.isfinite(ratio):
            factor = self.decay**self.every if ratio > 0.75 else self.decay**-self.every if ratio < 0.25 else 1.0
            for group in self.optimizer.param_groups:
                group[self.key] = float(np.clip(float(group[self.key]) * factor, *self.bounds))
        self.history.append({"step": self._steps, "ratio": ratio, "damping": self.damping})

    def _params(self):
        return [w for group in self.optimizer.param_groups for w in group["params"] if w.requires_grad]

    def _remember(self, optimizer, args, kwargs):
        due = (self._steps + 1) % self.every == 0
        self._before = [w.detach().clone() for w in self._params()] if due else None

    def state_dict(self) -> dict[str, Any]:
        return {"history": list(self.history), "steps": self._steps, "damping": self.damping}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history, self._steps = list(state["history"]), state["steps"]
        for group in self.optimizer.param_groups:
            group[self.key] = state["damping"]


class _Compensation:
    """Learning rates times 1 + damping, during steps only."""

    def __init__(self, key):
        self.key = key
        self.rates = []

    def watch(self, optimizer):
        optimizer.register_step_pre_hook(self.before)
        optimizer.register_step_post_hook(self.after)

    def before(self, optimizer, args, kwargs):
        self.rates = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * (1 + float(group[self.key]))

    def after(self, optimizer, args, kwargs):
        for group, lr in zip(optimizer.param_groups, self.rates, strict=True):
            group["lr"] = lr


def _require_key(optimizer, key):
    for group in optimizer.param_groups:
        if key not in group:
            raise ValueError(f"the parameter groups of {type(optimizer).__name__} have no {key!r}; they have "
                             f"{sorted(set(group) - {'params'})}")


def _of_group(x, i):
    return x[i] if isinstance(x, (list, tuple)) else x


def _loss_of_batch(loss_fn, model) -> Callable:
    """`loss_fn` as a function of a batch alone."""
    if _positional(loss_fn) == 1:
        return loss_fn
    if model is None:
        raise ValueError("loss_fn takes a model or outputs beside the batch, and no model is known; give model= to the "
                         "controller, or a function of the batch alone")
    if isinstance(loss_fn, torch.nn.Module) or getattr(loss_fn, "__module__", "") == "torch.nn.functional":
        return lambda batch: loss_fn(*_outputs_and_targets(model, batch))
    return lambda batch: loss_fn(model, batch)


def _positional(f) -> int:
    f = f.forward if isinstance(f, torch.nn.Module) else f
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return 2
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _hessian_product(loss, params, v) -> torch.Tensor:
    return _derivative(gradients(loss, params, create_graph=True), params, v)


def _derivative(g, params, v) -> torch.Tensor:
    """Derivative of <g, v> by the parameters."""
    curved = [(x, piece) for x, piece in zip(g, split(v, params), strict=True) if x.requires_grad]
    if not curved:
        return torch.zeros_like(v)
    found = torch.autograd.grad([x for x, _ in curved], params, [piece for _, piece in curved], allow_unused=True)
    return flat(filled(found, params)).detach()


@contextmanager
def _still(model):
    """The model in evaluation mode, and each of its layers back in its own afterwards."""
    if model is None:
        yield
        return
    modes = [(layer, layer.training) for layer in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


@contextmanager
def _weights(params, values):
    own = [w.detach().clone() for w in params]
    _assign(params, values)
    try:
        yield
    finally:
        _assign(params, own)


@torch.no_grad()
def _assign(params, values):
    for w, value in zip(params, values, strict=True):
        w.copy_(value)
