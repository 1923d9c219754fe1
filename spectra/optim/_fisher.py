"""What flows through the layers of a model: their inputs, and gradients for labels that the model draws itself.

The Fisher matrix is the second moment of ``d log p(y | x) / dw`` over labels y drawn from the model's prediction: one
draw a sample and one backward pass. With the labels of the data it is the empirical Fisher matrix, whose gradients come
by in the backward pass of the loss.
"""

from __future__ import annotations

import weakref

import torch
from torch.nn import functional as F

from spectra.optim._kronecker import combined


class Watch:
    """Statistics of the blocks of a model, from its forward passes while `due()` says so.

    Hooks hold it by a weak reference: an optimiser that is forgotten watches no more, and a copied model is watched by
    no one until an optimiser of its own does.
    """

    def __init__(self, model, blocks, due, *, fisher: str, likelihood: str, generator: torch.Generator):
        self.blocks = {block.layer: block for block in blocks if block.layer is not None}
        self.due, self.fisher, self.draw, self.generator = due, fisher, DRAWS[likelihood], generator
        self.forget()
        for layer in self.blocks:
            layer.register_forward_hook(_Hook(self, "after_layer"))
        model.register_forward_hook(_Hook(self, "after_model"))

    def forget(self) -> None:
        self.calls = []  # (layer, input, output) of this forward pass
        self.passes = []  # of each forward pass since the last step: samples, and layer -> statistics of its calls
        self.samples = 0

    def found(self, layer) -> list[tuple[int, dict[str, torch.Tensor]]]:
        """Samples and statistics of each forward pass that the layer took part in."""
        return [(n, combined(one[layer])) for n, one in self.passes if layer in one]

    def after_layer(self, layer, inputs, output):
        if self.due() and output.requires_grad:
            self.calls.append((layer, inputs[0].detach(), output))

    def after_model(self, model, inputs, output):
        calls, self.calls = self.calls, []
        if not self.due():
            return
        output = logits(output)
        self.samples += len(output)
        if not calls or not output.requires_grad or not torch.isfinite(output).all():  # the step will name what is not
            return
        found = {}
        self.passes.append((len(output), found))
        targets = output.numel() // output.shape[1] if self.draw is _categorical and output.dim() > 1 else len(output)
        if self.fisher == "empirical":  # gradients of a mean over the targets
            for layer, a, out in calls:
                out.register_hook(_Collector(self, found, layer, a, (len(output) * targets) ** 0.5))
            return
        loss = self.draw(output, self.generator)
        grads = torch.autograd.grad(loss, [out for *_, out in calls], retain_graph=True, allow_unused=True)
        for (layer, a, _), g in zip(calls, grads, strict=True):
            if g is not None:
                self.collect(found, layer, a, g, (len(output) / targets) ** 0.5)

    @torch.no_grad()
    def collect(self, found, layer, a, g, scale):
        kind = g.dtype if g.dtype in (torch.float32, torch.float64) else torch.float32
        a = a.to(kind) if a.is_floating_point() else a
        found.setdefault(layer, []).append(self.blocks[layer].statistics(a, g.to(kind) * scale))


class _Hook:
    """A method of a watch, for as long as there is the watch; a copy has none."""

    def __init__(self, watch=None, name=""):
        self.watch = weakref.ref(watch) if watch is not None else lambda: None
        self.name = name

    def __call__(self, *arguments):
        watch = self.watch()
        if watch is not None:
            getattr(watch, self.name)(*arguments)

    def __reduce__(self):
        return _Hook, ()


class _Collector:
    """Hook on a layer's output that takes the gradient of a mean and makes it one of each sample."""

    def __init__(self, watch, found, layer, a, scale):
        self.watch, self.found, self.layer, self.a, self.scale = watch, found, layer, a, scale

    def __call__(self, grad):
        self.watch.collect(self.found, self.layer, self.a, grad.detach(), self.scale)


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
