"""Products with a kernel matrix that is never formed, beside a bare loop of matrix product and exponential.

    python benchmarks/kernel_product.py --n 40000 --peers .peers/bin/python

The bare loop is what one would write: 1,024 rows of distances by a matrix product, exp in place, the product, nothing
else. Medians, interleaved, of wall and of processor seconds; a share above 1 says that ours is the faster, by the
symmetry of the matrix and by blocks that stay in cache. GPyTorch runs at the order of the matrix that it can form,
`--peer-n`, and ours beside it. The bilinear forms are those of one gradient, with 16 columns. Prints a table and writes
JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np

from spectra import gp

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "examples" / "reproduce"))

from _report import save, table  # noqa: E402

D, K, ROWS = 9, 16, 1024
COLUMNS = ["n", "dtype", "what", "wall", "processor", "share", "share_processor", "peak_bytes"]


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


def medians(calls: dict, repeats: int) -> dict[str, tuple[float, float]]:
    """Median wall and processor seconds of each call, taken in turns."""
    times: dict[str, list] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            wall, processor = time.perf_counter(), time.process_time()
            call()
            times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {name: tuple(map(statistics.median, zip(*t, strict=True))) for name, t in times.items()}


def rows(n: int, dtype, repeats: int) -> list[dict]:
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
    found = medians(calls, repeats)
    base = found["bare loop"]
    error = np.abs(operators["rbf"] @ V - bare_loop(X, V)).max()
    tracemalloc.start()
    operators["rbf"] @ V
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"n = {n}, {np.dtype(dtype)}: largest difference from the bare loop {error:.1e}, peak memory of a product "
          f"{peak / 2**20:.0f} MiB, the matrix {n * n * X.itemsize / 2**30:.1f} GiB")
    return [{"n": n, "dtype": str(np.dtype(dtype)), "what": name, "wall": wall, "processor": processor,
             "share": base[0] / wall, "share_processor": base[1] / processor,
             "peak_bytes": peak if name == "rbf" else None}
            for name, (wall, processor) in found.items()]


def peer(python: str, n: int, repeats: int) -> dict:
    script = HERE / "_peers_kernel_product.py"
    out = subprocess.run([python, script, *map(str, (n, D, K, repeats))], check=True, capture_output=True, text=True)
    return {"n": n, "dtype": "float64", "what": "GPyTorch rbf", **json.loads(out.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=40_000)
    parser.add_argument("--peer-n", type=int, default=10_000)
    parser.add_argument("--peers", help="python of an environment with GPyTorch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "measured" / "kernel-product.json")
    chosen = parser.parse_args()
    found = []
    for n, dtype in ((chosen.peer_n, np.float64), (chosen.n, np.float64), (chosen.n, np.float32)):
        found += rows(n, dtype, chosen.repeats)
        if chosen.peers and n == chosen.peer_n:
            found.append(peer(chosen.peers, n, chosen.repeats))
        save(chosen.out, {"rows": found})
    print(table(COLUMNS, [[row.get(name) for name in COLUMNS] for row in found]))


if __name__ == "__main__":
    main()
