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

from logdet_accuracy import OURS, summary

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "examples" / "reproduce"))

from _report import table  # noqa: E402

PAGE = ROOT / "docs" / "accuracy.md"
MEASURED = ROOT / "docs" / "measured"


def read(name):
    return json.loads((MEASURED / name).read_text())


def accuracy(file):
    """Median errors beside the peers, and by what factor each peer is worse."""
    found = summary(read(file)["rows"])
    ours = {row["lengthscale"]: row["median error"] for row in found if row["method"] == OURS}
    return table(
        ["l", "condition", "method", "median error", "largest", "interval held", "products", "runs", "times ours"],
        [[row["lengthscale"], row["condition"], row["method"], row["median error"], row["largest error"], row["held"],
          row["products"], row["runs"], round(row["median error"] / ours[row["lengthscale"]])] for row in found])


def shapes(file):
    """What the estimator chose to do, and what its error is made of."""
    rows = read(file)["rows"]

    def median(here, key):
        return statistics.median(key(row["methods"][OURS], abs(row["truth"])) for row in here)

    lines = []
    for lengthscale in sorted({row["lengthscale"] for row in rows}):
        here = [row for row in rows if row["lengthscale"] == lengthscale and OURS in row["methods"]]
        chosen = sorted({(row["methods"][OURS]["probes"], row["methods"][OURS]["steps"]) for row in here})
        lines.append([
            lengthscale, ", ".join(f"{probes} x {steps}" for probes, steps in chosen),
            statistics.mean(row["methods"][OURS]["error"] for row in here),
            median(here, lambda run, truth: run["stderr"] / truth),
            median(here, lambda run, truth: run["bias"][0] / truth if run["bias"] else 0.0),
            f"{sum(bool(row['methods'][OURS]['warnings']) for row in here)} of {len(here)}"])
    return table(["l", "probes x steps chosen", "mean signed error", "median standard error", "median bias bracket",
                  "warned of bias"], lines)


def replaced(text, name, content):
    """The page with one table exchanged."""
    pattern = re.compile(rf"(<!-- measured: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"{PAGE.name} has no place marked '<!-- measured: {name} -->'")
    return pattern.sub(lambda match: f"{match[1]}\n{content}\n\n{match[2]}", text)


TABLES = {
    "beside the peers": lambda: accuracy("logdet-accuracy-4000.json"),
    "shapes": lambda: shapes("logdet-accuracy-4000.json"),
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
