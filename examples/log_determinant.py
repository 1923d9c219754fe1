"""A log-determinant and its error bar.

The marginal likelihood of a Gaussian process needs log det K. Cholesky's factorisation gives it in n³/3 operations and
n² numbers of memory; an estimate needs products with K only. This example compares the two on a kernel matrix small
enough for both, and looks at what the error bar says when the estimate is good and when it is not.
"""

import warnings

import numpy as np

import spectra

# Measurements at 1,500 random places in the unit square, correlated over a tenth of its side, with noise.
rng = np.random.default_rng(0)
places = rng.uniform(size=(1500, 2))
squares = np.sum((places[:, None] - places) ** 2, axis=2)
K = np.exp(-squares / (2 * 0.1**2)) + 0.1 * np.eye(1500)

# With the default budget of 1,500 products "auto" is exact: forming and factorising 1,500 columns costs no more.
exact = spectra.logdet(K)
print("auto:      ", exact)
assert exact.method == "exact"
assert np.isclose(exact.value, np.linalg.slogdet(K)[1])

# With 400 products it may only estimate. The answer has two kinds of error: the spread of the random probes, of which
# `stderr` is the size, and the bias of the quadrature, of which `bias` is a bracket. The interval covers both.
estimate = spectra.logdet(K, method="stochastic", matvecs=400, rng=0)
low, high = estimate.interval(0.99)
print("estimate:  ", estimate)
print(f"             99 % interval [{low:.2f}, {high:.2f}]")
assert estimate.method != "exact"
assert estimate.matvecs <= 400
assert low <= exact.value <= high
assert high - low < 0.05 * abs(exact.value)

# Instead of a budget one may ask for a tolerance: one per cent at 95 %, bias included.
accurate = spectra.logdet(K, method="stochastic", rtol=0.01, rng=0)
print("to 1 %:    ", accurate)
assert abs(accurate.value - exact.value) < 0.01 * abs(exact.value)

# Less noise makes K ill-conditioned, and ten Lanczos steps are then too few to see its smallest eigenvalues. The
# spread of the probes knows nothing of that: the truth lies many standard errors away. The bracket does, and a warning
# says so.
almost_singular = K - (0.1 - 1e-6) * np.eye(1500)
truth = np.linalg.slogdet(almost_singular)[1]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", spectra.ConvergenceWarning)
    rough = spectra.logdet(almost_singular, method="slq", probes=20, steps=10, rng=0)
print("too shallow:", rough)
print(f"             {caught[0].message}")
assert abs(rough.value - truth) > 10 * rough.half_width()
assert rough.bias[0] < -10 * rough.half_width()

# Two remedies cost no product more. One Krylov space shared by all probes comes nearer. And the caller may know what
# no run can find out: that no eigenvalue lies below the noise. (The other end is Gershgorin's: no row sums to more than
# 1,500.) Gauss-Radau quadrature then closes the bracket from below.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", spectra.ConvergenceWarning)
    better = spectra.logdet(almost_singular, method="block-slq", probes=20, steps=10, support=(1e-6, 1500), rng=0)
low, high = better.interval(0.99)
print(f"bounded:     [{low:.0f}, {high:.0f}], exact {truth:.0f}")
assert better.matvecs == rough.matvecs
assert abs(better.value - truth) < 0.5 * abs(rough.value - truth)
assert low <= truth <= high
