"""Devices on which every recurrence must run: two that are not there, and those of CUDA where there is one.

The second device of array-api-strict refuses to become NumPy's, and to meet arrays of the host. Torch on the CPU
refuses nothing, but tells of every number it hands out, and where each new tensor is to be. On both, `watch` records
what crosses: ("out", shape) to the device, ("home", shape) from it, and ("look", ()) for a number taken by float, bool
or int. At each of the last two the host waits. Operators record ("product", shape).
"""

import math
import warnings

import array_api_strict as strict
import numpy as np
import pytest

from spectra import _arrays, gp
from spectra.operators import LinearOperator
from spectra.operators._adapters import Dense

_Strict = type(strict.asarray(0.0))


class Traffic(list):
    """What happened, in order: pairs (kind, shape)."""

    def shapes(self, kind: str) -> list[tuple]:
        return [shape for what, shape in self if what == kind]

    def inside(self) -> "Traffic":
        """From the first product to the last."""
        products = [i for i, (what, _) in enumerate(self) if what == "product"]
        return Traffic(self[products[0]: products[-1]] if products else [])

    def vectors(self, kind: str, n: int) -> int:
        """How many vectors of length n went that way."""
        return sum(math.prod(shape) // n for shape in self.shapes(kind) if n in shape)

    def waits(self) -> int:
        """How often the host waited for the device."""
        return len(self.shapes("home")) + len(self.shapes("look"))


class Host:
    """NumPy, for the answers to compare with."""

    def put(self, a):
        return np.array(a)

    def get(self, x):
        return np.asarray(x)

    def holds(self, x) -> bool:
        return isinstance(x, np.ndarray)


class StrictDevice:
    """Another device of array-api-strict."""

    device = strict.Device("device1")

    def put(self, a):
        return strict.asarray(np.array(a), device=self.device)

    def get(self, x):
        return x._array if isinstance(x, _Strict) else np.asarray(x)

    def holds(self, x) -> bool:
        return isinstance(x, _Strict) and x.device == self.device

    def watch(self, monkeypatch, traffic: Traffic):
        asarray, to_host = strict.asarray, _arrays.to_host

        def out(obj, /, **how):
            if how.get("device") == self.device and not isinstance(obj, _Strict):
                traffic.append(("out", np.shape(obj)))
            return asarray(obj, **how)

        def home(x):
            if not self.holds(x):
                return to_host(x)
            traffic.append(("home", tuple(x.shape)))
            return np.array(x._array)

        monkeypatch.setattr(strict, "asarray", out)
        monkeypatch.setattr(_arrays, "to_host", home)
        for name in ("__float__", "__bool__", "__int__", "__complex__", "__index__"):
            monkeypatch.setattr(_Strict, name, self._watched(getattr(_Strict, name), traffic))

    def _watched(self, look, traffic):
        def watched(x):
            if self.holds(x):
                traffic.append(("look", ()))
            return look(x)

        return watched


_NUMBERS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "_linalg_check_errors")
_FACTORIES = ("arange", "eye", "empty", "zeros", "ones", "full", "linspace", "randn", "randint", "scalar_tensor")


class TorchDevice:
    """Torch on the CPU, as if it were elsewhere."""

    def __init__(self):
        self.torch = pytest.importorskip("torch")

    def put(self, a):
        return self.torch.asarray(np.array(a))

    def get(self, x):
        return np.asarray(x)

    def holds(self, x) -> bool:
        return isinstance(x, self.torch.Tensor)

    def watch(self, monkeypatch, traffic: Traffic):
        import array_api_compat.torch as namespace
        from torch.utils._python_dispatch import TorchDispatchMode

        asarray, numpy = namespace.asarray, self.torch.Tensor.numpy

        class Looks(TorchDispatchMode):
            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                name = function.overloadpacket.__name__
                if name in _NUMBERS:
                    traffic.append(("look", ()))
                if name in _FACTORIES:
                    assert (kwargs or {}).get("device") is not None, f"{name} does not say on which device"
                return function(*args, **(kwargs or {}))

        def out(obj, /, **how):
            if isinstance(obj, np.ndarray):
                traffic.append(("out", obj.shape))
            return asarray(obj, **how)

        def home(x, **how):
            traffic.append(("home", tuple(x.shape)))
            return numpy(x, **how)

        monkeypatch.setattr(namespace, "asarray", out)
        monkeypatch.setattr(self.torch.Tensor, "numpy", home)
        mode = Looks()
        mode.__enter__()
        return lambda: mode.__exit__(None, None, None)


class Cuda(TorchDevice):
    """A GPU through torch."""

    def __init__(self):
        super().__init__()
        if not self.torch.cuda.is_available():
            pytest.skip("torch finds no CUDA device")

    def put(self, a):
        return self.torch.asarray(np.array(a), device="cuda")

    def get(self, x):
        return x.cpu().numpy() if isinstance(x, self.torch.Tensor) else np.asarray(x)

    def holds(self, x) -> bool:
        return isinstance(x, self.torch.Tensor) and x.is_cuda

    def generator(self):
        return self.torch.Generator("cuda").manual_seed(0)

    def csr(self, A):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*Sparse CSR tensor support.*")
            return self.torch.sparse_csr_tensor(*map(self.put, (A.indptr, A.indices, A.data)), A.shape,
                                                check_invariants=False)


class Cupy(Host):
    """A GPU through CuPy."""

    def __init__(self):
        self.cupy = pytest.importorskip("cupy", reason="cupy is not installed")
        try:
            self.cupy.cuda.runtime.getDeviceCount()
        except self.cupy.cuda.runtime.CUDARuntimeError:
            pytest.skip("cupy finds no CUDA device")

    def put(self, a):
        return self.cupy.asarray(a)

    def get(self, x):
        return x.get() if isinstance(x, self.cupy.ndarray) else np.asarray(x)

    def holds(self, x) -> bool:
        return isinstance(x, self.cupy.ndarray)

    def generator(self):
        return self.cupy.random.default_rng(0)

    def csr(self, A):
        import cupyx.scipy.sparse

        return cupyx.scipy.sparse.csr_matrix(A)


WATCHED = {"strict": StrictDevice, "torch": TorchDevice}
REAL = {"torch": Cuda, "cupy": Cupy}


class Products(LinearOperator):
    """A matrix that shows its products alone, and asserts that the blocks it is given are on its device."""

    hermitian = psd = _verified = True

    def __init__(self, A, device, traffic):
        super().__init__(tuple(A.shape), _arrays.dtype_of(A))
        self.A, self.device, self.traffic = A, device, traffic
        self.like = None if isinstance(A, np.ndarray) else A

    def _matmat(self, V):
        _record(self, V)
        return self.A @ V


class Stored(Dense):
    """A dense matrix that does the same."""

    psd = True

    def __init__(self, A, device, traffic):
        super().__init__(A)
        self.device, self.traffic = device, traffic

    def _matmat(self, V):
        _record(self, V)
        return super()._matmat(V)


class Kernel(gp.KernelOperator):
    """A kernel matrix that does the same."""

    def __init__(self, X, device, traffic, **how):
        super().__init__(X, noise=0.1, memory=0, **how)
        self.device, self.traffic = device, traffic

    def _matmat(self, V):
        _record(self, V)
        return super()._matmat(V)


def _record(op, V):
    assert op.device.holds(V), f"a product was asked for a {type(V).__name__} from elsewhere"
    assert _arrays.dtype_of(V) == op.dtype
    op.traffic.append(("product", tuple(V.shape)))
