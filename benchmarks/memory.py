"""Peak memory of every estimator beside the budget it was given.

    python benchmarks/memory.py                 # every case, each in a process of its own
    python benchmarks/memory.py --only trace    # those whose name holds a word; the others keep their figures

The seven-point Laplacian of order a million plus the identity, as an operator that shows its products (and, where a
case says so, its entries), a kernel matrix that is never formed, and a dense matrix of order 4,000. Each case is called
once on a small matrix, which loads and compiles what it needs; then the operator is built, and what counts is the
largest resident memory during the call less that before it, the answer included (a diagonal, sixteen solutions). Linux
only: the peak is reset between the two.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "examples" / "reproduce")]

from _report import save, table  # noqa: E402
from laplacian_logdet import laplacian  # noqa: E402

import spectra  # noqa: E402
from spectra import gp, graphs, krylov, maxent  # noqa: E402
from spectra.graphs._egs import Spectrum  # noqa: E402

BUDGETS = {"256 MB": 256_000_000, "1 GB": 1_000_000_000}
SIDE, DENSE, POINTS = 100, 4000, 20_000


class Products(spectra.LinearOperator):
    """A matrix that shows its products alone."""

    hermitian = psd = _verified = True

    def __init__(self, A):
        super().__init__(A.shape, A.dtype)
        self.inner = spectra.aslinearoperator(A)
        self.lower_bound = 1.0

    def _matmat(self, V):
        return self.inner._product(V)

    def _step(self, V, U, a, b, c):
        self._spent += V.shape[1]
        return self.inner._step(V, U, a, b, c)


def lattice(small):
    return laplacian(3, 12 if small else SIDE)[0]


def products(small):
    return Products(lattice(small))


def system(small):
    """An operator with sixteen right-hand sides."""
    A = products(small)
    A.B = np.random.default_rng(0).standard_normal((A.shape[0], 16))
    return A


def stored(small):
    return spectra.aslinearoperator(lattice(small))


def dense(small):
    n = 200 if small else DENSE
    x = np.linspace(0, 1, n)
    return spectra.aslinearoperator(np.exp(-np.abs(x[:, None] - x)) + 0.1 * np.eye(n))


def covariance(small):
    X = np.random.default_rng(0).standard_normal((500 if small else POINTS, 3))
    return lambda memory: gp.KernelOperator(X, noise=0.1, memory=memory)


def graph(small):
    A = lattice(small).copy()
    A.setdiag(0)
    A.eliminate_zeros()
    return Spectrum(graphs.normalized_laplacian(abs(A)), order=20, probes=40, rng=0)


def egs(spectrum, memory):
    spectrum.memory = memory
    return maxent(spectrum.moments)


def cluster_count(spectrum, memory):
    spectrum.memory = memory
    return graphs._clusters.cluster_count(spectrum, "egs", memory)


def all_that_fits(A, memory, vectors, most):
    """Products whose vectors fit, that many a product; a method that holds all its probes refuses more."""
    return int(min(memory // (vectors * A.shape[0] * A.dtype.itemsize), most))


CASES = {
    "trace, hutchinson": (products, lambda A, m: spectra.trace(A, method="hutchinson", matvecs=40, rng=0, memory=m)),
    "trace, hutch++": (products, lambda A, m: spectra.trace(A, method="hutch++", matvecs=40, rng=0, memory=m)),
    "trace, xtrace": (products, lambda A, m: spectra.trace(
        A, method="xtrace", matvecs=all_that_fits(A, m, 3, 40), rng=0, memory=m)),
    "trace, xnystrace": (products, lambda A, m: spectra.trace(
        A, method="xnystrace", matvecs=all_that_fits(A, m, 6, 40), rng=0, memory=m)),
    "trace, auto, rtol 1e-3": (products, lambda A, m: spectra.trace(A, rtol=1e-3, rng=0, memory=m)),
    "diagonal, hutchinson": (products, lambda A, m: spectra.diagonal(A, method="hutchinson", matvecs=40, rng=0,
                                                                     memory=m)),
    "diagonal, diag++": (products, lambda A, m: spectra.diagonal(A, method="diag++", matvecs=40, rng=0, memory=m)),
    "moments, chebyshev": (products, lambda A, m: spectra.moments(A, 20, probes=40, rng=0, memory=m)),
    "moments, power": (products, lambda A, m: spectra.moments(A, 10, basis="power", probes=40, rng=0, memory=m)),
    "spectral_density, slq": (products, lambda A, m: spectra.spectral_density(A, probes=16, steps=10, rng=0, memory=m)),
    "spectral_density, block-slq": (products, lambda A, m: spectra.spectral_density(
        A, method="block-slq", probes=16, steps=10, rng=0, memory=m)),
    "spectral_density, kpm": (products, lambda A, m: spectra.spectral_density(
        A, method="kpm", probes=16, steps=10, rng=0, memory=m)),
    "logdet, slq": (products, lambda A, m: spectra.logdet(A, method="slq", probes=32, steps=10, rng=0, memory=m)),
    "logdet, slq, stored": (stored, lambda A, m: spectra.logdet(A, method="slq", probes=32, steps=10, rng=0, memory=m)),
    "logdet, block-slq": (products, lambda A, m: spectra.logdet(A, method="block-slq", matvecs=200, rng=0, memory=m)),
    "logdet, stochastic": (products, lambda A, m: spectra.logdet(A, method="stochastic", matvecs=200, rng=0, memory=m)),
    "logdet, chebyshev": (products, lambda A, m: spectra.logdet(A, method="chebyshev", matvecs=300, rng=0, memory=m)),
    "logdet, auto, rtol 1e-3": (stored, lambda A, m: spectra.logdet(A, rtol=1e-3, rng=0, memory=m)),
    "logdet, nystrom": (products, lambda A, m: spectra.logdet(A, method="slq", preconditioner="nystrom", matvecs=120,
                                                              rng=0, memory=m)),
    "spectral_bounds": (products, lambda A, m: spectra.spectral_bounds(A, rng=0, memory=m)),
    "eigenpairs": (products, lambda A, m: spectra.eigenpairs(A, 2, tol=0.05, maxiter=2, rng=0, memory=m)),
    "matrix_function": (system, lambda A, m: krylov.matrix_function(A, A.B, np.sqrt, steps=20, memory=m)),
    "cg": (system, lambda A, m: krylov.cg(A, A.B, tol=1e-2, memory=m)),
    "egs": (graph, egs),
    "egs_cluster_count": (graph, cluster_count),
    "logdet, auto, dense": (dense, lambda A, m: spectra.logdet(A, rng=0, memory=m)),
    "logdet, stochastic, dense": (dense, lambda A, m: spectra.logdet(A, method="stochastic", matvecs=800, rng=0,
                                                                     memory=m)),
    "logdet, pivoted Cholesky, dense": (dense, lambda A, m: spectra.logdet(
        A, method="slq", preconditioner="pivoted-cholesky", matvecs=800, rng=0, memory=m)),
    "inv_quad_logdet": (covariance, lambda K, m: gp.inv_quad_logdet(
        K(m), np.ones(K(m).shape[0]), method="stochastic", rng=0, memory=m, tol=0.1)),
    "logdet of a covariance": (covariance, lambda K, m: spectra.logdet(K(m), matvecs=60, rng=0, memory=m)),
}
"""Name -> (function that builds an operator, function of it and a budget in bytes)."""


def resident(which: str) -> int:
    """Bytes of resident memory: now ("VmRSS") or at most since the last reset ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(which))


def measure(case: str, budget: int) -> dict:
    """The case in this process."""
    build, call = CASES[case]
    warnings.simplefilter("ignore", spectra.ConvergenceWarning)
    call(build(small=True), budget)
    A = build(small=False)
    _compile(A)
    Path("/proc/self/clear_refs").write_text("5")
    before, start = resident("VmRSS"), time.perf_counter()
    found = {}
    try:
        call(A, budget)
    except ValueError as error:
        found["refused"] = str(error)
    return found | {"peak": resident("VmHWM") - before, "seconds": time.perf_counter() - start}


def _compile(A) -> None:
    """One product with few columns, which compiles, or loads, the kernels for a large matrix."""
    if isinstance(A, spectra.LinearOperator):
        V = np.ones((A.shape[0], 3))
        A._step(V, None, 1.0, 0.0, 0.0)


def show(document: dict) -> None:
    budgets = list(BUDGETS)
    print(table(["", *(f"{b}: peak, MB" for b in budgets), *(f"{b}: share" for b in budgets)], [
        [name, *(round(one[b]["peak"] / 1e6) if b in one else None for b in budgets),
         *(one[b]["peak"] / BUDGETS[b] if b in one else None for b in budgets)]
        for name, one in document["cases"].items()]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="measure the cases whose name holds this")
    parser.add_argument("--json", type=Path, default=HERE.parent / "docs" / "measured" / "memory.json")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--budget", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case, options.budget)))
        return
    known = json.loads(options.json.read_text())["cases"] if options.json.exists() else {}
    document = {"n": SIDE**3, "dense n": DENSE, "covariance n": POINTS, "budgets": BUDGETS, "cases": known}
    for case in (name for name in CASES if options.only in name):
        for budget, size in BUDGETS.items():
            command = [sys.executable, __file__, "--case", case, "--budget", str(size)]
            out = subprocess.run(command, capture_output=True, text=True)
            if out.returncode:
                print(f"{case}, {budget}: {out.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                continue
            found = known.setdefault(case, {})[budget] = json.loads(out.stdout)
            print(f"{case}, {budget}: {found['peak'] / 1e6:.0f} MB, {found['seconds']:.1f} s "
                  f"{found.get('refused', '')[:60]}", file=sys.stderr)
        document["cases"] = {name: known[name] for name in CASES if name in known}
        save(options.json, document)
    show(document)


if __name__ == "__main__":
    main()
