"""Is the product right? One comparison with another way of differentiating, in float64 on a few samples."""

from __future__ import annotations

import warnings

import torch
from torch.autograd.graph import disable_saved_tensors_hooks

from spectra.nn._data import head
from spectra.nn._network import is_of_precision

with warnings.catch_warnings():  # of torch, about its own use of torch.jit.script, when forward mode is first used
    warnings.simplefilter("ignore", DeprecationWarning)
    import torch._decomp.decompositions_for_jvp

_SAMPLES = 8
_TOLERANCE = {"jvp": 1e-5, "differences": 1e-3}
_SINGLE = {"jvp": 1e-2, "differences": float("inf")}  # in float32
_RECOMPUTED = ("the model recomputes activations (torch.utils.checkpoint), which lose their way to the copied weights "
               "of a product; switch checkpointing off, and use smaller batches if memory is short")
_STEP = 1e-8  # of central differences in float64: so short that kinks of ReLU are hardly ever crossed


def directional_derivative(function, plain, point: list, direction: list) -> tuple[list, str]:
    """Derivative of a function of tensors along a direction, by `torch.func.jvp` or, where a layer refuses forward
    mode, by central differences of `plain`, the same function without transforms of torch; and which of the two."""
    point = [one.detach() for one in point]
    try:
        return list(torch.func.jvp(function, tuple(point), tuple(direction))[1]), "jvp"
    except (NotImplementedError, RuntimeError, TypeError):
        ahead = plain(*(p + _STEP * d for p, d in zip(point, direction, strict=True)))
        behind = plain(*(p - _STEP * d for p, d in zip(point, direction, strict=True)))
    return [(a - b) / (2 * _STEP) for a, b in zip(ahead, behind, strict=True)], "differences"


def check_product(operator, network, batch) -> None:
    """Compare one product of `operator` with its reference on the first samples of a batch.

    Models that insist on float32 somewhere are compared in that, where differences would tell nothing.
    """
    try:
        found, expected, means = _products(operator, network.in_precision(torch.float64), batch)
        tolerance = _TOLERANCE[means]
    except RuntimeError as error:
        if not is_of_precision(error):
            raise
        found, expected, means = _products(operator, network.in_precision(torch.float32), batch)
        tolerance = _SINGLE[means]
    for one in found:
        _compare(one, expected, means, tolerance, type(operator).__name__)


def _products(operator, network, batch) -> tuple[list, list, str]:
    """Products with one vector by the ways that the operator has; by another way; and which."""
    network.refresh()
    batch = network.place(head(batch, _SAMPLES))
    generator = torch.Generator().manual_seed(0)
    pieces = [torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(leaf) / leaf.numel() ** 0.5
              for leaf in network.leaves]
    with network.still(), disable_saved_tensors_hooks(_RECOMPUTED):
        expected, means = operator._reference(network, batch, 0, pieces)
        expected = [e if e is None else e.detach() for e in expected]  # a criterion may have parameters of its own
        found = [operator._graph(network, batch, 0).product(pieces, last=True)]
        direct = operator._direct(network, batch, 0, pieces)
    return (found if direct is None else [*found, direct[1]]), expected, means


def _compare(found, expected, means: str, tolerance: float, name: str) -> None:
    pairs = [(f if f is not None else torch.zeros_like(e), e if e is not None else torch.zeros_like(f))
             for f, e in zip(found, expected, strict=True) if f is not None or e is not None]
    scale = sum(float(e.norm()) ** 2 for _, e in pairs) ** 0.5
    error = sum(float((f - e).norm()) ** 2 for f, e in pairs) ** 0.5
    if not error <= tolerance * scale:
        raise ValueError(f"a product of {name} differs from the directional derivative ({means}) by "
                         f"{error / scale:.2g} of its size on the first samples: a layer of the model has "
                         "a wrong or missing second derivative (an autograd.Function marked once_differentiable, a "
                         "checkpoint), or the loss is not repeatable; check=None goes on without this test")
