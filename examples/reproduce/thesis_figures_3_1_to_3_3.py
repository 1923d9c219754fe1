"""Thesis, Figures 3.1 to 3.3: entropic spectra of random graphs against what they should be.

    python examples/reproduce/thesis_figures_3_1_to_3_3.py [--full] [--json figures-3-1-to-3-3.json] [--folder .]

3.1: an Erdos-Renyi graph (n = 5000, p = 0.001) and its entropic spectrum of 3 to 100 moments. 3.2: the semicircle, from
its analytic moments. 3.3: a Barabasi-Albert graph (n = 5000), 30 and 100 moments. --full takes the printed order; the
default is n = 2000 with the same mean degree.

The thesis does not print numbers; the claims are measured here by distances that need no histogram: of distribution
functions, and relative entropy from the semicircle. With moments that probes estimate the first soon stops at the
probes' noise, so it is also taken with the exact ones. It does not say how many edges a new node of the Barabasi-Albert
graph has; here 4.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
from _report import save, table
from numpy.polynomial.chebyshev import chebvander

import spectra
from spectra import graphs

PAPER = {"n": 5000, "p": 0.001, "Erdos-Renyi moments": (3, 30, 60, 100), "semicircle moments": (5, 30),
         "Barabasi-Albert moments, bins": ((30, 50), (100, 500)), "bins": 500}
SEMICIRCLE = range(1, 41)


def run(n=2000, seed=0, probes=100):
    """The exact eigenvalues of both graphs, densities by number of moments, and how far these are from the truth."""
    G = nx.fast_gnp_random_graph(n, 5 / n, seed=seed)
    H = nx.barabasi_albert_graph(n, 4, seed=seed)
    found = {"n": n}
    for name, graph, orders in (("Erdos-Renyi", G, PAPER["Erdos-Renyi moments"]),
                                ("Barabasi-Albert", H, [m for m, _ in PAPER["Barabasi-Albert moments, bins"]])):
        values = np.linalg.eigvalsh(graphs.normalized_laplacian(graph).toarray())
        densities = {m: graphs.egs(graph, moments=m, probes=probes, rng=seed) for m in orders}
        noiseless = {m: spectra.maxent(chebvander(values - 1, m).mean(0), (0, 2)) for m in orders}
        found[name] = {"eigenvalues": values, "densities": densities}
        for label, rhos in (("estimated", densities), ("exact", noiseless)):
            found[name][label] = {"distance": {m: wasserstein(rho, values) for m, rho in rhos.items()},
                                  "outside": {m: outside(rho, values) for m, rho in rhos.items()}}
    fits = {m: semicircle_fit(m) for m in SEMICIRCLE}
    found["semicircle"] = {"densities": fits, "divergence": {m: from_semicircle(rho) for m, rho in fits.items()}}
    return found


def wasserstein(rho, values):
    """Area between the two distribution functions."""
    x = np.linspace(0, 2, 4001)
    return float(np.trapezoid(np.abs(rho.cdf(x) - np.searchsorted(values, x, side="right") / len(values)), x))


def outside(rho, values):
    """Mass that the density puts where no eigenvalue is: beyond the largest, or between 0 and the smallest positive."""
    smallest, largest = values[values > 1e-9].min(), values.max()
    return float(1 - rho.cdf(largest) + rho.cdf(smallest) - np.mean(values <= 1e-9))


def semicircle_fit(m):
    """On [0, 1], centre 1/2, radius 1/2: the average of T_2 is -1/2, of all others 0, for sin² has two harmonics."""
    moments = np.zeros(m + 1)
    moments[0] = 1
    moments[2:3] = -0.5
    return spectra.maxent(moments, (0, 1))


def semicircle(x):
    return 8 / np.pi * np.sqrt(np.maximum(x * (1 - x), 0))


def from_semicircle(rho):
    """KL of the semicircle to the density, from logarithms."""
    angle = (np.arange(20_000) + 0.5) * np.pi / 20_000
    x, weights = (1 - np.cos(angle)) / 2, np.sin(angle) / 2 * np.pi / 20_000
    p = semicircle(x)
    return float(weights @ (p * (np.log(p) - rho.log_pdf(x))))


def claims(found):
    """Each claim of the three figures with whether this run bears it out."""
    er, ba, semi = found["Erdos-Renyi"], found["Barabasi-Albert"], found["semicircle"]["divergence"]
    return {
        "3.1: 3 moments fail to capture the bounded support: mass outside is 5 times that of 30":
            er["estimated"]["outside"][3] > 5 * er["estimated"]["outside"][30],
        "3.1: more exact moments always improve the fit": falls(er["exact"]["distance"]),
        "3.1: more moments of 100 probes always improve the fit": falls(er["estimated"]["distance"]),
        "3.1: more exact moments always improve the support": falls(er["exact"]["outside"]),
        "3.2: the divergence falls with every second moment": all(semi[m + 2] < semi[m] for m in list(semi)[:-2]),
        "3.2: 5 moments are right in the middle (to 10 %), 30 at the ends too":
            bool(middle_error(found["semicircle"]["densities"][5]) < 0.1 and semi[30] < semi[5] / 5),
        "3.3: 100 exact moments fit better than 30": falls(ba["exact"]["distance"]),
    }


def falls(by_moments):
    return all(b < a for a, b in pairwise(by_moments.values()))


def middle_error(rho):
    x = np.linspace(0.3, 0.7, 101)
    return float(np.max(np.abs(rho.pdf(x) / semicircle(x) - 1)))


def to_json(found):
    """What is kept: numbers, not densities."""
    kept = {name: {label: found[name][label] for label in ("estimated", "exact")}
            for name in ("Erdos-Renyi", "Barabasi-Albert")}
    return {"n": found["n"], **kept, "semicircle": {"divergence": found["semicircle"]["divergence"]}}


def picture_3_1(found, path):
    import matplotlib.pyplot as plt

    er = found["Erdos-Renyi"]
    figure, axes = plt.subplots(2, 2, figsize=(10, 6.5), sharex=True, sharey=True, layout="constrained")
    for ax, (m, rho) in zip(axes.flat, er["densities"].items(), strict=True):
        draw(ax, er["eigenvalues"], rho, 200, f"{m} moments; area between the distribution functions "
                                              f"{er['estimated']['distance'][m]:.4f}")
    axes[0, 0].legend(frameon=False)
    figure.suptitle(f"Erdős-Rényi graph, n = {found['n']}, mean degree 5: entropic spectrum and all eigenvalues")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw(ax, values, rho, bins, title):
    spectra.plot.histogram(values, ax, bins=np.linspace(0, 2, bins + 1), label="eigenvalues")
    x = np.linspace(0, 2, 8001)
    ax.plot(x, rho.pdf(x), linewidth=1.3, label="entropic spectrum")
    ax.set(ylim=(0, 1.3 * np.histogram(values, np.linspace(0.05, 1.95, bins), density=True)[0].max()))
    ax.set_title(title, fontsize=9)


def picture_3_2(found, path):
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    x = np.linspace(0, 1, 1001)
    left.plot(x, semicircle(x), color="0.3", linestyle="--", label="semicircle", zorder=3)
    for m in PAPER["semicircle moments"]:
        left.plot(x, found["semicircle"]["densities"][m].pdf(x), linewidth=1.3, label=f"{m} moments")
    left.set(xlabel="eigenvalue", ylabel="density", title="Semicircle and entropic spectra")
    left.legend(frameon=False)
    semi = found["semicircle"]["divergence"]
    right.semilogy(list(semi), list(semi.values()), marker=".")
    right.set(xlabel="moments", ylabel="nats", title="Relative entropy of the semicircle to the fit")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def picture_3_3(found, path):
    import matplotlib.pyplot as plt

    ba = found["Barabasi-Albert"]
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for ax, (m, bins) in zip(axes, PAPER["Barabasi-Albert moments, bins"], strict=True):
        draw(ax, ba["eigenvalues"], ba["densities"][m], bins, f"{m} moments, {bins} bins")
    axes[0].legend(frameon=False)
    figure.suptitle(f"Barabási-Albert graph, n = {found['n']}, 4 edges a node: entropic spectrum and all eigenvalues")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def show(found):
    columns = [(label, what) for what in ("distance", "outside") for label in ("estimated", "exact")]
    rows = [[name, m, *(found[name][label][what][m] for label, what in columns)]
            for name in ("Erdos-Renyi", "Barabasi-Albert") for m in found[name]["densities"]]
    print(table(["graph", "moments", "area between distribution functions", "with exact moments",
                 "mass where no eigenvalue is", "with exact moments"], rows))
    semi = found["semicircle"]["divergence"]
    print("\nsemicircle, KL by moments: " + ", ".join(f"{m}: {semi[m]:.2g}" for m in (1, 3, 5, 10, 20, 30, 40)) + "\n")
    print("\n".join(f"{'yes' if true else 'NO'}: {claim}" for claim, true in claims(found).items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="n = 5000, as printed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path("figures-3-1-to-3-3.json"))
    parser.add_argument("--folder", type=Path, default=Path(), help="for the pictures")
    options = parser.parse_args()
    found = run(PAPER["n"] if options.full else 2000, options.seed)
    save(options.json, {"paper": PAPER, "found": to_json(found), "claims": claims(found)})
    for name, picture in (("3-1", picture_3_1), ("3-2", picture_3_2), ("3-3", picture_3_3)):
        picture(found, options.folder / f"thesis-figure-{name}.png")
    show(found)


if __name__ == "__main__":
    main()
