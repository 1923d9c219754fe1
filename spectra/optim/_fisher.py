"""What flows through the layers of a model: their inputs, and gradients for labels that the model draws itself.

The Fisher matrix is the second moment of ``d log p(y | x) / dw`` over labels y drawn from the model's prediction: one
draw a sample and one backward pass. With the labels of the data it is the empirical Fisher matrix, whose gradients come
by in the backward pass of the loss.
"""

from __future__ import annotations

import weakref

import torch
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional as F

from spectra.optim._kronecker import SUMMED


class Watch:
    """Statistics of the blocks of a model, from its forward passes in training mode, where `due(block)` says so.

    Outputs are held as edges of the graph: the tensors may be overwritten, as by `ReLU(inplace=True)`. Hooks hold the
    watch by a weak reference, and it its optimiser: an optimiser that is forgotten watches no more, and a copied model
    is watched by no one until an optimiser of its own does.
    """

    def __init__(self, model, blocks, due, *, fisher: str, likelihood: str, generator: torch.Generator):
        self.blocks = {block.layer: block for block in blocks if block.layer is not None}
        self.due, self.fisher, self.draw, self.generator = weakref.WeakMethod(due), fisher, DRAWS[likelihood], generator
        self.forget()
        hooks = [(layer, "after_layer") for layer in self.blocks] + [(model, "after_model")]
        handles = [layer.register_forward_hook(_Hook(self, name), with_kwargs=True) for layer, name in hooks]
        weakref.finalize(self, _remove, handles).atexit = False

    def forget(self) -> None:
        self.calls = []  # (layer, input, edge of the output) of this forward pass
        self.sums = {}  # layer -> its statistics times samples, over all calls since the last step
        self.weights = {}  # layer -> samples in these calls, and in the forward passes that they belong to
        self.samples, self.called = 0, False

    def found(self, layer) -> dict[str, torch.Tensor]:
        """Statistics of a layer since the last step: summed over the calls of a forward pass, or means over all."""
        by_call, by_pass = self.weights.get(layer, (1, 1))
        return {name: x / (by_pass if name in SUMMED else by_call) for name, x in self.sums.get(layer, {}).items()}

    def after_layer(self, layer, inputs, named, output):
        due = self.due()
        if due is None or not output.requires_grad or not due(self.blocks[layer]):
            return None
        if output._is_view():  # what is done to a view in place goes round its node
            output = output.clone()
        a = inputs[0] if inputs else next(iter(named.values()))
        self.calls.append((layer, a.detach(), get_gradient_edge(output)))
        return output

    def after_model(self, model, inputs, named, output):
        calls, self.calls = self.calls, []
        if not trains(model):
            return
        output = logits(output)
        self.samples, self.called = self.samples + len(output), True
        if not calls or not output.requires_grad or not output.numel():
            return
        if not torch.isfinite(output).all():  # the step will name what is not
            return
        one = _Pass(len(output))
        targets = output.numel() // output.shape[1] if self.draw is _categorical and output.dim() > 1 else len(output)
        if self.fisher == "empirical":  # gradients of a mean over the targets
            for layer, a, edge in calls:
                scale = (len(output) * targets) ** 0.5
                edge.node.register_prehook(_Collector(self, one, layer, a, scale, edge.output_nr))
            return
        loss = self.draw(output, self.generator)
        grads = torch.autograd.grad(loss, [edge for *_, edge in calls], retain_graph=True, allow_unused=True)
        for (layer, a, _), g in zip(calls, grads, strict=True):
            if g is not None:
                self.collect(one, layer, a, g, (len(output) / targets) ** 0.5)

    @torch.no_grad()
    def collect(self, one, layer, a, g, scale):
        kind = g.dtype if g.dtype in (torch.float32, torch.float64) else torch.float32
        a, n = a.to(kind) if a.is_floating_point() else a, one.samples
        sums = self.sums.setdefault(layer, {})
        with torch.autocast(g.device.type, enabled=False):  # which would shorten what is decomposed
            found = self.blocks[layer].statistics(a, g.to(kind) * scale)
        for name, x in found.items():
            sums[name] = sums[name].add_(x, alpha=n) if name in sums else x * n
        by_call, by_pass = self.weights.get(layer, (0, 0))
        self.weights[layer] = by_call + n, by_pass + (0 if layer in one.layers else n)
        one.layers.add(layer)


class _Hook:
    """A method of a watch, for as long as there is the watch; a copy has none."""

    def __init__(self, watch=None, name=""):
        self.watch = weakref.ref(watch) if watch is not None else lambda: None
        self.name = name

    def __call__(self, *arguments):
        watch = self.watch()
        return None if watch is None else getattr(watch, self.name)(*arguments)

    def __reduce__(self):
        return _Hook, ()


class _Pass:
    """A forward pass: its samples, and the layers that have been heard of."""

    def __init__(self, samples):
        self.samples, self.layers = samples, set()


class _Collector:
    """Hook on a layer's node that takes the gradient of a mean and makes it one of each sample."""

    def __init__(self, watch, one, layer, a, scale, place):
        self.watch, self.one, self.layer, self.a, self.scale, self.place = watch, one, layer, a, scale, place

    def __call__(self, grads):
        if grads[self.place] is not None:
            self.watch.collect(self.one, self.layer, self.a, grads[self.place].detach(), self.scale)


def trains(model) -> bool:
    """Whether this forward pass may be one of training: no evaluation, and no transformed function of the model."""
    return model.training and torch.is_grad_enabled() and not torch._C._are_functorch_transforms_active()


def _remove(handles):
    for handle in handles:
        handle.remove()


def logits(output) -> torch.Tensor:
    """The tensor in what a model returns, with classes on axis 1."""
    named = output["logits"] if isinstance(output, dict) and "logits" in output else getattr(output, "logits", None)
    if isinstance(named, torch.Tensor):  # transformer libraries have classes on the last axis
        return named.movedim(-1, 1) if named.dim() > 2 else named
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], torch.Tensor):
        return output[0]
    if isinstance(output, torch.Tensor):
        return output
    raise TypeError(f"KFAC needs a model whose output is a tensor, or has one as its first element or named logits, "
                    f"found {type(output).__name__}")


def _categorical(output, generator):
    if output.dim() < 2:
        raise ValueError(f'likelihood="categorical" needs logits of classes on axis 1, found an output of shape '
                         f'{tuple(output.shape)}; give likelihood="gaussian" or "bernoulli"')
    scores = output if output.dim() == 2 else output.movedim(1, -1).reshape(-1, output.shape[1])
    chances = torch.softmax(scores.detach().double(), -1).cpu()
    labels = torch.multinomial(chances, 1, generator=generator)[:, 0].to(scores.device)
    return F.cross_entropy(scores, labels, reduction="sum")


def _bernoulli(output, generator):
    draws = torch.rand(output.shape, generator=generator).to(output.device)
    labels = (draws < torch.sigmoid(output.detach())).to(output.dtype)
    return F.binary_cross_entropy_with_logits(output, labels, reduction="sum")


def _gaussian(output, generator):
    noise = torch.randn(output.shape, generator=generator).to(output)
    return 0.5 * (output - output.detach() - noise).square().sum()


DRAWS = {"categorical": _categorical, "bernoulli": _bernoulli, "gaussian": _gaussian}
