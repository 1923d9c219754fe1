"""Products with the curvature of a loss that was just computed, for optimisers, which hold parameters and no model."""

from __future__ import annotations

import torch

from spectra import _arrays
from spectra.operators import LinearOperator


class LossHessian(LinearOperator):
    """Hessian of a loss with its graph, on vectors of all parameters laid end to end."""

    hermitian = _verified = True

    def __init__(self, loss: torch.Tensor, params: list[torch.Tensor]):
        self.params = params
        self.like = torch.empty(0, dtype=params[0].dtype, device=params[0].device)
        size = sum(w.numel() for w in params)
        super().__init__((size, size), _arrays.dtype_of(self.like))
        self.gradients = gradients(loss, params, create_graph=True)
        self.gradient = flat(self.gradients).detach()

    def _matmat(self, V):
        return torch.stack([self._column(column) for column in V.T], 1)

    def _column(self, v):
        curved = [(g, piece) for g, piece in zip(self.gradients, split(v, self.params), strict=True) if g.requires_grad]
        if not curved:
            return torch.zeros_like(v)
        found = torch.autograd.grad([g for g, _ in curved], self.params, [piece for _, piece in curved],
                                    retain_graph=True, allow_unused=True)
        return flat(filled(found, self.params)).detach()


class LossGGN(LossHessian):
    """Gauss-Newton matrix ``J' H_L J`` of a loss that is a function of `outputs`."""

    psd = True

    def __init__(self, loss, params, outputs: torch.Tensor):
        (self.slope,) = torch.autograd.grad(loss, outputs, create_graph=True)
        self.outputs = outputs
        self.dummy = torch.zeros_like(outputs, requires_grad=True)
        self.pulled = filled(torch.autograd.grad(outputs, params, self.dummy, create_graph=True, allow_unused=True),
                             params)
        super().__init__(loss, params)

    def _column(self, v):
        pairs = [(p, piece) for p, piece in zip(self.pulled, split(v, self.params), strict=True) if p.requires_grad]
        (pushed,) = torch.autograd.grad([p for p, _ in pairs], self.dummy, [piece for _, piece in pairs],
                                        retain_graph=True)  # J v, as the derivative of J' u by u
        bent = pushed * 0
        if self.slope.requires_grad:
            (bent,) = torch.autograd.grad(self.slope, self.outputs, pushed, retain_graph=True)
        found = torch.autograd.grad(self.outputs, self.params, bent, retain_graph=True, allow_unused=True)
        return flat(filled(found, self.params)).detach()


def gradients(loss, params, *, create_graph=False) -> list[torch.Tensor]:
    """Gradient by every parameter; zero for those that take no part."""
    try:
        found = torch.autograd.grad(loss, params, create_graph=create_graph, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        if "second time" in str(error) or "does not require grad" in str(error):
            raise ValueError("the loss must come with its graph: the closure computes it and returns it, and does not "
                             "call backward()") from error
        raise
    return filled(found, params)


def filled(found, params) -> list[torch.Tensor]:
    return [torch.zeros_like(w) if g is None else g for g, w in zip(found, params, strict=True)]


def flat(tensors) -> torch.Tensor:
    return torch.cat([x.reshape(-1) for x in tensors])


def split(v, params) -> list[torch.Tensor]:
    return [piece.view_as(w) for piece, w in zip(v.split([w.numel() for w in params]), params, strict=True)]
