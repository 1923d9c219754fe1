"""Graphs by their spectra: Laplacians, entropic spectra, divergences, the number of clusters."""

from spectra.graphs._clusters import egs_cluster_count
from spectra.graphs._divergence import divergence, similarity_matrix
from spectra.graphs._egs import egs
from spectra.graphs._labels import cluster_labels
from spectra.graphs._matrices import adjacency, components, laplacian, normalized_laplacian, read
from spectra.graphs._models import classify, fit_model
from spectra.graphs._perturbation import edge_perturbation

__all__ = ["adjacency", "classify", "cluster_labels", "components", "divergence", "edge_perturbation", "egs",
           "egs_cluster_count", "fit_model", "laplacian", "normalized_laplacian", "read", "similarity_matrix"]
