"""What a Lanczos spectrum says about a network: negative curvature, flatness, the shape of the bulk.

A Ritz value stands for the eigenvalues around it, and its weight for their share. Where many eigenvalues are 0, as in
a network with more parameters than data, one Ritz value (of a Hessian one on either side) carries them all.

Reference: thesis 4.1.3 and 5.6 to 5.9; true-Hessian paper, Table 3.
"""

from __future__ import annotations

import numpy as np
import torch

from spectra.results import Estimate, SpectralDensity, standard_error
from spectra.rmt import rank_bound as bound_of_widths

_ROUNDING = 16  # times the precision of the products and the largest Ritz value: as good as 0


def negative_mass(rho: SpectralDensity, *, without_nearest: bool = False) -> Estimate:
    """Share of eigenvalues below 0, with or without the Ritz value that is nearest to 0.

    Parameters
    ----------
    rho : SpectralDensity
    without_nearest : bool
        Take the Ritz value nearest to 0 for 0: of a rank-deficient matrix it is, up to rounding, on either side.

    Returns
    -------
    Estimate
        Standard error over probes. The bias bracket is that of `SpectralDensity.count`, the weights of the Ritz values
        next to 0; none without the nearest.

    Notes
    -----
    Thesis 4.1.3.

    Examples
    --------
    >>> from spectra import SpectralDensity, nn
    >>> rho = SpectralDensity([-2.0, -1e-9, 3.0], [0.2, 0.5, 0.3], 10)
    >>> nn.negative_mass(rho).value, nn.negative_mass(rho, without_nearest=True).value
    (0.7, 0.2)
    """
    if not without_nearest:
        below = rho.count(-np.inf, -np.finfo(float).tiny)
        bias = below.bias and (below.bias[0] / rho.size, below.bias[1] / rho.size)
        return Estimate(below.value / rho.size, below.stderr / rho.size, bias, rho.matvecs, rho.probes, rho.seed,
                        rho.method)
    return _over_probes(rho, [weights[(nodes < 0) & ~_at_zero(rho, nodes, weights, 1)].sum()
                              for nodes, weights in rho.rules])


def rank_degeneracy(rho: SpectralDensity, *, nearest: int = 1) -> Estimate:
    """Share of eigenvalues at 0, as the weight of the Ritz values that are nearest to it.

    Whatever the depth of the run does not tell from 0 counts: more steps make it smaller, down to the eigenvalues that
    are 0.

    Parameters
    ----------
    rho : SpectralDensity
    nearest : int
        How many Ritz values to take for 0: one for a positive semidefinite matrix, two for a Hessian, which has one on
        either side.

    Returns
    -------
    Estimate
        Standard error over probes. Details: `location`, their weighted mean.

    Raises
    ------
    ValueError
        If `nearest` is not a positive integer.

    Notes
    -----
    Thesis 5.9.

    Examples
    --------
    >>> from spectra import SpectralDensity, nn
    >>> rho = SpectralDensity([-1.0, -0.001, 0.002, 5.0], [0.1, 0.4, 0.4, 0.1], 100)
    >>> found = nn.rank_degeneracy(rho, nearest=2)
    >>> found.value, round(found.location, 6)
    (0.8, 0.0005)
    """
    if int(nearest) != nearest or nearest < 1:
        raise ValueError(f"nearest must be a positive integer, found {nearest!r}")
    shares, places = [], []
    for nodes, weights in rho.rules:
        here = _at_zero(rho, nodes, weights, nearest)
        shares.append(weights[here].sum())
        places.append(nodes[here] @ weights[here])
    return _over_probes(rho, shares, {"location": float(np.sum(places) / np.sum(shares))})


def heaviest(rho: SpectralDensity, k: int = 3) -> list[tuple[float, float]]:
    """The Ritz values of most weight, as (value, weight) pairs, heaviest first, of the first probe.

    Parameters
    ----------
    rho : SpectralDensity
    k : int

    Raises
    ------
    ValueError
        If k is not a positive integer.

    Notes
    -----
    True-Hessian paper, Table 3.

    Examples
    --------
    >>> from spectra import SpectralDensity, nn
    >>> nn.heaviest(SpectralDensity([0.0, 1.0, 2.0], [0.6, 0.1, 0.3], 10), 2)
    [(0.0, 0.6), (2.0, 0.3)]
    """
    if int(k) != k or k < 1:
        raise ValueError(f"k must be a positive integer, found {k!r}")
    nodes, weights = rho.rules[0]
    order = np.argsort(-weights, kind="stable")[:k]
    return [(float(nodes[i]), float(weights[i])) for i in order]


def skewness(rho: SpectralDensity, low: float = -np.inf, high: float = np.inf, *, nearest: int = 0) -> Estimate:
    """Skewness of the part of a spectrum in [low, high]: positive for a bulk with a long tail to the right.

    ``E (x - m)^3 / (E (x - m)^2)^(3/2)`` under the rule, restricted to the interval.

    Parameters
    ----------
    rho : SpectralDensity
    low, high : float
        Ends of the bulk; leave out the outliers.
    nearest : int
        Ritz values nearest to 0 that are left out as the spike of a rank-deficient matrix.

    Returns
    -------
    Estimate
        Standard error over probes.

    Raises
    ------
    ValueError
        If fewer than three nodes are left.

    Examples
    --------
    >>> from spectra import SpectralDensity, nn
    >>> round(nn.skewness(SpectralDensity([0.0, 1.0, 5.0], [0.6, 0.3, 0.1], 10)).value, 3)
    2.238
    """
    found = []
    for nodes, weights in rho.rules:
        inside = (nodes >= low) & (nodes <= high) & ~_at_zero(rho, nodes, weights, nearest)
        x, w = nodes[inside], weights[inside]
        if len(x) < 3:
            raise ValueError(f"{len(x)} nodes lie in [{low:.4g}, {high:.4g}], and a skewness needs three; widen it")
        w = w / w.sum()
        x = x - x @ w
        found.append((x**3 @ w) / (x**2 @ w) ** 1.5)
    return _over_probes(rho, found)


def rank_bound(model: torch.nn.Module, *, curvature: str = "hessian", samples: int | None = None) -> int:
    """Largest rank that a feed-forward network's curvature can have, see `spectra.rmt.rank_bound`.

    Parameters
    ----------
    model : Module
        Linear layers and activations only.
    curvature : {"hessian", "ggn"}
    samples : int
        For "ggn".

    Raises
    ------
    ValueError
        If the model has other layers with weights.

    Notes
    -----
    Thesis 5.9.4.

    Examples
    --------
    >>> import torch, spectra.nn
    >>> model = torch.nn.Sequential(torch.nn.Linear(784, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10))
    >>> spectra.nn.rank_bound(model)
    35360
    """
    layers = [layer for layer in model.modules() if list(layer.parameters(recurse=False))]
    others = sorted({type(layer).__name__ for layer in layers if not isinstance(layer, torch.nn.Linear)})
    if others or not layers:
        raise ValueError(f"the bound is that of a feed-forward network of Linear layers, found {others or 'no layer'}; "
                         "give the widths to spectra.rmt.rank_bound")
    widths = [layers[0].in_features, *(layer.out_features for layer in layers)]
    return bound_of_widths(widths, curvature=curvature, samples=samples)


def _at_zero(rho: SpectralDensity, nodes, weights, k: int) -> np.ndarray:
    """Which nodes are the k nearest to 0; rounding splits one at 0 into several, which all count as one of them."""
    if not k:
        return np.zeros(len(nodes), dtype=bool)
    distances = np.sort(np.abs(nodes[weights > 0]))[:k]
    rounding = _ROUNDING * rho.details.get("precision", np.finfo(float).eps) * np.abs(nodes).max()
    return np.abs(nodes) <= max(distances[-1], rounding)


def _over_probes(rho: SpectralDensity, values, details=None) -> Estimate:
    values = np.asarray(values, dtype=float)
    stderr = 0.0 if rho.deterministic else standard_error(values)
    return Estimate(float(values.mean()), stderr, None, rho.matvecs, rho.probes, rho.seed, rho.method, details or {})
