"""Chebyshev moments of large graphs, against the same recurrence on SciPy's products and against the gather bound.

    python benchmarks/graph_moments.py --nodes 1000000 --edges 3000000

Normalised Laplacians: a Chung-Lu graph with power-law degrees (exponent 2.5) and a preferential-attachment graph, both
with nodes in random order and no communities, so that there is no locality to find; and two real graphs, if the folder
that SPECTRA_DATA names has them. Sixteen probes, two moments a product. All are timed in turn, round after round, and
medians are reported: of the wall clock, and of processor time over all threads, which other programs disturb less.

The gather bound is the time it takes to read the rows of V that the entries name and do nothing with them but add them
up, with the same threads, the same look-ahead, and in the same order of rows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from functools import partial
from pathlib import Path

import numba
import numpy as np
from scipy import sparse

import spectra
from spectra import graphs
from spectra._kernels.csr import _AHEAD, _TASKS, _first_row, _prefetch
from spectra.krylov._chebyshev import chebyshev_moments

SUPPORT = (0.0, 2.0)


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


@numba.njit(parallel=True, nogil=True, fastmath=True)
def _gather(indptr, indices, V, sums):
    last = len(indices) - 1
    for task in numba.prange(_TASKS):
        total = np.zeros(V.shape[1])
        for p in range(indptr[_first_row(indptr, task)], indptr[_first_row(indptr, task + 1)]):
            _prefetch(V, np.uint64(indices[min(p + _AHEAD, last)]))
            row = np.uint64(indices[p])
            for j in range(V.shape[1]):
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


def timed(calls: dict, rounds: int) -> dict[str, dict]:
    times = {name: ([], []) for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            times[name][0].append(time.perf_counter() - wall)
            times[name][1].append(time.process_time() - cpu)
    return {name: {"wall": statistics.median(wall), "wall_min": min(wall), "cpu": statistics.median(cpu)}
            for name, (wall, cpu) in times.items()}


def measured(L, order: int, probes: int, rounds: int) -> dict:
    V = np.random.default_rng(0).choice([-1.0, 1.0], (L.shape[0], probes))
    ours = Moments(L, V, order)
    renumbered = ours.renumber()
    error = np.abs(ours("kept") - scipy_moments(L, V, order)).max() / L.shape[0]
    gather(L, V, 1)
    calls = {"scipy": partial(scipy_moments, L, V, order), "given order": partial(ours, "given"),
             "default": partial(ours, "found anew"), "renumbering": ours.renumber,
             "gather, given order": partial(gather, L, V, order // 2)}
    if renumbered is not None:
        calls["gather, renumbered"] = partial(gather, renumbered[0], V, order // 2)
    return {"nodes": L.shape[0], "edges": (L.nnz - L.shape[0]) // 2, "entries": L.nnz, "difference": error,
            "renumbered": renumbered is not None, "seconds": timed(calls, rounds), "load": os.getloadavg()}


def report(name: str, found: dict) -> str:
    lines = [f"{name}: {found['nodes']} nodes, about {found['edges']} edges, moments differ from SciPy's by "
             f"{found['difference']:.1e}, load {found['load'][0]:.1f}"]
    for call, t in found["seconds"].items():
        base = found["seconds"]["scipy"]
        ratios = " / ".join(f"{base[clock] / t[clock]:.2f}" for clock in ("wall", "wall_min", "cpu"))
        lines.append(f"    {call:22s} {t['wall']:7.2f} s (least {t['wall_min']:.2f}, processor {t['cpu']:.2f}): "
                     f"{ratios} times SciPy's speed")
    return "\n".join(lines)


def graphs_at_hand(nodes: int, edges: int):
    yield "Chung-Lu", partial(chung_lu, nodes, edges)
    yield "preferential attachment", partial(preferential_attachment, nodes, edges)
    folder = Path(os.environ.get("SPECTRA_DATA", "")) / "graphs"
    for file in ("web-NotreDame.txt.gz", "twitter_undirected.txt.gz"):
        if (folder / file).exists():
            yield file.split(".")[0], partial(graphs.read, folder / file, symmetrize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("nodes", 1_000_000), ("edges", 3_000_000), ("moments", 100), ("probes", 16), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", help="the graph with this name")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results = {"settings": {k: v for k, v in vars(args).items() if isinstance(v, int)}, "graphs": {},
               "threads": numba.get_num_threads(), "versions": {m.__name__: m.__version__ for m in (np, numba)}}
    for name, make in graphs_at_hand(args.nodes, args.edges):
        if args.only in (None, name):
            L = graphs.normalized_laplacian(make())
            results["graphs"][name] = measured(L, args.moments, args.probes, args.rounds)
            print(report(name, results["graphs"][name]), flush=True)
            if args.json:
                args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
