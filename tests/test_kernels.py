"""Compiled kernels do what their plain references do, and are used where they should be."""

import numpy as np
import pytest
import scipy.sparse as sp

import spectra
from spectra import _kernels


@pytest.fixture
def kernels(monkeypatch):
    """Kernels for blocks of any size."""
    monkeypatch.setattr(_kernels, "_LEAST_WORK", 0)


def matrix(n, dtype, seed=0):
    A = sp.random_array((n, n), density=0.05, rng=np.random.default_rng(seed), dtype=np.float64)
    return sp.csr_array((A + A.T + sp.diags_array(np.arange(1.0, n + 1) / n)).astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 7, 1500])
@pytest.mark.parametrize("columns", ["numbers", "one a column"])
def test_step_equals_its_reference(dtype, n, columns):
    csr = pytest.importorskip("spectra._kernels.csr")
    rng = np.random.default_rng(1)
    V, U = rng.standard_normal((2, n, 5)).astype(dtype)
    b, c = (0.3, -0.7) if columns == "numbers" else rng.standard_normal((2, 5))
    A = matrix(n, dtype) if n > 1 else sp.csr_array(np.array([[2.0]], dtype=dtype))
    for before in (U, None):
        found, expected = csr.step(A, V, before, 1.5, b, c), csr.step_reference(A, V, before, 1.5, b, c)
        assert found[0].dtype == dtype
        scale = max(np.abs(expected[0]).max(), 1.0)
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(x, y, atol=50 * np.finfo(dtype).eps * scale**2 * n, rtol=0)


def test_empty_rows_give_zeros():
    csr = pytest.importorskip("spectra._kernels.csr")
    W, vw, ww = csr.step(sp.csr_array((4, 4)), np.ones((4, 2)), None, 1.0, 0.0, 0.0)
    assert not W.any() and not vw.any() and not ww.any()


def test_estimates_do_not_depend_on_kernels(kernels, monkeypatch):
    A = matrix(200, np.float64) + 5 * sp.eye_array(200)
    answers = []
    for switch in ("0", "1"):
        monkeypatch.setenv("SPECTRA_KERNELS", switch)
        answers.append([spectra.logdet(A, method=m, probes=4, steps=10, rng=0).value for m in ("slq", "block-slq")]
                       + list(spectra.moments(A, 8, probes=3, rng=0).value))
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-12)


def test_the_switch_and_small_blocks_mean_plain_products(monkeypatch):
    A, V = matrix(50, np.float64), np.ones((50, 4))
    assert _kernels.csr_kernel(A, V) is None  # too little work
    monkeypatch.setattr(_kernels, "_LEAST_WORK", 0)
    assert _kernels.csr_kernel(A, V) is not None
    assert _kernels.csr_kernel(A, V[:, :1]) is None  # a single column is SciPy's
    assert _kernels.csr_kernel(A.astype(complex), V) is None
    monkeypatch.setenv("SPECTRA_KERNELS", "0")
    assert _kernels.csr_kernel(A, V) is None


def test_products_are_counted_and_blocks_of_any_layout_taken(kernels):
    A = matrix(60, np.float64)
    op = spectra.aslinearoperator(A)
    V = np.asfortranarray(np.random.default_rng(0).standard_normal((60, 3)))
    np.testing.assert_allclose(op @ V, A @ V, rtol=1e-12, atol=1e-12)
    op._step(V, None, 1.0, 0.0, 0.0)
    assert op.matvecs == 6
