"""The spectrum of a sum or a product of two large matrices whose eigenvectors have nothing to do with each other.

Subordination: there are analytic w1, w2 of the upper half-plane to itself such that

    sum        S(z) = S1(w1) = S2(w2),       w1 + w2 = z + 1 / S(z)
    product    eta(z) = eta1(w1) = eta2(w2),   w1 w2 = z eta(z),   eta = psi / (1 + psi)

and w1 is the fixed point of  w -> z + h2(z + h1(w)),  h(w) = 1/S(w) - w,  or of  w -> z k2(z k1(w)),  k(w) = eta(w)/w.
The iteration converges from everywhere, slowly near the real line, where Steffensen's steps help; it is run at a height
above the real line that is lowered step by step. Seen from a height, the density is smooth on that scale: cells of the
grid are split until none holds much of the mass, so that bulks of any width are found.

References: Belinschi and Bercovici, Journal d'Analyse Mathematique 101 (2007), doi 10.1007/s11854-007-0013-1;
Belinschi, Mai and Speicher, Crelle 732 (2017).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from spectra.results import ConvergenceWarning, SpectralDensity
from spectra.rmt._laws import bisected
from spectra.rmt._transforms import stieltjes

POINTS = 1500  # of the grid with which the search for the density begins
HEIGHTS = np.geomspace(1.0, 1e-2, 11)  # above the real line, in units of the local spacing of the grid
NOTHING = 1e-3  # of the largest mass of a cell
STEPS = 1000  # of the fixed point iteration at each height
TOLERANCE = 1e-10
MISSING = 0.02  # of the mass, at which to warn
_SAME = 1e-12  # eigenvalues that differ by less, of the largest, are equal


def free_sum(p: SpectralDensity, q: SpectralDensity) -> SpectralDensity:
    """Spectrum of ``A + U B U'`` for a random rotation U: the free additive convolution.

    Parameters
    ----------
    p, q : SpectralDensity
        Spectra of A and B. Weighted points are taken as they are: a handful of them, or equal ones, are atoms.

    Returns
    -------
    SpectralDensity
        On a grid of 1500 points or more, finer where the mass is; with pdf, cdf and quantiles; deterministic.

    Raises
    ------
    ValueError
        If both spectra are single points.

    Warns
    -----
    ConvergenceWarning
        If the density misses more than 2 % of the mass.

    Notes
    -----
    The density is read above the real line, at a hundredth of the spacing of the grid, which rounds its edges on that
    scale, some 1e-5 widths. A fifth of a second for laws and few points; ten for a spectrum that is a convolution.

    Examples
    --------
    >>> from spectra import rmt
    >>> rho = rmt.free_sum(rmt.semicircle(1.0), rmt.semicircle(3.0))         # a semicircle of variance 4
    >>> round(float(rho.pdf(0.0)), 4), round(rho.moment(2).value, 3)
    (0.1592, 4.0)
    """
    p, q = _merged(p), _merged(q)
    lo, hi = p.support[0] + q.support[0], p.support[1] + q.support[1]

    def h(rho, w):
        return 1 / stieltjes(rho, w) - w

    def image(z, w):
        return z + h(q, z + h(p, w))

    def transform(z, w):
        return stieltjes(p, w)

    atoms = {a + b: s + t - 1 for a, s in _atoms(p) for b, t in _atoms(q) if s + t > 1}
    return _solved(image, transform, lo, hi, atoms, "free-sum")


def free_product(p: SpectralDensity, q: SpectralDensity) -> SpectralDensity:
    """Spectrum of ``A^1/2 U B U' A^1/2`` for a random rotation U: the free multiplicative convolution.

    Parameters
    ----------
    p, q : SpectralDensity
        Spectra of A and B, on the positive numbers.

    Returns
    -------
    SpectralDensity
        As `free_sum`.

    Raises
    ------
    ValueError
        If a support reaches below 0, or both spectra are single points.

    Warns
    -----
    ConvergenceWarning
        As `free_sum`.

    Notes
    -----
    The spectrum of a sample covariance is that of the population times Marchenko and Pastur's. Time as `free_sum`.

    Examples
    --------
    >>> from spectra import rmt, SpectralDensity
    >>> population = SpectralDensity([1.0, 4.0], [0.5, 0.5], 2)
    >>> rho = rmt.free_product(population, rmt.marchenko_pastur(0.1))
    >>> round(rho.moment(1).value, 3), round(rho.moment(2).value, 2)          # 2.5, 8.5 + 0.1 * 2.5^2
    (2.5, 9.12)
    """
    p, q = _merged(p), _merged(q)  # zeros that rounding has made negative are zeros
    for rho in (p, q):
        if rho.support[0] < 0 or not rho.support[1] > 0:
            raise ValueError(f"free_product needs distributions on the positive numbers, found support {rho.support}")
    lo, hi = p.support[0] * q.support[0], p.support[1] * q.support[1]

    def k(rho, w):  # eta(w) / w, with psi(w) = S(1/w)/w - 1 and eta = psi / (1 + psi)
        return 1 / w - 1 / stieltjes(rho, 1 / w)

    def image(z, w):
        t = 1 / z
        return t * k(q, t * k(p, w))

    def transform(z, w):
        return stieltjes(p, 1 / w) / (w * z)

    zero = max([weight for rho in (p, q) for x, weight in _atoms(rho) if x == 0], default=0.0)
    atoms = {a * b: s + t - 1 for a, s in _atoms(p) for b, t in _atoms(q) if a * b > 0 and s + t > 1}
    return _solved(image, transform, lo, hi, atoms | ({0.0: zero} if zero else {}), "free-product", start=np.reciprocal)


def _merged(rho: SpectralDensity) -> SpectralDensity:
    """Eigenvalues listed one by one, as one point for all that are equal but for rounding."""
    if rho.law is not None or rho.continuous:
        return rho
    order = np.argsort(rho.nodes)
    x, weights = rho.nodes[order], rho.weights[order]
    near = _SAME * max(x[-1] - x[0], np.abs(x).max())
    first = np.flatnonzero(np.diff(x, prepend=-np.inf) > near)
    places = x[first]
    places[np.abs(places) <= near] = 0.0
    return SpectralDensity(places, np.add.reduceat(weights, first), rho.size)


def _atoms(rho: SpectralDensity) -> list[tuple[float, float]]:
    """Points of a spectrum and their weights; for a law, what its distribution function jumps by."""
    if isinstance(rho.law, Tabulated):
        return list(rho.law.atoms)
    if rho.law is not None:
        at_zero = getattr(rho.law, "atom", 0.0)
        return [(0.0, at_zero)] if at_zero else []
    return [] if rho.continuous else list(zip(rho.nodes.tolist(), rho.weights.tolist(), strict=True))


def _solved(image, transform, lo, hi, atoms, method, start=lambda z: z) -> SpectralDensity:
    if not hi > lo:
        raise ValueError(f"both spectra are single points, and so is their convolution, at {lo:.6g}; nothing is to be "
                         "convolved")
    rest = 1 - sum(atoms.values())
    if rest < 1e-12:  # one of the two is a single point
        return SpectralDensity(list(atoms), list(atoms.values()), 1, method=method, deterministic=True)

    def smooth(x, heights, w):
        """Density at these heights above the real line, without the atoms, and the fixed points."""
        w = _fixed_point(image, x + 1j * heights, w)
        pdf = -transform(x + 1j * heights, w).imag / np.pi
        for place, weight in atoms.items():
            pdf = pdf - weight * heights / np.pi / ((x - place) ** 2 + heights**2)
        return np.maximum(pdf, 0.0), w

    x, widths = _cells(lambda x, h: smooth(x, h, start(x + 1j * h))[0] * h, lo, hi)
    w = start(x + 1j * widths)
    for height in HEIGHTS:
        pdf, w = smooth(x, height * widths, w)
    masses = pdf * widths
    if abs(masses.sum() / rest - 1) > MISSING:
        warnings.warn(f"{method}: the density on [{lo:.6g}, {hi:.6g}] has mass {masses.sum():.3g}, not {rest:.3g}; "
                      f"parts of the spectrum are too narrow for {len(x)} points; convolve spectra of more like widths",
                      ConvergenceWarning, stacklevel=3)
    masses *= rest / masses.sum()
    law = Tabulated(x, pdf, np.cumsum(masses) - masses / 2, tuple(sorted(atoms.items())))
    seen = np.flatnonzero(masses > NOTHING * masses.max())
    ends = [x[seen[0]], x[seen[-1]], *atoms]
    return SpectralDensity(np.concatenate([x, list(atoms)]), np.concatenate([masses, list(atoms.values())]), 1,
                           support=(min(ends), max(ends)), method=method, deterministic=True, law=law)


def _cells(mass, lo, hi):
    """Middles and widths of cells none of which, smoothed over its width, has more than its share of the mass."""
    edges = (lo + hi) / 2 - (hi - lo) / 2 * np.cos(np.arange(POINTS + 1) * np.pi / POINTS)
    left, widths = edges[:-1], np.diff(edges)
    done = np.zeros(len(left), bool)
    least = 1e-12 * max(abs(lo), abs(hi))
    while not done.all() and len(left) < 4 * POINTS:
        new = np.flatnonzero(~done)
        done[new] = (mass(left[new] + widths[new] / 2, widths[new]) < 2 / POINTS) | (widths[new] < least)
        split = np.flatnonzero(~done)
        parts = [(left[split] + k / 4 * widths[split], widths[split] / 4) for k in range(4)]
        left = np.concatenate([left[done], *(part[0] for part in parts)])
        widths = np.concatenate([widths[done], *(part[1] for part in parts)])
        done = np.arange(len(left)) < done.sum()
    order = np.argsort(left)
    return (left + widths / 2)[order], widths[order]


def _fixed_point(image, z, w):
    """The fixed point of w -> image(z, w): plain steps, and Steffensen's where they stay in the half-plane."""
    active = np.arange(len(z))
    w = w.copy()
    for _ in range(STEPS):
        first = image(z[active], w[active])
        second = image(z[active], first)
        with np.errstate(all="ignore"):
            jump = first - (second - first) * (first - w[active]) / (second - 2 * first + w[active])
        inside = np.isfinite(jump) & (jump.imag * second.imag > 0)
        change = np.abs(first - w[active])
        w[active] = np.where(inside, jump, (first + second) / 2)
        active = active[change > TOLERANCE * np.abs(first)]
        if not len(active):
            break
    return w


@dataclass(frozen=True)
class Tabulated:
    """A density on a grid, with atoms."""

    x: np.ndarray
    values: np.ndarray
    below: np.ndarray
    atoms: tuple

    def pdf(self, x):
        return np.interp(x, self.x, self.values, left=0.0, right=0.0)

    def cdf(self, x):
        steps = sum(weight * (np.asarray(x) >= place) for place, weight in self.atoms)
        rest = 1 - sum(weight for _, weight in self.atoms)
        return np.clip(np.interp(x, self.x, self.below, left=0.0, right=rest) + steps, 0.0, 1.0)

    def quantile(self, p):
        places = [place for place, _ in self.atoms]
        return bisected(self.cdf, p, (min(self.x[0], *places, np.inf), max(self.x[-1], *places, -np.inf)))

    def entropy(self) -> float:
        if self.atoms:
            return -np.inf
        p = self.values
        return float(-np.trapezoid(p * np.log(np.where(p > 0, p, 1.0)), self.x))
