"""The matrix that the arguments of a command name, and what it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from spectra import graphs
from spectra._files import read_matrix

__all__ = ["NAMES", "OPERATORS", "Input"]

OPERATORS = {"normalized": graphs.normalized_laplacian, "combinatorial": graphs.laplacian, "adjacency": lambda W: W}
NAMES = {"normalized": "normalised Laplacian", "combinatorial": "Laplacian", "adjacency": "adjacency matrix"}


class Input:
    """The matrix that the arguments name, and what it is."""

    def __init__(self, args, of_graphs: str):
        self.A, self.read = read_matrix(args.file, symmetrize=args.symmetrize)
        self.support = tuple(args.support) if getattr(args, "support", None) else None
        self.shift = args.shift
        self.operator = "matrix"
        if not self.read.order:
            raise ValueError(f"{self.read.name}: expected a matrix of order 1 or more, found an empty one")
        if args.laplacian and self.read.kind == "matrix":
            self.A = graphs.adjacency(self.A, symmetrize=args.symmetrize)
            self.read = self.read._replace(kind="graph", entries=self.A.nnz // 2, facts={})
        if self.read.kind == "graph":
            self.operator = args.laplacian or of_graphs
            self.A = OPERATORS[self.operator](self.A)
            if self.operator == "normalized" and self.support is None:
                self.support = (self.shift, 2.0 + self.shift)
        if self.shift:
            n = self.read.order
            identity = np.eye(n) if isinstance(self.A, np.ndarray) else scipy.sparse.eye_array(n, format="csr")
            self.A = self.A + self.shift * identity

    @property
    def title(self) -> str:
        read = self.read
        shift = f" + {self.shift:g} I" if self.shift else ""
        if read.kind == "graph":
            return f"{read.name}: graph of {read.order} nodes and {read.entries} edges; {NAMES[self.operator]}{shift}"
        return f"{read.name}: matrix of order {read.order}, {read.entries} entries{shift and ';' + shift}"

    @property
    def definite(self) -> bool:
        """Whether the lower end of the spectrum may be positive: that of a graph's matrix is not."""
        return self.read.kind == "matrix" or self.shift > 0

    def to_dict(self) -> dict[str, Any]:
        return {"input": self.read._asdict() | {"operator": self.operator, "shift": self.shift}}
