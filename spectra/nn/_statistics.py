"""What a spectrum says about a network, in numbers: sharpness, flatness, noise, negative curvature.

One Lanczos run gives trace, Frobenius norm, extreme Ritz values, the share of eigenvalues at 0 and below it; passes
over the batches give how much gradient and curvature differ from one mini-batch to the next.

Reference: thesis 4.1.3 and 5.6 to 5.9; true-Hessian paper, Table 3.
"""

from __future__ import annotations

import numpy as np
import torch

from spectra import _arrays
from spectra.estimators import spectral_density
from spectra.krylov import eigenpairs
from spectra.nn._data import Batches
from spectra.nn._data import batch_size as size_of
from spectra.nn._hessian import HessianOperator
from spectra.nn._parameters import choose
from spectra.nn._variance import CURVATURES, curvature_variance
from spectra.results import Estimate, SpectralDensity, standard_error
from spectra.rmt import rank_bound as bound_of_widths


def statistics(model, loss_fn, data, *, curvatures=("hessian", "ggn"), steps: int = 100, probes: int = 1, params=None,
               bn: str = "eval", dropout: str = "off", rng=None, progress=False) -> dict[str, Estimate]:
    """Summary of a network's loss, gradient and curvature at its present weights.

    Parameters
    ----------
    model, loss_fn, data, params, bn, dropout
        As `HessianOperator`. Variances are those of mini-batches of the size of the first batch of `data`.
    curvatures : sequence of {"hessian", "ggn"}
    steps, probes : int
        Of the Lanczos run for each curvature.
    rng : int, Generator or None
    progress : bool or callable

    Returns
    -------
    dict of Estimate
        `loss`; `weight_norm` (l2), `largest_weight`; `gradient_norm`, `gradient_variance`; and for each curvature, as
        `hessian_trace` and so on: `trace`, `squared_norm` (Frobenius), `largest`, `smallest` (eigenvalues; their
        details hold `residual`), `variance` (see `curvature_variance`), `negative_mass`, `degeneracy`.

    Raises
    ------
    ValueError
        As `HessianOperator`.

    Notes
    -----
    For each curvature ``probes * steps`` products for the density, about 50 for both ends, and one with every batch for
    the variance. With one probe the spread over probes is not known and standard errors are infinite.

    Examples
    --------
    >>> import torch, spectra.nn
    >>> _ = torch.manual_seed(0)
    >>> model, x = torch.nn.Linear(3, 1), torch.randn(64, 3)
    >>> found = spectra.nn.statistics(model, torch.nn.MSELoss(), (x, x.sum(1, keepdim=True)), curvatures=["ggn"], rng=0)
    >>> found["ggn_smallest"].value > 0 and found["ggn_negative_mass"].value == 0
    True
    """
    generator, _ = _arrays.generator(rng)
    options = {"params": params, "bn": bn, "dropout": dropout}
    found = _of_weights(model, params) | _of_gradient(model, loss_fn, data, options)
    for name in curvatures:
        if name not in CURVATURES:
            raise ValueError(f"curvatures must be among {sorted(CURVATURES)}, found {name!r}")
        operator = CURVATURES[name](model, loss_fn, data, progress=progress, **options)
        seed = int(generator.integers(1 << 62))
        rho = spectral_density(operator, steps=steps, probes=probes, rng=seed)
        found |= {f"{name}_{key}": value for key, value in _of_density(rho, name).items()}
        found |= {f"{name}_{key}": value for key, value in _of_ends(operator, seed).items()}
        found[f"{name}_variance"] = _variance(model, loss_fn, data, name, seed, options)
    return found


def _of_weights(model, params):
    names = choose(model, params).names
    flat = torch.cat([w.detach().double().ravel() for name, w in model.named_parameters() if name in names])
    return {"weight_norm": Estimate(float(flat.norm()), method="exact"),
            "largest_weight": Estimate(float(flat.abs().max()), method="exact")}


def _of_gradient(model, loss_fn, data, options):
    whole = HessianOperator(model, loss_fn, data, check=None, cache=None, **options)
    found = {"loss": Estimate(whole.loss(), method="exact"),
             "gradient_norm": Estimate(float(whole.gradient().double().norm()), method="exact")}
    if len(list(Batches(data))) > 1:
        found["gradient_variance"] = gradient_variance(model, loss_fn, data, **options)
    return found


def _of_density(rho: SpectralDensity, name: str):
    return {"trace": rho.sum(lambda x: x), "squared_norm": rho.sum(np.square), "negative_mass": negative_mass(rho),
            "degeneracy": rank_degeneracy(rho, nearest=2 if name == "hessian" else 1)}


def _of_ends(operator, seed):
    found = {}
    for name, which in (("largest", "LA"), ("smallest", "SA")):
        before = operator.matvecs
        values, _, residuals = eigenpairs(operator, 1, which=which, tol=1e-3, rng=seed)
        size = float(residuals[0])
        found[name] = Estimate(float(values[0]), 0.0, (-size, size), operator.matvecs - before, 0, seed, "lanczos",
                               {"residual": size})
    return found


def _variance(model, loss_fn, data, name, seed, options):
    return curvature_variance(model, loss_fn, data, curvature=name, rng=seed, **options)


def gradient_variance(model, loss_fn, data, *, batch_size: int | None = None, params=None, bn: str = "eval",
                      dropout: str = "off") -> Estimate:
    """Variance of a mini-batch gradient around the full one, ``E ||g_batch - g||^2 / P``.

    ``sum_i n_i ||g_i - g||^2 / ((k - 1) P B)`` over the k batches of the data, n_i samples in each.

    Parameters
    ----------
    model, loss_fn, data, params, bn, dropout
        As `HessianOperator`; at least two batches.
    batch_size : int, optional
        B; default: that of the first batch.

    Returns
    -------
    Estimate
        Standard error from the spread over batches. Details: `at_batch_size`, `per_sample`, `parameters`.

    Raises
    ------
    ValueError
        If there is only one batch.

    Notes
    -----
    One pass over the data, twice the memory of the weights for each batch at a time. Samples are taken as independent
    draws, see `curvature_variance`.

    Examples
    --------
    >>> import torch, spectra.nn
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.zeros_(model.weight)
    >>> batches = [(torch.ones(1, 1), torch.tensor([[y]])) for y in (1.0, 3.0)]         # gradients -2 and -6
    >>> spectra.nn.gradient_variance(model, torch.nn.MSELoss(), batches).value
    8.0
    """
    parts = list(Batches(data))
    if len(parts) < 2:
        raise ValueError("the variance of a gradient needs at least two batches, found one; cut the data into more")
    sizes = np.array([size_of(part) for part in parts], dtype=float)
    gradients = [HessianOperator(model, loss_fn, [part], params=params, bn=bn, dropout=dropout, check=None,
                                 cache=None).gradient().double() for part in parts]
    mean = sum(float(share) * g for share, g in zip(sizes / sizes.sum(), gradients, strict=True))
    squares = np.array([float((g - mean).square().sum()) for g in gradients])
    each = sizes * squares * len(parts) / (len(parts) - 1) / len(mean)
    size = batch_size or int(sizes[0])
    details = {"at_batch_size": size, "per_sample": float(each.mean()), "parameters": len(mean)}
    stderr = standard_error(each) / size
    return Estimate(float(each.mean()) / size, stderr, None, 0, len(parts), None, "sample", details)


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
        Standard error over probes.

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
    shares = []
    for nodes, weights in rho.rules:
        below = nodes < 0
        if without_nearest:
            below &= np.abs(nodes) > _nearest(nodes, weights, 1)[0]
        shares.append(weights[below].sum())
    return _over_probes(rho, shares)


def rank_degeneracy(rho: SpectralDensity, *, nearest: int = 1) -> Estimate:
    """Share of eigenvalues at 0, as the weight of the Ritz values that are nearest to it.

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
        here = np.abs(nodes) <= _nearest(nodes, weights, nearest)[-1]
        shares.append(weights[here].sum())
        places.append(nodes[here] @ weights[here])
    return _over_probes(rho, shares, {"location": float(np.sum(places) / np.sum(shares))})


def heaviest(rho: SpectralDensity, k: int = 3) -> list[tuple[float, float]]:
    """The Ritz values of most weight, as (value, weight) pairs, heaviest first, of the first probe.

    Parameters
    ----------
    rho : SpectralDensity
    k : int

    Notes
    -----
    True-Hessian paper, Table 3.

    Examples
    --------
    >>> from spectra import SpectralDensity, nn
    >>> nn.heaviest(SpectralDensity([0.0, 1.0, 2.0], [0.6, 0.1, 0.3], 10), 2)
    [(0.0, 0.6), (2.0, 0.3)]
    """
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
        inside = (nodes >= low) & (nodes <= high)
        if nearest:
            inside &= np.abs(nodes) > _nearest(nodes, weights, nearest)[-1]
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


def _nearest(nodes, weights, k) -> np.ndarray:
    """Distances to 0 of the k nodes with weight that are nearest to it."""
    return np.sort(np.abs(nodes[weights > 0]))[:k]


def _over_probes(rho: SpectralDensity, values, details=None) -> Estimate:
    values = np.asarray(values, dtype=float)
    stderr = 0.0 if rho.deterministic else standard_error(values)
    return Estimate(float(values.mean()), stderr, None, rho.matvecs, rho.probes, rho.seed, rho.method, details or {})
