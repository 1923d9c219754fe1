"""How much the curvature of a mini-batch differs from that of all data.

    s = (1/P) E ||C_batch - C||_F^2,

the variance of the noise that a batch of B samples adds to a curvature matrix: the variance of the eigenvalues of that
noise, ``2 sqrt(s)`` the edge of its bulk, and what a damping has to be compared with. With probes v of independent
signs ``E ||D v||^2 = ||D||_F^2``, so products with differences of batches estimate it, without bias:

    split    two halves of each batch of n           ||(C_1 - C_2) v||^2 n / (4 P)  a sample
    pair     batches in pairs                        ||(C_1 - C_2) v||^2 n / (2 P)
    sample   all batches about their mean            sum_i ||(C_i - C_mean) v||^2 n / ((k - 1) P)

divided by B. The probe is most of the spread, not the data: many small batches, each with a probe of its own, tell
most.
The papers' Algorithm divides by no N and subtracts ``(v' C_mean v)^2``, which makes it twenty to fifty times too large.

Reference: damping paper, Algorithm 1, and thesis, Algorithm 8, as corrected in docs/errata.md.
"""

from __future__ import annotations

import numpy as np
import torch

from spectra import _arrays
from spectra.nn._data import Batches, mapped, stated_size
from spectra.nn._data import batch_size as size_of
from spectra.nn._ggn import GGNOperator
from spectra.nn._hessian import HessianOperator
from spectra.nn._parameters import choose
from spectra.results import Estimate, standard_error

CURVATURES = {"hessian": HessianOperator, "ggn": GGNOperator}


def curvature_variance(model, loss_fn, data, *, curvature: str = "hessian", batch_size: int | None = None,
                       method: str = "split", probes: int = 1, rng=None, params=None, bn: str = "eval",
                       dropout: str = "off") -> Estimate:
    """Variance that mini-batching adds to a curvature matrix, ``s = E ||C_batch - C||_F^2 / P``.

    Parameters
    ----------
    model, loss_fn, data, params, bn, dropout
        As `HessianOperator`. Every batch of `data` gets fresh probes, so many small batches are worth more than a few
        large ones.
    curvature : {"hessian", "ggn"}
    batch_size : int, optional
        The size B of the mini-batches that the answer is about; default: that of the first batch of `data`.
    method : {"split", "pair", "sample"}
        Differences between the halves of each batch, between batches in pairs, or of all batches from their mean.
    probes : int
        Vectors of random signs for each difference.
    rng : int, Generator or None
        Draws the halves and the probes.

    Returns
    -------
    Estimate
        Details: `at_batch_size`, `per_sample` (``s B``, that of a single sample), `sigma2` (variance of one element of
        the curvature of one sample, ``s B / P``, which `spectra.rmt.batch_variance` takes), `parameters`.

    Raises
    ------
    ValueError
        If there are too few samples or batches for the method, a count is not positive, or a loss is a sum.

    Notes
    -----
    Cost: one product with each batch a probe (for "sample" with as many columns as probes). The samples are taken as
    independent draws: for batches without replacement from N multiply by ``1 - B/N``. Standard error from the spread
    over differences; for "sample", whose batches share their probes, from those over probes and over batches together.
    A single difference, or for "sample" a single probe, has no spread: its standard error is infinite.

    Examples
    --------
    >>> import torch, spectra.nn
    >>> model = torch.nn.Linear(1, 1, bias=False)                                  # the Hessian of a sample is 2 x^2
    >>> x = torch.tensor([[1.0], [3.0]])
    >>> s = spectra.nn.curvature_variance(model, torch.nn.MSELoss(), (x, 0 * x), rng=0)
    >>> s.value, s.at_batch_size, s.per_sample                                     # (2 - 18)^2 / 2 = 128
    (64.0, 2, 128.0)
    """
    if curvature not in CURVATURES:
        raise ValueError(f"curvature must be one of {sorted(CURVATURES)}, found {curvature!r}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {sorted(METHODS)}, found {method!r}")
    if int(probes) != probes or probes < 1:
        raise ValueError(f"probes must be a positive integer, found {probes!r}")
    generator, seed = _arrays.generator(rng)
    differ = _Differences(model, loss_fn, generator, int(probes), CURVATURES[curvature],
                          {"params": choose(model, params).names, "bn": bn, "dropout": dropout})
    batches = Batches(data)
    size = stated_size(batch_size, size_of(batches.first()))
    samples = np.array(list(METHODS[method](differ, batches)))  # shape (differences,), or (batches, probes)
    if not len(samples):
        raise ValueError("batches of one sample cannot be split; use batches of two and more, or method='pair'")
    value = float(samples.mean())
    details = {"at_batch_size": size, "per_sample": value, "sigma2": value / differ.parameters,
               "parameters": differ.parameters, "curvature": curvature}
    others = [tuple(i for i in range(samples.ndim) if i != axis) for axis in range(samples.ndim)]
    stderr = float(np.linalg.norm([standard_error(samples.mean(axes)) for axes in others])) / size
    return Estimate(value / size, stderr, None, differ.matvecs, min(samples.shape), seed, method, details)


class _Differences:
    """Products of differences of batches with fresh probes."""

    def __init__(self, model, loss_fn, generator, probes, kind, options):
        self.make = lambda parts: kind(model, loss_fn, parts, check=None, cache=None, **options)
        self.generator, self.probes = generator, probes
        self.matvecs = self.parameters = 0

    def products(self, parts) -> torch.Tensor:
        """C_b V for each part, shape (parts, P, probes), with one block V of signs."""
        operator = self.make(parts)
        operator.require_means()
        self.parameters = operator.shape[0]
        V = _arrays.signs(self.generator, self.parameters, self.probes, operator.like, operator.dtype)
        self.matvecs += self.probes
        return torch.stack([block.double() for block in operator.per_batch(V)])

    def halves(self, batch):
        """The batch in two random halves; an odd sample is left out."""
        n = size_of(batch)
        order = self.generator.permutation(n)
        return [mapped(lambda x, own=own: x[own] if x.dim() and x.shape[0] == n else x, batch)
                for own in (torch.from_numpy(order[i * (n // 2):(i + 1) * (n // 2)].copy()) for i in (0, 1))]


def _split(differ: _Differences, batches):
    several = (batch for batch in batches if size_of(batch) > 1)  # the last may hold one sample
    for batch in several:
        one, other = differ.products(differ.halves(batch))
        half = size_of(batch) // 2
        yield float((one - other).square().sum(0).mean()) * half / 2 / differ.parameters


def _pair(differ: _Differences, batches):
    waiting, pairs = None, 0
    for batch in batches:
        if waiting is None:
            waiting = batch
            continue
        one, other = differ.products([waiting, batch])
        n, m = size_of(waiting), size_of(batch)
        yield float((one - other).square().sum(0).mean()) / (1 / n + 1 / m) / differ.parameters
        waiting, pairs = None, pairs + 1
    if not pairs:
        raise ValueError('method="pair" needs two batches, found one; use method="split"')


def _sample(differ: _Differences, batches):
    parts = list(batches)
    sizes = np.array([size_of(part) for part in parts], dtype=float)
    if len(parts) < 2:
        raise ValueError('method="sample" needs two batches, found one; use method="split"')
    products = differ.products(parts)
    mean = torch.tensordot(torch.from_numpy(sizes / sizes.sum()).to(products.device), products, 1)
    # Weighted by n_i the expectation is (k - 1) times the variance of one sample, whatever the sizes.
    squares = (products - mean).square().sum(1).cpu().numpy()
    yield from sizes[:, None] * squares * len(parts) / (len(parts) - 1) / differ.parameters


METHODS = {"split": _split, "pair": _pair, "sample": _sample}
