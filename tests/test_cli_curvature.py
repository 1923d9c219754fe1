"""`spectra curvature` in process: the user's function, the run and its file, what is told, drawn and refused."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from spectra import nn  # noqa: E402
from spectra.cli import main  # noqa: E402

PROGRAM = """
import torch

class Interrupted(torch.nn.Sequential):
    def forward(self, x):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls > self.limit:
            raise KeyboardInterrupt
        return super().forward(x)

def network(limit="1000000", seed="0", norm=""):
    torch.manual_seed(int(seed))
    layers = [torch.nn.Linear(3, 4), *([torch.nn.BatchNorm1d(4)] if norm else []), torch.nn.Tanh(),
              torch.nn.Linear(4, 2)]
    model = Interrupted(*layers).double()
    model.limit = int(limit)
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(40, 3, generator=g, dtype=torch.float64), torch.arange(40) % 2
    batches = list(zip(x.split(10), y.split(10)))
    return model, torch.nn.CrossEntropyLoss(), batches[:3], batches[3:]

def short():
    return network()[:3]

def wrong():
    return 1, 2

def nothing():
    return None

number = 3
"""
PARAMETERS = 3 * 4 + 4 + 4 * 2 + 2


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Exit status, standard output and standard error, in a folder with the program."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.py").write_text(PROGRAM)

    def run(*argv):
        status = main(["curvature", *argv])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def answer(run):
    def answer(*argv):
        status, out, err = run(*argv, "--json")
        assert status == 0, err
        return json.loads(out)

    return answer


def dense(kind, tmp_path, **options):
    names = {}
    exec(PROGRAM, names)
    model, loss, batches, _ = names["network"]()
    return {"hessian": nn.HessianOperator, "ggn": nn.GGNOperator, "fisher": nn.FisherOperator}[kind](
        model, loss, batches, **options)


@pytest.mark.parametrize("kind, options", [("hessian", {}), ("ggn", {}), ("fisher", {"rng": 3})])
def test_ends_of_the_spectrum_are_those_of_the_matrix(answer, tmp_path, kind, options):
    found = answer("tiny.py", "--kind", kind, "--steps", str(PARAMETERS), "--rng", "3")["curvature"]
    operator = dense(kind, tmp_path, **options)
    values = np.linalg.eigvalsh(np.asarray(operator.todense()))
    assert found["parameters"] == PARAMETERS and found["loss"] == pytest.approx(operator.loss())
    np.testing.assert_allclose(found["largest"][:3], values[::-1][:3], rtol=1e-8)
    if kind == "hessian":
        np.testing.assert_allclose(found["smallest"][0], values[0], rtol=1e-8)
    assert max(found["residuals"]["largest"][:3]) < 1e-8


def test_trace_within_its_error(answer, tmp_path):
    found = answer("tiny.py", "--steps", "12", "--probes", "30", "--rng", "0")["curvature"]
    truth = np.trace(np.asarray(dense("hessian", tmp_path).todense()))
    trace = found["trace"]
    assert abs(trace["value"] - truth) < 4 * trace["stderr"] < 1.0
    assert found["matvecs"] == 30 * 12 and len(found["rules"]) == 30


def test_a_run_that_is_continued_has_the_same_digits(answer):
    whole = answer("tiny.py", "--steps", "15", "--rng", "5", "--probes", "2")["curvature"]
    answer("tiny.py", "--steps", "7", "--rng", "5", "--probes", "2", "--resume", "run.npz")
    again = answer("tiny.py", "--steps", "15", "--probes", "2", "--resume", "run.npz")["curvature"]
    assert again == whole  # the seed is that of the kept run


def test_an_interrupted_run_goes_on_to_the_same_digits(run, answer):
    kept = ["--rng", "2", "--steps", "14", "--every", "3", "--resume", "run.npz"]
    whole = answer("tiny.py", "--rng", "2", "--steps", "14")["curvature"]
    # Forward passes: to see the loss and the data, to check the first product, and for every product but cached ones.
    status = None
    for limit in range(1, 200):
        status, _, _ = run("tiny.py", str(limit), *kept)
        if status == 0:
            break
        assert status == 130
    again = answer("tiny.py", *kept)["curvature"]
    assert again == whole


def test_interruption_between_writings_loses_only_what_came_after(run, answer, monkeypatch):
    from spectra.cli import _curvature

    written, keep = [], _curvature._keep

    def kept(lanczos, path):
        keep(lanczos, path)
        written.append(lanczos.steps)
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(_curvature, "_keep", kept)
    arguments = ["tiny.py", "--rng", "2", "--steps", "14", "--every", "4", "--resume", "run.npz"]
    assert run(*arguments)[0] == 130 and written == [4, 8]
    again = answer(*arguments)["curvature"]
    assert written == [4, 8, 12, 14]
    assert again == answer("tiny.py", "--rng", "2", "--steps", "14")["curvature"]


def test_a_kept_run_of_something_else_is_refused(run):
    assert run("tiny.py", "--steps", "3", "--rng", "1", "--resume", "run.npz")[0] == 0
    for change, word in ((["--kind", "ggn"], "kind hessian"), (["--rng", "2"], "seed 1"),
                         (["--probes", "2"], "probes 1")):
        status, _, err = run("tiny.py", "--steps", "5", *change, "--resume", "run.npz")
        assert status == 2 and word in err and "another" in err
    status, _, err = run("tiny.py", "1000000", "7", "--steps", "5", "--resume", "run.npz")
    assert status == 2 and "weights" in err


def test_statistics_landscape_and_picture(run):
    status, out, err = run("tiny.py", "--steps", "8", "--rng", "0", "--statistics", "--landscape", "1", "--points", "5",
                           "--plot", "picture.png")
    assert status == 0, err
    for words in ("tiny.py: Interrupted of 26 parameters; Hessian", "loss", "largest", "gradient_variance", "variance",
                  "picture: picture.png"):
        assert words in out
    assert Path("picture.png").read_bytes()[:4] == b"\x89PNG"


def test_landscape_goes_along_the_sharpest_ritz_vectors(answer, tmp_path):
    found = answer("tiny.py", "--steps", str(PARAMETERS), "--rng", "0", "--landscape", "2", "--points", "3", "--span",
                   "0.01")
    scape, largest = found["landscape"], found["curvature"]["largest"]
    losses, gradient = np.array(scape["losses"]["train"]), dense("hessian", tmp_path).gradient().numpy()
    assert np.array(scape["losses"]["test"]).shape == losses.shape == (3, 3)
    assert losses[1, 1] == pytest.approx(found["curvature"]["loss"])
    second = (losses[0, 1] + losses[2, 1] - 2 * losses[1, 1]) / 0.01**2
    assert second == pytest.approx(largest[0], rel=1e-3)
    second = (losses[1, 0] + losses[1, 2] - 2 * losses[1, 1]) / 0.01**2
    assert second == pytest.approx(largest[1], rel=1e-3)
    assert np.linalg.norm(gradient) > 0


def test_batch_norm_is_refreshed_along_the_way(answer):
    found = answer("tiny.py", "1000000", "0", "norm", "--steps", "5", "--landscape", "1", "--points", "3", "--rng", "0")
    assert np.isfinite(found["landscape"]["losses"]["train"]).all()
    trained = answer("tiny.py", "1000000", "0", "norm", "--steps", "5", "--rng", "0", "--bn", "train")
    assert trained["curvature"]["loss"] != found["curvature"]["loss"]


def test_modules_names_and_functions(run, answer, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    same = [answer(where, "--steps", "4", "--rng", "0")["curvature"] for where in ("tiny.py", "tiny", "tiny:short")]
    assert same[0] == same[1] == same[2]
    for where, word in (("tiny.py:other", "no function 'other'"), ("tiny.py:number", "no function 'number'"),
                        ("tiny.py:wrong", "found 2 things"), ("tiny.py:nothing", "found NoneType"),
                        ("absent.py", "no such file"), ("absent_module", "absent_module")):
        status, _, err = run(where)
        assert status == 2 and word in err and err.startswith("spectra: ")


def test_counts_must_be_positive(run):
    with pytest.raises(SystemExit):
        run("tiny.py", "--steps", "0")
