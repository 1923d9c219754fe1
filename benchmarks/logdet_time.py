"""Time of a log-determinant of a formed kernel matrix, beside the peers at an error as small as ours.

    python benchmarks/logdet_time.py --n 8000 --peers .peers/bin/python --json docs/measured/logdet-time-8000.json

Ours has a tolerance and chooses its own products: `method="auto"`, which may find a factorisation cheaper, and
"stochastic". The peers climb a ladder of steps x probes, the cheapest first, until the median of their errors over the
seeds is no larger than that of our "stochastic", or one answer takes four times our median. Every method runs on one
thread; seconds are those of the processor, so that programs beside it disturb less. Writes JSON after every matrix.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy starts its threads

import numpy as np
from logdet_accuracy import HERE, exact, kernel_matrix, probe_seed, save, table

import spectra

CELLS = [("rbf", 1e-2, 0.15), ("matern-3/2", 1e-2, 0.45)]
LADDER = [(10, 5), (20, 5), (20, 10), (40, 10), (40, 20), (40, 50), (80, 50)]  # steps, probes
TIMES_OURS = 4  # where the peers give up


def ours(K, noise, truth, rng, **choice):
    """One answer of ours, with its error and its cost."""
    start = time.process_time()
    A = spectra.aslinearoperator(K)
    A.lower_bound = noise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spectra.ConvergenceWarning)
        estimate = spectra.logdet(A, rng=rng, **choice)
    low, high = estimate.interval()
    return {"cpu_seconds": time.process_time() - start, "error": (estimate.value - truth) / abs(truth),
            "products": estimate.matvecs, "method": estimate.method, "covers": bool(low <= truth <= high)}


def medians(runs):
    return {"median error": statistics.median(abs(run["error"]) for run in runs),
            "cpu_seconds": statistics.median(run["cpu_seconds"] for run in runs),
            "products": int(statistics.median(run["products"] for run in runs)), "runs": runs}


def peers(python, K, noise, truth, job):
    """What the peers needed, each with the rungs that it tried."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "kernel.npy", K)
        (Path(folder) / "job.json").write_text(json.dumps(job | {"noise": noise, "truth": truth, "ladder": LADDER}))
        subprocess.run([python, str(HERE / "_peers_logdet_time.py"), folder], check=True)
        return json.loads((Path(folder) / "answers.json").read_text())


def measured(n, cell, options):
    kernel, noise, lengthscale = cell
    K = kernel_matrix(n, lengthscale, 0, noise, kernel)
    start = time.process_time()
    truth = exact(K, condition=False)["truth"]
    row = {"kernel": kernel, "noise": noise, "lengthscale": lengthscale, "rtol": options.rtol, "truth": truth,
           "cholesky_cpu_seconds": time.process_time() - start}
    seeds = [probe_seed(seed) for seed in range(options.seeds)]
    for method in ("auto", "stochastic"):
        row[f"spectra {method}"] = medians([ours(K, noise, truth, rng, method=method, rtol=options.rtol)
                                            for rng in seeds])
    found = row["spectra stochastic"]
    job = {"rngs": seeds[:options.peer_seeds], "goal": found["median error"],
           "limit": TIMES_OURS * found["cpu_seconds"]}
    return row | ({"peers": peers(options.peers, K, noise, truth, job)} if options.peers else {})


def lines(row):
    """The rows of the table, one a method."""
    base = row["spectra stochastic"]["cpu_seconds"]
    where = row["kernel"], row["noise"], row["lengthscale"], row["rtol"]
    yield [*where, "Cholesky", 0.0, 0, row["cholesky_cpu_seconds"], row["cholesky_cpu_seconds"] / base]
    for name in ("spectra auto", "spectra stochastic"):
        found = row[name]
        yield [*where, name, found["median error"], found["products"], found["cpu_seconds"],
               found["cpu_seconds"] / base]
    for name, rungs in row.get("peers", {}).items():
        goal = row["spectra stochastic"]["median error"]
        rung = next((rung for rung in rungs if (rung["median error"] or np.inf) <= goal), None)
        short, rung = ("", rung) if rung else (", not reached", rungs[-1])
        yield [*where, f"{name}, {rung['steps']} x {rung['probes']}{short}", rung["median error"], rung["products"],
               rung["cpu_seconds"], rung["cpu_seconds"] / base]


HEADER = ["kernel", "noise", "l", "rtol", "method", "median error", "products", "CPU seconds", "times ours"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=8000)
    parser.add_argument("--rtol", type=float, default=1e-2)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--peer-seeds", type=int, default=3)
    parser.add_argument("--peers", help="Python of the environment that benchmarks/peers.sh made")
    parser.add_argument("--json", type=Path, default=Path("logdet-time.json"))
    options = parser.parse_args()
    rows = json.loads(options.json.read_text())["rows"] if options.json.exists() else []
    done = {(row["kernel"], row["noise"], row["lengthscale"], row["rtol"]) for row in rows}
    for cell in CELLS:
        if (*cell, options.rtol) not in done:
            rows.append(measured(options.n, cell, options))
            save(options.json, {"n": options.n, "rows": rows})
    print(table(HEADER, [line for row in rows for line in lines(row)]))


if __name__ == "__main__":
    main()
