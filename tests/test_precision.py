"""Operators in single precision: what they answer for, and that their brackets hold the rounding of entries too."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from libraries import LIBRARIES, move

import spectra
from spectra import gp
from spectra.estimators import Nystrom, PivotedCholesky
from spectra.estimators._preconditioners import Jacobi, measured_rounding
from spectra.operators import Diagonal, LinearOperator
from spectra.results import ConvergenceWarning
from spectra.testing import check_operator

SINGLE = np.dtype("float32")


def rotated(eigenvalues, seed=0):
    """A dense matrix with these eigenvalues."""
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(eigenvalues),) * 2))[0]
    A = (Q * eigenvalues) @ Q.T
    return (A + A.T) / 2


def grid(side, mass):
    """A Laplacian with random conductances, whose entries have no exact single precision."""
    rng = np.random.default_rng(1)
    n, cells = side**2, np.arange(side**2).reshape(side, side)
    i, j = (np.concatenate([a.ravel(), b.ravel()]) for a, b in ((cells[1:], cells[:, 1:]), (cells[:-1], cells[:, :-1])))
    W = sp.coo_array((rng.uniform(0.5, 1.5, len(i)), (i, j)), shape=(n, n)).tocsr()
    W = W + W.T
    return (sp.diags_array(W.sum(1) + mass) - W).tocsr()


def covariance(noise):
    X = np.random.default_rng(2).uniform(-2, 2, (300, 2))
    return gp.KernelOperator(X, "matern32", lengthscale=0.7, noise=noise)


OPERATORS = {
    "dense, condition 1e2": lambda: rotated(np.geomspace(1e-2, 1, 300)),
    "dense, condition 1e5": lambda: rotated(np.geomspace(1e-5, 1, 300)),
    "dense, one small eigenvalue": lambda: rotated(np.r_[1e-5, np.ones(299)]),
    "CSR, condition 10": lambda: grid(18, 1.0),
    "CSR, condition 1e4": lambda: grid(18, 1e-3),
    "kernel, noise 1e-1": lambda: covariance(1e-1),
    "kernel, noise 1e-3": lambda: covariance(1e-3),
}


def logdet(A):
    return np.linalg.slogdet(A.todense() if hasattr(A, "todense") else A)[1]


def quiet(f, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return f(*args, **options)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("method", ["slq", "block-slq", "stochastic"])
def test_intervals_in_single_precision_hold_the_truth_in_double(name, method):
    A = OPERATORS[name]()
    truth, op = logdet(A), spectra.aslinearoperator(A).astype("float32")
    found = [quiet(spectra.logdet, op, method=method, matvecs=240, rng=seed) for seed in range(12)]
    assert sum(low <= truth <= high for low, high in (e.interval(0.99) for e in found)) >= 11


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("f", [np.log, np.reciprocal, np.sqrt])
def test_the_same_probes_in_both_precisions_differ_by_the_rounding(name, f):
    """Nothing but rounding stands between the two, and the bracket for it is no wider than it need be."""
    A = spectra.aslinearoperator(OPERATORS[name]())
    shape = {"method": "slq", "probes": 6, "steps": 25, "rng": 3}
    double, single = (quiet(spectra.spectral_sum, op, f, **shape) for op in (A, A.astype(SINGLE)))
    assert abs(double.value - single.value) <= single.rounding + double.rounding
    assert double.rounding < 1e-6 * single.rounding
    assert single.matvecs == double.matvecs + 8


def test_a_perturbation_in_few_rows_is_held():
    """Two rows large and nearly parallel: all of the rounding falls on the one small eigenvalue that matters."""
    n, size = 400, 1e3
    A = sp.diags_array(np.ones(n)).tolil()
    A[:2, :2] = size * np.array([[1 / 3, 1 / 3 - 1e-6], [1 / 3 - 1e-6, 1 / 3]])
    A = spectra.aslinearoperator(A.tocsr())
    single = quiet(spectra.spectral_sum, A.astype(SINGLE), np.log, method="block-slq", probes=20, steps=4, rng=0)
    exact = spectra.logdet(A, method="exact").value
    rounded = spectra.logdet(A.A.astype(SINGLE), method="exact").value
    assert abs(exact - rounded) > 1e-3
    assert single.rounding > abs(exact - rounded)


def test_a_measured_perturbation_may_sit_on_one_eigenvalue():
    """Of Frobenius norm 2e-5, all on the eigenvalue 1e-3: its logarithm moves by 0.02, five times what it would if all
    eigenvalues moved by the root mean square."""
    n, measured = 400, 1e-6
    rho = spectra.SpectralDensity([1e-3, 1.0], [1 / n, 1 - 1 / n], n, exact=True,
                                  details={"precision": measured, "perturbation": measured})
    worst = np.log1p(measured * np.sqrt(n) / 1e-3)
    assert worst < rho.sum(np.log).rounding < 2 * worst
    low, high = rho.sum(np.log).bias
    assert -low == high == rho.sum(np.log).rounding


@pytest.mark.parametrize("method", ["slq", "block-slq", "stochastic"])
def test_what_single_precision_cannot_tell_is_refused(method):
    A = spectra.aslinearoperator(rotated(np.geomspace(1e-10, 1, 200)))
    with pytest.raises(ValueError, match="rounding of float32 products"):
        quiet(spectra.logdet, A.astype("float32"), method=method, probes=8, steps=100, rng=0)
    assert quiet(spectra.logdet, A, method=method, probes=8, steps=100, rng=0).value < 0
    shifted = A.astype("float32").shift(1e-2)
    assert quiet(spectra.logdet, shifted, method=method, probes=8, steps=60, rng=0).value == pytest.approx(
        logdet(A.shift(1e-2)), rel=0.1)


def test_rounding_that_dominates_is_told_and_not_chased():
    A = rotated(np.geomspace(2e-5, 1, 300))
    single = spectra.aslinearoperator(A).astype("float32")
    with pytest.warns(ConvergenceWarning, match="the rounding of float32 products dominates, up to .*double precision"):
        chased = spectra.logdet(single, method="block-slq", rtol=1e-5, rng=0)
    low, high = chased.interval()
    assert low <= logdet(A) <= high
    with pytest.warns(ConvergenceWarning, match="the rounding of float32 products may change the answer"):
        spectra.spectral_sum(single, np.reciprocal, method="block-slq", probes=100, steps=3, rng=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spectra.logdet(rotated(np.geomspace(0.1, 1, 300)).astype(SINGLE), method="block-slq", rtol=1e-2, rng=0)


def test_exact_answers_come_from_the_original():
    A = rotated(np.geomspace(1e-9, 1, 100))
    for op in (spectra.aslinearoperator(A), spectra.aslinearoperator(A).shift(0.0), Products(A)):
        single = op.astype(SINGLE)
        assert spectra.logdet(single, method="exact").value == spectra.logdet(op, method="exact").value
    K = covariance(1e-9)
    y = np.random.default_rng(0).standard_normal(300).astype(SINGLE)
    exact = gp.log_marginal_likelihood(K, y.astype(float), method="exact").value
    assert gp.log_marginal_likelihood(K.astype(SINGLE), y, method="exact").value == pytest.approx(exact, rel=1e-12)


def test_claims_stay_and_are_still_tested():
    A = spectra.aslinearoperator(rotated(np.geomspace(1e-2, 1, 100)), psd=True)
    A.lower_bound = 1e-2
    single = A.astype(SINGLE)
    assert single.psd and single.hermitian and single.lower_bound == 1e-2
    bracket = quiet(spectra.logdet, single, method="slq", probes=6, steps=12, rng=0, preconditioner="none").bias
    assert bracket[0] < 0 < bracket[1] < 0.1  # Gauss errs upwards, and a known end closes the bracket
    single.lower_bound = 0.5
    with pytest.raises(ValueError, match=r"lower end of the spectrum is 0\.5 by what was given"):
        spectra.logdet(single, method="slq", probes=6, steps=40, rng=0, preconditioner="none")
    indefinite = spectra.aslinearoperator(rotated(np.linspace(-1, 1, 100)))
    with pytest.raises(ValueError, match="positive definite"):
        spectra.logdet(indefinite.astype(SINGLE), method="slq", probes=4, steps=30, rng=0)
    with pytest.raises(ValueError, match="needs a Hermitian operator"):
        spectra.logdet(spectra.aslinearoperator(np.triu(np.ones((9, 9)))).astype(SINGLE))


class Products(LinearOperator):
    """A dense matrix of which only products are known, in double precision."""

    hermitian = True

    def __init__(self, A):
        super().__init__(A.shape)
        self.A = A

    def _matmat(self, V):
        assert V.dtype == float
        return self.A @ V


A8 = rotated(np.linspace(1, 3, 8))
KINDS = {
    "dense": lambda: spectra.aslinearoperator(A8),
    "sparse": lambda: spectra.aslinearoperator(sp.csr_array(A8)),
    "products": lambda: Products(A8),
    "diagonal": lambda: Diagonal(np.linspace(1, 3, 8)),
    "kernel": lambda: gp.KernelOperator(np.linspace(0, 3, 8)[:, None], noise=0.1),
    "affine": lambda: 2 * spectra.aslinearoperator(A8).shift(0.3),
    "sum": lambda: spectra.aslinearoperator(A8) + Diagonal(np.linspace(1, 3, 8)),
    "product": lambda: spectra.aslinearoperator(A8) @ spectra.aslinearoperator(A8),
    "scaled": lambda: Jacobi(np.linspace(1, 3, 8)).congruence(Products(A8)),
    "pivoted": lambda: PivotedCholesky(spectra.aslinearoperator(A8), 3).congruence(spectra.aslinearoperator(A8)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_operator_has_a_single_precision_that_remembers_it(kind):
    A = KINDS[kind]()
    single = A.astype("float32")
    assert single.dtype == SINGLE and (single @ np.ones(8, dtype=SINGLE)).dtype == SINGLE
    check_operator(single, A.todense())
    assert single.astype(SINGLE) is single and single.astype(float) is A and A.astype(float) is A
    V = np.random.default_rng(0).standard_normal((8, 2))
    np.testing.assert_allclose(single.in_double() @ V, A @ V, rtol=1e-12)
    np.testing.assert_allclose(single.shift(1.0).in_double() @ V, A @ V + V, rtol=1e-12)
    before = single.matvecs
    assert measured_rounding(single, single) == single.matvecs - before == 8
    assert 0 < single.rounding < 1e-6 * np.linalg.norm(A.todense(), 2)


@pytest.mark.parametrize("P", [lambda A: PivotedCholesky(A, 20), lambda A: Nystrom(A, 20, rng=0),
                               lambda A: Jacobi(A.diagonal())])
def test_rounding_is_measured_beyond_a_preconditioner(P):
    for A in (spectra.aslinearoperator(rotated(np.geomspace(1e-2, 1, 80))), covariance(0.1),
              spectra.aslinearoperator(grid(9, 0.1))):
        if isinstance(A.diagonal(), np.ndarray):
            single = A.astype(SINGLE)
            M = P(single).congruence(single)
            exact = P(single).congruence(A)
            measured_rounding(M, single)
            error = exact.todense() - M.todense()
            assert M.rounding == pytest.approx(np.linalg.norm(error) / np.sqrt(A.shape[0]), rel=0.7)


@pytest.mark.parametrize("library", LIBRARIES)
def test_other_libraries(library):
    A = spectra.aslinearoperator(move(A8, library))
    single = A.astype("float32")
    V = move(np.ones((8, 2), dtype=SINGLE), library)
    assert str((single @ V).dtype).endswith("float32")
    estimate = spectra.logdet(single, method="slq", probes=4, steps=8, rng=0)
    low, high = estimate.interval(0.999)
    assert low <= np.linalg.slogdet(A8)[1] <= high
    assert single.astype("float64") is A


def test_sparse_torch_and_complex():
    torch = pytest.importorskip("torch")
    A = spectra.aslinearoperator(torch.tensor(A8).to_sparse())
    single = A.astype("float32")
    assert (single @ torch.ones(8, 1)).dtype == torch.float32
    assert measured_rounding(single, single) == 8
    half = spectra.aslinearoperator(A8 + 1j * np.triu(A8, 1) - 1j * np.tril(A8, -1)).astype("complex64")
    assert half.hermitian and (half @ np.ones(8, dtype=np.complex64)).dtype == np.complex64


def test_parameters_of_a_kernel_move_in_both_precisions():
    K = covariance(0.1)
    moved = K.astype(SINGLE).with_parameters({"lengthscale": 0.3})
    assert moved.dtype == SINGLE and moved.astype(float).dtype == float
    np.testing.assert_array_equal(moved.astype(float).X, K.X)
    assert moved.parameters == K.with_parameters({"lengthscale": 0.3}).parameters


def test_what_has_no_single_precision_is_refused():
    A = spectra.aslinearoperator(A8)
    for wrong in ("float16", "int64", "complex64", object):
        with pytest.raises(TypeError, match="float32 or float64, found"):
            A.astype(wrong)
    for scale in (1e-42, 1e36):
        for B in (A8 * scale, sp.csr_array(A8 * scale)):
            with pytest.raises(ValueError, match="leave the range of float32; divide the operator"):
                spectra.aslinearoperator(B).astype("float32")
        with pytest.raises(ValueError, match="leave the range of float32"):
            Diagonal(np.full(3, scale)).astype("float32")
    assert spectra.logdet(spectra.aslinearoperator(1e-20 * A8).astype(SINGLE), method="slq", probes=4, steps=8,
                          rng=0).value == pytest.approx(logdet(1e-20 * A8), abs=1)
