"""Thesis, Table 3.3: numbers of clusters of large networks from 40, 70 and 100 moments.

    python examples/reproduce/thesis_table_3_3.py [--probes 16] [--json table-3-3.json]

The printed networks (DBLP, Amazon, YouTube) are not among the data sets here; others of the same kinds are:
collaborations, social and web graphs, roads and a mesh. For each, Algorithm 5 to the letter, the mass below the first
minimum of the density, with the standard error of its probes; and `egs_cluster_count`, which asks for a gap.

What to see: the letter gives a number for every graph, with a small error bar, and another one for every number of
moments; the printed rows move just so, YouTube's by a factor of five. The widest gap is either there or not.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from _report import save, table

import spectra
from spectra import datasets, graphs

PAPER = {"DBLP": (2.215e4, 8.468e3, 8.313e3), "Amazon": (2.351e4, 1.146e4, 1.201e4),
         "YouTube": (4.023e3, 1.306e4, 1.900e4)}
MOMENTS = (40, 70, 100)
NAMES = ("ca-CondMat", "ca-AstroPh", "ca-HepPh", "ego-Facebook", "ego-Twitter", "as-22july06", "web-NotreDame", "power",
         "luxembourg_osm", "delaunay_n16")
GRID = np.linspace(0, 1, 2001)


def run(names=NAMES, probes=16):
    return {name: one_graph(datasets.load(name, symmetrize=True, weighted=False), probes) for name in names}


def one_graph(G, probes):
    """By number of moments: the count below the first minimum, and whether there is a gap."""
    L = graphs.normalized_laplacian(G)
    return {"nodes": L.shape[0], "components": int(graphs.components(L).max()) + 1,
            "moments": {m: one_order(L, m, probes) for m in MOMENTS}}


def one_order(L, moments, probes):
    rho = graphs.egs(L, moments=moments, probes=probes, rng=0)
    cutoff = first_minimum(rho.pdf(GRID))
    letter = rho.count(0.0, cutoff) if cutoff else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spectra.ConvergenceWarning)
        ours = graphs.egs_cluster_count(L, method="egs", moments=moments, probes=probes, rng=0)
    return {"first minimum": cutoff, "value": letter and letter.value, "stderr": letter and letter.stderr,
            "gap": ours.gap, "count": ours.value, "count stderr": ours.stderr, "cutoff": ours.cutoff}


def first_minimum(density):
    inner = np.flatnonzero((density[1:-1] < density[:-2]) & (density[1:-1] <= density[2:]))
    return float(GRID[inner[0] + 1]) if len(inner) else None


def claims(rows):
    """Each claim with whether the runs bear it out."""
    orders = [row["moments"][m] for row in rows.values() for m in MOMENTS]
    moved = [abs(row["moments"][40]["value"] - row["moments"][100]["value"])
             > 10 * max(row["moments"][m]["stderr"] for m in (40, 100))
             for row in rows.values() if row["moments"][40]["value"] and row["moments"][100]["value"]]
    return {
        "no count is below the number of components": all(
            row["moments"][m]["count"] >= row["components"] - 4 * row["moments"][m]["count stderr"]
            for row in rows.values() for m in MOMENTS),
        "no gap, no number but that of the components": all(x["gap"] or x["count stderr"] == 0 for x in orders),
        "from 40 to 100 moments most counts to the letter move by over 10 standard errors":
            sum(moved) > len(moved) / 2,
    }


def show(rows):
    print("Paper\n")
    print(table(["", *MOMENTS], [[name, *(f"{x:,.0f}" for x in printed)] for name, printed in PAPER.items()]))
    print("\nOurs, at 40, 70, 100 moments: count below the first minimum, and count below a gap if there is one\n")
    print(table(["", "nodes", "components", *(f"to the letter, {m}" for m in MOMENTS), *(f"gap, {m}" for m in MOMENTS)],
                [[name, row["nodes"], row["components"], *(letter(row["moments"][m]) for m in MOMENTS),
                  *(verdict(row["moments"][m]) for m in MOMENTS)] for name, row in rows.items()]))
    print("\n".join(["", *(f"{'yes' if true else 'NO'}: {claim}" for claim, true in claims(rows).items())]))


def letter(found):
    return "no minimum" if found["value"] is None else f"{found['value']:,.0f} ± {found['stderr']:.2g}"


def verdict(found):
    return f"{found['count']:,.1f} ± {found['count stderr']:.2g}" if found["gap"] else f"none: >= {found['count']:,.0f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probes", type=int, default=16)
    parser.add_argument("--json", type=Path, default=Path("table-3-3.json"))
    options = parser.parse_args()
    rows = {}
    for name in NAMES:
        rows |= run((name,), options.probes)
        save(options.json, {"paper": PAPER, "probes": options.probes, "claims": claims(rows), "graphs": rows})
    show(rows)


if __name__ == "__main__":
    main()
