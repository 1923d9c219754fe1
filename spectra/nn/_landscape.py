"""The loss along one or two directions through the weights.

    L(w + a u)        L(w + a u + b v)

for directions that are Ritz vectors of the curvature, or random ones with the scale of each filter of the network.

Reference: Li et al., NeurIPS 2018, arXiv 1712.09913; thesis 4.1.2 and Table 4.3.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from spectra import _arrays
from spectra._progress import track
from spectra.nn._data import Batches, mapped
from spectra.nn._hessian import HessianOperator
from spectra.nn._network import NotFinite
from spectra.nn._parameters import choose, uncompiled


class Landscape(NamedTuple):
    """Losses on a grid."""

    coordinates: tuple[np.ndarray, ...]
    """Where along each direction, in units of the direction's length."""
    losses: np.ndarray
    """Shape (len(coordinates[0]),) or (len(coordinates[0]), len(coordinates[1]))."""


def landscape(model, loss_fn, data, directions, *, span: float = 1.0, points: int = 21, params=None, bn: str = "eval",
              dropout: str = "off", refresh=None, progress=False) -> Landscape:
    """The loss on a line or a plane through the weights.

    Parameters
    ----------
    model, loss_fn, data, params, dropout
        As `HessianOperator`. Call again with test data for the other curve.
    directions : vector, dict by parameter, or a list of one or two of them
        Shape (P,); `eigenpairs` gives Ritz vectors, `random_direction` random ones.
    span : float
        The grid goes from -span to span, times the direction.
    points : int
        On each axis; odd, to have the weights themselves among them.
    bn : {"eval", "train"}
        Batch normalisation with its running statistics, or with those of each batch.
    refresh : loader or list of batches, optional
        Data from which running statistics are recomputed at every point: those of the unmoved weights are wrong for
        moved ones, and make minima look sharper than they are.
    progress : bool or callable

    Returns
    -------
    Landscape
        `coordinates` and `losses`.

    Raises
    ------
    ValueError
        If there are no directions, or more than two, one is not that of the parameters, or `points` is not a positive
        integer.

    Notes
    -----
    ``points`` or ``points^2`` passes over the data, twice that with `refresh`. The model is copied, and left alone. A
    loss that is not finite stands as inf.

    Examples
    --------
    >>> import torch, spectra.nn
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.ones_(model.weight)
    >>> found = spectra.nn.landscape(model, torch.nn.MSELoss(), (torch.ones(1, 1), torch.zeros(1, 1)),
    ...                              torch.ones(1), points=3)
    >>> found.losses.tolist()                                         # (1 + a)^2
    [0.0, 1.0, 4.0]
    """
    if int(points) != points or points < 1:
        raise ValueError(f"points must be a positive integer, found {points!r}")
    names, model = choose(model, params).names, copy.deepcopy(uncompiled(model))
    operator = HessianOperator(model, loss_fn, data, params=names, bn=bn, dropout=dropout, check=None, cache=None)
    refresh = None if refresh is None else Batches(refresh)
    directions = [directions] if isinstance(directions, (dict, torch.Tensor, np.ndarray)) else list(directions)
    if len(directions) not in (1, 2):
        raise ValueError(f"a landscape has one or two directions, found {len(directions)}")
    moves = [_by_parameter(operator, direction) for direction in directions]
    axis = np.linspace(-span, span, points)
    chosen = {name: w for name, w in model.named_parameters() if name in names}
    start = {name: w.detach().clone() for name, w in chosen.items()}
    losses = np.empty([points] * len(moves))
    with track(progress, losses.size, "landscape") as advance:
        for place in np.ndindex(losses.shape):
            _put(chosen, start, moves, axis[list(place)])
            if refresh is not None:
                _refresh_statistics(operator, refresh)
            losses[place] = _loss(operator)
            advance()
    return Landscape((axis,) * len(moves), losses)


def random_direction(model, *, params=None, rng=None) -> dict[str, torch.Tensor]:
    """A Gaussian direction with the norm of the weights, filter by filter.

    Every output row (filter) of a weight gets a random vector of that row's norm; vectors of parameters (biases, norm
    layers) get zeros, as Li et al. have it.

    Parameters
    ----------
    model : Module
    params : None, names, or predicate (name, parameter)
        As `HessianOperator`.
    rng : int, Generator or None

    Returns
    -------
    dict
        Of tensors by parameter, for `landscape`.

    Examples
    --------
    >>> import torch, spectra.nn
    >>> model = torch.nn.Linear(3, 2)
    >>> direction = spectra.nn.random_direction(model, rng=0)
    >>> torch.allclose(direction["weight"].norm(dim=1), model.weight.norm(dim=1)), direction["bias"].tolist()
    (True, [0.0, 0.0])
    """
    generator, _ = _arrays.generator(rng)
    held, found = dict(uncompiled(model).named_parameters()), {}
    for name in choose(model, params).names:
        w = held[name].detach()
        if w.dim() < 2:
            found[name] = torch.zeros_like(w)
            continue
        draw = torch.from_numpy(generator.standard_normal(tuple(w.shape))).to(w)
        scale = w.flatten(1).norm(dim=1) / draw.flatten(1).norm(dim=1)
        found[name] = draw * scale.reshape(-1, *[1] * (w.dim() - 1))
    return found


def _by_parameter(operator, direction) -> dict[str, torch.Tensor]:
    if isinstance(direction, dict):
        return operator.to_dict(operator.from_dict(direction))
    vector = torch.as_tensor(direction).to(operator.like)
    if vector.dim() == 2 and vector.shape[1] == 1:
        vector = vector[:, 0]
    if tuple(vector.shape) != (operator.shape[0],):
        raise ValueError(f"a direction has one entry for each of {operator.shape[0]} parameters, found shape "
                         f"{tuple(vector.shape)}")
    return operator.to_dict(vector)


@torch.no_grad()
def _put(chosen, start, moves, place):
    for name, w in chosen.items():
        w.copy_(start[name] + sum(float(a) * move[name].to(w) for a, move in zip(place, moves, strict=True)))


@torch.no_grad()
def _refresh_statistics(operator, batches) -> None:
    """Running statistics as means over all batches, as `torch.optim.swa_utils.update_bn` has them, but without dropout
    and for batches of every form."""
    network = operator._network
    layers = [m for m in network.model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    with network.still():
        for layer in layers:
            layer.training = True
        for batch in batches:
            network.loss(network.model, mapped(lambda one: one.to(network.device), batch))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def _loss(operator) -> float:
    try:
        return operator.loss()
    except NotFinite:  # far away from the weights
        return float("inf")
