"""Entries of the Cholesky factor of a sparse symmetric matrix, counted without computing any.

Row i of the factor has an entry in column k if k lies on the way, in the elimination tree, from a column j of row i of
the matrix up to i; and the parent of k is the first row that k reaches. So one pass over the rows builds the tree and
walks every entry once (Liu, SIMAX 11 (1990); Davis, Direct Methods for Sparse Linear Systems (2006), 4.1).
"""

from __future__ import annotations

import numba
import numpy as np


def factor_entries_reference(indptr, indices, limit):
    """Entries of the lower factor, or some number beyond `limit` as soon as there are more."""
    n = len(indptr) - 1
    parent, seen = np.full(n, -1), np.full(n, -1)
    total = 0
    for i in range(n):
        seen[i] = i
        total += 1
        for p in range(indptr[i], indptr[i + 1]):
            k = indices[p]
            while k < i and seen[k] != i:
                if parent[k] < 0:
                    parent[k] = i
                seen[k] = i
                total += 1
                k = parent[k]
        if total > limit:
            break
    return total


factor_entries = numba.njit(cache=True, nogil=True)(factor_entries_reference)
