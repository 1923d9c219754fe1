"""Figures of chapter 3 at small size: the shape of each claim."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

networkx = pytest.importorskip("networkx")

FOLDER = Path(__file__).parent.parent / "examples" / "reproduce"


def reproduction(name):
    """Import a script of the folder the way it runs: with the folder on the path."""
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def random_graphs():
    figures = reproduction("thesis_figures_3_1_to_3_3")
    return figures, figures.run(600)


def test_every_claim_of_figures_3_1_to_3_3_but_those_on_details_holds(random_graphs):
    figures, found = random_graphs
    claims = figures.claims(found)
    noisy = {"3.1: more moments of 100 probes always improve the fit",
             "3.1: more exact moments always improve the support"}
    assert set(claims) >= noisy
    assert all(true for claim, true in claims.items() if claim not in noisy), claims


def test_pictures_of_figures_3_1_to_3_3(random_graphs, tmp_path):
    pytest.importorskip("matplotlib")
    figures, found = random_graphs
    for picture in (figures.picture_3_1, figures.picture_3_2, figures.picture_3_3):
        picture(found, tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_published_moments_show_the_blocks_of_figure_3_4(spectra_data):
    figure = reproduction("thesis_figure_3_4")
    names, D = figure.published(spectra_data / "reference" / "granziol_chebyshev_moments.npz", 1e-6, ["symmetric-kl"])
    assert len(names) == 13
    assert all(figure.claims_published(names, D["symmetric-kl"], 1e-6).values())


def test_moments_of_half_the_interval_give_the_same_density_as_ours(spectra_data):
    """The published moments of ca-GrQc, of L/2 in [0, 1], against ours of L in [0, 2]."""
    import spectra

    figure = reproduction("thesis_figure_3_4")
    with np.load(spectra_data / "reference" / "granziol_chebyshev_moments.npz") as file:
        theirs = spectra.maxent(file["ca-GrQc"] / file["ca-GrQc"][0], (-2, 2), prior=figure.positive, ridge=1e-6)
    ours = spectra.graphs.egs(spectra.datasets.load("ca-GrQc"), rng=0)
    x = np.linspace(0.1, 1.9, 181)
    assert np.abs(theirs.cdf(x) - ours.cdf(x)).max() < 0.03
    assert theirs.cdf(-0.1) < 1e-5


def test_a_mix_of_groups_is_counted_as_figure_3_5_says():
    figures = reproduction("thesis_figures_3_5_to_3_7")
    G, groups = figures.mix(4000)
    errors = figures.errors(G, groups, 0.2, probes=8, orders=(20, 40))
    assert errors["Lanczos from 0"][40] > 0.3
    for method in ("entropic", "entropic, components known", "Lanczos"):
        assert errors[method][40] < 4 * np.sqrt(2 / (8 * groups))
    assert errors["entropic"][40] == pytest.approx(errors["Lanczos"][40], abs=0.02)
