"""Pictures of spectra. Every function takes a matplotlib Axes, draws on it and returns it; None makes a new one.

A quadrature rule is a set of weighted points, and `stem` shows just that: nothing is smoothed, so an eigenvalue of
high multiplicity, an outlier and a gap all look like what they are (thesis 4.4.3). `cumulative` shows the distribution
function with all that is known of its error. `density` smooths, for the eye.

Called again on the same Axes, each function takes the next colour: overlays need no function of their own.
"""

from __future__ import annotations

import numpy as np

from spectra._optional import require
from spectra.results import Estimate, SpectralDensity

__all__ = ["cumulative", "density", "histogram", "stem"]

_SHARE = "share of eigenvalues"


def stem(rho: SpectralDensity, ax=None, *, log: bool = False, label: str | None = None):
    """Draw a rule as it is: a stem of height w_j at every node theta_j.

    Rules of several probes are drawn over each other in translucent ink: where it is dark the probes agree, and where
    they differ one sees by how much. Probes that share their nodes (block quadrature) are averaged.

    Parameters
    ----------
    rho : SpectralDensity
        Weighted points: from Lanczos quadrature, or made by hand.
    ax : matplotlib Axes, optional
    log : bool
        Logarithmic axis of weights, from a hundredth of one eigenvalue up: less than that is not an eigenvalue but a
        node on its way through a gap.
    label : str, optional
        For the legend.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the density is continuous (maximum entropy): `density` draws those.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> rho = spectra.spectral_density(np.diag([1.0, 2.0, 2.0, 4.0]), steps=4, probes=1, rng=0)
    >>> ax = spectra.plot.stem(rho, log=True)
    >>> ax.get_yscale(), ax.get_ylabel()
    ('log', 'share of eigenvalues')
    """
    if rho.log_series is not None:
        raise ValueError(f"stem draws weighted points, but this density ({rho.method}) is continuous; use plot.density")
    ax = _axes(ax)
    rules = [_distinct(*rule, rho) for rule in _different(rho)]
    nodes, weights = (np.concatenate(parts) for parts in zip(*rules, strict=True))
    drawn = weights >= (0.01 / rho.size if log else 0.0)
    nodes, weights, ink = nodes[drawn], weights[drawn], max(1 / len(rules), 0.2)
    floor = weights.min() / 3 if log else 0.0
    (heads,) = ax.plot(nodes, weights, "o", markersize=3.5, markeredgewidth=0, alpha=ink, label=label)
    ax.vlines(nodes, floor, weights, colors=heads.get_color(), alpha=ink, linewidth=1.2)
    return _finish(ax, _SHARE, floor, log)


def density(rho: SpectralDensity, ax=None, *, width: float | None = None, log: bool = False, label: str | None = None):
    """Draw the density as a curve, with a 95 % band where several probes tell how sure it is.

    Weighted points are smoothed by a Gaussian (see `SpectralDensity.pdf`), so an eigenvalue of multiplicity k becomes a
    hump of mass k/n, as wide as the resolution and not as wide as anything in the spectrum. A continuous density is
    drawn as it is. The band is Student's t over the probes, point by point; it knows nothing of the smoothing.

    Parameters
    ----------
    rho : SpectralDensity
    ax : matplotlib Axes, optional
    width : float, optional
        Standard deviation of the Gaussian; default: none for a continuous density, else the length of the support over
        the number of nodes of a probe, which is what they resolve.
    log : bool
        Logarithmic axis of densities, from a tenth of one eigenvalue up.
    label : str, optional
        For the legend.

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> import numpy as np, spectra
    >>> rho = spectra.spectral_density(np.diag([1.0, 2.0, 2.0, 4.0]), steps=4, probes=2, rng=0)
    >>> spectra.plot.density(rho, width=0.1).get_ylabel()
    'density'
    """
    ax = _axes(ax)
    lo, hi = rho.support
    spread = hi - lo or abs(hi) or 1.0
    if width is None and rho.log_series is None:
        width = spread / rho.rules[0][0].size
    pad = 4 * (width or 0.0)
    x = np.linspace(lo - pad, hi + pad, int(min(1000 + 8 * spread / (width or spread), 8000)))
    floor = 0.1 / (rho.size * (width or spread)) if log else 0.0
    curve = _smoothed(rho, x, width)
    value, low, high = (np.maximum(y, floor) for y in (curve.value, *curve.interval()))
    (line,) = ax.plot(x, value, linewidth=1.4, label=label)
    ax.fill_between(x, floor, value, color=line.get_color(), alpha=0.12, linewidth=0)
    if curve.probes > 1:
        ax.fill_between(x, low, high, color=line.get_color(), alpha=0.3, linewidth=0)
    return _finish(ax, "density", floor, log)


def cumulative(rho: SpectralDensity, ax=None, *, label: str | None = None):
    """Draw the distribution function, the share of eigenvalues at or below x, with its 95 % band.

    The band holds the statistical error and the bracket of the quadrature (see `SpectralDensity.count`): at a node the
    true function lies within the step that the rule makes there. A single probe shows the bracket alone.

    Parameters
    ----------
    rho : SpectralDensity
    ax : matplotlib Axes, optional
    label : str, optional
        For the legend.

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> import numpy as np, spectra
    >>> rho = spectra.spectral_density(np.diag([1.0, 2.0, 2.0, 4.0]), steps=4, probes=2, rng=0)
    >>> spectra.plot.cumulative(rho).get_ylabel()
    'share of eigenvalues up to x'
    """
    ax = _axes(ax)
    lo, hi = rho.support
    x = np.unique(np.concatenate([np.linspace(lo, hi, 301), rho.quantile(np.linspace(0, 1, 301))]))
    counts = [rho.count(-np.inf, end) for end in x]
    share = np.array([(count.value, *_interval(count)) for count in counts]).T / rho.size
    value, low, high = np.clip(share, 0.0, 1.0)
    (line,) = ax.plot([lo, *x], [0.0, *value], drawstyle="steps-post", linewidth=1.4, label=label)
    ax.fill_between(x, low, high, step="post", color=line.get_color(), alpha=0.25, linewidth=0)
    return _finish(ax, "share of eigenvalues up to x", 0.0, False)


def histogram(eigenvalues, ax=None, *, bins=80, label: str | None = "exact"):
    """Draw known eigenvalues as a histogram of area 1 in grey, to compare a `density` with.

    Parameters
    ----------
    eigenvalues : array_like, shape (n,)
    ax : matplotlib Axes, optional
    bins : int or array_like
        Number of bins, or their edges.
    label : str, optional
        For the legend.

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> import spectra
    >>> spectra.plot.histogram([1.0, 2.0, 2.0, 4.0], bins=3).patches[0].get_data().values
    array([0.25, 0.5 , 0.25])
    """
    ax = _axes(ax)
    heights, edges = np.histogram(np.asarray(eigenvalues, dtype=float), bins, density=True)
    ax.stairs(heights, edges, fill=True, color="0.6", alpha=0.4, linewidth=0, label=label, zorder=0)
    return _finish(ax, "density", 0.0, False)


def _axes(ax):
    return require("matplotlib.pyplot", "plot", "drawing").subplots()[1] if ax is None else ax


def _finish(ax, ylabel: str, floor: float, log: bool):
    """Labels, scale and a quiet frame; the limits still follow what is drawn next (auto=None)."""
    if log:
        ax.set_yscale("log")
    ax.set_ylim(bottom=floor, auto=None)
    ax.set(xlabel="eigenvalue", ylabel=ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _different(rho: SpectralDensity) -> list:
    """The rules of the probes, or the averaged one where all have the same nodes."""
    shared = all(np.array_equal(nodes, rho.rules[0][0]) for nodes, _ in rho.rules)
    return [(rho.nodes, rho.weights)] if shared else rho.rules


def _distinct(nodes, weights, rho: SpectralDensity):
    """Nodes that differ by rounding as one: copies that Lanczos makes of an eigenvalue share its weight."""
    nodes, weights = nodes[weights > 0], weights[weights > 0]
    order = np.argsort(nodes)
    nodes, weights = nodes[order], weights[order]
    rounding = np.sqrt(rho.details.get("precision", np.finfo(float).eps)) * np.abs(nodes).max()
    group = np.cumsum(np.diff(nodes, prepend=nodes[0]) > rounding)
    mass = np.bincount(group, weights)
    return np.bincount(group, nodes * weights) / mass, mass


def _smoothed(rho: SpectralDensity, x, width: float | None) -> Estimate:
    """The density at the points x, smoothed probe by probe so that their spread is known."""
    if width is None or rho.complete:
        return Estimate(rho.pdf(x, width))
    curves = np.array([SpectralDensity(*rule, rho.size).pdf(x, width) for rule in rho.rules])
    k = len(curves)
    return Estimate(curves.mean(0), curves.std(0, ddof=1) / np.sqrt(k) if k > 1 else 0.0, probes=k)


def _interval(count: Estimate) -> tuple[float, float]:
    """The 95 % interval, or what the bracket alone says where one probe gives no spread."""
    if np.isfinite(count.stderr):
        return count.interval()
    low, high = count.bias or (0.0, 0.0)
    return count.value + low, count.value + high
