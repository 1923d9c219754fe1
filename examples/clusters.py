"""How many clusters does a graph have?

k groups with few edges between them give the normalised Laplacian k eigenvalues near 0, and then a gap. This example
counts them without computing them one by one, looks at what "certified" means, parts the graph, and meets a graph that
has no gap, where an honest answer is a bound and not a number.
"""

import warnings

import networkx as nx
import numpy as np

import spectra
from spectra import graphs

# 40 groups of 60 people; everyone knows a third of the own group, and two or three of the 2,340 others.
G = nx.planted_partition_graph(40, 60, 0.33, 0.001, seed=1)
L = graphs.normalized_laplacian(G)
print(f"{L.shape[0]} nodes, {G.number_of_edges()} edges, {graphs.components(L).max() + 1} component")

# The entropic spectrum: the smooth density with the graph's first 100 Chebyshev moments, from 800 products with L.
rho = graphs.egs(L, moments=100, probes=16, rng=0)
print("density:   ", rho)

# Integrated up to the gap it gives a count with the noise of its 16 random probes.
rough = graphs.egs_cluster_count(L, method="egs", rng=0)
print("estimate:  ", rough, f"cut-off {rough.cutoff:.3f}")
assert abs(rough.value - 40) < 4 * rough.stderr

# More probes would lower the noise slowly. It is better to count exactly: the signs of the pivots of L - x I say how
# many eigenvalues lie below x. The same number on both sides of the cut-off proves that there is a gap.
exact = graphs.egs_cluster_count(L, rng=0)
print("certified: ", exact, f"by {exact.certificate}, none within {exact.margin:.3f} of {exact.cutoff:.3f}")
assert exact.value == 40
assert exact.certificate == "inertia"

# The partition itself: eigenvectors, then k-means. Here it finds the groups that were planted.
labels = graphs.cluster_labels(L, 40, rng=0)
assert np.array_equal(labels, np.arange(2400) // 60)

# A square grid has slow modes of every length, and no gap. The answer says so.
grid = nx.grid_2d_graph(50, 50)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", spectra.ConvergenceWarning)
    none = graphs.egs_cluster_count(grid, rng=0)
print("grid:      ", caught[0].message)
assert not none.gap
assert none.value == none.components == 1
