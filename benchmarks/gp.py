"""Gaussian processes on real tables: one marginal likelihood with its gradient, and whole fits.

    python benchmarks/gp.py likelihood kin40k --ours --cholesky --peers .peers/bin/python
    python benchmarks/gp.py tables --splits 3
    python benchmarks/gp.py fit kin40k

`likelihood` measures time and peak memory of ``log p(y)`` and its gradient at fixed hyper-parameters on the training
rows of a table: ours, a dense Cholesky factorisation, and GPyTorch (in an environment of its own, which
`benchmarks/peers.sh` makes; `_peers_gp.py` runs inside it). Each contender is a process of its own, so that its peak
memory is its own. `tables` fits small tables with `GPRegressor` and with scikit-learn's exact Gaussian process, both
from the same start, and compares test error and log-likelihood; splits that are in the JSON are not fitted again. `fit`
fits one large table. All write JSON to docs/measured after every result; seconds are those of the wall, cpu_seconds of
all threads, load that of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from spectra import datasets, gp

HERE = Path(__file__).parent
MEASURED = HERE.parent / "docs" / "measured"
SMALL = ("yacht", "housing", "energy", "concrete", "airfoil")
KERNEL = {"lengthscale": 1.0, "variance": 1.0, "noise": 0.05}  # in standardised units, length-scale over sqrt(d)


def standardised(name: str, split: int = 0):
    """Training inputs and targets, then test's, all in units of the training rows."""
    X, y, X_test, y_test = datasets.load(name).split(split)
    centre, scale = X.mean(0), np.where(X.std(0) > 0, X.std(0), 1.0)
    mean, size = y.mean(), y.std()
    return (X - centre) / scale, (y - mean) / size, (X_test - centre) / scale, (y_test - mean) / size


def recorded(file: str) -> list[dict]:
    """The rows that the JSON of a study has."""
    path = MEASURED / file
    return json.loads(path.read_text())["rows"] if path.exists() else []


def record(file: str, row: dict) -> None:
    """Append a row to the JSON of a study."""
    path, rows = MEASURED / file, recorded(file)
    row["load"] = round(os.getloadavg()[0], 1)
    content = {"command": "benchmarks/gp.py", "cores": os.cpu_count(), "rows": [*rows, row]}
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(row), flush=True)


def peak() -> float:
    """Peak memory of this process, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


# One likelihood with its gradient


def operator(X, precision: str) -> gp.KernelOperator:
    d = X.shape[1]
    return gp.KernelOperator(X.astype(precision), "matern32", lengthscale=np.full(d, KERNEL["lengthscale"] * d**0.5),
                             variance=KERNEL["variance"], noise=KERNEL["noise"])


def once(table: str, contender: str, probes: int) -> dict:
    """One contender, in this process."""
    X, y, _, _ = standardised(table)
    base, start, cpu = peak(), time.perf_counter(), time.process_time()
    precision = "float32" if contender.endswith("float32") else "float64"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        evidence = gp.log_marginal_likelihood(
            operator(X, precision), y.astype(precision), gradient=True, probes=probes, rng=0,
            method="exact" if contender == "cholesky" else "stochastic")
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    gradient = {name: (np.ravel(e.value).tolist(), np.ravel(e.stderr).tolist())
                for name, e in evidence.gradient.items()}
    return {"table": table, "rows": len(X), "contender": contender, "seconds": seconds, "cpu_seconds": cpu,
            "peak_gb": peak(), "base_gb": base, "value": float(evidence), "stderr": float(evidence.stderr),
            "bias": evidence.bias, "matvecs": evidence.matvecs, "steps": evidence.logdet.details.get("steps"),
            "gradient": gradient,
            "residual": evidence.inv_quad.residual, "warnings": [str(w.message) for w in caught]}


def likelihood(args) -> None:
    X, y, _, _ = standardised(args.table)
    own = [name for name, wanted in (("spectra", args.ours), ("spectra float32", args.float32),
                                     ("cholesky", args.cholesky)) if wanted]
    for contender in own:
        command = [sys.executable, __file__, "once", args.table, contender, "--probes", str(args.probes)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=args.timeout, check=False)
        report(args, contender, done)
    if args.peers:
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / "table.npz", X=X, y=y)
            for precision in ("float32",) if not args.peers_float64 else ("float32", "float64"):
                command = [args.peers, HERE / "_peers_gp.py", Path(folder) / "table.npz", precision, str(args.probes),
                           json.dumps(KERNEL)]
                done = subprocess.run(command, capture_output=True, text=True, timeout=args.timeout, check=False)
                report(args, f"gpytorch {precision}", done)


def report(args, contender: str, done) -> None:
    if done.returncode:
        record("gp-likelihood.json", {"table": args.table, "contender": contender, "failed": done.returncode,
                                      "message": done.stderr.strip().splitlines()[-1:]})
        return
    row = json.loads(done.stdout.strip().splitlines()[-1])
    record("gp-likelihood.json", {"table": args.table, "contender": contender} | row)


# Fits


def scores(mean, std, y) -> dict:
    """Root mean square error, and mean log-likelihood of a test point."""
    error = y - mean
    return {"rmse": float(np.sqrt(np.mean(error**2))),
            "log_likelihood": float(np.mean(-0.5 * np.log(2 * np.pi * std**2) - 0.5 * (error / std) ** 2))}


def sklearn_model(d: int):
    """scikit-learn's exact Gaussian process from the start of ours."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    kernel = (ConstantKernel(1.0, (1e-3, 1e4)) * RBF(np.full(d, d**0.5), (1e-3, 1e4))
              + WhiteKernel(0.1, (1e-6, 1e2)))
    return GaussianProcessRegressor(kernel)


def tables(args) -> None:
    done = {(row["table"], row["split"], row["model"]) for row in recorded("gp-tables.json")}
    for split in range(args.splits):
        for name in args.names:
            X, y, X_test, y_test = standardised(name, split)
            models = {"spectra": gp.GPRegressor(restarts=0, random_state=0), "scikit-learn": sklearn_model(X.shape[1])}
            for label, model in models.items():
                if (name, split, label) in done:
                    continue
                start, cpu = time.perf_counter(), time.process_time()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    model.fit(X, y)
                seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
                evidence = float(model.log_marginal_likelihood_ if label == "spectra"
                                 else model.log_marginal_likelihood_value_)
                record("gp-tables.json", {"table": name, "split": split, "rows": len(X), "model": label,
                                          "seconds": seconds, "cpu_seconds": cpu, "log_marginal_likelihood": evidence}
                       | scores(*model.predict(X_test, return_std=True), y_test))


def fit(args) -> None:
    X, y, X_test, y_test = standardised(args.table, args.split)
    model = gp.GPRegressor(args.kernel, noise=KERNEL["noise"], subset=args.subset, max_iter=args.max_iter,
                           full_steps=args.full_steps, rank=args.rank, probes=args.probes, tol=args.tol,
                           precision=args.precision, random_state=0,
                           progress=lambda done, total: print(f"{time.perf_counter() - start:.0f} s: {done}/{total}",
                                                              flush=True))
    start, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    fitted, cpu = time.perf_counter() - start, time.process_time() - cpu
    mean, std = model.predict(X_test, return_std=True)
    evidence = model.log_marginal_likelihood_
    record("gp-fits.json", {
        "table": args.table, "split": args.split, "rows": len(X), "kernel": args.kernel,
        "fit_seconds": fitted, "fit_cpu_seconds": cpu,
        "predict_seconds": time.perf_counter() - start - fitted, "peak_gb": peak(), "test_rows": len(X_test),
        "evidence": evidence.to_dict()["interval"], "value": float(evidence), "stderr": float(evidence.stderr),
        "residual": evidence.inv_quad.residual, "parameters": {k: np.ravel(v).tolist() for k, v in
                                                                 model.parameters_.items()},
        "warnings": [str(w.message) for w in caught],
        "settings": {k: getattr(args, k) for k in ("subset", "max_iter", "full_steps", "rank", "probes", "tol",
                                                     "precision")}} | scores(mean, std, y_test))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("likelihood")
    one.add_argument("table")
    for flag in ("--ours", "--float32", "--cholesky", "--peers-float64"):
        one.add_argument(flag, action="store_true")
    one.add_argument("--peers", help="Python of the peers' environment")
    one.add_argument("--probes", type=int, default=16)
    one.add_argument("--timeout", type=float, default=3600)
    one.set_defaults(run=likelihood)
    inner = commands.add_parser("once")
    inner.add_argument("table")
    inner.add_argument("contender")
    inner.add_argument("--probes", type=int, default=16)
    inner.set_defaults(run=lambda args: print(json.dumps(once(args.table, args.contender, args.probes))))
    small = commands.add_parser("tables")
    small.add_argument("--names", nargs="+", default=SMALL)
    small.add_argument("--splits", type=int, default=3)
    small.set_defaults(run=tables)
    large = commands.add_parser("fit")
    large.add_argument("table")
    large.add_argument("--kernel", default="matern32")
    large.add_argument("--precision", default="float64")
    for flag, kind, default in (("--split", int, 0), ("--subset", int, 2000), ("--max-iter", int, 40),
                                ("--full-steps", int, 2), ("--rank", int, 512), ("--probes", int, 16),
                                ("--tol", float, 1e-2)):
        large.add_argument(flag, type=kind, default=default)
    large.set_defaults(run=fit)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
