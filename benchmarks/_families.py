"""Random graphs with groups, and without, whose parameters are drawn as well: what a rule for the gap is judged on.

Every family is a function of a Generator and gives edges (m, 2), or with weights (m, 3), and the number of groups that
were planted, None where there are none. The parameters reach from plain groups to groups that no spectrum shows.
"""

import networkx
import numpy as np
from scipy.spatial import cKDTree


def stack(*parts):
    return np.unique(np.sort(np.concatenate(parts), axis=1), axis=0)


def random_edges(rng, members, p):
    """Erdos-Renyi edges among the nodes `members`."""
    i, j = np.triu_indices(len(members), 1)
    kept = rng.random(len(i)) < p
    return np.column_stack([members[i[kept]], members[j[kept]]])


def groups_of(sizes):
    return np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])


def ring(n):
    return np.column_stack([np.arange(n), (np.arange(n) + 1) % n])


def crossing(rng, labels, count, weights=None):
    """About `count` edges between different groups, ends drawn by weight."""
    weights = np.ones(len(labels)) if weights is None else weights
    ends = rng.choice(len(labels), (int(count), 2), p=weights / weights.sum())
    return ends[labels[ends[:, 0]] != labels[ends[:, 1]]]


def block_model(rng, sizes, degree, mixing):
    """Groups of mean inner degree `degree`, and a share `mixing` of a node's edges that leave its group."""
    inner = [random_edges(rng, g, min(1.0, degree / max(len(g) - 1, 1))) for g in groups_of(sizes)]
    labels = np.repeat(np.arange(len(sizes)), sizes)
    m = sum(map(len, inner))
    return stack(*inner, crossing(rng, labels, m * mixing / (1 - mixing)))


def power_law_sizes(rng):
    k = rng.integers(6, 26)
    sizes = np.minimum(25 * (1 + rng.pareto(1.5, k)), 400).astype(int)
    sizes[0] += max(0, 1050 - sizes.sum())
    return block_model(rng, sizes, rng.uniform(8, 22), rng.uniform(0.02, 0.55)), int(k)


def two_large_many_small(rng):
    k = int(rng.integers(10, 30))
    sizes = [500, 350] + [int(x) for x in rng.integers(12, 30, k - 2)]
    return block_model(rng, sizes, rng.uniform(8, 16), rng.uniform(0.02, 0.45)), k


def planted_sparse(rng):
    k = int(rng.integers(4, 16))
    return block_model(rng, [int(1500 // k)] * k, rng.uniform(4, 9), rng.uniform(0.01, 0.3)), k


def lfr(rng):
    for _ in range(20):
        try:
            G = networkx.LFR_benchmark_graph(1100, 3, rng.uniform(1.3, 1.9), rng.uniform(0.03, 0.5),
                                             average_degree=rng.uniform(12, 18), max_degree=45, min_community=40,
                                             max_community=150, seed=int(rng.integers(2**31)), max_iters=300)
        except networkx.ExceededMaxIterations:
            continue
        groups = {frozenset(G.nodes[v]["community"]) for v in G}
        G.remove_edges_from(list(networkx.selfloop_edges(G)))
        return np.array(G.edges()), len(groups)
    raise RuntimeError("LFR did not converge in twenty tries")


def nested(rng):
    """Two levels: a share of the edges leaves the inner group, a share of those the outer one."""
    outer, inner = int(rng.integers(3, 7)), int(rng.integers(2, 7))
    sizes = [max(1200 // (outer * inner), 30)] * (outer * inner)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    base = block_model(rng, sizes, rng.uniform(12, 20), 0.0)
    between, across = rng.uniform(0.05, 0.8), rng.uniform(0.005, 0.15)
    pairs = crossing(rng, labels, 40 * len(base))
    same = pairs[labels[pairs[:, 0]] // inner == labels[pairs[:, 1]] // inner][: int(between * len(base))]
    return stack(base, same, crossing(rng, labels // inner, across * len(base))), (outer, outer * inner)


def three_levels(rng):
    sizes = [1296 // 27] * 27
    labels = np.repeat(np.arange(27), sizes)
    base = block_model(rng, sizes, rng.uniform(14, 20), 0.0)
    parts = [base]
    for above, finer, share in ((27, labels // 3, rng.uniform(0.1, 0.35)), (9, labels // 9, rng.uniform(0.02, 0.1)),
                                (3, np.zeros_like(labels), rng.uniform(0.002, 0.02))):
        own = labels // (27 // above)
        pairs = crossing(rng, own, 40 * share * len(base))
        parts.append(pairs[finer[pairs[:, 0]] == finer[pairs[:, 1]]][: int(share * len(base))])
    return stack(*parts), (3, 9, 27)


def discs(rng):
    """Points in discs, linked within a radius, and a few long edges."""
    k = int(rng.integers(4, 12))
    per = 1300 // k
    centres = 3.2 * np.array([(i % 4, i // 4) for i in range(k)])
    radius, angle = np.sqrt(rng.random((k, per))), 2 * np.pi * rng.random((k, per))
    points = centres[:, None] + np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    near = cKDTree(points.reshape(-1, 2)).query_pairs(rng.uniform(0.3, 0.9), output_type="ndarray")
    labels = np.repeat(np.arange(k), per)
    return stack(near, ring(k) * per, crossing(rng, labels, rng.uniform(1, 12) * k)), k


def neighbours_of_blobs(rng):
    """Nearest neighbours among Gaussian blobs in a few dimensions."""
    k, dimension = int(rng.integers(4, 12)), int(rng.integers(4, 12))
    centres = rng.uniform(1, 7) * rng.standard_normal((k, dimension))
    labels = np.repeat(np.arange(k), 1200 // k)
    points = centres[labels] + rng.standard_normal((len(labels), dimension))
    near = cKDTree(points).query(points, int(rng.integers(10, 25)))[1][:, 1:]
    return stack(np.column_stack([np.repeat(np.arange(len(near)), near.shape[1]), near.ravel()]),
                 crossing(rng, labels, rng.uniform(0, 4) * k)), k


def weighted(rng):
    """Log-normal weights within groups, weaker ones between."""
    k = int(rng.integers(5, 20))
    sizes = rng.integers(50, 120, k)
    sizes[0] += max(0, 1050 - sizes.sum())
    edges = block_model(rng, sizes, rng.uniform(14, 24), rng.uniform(0.1, 0.5))
    labels = np.repeat(np.arange(k), sizes)
    weights = rng.lognormal(0, rng.uniform(0.2, 0.8), len(edges))
    weights[labels[edges[:, 0]] != labels[edges[:, 1]]] *= rng.uniform(0.02, 1)
    return np.column_stack([edges, weights]), k


def ring_of_cliques(rng):
    sizes = []
    while sum(sizes) < 1050:
        sizes.append(int(rng.integers(5, rng.integers(8, 40))))
    parts = groups_of(sizes)
    cliques = [np.column_stack([g[i] for i in np.triu_indices(len(g), 1)]) for g in parts]
    ends = np.array([(g[-1], h[0]) for g, h in zip(parts, parts[1:] + parts[:1], strict=True)])
    return stack(*cliques, ends), len(sizes)


def degree_corrected(rng):
    """Power-law degrees within groups; ends of edges drawn in proportion to a node's propensity."""
    k = int(rng.integers(4, 14))
    sizes = [1400 // k] * k
    labels = np.repeat(np.arange(k), sizes)
    theta = np.minimum(1 + rng.pareto(rng.uniform(1.7, 3), len(labels)), 12)
    parts = []
    for g in groups_of(sizes):
        p = theta[g] / theta[g].sum()
        parts.append(rng.choice(g, (int(len(g) * rng.uniform(5, 10)), 2), p=p))
    inner = np.concatenate(parts)
    mixing = rng.uniform(0.01, 0.4)
    edges = np.concatenate([inner, crossing(rng, labels, mixing * len(inner), theta)])
    return stack(edges[edges[:, 0] != edges[:, 1]]), k


def mixed_models(rng):
    """Erdos-Renyi, Watts-Strogatz and Barabasi-Albert communities, some edges between them."""
    k = int(rng.integers(6, 14))
    sizes = rng.integers(90, 200, k)
    sizes[0] += max(0, 1050 - sizes.sum())
    return communities(rng, sizes, 24, 10 ** rng.uniform(0, 2.7)), k


def communities(rng, sizes, degree, joins):
    """One after the other an ER, a WS and a BA community of mean degree `degree`; `joins` edges from each to others."""
    parts = [(erdos_renyi, watts_strogatz, barabasi_albert)[i % 3](rng, g, degree)
             for i, g in enumerate(groups_of(sizes))]
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return stack(*parts, labels.searchsorted(ring(len(sizes))),
                 crossing(rng, labels, joins * len(sizes)))


def erdos_renyi(rng, members, degree):
    return random_edges(rng, members, degree / (len(members) - 1))


def watts_strogatz(rng, members, degree, rewired=0.2):
    n, half = len(members), degree // 2
    start = np.repeat(np.arange(n), half)
    end = (start + np.tile(np.arange(1, half + 1), n)) % n
    moved = rng.random(len(end)) < rewired
    end[moved] = rng.integers(0, n, moved.sum())
    return np.column_stack([members[start], members[end]])[start != end]


def barabasi_albert(rng, members, degree):
    """Each new node links to `degree / 2` nodes drawn with chances proportional to their degrees."""
    half = degree // 2
    ends = np.empty(2 * half * len(members), dtype=int)
    filled, targets = 0, np.arange(half)
    for new in range(half, len(members)):
        ends[filled : filled + half], ends[filled + half : filled + 2 * half] = new, targets
        filled += 2 * half
        targets = np.unique(ends[rng.integers(0, filled, 2 * half)])
        targets = rng.permutation(targets)[:half] if len(targets) >= half else rng.choice(new, half, replace=False)
    return members[ends[:filled].reshape(-1, 2, half).transpose(0, 2, 1).reshape(-1, 2)]


def core_and_whiskers(rng):
    """A large random graph, with small cliques that hang on it by an edge each."""
    k = int(rng.integers(5, 40))
    sizes = [1000] + [int(x) for x in rng.integers(6, 16, k)]
    core, *cliques = groups_of(sizes)
    parts = [random_edges(rng, core, rng.uniform(10, 20) / 1000)]
    for c in cliques:
        parts += [np.column_stack([c[i] for i in np.triu_indices(len(c), 1)]), np.array([(c[0], rng.choice(core))])]
    return stack(*parts), k + 1


def pieces(rng):
    """A block model, small components beside it, and nodes alone."""
    k, small = int(rng.integers(3, 10)), int(rng.integers(5, 40))
    edges = block_model(rng, [1000 // k] * k, rng.uniform(10, 20), rng.uniform(0.02, 0.5))
    starts = 1000 + 6 * np.arange(small)
    cycles = np.concatenate([np.column_stack([s + np.arange(4), s + (np.arange(4) + 1) % 4]) for s in starts])
    alone = np.repeat(starts + 5, 2).reshape(-1, 2)
    return stack(edges, cycles, alone), k + 2 * small


def one_group(rng):
    """Random graphs without groups."""
    n, seed = int(rng.integers(1050, 1500)), int(rng.integers(2**31))
    G = (networkx.gnm_random_graph(n, int(n * rng.uniform(4, 12)), seed=seed),
         networkx.barabasi_albert_graph(n, int(rng.integers(3, 9)), seed=seed),
         networkx.random_regular_graph(2 * int(rng.integers(2, 8)), n, seed=seed),
         networkx.powerlaw_cluster_graph(n, int(rng.integers(3, 9)), rng.uniform(0, 0.6), seed=seed),
         networkx.watts_strogatz_graph(n, 10, rng.uniform(0.3, 1), seed=seed))[int(rng.integers(5))]
    return np.array(G.edges()), None


def no_gap(rng):
    """Graphs with slow modes of every length: grids, trees, geometric graphs, small worlds of few short cuts."""
    n, seed = int(rng.integers(1050, 1500)), int(rng.integers(2**31))
    G = (networkx.grid_graph([int(rng.integers(9, 12))] * 3), networkx.random_labeled_tree(n, seed=seed),
         networkx.random_geometric_graph(n, rng.uniform(0.06, 0.1), seed=seed),
         networkx.watts_strogatz_graph(n, 6, rng.uniform(0, 0.03), seed=seed),
         networkx.gnm_random_graph(n, int(rng.uniform(0.8, 1.5) * n), seed=seed))[int(rng.integers(5))]
    return np.array(networkx.convert_node_labels_to_integers(G).edges()), None


FAMILIES = {f.__name__.replace("_", " "): f for f in (
    power_law_sizes, two_large_many_small, planted_sparse, lfr, nested, three_levels, discs, neighbours_of_blobs,
    weighted, ring_of_cliques, degree_corrected, mixed_models, core_and_whiskers, pieces, one_group, no_gap)}


def dense_blocks(rng, clusters, joins, size=30):
    """Table 3.2: disjoint random sub-graphs, half of all pairs or more linked, and `joins` edges from each to others.

    Sizes lie between 2/3 and 4/3 of `size`, and add up to `clusters` times `size`.
    """
    sizes = rng.integers(2 * size // 3, 4 * size // 3 + 1, clusters)
    while sizes.sum() != clusters * size:
        i = rng.integers(clusters)
        step = np.sign(clusters * size - sizes.sum())
        if 2 * size // 3 <= sizes[i] + step <= 4 * size // 3:
            sizes[i] += step
    labels = np.repeat(np.arange(clusters), sizes)
    starts = np.cumsum(sizes) - sizes
    parts = [random_edges(rng, g, rng.uniform(0.5, 0.6)) for g in groups_of(sizes)]
    own, other = np.repeat(np.arange(clusters), joins), rng.integers(1, clusters, clusters * joins)
    ends = [starts[c] + (rng.random(len(c)) * sizes[c]).astype(int) for c in (own, (own + other) % clusters)]
    return stack(*parts, np.column_stack(ends)), labels
