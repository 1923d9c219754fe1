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
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import scipy  # whose parts are loaded when first used

from spectra._maxent import maxent
from spectra.graphs._counting import ENTRY, Inertia, ritz_below
from spectra.graphs._egs import RIDGE, Spectrum
from spectra.krylov._lanczos import LanczosRun
from spectra.krylov._quadrature import gauss
from spectra.results import ConvergenceWarning, Estimate, standard_error

__all__ = ["egs_cluster_count"]

LAST = 0.5  # a gap begins at or below this eigenvalue
LEAST_WIDTH = 0.05
BEYOND = 3  # eigenvalues as near to the gap's far end as the gap is wide
DENSE = 1000  # up to this order all eigenvalues cost less than a search
MEMORY = 2**32  # default for a factor, or for a basis of eigenvectors
EXPANDING = 20  # a factor of a random graph of order s takes s^2 / 20 entries or more
SHARES = np.array([0.49, 0.26])  # of a gap, to certify; no round numbers, where pivots of regular structures vanish
GRID = np.linspace(0.0, 2.0, 4001)


class Gap(NamedTuple):
    """An interval without eigenvalues, and how many lie below it."""

    low: float
    high: float
    count: int

    @property
    def cutoff(self) -> float:
        return (self.low + self.high) / 2

    @property
    def margin(self) -> float:
        return (self.high - self.low) / 2


def egs_cluster_count(L, *, method: str = "auto", moments: int = 100, probes: int = 16, memory: int | None = None,
                      rng=None) -> Estimate:
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
    memory : int, optional
        Bytes that a sparse factor or a basis of eigenvectors may take, by default 4 GiB, and blocks of vectors, 1 GiB.
        The first two are known before they are computed: the entries of the factor are counted from the pattern.
    rng : int, Generator or None

    Returns
    -------
    Estimate
        The count. Details: `gap` (whether there is one), `cutoff` and `margin` (no eigenvalue is believed to lie within
        `margin` of `cutoff`; both None without a gap), `others` (counts at other gaps at least half as long, from long
        to short: groups within groups, say; beyond order 1000 they are estimates, rounded), `components` (connected
        components, exact), `certificate` ("eigenvalues", "inertia", "ritz", or None for a stochastic count).

        A connected graph without groups, random regular or scale-free, has a gap above its eigenvalue 0: it is one
        cluster, with `gap` True.

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
    spectrum = Spectrum(L, moments, probes, rng, memory=memory)
    return cluster_count(spectrum, method, MEMORY if memory is None else memory)


def cluster_count(spectrum: Spectrum, method: str, memory: int = MEMORY) -> Estimate:
    """`egs_cluster_count` behind the door."""
    count = METHODS[method](spectrum, memory)
    if not count.gap:
        warnings.warn("the spectrum has no gap to be told, so it does not say how many clusters there are; the value "
                      f"{int(count.value)} is the number of connected components, a lower bound",
                      ConvergenceWarning, stacklevel=3)
    elif method == "certified" and count.certificate is None:
        warnings.warn(f"the count {count.value:.4g} has the noise of its probes: neither a factor nor a basis of "
                      f"eigenvectors in {memory / 2**30:.2g} GiB certified it; more memory= may",
                      ConvergenceWarning, stacklevel=3)
    return count


# Methods


def _egs(spectrum: Spectrum, memory: int) -> Estimate:
    rho = maxent(spectrum.moments, ridge=RIDGE)
    gaps = _plateaus(spectrum, spectrum.n * rho.cdf(GRID))
    if not gaps:
        return _no_gap(spectrum, "egs", rho.matvecs)
    count = rho.count(0.0, gaps[0].cutoff)
    return _answer(spectrum, "egs", count.value, gaps, count.matvecs, stderr=count.stderr)


def _lanczos(spectrum: Spectrum, memory: int) -> Estimate:
    before = spectrum.operator.matvecs
    steps = min(-(-spectrum.order // 2), max(spectrum.rest, 1))
    samples = np.concatenate([_smoothed_counts(spectrum, V, steps) for V in spectrum.blocks(steps + 6)])
    gaps = _plateaus(spectrum, samples.mean(0))
    matvecs = spectrum.operator.matvecs - before
    if not gaps:
        return _no_gap(spectrum, "lanczos", matvecs)
    counts = samples[:, np.searchsorted(GRID, gaps[0].cutoff)]
    return _answer(spectrum, "lanczos", float(counts.mean()), gaps, matvecs, stderr=standard_error(counts))


def _smoothed_counts(spectrum: Spectrum, V, steps: int) -> np.ndarray:
    """N on the grid for each probe; the kernel's mass below 0 stays in, or a fifth of the clusters would be lost."""
    known = spectrum.null.shape[1]
    if not spectrum.rest:
        return np.full((V.shape[1], len(GRID)), float(known))
    fits = V.nbytes * (steps + 6) <= spectrum.memory
    run = LanczosRun(spectrum.operator, V, reorthogonalize=fits, expected=steps, check=False)
    run.advance(steps)
    nodes, weights = gauss(run.alpha, run.beta)
    steps_up = (scipy.special.ndtr((GRID - t[:, None]) * spectrum.order) for t in nodes)
    return known + spectrum.rest * np.array([w @ step for w, step in zip(weights, steps_up, strict=True)])


def _certified(spectrum: Spectrum, memory: int) -> Estimate:
    if spectrum.n <= DENSE:
        return _from_eigenvalues(spectrum)
    rough = _egs(spectrum, memory)
    if not rough.gap:
        return _no_gap(spectrum, "certified", rough.matvecs)
    before = spectrum.operator.matvecs
    for name, counter in (("inertia", _by_inertia), ("ritz", _by_ritz)):
        below = counter(spectrum, max(round(rough.value), spectrum.components), memory)
        for margin in SHARES * rough.margin if below else ():
            low, high = below(rough.cutoff - margin), below(rough.cutoff + margin)
            matvecs = rough.matvecs + spectrum.operator.matvecs - before
            if low is not None and low == high:
                return replace(rough, value=float(low), stderr=0.0, matvecs=matvecs, method="certified",
                               details=rough.details | {"margin": float(margin), "certificate": name})
        if below and low is not None and high is not None:
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
    gaps = _longest_first(low, high, spectrum.components + np.arange(len(low)), beyond)
    if not gaps:
        return _no_gap(spectrum, "certified", 0)
    return _answer(spectrum, "certified", float(gaps[0].count), gaps, 0, certificate="eigenvalues")


# Exact counts below any number, from what fits the memory: None if nothing does


def _by_inertia(spectrum, expected, memory):
    if spectrum.n**2 / (EXPANDING * expected) > memory / ENTRY:
        return None  # k random graphs would fill more: not worth the search for an ordering
    inertia = Inertia(spectrum.L)
    return inertia.below if inertia.fits(memory) else None


def _by_ritz(spectrum, expected, memory):
    vectors = 4 * (expected - spectrum.null.shape[1]) + 60
    if vectors * spectrum.n * 8 > memory:
        return None

    def below(x):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # residuals are looked at one by one
            return ritz_below(spectrum.operator, spectrum.null, x, expected, spectrum.seed)

    return below


# Gaps


def _plateaus(spectrum: Spectrum, counts) -> list[Gap]:
    """Intervals without eigenvalues, going by their counts below every point of the grid."""
    slack = 0.5 + 5e-6 * spectrum.n  # half an eigenvalue, and what a density misses of the moments
    counts = np.maximum.accumulate(counts)
    first = np.flatnonzero((counts >= spectrum.components - slack) & (GRID <= LAST))
    last = np.searchsorted(counts, counts[first] + slack, side="right") - 1
    low, high = GRID[first], GRID[last]
    beyond = np.interp(np.minimum(2 * high - low, 2.0), GRID, counts) - counts[last]
    gaps = _longest_first(low, high, counts[first], beyond)
    return gaps if gaps and 2 * gaps[0].margin >= _resolution(gaps[0].high, spectrum.order) else []


def _longest_first(low, high, counts, beyond) -> list[Gap]:
    """The longest interval before a dense spectrum, then others that do not overlap and are at least half as long."""
    widths = high - low
    dense = np.where(beyond >= BEYOND, widths, 0.0)
    gaps = []
    if len(dense) and dense.max() >= LEAST_WIDTH:
        i, least = int(dense.argmax()), max(dense.max() / 2, LEAST_WIDTH)
        while widths[i] >= least:
            gaps.append(Gap(float(low[i]), float(high[i]), max(round(float(counts[i])), 1)))
            widths[(low < high[i]) & (high > low[i])] = 0.0
            i = int(widths.argmax())
    return gaps


def _resolution(x: float, order: int) -> float:
    """Twice the distance that `order` Chebyshev moments resolve at x."""
    return 2 * np.pi / order * (np.sqrt(max(x * (2 - x), 0.0)) + np.pi / order)


def _answer(spectrum, method, value, gaps, matvecs, *, stderr=0.0, certificate=None) -> Estimate:
    details = {"cutoff": gaps[0].cutoff, "margin": gaps[0].margin, "gap": True,
               "others": tuple(gap.count for gap in gaps[1:]), "components": spectrum.components,
               "certificate": certificate}
    return Estimate(value, stderr, None, matvecs, spectrum.probes, spectrum.seed, method, details)


def _no_gap(spectrum, method, matvecs) -> Estimate:
    details = {"cutoff": None, "margin": None, "gap": False, "others": (), "components": spectrum.components,
               "certificate": None}
    return Estimate(float(spectrum.components), 0.0, None, matvecs, spectrum.probes, spectrum.seed, method, details)
