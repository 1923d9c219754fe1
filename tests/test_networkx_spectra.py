"""Spectra of networkx's small graphs are networkx's."""

import numpy as np
import pytest

import spectra

nx = pytest.importorskip("networkx")

GRAPHS = {"karate": nx.karate_club_graph, "florentine": nx.florentine_families_graph, "petersen": nx.petersen_graph,
          "les miserables": nx.les_miserables_graph}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize(("matrix", "reference"), [
    (spectra.graphs.laplacian, nx.laplacian_spectrum), (spectra.graphs.adjacency, nx.adjacency_spectrum),
    (spectra.graphs.normalized_laplacian, nx.normalized_laplacian_spectrum)])
def test_eigenvalues_and_a_filled_krylov_space_agree(name, matrix, reference):
    G = GRAPHS[name]()
    A, expected = matrix(G), np.sort(reference(G).real)
    n, size = len(expected), np.abs(expected).max()
    np.testing.assert_allclose(np.sort(spectra.eigenpairs(A, n).values), expected, atol=1e-10 * size)
    rho = spectra.spectral_density(A, method="block-slq", probes=n, steps=4, rng=0)
    assert rho.complete
    np.testing.assert_allclose(rho.nodes, expected, atol=1e-10 * size)
