"""The model's outputs as the place where the curvature is split: C = J' M J, J the Jacobian of the outputs.

A hook on the model cuts the graph: the loss sees copies of the outputs, so that its derivatives at the outputs (M) and
those of the outputs by the parameters (J) are taken one without the other. Whatever the loss does after the model's
last call is thereby part of M, and whatever the model does is part of J.

J v comes from one forward pass with dual numbers, J' u from one backward pass through the same primal graph, after
the duals are gone. Where the graph is kept, or layers have no forward mode, J v is the derivative of J' u by u.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.autograd import forward_ad

from spectra.nn._data import mapped, tensors
from spectra.nn._derivatives import cheap_second_derivatives


class Outputs:
    """Outputs of one batch, with their graph, and the loss as a function of copies.

    Attributes
    ----------
    tensors : list of tensors
        Outputs with the graph that leads to the parameters.
    copies : list of tensors
        The same values, from which `value` was computed.
    tangents : list of tensors
        J v, where the parameters were dual numbers.
    """

    def __init__(self, network, batch, index, replaced=None):
        self.tensors, self.copies, self.tangents, self.positions, self._seen = [], [], [], [], 0
        hook = network.model.register_forward_hook(lambda module, inputs, outputs: mapped(self._cut, outputs))
        try:
            self.value = network.value(batch, index, replaced)
        except RuntimeError as error:
            if not any(words in str(error) for words in ("differentiated Tensor", "transformed by a functorch")):
                raise
            raise ValueError("the loss takes derivatives of the model, so it cannot be split at the model's outputs; "
                             "use HessianOperator, or take the derivatives inside the model") from error
        finally:
            hook.remove()
        if not self.tensors:
            raise ValueError("no output of the model was seen on the way to the loss; loss_fn must call model(...), "
                             "not model.forward(...) or one of its parts")
        if any(copy is self.value.total or copy.dim() == 0 for copy in self.copies):
            raise ValueError("the model computes its loss itself, so there are no outputs at which its curvature could "
                             "be split; let it return its outputs, and compute the loss from them in loss_fn")

    def _cut(self, tensor):
        self._seen += 1
        if not tensor.is_floating_point() or not tensor.requires_grad:
            return tensor
        primal, tangent = forward_ad.unpack_dual(tensor) if forward_ad._current_level >= 0 else (tensor, None)
        self.positions.append(self._seen - 1)
        self.tensors.append(primal)
        self.tangents.append(torch.zeros_like(primal).detach() if tangent is None else tangent.detach())
        self.copies.append(primal.detach().requires_grad_())
        return self.copies[-1]

    def gradients(self, **options):
        """Derivatives of the loss by the outputs; None where it does not use them."""
        return torch.autograd.grad(self.value.total, self.copies, allow_unused=True, **options)

    @property
    def criterion_alone(self) -> bool:
        """Whether the loss is a criterion of the one output tensor itself."""
        return len(self.copies) == 1 and self.value.outputs is self.copies[0]


def output_function(network, batch, index, positions: list[int]):
    """The same outputs as a function of the parameters, for derivatives by other means."""

    def outputs(*leaves):
        seen = []
        hook = network.model.register_forward_hook(lambda module, inputs, out: seen.extend(tensors(out)))
        try:
            network.call(network.loss, batch, index, dict(zip(network.parameters.names, leaves, strict=True)))
        finally:
            hook.remove()
        return tuple(seen[i] for i in positions)

    return outputs


Curvature = Callable[[Outputs, int], Callable[[list], list]]
"""From the outputs of a batch and its number to the map M on tangents of the outputs."""


class OutputGraph:
    """J and M of one batch, kept: J' u has a graph that is linear in u."""

    def __init__(self, network, batch, index, curvature: Curvature):
        self.leaves = network.leaves
        with cheap_second_derivatives(at_zero=True) as derivatives:
            with derivatives.loss():
                outputs = Outputs(network, batch, index)
            self.tensors = outputs.tensors
            self.u = [torch.zeros_like(z, requires_grad=True) for z in self.tensors]
            found = torch.autograd.grad(self.tensors, self.leaves, self.u, create_graph=True, allow_unused=True)
        self.used = [i for i, g in enumerate(found) if g is not None and g.requires_grad]
        self.transposed = [found[i] for i in self.used]
        self.curvature = curvature(outputs, index)
        self.value = _lean(outputs.value)

    def tangents(self, pieces):
        """J v."""
        return torch.autograd.grad(self.transposed, self.u, [pieces[i] for i in self.used], retain_graph=True,
                                   allow_unused=True, materialize_grads=True)

    def product(self, pieces, last: bool):
        return torch.autograd.grad(self.tensors, self.leaves, self.curvature(self.tangents(pieces)),
                                   retain_graph=not last, allow_unused=True)


def dual_product(network, batch, index, pieces, curvature: Curvature):
    """J' M J v by one dual forward pass and one backward pass; forward mode may refuse a layer."""
    with forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(leaf, piece)
                 for name, leaf, piece in zip(network.parameters.names, network.leaves, pieces, strict=True)}
        outputs = Outputs(network, batch, index, duals)
    found = curvature(outputs, index)(outputs.tangents)
    return _lean(outputs.value), torch.autograd.grad(outputs.tensors, network.leaves, found, allow_unused=True)


def _lean(value):
    """A value without the tensors that would keep graphs alive."""
    return value._replace(total=value.total.detach(), outputs=None, targets=None)
