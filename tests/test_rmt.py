"""Laws of random matrices: against quadrature, against simulated matrices, and against each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.linalg import eigvalsh_tridiagonal

import spectra
from spectra import SpectralDensity, rmt

LAWS = {"semicircle": rmt.semicircle(), "wide semicircle": rmt.semicircle(7.0),
        "few parameters": rmt.marchenko_pastur(0.1, 2.0), "many parameters": rmt.marchenko_pastur(3.0, 0.5),
        "nearly square": rmt.marchenko_pastur(0.98)}


LAW = rmt.marchenko_pastur(0.5)


def wigner(n, variance, seed):
    W = np.random.default_rng(seed).standard_normal((n, n))
    return (W + W.T) * np.sqrt(variance / (2 * n))


def covariance(n, ratio, seed, population=None):
    X = np.random.default_rng(seed).standard_normal((round(n / ratio), n))
    X *= 1.0 if population is None else np.sqrt(population)
    return X.T @ X / len(X)


def points(values):
    return SpectralDensity(values, np.ones(len(values)), len(values), complete=True)


# The laws


@pytest.mark.parametrize("name", LAWS)
def test_the_distribution_function_is_the_integral_of_the_density(name):
    rho = LAWS[name]
    lo, hi = getattr(rho.law, "edges", rho.support)
    atom = getattr(rho.law, "atom", 0.0)
    for x in np.linspace(lo, hi, 7):
        assert rho.cdf(x) == pytest.approx(atom + quad(rho.pdf, lo, x, epsabs=1e-10)[0], abs=1e-7)
    assert rho.cdf([lo - 100, hi + 1]).tolist() == [0.0, 1.0]
    assert rho.pdf([lo - 1e-9, hi + 1e-9]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", LAWS)
def test_quantiles_invert_the_distribution_function(name):
    rho = LAWS[name]
    levels = np.linspace(getattr(rho.law, "atom", 0.0) + 1e-3, 1, 9)
    assert rho.cdf(rho.quantile(levels)) == pytest.approx(levels, abs=1e-9)


def test_the_atom_of_many_parameters():
    rho = rmt.marchenko_pastur(4.0)
    assert rho.cdf(0.0) == 0.75 and rho.cdf(-1e-300) == 0 and rho.quantile([0.0, 0.7]).tolist() == [0.0, 0.0]
    assert rho.count(0.0, 0.5).value == 0.75 and rho.entropy() == -np.inf


def test_moments_are_catalan_and_narayana_numbers():
    rho = rmt.semicircle(2.0)
    assert [rho.moment(k).value for k in range(7)] == pytest.approx([1, 0, 2, 0, 2 * 4, 0, 5 * 8], abs=1e-12)
    q, v = 0.3, 1.5
    rho = rmt.marchenko_pastur(q, v)
    expected = [1, v, v**2 * (1 + q), v**3 * (1 + 3 * q + q**2), v**4 * (1 + 6 * q + 6 * q**2 + q**3)]
    assert [rho.moment(k).value for k in range(5)] == pytest.approx(expected)


@pytest.mark.parametrize("name", LAWS)
def test_integrals_say_how_wrong_they_are(name):
    rho = LAWS[name]

    def peak(x):
        return 1 / (1 + 50 * (x - 1) ** 2)

    inside = quad(lambda x: peak(x) * rho.pdf(x), *getattr(rho.law, "edges", rho.support), points=[1.0], epsabs=1e-13)
    truth = inside[0] + getattr(rho.law, "atom", 0.0) * peak(0.0)
    estimate = rho.sum(peak)
    assert estimate.stderr == 0
    assert estimate.interval()[0] - 1e-10 <= truth <= estimate.interval()[1] + 1e-10


def test_entropies():
    for name in ("semicircle", "wide semicircle", "few parameters", "nearly square"):
        rho = LAWS[name]
        truth = quad(lambda x, p=rho.pdf: -p(x) * np.log(p(x)) if p(x) > 0 else 0.0, *rho.support, limit=400)[0]
        assert rho.entropy() == pytest.approx(truth, abs=1e-5)
    assert rmt.marchenko_pastur(1.0, 3.0).entropy() == pytest.approx(np.log(6 * np.pi) - 1)
    assert rmt.marchenko_pastur(1e-12).entropy() == pytest.approx(rmt.semicircle(1e-12).entropy())


@pytest.mark.parametrize("variance", [1e-300, 1.0, 1e300])
def test_a_bulk_may_be_narrow_and_in_any_unit(variance):
    """Of few parameters, the law is a semicircle around the variance."""
    narrow, round_ = rmt.marchenko_pastur(1e-14, variance), rmt.semicircle(1.0)
    x = np.array([-1.5, -0.2, 0.0, 1.0])
    assert narrow.cdf(variance * (1 + 1e-7 * x)) == pytest.approx(round_.cdf(x), abs=1e-6)
    law = rmt.marchenko_pastur(0.5, variance)
    assert law.cdf(law.quantile(0.3)) == pytest.approx(0.3)
    assert law.pdf(law.quantile(0.3)) * variance == pytest.approx(float(LAW.pdf(LAW.quantile(0.3))))
    assert rmt.stieltjes(law, 5 * variance) * variance == pytest.approx(float(rmt.stieltjes(LAW, 5.0)))


@pytest.mark.parametrize("call", [lambda: rmt.semicircle(0.0), lambda: rmt.semicircle(np.nan),
                                  lambda: rmt.semicircle("1"), lambda: rmt.semicircle([1.0]),
                                  lambda: rmt.marchenko_pastur(-1.0), lambda: rmt.marchenko_pastur(1.0, np.inf)])
def test_impossible_laws_are_refused(call):
    with pytest.raises(ValueError, match="positive finite"):
        call()


# Transforms


@pytest.mark.parametrize("name", LAWS)
def test_closed_stieltjes_transforms_are_integrals(name):
    rho = LAWS[name]
    lo, hi = rho.support
    for z in (hi + 0.3, lo - 0.7, hi + 40.0, 0.3 + 0.5j, hi - 2j):
        assert rmt.stieltjes(rho, z) == pytest.approx(rho.weights @ (1 / (z - rho.nodes)), abs=1e-9)


@pytest.mark.parametrize("name", LAWS)
def test_density_is_the_imaginary_part_on_the_real_line(name):
    rho = LAWS[name]
    x = np.linspace(*getattr(rho.law, "edges", rho.support), 9)[1:-1]
    assert -rmt.stieltjes(rho, x + 1e-9j).imag / np.pi == pytest.approx(rho.pdf(x), abs=1e-6)


@pytest.mark.parametrize("name", LAWS)
def test_transforms_by_root_search_agree_with_closed_forms(name):
    rho = LAWS[name]
    rule = SpectralDensity(rho.nodes, rho.weights, 1, support=rho.support)  # the same, without its law
    for s in (0.05, 0.1, -0.1):
        assert rmt.r_transform(rule, s) == pytest.approx(float(rmt.r_transform(rho, s)), abs=1e-9)
        assert rmt.stieltjes(rule, rmt.blue(rule, s)) == pytest.approx(s)
    assert rmt.r_transform(rule, 0.0) == pytest.approx(rule.expect(lambda x: x))
    if rho.support[0] >= 0:
        for u in (-0.2, 0.1, 0.3):
            assert rmt.s_transform(rule, u) == pytest.approx(float(rmt.s_transform(rho, u)), rel=1e-8)


def test_the_stieltjes_transform_keeps_its_digits_beside_an_atom_and_far_away():
    wide, z = rmt.marchenko_pastur(4.0), np.array([-1e-6, -1e-10, -1e-14])
    assert z * rmt.stieltjes(wide, z) == pytest.approx(0.75 - z / 12, rel=1e-11)  # 0.75 / z and the rest's mean of 1/x
    assert z * rmt.stieltjes(wide, z + 0j) == pytest.approx(0.75 - z / 12, rel=1e-11)
    for law in (wide, rmt.semicircle()):
        assert 1e250 * rmt.stieltjes(law, 1e250) == pytest.approx(1.0)


@pytest.mark.parametrize("tiny", [0.0, 1e-300, 1e-15, -1e-12, 1e-6])
def test_transforms_near_0_are_mean_and_variance(tiny):
    x = np.array([1.0, 2.0, 4.0])
    rho, mean, variance = points(x), x.mean(), x.var()
    assert rmt.r_transform(rho, tiny) == pytest.approx(mean + variance * tiny, rel=1e-11)
    assert rmt.s_transform(rho, tiny) == pytest.approx((1 - tiny * variance / mean**2) / mean, rel=1e-11)


@pytest.mark.parametrize("distance", [1e-9, 1e-6, 1e-3, 1.0, 1e6])
def test_blue_inverts_the_stieltjes_transform_up_to_the_ends(distance):
    for rho in (points(np.array([1.0, 2.0])), rmt.semicircle(), rmt.marchenko_pastur(3.0)):
        for z in (rho.support[0] - distance, rho.support[1] + distance):
            assert rmt.blue(rho, rmt.stieltjes(rho, z)) == pytest.approx(z, rel=1e-9)


def test_transforms_refuse_what_they_cannot_invert():
    for transform in (rmt.stieltjes, rmt.blue, rmt.r_transform, rmt.s_transform):
        with pytest.raises(ValueError, match="numbers"):
            transform(LAW, np.nan)
    with pytest.raises(ValueError, match=r"its pole at .* = 2"):
        rmt.r_transform(LAW, [0.1, 2.0])
    for u in (-0.25, -0.3):
        with pytest.raises(ValueError, match="weight at 0"):
            rmt.s_transform(rmt.marchenko_pastur(4.0), u)
    with pytest.raises(ValueError, match="weight at 0"):
        rmt.s_transform(points(np.array([0.0, 1.0])), -0.5)
    with pytest.raises(ValueError, match="not defined"):
        rmt.stieltjes(rmt.semicircle(), 0.5)
    with pytest.raises(ValueError, match="nowhere outside"):
        rmt.blue(rmt.semicircle(), 5.0)
    with pytest.raises(ValueError, match="positive numbers"):
        rmt.s_transform(rmt.semicircle(), 0.1)
    with pytest.raises(ValueError, match="positive numbers"):
        rmt.s_transform(points(np.array([-1.0, 1.0])), 0.1)


# Free convolution


def test_two_semicircles_make_one():
    rho, truth = rmt.free_sum(rmt.semicircle(1.0), rmt.semicircle(3.0)), rmt.semicircle(4.0)
    x = np.linspace(-3.9, 3.9, 41)
    assert rho.pdf(x) == pytest.approx(truth.pdf(x), abs=1e-3)
    assert rho.cdf(x) == pytest.approx(truth.cdf(x), abs=1e-3)
    assert rho.support == pytest.approx(truth.support, abs=0.02)


def test_free_cumulants_add():
    p, q = rmt.marchenko_pastur(0.5), SpectralDensity([0.0, 1.0, 5.0], [0.2, 0.5, 0.3], 1)
    total = rmt.free_sum(p, q)
    for s in (0.02, 0.05):
        assert rmt.r_transform(total, s) == pytest.approx(rmt.r_transform(p, s) + rmt.r_transform(q, s), rel=2e-3)


def test_s_transforms_multiply():
    p, q = rmt.marchenko_pastur(0.3), rmt.marchenko_pastur(0.5, 2.0)
    product = rmt.free_product(p, q)
    for u in (-0.3, 0.2):
        expected = float(rmt.s_transform(p, u) * rmt.s_transform(q, u))
        assert rmt.s_transform(product, u) == pytest.approx(expected, rel=2e-3)


def test_eigenvalues_listed_one_by_one_are_atoms_where_they_are_equal():
    values = np.concatenate([np.linspace(-1e-17, 1e-17, 30), np.ones(70)])
    product = rmt.free_product(points(values), points(values))
    assert np.array(product.law.atoms) == pytest.approx(np.array([[0.0, 0.3], [1.0, 0.4]]))
    total = rmt.free_sum(points(values), rmt.semicircle(0.01))
    assert not total.law.atoms
    assert total.cdf(0.5) == pytest.approx(0.3, abs=1e-3)


def test_a_convolution_hands_its_atoms_on(monkeypatch):
    monkeypatch.setattr("spectra.rmt._free.POINTS", 200)
    values = SpectralDensity([0.0, 1.0], [0.1, 0.9], 1)
    once = rmt.free_product(values, rmt.marchenko_pastur(2.0))
    assert once.law.atoms == ((0.0, 0.5),)
    assert rmt.free_product(once, SpectralDensity([1.0, 2.0], [0.9, 0.1], 1)).law.atoms == ((0.0, 0.5),)


def test_a_single_point_moves_a_spectrum():
    moved = rmt.free_sum(SpectralDensity([0.0, 1.0], [0.1, 0.9], 1), SpectralDensity([5.0], [1.0], 1))
    assert moved.nodes.tolist() == [5.0, 6.0] and moved.weights == pytest.approx([0.1, 0.9])


def test_arcsine():
    signs = SpectralDensity([-1.0, 1.0], [0.5, 0.5], 2)
    rho, x = rmt.free_sum(signs, signs), np.linspace(-1.9, 1.9, 21)
    assert rho.pdf(x) == pytest.approx(1 / (np.pi * np.sqrt(4 - x**2)), rel=1e-3)
    assert rho.entropy() == pytest.approx(np.log(np.pi), abs=0.02)


@pytest.mark.parametrize("largest", [10.0, 1e3, 1e6])
def test_bulks_of_very_different_widths(largest):
    """Half of a sample covariance's eigenvalues belong to either population eigenvalue; the mean is known."""
    rho = rmt.free_product(SpectralDensity([1.0, largest], [0.5, 0.5], 2), rmt.marchenko_pastur(1e-3))
    assert rho.cdf(largest / 3) == pytest.approx(0.5, abs=1e-3)
    assert rho.quantile(0.25) == pytest.approx(1.0, abs=0.05)
    assert rho.moment(1).value == pytest.approx((1 + largest) / 2, rel=2e-3)


def test_mass_that_is_missing_is_a_warning(monkeypatch):
    monkeypatch.setattr("spectra.rmt._free.POINTS", 3)
    with pytest.warns(spectra.ConvergenceWarning, match="too narrow"):
        rmt.free_sum(SpectralDensity([0.0, 1e6], [0.5, 0.5], 2), rmt.semicircle(1.0))


def test_projections_keep_their_atoms():
    """Two projections in general position: of ranks 0.8 and 0.7 they share a space of rank 0.5 at least."""
    p, q = (SpectralDensity([0.0, 1.0], [1 - rank, rank], 1) for rank in (0.8, 0.7))
    product = rmt.free_product(p, q)
    assert product.cdf(1e-12) == pytest.approx(0.3) and 1 - product.cdf(1 - 1e-9) == pytest.approx(0.5, abs=1e-3)
    total = rmt.free_sum(p, q)
    assert 1 - total.cdf(2 - 1e-9) == pytest.approx(0.5, abs=1e-3)
    assert total.moment(1).value == pytest.approx(1.5, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_convolutions_against_eigenvalues(seed):
    n = 2000
    atoms = np.repeat([-2.0, 2.0], n // 2)
    values = np.linalg.eigvalsh(np.diag(atoms) + wigner(n, 1.0, seed))
    theory = rmt.free_sum(rmt.semicircle(1.0), points(np.array([-2.0, 2.0])))
    assert np.abs(theory.cdf(values) - np.arange(n) / n).max() < 5e-3
    first, second = covariance(n, 0.3, seed), covariance(n, 0.5, seed + 10)
    root = np.linalg.cholesky(first)
    values = np.linalg.eigvalsh(root.T @ second @ root)
    theory = rmt.free_product(rmt.marchenko_pastur(0.3), rmt.marchenko_pastur(0.5))
    assert np.abs(theory.cdf(values) - np.arange(n) / n).max() < 5e-3


def test_two_points_are_not_convolved():
    with pytest.raises(ValueError, match="single points"):
        rmt.free_sum(points(np.ones(1)), points(np.ones(1)))
    with pytest.raises(ValueError, match="positive numbers"):
        rmt.free_product(rmt.semicircle(), rmt.marchenko_pastur(0.5))


# Spikes


@given(st.floats(1.01, 50), st.floats(1e-3, 1e3))
def test_spikes_invert_outliers(excess, variance):
    spike = excess * rmt.threshold(variance=variance)
    assert rmt.spikes(rmt.outliers([spike, -spike], variance=variance), variance=variance) == pytest.approx(
        [spike, -spike], rel=1e-5)


@given(st.floats(1.01, 50), st.floats(1e-2, 5.0), st.floats(1e-3, 1e3))
def test_spikes_invert_outliers_of_covariances(excess, ratio, variance):
    model = {"noise": "multiplicative", "ratio": ratio, "variance": variance}
    spike = excess * rmt.threshold(**model)
    assert rmt.spikes(rmt.outliers([spike], **model), **model) == pytest.approx([spike], rel=1e-5)


def test_below_the_threshold_there_is_the_edge():
    assert rmt.outliers([0.99, -0.5], variance=1.0).tolist() == [2.0, -2.0]
    assert rmt.outliers([0.4, -0.2], noise="multiplicative", ratio=0.25) == pytest.approx([2.25, 0.25])
    assert rmt.spikes([1.99, -1.0]).tolist() == [0.0, 0.0]
    assert rmt.overlaps([0.99, -0.5]).tolist() == [0.0, 0.0]
    assert rmt.outliers([-0.9], noise="multiplicative", ratio=2.0).tolist() == [0.0]


def test_laws_join_continuously_at_the_threshold():
    for model in ({"variance": 2.0}, {"noise": "multiplicative", "ratio": 0.3, "variance": 2.0}):
        just_above = rmt.threshold(**model) * (1 + 1e-6)
        edge = (rmt.semicircle(2.0) if "noise" not in model else rmt.marchenko_pastur(0.3, 2.0)).support[1]
        assert rmt.outliers(just_above, **model) == pytest.approx(edge)
        assert rmt.overlaps(just_above, **model) == pytest.approx(0, abs=1e-5)


def simulated(noise, spike, n, variance, ratio, seed):
    """Largest eigenvalue, and the squared overlap of its eigenvector with the spike's."""
    if noise == "additive":
        matrix = wigner(n, variance, seed)
        matrix[0, 0] += spike
    else:
        population = np.ones(n)
        population[0] += spike
        matrix = variance * covariance(n, ratio, seed, population)
    pairs = spectra.eigenpairs(matrix, 1, which="LA", rng=seed, tol=1e-6)
    return pairs.values[0], pairs.vectors[0, 0] ** 2


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "ratio"), [("additive", None), ("multiplicative", 0.4)])
def test_outliers_and_overlaps_of_simulated_matrices(noise, ratio):
    """Three standard deviations, sqrt(2 v / (n seeds)) about, on both sides of the threshold."""
    n, variance, seeds = 2000, 2.0, 4
    model = {"noise": noise, "variance": variance, "ratio": ratio}
    for factor in (0.5, 1.6, 3.0):
        spike = factor * rmt.threshold(**model)
        values, overlaps = np.transpose([simulated(noise, spike, n, variance, ratio, seed) for seed in range(seeds)])
        scale = 3 * (1 + spike) * np.sqrt(2 * variance / (n * seeds)) if factor > 1 else 6 * variance * n ** (-2 / 3)
        assert values.mean() == pytest.approx(rmt.outliers(spike, **model), abs=scale)
        assert overlaps.mean() == pytest.approx(rmt.overlaps(spike, **model), abs=0.04)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: rmt.outliers([1.0], noise="loud"), "must be 'additive' or"),
    (lambda: rmt.outliers([np.nan]), "finite"),
    (lambda: rmt.outliers([1.0], ratio=0.5), "no ratio"),
    (lambda: rmt.outliers([1.0], noise="multiplicative"), "needs ratio="),
    (lambda: rmt.overlaps([-1.5], noise="multiplicative", ratio=0.5), "at least -1"),
])
def test_wrong_spikes_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# The edge, and what lies beyond it


@pytest.mark.slow
def test_the_largest_eigenvalue_of_noise_is_tracy_and_widoms():
    n, trials = 150, 400
    tops = np.array([np.linalg.eigvalsh(wigner(n, 3.0, seed))[-1] for seed in range(trials)])
    tops_covariance = np.array([np.linalg.eigvalsh(covariance(n, 0.5, seed))[-1] for seed in range(trials)])
    for values, law in ((tops, rmt.semicircle(3.0)), (tops_covariance, rmt.marchenko_pastur(0.5))):
        for level in (0.5, 0.9):
            share = np.mean(values < rmt.edge_quantile(level, law, n))
            assert share == pytest.approx(level, abs=0.03 + 3 * np.sqrt(level * (1 - level) / trials))


def test_pvalues_and_quantiles_are_inverse():
    for law in (rmt.semicircle(2.0), rmt.marchenko_pastur(0.2, 3.0)):
        x = rmt.edge_quantile(0.95, law, 500)
        assert rmt.edge_pvalue(x, law, 500) == pytest.approx(0.05)
        assert law.support[1] < x < law.support[1] + 5 * rmt.edge_scale(law, 500)
    assert rmt.edge_pvalue([-4.0], rmt.semicircle(), 100)[0] < 1e-6
    with pytest.raises(ValueError, match="known for"):
        rmt.edge_scale(points(np.ones(2)), 5)


@pytest.mark.parametrize("law", ["semicircle", "marchenko-pastur"])
def test_bulk_fits_are_not_moved_by_outliers(law):
    n = 500
    matrix = wigner(n, 3.0, 0) if law == "semicircle" else covariance(n, 0.3, 0) * 1.7
    values = np.linalg.eigvalsh(matrix)
    values[-10:] *= 50
    fit = rmt.fit_bulk(points(values), law)
    assert fit.variance == pytest.approx(3.0 if law == "semicircle" else 1.7, rel=0.03)
    assert law == "semicircle" or fit.ratio == pytest.approx(0.3, rel=0.1)
    assert fit.misfit < 0.01
    assert rmt.count_outliers(points(values), fit).value == pytest.approx(10)


def test_an_atom_at_zero_can_be_left_out_of_the_fit():
    values = np.concatenate([np.zeros(700), np.linalg.eigvalsh(wigner(300, 1.0, 0))])
    assert rmt.fit_bulk(points(values)).misfit > 0.05
    assert rmt.fit_bulk(points(values), discard=1e-9).variance == pytest.approx(1.0, rel=0.05)
    with pytest.raises(ValueError, match="discard less"):
        rmt.fit_bulk(points(np.zeros(5)), discard=1.0)


def test_fewer_samples_than_parameters_are_seen_from_the_zeros_left_out():
    values = np.linalg.eigvalsh(covariance(400, 4.0, 0))
    fit = rmt.fit_bulk(points(values), "marchenko-pastur", discard=1e-9)
    assert fit.ratio == pytest.approx(4.0, rel=0.05) and fit.variance == pytest.approx(1.0, rel=0.03)
    assert fit.misfit < 0.02 and fit.cdf(0.0) == pytest.approx(0.75, abs=0.02)


def test_pure_noise_shows_an_outlier_as_often_as_the_level_says():
    """On 120 matrices of noise, at both ends: the p-value of the larger is uniform."""
    rng, pvalues, counts = np.random.default_rng(0), [], []
    for _ in range(120):
        ends = eigvalsh_tridiagonal(rng.standard_normal(200) / 10, np.sqrt(rng.chisquare(np.arange(199, 0, -1)) / 200))
        found = rmt.count_outliers(points(ends), rmt.semicircle(), level=0.2)
        pvalues.append(found.pvalue)
        counts.append(found.value > 0)
    assert np.mean(counts) == pytest.approx(0.2, abs=0.09) and np.mean(pvalues) == pytest.approx(0.5, abs=0.08)
    with pytest.raises(ValueError, match="strictly between"):
        rmt.count_outliers(points(ends), level=0.0)


def test_pure_noise_has_no_outliers_and_a_spike_is_one():
    values = np.linalg.eigvalsh(wigner(400, 2.0, 3))
    assert rmt.count_outliers(points(values)).value == 0 and rmt.count_outliers(points(values)).margin is None
    spiked = wigner(400, 2.0, 3)
    spiked[0, 0] -= 4.0
    found = rmt.count_outliers(points(np.linalg.eigvalsh(spiked)), rmt.semicircle(2.0))
    assert found.value == 1 and found.pvalue < 1e-4 and found.edges[0] == -found.edges[1]


def test_outliers_of_an_estimated_spectrum_carry_its_error():
    matrix = wigner(300, 1.0, 0)
    matrix[np.arange(5), np.arange(5)] += 6
    rho = spectra.spectral_density(matrix, steps=40, probes=10, rng=0)
    found = rmt.count_outliers(rho, rmt.semicircle())
    low, high = found.interval()
    assert low <= 5 <= high and found.stderr > 0


# Shrinkage


@pytest.mark.parametrize("ratio", [0.5, 0.99, 1.0, 1.01, 2.0])
def test_cleaned_covariances_are_nearly_as_good_as_they_can_be(ratio):
    n = 300
    population = np.repeat([1.0, 5.0, 20.0], n // 3)
    C = covariance(n, ratio, 0, population)
    noisy, U = np.linalg.eigh(C)
    oracle = (U**2).T @ population
    cleaned = rmt.clean_eigenvalues(noisy, ratio=ratio)

    def error(values):
        return np.linalg.norm((U * values) @ U.T - np.diag(population))

    assert error(oracle) <= error(cleaned) < 1.04 * error(oracle) < 0.9 * error(noisy)
    assert cleaned.sum() == pytest.approx(noisy.sum())
    shuffled = np.random.default_rng(0).permutation(n)
    assert rmt.clean_eigenvalues(noisy[shuffled], ratio=ratio) == pytest.approx(cleaned[shuffled])


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_centring_costs_a_sample_and_nothing_else(ratio):
    X = np.random.default_rng(2).standard_normal((round(200 / ratio), 200))
    cleaned = rmt.clean_eigenvalues(np.linalg.eigvalsh(np.cov(X.T)), ratio=ratio)
    assert np.mean((cleaned - 1) ** 2) < 0.05


def test_zeros_of_the_population_stay_and_do_not_disturb_the_rest():
    noisy = np.linalg.eigvalsh(covariance(100, 0.5, 0))
    with_zeros = rmt.clean_eigenvalues(np.concatenate([np.zeros(100), noisy]), ratio=1.0)
    assert np.all(with_zeros[:100] == 0)
    assert with_zeros[100:] == pytest.approx(rmt.clean_eigenvalues(noisy, ratio=0.5))


def test_equal_eigenvalues_are_left_alone():
    assert rmt.clean_eigenvalues(np.full(20, 3.0), ratio=0.5) == pytest.approx(np.full(20, 3.0))


def test_cleaned_eigenvalues_of_additive_noise():
    n, variance = 300, 2.25
    clean = np.linspace(-3, 3, n)
    noisy, U = np.linalg.eigh(np.diag(clean) + wigner(n, variance, 1))
    oracle = (U**2).T @ clean
    found = rmt.clean_eigenvalues(noisy, noise="additive", variance=variance)
    assert np.linalg.norm(found - oracle) < 0.2 * np.linalg.norm(noisy - oracle)
    with pytest.raises(ValueError, match="needs variance="):
        rmt.clean_eigenvalues(noisy, noise="additive")


def test_ledoit_wolf_is_scikit_learns():
    reference = pytest.importorskip("sklearn.covariance").ledoit_wolf
    X = np.random.default_rng(0).standard_normal((30, 50)) * np.linspace(0.5, 3, 50) + 7
    (ours, shrinkage), (theirs, expected) = rmt.ledoit_wolf(X), reference(X)
    assert shrinkage == pytest.approx(expected) and ours == pytest.approx(theirs)
    for scale in (1e-150, 1e120):
        assert rmt.ledoit_wolf(X * scale)[1] == pytest.approx(shrinkage)


@pytest.mark.parametrize("X", [np.ones((5, 0)), np.ones((5, 2)) * 1j, np.ones((1, 2)), [[np.nan], [1.0]]])
def test_what_is_no_table_of_samples_is_refused(X):
    with pytest.raises(ValueError, match="finite real matrix"):
        rmt.ledoit_wolf(X)


def test_optimal_damping_minimises_the_error_it_claims_to():
    """``min over beta of E ||beta (H + W) + (1 - beta) T - H||^2``, by brute force over beta."""
    values, s = np.array([0.1, 0.5, 2.0, 7.0]), 0.8
    mu, a = values.mean(), (values**2).mean()
    beta = np.linspace(1e-4, 1, 200_001)
    for rule, target in (("shrinkage", 1.0), ("ledoit-wolf", mu)):
        error = (1 - beta) ** 2 * np.mean((target - values) ** 2) + beta**2 * s
        best = beta[error.argmin()]
        delta = target * (1 - best) / best
        assert rmt.optimal_damping(s, rule=rule, mean=mu, mean_square=a) == pytest.approx(delta, rel=1e-3)


def test_damping_scales_with_the_loss_where_it_says_so():
    for rule in ("edge", "ledoit-wolf"):
        one = rmt.optimal_damping(0.5, rule=rule, mean=1.0, mean_square=3.0)
        assert rmt.optimal_damping(50.0, rule=rule, mean=10.0, mean_square=300.0) == pytest.approx(10 * one)
    assert rmt.optimal_damping(0.5, rule="variance") == 0.5 and rmt.optimal_damping(0.25) == 1.0
    assert rmt.optimal_damping(1.0, rule="ledoit-wolf", mean=2.0, mean_square=4.0) == np.inf


@pytest.mark.parametrize(("arguments", "message"), [
    ({"noise": -1.0}, "not negative"), ({"noise": 1.0, "rule": "best"}, "must be one of"),
    ({"noise": 1.0, "rule": "shrinkage", "mean": 1.0}, "needs mean_square"),
    ({"noise": 1.0, "rule": "ledoit-wolf", "mean": 2.0, "mean_square": 1.0}, "no spectrum has"),
    ({"noise": 1.0, "rule": "ledoit-wolf", "mean": -1.0, "mean_square": 2.0}, "needs a positive mean"),
    ({"noise": 1.0, "rule": "shrinkage", "mean": np.nan, "mean_square": 2.0}, "must be finite"),
])
def test_impossible_damping_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        rmt.optimal_damping(**arguments)


# Mini-batches


def test_a_batch_of_all_data_has_no_noise():
    v = rmt.batch_variance(1e-3, 10, 5, 5)
    spikes = np.array([2.0, 1e-200, -3.0])
    assert v == 0 and rmt.threshold(variance=v) == 0 and rmt.least_damping(0.1, v) == 0
    for moved in (rmt.outliers(spikes, variance=v), rmt.spikes(spikes, variance=v)):
        assert moved.tolist() == spikes.tolist()
    assert rmt.overlaps([2.0, 0.0], variance=v).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("call", [
    lambda: rmt.effective_batch(10, np.nan), lambda: rmt.effective_batch(10, -5), lambda: rmt.effective_batch("10"),
    lambda: rmt.edge_scale(rmt.semicircle(), np.nan), lambda: rmt.edge_pvalue(np.nan, rmt.semicircle(), 10),
    lambda: rmt.outliers(1j), lambda: rmt.outliers(["a"]), lambda: rmt.spikes(-3.0, noise="multiplicative", ratio=0.2),
    lambda: rmt.semicircle_conditions(np.ones((2, 3))), lambda: rmt.semicircle_conditions(np.ones((2, 2, 2))),
    lambda: rmt.rank_bound([784.7, 10]), lambda: rmt.rank_bound([3, 2], curvature="ggn", samples=-3),
    lambda: rmt.optimal_damping([1.0, 2.0]), lambda: rmt.fit_bulk(LAW, discard=-1.0),
    lambda: rmt.outliers(1.0, variance=-1.0),
])
def test_what_means_nothing_is_refused(call):
    with pytest.raises(ValueError, match="found"):
        call()


@pytest.mark.parametrize("variance", [1e-300, 1e300])
def test_spikes_come_back_in_any_unit(variance):
    clean = np.sqrt(variance) * np.array([1.001, 3.0, 1e8, -1.5])
    assert rmt.spikes(rmt.outliers(clean, variance=variance), variance=variance) == pytest.approx(clean)


def test_effective_batches():
    assert rmt.effective_batch(32) == 32 and rmt.effective_batch(100, 100) == np.inf
    assert 1 / rmt.effective_batch(30, 70) == pytest.approx(1 / 30 - 1 / 70)
    assert rmt.batch_variance(2.0, 50, 30, 70) == pytest.approx(100 * (1 / 30 - 1 / 70))
    with pytest.raises(ValueError, match="larger than the data set"):
        rmt.effective_batch(200, 100)


def test_three_regimes_of_the_largest_eigenvalue():
    batches = np.array([1e-3, 1e-2, 1e1, 1e6])
    strong = [rmt.batch_extremes(0.0, 1.0, rmt.batch_variance(1.0, 1, B)).largest for B in batches]
    assert strong[0] / strong[1] == pytest.approx(np.sqrt(10), rel=1e-3)  # the edge of the noise
    assert strong[2] == pytest.approx(1 + 0.1) and strong[3] == pytest.approx(1.0, rel=1e-5)
    found = rmt.batch_extremes(-3.0, 2.0, 1.0)
    assert found == (-3 - 1 / 3, 2.5, (True, True))
    assert rmt.batch_extremes(-1.0, 2.0, 0.0)[:2] == (-1.0, 2.0)
    assert rmt.batch_extremes(3.0, 4.0, 1.0)[:2] == (-2.0, 4.25)


def test_batch_hessians_of_a_linear_model():
    """Sums of independent symmetric noise: the batch mean has the predicted variance per parameter."""
    rng = np.random.default_rng(0)
    n, samples, batch = 60, 400, 40
    noise = rng.standard_normal((samples, n, n))
    noise = (noise + noise.transpose(0, 2, 1)) / np.sqrt(2)
    noise -= noise.mean(0)
    sigma2 = (noise**2).mean() * samples / (samples - 1)
    measured = np.mean([np.sum(noise[rng.permutation(samples)[:batch]].mean(0) ** 2) / n for _ in range(40)])
    assert measured == pytest.approx(rmt.batch_variance(sigma2, n, batch, samples), rel=0.03)


def test_conditions_of_the_semicircle():
    even = rmt.semicircle_conditions(np.full((4, 4), 3.0))
    assert (even["spread"], even["largest"], even["variance"]) == (0.0, 1.0, 3.0)
    rows = rmt.semicircle_conditions(np.array([1.0, 3.0]))
    assert rows == {"spread": 0.5, "largest": 1.5, "variance": 2.0}
    with pytest.raises(ValueError, match="not all 0"):
        rmt.semicircle_conditions(np.zeros(3))


def test_rank_bounds():
    assert rmt.rank_bound([784, 100, 10]) == 4 * 10 * 884
    assert rmt.rank_bound([784, 10], curvature="ggn", samples=7) == 70
    with pytest.raises(ValueError, match="samples"):
        rmt.rank_bound([3, 1], curvature="ggn")


@pytest.mark.slow
def test_recovered_spikes_beat_naive_ones():
    """Spikes of a hidden matrix from its noisy eigenvalues: less error than taking the noisy eigenvalues for them."""
    n, truth = 600, np.array([8.0, 4.0, 2.0])
    naive, cleaned = [], []
    for seed in range(8):
        noise = wigner(n, 1.0, seed)
        noise[np.arange(3), np.arange(3)] += truth
        top = np.linalg.eigvalsh(noise)[::-1][:3]
        naive.append(np.abs(top - truth))
        cleaned.append(np.abs(rmt.spikes(top, variance=1.0) - truth))
    assert np.all(np.mean(cleaned, 0)[1:] < 0.4 * np.mean(naive, 0)[1:])
