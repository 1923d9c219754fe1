"""Readers of matrix and graph files: MatrixMarket, SciPy .npz, NumPy .npy, edge lists, GML.

A reader takes the bytes of one file and gives a matrix, or the arcs of a graph, or raises a ValueError that says what
was expected, what was found and what to do. Nothing is ever unpickled.

A graph becomes simple: the pairs {i, j}, i != j, each once, with the mean of the weights that the file lists for the
pair (1 where it lists none). Self loops are dropped, their nodes stay. Arcs that run both ways between some pairs and
one way between others are a directed graph, which is refused unless it may be symmetrised.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from spectra._optional import require

__all__ = ["READERS", "Arcs", "networkx_arcs", "read_bytes", "read_file", "read_graph", "simple_graph"]


class Arcs(NamedTuple):
    """A graph as listed: arcs ``rows[i] -> cols[i]`` among `n` nodes, `weights` or None, and whether it is directed.

    `directed` None means that the format cannot say; then a list that names no pair both ways is undirected.
    """

    rows: np.ndarray
    cols: np.ndarray
    weights: np.ndarray | None
    n: int
    directed: bool | None


def read_file(path: str | Path, *, symmetrize: bool = False):
    """Matrix and kind, "graph" or "matrix", of the file at `path`, whose suffix names the format.

    Edge lists, GML and MatrixMarket patterns are graphs. Real entries become float64 and complex ones complex128;
    sparse formats give a CSR array, dense ones an ndarray.
    """
    content = _read(Path(path))
    if isinstance(content, Arcs):
        return simple_graph(content, symmetrize=symmetrize, source=path), "graph"
    return content.astype(np.result_type(content.dtype, np.float64), copy=False), "matrix"


def read_graph(path: str | Path, *, symmetrize: bool = False, weighted: bool = True) -> scipy.sparse.csr_array:
    """Adjacency of the graph in the file at `path`; a file that holds a matrix gives its entries as weights."""
    content = _read(Path(path))
    if not isinstance(content, Arcs):
        entries = scipy.sparse.coo_array(content)
        content = Arcs(entries.row, entries.col, entries.data, entries.shape[0], directed=True)
    arcs = content if weighted else content._replace(weights=None)
    return simple_graph(arcs, symmetrize=symmetrize, source=path)


def _read(path: Path) -> Any:
    data, suffix = read_bytes(path)
    if suffix not in READERS:
        known = ", ".join(sorted(READERS))
        raise ValueError(f"{path}: expected a file ending in {known} (or one of them with .gz), found {suffix!r}")
    content = READERS[suffix](data, path)
    if not isinstance(content, Arcs):
        _check_matrix(content, path)
    return content


def read_bytes(path: Path) -> tuple[bytes, str]:
    """Content of the file at `path` without its compression, and the suffix that names the format beneath it."""
    if not path.is_file():
        raise FileNotFoundError(f"expected a file at {path}, found {'a folder' if path.is_dir() else 'nothing'} there")
    data = path.read_bytes()
    name = path.name.lower()
    try:
        if name.endswith(".tar.gz"):
            return _main_member(data, path), ".mtx"
        if name.endswith(".gz"):
            return gzip.decompress(data), Path(name.removesuffix(".gz")).suffix
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise ValueError(
            f"{path}: expected gzip data, found a file that does not open ({error}); fetch it again"
        ) from error
    return data, path.suffix.lower()


def _main_member(data: bytes, path: Path) -> bytes:
    """The file NAME/NAME.mtx of an archive NAME.tar.gz, as the SuiteSparse collection packs its matrices."""
    name = path.name[: -len(".tar.gz")]
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for member in archive:
            content = archive.extractfile(member) if Path(member.name).name == f"{name}.mtx" else None
            if content is not None:
                return content.read()
    raise ValueError(f"{path}: expected a member {name}.mtx in the archive, found none; extract the matrix by hand")


def simple_graph(arcs: Arcs, *, symmetrize: bool = False, source: object = "graph") -> scipy.sparse.csr_array:
    """Symmetric CSR adjacency of the simple graph behind `arcs`; see the head of this file for what that means."""
    rows, cols, weights, n, directed = arcs
    weights = np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not np.all(np.isfinite(weights)):
        raise ValueError(f"{source}: expected finite edge weights, found NaN or Inf; mend or drop those edges")
    up, down = rows < cols, rows > cols
    if not symmetrize and directed is not False:
        _refuse_directed(_sum_pairs(rows[up], cols[up], n), _sum_pairs(cols[down], rows[down], n), directed, source)
    low, high = np.minimum(rows, cols)[up | down], np.maximum(rows, cols)[up | down]
    total, mentions = _sum_pairs(low, high, n, weights[up | down]), _sum_pairs(low, high, n)
    total.data /= mentions.data
    return scipy.sparse.csr_array(total + total.T)


def _sum_pairs(rows, cols, n: int, weights=None) -> scipy.sparse.csr_array:
    """CSR matrix that adds up `weights` (or counts) at the given places, in canonical order."""
    values = np.ones(len(rows)) if weights is None else weights
    matrix = scipy.sparse.coo_array((values, (rows, cols)), shape=(n, n)).tocsr()
    matrix.sum_duplicates()
    return matrix


def _refuse_directed(forward, backward, directed: bool | None, source) -> None:
    either = (forward + backward).nnz
    both_ways = forward.nnz == backward.nnz == either
    each_once = forward.nnz + backward.nnz == either
    if both_ways or (each_once and directed is None):
        return
    mutual = forward.nnz + backward.nnz - either
    raise ValueError(
        f"{source}: expected an undirected graph, found a directed one ({mutual} of its {either} connected pairs are "
        "linked both ways); pass symmetrize=True to ignore the directions"
    )


def _check_matrix(matrix, source) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{source}: expected a square matrix, found shape {matrix.shape}; give a square one")
    if matrix.dtype.kind not in "biufc":
        raise ValueError(f"{source}: expected numbers, found entries of type {matrix.dtype}; convert them to float64")
    values = matrix.data if scipy.sparse.issparse(matrix) else matrix
    bad = np.size(values) - np.count_nonzero(np.isfinite(values))
    if bad:
        raise ValueError(f"{source}: expected finite entries, found {bad} that are NaN or Inf; mend or drop them")


def _read_matrix_market(data: bytes, path: Path) -> Any:
    from scipy.io import mmread

    header = data.partition(b"\n")[0].decode("latin-1").lower().split()
    if len(header) != 5 or header[0] not in ("%%matrixmarket", "%matrixmarket"):
        found = " ".join(header)[:60]
        raise ValueError(
            f"{path}: expected a first line '%%MatrixMarket matrix ...', found {found!r}; is it another format?"
        )
    try:
        matrix = mmread(io.BytesIO(data))
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{path}: expected a MatrixMarket file, found one that breaks off or errs ({error})"
        ) from error
    if header[3] == "pattern":
        _check_matrix(matrix, path)
        return Arcs(matrix.row, matrix.col, None, matrix.shape[0], directed=header[4] == "general")
    return scipy.sparse.csr_array(matrix) if scipy.sparse.issparse(matrix) else matrix


def _read_npz(data: bytes, path: Path) -> scipy.sparse.csr_array:
    try:
        return scipy.sparse.csr_array(scipy.sparse.load_npz(io.BytesIO(data)))
    except Exception as error:  # zip, pickle, missing arrays, unknown format: SciPy has no common class for them
        raise ValueError(
            f"{path}: expected a matrix written by scipy.sparse.save_npz, found otherwise ({error})"
        ) from error


def _read_npy(data: bytes, path: Path) -> np.ndarray:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path}: expected a numeric array written by numpy.save, found otherwise ({error})"
        ) from error


def _read_edges(data: bytes, path: Path) -> Arcs:
    """Lines "node node" or "node node weight", whole numbers of any range; # or % begins a comment."""
    comments = "%" if data.lstrip().startswith(b"%") else "#"
    table = _table(data, comments, path)
    ends, weights = table[:, :2], table[:, 2] if table.shape[1] == 3 else None
    # Beyond 2⁵³ float64 skips whole numbers: two nodes of a weighted list would become one.
    if not np.all((ends >= 0) & (ends < 2**53) & (ends == np.floor(ends))):
        raise ValueError(
            f"{path}: expected nodes numbered by whole numbers from 0 to 2^53, found others; renumber them"
        )
    nodes, ends = _renumber(ends.astype(np.int64))
    return Arcs(ends[:, 0], ends[:, 1], weights, nodes, directed=None)


def _table(data: bytes, comments: str, path: Path) -> np.ndarray:
    """The numbers of an edge list, 2 or 3 columns: whole, unless a third column of weights makes them float64."""
    text = data.decode("latin-1")
    first = next((words for line in io.StringIO(text) if (words := line.partition(comments)[0].split())), [])
    if len(first) not in (2, 3):
        found = f"{len(first)} words in the first line" if first else "no edge"
        raise ValueError(f"{path}: expected lines 'node node' or 'node node weight', found {found}; is it such a list?")
    try:
        return np.loadtxt(io.StringIO(text), np.int64 if len(first) == 2 else np.float64, comments=comments, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path}: expected numbers, {len(first)} in every line, found otherwise ({error})") from error


def _renumber(ends: np.ndarray) -> tuple[int, np.ndarray]:
    """How many different nodes there are, and `ends` with the nodes numbered 0, 1, ... in their order."""
    if ends.max() > 8 * ends.size:  # too sparse for a table of all numbers
        nodes, positions = np.unique(ends, return_inverse=True)
        return len(nodes), positions.reshape(ends.shape)
    present = np.zeros(ends.max() + 1, dtype=bool)
    present[ends] = True
    return int(np.count_nonzero(present)), (np.cumsum(present) - 1)[ends]


def _read_gml(data: bytes, path: Path) -> Arcs:
    networkx = require("networkx", "graphs", "reading GML files")
    try:
        graph: Any = networkx.parse_gml(data.decode("latin-1").splitlines(), label="id")
    except (networkx.NetworkXError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected a GML graph, found otherwise ({error})") from error
    return networkx_arcs(graph, path)


def _read_graphml(data: bytes, path: Path) -> Arcs:
    networkx = require("networkx", "graphs", "reading GraphML files")
    try:
        graph: Any = networkx.parse_graphml(data.decode("utf-8"))
    except Exception as error:  # the parser of XML, keys, types: there is no common class
        raise ValueError(f"{path}: expected a GraphML graph, found otherwise ({error})") from error
    return networkx_arcs(graph, path)


def networkx_arcs(graph, source: object = "graph") -> Arcs:
    """Arcs of a networkx graph, nodes numbered in its own order; weighted where every edge has a weight."""
    index = {node: i for i, node in enumerate(graph)}
    ends = np.array([(index[u], index[v]) for u, v in graph.edges()], dtype=np.int64).reshape(-1, 2)
    return Arcs(ends[:, 0], ends[:, 1], _edge_weights(graph, source), len(index), directed=graph.is_directed())


def _edge_weights(graph, source) -> np.ndarray | None:
    """Edge attribute "weight", or "value" as in Newman's collection, where every edge has it."""
    for key in ("weight", "value"):
        values = [data.get(key) for *_, data in graph.edges(data=True)]
        if values and None not in values:
            try:
                return np.array(values, dtype=np.float64)
            except ValueError:
                raise ValueError(f"{source}: expected numbers as the edges' {key!r}, found {values[0]!r}") from None
    return None


READERS: dict[str, Callable[[bytes, Path], Any]] = {
    ".mtx": _read_matrix_market,
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".txt": _read_edges,
    ".edges": _read_edges,
    ".gml": _read_gml,
    ".graphml": _read_graphml,
}
