"""A partition to go with the number of clusters: spectral clustering.

The rows of the k lowest eigenvectors of the normalised Laplacian, each scaled to length 1, are points that k-means
parts. The null vectors are known, so only the others are searched for.

Reference: Ng, Jordan and Weiss, On spectral clustering, NeurIPS 14 (2001).
"""

from __future__ import annotations

import numpy as np

from spectra._optional import require
from spectra.graphs._clusters import MEMORY, cluster_count
from spectra.graphs._counting import Deflated
from spectra.graphs._egs import Spectrum
from spectra.krylov import eigenpairs

__all__ = ["cluster_labels"]


def cluster_labels(L, k: int | None = None, *, memory: int | None = None, rng=None) -> np.ndarray:
    """Cluster of every node: k-means on the rows of the k lowest eigenvectors of the normalised Laplacian.

    Parameters
    ----------
    L : normalised Laplacian, or a graph
        Anything `adjacency` accepts, or what `normalized_laplacian` returns.
    k : int, optional
        Number of clusters, from the number of connected components to n; default: `egs_cluster_count`.
    memory : int, optional
        Bytes for the default of k to be counted with; default 4 GiB.
    rng : int, Generator or None

    Returns
    -------
    ndarray of int, shape (n,)
        Numbers 0 ... k-1, in the order of the clusters' first nodes. No cluster spans two components if k is their
        number; with more, k-means decides.

    Raises
    ------
    ValueError
        If k is out of range; ImportError where scikit-learn is missing and k exceeds the number of components.

    Warns
    -----
    ConvergenceWarning
        From `egs_cluster_count`, if there is no gap; or if the eigenvectors did not converge.

    Notes
    -----
    Thick-restart Lanczos, see `spectra.eigenpairs`, and k-means with 10 starts; about 5 k + 50 vectors of memory.

    Examples
    --------
    >>> from spectra import graphs
    >>> cliques = [(i + 5 * k, j + 5 * k) for k in range(2) for i in range(5) for j in range(i)]
    >>> graphs.cluster_labels(cliques + [(0, 5)], rng=0)
    array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    """
    spectrum = Spectrum(L, rng=rng)
    k = round(cluster_count(spectrum, "auto", MEMORY if memory is None else memory).value) if k is None else k
    if isinstance(k, bool) or int(k) != k or not spectrum.components <= k <= spectrum.n:
        raise ValueError(f"k must be an integer from the number of connected components, {spectrum.components}, to the "
                         f"number of nodes, {spectrum.n}, found {k!r}")
    if k == spectrum.components:
        return spectrum.labels
    rows = _embedding(spectrum, int(k))
    means = require("sklearn.cluster", "data", "cluster_labels").KMeans(int(k), n_init=10, random_state=spectrum.seed)
    return _in_order_of_appearance(means.fit_predict(rows))


def _embedding(spectrum: Spectrum, k: int) -> np.ndarray:
    known = spectrum.null.toarray()
    found = eigenpairs(Deflated(spectrum.operator, spectrum.null), k - known.shape[1], which="SA", tol=1e-8,
                       rng=spectrum.seed)
    rows = np.hstack([known, found.vectors])
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)


def _in_order_of_appearance(labels) -> np.ndarray:
    first = np.unique(labels, return_index=True)[1]
    return np.argsort(np.argsort(first))[labels]
