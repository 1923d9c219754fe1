"""Gaussian process regression on a real table, and how sure one can be of its marginal likelihood.

1,030 mixtures of concrete: eight columns say what went in and how long it hardened, the last how strong it became.
Hyper-parameters maximise the marginal likelihood

    log p(y) = -1/2 y'K^-1 y - 1/2 log det K - n/2 log 2 pi.

At this size a Cholesky factorisation finds it exactly. Where it cannot be had, products with K alone find it with an
error bar: solve, log-determinant and gradient come out of one block Krylov space. Here both can be seen side by side.
"""

import numpy as np

from spectra import datasets, gp

X, y, X_test, y_test = datasets.load("concrete").split(0)

model = gp.GPRegressor("rbf", subset=600, max_iter=25, full_steps=0, random_state=0).fit(X, y)
mean, std = model.predict(X_test, return_std=True)
rmse = np.sqrt(np.mean((y_test - mean) ** 2))
design = np.column_stack([X, np.ones(len(X))])
line = np.column_stack([X_test, np.ones(len(X_test))]) @ np.linalg.lstsq(design, y, rcond=None)[0]
linear = np.sqrt(np.mean((y_test - line) ** 2))
inside = np.mean(np.abs(y_test - mean) <= 1.96 * std)
print(f"test error {rmse:.2f} MPa beside {linear:.2f} of linear regression; {inside:.0%} of targets within 1.96 std")
assert rmse < 0.6 * linear
assert 0.85 < inside <= 1

# The evidence for these hyper-parameters on all rows, three ways.

K = gp.KernelOperator(model.X_, "rbf", noise=model.parameters_["noise"]).with_parameters(model.parameters_)
exact = gp.log_marginal_likelihood(K, model.y_, method="exact", gradient=True)
sampled = gp.log_marginal_likelihood(K, model.y_, method="stochastic", gradient=True, rng=1)
entropic = gp.log_marginal_likelihood(K, model.y_, method="maxent", rng=0)
low, high = sampled.interval(0.95)
print(f"log p(y) = {exact.value:.2f} by Cholesky, {sampled.value:.2f} in [{low:.2f}, {high:.2f}] by "
      f"{sampled.matvecs} products, {entropic.value:.1f} by maximum entropy")
assert low <= exact.value <= high
assert high - low < 0.02 * len(y)

# The gradient has error bars, too: an optimiser can tell a slope from noise.

for name, slope in sampled.gradient.items():
    truth, found, error = (np.ravel(v) for v in (exact.gradient[name].value, slope.value, slope.stderr))
    print(f"d log p / d {name}: " + ", ".join(f"{v:.1f} ± {e:.1f} ({t:.1f})" for v, e, t in
                                              zip(found, error, truth, strict=True)))
    assert np.all(np.abs(found - truth) < 5 * error)
