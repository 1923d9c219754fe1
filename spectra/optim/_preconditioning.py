"""What a preconditioner does to steps, stability and loss: curvature H, noise of covariance Sigma, steps -alpha B^-1 g.

    dL = -alpha g' B^-1 g + (alpha^2 / 2) g' B^-1 H B^-1 g                 damping paper (17), (18), signs corrected
    stable for alpha < 2 / lambda_max(B^-1 H)
    stationary loss  (alpha / 4) tr (B - alpha H / 2)^-1 Sigma             exactly, whatever commutes with what

References: damping paper, section 8; thesis 7.5 and 7.6; Martens, JMLR 21 (2020), 146.
"""

from __future__ import annotations

import numpy as np

from spectra.optim._checks import positive


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


def loss_change(gradient, hessian, lr: float, preconditioner=None) -> float:
    """Change of a quadratic loss in one step, ``-alpha g'B^-1 g + (alpha^2 / 2) g'B^-1 H B^-1 g``.

    Parameters
    ----------
    gradient : array_like, shape (n,)
    hessian : array_like, shape (n, n)
        H, symmetric.
    lr : float
    preconditioner : array_like, shape (n, n)
        B, symmetric positive definite; default: the identity.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If B is not positive definite.

    Notes
    -----
    Damping paper (17) and (18), whose signs slip.

    Examples
    --------
    >>> import spectra
    >>> spectra.optim.loss_change([1.0], [[2.0]], 0.5)                          # from 1/4 to 0
    -0.25
    """
    g, (H, B) = np.asarray(gradient, float), _matrices(hessian, preconditioner)
    move = np.linalg.solve(B, g)
    return float(-lr * g @ move + lr**2 / 2 * move @ H @ move)


def largest_stable_step(hessian, preconditioner=None, *, damping: float = 0.0) -> float:
    """Largest learning rate of preconditioned descent that does not diverge, ``2 / lambda_max((B + delta I)^-1 H)``.

    Parameters
    ----------
    hessian : array_like, shape (n, n)
        H, symmetric.
    preconditioner : array_like, shape (n, n)
        B, symmetric positive definite; steps are ``-alpha (B + delta I)^-1 g``. Default: the identity.
    damping : float
        delta.

    Returns
    -------
    float
        Infinite if no direction curves upwards.

    Raises
    ------
    ValueError
        If B + delta I is not positive definite.

    Notes
    -----
    A dense n x n eigenproblem. Damping paper, after (18), takes the norm of ``B^-1/2 H B^-1/2`` for its largest
    diagonal element in the eigenbasis of B, which is what `stable_step_bound` is about.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> spectra.optim.largest_stable_step(np.diag([4.0, 1.0]), np.diag([4.0, 1.0]))
    2.0
    """
    from scipy.linalg import eigvalsh

    H, B = _matrices(hessian, preconditioner, damping)
    largest = float(eigvalsh(H, B)[-1])
    return 2 / largest if largest > 0 else np.inf


def stable_step_bound(hessian, preconditioner=None, *, damping: float = 0.0) -> float:
    """What the largest stable step cannot exceed, ``2 min_i (eta_i + delta) / phi_i' H phi_i``.

    Parameters
    ----------
    hessian, preconditioner, damping
        As `largest_stable_step`; (eta_i, phi_i) are the eigenpairs of the preconditioner.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        As `largest_stable_step`.

    Notes
    -----
    Damping paper (19): the smallest eta limits the step unless damping helps. With equality where H and B commute.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> H = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> spectra.optim.stable_step_bound(H), round(spectra.optim.largest_stable_step(H), 6)
    (1.0, 0.666667)
    """
    H, B = _matrices(hessian, preconditioner, damping)
    eta, phi = np.linalg.eigh(B)
    largest = float(np.max(np.einsum("ji,jk,ki->i", phi, H, phi) / eta))
    return 2 / largest if largest > 0 else np.inf


def stationary_loss(hessian, covariance, lr: float, preconditioner=None) -> float:
    """Expected loss above the minimum of the iterates of noisy descent, ``(alpha / 4) tr (B - alpha H / 2)^-1 Sigma``.

    Parameters
    ----------
    hessian : array_like, shape (n, n)
        H, positive definite.
    covariance : array_like, shape (n, n)
        Sigma, of the gradient at the minimum.
    lr : float
        alpha.
    preconditioner : array_like, shape (n, n)
        B, positive definite; default: the identity.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a matrix is not positive definite, or the step is not stable.

    Notes
    -----
    For B = I thesis (7.26). For other B the thesis (7.6) prints ``(alpha / 4) tr B^-1 Sigma``, the first order in
    alpha, as an upper bound; it lies below.

    Examples
    --------
    >>> import spectra
    >>> round(spectra.optim.stationary_loss([[1.0]], [[1.0]], 0.5), 6)        # half of iterate_variance(1, 0.5, 1)
    0.166667
    """
    positive(lr, "lr")
    H, B = _matrices(hessian, preconditioner)
    _positive(H, "the Hessian")
    _positive(B - lr / 2 * H, "B - alpha H / 2", f"a step of {lr:g} is not stable")
    return float(lr / 4 * np.trace(np.linalg.solve(B - lr / 2 * H, np.asarray(covariance, float))))


def average_loss_bound(hessian, covariance, start, lr: float, steps: float, preconditioner=None) -> float:
    """Upper bound on the expected loss above the minimum of the mean of n + 1 iterates.

    ``min(tr H^-1 Sigma / (n + 1), (alpha / 2) tr B^-1 Sigma) + min(||H^-1/2 B d||^2 / ((n + 1) alpha)^2,
    ||B^1/2 d||^2 / ((n + 1) alpha), 3 L)`` with d the start's distance from the minimum, and ``L = d'H d / 2``.

    Parameters
    ----------
    hessian, covariance, lr, preconditioner
        As `stationary_loss`.
    start : array_like, shape (n,)
        d.
    steps : float
        n.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        As `stationary_loss`; and if ``B - alpha H`` is not positive semidefinite, beyond which the bound is not known.

    Notes
    -----
    Thesis (7.38); its first terms are (7.39) for B = I, and (7.40) for B = H^1/2, which stands for Adam.

    Examples
    --------
    >>> import spectra
    >>> round(spectra.optim.average_loss_bound([[1.0]], [[1.0]], [0.0], 0.5, 9), 6)
    0.1
    """
    positive(lr, "lr")
    H, B = _matrices(hessian, preconditioner)
    _positive(H, "the Hessian")
    d, sigma, n = np.asarray(start, float), np.asarray(covariance, float), steps + 1
    if np.linalg.eigvalsh(B - lr * H)[0] < -1e-12 * np.abs(B).max():
        raise ValueError(f"the bound holds for steps with B - alpha H positive semidefinite, found alpha = {lr:g}; "
                         f"take one of at most {largest_stable_step(H, B) / 2:.6g}")
    pulled = B @ d
    noise = min(np.trace(np.linalg.solve(H, sigma)) / n, lr / 2 * np.trace(np.linalg.solve(B, sigma)))
    distance = min(pulled @ np.linalg.solve(H, pulled) / (n * lr) ** 2, d @ pulled / (n * lr), 1.5 * d @ H @ d)
    return float(noise + distance)


def _matrices(hessian, preconditioner, damping: float = 0.0):
    """H, and B + delta I, which is found to be positive definite."""
    H = _symmetric(hessian, "the Hessian")
    B = np.eye(len(H)) if preconditioner is None else _symmetric(preconditioner, "the preconditioner")
    if B.shape != H.shape:
        raise ValueError(f"Hessian and preconditioner must be of one size, found {H.shape} and {B.shape}")
    B = B + damping * np.eye(len(H))
    _positive(B, "the preconditioner", "add damping to it")
    return H, B


def _symmetric(matrix, name):
    matrix = np.atleast_2d(np.asarray(matrix, dtype=float))
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] and np.all(np.isfinite(matrix))
    if not square or np.abs(matrix - matrix.T).max() > 1e-8 * np.abs(matrix).max():
        raise ValueError(f"{name} must be a finite, symmetric matrix, found one of shape {matrix.shape}"
                         + (" that is not" if square else ""))
    return matrix


def _positive(matrix, name, advice="check its eigenvalues"):
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        raise ValueError(f"{name} must be positive definite; {advice}") from None
