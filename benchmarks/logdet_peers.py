"""Traces and log-determinants of Laplacians beside the packages on JAX, and beside CHOLMOD, in one run.

    python benchmarks/logdet_peers.py --peers .peers_jax/bin/python --json docs/measured/logdet-peers.json

In three dimensions, n = 1e6: stochastic Lanczos quadrature with 20 steps and 10 probes in float64, ours, matfree's
(which by default reorthogonalises, as ours does only where it is cheap: with and without) and CoLA's logarithm of
the matrix, times ten vectors; and traces by XTrace with 40 products, ours and traceax's, which knows no functions of a
matrix. JAX has no fast sparse product on a processor; the rows are padded to seven entries and gathered, several times
faster than its BCOO. All is compiled once, before the rounds; how long that took is told apart. In two dimensions: our
`logdet(A, rtol=1e-3)`, and the factorisation by CHOLMOD that CVXOPT brings, ordered by AMD. Memory is the most that the
process had at any time beyond what it had with the matrix.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from scipy import sparse

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "examples" / "reproduce")]

from _servers import Server, medians, serve  # noqa: E402
from laplacian_logdet import laplacian  # noqa: E402

STEPS, PROBES, PRODUCTS = 20, 10, 40


def ours(A):
    import spectra

    return {"spectra": lambda rng: told(spectra.logdet(A, method="slq", steps=STEPS, probes=PROBES, rng=rng))}


def our_trace(A):
    import spectra

    return {"spectra, XTrace": lambda rng: told(spectra.trace(A, method="xtrace", matvecs=PRODUCTS, rng=rng))}


def ours_to_tolerance(A):
    import spectra

    return {"spectra, rtol 1e-3": lambda rng: told(spectra.logdet(A, rtol=1e-3, rng=rng))}


def told(estimate):
    low, high = estimate.interval()
    return {"value": estimate.value, "half width": (high - low) / 2, "products": estimate.matvecs}


def gathered(A):
    """A product with one vector, of rows padded to the same number of entries, and the vector of zeros."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    width, rows = int(np.diff(A.indptr).max()), np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
    place = np.arange(A.nnz) - A.indptr[rows]
    indices, entries = np.zeros((width, A.shape[0]), dtype=np.int32), np.zeros((width, A.shape[0]))
    indices[place, rows], entries[place, rows] = A.indices, A.data
    indices, entries = jnp.asarray(indices), jnp.asarray(entries)
    return lambda v: sum(entries[j] * v[indices[j]] for j in range(width)), jnp.zeros(A.shape[0])


def matfree(A, reortho):
    import jax
    from matfree import decomp, funm, stochtrace

    product, like = gathered(A)
    integrand = funm.monte_carlo_funm_sym_logdet(decomp.tridiag_sym(STEPS, reortho=reortho))
    estimate = stochtrace.estimator_monte_carlo(integrand, stochtrace.sampler_signs(like, num=PROBES))
    compiled = jax.jit(lambda key: estimate(product, key))
    return {f"matfree, reorthogonalised: {reortho}": lambda rng: {
        "value": float(compiled(jax.random.PRNGKey(rng))), "products": STEPS * PROBES}}


def cola(A):
    import cola as package
    import jax
    import jax.numpy as jnp
    from cola.linalg import Lanczos

    product, like = gathered(A)
    n = A.shape[0]
    operator = package.PSD(package.ops.LinearOperator(
        like.dtype, (n, n), matmat=jax.vmap(product, in_axes=1, out_axes=1)))
    operator.xnp = package.backends.get_library_fns(like.dtype)

    @jax.jit
    def estimate(key):
        Z = jax.random.rademacher(key, (n, PROBES), dtype=like.dtype)
        return jnp.sum(Z * (package.linalg.log(operator, Lanczos(max_iters=STEPS)) @ Z)) / PROBES

    return {"CoLA": lambda rng: {"value": float(estimate(jax.random.PRNGKey(rng))), "products": STEPS * PROBES}}


def traceax(A):
    import equinox
    import jax
    import lineax
    import traceax as package

    product, like = gathered(A)
    structure, wide = jax.eval_shape(lambda: like), package.XTraceEstimator(sampler=package.SphereSampler())
    operator = lineax.FunctionLinearOperator(product, structure)
    compiled = equinox.filter_jit(lambda key: wide.estimate(key, operator, PRODUCTS)[0])
    return {"traceax, XTrace": lambda rng: {"value": float(compiled(jax.random.PRNGKey(rng))), "products": PRODUCTS}}


def cholmod(A):
    import cvxopt
    import cvxopt.cholmod as package

    package.options["supernodal"] = 2
    L = sparse.coo_array(sparse.tril(A))
    matrix = cvxopt.spmatrix(L.data.tolist(), L.row.tolist(), L.col.tolist(), A.shape)

    def answer(rng):
        factor = package.symbolic(matrix)
        package.numeric(matrix, factor)
        return {"value": 2 * float(np.log(np.array(package.diag(factor))).sum())}

    return {"CHOLMOD": answer}


CONTENDERS = {"ours": ours, "matfree": partial(matfree, reortho="none"),
              "matfree, full": partial(matfree, reortho="full"), "cola": cola, "our trace": our_trace,
              "traceax": traceax, "ours to tolerance": ours_to_tolerance, "cholmod": cholmod}
OURS = "ours", "our trace", "ours to tolerance"
QUESTIONS = {"3-D, 20 x 10": (3, 100, ("ours", "matfree", "matfree, full", "cola")),
             "3-D, XTrace": (3, 100, ("our trace", "traceax")),
             "2-D, factorised": (2, 1000, ("ours to tolerance", "cholmod"))}


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def with_memory(calls, compiling):
    """Calls that also tell the peak memory of the process; the time of the first is that of compiling and running."""
    before = peak()

    def told(call, name, rng):
        start = time.perf_counter()
        found = call(rng)
        compiling.setdefault(name, time.perf_counter() - start)
        return found | {"first call": compiling[name], "peak bytes": peak() - before}

    return {name: partial(told, call, name) for name, call in calls.items()}


def compare(question, known, options):
    """What is known of a question, with the contenders that are asked for measured anew."""
    dimensions, side, packages = QUESTIONS[question]
    side = options.side or side
    A, logdet = laplacian(dimensions, side)
    truth = float(A.diagonal().sum()) if question.endswith("XTrace") else logdet
    found = {"n": A.shape[0], "entries": A.nnz, "truth": truth, "contenders": known.get("contenders", {})}
    for package in (p for p in packages if p in (options.contenders or packages)):  # in turn: the bases are large
        python = sys.executable if package in OURS else options.peers
        if python:
            server = Server(python, __file__, package, "--dimensions", dimensions, "--side", side)
            first = server.ask(0)
            for name, one in medians([server], options.rounds, truth, package).items():
                found["contenders"][name] = one | {key: first[name][key] for key in ("first call", "peak bytes")}
    return found


def show(question, found):
    from _report import table

    print(f"\n{question}: n = {found['n']:,}, {found['entries']:,} entries\n")
    print(table(["", "seconds", "least", "first call", "median error", "half width", "peak MB"], [
        [name, one["seconds"], one["least"], one["first call"], one["median error"], one["half width"],
         round(one["peak bytes"] / 1e6)] for name, one in found["contenders"].items()]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="Python of the environment that benchmarks/peers_jax.sh made")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=QUESTIONS, nargs="+", default=list(QUESTIONS))
    parser.add_argument("--contenders", choices=CONTENDERS, nargs="+", help="these alone, the others as they are")
    parser.add_argument("--json", type=Path, default=HERE.parent / "docs" / "measured" / "logdet-peers.json")
    parser.add_argument("--serve", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--dimensions", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--side", type=int)
    options = parser.parse_args()
    if options.serve:
        A, _ = laplacian(options.dimensions, options.side)
        serve(with_memory(CONTENDERS[options.serve](A), {}))
        return
    from _report import save

    known = json.loads(options.json.read_text()) if options.json.exists() else {}
    known.pop("versions", None)
    for question in options.only:
        known[question] = compare(question, known.get(question, {}), options)
        show(question, known[question])
        save(options.json, known)


if __name__ == "__main__":
    main()
