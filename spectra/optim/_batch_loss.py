"""The loss of a batch, or of some of its samples, whichever way it is written, and its curvature.

Curvature is linear in the loss. So a difference of two curvatures is the curvature of one signed loss,

    (C_1 - C_2) v = C[L_1 - L_2] v,

and costs one product.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager

import torch

from spectra.nn._data import batch_size, mapped
from spectra.nn._losses import _outputs_and_targets
from spectra.optim._products import GradientGraph, OutputGraph, split, twice_differentiable

CURVATURES = ("hessian", "ggn")


class BatchLoss:
    """A mean loss in one of three forms: of a batch, of a model and a batch, or of outputs and targets."""

    def __init__(self, function, model, params):
        module = isinstance(function, torch.nn.Module)
        known = isinstance(function, torch.nn.modules.loss._Loss) or _home(function) == "torch.nn.functional"
        self.function, self.model, self.params = function, model, params
        self.of_batch = not known and _positional(function.forward if module else function) == 1
        self.of_outputs = known or (module and not self.of_batch)
        if not self.of_batch and model is None:
            raise ValueError("loss_fn takes a model or outputs beside the batch, and no model is known; give model= to "
                             "the controller, or a function of the batch alone")

    def __call__(self, batch) -> torch.Tensor:
        with self._still():
            return self._value(batch)

    def _value(self, batch):
        if self.of_batch:
            return self.function(batch)
        if self.of_outputs:
            return self.function(*_outputs_and_targets(self.model, batch))
        try:
            return self.function(self.model, batch)
        except (TypeError, AttributeError) as error:
            raise TypeError(f"loss_fn(model, batch), as functions of two arguments are called, failed: {error}; a loss "
                            "of outputs and targets is a torch criterion, or a function of the batch: lambda batch: "
                            "f(model(batch[0]), batch[1])") from error

    def parts(self, batch, rows: list[torch.Tensor]):
        """The losses of sets of samples, and the model's outputs; by one forward pass where the loss is of outputs."""
        if self.of_outputs:
            with self._still():
                z, y = _outputs_and_targets(self.model, batch)
                if isinstance(z, torch.Tensor) and len(z) == len(y) == batch_size(batch):
                    return [self.function(z[own.to(z.device)], y[own.to(y.device)]) for own in rows], [z]
        return self.wholes([rows_of(batch, own) for own in rows])

    def wholes(self, batches):
        """The losses of batches, and the model's outputs where there is one."""
        outputs: list[torch.Tensor] = []
        with self._still():
            if self.model is None:
                return [self._value(batch) for batch in batches], outputs
            handle = self.model.register_forward_hook(
                lambda model, inputs, output: outputs.append(getattr(output, "logits", output)))
            try:
                return [self._value(batch) for batch in batches], outputs
            finally:
                handle.remove()

    @contextmanager
    def _still(self):
        """The model in evaluation mode, and a loss that can be differentiated twice."""
        layers = [] if self.model is None else list(self.model.modules())
        modes = [layer.training for layer in layers]
        with twice_differentiable(self.params, any(isinstance(layer, torch.nn.RNNBase) for layer in layers)):
            try:
                for layer in layers:
                    layer.training = False
                yield
            finally:
                for layer, mode in zip(layers, modes, strict=True):
                    layer.training = mode


def products(losses, outputs, params, v, curvature: str) -> list[list[torch.Tensor]]:
    """Curvature of each loss times v, tensor by tensor; the losses may share their graph."""
    if curvature == "ggn" and not outputs:
        raise ValueError('curvature="ggn" splits the loss at the outputs of a model, and none was called; give model=')
    pieces = split(v, params)
    graphs = (OutputGraph(loss, params, outputs) if curvature == "ggn" else GradientGraph(loss, params)
              for loss in losses)
    return [graph.product(pieces) for graph in graphs]


def rows_of(batch, rows: torch.Tensor):
    """Some samples of a batch: of every tensor in it that has as many rows as the batch has samples."""
    n = batch_size(batch)
    return mapped(lambda x: x[rows.to(x.device)] if x.dim() and len(x) == n else x, batch)


def _home(function) -> str:
    return getattr(getattr(function, "func", function), "__module__", None) or ""


def _positional(f) -> int:
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return 2
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
