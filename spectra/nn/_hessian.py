"""The Hessian by double backward.

The gradient of a batch is computed with its own graph, g(w); a product is one more backward through it,
``H v = d<g, v>/dw``, and the graph serves any number of vectors. Forward mode inside reverse mode loses terms in
normalisation layers, and finite differences break at the kinks of ReLU; this order of differentiation does neither.

Reference: Pearlmutter, Neural Computation 6 (1994), doi 10.1162/neco.1994.6.1.147.
"""

from __future__ import annotations

import torch

from spectra.nn._base import CurvatureOperator
from spectra.nn._check import directional_derivative
from spectra.nn._derivatives import cheap_second_derivatives


class HessianOperator(CurvatureOperator):
    """The Hessian of a loss over all data, with respect to the parameters of a torch model.

    ``H = (1 / sum_b n_b) sum_b n_b d²L_b / dw²``, with L_b the mean loss of batch b over its n_b counted targets: the
    Hessian of the loss as if all data were one batch, however they are cut.

    Parameters
    ----------
    model : torch.nn.Module
        Any model; it is left as it was: buffers, attributes, `.grad`, mode, random state.
    loss_fn : callable
        A criterion, ``loss_fn(outputs, targets)``, or a function ``loss_fn(model, batch)`` that returns the mean loss,
        or ``(sum, count)`` where targets are not as many as samples (padding, `ignore_index`). Counts of torch's own
        criteria are known. With ``reduction="sum"`` the operator is the Hessian of the sum.
    data : DataLoader, list of batches, or a pair (inputs, targets)
        Read in the same order in every pass: a shuffling loader is frozen in one order. Random augmentations that do
        not repeat are refused. A batch is (inputs, targets), a dict, or whatever loss_fn(model, batch) takes.
    params : None, names, parameters, a module, or predicate (name, parameter)
        What to differentiate by; None is every parameter with `requires_grad`. A name may be that of a module.
    weight : {"count", "sum"}
        Average over counted targets, or add the losses of the batches as they are.
    bn : {"eval", "train"}
        Batch normalisation with its running statistics, or with those of each batch of the fixed sequence.
    dropout : {"off", "seeded", "error"}
        Without dropout; with one fixed draw a batch; or in the mode the model is in, and an error if that draws.
    cache : "auto", int or None
        Bytes for graphs of batches that are kept between products.
    dtype : torch.dtype, optional
        Precision of products and vectors, float32 or float64. Default: that of the parameters; half precision models
        are evaluated in float32.
    progress : bool or callable
        Progress of each pass over the data.
    check : "once" or None
        Compare the first product with ``jvp(grad)`` in float64 on a few samples, and refuse disagreement.

    Raises
    ------
    ValueError
        If a loss, a parameter or a product is not finite (naming it), the data differ between passes, the forward pass
        draws random numbers, or the check fails. Layers without a second derivative are a NotImplementedError where
        torch knows of it; activations that are recomputed (`torch.utils.checkpoint`) a RuntimeError.

    Notes
    -----
    A product costs about 2.3 to 3 gradients, 1.4 to 2.1 where the graphs are kept, and in a block of 8 about 1.5 a
    vector. Memory: the activations of one batch and of its gradient, twice the block, and the cache. Measured in
    docs/curvature.md. The operator is that of the weights at the time of the product.

    References
    ----------
    Pearlmutter, Neural Computation 6 (1994) 147-160, doi 10.1162/neco.1994.6.1.147.

    Examples
    --------
    >>> import torch, spectra.nn
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> x, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 1)
    >>> H = spectra.nn.HessianOperator(model, torch.nn.MSELoss(), (x, y))
    >>> H @ torch.ones(2)  # the mean of 2 x x' is diag(1, 4)
    tensor([1., 4.])
    """

    def _graph(self, network, batch, index):
        return _GradientGraph(network, batch, index)

    def _reference(self, network, batch, index, pieces):
        names = network.parameters.names

        def loss(*leaves):
            return network.value(batch, index, dict(zip(names, leaves, strict=True))).total

        def gradient(*leaves):  # for layers that torch.func does not know
            leaves = [leaf.requires_grad_() for leaf in leaves]
            return torch.autograd.grad(loss(*leaves), leaves, allow_unused=True, materialize_grads=True)

        by_transform = torch.func.grad(loss, argnums=tuple(range(len(names))))
        return directional_derivative(by_transform, gradient, network.leaves, pieces)


class _GradientGraph:
    """Gradient of one batch with its graph."""

    def __init__(self, network, batch, index):
        self.leaves = network.leaves
        with cheap_second_derivatives() as derivatives:
            with derivatives.loss():
                self.value = network.value(batch, index)
            found = torch.autograd.grad(self.value.total, self.leaves, create_graph=True, allow_unused=True)
        self.value = self.value._replace(total=self.value.total.detach(), outputs=None, targets=None)
        self.curved = [i for i, g in enumerate(found) if g is not None and g.requires_grad]
        self.gradient = [found[i] for i in self.curved]

    def product(self, pieces, last: bool):
        if not self.curved:
            return [None] * len(pieces)
        return torch.autograd.grad(self.gradient, self.leaves, [pieces[i] for i in self.curved],
                                   retain_graph=not last, allow_unused=True)
