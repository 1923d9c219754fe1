"""What the first call costs: importing the library, and compiling its kernels once for all later processes.

    python benchmarks/first_call.py

Every figure is of a process of its own: seconds of `import`, beside that of what it stands on; and of a first and a
second call, with an empty folder of compiled kernels and with a full one. Medians of five (of three where kernels are
compiled).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _rounds import save

MEASURED = Path(__file__).parents[1] / "docs" / "measured"
IMPORTS = {"numpy": "numpy", "scipy.sparse and scipy.linalg": "scipy.sparse, scipy.linalg", "spectra": "spectra"}
LAPLACIAN = "from scipy import sparse; import numpy, spectra; n = 400_000; A = sparse.csr_array(sparse.diags_array(" \
    "[-numpy.ones(n - 1), 3 * numpy.ones(n), -numpy.ones(n - 1)], offsets=[-1, 0, 1]))"
POINTS = "import numpy, spectra.gp; X = numpy.random.default_rng(0).standard_normal((2000, 3)); " \
    "K = spectra.gp.KernelOperator(X, memory=0); V = numpy.ones((2000, 4))"
CALLS = {"logdet of a sparse matrix, 20 x 10": (
             LAPLACIAN, "spectra.logdet(A, method='slq', steps=20, probes=10, rng=0)"),
         "Chebyshev moments of it": (LAPLACIAN, "spectra.moments(A, 40, probes=10, support=(1, 5), rng=0)"),
         "product of a kernel matrix that is not formed": (POINTS, "K @ V")}
PROGRAM = """
import json, time
{before}
times = []
for _ in range(2):
    start = time.perf_counter()
    {call}
    times.append(time.perf_counter() - start)
print(json.dumps(times))
"""


def run(program, folder=None):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"NUMBA_CACHE_DIR": folder} if folder else {}
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment)
    return json.loads(out.stdout)


def importing(names, repeats=5):
    return statistics.median(run(PROGRAM.format(before="", call=f"import {names}"))[0] for _ in range(repeats))


def calling(before, call, repeats=3):
    program, first, again, second = PROGRAM.format(before=before, call=call), [], [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            first.append(run(program, folder)[0])
            times = run(program, folder)
            again.append(times[0])
            second.append(times[1])
    return {"compiling": statistics.median(first), "compiled before": statistics.median(again),
            "second call": statistics.median(second)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=MEASURED / "first-call.json")
    options = parser.parse_args()
    run(PROGRAM.format(before="", call="import spectra"))  # Python compiles, too
    document = {"imports": {name: importing(what) for name, what in IMPORTS.items()}, "calls": {}}
    for name, how in CALLS.items():
        document["calls"][name] = calling(*how)
        save(options.json, document)
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
