"""Products with the curvature of a loss that was just computed, for optimisers, which hold parameters and no model.

    Hessian         H v = d<g, v>/dw                                                       Pearlmutter (1994)
    Gauss-Newton    G v = J' H_L J v, with J v the derivative of J' u by u                   Schraudolph (2002)

A graph is built once and serves any number of vectors.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from spectra import _arrays
from spectra.nn._derivatives import cheap_second_derivatives, plain_formulas
from spectra.operators import LinearOperator


class GradientGraph:
    """The gradient of a loss, differentiable once more."""

    def __init__(self, loss, params):
        self.params = params
        self.gradients = gradients(loss, params, create_graph=True)

    def product(self, pieces) -> list[torch.Tensor]:
        """H v, tensor by tensor."""
        curved = [(g, piece) for g, piece in zip(self.gradients, pieces, strict=True) if g.requires_grad]
        if not curved:  # a linear loss
            return [torch.zeros_like(w) for w in self.params]
        found = torch.autograd.grad([g for g, _ in curved], self.params, [piece for _, piece in curved],
                                    retain_graph=True, allow_unused=True)
        return filled(found, self.params)


class OutputGraph:
    """The Jacobian of outputs, and the slope of a loss of these outputs, differentiable once more."""

    def __init__(self, loss, params, outputs: list[torch.Tensor]):
        self.params, self.outputs = params, outputs
        self.slopes = filled(torch.autograd.grad(loss, outputs, create_graph=True, allow_unused=True), outputs)
        self.u = [torch.zeros_like(z, requires_grad=True) for z in outputs]
        self.pulled = torch.autograd.grad(outputs, params, self.u, create_graph=True, allow_unused=True)

    def product(self, pieces) -> list[torch.Tensor]:
        """G v, tensor by tensor."""
        used = [(p, piece) for p, piece in zip(self.pulled, pieces, strict=True) if p is not None and p.requires_grad]
        curved = [(slope, i) for i, slope in enumerate(self.slopes) if slope.requires_grad]
        if not used or not curved:
            return [torch.zeros_like(w) for w in self.params]
        pushed = filled(torch.autograd.grad([p for p, _ in used], self.u, [piece for _, piece in used],
                                            retain_graph=True, allow_unused=True), self.u)
        bent = filled(torch.autograd.grad([slope for slope, _ in curved], self.outputs, [pushed[i] for _, i in curved],
                                          retain_graph=True, allow_unused=True), self.outputs)
        found = torch.autograd.grad(self.outputs, self.params, bent, retain_graph=True, allow_unused=True)
        return filled(found, self.params)


class LossCurvature(LinearOperator):
    """A graph as an operator on vectors of all parameters laid end to end."""

    hermitian = _verified = True

    def __init__(self, graph):
        self.graph = graph
        first = graph.params[0]
        self.like = torch.empty(0, dtype=first.dtype, device=first.device)
        size = sum(w.numel() for w in graph.params)
        super().__init__((size, size), _arrays.dtype_of(self.like))

    def _matmat(self, V):
        return torch.stack([flat(self.graph.product(split(column, self.graph.params))) for column in V.T], 1).detach()


@contextmanager
def twice_differentiable(params, recurrent: bool = False):
    """In which a loss is computed, if its gradient shall have gradients: of attention and recurrent layers, too.

    Convolutions get the second derivatives of `spectra.nn._derivatives`, so gradients made with a graph have no values.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if recurrent:
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(plain_formulas())
        if any(w.dim() > 2 for w in params):  # kernels of convolutions; for the rest torch's own are as cheap
            stack.enter_context(cheap_second_derivatives())
        yield


def gradients(loss, params, *, create_graph=False) -> list[torch.Tensor]:
    """Gradient by every parameter; zero for those that take no part."""
    if not (isinstance(loss, torch.Tensor) and loss.numel() == 1):
        found = f"shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise ValueError(f"the loss must be a tensor of one element, a mean over samples, found {found}")
    try:
        found = torch.autograd.grad(loss, params, create_graph=create_graph, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        if "second time" in str(error) or "does not require grad" in str(error):
            raise ValueError("the loss must come with its graph: the closure computes it and returns it, and does not "
                             "call backward()") from error
        raise
    return filled(found, params)


def filled(found, like) -> list[torch.Tensor]:
    return [torch.zeros_like(w) if g is None else g for g, w in zip(found, like, strict=True)]


def flat(tensors) -> torch.Tensor:
    return torch.cat([x.reshape(-1) for x in tensors])


def split(v, params) -> list[torch.Tensor]:
    return [piece.view_as(w).to(w.dtype) for piece, w in zip(v.split([w.numel() for w in params]), params, strict=True)]
