"""The fused CSR step and the compiled product against SciPy, NumPy and MKL, and against memory bandwidth.

    python benchmarks/csr_step.py --peers .peers_mkl/bin/python

A seven-point Laplacian in three dimensions, a step of the Chebyshev recurrence with its two inner products for each
column, and the plain product; all in turn, round after round, MKL's in a process of its own. Medians are kept, and the
least of each. The limit is the time that the fewest bytes (the matrix once, V and U read and W written once) would take
at the bandwidth of a triad on the same threads in the same run. `--first` measures the first call of each kernel in a
new process, with an empty folder of compiled kernels and with a full one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numba
import numpy as np
from _rounds import save
from _servers import Server
from laplacian_logdet import laplacian

from spectra._kernels.csr import product, step
from spectra.operators import aslinearoperator

HERE = Path(__file__).parent
COLUMNS = (1, 2, 4, 8, 10, 16, 32)
FIRST_CALL = """
import json, time
import numpy as np, scipy.sparse as sp, numba
from spectra._kernels import csr, entries
A, V = sp.eye_array(2000, format="csr"), np.ones((2000, 8))
calls = {"step": lambda: csr.step(A, V, V, 1.0, 0.0, 0.0), "product": lambda: csr.product(A, V),
         "remainder": lambda: csr.remainder(V.copy(), V, 0.5, 1.0), "survey": lambda: entries.survey(A)}
found = {}
for name, call in calls.items():
    start = time.perf_counter()
    call()
    found[name] = time.perf_counter() - start
print(json.dumps(found))
"""


def scipy_step(A, V, U):
    """W = A V / 2 + V / 10 - U with its inner products, in no more passes than NumPy needs."""
    W = A @ V
    W *= 0.5
    W += 0.1 * V
    W -= U
    return W, np.einsum("ij,ij->j", V, W), np.einsum("ij,ij->j", W, W)


@numba.njit(parallel=True, fastmath=True)
def triad(a, b, c):
    for i in numba.prange(len(a)):
        a[i] = b[i] + 0.5 * c[i]


def timed(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def seconds(calls: dict, rounds: int, mkl=dict) -> dict[str, tuple[float, float]]:
    """Median and least time of every call, and of what `mkl` answers."""
    times = {}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, taken in ({name: timed(call) for name, call in calls.items()} | mkl()).items():
            times.setdefault(name, []).append(taken)
    return {name: (statistics.median(t), min(t)) for name, t in times.items()}


def measured(A, k: int, rounds: int, server) -> dict:
    """A row: what k columns take."""
    V, U = np.random.default_rng(0).standard_normal((2, A.shape[0], k))
    W, long, op = U.copy(), [np.ones(20_000_000) for _ in range(3)], aslinearoperator(A)
    calls = {"step": partial(step, A, V, W, 0.5, 0.1, -1.0, out=W), "SciPy step": partial(scipy_step, A, V, U),
             "product": partial(product, A, V), "SciPy product": lambda: A @ V, "triad": partial(triad, *long)}
    if k == 1:
        calls |= {"operator @ v": lambda: op @ V[:, 0], "SciPy product": lambda: A @ V[:, 0]}
    mkl = (lambda: {"MKL product": server.ask(k)["MKL product"]["seconds"]}) if server else dict
    times = seconds(calls, rounds, mkl)
    least = A.data.nbytes + A.indices.nbytes + A.indptr.nbytes + 3 * V.nbytes
    limit = least * times["triad"][0] / (3 * long[0].nbytes)
    row = {"columns": k, "share of the limit": limit / times["step"][0], "limit of a step": limit,
           "triad GB/s": 3e-9 * long[0].nbytes / times.pop("triad")[0]}
    for name, (median, shortest) in times.items():
        row |= {name: median, f"{name}, least": shortest}
    return row


def first_calls() -> dict:
    """Seconds of the first call of each kernel in a new process, compiling and compiled before."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [json.loads(subprocess.run(
            [sys.executable, "-c", FIRST_CALL], check=True, capture_output=True, text=True,
            env=os.environ | {"NUMBA_CACHE_DIR": folder}).stdout) for _ in range(2)]
    return {name: {"compiling": runs[0][name], "compiled before": runs[1][name]} for name in runs[0]}


def show(row: dict) -> None:
    ratios = [f"{name} {1e3 * row[name]:.1f} ms" + "".join(
        f", {row[peer] / row[name]:.2f} times {peer.split()[0]}'s speed" for peer in peers if peer in row)
        for name, peers in (("step", ["SciPy step"]), ("product", ["SciPy product", "MKL product"]),
                            ("operator @ v", ["SciPy product", "MKL product"])) if name in row]
    print(f"{row['columns']:3d} columns: {'; '.join(ratios)}; {row['share of the limit']:.0%} of the bandwidth limit, "
          f"{row['triad GB/s']:.0f} GB/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--columns", type=int, nargs="*", default=COLUMNS)
    parser.add_argument("--first", action="store_true", help="measure first calls too")
    parser.add_argument("--peers", help="Python of the environment that benchmarks/peers_mkl.sh made")
    parser.add_argument("--json", type=Path, default=HERE.parent / "docs" / "measured" / "csr-step.json")
    options = parser.parse_args()
    side = round(options.n ** (1 / 3))
    A = laplacian(3, side)[0]
    server = Server(options.peers, str(HERE / "_peers_csr.py"), "mkl", side) if options.peers else None
    document = json.loads(options.json.read_text()) if options.json.exists() else {"rows": []}
    document |= {"n": A.shape[0], "entries": A.nnz, "threads": numba.get_num_threads()}
    for k in options.columns:
        row = measured(A, k, options.rounds, server)
        rows = {one["columns"]: one for one in document["rows"]} | {k: row}
        document["rows"] = [rows[k] for k in sorted(rows)]
        show(row)
        save(options.json, {name: x for name, x in document.items() if name != "versions"})
    if server:
        server.close()
    if options.first:
        document["first calls"] = first_calls()
        print(json.dumps(document["first calls"], indent=1))
        save(options.json, {name: x for name, x in document.items() if name != "versions"})


if __name__ == "__main__":
    main()
