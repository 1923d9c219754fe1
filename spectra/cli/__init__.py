"""The command line: `spectra demo | info FILE | density FILE | logdet FILE | clusters FILE | compare FILE FILE ... |
curvature FILE.py | gp TABLE`.

A command is one function from its arguments to an `Answer`, and one entry in COMMANDS. What goes wrong is one line on
standard error and exit status 2; `--debug` shows where.
"""

from __future__ import annotations

import json
import os
import sys
import warnings

import spectra
from spectra.cli._answer import Answer
from spectra.cli._arguments import parser
from spectra.cli._curvature import curvature
from spectra.cli._graphs import clusters, compare
from spectra.cli._matrices import density, info, logdet
from spectra.cli._tables import gp
from spectra.results import ConvergenceWarning

__all__ = ["COMMANDS", "main"]

ERRORS = (ArithmeticError, ImportError, MemoryError, OSError, TypeError, ValueError)


def main(argv: list[str] | None = None) -> int:
    """Run one command. The exit status is 0, or 2 after an error.

    Examples
    --------
    >>> main(["logdet", "karate", "--shift", "1", "--method", "exact"])
    karate: graph of 34 nodes and 78 edges; normalised Laplacian + 1 I
    log det = 22.74805507
      exact (Cholesky), 0 products
    0
    """
    args = parser().parse_args(argv)
    args.progress = not args.json and (sys.stderr.isatty() if args.progress is None else args.progress)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            answer = COMMANDS[args.command](args)
            if args.plot and answer.draw:
                answer.draw(args.plot)
    except ERRORS as error:
        if args.debug:
            raise
        print(f"spectra: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return _report(args, answer, [_one_line(warning.message) for warning in caught])


def _report(args, answer: Answer, cautions: list[str]) -> int:
    head = {"spectra": spectra.__version__, "command": args.command}
    picture = [f"picture: {args.plot}"] if args.plot else []
    lines = [json.dumps(head | answer.data | {"warnings": cautions})] if args.json else [*answer.lines, *picture]
    try:
        print(*lines, sep="\n", flush=True)
    except BrokenPipeError:  # the reader has seen enough, as `head` does
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  the interpreter flushes it once more at the end
    for caution in () if args.json else cautions:
        print(f"spectra: warning: {caution}", file=sys.stderr)
    return 0


def _one_line(error: object) -> str:
    """A message in the words of the command line."""
    text = " ".join(str(error).split()) or type(error).__name__
    for said, meant in (("pass symmetrize=True", "pass --symmetrize"), ("A.shift(1e-6)", "--shift 1e-6")):
        text = text.replace(said, meant)
    return text


def _demo(args) -> Answer:
    from spectra._demo import demonstrate

    found = demonstrate(rng=args.rng, progress=args.progress)
    return Answer(found.to_dict(), found.lines(), found.picture)


COMMANDS = {"demo": _demo, "info": info, "density": density, "logdet": logdet, "clusters": clusters, "compare": compare,
            "curvature": curvature, "gp": gp}
