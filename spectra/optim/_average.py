"""The mean of the weights along the way, which lies nearer to the minimum than any of them.

Averages are torch's `AveragedModel`; what is added is when to average, when to stop, and that nobody evaluates an
average with the batch-norm statistics of another model without knowing.

References: Izmailov et al., UAI 2018, arXiv 1803.05407; thesis, chapter 7.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch.optim.swa_utils import AveragedModel, update_bn

from spectra.optim._checks import count, number


class IterateAverage:
    """Average of a model's iterates: a mean from some iterate on, or an exponential one.

    Parameters
    ----------
    model : Module
        Its parameters are averaged; it goes on training.
    start : int
        Calls of `update` to let pass first.
    every : int
        Of the calls after that, take the first and then every so many.
    ema : float, optional
        Decay of an exponential average, in (0, 1); default: the plain mean.
    bn_loader : iterable of batches, optional
        Data with which batch-norm statistics are recomputed for the average, each time that a new one is applied: a
        list or DataLoader, and no iterator that runs out.
    patience : int, optional
        GadamAuto: start when the values given to `observe` have not improved so many times in a row, and stop when it
        happens again; `start` is then not looked at.

    Attributes
    ----------
    count : int
        Iterates in the average.
    finished : bool
        The patience has run out twice.

    Raises
    ------
    ValueError
        If a number is out of range.

    Notes
    -----
    Memory: one copy of the model. Iterates are those after `update` is called: the last one before is not among them,
    as in the published code and unlike thesis (7.30). Buffers other than batch norm's, the statistics of instance norm
    among them, stay the last iterate's.

    Examples
    --------
    >>> import torch, spectra
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> average = spectra.optim.IterateAverage(model)
    >>> for value in (1.0, 3.0):
    ...     torch.nn.init.constant_(model.weight, value) is None
    ...     average.update()
    False
    False
    >>> with average.applied():
    ...     model.weight.item()
    2.0
    >>> model.weight.item()
    3.0
    """

    def __init__(self, model: torch.nn.Module, *, start: int = 0, every: int = 1, ema: float | None = None,
                 bn_loader=None, patience: int | None = None):
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"IterateAverage averages a torch Module, found {type(model).__name__}")
        count(start, "start", least=0)
        count(every, "every")
        if patience is not None:
            count(patience, "patience")
        if ema is not None:
            number(ema, "ema")
        if ema is not None and not 0 < ema < 1:
            raise ValueError(f"ema must lie strictly between 0 and 1, found {ema!r}; leave it out for the plain mean")
        self.model = model
        self.bn_loader = bn_loader
        self.start, self.every, self.patience = start, every, patience
        self.averaged = AveragedModel(model, multi_avg_fn=None if ema is None else Exponential(ema))
        self._calls = 0
        self._started_at = start if patience is None else None
        self._stopped = False
        self._best, self._waited = None, 0
        self._fresh = False  # whether the average's batch-norm statistics are its own

    @property
    def count(self) -> int:
        return int(self.averaged.n_averaged)

    @property
    def finished(self) -> bool:
        return self._stopped

    def update(self) -> None:
        """Tell that the model has a new iterate."""
        self._calls += 1
        since = self._calls - 1 - self._started_at if self._started_at is not None else -1
        if since >= 0 and since % self.every == 0 and not self._stopped:
            self.averaged.update_parameters(self.model)
            self._fresh = False

    def observe(self, value: float) -> None:
        """Report a validation score, the higher the better, once an epoch; what `patience` looks at."""
        if self.patience is None:
            raise ValueError("observe is what patience= looks at, and this average has none; give patience=10, say")
        if value > (-math.inf if self._best is None else self._best):  # NaN never is
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited < self.patience:
            return
        self._best, self._waited = None, 0
        if self._started_at is None:
            self._started_at = self._calls
        else:
            self._stopped = True

    def refresh(self, loader, device=None) -> None:
        """Recompute the batch-norm statistics of the average by a pass over `loader`."""
        update_bn(loader, self.averaged, device=device)
        if any(layer.num_batches_tracked == 0 for layer in _with_statistics(self.averaged)):
            raise ValueError("no batch went through the batch-norm layers of the average, which have none now; give "
                             "a loader that can be gone through again, as a list or a DataLoader can")
        self._fresh = True

    @contextmanager
    def applied(self):
        """Context in which the model has the averaged weights, and its own again afterwards.

        Raises
        ------
        RuntimeError
            If nothing has been averaged yet, or if the model has batch-norm statistics and there is no `bn_loader` to
            recompute them with.
        """
        if not self.count:
            raise RuntimeError(f"nothing has been averaged yet: {self._calls} iterates seen, averaging starts "
                               + ("after a plateau" if self._started_at is None else f"after {self._started_at}"))
        if _with_statistics(self.model) and not self._fresh:
            if self.bn_loader is None:
                raise RuntimeError("the model has batch-norm statistics, which belong to its last iterate and not to "
                                   "the average; give bn_loader=, or call refresh(loader) first")
            self.refresh(self.bn_loader)
        source = self.averaged.module
        own = [x.detach().clone() for x in _tensors(self.model)]
        try:
            _write(self.model, _tensors(source))
            yield self.model
        finally:
            _write(self.model, own)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the model and the loader."""
        names = ("_calls", "_started_at", "_stopped", "_best", "_waited", "_fresh")
        return {"averaged": self.averaged.state_dict()} | {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        state = dict(state)
        self.averaged.load_state_dict(state.pop("averaged"))
        self.__dict__.update(state)


class Exponential(NamedTuple):
    """What torch's own closure does, but may be copied and pickled."""

    decay: float

    def __call__(self, averaged, current, count):
        torch._foreach_lerp_(averaged, current, 1 - self.decay)


def _with_statistics(model) -> list:
    """Layers of batch norm that keep statistics."""
    kinds = torch.nn.modules.batchnorm._BatchNorm
    return [layer for layer in model.modules() if isinstance(layer, kinds) and layer.running_mean is not None]


def _tensors(model):
    """Parameters and the statistics of batch norm; other buffers stay the model's own."""
    return [*model.parameters(), *(x for layer in _with_statistics(model) for x in layer.buffers(recurse=False))]


@torch.no_grad()
def _write(model, values):
    for target, value in zip(_tensors(model), values, strict=True):
        target.copy_(value)
