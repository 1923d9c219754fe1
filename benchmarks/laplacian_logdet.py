"""Log-determinants of Laplacians of order one million, beside imate and a sparse factorisation, in one run.

    python benchmarks/laplacian_logdet.py --peers .peers/bin/python --json docs/measured/laplacian-logdet.json

The seven-point Laplacian in three dimensions and the five-point one in two, plus the identity, whose log-determinants
are known in closed form. Ours as a user calls it, `logdet(A, rtol=1e-3)`, and at the work of 20 steps x 10 probes;
imate by its default call, at the same work, and with few probes and steps chosen by hand for our error; SciPy's
SuperLU, exact, in two dimensions. Rounds alternate between the packages, each in a process of its own that has called
once before; medians are reported. The limit is the time in which the bandwidth of a triad, in the same run, moves the
fewest bytes of the equal work: per step the matrix once, two blocks read and one written.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from scipy import sparse

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "examples" / "reproduce")]

from _servers import Server, medians, serve  # noqa: E402

STEPS, PROBES = 20, 10


def laplacian(dimensions: int, side: int):
    """Laplacian of a grid with fixed boundary, plus the identity, and its log-determinant."""
    line = sparse.diags_array([-np.ones(side - 1), 2 * np.ones(side), -np.ones(side - 1)], offsets=[-1, 0, 1])
    A, eigenvalues = sparse.csr_array(line), 2 - 2 * np.cos(np.pi * np.arange(1, side + 1) / (side + 1))
    every = eigenvalues
    for _ in range(dimensions - 1):
        A = sparse.kronsum(A, line, format="csr")
        every = np.add.outer(every, eigenvalues).ravel()
    A = sparse.csr_array(A + sparse.eye_array(A.shape[0]))
    A = sparse.csr_array((A.data, A.indices.astype(np.int32), A.indptr.astype(np.int32)), shape=A.shape)
    return A, float(np.log1p(every).sum())


def ours(A):
    import spectra

    def answer(**how):
        estimate = spectra.logdet(A, **how)
        low, high = estimate.interval()
        return {"value": estimate.value, "half width": (high - low) / 2, "products": estimate.matvecs}

    return {"spectra, rtol 1e-3": lambda rng: answer(rtol=1e-3, rng=rng),
            f"spectra, {STEPS} x {PROBES}": lambda rng: answer(method="slq", steps=STEPS, probes=PROBES, rng=rng)}


def imates(A):
    import imate

    A = sparse.csr_matrix(A)

    def answer(products=None, **how):
        value, info = imate.logdet(A, method="slq", return_info=True, **how)
        samples = int(np.max(info["convergence"]["num_samples_used"]))
        return {"value": float(value), "products": samples * int(info["solver"]["lanczos_degree"])}

    return {"imate, default": lambda rng: answer(seed=rng),
            f"imate, {STEPS} x {PROBES}": lambda rng: answer(
                seed=rng, lanczos_degree=STEPS, min_num_samples=PROBES, max_num_samples=PROBES),
            "imate, 6 x 3 by hand": lambda rng: answer(
                seed=rng, lanczos_degree=6, min_num_samples=3, max_num_samples=3)}


def factorised(A):
    from scipy.sparse.linalg import splu

    def answer(rng):
        factors = splu(sparse.csc_matrix(A), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0,
                       options={"SymmetricMode": True})
        return {"value": float(np.log(factors.U.diagonal()).sum())}

    return {"SuperLU": answer}


CONTENDERS = {"ours": ours, "imate": imates, "factorised": factorised}


def bandwidth():
    """Bytes a second of a triad on all threads."""
    from csr_step import triad

    a, b, c = (np.ones(20_000_000) for _ in range(3))
    times = []
    for _ in range(6):
        start = time.perf_counter()
        triad(a, b, c)
        times.append(time.perf_counter() - start)
    return 3 * a.nbytes / statistics.median(times[1:])


def compare(dimensions, side, options):
    A, truth = laplacian(dimensions, side)
    shape = "--dimensions", dimensions, "--side", side
    servers = [Server(sys.executable, __file__, "ours", *shape)]
    if options.peers:
        servers.append(Server(options.peers, __file__, "imate", *shape))
    if dimensions == 2:
        servers.append(Server(sys.executable, __file__, "factorised", *shape))
    speeds = []
    found = medians(servers, options.rounds, truth, f"{dimensions}-D", before=lambda: speeds.append(bandwidth()))
    moved = STEPS * (12 * A.nnz + 4 * A.shape[0] + 3 * 8 * PROBES * A.shape[0])
    speed = statistics.median(speeds)
    return {"n": A.shape[0], "entries": A.nnz, "truth": truth, "triad GB/s": speed / 1e9,
            "limit of the equal work, s": moved / speed, "contenders": found}


def show(found):
    from performance_page import contenders

    print(f"\nn = {found['n']:,}, {found['entries']:,} entries, triad {found['triad GB/s']:.1f} GB/s, "
          f"limit of the equal work {found['limit of the equal work, s']:.2f} s\n")
    print(contenders(found["contenders"], "spectra, rtol 1e-3"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="Python of the environment that benchmarks/peers.sh made")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json")
    parser.add_argument("--serve", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--dimensions", type=int, choices=(2, 3))
    parser.add_argument("--side", type=int)
    options = parser.parse_args()
    if options.serve:
        serve(CONTENDERS[options.serve](laplacian(options.dimensions, options.side)[0]))
        return
    document = {}
    for dimensions, side in ((3, 100), (2, 1000)):
        if options.dimensions in (None, dimensions):
            document[f"{dimensions}-D"] = compare(dimensions, options.side or side, options)
            show(document[f"{dimensions}-D"])
            if options.json:
                from _report import save

                save(options.json, document)


if __name__ == "__main__":
    main()
