"""A network in numbers: sharpness, flatness, noise, negative curvature.

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
from spectra.nn._data import Batches, stated_size
from spectra.nn._data import batch_size as size_of
from spectra.nn._hessian import HessianOperator
from spectra.nn._parameters import choose, uncompiled
from spectra.nn._spectrum import negative_mass, rank_degeneracy
from spectra.nn._variance import CURVATURES, curvature_variance
from spectra.results import Estimate, SpectralDensity, standard_error


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
        details hold `residual`), `norm` (the spectral norm), `variance` (see `curvature_variance`), `negative_mass`,
        `negative_mass_without_nearest` (Ritz value to 0), `degeneracy`.

    Raises
    ------
    ValueError
        As `HessianOperator`.

    Notes
    -----
    For each curvature ``probes * steps`` products for the density, about 50 for both ends, and one with every batch for
    the variance. A single batch has no `gradient_variance`. With one probe the spread over probes is not known and
    standard errors are infinite.

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
    params = choose(model, params).names  # a generator could be read but once
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


def _of_weights(model, names):
    held = dict(uncompiled(model).named_parameters())
    flat = torch.cat([held[name].detach().double().ravel() for name in names])
    return {"weight_norm": Estimate(float(flat.norm()), method="exact"),
            "largest_weight": Estimate(float(flat.abs().max()), method="exact")}


def _of_gradient(model, loss_fn, data, options):
    whole = HessianOperator(model, loss_fn, data, check=None, cache=None, **options)
    found = {"loss": Estimate(whole.loss(), method="exact"),
             "gradient_norm": Estimate(float(whole.gradient().double().norm()), method="exact")}
    if sum(1 for _ in Batches(data)) > 1:
        found["gradient_variance"] = gradient_variance(model, loss_fn, data, **options)
    return found


def _of_density(rho: SpectralDensity, name: str):
    return {"trace": rho.sum(lambda x: x), "squared_norm": rho.sum(np.square), "negative_mass": negative_mass(rho),
            "negative_mass_without_nearest": negative_mass(rho, without_nearest=True),
            "degeneracy": rank_degeneracy(rho, nearest=2 if name == "hessian" else 1)}


def _of_ends(operator, seed):
    found = {}
    for name, which in (("largest", "LA"), ("smallest", "SA")):
        before = operator.matvecs
        values, _, residuals = eigenpairs(operator, 1, which=which, tol=1e-3, rng=seed)
        size = float(residuals[0])
        found[name] = Estimate(float(values[0]), 0.0, (-size, size), operator.matvecs - before, 0, seed, "lanczos",
                               {"residual": size})
    widest = max(found.values(), key=lambda end: abs(end.value))
    found["norm"] = Estimate(abs(widest.value), 0.0, widest.bias, 0, 0, seed, "lanczos", dict(widest.details))
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
        If there is only one batch, its loss is a sum, or `batch_size` is not a positive integer.

    Notes
    -----
    Two passes over the data, and three times the memory of the weights in float64. Samples are taken as independent
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
    params = choose(model, params).names
    batches, options = Batches(data), {"params": params, "bn": bn, "dropout": dropout, "check": None, "cache": None}

    def gradients():
        for batch in batches:
            operator = HessianOperator(model, loss_fn, [batch], **options)
            operator.require_means()
            yield size_of(batch), operator.gradient().double()

    total, mean = 0.0, 0.0
    for n, g in gradients():
        total, mean = total + n, mean + (g - mean) * (n / (total + n))
    samples = [(n, n * float((g - mean).square().sum())) for n, g in gradients()]
    if len(samples) < 2:
        raise ValueError("the variance of a gradient needs at least two batches, found one; cut the data into more")
    each = np.array([square for _, square in samples]) * len(samples) / (len(samples) - 1) / len(mean)
    size = stated_size(batch_size, samples[0][0])
    details = {"at_batch_size": size, "per_sample": float(each.mean()), "parameters": len(mean)}
    return Estimate(float(each.mean()) / size, standard_error(each) / size, None, 0, len(samples), None, "sample",
                    details)
