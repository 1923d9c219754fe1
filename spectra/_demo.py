"""`spectra demo`: a log-determinant and a spectral density of real data, from products alone, beside the exact answers.

The data come with scikit-learn: the diabetes table (442 patients, 10 measurements) and 1,797 handwritten digits. Both
are small enough for dense linear algebra, which is how the exact answers are known.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse

from spectra import datasets, plot
from spectra._optional import require
from spectra._progress import track
from spectra.estimators import logdet, spectral_density
from spectra.results import Estimate, SpectralDensity

__all__ = ["Demonstration", "demonstrate"]

BUDGETS = (60, 120, 180, 240, 300)  # products; all below the order 442, at which estimates become exact
NOISE = 0.1
NEIGHBOURS = 10
SMALL = 0.1  # eigenvalues of a normalised Laplacian below it: about one for each cluster


class Demonstration(NamedTuple):
    """What was estimated, and the exact answers."""

    logdets: list[Estimate]
    logdet: float
    density: SpectralDensity
    eigenvalues: np.ndarray

    @property
    def small(self) -> tuple[Estimate, int]:
        """Number of small eigenvalues of the graph, estimated and exact."""
        return self.density.count(-SMALL, SMALL), int(np.sum(self.eigenvalues <= SMALL))

    @property
    def heat(self) -> tuple[Estimate, float]:
        """Trace of the heat kernel exp(-5 L) of the graph, estimated and exact."""
        return self.density.sum(_heat), float(np.sum(_heat(self.eigenvalues)))

    def lines(self) -> list[str]:
        """The report."""
        graph = self.density
        return [
            f"A Gaussian process on the diabetes table: RBF kernel of order 442, noise {NOISE}",
            *(_line(f"log det K, {e.matvecs} products", e, self.logdet, ".2f") for e in self.logdets),
            "",
            f"A graph of 1797 handwritten digits, each linked to its {NEIGHBOURS} nearest: normalised Laplacian",
            _line("trace of exp(-5 L)", *self.heat, ".2f"),
            _line(f"eigenvalues below {SMALL}", *self.small, ".1f"),
            f"  both from one density: {graph.probes} probes, {graph.matvecs} products",
        ]

    def to_dict(self) -> dict:
        """The report for JSON."""
        small, heat = ([estimate.to_dict() | {"exact": exact}] for estimate, exact in (self.small, self.heat))
        return {"logdet": [e.to_dict() | {"exact": self.logdet} for e in self.logdets],
                "small_eigenvalues": small, "heat_trace": heat}

    def picture(self, path: str | Path) -> None:
        """Write both results as a picture of two panels."""
        pyplot = require("matplotlib.pyplot", "plot", "the picture")
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
        self._draw_logdets(left)
        plot.histogram(self.eigenvalues, right, label="all 1797 eigenvalues")
        plot.density(self.density, right, label=f"estimate, {self.density.matvecs} products, and 95 % band")
        right.set_title("Spectrum of a graph of handwritten digits")
        right.legend(frameon=False, loc="upper left")
        figure.savefig(path, dpi=150)
        pyplot.close(figure)

    def _draw_logdets(self, ax) -> None:
        products = [e.matvecs for e in self.logdets]
        low, high = np.array([e.interval() for e in self.logdets]).T
        value = np.array([e.value for e in self.logdets])
        ax.axhline(self.logdet, color="0.45", linewidth=1, linestyle="--", label="exact, by Cholesky")
        bars = [value - low, high - value]
        ax.errorbar(products, value, bars, fmt="o", capsize=4, label="estimate and 95 % interval")
        ax.set(xlabel="products with the kernel matrix", ylabel="log det K",
               title="Log-determinant of a Gaussian process, order 442")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)


def demonstrate(*, rng=None, progress=False) -> Demonstration:
    """Estimate and compute exactly; about three seconds."""
    with track(progress, len(BUDGETS) + 2, "demo") as advance:
        K = _kernel(datasets.load("diabetes").X)
        logdets = []
        for budget in BUDGETS:
            logdets.append(logdet(K, method="stochastic", matvecs=budget, rng=rng))
            advance()
        L = _graph(datasets.load("digits").X.reshape(1797, 64))
        density = spectral_density(L, steps=60, probes=8, rng=rng)
        advance()
        answer = Demonstration(logdets, logdet(K, method="exact").value, density, np.linalg.eigvalsh(L.toarray()))
        advance()
    return answer


def _kernel(X) -> np.ndarray:
    """exp(-|x - y|² / 2 l²) + noise I on standardised inputs, l the median distance between two of them."""
    X = (X - X.mean(0)) / X.std(0)
    squares = _squared_distances(X)
    scale = np.median(squares[np.triu_indices(len(X), 1)])
    return np.exp(-squares / (2 * scale)) + NOISE * np.eye(len(X))


def _graph(X) -> scipy.sparse.csr_array:
    """Normalised Laplacian of the graph that links every row to its nearest ones."""
    squares = _squared_distances(X)
    np.fill_diagonal(squares, np.inf)
    nearest = np.argpartition(squares, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    rows = np.repeat(np.arange(len(X)), NEIGHBOURS)
    arcs = scipy.sparse.coo_array((np.ones(len(rows)), (rows, nearest.ravel())), shape=squares.shape).tocsr()
    A = arcs.maximum(arcs.T)
    half = scipy.sparse.diags_array(1 / np.sqrt(A.sum(axis=1)))
    return scipy.sparse.csr_array(scipy.sparse.eye_array(len(X)) - half @ A @ half)


def _squared_distances(X) -> np.ndarray:
    norms = np.sum(X**2, axis=1)
    return np.maximum(norms[:, None] + norms - 2 * X @ X.T, 0.0)


def _heat(x):
    return np.exp(-5 * x)


def _line(what: str, estimate: Estimate, exact: float, style: str) -> str:
    low, high = estimate.interval()
    verdict = "inside" if low <= exact <= high else "outside"
    ends = f"[{low:{style}}, {high:{style}}]"
    return f"  {what:<28}{estimate.value:>10{style}}   95 % {ends:<22} exact {exact:>10{style}}  {verdict}"
