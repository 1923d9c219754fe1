"""Which networks are alike?

Graphs of different sizes have no nodes in common that could be matched, but their spectra live on the same interval
[0, 2]. Here eight real networks of four kinds are compared by the entropic spectra of their normalised Laplacians, with
error bars, in three ways; and a graph that one would have put elsewhere shows what it is that a spectrum knows.
"""

from spectra import datasets, graphs, plot

KINDS = {
    "collaboration": ["ca-GrQc", "ca-HepTh", "ca-CondMat"],
    "social": ["ego-Facebook", "email-Eu-core"],
    "roads and cables": ["luxembourg_osm", "power"],
    "triangulation": ["delaunay_n16"],
}
names = [name for members in KINDS.values() for name in members]
kind_of = {name: kind for kind, members in KINDS.items() for name in members}

# One spectrum for each graph, from 800 products with its Laplacian. The ridge is softer than that for counting
# clusters: a relative entropy asks how deep a gap is, and that is decided by the ridge alone.
networks = {name: datasets.load(name, symmetrize=name == "email-Eu-core") for name in names}
densities = [graphs.egs(W, moments=100, probes=16, ridge=1e-4, rng=i) for i, W in enumerate(networks.values())]

# Two graphs: a value, the error of the probes, and the setting without which the value means nothing.
physics = graphs.divergence(densities[0], densities[1])
print(f"{names[0]} and {names[1]}: {physics.value:.3f} ± {physics.stderr:.3f} nats, "
      f"order {physics.order[0]}, ridge {physics.ridge[0]:g}")
roads = graphs.divergence(densities[0], densities[names.index("luxembourg_osm")])
print(f"{names[0]} and luxembourg_osm: {roads.value:.2f} ± {roads.stderr:.2f} nats")
assert roads.value - 5 * roads.stderr > 10 * physics.value

# All pairs. Whatever the divergence, the graph nearest to a network is one of its own kind.
for kind in ("symmetric-kl", "js", "moments"):
    D = graphs.similarity_matrix(densities, kind=kind)
    nearest = {name: names[int(row.argsort()[1])] for name, row in zip(names, D, strict=True)}
    print(f"\n{kind}: " + ", ".join(f"{a} -> {b}" for a, b in nearest.items()))
    for name, other in nearest.items():
        assert kind_of[name] == kind_of[other] or name == "delaunay_n16"

# The triangulation is planar, as a road network is. But a spectrum does not know of the plane: its moments are chances
# to be back after 2, 3, 4 ... steps of a random walk. On roads, hardly a triangle brings one back after three steps; in
# a triangulation as many do as in a collaboration. So that is where it is nearest to.
print("\n                back after 2 steps   after 3")
back = {}
for name, rho in zip(names, densities, strict=True):
    back[name] = [rho.expect(lambda x, k=k: (1 - x) ** k) for k in (2, 3)]
    print(f"{name:<16}{back[name][0]:>12.3f}{back[name][1]:>15.3f}")
assert back["luxembourg_osm"][1] < 0.02 < 0.05 < back["delaunay_n16"][1]
assert kind_of[nearest["delaunay_n16"]] == "collaboration"

# What the ridge does: a relative entropy is large where one spectrum has a gap and the other has not, and no finite
# number of moments says how deep a gap is. With a ridge of 1e-8 the fit makes it as deep as the moments allow.
pair = [networks["email-Eu-core"], networks["power"]]
print()
values = {ridge: graphs.similarity_matrix(pair, ridge=ridge, rng=0)[0, 1] for ridge in (1e-8, 1e-6, 1e-4)}
for ridge, value in values.items():
    print(f"email-Eu-core and power, ridge {ridge:g}: {value:.3g} nats")
assert values[1e-8] > 20 * values[1e-4]

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("no picture without matplotlib")
else:
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    for name in ("ca-GrQc", "ego-Facebook", "luxembourg_osm", "delaunay_n16"):
        plot.density(densities[names.index(name)], left, label=name)
    left.set(ylim=(0, 4), title="Entropic spectra")
    left.legend(frameon=False)
    plot.heatmap(graphs.similarity_matrix(densities), names, right)
    right.set_title("Symmetric relative entropy, nats")
    figure.savefig("graphs-compare.png", dpi=110)
    print("picture: graphs-compare.png")
