"""What the command line works on: a matrix from a file or a data set's name, with a word about what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from spectra import datasets
from spectra._formats import READERS, read_file

__all__ = ["Description", "read_matrix"]


class Description(NamedTuple):
    """What was read: `kind` is "graph" (an adjacency) or "matrix"; `entries` are edges, or stored entries."""

    kind: str
    name: str
    source: str
    order: int
    entries: int
    facts: dict[str, Any]


def read_matrix(path_or_name: str | Path, *, symmetrize: bool = False):
    """Matrix and `Description` of a file, or of a named graph or matrix of `spectra.datasets`.

    Parameters
    ----------
    path_or_name : str or Path
        A file in MatrixMarket (.mtx), SciPy sparse (.npz), NumPy (.npy), edge list (.txt, .edges), GML (.gml) or
        GraphML (.graphml) format, plain or with .gz; or the name of a data set. A file of that name goes first.
    symmetrize : bool
        Forget the directions of a directed graph, which is refused otherwise.

    Returns
    -------
    csr_array or ndarray (n, n), Description
        A graph's adjacency is symmetric and simple: see `spectra.datasets.load` for the conventions.

    Raises
    ------
    ValueError
        The file is not in its format, not square, not finite, a directed graph, or the name is that of a table.
    FileNotFoundError
        There is neither such a file nor such a data set.

    Examples
    --------
    >>> A, description = read_matrix("karate")
    >>> description.kind, description.order, description.entries
    ('graph', 34, 78)
    """
    text = str(path_or_name)
    if Path(text).exists() or text not in datasets.names():
        return _from_file(Path(text), symmetrize)
    entry = datasets.info(text)
    if entry["kind"] not in ("graph", "matrix"):
        raise ValueError(f"{text!r} is a data set of kind {entry['kind']}; expected a graph or a matrix")
    matrix = datasets.load(text, symmetrize=symmetrize)
    return matrix, _describe(matrix, entry["kind"], text, entry["citation"], entry.get("facts", {}))


def _from_file(path: Path, symmetrize: bool):
    if not path.exists():
        known = ", ".join(sorted(READERS))
        raise FileNotFoundError(
            f"expected a file ({known}, or with .gz) or the name of a data set, found neither at {str(path)!r}; "
            "spectra.datasets.names() lists the names"
        )
    matrix, kind = read_file(path, symmetrize=symmetrize)
    return matrix, _describe(matrix, kind, path.name, str(path), {})


def _describe(matrix, kind: str, name: str, source: str, facts: dict[str, Any]) -> Description:
    stored = int(matrix.nnz if scipy.sparse.issparse(matrix) else np.size(matrix))
    return Description(kind, name, source, matrix.shape[0], stored // 2 if kind == "graph" else stored, facts)
