"""Named data is what it says it is, whole files are read right, and broken ones are named."""

import gzip
import hashlib
import io
import json
import tarfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from spectra import datasets
from spectra._files import read_matrix
from spectra._formats import Arcs, read_file, read_graph, simple_graph
from spectra._optional import require
from spectra._progress import track

QUICK = [name for name in datasets.names() if datasets.info(name)["m"] < 60000 and name != "cifar10-jpeg"]
BUNDLED = [name for name in datasets.names() if "package" in datasets.info(name)]


# ------------------------------------------------------------------------------------------------ named sets


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty local mirror, and no way to the network."""
    monkeypatch.setenv("SPECTRA_DATA", str(tmp_path))

    def refuse(*args, **kwargs):
        raise ConnectionError("no network in the tests")

    monkeypatch.setattr("pooch.retrieve", refuse)
    return tmp_path


def test_manifest_is_complete():
    for name in datasets.names():
        entry = datasets.info(name)
        assert {"kind", "n", "m", "citation", "licence"} <= set(entry), name
        assert ("package" in entry) != ("files" in entry), name
        for file in entry.get("files", {}).values():
            assert len(file["sha256"]) == 64
            assert file["address"] is None or file["address"].startswith("http")


def test_info_is_a_copy():
    datasets.info("bcsstk01")["facts"]["logdet"] = 0.0
    assert datasets.info("bcsstk01")["facts"]["logdet"] == pytest.approx(818.9775299)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_sets_need_no_files(name, folder):
    data = datasets.load(name)
    entry = datasets.info(name)
    rows = data.shape[0] if entry["kind"] == "graph" else len(data.X)
    assert rows == entry["n"]
    with pytest.raises(ValueError, match="has no file of its own"):
        datasets.path(name)


@pytest.mark.parametrize("name", QUICK)
def test_sets_of_the_mirror(name, spectra_data):
    """`load` compares sizes with the manifest by itself; here come the promises about what it returns."""
    entry = datasets.info(name)
    for split in entry.get("splits", [None]):
        check_promises(datasets.load(name, split=split, symmetrize=True), entry)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(datasets.names()) - set(QUICK)))
def test_large_sets_of_the_mirror(name, spectra_data):
    entry = datasets.info(name)
    for split in entry.get("splits", [None]):
        check_promises(datasets.load(name, split=split, symmetrize=True), entry)


def check_promises(data, entry):
    if entry["kind"] in ("graph", "matrix"):
        assert isinstance(data, scipy.sparse.csr_array)
        assert data.dtype == np.float64
        assert abs(data - data.T).max() == 0
    if entry["kind"] == "graph":
        assert not data.diagonal().any()
        assert entry.get("weighted") or np.all(data.data == 1)
    if entry["kind"] == "table":
        assert data.X.dtype == data.y.dtype == np.float64
        assert np.isfinite(data.X).all()
        assert np.isfinite(data.y).all()
        assert data.masks is None or data.masks.dtype == bool
    if entry["kind"] == "images":
        assert data.X.flags.writeable  # a view of a file's bytes would not be, and torch warns of it
        assert len(np.unique(data.y)) == 10
    if entry["kind"] == "text":
        assert isinstance(data, str)


def test_facts_of_small_matrices(spectra_data):
    for name in ("mesh1e1", "bcsstk01", "bcsstk22", "494_bus"):
        facts = datasets.info(name)["facts"]
        values = np.linalg.eigvalsh(datasets.load(name).toarray())
        assert np.sum(np.log(values)) == pytest.approx(facts["logdet"], rel=1e-9)
        assert values[-1] == pytest.approx(facts["eig_max"], rel=1e-9)


def test_facts_of_graphs(spectra_data):
    for name in ("ca-GrQc", "ca-HepTh", "ca-AstroPh", "ego-Facebook", "power", "email-Eu-core"):
        facts = datasets.info(name)["facts"]
        A = datasets.load(name, symmetrize=True)
        count, component = scipy.sparse.csgraph.connected_components(A, directed=False)
        assert (count, np.bincount(component).max()) == (facts["components"], facts["largest_component"])


def test_the_bundled_karate_club_is_the_published_one(spectra_data):
    published = read_graph(spectra_data / "graphs" / "karate.gml")
    ours = datasets.load("karate")
    np.testing.assert_array_equal(np.sort(ours.sum(axis=0)), np.sort(published.sum(axis=0)))
    spectra = [np.linalg.eigvalsh(A.toarray()) for A in (ours, published)]
    np.testing.assert_allclose(*spectra, atol=1e-12)


@pytest.mark.parametrize("name", ["email-Eu-core", "web-NotreDame"])
def test_directed_sets_are_refused_unless_symmetrised(name, folder):
    with pytest.raises(ValueError, match="symmetrize=True"):
        datasets.load(name)


def test_weights_are_kept_or_left():
    weighted, plain = datasets.load("les-miserables"), datasets.load("les-miserables", weighted=False)
    assert weighted.max() == 31
    assert plain.max() == 1
    assert weighted.nnz == plain.nnz


@pytest.mark.parametrize("name", ["football", "polbooks", "dolphins", "email-Eu-core"])
def test_labels_of_the_mirror(name, spectra_data):
    """Known groups are cohesive: an edge stays inside its group far more often than two random nodes share one."""
    groups, A = datasets.labels(name), datasets.load(name, symmetrize=True).tocoo()
    inside = np.mean(groups[A.row] == groups[A.col])
    by_chance = np.sum((np.bincount(groups) / len(groups)) ** 2)
    assert len(groups) == A.shape[0]
    assert inside > 1.5 * by_chance


def test_labels_of_a_graph_without_known_groups():
    with pytest.raises(ValueError, match="football"):
        datasets.labels("florentine")


def test_standard_splits(spectra_data):
    table = datasets.load("yacht")
    X_train, y_train, X_test, y_test = table.split(3)
    assert len(X_train) == len(y_train)
    assert len(X_train) + len(X_test) == len(table.X)
    np.testing.assert_array_equal(y_test, table.y[table.masks[:, 3]])
    with pytest.raises(ValueError, match="without"):
        datasets.load("diabetes").split()


def test_reference_values_agree_with_the_graph(spectra_data):
    """The first published moments of ca-GrQc against exact traces: L/2 has mean close to 1/2."""
    moments = datasets.load("meme-moments")["ca-GrQc"]
    A = datasets.load("ca-GrQc")
    degree = A.sum(axis=0)
    trace = np.count_nonzero(degree) / A.shape[0]
    assert moments[0] == 1
    assert moments[1] == pytest.approx(trace / 2, abs=3e-3)


def test_unknown_names_kinds_and_splits_are_named():
    with pytest.raises(ValueError, match="did you mean 'ca-GrQc'"):
        datasets.load("ca-Grqc")
    with pytest.raises(ValueError, match=r"names\(\)"):
        datasets.load("zzzz")
    with pytest.raises(ValueError, match="kind among"):
        datasets.names("graphs")
    with pytest.raises(ValueError, match="has the splits"):
        datasets.load("digits", split="validation")
    with pytest.raises(ValueError, match="has the files"):
        datasets.path("yacht", "labels")


def test_altered_files_of_the_mirror_are_refused(folder):
    place = folder / datasets.info("yacht")["files"]["data"]["path"]
    place.parent.mkdir()
    place.write_bytes(gzip.compress(b"1,2\n"))
    with pytest.raises(ValueError, match="expected sha256"):
        datasets.load("yacht")


def test_without_network_the_remedy_is_named(folder):
    with pytest.raises(OSError, match=r"SPECTRA_DATA.*graphs/CA-GrQc\.txt\.gz"):
        datasets.load("ca-GrQc")
    with pytest.raises(OSError, match=r"no public address.*SPECTRA_DATA"):
        datasets.load("powerplant")


def test_without_pooch_the_remedy_is_named(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(ImportError, match=r"SPECTRA_DATA.*spectra-operators\[data\]"):
        datasets.load("ca-GrQc")


def archive(matrix, name: str, symmetry: str) -> bytes:
    """A MatrixMarket file packed as the SuiteSparse collection packs its own."""
    text, packed = io.BytesIO(), io.BytesIO()
    scipy.io.mmwrite(text, matrix, symmetry=symmetry)
    with tarfile.open(fileobj=packed, mode="w:gz") as files:
        for member, content in ((f"{name}/{name}_note.txt", b"a note"), (f"{name}/{name}.mtx", text.getvalue())):
            header = tarfile.TarInfo(member)
            header.size = len(content)
            files.addfile(header, io.BytesIO(content))
    return packed.getvalue()


def test_downloads_are_read_from_their_archive(folder, monkeypatch, spectra_data):
    """The public file of a matrix is an archive; a graph published with weights is read as a graph."""
    published = {name: read_graph(spectra_data / "graphs" / f"{name}.gml") for name in ("netscience", "dolphins")}
    asked = []

    def retrieve(address, known_hash, fname, path):
        asked.append(address)
        name = fname.removesuffix(".tar.gz")
        (folder / fname).write_bytes(archive(published[name], name, "symmetric"))
        return str(folder / fname)

    monkeypatch.setattr("pooch.retrieve", retrieve)
    assert abs(datasets.load("netscience") - published["netscience"]).max() == 0
    assert datasets.load("dolphins").nnz == published["dolphins"].nnz
    assert asked[0].endswith("MM/Newman/netscience.tar.gz")
    with pytest.raises(ValueError, match="SPECTRA_DATA"):
        datasets.labels("dolphins")  # the archive holds the edges alone


def test_downloads_of_the_wrong_size_are_refused(folder, monkeypatch):
    wrong = folder / "ca-GrQc.txt"
    wrong.write_text("0 1\n1 2\n")
    monkeypatch.setattr("pooch.retrieve", lambda *args, **kwargs: str(wrong))
    with pytest.raises(ValueError, match=r"nodes and edges \(5242, 14484\), found \(3, 2\); delete"):
        datasets.load("ca-GrQc")


def test_public_files_with_a_known_hash_are_verified(folder, monkeypatch):
    wrong = folder / "web-NotreDame.txt.gz"
    wrong.write_bytes(gzip.compress(b"0 1\n"))
    monkeypatch.setattr("pooch.retrieve", lambda *args, **kwargs: str(wrong))
    with pytest.raises(ValueError, match="expected sha256"):
        datasets.load("web-NotreDame", symmetrize=True)


def test_manifest_agrees_with_the_mirror(spectra_data):
    listed = {file["file"]: file for file in json.loads((spectra_data / "manifest.json").read_text())["files"]}
    for name in datasets.names():
        for file in datasets.info(name).get("files", {}).values():
            assert file["sha256"] == listed[file["path"]]["sha256"]


@pytest.mark.slow
def test_a_long_edge_list_is_read_fast(tmp_path, rng):
    """Beside a plain loop over the same 1.5 million lines, which only counts the degrees."""
    pairs = rng.integers(0, 300_000, (1_500_000, 2))
    lines = [f"{a}\t{b}" for a, b in pairs.tolist()]
    place = write(tmp_path, "long.txt", "\n".join(["# a comment", *lines]))
    start = time.perf_counter()
    A = read_graph(place, symmetrize=True)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    degrees = Counter(int(word) for line in lines for word in line.split())
    plain = time.perf_counter() - start
    assert A.shape[0] == len(degrees)
    assert ours < plain


# ----------------------------------------------------------------------------------------------- graph files


def write(folder: Path, name: str, text: str | bytes) -> Path:
    data = text.encode() if isinstance(text, str) else text
    place = folder / name
    place.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return place


PATH = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=float)

EDGE_LISTS = {
    "each pair once": "0 1\n1 2\n",
    "both directions": "0 1\n1 0\n1 2\n2 1\n",
    "comments and tabs": "# Directed graph\n# FromNodeId\tToNodeId\n0\t1\n1\t2\n",
    "percent comments": "% bip unweighted\n0 1\n1 2",
    "comment in the middle": "0 1\n# half time\n1 2\n",
    "indented comment": "0 1\n  # half time\n1 2\n",
    "Windows lines": "# head\r\n0 1\r\n1 2\r\n",
    "blank lines": "\n0 1\n\n\n1 2\n\n",
    "spaces around": "  0   1  \n\t1 2\t\n",
    "duplicates": "0 1\n0 1\n1 2\n",
    "far numbers": "7 30\n30 9000000000\n",
    "self loops": "0 0\n0 1\n1 2\n2 2\n",
    "either way round": "1 0\n1 2\n",
}


@pytest.mark.parametrize("name", ["graph.txt", "graph.txt.gz", "graph.edges", "graph.TXT"])
@pytest.mark.parametrize("text", EDGE_LISTS.values(), ids=EDGE_LISTS.keys())
def test_edge_lists(text, name, tmp_path):
    A, kind = read_file(write(tmp_path, name, text))
    assert kind == "graph"
    np.testing.assert_array_equal(A.toarray(), PATH)


def test_a_node_with_nothing_but_a_self_loop_stays(tmp_path):
    A = read_graph(write(tmp_path, "graph.txt", "0 1\n5 5\n"))
    np.testing.assert_array_equal(A.sum(axis=0), [1, 1, 0])


def test_weights_of_an_edge_list(tmp_path):
    file = write(tmp_path, "graph.txt", "0 1 0.5\n1 0 0.5\n1 2 -3\n2 1 -3\n")
    np.testing.assert_array_equal(read_graph(file).toarray(), [[0, 0.5, 0], [0.5, 0, -3], [0, -3, 0]])
    np.testing.assert_array_equal(read_graph(file, weighted=False).toarray(), PATH)


def test_directed_edge_lists(tmp_path):
    file = write(tmp_path, "graph.txt", "0 1\n1 0\n1 2\n")
    with pytest.raises(ValueError, match=r"1 of its 2 connected pairs are linked both ways.*symmetrize=True"):
        read_file(file)
    np.testing.assert_array_equal(read_file(file, symmetrize=True)[0].toarray(), PATH)


@st.composite
def arc_lists(draw):
    n = draw(st.integers(1, 6))
    node = st.integers(0, n - 1)
    arcs = draw(st.lists(st.tuples(node, node, st.integers(1, 4)), max_size=20))
    return n, arcs


def naive_graph(n, arcs):
    """Dense adjacency, pair by pair: the mean of all weights listed for the pair, in either direction."""
    A = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            listed = [w for a, b, w in arcs if i != j and {a, b} == {i, j}]
            A[i, j] = np.mean(listed) if listed else 0
    return A


@given(arc_lists())
def test_simple_graphs_against_the_naive_rule(case):
    n, arcs = case
    rows, cols, weights = np.array(arcs, dtype=np.int64).reshape(-1, 3).T
    A = simple_graph(Arcs(rows, cols, weights, n, directed=None), symmetrize=True)
    np.testing.assert_allclose(A.toarray(), naive_graph(n, arcs), rtol=1e-15)


@given(arc_lists())
def test_which_graphs_count_as_directed(case):
    n, arcs = case
    rows, cols, _ = np.array(arcs, dtype=np.int64).reshape(-1, 3).T
    pairs = {(a, b) for a, b, _ in arcs if a != b}
    mutual = {(a, b) for a, b in pairs if (b, a) in pairs}
    for declared, undirected in ((None, mutual in (set(), pairs)), (True, mutual == pairs), (False, True)):
        graph = Arcs(rows, cols, None, n, declared)
        if undirected:
            assert simple_graph(graph).nnz == len(pairs | {(b, a) for a, b in pairs})
        else:
            with pytest.raises(ValueError, match="directed"):
                simple_graph(graph)


GML = """graph [ {directed}
  node [ id 10 label "a" ] node [ id 20 label "b" ] node [ id 30 label "c" ]
  edge [ source 10 target 20 {one} ] edge [ source 20 target 30 {two} ]
]"""


@pytest.mark.parametrize("key", ["weight", "value"])
def test_gml(key, tmp_path):
    plain = write(tmp_path, "graph.gml", GML.format(directed="", one="", two=""))
    np.testing.assert_array_equal(read_graph(plain).toarray(), PATH)
    weighted = write(tmp_path, "graph.gml.gz", GML.format(directed="", one=f"{key} 2", two=f"{key} 0.5"))
    assert read_graph(weighted)[0, 1] == 2
    directed = write(tmp_path, "graph.gml", GML.format(directed="directed 1", one="", two=""))
    with pytest.raises(ValueError, match="symmetrize=True"):
        read_graph(directed)
    words = write(tmp_path, "graph.gml", GML.format(directed="", one=f'{key} "x"', two=f'{key} "y"'))
    with pytest.raises(ValueError, match=f"expected numbers as the edges' '{key}'"):
        read_graph(words)


# ---------------------------------------------------------------------------------------------- matrix files


@pytest.fixture
def dense(rng) -> np.ndarray:
    A = rng.standard_normal((5, 5))
    return A + A.T


def test_matrix_market(dense, tmp_path):
    for A in (dense, scipy.sparse.csr_array(dense), scipy.sparse.csr_array(dense * 1j)):
        scipy.io.mmwrite(tmp_path / "a.mtx", A)
        read, kind = read_file(tmp_path / "a.mtx")
        assert kind == "matrix"
        np.testing.assert_allclose(todense(read), todense(A), rtol=1e-15)


def todense(A):
    return A.toarray() if scipy.sparse.issparse(A) else A


def test_matrix_market_patterns_are_graphs(tmp_path):
    head = "%%MatrixMarket matrix coordinate pattern {}\n3 3 2\n"
    A, kind = read_file(write(tmp_path, "a.mtx.gz", head.format("symmetric") + "2 1\n3 2\n"))
    assert kind == "graph"
    np.testing.assert_array_equal(A.toarray(), PATH)
    with pytest.raises(ValueError, match="symmetrize=True"):
        read_file(write(tmp_path, "a.mtx", head.format("general") + "2 1\n3 2\n"))


def test_numpy_and_scipy_files(dense, tmp_path):
    np.save(tmp_path / "a.npy", dense.astype(np.float32))
    scipy.sparse.save_npz(tmp_path / "a.npz", scipy.sparse.coo_array(dense > 0))
    A, _ = read_file(tmp_path / "a.npy")
    B, _ = read_file(tmp_path / "a.npz")
    assert A.dtype == B.dtype == np.float64
    np.testing.assert_array_equal(A, dense.astype(np.float32))
    np.testing.assert_array_equal(B.toarray(), dense > 0)


def saved(array, **kwargs) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **kwargs)
    return file.getvalue()


BROKEN = {
    "letters": ("a.txt", "0 1\n1 x2\n", r"2 in every line, found otherwise .*'x2'"),
    "fractions": ("a.txt", "0 1\n1 2.5\n", r"found otherwise .*'2\.5'"),
    "odd line": ("a.txt", "0 1\n1\n2 3 4\n", r"2 in every line.*changed from 2 to 1"),
    "four columns": ("a.txt", "0 1 2 3\n", r"found 4 words in the first line"),
    "no edge": ("a.txt", "# nothing\n", r"found no edge"),
    "empty file": ("a.txt", "", r"found no edge"),
    "negative node": ("a.txt", "0 -1\n", r"whole numbers from 0"),
    "huge node": ("a.txt", "0 99999999999999999999999\n", r"found otherwise"),
    "huge weighted node": ("a.txt", "0 9007199254740993 1\n", r"whole numbers from 0"),
    "weighted half node": ("a.txt", "0 1.5 1\n", r"whole numbers from 0"),
    "NaN weight": ("a.txt", "0 1 nan\n", r"finite edge weights"),
    "infinite weight": ("a.txt", "0 1 inf\n", r"finite edge weights"),
    "binary as edges": ("a.txt", b"\x80\x04\x95 \xff\n", r"a\.txt: expected"),
    "no gzip": ("a.txt.gz", None, r"expected gzip data"),
    "no archive": ("a.tar.gz", None, r"expected gzip data"),
    "banner": ("a.mtx", "3 3 1\n1 1 2.0\n", r"first line '%%MatrixMarket"),
    "empty matrix file": ("a.mtx", "", r"first line '%%MatrixMarket"),
    "cut off": ("a.mtx", "%%MatrixMarket matrix coordinate real general\n3 3 2\n1 1 2.0\n", r"a\.mtx: expected"),
    "outside": ("a.mtx", "%%MatrixMarket matrix coordinate real general\n2 2 1\n3 1 2.0\n", r"a\.mtx: expected"),
    "not square": ("a.mtx", "%%MatrixMarket matrix coordinate real general\n2 3 1\n1 1 2.0\n", r"square.*\(2, 3\)"),
    "pattern not square": ("a.mtx", "%%MatrixMarket matrix coordinate pattern general\n2 3 1\n1 1\n", r"square"),
    "NaN": ("a.mtx", "%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 nan\n", r"1 that are NaN or Inf"),
    "NumPy vector": ("a.npy", saved(np.ones(3)), r"square matrix, found shape \(3,\)"),
    "NumPy Inf": ("a.npy", saved(np.full((2, 2), np.inf)), r"4 that are NaN or Inf"),
    "NumPy text": ("a.npy", saved(np.full((2, 2), "x")), r"expected numbers"),
    "NumPy pickle": ("a.npy", saved(np.full((2, 2), None), allow_pickle=True), r"numeric array.*allow_pickle"),
    "NumPy cut off": ("a.npy", saved(np.ones((9, 9)))[:-80], r"numeric array"),
    "NumPy empty": ("a.npy", b"", r"numeric array"),
    "no zip": ("a.npz", b"PK nonsense", r"scipy\.sparse\.save_npz"),
    "GML": ("a.gml", "graph [ node [ id 1", r"expected a GML graph"),
    "GML words": ("a.gml", "this is no graph", r"expected a GML graph"),
    "suffix": ("a.csv", "1,2\n", r"found '\.csv'"),
    "no suffix": ("matrix", "1 2\n", r"found ''"),
}


@pytest.mark.parametrize("name, content, message", BROKEN.values(), ids=BROKEN.keys())
def test_broken_files_are_named(name, content, message, tmp_path):
    place = tmp_path / name
    place.write_bytes(
        b"this is no gzip" if content is None else content.encode() if isinstance(content, str) else content
    )
    with pytest.raises(ValueError, match=message) as error:
        read_file(place)
    assert str(place) in str(error.value)


def test_an_archive_without_the_matrix(tmp_path):
    place = tmp_path / "other.tar.gz"
    place.write_bytes(archive(scipy.sparse.eye_array(2), "bcsstk01", "general"))
    with pytest.raises(ValueError, match=r"member other\.mtx"):
        read_file(place)


def test_an_npz_of_plain_arrays_is_no_sparse_matrix(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.eye(2))
    with pytest.raises(ValueError, match="save_npz"):
        read_file(tmp_path / "a.npz")


def test_read_matrix_takes_files_and_names(tmp_path):
    A, description = read_matrix("karate")
    assert (description.kind, description.order, description.entries) == ("graph", 34, 78)
    scipy.io.mmwrite(tmp_path / "a.mtx", A * 2)
    B, description = read_matrix(tmp_path / "a.mtx")
    assert (description.kind, description.name, description.entries) == ("matrix", "a.mtx", 156)
    assert abs(B - A * 2).max() == 0
    np.save(tmp_path / "d.npy", np.eye(3))
    assert read_matrix(str(tmp_path / "d.npy"))[1].entries == 9


def test_read_matrix_names_what_it_cannot_take(tmp_path):
    with pytest.raises(FileNotFoundError, match="found neither at 'no-such-thing'"):
        read_matrix("no-such-thing")
    with pytest.raises(FileNotFoundError, match="a folder"):
        read_matrix(tmp_path)
    with pytest.raises(ValueError, match="kind table; expected a graph or a matrix"):
        read_matrix("diabetes")


def test_reading_leaves_the_file_alone(tmp_path):
    place = write(tmp_path, "graph.txt", "0 1\n")
    before = hashlib.sha256(place.read_bytes()).digest()
    read_file(place)
    assert hashlib.sha256(place.read_bytes()).digest() == before


# ------------------------------------------------------------------------------- progress, optional packages


def test_progress_reaches_a_callback():
    seen = []
    with track(lambda *state: seen.append(state), 5) as advance:
        for n in (1, 3, 1):
            advance(n)
    assert seen == [(1, 5), (4, 5), (5, 5)]


def test_progress_draws_a_bar_on_standard_error(capsys):
    with track(True, 4, "products") as advance:
        advance(4)
    out, err = capsys.readouterr()
    assert out == ""
    assert "products" in err
    assert "4/4" in err


def test_no_progress_is_silent(capsys):
    with track(False, 4, "products") as advance:
        advance()
    assert capsys.readouterr() == ("", "")


def test_a_missing_package_is_named_with_its_extra():
    with pytest.raises(ImportError, match=r"drawing needs no_such_package.*spectra-operators\[plot\]"):
        require("no_such_package.part", "plot", "drawing")
