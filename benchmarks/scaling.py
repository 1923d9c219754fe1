"""How the cost of a call grows with the nonzeros of the matrix, with the probes and with the steps.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --seconds 80         # a slice of it: run again to go on
    python benchmarks/scaling.py --only huge          # 1e8 nonzeros, once, in about 10 GB

Work is fixed while the matrix grows: 20 steps with each of 10 probes, for a log-determinant (as it is, and with so
little memory that no basis is kept at any order), Chebyshev moments, a density, and the entropic spectrum of a graph;
8 steps with 5 probes in a shared Krylov space for the block method. The matrices are Laplacians of grids in three
dimensions, whose neighbours are near in memory, and the normalised Laplacians of random graphs of mean degree 6, whose
neighbours are anywhere. The slopes are those of least squares through the logarithms.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
from _rounds import Rounds, add_arguments
from scipy import sparse

import spectra
from spectra import graphs

SIDES = 12, 17, 25, 36, 53, 76, 113  # of grids with about 1e4 to 1e7 nonzeros, two sizes a decade
HUGE = 243  # 1e8 nonzeros
MIDDLE = 53
STEPS, PROBES = 20, 10
PICTURE = Path(__file__).parents[1] / "docs" / "img" / "scaling.png"


def grid(side):
    """Seven-point Laplacian of a grid with fixed boundary, plus the identity."""
    n = side**3
    place = np.arange(n, dtype=np.int32)
    diagonals, offsets = [np.full(n, 7.0)], [0]
    for stride in (1, side, side**2):
        along = place // stride % side
        diagonals += [-(along > 0).astype(float), -(along < side - 1).astype(float)]  # by column, as SciPy has them
        offsets += [stride, -stride]
    A = sparse.csr_array(sparse.dia_array((np.array(diagonals), offsets), shape=(n, n)))
    A.eliminate_zeros()
    A.sort_indices()
    return sparse.csr_array((A.data, A.indices.astype(np.int32), A.indptr.astype(np.int32)), shape=A.shape)


def scattered(side):
    """A random graph with about as many nonzeros in its Laplacian as a grid has."""
    n = side**3
    ends = np.random.default_rng(0).integers(0, n, (3 * n, 2))
    A = sparse.coo_array((np.ones(3 * n), tuple(ends.T)), shape=(n, n)).tocsr()
    A = sparse.csr_array(A + A.T)
    A.setdiag(0)
    A.eliminate_zeros()
    A.data[:] = 1
    return A


def calls(A, support):
    """The calls that are timed, on a positive definite matrix whose spectrum lies in the support."""
    shape = {"steps": STEPS, "probes": PROBES, "rng": 0}
    return {"logdet": lambda: spectra.logdet(A, method="slq", **shape),
            "logdet, no basis kept": lambda: spectra.logdet(A, method="slq", memory=little(A, PROBES), **shape),
            "logdet, shared space": lambda: spectra.logdet(A, method="block-slq", rng=0, steps=8, probes=5),
            "moments": lambda: spectra.moments(A, 2 * STEPS, probes=PROBES, support=support, rng=0),
            "density": lambda: spectra.spectral_density(A, **shape)}


def little(A, probes):
    """Memory for one group of probes, but not for a basis of 20 steps."""
    return 40 * 8 * probes * A.shape[0]


def of_grid(side):
    A = grid(side)
    return known(A, calls(A, (1.0, 13.0)))


def of_graph(side):
    G = scattered(side)
    L = graphs.normalized_laplacian(G)
    A = sparse.csr_array(L + sparse.eye_array(L.shape[0]))
    spectrum = {"entropic spectrum": lambda: graphs.egs(G, moments=2 * STEPS, probes=PROBES, rng=0)}
    return known(A, calls(A, (1.0, 3.0)) | spectrum)


def known(A, found):
    """Calls that also tell the order of the matrix and its nonzeros."""

    def told(call):
        call()
        return {"n": A.shape[0], "nonzeros": A.nnz}

    return {name: partial(told, call) for name, call in found.items()}


MATRICES = {"grid": of_grid, "random graph": of_graph}
NAMES = {"grid": ["logdet", "logdet, no basis kept", "logdet, shared space", "moments", "density"],
         "random graph": ["logdet", "logdet, no basis kept", "moments", "entropic spectrum"]}


def shapes():
    """Steps and probes that grow in turn, on the grid in the middle."""
    A = grid(MIDDLE)
    found = {}
    for steps, probes in GROWING:
        found[f"{steps} x {probes}"] = partial(
            spectra.logdet, A, method="slq", steps=steps, probes=probes, memory=little(A, probes), rng=0)
    return known(A, found)


GROWING = [(STEPS, k) for k in (1, 2, 4, 8, 16, 32, 64)] + [(m, PROBES) for m in (5, 10, 20, 40, 80, 160)]


def measure(options):
    rounds = Rounds(options)
    wanted = options.only or [*MATRICES, "shapes"]
    compile_all()
    for name in MATRICES:
        for side in SIDES if name in wanted else ():
            rounds.take({"matrix": name, "side": side}, partial(MATRICES[name], side), NAMES[name])
    if "shapes" in wanted:
        rounds.take({"matrix": "grid, shapes", "side": MIDDLE}, shapes, [f"{m} x {k}" for m, k in GROWING])
    if "huge" in wanted:
        rounds.rounds = 1
        rounds.take({"matrix": "grid", "side": HUGE}, partial(of_grid, HUGE), ["logdet, no basis kept"])
    return rounds


def compile_all():
    for make in MATRICES.values():
        for call in make(6).values():
            call()


def slopes(rows):
    """Exponent of the cost in the nonzeros by call: from 1e5 up, and over the last decade."""
    found = []
    of_matrices = [row for row in rows if row["matrix"] in MATRICES]
    for matrix, what in dict.fromkeys((row["matrix"], row["what"]) for row in of_matrices):
        here = sorted((row["nonzeros"], row["seconds"]) for row in of_matrices
                      if (row["matrix"], row["what"]) == (matrix, what))
        found.append({"matrix": matrix, "what": what, "from 1e5": slope([r for r in here if r[0] > 1e5]),
                      "last decade": slope([r for r in here if r[0] > here[-1][0] / 12]),
                      "nanoseconds a nonzero": {f"{size:.0e}": 1e9 * seconds / size for size, seconds in here}})
    return found


def slope(points):
    if len(points) < 2:
        return None
    x, y = np.log(np.array(points).T)
    return float(np.polyfit(x, y, 1)[0])


def picture(document, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 7), constrained_layout=True)
    for ax, matrix, title in zip(axes[0], MATRICES, ("grids in three dimensions", "random graphs, mean degree 6"),
                                 strict=True):
        nonzeros_panel(ax, [row for row in document["rows"] if row["matrix"] == matrix], title)
    growing = {row["what"]: row["seconds"] for row in document["rows"] if row["matrix"] == "grid, shapes"}
    for ax, place, name in ((axes[1, 0], 1, "probes, 20 steps each"), (axes[1, 1], 0, "steps of 10 probes")):
        pairs = GROWING[:7] if place else GROWING[7:]
        shape_panel(ax, [(pair[place], growing[f"{pair[0]} x {pair[1]}"]) for pair in pairs
                         if f"{pair[0]} x {pair[1]}" in growing], name)
    figure.savefig(path, dpi=110)


def nonzeros_panel(ax, rows, title):
    for what in dict.fromkeys(row["what"] for row in rows):
        points = sorted((row["nonzeros"], row["seconds"]) for row in rows if row["what"] == what)
        ax.loglog(*zip(*points, strict=True), "o-", markersize=3, linewidth=1, label=what)
    straight(ax, max((row["nonzeros"], row["seconds"]) for row in rows), 1e4)
    ax.set(title=title, xlabel="nonzeros", ylabel="seconds")
    ax.legend(fontsize=7, frameon=False)


def shape_panel(ax, points, name):
    ax.loglog(*zip(*points, strict=True), "o-", markersize=3, linewidth=1, label="logdet, no basis kept")
    straight(ax, points[-1], points[0][0])
    ax.set(title="a grid of 1e6 nonzeros", xlabel=name, ylabel="seconds")
    ax.legend(fontsize=7, frameon=False)


def straight(ax, end, start):
    """A line of slope one through the last point."""
    x, y = end
    ax.loglog([start, x], [y * start / x, y], ":", color="gray", linewidth=1, label="in proportion")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "scaling.json")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    options = parser.parse_args()
    rounds = measure(options)
    rounds.document["slopes"] = slopes([row for row in rounds.document["rows"] if row["times"]])
    rounds.save()
    for row in rounds.document["slopes"]:
        print(json.dumps(row))
    if not rounds.complete:
        print("not yet complete: run again to go on")
    elif not options.only:
        picture(rounds.document, options.picture)


if __name__ == "__main__":
    main()
