"""The command line: `spectra demo | info FILE | density FILE | logdet FILE`.

A command is one function from its arguments to an `Answer`, and one entry in COMMANDS. What goes wrong is one line on
standard error and exit status 2; `--debug` shows where.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

import spectra
from spectra import graphs, plot
from spectra._files import read_matrix
from spectra._optional import require
from spectra.estimators._density import DENSITIES
from spectra.estimators._sum import METHODS
from spectra.results import ConvergenceWarning, Estimate, SpectralDensity

__all__ = ["main"]

ERRORS = (ArithmeticError, ImportError, MemoryError, OSError, TypeError, ValueError)
_POINT = 1e-12  # relative length of a spectrum that is one point
_WIDE = 1e3, 1e14  # ratios of the ends of a positive spectrum for which its axis is logarithmic; beyond is rounding


class Answer(NamedTuple):
    """What a command found: for JSON, for people, and how to draw it into a file."""

    data: dict[str, Any]
    lines: list[str]
    draw: Callable[[str], None] | None = None


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
    args = _parser().parse_args(argv)
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


# Commands


def _demo(args) -> Answer:
    from spectra._demo import demonstrate

    found = demonstrate(rng=args.rng, progress=args.progress)
    return Answer(found.to_dict(), found.lines(), found.picture)


def _info(args) -> Answer:
    matrix = _Input(args, "adjacency")
    A, op = matrix.A, spectra.aslinearoperator(matrix.A)
    diagonal = A.diagonal().real
    found = {"dtype": str(op.dtype), "stored": int(A.nnz if scipy.sparse.issparse(A) else A.size),
             "hermitian": bool(op.hermitian), "diagonal": [float(diagonal.min()), float(diagonal.max())]}
    if matrix.read.kind == "graph":
        found |= _of_nodes(matrix.A)
    if op.hermitian:
        found |= {"gershgorin": _gershgorin(op), "spectral_bounds": list(spectra.spectral_bounds(op, rng=args.rng))}
    found["facts"] = matrix.read.facts
    lines = [f"  {name.replace('_', ' '):<16}{_plainly(value)}" for name, value in found.items() if value != {}]
    return Answer(matrix.to_dict() | {"matrix": found}, [matrix.title, *lines])


def _density(args) -> Answer:
    matrix = _Input(args, "normalized")
    rho = spectra.spectral_density(matrix.A, method=args.method, steps=args.steps, probes=args.probes, rtol=args.rtol,
                                   support=matrix.support, rng=args.rng, memory=args.memory, progress=args.progress)
    moments = [rho.moment(k) for k in (1, 2, 3, 4)]
    found = {"method": rho.method, "matvecs": rho.matvecs, "seed": rho.seed, "probes": rho.probes,
             "support": list(rho.support), "nodes": rho.nodes.tolist(), "weights": rho.weights.tolist(),
             "moments": [moment.to_dict() for moment in moments],
             "quantiles": {str(p): float(rho.quantile(p)) for p in (0.05, 0.25, 0.5, 0.75, 0.95)}}
    lines = [matrix.title, f"  mean {_with_error(moments[0])}, mean square {_with_error(moments[1])}",
             *_bars(rho, matrix), f"  {_source(rho)}; 95 % intervals hold the error of probes and quadrature"]
    return Answer(matrix.to_dict() | {"density": found}, lines, lambda path: _picture(rho, matrix, args.log, path))


def _logdet(args) -> Answer:
    matrix = _Input(args, "normalized")
    if matrix.read.kind == "graph" and not args.shift:
        raise ValueError(f"logdet needs a positive definite matrix, but the {NAMES[matrix.operator]} of a graph "
                         "is singular or indefinite; add a multiple of the identity, e.g. --shift 1e-3")
    estimate = spectra.logdet(matrix.A, method=args.method, matvecs=args.matvecs, probes=args.probes, steps=args.steps,
                              rtol=args.rtol, support=matrix.support, rng=args.rng, memory=args.memory,
                              progress=args.progress)
    known = None if args.shift else matrix.read.facts.get("logdet")

    def draw(path: str) -> None:
        """The spectrum behind the number, from products of its own."""
        rho = spectra.spectral_density(matrix.A, support=matrix.support, rng=args.rng, memory=args.memory)
        _picture(rho, matrix, True, path)

    data = matrix.to_dict() | {"estimate": estimate.to_dict(), "known": known}
    return Answer(data, [matrix.title, *_in_words(estimate, known)], draw)


COMMANDS = {"demo": _demo, "info": _info, "density": _density, "logdet": _logdet}


# What is read


class _Input:
    """The matrix that the arguments name, and what it is."""

    def __init__(self, args, of_graphs: str):
        self.A, self.read = read_matrix(args.file, symmetrize=args.symmetrize)
        self.support = tuple(args.support) if getattr(args, "support", None) else None
        self.shift = args.shift
        self.operator = "matrix"
        if not self.read.order:
            raise ValueError(f"{self.read.name}: expected a matrix of order 1 or more, found an empty one")
        if args.laplacian and self.read.kind == "matrix":
            self.A = graphs.adjacency(self.A, symmetrize=args.symmetrize)
            self.read = self.read._replace(kind="graph", entries=self.A.nnz // 2, facts={})
        if self.read.kind == "graph":
            self.operator = args.laplacian or of_graphs
            self.A = OPERATORS[self.operator](self.A)
            if self.operator == "normalized" and self.support is None:
                self.support = (self.shift, 2.0 + self.shift)
        if self.shift:
            n = self.read.order
            identity = np.eye(n) if isinstance(self.A, np.ndarray) else scipy.sparse.eye_array(n, format="csr")
            self.A = self.A + self.shift * identity

    @property
    def title(self) -> str:
        read = self.read
        shift = f" + {self.shift:g} I" if self.shift else ""
        if read.kind == "graph":
            return f"{read.name}: graph of {read.order} nodes and {read.entries} edges; {NAMES[self.operator]}{shift}"
        return f"{read.name}: matrix of order {read.order}, {read.entries} entries{shift and ';' + shift}"

    @property
    def definite(self) -> bool:
        """Whether the lower end of the spectrum may be positive: that of a graph's matrix is not."""
        return self.read.kind == "matrix" or self.shift > 0

    def to_dict(self) -> dict[str, Any]:
        return {"input": self.read._asdict() | {"operator": self.operator, "shift": self.shift}}


OPERATORS = {"normalized": graphs.normalized_laplacian, "combinatorial": graphs.laplacian, "adjacency": lambda W: W}
NAMES = {"normalized": "normalised Laplacian", "combinatorial": "Laplacian", "adjacency": "adjacency matrix"}


def _of_nodes(A) -> dict[str, Any]:
    """What `info` says of a graph; of its Laplacians, the diagonal is not a neighbour."""
    linked = scipy.sparse.csr_array(A - scipy.sparse.diags_array(A.diagonal()))
    linked.eliminate_zeros()
    neighbours = np.diff(linked.indptr)
    return {"neighbours": [int(neighbours.min()), int(neighbours.max())],
            "isolated_nodes": int(np.sum(neighbours == 0)), "components": int(graphs.components(linked).max()) + 1}


def _gershgorin(op) -> list[float]:
    """The interval that holds all of Gershgorin's discs."""
    centre = np.asarray(op.diagonal()).real
    radius = op.absolute_row_sums() - np.abs(centre)
    return [float((centre - radius).min()), float((centre + radius).max())]


# What is shown


def _in_words(estimate: Estimate, known: float | None) -> list[str]:
    head = f"{estimate.method}, {estimate.matvecs} products"
    if estimate.method == "exact":
        lines = [f"log det = {estimate.value:.10g}", f"  exact ({estimate.factorisation}), {estimate.matvecs} products"]
    else:
        low, high = estimate.interval()
        lines = [f"log det = {_with_error(estimate)}", f"  95 % interval [{low:.8g}, {high:.8g}], bias included",
                 f"  {head}, seed {estimate.seed}"]
    if known is not None:
        low, high = estimate.interval()
        inside = "" if estimate.method == "exact" else ", inside" if low <= known <= high else ", outside"
        lines.append(f"  known value {known:.10g}{inside}")
    return lines


def _source(rho: SpectralDensity) -> str:
    return f"{rho.probes} probes, {rho.matvecs} products, {rho.method}, seed {rho.seed}"


def _with_error(estimate: Estimate) -> str:
    """Value, standard error and bias, without where they come from."""
    return repr(estimate).rpartition(" (")[0]


def _plainly(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plainly(item)}" for key, item in value.items())
    if isinstance(value, list):
        return f"[{', '.join(map(_plainly, value))}]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _bars(rho: SpectralDensity, matrix: _Input, rows: int = 15, width: int = 32) -> list[str]:
    """The density in text: the share of eigenvalues in parts of its support (odd, so that 1 lies inside one)."""
    lo, hi = rho.support
    rows = rows if hi - lo > _POINT * max(abs(lo), abs(hi)) else 1
    edges = (np.geomspace if _is_wide(rho, matrix) else np.linspace)(lo, hi, rows + 1)
    ends = [-np.inf, *edges[1:-1], np.inf]
    counts = [rho.count(*part) for part in pairwise(ends)]
    most = max(count.value for count in counts)
    return [f"  {a:>10.4g} to {b:<10.4g}{_percent(count, rho.size)}  {'#' * round(width * count.value / most)}"
            for (a, b), count in zip(pairwise(edges), counts, strict=True)]


def _percent(count: Estimate, size: int) -> str:
    low, high = np.clip(count.interval(), 0.0, size)
    return f"{100 * count.value / size:5.1f} % [{100 * low / size:4.1f}, {100 * high / size:5.1f}]"


def _is_wide(rho: SpectralDensity, matrix: _Input) -> bool:
    lo, hi = rho.support
    return matrix.definite and lo > 0 and _WIDE[0] < hi / lo < _WIDE[1]


def _picture(rho: SpectralDensity, matrix: _Input, log: bool, path: str) -> None:
    """The rule itself and its distribution function, side by side."""
    pyplot = require("matplotlib.pyplot", "plot", "--plot")
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    points = rho.method in ("slq", "block-slq")
    (plot.stem if points else plot.density)(rho, axes[0], log=log)
    plot.cumulative(rho, axes[1])
    if points and _is_wide(rho, matrix):
        for ax in axes:
            ax.set_xscale("log")
    figure.suptitle(f"{matrix.title}\n{_source(rho)}", fontsize=10)
    try:
        figure.savefig(path, dpi=150)
    finally:
        pyplot.close(figure)


# Arguments


class _Parser(argparse.ArgumentParser):
    """Errors in one line, like all others."""

    def error(self, message: str):
        self.exit(2, f"spectra: {_one_line(message)}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="spectra", description=spectra.__doc__, epilog="spectra COMMAND --help says more.")
    parser.add_argument("--version", action="version", version=f"spectra {spectra.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    demo = commands.add_parser("demo", help="estimates on real data beside the exact answers, and a picture")
    _add_output(demo, "spectra-demo.png")
    demo.set_defaults(rng=0)
    info = commands.add_parser("info", help="what a matrix or a graph is, and where its eigenvalues lie")
    _add_input(info)
    _add_output(info, None, pictures=False)
    density = commands.add_parser("density", help="how the eigenvalues are distributed")
    _add_input(density)
    _add_run(density, list(DENSITIES), "slq", steps=80, probes=8)
    density.add_argument("--log", action=argparse.BooleanOptionalAction, default=True,
                         help="logarithmic axis of weights in the picture (default)")
    _add_output(density, None)
    logdet = commands.add_parser("logdet", help="the log-determinant of a positive definite matrix")
    _add_input(logdet)
    _add_run(logdet, ["auto", *METHODS], "auto")
    logdet.add_argument("--matvecs", type=int, metavar="N", help="products allowed in all; with --rtol, the cap")
    _add_output(logdet, None)
    return parser


def _add_input(parser) -> None:
    parser.add_argument("file", metavar="FILE", help="MatrixMarket (.mtx), SciPy sparse (.npz), NumPy (.npy), edge "
                        "list (.txt, .edges) or GML (.gml), plain or .gz; or the name of a data set")
    parser.add_argument("--laplacian", choices=list(OPERATORS), help="matrix of a graph (default: normalized; info: "
                        "adjacency); given for a file of a matrix, its entries are weights of edges")
    parser.add_argument("--symmetrize", action="store_true", help="ignore the directions of a directed graph")
    parser.add_argument("--shift", type=float, default=0.0, metavar="S", help="add S times the identity")


def _add_run(parser, methods: list[str], method: str, steps: int | None = None, probes: int | None = None) -> None:
    parser.add_argument("--method", choices=methods, default=method, help=f"default: {method}")
    parser.add_argument("--steps", type=int, default=steps, metavar="M", help="products for each probe")
    parser.add_argument("--probes", type=int, default=probes, metavar="K", help="random vectors")
    parser.add_argument("--rtol", type=float, metavar="TOL", help="tolerance at 95 %%; spends what it needs")
    parser.add_argument("--support", type=float, nargs=2, metavar=("LO", "HI"), help="interval of the spectrum")
    parser.add_argument("--memory", type=_bytes, metavar="BYTES", help="for vectors and bases, as 500M, 4G; default 1G")


def _add_output(parser, picture: str | None, pictures: bool = True) -> None:
    parser.add_argument("--rng", type=int, metavar="SEED", help="seed of the probes; default: drawn, and recorded")
    parser.add_argument("--json", action="store_true", help="one line of JSON, warnings included")
    parser.add_argument("--progress", action=argparse.BooleanOptionalAction,
                        help="a bar on standard error (default: on a terminal; never with --json)")
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    if pictures:
        parser.add_argument("--plot", default=picture, metavar="OUT.png", help=f"write a picture (default: {picture})")
    else:
        parser.set_defaults(plot=None)


def _bytes(text: str) -> int:
    """A number of bytes, with K, M or G for powers of 1024."""
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    unit = units.get(text[-1:].upper())
    try:
        count = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        count = 0.0
    if not 1 <= count < 2**63:
        raise argparse.ArgumentTypeError(f"expected a number of bytes such as 500M or 4G, found {text!r}")
    return int(count)


if __name__ == "__main__":
    sys.exit(main())
