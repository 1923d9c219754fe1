"""Preconditioners: P is near A, its determinant and inverse are exact, and what it leaves is easier."""

import itertools
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from libraries import LIBRARIES, move
from strategies import from_spectrum
from truth import Opaque

import spectra
from spectra.estimators import Jacobi, Nystrom, PivotedCholesky
from spectra.estimators._preconditioners import NAMED, measured_rounding

MAKERS = {
    "jacobi": lambda A, rank: Jacobi(spectra.aslinearoperator(A).diagonal()),
    "pivoted-cholesky": PivotedCholesky,
    "nystrom": lambda A, rank: Nystrom(A, rank, rng=0),
}


def kernel(n, *, noise=1e-4, lengthscale=1.0, seed=0):
    """Squared-exponential kernel matrix of points of the plane."""
    x = np.random.default_rng(seed).standard_normal((n, 2))
    return np.exp(-0.5 * ((x[:, None] - x) ** 2).sum(2) / lengthscale**2) + noise * np.eye(n)


def bounded(A, noise):
    """A with the lower end of its spectrum known."""
    op = spectra.aslinearoperator(A)
    op.lower_bound = noise
    return op


def dense(op):
    return np.asarray(op @ np.eye(op.shape[0], dtype=op.dtype))


def matrix(P, n):
    """P itself, from its inverse."""
    return np.linalg.inv(P.solve(np.eye(n)))


def quiet_logdet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spectra.ConvergenceWarning)
        return spectra.logdet(*args, **kwargs)


# What every preconditioner promises


def test_every_name_is_tested():
    assert set(MAKERS) == set(NAMED)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("rank", [1, 7, 40])
def test_solve_congruence_and_determinant_are_those_of_one_matrix(name, rank):
    A = bounded(kernel(40, noise=1e-2), 1e-2)
    P = MAKERS[name](A, rank)
    A, M = A.A, matrix(P, 40)
    np.testing.assert_allclose(M, M.T, atol=1e-6)
    assert P.logdet == pytest.approx(np.linalg.slogdet(M)[1], rel=1e-6)
    C = dense(P.congruence(spectra.aslinearoperator(A)))
    np.testing.assert_allclose(C, C.T, atol=1e-9)
    np.testing.assert_allclose(np.linalg.eigvalsh(C), np.sort(np.linalg.eigvals(np.linalg.solve(M, A)).real), rtol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_another_matrix_than_its_own_may_be_preconditioned(name):
    A, B = kernel(30, noise=1e-2), kernel(30, noise=3e-2, lengthscale=1.1)
    P = MAKERS[name](bounded(A, 1e-2), 10)
    C = dense(P.congruence(bounded(B, 1e-9)))
    assert P.logdet + np.linalg.slogdet(C)[1] == pytest.approx(np.linalg.slogdet(B)[1], rel=1e-10)
    lower = P.congruence(bounded(B, 1e-9)).lower_bound
    assert lower is None or lower <= np.linalg.eigvalsh(C)[0]


@pytest.mark.parametrize("name", MAKERS)
@given(order=st.integers(1, 12), rank=st.integers(1, 14), decades=st.integers(0, 9), complex_entries=st.booleans(),
       seed=st.integers(0, 99))
def test_the_identity_holds_for_every_spectrum(name, order, rank, decades, complex_entries, seed):
    A = from_spectrum(np.geomspace(10.0**-decades, 1, order), seed=seed, complex_entries=complex_entries).A
    P = MAKERS[name](bounded(A, 10.0**-decades * (1 - 1e-6)), rank)
    C = P.congruence(bounded(A, 10.0**-decades * (1 - 1e-6)))
    eigenvalues = np.linalg.eigvalsh(dense(C))
    expected = np.sum(np.log(np.geomspace(10.0**-decades, 1, order)))
    assert P.logdet + np.sum(np.log(eigenvalues)) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    if C.lower_bound is not None:
        assert C.lower_bound <= eigenvalues[0] * (1 + 1e-6)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("scale", [1e-120, 1e120])
def test_scale_changes_nothing_but_the_scale(name, scale):
    A = kernel(30)
    one, other = MAKERS[name](A, 8), MAKERS[name](scale * A, 8)
    assert other.logdet - 30 * np.log(scale) == pytest.approx(one.logdet, rel=1e-9)
    V = np.ones((30, 2))
    np.testing.assert_allclose(scale * other.solve(V), one.solve(V), rtol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_blocks_stay_in_their_library(name, library):
    A = kernel(30, noise=1e-2)
    mine = spectra.aslinearoperator(move(A, library))
    P, expected = MAKERS[name](mine, 8), MAKERS[name](A, 8)
    V = np.random.default_rng(0).standard_normal((30, 3))
    for found, same in ((P.solve(move(V, library)), expected.solve(V)),
                        (P.congruence(mine) @ move(V, library),
                         expected.congruence(spectra.aslinearoperator(A)) @ V)):
        assert type(found) is type(move(V, library))
        np.testing.assert_allclose(np.asarray(found), same, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", MAKERS)
def test_single_precision_stays_single(name):
    A = kernel(40, noise=1e-2)
    P = MAKERS[name](A.astype(np.float32), 10)
    op = spectra.aslinearoperator(A.astype(np.float32))
    assert P.solve(np.ones((40, 2), np.float32)).dtype == np.float32
    assert (P.congruence(op) @ np.ones((40, 1), np.float32)).dtype == np.float32
    estimate = quiet_logdet(op, method="slq", probes=8, steps=25, preconditioner=P, rng=0)
    low, high = estimate.interval(0.999)
    assert low - 0.05 <= np.linalg.slogdet(A)[1] <= high + 0.05


# Pivoted Cholesky


def test_full_rank_is_the_matrix():
    A = kernel(60)
    P = PivotedCholesky(A, 60)
    assert P.logdet == pytest.approx(np.linalg.slogdet(A)[1], rel=1e-11)
    estimate = spectra.logdet(A, method="slq", probes=3, steps=4, preconditioner=P, rng=0)
    assert estimate.value == pytest.approx(P.logdet, rel=1e-10)
    assert estimate.stderr <= 1e-9 * abs(estimate.value)


@pytest.mark.parametrize("rank", [0, 1, 7, 39])
def test_it_is_some_columns_exactly_and_the_diagonal_of_the_rest(rank):
    A = kernel(40, noise=1e-2)
    P = PivotedCholesky(A, rank)
    M, rest = matrix(P, 40), np.setdiff1d(np.arange(40), P.pivots)
    assert P.rank == rank == len(set(P.pivots))
    np.testing.assert_allclose(M[:, P.pivots], A[:, P.pivots], atol=1e-8)
    np.testing.assert_allclose(np.diag(M), np.diag(A), atol=1e-8)
    schur = A[np.ix_(rest, rest)] - A[np.ix_(rest, P.pivots)] @ np.linalg.solve(A[np.ix_(P.pivots, P.pivots)],
                                                                               A[np.ix_(P.pivots, rest)])
    np.testing.assert_allclose(P.residual, np.diag(schur), rtol=1e-8)
    C = P.congruence(spectra.aslinearoperator(A))
    np.testing.assert_allclose(np.diag(dense(C)), 1, atol=1e-9)
    np.testing.assert_allclose(np.asarray(C.diagonal()), 1)


def test_the_first_pivot_is_the_largest_and_duplicates_are_not_taken_twice():
    x = np.repeat(np.arange(5.0), 4)
    A = np.exp(-np.abs(x[:, None] - x)) + np.diag(np.linspace(1e-6, 2e-6, 20))
    P = PivotedCholesky(A, 5)
    assert P.pivots[0] == 19 and sorted(x[P.pivots]) == [0, 1, 2, 3, 4]
    assert P.residual.max() < 5e-6


@pytest.mark.parametrize("true_rank", [1, 3])
def test_a_matrix_of_low_rank_ends_the_factorisation_and_has_no_log_determinant(true_rank):
    x = np.random.default_rng(0).standard_normal((30, true_rank))
    A = x @ x.T
    assert PivotedCholesky(A, 20).rank == true_rank
    with pytest.raises(ValueError, match="positive definite"):
        quiet_logdet(A, method="stochastic", matvecs=20, preconditioner="pivoted-cholesky", rng=0)
    shifted = A + 1e-3 * np.eye(30)
    found = quiet_logdet(bounded(shifted, 1e-3), method="stochastic", probes=3, steps=10, rng=0,
                         preconditioner=PivotedCholesky(shifted, true_rank))
    assert found.value == pytest.approx(np.linalg.slogdet(shifted)[1], abs=1e-6)


def test_a_tolerance_on_the_trace_chooses_the_rank():
    A = kernel(80, noise=1e-9)
    loose, tight = PivotedCholesky(A, rtol=0.1), PivotedCholesky(A, rtol=1e-3)
    assert 1 <= loose.rank < tight.rank < 80
    assert tight.residual.sum() <= 1e-3 * np.trace(A)


def test_a_known_noise_tells_when_the_pivots_alone_answer():
    """0 <= log det P - log det A <= sum log(D / noise): no product is needed for that much."""
    A = bounded(kernel(300, noise=1e-2, lengthscale=1.0), 1e-2)
    truth, ranks = np.linalg.slogdet(A.A)[1], []
    for accuracy in (0.3, 0.05):
        P = PivotedCholesky(A, accuracy=accuracy)
        ranks.append(P.rank)
        assert -1e-9 <= P.logdet - truth <= np.sum(np.log(P.residual / 1e-2)) <= accuracy * abs(P.logdet)
    assert ranks[0] < ranks[1] < 300
    asked = {"method": "stochastic", "rng": 0}
    assert quiet_logdet(A, rtol=0.5, **asked).rank < quiet_logdet(A, rtol=1e-3, **asked).rank
    assert quiet_logdet(A.A, rtol=0.1, **asked).rank == 150  # nobody knows what is left


def test_no_eigenvalue_of_its_own_matrix_lies_below_the_bound():
    A = bounded(kernel(60, noise=1e-6), 1e-6)
    for rank in (0, 5, 20, 50):
        C = PivotedCholesky(A, rank).congruence(A)
        assert 0 < C.lower_bound <= np.linalg.eigvalsh(dense(C))[0] * (1 + 1e-9)


def test_rounding_in_single_precision_is_measured_by_products_in_double():
    A = kernel(200, noise=1e-4).astype(np.float32)
    op = spectra.aslinearoperator(A)
    M = PivotedCholesky(op, 40).congruence(op)
    assert measured_rounding(M, op) == op.matvecs == 8
    L = np.linalg.cholesky(matrix_in_double(M))
    assert M.rounding < 0.1 * M.precision * np.linalg.norm(L @ L.T, 2)
    error = dense(M) - matrix_in_double(M)
    assert M.rounding == pytest.approx(np.linalg.norm(error) / np.sqrt(200), rel=1.0)
    shifted = spectra.aslinearoperator(A).shift(0.0)
    assert measured_rounding(PivotedCholesky(shifted, 40).congruence(shifted + op), shifted) == 8
    double = spectra.aslinearoperator(A.astype(float))
    assert measured_rounding(PivotedCholesky(double, 40).congruence(double), double) == 0


def matrix_in_double(M):
    return dense(M.P.congruence(M.A.in_double()))


def test_operators_that_know_no_columns_are_sent_elsewhere():
    with pytest.raises(ValueError, match="Nystrom"):
        PivotedCholesky(Opaque(np.eye(4), hermitian=True))
    with pytest.raises(ValueError, match="positive diagonal"):
        PivotedCholesky(np.diag([1.0, -1.0]))


@pytest.mark.parametrize("arguments", [{"rank": -1}, {"rank": 1.5}, {"rtol": 0.0}, {"rtol": 1.0}])
def test_ranks_and_tolerances_are_checked(arguments):
    with pytest.raises(ValueError, match=r"rank must|rtol must"):
        PivotedCholesky(np.eye(3), **arguments)


# Nystrom


def test_nystrom_counts_its_products_and_lies_below():
    A = kernel(60, noise=1e-3)
    op = Opaque(A, hermitian=True)
    op.lower_bound, op._verified = 1e-3, True
    P = Nystrom(op, 20, rng=0)
    assert P.matvecs == op.columns_seen == 20
    N = (P.U * P.eigenvalues) @ P.U.T
    assert np.linalg.eigvalsh(A - 1e-3 * np.eye(60) - N)[0] > -1e-10
    C = P.congruence(op)
    assert 0 < C.lower_bound <= np.linalg.eigvalsh(dense(C))[0]


def test_nystrom_of_full_rank_is_the_matrix():
    A = bounded(kernel(40, noise=1e-2), 1e-2)
    estimate = spectra.logdet(A, method="slq", probes=3, steps=5, preconditioner=Nystrom(A, 40, rng=0), rng=0)
    assert estimate.value == pytest.approx(np.linalg.slogdet(kernel(40, noise=1e-2))[1], rel=1e-6)


def test_nystrom_finds_its_rank():
    fast, slow = (np.exp(-np.arange(300) / width) + 1e-8 for width in (4.0, 400.0))
    ranks = [Nystrom(bounded(np.diag(lam), 1e-8), rng=0).rank for lam in (fast, slow)]
    assert ranks[0] >= 100 and ranks[1] <= 110


def test_nystrom_refuses_what_is_not_semidefinite():
    with pytest.raises(ValueError, match="semi-definite"):
        Nystrom(np.diag([-1.0, 1.0, 2.0]), 3, rng=0)
    for arguments in ({"rank": 0}, {"shift": -1.0}):
        with pytest.raises(ValueError, match=r"rank must|shift must"):
            Nystrom(np.eye(3), **arguments)


def test_the_noise_is_the_wrong_shift_where_it_lies_far_below_the_residual():
    """What is left of the spectrum must not be taken for noise."""
    A, noise = kernel(200, noise=1e-10, lengthscale=0.3), 1e-10
    truth = np.linalg.slogdet(A)[1]
    op = bounded(A, noise)
    blind, chosen = Nystrom(op, 60, shift=noise, rng=0), Nystrom(op, 60, rng=0)
    assert chosen.shift > 1e3 * noise
    errors = [abs(quiet_logdet(op, method="slq", probes=10, steps=20, preconditioner=P, rng=0).value - truth)
              for P in (blind, chosen, PivotedCholesky(op, 60))]
    assert errors[1] < 0.2 * errors[0] and errors[2] < 0.2 * errors[0]


# What they are for


@pytest.mark.parametrize("make", [PivotedCholesky, lambda A, rank: Nystrom(A, rank, rng=1)], ids=["pivots", "nystrom"])
def test_the_spread_falls_as_the_rank_grows(make):
    A = bounded(kernel(200, noise=1e-3), 1e-3)
    spread = [quiet_logdet(A, method="slq", probes=12, steps=40, preconditioner=make(A, rank), rng=0).stderr
              for rank in (5, 30, 60, 90)]
    assert spread[0] > spread[1] > spread[2] > spread[3]
    assert spread[3] < 0.2 * spread[0]


@pytest.mark.parametrize("name", ["pivoted-cholesky", "nystrom"])
def test_conjugate_gradients_take_fewer_steps(name):
    A, b = kernel(200, noise=1e-3), np.random.default_rng(0).standard_normal((200, 2))
    plain = spectra.krylov.cg(A, b, tol=1e-8)
    helped = spectra.krylov.cg(A, b, tol=1e-8, preconditioner=MAKERS[name](A, 60))
    np.testing.assert_allclose(A @ helped.solution, b, atol=1e-6)
    assert 2 * helped.steps < plain.steps


def test_the_mean_over_all_sign_vectors_is_the_log_determinant():
    A = kernel(6, noise=0.1)
    P = PivotedCholesky(A, 2)
    C = dense(P.congruence(spectra.aslinearoperator(A)))
    values, vectors = np.linalg.eigh(C)
    F = (vectors * np.log(values)) @ vectors.T
    samples = [v @ F @ v for v in np.array(list(itertools.product([-1.0, 1.0], repeat=6)))]
    assert P.logdet + np.mean(samples) == pytest.approx(np.linalg.slogdet(A)[1], rel=1e-12)


# By name


@pytest.mark.parametrize("name", ["auto", "none", *NAMED])
def test_every_name_gives_an_interval_that_holds(name):
    A = kernel(150, noise=1e-2)
    truth = np.linalg.slogdet(A)[1]
    estimate = quiet_logdet(bounded(A, 1e-2), method="stochastic", matvecs=90, preconditioner=name, rng=0)
    low, high = estimate.interval(0.999)
    assert low - 1e-6 <= truth <= high + 1e-6
    assert estimate.matvecs <= 90


def test_auto_takes_columns_where_it_may():
    A = kernel(120)
    asked = {"method": "stochastic", "matvecs": 30, "rng": 0}
    assert quiet_logdet(A, **asked).preconditioner == "pivoted-cholesky"
    assert quiet_logdet(A, **asked).rank == 30
    assert "preconditioner" not in quiet_logdet(Opaque(A, hermitian=True), **asked).details
    scaled = sp.csr_array(np.diag(np.linspace(1.0, 2.0, 120)))
    assert quiet_logdet(scaled, **asked).preconditioner == "jacobi"
    assert "preconditioner" not in quiet_logdet(A, method="slq", matvecs=30, rng=0).details


def test_memory_bounds_the_rank():
    A = kernel(120)
    few = quiet_logdet(A, method="stochastic", matvecs=30, memory=120 * 8 * 4 * 7, rng=0)
    assert few.rank == 7


def test_products_of_a_preconditioner_count_in_the_budget():
    op = Opaque(kernel(150, noise=1e-2), hermitian=True)
    estimate = quiet_logdet(op, method="stochastic", matvecs=90, preconditioner="nystrom", rng=0)
    assert estimate.matvecs == op.columns_seen <= 90
    with pytest.raises(ValueError, match="leaves none"):
        spectra.logdet(Opaque(np.eye(4), hermitian=True), method="slq", matvecs=4, preconditioner="nystrom", rng=0)


def test_one_seed_one_answer_with_a_random_preconditioner():
    A = kernel(100, noise=1e-2)
    first, again, other = (quiet_logdet(A, method="slq", matvecs=60, preconditioner="nystrom", rng=seed).value
                           for seed in (3, 3, 4))
    assert first == again != other


def test_support_is_that_of_the_matrix_where_the_preconditioner_is_chosen_here():
    A = kernel(150, noise=1e-6)
    asked = {"method": "stochastic", "probes": 5, "steps": 10, "rng": 0}
    known, unknown = quiet_logdet(A, support=(1e-6, 200.0), **asked), quiet_logdet(A, **asked)
    assert known.value == unknown.value
    assert known.bias != unknown.bias and known.interval()[0] <= np.linalg.slogdet(A)[1] <= known.interval()[1]


@pytest.mark.parametrize("wrong", ["cholesky", ""])
def test_unknown_names_are_refused(wrong):
    with pytest.raises(ValueError, match="pivoted-cholesky"):
        spectra.logdet(np.eye(4), method="slq", preconditioner=wrong)


def test_jacobi_by_name_needs_a_diagonal():
    with pytest.raises(ValueError, match="diagonal"):
        spectra.logdet(Opaque(np.eye(4), hermitian=True), method="slq", preconditioner="jacobi")
