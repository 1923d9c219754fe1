"""Reproductions of printed tables and figures at small size: the shape of each claim, not its digits."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "reproduce"
ROWS = (0.45, 0.65, 0.85)  # length-scales of condition numbers beyond 1e6 in the printed table


def reproduction(name):
    """Import a script of the folder the way it runs: with the folder on the path."""
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def runs():
    """Table 2.1 for three seeds, at a budget of 3/4 n for every method."""
    table = reproduction("thesis_table_2_1")
    return table, [table.run(200, seed, steps=10, probes=15, lengthscales=ROWS) for seed in range(3)]


class TestThesisTable21:
    def test_auto_is_exact(self, runs):
        _, found = runs
        assert all(abs(r[x]["methods"]["auto"]["error"]) <= 1e-8 for r in found for x in ROWS)

    def test_separate_krylov_spaces_err_upwards_and_more_as_the_condition_number_grows(self, runs):
        table, found = runs
        error = table.medians(found)
        assert all(r[x]["methods"]["slq"]["error"] > 0 for r in found for x in ROWS)
        assert error[0.45]["slq"] < error[0.65]["slq"] < error[0.85]["slq"]

    def test_one_shared_krylov_space_is_much_better_at_the_same_products(self, runs):
        table, found = runs
        error = table.medians(found)
        assert all(5 * error[x]["stochastic"] < error[x]["slq"] for x in ROWS)

    @pytest.mark.parametrize("method", ["chebyshev", "maxent"])
    def test_chebyshev_moments_fail_as_the_condition_number_grows(self, runs, method):
        table, found = runs
        error = table.medians(found)
        assert error[0.45][method] < error[0.65][method] < error[0.85][method] > 0.1

    def test_budgets_are_kept(self, runs):
        _, found = runs
        for r in found:
            for x in ROWS:
                products = {name: m["products"] for name, m in r[x]["methods"].items()}
                assert products["auto"] == 0
                assert all(products[name] <= 150 for name in ("slq", "block-slq", "stochastic"))

    def test_claims_are_told_as_measured(self):
        """From the errors alone: a column that grows as printed, and one that does not come near."""
        table = reproduction("thesis_table_2_1")
        error = {x: {"slq": 2 * row[3], "chebyshev": row[2] + 1e-9 * x, "maxent": 20 * row[1]}
                 for x, row in table.PAPER.items()}
        rows = table.printed_rows(error)
        assert rows["Chebyshev"]["holds"] == "yes"
        assert rows["MEMe, condition number beyond 1e6"]["holds"] == "no"
        assert rows["Lanczos, 30 x 50"]["difference"] == "+0.0024 to +0.12"

    def test_the_printed_columns_are_all_there(self, runs):
        table, _ = runs
        assert len(table.PAPER) == 9
        assert set(table.NEAREST) <= set(table.methods(1000, 30, 50))


def test_extended_precision_cholesky_of_a_known_determinant():
    table = reproduction("thesis_table_2_1")
    L = np.tril(np.ones((6, 6)))
    L[np.diag_indices(6)] = [1, 2, 4, 8, 16, 32]
    assert table.exact_logdet(L @ L.T) == pytest.approx(2 * np.log(2.0) * 15, rel=1e-15)


def test_where_the_grid_starts_decides_the_printed_algorithms_answer():
    """Half the spectrum lies in the first cell of the grid: a start ten times nearer to zero moves the answer far."""
    study = reproduction("thesis_table_2_1").grid_study(200, lengthscales=(0.85,), starts=(1e-5, 1e-8))[0.85]
    assert study["below spacing"] > 0.4
    assert study["errors"][1e-5] - study["errors"][1e-8] > 0.1


@pytest.fixture(scope="module")
def found():
    """Figure 2.1 on a small grid."""
    figure = reproduction("thesis_figure_2_1")
    return figure, figure.run(*figure.grid(40), moments=18, probes=20)


class TestThesisFigure21:
    def test_every_claim_but_the_monotone_error_holds_on_a_grid(self, found):
        figure, run = found
        checks = figure.checks(run)
        assert not checks.pop("MEMe's error falls with every moment"), "better than known: the docs say it does not"
        assert all(checks.values()), [check for check, true in checks.items() if not true]

    def test_claims_are_told_as_measured(self, found):
        figure, run = found
        rows = figure.claims({"grid": run})
        assert [row["holds"] for row in rows] == ["yes", "yes", "yes", "in part"]
        assert {item for row in rows for item in row["items"]} == {"thesis Figure 2.1"}

    def test_entropies_of_both_agree_while_the_classical_iteration_converges(self, found):
        _, run = found
        assert run["classical"]["entropy"][0] == pytest.approx(run["meme"]["entropy"][0], abs=1e-4)

    def test_picture_has_four_panels(self, found, tmp_path):
        pytest.importorskip("matplotlib")
        figure, run = found
        figure.picture({"grid": run}, tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_grid_has_the_determinant_it_says():
    A, truth = reproduction("thesis_figure_2_1").grid(5)
    assert truth == pytest.approx(np.linalg.slogdet(A.toarray())[1], rel=1e-13)


def test_accuracy_benchmark_goes_on_where_it_stopped(tmp_path):
    """A second start measures only what is missing."""

    def start(seeds):
        path = tmp_path / "accuracy.json"
        command = [sys.executable, ROOT / "benchmarks" / "logdet_accuracy.py", "--n", "120", "--products", "80",
                   "--lengthscales", "0.35", "--seeds", str(seeds), "--json", path]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        return json.loads(path.read_text())["rows"]

    first, second = start(1), start(2)
    assert [row["seed"] for row in second] == [0, 1]
    assert second[0] == first[0]
    ours = second[1]["methods"]["spectra stochastic"]
    assert ours["products"] <= 80
    assert abs(ours["error"]) < 0.2


def test_time_benchmark_takes_the_first_rung_that_errs_no_more_than_ours(monkeypatch):
    """And says so where no rung does."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    benchmark = importlib.import_module("logdet_time")
    ours = {"median error": 2e-3, "cpu_seconds": 2.0, "products": 100}
    rungs = [{"steps": 10 * i, "probes": 5, "median error": error, "cpu_seconds": 1.0 * i, "products": 50 * i}
             for i, error in enumerate([None, 1e-2, 1e-3, 1e-4], start=1)]
    row = {"kernel": "rbf", "noise": 1e-2, "lengthscale": 0.1, "rtol": 1e-2, "cholesky_cpu_seconds": 1.0,
           "spectra auto": ours, "spectra stochastic": ours, "peers": {"near": rungs, "far": rungs[:2]}}
    near, far = list(benchmark.lines(row))[-2:]
    assert near[4:] == ["near, 30 x 5", 1e-3, 150, 3.0, 1.5]
    assert far[4] == "far, 20 x 5, not reached"


class TestThePage:
    def test_is_written_from_what_was_measured(self):
        assert reproduction("page").page() == (ROOT / "docs" / "reproduction.md").read_text()

    def test_has_a_row_for_every_table_and_figure(self):
        page, papers = reproduction("page"), json.loads((FOLDER / "papers.json").read_text())
        claims = papers["judged"] + page.measured()
        for paper in papers["papers"]:
            rows = page.rows_of(paper, claims)
            for item in paper["items"]:
                kind, number = item.split()
                assert any(spans(row.split(" | ")[0], kind, number) for row in rows), (paper["key"], item)


def spans(cell, kind, number):
    """Whether "Figure 1, Figures 3 to 5" names an item."""
    chapter, _, last = number.rpartition(".")
    for part in cell.split(", "):
        words = part.split()
        first, final = words[1], words[-1]
        inside = words[0].rstrip("s") == kind and first.rpartition(".")[0] == chapter
        if inside and int(first.rpartition(".")[2]) <= int(last) <= int(final.rpartition(".")[2]):
            return True
    return False
