"""Numbers of clusters against the exact spectrum, at size, on real graphs, and beside what else one would use.

    python benchmarks/clusters.py families [--seeds 10] [--first 1000]     rule for the gap on sixteen random families
    python benchmarks/clusters.py large                                    two networks of 305 and 1,355 communities
    python benchmarks/clusters.py real                                     graphs with known groups, and without a gap
    python benchmarks/clusters.py peers                                    eigengap by eigsh, Louvain, Leiden

Each part writes docs/measured/clusters-<part>.json as it goes. Times are of one run, by the clock and of all
processors together, which is what to compare where other work runs beside; peak memory is that of a process that does
nothing else, the graph included.
"""

import argparse
import json
import platform
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from datetime import date
from pathlib import Path

import networkx
import numpy as np
import scipy
from _families import FAMILIES, communities, dense_blocks

import spectra
from spectra import datasets, graphs

MEASURED = Path(__file__).parents[1] / "docs" / "measured"
PLAIN = 0.1  # a gap of this length is there for everyone to see
LAST = 0.5  # gaps begin at or below this eigenvalue
PATIENCE = 120  # CPU seconds for one answer of a peer
ALIKE = 0.8  # gaps whose lengths differ by less than this factor are as good as each other


def save(part, document):
    versions = {"spectra": spectra.__version__, "numpy": np.__version__, "scipy": scipy.__version__,
                "networkx": networkx.__version__, "python": platform.python_version(),
                "date": date.today().isoformat()}
    draft = MEASURED / f"clusters-{part}.part"
    draft.write_text(json.dumps({"versions": versions} | document, indent=1) + "\n")
    draft.replace(draft.with_suffix(".json"))


def stored(part):
    path = MEASURED / f"clusters-{part}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def counted(G, **options):
    """The estimate without its warnings, as plain numbers, and the seconds it took."""
    start, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spectra.ConvergenceWarning)
        count = graphs.egs_cluster_count(G, **options)
    return {"value": round(count.value, 3), "stderr": round(count.stderr, 3), "gap": count.gap, "cutoff": count.cutoff,
            "others": list(count.others), "components": count.components, "certificate": count.certificate,
            "seconds": round(time.perf_counter() - start, 2), "CPU seconds": round(time.process_time() - cpu, 2)}


# The rule for the gap


SETTINGS = {
    "auto": {},
    "60 moments, 8 probes": {"moments": 60, "probes": 8},
    "egs": {"method": "egs"},
    "lanczos": {"method": "lanczos"},
}


def families(options):
    rows = stored("families").get("runs", []) if options.resume else []
    done = {(row["family"], row["seed"]) for row in rows}
    for name, family in FAMILIES.items():
        for seed in range(options.first, options.first + options.seeds):
            if (name, seed) in done:
                continue
            G, planted = family(np.random.default_rng([seed, *name.encode()]))
            values = np.linalg.eigvalsh(graphs.normalized_laplacian(G).toarray())
            answers = {setting: counted(G, rng=seed, **o) for setting, o in SETTINGS.items()}
            for answer in answers.values():
                answer["verdict"] = verdict(answer, values)
            rows.append({"family": name, "seed": seed, "n": len(values), "planted": planted,
                         "gaps": widest(values, answers["auto"]["components"])} | answers)
            save("families", {"tally": tally(rows), "runs": rows})
    show_families(rows)


def gaps_of(values, components):
    """Counts below every gap that begins at 1/2 or before, and their lengths."""
    counts = np.flatnonzero(values <= LAST) + 1
    counts = counts[(counts >= components) & (counts < len(values))]
    return counts, values[counts] - values[counts - 1]


def widest(values, components, most=3):
    counts, widths = gaps_of(values, components)
    first = np.argsort(-widths)[:most]
    return [[int(k), round(float(w), 4)] for k, w in zip(counts[first], widths[first], strict=True)]


def verdict(answer, values):
    """What the exact spectrum says of an answer: the count below its cut-off must be that below the widest gap."""
    counts, widths = gaps_of(values, answer["components"])
    if not answer["gap"]:
        return "right" if widths.max() < PLAIN else "timid"
    below = np.count_nonzero(values <= answer["cutoff"])
    length = widths[counts == below].sum()
    if answer["certificate"] and answer["value"] != below:
        return "wrong"
    return "right" if length == widths.max() else "right among equals" if length >= ALIKE * widths.max() else "wrong"


def tally(rows):
    total = {setting: dict(Counter(row[setting]["verdict"] for row in rows)) for setting in SETTINGS}
    planted = [row for row in rows if row["planted"] is not None]
    known = sum(row["auto"]["value"] in np.atleast_1d(row["planted"]) for row in planted)
    return total | {"graphs": len(rows), "planted number found": [known, len(planted)]}


def show_families(rows):
    for name in FAMILIES:
        mine = [row for row in rows if row["family"] == name]
        print(f"{name:22s}", {s: dict(Counter(row[s]["verdict"] for row in mine)) for s in SETTINGS})
    print(tally(rows))


# Large networks


LARGE = {"201,600 nodes": (201_600, 305, 500, 1000), "404,420 nodes": (404_420, 1355, 200, 400)}


def network(n, clusters, least, most, seed=0):
    """Communities of `least` to `most` nodes that add up to n, by turns ER, WS and BA, one edge from each to others."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(least, 2 * n // clusters - least + 1, clusters)
    while sizes.sum() != n:
        i = rng.integers(clusters)
        sizes[i] = np.clip(sizes[i] + np.clip(n - sizes.sum(), -20, 20), least, most)
    return communities(rng, sizes, 24, 1.0)


def large(options):
    rows = {}
    for name in LARGE:
        rows[name] = {m: alone("large", name, m) for m in ("certified", "egs", "lanczos")}
        save("large", {"networks": rows})
        print(name, json.dumps(rows[name], indent=1))


def alone(*task):
    """The answer of a task in a process of its own, with its peak memory."""
    command = [sys.executable, __file__, "--task", *task]
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=4 * PATIENCE)
    except subprocess.TimeoutExpired:
        return {"answer": None, "why": f"not done in {4 * PATIENCE} s"}
    if out.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return {"answer": None, "why": f"not done in {PATIENCE} CPU seconds"}
    if out.returncode:
        raise RuntimeError(f"{task} failed:\n{out.stderr}")
    return json.loads(out.stdout.splitlines()[-1])


def one_large(name, method):
    G = network(*LARGE[name])
    answer = counted(G, method=method, rng=0)
    return answer | {"edges": len(G)}


# Real graphs


GROUPS = {"karate": 2, "dolphins": 2, "polbooks": 3, "football": 12, "email-Eu-core": 42}
WITHOUT = ("ca-GrQc", "ca-HepTh", "netscience", "web-NotreDame")


def real(options):
    rows = {}
    for name in (*GROUPS, *WITHOUT):
        G = datasets.load(name, symmetrize=True, weighted=False)
        row = counted(G, rng=0) | {"n": G.shape[0]}
        if name in GROUPS:
            values = np.linalg.eigvalsh(graphs.normalized_laplacian(G).toarray())
            row |= {"groups": GROUPS[name], "eigenvalues": np.abs(np.round(values[:24], 4)).tolist(),
                    "gaps": widest(values, row["components"])} | agreement(G, name, GROUPS[name], row)
        rows[name] = row
        save("real", {"graphs": rows, "planted": planted_agreement()})
        print(name, {k: v for k, v in row.items() if k != "eigenvalues"})
    print(planted_agreement())


def agreement(G, name, groups, row):
    """Adjusted Rand index of the partition with the known groups, for the counted and for the known number."""
    from sklearn.metrics import adjusted_rand_score

    truth, scores = datasets.labels(name), {}
    for label, k in (("rand index, counted", int(row["value"])), ("rand index, known", groups)):
        if k >= row["components"]:
            scores[label] = round(adjusted_rand_score(truth, graphs.cluster_labels(G, k, rng=0)), 3)
    return scores


def planted_agreement():
    from sklearn.metrics import adjusted_rand_score

    scores = {}
    for clusters in (9, 30, 90):
        for joins in (1, 10):
            G, truth = dense_blocks(np.random.default_rng(0), clusters, joins)
            scores[f"{clusters} blocks, {joins} joins"] = round(
                adjusted_rand_score(truth, graphs.cluster_labels(G, rng=0)), 4)
    for mixing in (0.01, 0.05, 0.1):
        G = networkx.planted_partition_graph(10, 120, 0.15, 0.15 * mixing, seed=1)
        scores[f"planted partition, p_out / p_in = {mixing}"] = round(
            adjusted_rand_score(np.arange(1200) // 120, graphs.cluster_labels(G, 10, rng=0)), 4)
    return scores


# What one would use instead


PEERS = ("spectra", "eigengap", "louvain", "leiden")


def graph_of(name):
    if name in FAMILIES:
        return FAMILIES[name](np.random.default_rng([1000, *name.encode()]))
    if name in LARGE:
        return network(*LARGE[name]), LARGE[name][1]
    if " blocks" in name:
        clusters, joins = (int(x) for x in name.split() if x.isdigit())
        return dense_blocks(np.random.default_rng(0), clusters, joins)[0], clusters
    return datasets.load(name, symmetrize=True, weighted=False), GROUPS.get(name)


def known_number(name):
    known = graph_of(name)[1]
    return None if known is None else np.atleast_1d(known).tolist()


COMPARED = ("karate", "football", "polbooks", "email-Eu-core", "30 blocks, 1 joins", "lfr", "nested",
            "power law sizes", "one group", "ca-GrQc", "ca-HepTh", "240 blocks, 1 joins", "240 blocks, 10 joins",
            "201,600 nodes")


def peers(options):
    rows = {}
    for name in COMPARED:
        rows[name] = {"known": known_number(name)}
        for peer in PEERS:
            try:
                rows[name][peer] = alone("peers", name, peer)
            except RuntimeError as error:
                rows[name][peer] = {"answer": None, "why": str(error).splitlines()[-1][:120]}
            save("peers", {"graphs": rows})
        print(name, rows[name], flush=True)


def one_peer(name, peer):
    G, planted = graph_of(name)
    W = graphs.adjacency(G)
    del G
    ready = {"louvain": networkx.from_scipy_sparse_array, "leiden": igraph_of}.get(peer, graphs.adjacency)(W)
    base, start, cpu = peak(), time.perf_counter(), time.process_time()
    answer = {"spectra": by_spectra, "eigengap": by_eigengap, "louvain": by_louvain, "leiden": by_leiden}[peer](
        ready, planted)
    return answer | {"seconds": round(time.perf_counter() - start, 3),
                     "CPU seconds": round(time.process_time() - cpu, 3), "extra MiB": round((peak() - base) / 1024)}


def by_spectra(W, planted):
    answer = counted(W, rng=0)
    return {"answer": answer["value"], "gap": answer["gap"], "others": answer["others"]}


def by_eigengap(W, planted):
    """Widest gap among the lowest eigenvalues of L; one must know beforehand how many will do: here twice the truth."""
    from scipy.sparse.linalg import eigsh

    L = graphs.normalized_laplacian(W)
    most = 2 * int(np.max(planted)) if planted is not None else 100
    k = min(max(most, 20), L.shape[0] - 2)
    # the other end of 2 I - L: the lowest of L directly are what ARPACK converges to most slowly
    values = np.sort(2 - eigsh(2 * scipy.sparse.eye_array(L.shape[0]) - L, k, which="LA", return_eigenvectors=False,
                               v0=np.random.default_rng(0).standard_normal(L.shape[0])))
    starts = values[:-1] <= LAST
    return {"answer": int(np.diff(values)[starts].argmax()) + 1, "eigenvalues": k}


def by_louvain(G, planted):
    return {"answer": len(networkx.community.louvain_communities(G, seed=0))}


def igraph_of(W):
    import igraph

    upper = scipy.sparse.triu(W, 1).tocoo()
    return igraph.Graph(W.shape[0], np.column_stack([upper.row, upper.col]).tolist())


def by_leiden(G, planted):
    return {"answer": len(G.community_leiden(objective_function="modularity", n_iterations=-1))}


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB


TASKS = {"large": one_large, "peers": one_peer}
PARTS = {"families": families, "large": large, "real": real, "peers": peers}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=PARTS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1000, help="first seed of the families")
    parser.add_argument("--resume", action="store_true", help="go on with the families where a run was cut off")
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        kind, *arguments = options.task
        if kind == "peers":
            resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, PATIENCE + 5))
        answer = TASKS[kind](*arguments)
        print(json.dumps(answer | {"peak GiB": round(peak() / 2**20, 2)}))
    elif options.part:
        PARTS[options.part](options)
    else:
        parser.error(f"name a part: {', '.join(PARTS)}")


if __name__ == "__main__":
    main()
