"""The fused CSR step against the same step from SciPy's product and NumPy, and against memory bandwidth.

    python benchmarks/csr_step.py --n 1000000

A seven-point Laplacian in three dimensions; medians of five, interleaved. The limit is the time that the fewest bytes
(the matrix once, V and U read and W written once) would take at the bandwidth of a large copy in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial

import numpy as np
from scipy import sparse

from spectra._kernels.csr import step, step_reference


def laplacian(n: int):
    m = round(n ** (1 / 3))
    line = sparse.diags_array([-np.ones(m - 1), 2 * np.ones(m), -np.ones(m - 1)], offsets=[-1, 0, 1])
    eye = sparse.eye_array(m)
    A = sparse.csr_array(sparse.kron(sparse.kron(line, eye), eye) + sparse.kron(sparse.kron(eye, line), eye)
                         + sparse.kron(sparse.kron(eye, eye), line) + sparse.eye_array(m**3))
    return sparse.csr_array((A.data, A.indices.astype(np.int32), A.indptr.astype(np.int32)), shape=A.shape)


def seconds(calls: dict, repeats: int = 5) -> dict[str, float]:
    times = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000)
    n = parser.parse_args().n
    A, rng = laplacian(n), np.random.default_rng(0)
    source = np.ones(50_000_000)
    target = np.empty_like(source)
    copy = seconds({"copy": lambda: np.copyto(target, source)})["copy"]
    bandwidth = 2 * source.nbytes / copy
    print(f"n = {A.shape[0]}, {A.nnz} entries, copy at {bandwidth / 1e9:.1f} GB/s")
    for k in (2, 4, 8, 16, 32):
        V, U = rng.standard_normal((2, A.shape[0], k))
        step(A, V, U, 0.5, 0.1, -1.0)  # compile
        found = seconds({"kernel": partial(step, A, V, U, 0.5, 0.1, -1.0),
                         "scipy": partial(step_reference, A, V, U, 0.5, 0.1, -1.0)})
        least = (A.data.nbytes + A.indices.nbytes + A.indptr.nbytes + 3 * V.nbytes) / bandwidth
        print(f"{k:3d} columns: kernel {1e3 * found['kernel']:7.1f} ms, SciPy {found['scipy'] / found['kernel']:4.1f} "
              f"times as long, share of the bandwidth limit {least / found['kernel']:.0%}", flush=True)


if __name__ == "__main__":
    main()
