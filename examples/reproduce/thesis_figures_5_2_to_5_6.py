"""Thesis, Figures 5.2 and 5.4 to 5.6: what mini-batches do to a network's spectrum, and how that grows in training.

    python examples/reproduce/thesis_figures_5_2_to_5_6.py [--full] [--json FILE] [--picture FILE]

A network with two hidden layers (26,500 parameters) on Fashion-MNIST for the VGG-16 on CIFAR-100. Figures 5.2 and 5.4:
spectra of Hessian and Gauss-Newton matrix over all images and over fewer. Beside them, for batches of 32, 128 and 512,
the extreme eigenvalues of single batches and what both theories predict from the full data
(`examples/batch_spectrum.py` explains them). Figures 5.5 and 5.6: variance and largest eigenvalue of Hessian (H) and
Gauss-Newton matrix (G) during training with SGD and KFAC, of all data, of ten batches of 128, and predicted.
"""

import json

import numpy as np
import torch
from _miniature import LOSS, build, bulk_edge, density, ends, say, spectrum
from _report import arguments, claim, save, table
from batch_spectrum import anisotropy, full, measured, predicted
from training import data, train

import spectra
from spectra import nn, optim

SIZES, BATCH = (32, 128, 512), 128
OPTIMIZERS = {
    "SGD": lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4),
    "KFAC": lambda model: optim.KFAC(model, lr=0.02, damping=0.03, momentum=0.9, weight_decay=5e-4, kl_clip=0.01,
                                     inverse_every=20, rng=0),
}
KINDS = {"hessian": nn.HessianOperator, "ggn": nn.GGNOperator}


def split_of(samples):
    return data.load("fashion-mnist", train=samples, test=min(samples, 2000))


def evolution(name, split, epochs, checkpoints, batches=10, steps=60):
    """Loss, variances, largest eigenvalues and predictions at some epochs of a training, and the network at its end."""
    model, rows = build("mlp", split), []

    def look(model, row):
        if row["epoch"] in checkpoints:
            rows.append(row | at_batch(model, split, BATCH, batches, steps))
            say(f"{name}, epoch {row['epoch']}: largest eigenvalue {rows[-1]['full']['hessian'][1]:.3g}, "
                f"in batches {rows[-1]['batch']['mean'][1]:.3g}")

    start = train.evaluate(model, split.train)
    look(model, {"epoch": 0, "loss": start.loss, "accuracy": start.accuracy})
    train.fit(model, OPTIMIZERS[name](model), split, epochs, on_epoch=look, progress=False,
              schedule=optim.plateau_decay(epochs))
    return rows, model


def at_batch(model, split, size, batches, steps):
    """Numbers of the full data, the ends of single batches (smallest and largest of H, largest of G), predictions."""
    found = full(model, LOSS, data.batches(split.train, BATCH), steps=steps)
    return {"full": plain(found)} | one_size(model, split, found, size, batches)


def one_size(model, split, found, size, batches):
    each = measured(model, LOSS, *split.train, size, batches)
    return {"size": size, "batch": {"mean": each.mean(0).tolist(), "spread": each.std(0, ddof=1).tolist()},
            "predicted": plain(predicted(found, size))}


def plain(found):
    return {key: np.asarray(value).tolist() for key, value in found.items()}


def sizes_table(model, split, batches, steps=80):
    """Full data once, and batches of all sizes."""
    found = full(model, LOSS, data.batches(split.train, BATCH), steps=steps, probes=4)
    ratio = anisotropy(model, LOSS, data.batches(split.train, BATCH), found["hessian variance"])
    rows = []
    for size in (size for size in SIZES if size < len(split.train[0])):
        say(f"batches of {size}")
        rows.append(one_size(model, split, found, size, batches))
    return {"full": plain(found), "anisotropy": ratio, "rows": rows}


def by_samples(model, split, counts, steps=80):
    """Spectra of both curvatures over the first `count` images."""
    found = {}
    for kind, make in KINDS.items():
        for count in counts:
            say(f"spectrum of {kind} over {count} images")
            part = data.batches([tensor[:count] for tensor in split.train], BATCH)
            found.setdefault(kind, {})[str(count)] = spectrum(make(model, LOSS, part), steps)
    return found


def claims(found):
    rows = []
    if "by samples" in found:
        rows += [broadening_claim(found, "hessian", "5.2"), broadening_claim(found, "ggn", "5.4")]
    if "sizes" in found:
        rows.append(sizes_claim(found))
    if {"SGD", "KFAC"} <= set(found):
        rows += [variance_claim(found), evolution_claim(found)]
    return rows


def size_of(found):
    return (f"MLP, {found['parameters']} parameters, {found['samples']} images of Fashion-MNIST, for VGG-16 on "
            "CIFAR-100")


def broadening_claim(found, kind, figure):
    spectra_of = found["by samples"][kind]
    few, many = min(spectra_of, key=int), max(spectra_of, key=int)
    (low, high), (low_all, high_all) = ends(spectra_of[few]), ends(spectra_of[many])
    edges = bulk_edge(spectra_of[few]), bulk_edge(spectra_of[many])
    wider = high > 1.1 * high_all and (kind == "ggn" or low < 1.1 * low_all)
    ours = (f"{few} images: largest {high:.3g}, bulk to {edges[0]:.2g}; {many} images: largest {high_all:.3g}, bulk to "
            f"{edges[1]:.2g}")
    if kind == "hessian":
        ours += f"; smallest {low:.2g} and {low_all:.2g}"
    name = {"hessian": "Hessian", "ggn": "Gauss-Newton matrix"}[kind]
    return claim(f"thesis Figure {figure}", f"spectrum of the {name} by number of images",
                 "fewer samples: larger extreme eigenvalues, wider bulk", ours,
                 "broadens as said" if wider and edges[0] > edges[1] else "broadens only in part", size=size_of(found),
                 difference=f"largest {high / high_all:.2f} times, bulk {edges[0] / edges[1]:.1f} times",
                 holds="yes" if wider and edges[0] > edges[1] else "in part" if high > high_all else "no")


def errors(rows):
    """Mean relative error of the predictions of H and of G, additive and multiplicative, and shares within a spread."""
    found = {}
    for name, column in (("hessian", 1), ("ggn", 2), ("law", 2), ("multiplicative", 2)):
        theory = np.array([row["predicted"][name] for row in rows])
        mean, spread = (np.array([row["batch"][key][column] for row in rows]) for key in ("mean", "spread"))
        found[name] = (float(np.mean(np.abs(theory / mean - 1))), float(np.mean(np.abs(theory - mean) <= spread)))
    return found


def percents(found):
    """Errors in words: mean error, share of the means within a standard deviation."""
    names = {"hessian": "additive for H", "ggn": "additive for G", "law": "multiplicative for G, one outlier alone",
             "multiplicative": "multiplicative for G, all outliers, variance matched"}
    return "mean error and share within a standard deviation: " + "; ".join(
        f"{names[key]} {100 * error:.0f} %, {100 * within:.0f} %" for key, (error, within) in found.items())


def spread(row, column):
    return f"{row['batch']['mean'][column]:.3g} ± {row['batch']['spread'][column]:.2g}"


def sizes_claim(found):
    sizes = found["sizes"]
    error = errors(sizes["rows"])
    best, additive = error["multiplicative"][0], error["ggn"][0]
    told = ", ".join(f"B = {row['size']}: H {spread(row, 1)}, predicted {row['predicted']['hessian']:.3g}; "
                     f"G {spread(row, 2)}, predicted {row['predicted']['multiplicative']:.3g}" for row in sizes["rows"])
    return claim("thesis Figure 5.6", "largest eigenvalues of batches of 32, 128 and 512 from those of all data",
                 "both theories agree within a standard deviation, the multiplicative one fits better",
                 f"all: H {sizes['full']['hessian'][1]:.3g}, G {sizes['full']['ggn'][0]:.3g}; {told}; "
                 f"{percents(error)}",
                 "the multiplicative model predicts, the additive one does not: it takes the noise for the same in all "
                 f"directions, while along the sharpest it is {sizes['anisotropy']:.0f} times the average",
                 holds="in part" if best < 0.25 and best < additive else "no", size=size_of(found))


def variance_claim(found):
    told, grows = [], []
    for name in ("SGD", "KFAC"):
        first, last = found[name][0], found[name][-1]
        for kind in KINDS:
            course = [row["full"][f"{kind} variance"] for row in found[name]]
            grows.append(course[-1] > 2 * course[0])
            told.append(f"{name}, {kind}: {course[0]:.2g} at first, most {max(course):.2g}, {course[-1]:.2g} at last")
        told.append(f"{name}, loss: {first['loss']:.3g} to {last['loss']:.2g}")
    return claim("thesis Figure 5.5", "variance of the curvature of one image during training",
                 "the loss falls and the variances of Hessian and Gauss-Newton matrix rise", "; ".join(told),
                 "rises" if all(grows) else "rises at first in all trainings; what it does at the end depends on how "
                 "far the loss falls" if any(grows) else "does not rise",
                 holds="yes" if all(grows) else "in part" if any(grows) else "no", size=size_of(found))


def evolution_claim(found):
    told, gaps = [], []
    for name in ("SGD", "KFAC"):
        rows = found[name][1:]
        error = errors(rows)
        gap = [row["batch"]["mean"][1] / row["full"]["hessian"][1] for row in rows]
        gaps.append(error["multiplicative"][0] < error["ggn"][0])
        told.append(f"{name}: largest eigenvalue of batches over that of all data {gap[0]:.2f} after an epoch, "
                    f"{gap[-1]:.2f} at the end; {percents(error)}")
    return claim("thesis Figure 5.6", "largest eigenvalues of all data, of batches of 128, predicted, during training",
                 "batch eigenvalues are larger, both theories within a standard deviation, multiplicative closer",
                 "; ".join(told), "batch eigenvalues are larger at every epoch, and the multiplicative prediction "
                 "follows them; the additive one stays at the full data's" if all(gaps) else "see the table",
                 holds="in part" if all(gaps) else "no", size=size_of(found))


def show(found):
    for name in ("SGD", "KFAC"):
        print(f"\n{name}, batches of {BATCH}")
        print(rows_table(found[name], "epoch"))
    print(f"\nafter the training with SGD, by batch size; anisotropy {found['sizes']['anisotropy']:.0f}")
    print(rows_table([row | {"full": found["sizes"]["full"]} for row in found["sizes"]["rows"]], "size"))
    print("\n".join(f"{c['items']}: {c['holds']}: {c['ours']}" for c in claims(found)))


def rows_table(rows, key):
    """Measured and predicted as Markdown."""
    def near(x):
        return f"{x:.3g}"

    lines = [[row[key], near(row["full"]["hessian variance"]), near(row["full"]["hessian"][1]),
              spread(row, 1), near(row["predicted"]["hessian"]), near(row["full"]["ggn"][0]), spread(row, 2),
              near(row["predicted"]["ggn"]), near(row["predicted"]["law"]), near(row["predicted"]["multiplicative"])]
             for row in rows]
    return table([key, "variance of H", "H, all", "H, batch", "additive", "G, all", "G, batch", "additive",
                  "multiplicative, one outlier", "multiplicative, all"], lines)


def picture(found, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(15, 6.4), layout="constrained")
    for row, (kind, number) in zip(axes, (("hessian", "5.2"), ("ggn", "5.4")), strict=True):
        stems = found["by samples"][kind]
        every = [ends(each) for each in stems.values()]
        low, high = min(each[0] for each in every), max(each[1] for each in every)
        for ax, count in zip(row, (max(stems, key=int), min(stems, key=int)), strict=False):
            spectra.plot.stem(density(stems[count]), ax, log=True)
            ax.set_title(f"{number}: {kind}, {count} images", fontsize=9)
            ax.set_xlim(low - 0.03 * high, 1.03 * high)
    for column, name in enumerate(("SGD", "KFAC"), start=2):
        rows, top, bottom = found[name], axes[0, column], axes[1, column]
        epochs = [row["epoch"] for row in rows]
        top.semilogy(epochs, [row["loss"] for row in rows], "k--", label="loss")
        for kind in KINDS:
            top.semilogy(epochs, [row["full"][f"{kind} variance"] for row in rows], ".-", label=f"variance of {kind}")
        mean, spread = (np.array([row["batch"][key][2] for row in rows]) for key in ("mean", "spread"))
        bottom.errorbar(epochs, mean, spread, fmt="o", color="black", markersize=3, label="G, batches of 128")
        for label, course in (("G, all data", [row["full"]["ggn"][0] for row in rows]),
                              ("additive", [row["predicted"]["ggn"] for row in rows]),
                              ("multiplicative", [row["predicted"]["multiplicative"] for row in rows])):
            bottom.plot(epochs, course, ".-" if label[0] == "G" else "--", label=label)
        for ax, number in ((top, "5.5"), (bottom, "5.6")):
            ax.set_title(f"{number}: {name}", fontsize=9)
            ax.set_xlabel("epoch")
            ax.legend(frameon=False, fontsize=7)
            ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def run(samples, epochs, checkpoints, batches=10, keep=lambda found: None, found=None, steps=60):
    """All parts, calling `keep` after each; parts that `found` has already are left as they are."""
    found = found or {}
    split = split_of(samples)
    found |= {"samples": samples, "parameters": sum(w.numel() for w in build("mlp", split).parameters())}
    for name in OPTIMIZERS:
        if name in found:
            continue
        rows, model = evolution(name, split, epochs, checkpoints, batches, steps)
        if name == "SGD":
            found["sizes"] = sizes_table(model, split, batches)
            found["by samples"] = by_samples(model, split, (BATCH, samples // 4, samples))
        found[name] = rows
        keep(found)
    return found


def main():
    options = arguments(__file__, __doc__, "4096 images and 30 epochs instead of 600 and 4").parse_args()
    torch.set_num_threads(1)
    found = json.loads(options.json.read_text())["found"] if options.json.exists() else {}
    full_size = 4096, 30, (0, 1, 2, 4, 8, 12, 16, 20, 25, 30)
    samples, epochs, checkpoints = full_size if options.full else (600, 4, (0, 2, 4))
    found = found if found.get("samples") == samples else {}
    found = run(samples, epochs, checkpoints, found=found,
                keep=lambda found: save(options.json, {"found": found, "claims": claims(found)}))
    save(options.json, {"found": found, "claims": claims(found)})
    picture(found, options.picture)
    show(found)


if __name__ == "__main__":
    main()
