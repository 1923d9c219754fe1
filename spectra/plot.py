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

__all__ = ["clusters", "cumulative", "cutoff", "density", "heatmap", "histogram", "landscape", "stem"]

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


def clusters(rho: SpectralDensity, count: Estimate, ax=None, *, label: str | None = None):
    """Draw the number of eigenvalues up to x, near 0, with the gap that makes it the number of clusters.

    The number stands still across a gap. The band is Student's t over the probes, 95 %. Without a gap the connected
    components are drawn, a lower bound.

    Parameters
    ----------
    rho : SpectralDensity
        Of the normalised Laplacian, see `spectra.graphs.egs`.
    count : Estimate
        From `spectra.egs_cluster_count`, of the same graph.
    ax : matplotlib Axes, optional
    label : str, optional
        For the legend.

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> import spectra
    >>> L = spectra.graphs.normalized_laplacian([(i + k, j + k) for k in (0, 9) for i in range(9) for j in range(i)])
    >>> count = spectra.egs_cluster_count(L)
    >>> spectra.plot.clusters(spectra.graphs.egs(L, moments=20, rng=0), count).get_title()
    '2 clusters'
    """
    ax = _axes(ax)
    right = min(2.5 * (count.cutoff + count.margin), 2.0) if count.gap else 0.5
    x = np.linspace(0.0, right, 301)
    found = _counts(rho, x)
    value, (low, high) = found.value, found.interval()
    (line,) = ax.plot(x, value, linewidth=1.4, label=label)
    ax.fill_between(x, np.maximum(low, 0), high, color=line.get_color(), alpha=0.25, linewidth=0)
    ax.axhline(count.value, color="0.3", linewidth=0.9, linestyle="--")
    cutoff(count, ax)
    _finish(ax, "eigenvalues up to x", 0.0, False)
    across = value[x <= (count.cutoff if count.gap else right)].max()
    ax.set_ylim(top=max(min(high.max(), 3 * max(across, count.value)), 1.0))
    ax.set_xlim(0, right)
    number = f"{count.value:.4g}"
    ax.set_title(f"{number} cluster{'' if number == '1' else 's'}" if count.gap
                 else f"no gap; {number} connected component{'' if number == '1' else 's'}", fontsize=10)
    return ax


def cutoff(count: Estimate, ax=None):
    """Mark the gap of a cluster count on an axis of eigenvalues: the cut-off, and the interval without eigenvalues.

    Draws nothing where there is no gap. See `clusters` for the parameters.

    Examples
    --------
    >>> import spectra
    >>> count = spectra.egs_cluster_count([(i + k, j + k) for k in (0, 9) for i in range(9) for j in range(i)])
    >>> len(spectra.plot.cutoff(count).lines)
    1
    """
    ax = _axes(ax)
    if count.gap:
        ax.axvspan(count.cutoff - count.margin, count.cutoff + count.margin, color="0.5", alpha=0.15, linewidth=0)
        ax.axvline(count.cutoff, color="0.3", linewidth=0.9)
    return ax


def heatmap(matrix, labels=None, ax=None, *, log: bool = True, values: bool | None = None):
    """Draw a matrix of divergences, with a cell for every pair and the number in it.

    Small values are dark, so families are dark blocks on the diagonal.

    Parameters
    ----------
    matrix : array_like, shape (g, g)
        Non-negative, as `spectra.graphs.similarity_matrix` gives it.
    labels : sequence of str, optional
        Names of rows and columns; default: their numbers.
    ax : matplotlib Axes, optional
    log : bool
        Logarithmic colours, between the smallest and the largest positive value.
    values : bool, optional
        Write the numbers into the cells; default: if there are at most 16 rows.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the matrix is not square, has an entry that is negative or not finite, or the labels do not fit.

    Examples
    --------
    >>> import spectra
    >>> ax = spectra.plot.heatmap([[0.0, 0.1], [0.1, 0.0]], ["one", "two"])
    >>> [text.get_text() for text in ax.texts]
    ['0', '0.1', '0.1', '0']
    """
    D = np.asarray(matrix, dtype=float)
    if D.ndim != 2 or D.shape[0] != D.shape[1] or not D.size or not np.all(np.isfinite(D)) or D.min() < 0:
        raise ValueError(f"heatmap draws a square matrix of finite numbers >= 0, found shape {D.shape}"
                         + (f" with entries from {D.min():.3g} to {D.max():.3g}" if D.size else ""))
    names = [str(i) for i in range(len(D))] if labels is None else [str(label) for label in labels]
    if len(names) != len(D):
        raise ValueError(f"heatmap needs a label for each of {len(D)} rows, found {len(names)}")
    ax = _axes(ax)
    shade = _shades(D, log)
    ax.imshow(shade, cmap="GnBu_r", vmin=0, vmax=1)
    ax.set_xticks(range(len(D)), names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(D)), names)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if len(D) <= 16 if values is None else values:
        for (i, j), value in np.ndenumerate(D):
            text, ink = _short(value), "white" if shade[i, j] < 0.4 else "0.15"
            ax.text(j, i, text, ha="center", va="center", color=ink, fontsize=7)
    return ax


def landscape(found, ax=None, *, test=None, log: bool = False, label: str | None = "train"):
    """Draw the loss along a line through the weights, or on a plane by its contours.

    What is flat on the training data need not be flat on test data: give both, and the test loss is dashed in the same
    colour, on a plane at the same levels. A cross marks the weights themselves. Where the loss is not finite nothing is
    drawn.

    Parameters
    ----------
    found : Landscape
        From `spectra.nn.landscape`, with one direction or two.
    ax : matplotlib Axes, optional
    test : Landscape, optional
        The same line or plane with other data.
    log : bool
        Logarithmic losses; on a plane, logarithmic levels.
    label : str, optional
        Name of `found` in the legend, beside "test"; None leaves both without.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If no loss is finite, one is not positive for a logarithmic axis, or `test` has another number of directions.

    Examples
    --------
    >>> import torch, spectra
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> train, test = (torch.ones(1, 1), torch.zeros(1, 1)), (torch.ones(1, 1), torch.ones(1, 1))
    >>> lines = [spectra.nn.landscape(model, torch.nn.MSELoss(), data, torch.ones(1)) for data in (train, test)]
    >>> ax = spectra.plot.landscape(lines[0], test=lines[1])
    >>> ax.get_ylabel(), len(ax.lines)
    ('loss', 3)
    """
    ax, given = _axes(ax), [found] if test is None else [found, test]
    if any(len(one.coordinates) != len(found.coordinates) for one in given):
        raise ValueError(f"test must have as many directions as the landscape beside it, {len(found.coordinates)}, "
                         f"found {len(test.coordinates)}")
    losses = [np.ma.masked_invalid(one.losses) for one in given]
    finite = np.concatenate([x.compressed() for x in losses])
    if not finite.size or (log and finite.min() <= 0):
        raise ValueError("landscape draws finite losses, and positive ones on a logarithmic axis, found "
                         + (f"{finite.min():.4g}" if finite.size else "none that is finite"))
    draw = _lines if len(found.coordinates) == 1 else _contours
    draw(ax, [one.coordinates for one in given], losses, finite, log, label)
    _mark_weights(ax, found, losses[0])
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _lines(ax, coordinates, losses, finite, log, label) -> None:
    (line,) = ax.plot(*coordinates[0], losses[0], linewidth=1.4, label=label)
    for (x,), y in zip(coordinates[1:], losses[1:], strict=True):
        ax.plot(x, y, "--", color=line.get_color(), linewidth=1.4, label=label and "test")
    ax.set(xlabel="along the direction", ylabel="loss", yscale="log" if log else "linear")


def _contours(ax, coordinates, losses, finite, log, label) -> None:
    levels = (np.geomspace if log else np.linspace)(finite.min(), finite.max(), 13)
    for axes, z, style in zip(coordinates, losses, ("solid", "dashed"), strict=False):
        drawn = ax.contour(*axes, z.T, levels=levels, linestyles=style, linewidths=1.1)
        if style == "solid":
            ax.clabel(drawn, fmt="%.3g", fontsize=7)
    ax.set(xlabel="along the first direction", ylabel="along the second direction")


def _mark_weights(ax, found, losses) -> None:
    """A cross at the weights themselves: at 0, or on a line at the loss there."""
    centre = tuple(np.argmin(np.abs(axis)) for axis in found.coordinates)
    place = (found.coordinates[0][centre[0]], losses[centre]) if len(centre) == 1 else (0.0, 0.0)
    ax.plot(*place, "+", color="0.2", markersize=8)


def _counts(rho: SpectralDensity, x) -> Estimate:
    """Number of eigenvalues up to every x, with the spread of the probes."""
    below = []
    for nodes, weights in rho.rules:
        order = np.argsort(nodes)
        sums = np.concatenate([[0.0], np.cumsum(weights[order])])
        below.append(rho.size * sums[np.searchsorted(nodes[order], x, side="right")])
    k = len(below)
    return Estimate(np.mean(below, 0), np.std(below, 0, ddof=1) / np.sqrt(k) if k > 1 else 0.0, probes=k)


def _shades(D: np.ndarray, log: bool) -> np.ndarray:
    """Values on a scale from 0 to 1; zeros, which have no logarithm, are a little below the rest."""
    positive = D[D > 0]
    if not positive.size or positive.min() == positive.max():
        return (D > 0).astype(float)
    if not log:
        return D / positive.max()
    low, high = np.log(positive.min()), np.log(positive.max())
    return np.where(D > 0, 0.15 + 0.85 * (np.log(np.where(D > 0, D, positive.min())) - low) / (high - low), 0.0)


def _short(value: float) -> str:
    """Two digits, without an exponent where that is short."""
    if value == 0:
        return "0"
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}" if value >= 1e-3 else f"{value:.0e}"


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
