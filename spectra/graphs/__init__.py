"""Graphs by their spectra: Laplacians."""

from spectra.graphs._matrices import adjacency, components, laplacian, normalized_laplacian, read

__all__ = ["adjacency", "components", "laplacian", "normalized_laplacian", "read"]
