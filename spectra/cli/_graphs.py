"""`spectra clusters` and `spectra compare`: questions that only graphs can be asked."""

from __future__ import annotations

from typing import Any

import numpy as np

from spectra import _arrays, graphs, plot
from spectra._files import Description, read_matrix
from spectra._maxent import maxent
from spectra.cli._answer import Answer, draw, with_error
from spectra.graphs._clusters import MEMORY, cluster_count
from spectra.graphs._egs import RIDGE, Spectrum
from spectra.graphs._matrices import is_normalized_laplacian
from spectra.results import Estimate

__all__ = ["clusters", "compare"]


class _Graph:
    """The graph that an argument names: its adjacency matrix, or its normalised Laplacian if the file holds that."""

    def __init__(self, name: str, symmetrize: bool):
        A, self.read = read_matrix(name, symmetrize=symmetrize)
        self.matrix = A
        if self.read.kind == "matrix" and not is_normalized_laplacian(A):
            self.matrix = graphs.adjacency(A, symmetrize=symmetrize)
            self.read = self.read._replace(kind="graph", entries=self.matrix.nnz // 2, facts={})

    @property
    def title(self) -> str:
        return _title(self.read)

    def to_dict(self) -> dict[str, Any]:
        return self.read._asdict()


def _title(read: Description) -> str:
    if read.kind == "graph":
        return f"{read.name}: graph of {read.order} nodes and {read.entries} edges"
    return f"{read.name}: normalised Laplacian of a graph of {read.order} nodes"


# Clusters


def clusters(args) -> Answer:
    graph = _Graph(args.file, args.symmetrize)
    spectrum = Spectrum(graph.matrix, args.moments, args.probes, args.rng, args.progress)
    count = cluster_count(spectrum, args.method, args.memory or MEMORY)
    lines = [graph.title, *_in_words(count)]
    if args.labels:
        lines.append(_write_labels(args.labels, graph, count))

    def picture(path: str) -> None:
        rho = maxent(spectrum.moments, ridge=RIDGE)

        def fill(axes) -> None:
            plot.density(rho, axes[0], log=True)
            plot.cutoff(count, axes[0])
            plot.clusters(rho, count, axes[1])

        draw(path, 2, (11, 4), fill, f"{graph.title}\n{_headline(count)}")

    return Answer({"input": graph.to_dict(), "clusters": count.to_dict(), "labels": args.labels}, lines, picture)


def _headline(count: Estimate) -> str:
    if not count.gap:
        return f"no gap in the spectrum: at least {int(count.value)} clusters, its connected components"
    if count.certificate:
        return _plural(int(count.value), "cluster")
    return f"{with_error(count)} clusters"


def _in_words(count: Estimate) -> list[str]:
    spent = [f"{count.matvecs} products", count.method] + [f"seed {count.seed}"] * (count.matvecs > 0)
    if not count.gap:
        return [_headline(count), "  how many there are beyond that the spectrum does not say", f"  {', '.join(spent)}"]
    lies = "lies" if count.certificate in ("eigenvalues", "inertia") else "is believed to lie"
    where = (f"  eigenvalues below {count.cutoff:.4g}; none {lies} within {count.margin:.2g} of it; "
             f"{_plural(count.components, 'connected component')}")
    others = [f"  {', '.join(map(str, count.others))} at other gaps: groups within groups"] if count.others else []
    if count.certificate:
        return [_headline(count), where, *others, f"  counted exactly ({count.certificate}), {', '.join(spent)}"]
    low, high = count.interval()
    return [_headline(count), where, *others, f"  95 % interval [{low:.4g}, {high:.4g}], {', '.join(spent)}"]


def _write_labels(path: str, graph: _Graph, count: Estimate) -> str:
    """A line for each node, in the order of the nodes: the number of its cluster."""
    k = max(round(count.value), count.components)
    np.savetxt(path, graphs.cluster_labels(graph.matrix, k, rng=count.seed), fmt="%d")
    return f"labels: {path}, {_plural(k, 'cluster')}, a line for each node"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# Similarity


def compare(args) -> Answer:
    if len(args.files) < 2:
        raise ValueError(f"compare needs two graphs or more, found {len(args.files)}; name another")
    seed = _arrays.generator(args.rng)[1]
    random = np.random.default_rng(seed)
    read, densities = [], []
    for name in args.files:
        graph = _Graph(name, args.symmetrize)
        read.append(graph)
        densities.append(graphs.egs(graph.matrix, moments=args.moments, probes=args.probes, ridge=args.ridge,
                                    rng=random, progress=args.progress))
    pairs = [[graphs.divergence(p, q, kind=args.kind) for q in densities] for p in densities]
    value, stderr = (np.array([[getattr(pair, name) for pair in row] for row in pairs]) for name in ("value", "stderr"))
    setting = {"kind": args.kind, "moments": args.moments, "ridge": args.ridge, "probes": args.probes, "seed": seed}
    found = setting | {"names": [graph.read.name for graph in read], "divergence": value.tolist(),
                       "stderr": _finite(stderr), "matvecs": sum(rho.matvecs for rho in densities)}
    head = f"{KINDS[args.kind]}; {args.moments} moments, ridge {args.ridge:g}, {args.probes} probes, seed {seed}"
    names = [f"{i} {graph.read.name}" for i, graph in enumerate(read, 1)]
    lines = [*(f"{name}{graph.title.removeprefix(graph.read.name)}" for name, graph in zip(names, read, strict=True)),
             head, *_table(names, value, stderr, args.kind == "kl")]

    def picture(path: str) -> None:
        side = 3.0 + 0.4 * len(names)
        draw(path, 1, (side + 1, side), lambda ax: plot.heatmap(value, [graph.read.name for graph in read], ax), head)

    return Answer({"inputs": [graph.to_dict() for graph in read], "comparison": found}, lines, picture)


KINDS = {"symmetric-kl": "symmetric relative entropy, nats", "kl": "relative entropy of row to column, nats",
         "js": "Jensen-Shannon divergence, nats", "moments": "distance of Chebyshev moments"}


def _finite(errors) -> list:
    """For JSON: one probe has no spread."""
    return [[error if np.isfinite(error) else None for error in row] for row in errors.tolist()]


def _table(names: list[str], value, stderr, both: bool) -> list[str]:
    """Value ± standard error; below the diagonal if that says all."""
    g = len(names)
    cells = [[f"{value[i, j]:.3g} ± {stderr[i, j]:.1g}" if i != j else "0" for j in range(g if both else i + 1)]
             for i in range(g)]
    left = max(map(len, names))
    width = max(len(cell) for row in cells for cell in row)
    head = "  " + " " * left + "".join(f"  {i:>{width}}" for i in range(1, g + 1))
    rows = ["  " + name.ljust(left) + "".join(f"  {cell:>{width}}" for cell in row)
            for name, row in zip(names, cells, strict=True)]
    return [head.rstrip(), *rows]
