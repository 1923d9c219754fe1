"""Second derivatives that are cheaper, or righter, than PyTorch's own.

Weight normalisation. `torch._weight_norm` has a fused derivative whose own derivative by v is wrong (seen in 2.13: the
Hessian comes out asymmetric, off by 40 % on a small network); the plain formula takes its place.

Convolutions. For y = w * x and an output gradient g, the gradients are g_x = B_x(g, w) and g_w = B_w(g, x), each
linear in both of its arguments. Their adjoints, for weights a_x and a_w of the gradients, are again forward and
backward convolutions:

    d/dg: w * a_x + a_w * x,      d/dx: B_x(g, a_w),      d/dw: B_w(g, a_x).

PyTorch's own rule computes the last two as convolutions whose kernel is a whole image, which costs a sixth of a
Hessian product on VGG-like networks; the functions below run on the kernels of the first derivative.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

_backward = torch.ops.aten.convolution_backward
_DIMENSIONS = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}


def _weight_norm(v, g, dim=0):
    return v * (g / torch.norm_except_dim(v, 2, dim))


def _squared_error(z, y, *, reduction="mean"):
    square = (z - y) ** 2
    return square.mean() if reduction == "mean" else square.sum()


class plain_formulas(TorchFunctionMode):
    """Within it, fused functions with derivatives that are wrong or missing are written out.

    Forward mode over reverse mode fails in the mean squared error of torch 2.13, which has no such need otherwise.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch._weight_norm:
            return _weight_norm(*args, **kwargs)
        if function is F.mse_loss and len(args) == 2 and args[0].shape == args[1].shape:
            told = {name: one for name, one in kwargs.items() if one is not None}
            if set(told) <= {"reduction"} and told.get("reduction") != "none":
                return _squared_error(*args, **told)
        return function(*args, **kwargs)


class better_convolutions(TorchFunctionMode):
    """Within it, `torch.convNd` has the second derivative of this file.

    With `linear`, the graph of a convolution's gradients is one in g alone: enough for Jacobian products, and cheaper.
    """

    def __init__(self, linear: bool = False):
        super().__init__()
        self.linear = linear

    def __torch_function__(self, function, types, args=(), kwargs=None):
        dimensions = _DIMENSIONS.get(function)
        if dimensions:
            arguments = _arguments(dimensions, *args, **(kwargs or {}))
            if arguments:
                return _Convolution.apply(*arguments, self.linear)
        return function(*args, **(kwargs or {}))


def _arguments(d, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Arguments of the general convolution, or None for what it does not cover: no batch, padding by name."""
    if isinstance(padding, str) or input.dim() != d + 2:
        return None
    each = [(one,) * d if isinstance(one, int) else tuple(one) * (d if len(one) == 1 else 1)
            for one in (stride, padding, dilation)]
    return input, weight, bias, (*each, False, (0,) * d, groups)


class _Convolution(Function):
    @staticmethod
    def forward(ctx, x, w, b, how, linear):
        ctx.save_for_backward(x, w)
        ctx.how, ctx.linear = how, linear
        return torch.convolution(x, w, b, *how)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        wants_x, wants_w, wants_b = ctx.needs_input_grad[:3]
        if ctx.linear:
            x, w = x.detach(), w.detach()
        g_x, g_w = _Gradients.apply(g, x, w, ctx.how, wants_x, wants_w)
        g_b = g.sum((0, *range(2, g.dim()))) if wants_b else None
        return g_x, g_w, g_b, None, None


class _Gradients(Function):
    @staticmethod
    def forward(ctx, g, x, w, how, wants_x, wants_w):
        ctx.save_for_backward(g, x, w)
        ctx.set_materialize_grads(False)
        ctx.how = how
        return _backward(g, x, w, None, *how, [wants_x, wants_w, False])[:2]

    @staticmethod
    @once_differentiable
    def backward(ctx, a_x, a_w):
        g, x, w = ctx.saved_tensors
        wants_g, wants_x, wants_w = ctx.needs_input_grad[:3]
        d_g = d_x = d_w = None
        if wants_g:
            parts = [torch.convolution(one, kernel, None, *ctx.how)
                     for one, kernel in ((a_x, w), (x, a_w)) if one is not None and kernel is not None]
            d_g = sum(parts[1:], start=parts[0]) if parts else None
        if wants_x and a_w is not None:
            d_x = _backward(g, x, a_w, None, *ctx.how, [True, False, False])[0]
        if wants_w and a_x is not None:
            d_w = _backward(g, a_x, w, None, *ctx.how, [False, True, False])[1]
        return d_g, d_x, d_w, None, None, None
