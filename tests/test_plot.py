"""What is drawn, not how many pixels it takes: numbers of stems, masses, bands, scales."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.linalg

import spectra
from spectra import SpectralDensity, plot

EIGENVALUES = np.sort(np.concatenate([np.linspace(0.2, 3.0, 160), np.full(40, 1.5)]))
Q = np.linalg.qr(np.random.default_rng(0).standard_normal((200, 200)))[0]
A = (Q * EIGENVALUES) @ Q.T


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


@pytest.fixture(scope="module")
def rho() -> SpectralDensity:
    """Lanczos quadrature, eight probes, of a matrix with an eigenvalue of multiplicity 40."""
    return spectra.spectral_density(A, steps=60, probes=8, rng=3)


@pytest.fixture(scope="module")
def continuous() -> SpectralDensity:
    moments = spectra.moments(A, 20, support=(0.0, 3.2), probes=4, rng=0)
    return spectra.maxent(moments)


def stems(ax) -> np.ndarray:
    """Position, foot and head of every stem."""
    (lines,) = ax.collections
    return np.array([(segment[0, 0], *segment[:, 1]) for segment in lines.get_segments()])


def band(ax) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, lower and upper edge of the last filled region."""
    corners = ax.collections[-1].get_paths()[0].vertices
    x = np.unique(corners[:, 0])
    edges = [corners[corners[:, 0] == one, 1] for one in x]
    return x, np.array([edge.min() for edge in edges]), np.array([edge.max() for edge in edges])


def area(line) -> float:
    x, y = line.get_data()
    return float(np.trapezoid(y, x))


def test_stems_are_the_rule(ax):
    plot.stem(SpectralDensity([1.0, 2.0, 4.0], [0.2, 0.5, 0.3], size=10), ax)
    np.testing.assert_allclose(stems(ax), [[1, 0, 0.2], [2, 0, 0.5], [4, 0, 0.3]])
    heads = ax.lines[0].get_xydata()
    np.testing.assert_allclose(heads, [[1, 0.2], [2, 0.5], [4, 0.3]])


def test_every_probe_is_drawn_with_its_own_weights(ax, rho):
    plot.stem(rho, ax)
    assert len(stems(ax)) == sum(np.sum(weights > 0) for _, weights in rho.rules)
    assert stems(ax)[:, 2].sum() == pytest.approx(rho.probes)


def test_the_multiple_eigenvalue_stands_out_as_high_as_it_is(ax, rho):
    plot.stem(rho, ax)
    x, _, heads = stems(ax).T
    high = np.abs(x - 1.5) < 0.02
    assert high.sum() == rho.probes
    assert abs(heads[high].mean() - 40 / 200) < 0.05
    assert heads[~high].max() < 0.1


def test_probes_that_share_their_nodes_are_averaged(ax):
    plot.stem(SpectralDensity([[1.0, 2.0]], [[0.2, 0.8], [0.4, 0.6]], size=4), ax)
    np.testing.assert_allclose(stems(ax), [[1, 0, 0.3], [2, 0, 0.7]])


def test_copies_of_an_eigenvalue_are_one_stem(ax):
    plot.stem(SpectralDensity([1.0, 1.0 + 1e-12, 2.0], [0.3, 0.3, 0.4], size=4), ax)
    np.testing.assert_allclose(stems(ax), [[1, 0, 0.6], [2, 0, 0.4]])


def test_logarithmic_stems_leave_out_less_than_a_hundredth_of_an_eigenvalue(ax):
    plot.stem(SpectralDensity([1.0, 2.0, 3.0], [0.5, 0.5 - 2e-4, 2e-4], size=10), ax, log=True)
    assert ax.get_yscale() == "log"
    x, feet, heads = stems(ax).T
    np.testing.assert_allclose(x, [1, 2])
    assert np.all((feet > 0) & (feet < heads))
    assert ax.get_ylim()[0] == pytest.approx(feet[0])


def test_stems_of_a_continuous_density_are_refused(ax, continuous):
    with pytest.raises(ValueError, match="weighted points"):
        plot.stem(continuous, ax)


def test_density_has_mass_one(ax, rho, continuous):
    plot.density(rho, ax)
    plot.density(rho, ax, width=0.2)
    plot.density(continuous, ax)
    for line in ax.lines:
        assert area(line) == pytest.approx(1, abs=1e-3)


def test_density_is_the_smoothed_rule(ax, rho):
    plot.density(rho, ax, width=0.1)
    x, y = ax.lines[0].get_data()
    np.testing.assert_allclose(y, rho.pdf(x, 0.1), rtol=1e-12, atol=1e-12)


def test_continuous_density_is_drawn_as_it_is_and_without_a_band(ax, continuous):
    plot.density(continuous, ax)
    x, y = ax.lines[0].get_data()
    np.testing.assert_allclose(y, continuous.pdf(x))
    assert (x[0], x[-1]) == continuous.support
    assert len(ax.collections) == 1


@pytest.mark.parametrize(("probes", "regions"), [(1, 1), (2, 2)])
def test_density_has_a_band_where_probes_have_a_spread(ax, probes, regions):
    plot.density(spectra.spectral_density(A, steps=10, probes=probes, rng=0), ax)
    assert len(ax.collections) == regions


def test_logarithmic_density_begins_at_a_tenth_of_an_eigenvalue(ax, rho):
    plot.density(rho, ax, width=0.05, log=True)
    assert ax.get_yscale() == "log"
    assert ax.get_ylim()[0] == pytest.approx(0.1 / (200 * 0.05))
    assert ax.get_ylim()[1] < 1e3
    assert ax.lines[0].get_ydata().min() == pytest.approx(0.1 / (200 * 0.05))


def test_cumulative_rises_from_zero_to_one(ax, rho):
    plot.cumulative(rho, ax)
    x, y = ax.lines[0].get_data()
    assert (x[0], y[0], y[-1]) == (rho.support[0], 0.0, 1.0)
    assert np.all(np.diff(x) >= 0)


def test_cumulative_band_holds_the_true_distribution(ax, rho):
    plot.cumulative(rho, ax)
    x, low, high = band(ax)
    truth = np.searchsorted(EIGENVALUES, x, side="right") / 200
    assert np.mean((low <= truth + 1e-9) & (truth <= high + 1e-9)) > 0.95
    assert np.mean(high - low) < 0.25


def test_cumulative_of_one_probe_shows_the_bracket(ax):
    one = spectra.spectral_density(A, steps=30, probes=1, rng=0)
    plot.cumulative(one, ax)
    _, low, high = band(ax)
    assert 0 < np.mean(high - low) < 0.25


def test_histogram_has_area_one(ax):
    plot.histogram(EIGENVALUES, ax, bins=30)
    (steps,) = ax.patches
    values, edges, _ = steps.get_data()
    assert np.sum(values * np.diff(edges)) == pytest.approx(1)
    assert len(values) == 30


@pytest.mark.parametrize("draw", [plot.stem, plot.density, plot.cumulative])
def test_overlays_take_the_next_colour_and_have_labels(draw, ax, rho):
    assert draw(rho, ax, label="first") is ax
    assert draw(rho, ax, label="second") is ax
    first, second = ax.lines
    assert first.get_color() != second.get_color()
    assert [text.get_text() for text in ax.legend().get_texts()] == ["first", "second"]


@pytest.mark.parametrize("draw", [plot.stem, plot.density, plot.cumulative])
@pytest.mark.parametrize("method", ["slq", "block-slq", "kpm"])
def test_every_kind_of_rule_is_drawn(draw, method, ax):
    draw(spectra.spectral_density(A, method=method, steps=8, probes=2, rng=0), ax)
    assert ax.get_xlabel() == "eigenvalue"
    assert np.all(np.isfinite(ax.lines[0].get_xydata()))


@pytest.mark.parametrize("draw", [plot.stem, plot.density, plot.cumulative])
def test_a_single_eigenvalue_is_drawn(draw, ax):
    draw(spectra.spectral_density(np.diag([2.0, 2.0, 2.0]), probes=2, rng=0), ax)
    assert np.all(np.isfinite(ax.lines[0].get_xydata()))


def test_axes_are_made_where_none_are_given(rho):
    ax = plot.histogram(rho.nodes)
    assert ax.figure.axes == [ax]
    plt.close(ax.figure)


# Graphs


def blocks(seed=0):
    """Adjacency matrix of four random graphs of 30 nodes, the first two joined by an edge."""
    inside = np.random.default_rng(seed).random((4, 30, 30)) < 0.5
    A = scipy.linalg.block_diag(*np.triu(inside, 1)).astype(float)
    A[0, 30] = 1
    return A + A.T


def test_clusters_show_the_count_and_its_gap(ax):
    count, rho = spectra.egs_cluster_count(blocks()), spectra.graphs.egs(blocks(), moments=40, rng=0)
    plot.clusters(rho, count, ax)
    x, number = ax.lines[0].get_data()
    level, mark = ax.lines[1:3]
    expected = rho.count(-np.inf, count.cutoff)
    np.testing.assert_allclose(number[np.abs(x - count.cutoff) < count.margin / 2], expected.value, atol=0.01)
    assert expected.interval()[0] <= 4 <= expected.interval()[1]
    assert level.get_ydata()[0] == 4
    assert mark.get_xdata()[0] == count.cutoff
    assert ax.get_title() == "4 clusters"
    assert ax.get_xlim()[1] > count.cutoff + count.margin


def test_without_a_gap_the_components_are_drawn(ax):
    path = [(i, i + 1) for i in range(60)]
    with pytest.warns(spectra.ConvergenceWarning, match="no gap"):
        count = spectra.egs_cluster_count(path)
    plot.clusters(spectra.graphs.egs(path, moments=20, rng=0), count, ax)
    assert ax.get_title() == "no gap; 1 connected component"
    assert len(ax.lines) == 2
    assert not plot.cutoff(count, plt.figure().subplots()).lines
    plt.close()


def test_heatmap_shows_small_divergences_dark_and_writes_them_down(ax):
    D = np.array([[0, 0.01, 4], [0.01, 0, 40], [4, 40, 0]])
    plot.heatmap(D, ["a", "b", "c"], ax)
    shades = ax.images[0].get_array()
    assert shades.min() == shades[0, 0] == 0
    assert shades[0, 1] < shades[0, 2] < shades[1, 2] == 1
    assert [text.get_text() for text in ax.texts] == ["0", "0.01", "4", "0.01", "0", "40", "4", "40", "0"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b", "c"]
    linear = plot.heatmap(D, log=False, values=False)
    np.testing.assert_allclose(linear.images[0].get_array(), D / 40)
    assert not linear.texts
    plt.close(linear.figure)


@pytest.mark.parametrize(("D", "words"), [([[0, 1]], "square"), ([[0, np.nan], [0, 0]], "finite"),
                                          ([[0, -1], [0, 0]], ">= 0"), (np.zeros((0, 0)), "square")])
def test_heatmap_refuses_what_is_no_matrix_of_divergences(ax, D, words):
    with pytest.raises(ValueError, match=words):
        plot.heatmap(D, ax=ax)
    with pytest.raises(ValueError, match="a label for each"):
        plot.heatmap(np.zeros((2, 2)), ["one"], ax)


class Scape:
    """What `spectra.nn.landscape` returns, without torch."""

    def __init__(self, *axes, losses):
        self.coordinates, self.losses = axes, losses


LINE = np.linspace(-1.0, 1.0, 5)


def test_landscape_of_a_line_shows_train_and_test(ax):
    plot.stem(SpectralDensity([0.0], [1.0], size=1), ax)  # takes the first colour
    train, test = Scape(LINE, losses=LINE**2 + 1), Scape(LINE, losses=LINE**2 + 2)
    plot.landscape(train, ax, test=test)
    seen, unseen, cross = ax.lines[1:]
    np.testing.assert_array_equal(seen.get_ydata(), train.losses)
    np.testing.assert_array_equal(unseen.get_ydata(), test.losses)
    assert seen.get_color() == unseen.get_color() and unseen.get_linestyle() == "--"
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (0.0, 1.0)
    assert [line.get_label() for line in (seen, unseen)] == ["train", "test"]


def test_landscape_of_a_plane_has_the_contours_of_both(ax):
    u, v = np.meshgrid(LINE, np.linspace(-2, 2, 9), indexing="ij")
    train, test = (Scape(LINE, np.linspace(-2, 2, 9), losses=u**2 + 4 * v**2 + c) for c in (1.0, 2.0))
    plot.landscape(train, ax, test=test, log=True)
    solid, dashed = ax.collections
    np.testing.assert_allclose(solid.levels, np.geomspace(1, 19, 13))
    np.testing.assert_allclose(dashed.levels, solid.levels)
    corners = np.concatenate([path.vertices for path in solid.get_paths() if len(path.vertices)])
    assert corners[:, 0].max() <= 1 and 1 < corners[:, 1].max() <= 2  # the second direction goes up


def test_landscape_leaves_out_what_is_not_finite(ax):
    losses = LINE**2
    losses[-1] = np.inf
    plot.landscape(Scape(LINE, losses=losses), ax)
    assert ax.lines[0].get_ydata().mask.tolist() == [False] * 4 + [True]
    assert np.isfinite(ax.get_ylim()).all()


@pytest.mark.parametrize("losses, log, words", [
    (np.full(5, np.inf), False, "none that is finite"), (LINE, True, "logarithmic axis, found -1"),
])
def test_landscape_refuses(ax, losses, log, words):
    with pytest.raises(ValueError, match=words):
        plot.landscape(Scape(LINE, losses=losses), ax, log=log)
    with pytest.raises(ValueError, match="as many directions"):
        plot.landscape(Scape(LINE, losses=LINE), ax, test=Scape(LINE, LINE, losses=np.eye(5)))
