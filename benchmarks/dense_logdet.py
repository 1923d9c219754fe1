"""Log-determinants of kernel matrices of order 8,000 that are formed, beside LAPACK, imate and linear_operator.

    python benchmarks/dense_logdet.py --peers .peers/bin/python --json docs/measured/dense-logdet.json

Squared-exponential and Matern kernels of six-dimensional inputs, of condition 1e3 to 1e6. Ours by default with
`rtol=1e-3`, which may find a factorisation cheaper; with 200 products in one shared Krylov space; and what a tolerance
of 1e-2 costs if it may not factorise. The peers take 200 products as 20 steps x 10 probes. LAPACK's Cholesky, through
SciPy, is what all are measured by. Rounds alternate between the packages, each in a process of its own that has called
once before.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "examples" / "reproduce")]

from _kernels import kernel_matrix  # noqa: E402
from _servers import Server, medians, serve  # noqa: E402

CELLS = [("rbf", 1e-2, 0.15), ("matern-3/2", 1e-2, 0.45), ("rbf", 1e-4, 0.35)]  # kernel, noise, length-scale
STEPS, PROBES = 20, 10


def ours(K, noise):
    import spectra

    def answer(**how):
        A = spectra.aslinearoperator(K)
        A.lower_bound = noise
        estimate = spectra.logdet(A, **how)
        low, high = estimate.interval()
        return {"value": estimate.value, "half width": (high - low) / 2, "products": estimate.matvecs}

    return {"spectra, rtol 1e-3": lambda rng: answer(rtol=1e-3, rng=rng),
            "spectra block-slq, 200 products": lambda rng: answer(method="block-slq", matvecs=200, rng=rng),
            "spectra stochastic, rtol 1e-2": lambda rng: answer(method="stochastic", rtol=1e-2, rng=rng)}


def lapack(K, noise):
    from scipy.linalg import cholesky

    def answer(rng):
        factor = cholesky(K, lower=True, check_finite=False)
        return {"value": 2 * float(np.sum(np.log(np.diagonal(factor))))}

    return {"Cholesky": answer}


def peers(K, noise):
    from _peers_logdet import with_imate, with_linear_operator

    smooth = K - noise * np.eye(len(K))
    job = {"noise": noise, "steps": STEPS, "probes": PROBES}

    def of(method, matrix, *arguments):
        def answer(rng):
            value, products = method(matrix, job | {"rng": rng}, *arguments)
            return {"value": value, "products": products}

        return answer

    return {"linear_operator": of(with_linear_operator, smooth, 0),
            "linear_operator, preconditioner of rank 100": of(with_linear_operator, smooth, 100),
            "imate": of(with_imate, K)}


CONTENDERS = {"ours": ours, "lapack": lapack, "peers": peers}


def compare(cell, n, options):
    kernel, noise, lengthscale = cell
    truth = lapack(kernel_matrix(n, lengthscale, 0, noise, kernel), noise)["Cholesky"](0)["value"]
    shape = "--n", n, "--cell", json.dumps(cell)
    servers = [Server(sys.executable, __file__, package, *shape) for package in ("lapack", "ours")]
    if options.peers:
        servers.append(Server(options.peers, __file__, "peers", *shape))
    return {"kernel": kernel, "noise": noise, "lengthscale": lengthscale, "truth": truth,
            "contenders": medians(servers, options.rounds, truth, f"{kernel}, noise {noise:g}, l = {lengthscale}")}


def show(row):
    from performance_page import contenders

    print(f"\n{row['kernel']}, noise {row['noise']:g}, l = {row['lengthscale']}\n")
    print(contenders(row["contenders"], "spectra, rtol 1e-3"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="Python of the environment that benchmarks/peers.sh made")
    parser.add_argument("--n", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cells", type=int, nargs="+", choices=range(len(CELLS)), default=range(len(CELLS)))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--cell", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        kernel, noise, lengthscale = options.cell
        serve(CONTENDERS[options.serve](kernel_matrix(options.n, lengthscale, 0, noise, kernel), noise))
        return
    from _report import save

    rows = json.loads(options.json.read_text())["rows"] if options.json and options.json.exists() else []
    for cell in options.cells:
        done = [row for row in rows if [row["kernel"], row["noise"], row["lengthscale"]] != list(CELLS[cell])]
        rows = [*done, compare(CELLS[cell], options.n, options)]
        show(rows[-1])
        if options.json:
            save(options.json, {"n": options.n, "rows": rows})


if __name__ == "__main__":
    main()
