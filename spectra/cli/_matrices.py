"""`spectra info`, `density` and `logdet`: what a matrix is, its spectrum, its log-determinant."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse

import spectra
from spectra import graphs, plot
from spectra.cli._answer import Answer, draw, source, with_error
from spectra.cli._input import NAMES, Input
from spectra.krylov._bounds import gershgorin
from spectra.results import Estimate, SpectralDensity

__all__ = ["density", "info", "logdet"]

_POINT = 1e-12  # relative length of a spectrum that is one point
_WIDE = 1e3, 1e14  # ratios of the ends of a positive spectrum for which its axis is logarithmic; beyond is rounding


def info(args) -> Answer:
    matrix = Input(args, "adjacency")
    A, op = matrix.A, spectra.aslinearoperator(matrix.A)
    diagonal = A.diagonal().real
    found = {"dtype": str(op.dtype), "stored": int(A.nnz if scipy.sparse.issparse(A) else A.size),
             "hermitian": bool(op.hermitian), "diagonal": [float(diagonal.min()), float(diagonal.max())]}
    if matrix.read.kind == "graph":
        found |= _of_nodes(matrix.A)
    if op.hermitian:
        found |= {"gershgorin": list(gershgorin(op) or ()),
                  "spectral_bounds": list(spectra.spectral_bounds(op, rng=args.rng))}
    found["facts"] = matrix.read.facts
    lines = [f"  {name.replace('_', ' '):<16}{_plainly(value)}" for name, value in found.items() if value != {}]
    return Answer(matrix.to_dict() | {"matrix": found}, [matrix.title, *lines])


def density(args) -> Answer:
    matrix = Input(args, "normalized")
    rho = spectra.spectral_density(matrix.A, method=args.method, steps=args.steps, probes=args.probes, rtol=args.rtol,
                                   support=matrix.support, rng=args.rng, memory=args.memory, progress=args.progress)
    moments = [rho.moment(k) for k in (1, 2, 3, 4)]
    found = {"method": rho.method, "matvecs": rho.matvecs, "seed": rho.seed, "probes": rho.probes,
             "support": list(rho.support), "nodes": rho.nodes.tolist(), "weights": rho.weights.tolist(),
             "moments": [moment.to_dict() for moment in moments],
             "quantiles": {str(p): float(rho.quantile(p)) for p in (0.05, 0.25, 0.5, 0.75, 0.95)}}
    lines = [matrix.title, f"  mean {with_error(moments[0])}, mean square {with_error(moments[1])}",
             *_bars(rho, matrix), f"  {source(rho)}; 95 % intervals hold the error of probes and quadrature"]
    return Answer(matrix.to_dict() | {"density": found}, lines, lambda path: _picture(rho, matrix, args.log, path))


def logdet(args) -> Answer:
    matrix = Input(args, "normalized")
    if matrix.read.kind == "graph" and not args.shift:
        raise ValueError(f"logdet needs a positive definite matrix, but the {NAMES[matrix.operator]} of a graph "
                         "is singular or indefinite; add a multiple of the identity, e.g. --shift 1e-3")
    estimate = spectra.logdet(matrix.A, method=args.method, matvecs=args.matvecs, probes=args.probes, steps=args.steps,
                              rtol=args.rtol, support=matrix.support, rng=args.rng, memory=args.memory,
                              progress=args.progress)
    known = None if args.shift else matrix.read.facts.get("logdet")

    def picture(path: str) -> None:
        """The spectrum behind the number, from products of its own."""
        rho = spectra.spectral_density(matrix.A, support=matrix.support, rng=args.rng, memory=args.memory)
        _picture(rho, matrix, True, path)

    data = matrix.to_dict() | {"estimate": estimate.to_dict(), "known": known}
    return Answer(data, [matrix.title, *_in_words(estimate, known)], picture)


def _of_nodes(A) -> dict[str, Any]:
    """What `info` says of a graph; of its Laplacians, the diagonal is not a neighbour."""
    linked = scipy.sparse.csr_array(A - scipy.sparse.diags_array(A.diagonal()))
    linked.eliminate_zeros()
    neighbours = np.diff(linked.indptr)
    return {"neighbours": [int(neighbours.min()), int(neighbours.max())],
            "isolated_nodes": int(np.sum(neighbours == 0)), "components": int(graphs.components(linked).max()) + 1}


# What is shown


def _in_words(estimate: Estimate, known: float | None) -> list[str]:
    head = f"{estimate.method}, {estimate.matvecs} products"
    if estimate.method == "exact":
        lines = [f"log det = {estimate.value:.10g}", f"  exact ({estimate.factorisation}), {estimate.matvecs} products"]
    else:
        low, high = estimate.interval()
        lines = [f"log det = {with_error(estimate)}", f"  95 % interval [{low:.8g}, {high:.8g}], bias included",
                 f"  {head}, seed {estimate.seed}"]
    if known is not None:
        low, high = estimate.interval()
        inside = "" if estimate.method == "exact" else ", inside" if low <= known <= high else ", outside"
        lines.append(f"  known value {known:.10g}{inside}")
    return lines


def _plainly(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plainly(item)}" for key, item in value.items())
    if isinstance(value, list):
        return f"[{', '.join(map(_plainly, value))}]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _bars(rho: SpectralDensity, matrix: Input, rows: int = 15, width: int = 32) -> list[str]:
    """The density in text: the share of eigenvalues in parts of its support (odd, so that 1 lies inside one)."""
    lo, hi = rho.support
    rows = rows if hi - lo > _POINT * max(abs(lo), abs(hi)) else 1
    edges = (np.geomspace if _is_wide(rho, matrix) else np.linspace)(lo, hi, rows + 1)
    ends = [-np.inf, *edges[1:-1], np.inf]
    counts = [rho.count(*part) for part in pairwise(ends)]
    most = max(count.value for count in counts)
    return [f"  {a:>10.4g} to {b:<10.4g}{_percent(count, rho.size)}  {'#' * round(width * count.value / most)}"
            for (a, b), count in zip(pairwise(edges), counts, strict=True)]


def _percent(count: Estimate, size: int) -> str:
    low, high = np.clip(count.interval(), 0.0, size)
    return f"{100 * count.value / size:5.1f} % [{100 * low / size:4.1f}, {100 * high / size:5.1f}]"


def _is_wide(rho: SpectralDensity, matrix: Input) -> bool:
    lo, hi = rho.support
    return matrix.definite and lo > 0 and _WIDE[0] < hi / lo < _WIDE[1]


def _picture(rho: SpectralDensity, matrix: Input, log: bool, path: str) -> None:
    """The rule itself and its distribution function, side by side."""
    points = rho.method in ("slq", "block-slq")

    def fill(axes) -> None:
        (plot.stem if points else plot.density)(rho, axes[0], log=log)
        plot.cumulative(rho, axes[1])
        if points and _is_wide(rho, matrix):
            for ax in axes:
                ax.set_xscale("log")

    draw(path, 2, (11, 4), fill, f"{matrix.title}\n{source(rho)}")
