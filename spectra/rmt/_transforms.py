"""Transforms of a spectral distribution, in which sums and products of free matrices are sums and products.

    Stieltjes   S(z) = ∫ dmu(x) / (z - x),               density  -Im S(x + i0) / pi
    blue        B(S(z)) = z
    R           R(s) = B(s) - 1/s,                       R of A + B is the sum of theirs
    S           chi(u) (1 + u) / u,  psi(chi(u)) = u,    S of AB is the product of theirs
                psi(t) = ∫ t x / (1 - t x) dmu(x) = S(1/t) / t - 1

One sign convention throughout (the thesis changes it between sections). Closed forms for the laws; for every other
density R and S are the roots of

    ∫ (x - R) / (1 - s (x - R)) dmu(x) = 0        and        ∫ x tau / (1 - u x tau) dmu(x) = 1,   S = (1 + u) tau,

monotonic in R and tau and well-conditioned down to s = u = 0, where they give the mean and one over it.

Reference: Bun, Bouchaud and Potters, Physics Reports 666 (2017), doi 10.1016/j.physrep.2016.10.005; thesis, 5.4.1.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from spectra.results import SpectralDensity


def stieltjes(rho: SpectralDensity, z):
    """Stieltjes transform ``S(z) = ∫ rho(x) / (z - x) dx``.

    Parameters
    ----------
    rho : SpectralDensity
    z : array_like of complex or real numbers
        Off the spectrum. The rule of a density that is not a law resolves the real line only from a distance of about
        the spacing of its nodes.

    Returns
    -------
    ndarray of the shape of z

    Raises
    ------
    ValueError
        If a real z lies inside the support.

    Notes
    -----
    Memory: 2^20 numbers at a time.

    Examples
    --------
    >>> import spectra
    >>> round(float(spectra.rmt.stieltjes(spectra.rmt.semicircle(), 2.5)), 12)
    0.5
    """
    z = np.asarray(z)
    if z.dtype.kind not in "iufc" or np.any(np.isnan(z)):
        raise ValueError(f"the Stieltjes transform needs real or complex numbers, found {z!r}")
    lo, hi = rho.support
    if not np.iscomplexobj(z) and np.any((z >= lo) & (z <= hi)):
        raise ValueError(f"the Stieltjes transform is not defined on the spectrum, found z in [{lo:.6g}, {hi:.6g}]; "
                         "give a real z outside of it, or a complex one")
    if _has(rho, "stieltjes"):
        return rho.law.stieltjes(z)
    return against(rho.nodes, rho.weights, z)


def against(nodes, weights, z):
    """sum_j w_j / (z - x_j) for an array z, in parts that fit the memory."""
    flat = np.atleast_1d(z).ravel()
    parts = np.array_split(flat, max(len(flat) * len(nodes) // 2**20, 1))
    return np.concatenate([(1 / (part[:, None] - nodes)) @ weights for part in parts]).reshape(np.shape(z))


def blue(rho: SpectralDensity, s):
    """Inverse of the Stieltjes transform outside the support, ``B(S(z)) = z``.

    Parameters
    ----------
    rho : SpectralDensity
    s : array_like of real numbers, not 0
        Between the values that S takes at the two ends of the support.

    Returns
    -------
    ndarray of the shape of s

    Raises
    ------
    ValueError
        If S takes the value s nowhere outside the support.

    Examples
    --------
    >>> import spectra
    >>> round(float(spectra.rmt.blue(spectra.rmt.semicircle(), 0.5)), 12)
    2.5
    """
    s = _real(s, "s")
    if np.any(s == 0):
        raise ValueError("the Stieltjes transform is 0 only at infinity; give s != 0")
    if _has(rho, "r_transform"):
        _require_reached(rho, s)
        return rho.law.r_transform(s) + 1 / s
    return np.vectorize(lambda one: _r(rho, float(one)) + 1 / one, otypes=[float])(s)


def r_transform(rho: SpectralDensity, s):
    """R-transform ``R(s) = B(s) - 1/s``: mean, plus variance times s, plus free cumulants of higher order.

    Parameters
    ----------
    rho : SpectralDensity
    s : array_like of real numbers
        As `blue`; 0 gives the mean. The closed forms of the laws continue beyond, up to their pole.

    Returns
    -------
    ndarray of the shape of s

    Raises
    ------
    ValueError
        As `blue`.

    Examples
    --------
    >>> import spectra
    >>> round(float(spectra.rmt.r_transform(spectra.rmt.marchenko_pastur(0.5), 0.4)), 12)    # 1 / (1 - 0.5 * 0.4)
    1.25
    """
    s = _real(s, "s")
    if _has(rho, "r_transform"):
        return rho.law.r_transform(s)
    return np.vectorize(lambda one: _r(rho, float(one)), otypes=[float])(s)


def s_transform(rho: SpectralDensity, u):
    """S-transform ``chi(u) (1 + u) / u`` of a distribution on the positive numbers.

    Parameters
    ----------
    rho : SpectralDensity
        On [0, inf), with a positive mean.
    u : array_like of real numbers
        Above the weight at 0 less 1; 0 gives one over the mean.

    Returns
    -------
    ndarray of the shape of u

    Raises
    ------
    ValueError
        If the support reaches below 0, or u is out of range.

    Examples
    --------
    >>> import spectra
    >>> round(float(spectra.rmt.s_transform(spectra.rmt.marchenko_pastur(0.5), -0.4)), 12)    # 1 / (1 - 0.5 * 0.4)
    1.25
    """
    u = _real(u, "u")
    if _has(rho, "s_transform"):
        return rho.law.s_transform(u)
    if rho.support[0] < 0 or not rho.support[1] > 0:
        raise ValueError(f"the S-transform needs a distribution on the positive numbers, found support {rho.support}")
    return np.vectorize(lambda one: _s(rho, float(one)), otypes=[float])(u)


def _has(rho, transform: str) -> bool:
    return rho.law is not None and hasattr(rho.law, transform)


def _real(x, name: str) -> np.ndarray:
    x = np.asarray(x)
    if x.dtype.kind not in "iuf" or not np.all(np.isfinite(x)):
        raise ValueError(f"{name} must be finite real numbers, found {x!r}")
    return x.astype(float)


def _require_reached(rho, s) -> None:
    """Whether the Stieltjes transform takes the values s outside the support of a law."""
    lo, hi = rho.support
    step = 1e-12 * (hi - lo)
    least, most = (float(stieltjes(rho, end)) for end in (lo - step, hi + step))
    for one in s[(s < least) | (s > most)].flat:
        raise ValueError(f"S takes the value {one:.6g} nowhere outside the support: there it lies between {least:.6g} "
                         f"and {most:.6g}")


def _r(rho, s: float) -> float:
    """R lies in the support, and R + 1/s outside of it."""
    x, weights = rho.nodes, rho.weights
    lo, hi = min(rho.support[0], x.min()), max(rho.support[1], x.max())
    inner, outer = lo, hi
    if abs(s) * (hi - lo) > 1:  # there R + 1/s could lie inside
        reach = (1 - 1e-12 - 8 * np.finfo(float).eps * max(abs(lo), abs(hi)) * abs(s)) / s
        inner, outer = (hi - reach, hi) if s > 0 else (lo, lo - reach)

    def excess(r):
        return float(weights @ ((x - r) / (1 - s * (x - r))))

    if excess(inner) < 0 or excess(outer) > 0:
        if hi - lo <= 1e-12 * max(abs(lo), abs(hi)):
            return (lo + hi) / 2
        raise ValueError(f"S takes the value {s:.6g} nowhere outside the support [{lo:.6g}, {hi:.6g}]")
    return brentq(excess, inner, outer, xtol=1e-15 * max(abs(lo), abs(hi))) if outer > inner else lo


def _s(rho, u: float) -> float:
    """tau lies between 1 / ((1 + u) hi) and 1 / ((1 + u) lo)."""
    x, weights, hi = rho.nodes, rho.weights, max(rho.support[1], rho.nodes.max())
    least = weights[x == 0].sum() - 1
    if not u > least:
        raise ValueError(f"u must lie above the weight at 0 less 1, {least:.6g}, found {u:.6g}")

    def excess(tau):
        return float(weights @ (x * tau / (1 - u * x * tau))) - 1

    inner = 1 / ((1 + u) * hi)
    outer = 2 * inner
    while u * hi * outer < 1 and excess(outer) < 0:
        outer *= 2
    if u * hi * outer >= 1:
        outer = (1 - 1e-15) / (u * hi)
    if excess(inner) >= 0 or excess(outer) <= 0:
        return (1 + u) * (inner if excess(inner) >= 0 else outer)
    return (1 + u) * brentq(excess, inner, outer, xtol=1e-15 * inner)
