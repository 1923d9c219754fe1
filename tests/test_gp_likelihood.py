"""Marginal likelihoods: values, gradients and error bars against dense factorisations."""

import itertools
import warnings

import numpy as np
import pytest
from libraries import LIBRARIES, move

from spectra import gp
from spectra.estimators import Jacobi, Nystrom, PivotedCholesky
from spectra.gp import _inv_quad
from spectra.gp._inv_quad import one_pass
from spectra.gp._plan import Plan, admitted
from spectra.operators import LinearOperator
from spectra.results import ConvergenceWarning

METHODS = ["exact", "stochastic", "maxent"]
KERNELS = sorted(gp.KERNELS)


def inputs(n, d=2, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def problem(n=150, kernel="rbf", noise=0.05, seed=0, **options):
    """A kernel operator, its matrix, and targets drawn from it."""
    K = gp.KernelOperator(inputs(n, seed=seed), kernel, noise=noise, **options)
    dense = K.todense()
    return K, dense, np.linalg.cholesky(dense) @ np.random.default_rng(seed + 1).standard_normal(n)


def truth(dense, y):
    """y'K^-1 y, log det K and the log marginal likelihood."""
    inv_quad, logdet = y @ np.linalg.solve(dense, y), np.linalg.slogdet(dense)[1]
    return inv_quad, logdet, -0.5 * (inv_quad + logdet + len(y) * np.log(2 * np.pi))


def slopes(K, y, step=1e-5):
    """Central differences of the exact value, parameter by parameter."""
    found = {}
    for name, value in K.parameters.items():
        flat = np.ravel(np.asarray(value, dtype=float))
        found[name] = np.zeros(len(flat))
        for i in range(len(flat)):
            ends = []
            for sign in (1, -1):
                moved = flat.copy()
                moved[i] *= 1 + sign * step
                moved = moved.reshape(np.shape(value)) if np.ndim(value) else float(moved[0])
                ends.append(truth(K.with_parameters({name: moved}).todense(), y)[2])
            found[name][i] = (ends[0] - ends[1]) / (2 * step * flat[i])
    return found


class Products(LinearOperator):
    """A dense matrix of which only products are known."""

    hermitian = True

    def __init__(self, A):
        super().__init__(A.shape)
        self.A_ = A

    def _matmat(self, V):
        return self.A_ @ V


# inv_quad_logdet


@pytest.mark.parametrize("noise", [1e-1, 1e-4])
def test_one_pass_gives_solve_and_logdet(noise):
    K, dense, y = problem(300, noise=noise)
    inv_quad, logdet = gp.inv_quad_logdet(K, y, method="stochastic", rng=1)
    exact = truth(dense, y)
    assert abs(inv_quad.value - exact[0]) <= inv_quad.bias[1] + 1e-9 * exact[0]
    low, high = logdet.interval(0.999)
    assert low <= exact[1] <= high
    assert logdet.stderr < 0.01 * abs(exact[1])
    found = np.linalg.norm(y - dense @ inv_quad.solution) / np.linalg.norm(y)
    assert found < 1e-3
    assert inv_quad.matvecs == logdet.matvecs == K.matvecs


@pytest.mark.parametrize("P", [Jacobi, lambda K: PivotedCholesky(K, 20), lambda K: Nystrom(K, 20, rng=0), None, "none"])
def test_every_preconditioner_gives_the_same_answer(P):
    K, dense, y = problem(200, "matern52", noise=1e-2)
    P = P if P in (None, "none") else P(K.diagonal() if P is Jacobi else K)
    inv_quad, logdet = gp.inv_quad_logdet(K, y, method="stochastic", preconditioner=P, rng=0, tol=1e-9)
    exact = truth(dense, y)
    assert inv_quad.value == pytest.approx(exact[0], rel=1e-9)
    assert logdet.interval(0.999)[0] <= exact[1] <= logdet.interval(0.999)[1]


def test_products_alone_suffice():
    _, dense, y = problem(120)
    inv_quad, logdet = gp.inv_quad_logdet(Products(dense), y, method="stochastic", rng=0, tol=1e-8)
    assert inv_quad.value == pytest.approx(truth(dense, y)[0], rel=1e-8)
    assert logdet.interval(0.999)[0] <= truth(dense, y)[1] <= logdet.interval(0.999)[1]


def test_unconverged_bracket_holds_the_quadratic_form():
    K, dense, y = problem(300, noise=1e-4)
    with pytest.warns(ConvergenceWarning, match="relative residual"):
        inv_quad, _ = gp.inv_quad_logdet(K, y, method="stochastic", steps=3, rng=0, preconditioner="none")
    low, high = inv_quad.interval()
    assert low - 1e-9 * low <= truth(dense, y)[0] <= high
    assert high > 1.0001 * low


def test_little_memory_gives_the_same_answer_in_groups():
    """Groups of probes, shallow spaces, and conjugate gradients to finish the solve."""
    K, dense, y = problem(300, noise=1e-3, memory=0)
    memory = 300 * 8 * 100
    inv_quad, logdet = gp.inv_quad_logdet(K, y, method="stochastic", memory=memory, rng=0, probes=6, tol=1e-7,
                                          preconditioner=PivotedCholesky(K, 30))
    assert inv_quad.value == pytest.approx(truth(dense, y)[0], rel=1e-8)
    assert logdet.probes == 6
    assert logdet.interval(0.999)[0] <= truth(dense, y)[1] <= logdet.interval(0.999)[1]


def test_coverage_of_the_interval():
    """95 % intervals over fixed seeds."""
    K, dense, y = problem(90, "matern32", noise=1e-2)
    exact, P = truth(dense, y)[2], PivotedCholesky(K, 20)
    held = 0
    for seed in range(40):
        low, high = gp.log_marginal_likelihood(K, y, method="stochastic", probes=8, rng=seed,
                                               preconditioner=P).interval()
        held += low <= exact <= high
    assert held >= 34


def test_scale_laws():
    """c K and sqrt(c) y leave the quadratic form alone and add n log c to the log-determinant."""
    _, dense, y = problem(100)
    one = gp.inv_quad_logdet(dense, y, method="stochastic", rng=3)
    for c in (1e-6, 1e6):
        other = gp.inv_quad_logdet(c * dense, np.sqrt(c) * y, method="stochastic", rng=3)
        assert other.inv_quad.value == pytest.approx(one.inv_quad.value, rel=1e-9)
        assert other.logdet.value == pytest.approx(one.logdet.value + 100 * np.log(c), rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_targets_of_zero(method):
    K, dense, _ = problem(60)
    inv_quad, logdet = gp.inv_quad_logdet(K, np.zeros(60), method=method, rng=0)
    assert inv_quad.value == 0.0
    assert logdet.value == pytest.approx(truth(dense, np.zeros(60))[1], rel=0.1)


def test_one_seed_one_answer():
    K, _, y = problem(80)
    values = [gp.log_marginal_likelihood(K, y, method="stochastic", rng=seed, probes=4, steps=6, tol=0.01).value
              for seed in (5, 5, 6)]
    assert values[0] == values[1] != values[2]


# Over all sign vectors


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_expectation_over_all_sign_vectors_is_exact(n):
    K = gp.KernelOperator(inputs(n), "rbf", lengthscale=np.array([0.8, 1.5]), noise=0.1)
    y = np.random.default_rng(1).standard_normal(n)
    Z = np.array(list(itertools.product((-1.0, 1.0), repeat=n))).T
    op, block = admitted(K, y, "test", True)
    for P in ("none", PivotedCholesky(K, 1)):
        plan = Plan("stochastic", Z.shape[1], tol=1e-12, preconditioner=P, rng=0, gradient=True, signs=Z)
        done = one_pass(op, block, plan)
        inv_quad, logdet, _ = truth(K.todense(), y)
        assert done.inv_quad.value == pytest.approx(inv_quad, rel=1e-11)
        assert done.logdet.value == pytest.approx(logdet, rel=1e-11, abs=1e-11)
        inverse = np.linalg.inv(K.todense())
        traces = K.bilinear(done.left, done.right, each=True)
        for name, index in (("noise", None), ("lengthscale", 0), ("lengthscale", 1), ("variance", None)):
            found = traces[name].mean(-1) if index is None else traces[name][index].mean()
            expected = np.trace(inverse @ K.derivative(name, index).todense())
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-11)


# Gradients


@pytest.mark.parametrize("kernel", KERNELS)
def test_exact_gradient_is_that_of_differences(kernel):
    K, _, y = problem(40, kernel, noise=0.1)
    found = gp.log_marginal_likelihood(K, y, gradient=True, method="exact").gradient
    for name, expected in slopes(K, y).items():
        np.testing.assert_allclose(np.ravel(found[name].value), expected, rtol=1e-5, atol=1e-4)


def pulls(K, y, seed, **options):
    """(stochastic - exact) / standard error of every component of the gradient."""
    exact = gp.log_marginal_likelihood(K, y, gradient=True, method="exact").gradient
    found = gp.log_marginal_likelihood(K, y, gradient=True, method="stochastic", rng=seed, **options).gradient
    return np.concatenate([np.ravel((found[name].value - exact[name].value) / found[name].stderr) for name in exact])


def test_stochastic_gradient_agrees_within_its_error_bars():
    K = gp.KernelOperator(inputs(150), "matern32", lengthscale=np.array([1.0, 2.0]), noise=0.05)
    y = np.linalg.cholesky(K.todense()) @ np.random.default_rng(1).standard_normal(150)
    for P in (None, "none"):
        all_pulls = np.array([pulls(K, y, seed, preconditioner=P, tol=1e-8) for seed in range(12)])
        assert np.all(np.abs(all_pulls.mean(0)) < 4 / np.sqrt(12) * 1.3)  # no bias: a flipped sign is far off
        assert 0.5 < np.sqrt((all_pulls**2).mean()) < 1.6  # and the error bars are true


@pytest.mark.parametrize("short", [{"memory": 5 * 10**4}, {"steps": 4}, {"steps": 1}, {"tol": 0.1}])
def test_gradients_of_a_solve_that_stopped_early_say_so(short):
    """The probes' spread knows nothing of what the solves are short of: that is the bracket's to say."""
    K, _, y = problem(200, "matern52", noise=1e-3)
    y = y + np.random.default_rng(5).standard_normal(200)  # more noise than K says: the quadratic form dominates
    exact = gp.log_marginal_likelihood(K, y, gradient=True, method="exact").gradient
    held, beyond = 0, 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for seed in range(4):
            found = gp.log_marginal_likelihood(K, y, gradient=True, method="stochastic", rng=seed, **short).gradient
            for name, slope in exact.items():
                low, high = found[name].interval(0.99)
                held += low <= slope.value <= high
                beyond = max(beyond, abs(found[name].value - slope.value) / found[name].stderr)
    assert held >= 11 and beyond > 5


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients_of_every_kernel_have_true_error_bars(kernel):
    """Parameter by parameter, over enough seeds to tell: four of them would say anything between 0.6 and 1.6."""
    lengths = {} if kernel == "periodic" else {"lengthscale": np.array([0.7, 1.0, 2.0])}
    K = gp.KernelOperator(inputs(300, 3), kernel, noise=0.05, **lengths)
    y = np.linalg.cholesky(K.todense()) @ np.random.default_rng(1).standard_normal(300)
    exact = gp.log_marginal_likelihood(K, y, gradient=True, method="exact").gradient
    found = [gp.log_marginal_likelihood(K, y, gradient=True, method="stochastic", rng=seed).gradient
             for seed in range(60)]
    for name, slope in exact.items():
        error = np.array([g[name].value - slope.value for g in found])
        stderr = np.array([g[name].stderr for g in found])
        assert np.all(np.abs(error) < 8 * stderr)  # long tails: a linear kernel has but as many directions as columns
        ratio = np.sqrt((error**2).mean(0) / (stderr**2).mean(0))
        assert np.all((ratio > 0.75) & (ratio < 1.3)), (name, ratio)
        assert np.all(np.abs(error.mean(0)) < 4 * np.sqrt((stderr**2).mean(0) / 60)), name


def in_long_double(K, y):
    """y'K^-1 y and all derivatives of the log marginal likelihood, with three digits more than double precision."""
    n = K.shape[0]
    A, X = (np.longdouble(M) for M in (K.todense(), np.eye(n)))
    for j in range(n):  # Gauss and Jordan
        A[j], X[j] = A[j] / A[j, j], X[j] / A[j, j]
        others = np.arange(n) != j
        X[others] -= np.outer(A[others, j], X[j])
        A[others] -= np.outer(A[others, j], A[j])
    a = X @ np.longdouble(y)
    return y @ a, {name: (a @ dK @ a - np.sum(X * dK)) / 2 for name, dK in (
        (name, np.longdouble(K.derivative(name).todense())) for name in K.parameters)}


@pytest.mark.parametrize(("kernel", "noise"), [("rbf", 1e-8), ("matern32", 1e-8), ("linear", 1e-6), ("rbf", 1e-3)])
def test_rounding_is_in_the_brackets_of_ill_conditioned_solves(kernel, noise):
    """Every row twice, with targets that differ: the solution is as large as the noise is small."""
    X = np.tile(inputs(40), (2, 1))
    y = np.sin(X[:, 0]) + 0.1 * np.random.default_rng(1).standard_normal(80)
    K = gp.KernelOperator(X, kernel, noise=noise)
    inv_quad, gradient = in_long_double(K, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = [gp.log_marginal_likelihood(K, y, method="stochastic", gradient=True, rng=seed) for seed in range(3)]
    for e in found:
        low, high = e.inv_quad.bias
        assert low <= inv_quad - e.inv_quad.value <= high < 1e-2 * inv_quad
        for name, slope in e.gradient.items():
            low, high = slope.interval(0.999)
            assert low <= gradient[name] <= high, name
        assert np.ptp(e.gradient["noise"].interval(0.999)) < 0.1 * abs(gradient["noise"])


def test_one_step_tells_nothing_of_a_gradient():
    K, _, y = problem(150, "matern32", noise=0.01)
    with pytest.warns(ConvergenceWarning):
        e = gp.log_marginal_likelihood(K, y, method="stochastic", gradient=True, rng=0, memory=10_000)
    assert all(slope.bias == (-np.inf, np.inf) for slope in e.gradient.values())


def test_a_perfect_preconditioner_leaves_nothing_to_do():
    K, dense, y = problem(80, noise=1e-3)
    inv_quad, logdet = gp.inv_quad_logdet(K, y, method="stochastic", rng=0, preconditioner=PivotedCholesky(K, 80))
    assert logdet.value == pytest.approx(truth(dense, y)[1], rel=1e-9)
    assert inv_quad.value == pytest.approx(truth(dense, y)[0], rel=1e-9)


@pytest.mark.parametrize("method", ["exact", "stochastic"])
def test_targets_beyond_all_numbers_are_refused(method):
    K, dense, y = problem(30)
    with pytest.raises(ValueError, match="divide y"):
        gp.log_marginal_likelihood(K, 1e200 * y, method=method, rng=0)
    large = gp.inv_quad_logdet(K, 1e140 * y, method=method, rng=0).inv_quad.value
    assert large == pytest.approx(1e280 * truth(dense, y)[0], rel=1e-6)


def test_method_names_are_those_of_the_table():
    assert sorted(METHODS) == sorted(_inv_quad.METHODS)


def test_maximum_entropy_evidence():
    """MEMe: the log-determinant of the density of maximum entropy, beside the other methods."""
    K, dense, y = problem(400, "matern12", noise=0.5)
    evidence = gp.log_marginal_likelihood(K, y, method="maxent", rng=0, gradient=True)
    assert evidence.method == "maxent"
    assert evidence.value == pytest.approx(truth(dense, y)[2], rel=0.02)
    assert evidence.gradient["noise"].stderr > 0


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_library_and_precision_finds_the_same(library, dtype):
    K, dense, y = problem(150)
    X, targets = (move(a.astype(dtype), library) for a in (K.X, y))
    evidence = gp.log_marginal_likelihood(gp.KernelOperator(X, "rbf", noise=0.05), targets, method="stochastic",
                                          gradient=True, rng=0, tol=1e-3)
    low, high = evidence.interval(0.999)
    assert low <= truth(dense, y)[2] <= high
    assert type(evidence.solution) is type(X) and evidence.solution.dtype == X.dtype
    assert high - low < 0.1 * len(y)


@pytest.mark.parametrize("kernel", ["rbf", "matern32"])
@pytest.mark.parametrize("noise", [1e-1, 1e-2, 1e-3])
def test_bracket_of_single_precision_holds_its_rounding_and_little_more(kernel, noise):
    """The same preconditioner and probes in both precisions: what differs is rounding."""
    X = inputs(400, 6).astype(np.float32)
    y = np.random.default_rng(1).standard_normal(400)
    single, double = (gp.KernelOperator(X.astype(dtype), kernel, lengthscale=2.0, noise=noise)
                      for dtype in (np.float32, np.float64))
    for rank in (20, 130):
        asked = {"method": "stochastic", "steps": 80, "probes": 3, "rng": 0,
                 "preconditioner": PivotedCholesky(single, rank)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            found, exact = (gp.inv_quad_logdet(K, y.astype(K.dtype), **asked).logdet for K in (single, double))
        assert found.bias[0] <= exact.value - found.value <= found.bias[1] < 0.2 * found.stderr


@pytest.mark.parametrize("noise", [1e-3, 1e-5])
def test_intervals_hold_in_single_precision_where_it_hardly_suffices(noise):
    X = np.random.default_rng(0).uniform(-2, 2, (300, 2)).astype(np.float32)
    exact = np.linalg.slogdet(gp.KernelOperator(X.astype(float), noise=noise).todense())[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for seed in range(3):
            low, high = gp.inv_quad_logdet(gp.KernelOperator(X, noise=noise), X[:, 0], method="stochastic",
                                           rng=seed).logdet.interval(0.99)
            assert low <= exact <= high


# Errors


def test_errors_say_what_to_do():
    K, dense, y = problem(20)
    with pytest.raises(ValueError, match=r"shape \(20,\)"):
        gp.inv_quad_logdet(K, y[:-1])
    with pytest.raises(ValueError, match="finite targets"):
        gp.inv_quad_logdet(K, np.full(20, np.nan))
    with pytest.raises(ValueError, match="found 'magic'"):
        gp.log_marginal_likelihood(K, y, method="magic")
    with pytest.raises(ValueError, match="probes must be"):
        gp.log_marginal_likelihood(K, y, probes=0)
    with pytest.raises(ValueError, match="tol must lie"):
        gp.log_marginal_likelihood(K, y, tol=2.0)
    with pytest.raises(ValueError, match="derivatives"):
        gp.log_marginal_likelihood(dense, y, gradient=True)
    with pytest.raises(TypeError, match="real operator"):
        gp.inv_quad_logdet(dense.astype(complex), y)
    with pytest.raises(ValueError, match="'none' or None"):
        gp.inv_quad_logdet(K, y, method="stochastic", preconditioner="best")
    with pytest.raises(TypeError, match="has no solve"):
        gp.inv_quad_logdet(K, y, method="stochastic", preconditioner=object())
    with pytest.raises(ValueError, match=r"shape \(5, 5\)"):
        gp.inv_quad_logdet(K, y, method="stochastic", preconditioner=PivotedCholesky(np.eye(5)))
    for wrong in ({"probes": None}, {"probes": "many"}, {"steps": 0}, {"tol": "a"}, {"memory": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must"):
            gp.log_marginal_likelihood(K, y, method="stochastic", **wrong)
    for wrong in (1j * y, np.array(["a"] * 20), "abc"):
        with pytest.raises(TypeError, match="y must"):
            gp.log_marginal_likelihood(K, wrong)


@pytest.mark.parametrize("method", ["exact", "stochastic"])
def test_matrices_that_are_not_positive_definite_are_refused(method):
    with pytest.raises(ValueError, match="positive definite"):
        gp.inv_quad_logdet(np.diag([1.0, 2.0, -1.0]), np.ones(3), method=method, rng=0)
