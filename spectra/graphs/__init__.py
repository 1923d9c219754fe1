"""Graphs by their spectra: Laplacians, entropic spectra, divergences, the number of clusters."""

from spectra.graphs._clusters import egs_cluster_count
from spectra.graphs._divergence import divergence, similarity_matrix
from spectra.graphs._egs import egs
from spectra.graphs._labels import cluster_labels
from spectra.graphs._matrices import adjacency, components, laplacian, normalized_laplacian, read

__all__ = ["adjacency", "cluster_labels", "components", "divergence", "egs", "egs_cluster_count", "laplacian",
           "normalized_laplacian", "read", "similarity_matrix"]
