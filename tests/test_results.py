"""Estimates and spectral densities: intervals, integrals, distribution functions, storage, and what they refuse."""

import json
import pickle

import numpy as np
import pytest
from strategies import from_spectrum

import spectra
from spectra import Estimate, SpectralDensity
from spectra.estimators._density import DENSITIES
from spectra.results import NotFinite, joined, remaining_change, standard_error

# Estimates


@pytest.mark.parametrize(("probes", "t"), [(2, 12.7062047), (5, 2.7764451), (16, 2.1314495), (61, 2.0002978)])
def test_intervals_are_students(probes, t):
    low, high = Estimate(10.0, 2.0, probes=probes).interval()
    assert high - 10 == pytest.approx(2 * t, rel=1e-7) and 10 - low == pytest.approx(2 * t, rel=1e-7)
    wide, narrow = (Estimate(10.0, 2.0, probes=probes).half_width(level) for level in (0.99, 0.5))
    assert wide > high - 10 > narrow > 0


def test_fitted_coefficients_cost_degrees_of_freedom():
    assert Estimate(0.0, 1.0, probes=8, details={"freedom": 1}).half_width() == pytest.approx(12.7062047)


def test_moments_given_exactly_leave_no_statistical_error():
    rho = spectra.maxent([1.0, 0.0, -1 / 3], support=(0.0, 2.0), size=10)
    assert rho.deterministic and not rho.complete
    assert rho.count(0.0, 1.0).stderr == 0 and rho.count(0.0, 1.0).value == pytest.approx(5, abs=1e-5)


class Uniform:
    """A law on [0, 2] in closed form."""

    def pdf(self, x):
        return np.where((x >= 0) & (x <= 2), 0.5, 0.0)

    def cdf(self, x):
        return np.clip(x / 2, 0, 1)

    def quantile(self, p):
        return 2 * p

    def entropy(self):
        return np.log(2)


def test_a_law_answers_for_its_rule(tmp_path):
    nodes, weights = np.polynomial.legendre.leggauss(8)
    rho = SpectralDensity(nodes + 1, weights, 10, support=(0, 2), law=Uniform(), deterministic=True, method="uniform")
    assert rho.continuous and rho.cdf(0.5) == 0.25 and rho.quantile(0.25) == 0.5 and rho.entropy() == np.log(2)
    assert rho.count(0.5, 1.0).value == pytest.approx(2.5) and rho.count(0.5, 1.0).stderr == 0
    assert rho.pdf([0.1, 3.0]).tolist() == [0.5, 0.0] and rho.log_pdf([0.1, 3.0])[1] == -np.inf
    assert rho.expect(np.square) == pytest.approx(4 / 3)
    with pytest.raises(ValueError, match="closed form"):
        rho.save(tmp_path / "law.npz")


def test_cdf_refuses_nan():
    with pytest.raises(ValueError, match="NaN"):
        SpectralDensity([1.0], [1.0], 1).cdf(np.nan)


def test_the_bias_bracket_widens_the_interval_on_its_own_side():
    plain, biased = Estimate(1.0, 0.5, probes=9), Estimate(1.0, 0.5, (-3.0, 0.25), probes=9)
    assert biased.interval()[0] == pytest.approx(plain.interval()[0] - 3.0)
    assert biased.interval()[1] == pytest.approx(plain.interval()[1] + 0.25)


def test_exact_answers_and_single_probes():
    assert Estimate(2.5).interval() == (2.5, 2.5)
    assert Estimate(2.5, np.inf, probes=1).interval() == (-np.inf, np.inf)


def test_arrays_of_numbers_have_arrays_of_intervals():
    low, high = Estimate(np.arange(3.0), np.array([0.0, 1.0, 2.0]), probes=5).interval()
    assert low.shape == high.shape == (3,)
    np.testing.assert_allclose(high - low, 2 * 2.7764451 * np.arange(3), rtol=1e-7)


@pytest.mark.parametrize("level", [0.0, 1.0, -1, 95, np.nan])
def test_a_level_that_is_no_probability_is_refused(level):
    with pytest.raises(ValueError, match="level must lie strictly between 0 and 1"):
        Estimate(1.0).interval(level)


def test_an_estimate_is_a_number_and_keeps_its_details():
    e = Estimate(1.5, 0.25, matvecs=7, probes=3, seed=4, method="slq", details={"gap": 0.5, "cutoff": 2})
    assert float(e) == 1.5 and np.asarray(e) == 1.5 and np.exp(e.value) == np.exp(1.5)
    assert e.gap == 0.5 and e.details["cutoff"] == 2
    with pytest.raises(TypeError):
        e.details["gap"] = 1.0
    with pytest.raises(AttributeError):
        e.value = 2.0
    with pytest.raises(AttributeError, match=r"no attribute 'margin'; details hold \['cutoff', 'gap'\]"):
        _ = e.margin
    again = pickle.loads(pickle.dumps(e))
    assert again == e and again.gap == 0.5


def test_repr_shows_the_digits_that_the_error_leaves_and_where_they_come_from():
    assert repr(Estimate(-1843.2345, 4.1, matvecs=1024, probes=9, method="slq", seed=0)) == (
        "-1843.2 ± 4.1 (1024 matvecs, slq, seed 0)")
    assert repr(Estimate(0.0, method="exact")) == "0 (0 matvecs, exact)"
    assert "bias in [-2, 0.5]" in repr(Estimate(1.0, 0.1, (-2.0, 0.5), probes=3))
    assert "inf" in repr(Estimate(1.0, np.inf, probes=1))
    assert repr(Estimate(np.ones(3), np.ones(3))).startswith("Estimate of shape (3,)")


@pytest.mark.parametrize("e", [
    Estimate(1.5, 0.25, (-1.0, 0.5), 7, 3, 4, "slq", {"gap": np.float64(0.5), "kept": np.arange(2)}),
    Estimate(np.arange(2.0), np.array([0.5, np.inf]), probes=4, seed=(1, 2)),
    Estimate(1.0, np.inf, (-np.inf, np.inf), probes=1, details={"nested": {"a": (1, np.int64(2))}, "other": {3}}),
])
def test_to_dict_is_ready_for_json(e):
    plain = json.loads(json.dumps(e.to_dict(), allow_nan=False))
    assert plain["value"] == np.asarray(e.value).tolist() and plain["probes"] == e.probes
    assert set(plain) == {"value", "stderr", "bias", "matvecs", "probes", "seed", "method", "interval", "details"}


@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e300])
def test_standard_errors_of_any_size(scale):
    values = np.array([1.0, 2.0, 4.0, 1.0]) * scale
    assert standard_error(values) / scale == pytest.approx(np.sqrt(2.0) / 2)
    assert standard_error(np.ones(5)) == 0 and standard_error(np.zeros(3)) == 0 and standard_error(np.ones(1)) == np.inf


@pytest.mark.parametrize(("values", "missing"), [
    ((1.0, 0.5, 0.25), -0.25), ((0.0, 1.0, 1.1), 0.01), ((3.0, 2.0, 1.2), -3.0), ((1.0, 0.0, 0.3), -0.1)])
def test_what_remains_of_a_sequence_lies_in_its_bracket(values, missing):
    lo, hi = remaining_change(*values)
    assert lo <= missing <= hi


def test_two_values_tell_nothing_and_equal_ones_rounding():
    assert remaining_change(1.0, 2.0) == (-np.inf, np.inf)
    lo, hi = remaining_change(5.0, 5.0, 5.0)
    assert -1e-13 < lo < 0 < hi < 1e-13


# Densities: a rule by hand

RHO = SpectralDensity([[1.0, 3.0], [2.0, 4.0]], [[1.0, 1.0], [3.0, 1.0]], size=8, support=(0.0, 5.0), seed=1)


def test_integrals_are_sums_over_the_rule():
    assert RHO.expect(lambda x: x) == pytest.approx((2.0 + 2.5) / 2)
    total = RHO.sum(np.log)
    each = 8 * np.array([np.log(3) / 2, 0.75 * np.log(2) + 0.25 * np.log(4)])
    assert total.value == pytest.approx(each.mean()) and total.stderr == pytest.approx(np.ptp(each) / 2)
    assert RHO.moment(2).value == pytest.approx((5 + (3 * 4 + 16) / 4) / 2) and RHO.moment(0).value == 1
    assert RHO.count(2.0, 3.0).value == pytest.approx(8 * (0.5 + 0.75) / 2)
    assert RHO.count(-np.inf, np.inf).value == 8 and RHO.count(2.5, 2.6).value == 0


def test_nodes_and_weights_are_those_of_the_mean():
    np.testing.assert_array_equal(RHO.nodes, [1, 2, 3, 4])
    np.testing.assert_array_equal(RHO.weights, [0.25, 0.375, 0.25, 0.125])
    assert RHO.probes == 2 and len(RHO.rules) == 2 and RHO.support == (0.0, 5.0)
    shared = SpectralDensity([1.0, 2.0], [[1.0, 1.0], [3.0, 1.0]], size=4)
    np.testing.assert_array_equal(shared.weights, [0.625, 0.375])
    assert shared.probes == 2 and shared.support == (1.0, 2.0)


def test_the_distribution_function_steps_at_the_nodes():
    x = [-np.inf, 0.99, 1.0, 1.5, 2.0, 3.0, 4.0, np.inf]
    np.testing.assert_allclose(RHO.cdf(x), [0, 0, 0.25, 0.25, 0.625, 0.875, 1, 1], rtol=1e-15)
    np.testing.assert_array_equal(RHO.quantile([0, 0.25, 0.26, 0.625, 0.9, 1]), [1, 1, 2, 2, 4, 4])
    assert RHO.cdf(2.0).shape == () and RHO.quantile(0.5) == 2


def test_a_smoothed_density_integrates_to_one_and_peaks_at_its_nodes():
    x = np.linspace(-30, 40, 7001)
    for width in (None, 0.3, 1.0):
        assert np.trapezoid(RHO.pdf(x, width), x) == pytest.approx(1, abs=1e-9)
    assert RHO.pdf(2.0, 0.01) == pytest.approx(0.375 / (0.01 * np.sqrt(2 * np.pi)))


def test_entropy_is_that_of_the_smoothed_density():
    one = SpectralDensity([2.0], [1.0], size=3)
    assert one.entropy() == pytest.approx(0.5 * np.log(2 * np.pi * np.e) + np.log(2.0), abs=1e-6)
    shifted = SpectralDensity(1e6 * RHO.nodes, RHO.weights, size=8, support=(0.0, 5e6))
    same = SpectralDensity(RHO.nodes, RHO.weights, size=8, support=(0.0, 5.0))
    assert shifted.entropy() == pytest.approx(same.entropy() + np.log(1e6))


def test_theorem_2_smoothing_adds_to_moments_what_the_kernel_has():
    """Thesis, Theorem 2 (with m for the misprinted r): the r-th moment grows by the even moments of the kernel."""
    x, s = np.linspace(-20, 30, 200_001), 0.7
    p = RHO.pdf(x, s)
    smoothed = [np.trapezoid(p * x**m, x) for m in range(5)]
    plain = [RHO.moment(m).value for m in range(5)]
    added = [0.0, 0.0, s**2, 3 * s**2 * plain[1], 6 * s**2 * plain[2] + 3 * s**4]
    expected = np.add(plain, added)
    np.testing.assert_allclose(smoothed, expected, rtol=1e-9)


# Densities: what they refuse


@pytest.mark.parametrize(("nodes", "weights"), [
    ([1.0, 2.0], [1.0]), (np.ones((3, 2)), np.ones((2, 2))), ([], []), ([1.0, np.nan], [1.0, 1.0]),
    ([1.0, 2.0], [0.0, 0.0]), ([1.0, 2.0], [1.0, np.inf]), ([1.0], [-1.0])], ids=str)
def test_what_is_no_rule_is_refused(nodes, weights):
    with pytest.raises(ValueError, match="a rule needs"):
        SpectralDensity(nodes, weights, size=2)


def test_a_function_that_is_not_finite_on_the_spectrum_is_named_with_the_place():
    rho = SpectralDensity([-1.0, 0.0, 2.0], [1.0, 1.0, 1.0], size=3)
    with pytest.raises(NotFinite, match="f is not finite at -1, where the spectrum has weight") as error:
        rho.sum(np.log)
    assert error.value.where == -1.0 and isinstance(error.value, ValueError)
    assert SpectralDensity([-1.0, 2.0], [0.0, 1.0], size=3).sum(np.log).value == pytest.approx(3 * np.log(2))


@pytest.mark.parametrize("f", [lambda x: 1.0, lambda x: x.sum(), lambda x: x[:, :1], lambda x: x.ravel()])
def test_a_function_that_does_not_act_entry_by_entry_is_named(f):
    with pytest.raises(ValueError, match=r"f must map an array of shape \(2, 2\) to the same shape"):
        RHO.sum(f)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: RHO.count(2.0, 1.0), "count needs a <= b"), (lambda: RHO.count(np.nan, 1.0), "count needs a <= b"),
    (lambda: RHO.quantile(1.1), "probabilities in"), (lambda: RHO.quantile([0.5, -0.1]), "probabilities in"),
    (lambda: RHO.quantile(np.nan), "probabilities in"),
    (lambda: RHO.pdf(1.0, width=0.0), "positive width"), (lambda: RHO.pdf(1.0, width=-1.0), "positive width"),
    (lambda: RHO.log_pdf(1.0), "needs a continuous density"), (lambda: RHO.moment(-1), "moment needs an order"),
    (lambda: RHO.moment(1.5), "moment needs an order"),
    (lambda: RHO.merge(RHO), "different seeds"),
    (lambda: RHO.merge(SpectralDensity([1.0], [1.0], size=9, seed=2)), "one operator"),
    (lambda: RHO.merge(SpectralDensity([1.0], [1.0], size=8, seed=2, method="kpm")), "one method"),
    (lambda: RHO.merge(SpectralDensity([1.0], [1.0], size=8, seed=2, coarse=[([1.0], [1.0])])), "bias bracket"),
])
def test_questions_that_make_no_sense_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
    with pytest.raises(AttributeError, match="details hold"):
        _ = RHO.colour


# Densities of every method

MERGED = [name for name in DENSITIES if name != "maxent"]
CASE = from_spectrum(np.concatenate([np.linspace(0.5, 1.5, 50), np.linspace(3, 4, 10)]))


def density(method, seed=0, probes=4):
    return spectra.spectral_density(CASE.A, method=method, steps=12, probes=probes, rng=seed)


@pytest.mark.parametrize("method", DENSITIES)
def test_a_density_comes_back_from_disk_to_the_same_bits(method, tmp_path):
    rho = density(method)
    if method in MERGED:
        rho = rho.merge(density(method, seed=7))
        assert rho.seed == (0, 7)
    rho.save(tmp_path / "rho.npz")
    again = SpectralDensity.load(tmp_path / "rho.npz")
    assert repr(again) == repr(rho) and again.seed == rho.seed and again.matvecs == rho.matvecs
    assert dict(again.details).keys() == dict(rho.details).keys()
    for f in (np.log, np.exp):
        assert again.sum(f) == rho.sum(f)
    assert again.count(1.0, 3.5) == rho.count(1.0, 3.5) and again.moment(3) == rho.moment(3)
    x = np.linspace(0, 5, 101)
    np.testing.assert_array_equal(again.cdf(x), rho.cdf(x))
    np.testing.assert_array_equal(again.pdf(x), rho.pdf(x))
    copy = pickle.loads(pickle.dumps(rho))
    assert copy.sum(np.log) == rho.sum(np.log) and copy.details.keys() == rho.details.keys()


@pytest.mark.parametrize("method", DENSITIES)
def test_a_complete_or_invariant_density_comes_back_as_such(method, tmp_path):
    rho = spectra.spectral_density(np.diag([1.0, 2.0]), method=method, steps=4, probes=3, rng=0)
    rho.save(tmp_path / "rho.npz")
    again = SpectralDensity.load(tmp_path / "rho.npz")
    assert (again.exact, again.complete, again.sum(np.exp)) == (rho.exact, rho.complete, rho.sum(np.exp))


def test_continuous_densities_are_not_merged():
    with pytest.raises(ValueError, match="continuous densities cannot be merged"):
        density("maxent").merge(density("maxent", seed=1))


@pytest.mark.parametrize("method", MERGED)
def test_a_merge_has_the_probes_of_both(method):
    one, two = density(method), density(method, seed=1)
    both = one.merge(two)
    assert both.probes == 8 and both.matvecs == one.matvecs + two.matvecs and both.seed == (0, 1)
    for f in (np.log, lambda x: x**2):
        assert both.expect(f) == pytest.approx((one.expect(f) + two.expect(f)) / 2, rel=1e-12)
    three = both.merge(density(method, seed=2))
    assert three.seed == (0, 1, 2) and three.probes == 12
    with pytest.raises(ValueError, match="different seeds"):
        both.merge(two)


def test_a_merge_with_control_variates_is_that_of_the_samples():
    one, two = density("slq", probes=8), density("slq", seed=1, probes=8)
    both = one.merge(two)
    assert both.sum(np.log).value == pytest.approx((one.sum(np.log).value + two.sum(np.log).value) / 2, rel=1e-10)


@pytest.mark.parametrize("method", DENSITIES)
def test_quantiles_invert_the_distribution_function(method):
    rho = density(method)
    p = np.linspace(0.01, 0.99, 37)
    q = rho.quantile(p)
    assert np.all(np.diff(q) >= 0) and q[0] >= rho.support[0] and q[-1] <= rho.support[1]
    assert np.all(rho.cdf(q) >= p - 1e-9)
    below = np.nextafter(q, -np.inf) if rho.log_series is None else q - 1e-9 * np.ptp(rho.support)
    assert np.all(rho.cdf(below) <= p + 1e-9)


def test_densities_with_brackets_of_another_kind_are_not_joined():
    with_end = spectra.spectral_density(CASE.A, steps=12, probes=4, support=(0.4, 5.0), rng=3)
    with pytest.raises(ValueError, match="same options"):
        joined(with_end, spectra.spectral_density(CASE.A, steps=12, probes=4, rng=0), None)
