"""What every reproduction leaves behind: a table to read, and JSON with the versions that made it."""

import argparse
import json
import platform
from datetime import date
from pathlib import Path

import numpy as np
import scipy

import spectra

DOCS = Path(__file__).resolve().parents[2] / "docs"


def arguments(script, description, full, picture=True):
    """Parser of a reproduction, `--full`, `--json` and `--picture`; its files in `docs` bear the script's name."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help=full)
    name = Path(script).stem
    parser.add_argument("--json", type=Path, default=DOCS / "measured" / f"{name}.json")
    if picture:
        parser.add_argument("--picture", type=Path, default=DOCS / "img" / f"{name}.png")
    return parser


def versions():
    return {"spectra": spectra.__version__, "numpy": np.__version__, "scipy": scipy.__version__,
            "python": platform.python_version(), "date": date.today().isoformat()}


def save(path, document):
    """Write `document` with the versions, whole or not at all, so that a run cut short leaves the last good file."""
    path = Path(path)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps({"versions": versions()} | document, indent=1) + "\n")
    draft.replace(path)


def claim(items, what, paper, ours, meaning, *, holds, size, difference=None):
    """A row of `docs/reproduction.md`: what the paper shows in `items`, what was found, and whether it `holds`."""
    if holds not in ("yes", "in part", "no"):
        raise ValueError(f"expected holds to be 'yes', 'in part' or 'no', found {holds!r}")
    items = [items] if isinstance(items, str) else list(items)
    return {"items": items, "what": what, "paper": paper, "ours": ours, "difference": difference, "size": size,
            "holds": holds, "meaning": meaning}


def table(header, rows):
    """The rows as a Markdown table; numbers to two digits."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(x) for x in line) + " |" for line in lines)


def _cell(x):
    if x is None:
        return "—"
    return f"{x:.2g}" if isinstance(x, float) else str(x)
