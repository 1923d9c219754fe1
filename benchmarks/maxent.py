"""Maximum entropy from 10 to 200 Chebyshev moments: accuracy, time, and SciPy's trust-ncg on the same dual.

Nine kinds of spectrum, moments exact and estimated (8 probes); medians of the processor time of repeats, ours and
SciPy's in turn. `minimize(method="trust-ncg")` gets the same dual, with the plain ridge, as a function with gradient
and Hessian, on the grid that `maxent` ended with, so it is spared the search for one. It starts from the prior and
stops at a gradient of norm 1e-9, ten times that of `maxent`, or after 1000 iterations. The times of `maxent` are those
of the whole call: checks, grids, Newton, the bound on the mismatch where it is needed, and the density.

    python benchmarks/maxent.py [--repeats 5] [--orders 10 40 100 200] [--json results.json]

Use one thread (OMP_NUM_THREADS=1): the problems are small.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from pathlib import Path

import networkx
import numpy as np
from _rounds import save
from scipy.optimize import minimize

from spectra._maxent import maxent
from spectra._maxent._dual import Dual

MEASURED = Path(__file__).parents[1] / "docs" / "measured"
RIDGE = 1e-8
TARGETS = {"residual": 2e-6, "ms up to 140 moments": 30, "ms at 200 moments": 50, "ratio from 40 moments": 5}


def spectra_by_kind(n: int = 1000) -> dict:
    """Eigenvalues and support of each kind."""
    rng = np.random.default_rng(0)
    symmetric, tall = rng.standard_normal((n, n)), rng.standard_normal((n, 2 * n))
    bulk = np.linalg.eigvalsh(tall @ tall.T / (2 * n))
    clusters = [c + 0.01 * rng.standard_normal(n // 5) for c in (0.1, 0.3, 0.5, 0.7, 0.9)]

    def laplacian(G):
        return np.linalg.eigvalsh(networkx.normalized_laplacian_matrix(G).toarray())

    return {
        "semicircle": (np.linalg.eigvalsh((symmetric + symmetric.T) / np.sqrt(2 * n)), (-2.1, 2.1)),
        "Marchenko-Pastur": (bulk, (0.0, 3.1)),
        "gapped": (np.concatenate([rng.uniform(0, 0.3, n // 2), rng.uniform(0.7, 1, n // 2)]), (0.0, 1.0)),
        "clustered": (np.concatenate(clusters), (0.0, 1.0)),
        "power law": (np.arange(1, n + 1.0) ** -1, (0.0, 1.0)),
        "spike of 1 %": (np.append(bulk, np.full(n // 100, 6.0)), (0.0, 6.2)),
        "spike of 10 %": (np.append(bulk, np.full(n // 10, 6.0)), (0.0, 6.2)),
        "Erdos-Renyi": (laplacian(networkx.erdos_renyi_graph(n, 0.02, seed=0)), (0.0, 2.0)),
        "Barabasi-Albert": (laplacian(networkx.barabasi_albert_graph(n, 3, seed=0)), (0.0, 2.0)),
    }


def chebyshev_moments(eigenvalues, support, order, probes=None):
    """Exact, or those of `probes` random vectors (their squared components in the eigenbasis are the weights)."""
    lo, hi = support
    weights = np.full(len(eigenvalues), 1 / len(eigenvalues))
    if probes:
        z = np.random.default_rng(1).standard_normal((probes, len(eigenvalues)))
        weights = (z**2 / (z**2).sum(1, keepdims=True)).mean(0)
    angle = np.arccos(np.clip((2 * eigenvalues - lo - hi) / (hi - lo), -1, 1))
    return np.cos(np.outer(np.arange(order + 1), angle)) @ weights


def alternate(first, second, repeats):
    """Results of two functions and the medians of their processor times in ms, run in turn."""
    times = ([], [])
    for _ in range(repeats):
        results = []
        for run, spent in zip((first, second), times, strict=True):
            start = time.process_time()
            results.append(run())
            spent.append(1e3 * (time.process_time() - start))
    return results, [statistics.median(spent) for spent in times]


def trust_ncg(mu, points):
    """SciPy on the same dual; one evaluation of the density serves value, gradient and Hessian of a point."""
    order = len(mu) - 1
    dual = Dual(mu[1:], np.zeros(order), np.array([-np.log(2.0)]), points)
    memory = {}

    def at(alpha):
        if memory.get("alpha") is None or not np.array_equal(memory["alpha"], alpha):
            point = dual.at(alpha.copy())
            memory.update(alpha=alpha.copy(), point=point, moments=dual.moments(point.masses))
        return memory["point"], memory["moments"]

    def value_and_gradient(alpha):
        point, moments = at(alpha)
        return point.value(RIDGE), dual.gradient(point, RIDGE, moments)

    def hessian(alpha):
        point, moments = at(alpha)
        return dual.hessian(point, RIDGE, moments)

    return minimize(value_and_gradient, np.zeros(order), jac=True, hess=hessian, method="trust-ncg",
                    options={"gtol": 1e-9, "maxiter": 1000})


def measure(kind, eigenvalues, support, order, probes, repeats):
    mu = chebyshev_moments(eigenvalues, support, order, probes)
    points = maxent(mu, support).points
    (rho, peer), (ours, theirs) = alternate(lambda: maxent(mu, support, ridge=RIDGE),
                                            lambda: trust_ncg(mu, points), repeats)
    return {"kind": kind, "moments": "estimated" if probes else "exact", "order": order, "ms": ours,
            "iterations": rho.iterations, "points": rho.points, "residual": rho.residual, "mass - 1": rho.mass - 1,
            "objective": rho.objective, "trust-ncg ms": theirs, "ratio": theirs / ours, "trust-ncg nit": int(peer.nit),
            "trust-ncg gradient": float(np.abs(peer.jac).max()), "trust-ncg objective": float(peer.fun)}


def show(row):
    print(f"{row['kind']:17} {row['moments']:9} {row['order']:4d} {row['ms']:8.1f} {row['iterations']:4d} "
          f"{row['points']:7d} {row['residual']:9.1e} {row['mass - 1']:9.1e} {row['objective']:12.8f} "
          f"{row['trust-ncg ms']:9.1f} {row['ratio']:6.1f} {row['trust-ncg gradient']:9.1e}", flush=True)


def verdicts(rows):
    """Each target with the worst value found and where."""

    def slow(row):
        return row["ms"]

    def worst(rows, key):
        if not rows:
            return "not measured"
        row = max(rows, key=key)
        return f"{abs(key(row)):.2g} ({row['kind']}, {row['moments']}, {row['order']} moments)"

    rises = [b["objective"] - a["objective"] for a, b in itertools.pairwise(rows)
             if (a["kind"], a["moments"]) == (b["kind"], b["moments"])]
    atoms = "spike of 10 %"
    return {"largest residual": worst(rows, lambda row: row["residual"]),
            "largest |mass - 1|": worst(rows, lambda row: abs(row["mass - 1"])),
            "largest rise of the objective": f"{max(rises, default=0):.2g}",
            "slowest below 200 moments, ms": worst([r for r in rows if r["order"] < 200 and r["kind"] != atoms], slow),
            "slowest, ms": worst([r for r in rows if r["kind"] != atoms], slow),
            f"slowest, {atoms}, ms": worst([r for r in rows if r["kind"] == atoms], slow),
            "smallest ratio from 40 moments": worst([r for r in rows if r["order"] >= 40], lambda r: -r["ratio"])}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--orders", type=int, nargs="+", default=[10, 20, 40, 80, 140, 200])
    parser.add_argument("--json", type=Path, default=MEASURED / "maxent.json")
    options = parser.parse_args()
    print(f"{'spectrum':17} {'moments':9} {'m':>4} {'ms':>8} {'it':>4} {'points':>7} {'residual':>9} {'mass-1':>9} "
          f"{'objective':>12} {'trust-ncg':>9} {'ratio':>6} {'gradient':>9}")
    rows = []
    for kind, (eigenvalues, support) in spectra_by_kind().items():
        for probes in (None, 8):
            for order in sorted(options.orders):
                rows.append(measure(kind, eigenvalues, support, order, probes, options.repeats))
                show(rows[-1])
    summary = verdicts(rows)
    print("\n".join(f"{name}: {value}" for name, value in summary.items()))
    save(options.json, {"repeats": options.repeats, "targets": TARGETS, "summary": summary, "rows": rows})


if __name__ == "__main__":
    main()
