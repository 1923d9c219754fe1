"""Chebyshev moments of large graphs, against the same recurrence on SciPy's products and against the gather bound.

    python benchmarks/graph_moments.py --nodes 1000000 --edges 3000000

Normalised Laplacians: a Chung-Lu graph with power-law degrees (exponent 2.5) and a preferential-attachment graph, both
with nodes in random order and no communities, so that there is no locality to find; and two real graphs, if the folder
that SPECTRA_DATA names has them. Sixteen probes, two moments a product. All are timed in turn, round after round, and
medians are reported.

The gather bound is the time it takes to read the rows of V that the entries name and do nothing with them but add them
up, with the same threads, the same look-ahead, and in the same order of rows.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path

import numba
import numpy as np
from _rounds import Rounds, add_arguments, table
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic
from scipy import sparse

import spectra
from spectra import graphs
from spectra._kernels.csr import _TASKS, _first_row
from spectra.krylov._chebyshev import chebyshev_moments

SUPPORT = (0.0, 2.0)
AHEAD, LINE = 16, 8  # entries between asking for a row and reading it; numbers that memory hands out at a time


def chung_lu(nodes: int, edges: int, exponent: float = 2.5) -> sparse.csr_array:
    """Ends drawn with probabilities of a power law: degrees with that exponent, at most a few thousand."""
    rng = np.random.default_rng(0)
    weights = rng.permutation((np.arange(nodes) + 20.0) ** (-1 / (exponent - 1)))
    ends = np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random((edges, 2)))
    return simple(np.minimum(ends, nodes - 1), nodes)


def preferential_attachment(nodes: int, edges: int) -> sparse.csr_array:
    """Every node links to the ends of random earlier links (Barabasi and Albert), then nodes are shuffled."""
    rng, each = np.random.default_rng(0), edges // nodes
    ends = _attached(nodes, each, rng.random(nodes * each))
    return simple(rng.permutation(nodes)[ends].reshape(-1, 2), nodes)


@numba.njit
def _attached(nodes, each, uniform):
    ends = np.empty(2 * (nodes - 1) * each, dtype=np.int64)
    count = 0
    for node in range(1, nodes):
        for _ in range(each):
            known = 2 * (node - 1) * each
            ends[count + 1] = ends[int(uniform[count // 2] * known)] if known else 0
            ends[count] = node
            count += 2
    return ends


def simple(ends, nodes) -> sparse.csr_array:
    ends = ends[ends[:, 0] != ends[:, 1]]
    A = sparse.coo_array((np.ones(len(ends)), tuple(ends.T)), shape=(nodes, nodes)).tocsr()
    A = A + A.T
    A.data[:] = 1
    return A


def scipy_moments(L, V, order: int) -> np.ndarray:
    """The recurrence on SciPy's product and NumPy, with no more passes over the blocks than it takes."""

    def dots(X, Y):
        return np.einsum("ij,ij->j", X, Y)

    mu = np.empty((V.shape[1], order + 1))
    before, now = V, L @ V
    now -= V
    mu[:, 0], mu[:, 1] = dots(V, V), dots(V, now)
    mu[:, 2] = 2 * dots(now, now) - mu[:, 0]
    for j in range(1, order // 2):
        after = L @ now
        after -= now
        after *= 2
        after -= before
        mu[:, 2 * j + 1], mu[:, 2 * j + 2] = 2 * dots(now, after) - mu[:, 1], 2 * dots(after, after) - mu[:, 0]
        before, now = now, after
    return mu


@intrinsic
def _ask_for(context, V, i, j):
    """Start the transfer of the memory of V[i, j] to the nearest cache."""

    def generate(context, builder, signature, args):
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
        address = cgutils.get_item_pointer(context, builder, signature.args[0], array, args[1:])
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32]), "llvm.prefetch.p0i8")
        builder.call(function, [builder.bitcast(address, byte), *(ir.Constant(i32, x) for x in (0, 3, 1))])
        return context.get_dummy_value()

    return numba.void(V, i, j), generate


@numba.njit(parallel=True, nogil=True, fastmath=True)
def _gather(indptr, indices, V, sums):
    last, k = len(indices) - 1, V.shape[1]
    for task in numba.prange(_TASKS):
        total = np.zeros(k)
        for p in range(indptr[_first_row(indptr, task)], indptr[_first_row(indptr, task + 1)]):
            later = np.uint64(indices[min(p + AHEAD, last)])
            for j in range(0, k, LINE):
                _ask_for(V, later, np.uint64(j))
            row = np.uint64(indices[p])
            for j in range(k):
                total[j] += V[row, j]
        sums[task] = total


def gather(L, V, steps: int):
    for _ in range(steps):
        _gather(L.indptr, L.indices, V, np.empty((_TASKS, V.shape[1])))


class Moments:
    """Our moments of one operator, in the given order of rows or in a better one, found anew or kept."""

    def __init__(self, L, V, order: int):
        self.operator, self.V, self.order = spectra.aslinearoperator(L, psd=True), V, order

    def __call__(self, rows: str):
        if rows == "given":
            vars(self.operator)["renumbered"] = None
        elif rows == "found anew":
            vars(self.operator).pop("renumbered", None)
        return chebyshev_moments(self.operator, self.V, self.order, SUPPORT)

    def renumber(self):
        vars(self.operator).pop("renumbered", None)
        return self.operator.renumbered


CALLS = ["scipy", "default", "given order", "renumbering", "gather, given order", "gather, renumbered"]


def calls(make, order: int, probes: int) -> dict:
    """What is timed on one graph; an order that is not worth changing has no gather bound of its own."""
    L = graphs.normalized_laplacian(make())
    V = np.random.default_rng(0).choice([-1.0, 1.0], (L.shape[0], probes))
    ours = Moments(L, V, order)
    renumbered = ours.renumber()
    facts = {"nodes": L.shape[0], "entries": L.nnz, "renumbered": renumbered is not None,
             "difference": float(np.abs(ours("kept") - scipy_moments(L, V, order)).max() / L.shape[0])}
    gather(L, V, 1)
    found = {"scipy": partial(scipy_moments, L, V, order), "default": partial(ours, "found anew"),
             "given order": partial(ours, "given"), "renumbering": ours.renumber,
             "gather, given order": partial(gather, L, V, order // 2),
             "gather, renumbered": partial(gather, renumbered[0] if renumbered else L, V, order // 2)}
    return {name: partial(told, call, facts) for name, call in found.items()}


def told(call, facts):
    call()
    return facts


def show(rows):
    for graph in dict.fromkeys(row["graph"] for row in rows):
        here = {row["what"]: row for row in rows if row["graph"] == graph}
        one = here["scipy"]
        print(f"\n{graph}: {one['nodes']:,} nodes, {one['entries']:,} entries, moments differ from SciPy's by "
              f"{one['difference']:.1e}\n\n" + table(["", "seconds", "least", "times SciPy's speed"], [
                  [name, row["seconds"], row["least"], one["seconds"] / row["seconds"]] for name, row in here.items()]))


def graphs_at_hand(nodes: int, edges: int):
    yield "Chung-Lu", partial(chung_lu, nodes, edges)
    yield "preferential attachment", partial(preferential_attachment, nodes, edges)
    folder = Path(os.environ.get("SPECTRA_DATA", "")) / "graphs"
    for file in ("web-NotreDame.txt.gz", "twitter_undirected.txt.gz"):
        if (folder / file).exists():
            yield file.split(".")[0], partial(graphs.read, folder / file, symmetrize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("nodes", 1_000_000), ("edges", 3_000_000), ("moments", 20), ("probes", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    add_arguments(parser, "graph-moments.json")
    options = parser.parse_args()
    rounds = Rounds(options)
    for name, make in graphs_at_hand(options.nodes, options.edges):
        if name in (options.only or [name]):
            case = {"graph": name, "moments": options.moments, "probes": options.probes}
            rounds.take(case, partial(calls, make, options.moments, options.probes), CALLS)
    show([row for row in rounds.document["rows"] if row["times"]])
    if not rounds.complete:
        print("not yet complete: run again to go on")


if __name__ == "__main__":
    main()
