"""Write the measured tables of docs/accuracy.md from the JSON in docs/measured.

    python benchmarks/accuracy_page.py

The words of the page stay; what stands between `<!-- measured: NAME -->` and `<!-- end -->` is replaced by the table
of that name. A benchmark whose JSON is missing leaves its table as it is.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from pathlib import Path

from logdet_accuracy import OURS, cell, summary
from logdet_time import HEADER, lines

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "examples" / "reproduce"))

from _report import table  # noqa: E402

PAGE = ROOT / "docs" / "accuracy.md"
MEASURED = ROOT / "docs" / "measured"


def read(name):
    return json.loads((MEASURED / name).read_text())


def accuracy(file):
    """Median errors of every method by cell, and by what factor each is worse than ours."""
    found = measured(file)
    ours = {_cell(row): row["median error"] for row in found if row["method"] == OURS}
    return table(
        ["kernel", "noise", "l", "condition", "method", "median error", "largest", "interval held", "products", "runs",
         "times ours"],
        [[*_cell(row), row["condition"], row["method"], row["median error"], row["largest error"], row["held"],
          row["products"], row["runs"], _times(row["median error"], ours[_cell(row)])] for row in found])


def measured(file):
    """The cells in which ours was run."""
    rows = read(file)["rows"]
    there = {cell(row) for row in rows if OURS in row["methods"]}
    return summary([row for row in rows if cell(row) in there])


def _cell(row):
    return row["kernel"], row["noise"], row["l"]


def _times(error, ours):
    ratio = error / ours
    return round(ratio) if ratio >= 10 else round(ratio, 1)


def overall(file):
    """One line: the median over all cells, the worst cell, and how often the intervals held."""
    runs = [row["methods"][OURS] for row in read(file)["rows"] if OURS in row["methods"]]
    cells = [row for row in measured(file) if row["method"] == OURS]
    worst = max(cells, key=lambda row: row["median error"])
    missed = min(cells, key=_share)
    return table(["cells", "runs", "runs a cell", "median of the cells' median errors", "largest",
                  "intervals held", "least of a cell"],
                 [[len(cells), len(runs), _span(row["runs"] for row in cells),
                   statistics.median(row["median error"] for row in cells),
                   f"{worst['median error']:.2g} ({_named(worst)})",
                   f"{sum(run['covers'] for run in runs)} of {len(runs)}", f"{missed['held']} ({_named(missed)})"]])


def _named(row):
    return f"{row['kernel']}, noise {row['noise']:g}, l = {row['l']:g}"


def _share(row):
    held, runs = map(int, row["held"].split(" of "))
    return held / runs


def _span(counts):
    counts = list(counts)
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def times(file):
    """Time of one answer at an equal error."""
    return table(HEADER, [line for row in read(file)["rows"] for line in lines(row)])


def shapes(file):
    """What the estimator chose to do, and what its error is made of."""
    rows = [row for row in read(file)["rows"] if OURS in row["methods"]]

    def median(here, key):
        return statistics.median(key(row["methods"][OURS], abs(row["truth"])) for row in here)

    lines = []
    for where in sorted({cell(row) for row in rows}, reverse=True):
        here = [row for row in rows if cell(row) == where]
        chosen = sorted({(row["methods"][OURS]["probes"], row["methods"][OURS]["steps"]) for row in here})
        lines.append([
            *where, ", ".join(f"{probes} x {steps}" for probes, steps in chosen),
            statistics.mean(row["methods"][OURS]["error"] for row in here),
            median(here, lambda run, truth: run["stderr"] / truth),
            median(here, lambda run, truth: run["bias"][0] / truth if run["bias"] else 0.0),
            f"{sum(row['methods'][OURS]['warned'] for row in here)} of {len(here)}"])
    return table(["kernel", "noise", "l", "probes x steps chosen", "mean signed error", "median standard error",
                  "median bias bracket", "warned of bias"], lines)


def replaced(text, name, content):
    """The page with one table exchanged."""
    pattern = re.compile(rf"(<!-- measured: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"{PAGE.name} has no place marked '<!-- measured: {name} -->'")
    return pattern.sub(lambda match: f"{match[1]}\n{content}\n\n{match[2]}", text)


TABLES = {
    "overall": lambda: overall("logdet-accuracy-4000.json"),
    "beside the peers": lambda: accuracy("logdet-accuracy-4000.json"),
    "shapes": lambda: shapes("logdet-accuracy-4000.json"),
    "time at n = 8,000": lambda: times("logdet-time-8000.json"),
    "n = 10,000": lambda: accuracy("logdet-accuracy-10000.json"),
    "shapes at n = 10,000": lambda: shapes("logdet-accuracy-10000.json"),
}


def main():
    text = PAGE.read_text()
    for name, make in TABLES.items():
        try:
            text = replaced(text, name, make())
        except FileNotFoundError as missing:
            print(f"{name}: left as it is, {missing.filename} is missing")
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
