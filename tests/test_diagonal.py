"""Diagonals: exact cases, full enumeration, laws, budgets, backends, and the truth of the error bars."""

import warnings

import array_api_strict
import numpy as np
import pytest
import strategies
import truth
from hypothesis import given
from hypothesis import strategies as st
from truth import Opaque

from spectra.estimators import diagonal
from spectra.estimators._diagonal import METHODS
from spectra.estimators._sampling import Sampler
from spectra.operators import aslinearoperator

STOCHASTIC = [name for name in METHODS if name != "exact"]


def decaying(n: int, dtype: str = "float64") -> np.ndarray:
    """A Hermitian matrix whose eigenvalues decay, complex where the dtype is."""
    return strategies.from_spectrum(0.8 ** np.arange(n), complex_entries=dtype.startswith("complex")).A.astype(dtype)


def fed(method: str, A, blocks, total: int):
    """Value, standard error and number of samples of the method on given probes."""
    sampler = Sampler(aslinearoperator(A))
    blocks = iter(blocks)
    sampler.draw = lambda k: next(blocks)
    return METHODS[method](sampler, total)


# Enumeration


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_hutchinson_over_all_signs_has_the_mean_and_variance_of_the_formula(n, rng):
    A = rng.standard_normal((n, n))
    value, stderr, probes = fed("hutchinson", A, [truth.sign_vectors(n)], 2**n)
    assert np.allclose(value, np.diag(A), rtol=0, atol=1e-13)
    assert np.allclose(stderr**2 * (probes - 1), np.sum(A**2, 1) - np.diag(A) ** 2, rtol=1e-12, atol=1e-13)


def test_diagpp_over_all_signs_is_exact_whatever_its_basis(rng):
    A = rng.standard_normal((3, 3))
    V = truth.sign_vectors(3)[:, :4]  # v and -v have the same samples
    for Omega in truth.sign_matrices(3, 1):
        assert np.allclose(fed("diag++", A, [Omega, V], 6)[0], np.diag(A), atol=1e-13)


def test_diagpp_is_that_of_the_dense_matrices(rng):
    A = rng.standard_normal((9, 9)) + 1j * rng.standard_normal((9, 9))
    Omega, V = rng.choice([-1.0, 1.0], (9, 2)).astype(complex), rng.choice([-1.0, 1.0], (9, 5)).astype(complex)
    P = truth.projector(A @ Omega)
    samples = V * (A @ (np.eye(9) - P) @ V)
    value, stderr, _ = fed("diag++", A, [Omega, V], 9)
    assert np.allclose(value, np.diag(A @ P) + samples.mean(1), atol=1e-12)
    assert np.allclose(stderr, samples.std(1, ddof=1) / np.sqrt(5), rtol=1e-11)


# Exact cases


@given(strategies.hermitian(max_order=8))
def test_n_products_give_the_exact_diagonal(case):
    n = len(case.A)
    for method in ("auto", "exact", "diag++"):
        found = diagonal(Opaque(case.A, hermitian=True), method=method, matvecs=n + 3, rng=0)
        assert np.array_equal(found.value, np.diag(case.A).real)
        assert (found.seed, found.matvecs, found.value.dtype) == (None, n + 3, np.float64)
        assert not found.stderr.any()


def test_a_stored_diagonal_costs_nothing(rng):
    A = rng.standard_normal((100, 100))
    found = diagonal(A, matvecs=1)
    assert np.array_equal(found.value, np.diag(A))
    assert (found.matvecs, found.method) == (0, "exact")
    assert np.array_equal(found.interval()[0], found.value)


@pytest.mark.parametrize("method", STOCHASTIC)
def test_zero_and_diagonal_matrices(method):
    found = diagonal(np.zeros((40, 40)), method=method, matvecs=10, rng=0)
    assert not found.value.any() and not found.stderr.any()
    d = np.arange(40.0)
    exact = diagonal(Opaque(np.diag(d)), method="hutchinson", matvecs=10, rng=0)
    assert np.array_equal(exact.value, d) and not exact.stderr.any()


@pytest.mark.parametrize("rank", [0, 1, 2, 5])
def test_low_rank_is_exact_by_diagpp(rank):
    eigenvalues = np.zeros(60)
    eigenvalues[:rank] = np.arange(1, rank + 1)
    for complex_entries in (False, True):
        A = strategies.from_spectrum(eigenvalues, complex_entries=complex_entries).A
        found = diagonal(A, method="diag++", matvecs=40, rng=0)
        assert np.allclose(found.value, np.diag(A).real, atol=1e-13)
        assert found.stderr.max() < 1e-13


# Laws


@given(case=strategies.hermitian(min_order=8, max_order=20), c=st.floats(-5, 5), s=st.floats(-5, 5))
def test_scale_and_shift(case, c, s):
    n, bound = len(case.A), 1e-11 * len(case.A) * case.size
    for method in STOCHASTIC:
        plain = diagonal(Opaque(case.A, hermitian=True), method=method, matvecs=10, rng=1)
        scaled = diagonal(Opaque(c * case.A, hermitian=True), method=method, matvecs=10, rng=1)
        assert np.allclose(scaled.value, c * plain.value, rtol=0, atol=bound * max(abs(c), 1))
    plain = diagonal(Opaque(case.A, hermitian=True), method="hutchinson", matvecs=10, rng=1)
    shifted = diagonal(Opaque(case.A + s * np.eye(n), hermitian=True), method="hutchinson", matvecs=10, rng=1)
    assert np.allclose(shifted.value, plain.value + s, rtol=0, atol=bound + 1e-11 * abs(s))


@pytest.mark.parametrize("method", STOCHASTIC)
@pytest.mark.parametrize("dtype, factor", [("float64", 1e-150), ("float64", 1e150), ("float32", 1e-15),
                                           ("float32", 1e15), ("complex128", 1e-150)])
def test_nothing_but_the_scale_changes_with_the_scale(method, dtype, factor):
    A = decaying(40, dtype)
    plain = diagonal(A, method=method, matvecs=24, rng=5)
    scaled = diagonal(A * A.dtype.type(factor), method=method, matvecs=24, rng=5)
    tolerance = (1e-9 if np.finfo(dtype).eps < 1e-10 else 1e-4) * factor
    assert np.allclose(scaled.value, factor * plain.value, rtol=0, atol=tolerance)
    assert np.allclose(scaled.stderr, factor * plain.stderr, rtol=0, atol=tolerance)


# Budgets and seeds


@pytest.mark.parametrize("matvecs", [4, 5, 8, 9, 20, 33, 34, 64])
@pytest.mark.parametrize("method", [*STOCHASTIC, "auto"])
def test_never_more_products_than_allowed_and_all_are_counted(method, matvecs):
    op = Opaque(decaying(30))
    found = diagonal(op, method=method, matvecs=matvecs, rng=0)
    assert found.matvecs == op.columns_seen == op.matvecs <= matvecs


@pytest.mark.parametrize("method", METHODS)
def test_one_seed_one_answer(method):
    one, two = (diagonal(decaying(60), method=method, matvecs=20, rng=7) for _ in range(2))
    assert np.array_equal(one.value, two.value) and np.array_equal(one.stderr, two.stderr)
    if method != "exact":
        assert not np.array_equal(diagonal(decaying(60), method=method, matvecs=20, rng=8).value, one.value)


@pytest.mark.parametrize("method", STOCHASTIC)
def test_groups_do_not_change_the_answer(method):
    A = decaying(50)
    whole = diagonal(A, method=method, matvecs=30, rng=2)
    grouped = diagonal(A, method=method, matvecs=30, rng=2, memory=50 * 8 * 6 * 9)
    assert np.allclose(grouped.value, whole.value, rtol=0, atol=1e-14)
    assert np.allclose(grouped.stderr, whole.stderr, rtol=1e-10)


def test_a_single_probe_has_no_spread():
    found = diagonal(decaying(30), method="hutchinson", matvecs=1, rng=0)
    assert np.all(found.stderr == np.inf) and np.all(np.isfinite(found.value))


def test_auto_takes_what_its_budget_is_good_for(rng):
    general = rng.standard_normal((200, 200))
    assert diagonal(Opaque(decaying(200)), rng=0).method == "diag++"
    assert diagonal(Opaque(general), rng=0).method == "hutchinson"
    assert diagonal(Opaque(decaying(200)), matvecs=8, rng=0).method == "hutchinson"
    assert diagonal(Opaque(general), matvecs=203).method == "exact"


def test_progress_reaches_the_number_of_products():
    for method, products in (("exact", 30), ("hutchinson", 20), ("diag++", 20)):
        seen = []
        diagonal(Opaque(decaying(30)), method=method, matvecs=products + 3, rng=0,
                 progress=lambda *pair, seen=seen: seen.append(pair))
        assert seen[-1] == (products, products)


# Backends


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("library", ["torch", "strict"])
@pytest.mark.parametrize("method", METHODS)
def test_every_backend_gives_the_same_answer(method, library, dtype):
    asarray = array_api_strict.asarray if library == "strict" else pytest.importorskip("torch").asarray
    A = decaying(30, dtype)
    there, here = (diagonal(Opaque(X), method=method, matvecs=33 if method == "exact" else 24, rng=1)
                   for X in (asarray(A), A))
    tolerance = 1e-12 if np.finfo(dtype).eps < 1e-10 else 1e-5
    assert np.allclose(there.value, here.value, rtol=0, atol=tolerance)
    assert np.allclose(there.stderr, here.stderr, rtol=0, atol=tolerance)
    assert there.value.dtype == np.float64


@pytest.mark.parametrize("method", METHODS)
def test_a_complex_matrix_that_is_not_hermitian_has_a_complex_diagonal(method, rng):
    A = rng.standard_normal((40, 40)) + 1j * rng.standard_normal((40, 40))
    found = diagonal(Opaque(A), method=method, matvecs=43 if method == "exact" else 36, rng=0)
    assert found.value.dtype == np.complex128
    assert np.all(np.abs(found.value - np.diag(A)) <= 6 * found.stderr)


# Errors


@pytest.mark.parametrize("method", METHODS)
def test_nan_from_a_product_is_named(method):
    op = Opaque(decaying(40), hermitian=True, spoil_after=3)
    with pytest.raises(ValueError, match=r"product \d+ with ndarray returned NaN or Inf"):
        diagonal(op, method=method, matvecs=43 if method == "exact" else 30, rng=0)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="method of diagonal must be"):
        diagonal(np.eye(3), method="bekas")
    with pytest.raises(ValueError, match="positive integer"):
        diagonal(np.eye(3), matvecs=-1)
    with pytest.raises(ValueError, match="square"):
        diagonal(np.ones((3, 4)))
    with pytest.raises(ValueError, match="takes 30 products, but 17 are left"):
        diagonal(Opaque(decaying(30)), method="exact", matvecs=20)


def test_a_stored_diagonal_must_be_one():
    class Lying(Opaque):
        def diagonal(self):
            return np.full(30, np.nan)

    with pytest.raises(ValueError, match=r"diagonal\(\) must return 30 finite numbers"):
        diagonal(Lying(decaying(30)))


# The truth of the error bars


@pytest.mark.parametrize("method", STOCHASTIC)
def test_errors_are_as_large_as_claimed(method):
    # A mean over entries and seeds; single entries are not normal, so intervals are not asked to cover exactly.
    A = strategies.from_spectrum(np.linspace(1, 3, 60)).A
    found = [diagonal(A, method=method, matvecs=48, rng=seed) for seed in range(20)]
    errors = np.array([e.value - np.diag(A) for e in found])
    stderr = np.array([e.stderr for e in found])
    assert np.mean(errors**2) == pytest.approx(np.mean(stderr**2), rel=0.15)
    inside = np.mean([(low <= np.diag(A)) & (np.diag(A) <= high) for low, high in (e.interval() for e in found)])
    assert 0.92 <= inside <= 0.98


def test_diagpp_is_far_better_where_eigenvalues_decay():
    A = strategies.from_spectrum(0.7 ** np.arange(100.0)).A
    with warnings.catch_warnings(action="error"):
        plain, better = (diagonal(A, method=method, matvecs=48, rng=0) for method in ("hutchinson", "diag++"))
    assert np.linalg.norm(better.value - np.diag(A)) < 0.05 * np.linalg.norm(plain.value - np.diag(A))
