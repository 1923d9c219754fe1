"""What all curvature operators share: one pass over the data for a block of vectors.

    C V = (1 / sum_b n_b) sum_b n_b C_b V,

with C_b the curvature of batch b and n_b its counted targets. For every batch one graph is built and all k columns go
through it; graphs are kept for the next product as far as a budget of bytes reaches, and the others are built anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from spectra import _arrays
from spectra._progress import track
from spectra.nn._cache import GraphCache
from spectra.nn._check import check_product
from spectra.nn._data import Batches
from spectra.nn._losses import Loss, Value
from spectra.nn._network import Network, require_finite
from spectra.nn._parameters import Parameters, choose, uncompiled
from spectra.operators import LinearOperator

_PARTIAL = 16  # batches added up in the precision of the vectors before they go to a sum in float64


class CurvatureOperator(LinearOperator):
    """Abstract: a curvature matrix of a loss, as an operator on vectors of parameters."""

    hermitian = True
    _forward_mode = False  # whether `_direct` is there, until a layer refuses

    def __init__(self, model, loss_fn, data, *, params=None, weight="count", bn="eval", dropout="off", cache="auto",
                 dtype=None, progress: bool | Callable = False, check="once"):
        if check not in ("once", None, False):
            raise ValueError(f"check must be 'once' or None, found {check!r}")
        self._arguments = {"loss_fn": loss_fn, "data": data, "weight": weight, "bn": bn, "dropout": dropout,
                           "cache": cache, "dtype": dtype, "progress": progress}
        model = uncompiled(model)
        loss, parameters = Loss(loss_fn, weight), choose(model, params)
        self._network = Network(model, loss, parameters, bn=bn, dropout=dropout, dtype=dtype)
        self._batches = Batches(data)
        self._progress = progress
        self.like = self._network.like()
        super().__init__((parameters.size, parameters.size), _arrays.dtype_of(self.like))
        self._network.refresh()
        self._settle(loss)
        self._cache = GraphCache(cache, self.like.device)
        self._unchecked = bool(check)
        self._verified = bool(check)  # the check against jvp(grad) says more than products can
        self._counts: list[float] = []
        self._units: list[float] = []

    # What a curvature must say

    def _graph(self, network: Network, batch, index: int) -> Any:
        """A graph of a batch with `value` and `product(pieces, last)`."""
        raise NotImplementedError

    def _direct(self, network: Network, batch, index: int, pieces) -> tuple[Value, list] | None:
        """The product with one vector without a graph, where that is cheaper; otherwise None."""
        return None

    def _reference(self, network: Network, batch, index: int, pieces) -> tuple[list, str]:
        """The same product by other means, and their name."""
        raise NotImplementedError

    def _scale(self, count: float, units: float) -> float:
        """What the sum over batches is multiplied by."""
        return 1.0 if self._network.loss.adds else 1.0 / count

    # Products

    @torch.inference_mode(False)
    def _matmat(self, V):
        rows = self._enter(V)
        total = _Sum(rows, self._network.parameters)
        with track(self._progress, len(self._batches), type(self).__name__) as advance:
            for _ in self._walk(rows, total.add):
                total.next_batch()
                advance()
        return self._finite(self._scaled(total.result(), sum(self._counts), sum(self._units))).T

    @torch.inference_mode(False)
    def per_batch(self, V) -> Iterator[torch.Tensor]:
        """The products of the batches one by one: blocks of the shape of V, curvatures of single batches.

        After the last, `weights` holds their shares: ``H @ V`` is the sum of ``weights[b]`` times the b-th block.
        """
        block = V if V.ndim == 2 else V[:, None]
        rows = self._enter(block)
        self._spent += block.shape[1]
        part = _Sum(rows, self._network.parameters)
        for value in self._walk(rows, part.add):
            found = self._finite(self._scaled(part.result().clone(), value.count or 1.0, value.units)).T
            part.part.zero_()
            yield found if V.ndim == 2 else found[:, 0]

    def _enter(self, V) -> torch.Tensor:
        """Look at the weights, check once, and lay the columns of V out as contiguous rows."""
        if not isinstance(V, torch.Tensor) or V.device.type != self.like.device.type:
            found = f"a tensor on {V.device}" if isinstance(V, torch.Tensor) else f"a {type(V).__name__}"
            raise TypeError(f"expected a torch tensor on {self.like.device}, where the model is, found {found}; "
                            "to_scipy() gives an operator on NumPy arrays")
        if self._network.refresh():
            self._forget()
        if self._unchecked:
            self._unchecked = False
            check_product(self, self._network, self._batches.first())
        return (V.clone() if V.is_inference() else V.detach()).to(self.like).T.contiguous()

    def _forget(self) -> None:
        """The weights have changed: what was computed from them is void."""
        self._cache.clear()

    def _walk(self, rows, add) -> Iterator[Value]:
        """Pass over the data: ``add(j, tensors)`` gets the sums for column j of every batch, which is then yielded."""
        columns = [self._network.parameters.split(row) for row in rows]
        if self._goes_direct(columns):  # dual numbers would copy tangents that are views in every batch
            columns = [[piece.clone() for piece in pieces] for pieces in columns]
        counts, units = [], []
        for index, batch in self._numbered():
            with self._network.still():
                value = self._batch(index, batch, columns, add)
            counts.append(value.count)
            units.append(value.units)
            self._counts, self._units = counts, units
            yield value
        if not sum(counts):
            raise ValueError("no batch has a target that counts; are all of them ignored?")

    def _goes_direct(self, columns) -> bool:
        return self._forward_mode and self._cache.full and len(columns) < 4  # more columns pay for a graph

    def _numbered(self) -> Iterator[tuple[int, Any]]:
        """Batches with their numbers; None for batches where the graphs of all of them are kept."""
        if self._batches.complete and len(self._cache) == len(self._batches):
            return iter([(index, None) for index in range(len(self._cache))])
        return enumerate(self._batches)

    def _batch(self, index: int, batch, columns, add) -> Value:
        network, graph = self._network, self._cache.get(index)
        if graph is None:
            batch = network.place(batch)
            if self._goes_direct(columns):
                found = [self._direct(network, batch, index, pieces) for pieces in columns]
                direct = [one for one in found if one is not None]
                if len(direct) == len(columns):
                    for j, (_, tensors) in enumerate(direct):
                        add(j, tensors)
                    return direct[0][0]
            graph, kept = self._cache.build(index, batch, lambda: self._graph(network, batch, index))
        else:
            kept = True
        for j, pieces in enumerate(columns):
            add(j, graph.product(pieces, last=not kept and j == len(columns) - 1))
        return graph.value

    def _scaled(self, rows, count: float, units: float):
        return rows.mul_(self._scale(count, units)).to(self.like)

    def _finite(self, rows):
        # A sum costs a thirtieth of a look at every entry, and is not finite unless all of them are.
        if not torch.isfinite(rows.sum()) and not torch.isfinite(rows).all():
            bad = int(torch.nonzero(~torch.isfinite(rows).all(0))[0])
            raise ValueError(f"the product is not finite, first in parameter {self._network.parameters.owner(bad)}; "
                             "the loss has no finite second derivative there, or the vector is not finite")
        return rows

    # Around the loss

    def require_means(self) -> None:
        """Refuse losses that grow with the batch, between which there is no variance to speak of."""
        if self._network.loss.adds:
            raise ValueError("the loss of a batch must be the mean of its samples, found a sum; use reduction='mean' "
                             "or weight='count'")

    def _settle(self, loss: Loss) -> None:
        if loss.is_criterion is None:
            with self._network.still():
                self._network.evaluate(loss.settle, self._network.place(self._batches.first()), 0)

    def loss(self) -> float:
        """The loss over all data: the number whose curvature this is."""
        total, counts = 0.0, []
        for index, batch in enumerate(self._batches):
            with self._network.still():
                value = self._network.evaluate(self._network.loss, self._network.place(batch), index)
            require_finite(value, index)
            total += float(value.total.detach())
            counts.append(value.count)
        return total if self._network.loss.adds else total / sum(counts)

    @torch.inference_mode(False)
    def gradient(self) -> torch.Tensor:
        """Gradient of `loss()`, shape (P,)."""
        self._network.refresh()
        total = _Sum(self.like.new_empty((1, self.shape[0])), self._network.parameters)
        count, leaves = 0.0, self._network.leaves
        for index, batch in enumerate(self._batches):
            with self._network.still():
                value = self._network.value(self._network.place(batch), index)
                total.add(0, torch.autograd.grad(value.total, leaves, allow_unused=True))
            total.next_batch()
            count += value.count
        return self._finite(total.result().div_(1.0 if self._network.loss.adds else count).to(self.like))[0]

    @property
    def weights(self) -> np.ndarray:
        """Shares of the batches in the operator, shape (batches,), known after the first pass over the data."""
        whole = self._scale(sum(self._counts), sum(self._units))
        return np.array([whole / self._scale(c, u) if c else 0.0
                         for c, u in zip(self._counts, self._units, strict=True)])

    # Parameters

    @property
    def names(self) -> list[str]:
        """Names of the parameters, in the order of the vector."""
        return self._network.parameters.names

    def to_dict(self, v) -> dict[str, torch.Tensor]:
        """A vector (P,) as tensors by parameter; columns of a block (P, k) come last in their shapes."""
        return self._network.parameters.to_dict(v)

    def from_dict(self, tensors) -> torch.Tensor:
        """The vector (P,) of tensors by parameter."""
        return self._network.parameters.from_dict(tensors, self.like)

    def blocks(self, by="layer") -> dict[str, CurvatureOperator]:
        """Diagonal blocks: the same curvature for the parameters of one layer, keyed by the layer's name.

        `by` is "layer", "parameter", or a function from a parameter's name to the name of its group.
        """
        groups = self._network.parameters.layers(by)
        return {name: type(self)(self._network.model, params=list(group), check=None, **self._arguments)
                for name, group in groups.items()}


class _Sum:
    """Sum over batches, shape (k, P): a few at a time in the precision of the vectors, the rest in float64."""

    def __init__(self, like, parameters: Parameters):
        self.part = torch.zeros_like(like)
        self.pieces = [parameters.split(row) for row in self.part]
        self.total = None
        self.batches = 0

    def add(self, j: int, tensors) -> None:
        """Add the sums of one batch for column j, tensor by tensor; None is zero."""
        for piece, tensor in zip(self.pieces[j], tensors, strict=True):
            if tensor is not None:
                piece.add_(tensor)

    def next_batch(self) -> None:
        self.batches += 1
        if self.batches % _PARTIAL == 0:
            self.total = self.part.to(torch.float64, copy=True) if self.total is None else self.total.add_(self.part)
            self.part.zero_()

    def result(self) -> torch.Tensor:
        return self.part if self.total is None else self.total.add_(self.part)
