"""Transforms of a spectral distribution, in which sums and products of free matrices are sums and products.

    Stieltjes   S(z) = ∫ dmu(x) / (z - x),               density  -Im S(x + i0) / pi
    blue        B(S(z)) = z
    R           R(s) = B(s) - 1/s,                       R of A + B is the sum of theirs
    S           chi(u) (1 + u) / u,  psi(chi(u)) = u,    S of AB is the product of theirs
                psi(t) = ∫ t x / (1 - t x) dmu(x) = S(1/t) / t - 1

One sign convention throughout (the thesis changes it between sections). Closed forms for the laws, quadrature and a
root search for every other density.

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
    lo, hi = rho.support
    if not np.iscomplexobj(z) and np.any((z >= lo) & (z <= hi)):
        raise ValueError(f"the Stieltjes transform is not defined on the spectrum, found z in [{lo:.6g}, {hi:.6g}]; "
                         "give a real z outside of it, or a complex one")
    if rho.law is not None and hasattr(rho.law, "stieltjes"):
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
    return np.vectorize(lambda one: _inverse(rho, float(one)), otypes=[float])(s)


def r_transform(rho: SpectralDensity, s):
    """R-transform ``R(s) = B(s) - 1/s``: mean, plus variance times s, plus free cumulants of higher order.

    Parameters
    ----------
    rho : SpectralDensity
    s : array_like of real numbers
        As `blue`; 0 gives the mean.

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
    if rho.law is not None and hasattr(rho.law, "r_transform"):
        return rho.law.r_transform(np.asarray(s, dtype=float))
    at_zero = rho.expect(lambda x: x)
    return np.vectorize(lambda one: _inverse(rho, float(one)) - 1 / one if one else at_zero, otypes=[float])(s)


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
    if rho.law is not None and hasattr(rho.law, "s_transform"):
        return rho.law.s_transform(np.asarray(u, dtype=float))
    if rho.support[0] < 0 or not rho.support[1] > 0:
        raise ValueError(f"the S-transform needs a distribution on the positive numbers, found support {rho.support}")
    mean = rho.expect(lambda x: x)
    return np.vectorize(lambda one: _chi_inverse(rho, float(one)) * (1 + one) / one if one else 1 / mean,
                        otypes=[float])(u)


def _inverse(rho, s) -> float:
    """z outside the support with S(z) = s; 1/(z - far end) < S(z) < 1/(z - near end) brackets it."""
    lo, hi = rho.support
    near, far = (hi, lo) if s > 0 else (lo, hi)
    if s == 0:
        raise ValueError("the Stieltjes transform is 0 only at infinity; give s != 0")
    if hi == lo:
        return lo + 1 / s
    step = 1e-12 * (hi - lo) * np.sign(s)
    inner, outer = near + step, near + 1 / s + step
    start = far + 1 / s
    if (start - inner) * np.sign(s) > 0:
        inner = start
    if abs(float(stieltjes(rho, inner))) < abs(s):
        raise ValueError(f"S takes the value {s:.6g} nowhere outside the support: at its end it is "
                         f"{float(stieltjes(rho, inner)):.6g}")
    return brentq(lambda z: float(stieltjes(rho, z)) - s, inner, outer, xtol=1e-15 * max(abs(outer), abs(inner)))


def _chi_inverse(rho, u) -> float:
    """t with psi(t) = u, by w = 1/t: psi = w S(w) - 1 is monotonic in w on both sides of the support."""
    hi = rho.support[1]

    def excess(w):
        return w * float(stieltjes(rho, w)) - 1 - u

    if u > 0:  # w S(w) - 1 <= hi / (w - hi)
        inner, outer = hi * (1 + 1e-12), hi * (1 + 1 / u) * (1 + 1e-12)
    else:  # for w < 0: w S(w) - 1 lies between -hi / (hi - w) and the weight at 0 less 1
        inner, outer = -1e-12 * hi, -hi * (1 - 1 / u) * (1 + 1e-12)
    if excess(inner) * excess(outer) > 0:
        raise ValueError(f"psi takes the value {u:.6g} nowhere outside the support; u must lie above the weight at 0 "
                         "less 1, and below psi at the upper end")
    return 1 / brentq(excess, min(inner, outer), max(inner, outer), xtol=1e-15 * hi)
