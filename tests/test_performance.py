"""The page of measured times is the one its JSON makes; the benchmarks exist, and go on where they were cut off."""

import argparse
import importlib
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def test_the_page_is_written_from_what_was_measured(benchmark):
    assert benchmark("performance_page").page() == (ROOT / "docs" / "performance.md").read_text()


def test_a_section_without_measurements_says_so(benchmark, monkeypatch, tmp_path):
    module = benchmark("performance_page")
    monkeypatch.setattr(module, "MEASURED", tmp_path)
    assert module.page().count("*Not measured yet.*") == len(module.SECTIONS)


def test_every_section_has_a_benchmark_that_writes_its_numbers(benchmark):
    files = {one.json for one in benchmark("performance").BENCHMARKS.values()}
    assert {file for _, file, *_ in benchmark("performance_page").SECTIONS} | {"machine.json"} == files


def test_every_benchmark_knows_the_options_it_is_started_with(benchmark):
    module = benchmark("performance")
    for name, one in module.BENCHMARKS.items():
        script = (ROOT / "benchmarks" / f"{name}.py").read_text()
        rounds = "add_arguments(parser" in script  # these options are defined once for several scripts
        for option in {"--json", *one.options, *one.peers}:
            assert f'"{option}"' in script or (rounds and option in ("--json", "--fresh")), (name, option)


def test_a_missing_environment_is_told(benchmark, tmp_path, capsys):
    module = benchmark("performance")
    assert module.run("logdet_peers", tmp_path)
    assert "skipped, no environment peers_jax" in capsys.readouterr().out
    words, missing = module.command("kernel_product", tmp_path)
    assert missing == ["peers", "peers_keops"]
    assert "--keops" not in words
    python = tmp_path / ".peers_keops" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert module.command("kernel_product", tmp_path)[0][-2:] == ["--keops", python]


class TestRounds:
    def start(self, benchmark, path, **options):
        given = {"json": path, "rounds": 3, "seconds": float("inf"), "fresh": False, "only": None}
        return benchmark("_rounds").Rounds(argparse.Namespace(**given | options))

    def test_of_a_second_run_are_those_that_the_first_lacks(self, benchmark, tmp_path):
        made = []
        calls = {"sleep": lambda: made.append(time.sleep(0.01))}
        for count, total in ((2, 2), (3, 3), (3, 3)):
            rounds = self.start(benchmark, tmp_path / "rounds.json", rounds=count)
            rounds.take({"n": 1}, lambda: calls, ["sleep"])
            assert len(made) == total
            assert rounds.complete
        row = rounds.row({"n": 1, "what": "sleep"})
        assert len(row["times"]) == 3
        assert 0.01 <= row["least"] <= row["seconds"]

    def test_end_with_the_time(self, benchmark, tmp_path):
        rounds = self.start(benchmark, tmp_path / "rounds.json", seconds=-1)
        rounds.take({"n": 1}, lambda: {}, ["never called"])
        assert not rounds.complete


def test_slope_of_a_power_is_its_exponent(benchmark):
    slope = benchmark("scaling").slope
    assert slope([(n, 3.0 * n**1.1) for n in (1e5, 1e6, 1e7)]) == pytest.approx(1.1)
    assert slope([(1e5, 1.0)]) is None


def test_picture_of_the_cost(benchmark, tmp_path):
    scaling = benchmark("scaling")
    rows = [{"matrix": matrix, "what": "logdet", "nonzeros": n, "seconds": 1e-7 * n}
            for matrix in scaling.MATRICES for n in (1e4, 1e5, 1e6)]
    rows += [{"matrix": "grid, shapes", "what": f"{m} x {k}", "nonzeros": 1e6, "seconds": 1e-3 * m * k}
             for m, k in scaling.GROWING]
    assert [row["from 1e5"] for row in scaling.slopes(rows)] == [None, None]
    assert [row["last decade"] for row in scaling.slopes(rows)] == pytest.approx([1.0, 1.0])
    scaling.picture({"rows": rows}, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").stat().st_size > 10_000


def test_grid_is_the_laplacian_it_says(benchmark):
    A = benchmark("laplacian_logdet").laplacian(3, 4)[0]
    assert (benchmark("scaling").grid(4) != A).nnz == 0
