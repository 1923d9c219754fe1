"""Log-determinants from products in single precision beside double, in one run: time, error and bracket.

    python benchmarks/mixed_precision.py [--only csr dense kernel] [--seconds 80]

The same probes in both precisions, so that the two answers differ by rounding alone: by how much, and what the bracket
allows for it, stands beside the times. `A.astype("float32")` is made before the clock starts, and its own time told.

- csr: the seven-point Laplacian plus the identity, n = 1,000,000, "slq", 10 probes of 20 steps;
- dense: a Matern 3/2 covariance matrix of order 8,000, noise 0.01, "block-slq", 10 probes of 20 steps;
- kernel: the squared exponential of 20,000 points in nine dimensions, never formed, noise 0.05, with 128 pivots and
  16 probes of 8 steps.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
from _rounds import Rounds, add_arguments, table
from laplacian_logdet import laplacian
from logdet_accuracy import exact, kernel_matrix

import spectra
from spectra import gp


def csr():
    A, truth = laplacian(3, 100)
    return spectra.aslinearoperator(A), truth, {"method": "slq", "steps": 20, "probes": 10}


def dense():
    K = kernel_matrix(8000, 0.45, 0, 1e-2, "matern-3/2")
    A = spectra.aslinearoperator(K)
    A.lower_bound = 1e-2
    return A, exact(K, condition=False)["truth"], {"method": "block-slq", "steps": 20, "probes": 10}


def kernel():
    X = np.random.default_rng(0).standard_normal((20_000, 9))
    K = gp.KernelOperator(X, "rbf", lengthscale=3.0, noise=0.05, memory=0)
    return K, None, {"method": "stochastic", "steps": 8, "probes": 16}


CASES = {"csr": csr, "dense": dense, "kernel": kernel}


def calls(build):
    """An answer in each precision, after one that warms up."""
    A, truth, how = build()
    start = time.perf_counter()
    single = A.astype("float32")
    converted = time.perf_counter() - start

    def answer(op):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", spectra.ConvergenceWarning)
            estimate = spectra.logdet(op, rng=0, **how)
        facts = {"value": estimate.value, "standard error": estimate.stderr, "bracket": estimate.bias,
                 "rounding": estimate.rounding, "products": estimate.matvecs, "truth": truth}
        return facts if op is A else facts | {"conversion": converted}

    for op in (A, single):
        answer(op)
    return {"float64": lambda: answer(A), "float32": lambda: answer(single)}


def show(rounds):
    rows = []
    for name in CASES:
        double, single = (rounds.row({"case": name, "what": what}) for what in ("float64", "float32"))
        if single["times"]:
            ratio = double["seconds"] / single["seconds"]
            rows.append([name, double["seconds"], single["seconds"], ratio, abs(single["value"] - double["value"]),
                         single["rounding"], single["standard error"]])
    print(table(["case", "float64, s", "float32, s", "faster", "difference", "bracket of rounding", "stderr"], rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser, "mixed-precision.json", rounds=3)
    options = parser.parse_args()
    rounds = Rounds(options)
    for name in options.only or CASES:
        rounds.take({"case": name}, lambda build=CASES[name]: calls(build), ("float64", "float32"))
    rounds.save()
    show(rounds)


if __name__ == "__main__":
    main()
