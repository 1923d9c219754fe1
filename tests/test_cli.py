"""The command line in process: what it prints, what it refuses, what it draws."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse

import spectra
from spectra.cli import COMMANDS, main
from spectra.cli._arguments import DENSITIES, KINDS, METHODS
from spectra.cli._input import OPERATORS

PNG = b"\x89PNG\r\n\x1a\n"
ORDER = 60
EIGENVALUES = np.geomspace(0.5, 50.0, ORDER)
LOGDET = float(np.sum(np.log(EIGENVALUES)))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A positive definite matrix, a singular one, one that is not symmetric, a graph, a directed graph."""
    folder = tmp_path_factory.mktemp("files")
    Q = np.linalg.qr(np.random.default_rng(1).standard_normal((ORDER, ORDER)))[0]
    definite = (Q * EIGENVALUES) @ Q.T
    np.save(folder / "definite.npy", definite)
    np.save(folder / "indefinite.npy", definite - 10 * np.eye(ORDER))
    np.save(folder / "lopsided.npy", definite + np.triu(np.ones_like(definite)))
    np.save(folder / "empty.npy", np.zeros((0, 0)))
    np.save(folder / "nan.npy", np.full((3, 3), np.nan))
    hilbert = 1 / (np.arange(40)[:, None] + np.arange(40) + 1) + 1e-9 * np.eye(40)
    np.save(folder / "hilbert.npy", hilbert)
    star = scipy.sparse.csr_array(([1.0] * 6, ([0, 0, 0, 1, 2, 3], [1, 2, 3, 0, 0, 0])), shape=(5, 5))
    scipy.sparse.save_npz(folder / "star.npz", star)  # one node is isolated
    scipy.sparse.save_npz(folder / "negative.npz", -star)
    (folder / "directed.txt").write_text("0 1\n1 0\n1 2\n2 3\n")
    inside = np.argwhere(np.triu(np.random.default_rng(5).random((24, 24)) < 0.5, 1))
    blocks = [(i + 24 * k, j + 24 * k) for k in range(4) for i, j in inside] + [(0, 24), (48, 72)]
    (folder / "blocks.txt").write_text("\n".join(f"{i} {j}" for i, j in blocks))
    scipy.sparse.save_npz(folder / "laplacian.npz", spectra.graphs.normalized_laplacian(blocks))
    for name, text in (("holes", "a,b\n1,2\n3,\n"), ("nan", "a,b\n1,nan\n3,4\n"), ("single", "a\n1\n2\n3\n"),
                       ("empty", "")):
        (folder / f"{name}.csv").write_text(text)
    (folder / "path.txt").write_text("\n".join(f"{i} {i + 1}" for i in range(40)))
    return folder


@pytest.fixture
def run(files, capsys, monkeypatch):
    """Exit status, standard output and standard error of one command, in the folder of the files."""
    monkeypatch.chdir(files)

    def run(*argv: str):
        try:
            status = main(list(argv))
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def answer(run):
    """What a command that succeeds says in JSON."""

    def answer(*argv: str) -> dict:
        status, out, err = run(*argv, "--json")
        assert (status, err, out.count("\n")) == (0, "", 1), err
        return json.loads(out, parse_constant=pytest.fail)  # NaN and Infinity are not JSON

    return answer


# Log-determinants


def test_logdet_is_exact_where_that_is_cheap(run):
    status, out, err = run("logdet", "definite.npy")
    assert (status, err) == (0, "")
    assert "exact (Cholesky), 0 products" in out
    assert float(re.search(r"log det = (\S+)", out)[1]) == pytest.approx(LOGDET, rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_logdet(answer, method):
    found = answer("logdet", "definite.npy", "--method", method, "--rng", "0")
    estimate = found["estimate"]
    low, high = estimate["interval"]
    assert set(found) == {"spectra", "command", "input", "estimate", "known", "warnings"}
    assert set(estimate) >= {"value", "stderr", "bias", "matvecs", "probes", "seed", "method", "interval", "details"}
    assert low <= estimate["value"] <= high
    assert low - 1e-6 <= LOGDET <= high + 1e-6
    assert found["warnings"] == []


def test_options_of_logdet_reach_the_estimator(answer, files):
    options = {"method": "slq", "probes": 5, "steps": 20, "rng": 7, "support": (0.4, 60.0), "memory": 2**20}
    expected = spectra.logdet(np.load(files / "definite.npy"), **options)
    found = answer("logdet", "definite.npy", "--method", "slq", "--probes", "5", "--steps", "20", "--rng", "7",
                   "--support", "0.4", "60", "--memory", "1M")
    assert found["estimate"]["value"] == expected.value
    assert found["estimate"]["matvecs"] == expected.matvecs == 100
    tighter = answer("logdet", "definite.npy", "--method", "slq", "--rtol", "0.05", "--matvecs", "3000", "--rng", "7")
    assert tighter["estimate"]["matvecs"] <= 3000


def test_a_seed_repeats_the_answer_and_is_recorded_without_one(answer):
    command = ("logdet", "definite.npy", "--method", "slq", "--probes", "4", "--steps", "10")
    drawn = answer(*command)
    again = answer(*command, "--rng", str(drawn["estimate"]["seed"]))
    assert again["estimate"] == drawn["estimate"]


def test_shift_adds_a_multiple_of_the_identity(answer):
    shifted = answer("logdet", "definite.npy", "--shift", "2", "--method", "exact")
    assert shifted["estimate"]["value"] == pytest.approx(np.sum(np.log(EIGENVALUES + 2)))
    assert shifted["input"]["shift"] == 2.0


def test_warnings_go_into_json_and_to_standard_error_otherwise(run, answer):
    command = ("logdet", "hilbert.npy", "--method", "slq", "--probes", "8", "--steps", "5", "--rng", "0")
    (caution,) = answer(*command)["warnings"]
    assert "quadrature bias dominates" in caution
    status, _, err = run(*command)
    assert status == 0
    assert err == f"spectra: warning: {caution}\n"


def test_graphs_have_a_logdet_with_a_shift_only(run, answer):
    status, out, err = run("logdet", "karate")
    assert (status, out) == (2, "")
    assert "normalised Laplacian of a graph is singular" in err
    assert "--shift" in err
    found = answer("logdet", "karate", "--shift", "0.1", "--laplacian", "combinatorial", "--method", "slq",
                   "--rng", "0")
    assert found["input"] | {"source": ""} == {"kind": "graph", "name": "karate", "source": "", "order": 34,
                                               "entries": 78, "facts": {}, "operator": "combinatorial", "shift": 0.1}


# Densities


@pytest.mark.parametrize("method", DENSITIES)
def test_every_method_of_density(answer, method):
    found = answer("density", "karate", "--method", method, "--steps", "12", "--probes", "3", "--rng", "1")["density"]
    assert sum(found["weights"]) == pytest.approx(1)
    assert len(found["nodes"]) == len(found["weights"])
    assert found["matvecs"] <= 36
    assert found["moments"][0]["value"] == pytest.approx(1, abs=0.2)
    assert list(found["quantiles"].values()) == sorted(found["quantiles"].values())
    assert -1e-12 <= found["support"][0] <= found["support"][1] <= 2 + 1e-12


def test_density_in_words_covers_all_eigenvalues(run):
    status, out, _ = run("density", "karate", "--rng", "0")
    shares = [float(share) for share in re.findall(r"([\d.]+) % \[", out)]
    assert status == 0
    assert len(shares) == 15
    assert sum(shares) == pytest.approx(100, abs=1)
    assert "seed 0" in out


def test_density_of_one_probe_has_no_interval(run):
    status, out, _ = run("density", "karate", "--probes", "1", "--rng", "0")
    assert status == 0
    assert "[ 0.0, 100.0]" in out


def test_a_spectrum_of_one_point_is_one_line(run, tmp_path):
    np.save(tmp_path / "identity.npy", np.eye(5))
    status, out, _ = run("density", str(tmp_path / "identity.npy"))
    assert status == 0
    assert re.findall(r"(\S+) % \[", out) == ["100.0"]


# Matrices of graphs


@pytest.mark.parametrize(("kind", "eigenvalues"), [
    ("normalized", [0, 0, 1, 1, 2]),  # the isolated node has the eigenvalue 0
    ("combinatorial", [0, 0, 1, 1, 4]),
    ("adjacency", [-np.sqrt(3), 0, 0, 0, np.sqrt(3)]),
])
def test_matrices_of_a_star_and_an_isolated_node(files, answer, kind, eigenvalues):
    A = scipy.sparse.csr_array(scipy.sparse.load_npz(files / "star.npz"))
    np.testing.assert_allclose(np.linalg.eigvalsh(OPERATORS[kind](A).toarray()), eigenvalues, atol=1e-12)
    low, high = answer("info", "star.npz", "--laplacian", kind)["matrix"]["spectral_bounds"]
    assert low <= eigenvalues[0] + 1e-12
    assert high >= eigenvalues[-1] - 1e-12


def test_directed_graphs_are_refused_unless_symmetrised(run, answer):
    status, _, err = run("density", "directed.txt")
    assert status == 2
    assert "directed" in err
    assert "pass --symmetrize" in err
    assert answer("density", "directed.txt", "--symmetrize")["input"]["entries"] == 3


# Clusters


def test_clusters_are_counted_and_the_cut_off_is_named(run, answer):
    status, out, err = run("clusters", "blocks.txt", "--rng", "0")
    assert (status, err) == (0, "")
    assert out.splitlines()[:2] == ["blocks.txt: graph of 96 nodes and 614 edges", "4 clusters"]
    assert "counted exactly (eigenvalues)" in out
    assert "2 connected components" in out
    for file in ("blocks.txt", "laplacian.npz"):
        found = answer("clusters", file, "--rng", "0")["clusters"]
        assert found["value"] == 4
        assert found["details"]["gap"]


@pytest.mark.parametrize("method", ["egs", "lanczos"])
def test_stochastic_counts_have_an_interval(run, answer, method):
    found = answer("clusters", "blocks.txt", "--method", method, "--rng", "0", "--moments", "50", "--probes", "8")
    estimate = spectra.egs_cluster_count(spectra.graphs.read("blocks.txt"), method=method, moments=50, probes=8, rng=0)
    assert found["clusters"]["value"] == estimate.value
    low, high = found["clusters"]["interval"]
    assert low <= 4 <= high
    assert f"[{low:.4g}, {high:.4g}]" in run("clusters", "blocks.txt", "--method", method, "--rng", "0",
                                            "--moments", "50", "--probes", "8")[1]


def test_no_gap_is_said_plainly(run, answer):
    status, out, err = run("clusters", "path.txt")
    assert status == 0
    assert "no gap in the spectrum: at least 1 cluster" in out
    assert "lower bound" in err
    found = answer("clusters", "path.txt")
    assert not found["clusters"]["details"]["gap"]
    assert "lower bound" in found["warnings"][0]


def test_labels_go_into_a_file_a_line_for_each_node(run, tmp_path):
    path = tmp_path / "labels.txt"
    assert "4 clusters, a line for each node" in run("clusters", "blocks.txt", "--labels", str(path), "--rng", "0")[1]
    assert np.loadtxt(path, int).tolist() == [i // 24 for i in range(96)]


# Similarity


@pytest.mark.parametrize("kind", KINDS)
def test_comparison_is_the_divergence_of_entropic_spectra(answer, kind):
    found = answer("compare", "blocks.txt", "path.txt", "karate", "--kind", kind, "--rng", "3", "--moments", "20")
    matrices = [spectra.graphs.read(file) for file in ("blocks.txt", "path.txt")] + [spectra.datasets.load("karate")]
    expected = spectra.graphs.similarity_matrix(matrices, kind=kind, moments=20, rng=np.random.default_rng(3))
    comparison = found["comparison"]
    np.testing.assert_allclose(comparison["divergence"], expected, rtol=1e-9, atol=1e-15)
    assert (comparison["kind"], comparison["moments"], comparison["ridge"]) == (kind, 20, 1e-4)
    assert comparison["names"] == ["blocks.txt", "path.txt", "karate"]
    assert np.array(comparison["stderr"]).shape == (3, 3)
    assert comparison["stderr"][1][0] > 0


def test_comparison_in_words_reports_order_and_ridge(run):
    status, out, err = run("compare", "blocks.txt", "karate", "--rng", "0", "--ridge", "1e-5", "--moments", "30")
    assert (status, err) == (0, "")
    assert "30 moments, ridge 1e-05, 16 probes, seed 0" in out
    assert re.search(r"2 karate +\S+ ± \S+ +0$", out, re.MULTILINE)


def test_one_probe_has_no_spread(answer):
    assert answer("compare", "blocks.txt", "karate", "--probes", "1")["comparison"]["stderr"][0][1] in (None, 0)


# Information


def test_info_of_a_matrix(answer):
    found = answer("info", "definite.npy")["matrix"]
    assert found["hermitian"]
    assert found["stored"] == ORDER**2
    low, high = found["spectral_bounds"]
    assert low <= EIGENVALUES[0] <= EIGENVALUES[-1] <= high
    assert found["gershgorin"][0] <= low
    assert found["gershgorin"][1] >= high
    assert EIGENVALUES[0] <= found["diagonal"][0] <= found["diagonal"][1] <= EIGENVALUES[-1]


def test_info_of_a_matrix_that_is_not_hermitian(answer):
    found = answer("info", "lopsided.npy")["matrix"]
    assert not found["hermitian"]
    assert "spectral_bounds" not in found


def test_info_of_a_graph(run, answer):
    found = answer("info", "star.npz", "--laplacian", "adjacency")["matrix"]
    assert (found["neighbours"], found["isolated_nodes"], found["components"]) == ([0, 3], 1, 2)
    status, out, _ = run("info", "karate")
    assert status == 0
    assert "graph of 34 nodes and 78 edges" in out


# Tables


@pytest.fixture
def table(files):
    """Strength follows the first column and not the second."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (80, 2))
    y = np.sin(2 * X[:, 0]) + 0.05 * rng.standard_normal(80)
    text = "\n".join(f"{a},{s},{b}" for (a, b), s in zip(X.tolist(), y.tolist(), strict=True))
    (files / "waves.csv").write_text("dose,strength,colour\n" + text)
    np.save(files / "waves.npy", np.column_stack([X, y]))
    return "waves.csv"


def test_a_table_is_fitted_and_its_evidence_is_that_of_the_library(answer, table, files):
    found = answer("gp", table, "--target", "strength", "--rng", "3", "--test", "0.25")
    assert found["input"] == {"name": table, "rows": 60, "test_rows": 20, "columns": ["dose", "colour"],
                              "target": "strength"}
    assert found["evidence"]["method"] == "exact"
    assert found["test"]["rmse"] < 0.12
    assert 0.7 <= found["test"]["covered"] <= 1
    dose, colour = found["model"]["parameters"]["lengthscale"]
    assert colour > 5 * dose
    rows = np.random.default_rng(3).permutation(80)[20:]
    data = np.genfromtxt(files / table, delimiter=",", skip_header=1)[np.sort(rows)]
    model = spectra.gp.GPRegressor(random_state=3).fit(data[:, [0, 2]], data[:, 1])
    assert found["evidence"]["value"] == pytest.approx(float(model.log_marginal_likelihood_), rel=1e-9)
    same = answer("gp", "waves.npy", "--rng", "3", "--test", "0.25")
    assert same["evidence"]["value"] == pytest.approx(found["evidence"]["value"], rel=1e-6)


def test_an_estimated_evidence_has_its_interval_in_words(run):
    status, out, err = run("gp", "diabetes", "--method", "stochastic", "--max-iter", "2", "--rng", "0")
    assert status == 0 and "stopped after max_iter=2 iterations" in err
    assert "log evidence = " in out and "±" in out and "95 % interval [" in out
    assert "length-scales: x" in out and "test error" in out
    low, high = map(float, re.search(r"interval \[(\S+), (\S+)\]", out).groups())
    assert low < float(re.search(r"evidence = (\S+) ±", out).group(1)) < high


def test_a_table_of_which_nothing_is_held_out(run, answer, table):
    found = answer("gp", table, "--test", "0", "--no-ard", "--max-iter", "3", "--kernel", "matern32")
    assert found["test"] is None and found["input"]["rows"] == 80 and found["model"]["seed"] >= 0
    assert np.ndim(found["model"]["parameters"]["lengthscale"]) == 0


# Pictures and progress


@pytest.mark.parametrize("command", [
    ("density", "karate"), ("density", "karate", "--no-log"), ("density", "karate", "--method", "kpm"),
    ("density", "definite.npy"), ("logdet", "definite.npy"), ("clusters", "blocks.txt"),
    ("compare", "blocks.txt", "karate"), ("gp", "diabetes", "--max-iter", "3"),
])
def test_plot_writes_a_picture(run, tmp_path, command):
    path = tmp_path / "out.png"
    status, out, err = run(*command, "--plot", str(path))
    assert status == 0 and (not err or "max_iter=3" in err)
    assert path.read_bytes().startswith(PNG)
    assert f"picture: {path}" in out


def test_demo_holds_its_promises(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = run("demo")
    assert (status, err) == (0, "")
    assert (tmp_path / "spectra-demo.png").read_bytes().startswith(PNG)
    assert out.count("inside") + out.count("outside") == 7
    assert out.count("outside") <= 1  # 95 % intervals


def test_progress_is_drawn_when_asked_for_and_never_with_json(run, answer):
    assert "slq" in run("density", "karate", "--progress")[2]
    assert "moments" in run("clusters", "blocks.txt", "--method", "egs", "--progress")[2]
    assert "moments" in run("compare", "blocks.txt", "karate", "--progress")[2]
    assert run("density", "karate", "--no-progress")[2] == ""
    assert run("density", "karate")[2] == ""  # standard error is no terminal here
    answer("density", "karate", "--progress")


# What is refused


@pytest.mark.parametrize(("command", "words"), [
    ("logdet nothing.mtx", ["expected a file", "nothing.mtx"]),
    ("logdet diabetes", ["table", "graph or a matrix"]),
    ("logdet indefinite.npy", ["positive definite", "--shift"]),
    ("logdet indefinite.npy --method slq", ["positive definite", "Ritz value", "--shift"]),
    ("logdet lopsided.npy", ["Hermitian", "symmetrise"]),
    ("density lopsided.npy", ["Hermitian", "symmetrise"]),
    ("info empty.npy", ["order 1 or more", "empty"]),
    ("info nan.npy", ["NaN", "drop"]),
    ("logdet definite.npy --rtol 2", ["rtol", "between 0 and 1"]),
    ("logdet definite.npy --probes -1", ["probes", "positive integer"]),
    ("logdet definite.npy --method magic", ["magic", "choose from", "--help"]),
    ("logdet definite.npy --memory much", ["bytes", "much"]),
    ("density karate --steps 0", ["steps", "positive integer"]),
    ("density karate --rng -3", ["rng", "non-negative"]),
    ("density karate --plot nowhere/out.png", ["nowhere/out.png"]),
    ("density karate --plot out.xyz", ["xyz"]),
    ("density negative.npz --laplacian normalized", ["weight"]),
    ("clusters directed.txt", ["directed", "pass --symmetrize"]),
    ("clusters negative.npz", ["not negative"]),
    ("clusters karate --moments 0", ["moments", "positive integer"]),
    ("clusters karate --labels nowhere/out.txt", ["nowhere/out.txt"]),
    ("compare karate", ["two graphs"]),
    ("compare karate directed.txt", ["directed", "pass --symmetrize"]),
    ("compare karate blocks.txt --kind euclid", ["euclid", "choose from"]),
    ("gp karate", ["kind graph", "expected a table"]),
    ("gp nothing.csv", ["nothing.csv", ".csv", "neither"]),
    ("gp diabetes --split 3", ["0 standard splits", "--test"]),
    ("gp diabetes --target z", ["'z'", "x0"]),
    ("gp diabetes --test 1.5", ["share of the rows"]),
    ("gp holes.csv", ["found '' in row 2", "drop or fill"]),
    ("gp nan.csv", ["found nan in row 1, column 'b'"]),
    ("gp single.csv", ["a column beside it"]),
    ("gp empty.csv", ["empty"]),
    ("logdet", ["FILE", "--help"]),
    ("", ["COMMAND", "--help"]),
])
def test_an_error_is_one_line_and_exit_status_2(run, command, words):
    status, out, err = run(*command.split())
    assert (status, out) == (2, "")
    assert err.startswith("spectra: ")
    assert err.count("\n") == 1
    assert not [word for word in words if word not in err], err


def test_debug_shows_where(files, monkeypatch):
    monkeypatch.chdir(files)
    with pytest.raises(ValueError, match="positive definite"):
        main(["logdet", "indefinite.npy", "--debug"])


def test_a_reader_who_stops_reading_is_no_error(files):
    command = f"{sys.executable} -m spectra.cli density karate --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("{", "")


def test_version(run):
    assert run("--version") == (0, f"spectra {spectra.__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert "--json" in out


@pytest.mark.parametrize(("text", "count"), [("1000", 1000), ("2K", 2048), ("1.5m", 1536 * 1024), ("4G", 2**32)])
def test_memory_is_bytes_with_a_unit(text, count):
    from spectra.cli._arguments import _bytes

    assert _bytes(text) == count


# Real data


@pytest.mark.parametrize("name", ["bcsstk01", "mesh1e1", "Trefethen_500"])
def test_logdet_of_a_known_matrix(spectra_data, answer, name):
    found = answer("logdet", name)
    assert found["known"] == pytest.approx(found["estimate"]["value"], rel=1e-10)
    from_file = answer("logdet", str(spectra_data / "matrices" / f"{name}.mtx.gz"))
    assert from_file["estimate"]["value"] == found["estimate"]["value"]


def test_density_of_a_real_graph(spectra_data, run, answer, tmp_path):
    path = tmp_path / "graph.png"
    status, out, _ = run("density", "ca-GrQc", "--steps", "40", "--probes", "4", "--plot", str(path), "--rng", "0")
    assert status == 0
    assert "5242 nodes and 14484 edges" in out
    assert path.read_bytes().startswith(PNG)
    assert answer("info", "ca-GrQc")["matrix"]["components"] == 355
