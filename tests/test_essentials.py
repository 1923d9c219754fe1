"""What a user of log-determinants and densities relies on, in one place: truth, honesty, one code path, no luck."""

import itertools
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from libraries import LIBRARIES

import spectra
from spectra._controls import controlled
from spectra.estimators._density import DENSITIES
from spectra.estimators._sum import METHODS
from spectra.krylov import BlockLanczosRun, LanczosRun
from spectra.krylov._quadrature import block_gauss, gauss, radau

STOCHASTIC = sorted(set(METHODS) - {"exact"})


def symmetric(eigenvalues, seed=0, dtype=np.float64):
    n = len(eigenvalues)
    Q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    A = (Q * np.asarray(eigenvalues)) @ Q.T
    return ((A + A.T) / 2).astype(dtype)


def quiet_logdet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spectra.ConvergenceWarning)
        return spectra.logdet(*args, **kwargs)


# Recurrences


def test_lanczos_satisfies_its_equation_and_its_basis_is_orthonormal():
    A, V = symmetric(np.geomspace(1e-6, 1e3, 60)), np.random.default_rng(1).standard_normal((60, 3))
    alpha, beta, Q = spectra.lanczos(A, V, 20, basis=True)
    for a, b, q in zip(alpha, beta, Q, strict=True):
        residual = A @ q - q @ (np.diag(a) + np.diag(b, 1) + np.diag(b, -1))
        np.testing.assert_allclose(q.T @ q, np.eye(20), atol=1e-13)
        np.testing.assert_allclose(residual[:, :-1], 0, atol=1e-9)


def test_quadrature_of_m_steps_is_exact_to_degree_2m_minus_1_and_no_further():
    lam = np.linspace(-1, 1.5, 30)
    A, v = symmetric(lam), np.random.default_rng(2).standard_normal((30, 2))
    run = LanczosRun(A, v)
    run.advance(4)
    nodes, weights = gauss(run.alpha, run.beta)
    truth = [np.einsum("ij,ij->j", v, np.linalg.matrix_power(A, k) @ v) / (v**2).sum(0) for k in range(9)]
    for k in range(8):
        np.testing.assert_allclose((weights * nodes**k).sum(1), truth[k], atol=1e-12)
    assert np.all(np.abs((weights * nodes**8).sum(1) - truth[8]) > 1e-6)


def test_gauss_is_above_and_radau_below_the_logarithm():
    lam = np.geomspace(0.01, 10, 50)
    A, v = symmetric(lam), np.random.default_rng(3).standard_normal((50, 4))
    truth = np.einsum("ij,ij->j", v, symmetric(np.log(lam)) @ v) / (v**2).sum(0)
    run = LanczosRun(A, v)
    run.advance(6)
    above, below = gauss(run.alpha, run.beta), radau(run.alpha, run.beta, 0.01)
    assert np.all((above[1] * np.log(above[0])).sum(1) > truth)
    assert np.all((below[1] * np.log(below[0])).sum(1) < truth)


def test_a_block_space_that_fills_up_is_the_matrix():
    lam = np.geomspace(1e-6, 1e3, 40)
    run = BlockLanczosRun(symmetric(lam), np.random.default_rng(4).standard_normal((40, 3)))
    run.advance(40)
    assert run.exact and run.dimension == 40
    np.testing.assert_allclose(np.linalg.eigvalsh(run.T), lam, atol=1e-10)


def test_block_quadrature_with_dependent_start_vectors():
    lam = np.linspace(1, 3, 20)
    A, v = symmetric(lam), np.random.default_rng(5).standard_normal((20, 2))
    V = np.concatenate([v, v @ [[1.0], [2.0]]], 1)
    run = BlockLanczosRun(A, V)
    run.advance(12)
    nodes, weights = block_gauss(run.T, run.R)
    truth = np.einsum("ij,ij->j", V, symmetric(np.log(lam)) @ V)
    np.testing.assert_allclose((weights * np.log(nodes)).sum(1), truth, rtol=1e-8)


@pytest.mark.parametrize("reorthogonalize", [True, False])
def test_a_saved_run_goes_on_to_the_same_digits(tmp_path, reorthogonalize):
    A, V = symmetric(np.linspace(0, 1, 40)), np.random.default_rng(6).standard_normal((40, 2))
    whole = LanczosRun(A, V, reorthogonalize=reorthogonalize)
    whole.advance(7)
    whole.save(tmp_path / "run.npz")
    whole.advance(8)
    resumed = LanczosRun.load(tmp_path / "run.npz", A)
    resumed.advance(8)
    assert np.array_equal(whole.alpha, resumed.alpha) and np.array_equal(whole.beta, resumed.beta)


# Log-determinants


@pytest.mark.parametrize("method", ["exact", "auto"])
@pytest.mark.parametrize("stored", [np.asarray, sp.csr_array])
def test_exact_is_the_factorisation(method, stored):
    A = symmetric(np.geomspace(1e-3, 1e3, 80))
    estimate = spectra.logdet(stored(A), method=method)
    assert estimate.method == "exact" and estimate.stderr == 0 and estimate.bias is None
    np.testing.assert_allclose(estimate.value, np.linalg.slogdet(A)[1], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("method", STOCHASTIC)
def test_intervals_hold_a_benign_log_determinant(method):
    lam = np.linspace(1, 5, 150)
    held = []
    for seed in range(20):
        lo, hi = quiet_logdet(symmetric(lam), method=method, probes=8, steps=14, rng=seed).interval()
        held.append(lo <= np.log(lam).sum() <= hi)
    assert sum(held) >= 17


@pytest.mark.parametrize("method", STOCHASTIC)
def test_log_determinants_scale(method):
    lam = np.geomspace(1, 30, 40)
    A, n = symmetric(lam), 40
    base = quiet_logdet(A, method=method, probes=6, steps=10, rng=1)
    for c in (1e-150, 3.0, 1e150):
        scaled = quiet_logdet(c * A, method=method, probes=6, steps=10, rng=1)
        np.testing.assert_allclose(scaled.value - n * np.log(c), base.value, rtol=1e-9)
        np.testing.assert_allclose(scaled.stderr, base.stderr, rtol=1e-5)


@pytest.mark.parametrize("method", STOCHASTIC)
def test_float32_at_the_ends_of_its_range(method):
    A = symmetric(np.geomspace(1, 30, 40), dtype=np.float32)
    base = quiet_logdet(A, method=method, probes=6, steps=10, rng=1, preconditioner="none").value
    for c in (np.float32(2.0**-50), np.float32(2.0**50)):
        scaled = quiet_logdet(c * A, method=method, probes=6, steps=10, rng=1, preconditioner="none").value
        np.testing.assert_allclose(scaled - 40 * np.log(float(c)), base, rtol=1e-4)


@pytest.mark.parametrize("method", [*METHODS, "auto"])
@pytest.mark.parametrize("eigenvalues", [[-1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0], [0.0] * 4, [-1.0] * 4])
def test_what_is_not_positive_definite_is_refused_by_name(method, eigenvalues):
    with pytest.raises(ValueError, match=r"logdet needs a positive definite operator|outside the support|psd"):
        quiet_logdet(symmetric(eigenvalues), method=method, probes=2, steps=4, rng=0)


@pytest.mark.parametrize("method", [*METHODS, "auto"])
@pytest.mark.parametrize("A", [np.eye(1), np.eye(2) * 3, np.eye(7), np.diag([1.0, 1.0, 5.0, 5.0])], ids=str)
def test_few_distinct_eigenvalues_end_the_recurrence_well(method, A):
    estimate = quiet_logdet(A, method=method, probes=4, steps=12, rng=0)
    lo, hi = estimate.interval()
    truth = np.linalg.slogdet(A)[1]
    assert np.isfinite(estimate.value) and lo - 1e-6 <= truth <= hi + 1e-6


@pytest.mark.parametrize("method", STOCHASTIC)
def test_products_are_counted_and_within_budget(method):
    class Counted(spectra.LinearOperator):
        hermitian = True

        def __init__(self, A):
            super().__init__(A.shape)
            self.A, self.count = A, 0

        def _matmat(self, V):
            self.count += V.shape[1]
            return self.A @ V

    for matvecs in (60, 150):
        op = Counted(symmetric(np.linspace(1, 3, 300)))
        estimate = quiet_logdet(op, method=method, matvecs=matvecs, rng=0)
        assert estimate.matvecs == op.count <= matvecs


@pytest.mark.parametrize("method", STOCHASTIC)
def test_one_seed_one_answer_on_every_library(method):
    A = symmetric(np.linspace(1, 4, 60))
    answers = [quiet_logdet(move(A), method=method, probes=4, steps=8, rng=3).value for move in LIBRARIES.values()]
    np.testing.assert_allclose(answers, answers[0], rtol=1e-9)


def test_memory_does_not_change_the_probes():
    A = symmetric(np.linspace(1, 4, 200))
    wide, narrow = (spectra.spectral_density(A, probes=9, steps=10, rng=0, memory=m) for m in (None, 40_000))
    np.testing.assert_allclose([x.mean() for x, _ in narrow.rules], [x.mean() for x, _ in wide.rules], rtol=1e-10)


def test_scaling_to_unit_diagonal_is_exact_and_can_be_declined():
    rng = np.random.default_rng(0)
    d = np.geomspace(1, 1e8, 60)
    A = symmetric(np.linspace(1, 2, 60)) * np.sqrt(d)[:, None] * np.sqrt(d)
    truth = np.linalg.slogdet(A)[1]
    with_it = quiet_logdet(A, method="slq", probes=8, steps=10, rng=rng)
    without = quiet_logdet(A, method="slq", probes=8, steps=10, rng=0, preconditioner="none")
    assert abs(with_it.value - truth) < 0.1 * abs(without.value - truth)


def test_complex_hermitian_operators():
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.standard_normal((40, 40)) + 1j * rng.standard_normal((40, 40)))
    A = (Q * np.linspace(1, 4, 40)) @ Q.conj().T
    A = (A + A.conj().T) / 2
    truth = np.log(np.linspace(1, 4, 40)).sum()
    for method in ("exact", *STOCHASTIC):
        lo, hi = quiet_logdet(A, method=method, probes=8, steps=12, rng=0).interval(0.999)
        assert lo - 1e-9 <= truth <= hi + 1e-9, method


def test_the_mean_over_all_sign_vectors_is_the_trace():
    lam = np.array([0.3, 1.0, 1.7, 2.5, 4.0, 7.0])
    A = symmetric(lam)
    V = np.array(list(itertools.product([-1.0, 1.0], repeat=6))).T
    run = LanczosRun(A, V)
    run.advance(6)
    nodes, weights = gauss(run.alpha, run.beta)
    values = 6 * (weights * np.log(nodes)).sum(1)
    F = symmetric(np.log(lam))
    np.testing.assert_allclose(values.mean(), np.log(lam).sum(), atol=1e-9)
    np.testing.assert_allclose(values.var(), 2 * ((F**2).sum() - (np.diag(F) ** 2).sum()), rtol=1e-8)


@pytest.mark.slow
def test_deflation_leaves_the_mean_and_lowers_the_spread():
    lam = np.geomspace(1e-4, 1, 60)
    A = symmetric(lam)
    plain, deflated = [], []
    for seed in range(400):
        rho = spectra.spectral_density(A, method="block-slq", probes=6, steps=7, rng=seed)
        samples = rho.size * np.array([(w * np.sqrt(np.abs(x))).sum() for x, w in rho.rules])
        plain.append(samples.mean())
        deflated.append(controlled(samples, rho._controls, lambda x: np.sqrt(np.abs(x))).mean())
    truth, error = np.sqrt(lam).sum(), np.std(deflated) / 20
    assert abs(np.mean(deflated) - truth) < 4 * error
    assert np.std(deflated) < 0.5 * np.std(plain)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["slq", "block-slq"])
@pytest.mark.parametrize("probes", [8, 16])
def test_coverage_on_a_spread_spectrum(method, probes):
    lam = np.random.default_rng(1).uniform(1, 20, 200)
    A, truth = symmetric(lam), np.log(lam).sum()
    held = 0
    for seed in range(200):
        lo, hi = quiet_logdet(A, method=method, probes=probes, steps=12, rng=seed).interval()
        held += lo <= truth <= hi
    assert held >= 182


def test_a_tolerance_is_met_or_a_warning_says_not():
    lam = np.linspace(1, 9, 800)
    estimate = spectra.logdet(symmetric(lam), method="slq", rtol=1e-2, rng=0)
    lo, hi = estimate.interval()
    assert hi - lo <= 2.1e-2 * estimate.value and lo <= np.log(lam).sum() <= hi
    with pytest.warns(spectra.ConvergenceWarning, match="rtol"):
        spectra.logdet(symmetric(np.geomspace(1e-8, 1, 400)), method="slq", rtol=1e-6, matvecs=200, rng=0)


# Densities


@pytest.mark.parametrize("method", sorted(DENSITIES))
def test_densities_have_mass_one_and_survive_the_disk(method, tmp_path):
    A = symmetric(np.linspace(-1, 2, 80))
    rho = spectra.spectral_density(A, method=method, steps=12, probes=4, rng=0)
    np.testing.assert_allclose(rho.weights.sum(), 1)
    np.testing.assert_allclose(rho.cdf([-5.0, 5.0]), [0, 1], atol=1e-9)
    assert abs(rho.expect(lambda x: x) - 0.5) < 0.2
    rho.save(tmp_path / "rho.npz")
    again = spectra.SpectralDensity.load(tmp_path / "rho.npz")
    assert again.sum(np.exp).value == rho.sum(np.exp).value and again.sum(np.exp).stderr == rho.sum(np.exp).stderr


def test_two_seeds_merge_into_twice_the_probes_and_one_seed_does_not():
    A = symmetric(np.linspace(1, 2, 50))
    first, second = (spectra.spectral_density(A, steps=8, probes=4, rng=seed) for seed in (0, 1))
    both = first.merge(second)
    assert both.probes == 8 and both.matvecs == first.matvecs + second.matvecs
    np.testing.assert_allclose(both.expect(np.log), (first.expect(np.log) + second.expect(np.log)) / 2)
    with pytest.raises(ValueError, match="seed"):
        first.merge(first)


def test_smoothing_adds_the_square_of_its_width_to_the_second_moment():
    rho = spectra.SpectralDensity([-1.0, 0.5, 2.0], [0.2, 0.5, 0.3], size=3)
    width = 0.3
    x = np.linspace(-6, 7, 40_001)
    second = np.trapezoid(x**2 * rho.pdf(x, width=width), x)
    np.testing.assert_allclose(second, rho.moment(2).value + width**2, rtol=1e-9)
    np.testing.assert_allclose(np.trapezoid(x * rho.pdf(x, width=width), x), rho.moment(1).value, rtol=1e-9)


def test_counts_carry_the_bracket_of_chebyshev_markov_and_stieltjes():
    lam = np.sort(np.random.default_rng(0).uniform(0, 1, 60))
    A = symmetric(lam)
    rho = spectra.spectral_density(A, steps=8, probes=64, rng=0)
    for a, b in ((0.2, 0.6), (-np.inf, 0.5), (0.3, np.inf)):
        lo, hi = rho.count(a, b).interval()
        assert lo <= np.sum((lam >= a) & (lam <= b)) <= hi
    np.testing.assert_allclose(rho.count(-np.inf, np.inf).value, 60)


# The door


class Broken(spectra.LinearOperator):
    hermitian = True
    shape = (30, 30)

    def __init__(self, product):
        self.product = product

    def _matmat(self, V):
        return self.product(V)


def _overwriting(V):
    V *= 2.0
    return V


NOISE = np.random.default_rng(0)


@pytest.mark.parametrize(("product", "message"), [
    (lambda V: np.abs(V), "not linear"),
    (lambda V: V + 0.1 * NOISE.standard_normal(V.shape), "not linear"),
    (lambda V: np.triu(np.ones((30, 30))) @ V, "claims to be Hermitian"),
    (lambda V: V * np.nan, "NaN or Inf"),
    (lambda V: V[:-1], "must return an array of shape"),
    (_overwriting, "writes to the block|overwrites"),
], ids=["non-linear", "noisy", "not symmetric", "nan", "shape", "writes"])
@pytest.mark.parametrize("estimator", [spectra.logdet, spectra.spectral_density, spectra.moments, spectra.trace])
def test_products_that_are_not_a_matrix_are_refused_by_name(estimator, product, message):
    arguments = {spectra.moments: (4,)}.get(estimator, ())
    if estimator is spectra.trace and message.startswith("claims"):
        message = "claims to be Hermitian"
    with pytest.raises(ValueError, match=message):
        estimator(Broken(product), *arguments, rng=0)


def test_an_operator_that_returns_its_input_is_the_identity():
    op = Broken(lambda V: V)
    assert abs(quiet_logdet(op, method="slq", probes=3, steps=4, rng=0).value) < 1e-12
    np.testing.assert_allclose(spectra.moments(op, 4, support=(0, 2), probes=2, rng=0).value, [1, 0, -1, 0, 1],
                               atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("stored", [np.asarray, sp.csr_array])
def test_entries_that_are_not_finite_stop_at_the_door(bad, stored):
    A = np.eye(4)
    A[1, 2] = A[2, 1] = bad
    with pytest.raises(ValueError, match="NaN or Inf"):
        spectra.logdet(stored(A))


@pytest.mark.parametrize("A", [np.ones((2, 3)), np.ones(4), np.ones((2, 2, 2)), np.zeros((0, 0)),
                               np.array([[1.0, 2.0], [0.0, 1.0]]), np.eye(2, dtype=object),
                               np.eye(2, dtype=np.longdouble)], ids=lambda A: f"{A.dtype}{A.shape}")
def test_matrices_that_have_no_log_determinant_here_are_refused(A):
    with pytest.raises((ValueError, TypeError), match=r"expected|needs"):
        spectra.logdet(A)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, bool, np.float16, np.float32])
def test_exact_conversions_are_made(dtype):
    A = (2 * np.eye(5)).astype(dtype)
    np.testing.assert_allclose(spectra.logdet(A).value, 5 * np.log(float(A[0, 0])), atol=1e-6)
    A.flags.writeable = False
    np.testing.assert_allclose(spectra.logdet(A[::-1, ::-1]).value, 5 * np.log(float(A[0, 0])), atol=1e-6)
