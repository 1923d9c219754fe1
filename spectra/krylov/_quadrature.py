"""Gauss and Gauss-Radau quadrature from Lanczos coefficients.

The eigenvalues theta_i of T and the squared first components of its eigenvectors are nodes and weights of the Gauss
rule for the spectral measure of the start vector, v' f(A) v = |v|^2 sum_i w_i f(theta_i), exact for polynomials of
degree 2m - 1. Radau's rule adds a node at a given end a of the spectrum. For functions whose derivatives of even
and odd order have constant, opposite signs (log, 1/x, sqrt) the two enclose the truth.

References: Golub and Welsch, Math. Comp. 23 (1969); Golub, SIAM Review 15 (1973), doi 10.1137/1015032; Golub and
Meurant (2010), chapter 6.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh, eigh_tridiagonal


def gauss(alpha: np.ndarray, beta: np.ndarray):
    """Nodes and weights, each (k, m), from alpha (k, m) and beta (k, at least m - 1)."""
    m = alpha.shape[1]
    pairs = [_first_components(a, b[: m - 1]) for a, b in zip(alpha, beta, strict=True)]
    return np.array([nodes for nodes, _ in pairs]), np.array([weights for _, weights in pairs])


def _first_components(a, b):
    scale = max(np.abs(a).max(), np.abs(b).max(initial=0.0)) or 1.0
    nodes, vectors = eigh_tridiagonal(a / scale, b / scale)
    return scale * nodes, vectors[0] ** 2


def radau(alpha: np.ndarray, beta: np.ndarray, a: float):
    """Nodes and weights, each (k, m + 1), with one node at `a`, an end of the spectrum; beta is (k, m).

    Raises
    ------
    ValueError
        If `a` lies inside the hull of the Ritz values, so that it cannot be an end.
    """
    pivot = alpha[:, 0] - a
    sign = np.sign(pivot)
    for j in range(1, alpha.shape[1]):
        _require_end(pivot, sign, a)
        pivot = alpha[:, j] - a - beta[:, j - 1] ** 2 / pivot
    _require_end(pivot, sign, a)
    extended = np.concatenate([alpha, (a + beta[:, -1] ** 2 / pivot)[:, None]], 1)
    return gauss(extended, beta)


def coarse_depths(steps: int) -> list[int]:
    """A quarter and a half: two doublings, from which the rest is extrapolated. A single step tells nothing."""
    return [max(steps // 4, 1), max(steps // 2, 1)] if steps > 1 else [1]


def safe_end(end: float | None, nodes: np.ndarray, precision: float, n: int) -> float | None:
    """`end` moved below the smallest Ritz value by the rounding errors of order n; None if no end is known.

    Raises
    ------
    ValueError
        If a Ritz value lies below `end` by more than rounding.
    """
    if end is None:
        return None
    slack = max(64.0, 8 * np.sqrt(n)) * precision * (np.abs(nodes).max() or 1.0)
    if nodes.min() < end - slack:
        raise ValueError(f"the lower end of the spectrum is {end:.6g} by what was given (of the preconditioned one, if "
                         f"there is a preconditioner), but Lanczos found a Ritz value of {nodes.min():.6g}; widen "
                         "`support`, or lower `lower_bound`")
    return min(end, nodes.min() - slack)


def require_inside(nodes: np.ndarray, support, precision: float) -> None:
    """Refuse a support that Ritz values leave by more than rounding."""
    slack = 64 * precision * (np.abs(nodes).max() or 1.0)
    if support is not None and (nodes.max() > support[1] + slack or nodes.min() < support[0] - slack):
        raise ValueError(f"the support [{support[0]:.6g}, {support[1]:.6g}] does not hold the spectrum: Lanczos found "
                         f"Ritz values from {nodes.min():.6g} to {nodes.max():.6g}; widen it")


def _require_end(pivot, sign, a):
    if np.any(pivot * sign <= 0):
        raise ValueError(f"{a:.6g} was given as an end of the spectrum, but Lanczos found Ritz values on both sides of "
                         "it; widen `support`")


def block_gauss(T: np.ndarray, R: np.ndarray):
    """Nodes (1, d) shared by all start vectors and weights (k, d), from the projection T and V = Q_1 R."""
    nodes, vectors = eigh(T, driver="evd", check_finite=False)
    return nodes[None], np.abs(R.conj().T @ vectors[: len(R)]) ** 2


def block_radau(T: np.ndarray, B: np.ndarray, R: np.ndarray, a: float):
    """As `block_gauss`, with nodes at `a`; B couples the space to its continuation."""
    b = B.shape[1]
    if not B.size:
        return block_gauss(T, R)
    shifted = T - a * np.eye(len(T))
    try:
        factor = np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        raise ValueError(f"{a:.6g} was given as a lower end of the spectrum, but block Lanczos found Ritz values below "
                         "it; widen `support`") from None
    unit = np.zeros((len(T), b), dtype=T.dtype)
    unit[-b:] = np.eye(b)
    half = np.linalg.solve(factor, unit)
    corner = a * np.eye(len(B)) + B @ (half.conj().T @ half) @ B.conj().T
    coupling = B @ unit.conj().T
    return block_gauss(np.block([[T, coupling.conj().T], [coupling, corner]]), R)
