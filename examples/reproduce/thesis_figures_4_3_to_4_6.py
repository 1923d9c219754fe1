"""Thesis, Figures 4.3 to 4.6: what 30 Lanczos steps from one random vector show of matrices whose spectrum is known.

    python examples/reproduce/thesis_figures_4_3_to_4_6.py [--full] [--json FILE] [--picture FOLDER]

4.3: Wigner matrices. 4.5 and 4.4 (a, b): X X' / T with T = 2 P and T = P / 2; the caption of 4.4 calls the latter
q = 0.5, but P / T is 2, and half of the eigenvalues are 0. 4.4 (c, d): the diagonal instead, order 500. 4.6: a spectrum
like that of a network, order 1000. --full takes the printed order 10,000 for the large matrices, otherwise 2,000.

The stems of an infinite matrix are known. The semicircle law has the Jacobi matrix with 0 on and sqrt(P) beside the
diagonal, Marchenko and Pastur's law 1, 1 + q, 1 + q, ... on and sqrt(q) beside it, so its 30-point Gauss rule takes no
random number. How far the stems of one vector are from it falls as 1 / sqrt(P), which is what the thesis calls
smoothness in high dimension. No eigenvalue of a large matrix is computed.
"""

import argparse
from pathlib import Path

import numpy as np
from _report import claim, save, table
from scipy.linalg import eigh_tridiagonal

import spectra
from spectra import rmt

PAPER = {"orders": (225, 10_000), "steps": 30, "diagonal of 4.6": (3.3, 5.3)}
STEPS = 30


def wigner(n, rng):
    """A symmetric matrix of unit variance, in single precision where it is large."""
    G = rng.standard_normal((n, n), dtype=np.float32 if n > 1000 else np.float64)
    H = np.triu(G)
    H += np.triu(G, 1).T
    return H


class Gram(spectra.LinearOperator):
    """X X' / T, known by its products."""

    hermitian = psd = True

    def __init__(self, X):
        super().__init__(shape=(len(X), len(X)), dtype=X.dtype)
        self.X = X

    def _matmat(self, V):
        return self.X @ (self.X.T @ V) / self.X.dtype.type(self.X.shape[1])


def gram(n, samples, rng):
    return Gram(rng.standard_normal((n, samples), dtype=np.float32 if n > 1000 else np.float64))


def jacobi(law, q=None, m=STEPS):
    """Gauss rule of the law: nodes in units of the entries' variance (Wigner: of sqrt(P)), and weights."""
    diagonal = np.zeros(m) if law == "wigner" else np.array([1.0] + [1 + q] * (m - 1))
    beside = np.full(m - 1, 1.0 if law == "wigner" else np.sqrt(q))
    nodes, vectors = eigh_tridiagonal(diagonal, beside)
    return nodes, vectors[0] ** 2


def stems(A, scale, rng, m=STEPS, v=None):
    """Nodes over `scale` and weights of one random vector, and the Lanczos coefficients over `scale`."""
    if v is None:
        v = (2.0 * rng.integers(0, 2, A.shape[0]) - 1).astype(A.dtype)
    alpha, beta, _ = spectra.lanczos(A, v, m)
    nodes, vectors = eigh_tridiagonal(alpha[0] / scale, beta[0] / scale)
    return {"nodes": nodes, "weights": vectors[0] ** 2, "alpha": alpha[0] / scale, "beta": beta[0] / scale}


def run(large=2000, small=225, seed=0):
    """Stems of the three ensembles, at both orders, beside the rule of the law."""
    rng, found = np.random.default_rng(seed), {}
    for n in (small, large):
        for name, q, make in (("wigner", None, lambda n=n: wigner(n, rng)),
                              ("marchenko-pastur", 0.5, lambda n=n: gram(n, 2 * n, rng)),
                              ("half at zero", 2.0, lambda n=n: gram(n, n // 2, rng))):
            A = make()
            scale = np.sqrt(n) if q is None else 1.0
            one = stems(A, scale, rng) | {"n": n, "q": q}
            one |= deviation(one, *jacobi("wigner" if q is None else "mp", q))
            if n == small:
                dense = A if q is None else A.X @ A.X.T / A.X.shape[1]
                one["eigenvalues"] = np.linalg.eigvalsh(dense) / scale
            found[f"{name} {n}"] = one
    return found


def deviation(one, nodes, weights):
    """How far stems are from those of the law."""
    law = rmt.semicircle() if one["q"] is None else rmt.marchenko_pastur(one["q"])
    lo, hi = law.law.support
    bulk = nodes > 1e-6 if one["q"] == 2.0 else np.ones(len(nodes), bool)
    found = {"ends over the support": [float((one["nodes"][bulk][0] - lo) / (hi - lo)),
                                       float((one["nodes"][-1] - lo) / (hi - lo))],
             "ends of the law's rule": [float((nodes[bulk][0] - lo) / (hi - lo)), float((nodes[-1] - lo) / (hi - lo))],
             "largest shift of a node": float(np.abs(one["nodes"] - nodes).max() / (hi - lo)),
             "difference of the weights": float(np.abs(one["weights"] - weights).sum() / 2)}
    if one["q"] == 2.0:
        found["share at zero"] = float(one["weights"][np.abs(one["nodes"]) < 1e-3].sum())
    return found


def diagonals(n=500, seed=0):
    """Figure 4.4 (c, d): eigenvalues, stems and the diagonal, of both ensembles."""
    rng, found = np.random.default_rng(seed), {}
    for name, A in (("marchenko-pastur", gram(n, 2 * n, rng)), ("wigner", wigner(n, rng))):
        dense = A if name == "wigner" else A.X @ A.X.T / A.X.shape[1]
        one = stems(A, 1.0, rng)
        values, diagonal = np.linalg.eigvalsh(dense), np.diag(dense)
        found[name] = {"eigenvalues": values, "diagonal": diagonal, "nodes": one["nodes"], "weights": one["weights"],
                       "spread": [float(values.std()), spread(one["nodes"], one["weights"]), float(diagonal.std())],
                       "ends": [[float(values[0]), float(values[-1])], [float(one["nodes"][0]),
                                float(one["nodes"][-1])], [float(diagonal.min()), float(diagonal.max())]]}
    return found


def spread(nodes, weights):
    return float(np.sqrt(weights @ nodes**2 - (weights @ nodes) ** 2))


def synthetic(n=1000, seed=0, steps=(5, 15, 30)):
    """Figure 4.6: half of the eigenvalues 0, a bulk, outliers, some negative; stems of one vector by steps."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.uniform(0, 15, 47 * n // 100), rng.uniform(0, 60, n // 50),
                             rng.uniform(-10, 0, n // 100)])
    values = np.sort(np.concatenate([values, np.zeros(n - len(values))]))
    U = np.linalg.qr(rng.standard_normal((n, n)))[0]
    H = (U * values) @ U.T
    v = 2.0 * rng.integers(0, 2, n) - 1
    rules = {m: stems(H, 1.0, rng, m, v) for m in steps}
    return {"eigenvalues": values, "diagonal": np.diag(H).copy(), "share at zero": float(np.mean(values == 0)),
            "distance of the diagonal": wasserstein(np.diag(H), np.full(n, 1 / n), values),
            "steps": {m: {key: one[key] for key in ("nodes", "weights")} | seen(one, values)
                      for m, one in rules.items()}}


def seen(one, values):
    """What a rule shows of eigenvalues: the spike at 0, the ends (errors over the spread), and outliers above 15."""
    nodes, weights, outliers = one["nodes"], one["weights"], values[values > 15]
    nearest, length = int(np.argmin(np.abs(nodes))), values[-1] - values[0]
    return {"node nearest 0": float(nodes[nearest]), "its weight": float(weights[nearest]),
            "share within 1 of 0": float(weights[np.abs(nodes) < 1].sum()),
            "true share within 1 of 0": float(np.mean(np.abs(values) < 1)),
            "error of the lower end": float((nodes[0] - values[0]) / length),
            "error of the upper end": float((values[-1] - nodes[-1]) / length),
            "outliers found to 1 %": float(np.mean([np.abs(nodes - x).min() < 0.01 * x for x in outliers])),
            "distance": wasserstein(nodes, weights, values)}


def typical(n=1000, seeds=range(10)):
    """Medians of what is seen over matrices and vectors."""
    made = [synthetic(n, seed) for seed in seeds]
    keys = [key for key in made[0]["steps"][5] if key not in ("nodes", "weights")]
    found = {m: {key: float(np.median([one["steps"][m][key] for one in made])) for key in keys}
             for m in made[0]["steps"]}
    return {"seeds": len(made), "steps": found, "entries of the diagonal": [
        float(np.median([one["diagonal"].min() for one in made])),
        float(np.median([one["diagonal"].max() for one in made]))],
        "distance of the diagonal": float(np.median([one["distance of the diagonal"] for one in made]))}


def wasserstein(nodes, weights, values):
    """Area between the distribution functions of a rule and of eigenvalues, exactly."""
    order = np.argsort(nodes)
    x = np.sort(np.concatenate([nodes, values]))
    one = np.concatenate([[0], np.cumsum(weights[order])])[np.searchsorted(nodes[order], x[:-1], side="right")]
    other = np.searchsorted(values, x[:-1], side="right") / len(values)
    return float(np.abs(one - other) @ np.diff(x))


def claims(found, diagonal, medians, size):
    """What the thesis says of the figures, and whether it holds here."""
    orders = sorted({one["n"] for one in found.values()})
    small, large = ({name: found[f"{name} {n}"] for name in ("wigner", "marchenko-pastur", "half at zero")}
                    for n in orders)
    shrinks = float(np.sqrt(orders[1] / orders[0]))
    rows = [_shape(figure, name, small, large, shrinks, orders, size)
            for figure, name in (("thesis Figure 4.3", "wigner"), ("thesis Figure 4.5", "marchenko-pastur"))]
    zero = large["half at zero"]
    faithful = abs(zero["share at zero"] - 0.5) < 0.02 and zero["difference of the weights"] < 0.1
    rows.append(claim("thesis Figure 4.4", "X X'/T with T = P/2: the weight at 0, the bulk, its support",
                      "half of the eigenvalues are 0, and it is seen", f"{zero['share at zero']:.4f} at 0; the other "
                      f"weights differ from the law's by {zero['difference of the weights']:.3f} in all",
                      "a spike of high multiplicity is seen with its weight", size=size,
                      holds="yes" if faithful else "no"))
    mp, wig = diagonal["marchenko-pastur"]["spread"], diagonal["wigner"]["spread"]
    rows.append(claim("thesis Figure 4.4", "the diagonal for the spectrum, order 500",
                      "neither support nor shape; Lanczos nearly indistinguishable",
                      f"standard deviations (eigenvalues, Lanczos, diagonal): Marchenko-Pastur "
                      f"{mp[0]:.2f}, {mp[1]:.2f}, {mp[2]:.3f}; Wigner {wig[0]:.1f}, {wig[1]:.1f}, {wig[2]:.2f}",
                      "theory: sqrt(q), sqrt(2/T); sqrt(P), 1", size=size,
                      holds="yes" if mp[2] < 0.2 * mp[0] and wig[2] < 0.2 * wig[0] and abs(mp[1] / mp[0] - 1) < 0.1
                      and abs(wig[1] / wig[0] - 1) < 0.1 else "no"))
    return rows + _of_the_synthetic(medians, size)


def _shape(figure, name, small, large, shrinks, orders, size):
    a, b = ((one[name]["difference of the weights"], 100 * one[name]["largest shift of a node"])
            for one in (small, large))
    return claim(figure, f"30 stems of one vector, {name}, orders {orders[0]} and {orders[1]}",
                 "support and shape are captured, more smoothly in high dimension",
                 f"weights differ from the law's 30-point rule by {a[0]:.3f} and {b[0]:.3f} in all, nodes by "
                 f"{a[1]:.1f} % and {b[1]:.2f} % of the support",
                 f"the deviation falls by {a[0] / b[0]:.1f}; 1 / sqrt(P) says {shrinks:.1f}", size=size,
                 holds="yes" if b[0] < 0.1 and b[1] < 1 and 0.3 * shrinks < a[0] / b[0] < 3 * shrinks else "in part")


def _of_the_synthetic(s, size):
    few, many, diagonal = s["steps"][5], s["steps"][30], s["entries of the diagonal"]
    size = f"{size}; medians of {s['seeds']}"
    ends = [max(abs(one["error of the lower end"]), one["error of the upper end"]) for one in (few, many)]
    return [
        claim("thesis Figure 4.6", "5 steps", "learn the degeneracy at 0 and both ends, miss outliers between",
              f"nearest node {few['node nearest 0']:.2f} with weight {few['its weight']:.2f} "
              f"({few['true share within 1 of 0']:.2f} lie within 1); upper end off by "
              f"{100 * few['error of the upper end']:.0f} %, lower end by {100 * few['error of the lower end']:.0f} % "
              f"of the range; {100 * few['outliers found to 1 %']:.0f} % of the outliers",
              "the spike is seen, with some of the bulk; the lower end, ten eigenvalues, is not yet",
              holds="yes" if ends[0] < 0.02 else "in part", size=size),
        claim("thesis Figure 4.6", "30 steps", "even the bulk is accurately represented",
              f"distance of the distribution {many['distance']:.2f} (5 steps: {few['distance']:.2f}, the diagonal: "
              f"{s['distance of the diagonal']:.2f}); ends off by {100 * ends[1]:.1f} % of the range; "
              f"{100 * many['outliers found to 1 %']:.0f} % of the outliers to 1 %",
              "outliers one by one, the bulk by a few points", size=size,
              holds="yes" if many["distance"] < few["distance"] / 2 and ends[1] < 0.01 else "in part"),
        claim("thesis Figure 4.6", "the diagonal", "entries from 3.3 to 5.3: no outliers, wrong mass at 0",
              f"entries from {diagonal[0]:.1f} to {diagonal[1]:.1f}", "a rotated matrix has a flat diagonal", size=size,
              holds="yes" if diagonal[0] > 1 and diagonal[1] < 15 else "no"),
    ]


# Pictures


def picture_of_laws(found, path, names, title):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(names), figsize=(4.5 * len(names), 3.4), layout="constrained", squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        one = found[name]
        law = rmt.semicircle() if one["q"] is None else rmt.marchenko_pastur(one["q"])
        lo, hi = law.law.support
        x = np.linspace(lo, hi, 400)[1:-1]
        right = ax.twinx()
        if "eigenvalues" in one:
            right.hist(one["eigenvalues"], 40, density=True, color="0.6", alpha=0.4)
        right.plot(x, law.pdf(x), color="0.4", linewidth=1)
        right.set(ylabel="density", ylim=(0, None))
        spectra.plot.stem(spectra.SpectralDensity(one["nodes"], one["weights"], one["n"]), ax)
        ax.plot(*jacobi("wigner" if one["q"] is None else "mp", one["q"]), "o", color="0.3", markersize=5,
                markerfacecolor="none", label="30-point rule of the law")
        ax.set(title=f"{title}, P = {one['n']}", zorder=1, facecolor="none")
        if one["q"] is None:
            ax.set_xlabel("eigenvalue over sqrt(P)")
    axes[0, 0].legend(frameon=False, fontsize=7, loc="upper right")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def picture_4_4(found, diagonal, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.4), layout="constrained")
    one = found[max((name for name in found if "half" in name), key=lambda name: found[name]["n"])]
    spectra.plot.stem(spectra.SpectralDensity(one["nodes"], one["weights"], one["n"]), axes[0], log=True)
    axes[0].set_title(f"T = P/2, P = {one['n']}: half at 0")
    for ax, (name, d) in zip(axes[1:], diagonal.items(), strict=True):
        bins = np.linspace(d["eigenvalues"][0], d["eigenvalues"][-1], 60)
        for values, label in ((d["eigenvalues"], "eigenvalues"), (d["diagonal"], "diagonal")):
            ax.hist(values, bins, density=True, alpha=0.5, label=label)
        ax.plot(d["nodes"], d["weights"] / np.gradient(d["nodes"]), "k.-", linewidth=0.8, label="Lanczos, 30 steps")
        ax.set(title=f"{name}, order {len(d['diagonal'])}", xlabel="eigenvalue", yscale="log", ylabel="density")
        ax.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def picture_4_6(s, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(15, 3.2), layout="constrained", sharex=True)
    n = len(s["eigenvalues"])
    axes[0].hist(s["eigenvalues"], 100, weights=np.full(n, 1 / n), label="eigenvalues")
    axes[0].hist(s["diagonal"], 20, weights=np.full(n, 1 / n), alpha=0.6, label="diagonal")
    axes[0].set(yscale="log", xlabel="eigenvalue", ylabel="share of eigenvalues")
    axes[0].legend(frameon=False, fontsize=8)
    for ax, (m, one) in zip(axes[1:], s["steps"].items(), strict=True):
        spectra.plot.stem(spectra.SpectralDensity(one["nodes"], one["weights"], n), ax, log=True)
        ax.set_title(f"{m} steps")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def to_json(found, diagonal, synth):
    """Numbers and stems; no list of eigenvalues."""
    def plain(one):
        return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in one.items()
                if key not in ("eigenvalues", "diagonal")}

    return {"ensembles": {name: plain(one) for name, one in found.items()},
            "diagonals": {name: plain(one) for name, one in diagonal.items()},
            "synthetic": plain(synth) | {"steps": {m: plain(one) for m, one in synth["steps"].items()}}}


def main():
    docs = Path(__file__).resolve().parents[2] / "docs"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="order 10,000 as printed")
    parser.add_argument("--json", default=docs / "measured" / "thesis_figures_4_3_to_4_6.json")
    parser.add_argument("--picture", default=docs / "img", help="folder for the pictures")
    args = parser.parse_args()
    large = PAPER["orders"][1] if args.full else 2000
    found, diagonal, synth, medians = run(large), diagonals(), synthetic(), typical()
    rows = claims(found, diagonal, medians, f"orders 225 and {large}, 500, 1000; 30 steps, one vector")
    print(table(["figure", "what", "here", "holds"], [[r["items"][0], r["what"], r["ours"], r["holds"]] for r in rows]))
    save(args.json, {"paper": PAPER, "claims": rows, "medians": medians} | to_json(found, diagonal, synth))
    folder = Path(args.picture)
    picture_of_laws(found, folder / "thesis_figure_4_3.png", ["wigner 225", f"wigner {large}"], "Wigner")
    picture_of_laws(found, folder / "thesis_figure_4_5.png", ["marchenko-pastur 225", f"marchenko-pastur {large}"],
                    "Marchenko-Pastur")
    picture_4_4(found, diagonal, folder / "thesis_figure_4_4.png")
    picture_4_6(synth, folder / "thesis_figure_4_6.png")


if __name__ == "__main__":
    main()
