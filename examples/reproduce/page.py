"""Write `docs/reproduction.md`: a row for every table and figure of the three papers.

    python examples/reproduce/page.py

Rows come from the claims that the other scripts left in `docs/measured/*.json`. What no script has claimed is listed
with the reason from `papers.json`, so that nothing is missing in silence. `papers.json` has the papers' own lists of
tables and figures, and the rows of chapter 3, which were judged by hand from the JSON they name.
"""

import json
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reproduction.md"
VERDICTS = {"yes": "**reproduces**", "in part": "**in part**", "no": "**does not reproduce**"}
INTRODUCTION = """\
# Reproductions

What the printed tables and figures of three papers give when they are done again with this library. Every script is in
`examples/reproduce`, prints what it finds, runs small by default and at its full size with `--full`, and writes JSON
with the versions that made it, kept in `docs/measured`; a small size of each runs in the tests and checks the shape of
the claim. This page is written from that JSON by `examples/reproduce/page.py`. What does not reproduce stays here too.

Networks are trained here on two processor cores: small ones, on MNIST, Fashion-MNIST and a part of CIFAR-10. A row in
miniature speaks about a claim's shape, not about its digits.
"""


def measured():
    """All claims, each with the name of the JSON that holds it."""
    found = []
    for path in sorted((ROOT / "docs" / "measured").glob("*.json")):
        document = json.loads(path.read_text())
        claims = document.get("claims") if isinstance(document, dict) else None
        if isinstance(claims, list):  # older scripts keep plain checks, sentence and truth, under this name
            found += [row | {"source": path.name} for row in claims]
    return found


def rows_of(paper, claims):
    """The paper's rows in its own order: claims where there are any, else the reason why not."""
    rows, told = [], set()
    for item, (title, otherwise) in paper["items"].items():
        name = f"{paper['key']} {item}"
        here = [claim for claim in claims if name in claim["items"]]
        for claim in here:
            if id(claim) not in told:
                told.add(id(claim))
                rows.append(claimed(claim, paper["key"]))
        if not here:
            rows.append((otherwise, item, title))
    return list(merged(rows))


def claimed(claim, key):
    items = ranges(item.removeprefix(f"{key} ") for item in claim["items"] if item.startswith(f"{key} "))
    meaning = f"{VERDICTS[claim['holds']]}. {claim['meaning']}".rstrip(". ") + "."
    cells = items, claim["what"], claim["paper"], claim["ours"], claim["difference"], claim["size"], meaning
    return " | ".join([*(text(cell) for cell in cells), f"[{claim['source']}](measured/{claim['source']})"])


def merged(rows):
    """Neighbours that are missing for the same reason become one row."""
    for reason, run in groupby(rows, key=lambda row: row[0] if isinstance(row, tuple) else None):
        if reason is None:
            yield from run
        else:
            run = list(run)
            items = ranges(item for _, item, _ in run)
            titles = "; ".join(dict.fromkeys(title for *_, title in run))
            yield " | ".join([items, text(titles), "", "", "", "", f"not done here: {reason}", ""])


def ranges(items):
    """'Figure 5.1, Figure 5.2, Figure 5.3' as 'Figures 5.1 to 5.3'."""
    runs = []
    for item in items:
        kind, number = item.split()
        chapter, _, last = number.rpartition(".")
        if runs and runs[-1][0] == (kind, chapter) and runs[-1][2] == int(last) - 1:
            runs[-1][2] = int(last)
        else:
            runs.append([(kind, chapter), int(last), int(last)])
    full = [(kind, *(f"{chapter}.{n}".lstrip(".") for n in (low, high))) for (kind, chapter), low, high in runs]
    return ", ".join(f"{kind} {low}" if low == high else f"{kind}s {low} to {high}" for kind, low, high in full)


def text(cell):
    return "" if cell is None else f"{cell:.2g}" if isinstance(cell, float) else str(cell).replace("|", r"\|")


def page():
    papers = json.loads((Path(__file__).parent / "papers.json").read_text())
    claims = papers["judged"] + measured()
    known = {f"{paper['key']} {item}" for paper in papers["papers"] for item in paper["items"]}
    strangers = sorted({item for claim in claims for item in claim["items"]} - known)
    if strangers:
        raise ValueError(f"expected items listed in papers.json, found {strangers}: correct the claims that name them")
    parts = [INTRODUCTION]
    for paper in papers["papers"]:
        parts.append(f"## {paper['title']}\n\n{paper['source']}\n")
        stories = [name for name in paper["stories"] if (PAGE.parent / "reproduction" / f"{name}.md").exists()]
        if stories:
            links = ", ".join(f"[{name.replace('_', ' ')}](reproduction/{name}.md)" for name in stories)
            parts.append(f"Pictures, whole tables and what was learnt: {links}.\n")
        header = "| item | what | paper | ours | difference | size | what it means | measured |\n|" + "---|" * 8
        parts.append("\n".join([header, *(f"| {row} |" for row in rows_of(paper, claims))]) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
