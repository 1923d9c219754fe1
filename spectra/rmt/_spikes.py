"""What noise does to the few large eigenvalues of a matrix: they move outwards, or drown.

A matrix of low rank with an eigenvalue l (a spike), seen through noise,

    additive         A + W,              W symmetric noise, spectrum the semicircle of variance v,
    multiplicative   (I + A) times a sample covariance of noise, spectrum of Marchenko and Pastur, ratio q, variance v,

has an eigenvalue outside the noise's bulk if and only if |l| exceeds a threshold (Baik, Ben Arous and Peche):

                     threshold    outlier                      squared overlap of the eigenvectors
    additive         sqrt(v)      l + v / l                    1 - v / l^2
    multiplicative   sqrt(q)      v (1 + l) (1 + q / l)        (1 - q / l^2) / (1 + q / l)

Below the threshold the eigenvalue sits at the edge of the bulk, and its eigenvector says nothing.

References: Benaych-Georges and Nadakuditi, Advances in Mathematics 227 (2011), doi 10.1016/j.aim.2011.02.007; thesis,
Theorems 14, 16 (as corrected in docs/errata.md) and 17.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spectra.rmt._laws import not_negative, positive


class Additive(NamedTuple):
    variance: float

    @property
    def threshold(self):
        return np.sqrt(self.variance)

    @property
    def edges(self):
        edge = 2 * np.sqrt(self.variance)
        return -edge, edge

    def outlier(self, spike):
        return spike + self.variance / spike

    def spike(self, outlier):
        return _larger_root(outlier, self.variance)

    def overlap(self, spike):
        return 1 - self.variance / spike / spike


class Multiplicative(NamedTuple):
    variance: float
    ratio: float

    @property
    def threshold(self):
        return np.sqrt(self.ratio)

    @property
    def edges(self):
        root = np.sqrt(self.ratio)
        return (self.variance * (1 - root) ** 2 if root < 1 else 0.0), self.variance * (1 + root) ** 2

    def outlier(self, spike):
        return self.variance * (1 + spike) * (1 + self.ratio / spike)

    def spike(self, outlier):
        return _larger_root(outlier / self.variance - 1 - self.ratio, self.ratio)

    def overlap(self, spike):
        return (1 - self.ratio / spike**2) / (1 + self.ratio / spike)


def outliers(spikes, *, noise: str = "additive", variance: float = 1.0, ratio: float | None = None):
    """Eigenvalues of the noisy matrix that the eigenvalues of the clean one become.

    Additive: ``l + v / l`` where ``|l| > sqrt(v)``, else the edge ``+-2 sqrt(v)`` of the semicircle. Multiplicative:
    ``v (1 + l)(1 + q / l)`` where ``|l| > sqrt(q)``, else the edge ``v (1 +- sqrt(q))^2``.

    Parameters
    ----------
    spikes : array_like
        Eigenvalues l of the matrix of low rank: A in ``A + W``, and in the multiplicative model, where the population
        covariance is ``v (I + A)``, the excess over 1, not below -1.
    noise : {"additive", "multiplicative"}
    variance : float
        v: of the semicircle (`batch_variance` gives that of a mini-batch Hessian; 0 is no noise), or of the entries.
    ratio : float
        q of the multiplicative noise, parameters by samples.

    Returns
    -------
    ndarray of the shape of `spikes`

    Raises
    ------
    ValueError
        If a spike is not finite, the noise has another name, or its ratio is missing.

    Notes
    -----
    The limit of large orders; an outlier of order n fluctuates by about ``sqrt(2 v / n)``. Thesis, Theorems 14 and 16
    (corrected: Lemma 15 prints the threshold twice too large, Theorem 16 another edge); true-Hessian paper, Theorem 1.

    Examples
    --------
    >>> import spectra
    >>> spectra.rmt.outliers([3.0, 0.5, -2.0], variance=1.0).round(4)
    array([ 3.3333,  2.    , -2.5   ])
    >>> spectra.rmt.outliers([1.0], noise="multiplicative", ratio=0.25)
    array([2.5])
    """
    model, spikes = _model(noise, variance, ratio), _finite(spikes, "spikes")
    _require_population(model, spikes)
    lower, upper = model.edges
    out = np.abs(spikes) > model.threshold
    if isinstance(model, Multiplicative) and model.ratio >= 1:
        out &= spikes > 0  # the lower edge is 0, and nothing lies below
    moved = model.outlier(np.where(out, spikes, 1.0))
    return np.where(out, moved, np.where(spikes < 0, lower, upper))


def spikes(outliers, *, noise: str = "additive", variance: float = 1.0, ratio: float | None = None):
    """Eigenvalues of the clean matrix, from those of the noisy one that left the bulk: the inverse of `outliers`.

    Parameters
    ----------
    outliers : array_like
        Eigenvalues of the noisy matrix.
    noise, variance, ratio
        As `outliers`.

    Returns
    -------
    ndarray of the shape of `outliers`
        0 for an eigenvalue inside the bulk, of which only ``|l| <= threshold`` is known.

    Raises
    ------
    ValueError
        As `outliers`.

    Notes
    -----
    The estimate of the true Hessian's extreme eigenvalues from those of a batch: true-Hessian paper, section 5.

    Examples
    --------
    >>> import spectra
    >>> spectra.rmt.spikes([10 / 3, 1.9, -2.5]).round(12)
    array([ 3.,  0., -2.])
    """
    model, outliers = _model(noise, variance, ratio), _finite(outliers, "outliers")
    if isinstance(model, Multiplicative) and np.any(outliers < 0):
        raise ValueError("a sample covariance, which multiplicative noise is, has no negative eigenvalues, found "
                         f"{np.min(outliers):.6g}")
    lower, upper = model.edges
    outside = (outliers > upper) | (outliers < lower)
    return np.where(outside, model.spike(np.where(outside, outliers, 2 * upper or 1.0)), 0.0)


def overlaps(spikes, *, noise: str = "additive", variance: float = 1.0, ratio: float | None = None):
    """Squared cosine between the clean eigenvector of each spike and its noisy one.

    Additive: ``1 - v / l^2``; multiplicative: ``(1 - q / l^2) / (1 + q / l)``; 0 below the threshold.

    Parameters
    ----------
    spikes, noise, variance, ratio
        As `outliers`.

    Returns
    -------
    ndarray of the shape of `spikes`, between 0 and 1

    Raises
    ------
    ValueError
        As `outliers`.

    Notes
    -----
    Thesis, Theorem 17, with ``v = P sigma^2 / B``.

    Examples
    --------
    >>> import spectra
    >>> spectra.rmt.overlaps([2.0, 0.5])
    array([0.75, 0.  ])
    """
    model, spikes = _model(noise, variance, ratio), _finite(spikes, "spikes")
    _require_population(model, spikes)
    out = np.abs(spikes) > model.threshold
    if isinstance(model, Multiplicative) and model.ratio >= 1:
        out &= spikes > 0
    return np.where(out, model.overlap(np.where(out, spikes, 2 * model.threshold or 1.0)), 0.0)


def threshold(*, noise: str = "additive", variance: float = 1.0, ratio: float | None = None) -> float:
    """The size that a spike must exceed to leave the bulk: ``sqrt(v)``, or ``sqrt(q)`` in multiplicative noise.

    Parameters
    ----------
    noise, variance, ratio
        As `outliers`.

    Raises
    ------
    ValueError
        As `outliers`.

    Notes
    -----
    Half the edge of the semicircle. Baik, Ben Arous and Peche, Annals of Probability 33 (2005).

    Examples
    --------
    >>> import spectra
    >>> spectra.rmt.threshold(variance=4.0), spectra.rmt.threshold(noise="multiplicative", ratio=0.25)
    (2.0, 0.5)
    """
    return float(_model(noise, variance, ratio).threshold)


def _model(noise, variance, ratio):
    if noise == "additive":
        if ratio is not None:
            raise ValueError('additive noise has a variance and no ratio; leave ratio out, or take '
                             'noise="multiplicative"')
        return Additive(not_negative(variance, "variance"))
    if noise == "multiplicative":
        if ratio is None:
            raise ValueError("multiplicative noise needs ratio=, the number of parameters by that of samples")
        return Multiplicative(positive(variance, "variance"), positive(ratio, "ratio"))
    raise ValueError(f"noise must be 'additive' or 'multiplicative', found {noise!r}")


def _require_population(model, spikes):
    if isinstance(model, Multiplicative) and np.any(spikes < -1):
        raise ValueError("in multiplicative noise a spike is the excess of a population eigenvalue over 1, so at "
                         f"least -1, found {np.min(spikes):.6g}")


def _finite(x, name):
    x = np.asarray(x)
    if x.size and (x.dtype.kind not in "biuf" or not np.all(np.isfinite(x))):
        raise ValueError(f"{name} must be finite real numbers, found {x!r}")
    return x.astype(float)


def _larger_root(total, product):
    """The root of l^2 - total l + product that is larger in size."""
    least = 2 * np.sqrt(product)
    root = np.sqrt(np.maximum(np.abs(total) - least, 0.0)) * np.sqrt(np.abs(total) + least)
    return (total + np.copysign(root, total)) / 2
