"""The arguments of every command."""

from __future__ import annotations

import argparse

import spectra
from spectra.cli._curvature import KINDS as CURVATURES
from spectra.cli._input import OPERATORS
from spectra.estimators._density import DENSITIES
from spectra.estimators._sum import METHODS
from spectra.gp import KERNELS
from spectra.gp._inv_quad import METHODS as EVIDENCES
from spectra.graphs._clusters import METHODS as COUNTS
from spectra.graphs._divergence import KINDS, RIDGE

__all__ = ["parser"]

FORMATS = ("MatrixMarket (.mtx), SciPy sparse (.npz), NumPy (.npy), edge list (.txt, .edges), GML (.gml) or GraphML "
           "(.graphml), plain or .gz; or the name of a data set")
GRAPH = f"a graph: {FORMATS}; the entries of a matrix are weights of edges"


class _Parser(argparse.ArgumentParser):
    """Errors in one line, like all others."""

    def error(self, message: str):
        self.exit(2, f"spectra: {' '.join(message.split())}; see {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    root = _Parser(prog="spectra", description=spectra.__doc__, epilog="spectra COMMAND --help says more.")
    root.add_argument("--version", action="version", version=f"spectra {spectra.__version__}")
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
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
    _add_graph_commands(commands)
    _add_curvature(commands)
    _add_gp(commands)
    return root


def _add_graph_commands(commands) -> None:
    clusters = commands.add_parser("clusters", help="how many clusters a graph has, if its spectrum tells")
    clusters.add_argument("file", metavar="FILE", help=GRAPH)
    clusters.add_argument("--method", choices=list(COUNTS), default="auto", help="default: auto")
    clusters.add_argument("--memory", type=_bytes, metavar="BYTES", help="for an exact count, as 500M, 4G; default 4G")
    clusters.add_argument("--labels", metavar="OUT.txt", help="write the cluster of every node, a line for each")
    compare = commands.add_parser("compare", help="how different the spectra of graphs are")
    compare.add_argument("files", nargs="+", metavar="FILE", help=GRAPH)
    compare.add_argument("--kind", choices=list(KINDS), default="symmetric-kl", help="default: symmetric-kl")
    compare.add_argument("--ridge", type=float, default=RIDGE, metavar="R",
                         help=f"regularisation of the densities (default: {RIDGE:g})")
    for command in (clusters, compare):
        command.add_argument("--symmetrize", action="store_true", help="ignore the directions of a directed graph")
        command.add_argument("--moments", type=int, default=100, metavar="M", help="Chebyshev moments: the resolution")
        command.add_argument("--probes", type=int, default=16, metavar="K", help="random vectors: the noise")
        _add_output(command, None)


def _add_curvature(commands) -> None:
    curvature = commands.add_parser("curvature", help="the spectrum of a network's loss")
    curvature.add_argument("file", metavar="FILE.py[:name]", help="a function that returns (model, loss, data), or "
                           "with test data as a fourth; name: network by default; or package.module[:name]")
    curvature.add_argument("arguments", metavar="ARG", nargs="*", help="given to the function, as text")
    curvature.add_argument("--kind", choices=list(CURVATURES), default="hessian", help="default: hessian")
    curvature.add_argument("--steps", type=_count, default=100, metavar="M", help="Lanczos steps")
    curvature.add_argument("--probes", type=_count, default=1, metavar="K", help="random vectors")
    curvature.add_argument("--bn", choices=("eval", "train"), default="eval", help="batch normalisation with its "
                           "running statistics (default), or those of each batch")
    curvature.add_argument("--statistics", action="store_true", help="norms of weights and gradient, and variances of "
                           "gradient and curvature from batch to batch")
    curvature.add_argument("--landscape", type=int, choices=(1, 2), metavar="D", help="the loss along the D sharpest "
                           "Ritz vectors, 1 or 2")
    curvature.add_argument("--span", type=float, default=1.0, metavar="R", help="from -R to R along each (default: 1)")
    curvature.add_argument("--points", type=_count, default=21, metavar="N", help="along each (default: 21)")
    curvature.add_argument("--resume", metavar="RUN.npz", help="keep the run there, and go on from it if it exists")
    curvature.add_argument("--every", type=_count, default=10, metavar="N", help="steps between two writings")
    _add_output(curvature, None)


def _add_gp(commands) -> None:
    gp = commands.add_parser("gp", help="Gaussian process regression on a table, with the evidence and its error bar")
    gp.add_argument("file", metavar="TABLE", help="a table of numbers (.csv, .tsv, .npy, plain or .gz), or the name of "
                    "a data set")
    gp.add_argument("--target", metavar="COLUMN", help="name or number of the column to predict (default: the last)")
    gp.add_argument("--kernel", choices=list(KERNELS), default="rbf", help="default: rbf")
    gp.add_argument("--ard", action=argparse.BooleanOptionalAction, default=True,
                    help="one length-scale a column (default), or one for all")
    held_out = gp.add_mutually_exclusive_group()
    held_out.add_argument("--test", type=float, metavar="SHARE", help="of the rows, held out at random (default: 0.1)")
    held_out.add_argument("--split", type=int, metavar="I", help="hold out a standard split of a data set instead")
    gp.add_argument("--method", choices=["auto", *EVIDENCES], default="auto", help="of the evidence (default: auto)")
    gp.add_argument("--max-iter", type=_count, default=100, metavar="N", help="iterations of the optimiser")
    gp.add_argument("--subset", type=_count, default=2000, metavar="N", help="rows that are fitted first")
    gp.add_argument("--full-steps", type=int, default=3, metavar="N", help="steps on all rows thereafter")
    gp.add_argument("--precision", choices=("float64", "float32"), default="float64", help="of large products")
    gp.add_argument("--memory", type=_bytes, metavar="BYTES", help="as 500M, 4G; default 1G")
    _add_output(gp, None)


def _add_input(parser) -> None:
    parser.add_argument("file", metavar="FILE", help=FORMATS)
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


def _count(text: str) -> int:
    """A positive number of things."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, found {text!r}")
    return int(text)


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
