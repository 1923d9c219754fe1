"""Products with a kernel matrix that is never formed, beside a bare loop of matrix product and exponential.

    python benchmarks/kernel_product.py --peers .peers/bin/python --keops .peers_keops/bin/python

The bare loop is what one would write: 1,024 rows of distances by a matrix product, exp in place, the product, nothing
else. Calls take turns, and medians are reported; more than the bare loop's speed comes of the symmetry of the matrix,
of blocks that stay in cache, and of more than one thread in exp. KeOps compiles its formula and never forms the matrix;
GPyTorch runs at an order whose matrix it can form, `--peer-n`, and ours beside it. The bilinear forms are those of one
gradient, with 16 columns. Prints tables and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
from _rounds import Rounds, add_arguments, table

from spectra import gp

HERE = Path(__file__).parent
D, K, ROWS = 9, 16, 1024


def bare_loop(X, V):
    """exp(-|x - y|² / 2) V in blocks of rows; no clamping, no symmetry, no care for cancellation."""
    W = np.empty((len(X), V.shape[1]), dtype=X.dtype)
    squares = (X * X).sum(1)
    for start in range(0, len(X), ROWS):
        rows = X[start:start + ROWS]
        k = rows @ X.T
        k -= 0.5 * squares
        k -= 0.5 * squares[start:start + ROWS, None]
        np.exp(k, out=k)
        W[start:start + ROWS] = k @ V
    return W


def ours(n, dtype):
    """The calls of one order and precision; each operator forms blocks and forgets them."""
    rng = np.random.default_rng(0)
    X, V = (rng.standard_normal((n, width)).astype(dtype) for width in (D, K))
    operators = {name: gp.KernelOperator(X, name, memory=0) for name in gp.KERNELS}
    ard = gp.KernelOperator(X, lengthscale=np.ones(D), memory=0)
    calls = {"bare loop": lambda: bare_loop(X, V)}
    calls |= {name: lambda op=op: op @ V for name, op in operators.items()}
    calls |= {"rbf, one column": lambda: operators["rbf"] @ V[:, :1],
              "rbf, bilinear": lambda: operators["rbf"].bilinear(V, V),
              "rbf, bilinear, a length-scale a dimension": lambda: ard.bilinear(V, V)}
    gp.KernelOperator(X[:512], memory=0) @ V[:512]  # compile
    return {name: without_answer(call) for name, call in calls.items()}


def without_answer(call):
    def run():
        call()

    return run


FIRST = ["bare loop", "rbf", "rbf, one column", "rbf, bilinear"]
THEN = [*(name for name in gp.KERNELS if name != "rbf"), "rbf, bilinear, a length-scale a dimension"]


def agreement(n, dtype):
    """Largest difference from the bare loop, and the memory that one product takes at its peak."""
    rng = np.random.default_rng(0)
    X, V = (rng.standard_normal((n, width)).astype(dtype) for width in (D, K))
    operator = gp.KernelOperator(X, memory=0)
    tracemalloc.start()
    W = operator @ V
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"largest difference": float(np.abs(W - bare_loop(X, V)).max()), "peak bytes": peak,
            "bytes of the matrix": n * n * X.itemsize}


class Peer:
    """A product of another package in a process of its environment: one line in, one line out."""

    def __init__(self, python, package, n, dtype):
        command = [python, HERE / "_peers_kernel_product.py", package, *map(str, (n, D, K)), np.dtype(dtype).name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args[2]} ended without an answer")
        return json.loads(line)

    def __call__(self):
        print("product", file=self.process.stdin, flush=True)
        return self.facts | {"processor": None} | self.answer()


def measure(options):
    rounds = Rounds(options)
    python = {"GPyTorch": options.peers, "KeOps": options.keops}
    cases = [{"n": n, "dtype": dtype} for n, dtype in (
        (options.n, "float64"), (options.n, "float32"), (options.peer_n, "float64"))]
    for case in cases:
        rounds.take(case, partial(ours, **case), FIRST)
        if "agreement" not in (row := rounds.row(case | {"what": "rbf"})) and rounds.time_left():
            row["agreement"] = agreement(**case)
        for package in ("KeOps", "GPyTorch") if case["n"] == options.peer_n else ("KeOps",):
            if python[package]:
                rounds.take(case, lambda: {package: Peer(python[package], package, **case)}, [package])  # noqa: B023
    for case in cases:
        rounds.take(case, partial(ours, **case), THEN)
    rounds.save()
    return rounds


def show(rows):
    for n, dtype in dict.fromkeys((row["n"], row["dtype"]) for row in rows):
        here = [row for row in rows if (row["n"], row["dtype"]) == (n, dtype)]
        base = next(row["seconds"] for row in here if row["what"] == "bare loop")
        print(f"\nn = {n:,}, {dtype}\n\n" + table(["", "seconds", "least", "times the bare loop's speed"], [
            [row["what"], row["seconds"], row["least"], base / row["seconds"]] for row in here]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=40_000)
    parser.add_argument("--peer-n", type=int, default=10_000)
    parser.add_argument("--peers", help="Python of an environment with GPyTorch (peers.sh)")
    parser.add_argument("--keops", help="Python of an environment with KeOps (peers_keops.sh)")
    add_arguments(parser, "kernel-product.json")
    rounds = measure(parser.parse_args())
    show([row for row in rounds.document["rows"] if row["times"]])
    if not rounds.complete:
        print("not yet complete: run again to go on")


if __name__ == "__main__":
    main()
