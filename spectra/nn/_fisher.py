"""Fisher information with sampled targets, and the second moment of gradients.

Both are J' M J with M = sum_m r_m r_m' at the outputs of every target: r is the gradient of its loss by the outputs,
for a target drawn from the model (Fisher information) or for the one in the data (empirical Fisher).

Reference: Kunstner, Balles and Hennig, NeurIPS 2019, arXiv 1905.12558; Martens, JMLR 21 (2020), 146.
"""

from __future__ import annotations

import numpy as np
import torch

from spectra import _arrays
from spectra.nn._ggn import OutputCurvatureOperator
from spectra.nn._losses import class_dim, draw_targets, drawn_gradients


class FisherOperator(OutputCurvatureOperator):
    """Monte-Carlo Fisher information: second moment of gradients for targets drawn from the model.

    ``F = (1 / N) sum_i (1 / mc) sum_m g_im g_im'`` with g_im the gradient of the loss of sample i for its m-th drawn
    target. Its mean over the draws is the Gauss-Newton matrix. The draws are made once: the operator is a matrix.

    Parameters are those of `HessianOperator`, and

    Parameters
    ----------
    mc : int
        Draws for every target.
    rng : int, Generator or None
        For the draws; `seed` repeats them.

    Raises
    ------
    ValueError
        As `GGNOperator`; and if the criterion is not one of `CrossEntropyLoss`, `MSELoss`, `BCEWithLogitsLoss`, whose
        likelihoods are known (class weights, smoothing and weights scale the gradients by their square root).

    Notes
    -----
    Cost as `GGNOperator`. Every counted target (cross-entropy) or every sample (others) has its own gradient.

    References
    ----------
    Martens, JMLR 21 (2020) 146; Kunstner, Balles and Hennig, NeurIPS 2019, arXiv 1905.12558.

    Examples
    --------
    >>> import torch, spectra.nn
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> x, y = torch.eye(2), torch.zeros(2, 1)
    >>> F = spectra.nn.FisherOperator(model, torch.nn.MSELoss(), (x, y), mc=10_000, rng=0)
    >>> (F @ torch.ones(2)).round(decimals=1)  # near the Gauss-Newton matrix, the identity
    tensor([1., 1.])
    """

    def __init__(self, *args, mc: int = 1, rng=None, **kwargs):
        if int(mc) != mc or mc < 1:
            raise ValueError(f"mc must be a positive number of draws, found {mc!r}")
        generator, self.seed = _arrays.generator(rng)
        if not isinstance(generator, np.random.Generator):
            raise TypeError(f"rng must be an integer, a NumPy Generator or None, found {type(rng).__name__}")
        self.mc = int(mc)
        self._drawn: dict[int, torch.Tensor] = {}
        super().__init__(*args, **kwargs)
        self._arguments |= {"mc": mc, "rng": self.seed}
        if self._network.loss.kind not in ("cross-entropy", "squared", "binary"):
            raise ValueError("FisherOperator draws targets from the likelihood of a criterion that it knows "
                             "(CrossEntropyLoss, MSELoss, BCEWithLogitsLoss, or their functions), found "
                             f"{self._network.loss.function!r}; EmpiricalFisherOperator needs none")

    def _forget(self):
        super()._forget()
        self._drawn.clear()

    def _curvature(self, outputs, index):
        if not outputs.criterion_alone:
            raise ValueError("FisherOperator needs a criterion that is applied to the one output tensor of the model")
        loss, z, y = self._network.loss, outputs.copies[0].detach(), outputs.value.targets
        r = drawn_gradients(loss.kind, loss.options, z, y, self._draws(loss.kind, z, index)) / self.mc**0.5
        dims = _target_dims(loss.kind, z)

        def product(tangents):
            inner = (r * tangents[0]).sum([d + 1 for d in dims], keepdim=True)
            return [(r * inner).sum(0)]

        return product

    def _draws(self, kind: str, z, index: int):
        """The draws of a batch, the same in every product; discrete ones are kept, lest rounding flip one."""
        drawn = self._drawn.get(index)
        if drawn is None or drawn.shape[1] != z.shape[0]:
            state = int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0])
            drawn = draw_targets(kind, z, self.mc, torch.Generator().manual_seed(state))
            if not drawn.is_floating_point():
                self._drawn[index] = drawn
        return drawn


class EmpiricalFisherOperator(OutputCurvatureOperator):
    """Second moment of the gradients of single samples, or their covariance.

    ``E = (1 / N) sum_i g_i g_i'`` with g_i the gradient of the loss of sample i, so that the mean of the g_i is
    `gradient()`; centred, ``E - g g'``. With ``reduction="sum"`` the sum of g_i g_i' instead of the mean.

    Parameters are those of `HessianOperator`, and

    Parameters
    ----------
    centered : bool
        Subtract the mean gradient: the covariance, which is what minibatch noise is made of.

    Notes
    -----
    Cost as `GGNOperator`, and one gradient for the centred one. A sample is a counted target where the loss is
    `CrossEntropyLoss`, and otherwise an entry of the first dimension of the outputs. It is not the Fisher information:
    the targets are those of the data.

    References
    ----------
    Kunstner, Balles and Hennig, NeurIPS 2019, arXiv 1905.12558.

    Examples
    --------
    >>> import torch, spectra.nn
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.ones_(model.weight)
    >>> x, y = torch.eye(2), torch.zeros(2, 1)
    >>> E = spectra.nn.EmpiricalFisherOperator(model, torch.nn.MSELoss(), (x, y))
    >>> E @ torch.ones(2)  # gradients (2, 0) and (0, 2)
    tensor([2., 2.])
    """

    def __init__(self, *args, centered: bool = False, **kwargs):
        super().__init__(*args, **kwargs)
        self._arguments["centered"] = centered
        self.centered = bool(centered)
        self._mean = None

    def _forget(self):
        super()._forget()
        self._mean = None

    def _scale(self, count, units):
        return 1.0 if self._network.loss.adds else units / count**2

    def _matmat(self, V):
        product = super()._matmat(V)
        if not self.centered:
            return product
        if self._mean is None:
            self._mean = self.gradient()
        overlap = self._mean @ V.to(self._mean)
        if self._network.loss.adds:
            overlap = overlap / sum(self._units)
        return product - self._mean[:, None] * overlap

    def per_batch(self, V):
        if self.centered:
            raise ValueError("a covariance is not a sum over batches; use centered=False, and subtract g g'")
        return super().per_batch(V)

    def _curvature(self, outputs, index):
        r = [torch.zeros_like(z) if g is None else g.detach()
             for z, g in zip(outputs.copies, outputs.gradients(), strict=True)]
        if len({one.shape[0] for one in r}) > 1:
            raise ValueError(f"outputs of shapes {[tuple(one.shape) for one in r]} do not share a first dimension of "
                             "samples; let the model return tensors that do")
        if outputs.criterion_alone:
            dims = _target_dims(self._network.loss.kind, r[0])
            return lambda tangents: [r[0] * (r[0] * tangents[0]).sum(dims, keepdim=True)]

        def product(tangents):
            inner = sum((one * u).flatten(1).sum(1) for one, u in zip(r, tangents, strict=True))
            return [one * inner.view(-1, *[1] * (one.dim() - 1)) for one in r]

        return product


def _target_dims(kind: str | None, z) -> list[int]:
    """Dimensions of the outputs over which one target reaches."""
    return [class_dim(z)] if kind == "cross-entropy" else list(range(1, z.dim()))
