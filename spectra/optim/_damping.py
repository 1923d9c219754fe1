"""Damping that sets itself, from the noise in the curvature of a mini-batch.

    s = E ||H_batch - H||_F^2 / P

is estimated from the batch at hand: the curvatures of its two random halves, n/2 samples each, are multiplied by one
probe v of independent signs, and

    s ~ ||(H_1 - H_2) v||^2 / (4 P)

has the right mean. The rules turn s into a damping; the damping goes into the parameter groups of any optimiser.

Reference: damping paper, 4 and 7.1, as corrected in docs/errata.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from spectra.nn._data import batch_size as size_of
from spectra.optim._batch_loss import CURVATURES, BatchLoss
from spectra.optim._checks import (
    assign,
    count,
    in_range,
    limits,
    number,
    numpy_generator,
    one_of,
    require_key,
    sit_on,
)
from spectra.optim._noise import noise, pair, split
from spectra.results import ConvergenceWarning
from spectra.rmt._shrinkage import RULES, optimal_damping

FLOOR_MODES = ("add", "max")
METHODS = ("split", "pair")
NAMES = (*RULES, "scaled-edge")
MOMENTS = ("shrinkage", "ledoit-wolf")  # rules that ask for the mean and mean square of the eigenvalues


class AutoDamping:
    """Sets the damping of any optimiser from the variance of the mini-batch curvature.

    Parameters
    ----------
    optimizer : torch optimiser
        Whose parameter groups have `key`: "damping" of `KFAC` and `LanczosOPT`, "eps" of Adam and its kin.
    key : str
    rule : {"variance", "edge", "scaled-edge", "shrinkage", "ledoit-wolf"}
        What damping the noise asks for, see `spectra.rmt.optimal_damping`. "variance" is the paper's; "edge",
        ``2 sqrt(s)``, needs no floor and scales with the loss; "scaled-edge" is the edge times ``lr / (1 - momentum)``,
        with the initial lr where a scheduler lowers it: steps along directions of nothing but noise are then half as
        long as is stable, whatever the learning rate.
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
    curvature : {"hessian", "ggn"}
        Whose noise: that of the Gauss-Newton matrix is smaller by a factor of 4 to 500.
    method : {"split", "pair"}
        Two halves of the batch, or the batch and the one before, whole: twice the price, and the loss of a batch is
        never taken apart.
    chunks : int
        With "split", cut the batch in so many parts, fewer where it is short, each split with a probe of its own: the
        probe is most of the spread, so at equal cost more chunks tell more.
    samples : int or None
        Of a chunk at most so many are looked at, for the same reason; None: all.
    batch_size : int, optional
        The batch size that s is about; default: that of the batches given to `step`.
    model : Module, optional
        Put in evaluation mode for the estimate, so that batch norm and dropout add no noise of their own; and needed
        where the loss is a function of a model. Default: the optimiser's, if it knows one.
    per_group : bool
        A damping of its own for each parameter group, from its share of the same product.
    rng : int, Generator or None

    Attributes
    ----------
    history : list of dict
        One entry an estimate: `step`, `variance` s and `damping`, by group where asked for, and `batch_size`.
    damping : float or list
        Now in force.

    Raises
    ------
    ValueError
        If a parameter group has no such key, an option is out of range, or a loss is no mean over samples.

    Warns
    -----
    ConvergenceWarning
        If an estimate is not finite, or a batch that is due has one sample; the damping stays as it was.

    Notes
    -----
    An estimate costs 2.5 to 4 gradients of the samples it looks at, about twice that for "pair" and for the rules
    "shrinkage" and "ledoit-wolf". Its relative spread is a third, in the running mean a sixth. The controller is saved
    and restored with the optimiser, in its `state_dict`, for "pair" with the batch before. A new controller of the same
    optimiser takes the place of an old one.

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
                 bounds=None, compensate_lr=False, curvature="hessian", method="split", chunks=1, samples=64,
                 batch_size=None, model=None, per_group=False, rng=None):
        require_key(optimizer, key)
        for name, value, known in (("rule", rule, NAMES), ("floor_mode", floor_mode, FLOOR_MODES),
                                   ("curvature", curvature, CURVATURES), ("method", method, METHODS)):
            one_of(value, name, known)
        in_range(ema, "ema", 0.0, 1.0, open_above=True)
        for name, value, least in (("every", every, 1), ("chunks", chunks, 1), ("batch_size", batch_size, 1),
                                   ("samples", samples, 2)):
            if value is not None:
                count(value, name, least)
        if floor is not None:
            number(floor, "floor", least=0.0)
        self.bounds = limits((0.0, float("inf")) if bounds is None else bounds)
        self.optimizer, self.key, self.rule, self.floor, self.floor_mode = optimizer, key, rule, floor, floor_mode
        self.ema, self.every, self.per_group, self.compensate_lr = float(ema), int(every), per_group, compensate_lr
        self.curvature, self.method, self.chunks, self.batch_size = curvature, method, int(chunks), batch_size
        self.samples = samples
        self.model = getattr(optimizer, "model", None) if model is None else model
        self.generator, self.seed = numpy_generator(rng)
        self.floors: list[float] = []
        self.history: list[dict[str, Any]] = []
        self._steps, self._before, self._begun = 0, None, False
        self._meet_groups()
        self._attach()

    def _attach(self):
        sit_on(self.optimizer, self, *(_Compensation(self.key).watch(self.optimizer) if self.compensate_lr else ()))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy: its optimiser is a copy, too, which has lost its hooks."""
        self.__dict__.update(state)
        self._attach()

    def _meet_groups(self):
        """Floors for parameter groups that are new."""
        require_key(self.optimizer, self.key)
        for group in self.optimizer.param_groups[len(self.floors):]:
            default = float(group[self.key]) if self.rule == "variance" else 0.0
            self.floors.append(default if self.floor is None else float(self.floor))
            self._moments: list | None = None  # running means, by group, since rules take ratios of them

    @property
    def damping(self):
        found = [float(group[self.key]) for group in self.optimizer.param_groups]
        return found if self.per_group else found[0]

    def step(self, loss_fn: Callable, batch) -> None:
        """Look at a batch, every so many calls.

        Call it between `backward` and the optimiser's step, so that the first damping serves the first step; or after
        the step, as the published runs do.

        Parameters
        ----------
        loss_fn : callable
            The mean loss: of a batch, ``loss_fn(batch)``, or where a model is known ``loss_fn(model, batch)`` or a
            criterion of outputs and targets.
        batch
            Anything of tensors whose first dimension is that of samples.
        """
        ahead = self._steps % self.every
        if ahead == 0 and self.method == "split" and size_of(batch) < 2:
            warnings.warn("one sample has no halves to compare; the damping waits for the next batch",
                          ConvergenceWarning, stacklevel=2)
            return
        self._steps += 1
        if ahead == 0 and (self.method == "split" or self._before is not None):
            self.observe(*self._estimate(loss_fn, batch), batch_size=self.batch_size or size_of(batch))
        if self.method == "pair":
            self._before = batch if (ahead + 1) % self.every == 0 else None

    def observe(self, variance, mean=None, mean_square=None, *, batch_size=None) -> None:
        """Take an estimate of s, with the moments of the curvature that the rule needs; lists, where by group."""
        self._meet_groups()
        if not np.all(np.isfinite(variance)):
            warnings.warn(f"the variance of the curvature at step {self._steps} is {variance}; the damping stays at "
                          f"{self.damping}", ConvergenceWarning, stacklevel=3)
        elif mean is not None:
            self._moments = [_blend(self.ema, old, new)
                             for old, new in zip(self._moments or (None, None), (mean, mean_square), strict=True)]
        kept = self.ema if self._begun else 0.0
        for i, group in enumerate(self.optimizer.param_groups):
            target = np.minimum(self._asked(i, _of_group(variance, i)), self.bounds[1])
            if np.isfinite(target):
                new = kept * float(group[self.key]) + (1 - kept) * target
                assign(group, self.key, float(np.clip(new, *self.bounds)))
                self._begun = True
        self.history.append({"step": self._steps, "variance": variance, "damping": self.damping,
                             "batch_size": batch_size})

    def _asked(self, i, variance) -> float:
        if not np.isfinite(variance):
            return np.nan
        mean, mean_square = (None, None) if self._moments is None else (_of_group(x, i) for x in self._moments)
        if mean_square is not None:
            mean_square = max(mean_square, mean**2)  # single estimates may contradict each other
        if self.rule == "ledoit-wolf" and mean is not None and mean <= 0:
            return np.nan  # nothing to shrink towards: the damping stays
        if self.rule == "scaled-edge":
            rule = optimal_damping(variance, rule="edge") * _reach(self.optimizer.param_groups[i])
        else:
            rule = optimal_damping(variance, rule=self.rule, mean=mean, mean_square=mean_square)
        return self.floors[i] + rule if self.floor_mode == "add" else max(self.floors[i], rule)

    def _estimate(self, loss_fn, batch) -> tuple:
        """s, and the mean and mean square of the eigenvalues where the rule needs them; lists, where by group."""
        reduction = getattr(loss_fn, "reduction", "mean")
        if reduction != "mean":
            raise ValueError(f"loss_fn must be a mean over samples, found one with reduction={reduction!r}")
        groups = [[w for w in group["params"] if w.requires_grad] for group in self.optimizer.param_groups]
        params = [w for group in groups for w in group]
        loss = BatchLoss(loss_fn, self.model, params)
        compared = (split(loss, batch, self.chunks, self.samples, self.generator) if self.method == "split"
                    else pair(loss, self._before, batch))
        found = noise(compared, params, curvature=self.curvature, moments=self.rule in MOMENTS,
                      generator=self.generator)
        cuts = np.cumsum([len(group) for group in groups])[:-1]
        sizes = np.array([max(sum(w.numel() for w in group), 1) for group in groups])

        def mean(shares):
            by_group = np.array([piece.sum() for piece in np.split(shares, cuts)])
            return (by_group / sizes).tolist() if self.per_group else float(by_group.sum() / sizes.sum())

        per_sample, *moments = found
        size = self.batch_size or size_of(batch)
        return mean(per_sample / size), *(None if x is None else mean(x) for x in moments)

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on to the same numbers, beside the optimiser's own state."""
        return {"floors": list(self.floors), "history": [dict(entry) for entry in self.history], "steps": self._steps,
                "begun": self._begun, "moments": self._moments, "before": self._before,
                "generator": self.generator.bit_generator.state,
                "damping": [float(group[self.key]) for group in self.optimizer.param_groups]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.floors, self.history = list(state["floors"]), [dict(entry) for entry in state["history"]]
        self._steps, self._begun, self._moments = state["steps"], state["begun"], state["moments"]
        self._before = state["before"]
        self.generator.bit_generator.state = state["generator"]
        for group, damping in zip(self.optimizer.param_groups, state["damping"], strict=True):
            assign(group, self.key, damping)


class _Compensation:
    """Learning rates times 1 + damping, during steps only."""

    def __init__(self, key):
        self.key = key
        self.rates: list | None = None  # what they were, within a step

    def watch(self, optimizer):
        return optimizer.register_step_pre_hook(self.before), optimizer.register_step_post_hook(self.after)

    def before(self, optimizer, args, kwargs):
        if self.rates is not None:  # the last step did not come to its end
            self.after(optimizer, args, kwargs)
        self.rates = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * (1 + float(group[self.key]))

    def after(self, optimizer, args, kwargs):
        for group, lr in zip(optimizer.param_groups, self.rates, strict=True):
            group["lr"] = lr
        self.rates = None


def _reach(group) -> float:
    """How far a gradient carries in the end, ``lr / (1 - momentum)``, with the learning rate before any schedule."""
    momentum = group.get("momentum", group.get("betas", (0.0,))[0])
    return float(group.get("initial_lr", group["lr"])) / (1 - float(momentum))


def _blend(kept, old, new):
    """Running mean of a number, or of a list of them."""
    return new if old is None else (kept * np.asarray(old) + (1 - kept) * np.asarray(new)).tolist()


def _of_group(x, i):
    return x[i] if isinstance(x, (list, tuple)) else x
