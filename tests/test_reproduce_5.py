"""Chapter 5, sharpness in chapter 7, and the true-Hessian paper, at small size: the shape of each claim."""

import importlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
needs_images = pytest.mark.skipif(not os.environ.get("SPECTRA_DATA"), reason="needs images: set SPECTRA_DATA")


def reproduction(name):
    """Import a script of the folder the way it runs: with the folder on the path."""
    pytest.importorskip("torch")
    sys.path[:0] = [str(EXAMPLES / "reproduce"), str(EXAMPLES)]
    try:
        return importlib.import_module(name)
    finally:
        del sys.path[:2]


def by_item(claims):
    """Verdicts by the first item of a claim; a claim is told in JSON."""
    assert all(json.dumps(claim) for claim in claims)
    return {claim["items"][0]: claim["holds"] for claim in claims}


@pytest.fixture(scope="module")
def regimes():
    figures = reproduction("thesis_figures_5_1_and_5_3")
    return figures, figures.regimes(300, range(3), progress=False)


class TestRegimes:
    def test_additive_outliers_follow_the_theory(self, regimes):
        figures, found = regimes
        largest, overlap = figures.deviation(found["additive"][0])
        assert largest < 0.05 and overlap < 0.15

    def test_an_additive_outlier_never_falls_faster_than_the_square_root(self, regimes):
        """Only the excess over the true eigenvalue falls like 1/B."""
        figures, found = regimes
        run = found["additive"][0]
        assert max(run["exponent"]) < 0.56 and max(run["exponent theory"]) <= 0.5 + 1e-9
        assert figures.excess_exponent(run) == pytest.approx(1, abs=0.25)

    def test_multiplicative_outliers_follow_the_corrected_theorem_and_fall_faster(self, regimes):
        figures, found = regimes
        strong, weak = found["multiplicative"]
        assert max(figures.deviation(strong)[0], figures.deviation(weak)[0]) < 0.2
        assert max(strong["exponent"]) > 0.6

    def test_claims(self, regimes):
        figures, found = regimes
        assert by_item(figures.claims({"regimes": found}))["thesis Figure 5.1"] == "in part"


def test_hidden_eigenvalues_are_recovered_above_the_threshold():
    figures = reproduction("thesis_figures_5_1_and_5_3")
    for kind in ("additive", "multiplicative"):
        errors = np.mean([figures.recovered(400, seed, kind, strengths=(2.0, 3.0)) for seed in range(3)], axis=0)
        assert np.all(errors[:, 1] < 0.6 * errors[:, 0])


@pytest.fixture(scope="module")
def batches():
    """A small network on 600 images, for ten epochs of SGD."""
    figures = reproduction("thesis_figures_5_2_to_5_6")
    split = figures.split_of(600)
    return figures, figures.evolution("SGD", split, 10, (10,), batches=4, steps=20), split


@needs_images
class TestBatchSpectra:
    def test_batches_are_sharper_than_all_data(self, batches):
        _, (rows, _), _ = batches
        assert [row["epoch"] for row in rows] == [10]
        assert rows[-1]["batch"]["mean"][1] > rows[-1]["full"]["hessian"][1]

    def test_the_multiplicative_prediction_moves_the_eigenvalue_and_the_additive_hardly(self, batches):
        _, (rows, _), _ = batches
        theory, largest = rows[-1]["predicted"], rows[-1]["full"]["ggn"][0]
        assert largest <= theory["ggn"] < 1.02 * largest < theory["multiplicative"]

    def test_predictions_end_at_the_full_data(self):
        batch = reproduction("batch_spectrum")
        found = {"parameters": 1000, "samples": 512, "hessian": [-1.0, 5.0], "ggn": [5.0, 2.0], "trace": 8.0,
                 "hessian variance": 1.0, "ggn variance": 1.0}
        theory = batch.predicted(found, 511)
        assert theory["hessian"] == pytest.approx(5, rel=1e-4) and theory["smallest"] == pytest.approx(-1, rel=1e-4)
        assert theory["multiplicative"] == pytest.approx(5, rel=2e-2)

    def test_one_sharp_direction_alone_is_the_theorem(self):
        """With a single outlier the drawn covariances average to the law of Theorem 16."""
        batch = reproduction("batch_spectrum")
        found = {"parameters": 1000, "ggn": [5.0], "trace": 25.0}
        assert batch.multiplicative(found, 400) == pytest.approx(batch.law(found, 400), rel=0.01)

    def test_fewer_images_have_larger_eigenvalues(self, batches):
        figures, (_, model), split = batches
        found = figures.by_samples(model, split, (60, 600), steps=15)
        for kind in figures.KINDS:
            assert found[kind]["60"]["nodes"][-1] > found[kind]["600"]["nodes"][-1]


@pytest.mark.slow
@needs_images
def test_settings_for_other_batch_sizes():
    """Trainings that diverge are told as failed, and the small settings learn."""
    figures = reproduction("thesis_figures_5_7_to_5_16")
    grids = {("SGD", "mlp"): [0.05, 50.0], ("SGD", "mlp-bn"): [0.05], ("KFAC", "mlp"): [1e-3, 32.0]}
    found = figures.run(300, 8, batches=(64, 128), grids=grids)
    assert [one["learnt"] for one in found["SGD, mlp"]["grid"]] == [True, False]
    assert [one["learnt"] for one in found["KFAC, mlp"]["grid"]] == [False, True]
    linear = found["SGD, mlp"]["rules"]["1"]
    assert linear[0]["setting"] == pytest.approx(linear[1]["setting"] / 2)
    assert set(by_item(figures.claims(found))) == {f"thesis Figure 5.{k}" for k in (7, 8, 13)}


@pytest.mark.slow
@needs_images
def test_most_of_a_spectrum_is_at_zero():
    figures = reproduction("thesis_figures_5_17_to_5_20")
    found = {"preresnet": figures.run("preresnet", 100, 1, steps=10)}
    verdicts = by_item(figures.claims(found))
    assert set(verdicts) == {f"thesis Figure 5.{k}" for k in (17, 19, 20)}
    assert all(step["two"] > 0.5 >= step["one"] - step["two"] for _, step in figures.course(found["preresnet"],
                                                                                          "hessian, eval"))


@pytest.mark.slow
@needs_images
def test_sharpness_of_two_solutions():
    figures = reproduction("thesis_figures_7_14_to_7_17")
    found = {f"cifar10, {name}": figures.run("cifar10", name, 100, 2, steps=8) for name in figures.OPTIMIZERS}
    assert list(by_item(figures.claims(found))) == ["thesis Figure 7.15"]
    for one in found.values():
        stems = one["train mode"]
        assert stems["nodes"][-1] > 0 and 0 < stems["frobenius"] <= max(np.square(stems["nodes"]))


@pytest.mark.slow
@needs_images
def test_the_true_hessian_papers_claims_from_one_training():
    paper = reproduction("true_hessian_spectra")
    found = {"one": paper.run("preresnet", "cifar10", "normal", 80, 1, copies=2, steps=8, few=(16, 40), draws=2)}
    verdicts = by_item(paper.claims(found))
    assert verdicts["true-Hessian Table 1"] == "no"
    assert {"true-Hessian Figure 1", "true-Hessian Figure 14"} < set(verdicts)
    few = found["one"]["few"]
    assert np.mean(few[0]["largest"]) > np.mean(few[1]["largest"]) > found["one"]["hessian"][1]


def test_printed_spectra_shrink_by_more_than_their_theorem_allows():
    paper = reproduction("true_hessian_spectra")
    assert all(high > 2 * true for (high, _), (true, _), *_ in paper.PAPER.values())
