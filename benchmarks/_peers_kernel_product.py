"""Another package's product with a squared-exponential kernel, in its own environment: `THIS_FILE PACKAGE N D K DTYPE`.

Makes one product, tells as JSON the package's version, how long that first one took, compiling included, and that it
is ready; then makes one for every line of standard input and tells the memory that the process took at most.
GPyTorch's kernel is lazy, but its product forms the whole matrix; KeOps compiles the formula and forms nothing.
"""

import json
import resource
import sys
import time
from importlib.metadata import version

import numpy as np


def gpytorch(X, V):
    import gpytorch
    import torch

    X, V = torch.from_numpy(X), torch.from_numpy(V)
    kernel = gpytorch.kernels.RBFKernel().to(X.dtype)
    kernel.lengthscale = 1.0

    def product():
        with torch.no_grad():
            return kernel(X) @ V

    return product


def keops(X, V):
    from pykeops.numpy import LazyTensor

    x, y = LazyTensor(X[:, None, :]), LazyTensor(X[None, :, :])
    kernel = (-((x - y) ** 2).sum(-1) / 2).exp()
    return lambda: kernel @ V


PACKAGES = {"GPyTorch": (gpytorch, "gpytorch"), "KeOps": (keops, "pykeops")}


def main():
    package, *sizes, dtype = sys.argv[1:]
    n, d, k = map(int, sizes)
    rng, (make, distribution), answers = np.random.default_rng(0), PACKAGES[package], sys.stdout
    sys.stdout = sys.stderr  # what the packages print
    start = time.perf_counter()
    product = make(*(rng.standard_normal((n, width)).astype(dtype) for width in (d, k)))
    product()
    facts = {"version": version(distribution), "first call": time.perf_counter() - start}
    print(json.dumps(facts), file=answers, flush=True)
    for _ in sys.stdin:
        product()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"peak bytes": peak}), file=answers, flush=True)


if __name__ == "__main__":
    main()
