"""Comparing graphs: how steady each divergence is from seed to seed, what it costs beside peers, whose kin it finds.

    python benchmarks/similarity.py [--peers .peers/bin/python] [--json similarity.json] [--sizes 1000 3000 10000]

Three studies. `steadiness`: relative spread of a divergence over seeds, and the standard error it reports, by ridge
and kind, on real graphs. `cost`: CPU seconds and memory for what one graph needs before it can be compared,
on Barabasi-Albert graphs of growing order; the peers (NetLSD 1.0, networkx) run in their own environment, one thread.
`kin`: the share of real graphs whose nearest neighbour is of the same kind. Different quantities: an equal task only in
spirit. The peers' environment: python -m venv .peers, then pip install netlsd networkx scipy.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
import tracemalloc
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy

import networkx
import numpy as np
import scipy.sparse
from _peers_similarity import PEERS

import spectra
from spectra import datasets, graphs
from spectra.graphs._egs import Spectrum

RIDGES = (1e-8, 1e-6, 1e-4)
STEADY = ("ca-GrQc", "ca-HepTh", "power", "email-Eu-core", "as-22july06")
KIN = {"collaboration": ("ca-AstroPh", "ca-CondMat", "ca-GrQc", "ca-HepPh", "ca-HepTh"),
       "social": ("ego-Facebook", "email-Eu-core")}


def real(name):
    return datasets.load(name, symmetrize=name == "email-Eu-core", weighted=False)


def steadiness(names=STEADY, seeds=8):
    """Over all pairs: median and largest relative spread, median reported standard error over value."""
    moments = {name: [Spectrum(real(name), 100, 16, seed).moments for seed in range(seeds)] for name in names}
    rows = []
    for ridge in RIDGES:
        densities = {name: [spectra.maxent(estimate, ridge=ridge) for estimate in runs]
                     for name, runs in moments.items()}
        for kind in ("symmetric-kl", "js", "moments"):
            spreads, errors = [], []
            for i, a in enumerate(names):
                for b in names[:i]:
                    runs = [graphs.divergence(p, q, kind=kind) for p, q in zip(densities[a], densities[b], strict=True)]
                    values = np.array([run.value for run in runs])
                    spreads.append(values.std(ddof=1) / values.mean())
                    errors.append(np.mean([run.stderr for run in runs]) / values.mean())
            rows.append({"ridge": ridge, "kind": kind, "median spread": statistics.median(spreads),
                         "largest spread": max(spreads), "median stderr": statistics.median(errors)})
    return rows


def cost(n, peers, timeout, repeats=3):
    """CPU seconds for one entropic spectrum and one divergence, and for what the peers need of one graph."""
    G = networkx.barabasi_albert_graph(n, 5, seed=1)
    W = graphs.adjacency(G)
    other = graphs.egs(graphs.adjacency(networkx.barabasi_albert_graph(n, 5, seed=2)), ridge=1e-4, rng=1)
    graphs.egs(W, rng=0)  # compiles
    times = []
    for seed in range(repeats):
        start = time.process_time()
        graphs.divergence(graphs.egs(W, ridge=1e-4, rng=seed), other)
        times.append(time.process_time() - start)
    tracemalloc.start()
    graphs.egs(W, ridge=1e-4, rng=0)
    row = {"n": n, "edges": W.nnz // 2, "spectra": statistics.median(times),
           "spectra MiB": tracemalloc.get_traced_memory()[1] / 2**20}
    tracemalloc.stop()
    for what in PEERS:
        row[what] = peer(W, what, peers, timeout) if peers else None
    return row


def peer(W, what, python, timeout):
    """What one peer takes for one graph, or None if it takes longer than `timeout` seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.npz"
        scipy.sparse.save_npz(path, scipy.sparse.csr_matrix(W))
        command = [python, str(Path(__file__).with_name("_peers_similarity.py")), str(path), what]
        try:
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout,
                                  env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"})
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
            return {"seconds": None, "why": type(error).__name__}
    return json.loads(done.stdout.splitlines()[-1])


def kin(peers, timeout):
    """How many graphs have a nearest neighbour of their own kind, by method, and the CPU seconds for all graphs."""
    names = [name for members in KIN.values() for name in members]
    label = {name: kind for kind, members in KIN.items() for name in members}

    def share(D):
        D = D + np.diag(np.full(len(D), np.inf))
        return sum(label[names[int(row.argmin())]] == label[name] for name, row in zip(names, D, strict=True))

    matrices = [real(name) for name in names]
    start = time.process_time()
    densities = [graphs.egs(W, ridge=1e-4, rng=0) for W in matrices]
    seconds = time.process_time() - start
    rows = [{"method": kind, "right": share(graphs.similarity_matrix(densities, kind=kind)), "of": len(names),
             "seconds": seconds} for kind in ("symmetric-kl", "js", "moments")]
    if peers:
        found = [peer(W, "NetLSD", peers, timeout) for W in matrices]
        if all(one["seconds"] for one in found):
            signatures = np.array([one["found"] for one in found])
            for name, scaled in (("NetLSD", signatures),
                                 ("NetLSD, divided by n", signatures / [[W.shape[0]] for W in matrices])):
                D = np.linalg.norm(scaled[:, None] - scaled, axis=2)
                rows.append({"method": name, "right": share(D), "of": len(names),
                             "seconds": sum(one["seconds"] for one in found)})
        else:
            rows.append({"method": "NetLSD", "right": None, "of": len(names),
                         "why": {name: one.get("why") for name, one in zip(names, found, strict=True)}})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="a Python that has netlsd and networkx")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10_000])
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one peer on one graph")
    parser.add_argument("--json", type=Path, default=Path("similarity.json"))
    options = parser.parse_args()
    warnings.simplefilter("ignore", spectra.ConvergenceWarning)
    document = {"versions": {"spectra": spectra.__version__}, "cost": []}
    for n in options.sizes:
        row = cost(n, options.peers, options.timeout)
        for what in PEERS:
            if row[what]:
                row[what].pop("found", None)
        document["cost"].append(row)
        print(json.dumps(row), flush=True)
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    for study, make in (("steadiness", steadiness), ("kin", lambda: kin(options.peers, options.timeout))):
        document[study] = make()
        print(json.dumps({study: document[study]}, indent=1), flush=True)
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
