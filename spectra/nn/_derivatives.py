"""Second derivatives that are cheaper, or righter, than PyTorch's own.

Weight normalisation. `torch._weight_norm` has a fused derivative whose own derivative by v is wrong (seen in 2.13: the
Hessian comes out asymmetric, off by 40 % on a small network); the plain formula takes its place. An embedding with
`padding_idx` keeps the gradient from that row, but forward mode lets a tangent through; here the row is a constant.

Linear layers and convolutions. Both are bilinear, y = B(x, w). For an output gradient g their gradients are
g_x = X(g, w) and g_w = W(g, x), bilinear again, and the adjoints of those, for weights a_x and a_w of the gradients,

    d/dg: B(a_x, w) + B(x, a_w),      d/dx: X(g, a_w),      d/dw: W(g, a_x),

are the same three maps. That helps twice. PyTorch's rule for convolutions computes the last two with kernels as large
as an image. And it computes g_w, whose value nobody needs: a product asks only how the gradient changes. Here g_w stays
empty where w is a parameter itself, which takes one ninth off a Hessian product, more in the first layer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode


def _weight_norm(v, g, dim=0):
    return v * (g / torch.norm_except_dim(v, 2, dim))


def _in_one_precision(args, kwargs):
    """Class weights that a criterion holds are of the model's precision; outputs may be evaluated in another."""
    def cast(one):
        return one.to(like) if isinstance(one, torch.Tensor) and one.is_floating_point() else one

    like = args[0] if args else kwargs["input"]
    return [cast(one) for one in args], {name: cast(one) for name, one in kwargs.items()}


def _squared_error(z, y, *, reduction="mean"):
    square = (z - y) ** 2
    return square.mean() if reduction == "mean" else square.sum()


def _embedding(tokens, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    if max_norm is not None or scale_grad_by_freq:
        raise ValueError("an embedding with max_norm or scale_grad_by_freq changes its weights or gradients by the "
                         "batch, so they are not those of one loss; switch both off")
    found = torch.embedding(weight, tokens)
    if padding_idx is None:
        return found
    return torch.where((tokens == padding_idx % len(weight))[..., None], _Constant.apply(found), found)


class _Constant(Function):
    """The value without derivatives; `detach` would let tangents of forward mode through."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, g):
        return torch.zeros_like(g)

    @staticmethod
    def jvp(ctx, tangent):
        return torch.zeros_like(tangent)


_WEIGHTED = (F.cross_entropy, F.nll_loss, F.binary_cross_entropy, F.binary_cross_entropy_with_logits,
             F.multi_margin_loss, F.multilabel_soft_margin_loss)


class plain_formulas(TorchFunctionMode):
    """Within it, fused functions with derivatives that are wrong or missing are written out, and losses take weights in
    the precision of the outputs.

    Forward mode over reverse mode fails in the mean squared error of torch 2.13, which has no such need otherwise.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch._weight_norm:
            return _weight_norm(*args, **kwargs)
        if function is F.embedding:
            return _embedding(*args, **kwargs)
        if function in _WEIGHTED:
            args, kwargs = _in_one_precision(args, kwargs)
        if function is F.mse_loss and len(args) == 2 and args[0].shape == args[1].shape:
            told = {name: one for name, one in kwargs.items() if one is not None}
            if set(told) <= {"reduction"} and told.get("reduction") != "none":
                return _squared_error(*args, **told)
        return function(*args, **kwargs)


class cheap_second_derivatives(TorchFunctionMode):
    """Within it, linear layers and convolutions have the second derivatives of this file.

    They serve one gradient and products with its derivative. A loss that itself takes derivatives (of a gradient
    penalty, of a differential equation) is computed within `loss()`, where they are those of torch.

    `at_zero` says that output gradients are zero, and only the graph of the gradients is wanted: J' u, linear in u.
    """

    def __init__(self, at_zero: bool = False):
        super().__init__()
        self.at_zero, self.in_loss = at_zero, False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        bind = _BILINEAR.get(function)
        found = bind(*args, **kwargs) if bind and not torch._C._are_functorch_transforms_active() else None
        if found is None or torch.is_autocast_enabled(found[0].device.type):
            return function(*args, **kwargs)
        return _Bilinear.apply(*found, self)

    @contextlib.contextmanager
    def loss(self):
        self.in_loss = True
        try:
            yield
        finally:
            self.in_loss = False


class _Maps(NamedTuple):
    """B, X and W of a bilinear layer; B takes a bias, too."""

    output: Callable
    to_input: Callable
    to_weight: Callable
    over: Callable  # dimensions of an output that a bias is the same for


def _linear(input, weight, bias=None):
    return (input, weight, bias, _LINEAR) if input.dim() > 1 and weight.dim() == 2 else None


def _linear_to_weight(g, x, w):
    return g.flatten(0, -2).T @ x.flatten(0, -2)


_LINEAR = _Maps(F.linear, lambda g, w, x: g @ w, _linear_to_weight, lambda g: list(range(g.dim() - 1)))


def _convolution(d: int):
    def bind(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        if isinstance(padding, str) or input.dim() != d + 2:  # padding by name, and inputs without a batch
            return None
        each = [(one,) * d if isinstance(one, int) else tuple(one) * (d if len(one) == 1 else 1)
                for one in (stride, padding, dilation)]
        how = (*each, False, (0,) * d, groups)
        return input, weight, bias, _Maps(
            lambda x, w, b=None: torch.convolution(x, w, b, *how),
            lambda g, w, x: _backward(g, x, w, None, *how, [True, False, False])[0],
            lambda g, x, w: _backward(g, x, w, None, *how, [False, True, False])[1],
            lambda g: [0, *range(2, g.dim())])

    return bind


_backward = torch.ops.aten.convolution_backward
_BILINEAR = {F.linear: _linear, torch.conv1d: _convolution(1), torch.conv2d: _convolution(2),
             torch.conv3d: _convolution(3)}


class _Bilinear(Function):
    """y = B(x, w) + b."""

    @staticmethod
    def forward(ctx, x, w, b, maps, mode):
        ctx.save_for_backward(x, w)
        ctx.maps, ctx.mode, ctx.is_parameter = maps, mode, w.is_leaf
        return maps.output(x, w, b)

    @staticmethod
    def backward(ctx, g):
        (x, w), maps = ctx.saved_tensors, ctx.maps
        wants_x, wants_w, wants_b = ctx.needs_input_grad[:3]
        if ctx.mode.in_loss or not torch.is_grad_enabled():  # without a graph it is a product
            return (maps.to_input(g, w, x) if wants_x else None, maps.to_weight(g, x, w) if wants_w else None,
                    g.sum(maps.over(g)) if wants_b else None, None, None)
        at_zero = ctx.mode.at_zero
        if at_zero:  # linear in g alone
            x, w = x.detach(), w.detach()
        value_x, value_w = not at_zero, not (at_zero or ctx.is_parameter)
        g_x, g_w = _Gradients.apply(g, x, w, maps, (wants_x, wants_w, value_x, value_w))
        return g_x, g_w, g.sum(maps.over(g)) if wants_b else None, None, None


class _Gradients(Function):
    """g_x and g_w with their graph, and with values where those are used."""

    @staticmethod
    def forward(ctx, g, x, w, maps, wants):
        ctx.save_for_backward(g, x, w)
        ctx.set_materialize_grads(False)
        ctx.maps = maps
        wants_x, wants_w, value_x, value_w = wants
        g_x = (maps.to_input(g, w, x) if value_x else _empty(x)) if wants_x else None
        g_w = (maps.to_weight(g, x, w) if value_w else _empty(w)) if wants_w else None
        return g_x, g_w

    @staticmethod
    @once_differentiable
    def backward(ctx, a_x, a_w):
        (g, x, w), maps = ctx.saved_tensors, ctx.maps
        wants_g, wants_x, wants_w = ctx.needs_input_grad[:3]
        d_g = d_x = d_w = None
        if wants_g and a_x is not None:
            d_g = maps.output(a_x, w)
        if wants_g and a_w is not None:
            d_g = maps.output(x, a_w) if d_g is None else d_g.add_(maps.output(x, a_w))
        if wants_x and a_w is not None:
            d_x = maps.to_input(g, a_w, x)
        if wants_w and a_x is not None:
            d_w = maps.to_weight(g, a_x, w)
        return d_g, d_x, d_w, None, None


def _empty(like):
    """Zeros of a shape, without their memory."""
    return like.new_zeros(()).expand(like.shape)
