"""Log-determinants: laws that hold for every method, ways to give a lower end, budgets and what they buy."""

import itertools
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import block_diag
from strategies import from_spectrum, signed_permutations
from truth import Opaque

import spectra
from spectra.estimators._adaptive import PILOT
from spectra.estimators._exact import sparse_cost
from spectra.estimators._sum import METHODS

LANCZOS = ("stochastic", "slq", "block-slq")
FULL = {"probes": 4, "steps": 24}  # deeper than the matrices of the laws are large: quadrature without bias


def quiet_logdet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spectra.ConvergenceWarning)
        return spectra.logdet(*args, **kwargs)


def kernel(n, *, noise, lengthscale=1.0, dimension=2, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, dimension))
    return np.exp(-0.5 * ((x[:, None] - x) ** 2).sum(2) / lengthscale**2) + noise * np.eye(n)


spectrum = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=10)
seeds = st.integers(0, 2**20)
methods = st.sampled_from(LANCZOS)


# Laws


@given(lam=spectrum, seed=seeds, method=methods, exponent=st.integers(-60, 60))
def test_scale(lam, seed, method, exponent):
    """log det c A = n log c + log det A, with the same probes to rounding."""
    A, c = from_spectrum(lam, seed=seed).A, 2.0**exponent
    one, other = (quiet_logdet(B, method=method, rng=seed, **FULL) for B in (A, c * A))
    assert other.value == pytest.approx(one.value + len(lam) * np.log(c), rel=1e-8, abs=1e-8)


@given(lam=spectrum, seed=seeds, shift=st.floats(1e-2, 10))
def test_shift(lam, seed, shift):
    """log det (A + s I) = sum log (lambda + s), whoever adds it."""
    A = from_spectrum(lam, seed=seed).A
    for shifted in (spectra.aslinearoperator(A).shift(shift), A + shift * np.eye(len(lam))):
        found = spectra.logdet(shifted)
        assert found.value == pytest.approx(np.sum(np.log(np.array(lam) + shift)), rel=1e-9, abs=1e-9)


@given(lam=spectrum, seed=seeds, data=st.data())
def test_permutation(lam, seed, data):
    """log det P A P' = log det A, by factorisation, whole or in part and then whole."""
    A, S = from_spectrum(lam, seed=seed).A, data.draw(signed_permutations(len(lam)))
    truth = np.sum(np.log(lam))
    assert spectra.logdet(S @ A @ S.T).value == pytest.approx(truth, rel=1e-9, abs=1e-9)
    assert spectra.estimators.PivotedCholesky(S @ A @ S.T, len(lam)).logdet == pytest.approx(truth, rel=1e-9, abs=1e-9)


@given(first=spectrum, second=spectrum, seed=seeds)
def test_block_diagonal(first, second, seed):
    """log det diag(A, B) = log det A + log det B."""
    A, B = from_spectrum(first, seed=seed).A, from_spectrum(second, seed=seed + 1).A
    parts = [spectra.logdet(C).value for C in (A, B)]
    for whole in (block_diag(A, B), sp.csr_array(block_diag(A, B))):
        assert spectra.logdet(whole).value == pytest.approx(sum(parts), rel=1e-8, abs=1e-8)


@given(lam=spectrum, seed=seeds, method=methods, complex_entries=st.booleans())
def test_similarity(lam, seed, method, complex_entries):
    """Eigenvectors do not matter; where the spectrum is one point, not even to a single probe."""
    A = from_spectrum(lam, seed=seed, complex_entries=complex_entries).A
    assert spectra.logdet(A).value == pytest.approx(np.sum(np.log(lam)), rel=1e-9, abs=1e-9)
    point = from_spectrum(np.full(len(lam), lam[0]), seed=seed, complex_entries=complex_entries).A
    found = quiet_logdet(point, method=method, rng=seed, **FULL)
    assert found.value == pytest.approx(len(lam) * np.log(lam[0]), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("method", LANCZOS)
def test_the_mean_over_all_sign_vectors_is_the_truth(method):
    """Unbiased with and without preconditioner: every sign vector of order 6, each with its own weight 1/64."""
    A = from_spectrum(np.geomspace(0.1, 10, 6), seed=3).A
    op = spectra.estimators.PivotedCholesky(A, 2).congruence(spectra.aslinearoperator(A)) \
        if method == "stochastic" else spectra.aslinearoperator(A)
    left = np.linalg.slogdet(np.asarray(op @ np.eye(6)))[1]
    V = np.array(list(itertools.product([-1.0, 1.0], repeat=6))).T
    run = spectra.krylov.LanczosRun(op, V)
    run.advance(6)
    from spectra.krylov._quadrature import gauss

    nodes, weights = gauss(run.alpha, run.beta)
    np.testing.assert_allclose(6 * (weights * np.log(np.maximum(nodes, 1e-9))).sum(1).mean(), left, atol=1e-8)


# What is known of the lower end


@pytest.mark.parametrize("preconditioner", ["none", "auto", "nystrom"])
def test_a_known_lower_end_closes_the_bracket(preconditioner):
    noise = 1e-6
    A = kernel(300, noise=noise, lengthscale=0.5)
    asked = {"method": "stochastic", "probes": 6, "steps": 18, "rng": 0, "preconditioner": preconditioner}
    known = spectra.aslinearoperator(A)
    known.lower_bound = noise
    closed, guessed = quiet_logdet(known, **asked), quiet_logdet(A, **asked)
    truth = np.linalg.slogdet(A)[1]
    low, high = closed.interval(0.99)
    assert low <= truth <= high
    if preconditioner == "auto":
        assert closed.value == guessed.value
    assert closed.bias[0] < 0 < closed.bias[1] < 1e-4 * abs(truth)  # Gauss errs upwards


def test_support_and_lower_bound_say_the_same():
    A = kernel(200, noise=1e-4)
    op = spectra.aslinearoperator(A)
    op.lower_bound = 1e-4
    asked = {"method": "stochastic", "matvecs": 60, "rng": 0}
    by_bound, by_support = quiet_logdet(op, **asked), quiet_logdet(A, support=(1e-4, 300.0), **asked)
    assert by_bound.value == by_support.value and by_bound.bias == by_support.bias
    assert spectra.aslinearoperator(A).lower_bound is None


def test_a_wrong_lower_end_is_refused():
    A = kernel(200, noise=1e-4)
    with pytest.raises(ValueError, match=r"lower end|outside|support"):
        spectra.logdet(A, method="stochastic", matvecs=80, support=(0.5, 300.0), rng=0)


def test_scaling_to_unit_diagonal_keeps_the_lower_end():
    d = np.geomspace(1, 100, 50)
    op = spectra.aslinearoperator(sp.diags_array(d, format="csr"))
    op.lower_bound = 1.0
    scaled = spectra.estimators.Jacobi(op.diagonal()).congruence(op)
    assert scaled.lower_bound == pytest.approx(0.01)


# Budgets


def test_preconditioning_beats_none_where_the_spectrum_decays():
    """Same products, same seeds: the median error falls."""
    errors = {"auto": [], "none": []}
    for seed in range(5):
        A = kernel(300, noise=1e-6, lengthscale=2.0, dimension=3, seed=seed)
        truth = np.linalg.slogdet(A)[1]
        op = spectra.aslinearoperator(A)
        op.lower_bound = 1e-6
        for name, found in errors.items():
            estimate = quiet_logdet(op, method="stochastic", matvecs=100, rng=seed, preconditioner=name)
            assert estimate.matvecs <= 100
            found.append(abs(estimate.value - truth) / abs(truth))
    assert np.median(errors["auto"]) < 0.5 * np.median(errors["none"])
    assert np.median(errors["auto"]) < 1e-2


@pytest.mark.parametrize("preconditioner", ["auto", "nystrom"])
def test_a_tolerance_counts_what_the_preconditioner_knows(preconditioner):
    A = kernel(600, noise=1e-2)
    op = spectra.aslinearoperator(A)
    op.lower_bound = 1e-2
    estimate = spectra.logdet(op, method="stochastic", rtol=5e-3, preconditioner=preconditioner, rng=0)
    truth = np.linalg.slogdet(A)[1]
    low, high = estimate.interval()
    assert max(high - estimate.value, estimate.value - low) <= 5e-3 * abs(estimate.value) * (1 + 1e-9)
    assert abs(estimate.value - truth) <= 5e-3 * abs(truth)


def test_a_small_memory_does_not_spend_the_budget_on_runs_of_one_step():
    A = Opaque(np.diag(np.geomspace(1e-2, 1, 400)), hermitian=True)
    estimate = quiet_logdet(A, method="block-slq", matvecs=120, memory=400 * 8 * 10, rng=0)
    assert estimate.steps >= 8 and estimate.matvecs <= 120
    low, high = estimate.interval(0.99)
    assert low <= np.sum(np.log(np.geomspace(1e-2, 1, 400))) <= high


def test_every_method_says_what_it_preconditioned_with():
    A = kernel(60, noise=1e-2)
    for method in METHODS:
        found = quiet_logdet(A, method=method, preconditioner="jacobi", rng=0, probes=PILOT, steps=8)
        assert ("preconditioner" in found.details) == (method != "exact"), method


@pytest.mark.slow
@pytest.mark.parametrize("noise", [1e-2, 1e-6])
@pytest.mark.parametrize("lengthscale", [0.3, 1.0, 3.0])
def test_intervals_of_the_preconditioned_estimate_hold(noise, lengthscale):
    held = 0
    for seed in range(40):
        A = kernel(150, noise=noise, lengthscale=lengthscale, seed=seed)
        op = spectra.aslinearoperator(A)
        op.lower_bound = noise
        low, high = quiet_logdet(op, method="stochastic", matvecs=60, rng=seed).interval()
        truth = np.linalg.slogdet(A)[1]
        held += low - 1e-9 * abs(truth) <= truth <= high + 1e-9 * abs(truth)
    assert held >= 36


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_band_costs_its_width_in_any_order(shuffle):
    n, width = 500, 3
    A = sp.csr_array(sp.diags_array([1.0] * (2 * width + 1), offsets=range(-width, width + 1), shape=(n, n)))
    p = np.random.default_rng(0).permutation(n) if shuffle else np.arange(n)
    assert n * width**2 / 2 <= sparse_cost(sp.csr_array(A[p][:, p])) - A.nnz <= 3 * n * width**2


@pytest.mark.filterwarnings("ignore::spectra.ConvergenceWarning")
def test_deflation_stays_unbiased_when_the_space_has_become_invariant():
    """Steps beyond that are made of rounding, which mixes the halves of the probes."""
    X = np.random.default_rng(0).uniform(-2, 2, (400, 2))
    K = spectra.gp.KernelOperator(X, "rbf", noise=1e-10)
    truth, P = spectra.logdet(K, method="exact").value, spectra.estimators.PivotedCholesky(K, 133)
    errors = [spectra.logdet(K, method="block-slq", probes=16, steps=25, preconditioner=P, rng=seed).value - truth
              for seed in range(12)]
    assert abs(np.mean(errors)) < 3.5 * np.std(errors, ddof=1) / np.sqrt(12)


class TestAQuickLook:
    """A loose tolerance on a large sparse matrix takes a few products, and no weighing of exact methods."""

    @pytest.fixture
    def large(self, monkeypatch):
        monkeypatch.setattr("spectra.estimators._logdet._LARGE", 0)

    def test_is_enough_for_a_benign_matrix(self, large):
        line = sp.diags_array([-1.0, 2.5, -1.0], offsets=[-1, 0, 1], shape=(60, 60))
        A = sp.kronsum(line, line, format="csr")
        estimate = spectra.logdet(A, rtol=1e-2, rng=0)
        assert estimate.method == "block-slq" and estimate.matvecs <= 64
        low, high = estimate.interval()
        assert low <= spectra.logdet(A, method="exact").value <= high and high - low <= 2e-2 * abs(estimate.value)

    def test_counts_towards_the_answer_when_it_is_not(self, large):
        A = sp.diags_array([-1.0, 2.000001, -1.0], offsets=[-1, 0, 1], shape=(3000, 3000), format="csr")
        estimate = spectra.logdet(A, rtol=1e-6, rng=0)
        assert estimate.method == "exact" and 0 < estimate.matvecs <= 64
        assert estimate.value == spectra.logdet(A, method="exact").value


@pytest.mark.parametrize("how", [{"method": "slq", "matvecs": 200}, {"method": "block-slq", "matvecs": 200},
                                 {"method": "stochastic", "rtol": 1e-3}])
@pytest.mark.parametrize("n", [300, 20_000])
@pytest.mark.parametrize("name", ["identity", "pairs"])
def test_a_lower_end_that_is_an_eigenvalue(name, n, how):
    """Gershgorin's end is exact here, and Ritz values fall short of it by rounding alone, which grows with n."""
    A = 3 * sp.eye_array(n) if name == "identity" else sp.kron(sp.eye_array(n // 2), [[2.0, 1.0], [1.0, 2.0]])
    truth = np.log(3) * (n if name == "identity" else n // 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spectra.ConvergenceWarning)
        estimate = spectra.logdet(sp.csr_array(A), rng=0, **how)
    low, high = estimate.interval(0.999)
    assert low - 1e-10 * truth <= truth <= high + 1e-10 * truth


@pytest.mark.parametrize("memory", [-1, True, np.inf, "1GB"])
def test_memory_is_a_number_of_bytes(memory):
    with pytest.raises(ValueError, match="memory must be a number of bytes"):
        spectra.logdet(sp.eye_array(50, format="csr") * 2.0, method="slq", probes=2, steps=2, memory=memory)
