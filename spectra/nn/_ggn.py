"""The generalised Gauss-Newton matrix: J' H_L J, the Hessian of the loss with the model linearised.

Reference: Schraudolph, Neural Computation 14 (2002), doi 10.1162/08997660260028683; Martens, JMLR 21 (2020), 146.
"""

from __future__ import annotations

import torch
from scipy.linalg import eigvalsh_tridiagonal

from spectra import _arrays
from spectra.krylov import lanczos
from spectra.nn._base import CurvatureOperator
from spectra.nn._check import directional_derivative
from spectra.nn._losses import closed_form
from spectra.nn._outputs import OutputGraph, Outputs, dual_product, output_function
from spectra.operators import LinearOperator

_MANY = 1_000_000  # outputs of the first samples, of which a Lanczos basis would be long


class OutputCurvatureOperator(CurvatureOperator):
    """Abstract: J' M J with a positive semi-definite M at the outputs."""

    psd = True
    _forward_mode = True

    def _curvature(self, outputs: Outputs, index: int):
        """The map u -> M u for one batch."""
        raise NotImplementedError

    def _graph(self, network, batch, index):
        return OutputGraph(network, batch, index, self._curvature)

    def _direct(self, network, batch, index, pieces):
        if not self._forward_mode:
            return None
        try:
            return dual_product(network, batch, index, pieces, self._curvature)
        except (NotImplementedError, RuntimeError) as error:
            if not any(words in str(error) for words in ("forward AD", "forward mode", "forward-mode", "jvp")):
                raise
            self._forward_mode = False
            return None

    def _reference(self, network, batch, index, pieces):
        """J v by another route, M and J' by the graph; and whether the loss passes through the outputs alone."""
        self._require_split(network, batch, index)
        found = Outputs(network, batch, index)
        outputs = output_function(network, batch, index, found.positions)
        tangents, means = directional_derivative(outputs, outputs, network.leaves, pieces)
        bent = self._exact(found, index)(tangents)
        return torch.autograd.grad(found.tensors, network.leaves, bent, allow_unused=True), means

    def _exact(self, outputs: Outputs, index: int):
        """M by differentiation alone, where there is also a closed form."""
        return self._curvature(outputs, index)

    def _require_split(self, network, batch, index) -> None:
        found = Outputs(network, batch, index)
        through = torch.autograd.grad(found.tensors, network.leaves, _zeros_for_none(found), allow_unused=True)
        whole = torch.autograd.grad(network.value(batch, index).total, network.leaves, allow_unused=True)
        for name, a, b in zip(network.parameters.names, through, whole, strict=True):
            a, b = (torch.zeros(()) if one is None else one for one in (a, b))
            if float((a - b).norm()) > 1e-3 * float(b.norm() + a.norm()):
                raise ValueError(f"the loss depends on {name} by other ways than the outputs of the model (weight "
                                 "decay inside loss_fn?); take them out, and add them with .shift()")


def _zeros_for_none(outputs: Outputs) -> list:
    return [torch.zeros_like(z) if g is None else g
            for z, g in zip(outputs.copies, outputs.gradients(), strict=True)]


class GGNOperator(OutputCurvatureOperator):
    """The generalised Gauss-Newton matrix of a loss over all data.

    ``G = (1 / sum_b n_b) sum_b J_b' H_b J_b`` with J_b the Jacobian of the model's outputs on batch b, and H_b the
    Hessian of the sum of its losses by the outputs. It is the Hessian of the loss with the model linearised, positive
    semi-definite where the loss is convex in the outputs; for cross-entropy, squared and binary losses it is the
    Fisher information.

    Parameters are those of `HessianOperator`. A function ``loss_fn(model, batch)`` is split at the outputs of its calls
    of ``model(...)``; the loss may depend on parameters only through them.

    Raises
    ------
    ValueError
        As `HessianOperator`; and if the loss cannot be split or is not convex in the outputs: looked for by a dozen
        Lanczos steps on H_b at the first samples. With ``check=None`` a loss that is not known is not claimed to be
        convex: `psd` is False.

    Notes
    -----
    A product costs about 1.7 to 2.1 gradients, 1.2 to 1.5 where graphs are kept. H_b is known in closed form for
    `CrossEntropyLoss`, `MSELoss` and `BCEWithLogitsLoss`, and differentiated twice for others.

    References
    ----------
    Schraudolph, Neural Computation 14 (2002) 1723-1738, doi 10.1162/08997660260028683.

    Examples
    --------
    >>> import torch, spectra.nn
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> x, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 1)
    >>> G = spectra.nn.GGNOperator(model, torch.nn.MSELoss(), (x, y))
    >>> G @ torch.ones(2)  # a linear model: equal to the Hessian
    tensor([1., 4.])
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.psd = self._verified or self._network.loss.kind is not None
        if self._network.loss.kind == "likelihood":
            raise ValueError("NLLLoss is linear in its log-probabilities, so split there the Gauss-Newton matrix is "
                             "zero; let the model return logits, and use CrossEntropyLoss")

    def _curvature(self, outputs, index):
        if outputs.criterion_alone:
            loss, value = self._network.loss, outputs.value
            known = closed_form(loss.kind, loss.options, outputs.copies[0].detach(), value.targets)
            if known:
                return lambda tangents: [known(tangents[0])]
        return _twice_differentiated(outputs)

    def _exact(self, outputs, index):
        M = _twice_differentiated(outputs)
        _require_convex(M, outputs.copies)
        return M


def _twice_differentiated(outputs: Outputs):
    gradients = outputs.gradients(create_graph=True)
    curved = [i for i, g in enumerate(gradients) if g is not None and g.requires_grad]
    if not outputs.value.units:  # every target is ignored
        return lambda tangents: [torch.zeros_like(u) for u in tangents]
    if not curved:
        raise ValueError("the loss is linear in the outputs of the model, so its Gauss-Newton matrix is zero; split "
                         "elsewhere (return logits, not log-probabilities or the loss)")
    chosen = [gradients[i] for i in curved]

    def product(tangents):
        return torch.autograd.grad(chosen, outputs.copies, [tangents[i] for i in curved], retain_graph=True,
                                   allow_unused=True, materialize_grads=True)

    return product


class _AtOutputs(LinearOperator):
    """M as an operator on the outputs laid end to end."""

    hermitian = _verified = True

    def __init__(self, product, tensors):
        self.product, self.tensors = product, tensors
        self.like = tensors[0].detach().new_empty(0)
        super().__init__((sum(z.numel() for z in tensors),) * 2, _arrays.dtype_of(self.like))

    def _matmat(self, V):
        (u,) = V.T
        pieces = u.split([z.numel() for z in self.tensors])
        bent = self.product([piece.view(z.shape) for piece, z in zip(pieces, self.tensors, strict=True)])
        return torch.cat([one.reshape(-1) for one in bent])[:, None]


def _require_convex(product, tensors) -> None:
    M = _AtOutputs(product, tensors)
    start = torch.randn(M.shape[0], generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(M.like)
    alpha, beta, _ = lanczos(M, start, 2 if M.shape[0] > _MANY else 12)
    ritz = eigvalsh_tridiagonal(alpha[0], beta[0])
    if ritz[0] < -1e-9 * abs(ritz).max():
        raise ValueError("GGNOperator needs a loss that is convex in the outputs of the model, but a second derivative "
                         f"of it is {ritz[0]:.3g}; use HessianOperator")
