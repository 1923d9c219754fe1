"""What a loss function says of a batch: the sum over its targets, their count, and the curvature at the outputs.

Batches are added up as if the data were one batch: a mean becomes a sum by the number it was divided by, and the
operator divides the sum over all batches by the sum of the counts. That number is the targets that were counted
(weighted by class where the criterion does so), not the batch size, where `ignore_index` leaves some out.

Output curvature of a sum of losses, applied to a tangent u of the outputs z:

    cross-entropy  s (p u - p <p, u>),  p = softmax(z), s the weight of the target;
    squared error  2 u;        binary  w s(z) (1 - s(z)) u.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from spectra.nn._data import batch_size, tensors

_MODULES = {nn.CrossEntropyLoss: "cross-entropy", nn.MSELoss: "squared", nn.BCEWithLogitsLoss: "binary",
            nn.NLLLoss: "likelihood"}
_FUNCTIONS = {F.cross_entropy: "cross-entropy", F.mse_loss: "squared",
              F.binary_cross_entropy_with_logits: "binary", F.nll_loss: "likelihood"}
_OPTIONS = ("reduction", "ignore_index", "weight", "label_smoothing", "pos_weight")
_IGNORED = -100  # what torch and transformer libraries ignore unless told otherwise


class Value(NamedTuple):
    """Loss of a batch, summed over its targets; what a mean divides by; the samples that gradients are counted by.

    A criterion says what it was given, too.
    """

    total: torch.Tensor
    count: float
    units: float
    outputs: torch.Tensor | None = None
    targets: torch.Tensor | None = None


@dataclass(frozen=True)
class Options:
    """What a criterion was told. Class weights and the weights of positives are tensors or None."""

    reduction: str = "mean"
    ignore_index: int = _IGNORED
    weight: Any = None
    label_smoothing: float = 0.0
    pos_weight: Any = None


class Loss:
    """A loss of a batch, in one of two forms: ``loss_fn(model, batch)``, or a criterion of outputs and targets.

    Attributes
    ----------
    kind : str or None
        "cross-entropy", "squared", "binary", "likelihood", for a criterion whose curvature is known in closed form.
    adds : bool
        Whether the losses of batches are added, and not averaged.
    """

    def __init__(self, loss_fn, weight: str):
        if not callable(loss_fn):
            raise TypeError(f"loss_fn must be a criterion or a function (model, batch), found {loss_fn!r}")
        if weight not in ("count", "sum"):
            raise ValueError(f"weight must be 'count' (batches by their counted targets) or 'sum' (batches added as "
                             f"they are), found {weight!r}")
        self.function = loss_fn
        self.kind, self.options = recognised(loss_fn)
        self.is_criterion = _looks_like_a_criterion(loss_fn)
        known = self.kind is not None or self.is_criterion
        self.adds = weight == "sum" or bool(known and self.options.reduction == "sum")
        if self.options.reduction == "none":
            raise ValueError("a criterion with reduction='none' gives no single loss; use 'mean' or 'sum'")

    def settle(self, model, batch) -> None:
        """Find out which form an unknown function has by calling it as ``loss_fn(model, batch)``."""
        if self.is_criterion is not None:
            return
        try:
            self.function(model, batch)
        except Exception as error:
            try:
                self.function(*_outputs_and_targets(model, batch))
            except Exception:
                raise error from None
            self.is_criterion = True
        else:
            self.is_criterion = False

    def __call__(self, model, batch) -> Value:
        if not self.is_criterion:
            return self._of_model(model, batch)
        z, y = _outputs_and_targets(model, batch)
        if self.kind and not isinstance(z, torch.Tensor):
            raise TypeError(f"{self.kind} loss needs one tensor of outputs (or an object with `logits`), but the model "
                            f"returned a {type(z).__name__}; pass loss_fn(model, batch), which picks what it needs")
        loss = _scalar(self.function(z, y))
        count, units = self._counts(z, y)
        if count == 0:
            return Value(z.sum() * 0.0, 0.0, 0.0, z, y)  # every target is ignored; torch's mean would be 0 / 0
        return Value(loss if self.adds else loss * count, 1.0 if self.adds else count, units, z, y)

    def _of_model(self, model, batch) -> Value:
        found = self.function(model, batch)
        if isinstance(found, tuple) and len(found) == 2:
            total, count = _scalar(found[0]), float(found[1])
            return Value(total if count else total.nan_to_num() * 0.0, 1.0 if self.adds else count, count)
        loss, size = _scalar(found), batch_size(batch)
        if self.adds:
            return Value(loss, 1.0, size)
        if any(not one.is_floating_point() and one.dim() and bool((one == _IGNORED).any()) for one in tensors(batch)):
            raise ValueError(f"a batch holds targets {_IGNORED}, which losses ignore, so its mean cannot be weighted "
                             "by the batch size; let loss_fn return (sum, count)")
        return Value(loss * size, size, size)

    def _counts(self, z, y) -> tuple[float, float]:
        """What the mean of this criterion divides by, and the number of samples."""
        if self.kind in ("cross-entropy", "likelihood"):
            if y.is_floating_point():
                return z.numel() / z.shape[class_dim(z)], z.numel() / z.shape[class_dim(z)]
            counted = y != self.options.ignore_index
            units = float(counted.sum())
            weight = self.options.weight
            return (units if weight is None else float(weight.to(z)[y[counted]].sum(dtype=torch.float64))), units
        if self.kind in ("squared", "binary"):
            return float(z.numel()), float(z.shape[0] if z.dim() else 1)
        size = float(y.shape[0]) if isinstance(y, torch.Tensor) and y.dim() else float(batch_size([z]))
        return size, size


def recognised(loss_fn) -> tuple[str | None, Options]:
    """Kind and options of a criterion of torch; of others, what they say of their reduction."""
    if isinstance(loss_fn, nn.Module):
        found = {name: getattr(loss_fn, name) for name in _OPTIONS if hasattr(loss_fn, name)}
        kind = _MODULES.get(type(loss_fn))
    else:
        bound = loss_fn.keywords if isinstance(loss_fn, functools.partial) and not loss_fn.args else {}
        function = loss_fn.func if isinstance(loss_fn, functools.partial) else loss_fn
        kind = _FUNCTIONS.get(function) if set(bound) <= set(_OPTIONS) else None
        found = {name: bound[name] for name in _OPTIONS if name in bound}
    if found.get("reduction") not in ("mean", "sum", "none", None) or not isinstance(found.get("reduction", ""), str):
        found.pop("reduction", None)
    return kind, Options(**found)


def _looks_like_a_criterion(loss_fn) -> bool | None:
    """True for modules and for functions of torch; None for functions that must be tried."""
    function = loss_fn.func if isinstance(loss_fn, functools.partial) else loss_fn
    if isinstance(function, nn.Module) or getattr(function, "__module__", "") == "torch.nn.functional":
        return True
    return True if function in _FUNCTIONS else None


def _outputs_and_targets(model, batch):
    """Outputs of the model and targets of a batch (inputs, targets), or of a dict with `labels`."""
    if isinstance(batch, Mapping) and "labels" in batch:
        inputs, y = {name: one for name, one in batch.items() if name != "labels"}, batch["labels"]
    elif isinstance(batch, (list, tuple)) and len(batch) == 2:
        inputs, y = batch
    else:
        raise TypeError(f"a criterion needs batches (inputs, targets), found a {type(batch).__name__}; "
                        "or pass loss_fn(model, batch)")
    if isinstance(inputs, Mapping) and _takes_names(model, inputs):
        z = model(**inputs)
    elif isinstance(inputs, (list, tuple)):
        z = model(*inputs)
    else:
        z = model(inputs)
    if isinstance(z, Mapping) and "logits" in z:
        return z["logits"], y
    return getattr(z, "logits", z), y


def _takes_names(model, inputs: Mapping) -> bool:
    parameters = inspect.signature(model.forward).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return True
    return set(inputs) <= set(parameters)


def _scalar(loss):
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        found = f"shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else f"a {type(loss).__name__}"
        raise ValueError(f"the loss must be one number, or (sum, count), found {found}")
    return loss.reshape(())


# Curvature at the outputs


def class_dim(z) -> int:
    return 1 if z.dim() > 1 else 0


def target_weights(kind: str, options: Options, z, y):
    """Weights s of the targets (cross-entropy) or of the elements (binary) in a sum of losses."""
    if kind == "binary":
        s = torch.ones_like(z) if options.weight is None else options.weight.to(z).expand_as(z)
        return s if options.pos_weight is None else s * (1 + (options.pos_weight.to(z) - 1) * y)
    c, smooth = class_dim(z), options.label_smoothing
    weight = z.new_ones(z.shape[c]) if options.weight is None else options.weight.to(z)
    if y.is_floating_point():
        shape = [1] * z.dim()
        shape[c] = -1
        return ((y * (1 - smooth) + smooth / z.shape[c]) * weight.view(shape)).sum(c, keepdim=True)
    counted = y != options.ignore_index
    s = (1 - smooth) * weight[torch.where(counted, y, 0)] + smooth * weight.mean()
    return (s * counted).unsqueeze(c)


def closed_form(kind: str | None, options: Options, z, y):
    """The map u -> H u of the output curvature of a sum of losses, or None where it is not known."""
    if kind == "squared" and z.shape == y.shape:
        return lambda u: 2 * u
    if kind == "binary" and z.shape == y.shape:
        probability = torch.sigmoid(z)
        d = target_weights(kind, options, z, y) * probability * (1 - probability)
        return lambda u: d * u
    if kind == "cross-entropy":
        c = class_dim(z)
        p, s = z.softmax(c), target_weights(kind, options, z, y)
        sp = s * p
        return lambda u: sp * (u - (p * u).sum(c, keepdim=True))
    return None


def draw_targets(kind: str, z, mc: int, generator):
    """mc targets for every output, drawn from the model: classes, signs, or the standardised noise of a Gaussian."""
    if kind == "squared":
        return torch.randn((mc, *z.shape), dtype=torch.float64, generator=generator).to(z)
    if kind == "binary":
        probability = torch.sigmoid(z.double())
        return _uniform((mc, *z.shape), probability, generator) < probability
    c = class_dim(z)
    edges = z.double().softmax(c).cumsum(c)
    u = _uniform((mc, *edges.select(c, 0).shape), edges, generator).unsqueeze(c + 1)
    return (u * edges.select(c, -1).unsqueeze(c) > edges).sum(c + 1, keepdim=True, dtype=torch.int32)


def drawn_gradients(kind: str, options: Options, z, y, drawn):
    """Gradients at the outputs for drawn targets, shape (mc, *z.shape), in a sum of losses.

    Their second moment, target by target, is the output curvature in the mean. Weights enter by their square root.
    """
    if kind == "squared":
        return 2**0.5 * drawn
    s = target_weights(kind, options, z, y).clamp(min=0).sqrt()
    if kind == "binary":
        return s * (torch.sigmoid(z) - drawn.to(z))
    c = class_dim(z)
    one_hot = z.new_zeros((len(drawn), *z.shape)).scatter_(c + 1, drawn.long(), 1.0)
    return s * (z.softmax(c) - one_hot)


def _uniform(shape, like, generator):
    """Drawn on the host: the same draws on every device."""
    return torch.rand(shape, dtype=torch.float64, generator=generator).to(like)
