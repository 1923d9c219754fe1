"""Recurrences on a GPU, through torch and CuPy, beside NumPy on the same machine and beside what the device can do.

    python benchmarks/gpu.py                       # every library that finds a device; writes docs/measured/gpu.json
    python benchmarks/gpu.py --device cpu --small  # torch on the processor, sizes for a test

Per step, 16 columns: Lanczos without its basis and Chebyshev moments on the seven-point Laplacian of order a million,
block Lanczos on a dense matrix of order 16,000, a product with a kernel matrix of order 40,000 that is never formed;
and products with the Hessian of a network, eight at once. The limit of a sparse step is the time in which a triad, in
the same run, moves the fewest bytes (the matrix once, two blocks read and one written); that of a dense step the time
of reading the matrix once, or of its multiplications at the speed of a square product if that is more; that of the
kernel product the time of its multiplications at that speed. The results are compared with those of NumPy. Medians.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "examples" / "reproduce")]

from _report import save, table  # noqa: E402
from laplacian_logdet import laplacian  # noqa: E402

import spectra  # noqa: E402
from spectra import _arrays, gp  # noqa: E402
from spectra.krylov import BlockLanczosRun, LanczosRun  # noqa: E402
from spectra.krylov._chebyshev import chebyshev_moments  # noqa: E402

COLUMNS, STEPS, DIMENSIONS = 16, 10, 9
SIZES = {"side": 100, "dense": 16_000, "points": 40_000, "long": 50_000_000, "square": 8192, "width": 1024,
         "samples": 8192}
SMALL = {"side": 12, "dense": 120, "points": 300, "long": 10_000, "square": 64, "width": 16, "samples": 64}


class Numpy:
    """The processor, to compare with."""

    name = "numpy"

    def put(self, a):
        return a

    def get(self, x):
        return _arrays.to_host(x)

    def csr(self, A):
        return A

    def wait(self):
        """Until the device has done all that was asked."""

    def describe(self) -> str:
        return platform.processor() or platform.machine()


class Torch(Numpy):
    """A device of torch."""

    name = "torch"

    def __init__(self, device: str):
        import torch

        self.torch, self.device = torch, torch.device(device)

    def put(self, a):
        return self.torch.asarray(a).to(self.device)

    def csr(self, A):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*Sparse CSR tensor support.*")
            return self.torch.sparse_csr_tensor(*map(self.put, (A.indptr, A.indices, A.data)), A.shape,
                                                check_invariants=False)

    def wait(self):
        if self.device.type == "cuda":
            self.torch.cuda.synchronize(self.device)

    def describe(self) -> str:
        return self.torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else super().describe()

    def triad(self, n):
        a, b, c = (self.torch.ones(n, dtype=self.torch.float64, device=self.device) for _ in range(3))
        return lambda: self.torch.add(a, b, alpha=0.5, out=c)


class Cupy(Numpy):
    """The current device of CuPy."""

    name = "cupy"

    def __init__(self):
        import cupy

        self.cupy = cupy

    def put(self, a):
        return self.cupy.asarray(a)

    def csr(self, A):
        import cupyx.scipy.sparse

        return cupyx.scipy.sparse.csr_matrix(A)

    def wait(self):
        self.cupy.cuda.get_current_stream().synchronize()

    def describe(self) -> str:
        device = self.cupy.cuda.runtime.getDeviceProperties(self.cupy.cuda.Device().id)
        return device["name"].decode()

    def triad(self, n):
        a, b, c = (self.cupy.ones(n) for _ in range(3))
        kernel = self.cupy.ElementwiseKernel("float64 a, float64 b", "float64 c", "c = a + 0.5 * b", "triad")
        return lambda: kernel(a, b, c)


def libraries(device: str) -> list[Numpy]:
    """Those that find the device."""
    if device == "cpu":
        return [Torch("cpu")]
    found: list[Numpy] = []
    if find_spec("torch"):
        import torch

        found += [Torch("cuda")] if torch.cuda.is_available() else []
    if find_spec("cupy"):
        import cupy

        try:
            found += [Cupy()] if cupy.cuda.runtime.getDeviceCount() else []
        except cupy.cuda.runtime.CUDARuntimeError as error:
            print(f"CuPy finds no device: {error}", file=sys.stderr)
    if not found:
        raise SystemExit("neither torch nor CuPy finds a GPU here; --device cpu runs on the processor")
    return found


def timed(call, library, repeats: int):
    """Median time of a call, after one that is not counted, until the device has done it; and what it returned."""
    times = []
    for _ in range(repeats + 1):
        library.wait()
        start = time.perf_counter()
        answer = call()
        library.wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]), answer


# What a device can do


def limits(library, sizes, repeats) -> dict:
    """Bytes a second of a triad, and operations a second of a square product in either precision."""
    n, m = sizes["long"], sizes["square"]
    found = {"bandwidth": 3 * 8 * n / timed(library.triad(n), library, repeats)[0]}
    for dtype in ("float32", "float64"):
        A = library.put(np.random.default_rng(0).standard_normal((m, m)).astype(dtype))
        found[dtype] = 2 * m**3 / timed(lambda A=A: A @ A, library, repeats)[0]
    return found


# What is measured: a function of a library, the sizes and the dtype that returns a call, and what it must take of
# (bytes, operations); the call returns what is compared with NumPy's


def lanczos(library, sizes, dtype):
    A, V = _sparse(library, sizes, dtype)

    def call():
        run = LanczosRun(A, V, reorthogonalize=False, check=False)
        run.advance(STEPS)
        return run.alpha

    return call, _sparse_step(A)


def chebyshev(library, sizes, dtype):
    A, V = _sparse(library, sizes, dtype)
    return lambda: chebyshev_moments(A, V, 2 * STEPS, (0.9, 13.1)), _sparse_step(A)


def block_lanczos(library, sizes, dtype):
    n = sizes["dense"]
    x = np.linspace(0, 1, n)
    A = spectra.aslinearoperator(library.put((np.exp(-5 * np.abs(x[:, None] - x)) + np.eye(n)).astype(dtype)))
    V = _block(library, n, dtype)

    def call():
        run = BlockLanczosRun(A, V, expected=STEPS, check=False)
        run.advance(STEPS)
        return np.linalg.eigvalsh(run.T)[-COLUMNS:]

    operations = 2 * n**2 * COLUMNS + 4 * n * COLUMNS * COLUMNS * STEPS  # the product, and half the basis four times
    return call, (STEPS * n * n * A.dtype.itemsize, STEPS * operations)


def kernel(library, sizes, dtype):
    n = sizes["points"]
    X = np.random.default_rng(0).standard_normal((n, DIMENSIONS)).astype(dtype)
    K, V = gp.KernelOperator(library.put(X), memory=0), _block(library, n, dtype)
    return lambda: library.get(K @ V), (0, n**2 * (2 * DIMENSIONS + 2 * COLUMNS))


CASES = {"Lanczos, sparse": lanczos, "Chebyshev, sparse": chebyshev, "block Lanczos, dense": block_lanczos,
         "kernel product": kernel}


def _sparse(library, sizes, dtype):
    A = laplacian(3, sizes["side"])[0].astype(dtype)
    return spectra.aslinearoperator(library.csr(A)), _block(library, A.shape[0], dtype)


def _sparse_step(A):
    block = 3 * A.shape[0] * COLUMNS * A.dtype.itemsize
    return STEPS * ((A.dtype.itemsize + 4) * A.host.nnz + 4 * A.shape[0] + block), 0


def _block(library, n, dtype):
    return library.put(np.random.default_rng(1).standard_normal((n, COLUMNS)).astype(dtype))


def rows(library, able: dict, sizes, repeats) -> list[dict]:
    """Every case on a library that is able to do so much, beside NumPy."""
    found, processor = [], Numpy()
    for name, case in CASES.items():
        for dtype in ("float64", "float32"):
            call, (moved, operations) = case(library, sizes, dtype)
            there, answer = timed(call, library, repeats)
            here, expected = timed(case(processor, sizes, dtype)[0], processor, 1)
            least = max(moved / able["bandwidth"], operations / able[dtype])
            found.append({"library": library.name, "case": name, "dtype": dtype, "seconds": there, "numpy": here,
                          "times as fast": here / there, "share of the limit": least / there,
                          "difference": _difference(answer, expected)})
            print(_line(found[-1]), file=sys.stderr)
    return found


def hessian(device: str, sizes, repeats) -> dict | None:
    """Products with the Hessian of a network on the device, beside the processor, and in gradients."""
    if not find_spec("torch"):
        return None
    found = {}
    for where in ("cpu", device):
        call, gradient = _hessian_product(where, sizes)
        library = Torch(where)
        product, answer = timed(call, library, repeats)
        found[where] = product, timed(gradient, library, repeats)[0], library.get(answer)
    (here, _, expected), (there, gradient, answer) = found["cpu"], found[device]
    row = {"library": "torch", "case": "8 Hessian products", "dtype": "float32", "seconds": there, "numpy": here,
           "times as fast": here / there, "gradients a vector": there / gradient / 8,
           "difference": _difference(answer, expected)}
    print(_line(row), file=sys.stderr)
    return row


def _hessian_product(device, sizes):
    import torch
    from torch import nn

    from spectra.nn import HessianOperator

    torch.manual_seed(0)
    width = sizes["width"]
    model = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 10))
    data = torch.randn(sizes["samples"], width), torch.randint(0, 10, (sizes["samples"],))
    model, (x, y), loss = model.to(device), (part.to(device) for part in data), nn.CrossEntropyLoss()
    H = HessianOperator(model, loss, (x, y))
    V = torch.randn((H.shape[0], 8), generator=torch.Generator().manual_seed(1)).to(device)

    def gradient():
        return torch.autograd.grad(loss(model(x), y), tuple(model.parameters()))

    return lambda: H @ V, gradient


def _difference(answer, expected) -> float:
    return float(np.abs(answer - expected).max() / np.abs(expected).max())


def _line(row) -> str:
    share = f", {row['share of the limit']:.0%} of the limit" if "share of the limit" in row else ""
    return (f"{row['library']}, {row['case']}, {row['dtype']}: {row['seconds']:.3g} s, {row['times as fast']:.3g} "
            f"times the processor's speed{share}, difference {row['difference']:.1e}")


def measure(device: str, sizes: dict, repeats: int, keep=lambda document: None) -> dict:
    """All there is to measure, handed to `keep` after every library."""
    document = {"sizes": sizes, "columns": COLUMNS, "steps": STEPS, "devices": {}, "limits": {}, "rows": []}
    for library in libraries(device):
        document["devices"][library.name] = library.describe()
        document["limits"][library.name] = able = limits(library, sizes, repeats)
        document["rows"] += rows(library, able, sizes, repeats)
        keep(document)
    if row := hessian(device, sizes, repeats):
        document["rows"].append(row)
        keep(document)
    return document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes for a test; nothing is written unless --json is")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    path = options.json or (None if options.small else HERE.parent / "docs" / "measured" / "gpu.json")
    document = measure(options.device, SMALL if options.small else SIZES, options.repeats,
                       lambda found: save(path, found) if path else None)
    columns = ["library", "case", "dtype", "seconds", "times as fast", "share of the limit", "difference"]
    print(table(columns, [[row.get(name) for name in columns] for row in document["rows"]]))


if __name__ == "__main__":
    main()
