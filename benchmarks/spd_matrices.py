"""Log-determinants of the real symmetric positive definite matrices among the named data sets, against known values.

    python benchmarks/spd_matrices.py --method block-slq --rtol 1e-3

Prints a row a matrix: does the 95 % interval (bias included) hold the known value, and where not, was there a warning?
Writes the rows as JSON with --json FILE. Needs the data (a download, or the mirror in SPECTRA_DATA).
"""

from __future__ import annotations

import argparse
import json
import time
import warnings

import spectra
from spectra import datasets


def matrices() -> list[str]:
    """Names of the sets with a known log-determinant, smallest first."""
    known = [name for name in datasets.names() if "logdet" in datasets.info(name).get("facts", datasets.info(name))]
    return sorted(known, key=lambda name: datasets.info(name)["n"])


def known_logdet(name: str) -> float:
    info = datasets.info(name)
    return info.get("facts", info)["logdet"]


def row(name: str, method: str, rtol: float | None, rng: int) -> dict:
    A, truth = datasets.load(name), known_logdet(name)
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimate = spectra.logdet(A, method=method, rtol=rtol, rng=rng)
    lo, hi = estimate.interval()
    rounding = 1e-11 * abs(truth)  # the known values come from a factorisation in double precision too
    return {"name": name, "n": A.shape[0], "method": estimate.method, "value": estimate.value, "truth": truth,
            "relative_error": (estimate.value - truth) / abs(truth), "stderr": float(estimate.stderr),
            "interval": [lo, hi], "held": bool(lo - rounding <= truth <= hi + rounding),
            "matvecs": estimate.matvecs, "seconds": time.perf_counter() - start,
            "warnings": [str(w.message) for w in caught]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="auto")
    parser.add_argument("--rtol", type=float, default=None)
    parser.add_argument("--rng", type=int, default=0)
    parser.add_argument("--json", default=None)
    arguments = parser.parse_args()
    rows = []
    for name in matrices():
        found = row(name, arguments.method, arguments.rtol, arguments.rng)
        rows.append(found)
        print(f"{name:16s} n={found['n']:6d} {found['method']:10s} error {found['relative_error']:+.1e} "
              f"held={found['held']!s:5s} warned={bool(found['warnings'])!s:5s} {found['matvecs']:6d} products "
              f"{found['seconds']:6.1f} s", flush=True)
    silent = [r["name"] for r in rows if not r["held"] and not r["warnings"]]
    print(f"held: {sum(r['held'] for r in rows)} of {len(rows)}; missed without a warning: {silent or 'none'}")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"version": spectra.__version__, "arguments": vars(arguments), "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
