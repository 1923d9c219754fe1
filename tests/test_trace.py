"""Traces: exact cases, full enumeration, naive versions, laws, budgets, backends, and the truth of the error bars."""

import warnings

import array_api_strict
import numpy as np
import pytest
import strategies
import truth
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit
from truth import Opaque

import spectra
from spectra.estimators import trace
from spectra.estimators._sampling import PROBES, Sampler
from spectra.estimators._trace import METHODS
from spectra.operators import aslinearoperator

STOCHASTIC = [name for name in METHODS if name != "exact"]
WITH_BASIS = [name for name in STOCHASTIC if name != "hutchinson"]
NAIVE = {"xtrace": truth.xtrace_sample, "xnystrace": truth.xnystrace_sample}


def kernel_matrix(n: int, dtype=float) -> np.ndarray:
    """A semi-definite matrix whose eigenvalues decay like 1/i."""
    return strategies.from_spectrum(1 / np.arange(1.0, n + 1)).A.astype(dtype)


def fed(method: str, A, blocks, total: int, probe: str = "rademacher"):
    """The method on given probes instead of random ones."""
    sampler = Sampler(aslinearoperator(A), probe=probe)
    blocks = iter(blocks)
    sampler.draw = lambda k: next(blocks)
    return next(METHODS[method](sampler, [total]))


def quietly(*args, **kwargs):
    """`trace` without its warnings, for cases that are about something else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spectra.ConvergenceWarning)
        return trace(*args, **kwargs)


# Enumeration


@pytest.mark.parametrize("n", [1, 2, 5, 10])
def test_hutchinson_over_all_signs_has_the_mean_and_variance_of_the_formula(n, rng):
    A = rng.standard_normal((n, n))
    A = A + A.T
    found = fed("hutchinson", A, [truth.sign_vectors(n)], 2**n)
    assert found.value == pytest.approx(np.trace(A), rel=1e-12, abs=1e-12)
    variance = found.stderr**2 * (found.probes - 1)
    assert variance == pytest.approx(2 * (np.sum(A**2) - np.sum(np.diag(A) ** 2)), rel=1e-12, abs=1e-12)


def test_hutchinson_over_all_signs_is_right_for_any_square_matrix(rng):
    A = rng.standard_normal((6, 6)) + 1j * rng.standard_normal((6, 6))
    found = fed("hutchinson", A, [truth.sign_vectors(6)], 64)
    assert found.value == pytest.approx(np.trace(A), rel=1e-12)


def test_hutchpp_over_all_signs_is_exact_whatever_its_basis(rng):
    A = rng.standard_normal((3, 3))
    G = truth.sign_vectors(3)[:, :4]  # v and -v have the same form
    for Omega in truth.sign_matrices(3, 1):
        assert fed("hutch++", A, [Omega, G], 6).value == pytest.approx(np.trace(A), rel=1e-12)


@pytest.mark.parametrize("n, k", [(3, 1), (3, 2), (4, 2), (3, 3)])
@pytest.mark.parametrize("method", ["xtrace", "xnystrace"])
def test_leave_one_out_over_all_sign_matrices_is_unbiased(method, n, k, rng):
    A = rng.standard_normal((n, n))
    A = A @ A.T if method == "xnystrace" else A
    total = 2 * k if method == "xtrace" else k
    values = [fed(method, A, [Omega], total).value for Omega in truth.sign_matrices(n, k)]
    assert np.mean(values) == pytest.approx(np.trace(A), rel=1e-11)


# The naive versions


@pytest.mark.parametrize("probe", ["sphere", "rademacher"])
@pytest.mark.parametrize("method, kind", [("xtrace", "real"), ("xtrace", "complex"), ("xtrace", "general"),
                                          ("xnystrace", "real"), ("xnystrace", "complex")])
def test_leave_one_out_is_that_of_the_dense_matrices(method, kind, probe, rng):
    case = strategies.from_spectrum(0.6 ** np.arange(12.0), complex_entries=kind != "real")
    A = case.A
    if kind == "general":
        A = A + 0.3 * rng.standard_normal(A.shape)
    Omega = PROBES[probe](np.random.default_rng(4), 12, 5, None, A.dtype)
    found = fed(method, A, [Omega], 10 if method == "xtrace" else 5, probe)
    naive = NAIVE[method], A, Omega, probe == "sphere"
    assert found.value == pytest.approx(truth.leave_one_out(*naive).mean(), rel=1e-9)
    assert found.stderr == pytest.approx(truth.leave_one_out_error(*naive), rel=1e-7)


@pytest.mark.parametrize("probe", PROBES)
def test_hutchinson_is_the_mean_of_quadratic_forms(probe):
    A = kernel_matrix(20)
    found = quietly(A, method="hutchinson", matvecs=9, probe=probe, rng=3)
    forms = truth.quadratic_forms(A, PROBES[probe](np.random.default_rng(3), 20, 9, None, np.dtype(float)))
    assert found.value == pytest.approx(forms.mean(), rel=1e-13)
    assert found.stderr == pytest.approx(forms.std(ddof=1) / 3, rel=1e-12)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("probe", ["gaussian", "sphere"])
def test_variance_of_gaussian_and_spherical_probes_is_that_of_the_formula(probe, seed):
    n, k = 12, 4000
    A = strategies.from_spectrum(np.linspace(-1, 2, n), seed=seed).A
    square, trace_of_A = np.sum(A**2), np.trace(A)
    variance = 2 * square if probe == "gaussian" else 2 * n / (n + 2) * (square - trace_of_A**2 / n)
    found = quietly(A, method="hutchinson", matvecs=k, probe=probe, rng=seed)
    assert abs(found.value - trace_of_A) < 4 * np.sqrt(variance / k)
    # The kurtosis of these forms is below 6, and so the relative error of their sample variance below sqrt(5 / k).
    assert abs(found.stderr**2 * k / variance - 1) < 4 * np.sqrt(5 / k)


def test_unit_length_of_probes_on_the_sphere():
    for dtype in (np.dtype(float), np.dtype(complex)):
        V = PROBES["sphere"](np.random.default_rng(0), 30, 4, None, dtype)
        assert np.linalg.norm(V, axis=0) == pytest.approx(np.sqrt(30), rel=1e-14)


# Exact cases


@given(strategies.hermitian(min_order=1, max_order=8))
def test_n_products_give_the_exact_trace(case):
    n = len(case.A)
    for method in ("auto", "exact", "hutch++", "xtrace"):
        found = trace(Opaque(case.A, hermitian=True), method=method, matvecs=n + 3, rng=0)
        assert found.value == pytest.approx(case.eigenvalues.sum(), abs=1e-14 * n * case.size)
        assert (found.stderr, found.seed, found.matvecs) == (0, None, n + 3)
        assert isinstance(found.value, float)


@given(strategies.semidefinite(min_order=1, max_order=8))
def test_n_products_give_the_exact_trace_by_nystrom(case):
    n = len(case.A)
    found = trace(Opaque(case.A, hermitian=True), method="xnystrace", matvecs=n + 3, rng=0)
    assert found.value == pytest.approx(case.eigenvalues.sum(), abs=1e-14 * n * case.size)
    assert found.stderr == 0


@pytest.mark.parametrize("rank", [0, 1, 2, 5])
@pytest.mark.parametrize("method", WITH_BASIS)
def test_low_rank_is_exact(method, rank):
    eigenvalues = np.zeros(60)
    eigenvalues[:rank] = np.arange(1, rank + 1)
    for complex_entries in (False, True):
        A = strategies.from_spectrum(eigenvalues, complex_entries=complex_entries).A
        found = trace(A, method=method, matvecs=40, rng=0)
        assert found.value == pytest.approx(eigenvalues.sum(), abs=1e-12)
        assert found.stderr < 1e-12
        assert isinstance(found.value, float)


@pytest.mark.parametrize("n", [1, 2, 3, 50])
@pytest.mark.parametrize("method", METHODS)
def test_identity_is_exact(method, n):
    found = trace(Opaque(np.eye(n)), method=method, matvecs=max(n + 3, 20), rng=0)
    assert found.value == pytest.approx(n, rel=1e-13)
    assert found.stderr < 1e-13 * n


@pytest.mark.parametrize("matvecs", [2, 3, 7, 20])
@pytest.mark.parametrize("method", STOCHASTIC)
def test_zero_matrix_is_exact_or_says_that_it_cannot_tell(method, matvecs):
    found = trace(np.zeros((30, 30)), method=method, matvecs=matvecs, rng=0)
    assert found.value == 0
    assert found.stderr == (np.inf if found.probes == 1 else 0)


def test_a_diagonal_matrix_has_no_variance_under_signs(rng):
    d = rng.standard_normal(40)
    found = trace(Opaque(np.diag(d)), method="hutchinson", matvecs=12, rng=0)
    assert found.value == pytest.approx(d.sum(), rel=1e-13)
    assert found.stderr < 1e-14


def test_a_stored_diagonal_costs_nothing(rng):
    A = rng.standard_normal((200, 200))
    for method in ("auto", "exact"):
        found = trace(A, method=method, matvecs=1)
        assert (found.value, found.stderr, found.matvecs, found.method) == (np.diag(A).sum(), 0, 0, "exact")
        assert found.interval() == (found.value, found.value)


@pytest.mark.parametrize("method", WITH_BASIS)
def test_numerically_low_rank_is_exact_to_rounding(method):
    A = strategies.from_spectrum(0.3 ** np.arange(120.0)).A
    found = trace(A, method=method, matvecs=100, rng=0)
    assert abs(found.value - np.trace(A)) < 1e-13 * 120
    assert found.stderr < 1e-13 * 120


# Laws


@given(case=strategies.hermitian(min_order=8, max_order=20), c=st.floats(-5, 5), s=st.floats(-5, 5))
def test_scale_and_shift(case, c, s):
    n = len(case.A)
    for method in ("hutchinson", "hutch++", "xtrace"):
        plain = quietly(Opaque(case.A, hermitian=True), method=method, matvecs=10, rng=1)
        scaled = quietly(Opaque(c * case.A, hermitian=True), method=method, matvecs=10, rng=1)
        bound = 1e-11 * n * case.size
        assert abs(scaled.value - c * plain.value) <= bound * max(abs(c), 1)
        # The basis of a shifted matrix is another one, so only what has no variance is the same for every method.
        if method == "hutchinson":
            shifted = quietly(Opaque(case.A + s * np.eye(n), hermitian=True), method=method, matvecs=10, rng=1)
            assert abs(shifted.value - plain.value - s * n) <= bound + 1e-11 * n * abs(s)


@pytest.mark.parametrize("method", STOCHASTIC)
@pytest.mark.parametrize("dtype, factor", [("float64", 1e-150), ("float64", 1e150), ("float64", 1e-290),
                                           ("float32", 1e-15), ("float32", 1e15), ("complex128", 1e150),
                                           ("complex64", 1e-15)])
def test_nothing_but_the_scale_changes_with_the_scale(method, dtype, factor):
    A = strategies.from_spectrum(0.9 ** np.arange(40.0), complex_entries=dtype.startswith("complex")).A.astype(dtype)
    plain = quietly(A, method=method, matvecs=24, rng=5)
    scaled = quietly(A * A.dtype.type(factor), method=method, matvecs=24, rng=5)
    tolerance = 1e-9 if dtype in ("float64", "complex128") else 1e-4
    assert scaled.value == pytest.approx(factor * plain.value, rel=tolerance, abs=0)
    assert scaled.stderr == pytest.approx(factor * plain.stderr, rel=30 * tolerance, abs=0)


@given(st.data())
def test_a_signed_permutation_permutes_the_samples_of_all_signs(data):
    case = data.draw(strategies.hermitian(min_order=2, max_order=6))
    n = len(case.A)
    S = data.draw(strategies.signed_permutations(n))
    plain, moved = (np.sort(truth.quadratic_forms(A, truth.sign_vectors(n)).real)
                    for A in (case.A, S.T @ case.A @ S))
    assert np.allclose(plain, moved, atol=1e-12 * n * case.size)
    found = quietly(Opaque(S.T @ case.A @ S, hermitian=True), method="exact")
    assert found.value == pytest.approx(case.eigenvalues.sum(), abs=1e-13 * n * case.size)


@given(strategies.hermitian(max_order=6), strategies.hermitian(max_order=6))
def test_block_diagonal_matrices_add_their_traces(one, two):
    n, m = len(one.A), len(two.A)
    A = np.block([[one.A, np.zeros((n, m))], [np.zeros((m, n)), two.A]])
    found = trace(Opaque(A, hermitian=True), matvecs=n + m + 3)
    assert found.value == pytest.approx(np.trace(one.A).real + np.trace(two.A).real, abs=1e-12 * (one.size + two.size))


@pytest.mark.parametrize("method", WITH_BASIS)
def test_a_small_perturbation_of_the_identity_has_a_small_variance(method):
    A = np.eye(80) + 1e-6 * kernel_matrix(80)
    found = quietly(A, method=method, matvecs=20, rng=0)
    assert abs(found.value - np.trace(A)) < 1e-5
    assert 1e-9 < found.stderr < 1e-5


# Budgets and seeds


@pytest.mark.parametrize("matvecs", [5, 6, 7, 8, 11, 20, 33, 34, 64])
@pytest.mark.parametrize("method", [*STOCHASTIC, "auto"])
def test_never_more_products_than_allowed_and_all_are_counted(method, matvecs):
    op = Opaque(kernel_matrix(30))
    found = quietly(op, method=method, matvecs=matvecs, rng=0)
    assert found.matvecs == op.columns_seen == op.matvecs <= matvecs
    again = quietly(op, method=method, matvecs=matvecs, rng=0)
    assert found.matvecs + again.matvecs == op.columns_seen


@pytest.mark.parametrize("method", [*STOCHASTIC, "auto"])
@pytest.mark.parametrize("matvecs", [30, 100, 400])
def test_a_tolerance_stays_within_the_budget_too(method, matvecs):
    op = Opaque(kernel_matrix(500))
    found = quietly(op, method=method, matvecs=matvecs, rtol=1e-4, rng=0)
    assert found.matvecs == op.columns_seen <= matvecs


@pytest.mark.parametrize("method", METHODS)
def test_one_seed_one_answer(method):
    A = kernel_matrix(60)
    one, two = (quietly(A, method=method, matvecs=20, rng=7) for _ in range(2))
    assert one == two
    if method != "exact":
        other = quietly(A, method=method, matvecs=20, rng=8)
        assert other.value != one.value
        drawn = quietly(A, method=method, matvecs=20)
        assert quietly(A, method=method, matvecs=20, rng=drawn.seed).value == drawn.value
        from_generator = quietly(A, method=method, matvecs=20, rng=np.random.default_rng(1))
        assert quietly(A, method=method, matvecs=20, rng=from_generator.seed).value == from_generator.value


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
def test_groups_do_not_change_the_probes(method, dtype, probe):
    A = kernel_matrix(50, dtype)
    whole = quietly(A, method=method, matvecs=30, probe=probe, rng=2)
    held = 50 * A.itemsize * 6 * 10  # ten vectors at a time: the basis of Hutch++ just fits
    assert quietly(A, method=method, matvecs=30, probe=probe, rng=2, memory=held).value == pytest.approx(
        whole.value, rel=1e-12)


@pytest.mark.parametrize("vectors", [1, 3, 7, 100])
def test_the_exact_trace_is_exact_in_groups(vectors):
    A = kernel_matrix(50)
    found = trace(Opaque(A), method="exact", memory=50 * 8 * 4 * vectors)
    assert found.value == pytest.approx(np.trace(A), rel=1e-14)


def test_the_basis_of_hutchpp_is_no_larger_than_memory_allows():
    A = kernel_matrix(100)
    found = quietly(A, method="hutch++", matvecs=62, rng=0, memory=100 * 8 * 6 * 4)
    assert (found.basis, found.probes, found.matvecs) == (4, 54, 62)


def test_progress_reaches_the_number_of_products():
    for method in METHODS:
        seen, products = [], 40 if method == "exact" else 36
        quietly(Opaque(kernel_matrix(40)), method=method, matvecs=products + 3, rng=0,
                progress=lambda *pair, seen=seen: seen.append(pair))
        assert seen[-1] == (products, products)


# Backends


def in_library(name: str, A):
    if name == "torch":
        return pytest.importorskip("torch").asarray(A)
    return array_api_strict.asarray(A)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("library", ["torch", "strict"])
@pytest.mark.parametrize("method", METHODS)
def test_every_backend_gives_the_same_answer(method, library, dtype):
    A = strategies.from_spectrum(0.9 ** np.arange(30.0), complex_entries=dtype.startswith("complex")).A.astype(dtype)
    there = quietly(Opaque(in_library(library, A)), method=method, matvecs=33 if method == "exact" else 24, rng=1)
    here = quietly(Opaque(A), method=method, matvecs=33 if method == "exact" else 24, rng=1)
    tolerance = 1e-11 if np.finfo(dtype).eps < 1e-10 else 1e-4
    assert there.value == pytest.approx(here.value, rel=tolerance)
    assert there.stderr == pytest.approx(here.stderr, rel=30 * tolerance, abs=1e-6 * tolerance)
    assert type(there.value) is type(there.stderr) is float


def test_read_only_matrices_and_sparse_ones(rng):
    from scipy import sparse

    A = kernel_matrix(40)
    A.flags.writeable = False
    dense = trace(A, method="xtrace", matvecs=20, rng=0)
    assert trace(sparse.csr_array(A), method="xtrace", matvecs=20, rng=0).value == pytest.approx(dense.value, rel=1e-12)
    assert trace(sparse.csr_array(A)).value == pytest.approx(np.trace(A), rel=1e-14)


@pytest.mark.parametrize("method", ["hutchinson", "hutch++", "xtrace", "exact"])
def test_a_complex_matrix_that_is_not_hermitian_has_a_complex_trace(method, rng):
    A = rng.standard_normal((40, 40)) + 1j * rng.standard_normal((40, 40)) + 10j * np.eye(40)
    found = trace(Opaque(A), method=method, matvecs=43 if method == "exact" else 36, rng=0)
    assert isinstance(found.value, complex)
    assert abs(found.value - np.trace(A)) < 5 * found.stderr + 1e-12 * 400


# Tolerances


@pytest.mark.parametrize("method", [*STOCHASTIC, "auto"])
def test_a_tolerance_is_reached(method):
    A = kernel_matrix(400) + 0.05 * np.eye(400)
    found = quietly(Opaque(A, hermitian=True), method=method, rtol=0.02, rng=0)
    assert found.half_width() <= 0.02 * abs(found.value)
    assert abs(found.value - np.trace(A)) < 0.03 * np.trace(A)
    assert found.matvecs < (400 if method != "hutchinson" else 2000)


@pytest.mark.parametrize("method", WITH_BASIS)
def test_a_tolerance_beyond_probes_buys_the_exact_answer(method):
    A = kernel_matrix(60)
    found = trace(Opaque(A, hermitian=True), method=method, rtol=1e-9, rng=0)
    assert found.value == pytest.approx(np.trace(A), rel=1e-13)
    assert found.stderr == 0


@pytest.mark.parametrize("method", STOCHASTIC)
def test_a_tolerance_not_reached_is_said(method):
    with pytest.warns(spectra.ConvergenceWarning, match=r"relative tolerance of .* at 95 %, not rtol=1e-09"):
        trace(Opaque(strategies.from_spectrum(np.linspace(1, 2, 300)).A), method=method, rtol=1e-9, matvecs=60, rng=0)


@pytest.mark.parametrize("method", WITH_BASIS)
def test_an_exact_answer_that_the_budget_does_not_buy_is_not_begun(method):
    op = Opaque(strategies.from_spectrum(np.linspace(1, 2, 100)).A, hermitian=True)
    with pytest.warns(spectra.ConvergenceWarning, match="relative tolerance"):
        found = trace(op, method=method, rtol=1e-9, matvecs=150, rng=0)
    assert 96 <= found.matvecs == op.columns_seen <= 103
    assert found.stderr > 0


def test_hutchpp_stops_growing_its_basis_where_that_does_not_pay():
    flat = Opaque(strategies.from_spectrum(np.linspace(1, 2, 400)).A, hermitian=True)
    decaying = Opaque(strategies.from_spectrum(0.9 ** np.arange(400.0)).A, hermitian=True)
    with pytest.warns(spectra.ConvergenceWarning, match="tolerance"):
        assert trace(flat, method="hutch++", rtol=1e-6, matvecs=300, rng=0).basis == 14
    with pytest.warns(spectra.ConvergenceWarning, match="tolerance"):
        assert trace(decaying, method="hutch++", rtol=1e-12, matvecs=300, rng=0).basis > 50


# Warnings


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("eigenvalues", [[100.0], [3.0, 3.0], [8.0, 1.0]])
def test_few_eigenvalues_behind_the_spread_are_said(eigenvalues, seed):
    A = strategies.from_spectrum(np.concatenate([eigenvalues, np.full(198, 1e-3)])).A
    with pytest.warns(spectra.ConvergenceWarning, match="eigenvalues are behind the spread"):
        found = trace(A, method="hutchinson", matvecs=16, rng=seed)
    assert found.effective_rank == pytest.approx(np.sum(np.square(eigenvalues)) ** 2 / np.sum(
        np.power(eigenvalues, 4.0)), rel=0.5)


def test_enough_probes_outweigh_few_eigenvalues():
    found = trace(strategies.from_spectrum(np.r_[1.0, np.zeros(99)]).A, method="hutchinson", matvecs=128, rng=0)
    assert found.effective_rank < 1.5


@pytest.mark.parametrize("seed", range(5))
def test_what_is_only_rounding_is_no_reason_to_warn(seed):
    A = strategies.from_spectrum(np.r_[np.ones(2), np.zeros(98)]).A
    assert "effective_rank" not in trace(A, method="hutch++", matvecs=40, rng=seed).details


@pytest.mark.parametrize("seed", range(5))
def test_a_multiple_of_the_identity_does_not_hide_them(seed):
    A = strategies.from_spectrum(np.concatenate([[15.0], np.full(199, 5.0)])).A
    with pytest.warns(spectra.ConvergenceWarning, match="eigenvalues are behind the spread"):
        trace(A, method="hutchinson", matvecs=16, rng=seed)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("method", STOCHASTIC)
def test_nothing_is_said_where_many_eigenvalues_are(method, seed):
    trace(strategies.from_spectrum(np.linspace(1, 3, 100)).A, method=method, matvecs=24, rng=seed)
    trace(np.diag(np.r_[1e3, np.ones(99)]) + 1e-3 * kernel_matrix(100), method="hutchinson", matvecs=24, rng=seed)


# Errors


@pytest.mark.parametrize("method", METHODS)
def test_nan_from_a_product_is_named(method):
    op = Opaque(kernel_matrix(40), hermitian=True, spoil_after=3)
    with pytest.raises(ValueError, match=r"product \d+ with ndarray returned NaN or Inf"):
        trace(op, method=method, matvecs=43 if method == "exact" else 30, rng=0)


def test_negative_eigenvalues_are_found_by_nystrom():
    A = strategies.from_spectrum(np.r_[-3.0, np.linspace(1, 2, 49)]).A
    with pytest.raises(ValueError, match=r"positive semi-definite.*Rayleigh quotient of -.*xtrace.*shift"):
        trace(A, method="xnystrace", matvecs=40, rng=0)


@pytest.mark.parametrize("wrong, match", [
    ({"method": "hutch"}, "method of trace must be"),
    ({"matvecs": 0}, "positive integer"),
    ({"matvecs": 2.5}, "positive integer"),
    ({"rtol": 0.0}, "rtol must lie"),
    ({"rtol": np.nan}, "rtol must lie"),
    ({"probe": "normal"}, "probe must be"),
    ({"rng": -1}, "rng must be"),
    ({"method": "xtrace", "matvecs": 1}, "at least 2 products"),
    ({"method": "xtrace", "matvecs": 20, "memory": 1000}, "memory=1000 bytes"),
])
def test_wrong_arguments_are_named(wrong, match):
    with pytest.raises(ValueError, match=match):
        trace(kernel_matrix(30), **wrong)


def test_wrong_matrices_are_named(rng):
    with pytest.raises(ValueError, match="square"):
        trace(np.ones((3, 4)))
    with pytest.raises(ValueError, match="Hermitian"):
        trace(rng.standard_normal((30, 30)), method="xnystrace")
    with pytest.raises(ValueError, match="check=False"):
        trace(Opaque(np.eye(5)), matvecs=3)
    with pytest.raises(ValueError, match="takes 30 products, but 17 are left"):
        trace(Opaque(kernel_matrix(30)), method="exact", matvecs=20)


# What "auto" chooses


def test_auto_takes_what_its_budget_is_good_for():
    A = kernel_matrix(200)
    known = aslinearoperator(A, psd=True)
    assert trace(Opaque(A), matvecs=8, rng=0).method == "hutchinson"
    assert trace(Opaque(A), rng=0).method == "xtrace"
    assert trace(Opaque(A), rng=0, memory=200_000).method == "hutch++"
    assert trace(Opaque(A), matvecs=203).method == "exact"
    claimed = Opaque(A, hermitian=True)
    claimed.psd = known.psd
    assert trace(claimed, rng=0).method == "xnystrace"


# The truth of the error bars

SPREAD = {"flat": np.linspace(3, 1, 200), "uniform": np.random.default_rng(1).uniform(0, 1, 200),
          "slow": 0.97 ** np.arange(200.0), "normal": np.random.default_rng(1).standard_normal(200)}


def coverage(eigenvalues, method: str, matvecs: int, repeats: int = 400, **options):
    """Share of 95 % intervals that hold the trace, and true over claimed error."""
    op = Opaque(strategies.from_spectrum(eigenvalues).A, hermitian=True)
    found = [quietly(op, method=method, matvecs=matvecs, rng=seed, check=False, **options) for seed in range(repeats)]
    errors = np.array([e.value for e in found]) - np.sum(eigenvalues)
    inside = np.mean(np.abs(errors) <= [e.half_width() for e in found])
    return inside, np.sqrt(np.mean(errors**2) / np.mean([e.stderr**2 for e in found]))


@pytest.mark.slow
@pytest.mark.parametrize("spectrum, method, matvecs", [
    (spectrum, method, matvecs) for spectrum in SPREAD for method, matvecs in (
        ("hutchinson", 16), ("hutchinson", 32), ("hutch++", 48), ("xtrace", 32), ("xtrace", 64), ("xnystrace", 16),
        ("xnystrace", 32)) if method != "xnystrace" or SPREAD[spectrum].min() > 0])
def test_intervals_cover_what_they_say(spectrum, method, matvecs):
    inside, ratio = coverage(SPREAD[spectrum], method, matvecs)
    assert 0.91 <= inside <= 0.98
    assert 0.85 <= ratio <= 1.15


@pytest.mark.slow
@pytest.mark.parametrize("method", ["xtrace", "xnystrace"])
@pytest.mark.parametrize("decay", [1 / np.arange(1.0, 201), 1 / np.arange(1.0, 201) ** 2, 0.9 ** np.arange(200.0)],
                         ids=["harmonic", "quadratic", "geometric"])
def test_leave_one_out_errors_hold_where_eigenvalues_decay(method, decay):
    inside, ratio = coverage(decay, method, 32)
    assert 0.91 <= inside <= 0.985
    assert ratio <= 1.1


@pytest.mark.slow
def test_intervals_of_a_rank_one_matrix_cover_less_which_is_why_there_is_a_warning():
    inside, _ = coverage(np.r_[1.0, np.zeros(199)], "hutchinson", 16)
    assert inside < 0.92


@pytest.mark.slow
@pytest.mark.parametrize("method", ["hutchinson", "hutch++", "xtrace"])
def test_stopping_at_a_tolerance_keeps_the_coverage(method):
    inside, _ = coverage(SPREAD["slow"], method, 150, rtol=0.05)
    assert inside >= 0.91


def test_a_normal_quantile_would_be_too_short():
    found = trace(kernel_matrix(100), method="xtrace", matvecs=16, rng=0)
    assert found.half_width() == pytest.approx(stdtrit(7, 0.975) * found.stderr)
