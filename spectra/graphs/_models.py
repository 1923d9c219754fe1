"""Which random graph a graph is like: the parameter, and the model, whose spectra are nearest to its own.

With p_G the density of maximum entropy of a graph's Chebyshev moments, and q(theta) that of the mean moments of K
graphs drawn from a model with the parameter theta,

    theta^ = argmin_theta D(p_G, q(theta)),      D the symmetric relative entropy, or the distance of the moments.

The K graphs hang together: one seed gives a graph for every theta (see `_random_graphs`), so D changes little where
theta does, and a search in one dimension finds its minimum. Their scatter is also the error bar: each of the K at
theta^ pulls the answer by its own slope dD/dtheta over the mean curvature of D, as any graph of the model would.

Reference: thesis, 3.6.1, 3.6.2 and Table 3.1, where the graph at each theta is a new one and the search a grid.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy  # whose parts are loaded when first used
import scipy.sparse

from spectra import _arrays
from spectra._maxent import maxent
from spectra.graphs._divergence import divergence
from spectra.graphs._egs import SUPPORT, Spectrum
from spectra.graphs._matrices import adjacency, normalized
from spectra.graphs._random_graphs import MODELS, Family
from spectra.results import ConvergenceWarning, Estimate

__all__ = ["classify", "fit_model"]

ORDER = 10  # more moments see single eigenvalues, in which two graphs of one model differ
RIDGE = 1e-6
EXACT = 400  # nodes up to which eigenvalues are computed
PRODUCTS = 1 << 22  # nodes times probes, beyond
TYPICAL = 0.05  # share of a model's own graphs that are farther from it than a graph that it may have drawn
DISTANCES = {"symmetric-kl": 1e-9, "moments": 1e-24}  # and what rounding makes of equal graphs


def fit_model(G, model: str = "er", *, distance: str = "symmetric-kl", moments: int = ORDER, draws: int | None = None,
              probes: int | None = None, ridge: float = RIDGE, rng=None) -> Estimate:
    """Parameter of a random-graph model whose graphs have a spectrum like that of G.

    ``argmin_theta D(p_G, q(theta))``, with p_G the entropic spectrum of G, and q(theta) that of the mean moments of
    graphs drawn from the model with parameter theta and as many nodes.

    Parameters
    ----------
    G : graph
        Anything `adjacency` accepts, without weights, with at least 4 nodes and one edge.
    model : {"er", "ws", "ba"}
        Erdos and Renyi: the probability p of an edge. Watts and Strogatz: the probability p that an edge of the ring is
        moved; every node of the ring has as many neighbours as the even number next to the mean degree of G. Barabasi
        and Albert: the number r of edges that a new node brings.
    distance : {"symmetric-kl", "moments"}
        D: a divergence of the densities, or the squared Euclidean distance of the Chebyshev moments, which is as
        good and needs no density.
    moments : int
        Chebyshev moments.
    draws : int, optional
        Graphs that are drawn at each theta; default 16, fewer beyond 4096 nodes. They add a share ``1/draws`` to the
        variance of the answer, and their scatter is its error bar.
    probes : int, optional
        Rademacher vectors for the moments of a graph; default: none up to 400 nodes, where eigenvalues are computed,
        and beyond ``2^22 / n``, between 4 and 64.
    ridge : float
        Regularisation of the densities, see `spectra.maxent`.
    rng : int, Generator or None

    Returns
    -------
    Estimate
        The parameter. `stderr` is its standard deviation over graphs of the model, draws and probes included, to first
        order; `bias` is the rounding of r to an integer. Neither knows whether G is of the model at all: for that see
        `typical`. Details: `model`; `divergence`, the least D; `typical`, the share of graphs of the fitted model that
        are as far from it as G or farther, judged by the draws; `neighbours` (of the ring); `at_limit`, whether the
        parameter is at an end of its range; `nodes`, `order`, `ridge`, `draws`, `evaluations` (of D).

    Raises
    ------
    ValueError
        For an unknown model or distance, weights, too small a graph, and as `adjacency`.

    Warns
    -----
    ConvergenceWarning
        If D does not depend on the parameter beyond its noise: the spectrum does not tell it.

    Notes
    -----
    About 20 evaluations of D, for each of which `draws` graphs are drawn and measured: 0.1 to 1 s up to 150 nodes. D
    itself depends on the number of moments and on the ridge. For "er" and "ba" the number of edges tells the parameter
    as well or better; the spectrum tells it to who has nothing else. Source: thesis, 3.6.1, Table 3.1a.

    Examples
    --------
    >>> import networkx, spectra
    >>> G = networkx.gnp_random_graph(60, 0.3, seed=1)
    >>> p = spectra.graphs.fit_model(G, "er", rng=0)
    >>> abs(p.value - 0.3) < 0.05, p.typical > 0.05
    (True, True)
    """
    W = _simple(G)
    if model not in MODELS:
        raise ValueError(f"model must be one of {list(MODELS)}, found {model!r}")
    measure = Measure(W.shape[0], distance, moments, probes, ridge)
    generator, seed = _arrays.generator(rng)
    target = measure.picture(measure.moments(W.nonzero(), generator.integers(1 << 62)))
    return _fit(W, target, model, measure, _count(draws, W.shape[0]), generator, seed)


class Classification(NamedTuple):
    """The random-graph model that is most like a graph, and how sure that is."""

    model: str
    """The most typical one, or the nearest if none is plausible."""
    margin: float
    """Least divergence of the others over its own."""
    plausible: tuple[str, ...]
    """Models that draw such graphs, most typical first. Several cannot be told apart; none: G is of another kind."""
    divergences: Mapping[str, float]
    """The least divergence of every model."""
    fits: Mapping[str, Estimate]
    """What `fit_model` found for every model, or the number of edges told (`method` says which)."""


def classify(G, *, models: tuple[str, ...] = ("er", "ws", "ba"), match_edges: bool = True,
             distance: str = "symmetric-kl", moments: int = ORDER, draws: int | None = None, probes: int | None = None,
             ridge: float = RIDGE, rng=None) -> Classification:
    """Random-graph model whose spectra are most like that of G, each with its best parameter.

    Parameters
    ----------
    G, distance, moments, draws, probes, ridge, rng
        See `fit_model`; G is measured once, and all models with the same settings.
    models : tuple of str
        Those to choose from.
    match_edges : bool
        Let the number of edges of G tell p of "er" and r of "ba", and search only where it does not. False leaves all
        to the spectrum, which then finds a sparse graph of one model like a denser one of another.

    Returns
    -------
    Classification
        A tuple with names: `model`, `margin`, `plausible`, `divergences`, `fits`. A model is plausible if more than one
        in twenty of its own graphs is as far from it as G is. `model` is the most typical of the plausible ones, or if
        there is none the nearest. `margin` is the least divergence of the others over its own: below 1 if another is
        nearer, but its own graphs are nearer still.

    Raises
    ------
    ValueError
        As `fit_model`.

    Notes
    -----
    Up to three times the work of `fit_model`. The models overlap: rings with most edges moved are like graphs of Erdos
    and Renyi, and graphs of 60 nodes like several. Source: thesis, 3.6.2, Table 3.1b.

    Examples
    --------
    >>> import networkx, spectra
    >>> G = networkx.barabasi_albert_graph(100, 3, seed=0)
    >>> found = spectra.graphs.classify(G, rng=0)
    >>> found.model, found.margin > 2
    ('ba', True)
    """
    W = _simple(G)
    if not models:
        raise ValueError(f"expected at least one model to choose from, found none; name some of {list(MODELS)}")
    if unknown := [model for model in models if model not in MODELS]:
        raise ValueError(f"models must be among {list(MODELS)}, found {unknown}")
    measure = Measure(W.shape[0], distance, moments, probes, ridge)
    generator, seed = _arrays.generator(rng)
    target = measure.picture(measure.moments(W.nonzero(), generator.integers(1 << 62)))
    count = _count(draws, W.shape[0])
    fits = {model: _fit(W, target, model, measure, count, generator, seed, match_edges) for model in models}
    divergences = {model: fit.divergence for model, fit in fits.items()}
    typical = {model: fit.typical for model, fit in fits.items()}
    plausible = tuple(sorted((model for model in models if typical[model] > TYPICAL), key=typical.get, reverse=True))
    best = plausible[0] if plausible else min(models, key=divergences.get)
    others = [divergences[model] for model in models if model != best]
    margin = min(others, default=np.inf) / max(divergences[best], 1e-300)
    return Classification(best, float(margin), plausible, divergences, fits)


def _simple(G) -> scipy.sparse.csr_array:
    """Adjacency matrix of a graph that a model could have drawn."""
    W = adjacency(G)
    if W.shape[0] < 4 or not W.nnz:
        raise ValueError(f"a model needs a graph with at least 4 nodes and one edge, found {W.shape[0]} nodes and "
                         f"{W.nnz // 2} edges; their spectra hardly differ")
    if np.any(W.data != 1):
        raise ValueError(f"random-graph models have no weights, found some between {W.data.min():.3g} and "
                         f"{W.data.max():.3g}; drop them: graphs.adjacency(G, weight=None)")
    return W


def _count(draws: int | None, n: int) -> int:
    draws = int(np.clip((1 << 16) // n, 4, 16)) if draws is None else draws
    if int(draws) != draws or draws < 2:
        raise ValueError(f"draws must be an integer of at least 2, to have a scatter, found {draws!r}")
    return int(draws)


# A graph's moments, what stands for it in a comparison, and the comparison


class Measure:
    """How graphs of n nodes are compared; counts the products that this takes."""

    def __init__(self, n: int, distance: str, order: int, probes: int | None, ridge: float):
        if distance not in DISTANCES:
            raise ValueError(f"distance must be one of {list(DISTANCES)}, found {distance!r}")
        for name, count in (("moments", order), ("probes", 1 if probes is None else probes)):
            if int(count) != count or count < 1:
                raise ValueError(f"{name} must be a positive integer, found {count!r}")
        self.n, self.distance, self.order, self.ridge = n, distance, int(order), ridge
        self.same = DISTANCES[distance]
        self.probes = int(np.clip(PRODUCTS // n, 4, 64)) if probes is None and n > EXACT else probes
        self.matvecs = 0

    def moments(self, edges, seed) -> np.ndarray:
        """Chebyshev moments of the normalised Laplacian of the graph with these edges."""
        if self.probes is None:
            angles = np.arccos(np.clip(_eigenvalues(self.n, *edges) - 1, -1, 1))
            return np.cos(np.arange(self.order + 1)[:, None] * angles).mean(1)
        found = Spectrum(normalized(_matrix(self.n, *edges)), self.order, self.probes, int(seed)).moments
        self.matvecs += found.matvecs
        return found.value

    def picture(self, mu):
        """What is compared: the density that has the moments, or the moments themselves."""
        if self.distance == "moments":
            return mu
        with warnings.catch_warnings():  # of residuals: the same ridge for all densities makes them comparable
            warnings.simplefilter("ignore", ConvergenceWarning)
            return maxent(mu, SUPPORT, ridge=self.ridge)

    def between(self, p, q) -> float:
        """D of two pictures."""
        return float(np.sum((p - q) ** 2)) if self.distance == "moments" else divergence(p, q, kind=self.distance).value


def _eigenvalues(n, rows, columns) -> np.ndarray:
    """Those of the normalised Laplacian, without a detour over sparse matrices, which small graphs do not repay."""
    W = np.zeros((n, n))
    W[rows, columns] = W[columns, rows] = 1
    d = W.sum(1)
    root = 1 / np.sqrt(np.maximum(d, 1))
    return np.linalg.eigvalsh(np.diag((d > 0).astype(float)) - root[:, None] * W * root)


def _matrix(n, rows, columns) -> scipy.sparse.csr_array:
    W = scipy.sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(n, n))
    W = W + W.T
    W.data[:] = 1
    return W


# The curve of a model, the search along it, and the error bar


class Curve:
    """The pictures of a family by parameter. The same seeds serve all parameters, and nothing is computed twice."""

    def __init__(self, family: Family, measure: Measure, seeds):
        self.family, self.measure, self.seeds = family, measure, seeds
        self._moments: dict[float, list[np.ndarray]] = {}
        self._pictures: dict[tuple[float, int], Any] = {}

    def members(self, theta: float, count: int) -> list[np.ndarray]:
        """Moments of the graphs that were drawn."""
        known = self._moments.setdefault(theta, [])
        for seed, probe_seed in self.seeds[len(known) : count]:
            known.append(self.measure.moments(self.family.draw(theta, seed), probe_seed))
        return known[:count]

    def at(self, theta: float, count: int | None = None):
        """The picture of the mean moments."""
        key = theta, count or len(self.seeds)
        if key not in self._pictures:
            self._pictures[key] = self.measure.picture(np.mean(self.members(*key), axis=0))
        return self._pictures[key]

    def distances(self, pictures, theta: float) -> np.ndarray:
        """D of each picture from the one at theta."""
        return np.array([self.measure.between(p, self.at(theta)) for p in pictures])


def _fit(W, target, model, measure, draws, generator, seed, match_edges=False) -> Estimate:
    before, family = measure.matvecs, MODELS[model](W.shape[0], W.nnz // 2)
    curve = Curve(family, measure, generator.integers(1 << 62, size=(draws, 2)))
    matched = family.matched if match_edges else None
    theta = matched[0] if matched else _nearest(curve, target)
    divergence_there = measure.between(target, curve.at(theta))
    stderr, own = _scatter(curve, theta, searched=not matched)
    if not np.isfinite(stderr) and not matched:
        warnings.warn(f"the spectrum does not tell the parameter of {model!r}: around {theta:.4g} the divergence "
                      "has no minimum beyond its noise; try more moments, or another model", ConvergenceWarning,
                      stacklevel=3)
    details = {"model": model, "divergence": divergence_there, "typical": _typical(divergence_there, own, measure.same),
               "at_limit": theta in family.limits, "nodes": W.shape[0], "order": measure.order, "ridge": measure.ridge,
               "draws": draws, "evaluations": len(curve._pictures)} | family.details
    rounding = (-0.5, 0.5) if family.whole and not matched else None
    return Estimate(int(theta) if family.whole else float(theta), matched[1] if matched else stderr, rounding,
                    measure.matvecs - before, draws, seed, "edges" if matched else measure.distance, details)


def _nearest(curve: Curve, target) -> float:
    """The parameter of least D: around the best point of a grid with a quarter of the draws, then with all."""
    family, few = curve.family, max(len(curve.seeds) // 4, 2)
    values = {theta: curve.measure.between(target, curve.at(theta, few)) for theta in family.grid}
    while (end := _open_end(values, family)) is not None:
        values[end] = curve.measure.between(target, curve.at(end, few))
    grid = sorted(values)
    best = grid.index(min(grid, key=values.__getitem__))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return (_whole if family.whole else _between)(lambda x: curve.measure.between(target, curve.at(x)), low, high)


def _open_end(values, family: Family) -> float | None:
    """A parameter twice as far out, if the best so far is the last on that side."""
    best = min(values, key=values.__getitem__)
    if best == min(values) > family.limits[0]:
        return max(best // 2 if family.whole else best / 2, family.limits[0])
    if best == max(values) < family.limits[1]:
        return min(2 * best, family.limits[1])
    return None


def _between(f, low, high) -> float:
    from scipy.optimize import minimize_scalar  # imported here: it is a quarter of the library's own import

    found = minimize_scalar(f, bounds=(low, high), method="bounded", options={"xatol": (high - low) / 500})
    return min((low, high, float(found.x)), key=f)  # an end, where D is flat


def _whole(f, low, high) -> float:
    """Halves the gaps on both sides of the best integer until there are none."""
    values = {x: f(x) for x in {low, high, (low + high) // 2}}
    while True:
        best = min(values, key=values.__getitem__)
        below, above = (max((x for x in values if x < best), default=best),
                        min((x for x in values if x > best), default=best))
        fresh = {(below + best) // 2, (best + above + 1) // 2} - values.keys()
        if not fresh:
            return best
        values |= {x: f(x) for x in fresh}


def _scatter(curve: Curve, theta: float, searched: bool) -> tuple[float, np.ndarray]:
    """Error bar, and D of every graph that was drawn, from the parameter that is best for it if one is searched for.

    From parabolas through three values of D, each graph of the model taking the part of the target. To first order a
    target moves the minimum by its slope over the mean curvature. Differences are taken over about the error bar
    itself: nearer, D is all noise; farther, it is no parabola.
    """
    count, whole, (lo, hi), same = len(curve.seeds), curve.family.whole, curve.family.limits, curve.measure.same
    members = [curve.measure.picture(mu) for mu in curve.members(theta, count)]
    own = curve.distances(members, theta)
    least, most = (1, (hi - lo) // 2) if whole else (1e-4 * (hi - lo), (hi - lo) / 2)
    step, stderr, gain = 0.05 * (theta or 1.0), np.inf, np.zeros(count)
    for _ in range(3):
        step = float(np.clip(round(step) if whole else step, least, most))
        centre = float(np.clip(theta, lo + step, hi - step))
        left, here, right = (curve.distances(members, x) for x in (centre - step, centre, centre + step))
        slopes, curvatures = (right - left) / (2 * step), (right - 2 * here + left) / step**2
        curvature = curvatures.mean()
        if own.max() <= same:  # all graphs with this parameter are equal
            stderr = _resolution(curve, theta, least, most)
            break
        if curvature <= 0 or max(left.max(), right.max()) <= same:
            step *= 3
            continue
        stderr = np.std(slopes, ddof=1) / curvature * np.sqrt(1 + 1 / count)
        moves = np.clip(-slopes / np.maximum(curvatures, curvature / 4), -2 * step, 2 * step)
        moves = np.round(moves) if whole else moves
        gain = np.maximum(-slopes * moves - curvatures * moves**2 / 2, 0.0)
        before, step = step, np.clip(1.5 * stderr, step / 10, 10 * step)
        if before / 2 <= step <= 2 * before:
            break
    if searched:
        own = np.maximum(own - gain, own / 10)
    # A graph is nearer to a mean that it is part of than to the mean of others: variances (1 -+ 1/count).
    return float(stderr), own * (count + 1) / (count - 1)


def _resolution(curve: Curve, theta: float, least: float, most: float) -> float:
    """How far the parameter must go for half of the graphs to change."""
    here, step = curve.at(theta), least
    while step <= most:
        there = theta + step if theta + step <= curve.family.limits[1] else theta - step
        moved = [curve.measure.picture(mu) for mu in curve.members(there, len(curve.seeds))]
        if np.median([curve.measure.between(p, here) for p in moved]) > curve.measure.same:
            return step
        step *= 2
    return np.inf


def _typical(distance: float, own: np.ndarray, same: float) -> float:
    """Share of the model's graphs at least so far: Student's t for the logarithms of their distances."""
    logs = np.log(np.maximum(own, same))
    spread = np.std(logs, ddof=1) * np.sqrt(1 + 1 / len(own))
    deviation = np.log(max(distance, same)) - logs.mean()
    return float(scipy.special.stdtr(len(own) - 1, -deviation / spread)) if spread else float(deviation <= 0)
