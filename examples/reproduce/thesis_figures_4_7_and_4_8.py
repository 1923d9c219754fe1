"""Thesis, Figures 4.7 and 4.8: spectra of a network of more than a million parameters, and what its diagonal says.

    python examples/reproduce/thesis_figures_4_7_and_4_8.py [--network mlp|cnn] [--checkpoint FILE] [--keep FOLDER]
                                                            [--full] [--json FILE] [--picture FOLDER]

4.7: Hessian and Gauss-Newton matrix by 100 Lanczos steps, beside the diagonal of the Gauss-Newton matrix, exact and by
one drawn target for each sample. 4.8: the same spectrum from two random vectors.

The thesis has VGG-16 on CIFAR-100 (15.3 million parameters, 300 epochs). Here it is a multilayer perceptron of 1.33
million parameters on Fashion-MNIST, trained on all 60,000 images with SGD and momentum 0.9, as the thesis trains, and
its spectra are those of the loss over 5,000 of them: a miniature, and a lower rank than with all. `--keep` holds the
Lanczos runs, so that a call that was interrupted goes on from there.

Outliers are counted by what makes them: the gradient averaged over a class, of which there are as many as classes
(Papyan, arXiv 1901.08244). A Ritz vector counts with more than half of its square in their span. Classes that the
network has all but learned sink into the bulk, so the count is also taken after one epoch.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal

import spectra
from spectra import nn, optim

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _report import claim, save, table
from training import data, networks, train

PAPER = {"parameters": 15_291_300, "largest": (6.8885, 6.8891), "smallest": (-0.0455, -0.0456),
         "negative mass": 0.37, "negative mass without the spike": 0.0005, "steps": 100}
KINDS = {"hessian": nn.HessianOperator, "ggn": nn.GGNOperator}
LEVELS = (1e-4, 1e-3, 1e-2, 1e-1)  # of the largest eigenvalue


def trained(name="mlp", epochs=10, seed=0, checkpoint=None, progress=True):
    """Model, data and training history."""
    split = data.load("fashion-mnist", seed=seed)
    if checkpoint:
        found = train.restore(checkpoint)
        return found.model, split, found.history
    model = networks.build(name, **split.shape, seed=seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    history = train.fit(model, optimizer, split, epochs, schedule=optim.plateau_decay(epochs), seed=seed,
                        progress=progress)
    return model, split, history


def run(model, batches, steps=100, seed=0, keep=None, progress=False, kinds=tuple(KINDS)):
    """Spectra from two vectors of random signs, residuals of the Ritz values, and their overlap with the classes."""
    found, classes = {}, class_gradients(model, batches)
    for kind in kinds:
        op = KINDS[kind](model, torch.nn.functional.cross_entropy, batches)
        path = Path(keep) / f"{kind}.npz" if keep else None
        lanczos = _advanced(op, steps, seed, path, progress and kind)
        found[kind] = _spectrum(lanczos, classes) | {"loss": op.loss()}
    return found


def class_gradients(model, batches):
    """Orthonormal basis (P, C) of the sums over each class of the gradients of its samples."""
    weights, sums = list(model.parameters()), {}
    for x, y in batches:
        losses = torch.nn.functional.cross_entropy(model(x), y, reduction="none")
        for c in y.unique().tolist():
            gradient = torch.autograd.grad(losses[y == c].sum(), weights, retain_graph=True)
            sums[c] = sums.get(c, 0.0) + torch.cat([g.ravel() for g in gradient])
    return torch.linalg.qr(torch.stack([sums[c] for c in sorted(sums)], 1))[0]


@torch.no_grad()
def class_losses(model, batches):
    """Mean loss of each class."""
    x, y = (torch.cat(part) for part in zip(*batches, strict=True))
    losses = torch.nn.functional.cross_entropy(model(x), y, reduction="none")
    return [float(losses[y == c].mean()) for c in range(int(y.max()) + 1)]


def _advanced(op, steps, seed, path, label, every=20):
    """The Lanczos run of two vectors, kept in a file every so many steps."""
    if path and path.exists():
        lanczos = spectra.krylov.LanczosRun.load(path, op)
    else:
        signs = 2.0 * np.random.default_rng(seed).integers(0, 2, (op.shape[0], 2)) - 1
        lanczos = spectra.krylov.LanczosRun(op, torch.from_numpy(signs).to(op.like))
    begun = time.perf_counter()
    while lanczos.steps < steps:
        lanczos.advance(min(every, steps - lanczos.steps))
        if label:
            print(f"{label}: {lanczos.steps} steps, {time.perf_counter() - begun:.0f} s", file=sys.stderr)
        if path:
            lanczos.save(path.with_suffix(".part"))
            os.replace(path.with_suffix(".part"), path)
    return lanczos


def _spectrum(lanczos, classes):
    nodes, weights, residuals, top = [], [], [], 3 * classes.shape[1]
    for alpha, beta in zip(lanczos.alpha, lanczos.beta, strict=True):
        theta, vectors = eigh_tridiagonal(alpha, beta[:-1])
        nodes.append(theta)
        weights.append(vectors[0] ** 2)
        residuals.append(beta[-1] * np.abs(vectors[-1]))
        if len(nodes) == 1:
            within = classes.T @ lanczos.basis()[0]
            overlaps = ((within.double().numpy() @ vectors[:, ::-1][:, :top]) ** 2).sum(0)
    density = spectra.SpectralDensity(nodes, weights, lanczos.A.shape[0], method="slq")
    return {"density": density, "residuals": np.array(residuals), "overlaps": overlaps}


def ggn_diagonal(model, batches, mc=None, seed=0):
    """Diagonal of the Gauss-Newton matrix of a network of Linear layers under cross-entropy, as one vector.

    Exact: diag(p) - pp' = sum_c p_c (e_c - p)(e_c - p)', a backward pass for each class. With `mc` targets drawn from
    the model for each sample instead, the Monte-Carlo diagonal of the thesis.
    """
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    if len(layers) != sum(1 for module in model.modules() if list(module.parameters(recurse=False))):
        raise ValueError("the diagonal is written out for Linear layers alone")
    generator, count = torch.Generator().manual_seed(seed), 0
    total = [torch.zeros_like(w, dtype=torch.float64) for layer in layers for w in (layer.weight, layer.bias)]
    for x, _ in batches:
        z, inputs, outputs = _seen(model, layers, x)
        for r in _factors(torch.softmax(z.detach(), 1), mc, generator):
            for k, g in enumerate(torch.autograd.grad(z, outputs, r, retain_graph=True)):
                total[2 * k] += g.square().T @ inputs[k].detach().square()
                total[2 * k + 1] += g.square().sum(0)
        count += len(x)
    return (torch.cat([part.ravel() for part in total]) / count).numpy()


def _seen(model, layers, x):
    """The outputs of the model, and inputs and outputs of its layers."""
    inputs, outputs = [], []

    def look(module, into, out):
        inputs.append(into[0])
        outputs.append(out)

    hooks = [layer.register_forward_hook(look) for layer in layers]
    z = model(x)
    for hook in hooks:
        hook.remove()
    return z, inputs, outputs


def _factors(p, mc, generator):
    """Vectors at the outputs, the mean of whose outer products is the curvature of cross-entropy there."""
    eye = torch.eye(p.shape[1])
    if mc is None:
        return [p[:, c : c + 1].sqrt() * (eye[c] - p) for c in range(p.shape[1])]
    return [(p - eye[torch.multinomial(p, 1, generator=generator)[:, 0]]) / mc**0.5 for _ in range(mc)]


# What is compared


def compared(found, classes):
    """The numbers of both figures."""
    return {kind: _one(one["density"], one["residuals"], one["overlaps"], classes, kind)
            for kind, one in found.items()}


def _one(rho, residuals, overlaps, classes, kind):
    (a, u), (b, v) = rho.rules
    order = slice(None, None, -1)
    spread = np.sqrt(u @ a**2)
    edge = 1e-3 * a[-1]
    moments = [[float(w @ x**k) for x, w in rho.rules] for k in (1, 2, 3, 4)]
    apart, top = outliers(a, overlaps), slice(None, -classes - 1, -1)
    return {
        "largest": [float(a[-1]), float(b[-1])], "smallest": [float(a[0]), float(b[0])],
        "top": [a[order][: 2 * classes].tolist(), b[order][: 2 * classes].tolist()],
        "residuals of the top": residuals[0][order][: 2 * classes].tolist(),
        "outliers": apart, "relative difference of the C largest": float(np.max(np.abs(a[top] / b[top] - 1))),
        "weights of the C largest times P": [(w[top] * rho.size).tolist() for w in (u, v)],
        "moments": moments,
        "relative difference of the moments": [float(abs(x / y - 1)) for x, y in moments],
        "distance of the distributions over their spread": float(wasserstein((a, u), (b, v)) / spread),
        "largest difference in share above x, x > 0.001 l1": float(max(
            abs(u[a > x].sum() - v[b > x].sum()) for x in np.concatenate([a, b]) if x > edge)),
        "share within 0.001 l1 of zero": [float(w[np.abs(x) < edge].sum()) for x, w in rho.rules],
        "negative mass": nn.negative_mass(rho).value,
        "negative mass without the spike": nn.negative_mass(rho, without_nearest=True).value,
        "negative mass beyond 0.001 l1": [float(w[x < -edge].sum()) for x, w in rho.rules],
        "degeneracy": nn.rank_degeneracy(rho, nearest=2 if kind == "hessian" else 1).value,
        "skewness of the bulk": nn.skewness(rho, -np.inf, a[top][-1]).value,
    }


def outliers(nodes, overlaps):
    """How many of the 3 C largest Ritz vectors lie in the span of the classes, and the gap below the leading ones."""
    inside = overlaps > 0.5
    leading = int(np.argmin(inside)) if not inside.all() else len(inside)
    gap = float(nodes[-leading] / nodes[-leading - 1]) if leading else None
    return {"count": int(inside.sum()), "leading": leading, "gap below the leading": gap, "overlaps": overlaps.tolist()}


def wasserstein(one, other):
    """Area between two distribution functions, exactly."""
    x = np.sort(np.concatenate([one[0], other[0]]))
    shares = [np.concatenate([[0.0], np.cumsum(w)])[np.searchsorted(nodes, x[:-1], side="right")]
              for nodes, w in (one, other)]
    return float(np.abs(shares[0] - shares[1]) @ np.diff(x))


def beside_the_diagonal(rho, diagonals):
    """How many eigenvalues, and how many entries of a diagonal, lie above parts of the largest eigenvalue."""
    largest = rho.rules[0][0][-1]
    rows = {"eigenvalues": [float(np.mean([w[x > level * largest].sum() for x, w in rho.rules]) * rho.size)
                            for level in LEVELS]}
    for name, diagonal in diagonals.items():
        rows[name] = [int((diagonal > level * largest).sum()) for level in LEVELS]
    sums = {name: float(diagonal.sum()) for name, diagonal in diagonals.items()}
    tops = {name: float(diagonal.max()) for name, diagonal in diagonals.items()}
    trace = [float(rho.size * (w @ x)) for x, w in rho.rules]
    return {"levels": LEVELS, "above": rows, "largest entry": tops, "largest eigenvalue": float(largest),
            "sum": sums, "trace by Lanczos": trace}


def claims(document):
    """What the thesis says of the figures, and whether it holds here."""
    h, g, size = document["spectra"]["hessian"], document["spectra"]["ggn"], document["size"]
    apart, classes = abs(h["largest"][0] / h["largest"][1] - 1), document["classes"]
    both = np.abs(np.array(g["top"][0][:classes]) / h["top"][0][:classes] - 1)
    heights = np.array(h["weights of the C largest times P"])
    rows = [
        claim("thesis Figure 4.8", "places of the stems of two random vectors",
              "visually the same; l1 6.8885 and 6.8891, ln -0.0455 and -0.0456",
              f"l1 {h['largest'][0]:.5g} and {h['largest'][1]:.5g}, ln {h['smallest'][0]:.3g} and "
              f"{h['smallest'][1]:.3g}; the {classes} largest within {h['relative difference of the C largest']:.0e}; "
              f"distribution functions {h['distance of the distributions over their spread']:.3f} spreads apart",
              "one random vector is enough for outliers, support and bulk", size=size,
              difference=f"{apart:.0e} relative in l1, paper 9e-05",
              holds="yes" if h["relative difference of the C largest"] < 0.01
              and h["distance of the distributions over their spread"] < 0.1 else "in part"),
        claim("thesis Figure 4.8", "heights of the stems of single eigenvalues", "visually the same",
              f"over 1/P: {heights.min():.1g} to {heights.max():.2g}; the mean eigenvalue from either vector differs "
              f"by {100 * h['relative difference of the moments'][0]:.0f} %",
              "the height of one eigenvalue is a chi-square draw, whatever the dimension", size=size,
              holds="no" if heights.max() > 10 * heights.min() else "yes"),
        claim("thesis Figure 4.7", "Gauss-Newton against Hessian", "bulk and outliers closely alike",
              f"the {classes} largest differ by {100 * both.max():.1f} % at most", size=size,
              meaning="the outliers of the Hessian are those of its Gauss-Newton part",
              holds="yes" if both.max() < 0.25 else "no"),
        claim("thesis Figure 4.7", "negative mass of the Hessian", "37 %, most of it at -0.0003; 0.05 % without",
              f"{100 * h['negative mass']:.0f} %; {100 * h['negative mass without the spike']:.2f} % without the Ritz "
              f"value nearest 0; the lowest {h['smallest'][0]:.2g}",
              "negative eigenvalues are many and nearly zero", size=size,
              holds="yes" if h["negative mass without the spike"] < 0.02 < h["negative mass"] else "in part"),
        claim(["thesis Figure 4.7", "thesis Figure 4.8"], "outliers, bulk and spike at zero",
              "one large, a triplet, the rest in the bulk (100 classes)", _counted(document),
              "an outlier is the mean gradient of a class that is not yet learned", size=size,
              holds="yes" if g["outliers"]["count"] >= classes / 2 and min(g["share within 0.001 l1 of zero"]) > 0.9
              else "in part"),
    ]
    return rows + ([_claim_of_the_diagonal(document["diagonal"], size)] if "diagonal" in document else [])


def _counted(document):
    g, early = document["spectra"]["ggn"], document.get("early")
    after = f"; after one epoch {early['outliers']['count']}, the first {early['outliers']['leading']}" if early else ""
    return (f"{g['outliers']['count']} of the {3 * document['classes']} largest lie in the span of the "
            f"{document['classes']} classes, the first {g['outliers']['leading']} of all{after}; "
            f"{100 * min(g['share within 0.001 l1 of zero']):.1f} % within 0.001 l1 of zero")


def _claim_of_the_diagonal(d, size):
    above, top = d["above"], d["largest entry"]["Monte Carlo"]
    misses, many = top < 0.5 * d["largest eigenvalue"], above["Monte Carlo"][0] > 2 * above["eigenvalues"][0]
    return claim("thesis Figure 4.7", "Monte-Carlo diagonal against the Gauss-Newton spectrum",
                 "misses the largest outlier, adds spurious ones, overestimates the bulk",
                 f"largest entry {top:.2g} (exact diagonal {d['largest entry']['exact']:.2g}), eigenvalue "
                 f"{d['largest eigenvalue']:.3g}; above 0.0001, 0.001, 0.01 l1: "
                 f"{', '.join(f'{k:,}' for k in above['Monte Carlo'][:3])} entries, "
                 f"{', '.join(f'{k:,.0f}' for k in above['eigenvalues'][:3])} eigenvalues",
                 "the diagonal has no outliers, and too much just above zero; no entry can exceed l1",
                 holds="in part" if misses and many else "no", size=size)


def report(name, model, split, history, samples, steps, keep, early=None, progress=True):
    """Spectra of one trained network as a JSON document, and what its pictures need; `early` is it after one epoch."""
    count, classes = min(samples, len(split.train[0])), split.shape["classes"]
    batches = data.batches(tuple(part[:count] for part in split.train), 500)
    found = run(model, batches, steps, keep=keep, progress=progress)
    document = {"network": name, "parameters": networks.parameters(model), "samples": count, "steps": steps,
                "size": f"{name}, {networks.parameters(model):,} parameters, {count:,} images", "classes": classes,
                "history": history[-1], "paper": PAPER, "loss": found["hessian"]["loss"],
                "losses of the classes": class_losses(model, batches), "spectra": compared(found, classes)}
    if early is not None:
        few = run(early, batches[: max(len(batches) * 2 // 5, 1)], min(steps, 50), kinds=("ggn",))
        document["early"] = compared(few, classes)["ggn"] | {"loss": few["ggn"]["loss"], "steps": min(steps, 50)}
    diagonals = None
    if all(isinstance(m, torch.nn.Linear) for m in model.modules() if list(m.parameters(recurse=False))):
        diagonals = {"exact": ggn_diagonal(model, batches), "Monte Carlo": ggn_diagonal(model, batches, mc=1)}
        document["diagonal"] = beside_the_diagonal(found["ggn"]["density"], diagonals)
    document["claims"] = claims(document)
    document["rules"] = {kind: [[x.tolist(), w.tolist()] for x, w in one["density"].rules]
                         for kind, one in found.items()}
    return document, found, diagonals


# Pictures


def picture_4_7(found, diagonals, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2 + bool(diagonals), figsize=(13 if diagonals else 9, 3.6), layout="constrained")
    for ax, kind in zip(axes, KINDS, strict=False):
        rho = _first(found[kind]["density"])
        spectra.plot.stem(rho, ax, log=True)
        ax.set_title(f"{'Hessian' if kind == 'hessian' else 'Gauss-Newton'}, {len(rho.nodes)} steps, one vector")
    if diagonals:
        _exceeding(axes[2], diagonals, found["ggn"]["density"])
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _exceeding(ax, diagonals, rho):
    """How many eigenvalues, and entries of the diagonals, lie above x."""
    nodes, weights = rho.rules[0]
    x = nodes[-1] * np.geomspace(1e-6, 1, 400)
    ax.plot(x, [rho.size * weights[nodes >= one].sum() for one in x], "k", drawstyle="steps-post", label="eigenvalues")
    for name, diagonal in diagonals.items():
        ax.plot(x, len(diagonal) - np.searchsorted(np.sort(diagonal), x), label=f"diagonal, {name}")
    ax.set(xscale="log", yscale="log", xlabel="x", ylabel="number above x", ylim=(0.5, rho.size),
           title="Gauss-Newton: diagonal and spectrum")
    ax.legend(frameon=False, fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)


def picture_4_8(rho, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
    for k, ax in enumerate(axes):
        spectra.plot.stem(_first(rho, k), ax, log=True)
        ax.set_title(f"Hessian, random vector {k + 1}")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _first(rho, k=0):
    return spectra.SpectralDensity(*rho.rules[k], rho.size, method="slq")


def show(document):
    print(f"{document['size']}: loss {document['loss']:.4f}, test accuracy {document['history']['test_accuracy']:.4f}")
    names = ("largest", "smallest", "negative mass", "negative mass without the spike", "degeneracy",
             "relative difference of the C largest", "distance of the distributions over their spread")
    print(table(["", *KINDS], [[name, *(str(document["spectra"][kind][name]) for kind in KINDS)] for name in names]))
    for row in document["claims"]:
        print(f"{row['holds']:8} {row['items'][0]}: {row['what']}: {row['ours']} (paper: {row['paper']})")


def main():
    root = Path(__file__).resolve().parents[2] / "docs"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("mlp", "cnn"), default="mlp")
    parser.add_argument("--checkpoint", help="a trained network of examples/training instead of training one")
    parser.add_argument("--keep", help="folder for the Lanczos runs")
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--full", action="store_true", help="the loss over all 60,000 images")
    parser.add_argument("--json", help="default: docs/measured/thesis_figures_4_7_and_4_8[_cnn].json")
    parser.add_argument("--picture", help="folder for the pictures; default: docs/img")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, split, history = trained(args.network, checkpoint=args.checkpoint)
    early = trained(args.network, epochs=1)[0] if args.network == "mlp" else None
    document, found, diagonals = report(args.network, model, split, history, 60_000 if args.full else args.samples,
                                        args.steps, args.keep, early)
    suffix = "" if args.network == "mlp" else f"_{args.network}"
    show(document)
    save(args.json or root / "measured" / f"thesis_figures_4_7_and_4_8{suffix}.json", document)
    folder = Path(args.picture or root / "img")
    picture_4_7(found, diagonals, folder / f"thesis_figure_4_7{suffix}.png")
    picture_4_8(found["hessian"]["density"], folder / f"thesis_figure_4_8{suffix}.png")


if __name__ == "__main__":
    main()
