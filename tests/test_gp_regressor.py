"""The regressor: against scikit-learn's, exact against matrix-free, and the manners of an estimator."""

import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

from spectra import datasets, gp
from spectra.gp._fitting import Objective, adam, lbfgs
from spectra.results import ConvergenceWarning

# Most fits below are cut short, or of rows that tell little, and say so; what they say has a test of its own.
pytestmark = pytest.mark.filterwarnings("ignore:the fit of GPRegressor is doubtful")

NO_DATA = pytest.mark.skipif(not os.environ.get("SPECTRA_DATA"), reason="needs the tables in the folder SPECTRA_DATA")


def waves(n=120, d=2, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, d))
    return X, 3 + np.sin(2 * X[:, 0]) + 0.5 * X[:, -1] + noise * rng.standard_normal(n)


def scores(model, X, y):
    mean, std = model.predict(X, return_std=True)
    return np.sqrt(np.mean((y - mean) ** 2)), np.mean(-0.5 * np.log(2 * np.pi * std**2) - 0.5 * ((y - mean) / std) ** 2)


def sklearn_model(d):
    process = pytest.importorskip("sklearn.gaussian_process")
    kernels = process.kernels
    return process.GaussianProcessRegressor(
        kernels.ConstantKernel(1.0, (1e-3, 1e4)) * kernels.RBF(np.full(d, d**0.5), (1e-3, 1e4))
        + kernels.WhiteKernel(0.1, (1e-6, 1e2)))


def standardised(X, y, X_test):
    return (X - X.mean(0)) / X.std(0), (y - y.mean()) / y.std(), (X_test - X.mean(0)) / X.std(0)


def test_finds_what_scikit_learn_finds():
    X, y = waves(160)
    Z, t, Z_test = standardised(X[:120], y[:120], X[120:])
    theirs = sklearn_model(2).fit(Z, t)
    ours = gp.GPRegressor().fit(X[:120], y[:120])
    assert ours.log_marginal_likelihood_.value == pytest.approx(theirs.log_marginal_likelihood_value_, abs=1e-3)
    mean, std = ours.predict(X[120:], return_std=True)
    expected, spread = theirs.predict(Z_test, return_std=True)
    np.testing.assert_allclose(mean, y[:120].mean() + y[:120].std() * expected, rtol=1e-3)
    np.testing.assert_allclose(std, y[:120].std() * spread, rtol=1e-2)


def test_matrix_free_fit_is_the_exact_one():
    """The iterative methods, forced upon a table small enough to check them."""
    X, y = waves(200)
    exact = gp.GPRegressor("matern52", max_iter=30, random_state=0).fit(X[:160], y[:160])
    free = gp.GPRegressor("matern52", method="stochastic", subset=100, full_steps=4, rank=30, neighbors=160,
                          max_iter=15, restarts=0, random_state=0).fit(X[:160], y[:160])
    assert free.log_marginal_likelihood_.stderr > 0
    assert free.log_marginal_likelihood_.value > exact.log_marginal_likelihood_.value - 5
    a, b = scores(exact, X[160:], y[160:]), scores(free, X[160:], y[160:])
    assert a == pytest.approx(b, rel=0.1)


def test_common_random_numbers_make_lbfgs_work_on_stochastic_likelihoods():
    X, y = waves(100)
    exact = gp.GPRegressor(max_iter=30).fit(X, y)
    free = gp.GPRegressor(method="stochastic", max_iter=15, rank=30, tol=1e-6, random_state=1).fit(X, y)
    assert free.log_marginal_likelihood_.value > exact.log_marginal_likelihood_.value - 3


def test_adam_climbs_to_where_lbfgs_is():
    X, y = waves(100)
    K = gp.KernelOperator(X, "rbf", noise=0.5)
    objective = Objective(K, y - y.mean(), lambda K: {})
    best = objective(lbfgs(objective, 50, lambda: None)[0])[0]
    found = objective(adam(objective, 80, lambda: None)[0])[0]
    assert best <= found + 1e-6 < objective(objective.start)[0] - 0.1
    assert found - best < 0.05


def test_restarts_leave_a_poor_maximum():
    """Started from far too long a length-scale, the search stays where all is noise; another start finds the wave."""
    x = np.linspace(0, 20, 150)[:, None]
    y = np.sin(3 * x[:, 0])
    with pytest.warns(ConvergenceWarning, match="variance ended at its lower bound, 0.001; .* alone by -0.07, little"):
        stuck = gp.GPRegressor(restarts=0).fit(x, y)
    free = gp.GPRegressor(restarts=2).fit(x, y)
    assert stuck.parameters_["noise"] > 0.5
    assert free.parameters_["noise"] < 1e-3
    assert free.log_marginal_likelihood_.value > stuck.log_marginal_likelihood_.value + 100
    with pytest.raises(ValueError, match="restarts must be"):
        gp.GPRegressor(restarts=-1).fit(x, y)


def test_a_fit_that_ends_where_it_should_not_says_so():
    X, y = waves(80)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        irrelevant = np.c_[X, np.random.default_rng(1).standard_normal(80)]
        model = gp.GPRegressor(random_state=0).fit(irrelevant, y)
    assert model.parameters_["lengthscale"][2] > 20  # the third column says nothing, and nobody need be told
    for told, table, target, options in [
        ("noise ended at its lower bound, 1e-06", X, np.sin(X[:, 0]), {}),
        (r"lengthscale\[0\] ended at its lower bound, 0.001; .*little for 4 parameters", X,
         np.random.default_rng(3).standard_normal(80), {"lengthscale": 0.001, "restarts": 0}),
        ("max_iter=3 iterations, where a slope of 0.2", X, y, {"max_iter": 3}),
    ]:
        with pytest.warns(ConvergenceWarning, match=told):
            gp.GPRegressor(random_state=0, **options).fit(table, target)
    objective = Objective(gp.KernelOperator(X, "rbf", lengthscale=[1.0, 2.0], noise=0.1), y, lambda K: {})
    lower, upper = objective.bounds.T
    assert objective.at_bounds(upper) == [
        "variance ended at its upper bound, 1e+04", "lengthscale[0] ended at its upper bound, 1e+04",
        "lengthscale[1] ended at its upper bound, 1e+04", "noise ended at its upper bound, 100"]
    assert len(objective.at_bounds(lower)) == 4
    assert objective.at_bounds((lower + upper) / 2) == []


def test_iterations_of_further_starts_count():
    X, y = waves(60)
    assert gp.GPRegressor(max_iter=5).fit(X, y).n_iter_ > 5 >= gp.GPRegressor(max_iter=5, restarts=0).fit(X, y).n_iter_
    assert gp.GPRegressor(optimizer=None).fit(X, y).n_iter_ == 0


def test_scores():
    X, y = waves(60)
    model = gp.GPRegressor(max_iter=5).fit(X, y)
    rest = y - model.predict(X)
    assert model.score(X, y) == pytest.approx(1 - rest @ rest / np.sum((y - y.mean()) ** 2), rel=1e-12)
    assert model.score(X, y, sample_weight=np.eye(60)[0] + np.eye(60)[1]) == pytest.approx(
        1 - rest[:2] @ rest[:2] / np.sum((y[:2] - y[:2].mean()) ** 2), rel=1e-9)
    huge = gp.GPRegressor(max_iter=5).fit(X, 1e300 * y)
    assert huge.score(X, 1e300 * y) == pytest.approx(model.score(X, y), abs=1e-6)
    with pytest.raises(ValueError, match=r"y must have shape \(60,\), one target for each row"):
        model.score(X, y[:10])
    with pytest.raises(ValueError, match="sample_weight must hold 60 weights"):
        model.score(X, y, sample_weight=np.ones(3))


def test_gradient_of_the_objective_is_that_of_differences():
    X, y = waves(60)
    K = gp.KernelOperator(X, "matern32", lengthscale=np.array([0.7, 1.3]), variance=1.4, noise=0.2)
    objective = Objective(K, y - y.mean(), lambda K: {})
    slope = objective(objective.start)[1]
    for i in range(len(slope)):
        step = 1e-6 * np.eye(len(slope))[i]
        difference = (objective(objective.start + step)[0] - objective(objective.start - step)[0]) / 2e-6
        assert slope[i] == pytest.approx(difference, rel=1e-5, abs=1e-8)


def test_refused_parameters_send_the_search_back():
    """Duplicate rows and hardly any noise: the matrix stops being definite on the way."""
    X, y = waves(60, noise=0.0)
    X, y = np.repeat(X, 2, 0), np.repeat(y, 2)
    model = gp.GPRegressor(noise=1e-3, max_iter=40).fit(X, y)
    assert model.score(X, y) > 0.999
    objective = Objective(gp.KernelOperator(X, "rbf", lengthscale=1e3, noise=0.0), y, lambda K: {})
    objective(objective.start)
    value, slope = objective._refused(objective.start + 1)
    assert value > objective._accepted[1]
    assert np.all(slope > 0)


def test_variance_of_neighbours_never_understates():
    X, y = waves(300)
    model = gp.GPRegressor("matern32", random_state=0).fit(X[:260], y[:260])
    Z = (X[260:] - model._centre) / model._scale
    exact = model._explained_by_all(Z)
    last = np.full(40, -np.inf)
    for m in (1, 20, 100, 260):
        model.neighbors = m
        explained = model._explained_by_neighbors(Z)
        assert np.all(explained <= exact + 1e-9)
        assert np.mean(explained) >= np.mean(last)
        last = explained
    np.testing.assert_allclose(last, exact, rtol=1e-8)


@pytest.mark.parametrize("kernel", [gp.SquaredExponential(1.0) + gp.Linear(), "matern12",
                                    lambda X, Y: np.exp(-np.abs(X[:, None, :] - Y[None, :, :]).sum(-1))])
def test_any_kernel(kernel):
    X, y = waves(150)
    given = callable(kernel) and not isinstance(kernel, gp.Covariance)
    model = gp.GPRegressor(kernel, optimizer=None if given else "l-bfgs", max_iter=15).fit(X[:120], y[:120])
    assert model.score(X[120:], y[120:]) > 0.9


def test_one_length_scale_or_one_a_column():
    X, y = waves(60)
    assert np.ndim(gp.GPRegressor(ard=False, max_iter=3).fit(X, y).parameters_["lengthscale"]) == 0
    assert np.shape(gp.GPRegressor(max_iter=3).fit(X, y).parameters_["lengthscale"]) == (2,)
    fixed = gp.GPRegressor(lengthscale=0.5, noise=0.2, optimizer=None).fit(X, y)
    assert fixed.parameters_["noise"] == 0.2
    assert fixed.n_iter_ == 0


def test_units_do_not_matter():
    X, y = waves(80)
    for scale in (1e-200, 1e200):
        assert gp.GPRegressor(max_iter=10).fit(scale * X, scale * y).predict(scale * X) == pytest.approx(
            scale * gp.GPRegressor(max_iter=10).fit(X, y).predict(X), rel=1e-5)
    one = gp.GPRegressor(max_iter=10).fit(X, y)
    other = gp.GPRegressor(max_iter=10).fit(1e6 * X - 5e5, 1e-6 * y)
    np.testing.assert_allclose(other.predict(1e6 * X - 5e5), 1e-6 * one.predict(X), rtol=1e-6)


@pytest.mark.parametrize("method", ["auto", "stochastic"])
@pytest.mark.parametrize("n", [1, 2])
def test_tables_of_hardly_any_rows(n, method):
    X, y = waves(n)
    mean, std = gp.GPRegressor(method=method, random_state=0).fit(X, y).predict(X, return_std=True)
    np.testing.assert_allclose(mean, y.mean(), atol=np.ptp(y) / 2 + 1e-3)
    assert np.all(np.isfinite(std)) and np.all(std > 0)


def test_columns_and_targets_that_do_not_vary():
    X, y = waves(50)
    assert gp.GPRegressor(max_iter=15).fit(np.c_[X, np.ones(50)], y).score(np.c_[X, np.ones(50)], y) > 0.9
    tenth, fifth = np.c_[X, np.full(50, 0.1)], np.c_[X, np.full(50, 0.2)]  # the mean of tenths is rounded
    assert gp.GPRegressor(max_iter=15).fit(tenth, y).score(fifth, y) > 0.9
    np.testing.assert_allclose(gp.GPRegressor(max_iter=5).fit(X, np.full(50, 7.0)).predict(X), 7.0)
    np.testing.assert_allclose(gp.GPRegressor(max_iter=5).fit(0 * X, y).predict(0 * X), y.mean(), atol=1e-2)


def test_progress_is_told():
    seen = []
    X, y = waves(50)
    gp.GPRegressor(max_iter=5, progress=lambda done, total: seen.append((done, total))).fit(X, y)
    assert seen
    assert seen[-1][1] == 5


def test_seed_repeats_a_fit():
    X, y = waves(200)
    models = [gp.GPRegressor(method="stochastic", subset=80, full_steps=2, max_iter=5, restarts=0, rank=20,
                             random_state=seed).fit(X, y) for seed in (3, 3, 4)]
    values = [model.log_marginal_likelihood_.value for model in models]
    assert values[0] == values[1] != values[2]


# The manners of an estimator


def test_scikit_learn_checks_pass():
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, about base classes and skipped checks
        results = checks.check_estimator(gp.GPRegressor(max_iter=2, restarts=1), on_fail=None)
    failed = [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"]
    assert not failed
    assert sum(r["status"] == "passed" for r in results) > 40


def test_library_does_not_import_scikit_learn():
    code = ("import sys, numpy as np; from spectra import gp; x = np.linspace(0, 1, 9)[:, None];"
            "gp.GPRegressor(max_iter=2).fit(x, x[:, 0]).predict(x); assert 'sklearn' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_parameters_by_name_and_pickles():
    model = gp.GPRegressor("matern32", noise=0.3)
    assert repr(model) == "GPRegressor(kernel='matern32', noise=0.3)"
    assert model.set_params(noise=0.2).get_params()["noise"] == 0.2
    with pytest.raises(ValueError, match="Invalid parameter 'nose'"):
        model.set_params(nose=1)
    X, y = waves(40)
    model.set_params(max_iter=3).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


def test_errors_say_what_to_do():
    X, y = waves(20)
    with pytest.raises(ValueError, match="optimizer must be"):
        gp.GPRegressor(optimizer="sgd").fit(X, y)
    for wrong in ({"max_iter": 0}, {"neighbors": 0}, {"subset": -5}, {"rank": 1.5}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be a whole number"):
            gp.GPRegressor(**wrong).fit(X, y)
    with pytest.raises(ValueError, match="precision must be"):
        gp.GPRegressor(precision="float16").fit(X, y)
    with pytest.raises(ValueError, match=r"shape \(20,\)"):
        gp.GPRegressor().fit(X, y[:3])
    with pytest.raises(ValueError, match="not fitted yet"):
        gp.GPRegressor().predict(X)
    with pytest.raises(ValueError, match="Reshape your data"):
        gp.GPRegressor().fit(X[:, 0], y)
    with pytest.raises(ValueError, match="3 features"):
        gp.GPRegressor(max_iter=1).fit(X, y).predict(np.ones((2, 3)))


def test_kernels_of_scikit_learn_keep_what_they_bring():
    kernels = pytest.importorskip("sklearn.gaussian_process.kernels")
    X, y = waves(20)
    kernel = 2.0 * kernels.RBF(0.7) + kernels.WhiteKernel(0.3)
    assert gp.GPRegressor(kernel, optimizer=None).fit(X, y).parameters_["noise"] == 0.3
    assert gp.GPRegressor(kernels.RBF(0.7), noise=0.2, optimizer=None).fit(X, y).parameters_["noise"] == 0.2
    with pytest.raises(ValueError, match="length_scale of the kernel is fixed"):
        gp.GPRegressor(kernels.RBF(0.7, "fixed")).fit(X, y)
    with pytest.raises(ValueError, match="lengthscale belongs"):
        gp.GPRegressor(kernels.RBF(0.7), lengthscale=5.0).fit(X, y)
    with pytest.raises(ValueError, match="ard=False has one"):
        gp.GPRegressor(lengthscale=[1.0, 2.0], ard=False).fit(X, y)


@NO_DATA
@pytest.mark.slow
@pytest.mark.parametrize("name", ["yacht", "housing"])
def test_real_tables_against_scikit_learn(name):
    X, y, X_test, y_test = datasets.load(name).split(0)
    Z, t, Z_test = standardised(X, y, X_test)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, of length-scales at their bounds
        theirs = sklearn_model(X.shape[1]).fit(Z, t)
    ours = gp.GPRegressor(random_state=0).fit(X, y)
    rmse, log_likelihood = scores(ours, X_test, y_test)
    expected = scores(theirs, Z_test, (y_test - y.mean()) / y.std())
    assert rmse / y.std() == pytest.approx(expected[0], rel=0.1)
    assert log_likelihood + np.log(y.std()) == pytest.approx(expected[1], abs=0.1)


def test_a_fit_is_not_lost_to_single_precision():
    """After an hour of search, the last likelihood may find that the noise is below the rounding."""
    X = np.random.default_rng(0).uniform(-2, 2, (500, 2))
    y = np.sin(X[:, 0])
    model = gp.GPRegressor(lengthscale=2.0, noise=1e-7, method="stochastic", precision="float32", optimizer=None,
                           random_state=0, rank=32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    assert any("found in float64" in str(w.message) for w in caught)
    assert model.score(X, y) > 0.999 and np.isfinite(float(model.log_marginal_likelihood_))
