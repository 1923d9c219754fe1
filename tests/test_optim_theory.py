"""The theory of averaging and preconditioning, against simulation and against exact linear algebra."""

from fractions import Fraction

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from spectra import optim  # noqa: E402

# Noisy quadratics


def paths(lr, curvature, noise, steps, runs, start=0.0, seed=0):
    """Iterates w_1 ... w_n of many runs, shape (steps, runs)."""
    rng = np.random.default_rng(seed)
    w, path = np.full(runs, start), np.empty((steps, runs))
    for k in range(steps):
        w = w - lr * (curvature * w + noise * rng.standard_normal(runs))
        path[k] = w
    return path


@pytest.mark.parametrize(("lr", "curvature"), [(0.2, 0.5), (0.9, 2.0)])
@pytest.mark.parametrize("steps", [3, 150])
def test_variances_of_a_noisy_quadratic(lr, curvature, steps):
    runs, decay = 6000, 0.9
    path = paths(lr, curvature, 1.5, steps, runs)
    tolerance = 4 * np.sqrt(2 / runs)
    assert path[-1].var() == pytest.approx(optim.iterate_variance(curvature, lr, 1.5, steps), rel=tolerance)
    assert path.mean(0).var() == pytest.approx(optim.average_variance(curvature, lr, 1.5, steps), rel=tolerance)
    if steps == 150:
        weights = (1 - decay) * decay ** np.arange(steps)[::-1]
        assert (weights @ path).var() == pytest.approx(optim.ema_variance(curvature, lr, 1.5, decay), rel=tolerance)


@pytest.mark.parametrize("curvature", [1e-14, 1e-6, 1.5e-5, 3e-5, 1e-3, 0.3, 1.0, 2.9])
def test_variances_keep_their_digits_along_flat_directions(curvature):
    """Against the sums that they are, in exact arithmetic."""
    x, n = Fraction(curvature) * Fraction(0.5), 7
    q = 1 - x
    iterate = Fraction(0.25) * sum(q ** (2 * k) for k in range(n))
    mean = sum((1 - q**i) ** 2 for i in range(1, n + 1)) / (Fraction(curvature) * n) ** 2
    assert optim.iterate_variance(curvature, 0.5, 1.0, n) == pytest.approx(float(iterate), rel=1e-12)
    assert optim.average_variance(curvature, 0.5, 1.0, n) == pytest.approx(float(mean), rel=1e-6)
    start = optim.expected_norm(curvature, 0.5, 0.0, n, start=1.0, average=True)
    assert start == pytest.approx(abs(float(sum(q**i for i in range(1, n + 1)) / n)), rel=1e-12)


def test_the_average_of_one_is_the_iterate_and_of_many_forgets_the_step():
    assert optim.average_variance(0.7, 0.3, 1.2, 1) == pytest.approx(optim.iterate_variance(0.7, 0.3, 1.2, 1))
    for lr in (0.1, 1.0):
        assert optim.average_variance(0.7, lr, 1.2, 10**6) == pytest.approx(1.2**2 / (0.7**2 * 10**6), rel=1e-4)


@pytest.mark.parametrize("average", [False, True])
def test_norms_concentrate_whatever_the_dimension(average):
    """Theorem 18: within a constant of the expected norm, while that grows as the root of P."""
    spreads = []
    for P in (100, 6400):
        curvature, start = np.linspace(0.5, 2.0, P), 0.3
        norms = []
        for seed in range(40):
            path = paths(0.3, curvature, 1.0, 12, P, start=start, seed=seed)
            norms.append(np.linalg.norm(path.mean(0) if average else path[-1]))
        expected = optim.expected_norm(curvature, 0.3, 1.0, 12, start, average=average)
        spreads.append(np.abs(np.array(norms) - expected).max())
        assert np.mean(norms) == pytest.approx(expected, rel=0.02)
    assert max(spreads) < 2.0 and spreads[1] < 2 * spreads[0]


def test_the_last_iterate_is_as_good_only_at_a_rate_that_falls_as_one_by_n():
    """Theorem 19."""
    curvature, covariance = np.array([0.3, 1.0, 4.0]), np.array([1.0, 2.0, 0.5])
    steps = [optim.break_even_step(curvature, covariance, n) for n in (100, 1000, 10_000)]
    assert steps[0] / steps[1] == pytest.approx(10, rel=0.05) and steps[1] / steps[2] == pytest.approx(10, rel=0.01)
    last = 0.5 * np.sum(curvature * optim.iterate_variance(curvature, steps[0], np.sqrt(covariance)))
    mean = np.sum(covariance / curvature) / (2 * 100 + 2)
    assert last == pytest.approx(mean)
    assert optim.break_even_step(2.0, 3.0, 7) == pytest.approx(2 / (7 + 2) / 2)  # (7.28)


def test_an_average_has_the_smaller_norm():
    """Theorem 20, for the average that a model is evaluated with."""
    torch.manual_seed(0)
    model = torch.nn.Linear(30, 1)
    average, norms = optim.IterateAverage(model), []
    for _ in range(20):
        torch.nn.init.normal_(model.weight)
        average.update()
        norms.append(model.weight.square().sum().item())
    with average.applied():
        assert model.weight.square().sum().item() < np.mean(norms) / 10  # 1 / 20 for independent ones


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="is stable for"):
        optim.iterate_variance(3.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        optim.average_variance(1.0, 0.1, 1.0, 0)
    with pytest.raises(ValueError, match=r"lr must be positive, found -0\.5"):
        optim.iterate_variance(1.0, -0.5, 1.0)
    with pytest.raises(ValueError, match=r"lr must be positive, found -0\.5"):
        optim.stationary_loss([[1.0]], [[1.0]], -0.5)
    with pytest.raises(ValueError, match="is stable for"):
        optim.iterate_variance(np.nan, 0.5, 1.0)
    with pytest.raises(ValueError, match="the Hessian must be a finite, symmetric"):
        optim.largest_stable_step([[1.0, 2.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="the Hessian must be a finite, symmetric"):
        optim.largest_stable_step([[np.nan]])
    with pytest.raises(ValueError, match="curvatures must be positive"):
        optim.break_even_step([0.0, 1.0], 1.0, 5)
    with pytest.raises(ValueError, match="preconditioner must be positive definite; add damping"):
        optim.largest_stable_step(np.eye(2), np.diag([1.0, 0.0]))
    with pytest.raises(ValueError, match="not stable"):
        optim.stationary_loss(np.eye(2), np.eye(2), 2.5)
    with pytest.raises(ValueError, match="take one of at most 1"):
        optim.average_loss_bound(np.eye(2), np.eye(2), np.ones(2), 1.5, 3)


# Preconditioners


def positive(rng, n=4, scale=1.0):
    M = rng.standard_normal((n, n))
    return scale * (M @ M.T + 0.3 * np.eye(n))


def test_the_change_of_a_quadratic_loss():
    rng = np.random.default_rng(0)
    H, B, w = positive(rng), positive(rng), rng.standard_normal(4)
    after = w - 0.1 * np.linalg.solve(B, H @ w)
    assert optim.loss_change(H @ w, H, 0.1, B) == pytest.approx(0.5 * after @ H @ after - 0.5 * w @ H @ w)


def test_the_largest_stable_step():
    rng = np.random.default_rng(0)
    H, B = positive(rng), positive(rng)
    for damping in (0.0, 3.0):
        step = optim.largest_stable_step(H, B, damping=damping)
        for factor, grows in ((0.99, False), (1.01, True)):
            move = np.eye(4) - factor * step * np.linalg.solve(B + damping * np.eye(4), H)
            assert bool(np.abs(np.linalg.eigvals(move)).max() > 1) is grows
        assert step <= optim.stable_step_bound(H, B, damping=damping)
    assert optim.stable_step_bound(H, H @ H) == pytest.approx(optim.largest_stable_step(H, H @ H))  # they commute
    assert optim.largest_stable_step(-H) == np.inf and optim.curvature_ratio(5.0, 1.0, 1.0) == 3.0


def moments_of_descent(H, B, sigma, lr, start, steps):
    """Exact expected losses above the minimum of the last iterate and of the mean of w_0 ... w_n."""
    n = len(H)
    M, inverse = np.eye(n) - lr * np.linalg.solve(B, H), np.linalg.inv(B)
    powers = [np.linalg.matrix_power(M, k) for k in range(steps + 1)]
    sums = np.cumsum(powers, 0)  # sum_{k <= i} M^k
    mean = sums[-1] @ start / (steps + 1)
    spread = sum(lr**2 * S @ inverse @ sigma @ inverse @ S.T for S in sums[:-1]) / (steps + 1) ** 2
    last = sum(lr**2 * p @ inverse @ sigma @ inverse @ p.T for p in powers[:-1])
    final = powers[-1] @ start
    return (0.5 * (final @ H @ final + np.trace(H @ last)), 0.5 * (mean @ H @ mean + np.trace(H @ spread)))


@pytest.mark.parametrize("seed", range(4))
def test_the_stationary_loss_is_exact_whatever_commutes(seed):
    rng = np.random.default_rng(seed)
    H, B, sigma = (positive(rng) for _ in range(3))
    lr = 0.7 * optim.largest_stable_step(H, B)
    last, _ = moments_of_descent(H, B, sigma, lr, np.zeros(4), 2000)
    assert optim.stationary_loss(H, sigma, lr, B) == pytest.approx(last, rel=1e-6)
    printed = lr / 4 * np.trace(np.linalg.solve(B, sigma))  # the thesis's upper bound
    assert printed < last
    if seed == 0:
        diagonal = np.diag([0.5, 1.0, 2.0, 4.0])  # (7.26)
        expected = 0.5 * np.sum(np.diag(diagonal) * optim.iterate_variance(np.diag(diagonal), 0.3, 1.0))
        assert optim.stationary_loss(diagonal, np.eye(4), 0.3) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("steps", [1, 5, 40])
def test_bounds_on_the_loss_of_averages_hold(seed, steps):
    """(7.38), and its first terms (7.39) and (7.40), for SGD, for Adam's B = H^1/2, and for any other B."""
    rng = np.random.default_rng(seed)
    H, sigma, start = positive(rng), positive(rng), 2 * rng.standard_normal(4)
    values, vectors = np.linalg.eigh(H)
    for B in (np.eye(4), vectors @ np.diag(np.sqrt(values)) @ vectors.T, positive(rng)):
        lr = 0.4 * optim.largest_stable_step(H, B)
        bound = optim.average_loss_bound(H, sigma, start, lr, steps, B)
        assert moments_of_descent(H, B, sigma, lr, start, steps)[1] <= bound
        noise, pulled = np.trace(np.linalg.solve(H, sigma)) / (steps + 1), B @ start
        assert bound <= noise + pulled @ np.linalg.solve(H, pulled) / ((steps + 1) * lr) ** 2 + 1e-12
