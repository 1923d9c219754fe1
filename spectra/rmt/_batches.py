"""Mini-batches as random matrices: how the spectrum of a batch Hessian follows from that of the full one.

    H_batch = H + W,   W about a Wigner matrix with entries of variance sigma^2 / b,   b = B / (1 - B / N),

so W has the semicircle of variance ``v = P sigma^2 / b`` for its spectrum, and an eigenvalue l of H becomes l + v / l
where ``|l| > sqrt(v)`` and drowns otherwise. As the batch grows the largest eigenvalue of H_batch falls like 1/sqrt(B)
while it is the edge of the noise, at twice l leaves it, and then its excess v / l falls like 1/B.

References: thesis, chapter 5 (5.2 to 5.8, Theorems 13, 14) and 5.36; true-Hessian paper, Theorem 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spectra.rmt._laws import not_negative, positive
from spectra.rmt._spikes import outliers


def effective_batch(batch: float, data: float | None = None) -> float:
    """Batch size after the correction for drawing without replacement, ``b = B / (1 - B / N)``.

    Parameters
    ----------
    batch : float
        B.
    data : float, optional
        N, the size of the data set; default: infinite, as for the true Hessian.

    Returns
    -------
    float
        Infinite if the batch is the whole data set: it has no noise.

    Raises
    ------
    ValueError
        If the batch is not positive, or larger than the data set.

    Notes
    -----
    Thesis, after (5.8).

    Examples
    --------
    >>> import spectra
    >>> spectra.rmt.effective_batch(100, 200)
    200.0
    """
    batch = positive(batch, "batch")
    if data is None or data == np.inf:
        return batch
    data = positive(data, "data")
    if batch > data:
        raise ValueError(f"a batch of {batch:g} is larger than the data set of {data:g}; exchange them, or check")
    return float("inf") if batch == data else batch / (1 - batch / data)


def batch_variance(sigma2: float, parameters: int, batch: float, data: float | None = None) -> float:
    """Variance of the semicircle that a mini-batch adds to a Hessian, ``v = P sigma^2 (1/B - 1/N)``.

    Parameters
    ----------
    sigma2 : float
        Variance of an element of the Hessian of one sample, averaged over the elements.
    parameters : int
        P.
    batch, data
        As `effective_batch`.

    Returns
    -------
    float
        To be given to `outliers`, `spikes`, `overlaps` and `semicircle`.

    Raises
    ------
    ValueError
        As `effective_batch`, or if variance or number are not positive.

    Notes
    -----
    ``s = E ||H_batch - H||_F^2 / P`` is the same number. Thesis (5.5), (5.8).

    Examples
    --------
    >>> import spectra
    >>> spectra.rmt.batch_variance(0.01, 1000, 100, 200)
    0.05
    """
    return positive(sigma2, "sigma2") * positive(parameters, "parameters") / effective_batch(batch, data)


class Extremes(NamedTuple):
    """Smallest and largest eigenvalue of a batch Hessian, and whether each is an outlier or the edge of the noise."""

    smallest: float
    largest: float
    outlier: tuple[bool, bool]


def batch_extremes(smallest: float, largest: float, variance: float) -> Extremes:
    """Extreme eigenvalues of the batch Hessian, from those of the full Hessian and the batch's noise.

    ``l + v / l`` where ``|l| > sqrt(v)``, else the edge ``+-2 sqrt(v)``, on each side.

    Parameters
    ----------
    smallest, largest : float
        Of the full Hessian, assumed of low rank.
    variance : float
        From `batch_variance`; 0 for the whole data set.

    Returns
    -------
    Extremes
        `smallest`, `largest`, `outlier`.

    Raises
    ------
    ValueError
        If smallest exceeds largest, or a number is not finite.

    Notes
    -----
    Thesis, Theorem 14 and Figure 5.1.

    Examples
    --------
    >>> import spectra
    >>> found = spectra.rmt.batch_extremes(-0.1, 4.0, variance=1.0)
    >>> found.smallest, found.largest, found.outlier
    (-2.0, 4.25, (False, True))
    """
    if not (np.isfinite(smallest) and np.isfinite(largest) and smallest <= largest):
        raise ValueError(f"smallest and largest must be finite and in this order, found {smallest!r}, {largest!r}")
    if variance == 0:
        return Extremes(float(smallest), float(largest), (True, True))
    edge = 2 * np.sqrt(positive(variance, "variance"))
    low, high = outliers([min(smallest, 0.0), max(largest, 0.0)], variance=variance)
    seen = (bool(smallest < -edge / 2), bool(largest > edge / 2))
    return Extremes(float(low if seen[0] else -edge), float(high), seen)


def largest_learning_rate(largest: float) -> float:
    """Largest step of gradient descent that does not diverge along the sharpest direction, ``2 / l_1``.

    Parameters
    ----------
    largest : float
        Largest eigenvalue of the Hessian that the steps see: the batch's (`batch_extremes`).

    Raises
    ------
    ValueError
        If it is not positive.

    Notes
    -----
    With `batch_extremes` it grows as the square root of the batch while the edge of the noise is the largest
    eigenvalue, by at most another factor 2 after that, and then no more: never as the batch itself, whatever the thesis
    reads into its Theorem 14. Thesis, 5.7 and Figure 5.1.

    Examples
    --------
    >>> import spectra
    >>> spectra.rmt.largest_learning_rate(4.0)
    0.5
    """
    return 2 / positive(largest, "largest")


def least_damping(learning_rate: float, noise: float) -> float:
    """Damping above which second-order steps do not raise the loss along directions of pure noise, ``alpha s / 2``.

    Parameters
    ----------
    learning_rate : float
        alpha.
    noise : float
        s, an eigenvalue that noise gives to a flat direction, at most the edge ``2 sqrt(v)`` of its bulk.

    Raises
    ------
    ValueError
        If the learning rate is not positive, or the noise negative.

    Notes
    -----
    Thesis (5.36), with its sign corrected: docs/errata.md.

    Examples
    --------
    >>> import spectra
    >>> spectra.rmt.least_damping(0.1, 2.0)
    0.1
    """
    return positive(learning_rate, "learning_rate") * not_negative(noise, "noise") / 2


def rank_bound(widths, *, curvature: str = "hessian", samples: int | None = None) -> int:
    """Largest rank that the Hessian or the Gauss-Newton matrix of a feed-forward network can have at a minimum.

    Hessian: ``4 d_y (sum_l N_l + d_x)``; Gauss-Newton matrix: ``samples * d_y``.

    Parameters
    ----------
    widths : sequence of int
        d_x, N_1, ..., N_L, d_y: the input, the hidden layers and the output.
    curvature : {"hessian", "ggn"}
    samples : int
        Number of samples, for the Gauss-Newton matrix.

    Returns
    -------
    int
        A bound; the number of parameters may be lower.

    Raises
    ------
    ValueError
        If there is no input or output, the curvature has another name, or samples are missing.

    Notes
    -----
    Thesis, 5.9.4, where the Hessian's is derived for piecewise linear networks.

    Examples
    --------
    >>> import spectra
    >>> spectra.rmt.rank_bound([784, 100, 10]), spectra.rmt.rank_bound([784, 100, 10], curvature="ggn", samples=50)
    (35360, 500)
    """
    widths = list(widths)
    if len(widths) < 2 or any(width != int(width) or width < 1 for width in widths):
        raise ValueError(f"widths must be those of the input, any hidden layers and the output, found {widths}")
    if curvature == "hessian":
        return int(4 * widths[-1] * sum(widths[:-1]))
    if curvature == "ggn":
        if samples is None:
            raise ValueError("the rank of the Gauss-Newton matrix is bounded by the number of samples; give samples=")
        return int(positive(samples, "samples") * widths[-1])
    raise ValueError(f"curvature must be 'hessian' or 'ggn', found {curvature!r}")


def semicircle_conditions(variances) -> dict[str, float]:
    """How far a fluctuation matrix is from the conditions under which its spectrum is a semicircle.

    With ``sigma_ij^2`` the variances of its elements and ``sigma^2`` their mean: condition (ii) is the mean over rows
    of ``|(1/P) sum_j sigma_ij^2 - sigma^2| / sigma^2``, which must tend to 0, condition (iii) the largest row mean
    over ``sigma^2``, which must stay bounded.

    Parameters
    ----------
    variances : array_like, shape (P, P), or (P,) for row means alone
        From the Hessians of single samples.

    Returns
    -------
    dict
        `spread` of the row means (ii), `largest` row mean (iii), and `variance`, sigma^2.

    Raises
    ------
    ValueError
        If a variance is negative or not finite, all are 0, or they are no square matrix.

    Notes
    -----
    Condition (i), on dependence between elements, cannot be read off variances: compare the spectrum itself, by
    `fit_bulk` and its `misfit`. Networks violate (ii): their layers have different scales. Thesis, Theorem 13.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> spectra.rmt.semicircle_conditions(np.ones((3, 3)))
    {'spread': 0.0, 'largest': 1.0, 'variance': 1.0}
    """
    variances = np.asarray(variances, dtype=float)
    if variances.ndim not in (1, 2) or variances.shape[0] != variances.shape[-1]:
        raise ValueError(f"variances must have shape (P, P), or (P,) for row means, found {variances.shape}")
    if not variances.size or not np.all(np.isfinite(variances)) or np.any(variances < 0) or not np.any(variances):
        raise ValueError("variances must be finite, not negative and not all 0")
    rows = variances.mean(1) if variances.ndim == 2 else variances
    mean = rows.mean()
    return {"spread": float(np.abs(rows - mean).mean() / mean), "largest": float(rows.max() / mean),
            "variance": float(mean)}
