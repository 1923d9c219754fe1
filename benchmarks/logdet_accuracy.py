"""Log-determinants of kernel matrices at a budget below n, beside the peers at as many products, in one run.

    python benchmarks/logdet_accuracy.py --n 4000 --products 1500 --seeds 20 --peers .peers/bin/python --peer-seeds 2

A cell is a kernel, a noise and a length-scale; a seed draws the inputs of the kernel and, separately, the probes. With
`--matrices 4`, only the inputs of seeds 0 to 3 are drawn, and the other seeds draw probes for these in turn. The truth
is a Cholesky factorisation; the condition number is found for seed 0 of a cell alone. Ours is told that no eigenvalue
lies below the noise, as a kernel operator knows. The peers run in an environment of their own (`benchmarks/peers.sh`
makes it): imate's SLQ and linear_operator's, with and without its pivoted-Cholesky preconditioner, as 30 steps x
(products / 30) probes; without --peers they are left out.
Writes the rows as JSON after every matrix; started again, it measures what is missing there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from itertools import product
from pathlib import Path

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.sparse.linalg import LinearOperator, eigsh

import spectra

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "examples" / "reproduce"))

from _kernels import KERNELS, kernel_matrix, probe_seed  # noqa: E402
from _report import save, table  # noqa: E402

STEPS = 30  # of the peers
OURS = "spectra stochastic"
PLAIN = "spectra, not preconditioned"
CELLS = [  # kernel, noise, length-scale: condition numbers from 1e2 to 1e11
    ("rbf", 1e-2, 0.05), ("rbf", 1e-2, 0.15), ("rbf", 1e-2, 0.45), ("rbf", 1e-5, 0.45),
    ("rbf", 1e-8, 0.15), ("rbf", 1e-8, 0.35), ("rbf", 1e-8, 0.85),
    ("matern-3/2", 1e-2, 0.45), ("matern-3/2", 1e-5, 0.15), ("matern-3/2", 1e-8, 0.45),
    ("rbf", 1e-2, 0.85), ("rbf", 1e-5, 0.15), ("matern-3/2", 1e-2, 0.15), ("matern-3/2", 1e-8, 0.15),
]


def exact(K, condition):
    """Log-determinant and, if asked for, condition number, from one Cholesky factorisation."""
    factor = cholesky(K, lower=True, check_finite=False)
    logdet = 2 * float(np.sum(np.log(np.diag(factor))))
    if not condition:
        return {"truth": logdet}
    inverse = LinearOperator(K.shape, matvec=lambda v: cho_solve((factor, True), v, check_finite=False), dtype=float)
    largest, smallest = (eigsh(A, 1, tol=1e-2, return_eigenvectors=False)[0] for A in (K, inverse))
    return {"truth": logdet, "condition": float(largest * smallest)}


def ours(K, noise, truth, products, rng, preconditioner):
    start, cpu = time.perf_counter(), time.process_time()
    A = spectra.aslinearoperator(K)
    A.lower_bound = noise
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimate = spectra.logdet(A, method="stochastic", matvecs=products, rng=rng, preconditioner=preconditioner)
    low, high = estimate.interval()
    return {"value": estimate.value, "error": (estimate.value - truth) / abs(truth), "products": estimate.matvecs,
            "covers": bool(low <= truth <= high), "interval": [low, high], "stderr": float(estimate.stderr),
            "bias": list(estimate.bias or ()), "probes": estimate.probes, "steps": estimate.steps,
            "rank": estimate.details.get("rank", 0), "method": estimate.method,
            "warned": len(caught) > 0, "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu}


def peers(python, K, noise, truth, products, rng):
    """What the peers answer; they are handed the kernel and the noise apart, as their users would."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "kernel.npy", K - noise * np.eye(len(K)))
        job = {"noise": noise, "steps": STEPS, "probes": max(products // STEPS, 1), "rng": rng}
        (Path(folder) / "job.json").write_text(json.dumps(job))
        subprocess.run([python, str(HERE / "_peers_logdet.py"), folder], check=True)
        answers = json.loads((Path(folder) / "answers.json").read_text())
    for answer in answers["methods"].values():
        answer["error"] = None if answer["value"] is None else (answer["value"] - truth) / abs(truth)
    return answers


def complete(row, options, cache):
    """The row with whatever is missing measured; `cache` holds the last matrix made, and its log-determinant."""
    wanted = {OURS: "auto"} | ({PLAIN: "none"} if row["seed"] < options.plain_seeds else {})
    found, with_peers = row.get("methods", {}), options.peers and row["seed"] < options.peer_seeds
    if not set(wanted) - set(found) and not (with_peers and "peers" not in row):
        return row
    inputs, rng = row.setdefault("inputs", row["seed"] % (options.matrices or options.seeds)), probe_seed(row["seed"])
    if cache.get("of") != (*cell(row), inputs):
        cache.clear()  # the old matrix first
        K = kernel_matrix(options.n, row["lengthscale"], inputs, row["noise"], row["kernel"])
        found_exactly = {key: row[key] for key in ("truth", "condition") if key in row}
        cache |= {"of": (*cell(row), inputs), "K": K, "exact": found_exactly or exact(K, row["seed"] == 0)}
    K, row = cache["K"], row | cache["exact"]
    for name, preconditioner in wanted.items():
        if name not in found:
            found[name] = ours(K, row["noise"], row["truth"], options.products, rng, preconditioner)
    if with_peers and "peers" not in row:
        answers = peers(options.peers, K, row["noise"], row["truth"], options.products, rng)
        found |= answers["methods"]
        row["peers"] = answers["versions"]
    return row | {"methods": found}


def cell(row):
    return row["kernel"], row["noise"], row["lengthscale"]


def summary(rows):
    """One row a cell and method: median error, how often the interval held, median products."""
    found = []
    for where in sorted({cell(row) for row in rows}, reverse=True):
        here = [row for row in rows if cell(row) == where]
        for name in dict.fromkeys(name for row in here for name in row["methods"]):
            runs = [row["methods"][name] for row in here if name in row["methods"]]
            errors = [abs(run["error"]) for run in runs if run["error"] is not None]
            bars = [run["covers"] for run in runs if "covers" in run]
            found.append({
                "kernel": where[0], "noise": where[1], "l": where[2],
                "condition": statistics.median(row["condition"] for row in here if "condition" in row),
                "method": name, "median error": statistics.median(errors) if errors else None,
                "largest error": max(errors, default=None), "held": f"{sum(bars)} of {len(bars)}" if bars else None,
                "products": int(statistics.median(run["products"] for run in runs)), "runs": len(runs)})
    return found


def chosen_cells(options):
    every = list(product(options.kernel, options.noise, options.lengthscales)) if options.lengthscales else CELLS
    return every if not options.cells else [every[i] for i in options.cells]


def in_order(options):
    """Cells and seeds, the seeds that share a matrix next to each other."""
    count = options.matrices or options.seeds
    return [(where, seed) for inputs in range(count) for where in chosen_cells(options)
            for seed in range(inputs, options.seeds, count)]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--products", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--matrices", type=int, help="draws of the inputs that the seeds share; default: one a seed")
    parser.add_argument("--lengthscales", type=float, nargs="+", help="a grid of cells of your own")
    parser.add_argument("--noise", type=float, nargs="+", default=[1e-8])
    parser.add_argument("--kernel", choices=sorted(KERNELS), nargs="+", default=["rbf"])
    parser.add_argument("--cells", type=int, nargs="+", help="only these, by their place in the list")
    parser.add_argument("--plain-seeds", type=int, default=0, help="seeds that are also run without preconditioner")
    parser.add_argument("--peers", help="Python of the environment that benchmarks/peers.sh made")
    parser.add_argument("--peer-seeds", type=int, default=20)
    parser.add_argument("--json", type=Path, default=Path("logdet-accuracy.json"))
    return parser


def main():
    parser = arguments()
    options = parser.parse_args()
    setting = {name: getattr(options, name) for name in ("n", "products")}
    rows = {}
    if options.json.exists():
        before = json.loads(options.json.read_text())
        if before["setting"] != setting:
            parser.error(f"{options.json} holds another setting, {before['setting']}; name another file")
        rows = {(*cell(row), row["seed"]): row for row in before["rows"]}
    cache = {}
    for where, seed in in_order(options):
        blank = dict(zip(("kernel", "noise", "lengthscale"), where, strict=True)) | {"seed": seed}
        rows[*where, seed] = row = complete(rows.get((*where, seed), blank), options, cache)
        save(options.json, {"setting": setting, "rows": list(rows.values())})
        print(f"{where} seed {seed:2d}  held={row['methods'][OURS]['covers']!s:5s}  "
              + "  ".join(f"{name} {run['error']:+.1e}" for name, run in row["methods"].items()
                          if run["error"] is not None), flush=True)
    found = summary(list(rows.values()))
    print(table(list(found[0]), [list(row.values()) for row in found]))


if __name__ == "__main__":
    main()
