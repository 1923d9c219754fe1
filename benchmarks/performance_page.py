"""Write docs/performance.md from the JSON in docs/measured: a question a section, a table a question.

    python benchmarks/performance_page.py

The words are here, the numbers in the JSON; a section whose JSON is missing says that it is not measured yet.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples" / "reproduce"))

from _report import table  # noqa: E402

PAGE = ROOT / "docs" / "performance.md"
MEASURED = ROOT / "docs" / "measured"

INTRODUCTION = """\
# Performance

How long the answers take beside other packages, beside what the machine could do at best, and how that grows. Every
number stands in a table that `benchmarks/performance_page.py` writes from JSON in `docs/measured`; one command
makes them all anew:

```sh
benchmarks/peers.sh && benchmarks/peers_jax.sh && benchmarks/peers_keops.sh && benchmarks/peers_mkl.sh
python benchmarks/performance.py --page
```

## How it was measured

Contenders take turns in one run, or follow one another where each needs the machine's memory for itself, each in a
process of its own where it is a package of its own, after a first call that is not counted. Seconds are medians, as a
rule of five rounds (two to four of the slowest; the JSON has them), of the wall clock on all threads; where a table
says so, of the processor on one. Ratios are of medians in the same run, never across runs. "Least" is the fastest
round, which other work on the machine disturbs least. An error is relative to a truth in closed form or by
factorisation, and a half width is that of the interval an answer gives for itself, which may reach further to one
side than to the other. Nothing is pinned to a core, and
nothing is told to the allocator.
"""


def sparse_logdet(found):
    for name, title in (("3-D", "Seven-point Laplacian in three dimensions"),
                        ("2-D", "Five-point Laplacian in two dimensions")):
        if name in found:
            one = found[name]
            yield f"{title} plus the identity, n = {one['n']:,}, {one['entries']:,} entries."
            yield contenders(one["contenders"], "spectra, rtol 1e-3",
                             limit=("least bytes of 20 x 10 at the triad's speed", one["limit of the equal work, s"]))


def contenders(rows, ours, limit=None):
    """Rows of name -> seconds, errors, ...; how many times as long as ours each takes."""
    base = rows[ours]["seconds"] if ours in rows else None
    lines = [[name, one["seconds"], one["least"], base and one["seconds"] / base, one.get("median error"),
              one.get("half width"), one.get("products")] for name, one in rows.items()]
    if limit:
        lines.append([limit[0], limit[1], None, base and limit[1] / base, None, None, None])
    return table(["", "seconds", "least", "times ours", "median error", "half width", "products"], lines)


def peers_logdet(found):
    for question, one in found.items():
        if question == "versions":
            continue
        ours = next((row["seconds"] for name, row in one["contenders"].items() if name.startswith("spectra")), None)
        yield f"{question}: n = {one['n']:,}, {one['entries']:,} entries."
        yield table(["", "seconds", "least", "times ours", "first call", "median error", "half width", "peak MB"], [
            [name, row["seconds"], row["least"], ours and row["seconds"] / ours, row["first call"], row["median error"],
             row["half width"], round(row["peak bytes"] / 1e6)] for name, row in one["contenders"].items()])


def csr_step(found):
    yield f"Seven-point Laplacian in three dimensions, n = {found['n']:,}, {found['entries']:,} entries; milliseconds."
    yield table(["columns", "step", "SciPy's step", "times ours", "share of the limit", "product", "SciPy's product",
                 "times ours", "MKL's product", "times ours"], [
        [row["columns"], ms(row["step"]), ms(row["SciPy step"]), row["SciPy step"] / row["step"],
         f"{row['share of the limit']:.0%}", ms(row["product"]), ms(row["SciPy product"]),
         row["SciPy product"] / row["product"], ms(row.get("MKL product")),
         row["MKL product"] / row["product"] if "MKL product" in row else None] for row in found["rows"]])
    alone = [row for row in found["rows"] if "operator @ v" in row]
    if alone:
        yield "One vector through the operator, `A @ v`; milliseconds."
        yield table(["operator @ v", "SciPy's", "times ours", "MKL's", "times ours"], [
            [ms(row["operator @ v"]), ms(row["SciPy product"]), row["SciPy product"] / row["operator @ v"],
             ms(row.get("MKL product")), row["MKL product"] / row["operator @ v"] if "MKL product" in row else None]
            for row in alone])
    if "first calls" in found:
        yield "First calls of the kernels in a new process; seconds."
        yield table(["", "compiling", "compiled before"], [
            [name, one["compiling"], one["compiled before"]] for name, one in found["first calls"].items()])


def ms(seconds):
    return None if seconds is None else f"{1e3 * seconds:.1f}"


def mixed_precision(found):
    measured = [row for row in found["rows"] if row.get("seconds")]
    lines = []
    for case in dict.fromkeys(row["case"] for row in measured):
        here = {row["what"]: row for row in measured if row["case"] == case}
        if {"float32", "float64"} <= here.keys():
            single, double = here["float32"], here["float64"]
            lines.append([case, double["seconds"], single["seconds"], double["seconds"] / single["seconds"],
                          abs(single["value"] / double["value"] - 1), single["rounding"] / abs(double["value"]),
                          double["standard error"] / abs(double["value"]), len(single["times"])])
    yield table(["case", "double, s", "single, s", "times as fast", "difference", "bracket of the rounding",
                 "standard error", "rounds"], lines)


def dense_logdet(found):
    for row in found["rows"]:
        yield f"{row['kernel']}, noise {row['noise']:g}, length-scale {row['lengthscale']:g}, n = {found['n']:,}."
        yield contenders(row["contenders"], "spectra, rtol 1e-3")


def kernel_product(found):
    measured = [row for row in found["rows"] if row.get("seconds")]
    for n, dtype in dict.fromkeys((row["n"], row["dtype"]) for row in measured):
        here = [row for row in measured if (row["n"], row["dtype"]) == (n, dtype)]
        base = next(row["seconds"] for row in here if row["what"] == "bare loop")
        told = next((row["agreement"] for row in here if "agreement" in row), None)
        yield f"n = {n:,}, {dtype}, 9 dimensions, 16 columns." + (
            f" A product takes {megabytes(told['peak bytes'])} at its peak, where the matrix would take "
            f"{megabytes(told['bytes of the matrix'])}; it differs from the bare loop's by at most "
            f"{told['largest difference']:.1e}." if told else "")
        yield table(["", "seconds", "least", "share of the bare loop's speed", "rounds"], [
            [row["what"], row["seconds"], row["least"], f"{base / row['seconds']:.0%}", len(row["times"])]
            for row in here])


def megabytes(count):
    return f"{count / 1e6:,.0f} MB"


def scaling(found):
    sizes = sorted({size for row in found["slopes"] for size in row["nanoseconds a nonzero"]}, key=float)
    yield "Nanoseconds a nonzero, by the nonzeros of the matrix, and the exponent with which the cost grows."
    yield table(["matrix", "what", *sizes, "exponent from 1e5", "over the last decade"], [
        [row["matrix"], row["what"], *(digits(row["nanoseconds a nonzero"].get(size)) for size in sizes),
         exponent(row["from 1e5"]), exponent(row["last decade"])] for row in found["slopes"]])
    shapes = {row["what"]: row["seconds"] for row in found["rows"]
              if row["matrix"] == "grid, shapes" and row.get("seconds")}
    if shapes:
        yield "A log-determinant of the grid with 1e6 nonzeros, by steps and probes."
        yield table(["steps x probes", "seconds", "microseconds a product"], [
            [shape, seconds, round(1e6 * seconds / product(shape))] for shape, seconds in shapes.items()])
    yield "![Seconds against nonzeros, probes and steps](img/scaling.png)"


def product(shape):
    steps, probes = map(int, shape.split(" x "))
    return steps * probes


def digits(x):
    return None if x is None else f"{x:.0f}"


def exponent(x):
    return None if x is None else f"{x:.2f}"


def first_call(found):
    yield table(["import", "seconds"], [[name, seconds] for name, seconds in found["imports"].items()])
    yield table(["first call of a process", "that compiles", "compiled before", "second call"], [
        [name, row["compiling"], row["compiled before"], row["second call"]] for name, row in found["calls"].items()])


def memory(found):
    budgets = found["budgets"]
    lines = []
    for name, case in found["cases"].items():
        cells = []
        for budget in budgets:
            one = case.get(budget)
            refused = one and one.get("refused")
            cells += [None, None] if not one else ["refused", None] if refused else [
                round(one["peak"] / 1e6), f"{one['peak'] / budgets[budget]:.0%}"]
        lines.append([name, *cells])
    yield table(["", *(f"{budget}: {what}" for budget in budgets for what in ("peak MB", "of the budget"))], lines)


def graph_moments(found):
    measured = [row for row in found["rows"] if row.get("seconds")]
    for graph in dict.fromkeys(row["graph"] for row in measured):
        here = {row["what"]: row for row in measured if row["graph"] == graph}
        one = here["scipy"]
        yield (f"{graph}: {one['nodes']:,} nodes, {one['entries']:,} entries of the normalised Laplacian, "
               f"{one['moments']} moments, {one['probes']} probes.")
        yield table(["", "seconds", "least", "times SciPy's speed"], [
            [CALLS[what], row["seconds"], row["least"], one["seconds"] / row["seconds"]] for what, row in here.items()])


CALLS = {"scipy": "the recurrence on SciPy's product", "default": "ours, new numbers for the nodes found first",
         "given order": "ours, in the given order", "renumbering": "finding the new numbers, alone",
         "gather, given order": "bound: gathering alone, given order",
         "gather, renumbered": "bound: gathering alone, new numbers"}


def similarity(found):
    names = ["NetLSD", "NetLSD, all eigenvalues", "networkx, all eigenvalues"]
    yield table(["nodes", "edges", "ours", *names], [
        [row["n"], row["edges"], row["spectra"], *(row.get(name, {}).get("seconds") for name in names)]
        for row in found["cost"]])


def maxent(found):
    lines = []
    for order in sorted({row["order"] for row in found["rows"]}):
        here = [row for row in found["rows"] if row["order"] == order]
        lines.append([order, len(here), middle(row["ms"] for row in here), max(row["ms"] for row in here),
                      max(row["residual"] for row in here), middle(row["ratio"] for row in here),
                      min(row["ratio"] for row in here), max(row["trust-ncg gradient"] for row in here)])
    yield table(["moments", "problems", "median ms", "slowest ms", "largest residual", "trust-ncg: median times ours",
                 "least times ours", "its largest gradient left"], lines)


def middle(values):
    values = sorted(values)
    return values[len(values) // 2]


def curvature(found):
    for name, rows in found["networks"].items():
        yield f"{NETWORKS.get(name, name)}, in gradients of the same data."
        yield table(["", "gradients", "lowest", "MiB at its peak"], [
            [what, row["as it is"]["ratio"], row["as it is"]["lowest"], round(row["mib"]) if "mib" in row else None]
            for what, row in rows.items() if what != "gradient"])


NETWORKS = {"mlp": "A perceptron of three layers, tanh", "vgg": "A convolutional network like VGG, ReLU"}


def padamw(found):
    yield table(["", "times torch's AdamW"], [
        ["PAdamW, p = " + name, ratio] for name, ratio in found["ratios"].items() if name != "torch"])


SECTIONS = [
    ("Log-determinants of sparse matrices", "laplacian-logdet.json", sparse_logdet, """\
A default call, `logdet(A, rtol=1e-3)`, which chooses its own probes and steps and stops when its interval is narrow
enough; the equal work of 20 steps x 10 probes; imate's default call and its fastest setting chosen by hand, knowing
the answer; a sparse factorisation where one fits.""", """\
What limits it: at equal work, moving three blocks of vectors and the matrix through memory once a step; the rest
are the columns that do not fit a whole cache line and the second pass that orthogonalises. The peer tuned by hand
does about as many products as our default call and gives no interval; finding out when to stop costs ours a look at
its own error after every few steps."""),
    ("Beside packages on JAX, and CHOLMOD", "logdet-peers.json", peers_logdet, """\
matfree, CoLA and traceax on their own terms: float64, compiled before the rounds, a product by padded rows, which
is the fastest that JAX has for these matrices; "first call" has the compiling in it. CHOLMOD (from CVXOPT, ordered
by AMD) factorises the matrix in two dimensions and is exact. scikit-sparse has no wheels: it builds where the
headers of SuiteSparse are installed, which we don't ask for.""", """\
What limits them: matfree and CoLA keep every basis vector, whether they reorthogonalise or not, and CoLA forms the
logarithm times the vectors; XTrace spends as much on QR factorisations of tall blocks as on products, there as
here."""),
    ("One step of a recurrence", "csr-step.json", csr_step, """\
W = a A V + b V + c U with its two inner products for each column, and the plain product A V, for blocks of 1 to 32
columns, beside SciPy, MKL and the time in which the bandwidth of a triad moves the fewest bytes.""", """\
What limits it: with few columns, memory; with many, the rows of V that the entries name are read more often than
once, because neighbours in the second and third dimension are far apart. A product takes longer than the step that
holds it because its answer is a new array, whose pages the system hands out one by one; the step writes over U. The
last cache of this machine holds a block of 8 columns, so the share of the triad's bandwidth is not that of memory
alone."""),
    ("Products in single precision", "mixed-precision.json", mixed_precision, """\
`A.astype("float32")` halves what a product moves; dots are summed in double precision, and what rounding may do is
part of the answer's bracket. The same probes in both: a sparse Laplacian of order a million, a dense covariance
matrix of order 8,000, and one of 20,000 points that is never formed. Differences are relative.""", """\
What limits it: half the traffic is a bound, of which indices and the sums in double precision keep a part."""),
    ("Matrices that are formed", "dense-logdet.json", dense_logdet, """\
Kernel matrices, where a Cholesky factorisation is at hand: `rtol=1e-3` may use it, and does where that is
cheaper, as it was in all of these; 200 products in one shared Krylov space beside 200 products of the peers.""", """\
What limits it: a factorisation does more arithmetic a byte than any product, so that a few hundred products cost as
much. Stochastic answers pay where the matrix is too large to factorise, or where a percent is enough."""),
    ("Kernel matrices that are never formed", "kernel-product.json", kernel_product, """\
Products with a kernel matrix, entries evaluated in cache and forgotten. The bare loop is what one would write with
NumPy: distances of 1,024 rows by a matrix product, exp in place, the product. KeOps compiles the same formula;
GPyTorch forms the matrix.""", """\
What limits it: exponentials and the matrix products of the distances, which the symmetry of the matrix halves; a
length-scale for each dimension asks for a matrix product a dimension in the gradient, and there the bare loop of
one product is faster."""),
    ("How the cost grows", "scaling.json", scaling, """\
The work is fixed, 20 steps x 10 probes (8 x 5 in a shared space), and the matrix grows; then the matrix is fixed
and the work grows. Grids have their neighbours near in memory, random graphs anywhere. "No basis kept" is the same
log-determinant with a budget of memory too small for the basis of a small matrix too; the largest matrix was measured
once, in memory never touched before.""", """\
What limits it: few rows are linear to within a tenth. In the small there is what every call costs (checks, small
eigenproblems, orthogonalising against a kept basis, plain kernels until threads pay), so that the exponents from 1e5
of what is cheap in the large lie below one; threads of BLAS that go on spinning after a call disturb the kernels of
small matrices (OPENBLAS_NUM_THREADS=1 took moments at 3e5 nonzeros from 0.14 to 0.06 s). In the large each nonzero
gets dearer as blocks leave the last cache; on random graphs each entry waits for a cache line, and the more so the
less of a block the caches hold. A shared space pays for its orthogonality. The matrix of 1e8 nonzeros was measured
with an earlier version of the kernels."""),
    ("The first call", "first-call.json", first_call, """\
Kernels are compiled when they are first needed, once for all processes, and kept on disk; importing compiles
nothing.""",
     """\
What limits it: the compiler. A process that finds the kernels on disk loads them in a fraction of the time."""),
    ("Memory", "memory.json", memory, """\
The most that a call adds to the memory of its process, beside the budget it was given (`memory=`), for every
estimator, on a Laplacian of order a million and others.""", """\
What limits it: methods that need all their probes at once refuse what does not fit, and name the budget that would
do."""),
    ("Moments of graphs", "graph-moments.json", graph_moments, """\
Normalised Laplacians of random graphs, whose neighbours are anywhere in memory, beside the same recurrence on
SciPy's product; the bound reads the rows of the block that the entries name, and does nothing else.""", """\
What limits it: waiting for memory. New numbers for the nodes bring hubs and their neighbours together; finding them
costs as much as a few steps, so that they pay with many moments and where the order given hides much."""),
    ("Comparing graphs", "similarity.json", similarity, """\
Processor seconds on one thread for what one graph needs before it can be compared, on Barabasi-Albert graphs of
growing order: 100 moments and a density, beside NetLSD's heat traces and a full spectrum. Different quantities, one
use.""", """\
What limits it: nothing but products; eigenvalues cost the cube of the order."""),
    ("Maximum entropy", "maxent.json", maxent, """\
Densities from Chebyshev moments of nine spectra, exact and estimated, on one thread; SciPy's trust-ncg gets the
same dual on the grid that ours ended with.""", """\
What limits it: one Cholesky factorisation a Newton step, and the number of grid points that a sharp density needs;
atoms need the most."""),
    ("Curvature of networks", "curvature-products.json", curvature, """\
Products with the Hessian and the generalised Gauss-Newton matrix beside curvlinops, PyHessian and BackPACK, on one
thread.""", """\
What limits it: the network's own passes; a product is two to three of them, less where the graph of the first pass
is kept for the next product, at the price of its memory."""),
    ("Steps of an optimiser", "padamw.json", padamw, """\
One step of PAdamW on the tensors of four perceptrons, beside torch's AdamW in its foreach form, on one thread.""", """\
What limits it: reading and writing the parameters, gradients and averages once; the power is taken by square roots
where it can be."""),
]


def page():
    parts = [INTRODUCTION, *machine()]
    for title, file, rows, words, limits in SECTIONS:
        parts += [f"## {title}", words, *measured(file, rows), limits]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def measured(file, rows):
    path = MEASURED / file
    if not path.exists():
        return ["*Not measured yet.*"]
    document = json.loads(path.read_text())
    return [*rows(document), f"[{file}](measured/{file})"]


def machine():
    path = MEASURED / "machine.json"
    if not path.exists():
        return ["*The machine is not measured yet.*"]
    found = json.loads(path.read_text())
    caches = ", ".join(f"{size} of {level}" for level, size in found["caches"].items())
    names = ["threads", "triad GB/s", "float64 GFLOP/s", "float32 GFLOP/s"]
    return ["The machine, as `benchmarks/machine.py` finds it: the triad counts 24 bytes an entry, GFLOP/s are "
            "those of a matrix product of order 2,048, and exp is NumPy's, on one thread and in cache.",
            table(["cores", "memory, GiB", "data caches of a core", "million exp/s"],
                  [[found["cores"], found["memory GiB"], caches, round(found["million exp/s"])]]),
            table(names, [[row["threads"], *(f"{row[name]:.0f}" for name in names[1:])] for row in found["speeds"]]),
            "[machine.json](measured/machine.json)"]


def main():
    PAGE.write_text(page())
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
