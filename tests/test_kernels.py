"""Compiled kernels do what their plain references do, and are used where they should be."""

import importlib
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp

import spectra
from spectra import _kernels
from spectra.krylov._chebyshev import chebyshev_moments
from spectra.operators import _resident
from spectra.operators._order import has_poor_order, renumbered


@pytest.fixture
def kernels(monkeypatch):
    """Kernels for blocks of any size."""
    monkeypatch.setattr(_kernels, "_LEAST_WORK", 0)


def matrix(n, dtype, seed=0):
    A = sp.random_array((n, n), density=0.05, rng=np.random.default_rng(seed), dtype=np.float64)
    return sp.csr_array((A + A.T + sp.diags_array(np.arange(1.0, n + 1) / n)).astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 7, 1500])
@pytest.mark.parametrize("k", [1, 5, 13, 19, 24])  # more than 16 are done in parts
@pytest.mark.parametrize("columns", ["numbers", "one a column"])
def test_step_equals_its_reference(dtype, n, k, columns):
    csr = pytest.importorskip("spectra._kernels.csr")
    rng = np.random.default_rng(1)
    V, U = rng.standard_normal((2, n, k)).astype(dtype)
    b, c = (0.3, -0.7) if columns == "numbers" else rng.standard_normal((2, k))
    A = matrix(n, dtype) if n > 1 else sp.csr_array(np.array([[2.0]], dtype=dtype))
    for before in (U, None):
        found, expected = csr.step(A, V, before, 1.5, b, c), csr.step_reference(A, V, before, 1.5, b, c)
        assert found[0].dtype == dtype
        scale = max(np.abs(expected[0]).max(), 1.0)
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(x, y, atol=50 * np.finfo(dtype).eps * scale**2 * n, rtol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 3, 13, 19, 24])
def test_product_equals_its_reference(dtype, k):
    csr = pytest.importorskip("spectra._kernels.csr")
    A = sp.csr_array(sp.vstack([matrix(700, dtype), star(700).astype(dtype)]))  # not square, rows of any length
    V = np.random.default_rng(0).standard_normal((700, k)).astype(dtype)
    found, expected = csr.product(A, V), csr.product_reference(A, V)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=700 * np.finfo(dtype).eps * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_remainder_equals_its_reference(dtype):
    csr = pytest.importorskip("spectra._kernels.csr")
    W, V = np.random.default_rng(0).standard_normal((2, 500, 6)).astype(dtype)
    for d, e in ((0.5, 2.0), np.random.default_rng(1).standard_normal((2, 6))):
        expected, found = csr.remainder_reference(W, V, d, e), W.copy()
        assert csr.remainder(found, V, d, e) is found
        np.testing.assert_allclose(found, expected, rtol=0, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_survey_equals_its_reference(dtype):
    entries = pytest.importorskip("spectra._kernels.entries")
    A = matrix(400, dtype)
    lower, lone, negative = sp.csr_array(sp.tril(A)), sp.csr_array((2.5 * np.eye(1, 9, 7).T) @ np.eye(1, 9, 2)), -A
    for B in (A, lower, lone.astype(dtype), negative, sp.csr_array((5, 5), dtype=dtype), star(300).astype(dtype)):
        B.sum_duplicates()
        for x, y in zip(entries.survey(B), entries.survey_reference(B), strict=True):
            np.testing.assert_allclose(x, y, rtol=20 * np.finfo(dtype).eps)


def test_an_unsymmetric_entry_is_seen_by_the_survey(kernels):
    pytest.importorskip("numba")
    A = matrix(300, np.float64).tolil()
    A[17, 250] += 1e-3
    op = spectra.aslinearoperator(A.tocsr())
    assert op._survey is not None and not op.hermitian
    assert op.asymmetry == pytest.approx(1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shift", [0.0, 1e4, -3.0])
def test_the_fused_lanczos_run_is_the_plain_one(kernels, monkeypatch, dtype, shift):
    A = (matrix(300, np.float64) + shift * sp.eye_array(300)).tocsr().astype(dtype)
    A = sp.csr_array(sp.block_diag([sp.csr_array(np.array([[2.0]])), A]).astype(dtype))  # e_1 is an eigenvector
    V = np.random.default_rng(3).standard_normal((301, 4)).astype(dtype)
    V[0], V[:, 3] = 0, np.eye(301)[0]
    kept, found = V.copy(), []
    for switch in ("1", "0"):
        monkeypatch.setenv("SPECTRA_KERNELS", switch)
        op = spectra.aslinearoperator(A)
        run = spectra.krylov.LanczosRun(op, V, reorthogonalize=False)
        run.advance(8)
        assert op.matvecs == 32
        found.append((run.alpha, run.beta, run.broken))
    np.testing.assert_array_equal(V, kept)
    tolerance = 2e3 * np.finfo(dtype).eps * np.abs(found[1][0]).max()
    for x, y in zip(*found, strict=True):
        np.testing.assert_allclose(x.astype(float), y.astype(float), rtol=0, atol=tolerance)
    assert list(found[0][2]) == [False, False, False, True]


def test_a_fused_run_continues_from_disk_to_the_same_digits(kernels, tmp_path):
    A = matrix(200, np.float64)
    run = spectra.krylov.LanczosRun(A, np.random.default_rng(0).standard_normal((200, 3)), reorthogonalize=False)
    run.advance(4)
    run.save(tmp_path / "run.npz")
    again = spectra.krylov.LanczosRun.load(tmp_path / "run.npz", A)
    run.advance(5), again.advance(5)
    np.testing.assert_array_equal(run.alpha, again.alpha)
    np.testing.assert_array_equal(run.beta, again.beta)


@pytest.mark.parametrize("scale", [1e-160, 1e160])
def test_a_fused_run_is_safe_from_overflow(kernels, scale):
    A = matrix(200, np.float64)
    V = np.random.default_rng(0).standard_normal((200, 3))
    runs = [spectra.krylov.LanczosRun(B, V, reorthogonalize=False) for B in (A, scale * A)]
    for run in runs:
        run.advance(5)
    np.testing.assert_allclose(runs[1].alpha, scale * runs[0].alpha, rtol=1e-10)
    np.testing.assert_allclose(runs[1].beta, scale * runs[0].beta, rtol=1e-10)


def test_empty_rows_give_zeros():
    csr = pytest.importorskip("spectra._kernels.csr")
    W, vw, ww = csr.step(sp.csr_array((4, 4)), np.ones((4, 2)), None, 1.0, 0.0, 0.0)
    assert not W.any() and not vw.any() and not ww.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_survey_sees_entries_that_are_not_finite(kernels, bad):
    A = matrix(300, np.float64)
    A.data[17] = bad
    with pytest.raises(ValueError, match="NaN or Inf"):
        spectra.aslinearoperator(A)


def test_rows_are_asked_for_ahead_where_they_are_scattered():
    csr = pytest.importorskip("spectra._kernels.csr")
    assert not csr.is_scattered(grid(30)) and csr.is_scattered(shuffled(grid(30)))
    assert not csr.is_scattered(sp.csr_array((5, 5))) and not csr.is_scattered(sp.csr_array(np.ones((1, 1))))
    A, V = shuffled(grid(12)), np.random.default_rng(0).standard_normal((1728, 9))
    np.testing.assert_allclose(csr.product(A, V), A @ V, rtol=1e-12, atol=1e-12)


def test_a_run_does_not_write_to_its_start_block(kernels):
    A, V = matrix(300, np.float64), np.random.default_rng(0).standard_normal((300, 4))
    kept = V.copy()
    run = spectra.krylov.LanczosRun(A, V, reorthogonalize=False)
    run.advance(5)
    again = spectra.krylov.LanczosRun(A, V, reorthogonalize=True)
    again.advance(5)
    np.testing.assert_array_equal(V, kept)
    np.testing.assert_allclose(run.alpha, again.alpha, rtol=1e-9)
    np.testing.assert_allclose(run.norms, np.linalg.norm(V, axis=0), rtol=1e-14)


def star(n):
    """One row with n entries, n rows with one."""
    hub, rim = np.zeros(n - 1, int), np.arange(1, n)
    return sp.csr_array((np.ones(2 * n - 2), (np.r_[hub, rim], np.r_[rim, hub])), shape=(n, n))


@pytest.mark.parametrize("index", [np.int32, pytest.param(np.int64, marks=pytest.mark.slow)])
def test_rows_of_very_different_length_and_wide_indices(index):
    csr = pytest.importorskip("spectra._kernels.csr")
    A = star(5000)
    A = sp.csr_array((A.data, A.indices.astype(index), A.indptr.astype(index)), shape=A.shape)
    V, U = np.random.default_rng(0).standard_normal((2, 5000, 8))
    for x, y in zip(csr.step(A, V, U, 2.0, 0.5, -1.0), csr.step_reference(A, V, U, 2.0, 0.5, -1.0), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-11)


def test_the_result_may_take_the_place_of_the_block_before():
    csr = pytest.importorskip("spectra._kernels.csr")
    A = matrix(900, np.float64)
    V, U = np.random.default_rng(0).standard_normal((2, 900, 6))
    expected = csr.step_reference(A, V, U, 2.0, 0.5, -1.0)
    for step in (csr.step, csr.step_reference):
        before = U.copy()
        found = step(A, V, before, 2.0, 0.5, -1.0, out=before)
        assert found[0] is before
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-11)


def grid(m):
    """The graph of an m by m by m grid."""
    line, eye = sp.diags_array([np.ones(m - 1), np.ones(m - 1)], offsets=[-1, 1]), sp.eye_array(m)
    return sp.csr_array(sp.kron(sp.kron(line, eye), eye) + sp.kron(sp.kron(eye, line), eye)
                        + sp.kron(sp.kron(eye, eye), line))


def shuffled(A):
    p = np.random.default_rng(0).permutation(A.shape[0])
    return sp.csr_array(A[p][:, p])


def test_a_shuffled_grid_is_in_poor_order_until_it_is_renumbered():
    A = grid(30)
    assert not has_poor_order(A)
    poor = shuffled(A)
    assert has_poor_order(poor)
    better, order = renumbered(poor)
    assert not has_poor_order(better)
    assert (better != poor[order][:, order]).nnz == 0


def test_moments_are_those_of_the_given_order(kernels, monkeypatch):
    monkeypatch.setattr(_resident, "_LEAST_BLOCK", 0)
    A = shuffled(grid(30))
    V = np.random.default_rng(1).choice([-1.0, 1.0], (A.shape[0], 16))
    kept = V.copy()
    answers = []
    for least in (10**9, 0):
        monkeypatch.setattr(_resident, "_LEAST_PRODUCTS", least)
        op = spectra.aslinearoperator(A)
        answers.append(chebyshev_moments(op, V, 60, (-6.0, 6.0)))
        assert ("renumbered" in vars(op)) == (least == 0)
        assert op.matvecs == 16 * 30
        np.testing.assert_array_equal(V, kept)
    monkeypatch.setenv("SPECTRA_KERNELS", "0")
    answers.append(chebyshev_moments(spectra.aslinearoperator(A), V, 60, (-6.0, 6.0)))
    for found in answers[:2]:
        np.testing.assert_allclose(found, answers[2], atol=1e-11 * A.shape[0], rtol=0)


def test_only_a_symmetric_matrix_in_poor_order_is_renumbered():
    assert spectra.aslinearoperator(grid(30)).renumbered is None
    assert spectra.aslinearoperator(sp.csr_array(sp.triu(shuffled(grid(30))))).renumbered is None
    assert spectra.aslinearoperator(shuffled(grid(30))).renumbered is not None


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
    assert _kernels.csr_kernel("step", A, V) is None  # too little work
    monkeypatch.setattr(_kernels, "_LEAST_WORK", 0)
    assert _kernels.csr_kernel("step", A, V) is not None
    assert _kernels.csr_kernel("step", A.astype(complex), V) is None
    assert _kernels.csr_kernel("product", A, V) is not None
    monkeypatch.setenv("SPECTRA_KERNELS", "0")
    assert _kernels.csr_kernel("step", A, V) is None


def test_products_are_counted_and_blocks_of_any_layout_taken(kernels):
    A = matrix(60, np.float64)
    op = spectra.aslinearoperator(A)
    V = np.asfortranarray(np.random.default_rng(0).standard_normal((60, 9)))
    np.testing.assert_allclose(op @ V, A @ V, rtol=1e-12, atol=1e-12)
    op._step(V, None, 1.0, 0.0, 0.0)
    assert op.matvecs == 18


ELSEWHERE = """
import multiprocessing, sys, threading
import numpy as np, scipy.sparse as sp, spectra

A = sp.diags_array([-np.ones(99_999), np.full(100_000, 2.5), -np.ones(99_999)], offsets=[-1, 0, 1], format="csr")

def answer(seed):
    return spectra.logdet(A, method="slq", probes=8, steps=8, rng=seed).value

if __name__ == "__main__":
    expected, found = [answer(0), answer(1)], {}
    if sys.argv[1] == "fork":
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = dict(enumerate(pool.map_async(answer, [0, 1]).get(timeout=60)))
    else:
        threads = [threading.Thread(target=lambda i=i: found.update({i: answer(i)})) for i in (0, 1)]
        [thread.start() for thread in threads], [thread.join() for thread in threads]
    np.testing.assert_allclose([found[0], found[1]], expected, rtol=1e-12)
    print("agree")
"""


@pytest.mark.parametrize("where, layer", [("fork", "default"), ("threads", "workqueue")])
def test_kernels_serve_forked_children_and_many_threads(where, layer, tmp_path):
    """The threads of OpenMP do not survive a fork, and those of numba's own layer no second caller."""
    pytest.importorskip("numba")
    script = tmp_path / "elsewhere.py"
    script.write_text(ELSEWHERE)
    done = subprocess.run([sys.executable, "-W", "ignore", script, where], capture_output=True, text=True, timeout=120,
                          env=os.environ | {"NUMBA_THREADING_LAYER": layer}, check=False)
    assert done.stdout == "agree\n", done.stderr


def test_kernels_compile_where_nothing_can_be_kept(monkeypatch):
    """In a container without a home, installed by somebody else."""
    numba = pytest.importorskip("numba")
    real, tried = importlib.import_module, []

    def refusing(name):
        tried.append(name)
        if len(tried) == 1:
            raise RuntimeError("cannot cache function: no locator available")
        return real(name)

    monkeypatch.setattr(_kernels, "import_module", refusing)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    assert _kernels.load.__wrapped__("entries").survey
    assert len(tried) == 2 and os.access(numba.config.CACHE_DIR, os.W_OK)
