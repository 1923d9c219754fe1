"""Lanczos, block Lanczos and Chebyshev recurrences: their identities, breakdown, scale, and runs on disk."""

import numpy as np
import pytest
from cases import Opaque, Spy, hermitian_matrix, random_matrix, to_torch
from libraries import LIBRARIES, MATRICES, move
from numpy.polynomial import chebyshev, legendre
from scipy.linalg import block_diag
from strategies import from_spectrum

import spectra
from spectra._arrays import to_host
from spectra.estimators._moments import legendre_in_chebyshev
from spectra.krylov import BlockLanczosRun, LanczosRun, lanczos
from spectra.krylov._chebyshev import OutsideSupport, chebyshev_moments
from spectra.operators import Diagonal, aslinearoperator

DTYPES = [np.float64, np.float32, np.complex128, np.complex64]
SPECTRA = {"spread": np.linspace(-2, 3, 50), "ill-conditioned": np.geomspace(1e-12, 1, 50),
           "outliers": np.concatenate([[1e6, 1e4], np.linspace(1, 2, 48)]), "clustered": 5 + 1e-9 * np.arange(50.0)}


def tridiagonal(alpha, beta):
    return np.diag(alpha) + np.diag(beta, 1) + np.diag(beta, -1)


# Lanczos


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECTRA)
def test_lanczos_keeps_its_equation_and_its_orthogonality(name, dtype):
    case = from_spectrum(SPECTRA[name], complex_entries=np.issubdtype(dtype, np.complexfloating))
    A, V = case.A.astype(dtype), random_matrix(50, 3, dtype)
    alpha, beta, Q = lanczos(A, V, 12, basis=True)
    assert alpha.shape == (3, 12) and beta.shape == (3, 11) and Q.shape == (3, 50, 12) and Q.dtype == dtype
    assert alpha.dtype == beta.dtype == np.float64
    rounding = 450 * np.finfo(dtype).eps  # 1e-13 in double precision
    for v, a, b, q in zip(V.T, alpha, beta, Q, strict=True):
        if not b.all():  # a cluster: all that can be told is told
            m = int(np.argmin(b)) + 1
            a, b, q = a[:m], b[: m - 1], q[:, :m]
        assert np.all(b >= 0)
        np.testing.assert_allclose(q.conj().T @ q, np.eye(len(a)), atol=rounding)
        np.testing.assert_allclose(q[:, 0], v / np.linalg.norm(v), atol=rounding)
        residual = (A @ q - q @ tridiagonal(a, b))[:, :-1]
        np.testing.assert_allclose(residual, 0, atol=rounding * case.size)
        np.testing.assert_allclose(np.diag(q.conj().T @ A @ q).real, a, atol=rounding * case.size)


def test_columns_share_products_and_nothing_else():
    A, V = hermitian_matrix(40), random_matrix(40, 4)
    alpha, beta, _ = lanczos(A, V, 15)
    for j in range(4):
        a, b, _ = lanczos(A, V[:, j], 15)
        np.testing.assert_allclose(a[0], alpha[j], atol=1e-11)
        np.testing.assert_allclose(b[0], beta[j], atol=1e-11)


def test_full_depth_is_the_whole_spectrum():
    case = from_spectrum(np.linspace(-1, 1, 30))
    alpha, beta, _ = lanczos(case.A, np.random.default_rng(0).standard_normal(30), 100)
    assert alpha.shape == (1, 30)  # no more than n steps are ever made
    np.testing.assert_allclose(np.linalg.eigvalsh(tridiagonal(alpha[0], beta[0])), case.eigenvalues, atol=1e-12)


def test_without_reorthogonalisation_the_quadrature_still_converges():
    case = from_spectrum(np.concatenate([[100.0], np.linspace(1, 2, 59)]))
    run = LanczosRun(case.A, np.random.default_rng(0).standard_normal(60), reorthogonalize=False)
    run.advance(60)
    nodes = np.linalg.eigvalsh(tridiagonal(run.alpha[0], run.beta[0, :-1]))
    assert np.abs(nodes[:, None] - case.eigenvalues).min(1).max() < 0.02  # copies, but nothing that is not there
    assert np.sum(nodes > 99.0) > 1  # copies of the outlier: orthogonality was lost, as it should be in this test
    with pytest.raises(ValueError, match="basis was not kept"):
        run.basis()


# Breakdown


def test_an_invariant_subspace_ends_its_column_and_no_other():
    A = np.diag([1.0, 2.0, 4.0, 8.0, 16.0])
    V = np.array([[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=float).T
    run = LanczosRun(A, V)
    run.advance(5)
    assert run.broken.all()
    alpha, beta, Q = lanczos(A, V, 5, basis=True)
    for j, m in enumerate([1, 2, 3, 5]):
        assert np.all(beta[j, : m - 1] > 0) and not beta[j, m - 1 :].any()
        np.testing.assert_array_equal(alpha[j, m:], alpha[j, 0])
        assert not Q[j, :, m:].any()
        values = np.linalg.eigvalsh(tridiagonal(alpha[j, :m], beta[j, : m - 1]))
        np.testing.assert_allclose(values, 2.0 ** np.arange(m), rtol=1e-13)


def test_no_product_is_spent_once_every_column_has_ended():
    op = Opaque(np.eye(9), hermitian=True)
    run = LanczosRun(op, np.ones((9, 2)), check=False)
    run.advance(7)
    assert op.columns_seen == 2 and run.steps == 7
    np.testing.assert_allclose(run.alpha, np.ones((2, 7)), rtol=1e-15)
    np.testing.assert_array_equal(run.beta, np.zeros((2, 7)))


@pytest.mark.parametrize("A", [np.zeros((4, 4)), np.eye(4), np.ones((4, 4)), np.array([[3.0]]), np.diag([0.0, 1.0])],
                         ids=["zero", "identity", "rank one", "order one", "order two"])
def test_the_smallest_matrices(A):
    n = len(A)
    v = np.arange(1.0, n + 1)
    alpha, beta, _ = lanczos(A, v, 6)
    assert np.all(np.isfinite(alpha)) and np.all(np.isfinite(beta))
    np.testing.assert_allclose(alpha[0, 0], v @ A @ v / (v @ v), atol=1e-14)
    values, weights = np.linalg.eigh(tridiagonal(alpha[0], beta[0]))
    np.testing.assert_allclose(weights[0] ** 2 @ np.cos(values), (v @ _function(A, np.cos) @ v) / (v @ v), atol=1e-13)


def _function(A, f):
    values, vectors = np.linalg.eigh(A)
    return (vectors * f(values)) @ vectors.T


# Scale


@pytest.mark.parametrize(("dtype", "power"), [
    (np.float64, 500), (np.float64, -500), (np.float32, 50), (np.float32, -50), (np.complex128, 400)])
def test_a_matrix_times_a_power_of_two_has_the_same_digits(dtype, power):
    A, V = hermitian_matrix(30, dtype), random_matrix(30, 2, dtype)
    scale = A.dtype.type(0).real.dtype.type(2.0) ** power
    alpha, beta, Q = lanczos(A, V, 8, basis=True)
    big_alpha, big_beta, big_Q = lanczos(A * scale, V, 8, basis=True)
    rounding = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(big_alpha / 2.0**power, alpha, atol=rounding)
    np.testing.assert_allclose(big_beta / 2.0**power, beta, atol=rounding)
    np.testing.assert_allclose(big_Q, Q, atol=rounding)
    small, large = BlockLanczosRun(A, V), BlockLanczosRun(A * scale, V)
    small.advance(4), large.advance(4)
    np.testing.assert_allclose(np.linalg.eigvalsh(large.T) / 2.0**power, np.linalg.eigvalsh(small.T), atol=rounding)


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e3, 1e200])
def test_start_vectors_of_any_size(scale):
    A, V = hermitian_matrix(20), random_matrix(20, 2)
    np.testing.assert_allclose(lanczos(A, scale * V, 6)[0], lanczos(A, V, 6)[0], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", [int, np.float32, bool, list])
def test_start_vectors_of_any_kind_are_taken_as_numbers(kind):
    A = np.diag([1.0, 2.0, 3.0])
    v = [1, 1, 1] if kind is list else np.ones(3, dtype=kind)
    np.testing.assert_allclose(lanczos(A, v, 3)[0], 2.0, rtol=1e-14)
    run = BlockLanczosRun(A, v)
    run.advance(3)
    np.testing.assert_allclose(np.linalg.eigvalsh(run.T), [1, 2, 3], rtol=1e-14)


# Errors

@pytest.mark.parametrize("kind", [LanczosRun, BlockLanczosRun])
def test_start_vectors_of_another_field_or_library_are_refused(kind):
    with pytest.raises(TypeError, match="complex and the operator real"):
        kind(np.eye(3), 1j * np.ones(3))
    with pytest.raises(TypeError, match="must be an array of the operator's library"):
        kind(to_torch(np.eye(3)), np.ones(3))


@pytest.mark.parametrize(("V", "message"), [
    (np.zeros((5, 2)), "must not be zero"), (np.full(5, np.nan), "holds NaN or Inf"),
    (np.ones((4, 2)), r"must have shape \(5, k\)"), (np.ones((5, 0)), r"must have shape \(5, k\)"),
    (np.ones((5, 2, 2)), r"must have shape \(5, k\)"),
])
def test_start_vectors_that_lead_nowhere_are_refused(V, message):
    with pytest.raises(ValueError, match=message):
        lanczos(np.eye(5), V, 3)
    if V.any():
        with pytest.raises(ValueError, match=message):
            BlockLanczosRun(np.eye(5), V)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("product", [1, 2, 5])
@pytest.mark.parametrize("everywhere", [False, True])
def test_a_product_that_is_not_finite_is_named(product, bad, everywhere):
    class Failing(Opaque):
        calls = 0

        def _matmat(self, V):
            self.calls += 1
            W = super()._matmat(V)
            if self.calls == product:
                W[:: 1 if everywhere else 10] = bad
            return W

    def failing():
        return Failing(hermitian_matrix(20), hermitian=True)

    with pytest.raises(ValueError, match=f"product {product} of the Lanczos recurrence returned NaN or Inf"):
        LanczosRun(failing(), random_matrix(20, 2), check=False).advance(8)
    with pytest.raises(ValueError, match=f"step {product} of block Lanczos returned NaN or Inf"):
        BlockLanczosRun(failing(), random_matrix(20, 2), check=False).advance(8)
    with pytest.raises(ValueError, match=f"product {product} of the Chebyshev recurrence returned NaN or Inf"):
        chebyshev_moments(failing(), random_matrix(20, 2), 20, (-20, 20))


def test_only_hermitian_operators_are_taken():
    for kind in (lanczos, LanczosRun):
        with pytest.raises(ValueError, match="Hermitian"):
            kind(random_matrix(5, 5), np.ones(5), **({"steps": 2} if kind is lanczos else {}))


# Libraries


@pytest.mark.parametrize("library", MATRICES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_vectors_stay_where_they_are_and_coefficients_come_home(library, dtype):
    A, V = hermitian_matrix(25, dtype), random_matrix(25, 3, dtype)
    alpha, beta, Q = lanczos(MATRICES[library](A), move(V, library), 10, basis=True)
    expected = lanczos(A, V, 10, basis=True)
    tolerance = 1e4 * np.finfo(dtype).eps
    np.testing.assert_allclose(alpha, expected[0], atol=tolerance)
    np.testing.assert_allclose(beta, expected[1], atol=tolerance)
    assert type(Q) is type(move(V, library)) and str(Q.dtype).endswith(np.dtype(dtype).name)
    block = BlockLanczosRun(MATRICES[library](A), move(V, library))
    block.advance(4)
    assert type(block.basis()) is type(Q) and type(block.T) is np.ndarray
    np.testing.assert_allclose(to_host(block.basis()).T @ A @ to_host(block.basis()), block.T, atol=tolerance)


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_operator_sees_blocks_of_its_own_kind_only(library):
    A = LIBRARIES[library](hermitian_matrix(25, np.float32))
    spy = Spy(A, hermitian=True)
    LanczosRun(spy, move(random_matrix(25, 3, np.float32), library)).advance(6)
    BlockLanczosRun(spy, move(random_matrix(25, 3, np.float32), library)).advance(4)
    chebyshev_moments(spy, move(random_matrix(25, 3, np.float32), library), 8, (-20.0, 20.0))
    assert spy.seen == {(type(A), str(A.dtype))}


# Runs on disk


@pytest.mark.parametrize("reorthogonalize", [True, False])
@pytest.mark.parametrize("library", ["numpy", "torch", "strict", "torch csr"])
@pytest.mark.parametrize("power", [0, 600])
def test_a_run_resumed_from_disk_goes_on_to_the_same_bits(tmp_path, library, reorthogonalize, power):
    A = MATRICES[library](hermitian_matrix(40) * 2.0**power)
    whole = LanczosRun(A, move(random_matrix(40, 3), library), reorthogonalize=reorthogonalize)
    whole.advance(7)
    whole.save(tmp_path / "run.npz")
    whole.advance(6)
    resumed = LanczosRun.load(tmp_path / "run.npz", A)
    assert resumed.steps == 7
    resumed.advance(6)
    np.testing.assert_array_equal(resumed.alpha, whole.alpha)
    np.testing.assert_array_equal(resumed.beta, whole.beta)
    if reorthogonalize:
        np.testing.assert_array_equal(to_host(resumed.basis()), to_host(whole.basis()))


def test_a_run_saved_at_its_start_or_its_end_loads_as_well(tmp_path):
    A, v = np.diag([1.0, 2.0, 3.0]), np.ones(3)
    for steps in (0, 3):
        run = LanczosRun(A, v)
        run.advance(steps)
        run.save(tmp_path / "run.npz")
        run = LanczosRun.load(tmp_path / "run.npz", A)
        run.advance(3 - steps)
        np.testing.assert_allclose(run.alpha, 2.0, rtol=1e-14)
        assert run.broken.all()


def test_a_run_belongs_to_its_operator(tmp_path):
    LanczosRun(np.eye(3), np.ones(3)).save(tmp_path / "run.npz")
    with pytest.raises(ValueError, match="belongs to an operator of order 3, found 4"):
        LanczosRun.load(tmp_path / "run.npz", np.eye(4))


# Block Lanczos


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECTRA)
def test_block_lanczos_keeps_its_equation_and_its_orthogonality(name, dtype):
    case = from_spectrum(SPECTRA[name], complex_entries=np.issubdtype(dtype, np.complexfloating))
    A, V = case.A.astype(dtype), random_matrix(50, 3, dtype)
    run = BlockLanczosRun(A, V)
    run.advance(6)
    rounding = 450 * np.finfo(dtype).eps
    Q, T = run.basis(), run.T
    d = run.dimension
    assert Q.shape == (50, d) and T.shape == (d, d) and (d == 18 or name in ("clustered", "outliers"))
    np.testing.assert_allclose(Q.conj().T @ Q, np.eye(d), atol=rounding)
    np.testing.assert_allclose(T, T.conj().T, atol=0)
    np.testing.assert_allclose(Q.conj().T @ A @ Q, T, atol=rounding * case.size)
    np.testing.assert_allclose(Q[:, : len(run.R)] @ run.R, V, atol=rounding * 10)
    residual = A @ Q - Q @ T
    b = run.last_block.shape[1]
    np.testing.assert_allclose(residual[:, : d - b], 0, atol=rounding * case.size)
    np.testing.assert_allclose(residual[:, d - b :].conj().T @ residual[:, d - b :],
                               run.last_block.conj().T @ run.last_block, atol=rounding * case.size**2)


def test_a_projection_of_fewer_steps_is_a_corner():
    run = BlockLanczosRun(hermitian_matrix(30), random_matrix(30, 3))
    run.advance(5)
    np.testing.assert_array_equal(run.projection(2), run.T[:6, :6])


def test_dependent_start_vectors_give_a_smaller_block():
    A, V = hermitian_matrix(30), random_matrix(30, 3)
    V = np.column_stack([V, V[:, 0] - 2 * V[:, 1], V[:, 2]])
    run = BlockLanczosRun(A, V)
    run.advance(4)
    assert run.R.shape == (3, 5) and run.dimension == 12
    np.testing.assert_allclose(run.basis()[:, :3] @ run.R, V, atol=1e-13)


def test_a_space_that_fills_up_is_the_whole_matrix():
    case = from_spectrum(np.geomspace(1e-6, 1, 20))
    run = BlockLanczosRun(case.A, random_matrix(20, 3))  # 20 is no multiple of 3: the last block is narrower
    run.advance(50)
    assert run.exact and run.dimension == 20 and run.steps == 7
    np.testing.assert_allclose(np.linalg.eigvalsh(run.T), case.eigenvalues, atol=1e-13)


def test_an_invariant_space_ends_the_run_and_extend_goes_on():
    values = np.repeat([1.0, 2.0, 5.0], 8)
    run = BlockLanczosRun(np.diag(values), random_matrix(24, 2))
    run.advance(50)
    assert run.exact and run.dimension == 6  # two vectors of each of three eigenspaces
    np.testing.assert_allclose(np.linalg.eigvalsh(run.T), np.repeat([1.0, 2.0, 5.0], 2), atol=1e-13)
    with pytest.raises(ValueError, match="not invariant yet"):
        BlockLanczosRun(np.diag(values), random_matrix(24, 2)).extend(np.ones((24, 1)))
    while run.dimension < 24:
        run.extend(random_matrix(24, 4, seed=run.dimension))
        run.advance(24)
    np.testing.assert_allclose(np.linalg.eigvalsh(run.T), values, atol=1e-12)
    np.testing.assert_allclose(run.basis().T @ run.basis(), np.eye(24), atol=1e-13)


@pytest.mark.parametrize("A", [np.zeros((4, 4)), np.eye(4), np.ones((4, 4)), np.array([[3.0]]), np.diag([0.0, 1.0])],
                         ids=["zero", "identity", "rank one", "order one", "order two"])
def test_the_smallest_matrices_in_blocks(A):
    V = random_matrix(len(A), 2)
    run = BlockLanczosRun(A, V)
    run.advance(8)
    assert run.exact
    R = np.zeros((run.dimension, 2))
    R[: len(run.R)] = run.R
    np.testing.assert_allclose(R.T @ _function(run.T, np.cos) @ R, V.T @ _function(A, np.cos) @ V, atol=1e-13)


# Chebyshev moments


@pytest.mark.parametrize("order", [0, 1, 2, 7, 40])
@pytest.mark.parametrize("support", [(-1.0, 1.0), (-3.0, 2.0)])
def test_chebyshev_moments_are_cosines(order, support):
    x = np.linspace(-0.99, 1.0, 23)
    op, V = Diagonal(x), random_matrix(23, 3)
    mu = chebyshev_moments(op, V, order, support)
    t = (2 * x - sum(support)) / (support[1] - support[0])
    expected = np.cos(np.arange(order + 1)[:, None] * np.arccos(t)) @ V**2
    np.testing.assert_allclose(mu, expected.T, atol=1e-11)
    assert op.matvecs == 3 * -(-order // 2)  # two moments a product


@pytest.mark.parametrize("library", MATRICES)
def test_chebyshev_moments_on_every_library(library):
    A, V = hermitian_matrix(20), random_matrix(20, 3)
    lo, hi = spectra.spectral_bounds(A)
    expected = chebyshev_moments(aslinearoperator(A), V, 12, (lo, hi))
    found = chebyshev_moments(aslinearoperator(MATRICES[library](A)), move(V, library), 12, (lo, hi))
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, expected, atol=1e-11)


@pytest.mark.parametrize("support", [(-1.0, 0.9), (-0.5, 1.0), (3.0, 4.0)])
def test_an_eigenvalue_outside_the_support_is_found_out(support):
    with pytest.raises(OutsideSupport, match="outside the support"):
        chebyshev_moments(Diagonal(np.linspace(-1, 1, 30)), np.ones((30, 1)), 60, support)


def test_legendre_polynomials_in_chebyshev_polynomials():
    C = legendre_in_chebyshev(15)
    x = np.linspace(-1, 1, 31)
    np.testing.assert_allclose(chebyshev.chebvander(x, 15) @ C.T, legendre.legvander(x, 15), atol=1e-13)


def test_lanczos_of_a_block_diagonal_operator_sees_the_blocks_it_starts_in():
    A, B = hermitian_matrix(6), hermitian_matrix(5, seed=1)
    v = np.concatenate([np.arange(1.0, 7.0), np.zeros(5)])
    alpha, beta, _ = lanczos(block_diag(A, B), v, 11)
    np.testing.assert_allclose(alpha[0, :6], lanczos(A, v[:6], 6)[0][0], atol=1e-11)
    assert not beta[0, 5:].any()


def test_complex_start_vectors_for_a_complex_matrix_in_torch():
    A, V = hermitian_matrix(12, np.complex128), random_matrix(12, 2, np.complex128)
    expected, found = lanczos(A, V, 6)[0], lanczos(to_torch(A), to_torch(V), 6)[0]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def signs(n, k, seed=0):
    return np.random.default_rng(seed).choice([-1.0, 1.0], (n, k))


@pytest.mark.parametrize("kind", [LanczosRun, BlockLanczosRun])
def test_a_run_answers_many_questions_at_any_time(kind):
    eigenvalues = np.geomspace(1e-2, 1, 150)
    Q = np.linalg.qr(np.random.default_rng(1).standard_normal((150, 150)))[0]
    A = spectra.aslinearoperator((Q * eigenvalues) @ Q.T)
    A.lower_bound = 1e-2
    V = signs(150, 6)
    run = kind(A, V)
    with pytest.raises(ValueError, match="has not advanced"):
        run.density()
    widths = {}
    for steps in (6, 12):
        run.advance(6)
        before, rho = A.matvecs, run.density()
        for f in (np.log, np.reciprocal, np.sqrt):
            forms = np.einsum("ij,ij->j", Q.T @ V, f(eigenvalues)[:, None] * (Q.T @ V))  # v' f(A) v
            answer = rho.sum(f)
            low, high = answer.bias
            assert low <= forms.mean() - answer.value <= high
            assert low == pytest.approx(0, abs=1e-9 * (high - low) + 1e-9) or high == pytest.approx(0, abs=1e-9)
            widths[f, steps] = high - low
            assert answer.interval(0.999)[0] <= f(eigenvalues).sum() <= answer.interval(0.999)[1]
        assert rho.moment(2).value == pytest.approx(np.mean(np.sum((A.A @ V) ** 2, 0)) / 150)
        assert (A.matvecs, rho.probes, rho.matvecs) == (before, 6, 6 * steps)
    assert all(widths[f, 12] < 0.5 * widths[f, 6] for f in (np.log, np.reciprocal, np.sqrt))
    assert rho.cdf(0.1) == pytest.approx(0.5, abs=0.15)


def test_a_resumed_run_has_the_density_of_one_that_never_stopped(tmp_path):
    A = np.diag(np.geomspace(0.1, 1, 60))
    through, run = LanczosRun(A, signs(60, 3)), LanczosRun(A, signs(60, 3))
    through.advance(9)
    run.advance(4)
    run.save(tmp_path / "run.npz")
    again = LanczosRun.load(tmp_path / "run.npz", A)
    again.advance(5)
    assert again.density().sum(np.log) == through.density().sum(np.log)
