"""Named real data: graphs, matrices, regression tables, images, text and published reference values.

`datasets.json` beside this file says of every set where it comes from, its licence, its size and what is known of it.
A set is looked for in three places, in this order:

1. a package: "diabetes" and "digits" come with scikit-learn; "karate", "les-miserables", "florentine" and "davis"
   with networkx. They need no network.
2. a local mirror: the folder that the environment variable SPECTRA_DATA names. Its files are verified by sha256.
3. the original public address, once, into pooch's cache. Public files carry no published sha256, save a few; they
   are verified by what they must hold: nodes and edges, rows and columns.

Every set is checked against its size in the manifest after reading, wherever it came from.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import io
import json
import os
from copy import deepcopy
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from spectra._formats import networkx_arcs, read_bytes, read_file, read_graph, simple_graph
from spectra._optional import require

__all__ = ["Images", "Table", "info", "labels", "load", "names", "path"]


class Table(NamedTuple):
    """A regression table: inputs `X` (n, d), targets `y` (n,), and test `masks` (n, splits) or None."""

    X: np.ndarray
    y: np.ndarray
    masks: np.ndarray | None

    def split(self, index: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Training inputs and targets, then test inputs and targets, of the standard split `index`."""
        if self.masks is None:
            raise ValueError("expected a table with standard splits, found one without; choose test rows yourself")
        test = self.masks[:, index]
        return self.X[~test], self.y[~test], self.X[test], self.y[test]


class Images(NamedTuple):
    """Images `X` (n, height, width[, 3]) or (n, pixels), and their classes `y` (n,)."""

    X: np.ndarray
    y: np.ndarray


def names(kind: str | None = None) -> list[str]:
    """Names of all data sets, or of those of one kind: graph, matrix, table, images, text, reference.

    Examples
    --------
    >>> from spectra import datasets
    >>> "karate" in datasets.names("graph")
    True
    """
    kinds = {entry["kind"] for entry in _manifest().values()}
    if kind is not None and kind not in kinds:
        raise ValueError(f"expected a kind among {sorted(kinds)}, found {kind!r}")
    return sorted(name for name, entry in _manifest().items() if kind in (None, entry["kind"]))


def info(name: str) -> dict[str, Any]:
    """What the manifest says of a data set: kind, size, citation, licence, files, and facts such as ``logdet``.

    `n` and `m` are nodes and edges of a graph, order and stored entries of a matrix, rows and columns of a table
    (the target included), images and pixels, words or characters and different ones of a text.

    Examples
    --------
    >>> from spectra import datasets
    >>> datasets.info("bcsstk01")["facts"]["logdet"]
    818.9775299443031
    """
    return {"name": name} | deepcopy(_entry(name))


def path(name: str, part: str | None = None) -> Path:
    """Where the file of a data set lies on this machine: in the mirror, or downloaded into the cache.

    Parameters
    ----------
    name : str
        One of `names()`.
    part : str, optional
        Which file, for a set of several: a key of ``info(name)["files"]``; the first by default.
    """
    files = _entry(name).get("files")
    if files is None:
        raise ValueError(
            f"{name!r} comes with {_entry(name)['package']} and has no file of its own; use load({name!r})"
        )
    part = next(iter(files)) if part is None else part
    if part not in files:
        raise ValueError(f"{name!r} has the files {sorted(files)}, found {part!r}")
    return _locate(name, files[part])


def load(name: str, *, split: str | None = None, symmetrize: bool = False, weighted: bool = True) -> Any:
    """A data set by its name.

    Parameters
    ----------
    name : str
        One of `names()`.
    split : str, optional
        Part of images or text, one of ``info(name)["splits"]``; the first ("train") by default.
    symmetrize : bool
        Forget the directions of a directed graph ("email-Eu-core", "web-NotreDame"), which is refused otherwise.
    weighted : bool
        Keep the edge weights of the graphs that have them ("netscience", "les-miserables"); False gives 0 and 1.

    Returns
    -------
    csr_array (n, n) of float64
        For a graph, its adjacency: symmetric, each pair of nodes once, no self loops (a node that has nothing else
        stays, isolated), nodes in the order of their numbers in the file. For a matrix, all of it, not one triangle.
    Table, Images, str or dict
        For a table, images, a text, reference values.

    Raises
    ------
    ValueError
        No such name or split, a directed graph, or a file whose hash or size is not the expected one.
    OSError
        The data are neither in a mirror nor to be downloaded. ImportError where a package is missing.

    Examples
    --------
    >>> from spectra import datasets
    >>> A = datasets.load("karate")
    >>> A.shape, A.nnz // 2
    ((34, 34), 78)
    """
    entry = _entry(name)
    if entry["kind"] == "graph":
        return _graph(name, entry, symmetrize, weighted)
    splits = list(entry.get("splits", ()))
    if split is not None and split not in splits:
        raise ValueError(f"{name!r} has the splits {splits}, found {split!r}")
    return LOADERS[entry["kind"]](name, entry, split or (splits[0] if splits else None))


def labels(name: str) -> np.ndarray:
    """Known group of every node of a graph, (n,) whole numbers from 0, for comparison with clusters found.

    Examples
    --------
    >>> from spectra import datasets
    >>> int(datasets.labels("karate").max()) + 1
    2
    """
    entry = _entry(name)
    if "groups" not in entry:
        known = [other for other in names("graph") if "groups" in _manifest()[other]]
        raise ValueError(f"expected a graph with known groups, one of {known}, found {name!r}")
    if "labels" in entry.get("files", {}):
        table = np.loadtxt(path(name, "labels"), dtype=np.int64)
        groups = table[np.argsort(table[:, 0]), 1]
    else:
        groups = _node_attributes(name, entry)
    groups = np.unique(groups, return_inverse=True)[1]
    _expect(name, entry, "nodes and groups", (len(groups), groups.max() + 1), (entry["n"], entry["groups"]))
    return groups


def _node_attributes(name: str, entry: dict) -> list[str]:
    if "package" in entry:
        graph = _from_package(name, entry)
    else:
        networkx = require("networkx", "graphs", f"the labels of {name!r}")
        file = path(name)
        if ".gml" not in file.suffixes:
            raise ValueError(f"{name!r}: the labels are in the mirror's GML file, found only {file}; set SPECTRA_DATA")
        graph = networkx.parse_gml(read_bytes(file)[0].decode("latin-1").splitlines(), label="id")
    return [str(value) for _, value in graph.nodes(data=entry["labels"])]


def _graph(name: str, entry: dict, symmetrize: bool, weighted: bool) -> scipy.sparse.csr_array:
    weighted = weighted and entry.get("weighted", False)
    if entry.get("directed") and not symmetrize:
        raise ValueError(f"{name!r} is a directed graph; pass symmetrize=True to ignore the directions of its edges")
    if "package" in entry:
        arcs = networkx_arcs(_from_package(name, entry), name)
        matrix = simple_graph(arcs if weighted else arcs._replace(weights=None), source=name)
    else:
        # An undirected set may be published as arcs in one direction or both: its edges are its pairs either way.
        matrix = read_graph(path(name), symmetrize=True, weighted=weighted)
    _expect(name, entry, "nodes and edges", (matrix.shape[0], matrix.nnz // 2), (entry["n"], entry["m"]))
    return matrix


def _matrix(name: str, entry: dict, split: None) -> scipy.sparse.csr_array:
    matrix, _ = read_file(path(name))
    _expect(name, entry, "order and entries", (matrix.shape[0], matrix.nnz), (entry["n"], entry["m"]))
    return matrix


def _table(name: str, entry: dict, split: None) -> Table:
    if "package" in entry:
        data = _from_package(name, entry)
        X, y, masks = data.data, data.target, None
    else:
        table = np.loadtxt(path(name), delimiter=",", skiprows=entry.get("header", 0), encoding="utf-8-sig", ndmin=2)
        X, y, masks = np.ascontiguousarray(table[:, :-1]), table[:, -1].copy(), _masks(name, entry)
    _expect(name, entry, "rows and columns", (X.shape[0], X.shape[1] + 1), (entry["n"], entry["m"]))
    return Table(X, y, masks)


def _masks(name: str, entry: dict) -> np.ndarray | None:
    if "masks" not in entry["files"]:
        return None
    masks = np.loadtxt(path(name, "masks"), delimiter=",", dtype=np.int8, ndmin=2).astype(bool)
    _expect(name, entry, "rows of the test masks", len(masks), entry["n"])
    return masks


def _images(name: str, entry: dict, split: str) -> Images:
    if "package" in entry:
        data = _from_package(name, entry)
        images = Images(data.images, data.target)
    elif f"{split}-images" in entry["files"]:
        images = Images(_idx(path(name, f"{split}-images")), _idx(path(name, f"{split}-labels")))
    else:
        images = _images_npz(path(name, split if split in entry["files"] else None), split)
    pixels = int(np.prod(images.X.shape[1:]))
    expected = (entry["splits"][split], entry["splits"][split], entry["m"])
    _expect(name, entry, "images, labels and pixels", (len(images.X), len(images.y), pixels), expected)
    return images


def _images_npz(file: Path, split: str) -> Images:
    with np.load(file, allow_pickle=False) as arrays:
        if "jpeg" in arrays:
            return Images(_decode(arrays["jpeg"], arrays["offsets"]), arrays["labels"])
        if "images" in arrays:
            return Images(arrays["images"], arrays["labels"])
        return Images(arrays[f"x_{split}"], arrays[f"y_{split}"])


def _decode(jpeg: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    image = require("PIL.Image", "data", "reading JPEG images")
    files = (jpeg[start:stop].tobytes() for start, stop in pairwise(offsets))
    return np.stack([np.asarray(image.open(io.BytesIO(file))) for file in files])


def _idx(file: Path) -> np.ndarray:
    """An array in the idx format of MNIST: two zero bytes, type 8 (uint8), dimensions, their sizes, the entries."""
    data = gzip.decompress(file.read_bytes())
    if data[:3] != b"\x00\x00\x08":
        raise ValueError(
            f"{file}: expected an idx file of bytes, found the head {data[:4]!r}; delete it and load again"
        )
    sizes = np.frombuffer(data, dtype=">u4", count=data[3], offset=4)
    return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * data[3]).reshape(sizes.astype(int)).copy()


def _text(name: str, entry: dict, split: str) -> str:
    text = read_bytes(path(name, split))[0].decode("utf-8")
    size = len(text) if entry["unit"] == "characters" else len(text.split())
    _expect(name, entry, entry["unit"], size, entry["splits"][split])
    return text


def _reference(name: str, entry: dict, split: None) -> dict[str, Any]:
    file = path(name)
    if file.suffix == ".json":
        values = json.loads(file.read_text())["entropy"]
    else:
        with np.load(file, allow_pickle=False) as arrays:
            values = {key: arrays[key] for key in arrays.files}
    _expect(name, entry, "graphs", len(values), entry["n"])
    return values


LOADERS = {"matrix": _matrix, "table": _table, "images": _images, "text": _text, "reference": _reference}


def _expect(name: str, entry: dict, what: str, found, expected) -> None:
    if found != expected:
        where = f"; delete {path(name)} and load it again" if "files" in entry else ""
        raise ValueError(f"{name!r}: expected {what} {expected}, found {found}{where}")


def _from_package(name: str, entry: dict) -> Any:
    if entry["package"] == "networkx":
        return getattr(require("networkx", "graphs", f"the graph {name!r}"), entry["maker"])()
    return getattr(require("sklearn.datasets", "data", f"the data set {name!r}"), entry["maker"])()


@cache
def _manifest() -> dict[str, dict[str, Any]]:
    return json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


def _entry(name: str) -> dict[str, Any]:
    if name not in _manifest():
        close = difflib.get_close_matches(str(name), _manifest(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "spectra.datasets.names() lists them"
        raise ValueError(f"expected the name of a data set, found {name!r}; {hint}")
    return _manifest()[name]


def _locate(name: str, file: dict[str, Any]) -> Path:
    mirror = os.environ.get("SPECTRA_DATA")
    if mirror and (local := Path(mirror) / file["path"]).is_file():
        _verify(local, file["sha256"])
        return local
    return _download(name, file)


@cache
def _verify(file: Path, expected: str) -> None:
    """Compare a file's sha256, once in a process."""
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != expected:
        raise ValueError(f"{file}: expected sha256 {expected}, found {found}; the file was altered, fetch it again")


def _download(name: str, file: dict[str, Any]) -> Path:
    remedy = "set the environment variable SPECTRA_DATA to a folder that holds " + file["path"]
    address = file["address"]
    if address is None:
        raise OSError(f"{name!r} has no public address that this library can read; {remedy}")
    pooch = require("pooch", "data", f"downloading {name!r} (or {remedy})")
    try:
        local = Path(
            pooch.retrieve(address, known_hash=None, fname=_cached(name, address), path=pooch.os_cache("spectra"))
        )
    except OSError as error:
        raise OSError(
            f"{name!r} could not be downloaded from {address} ({error}); connect to a network, or {remedy}"
        ) from error
    if file.get("identical"):
        _verify(local, file["sha256"])
    return local


def _cached(name: str, address: str) -> str:
    """File name in the cache; the set's own name keeps apart the many files called data.csv.gz."""
    base = address.rpartition("/")[2]
    return base if base.endswith(".tar.gz") else f"{name}-{base}"
