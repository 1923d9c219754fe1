"""Random graphs whose draws hang together: one seed gives a family of graphs that changes little with its parameter.

Erdos and Renyi: every pair is linked with probability p. Each pair has one uniform number for all p, and is linked if
that lies below p; or, for sparse graphs, pairs arrive in a Poisson process, and those are linked that have come by time
-log(1 - p).
Watts and Strogatz: a ring, every node linked with its k nearest; then every link is moved with probability p to a
random place. Each link has one uniform number and one list of places for all p.
Barabasi and Albert: nodes arrive and link with r different earlier ones, chosen in proportion to their degrees. Node i
is one of the r that ring first, clock i having the rate d_i; each pair has one clock for all r.

The distributions are those of networkx's gnp_random_graph, watts_strogatz_graph and barabasi_albert_graph.

References: Erdos and Renyi, Publ. Math. 6 (1959); Watts and Strogatz, Nature 393 (1998), doi 10.1038/30918; Barabasi
and Albert, Science 286 (1999), doi 10.1126/science.286.5439.509.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

PAIRS = 1 << 20  # up to so many, every pair gets a number of its own
CLOCKS = 1 << 10  # up to so many nodes, every pair gets a clock
ROUNDS = 200  # places that are tried for a link of a graph that is nearly complete


def erdos_renyi(n: int, p: float, seed) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of every edge of a graph in which every pair is linked with probability p."""
    if n * (n - 1) // 2 <= PAIRS:
        rows, columns = np.triu_indices(n, 1)
        linked = np.random.default_rng(seed).random(len(rows)) < p
        return rows[linked], columns[linked]
    numbers = np.sort(_arrivals(n, -np.log1p(-min(p, 1 - 1e-12)), seed))
    return _pairs(n, numbers[np.diff(numbers, prepend=-1) > 0])


def _arrivals(n, end, seed):
    """Numbers of the pairs that arrive up to time `end`, at rate 1 each; drawn in stretches of doubling length."""
    total, random = n * (n - 1) // 2, np.random.default_rng(seed)
    start, stretch, numbers = 0.0, 1 / n, [np.zeros(0, dtype=np.int64)]
    while start < end:
        count = random.poisson(total * stretch)
        numbers.append(random.integers(total, size=count)[random.random(count) < (end - start) / stretch])
        start += stretch
        stretch = start
    return np.concatenate(numbers)


def _pairs(n, numbers):
    """Pair (i, j), i > j, of every number i (i - 1) / 2 + j."""
    i = ((1 + np.sqrt(1 + 8 * numbers.astype(float))) / 2).astype(np.int64)
    i -= i * (i - 1) // 2 > numbers  # where the root was rounded up
    i += i * (i + 1) // 2 <= numbers
    return i, numbers - i * (i - 1) // 2


def watts_strogatz(n: int, p: float, seed, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of every edge of a ring of n nodes with so many neighbours, its edges moved with probability p.

    Edges are moved in turn, nearest neighbours first; one goes to where there is none at its time.
    """
    half = neighbours // 2
    if neighbours >= n:
        return np.triu_indices(n, 1)
    random = np.random.default_rng(seed)
    source = np.tile(np.arange(n), half)
    home = (source + np.repeat(np.arange(1, half + 1), n)) % n
    moved = random.random(len(source)) < p
    target, waiting = home.copy(), np.flatnonzero(moved)
    for _ in range(ROUNDS):
        if not len(waiting):
            break
        target[waiting] = random.integers(n, size=len(source))[waiting]
        waiting = _misplaced(n, half, source, target, moved)
    target[waiting] = home[waiting]
    return source, target


def _misplaced(n, half, source, target, moved):
    """Moved edges that are loops, lie where the ring had an edge when they came, or where an earlier one has moved."""
    edges = np.flatnonzero(moved)
    u, w = source[edges], target[edges]
    ahead, back = (w - u) % n, (u - w) % n
    distance = np.minimum(ahead, back)
    resident = (distance - 1) * n + np.where(ahead <= back, u, w)  # the edge that the ring had there
    in_ring = (distance > 0) & (distance <= half)
    stays = np.zeros(len(edges), dtype=bool)
    stays[in_ring] = ~moved[resident[in_ring]] | (resident[in_ring] >= edges[in_ring])
    settled = np.flatnonzero((distance > 0) & ~stays)
    place = (np.minimum(u, w) * n + np.maximum(u, w))[settled]
    order = np.argsort(place, kind="stable")
    taken = np.zeros(len(edges), dtype=bool)
    taken[settled[order[1:]]] = np.diff(place[order]) == 0
    return edges[(distance == 0) | stays | taken]


def barabasi_albert(n: int, r: int, seed) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of every edge of a graph that starts as a star of r + 1 nodes; every further node brings r edges."""
    early = min(n, max(CLOCKS, 8 * r))
    random = np.random.default_rng(seed)
    sources, targets = _by_clocks(early, r, random)
    if early == n:
        return sources, targets
    later = _by_copies(n - early, r, np.concatenate([sources, targets]), early, random)
    return np.concatenate([sources, np.repeat(np.arange(early, n), r)]), np.concatenate([targets, later])


def _by_clocks(n, r, random):
    """The r first of exponential clocks with rates d_i: as many draws in proportion to d_i, repetitions ignored."""
    clocks = random.standard_exponential(n * (n - 1) // 2)
    degrees = np.ones(n)
    degrees[0] = r
    targets = np.zeros((n - r, r), dtype=np.int64)
    targets[0] = np.arange(1, r + 1)
    for row, t in enumerate(range(r + 1, n), start=1):
        rings = clocks[t * (t - 1) // 2 : t * (t + 1) // 2] / degrees[:t]
        targets[row] = np.argpartition(rings, r - 1)[:r]
        degrees[targets[row]] += 1
        degrees[t] = r
    sources = np.repeat(np.concatenate([[0], np.arange(r + 1, n)]), r)
    return sources, targets.ravel()


def _by_copies(count, r, ends, first, random):
    """Targets of the nodes first, first + 1, ...: a random one of all earlier ends of edges has the right distribution.

    It is the node that arrived with that edge, or a copy of that edge's target, which may be a copy in turn. A copy of
    what its node already has is drawn again.
    """
    steps = np.arange(count)[:, None]
    earlier = len(ends) + 2 * r * steps
    chosen = np.empty((count, r), dtype=np.int64)
    for k in range(r):
        chosen[:, k] = random.random(count) * earlier[:, 0]
    repeated = np.ones(1, dtype=bool)
    while repeated.any():
        targets = _resolve(chosen, ends, first, r)
        order = np.argsort(targets, axis=1, kind="stable")
        ranked = np.take_along_axis(targets, order, 1)
        repeated = np.zeros_like(targets, dtype=bool)
        np.put_along_axis(repeated, order[:, 1:], ranked[:, 1:] == ranked[:, :-1], 1)
        chosen[repeated] = (random.random(repeated.sum()) * np.broadcast_to(earlier, repeated.shape)[repeated])
    return targets.ravel()


def _resolve(chosen, ends, first, r):
    """Nodes that the chosen ends belong to; a copy is followed to what it is a copy of."""
    late = chosen >= len(ends)
    step, place = np.divmod(chosen - len(ends), 2 * r)
    nodes = np.where(late, first + step, ends[np.where(late, 0, chosen)]).ravel()
    original = (step * r + place).ravel()
    copies = np.flatnonzero((late & (place < r)).ravel())
    copied = np.zeros(nodes.size, dtype=bool)
    copied[copies] = True
    while len(copies):
        done = ~copied[original[copies]]
        ready = copies[done]
        nodes[ready] = nodes[original[ready]]
        copied[ready] = False
        copies = copies[~done]
    return nodes.reshape(chosen.shape)


# Models, as families of graphs like a given one


class Family(NamedTuple):
    """Graphs of one model with as many nodes as a given graph."""

    draw: Callable[[float, int], tuple[np.ndarray, np.ndarray]]  # edges from parameter and seed
    grid: list[float]  # parameters to start from, ascending
    limits: tuple[float, float]
    whole: bool  # parameters are integers
    matched: tuple[float, float] | None  # the parameter that the number of edges tells, if it does, and its error
    details: dict[str, Any]


def _erdos_renyi(n, edges) -> Family:
    pairs = n * (n - 1) / 2
    share, limits = edges / pairs, (0.1 / pairs, 1.0)
    grid = np.clip(share * 2.0 ** np.arange(-3, 4), *limits)
    return Family(lambda p, seed: erdos_renyi(n, p, seed), np.unique(grid).tolist(), limits, False,
                  (share, float(np.sqrt(share * (1 - share) / pairs))), {})


def _watts_strogatz(n, edges) -> Family:
    neighbours = max(2 * round(edges / n), 2)
    grid = [0.0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0]
    return Family(lambda p, seed: watts_strogatz(n, p, seed, neighbours), grid, (0.0, 1.0), False,
                  None, {"neighbours": neighbours})


def _barabasi_albert(n, edges) -> Family:
    likely = (n - np.sqrt(max(n * n - 4 * edges, 0.0))) / 2  # has r (n - r) edges
    dense = [n - likely] if n <= CLOCKS else []  # has as many edges too
    grid = np.clip(np.round([*(likely * 1.6 ** np.arange(-3, 4)), *dense]), 1, n - 1)
    return Family(lambda r, seed: barabasi_albert(n, int(r), seed), np.unique(grid).tolist(), (1, n - 1), True,
                  (int(np.clip(round(likely), 1, n - 1)), 0.0), {})


MODELS = {"er": _erdos_renyi, "ws": _watts_strogatz, "ba": _barabasi_albert}
