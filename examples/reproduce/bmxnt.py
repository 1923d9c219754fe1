"""The classical maximum entropy iteration of Bandyopadhyay et al., one multiplier at a time, on power moments.

This is the baseline of thesis Figure 2.1 ("BMxnt"), as Fitzsimons et al. used it for log-determinants. It is here to be
compared with `spectra.maxent`, not to be used: with more than a handful of power moments the multipliers are so
strongly coupled that changing one at a time makes next to no progress, and what it ends with is no density of maximum
entropy any more: its entropy rises when a moment is added.

References: Bandyopadhyay, Bhattacharya, Biswas and Drabold, Phys. Rev. E 71, 057701 (2005), arXiv:cond-mat/0412717;
Fitzsimons, Granziol, Cutajar, Osborne, Filippone and Roberts, Entropic trace estimates for log determinants (2017),
arXiv:1704.07223.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class ClassicalMaxEnt(NamedTuple):
    """Density at the points, its multipliers, largest moment mismatch, and differential entropy."""

    x: np.ndarray
    density: np.ndarray
    multipliers: np.ndarray
    residual: float
    entropy: float

    def expect(self, f) -> float:
        """Integral of f against the density, by the rule the iteration used."""
        return float(np.mean(self.density * f(self.x)))


def bmxnt(moments, *, points: int = 1000, updates: int = 3000) -> ClassicalMaxEnt:
    """Density ``p(x) = exp(-1 - sum_i alpha_i x^i)`` on [0, 1] whose power moments approach the given ones.

    Update k takes i = k mod (m + 1) and moves that multiplier alone,

        alpha_i <- alpha_i - log(mu_i / ∫ x^i p(x) dx),

    so that the moment would be right if x^i were constant where p has its mass.

    Parameters
    ----------
    moments : array_like, shape (m + 1,)
        ``mu_i = E x^i`` for i = 0 ... m, all positive, of a distribution on [0, 1].
    points : int
        Midpoints of equal cells on which integrals are sums.
    updates : int
        Changes of one multiplier.

    Raises
    ------
    ValueError
        If a moment is not positive.

    Notes
    -----
    ``points * updates`` operations and ``points * m`` memory. Source: see the module.

    Examples
    --------
    >>> p = bmxnt([1.0, 0.5, 1 / 3])
    >>> abs(p.entropy) < 1e-5, p.residual < 1e-5
    (True, True)
    """
    mu = np.asarray(moments, dtype=float)
    if mu.ndim != 1 or not np.all(mu > 0):
        raise ValueError(f"bmxnt needs a vector of positive power moments on [0, 1], found {mu!r}; "
                         "divide the operator by an upper bound of its spectrum")
    x = (np.arange(points) + 0.5) / points
    powers = x ** np.arange(len(mu))[:, None]
    alpha, p = np.zeros(len(mu)), np.full(points, np.exp(-1.0))
    for update in range(updates):
        i = update % len(mu)
        change = np.log(mu[i] / np.mean(powers[i] * p))
        alpha[i] -= change
        p *= np.exp(change * powers[i])
    residual = float(np.abs((powers * p).mean(1) - mu).max())
    return ClassicalMaxEnt(x, p, alpha, residual, float(np.mean(p * (1 + alpha @ powers))))
