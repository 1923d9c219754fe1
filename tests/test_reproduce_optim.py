"""Studies of optimisers at small size: the shape of each claim, and what the committed measurements say."""

import importlib
import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
needs_data = pytest.mark.skipif(not os.environ.get("SPECTRA_DATA"), reason="needs images and text: set SPECTRA_DATA")
DOCUMENTS = ("damping_figure_2", "damping_figures_4_to_6", "damping_figures_7_to_15", "damping_section_8",
             "thesis_figure_4_2", "thesis_figures_6_6_to_6_8", "thesis_table_7_5", "thesis_tables_7_2_to_7_7")


def reproduction(name):
    """Import a script of the folder the way it runs: with the folder on the path."""
    pytest.importorskip("torch")
    sys.path[:0] = [str(EXAMPLES / "reproduce"), str(EXAMPLES)]
    try:
        return importlib.import_module(name)
    finally:
        del sys.path[:2]


def document(name):
    return json.loads((ROOT / "docs" / "measured" / f"{name}.json").read_text())


@pytest.mark.parametrize("name", DOCUMENTS)
def test_measured_claims_are_whole(name):
    claims = document(name)["claims"]
    assert claims
    for claim in claims:
        assert claim["holds"] in ("yes", "in part", "no")
        assert all(claim[key] for key in ("items", "what", "paper", "ours", "size"))


def test_a_study_measures_nothing_twice(tmp_path):
    module, calls = reproduction("_study"), []

    def measure(settings, x):
        calls.append(x)
        return {"square": x * x}

    path, cells = tmp_path / "study.json", [{"x": 1.0}, {"x": 2.0}]
    assert module.study(path, cells[:1], measure, {"size": 1}) == [{"x": 1.0, "square": 1.0}]
    module.conclude(path, {"claims": ["kept"]})
    assert module.study(path, cells, measure, {"size": 1})[1] == {"x": 2.0, "square": 4.0}
    assert calls == [1.0, 2.0] and json.loads(path.read_text())["claims"] == ["kept"]
    module.study(path, cells[:1], measure, {"size": 2})
    assert calls == [1.0, 2.0, 1.0]  # other settings are another study


class TestDamping:
    @needs_data
    def test_flat_damping_diverges_from_where_automatic_damping_trains(self):
        figures = reproduction("damping_figures_7_to_15")
        settings = figures.SMALL | {"train": 512, "test": 500, "watched": 100, "epochs": 4}
        flat, variance, stable = (figures.one(settings, "KFAC", 1e-3, None, rule, 1e-4, False, 0)
                                  for rule in ("flat", "variance", figures.STABLE))
        assert flat.get("accuracy", 0.0) < 0.3
        assert variance["accuracy"] > 0.5 and stable["accuracy"] > 0.5
        assert stable["mean loss"] < variance["mean loss"]

    def test_verdicts_of_made_up_runs(self):
        figures = reproduction("damping_figures_7_to_15")
        good, bad = {"accuracy": 1.0, "test accuracy": 0.8, "mean loss": 0.3}, {"diverged": True}

        def rows(rule, trains):
            return [{"rule": rule, "start": start, "seed": seed} | (good if start >= trains else bad)
                    for start in figures.STARTS for seed in range(2)]

        found = figures.verdicts(rows("flat", 1e-2) + rows("variance", 1e-3))
        assert found["flat"]["reached"][0] == 1e-2 and len(found["flat"]["failed"]) == 4
        assert found["variance"]["decades"] == pytest.approx(found["flat"]["decades"] + 1)
        claims = figures.automatic_claims(found, "KFAC", 1e-3, None)
        assert [claim["holds"] for claim in claims] == ["yes"] * 4

    @needs_data
    def test_in_a_convex_problem_less_damping_fits_better_and_tests_worse(self):
        figures = reproduction("damping_figures_4_to_6")
        settings = figures.SETTINGS | {"train": 200, "test": 500, "epochs": 60, "k": 15}
        less, more, slowed = (figures.one(settings, "mnist", *pair) for pair in ((0.03, 1.0), (1.0, 1.0), (1.0, 10.0)))
        assert less["train error"] < more["train error"] < slowed["train error"]
        assert less["test error"] > more["test error"] + 0.01

    @needs_data
    def test_kfac_stands_smaller_rates_with_less_damping(self):
        section = reproduction("damping_section_8")
        settings = section.NARROW | {"train": 512, "test": 200, "watched": 100, "epochs": 3}
        rows = [section.one(settings, "KFAC", damping, 0.1, 0) for damping in (0.1, 1.0)]
        assert rows[0].get("accuracy", 0.0) < 0.4 < rows[1]["accuracy"]


class TestSharpDirections:
    @needs_data
    def test_partial_adaptivity_and_epsilon_move_along_them(self):
        figures = reproduction("thesis_figures_6_6_to_6_8")
        settings = figures.NARROW | {"train": 512, "test": 200, "watched": 100}
        found = figures.shares(settings, 0)
        assert found["powers"] == sorted(found["powers"]) and found["powers"][-1] > 3 * found["powers"][0]
        assert found["epsilons"][-1] > 2 * found["epsilons"][0]


class TestAverages:
    @needs_data
    def test_an_average_has_smaller_weights_and_tests_better_than_its_last_iterate(self):
        tables = reproduction("thesis_tables_7_2_to_7_7")
        settings = tables.NARROW | {"train": 1024, "test": 2000, "watched": 500, "epochs": 8}
        cell = {"data": "fashion-mnist", "network": "narrow-bn", "base": "SGD", "plan": "average"} | tables.PLAIN
        found = tables.one(settings, **(cell | {"start": 4}), seed=0)
        assert tables.numbers(found["average norms"])[-1] < found["norm"]
        assert found["average"] > found["test accuracy"] - 0.005 and found["started"] == 4

    def test_measured_averages_improve_every_adaptive_base_with_batch_norm(self):
        tables, found = reproduction("thesis_tables_7_2_to_7_7"), document("thesis_tables_7_2_to_7_7")
        cells = tables.cells(range(3), tables.NARROW)
        gains = tables.gains([cell | found["runs"][reproduction("_study").name(cell)] for cell in cells])
        assert all(gains[base] > 0 for base in ("Adam", "AdamW", "PadamW"))

    @needs_data
    def test_a_language_model_learns(self):
        table = reproduction("thesis_table_7_5")
        settings = table.SMALL | {"words": 4000, "test": 1000, "vocabulary": 100, "width": 16, "epochs": 3}
        found = table.one(settings, "Gadam", 0)
        first, *_, last = table.numbers(found["perplexities"])
        assert last < first and found["test"] < 100


class TestSecondOrder:
    @needs_data
    def test_rates_from_the_spectrum_train_and_so_does_lancgn(self):
        figure = reproduction("thesis_figure_4_2")
        settings = figure.NARROW | {"train": 512, "test": 500, "watched": 100, "epochs": 4}
        assert figure.averaged(settings, "SGD, nesterov", 0.0, 0)["accuracy"] > 0.5
        model, split = figure.problem(settings, 0)
        newton = figure.optim.LanczosOPT(model.parameters(), 1.0, 10.0, k=8, curvature="ggn", start="random", rng=0)
        found = figure.newton_epochs(model, newton, split, settings | {"epochs": 2}, 0)
        first, second = figure.numbers(found["losses"])
        assert second < first

    def test_a_spectrum_of_made_up_eigenvalues(self):
        figure = reproduction("damping_figure_2")
        assert figure.outliers({"values": "9 8 7 0.1 0.09"}) == 3
