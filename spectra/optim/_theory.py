"""Stochastic gradient descent on a noisy quadratic, in closed form: what averaging gains.

    w_{k+1} = w_k - alpha (lambda w_k + noise of variance s^2),      q = 1 - alpha lambda

    variance of the iterate         alpha s^2 / (lambda (2 - alpha lambda)) (1 - q^(2n))
    of the mean of n iterates       s^2 / (lambda^2 n)                                       n alpha lambda >> 1
    of an exponential mean          the stationary iterate's times (1 - r)(1 + r q) / ((1 + r)(1 - r q))

The thesis (7.5) treats successive iterates as independent, which makes averages look ten to twenty times better.
"""

from __future__ import annotations

import numpy as np


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
    curvature = _stable(curvature, lr)
    q = 1 - lr * curvature
    return lr * noise**2 / (curvature * (2 - lr * curvature)) * (1 - np.abs(q) ** (2 * steps))


def average_variance(curvature, lr: float, noise: float, steps: float):
    """Variance of the mean of n successive iterates of a stationary run, to leading order ``s^2 / (l^2 n)``.

    Exactly, ``V / n ((1 + q)/(1 - q) - 2 q (1 - q^n) / (n (1 - q)^2))`` with V the iterate's variance.

    Parameters
    ----------
    curvature, lr, noise
        As `iterate_variance`.
    steps : float
        n.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        As `iterate_variance`.

    Notes
    -----
    Thesis 7.5 prints ``alpha s^2 / (l n)``. The leading order agrees with (7.26), and does not depend on the step.

    Examples
    --------
    >>> import spectra
    >>> float(spectra.optim.average_variance(2.0, 0.1, 1.0, 10_000).round(7))      # 1 / (4 * 10_000), nearly
    2.5e-05
    """
    curvature = _stable(curvature, lr)
    q, n = 1 - lr * curvature, steps
    correlated = (1 + q) / (1 - q) - 2 * q * (1 - q**n) / (n * (1 - q) ** 2)
    return iterate_variance(curvature, lr, noise) * correlated / n


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
    curvature = _stable(curvature, lr)
    q, r = 1 - lr * curvature, decay
    return iterate_variance(curvature, lr, noise) * (1 - r) * (1 + r * q) / ((1 + r) * (1 - r * q))


def curvature_ratio(largest: float, smallest: float, damping: float) -> float:
    """Step along the flattest direction over that along the sharpest, ``R = (l_1 + delta) / (l_P + delta)``.

    Parameters
    ----------
    largest, smallest : float
        Extreme eigenvalues.
    damping : float
        delta, with ``smallest + damping > 0``.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the damped matrix is not positive.

    Notes
    -----
    R_est-curv of the damping paper and thesis 6.2, which print its limit ``1 + (l_1 - l_P) / delta``.

    Examples
    --------
    >>> import spectra
    >>> spectra.optim.curvature_ratio(9.0, 0.0, 1.0)
    10.0
    """
    if not smallest + damping > 0:
        raise ValueError(f"the damped curvature must be positive, found {smallest + damping:.6g}; raise the damping")
    return (largest + damping) / (smallest + damping)


def largest_stable_step(hessian, preconditioner) -> float:
    """Largest learning rate of preconditioned descent that does not diverge, ``2 / lambda_max(B^-1 H)``.

    Parameters
    ----------
    hessian : array_like, shape (n, n)
        H, symmetric.
    preconditioner : array_like, shape (n, n)
        B, symmetric positive definite; steps are ``-alpha B^-1 g``.

    Returns
    -------
    float
        Infinite if no direction curves upwards.

    Raises
    ------
    ValueError
        If B is not positive definite.

    Notes
    -----
    A dense n x n eigenproblem. Damping paper (17) to (20) with their signs corrected:
    ``dL = -alpha g'B^-1 g + alpha^2/2 g'B^-1 H B^-1 g``.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> spectra.optim.largest_stable_step(np.diag([4.0, 1.0]), np.diag([4.0, 1.0]))
    2.0
    """
    from scipy.linalg import eigvalsh

    try:
        largest = float(eigvalsh(hessian, preconditioner)[-1])
    except np.linalg.LinAlgError:
        raise ValueError("the preconditioner must be positive definite; add damping to it") from None
    return 2 / largest if largest > 0 else np.inf


def _stable(curvature, lr):
    curvature = np.asarray(curvature, dtype=float)
    if np.any(curvature <= 0) or np.any(lr * curvature >= 2):
        raise ValueError(f"SGD with step {lr:g} is stable for curvatures in (0, {2 / lr:.6g}), found "
                         f"[{curvature.min():.6g}, {curvature.max():.6g}]")
    return curvature
