"""How many clusters a graph has: eigenvalues of the normalised Laplacian below the gap in its spectrum.

k groups with few edges between them give k eigenvalues near 0; the rest begins where the groups' own second
eigenvalues do. The number asked for is N(lambda*), the count below a lambda* inside the gap. Thesis, Algorithm 5, puts
lambda* at the first minimum of the density; but an accurate density has minima inside the peak of the cluster
eigenvalues, and a spectrum without any gap has minima too. Here

    lambda* is the middle of the longest interval [a, b], a <= 1/2, on which N stays the same to half an eigenvalue,

among those with a dense spectrum on the far side, three or more eigenvalues in [b, b + (b - a)]; and it is a gap only
if it is longer than what the moments resolve, and than an absolute least width. At about lambda = 1/2 half of a group's
edges leave it; below, groups are communities in the weak sense of Radicchi et al., PNAS 101 (2004).

Reference: thesis, 3.7.1; Lee, Oveis Gharan and Trevisan, Multiway spectral partitioning, JACM 61 (2014), doi
10.1145/2665063, bound the conductance of k groups by lambda_k from both sides.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from spectra import _arrays
from spectra._maxent import maxent
from spectra.graphs._counting import inertia_below, ritz_below
from spectra.graphs._egs import RIDGE, Spectrum
from spectra.krylov._lanczos import LanczosRun
from spectra.krylov._quadrature import gauss
from spectra.results import ConvergenceWarning, Estimate, standard_error

__all__ = ["egs_cluster_count"]

LAST = 0.5  # a gap begins at or below this eigenvalue
LEAST_WIDTH = 0.05
BEYOND = 3  # eigenvalues as near to the gap's far end as the gap is wide
DENSE = 1000  # up to this order all eigenvalues cost less than a search
FILL = 2**28  # entries of a factor: about 2 GiB
GRID = np.linspace(0.0, 2.0, 4001)


class Gap(NamedTuple):
    """An interval without eigenvalues, and how many there are in another as long beyond it."""

    low: float
    high: float
    beyond: float

    @property
    def cutoff(self) -> float:
        return (self.low + self.high) / 2

    @property
    def margin(self) -> float:
        return (self.high - self.low) / 2

    def is_one(self, resolution: float = 0.0) -> bool:
        return 2 * self.margin >= max(LEAST_WIDTH, resolution) and self.beyond >= BEYOND


def egs_cluster_count(L, *, method: str = "auto", moments: int = 100, probes: int = 16, rng=None) -> Estimate:
    """Number of clusters of a graph: eigenvalues of its normalised Laplacian below the spectral gap.

    Parameters
    ----------
    L : normalised Laplacian, or a graph
        Anything `adjacency` accepts, or what `normalized_laplacian` returns.
    method : {"auto", "certified", "egs", "lanczos"}
        "egs" integrates the entropic graph spectrum up to the cut-off; "lanczos" a Lanczos quadrature smoothed by a
        Gaussian of width ``1 / moments``, from as many products (the thesis's baseline). Both are estimates with the
        noise of their probes, about ``sqrt(2 k / probes)`` for k clusters that are joined at all. "certified" takes the
        cut-off from "egs", and counts exactly: all eigenvalues up to order 1000, else the inertia of ``L - lambda I``
        on both sides of the cut-off, else Ritz values. "auto" is "certified" where its memory is affordable, else
        "egs".
    moments : int
        Chebyshev moments; twice the steps of "lanczos". A gap must be twice as wide as they resolve.
    probes : int
        Rademacher vectors.
    rng : int, Generator or None

    Returns
    -------
    Estimate
        The count. Details: `gap` (whether there is one), `cutoff` and `margin` (no eigenvalue is believed to lie within
        `margin` of `cutoff`; both None without a gap), `components` (connected components, exact), `certificate`
        ("eigenvalues", "inertia", "ritz", or None for a stochastic count).

    Raises
    ------
    ValueError, TypeError
        As `adjacency`, or if the method has another name.

    Warns
    -----
    ConvergenceWarning
        If there is no gap: the value then is the number of connected components, a lower bound. Or if a certified count
        was asked for and none could be had.

    Notes
    -----
    ``probes * ceil(moments / 2)`` products; and, certified, two sparse factorisations, or thick-restart Lanczos with
    about four vectors of memory for each cluster. Source: thesis, Algorithm 5, with the rule above for its line 4.

    Examples
    --------
    >>> from spectra import graphs
    >>> cliques = [(i + 10 * k, j + 10 * k) for k in range(5) for i in range(10) for j in range(i)]
    >>> count = graphs.egs_cluster_count(cliques + [(0, 10), (20, 30)])
    >>> count.value, count.components, count.gap
    (5.0, 3, True)
    """
    if method not in METHODS:
        raise ValueError(f"method of egs_cluster_count must be one of {sorted(METHODS)}, found {method!r}")
    return cluster_count(Spectrum(L, moments, probes, rng), method)


def cluster_count(spectrum: Spectrum, method: str) -> Estimate:
    """`egs_cluster_count` behind the door."""
    count = METHODS[method](spectrum)
    if not count.gap:
        warnings.warn("the spectrum has no gap to be told, so it does not say how many clusters there are; the value "
                      f"{int(count.value)} is the number of connected components, a lower bound",
                      ConvergenceWarning, stacklevel=3)
    elif method == "certified" and count.certificate is None:
        warnings.warn(f"the count {count.value:.4g} is not certified: neither a factorisation nor a basis of its "
                      "eigenvectors fits the memory; it has the noise of its probes", ConvergenceWarning, stacklevel=3)
    return count


# Methods


def _egs(spectrum: Spectrum) -> Estimate:
    rho = maxent(spectrum.moments, ridge=RIDGE)
    gap = _plateau(spectrum, spectrum.n * rho.cdf(GRID))
    if not gap.is_one(_resolution(gap, spectrum.order)):
        return _no_gap(spectrum, "egs", rho.matvecs)
    count = rho.count(0.0, gap.cutoff)
    return _answer(spectrum, "egs", count.value, gap, count.matvecs, stderr=count.stderr)


def _lanczos(spectrum: Spectrum) -> Estimate:
    before = spectrum.operator.matvecs
    steps = min(-(-spectrum.order // 2), max(spectrum.rest, 1))
    samples = np.concatenate([_smoothed_counts(spectrum, V, steps) for V in spectrum.blocks(6)])
    gap = _plateau(spectrum, samples.mean(0))
    matvecs = spectrum.operator.matvecs - before
    if not gap.is_one(_resolution(gap, spectrum.order)):
        return _no_gap(spectrum, "lanczos", matvecs)
    counts = samples[:, np.searchsorted(GRID, gap.cutoff)]
    return _answer(spectrum, "lanczos", float(counts.mean()), gap, matvecs, stderr=standard_error(counts))


def _smoothed_counts(spectrum: Spectrum, V, steps: int) -> np.ndarray:
    """N on the grid for each probe; the kernel's mass below 0 stays in, or a fifth of the clusters would be lost."""
    known = spectrum.null.shape[1]
    if not spectrum.rest:
        return np.full((V.shape[1], len(GRID)), float(known))
    run = LanczosRun(spectrum.operator, V, check=False)
    run.advance(steps)
    nodes, weights = gauss(run.alpha, run.beta)
    steps_up = (ndtr((GRID - t[:, None]) * spectrum.order) for t in nodes)
    return known + spectrum.rest * np.array([w @ step for w, step in zip(weights, steps_up, strict=True)])


def _certified(spectrum: Spectrum) -> Estimate:
    if spectrum.n <= DENSE:
        return _from_eigenvalues(spectrum)
    rough = _egs(spectrum)
    if not rough.gap:
        return _no_gap(spectrum, "certified", rough.matvecs)
    expected = max(round(rough.value), spectrum.components)
    before = spectrum.operator.matvecs
    for name, fits, count in (("inertia", _factor_fits, _by_inertia), ("ritz", _basis_fits, _by_ritz)):
        if not fits(spectrum, expected):
            continue
        for margin in (rough.margin / 2, rough.margin / 4):
            below, above = count(spectrum, rough.cutoff - margin, rough.cutoff + margin, expected)
            matvecs = rough.matvecs + spectrum.operator.matvecs - before
            if below is not None and below == above:
                gap = Gap(rough.cutoff - margin, rough.cutoff + margin, BEYOND)
                return _answer(spectrum, "certified", float(below), gap, matvecs, certificate=name)
        if below is not None and above is not None:
            return _no_gap(spectrum, "certified", matvecs)  # the density took a thin part of the spectrum for a gap
    return rough


# "auto" differs from "certified" in that it falls back on the stochastic count without a warning.
METHODS = {"auto": _certified, "certified": _certified, "egs": _egs, "lanczos": _lanczos}


def _from_eigenvalues(spectrum: Spectrum) -> Estimate:
    values = np.linalg.eigvalsh(spectrum.L.toarray())
    values[: spectrum.components] = 0.0
    low = values[spectrum.components - 1 : -1]
    low = low[low <= LAST]
    high = values[spectrum.components : spectrum.components + len(low)]
    beyond = np.searchsorted(values, 2 * high - low, side="right") - np.searchsorted(values, high)
    gap = _longest(low, high, beyond)
    if not gap.is_one():
        return _no_gap(spectrum, "certified", 0)
    count = float(np.count_nonzero(values <= gap.cutoff))
    return _answer(spectrum, "certified", count, gap, 0, certificate="eigenvalues")


def _by_inertia(spectrum, low, high, expected):
    return inertia_below(spectrum.L, low), inertia_below(spectrum.L, high)


def _by_ritz(spectrum, low, high, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # residuals are looked at one by one
        below = ritz_below(spectrum.operator, spectrum.null, low, expected, spectrum.seed)
        return below, ritz_below(spectrum.operator, spectrum.null, high, expected, spectrum.seed)


def _factor_fits(spectrum, expected) -> bool:
    """k clusters that hardly touch fill k blocks of (n / k)^2 entries, at most."""
    return spectrum.n**2 / expected <= FILL


def _basis_fits(spectrum, expected) -> bool:
    vectors = 4 * (expected - spectrum.null.shape[1]) + 60
    return vectors * spectrum.n * 8 <= 2 * _arrays.MEMORY


# The gap


def _plateau(spectrum: Spectrum, counts) -> Gap:
    """The longest interval without eigenvalues, going by their counts below every point of the grid."""
    slack = 0.5 + 5e-6 * spectrum.n  # half an eigenvalue, and what a density misses of the moments
    counts = np.maximum.accumulate(counts)
    first = np.flatnonzero((counts >= spectrum.components - slack) & (GRID <= LAST))
    last = np.searchsorted(counts, counts[first] + slack, side="right") - 1
    low, high = GRID[first], GRID[last]
    beyond = np.interp(np.minimum(2 * high - low, 2.0), GRID, counts) - counts[last]
    return _longest(low, high, beyond)


def _longest(low, high, beyond) -> Gap:
    """The longest of the intervals beyond which the spectrum is dense."""
    widths = np.where(beyond >= BEYOND, high - low, 0.0)
    if not widths.any():
        return Gap(0.0, 0.0, 0.0)
    i = int(widths.argmax())
    return Gap(float(low[i]), float(high[i]), float(beyond[i]))


def _resolution(gap: Gap, order: int) -> float:
    """Twice the distance that `order` Chebyshev moments resolve at the gap's far end."""
    return 2 * np.pi / order * (np.sqrt(max(gap.high * (2 - gap.high), 0.0)) + np.pi / order)


def _answer(spectrum, method, value, gap: Gap, matvecs, *, stderr=0.0, certificate=None) -> Estimate:
    details = {"cutoff": gap.cutoff, "margin": gap.margin, "gap": True, "components": spectrum.components,
               "certificate": certificate}
    return Estimate(value, stderr, None, matvecs, spectrum.probes, spectrum.seed, method, details)


def _no_gap(spectrum, method, matvecs) -> Estimate:
    details = {"cutoff": None, "margin": None, "gap": False, "components": spectrum.components, "certificate": None}
    return Estimate(float(spectrum.components), 0.0, None, matvecs, spectrum.probes, spectrum.seed, method, details)
