"""Thesis, Figure 3.4: symmetric relative entropies between the spectra of graphs, in blocks of kinds of graphs.

    python examples/reproduce/thesis_figure_3_4.py [--full] [--json figure-3-4.json] [--folder .]

Two runs. The first is from the moments that the authors published with their code: 100 Chebyshev moments of 13 graphs,
the 11 of the figure, web-Stanford and YouTube. These are moments of L/2, whose spectrum lies in [0, 1], in polynomials
of the whole interval [-1, 1]; so the density is sought on [-2, 2] with a prior that rules out the negative half. They
resolve the end at 0, where the interesting eigenvalues are, like the middle of an interval, a hundred times less well.
The second run is from graphs at hand, of the same kinds as far as there are any (no biological ones), at three ridges.

Without --full the second run takes the graphs up to 30,000 nodes. Data are downloaded, or read from the folder that
SPECTRA_DATA names; the published moments are only read from there.
"""

import argparse
import os
import warnings
from pathlib import Path

import numpy as np
from _report import save, table

import spectra
from spectra import datasets, graphs
from spectra.graphs._egs import Spectrum

PAPER = {"moments": 100, "blocks": ("biological", "citation", "road"),
         "human genes": "nearer to each other than to mouse genes"}
PUBLISHED = {"biological": ("bio-human-gene1", "bio-human-gene2", "bio-mouse-gene"),
             "collaboration": ("ca-AstroPh", "ca-CondMat", "ca-GrQc", "ca-HepPh", "ca-HepTh"),
             "road": ("roadNet-CA", "roadNet-PA", "roadNet-TX")}
OTHERS = ("web-Stanford", "youtube")
FAMILIES = {"collaboration": ("ca-AstroPh", "ca-CondMat", "ca-GrQc", "ca-HepPh", "ca-HepTh"),
            "road, power": ("luxembourg_osm", "power"),
            "planar": ("delaunay_n16",),
            "social": ("ego-Facebook", "ego-Twitter", "email-Eu-core"),
            "web, internet": ("web-NotreDame", "as-22july06")}
RIDGES = (1e-8, 1e-6, 1e-4)
SMALL = 30_000  # nodes
DIRECTED = ("email-Eu-core", "web-NotreDame")


def positive(x):
    """A prior that leaves nothing below 0, and is smooth enough for a series of Chebyshev polynomials."""
    return np.exp(-40 * (1 - np.tanh((x + 0.05) / 0.03)))


def published(path, ridge, kinds=("symmetric-kl", "js", "moments")):
    """Matrices of divergences by kind, from the published moments."""
    with np.load(path) as file:
        names = [name for family in PUBLISHED.values() for name in family] + list(OTHERS)
        densities = [spectra.maxent(file[name] / file[name][0], (-2, 2), prior=positive, ridge=ridge) for name in names]
    return names, {kind: graphs.similarity_matrix(densities, kind=kind) for kind in kinds}


def moments_at_hand(largest=None, order=100, probes=16, seed=0):
    """Estimated moments of the graphs at hand, those up to `largest` nodes."""
    found = {}
    for family in FAMILIES.values():
        for name in family:
            try:
                W = datasets.load(name, symmetrize=name in DIRECTED, weighted=False)
            except OSError as error:
                print(f"{name} is left out: {error}")
                continue
            if largest is None or W.shape[0] <= largest:
                found[name] = Spectrum(W, order, probes, seed).moments
    return found


def at_hand(moments, ridge, kinds=("symmetric-kl", "js", "moments")):
    """Matrices of divergences by kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spectra.ConvergenceWarning)
        densities = [spectra.maxent(estimate, ridge=ridge) for estimate in moments.values()]
    return list(moments), {kind: graphs.similarity_matrix(densities, kind=kind) for kind in kinds}


def within_and_between(names, D, families):
    """For every family with two graphs or more: the largest divergence within it, and the least to a graph outside."""
    found = {}
    for family, members in families.items():
        inside = np.array([name in members for name in names])
        if inside.sum() > 1 and not inside.all():
            found[family] = (float(D[np.ix_(inside, inside)].max()), float(D[np.ix_(inside, ~inside)].min()))
    return found


def nearest(names, D):
    """The nearest other graph of each."""
    return {name: names[int(np.argsort(np.where(np.arange(len(names)) == i, np.inf, D[i]))[0])]
            for i, name in enumerate(names)}


def family_of(name):
    return next((family for family, members in FAMILIES.items() if name in members), name)


def claims_published(names, D, ridge):
    eleven = [i for i, name in enumerate(names) if name not in OTHERS]
    blocks = within_and_between([names[i] for i in eleven], D[np.ix_(eleven, eleven)], PUBLISHED)
    human1, human2, mouse = (names.index(name) for name in PUBLISHED["biological"])
    return {
        f"ridge {ridge:g}: every divergence within a block is smaller than every one that leaves it":
            all(inside < outside for inside, outside in blocks.values()),
        f"ridge {ridge:g}: human genes are nearer to each other than to mouse genes":
            bool(D[human1, human2] < min(D[human1, mouse], D[human2, mouse])),
    }


def claims_at_hand(names, D, label):
    near = nearest(names, D)
    siblings = [name for name in names if sum(other in names for other in FAMILIES[family_of(name)]) > 1]
    return {f"{label}: the nearest graph is of the same family, "
            f"{sum(family_of(near[name]) == family_of(name) for name in siblings)} of {len(siblings)}":
            all(family_of(near[name]) == family_of(name) for name in siblings)}


def picture(found, path):
    """A heat map for each matrix."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(7.2 * len(found), 6.6), layout="constrained", squeeze=False)
    for ax, (title, (names, D)) in zip(axes[0], found.items(), strict=True):
        spectra.plot.heatmap(D, names, ax)
        ax.set_title(title, fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def show(blocks, claimed):
    print(table(["run", "family", "largest within", "least to others"],
                [[run, family, *pair] for run, found in blocks.items() for family, pair in found.items()]))
    print("\n" + "\n".join(f"{'yes' if true else 'NO'}: {claim}" for claim, true in claimed.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="large graphs too")
    parser.add_argument("--json", type=Path, default=Path("figure-3-4.json"))
    parser.add_argument("--folder", type=Path, default=Path(), help="for the pictures")
    options = parser.parse_args()
    document, claimed, blocks = {"paper": PAPER, "published": {}, "at hand": {}}, {}, {}
    file = Path(os.environ.get("SPECTRA_DATA", "")) / "reference" / "granziol_chebyshev_moments.npz"
    for ridge in RIDGES if file.is_file() else ():
        names, D = published(file, ridge)
        claimed |= claims_published(names, D["symmetric-kl"], ridge)
        blocks[f"published moments, ridge {ridge:g}"] = within_and_between(names, D["symmetric-kl"], PUBLISHED)
        document["published"][ridge] = {"names": names} | {kind: values.tolist() for kind, values in D.items()}
        if ridge == RIDGES[0]:
            picture({"Published moments: symmetric relative entropy, 100 moments, ridge 1e-8":
                     (names, D["symmetric-kl"])}, options.folder / "thesis-figure-3-4.png")
    moments = moments_at_hand(None if options.full else SMALL)
    for ridge in RIDGES:
        names, D = at_hand(moments, ridge)
        for kind, values in D.items():
            claimed |= claims_at_hand(names, values, f"{kind}, ridge {ridge:g}")
        blocks[f"graphs at hand, ridge {ridge:g}"] = within_and_between(names, D["symmetric-kl"], FAMILIES)
        document["at hand"][ridge] = {"names": names} | {kind: values.tolist() for kind, values in D.items()}
    picture({"Symmetric relative entropy, 100 moments, ridge 1e-4": (names, D["symmetric-kl"]),
             "Distance of 100 Chebyshev moments": (names, D["moments"])}, options.folder / "graphs-similarity.png")
    save(options.json, document | {"within and between": blocks, "claims": claimed})
    show(blocks, claimed)


if __name__ == "__main__":
    main()
