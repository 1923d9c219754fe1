"""GPyTorch's product with a squared-exponential kernel, in its own environment: `THIS_FILE N D K REPEATS`.

Prints JSON: medians of wall and processor seconds, and the memory that the process took at most. The kernel is lazy,
but its product forms the whole matrix.
"""

import json
import resource
import statistics
import sys
import time
from importlib.metadata import version

import gpytorch
import torch


def main():
    n, d, k, repeats = map(int, sys.argv[1:])
    generator = torch.Generator().manual_seed(0)
    X = torch.randn((n, d), generator=generator, dtype=torch.float64)
    V = torch.randn((n, k), generator=generator, dtype=torch.float64)
    kernel = gpytorch.kernels.RBFKernel().double()
    kernel.lengthscale = 1.0
    wall, busy = [], []
    with torch.no_grad():
        for _ in range(repeats):
            start, processor = time.perf_counter(), time.process_time()
            kernel(X) @ V
            wall.append(time.perf_counter() - start)
            busy.append(time.process_time() - processor)
    print(json.dumps({"wall": statistics.median(wall), "processor": statistics.median(busy),
                      "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                      "version": version("gpytorch")}))


if __name__ == "__main__":
    main()
