"""The density of maximum entropy: known answers, laws it must obey, and what it says when there is none."""

import importlib.util
import warnings
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.polynomial import chebyshev, legendre
from scipy.special import ndtr

from spectra._maxent import maxent
from spectra._maxent._dual import Dual, pull
from spectra.results import ConvergenceWarning, Estimate, SpectralDensity

RESIDUAL = 2e-6


def moments_of(x, support, order, weights=None):
    """Chebyshev moments of points, from the definition."""
    lo, hi = support
    angle = np.arccos(np.clip((2 * np.asarray(x) - lo - hi) / (hi - lo), -1, 1))
    return np.array([np.average(np.cos(k * angle), weights=weights) for k in range(order + 1)])


def moments_of_density(p, support, order):
    """Chebyshev moments of a smooth density, by Gauss-Legendre quadrature; exact to rounding."""
    lo, hi = support
    t, w = legendre.leggauss(400)
    values = w * p((lo + hi) / 2 + (hi - lo) / 2 * t)
    return chebyshev.chebvander(t, order).T @ values / values.sum()


def spectrum(kind, n=400):
    """Eigenvalues of a kind, and a support that holds them."""
    rng = np.random.default_rng(7)
    if kind == "semicircle":
        G = rng.standard_normal((n, n))
        return np.linalg.eigvalsh((G + G.T) / np.sqrt(2 * n)), (-2.1, 2.1)
    if kind == "gapped":
        return np.concatenate([rng.uniform(0, 0.3, n // 2), rng.uniform(0.7, 1, n // 2)]), (0.0, 1.0)
    if kind == "clustered":
        return np.concatenate([c + 0.01 * rng.standard_normal(n // 4) for c in (0.1, 0.4, 0.6, 0.9)]), (0.0, 1.0)
    if kind == "power law":
        return np.arange(1, n + 1.0) ** -1, (0.0, 1.0)
    if kind == "spike":
        X = rng.standard_normal((n, 2 * n))
        return np.append(np.linalg.eigvalsh(X @ X.T / (2 * n)), [6.0] * 4), (0.0, 6.2)
    networkx = pytest.importorskip("networkx")
    graphs = {"Erdos-Renyi": networkx.erdos_renyi_graph(n, 0.05, seed=1),
              "Barabasi-Albert": networkx.barabasi_albert_graph(n, 3, seed=1)}
    return np.linalg.eigvalsh(networkx.normalized_laplacian_matrix(graphs[kind]).toarray()), (0.0, 2.0)


KINDS = ["semicircle", "gapped", "clustered", "power law", "spike", "Erdos-Renyi", "Barabasi-Albert"]


@pytest.fixture(scope="module", params=KINDS)
def case(request):
    return spectrum(request.param)


def estimate(eigenvalues, support, order, probes, seed=0, basis="chebyshev"):
    """What `spectra.moments` returns, from Gaussian probes of unit length in the eigenbasis."""
    n = len(eigenvalues)
    z = np.random.default_rng(seed).standard_normal((probes, n))
    weights = z**2 / (z**2).sum(1, keepdims=True)
    if basis == "power":
        samples = np.stack([weights @ eigenvalues**k for k in range(order + 1)], 1)
    else:
        lo, hi = support
        t = (2 * eigenvalues - lo - hi) / (hi - lo)
        vander = {"chebyshev": chebyshev.chebvander, "legendre": legendre.legvander}[basis]
        samples = weights @ vander(t, order)
    covariance = np.cov(samples.T) / probes if probes > 1 else np.full((order + 1, order + 1), np.inf)
    details = {"samples": samples, "covariance": covariance, "support": support, "basis": basis, "size": n}
    stderr = np.sqrt(np.diag(covariance))
    return Estimate(samples.mean(0), stderr, None, probes * order // 2, probes, seed, basis, details)


# Known answers


@pytest.mark.parametrize("order", [1, 2, 5, 40, 200])
def test_moments_of_the_uniform_density_give_the_uniform_density(order):
    k = np.arange(order + 1)
    mu = np.where(k % 2, 0.0, 1 / (1 - np.where(k % 2, 0, k) ** 2.0))
    rho = maxent(mu, support=(-3.0, 5.0))
    np.testing.assert_allclose(rho.pdf(np.linspace(-3, 5, 33)), 1 / 8, rtol=1e-12)
    np.testing.assert_allclose(rho.multipliers, 0, atol=1e-12)
    assert rho.entropy() == pytest.approx(np.log(8), abs=1e-12)
    assert rho.relative_entropy == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("rate", [-30.0, -1.0, 1e-3, 4.0])
def test_a_mean_gives_the_truncated_exponential(rate):
    support = (1.0, 3.0)
    mu = moments_of_density(lambda x: np.exp(-rate * x), support, 1)
    rho = maxent(mu, support, ridge=1e-12)
    x = np.linspace(1, 3, 21)
    truth = rate * np.exp(-rate * (x - 1)) / -np.expm1(-2 * rate)
    np.testing.assert_allclose(rho.log_pdf(x), np.log(truth), atol=1e-7)
    assert rho.multipliers[1] == pytest.approx(rate, abs=1e-7)  # of t, half the width is 1


def test_a_gaussian_prior_with_its_own_moments_is_returned_with_multipliers_zero():
    support = (-4.0, 6.0)

    def gaussian(x):
        return np.exp(-0.5 * (x - 0.5) ** 2) / np.sqrt(2 * np.pi)

    rho = maxent(moments_of_density(gaussian, support, 6), support, prior=gaussian)
    np.testing.assert_allclose(rho.multipliers, 0, atol=1e-10)
    x = np.linspace(-4, 6, 41)
    mass = ndtr(5.5) - ndtr(-4.5)
    np.testing.assert_allclose(rho.log_pdf(x), np.log(gaussian(x) / mass), atol=1e-9)
    assert rho.relative_entropy == pytest.approx(0, abs=1e-10)


def test_a_gaussian_prior_and_another_mean_give_the_tilted_gaussian():
    """Minimum relative entropy to N(0, 1) with mean 1 is N(1, 1), whose divergence from it is 1/2."""
    support = (-9.0, 10.0)
    mu = moments_of_density(lambda x: np.exp(-0.5 * (x - 1) ** 2), support, 1)
    rho = maxent(mu, support, prior=lambda x: np.exp(-0.5 * x**2), ridge=1e-12)
    np.testing.assert_allclose(rho.pdf([-1.0, 1.0, 2.5]), np.exp([-2.0, 0.0, -1.125]) / np.sqrt(2 * np.pi), rtol=1e-8)
    assert rho.relative_entropy == pytest.approx(-0.5, abs=1e-8)


def test_a_density_of_maximum_entropy_serves_as_prior():
    x, support = spectrum("gapped")
    first = maxent(moments_of(x, support, 12), support)
    again = maxent(moments_of(x, support, 12), support, prior=first)
    grid = np.linspace(0.01, 0.99, 50)
    np.testing.assert_allclose(again.log_pdf(grid), first.log_pdf(grid), atol=1e-3)  # the ridge, paid twice


def test_two_moments_of_a_gaussian_on_a_wide_support_give_the_gaussian():
    support = (-12.0, 12.0)
    rho = maxent([1.0, 0.3, 1.09], support, basis="power", ridge=1e-13)
    x = np.array([-1.0, 0.3, 2.0])
    np.testing.assert_allclose(rho.pdf(x), np.exp(-0.5 * (x - 0.3) ** 2) / np.sqrt(2 * np.pi), rtol=1e-6)


def test_log_determinant_of_a_known_density():
    """The mean of log x under x^2 on (0, 1] is -1/3; the density is a limit of the exponential family."""
    mu = moments_of_density(lambda x: x**2, (0.0, 1.0), 40)
    rho = maxent(mu, (0.0, 1.0), size=300)
    assert rho.sum(np.log).value == pytest.approx(-100, rel=1e-4)
    assert rho.count(0.0, 0.5).value == pytest.approx(300 / 8, rel=1e-3)


# The dual


@pytest.fixture
def dual(rng):
    mu = moments_of(rng.beta(2, 5, 300), (0.0, 1.0), 9)[1:]
    return Dual(mu, np.full(9, 1e-3), np.array([-np.log(2.0), 0.3, -0.2]), 200)


def test_gradient_and_hessian_are_derivatives(dual, rng):
    ridge, step = 1e-2, 1e-4
    alpha = rng.standard_normal(9) / np.arange(1, 10) ** 2
    point = dual.at(alpha)
    gradient = dual.gradient(point, ridge, dual.moments(point.masses))
    hessian = dual.hessian(point, ridge, dual.moments(point.masses))
    ahead, behind = ([dual.at(alpha + sign * step * e) for e in np.eye(9)] for sign in (1, -1))
    differences = [(a.value(ridge) - b.value(ridge)) / (2 * step) for a, b in zip(ahead, behind, strict=True)]
    np.testing.assert_allclose(gradient, differences, atol=1e-6)
    slopes = [dual.gradient(p, ridge, dual.moments(p.masses)) for p in ahead]
    slopes_behind = [dual.gradient(p, ridge, dual.moments(p.masses)) for p in behind]
    np.testing.assert_allclose(hessian, (np.array(slopes) - slopes_behind) / (2 * step), atol=1e-6)


def test_the_bent_penalty_is_a_ridge_at_first_and_has_a_bounded_slope():
    alpha, step = np.array([-3e4, -70.0, -1.0, 0.0, 1e-3, 200.0, 1e9]), 1e-3
    bent = pull(alpha, 180.0)
    for k, a in enumerate(alpha[:-1]):
        ahead, behind = pull(alpha[k : k + 1] + step, 180.0), pull(alpha[k : k + 1] - step, 180.0)
        assert bent.slope[k] == pytest.approx((ahead.value - behind.value) / (2 * step), rel=1e-6, abs=1e-6)
        assert bent.curvature[k] >= 0.999 * (ahead.slope[0] - behind.slope[0]) / (2 * step)
        assert bent.curvature[k] <= 1 / max(1, abs(a) / 360)
    assert np.abs(bent.slope).max() <= 180
    near = pull(np.array([1e-2, -2e-2]), 180.0)
    plain = pull(np.array([1e-2, -2e-2]), np.inf)
    for bend, ridge in zip(near, plain, strict=True):
        np.testing.assert_allclose(bend, ridge, rtol=1e-7)


def test_integrals_are_exact_for_polynomials(dual):
    """With all multipliers zero the moments are those of the prior, here exp(-log 2 + 0.3 t - 0.2 T_2)/Z."""
    point = dual.at(np.zeros(9))
    truth = moments_of_density(lambda t: np.exp(0.3 * t - 0.2 * (2 * t**2 - 1)), (-1.0, 1.0), 18)
    np.testing.assert_allclose(dual.moments(point.masses), truth, atol=1e-14)


def test_the_multipliers_are_the_derivatives_of_the_objective(rng):
    mu = moments_of(rng.beta(2, 3, 500), (0.0, 1.0), 8)
    rho, step = maxent(mu, (0.0, 1.0)), 1e-6
    assert np.abs(rho.multipliers).max() < 180
    for k in range(1, 9):
        ahead, behind = (maxent(mu + sign * step * (np.arange(9) == k), (0.0, 1.0)).objective for sign in (1, -1))
        assert rho.multipliers[k] == pytest.approx((ahead - behind) / (2 * step), rel=1e-5, abs=1e-5)


# Accuracy on every kind of spectrum


ORDERS = [1, 2, 3, 5, 10, 20, 40, 70, 100, 140, 200]


@pytest.mark.parametrize("probes", [0, 6])
def test_every_kind_of_spectrum_is_fitted_and_the_objective_falls_with_every_moment(case, probes):
    """Residual, mass on a finer grid, and monotone entropy up to 200 moments, exact and estimated."""
    x, support = case
    mu = estimate(x, support, 200, probes).value if probes else moments_of(x, support, 200)
    objectives = []
    for order in ORDERS:
        rho = maxent(mu[: order + 1], support)
        assert rho.residual <= RESIDUAL
        assert rho.mass == pytest.approx(1, abs=2e-8)
        assert rho.weights.min() > 0
        objectives.append(rho.objective)
    assert np.all(np.diff(objectives) <= 1e-10)
    assert objectives[0] <= 1e-10


def test_the_density_integrates_to_one_by_an_independent_rule(case):
    """Ten-point Gauss-Legendre rules on 2000 panels of the angle, from `log_pdf` alone."""
    x, support = case
    rho = maxent(moments_of(x, support, 30), support)
    y, w = legendre.leggauss(10)
    angle = (np.arange(2000)[:, None] + (y + 1) / 2) * np.pi / 2000
    half = (support[1] - support[0]) / 2
    values = rho.pdf(support[0] + half * (1 - np.cos(angle))) * half * np.sin(angle)
    assert (values @ w).sum() * np.pi / 4000 == pytest.approx(1, abs=1e-8)


def test_gap_and_bulk_of_a_gapped_spectrum_are_where_they_belong():
    x, support = spectrum("gapped")
    rho = maxent(moments_of(x, support, 60), support, size=len(x))
    assert rho.count(0.0, 0.5).value == pytest.approx(200, abs=0.01)
    assert rho.pdf(0.5) < 1e-6
    assert rho.quantile(0.25) == pytest.approx(np.quantile(x, 0.25), abs=0.01)


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30),
       st.lists(st.integers(1, 16), min_size=2, max_size=4, unique=True))
def test_entropy_never_rises_when_a_moment_is_added(points, orders):
    mu = moments_of(points, (0.0, 1.0), 16)
    objectives = [maxent(mu[: m + 1], (0.0, 1.0)).objective for m in sorted(orders)]
    assert np.all(np.diff(objectives) <= 1e-9)


@settings(max_examples=25)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30), st.integers(1, 16), st.floats(1e-6, 1e6), st.floats(-5, 5))
def test_an_affine_map_of_the_support_maps_the_density(points, order, scale, shift):
    mu = moments_of(points, (-1.0, 1.0), order)
    unit, moved = maxent(mu, (-1.0, 1.0)), maxent(mu, (scale * (shift - 1), scale * (shift + 1)))
    t = np.linspace(-0.99, 0.99, 23)
    reference = unit.log_pdf(t) - np.log(scale)
    np.testing.assert_allclose(moved.log_pdf(scale * (shift + t)), reference, atol=1e-6 * (1 + np.abs(reference).max()))
    assert moved.residual == pytest.approx(unit.residual, abs=1e-9)


# Bases


@pytest.mark.parametrize("support", [(-1.0, 1.0), (0.0, 2.0), (3.0, 9.0)])
def test_bases_agree_where_powers_are_stable(support, rng):
    lo, hi = support
    x = lo + (hi - lo) * rng.beta(2, 3, 500)
    t = (2 * x - lo - hi) / (hi - lo)
    chebyshev_fit = maxent(moments_of(x, support, 7), support)
    legendre_fit = maxent(legendre.legvander(t, 7).mean(0), support, basis="legendre")
    power_fit = maxent([np.mean(x**k) for k in range(8)], support, basis="power")
    grid = np.linspace(lo, hi, 31)
    np.testing.assert_allclose(legendre_fit.pdf(grid), chebyshev_fit.pdf(grid), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(power_fit.pdf(grid), chebyshev_fit.pdf(grid), rtol=1e-5, atol=1e-5)


def test_legendre_moments_are_stable_at_order_200():
    x, support = spectrum("clustered")
    mu = legendre.legvander(2 * x - 1, 200).mean(0)
    rho, reference = maxent(mu, support, basis="legendre"), maxent(moments_of(x, support, 200), support)
    assert rho.residual <= RESIDUAL
    assert rho.objective == pytest.approx(reference.objective, abs=1e-9)


def test_powers_of_any_scale_are_converted():
    for scale in (1e-12, 1e9):
        rho = maxent([scale**k / (k + 1) for k in range(9)], (0.0, scale), basis="power")
        np.testing.assert_allclose(scale * rho.pdf(scale * np.linspace(0, 1, 9)), 1, rtol=1e-7)


def test_powers_that_have_lost_all_digits_are_refused():
    with pytest.raises(ValueError, match=r"power moments of order above \d+ lose all digits .* found order 40"):
        maxent([1 / (k + 1) for k in range(41)], (0.0, 1.0), basis="power")


# Estimates


@pytest.mark.parametrize("basis", ["chebyshev", "legendre", "power"])
def test_standard_errors_are_those_of_the_probes(basis):
    """The response to a probe integrates polynomials as the probe does, and so log x nearly as its quadratic form."""
    x = spectrum("spike")[0] + 0.5
    support, order = (0.4, 6.8), 8 if basis == "power" else 40
    e = estimate(x, support, order, probes=12, basis=basis)
    rho = maxent(e)
    assert (rho.probes, rho.size, rho.seed, rho.matvecs, rho.support) == (12, len(x), 0, e.matvecs, support)
    np.testing.assert_allclose(rho.expect(lambda x: x), np.mean(rho.moment(1).value), atol=1e-12)
    z = np.random.default_rng(0).standard_normal((12, len(x)))
    forms = (z**2 / (z**2).sum(1, keepdims=True)) @ np.log(x) * len(x)
    total = rho.sum(np.log)
    tolerance = 0.05 if basis == "power" else 1e-3
    assert total.value == pytest.approx(forms.mean(), rel=tolerance)
    assert total.stderr == pytest.approx(forms.std(ddof=1) / np.sqrt(12), rel=tolerance)
    lo, hi = total.interval(0.99)
    assert lo < np.log(x).sum() < hi


def test_the_mean_over_probes_is_the_density_itself():
    x, support = spectrum("gapped")
    e = estimate(x, support, 30, probes=5)
    rho, plain = maxent(e), maxent(e.value, support)
    np.testing.assert_allclose(rho.weights, plain.weights, rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(rho.log_series, plain.log_series)
    assert rho.count(0.0, 0.5).stderr > 0


def test_moments_of_probes_need_no_normalisation():
    """Gaussian probes have random length: the ratio to mu_0 is what counts, for the value and for its error."""
    x, support = spectrum("semicircle")
    e = estimate(x, support, 20, probes=8)
    lengths = np.random.default_rng(3).uniform(0.8, 1.2, (8, 1))
    samples = lengths * e.samples
    longer = Estimate(samples.mean(0), details=dict(e.details) | {"samples": samples})
    rho = maxent(longer)
    assert rho.sum(np.ones_like).stderr == pytest.approx(0, abs=1e-9)
    assert rho.moment(1).value == pytest.approx(samples[:, 1].mean() / samples[:, 0].mean() * 2.1, abs=1e-5)


def test_one_probe_gives_no_spread():
    x, support = spectrum("semicircle")
    rho = maxent(estimate(x, support, 20, probes=1))
    assert rho.probes == 1 and rho.sum(np.cos).stderr == np.inf


def test_spread_softens_the_fit():
    x, support = spectrum("gapped")
    e = estimate(x, support, 40, probes=4)
    hard, soft = maxent(e), maxent(e, spread=1.0)
    assert hard.residual <= RESIDUAL < soft.residual < e.stderr.max()
    assert soft.objective > hard.objective
    assert np.abs(soft.multipliers[1:]).max() < np.abs(hard.multipliers[1:]).max()


def test_bias_bracket_from_fewer_moments():
    x, support = spectrum("power law")
    rho = maxent(moments_of(x, support, 40), support, bias=True, size=len(x))
    total = rho.sum(lambda x: np.log(x + 1e-3))
    lo, hi = total.bias
    assert lo <= np.log(x + 1e-3).sum() - total.value <= hi
    assert maxent(moments_of(x, support, 40), support).sum(np.cos).bias is None


def test_the_answer_survives_storage(tmp_path):
    x, support = spectrum("gapped")
    rho = maxent(estimate(x, support, 20, probes=3))
    rho.save(tmp_path / "rho.npz")
    again = SpectralDensity.load(tmp_path / "rho.npz")
    np.testing.assert_array_equal(again.multipliers, rho.multipliers)
    assert again.residual == rho.residual
    assert again.log_pdf(0.2) == rho.log_pdf(0.2)
    assert again.sum(np.exp).stderr == pytest.approx(rho.sum(np.exp).stderr)


# A few atoms, noise, and what is impossible


@pytest.mark.parametrize("atoms", [[0.0], [1.0], [0.5], [0.0, 1.0], [0.2, 0.7], [0.0, 0.5, 0.5, 0.8]])
@pytest.mark.parametrize("order", [1, 2, 6, 12])
def test_atoms_are_peaks_at_the_right_places(atoms, order):
    rho = maxent(moments_of(atoms, (0.0, 1.0), order), (0.0, 1.0))
    assert rho.residual <= RESIDUAL
    assert rho.mass == pytest.approx(1, abs=2e-8)
    assert rho.expect(lambda x: x) == pytest.approx(np.mean(atoms), abs=1e-5)
    if order >= 2 * len(atoms):  # then the moments determine the atoms
        for atom in set(atoms):
            assert rho.count(atom - 0.03, atom + 0.03).value == pytest.approx(np.mean(np.equal(atoms, atom)), abs=1e-3)


def test_a_support_without_width_is_the_atom():
    for support in ((2.0, 2.0), (2.0, 2.0 * (1 + 4e-16))):
        rho = maxent(np.ones(5), support, size=7)
        assert rho.sum(np.log).value == pytest.approx(7 * np.log(2))
        assert rho.residual == 0 and rho.sum(np.log).stderr == 0


@pytest.mark.parametrize("noise", [1e-9, 1e-7])
def test_rounded_moments_of_atoms_are_within_the_ridge(noise, rng):
    mu = moments_of([0.1, 0.4, 0.9], (0.0, 1.0), 20)
    mu[1:] += noise * rng.standard_normal(20)
    assert maxent(mu, (0.0, 1.0)).residual <= 4e-6


@pytest.mark.parametrize("noise", [1e-4, 1e-2])
def test_noisy_moments_get_the_soft_solution_and_a_warning_with_its_residual(noise, rng):
    mu = moments_of([0.1, 0.4, 0.9], (0.0, 1.0), 20)
    mu[1:] += noise * rng.standard_normal(20)
    with pytest.warns(ConvergenceWarning, match="no distribution on .* misses them by up to"):
        rho = maxent(mu, (0.0, 1.0))
    assert 0.1 * noise < rho.residual < 5 * noise
    assert rho.violation < 20 * noise
    assert rho.mass == pytest.approx(1, abs=1e-6)
    assert np.all(np.isfinite(rho.log_series))


def test_noise_that_the_estimate_knows_of_is_no_reason_to_warn(rng):
    x, support = spectrum("gapped")
    samples = moments_of(x, support, 40) + 0.02 * rng.standard_normal((8, 41)) * (np.arange(41) > 0)
    e = Estimate(samples.mean(0), details={"samples": samples, "support": support, "basis": "chebyshev"})
    rho = maxent(e)
    assert rho.violation > 0
    assert rho.residual < 5 * samples.std(0).max()
    assert rho.cdf(0.5) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("mu", [[1, 1.4], [1, 0, 1, 0, -1], [1, -1, -1]])
def test_impossible_moments_are_refused(mu):
    with pytest.raises(ValueError, match=r"impossible moments: every distribution on .* widen the support"):
        maxent(mu, (0.0, 1.0))


def test_moments_on_a_support_that_misses_part_of_the_spectrum_are_refused():
    x, _ = spectrum("gapped")
    t = (2 * x - 0.9) / 0.9
    with pytest.raises(ValueError, match=r"on \[0, 0.9\]"):
        maxent(chebyshev.chebvander(t, 12).mean(0), (0.0, 0.9))


@settings(max_examples=25)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12))
def test_any_numbers_give_a_finite_density_or_a_named_error(mu):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            rho = maxent([1.0, *mu], (-1.0, 1.0))
        except ValueError as error:
            assert "impossible" in str(error)
        else:
            assert np.all(np.isfinite(rho.log_series)) and np.isfinite(rho.residual)
            assert rho.mass == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"moments": [1.0]}, "mu_0 > 0, mu_1"),
    ({"moments": [1.0, np.nan]}, "finite moments"),
    ({"moments": [0.0, 0.1]}, "mu_0 = 0"),
    ({"moments": [[1.0, 0.0]]}, r"found shape \(1, 2\)"),
    ({"moments": [1.0, 0.0], "support": None}, "needs support"),
    ({"moments": [1.0, 0.0], "support": (1.0, 0.0)}, "lo <= hi"),
    ({"moments": [1.0, 0.0], "support": (0.0, np.inf)}, "lo <= hi"),
    ({"moments": [1.0, 0.0], "basis": "fourier"}, "basis must be one of"),
    ({"moments": [1.0, 0.0], "ridge": 0.0}, "ridge must be"),
    ({"moments": [1.0, 0.0], "spread": -1.0}, "spread must be"),
    ({"moments": [1.0, 0.0], "prior": lambda x: np.maximum(x - 0.5, 0)}, "prior must be positive"),
    ({"moments": [1.0, 0.0], "prior": lambda x: 1.0}, "prior must map"),
    ({"moments": [1.0, 0.0], "prior": SpectralDensity([0.1, 0.9], [0.5, 0.5], 2)}, "needs a continuous density"),
])
def test_errors_name_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        maxent(**({"support": (0.0, 1.0)} | arguments))


def test_an_estimate_keeps_its_support():
    x, support = spectrum("gapped")
    e = estimate(x, support, 5, probes=2)
    assert maxent(e, support).support == support
    with pytest.raises(ValueError, match="belong to the support"):
        maxent(e, (0.0, 1.1))


# The classical algorithm, as a baseline


@pytest.fixture(scope="module")
def bmxnt():
    file = Path(__file__).parent.parent / "examples" / "reproduce" / "bmxnt.py"
    spec = importlib.util.spec_from_file_location("bmxnt", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.bmxnt


def test_the_classical_iteration_agrees_on_two_moments_and_fails_on_many(bmxnt):
    """Thesis Figure 2.1: its entropy rises with the number of moments, where that of the true solution falls."""
    k = np.arange(1, 101) * np.pi / 101
    x = ((4.01 - 2 * np.cos(k)[:, None] - 2 * np.cos(k)) / 8.02).ravel()
    classical = {m: bmxnt([np.mean(x**i) for i in range(m + 1)]) for m in (2, 4, 12, 30)}
    ours = {m: maxent(moments_of(x, (0.0, 1.0), m), (0.0, 1.0)) for m in (2, 4, 12, 30)}
    assert classical[2].entropy == pytest.approx(ours[2].entropy(), abs=1e-3)
    assert classical[2].residual < 1e-4
    assert classical[30].residual > 1e-3
    assert classical[30].entropy > classical[12].entropy
    entropies = [ours[m].entropy() for m in (2, 4, 12, 30)]
    assert np.all(np.diff(entropies) < 0)
    truth = np.log(x).mean()
    assert abs(ours[30].expect(np.log) / truth - 1) < 1e-3 < abs(classical[30].expect(np.log) / truth - 1)


def test_the_classical_iteration_needs_positive_moments(bmxnt):
    with pytest.raises(ValueError, match="positive power moments"):
        bmxnt([1.0, -0.2])
