"""Every measurement behind docs/performance.md, one after the other, and the page.

    python benchmarks/performance.py                        # all of it, for an hour or two on an idle machine
    python benchmarks/performance.py --only csr_step memory # some of it
    python benchmarks/performance.py --only --page          # the page alone, from what is measured

Each benchmark is a process of its own and writes its JSON in docs/measured. The packages that we compare with live in
environments of their own, in the folder `--peers` (by default the repository, where the scripts make them): `peers`
or `.peers` by peers.sh, `peers_jax`, `peers_keops` and `peers_mkl` by scripts of those names, `peers_graphs` as
similarity.py tells; curvature_products.py compares with what peers_nn.sh brings to the environment it runs in. A
benchmark that compares with one of them only runs without it and leaves those rows out; one that is about nothing else
is skipped. Either way the reason is told.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import performance_page

HERE = Path(__file__).resolve().parent
ROOT, MEASURED = HERE.parent, HERE.parent / "docs" / "measured"


class Benchmark(NamedTuple):
    """A script, the JSON it writes, its options, and the environments it takes: option -> environment."""

    json: str
    options: tuple = ()
    peers: Mapping[str, str] = MappingProxyType({})
    needs_peers: bool = False
    one_thread: bool = False


BENCHMARKS = {
    "machine": Benchmark("machine.json"),
    "laplacian_logdet": Benchmark("laplacian-logdet.json", peers={"--peers": "peers"}),
    "logdet_peers": Benchmark("logdet-peers.json", peers={"--peers": "peers_jax"}, needs_peers=True),
    "csr_step": Benchmark("csr-step.json", ("--first",), {"--peers": "peers_mkl"}),
    "mixed_precision": Benchmark("mixed-precision.json", ("--fresh",)),
    "dense_logdet": Benchmark("dense-logdet.json", peers={"--peers": "peers"}),
    "kernel_product": Benchmark("kernel-product.json", ("--fresh",), {"--peers": "peers", "--keops": "peers_keops"}),
    "scaling": Benchmark("scaling.json", ("--fresh",)),
    "first_call": Benchmark("first-call.json"),
    "memory": Benchmark("memory.json"),
    "graph_moments": Benchmark("graph-moments.json", ("--fresh",)),
    "similarity": Benchmark("similarity.json", peers={"--peers": "peers_graphs"}, one_thread=True),
    "maxent": Benchmark("maxent.json", one_thread=True),
    "curvature_products": Benchmark("curvature-products.json", one_thread=True),
    "padamw": Benchmark("padamw.json", one_thread=True),
}


def environment(folder: Path, name: str) -> Path | None:
    """The Python of an environment, if it is there."""
    places = (folder / prefix / "bin" / "python" for prefix in (name, f".{name}"))
    return next((place for place in places if place.exists()), None)


def command(name: str, folder: Path) -> tuple[list, list[str]]:
    """How a benchmark is started, and which of its environments are missing."""
    benchmark, missing = BENCHMARKS[name], []
    words = [sys.executable, HERE / f"{name}.py", *benchmark.options, "--json", MEASURED / benchmark.json]
    for option, peer in benchmark.peers.items():
        python = environment(folder, peer)
        words += [option, python] if python else []
        missing += [] if python else [peer]
    return words, missing


def run(name: str, folder: Path) -> bool:
    """Run a benchmark; whether it did what it could."""
    words, missing = command(name, folder)
    if missing and BENCHMARKS[name].needs_peers:
        print(f"{name}: skipped, no environment {' or '.join(missing)} in {folder}", flush=True)
        return True
    print(f"{name} ..." + (f" without {' and '.join(missing)}" if missing else ""), flush=True)
    threads = {"OMP_NUM_THREADS": "1"} if BENCHMARKS[name].one_thread else {}
    start = time.monotonic()
    ended = subprocess.run(list(map(str, words)), env=os.environ | threads, cwd=ROOT).returncode
    print(f"{name}: {'done' if ended == 0 else f'failed with exit status {ended}'}, {time.monotonic() - start:.0f} s",
          flush=True)
    return ended == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=ROOT, metavar="DIR", help="folder of the peers' environments")
    parser.add_argument("--only", nargs="*", choices=BENCHMARKS, metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--page", action="store_true", help="write the page even if a benchmark failed")
    options = parser.parse_args()
    names = list(BENCHMARKS) if options.only is None else options.only
    failed = [name for name in names if not run(name, options.peers)]
    if options.page or not failed:
        performance_page.main()
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
