"""Stochastic gradient descent on a noisy quadratic, in closed form: what averaging gains.

    w_{k+1} = w_k - alpha (lambda w_k + noise of variance s^2),      q = 1 - alpha lambda

    mean of the iterate             q^n w_0
    variance of it                  alpha s^2 / (lambda (2 - alpha lambda)) (1 - q^(2n))
    variance of the mean of n       s^2 / (lambda n)^2 sum_{i <= n} (1 - q^i)^2  ->  s^2 / (lambda^2 n)
    of an exponential mean          the stationary iterate's times (1 - r)(1 + r q) / ((1 + r)(1 - r q))

The thesis (7.5) treats successive iterates as independent, which makes averages look ten to twenty times better.

References: thesis 7.5 and 7.6, as corrected in docs/errata.md; Martens, JMLR 21 (2020), 146.
"""

from __future__ import annotations

import numpy as np

from spectra.optim._checks import positive


def iterate_variance(curvature, lr: float, noise: float, steps: float = np.inf):
    """Variance of the last iterate of SGD on a noisy quadratic, ``alpha s^2 / (l (2 - alpha l)) (1 - q^(2n))``.

    Parameters
    ----------
    curvature : array_like
        l, eigenvalues of the Hessian, between 0 and ``2 / lr``.
    lr : float
    noise : float
        s, standard deviation of the gradient along the eigenvector.
    steps : float
        n; default: the stationary variance.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If SGD diverges.

    Notes
    -----
    Thesis 7.5, corrected: it prints ``alpha s^2 / l (1 - q^(n - 2))``.

    Examples
    --------
    >>> import spectra
    >>> float(spectra.optim.iterate_variance(1.0, 0.5, 1.0).round(4))
    0.3333
    """
    curvature, _ = _contraction(curvature, lr)
    return lr * noise**2 / (curvature * (2 - lr * curvature)) * _decayed(lr * curvature, 2 * steps)


def average_variance(curvature, lr: float, noise: float, steps: float):
    """Variance of the mean of the first n iterates, ``s^2 / (l n)^2 sum_i (1 - q^i)^2``, nearly ``s^2 / (l^2 n)``.

    Parameters
    ----------
    curvature, lr, noise
        As `iterate_variance`.
    steps : float
        n, at least 1.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        As `iterate_variance`.

    Notes
    -----
    Thesis 7.5 prints ``alpha s^2 / (l n)``. The limit agrees with (7.26), and does not depend on the step.

    Examples
    --------
    >>> import spectra
    >>> float(spectra.optim.average_variance(2.0, 0.1, 1.0, 10_000).round(7))      # 1 / (4 * 10_000), nearly
    2.5e-05
    """
    (curvature, q), n = _contraction(curvature, lr), _steps(steps)
    x = lr * curvature
    squares = n - 2 * q * _decayed(x, n) / x + q**2 * _decayed(x, 2 * n) / (x * (2 - x))
    first_terms = x**2 * n * (n + 1) / 6 * ((2 * n + 1) - x * (1.5 * n * (n + 1) - (2 * n + 1)))
    return (noise / (curvature * n)) ** 2 * np.where(x * n < 1e-4, first_terms, squares)  # where the sum cancels


def ema_variance(curvature, lr: float, noise: float, decay: float):
    """Variance of an exponential average of iterates, ``V (1 - r)(1 + r q) / ((1 + r)(1 - r q))``.

    Parameters
    ----------
    curvature, lr, noise
        As `iterate_variance`.
    decay : float
        r, in [0, 1): the average is ``r average + (1 - r) iterate``.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        As `iterate_variance`, or if the decay is out of range.

    Notes
    -----
    Thesis 7.5.2 prints the factor ``(1 - r) / (1 + r)``, that of independent iterates.

    Examples
    --------
    >>> import spectra
    >>> float(spectra.optim.ema_variance(1.0, 0.5, 1.0, 0.0).round(4))
    0.3333
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay must lie in [0, 1), found {decay!r}")
    (_, q), r = _contraction(curvature, lr), decay
    return iterate_variance(curvature, lr, noise) * (1 - r) * (1 + r * q) / ((1 + r) * (1 - r * q))


def expected_norm(curvature, lr: float, noise: float, steps: float, start=0.0, *, average: bool = False) -> float:
    """Distance from the minimum at which the iterate, or the mean of the iterates, is found: Theorem 18.

    ``sqrt(sum_i E[w_i]^2 + Var w_i)``; in high dimension the norm stays within a constant of it, with deviations like
    those of one Gaussian variable, however large P is.

    Parameters
    ----------
    curvature : array_like, shape (P,)
    lr, noise
        As `iterate_variance`.
    steps : float
        n.
    start : array_like, shape (P,)
        w_0, in the eigenbasis.
    average : bool
        Of the mean of the first n iterates.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        As `iterate_variance`.

    Notes
    -----
    Thesis (7.19), with the corrected variances and without ``alpha l << 1``.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> iterate, mean = (spectra.optim.expected_norm(np.ones(100), 0.1, 1.0, 1000, average=x) for x in (False, True))
    >>> round(iterate, 2), round(mean, 2)
    (2.29, 0.31)
    """
    (curvature, q), n, start = _contraction(curvature, lr), _steps(steps), np.asarray(start, dtype=float)
    if average:
        mean = start * q * _decayed(lr * curvature, n) / (n * lr * curvature)
        variance = average_variance(curvature, lr, noise, n)
    else:
        mean, variance = start * q**n, iterate_variance(curvature, lr, noise, n)
    return float(np.sqrt(np.sum(mean**2 + variance)))


def break_even_step(curvature, covariance, steps: float) -> float:
    """Largest constant learning rate at which the last iterate is as good as the mean of n: Theorem 19.

    The alpha for which ``(alpha / 4) sum_i c_i / (1 - alpha l_i / 2) = sum_i c_i / l_i / (2 n + 2)``; it falls as 1/n.

    Parameters
    ----------
    curvature : array_like, shape (P,)
        l, eigenvalues of the Hessian.
    covariance : array_like, shape (P,)
        c, variances of the gradient along its eigenvectors.
    steps : float
        n.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a curvature is not positive.

    Notes
    -----
    Thesis (7.27), solved; its (7.28), ``2 / (n + 2) mean(1 / l)``, is exact in one dimension.

    Examples
    --------
    >>> import spectra
    >>> round(spectra.optim.break_even_step([2.0], [1.0], 8), 12)                     # 2 / (8 + 2) / 2
    0.1
    """
    from scipy.optimize import brentq

    curvature, covariance = np.broadcast_arrays(np.asarray(curvature, float), np.asarray(covariance, float))
    if curvature.min() <= 0:
        raise ValueError(f"curvatures must be positive, found {curvature.min():.6g}")
    mean = np.sum(covariance / curvature) / (2 * _steps(steps) + 2)
    last = 2 / curvature.max()
    return float(brentq(lambda lr: lr / 4 * np.sum(covariance / (1 - lr * curvature / 2)) - mean, 0.0,
                        last * (1 - 1e-12), xtol=1e-15, rtol=1e-14))


def _contraction(curvature, lr):
    """Curvatures, and q = 1 - alpha l, in (-1, 1)."""
    positive(lr, "lr")
    curvature = np.asarray(curvature, dtype=float)
    if not (np.all(curvature > 0) and np.all(lr * curvature < 2)):
        raise ValueError(f"SGD with step {lr:g} is stable for curvatures in (0, {2 / lr:.6g}), found "
                         f"[{curvature.min():.6g}, {curvature.max():.6g}]")
    return curvature, 1 - lr * curvature


def _decayed(x, n):
    """1 - (1 - x)^n, without cancellation where x is small."""
    return np.where(x < 0.5, -np.expm1(n * np.log1p(-np.minimum(x, 0.5))), 1 - (1 - x) ** n)


def _steps(n):
    if not n >= 1:
        raise ValueError(f"steps must be at least 1, found {n!r}")
    return n
