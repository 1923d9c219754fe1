"""The fused CSR step and the compiled product against SciPy and NumPy, and against memory bandwidth.

    python benchmarks/csr_step.py --n 1000000

A seven-point Laplacian in three dimensions, a step of the Chebyshev recurrence with its two inner products for each
column, and the plain product; all in turn, round after round. Medians are reported, and the least of each in brackets.
The limit is the time that the fewest bytes (the matrix once, V and U read and W written once) would take at the
bandwidth of a triad on the same threads in the same run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from functools import partial

import numba
import numpy as np
from laplacian_logdet import laplacian

from spectra._kernels.csr import product, step


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


def seconds(calls: dict, rounds: int) -> dict[str, tuple[float, float]]:
    """Median and least time of every call."""
    times = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: (statistics.median(t), min(t)) for name, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    A, rng = laplacian(3, round(args.n ** (1 / 3)))[0], np.random.default_rng(0)
    long = [np.ones(20_000_000) for _ in range(3)]
    print(f"n = {A.shape[0]}, {A.nnz} entries, {numba.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    for k in (1, 2, 4, 8, 16, 32):
        V, U = rng.standard_normal((2, A.shape[0], k))
        W = U.copy()
        t = seconds({"step": partial(step, A, V, W, 0.5, 0.1, -1.0, out=W), "SciPy step": partial(scipy_step, A, V, U),
                     "product": partial(product, A, V), "SciPy product": lambda: A @ V,  # noqa: B023
                     "triad": partial(triad, *long)}, args.rounds)
        least = A.data.nbytes + A.indices.nbytes + A.indptr.nbytes + 3 * V.nbytes
        share = [least / (3 * long[0].nbytes) * x / y for x, y in zip(t["triad"], t["step"], strict=True)]
        line = [f"{k:3d} columns: step {1e3 * t['step'][0]:6.1f} ms"]
        for ours, theirs in (("step", "SciPy step"), ("product", "SciPy product")):
            ratio = [x / y for x, y in zip(t[theirs], t[ours], strict=True)]
            line.append(f"{ours} {ratio[0]:.2f} ({ratio[1]:.2f}) times SciPy's speed")
        line.append(f"{share[0]:.0%} ({share[1]:.0%}) of the bandwidth limit, "
                    f"{3e-9 * long[0].nbytes / t['triad'][1]:.0f} GB/s")
        print(", ".join(line), flush=True)


if __name__ == "__main__":
    main()
