"""Array libraries that one code path must serve: name -> function that moves a NumPy array there."""

import array_api_strict
import numpy as np
import pytest


def _torch(a):
    return pytest.importorskip("torch").asarray(np.array(a))


def _torch_csr(a):
    torch = pytest.importorskip("torch")
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Sparse CSR tensor support.*")
        return torch.asarray(np.array(a)).to_sparse_csr()


LIBRARIES = {"numpy": np.asarray, "torch": _torch, "strict": array_api_strict.asarray}
"""Dense arrays; vectors and matrices alike."""

MATRICES = LIBRARIES | {"torch csr": _torch_csr}
"""What a matrix may be stored in; its vectors are those of the library before the blank."""


def move(a, library: str):
    """A NumPy vector or block for a matrix stored in `library`."""
    return LIBRARIES[library.split()[0]](a)
