"""What the machine can do: bandwidth of a triad, matrix products in both precisions, exponentials, cores and caches.

    python benchmarks/machine.py

Medians of nine, on all threads and on one, written to docs/measured/machine.json; the machine is described in general
terms. The triad is a[i] = b[i] + c[i] / 2 on arrays far beyond the caches, counted as 24 bytes an entry.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import numba
import numpy as np
from _rounds import save
from scipy.linalg import blas
from threadpoolctl import threadpool_limits

LONG, ORDER = 20_000_000, 2048
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@numba.njit(parallel=True, fastmath=True)
def triad(a, b, c):
    for i in numba.prange(len(a)):
        a[i] = b[i] + 0.5 * c[i]


def seconds(call, repeats=9):
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def bandwidth():
    a, b, c = (np.ones(LONG) for _ in range(3))
    return 3 * a.nbytes / seconds(lambda: triad(a, b, c)) / 1e9


def products(dtype):
    """GFLOP/s of a matrix product, into memory that is there."""
    A, B = (np.random.default_rng(0).standard_normal((ORDER, ORDER)).astype(dtype, order="F") for _ in range(2))
    C = np.zeros_like(A)
    gemm = blas.dgemm if dtype == np.float64 else blas.sgemm
    return 2 * ORDER**3 / seconds(lambda: gemm(1.0, A, B, beta=0.0, c=C, overwrite_c=True), 5) / 1e9


def exponentials():
    """Millions of exp a second, in cache; NumPy computes them on one thread."""
    x = np.linspace(-5, 0, 20_000)
    out = np.empty_like(x)
    return len(x) / seconds(lambda: np.exp(x, out=out), 99) / 1e6


def speeds(threads):
    numba.set_num_threads(threads)
    with threadpool_limits(threads):
        return {"threads": threads, "triad GB/s": bandwidth(), "float64 GFLOP/s": products(np.float64),
                "float32 GFLOP/s": products(np.float32)}


def caches():
    """Sizes of the data caches that one core sees, where the system tells."""
    found = {}
    for cache in sorted(CACHES.glob("index*")):
        if (cache / "type").read_text().strip() != "Instruction":
            found[f"level {(cache / 'level').read_text().strip()}"] = (cache / "size").read_text().strip()
    return found


def memory():
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return round(pages / 2**30)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path(__file__).parents[1] / "docs" / "measured" / "machine.json")
    options = parser.parse_args()
    every = numba.config.NUMBA_NUM_THREADS
    document = {"cores": os.cpu_count(), "memory GiB": memory(), "caches": caches(), "million exp/s": exponentials(),
                "speeds": [speeds(threads) for threads in sorted({1, every})]}
    save(options.json, document)
    print(document)


if __name__ == "__main__":
    main()
