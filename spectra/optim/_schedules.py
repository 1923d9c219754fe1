"""Learning rates over time, and with the batch size.

    plateau, then linear     1 up to t = 1/2, linear to r at t = 9/10, then r          damping paper (12), thesis (5.37)
    warm up, then linear     1 up to 1/10, linear to k at 3/10, linear to r at 9/10    damping paper (16)

with t the share of the training that is over.
"""

from __future__ import annotations

from itertools import pairwise

from torch.optim.lr_scheduler import LambdaLR

from spectra.optim._checks import number
from spectra.rmt import batch_extremes, batch_variance


def plateau_decay(total: int, *, ratio: float = 0.01):
    """Factor of the learning rate that stays at 1 for half the training and falls linearly to `ratio` at nine tenths.

    Parameters
    ----------
    total : int
        Epochs, or steps, of the whole training.
    ratio : float
        Final over initial learning rate.

    Returns
    -------
    callable
        From the epoch to the factor, for `torch.optim.lr_scheduler.LambdaLR`.

    Raises
    ------
    ValueError
        If `total` or `ratio` is not positive.

    Notes
    -----
    Damping paper (12) with r = 0.01. Averaging runs use it with `total` the epoch at which averaging starts and `ratio`
    the share of the learning rate that is kept while averaging, 1/2.

    Examples
    --------
    >>> import spectra
    >>> factor = spectra.optim.plateau_decay(100)
    >>> factor(50), round(factor(70), 3), factor(95)
    (1.0, 0.505, 0.01)
    """
    return _piecewise(total, ((0.0, 1.0), (0.5, 1.0), (0.9, _ratio(ratio))))


def warm_decay(total: int, *, peak: float = 5.0, ratio: float = 0.1):
    """Factor that stays at 1 for a tenth, rises linearly to `peak` at three tenths and falls to `ratio` at nine.

    Parameters
    ----------
    total : int
    peak : float
    ratio : float
        The damping paper prints 0.01, its runs used 0.1.

    Returns
    -------
    callable
        As `plateau_decay`.

    Raises
    ------
    ValueError
        As `plateau_decay`.

    Notes
    -----
    Damping paper (16), whose second line misses a bracket; continuous at 0.1, 0.3 and 0.9.

    Examples
    --------
    >>> import spectra
    >>> factor = spectra.optim.warm_decay(100)
    >>> factor(10), round(factor(20), 12), round(factor(30), 12), round(factor(90), 12)
    (1.0, 3.0, 5.0, 0.1)
    """
    number(peak, "peak", least=0.0)
    return _piecewise(total, ((0.0, 1.0), (0.1, 1.0), (0.3, float(peak)), (0.9, _ratio(ratio))))


def schedule(optimizer, factor) -> LambdaLR:
    """The scheduler that multiplies every group's learning rate by `factor(epoch)`.

    Parameters
    ----------
    optimizer : torch optimiser
    factor : callable
        From `plateau_decay`, `warm_decay` or of your own.

    Returns
    -------
    torch.optim.lr_scheduler.LambdaLR

    Examples
    --------
    >>> import torch, spectra
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    >>> scheduler = spectra.optim.schedule(optimizer, spectra.optim.plateau_decay(10))
    >>> scheduler.get_last_lr()
    [0.1]
    """
    return LambdaLR(optimizer, factor)


def scale_learning_rate(lr: float, batch: float, new_batch: float, *, rule: str = "linear",
                        largest: float | None = None, sigma2: float | None = None, parameters: int | None = None,
                        data: float | None = None) -> float:
    """Learning rate for another batch size.

    "linear": ``lr B'/B``; "sqrt": ``lr sqrt(B'/B)``; "spectral": ``lr l(B)/l(B')`` with l(B) the largest eigenvalue of
    the Hessian of a batch of B, which is linear while the noise of the batch dominates and constant where it does not.

    Parameters
    ----------
    lr, batch, new_batch : float
    rule : {"linear", "sqrt", "spectral"}
    largest, sigma2, parameters, data
        For "spectral": the full Hessian's largest eigenvalue, and what `spectra.rmt.batch_variance` asks for.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a number is not positive, the rule has another name, or what it needs is missing.

    Notes
    -----
    Thesis 5.7: SGD linearly up to the threshold; 5.8: adaptive optimisers with little damping by the square root.

    Examples
    --------
    >>> import spectra
    >>> from spectra.optim import scale_learning_rate
    >>> scale_learning_rate(0.1, 128, 512), scale_learning_rate(0.1, 128, 512, rule="sqrt")
    (0.4, 0.2)
    >>> more = scale_learning_rate(0.1, 128, 1e9, rule="spectral", largest=1.0, sigma2=1.28, parameters=50)
    >>> round(more, 6)                                                       # l(128) = 1 + 50 * 1.28 / 128
    0.15
    """
    for name, value in (("lr", lr), ("batch", batch), ("new_batch", new_batch)):
        if not value > 0:
            raise ValueError(f"{name} must be positive, found {value!r}")
    if rule == "linear":
        return lr * new_batch / batch
    if rule == "sqrt":
        return lr * (new_batch / batch) ** 0.5
    if rule != "spectral":
        raise ValueError(f"rule must be 'linear', 'sqrt' or 'spectral', found {rule!r}")
    if largest is None or sigma2 is None or parameters is None:
        raise ValueError('rule "spectral" needs largest=, sigma2= and parameters=, of the Hessian')
    old, new = (batch_extremes(0.0, largest, batch_variance(sigma2, parameters, B, data)).largest
                for B in (batch, new_batch))
    return lr * old / new


def scale_damping(damping: float, batch: float, new_batch: float) -> float:
    """Damping for another batch size: the noise it guards against falls as ``1/B``, ``delta B / B'``.

    Parameters
    ----------
    damping, batch, new_batch : float

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a batch size is not positive.

    Notes
    -----
    Thesis 5.8: with it, the learning rate stays.

    Examples
    --------
    >>> import spectra
    >>> spectra.optim.scale_damping(0.1, 128, 512)
    0.025
    """
    number(damping, "damping", least=0.0)
    if not (batch > 0 and new_batch > 0):
        raise ValueError(f"batch sizes must be positive, found {batch!r} and {new_batch!r}")
    return damping * batch / new_batch


def _ratio(ratio) -> float:
    if not ratio > 0:
        raise ValueError(f"ratio must be positive, found {ratio!r}")
    return float(ratio)


def _piecewise(total, corners):
    if not total > 0:
        raise ValueError(f"total must be a positive number of epochs or steps, found {total!r}")

    def factor(epoch):
        t = epoch / total
        for (left, start), (right, end) in pairwise(corners):
            if t <= right:
                return start + (end - start) * (t - left) / (right - left)
        return corners[-1][1]

    return factor
