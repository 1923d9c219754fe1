"""An order of rows in which neighbours have numbers close together.

A product with a block gathers rows of that block. Where the neighbours of a row are spread over the whole matrix, each
comes from memory anew; in reverse Cuthill-McKee order (SciPy's), many come from cache.

Reference: Cuthill and McKee, Reducing the bandwidth of sparse symmetric matrices (1969).
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee

_WINDOW = 1024  # rows
_POOR = 0.75  # of the entries in a window meet a new column: all at random, 0.45 on a grid in three dimensions


def has_poor_order(A) -> bool:
    """Whether rows of a CSR matrix next to each other hardly share a column, judged by up to 64 windows of rows."""
    starts = np.unique(np.linspace(0, max(A.shape[0] - _WINDOW, 0), 64).astype(int))
    windows = [A.indices[A.indptr[i]:A.indptr[min(i + _WINDOW, A.shape[0])]] for i in starts]
    return sum(len(np.unique(w)) for w in windows) > _POOR * sum(len(w) for w in windows)


def renumbered(A):
    """A symmetric CSR matrix in reverse Cuthill-McKee order, and that order: new row i is row order[i] of A."""
    order = reverse_cuthill_mckee(A, symmetric_mode=True)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order), dtype=order.dtype)
    rows = A[order]
    return sparse.csr_array((rows.data, rank[rows.indices], rows.indptr), shape=A.shape), order
