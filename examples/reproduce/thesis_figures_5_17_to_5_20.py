"""Thesis, Figures 5.17 to 5.20: how much of a network's spectrum is at 0, over training.

    python examples/reproduce/thesis_figures_5_17_to_5_20.py [--full] [--json FILE] [--picture FILE]

The share of eigenvalues at 0 is read off one Lanczos run as the weight of the Ritz value nearest to 0; for the Hessian,
whose spike may split over both sides of 0, of the two nearest (5.17 shows what happens with one). A small VGG without
normalisation for VGG-16 (5.18) and a small PreResNet for PreResNet-110 (5.17, 5.19, 5.20), whose batch normalisation is
taken with its running statistics (BNe) or those of each batch (BNt); Fashion-MNIST for CIFAR-100.

A Ritz value near 0 is no proof of a null space: it carries the weight of all that is small on the spectrum's scale.
So for the Gauss-Newton matrix the share below a thousandth of the largest eigenvalue stands beside it.
"""

import json

import torch
from _miniature import LOSS, build, density, say, spectrum
from _report import arguments, claim, save, table
from training import data, train

from spectra import nn, optim

KINDS = {"hessian": nn.HessianOperator, "ggn": nn.GGNOperator}
MODES = {"vgg": ("eval",), "preresnet": ("eval", "train")}
SHARES = (0, 1 / 9, 1 / 3, 2 / 3, 1)
SMALL = 1e-3  # of the largest eigenvalue


def run(network, samples, epochs, steps=50):
    """Spectra of both curvatures at some epochs of a training, keyed by curvature and mode."""
    split = data.load("fashion-mnist", train=samples, test=500)
    model = build(network, split)
    found = {"network": network, "samples": samples, "parameters": sum(w.numel() for w in model.parameters()),
             "epochs": {}}
    looked = {round(share * epochs) for share in SHARES}

    def look(model, row):
        if row["epoch"] not in looked:
            return
        here = found["epochs"][str(row["epoch"])] = {}
        for kind, make in KINDS.items():
            for mode in MODES[network]:
                operator = make(model, LOSS, data.batches(split.train, 250), bn=mode, cache=1 << 29)
                here[f"{kind}, {mode}"] = spectrum(operator, steps)
        say(f"{network}, epoch {row['epoch']}")

    look(model, {"epoch": 0})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    history = train.fit(model, optimizer, split, epochs, batch=64, schedule=optim.plateau_decay(epochs), on_epoch=look,
                        progress=False)
    return found | {"accuracy": history[-1]["accuracy"], "test accuracy": history[-1]["test_accuracy"]}


def degeneracy(stems):
    """Weight and place of the one and of the two Ritz values nearest to 0, and the weight of all that is small."""
    rho = density(stems)
    one, two = (nn.rank_degeneracy(rho, nearest=k) for k in (1, 2))
    limit = SMALL * max(abs(stems["nodes"][0]), abs(stems["nodes"][-1]))
    small = sum(w for x, w in zip(stems["nodes"], stems["weights"], strict=True) if abs(x) <= limit)
    return {"one": one.value, "at": one.location, "two": two.value, "mean": two.location, "small": small,
            "largest": stems["nodes"][-1]}


def course(found, key):
    """The degeneracy at every epoch, in order."""
    return [(int(epoch), degeneracy(found["epochs"][epoch][key])) for epoch in sorted(found["epochs"], key=int)]


def claims(found):
    rows = []
    if "preresnet" in found:
        rows += [splitting_claim(found["preresnet"]), *(weight_claim(found["preresnet"], kind, figure) for kind, figure
                                                        in (("ggn", "5.19"), ("hessian", "5.20")))]
    if "vgg" in found:
        rows += [weight_claim(found["vgg"], kind, "5.18") for kind in KINDS]
    return rows


def size_of(found):
    return (f"small {found['network']}, {found['parameters']} parameters, {found['samples']} images of Fashion-MNIST, "
            "for CIFAR-100")


def splitting_claim(found):
    one, two = ([step[1][which] for step in course(found, "hessian, eval")] for which in ("one", "two"))
    jumps, steady = max(one) - min(one), max(two) - min(two)
    return claim("thesis Figure 5.17", "weight of the Ritz value of the Hessian nearest to 0, over training",
                 "drops at times, as the spike splits over several Ritz values; two together do not",
                 f"one {min(one):.2f} to {max(one):.2f}, two together {min(two):.2f} to {max(two):.2f}",
                 "the weight of one Ritz value jumps more than that of two" if jumps > steady else
                 "here two jump as much as one", size=size_of(found), difference=f"range {jumps:.2f} and {steady:.2f}",
                 holds="yes" if jumps > 1.5 * steady else "in part" if jumps > steady else "no")


def weight_claim(found, kind, figure):
    which = "two" if kind == "hessian" else "one"
    told, lowest, off = [], 1.0, 0.0
    for mode in MODES[found["network"]]:
        steps = course(found, f"{kind}, {mode}")
        lowest = min(lowest, *(step[which] for _, step in steps))
        off = max(off, *(abs(step["mean" if which == "two" else "at"]) / step["largest"] for _, step in steps))
        told.append(f"BN{mode[0]}: " + ", ".join(f"epoch {epoch} {step[which]:.2f}" for epoch, step in steps))
        if kind == "ggn":
            small = [step["small"] for _, step in steps]
            told[-1] += f"; below {SMALL:g} of the largest {min(small):.2f} to {max(small):.2f}"
    words = "; ".join(told) if len(told) > 1 else told[0].removeprefix("BNe: ")
    name = {"hessian": "the two Ritz values of the Hessian", "ggn": "the Ritz value of the Gauss-Newton matrix"}[kind]
    return claim(f"thesis Figure {figure}", f"weight of {name} nearest to 0, over training",
                 "most of the spectrum is at 0 at every epoch, in both modes of batch normalisation", words,
                 "most of the spectrum is at 0 throughout" if lowest > 0.5 else "at some epochs less than half is at 0",
                 difference=f"at most {off:.1g} of the largest eigenvalue away from 0", size=size_of(found),
                 holds="yes" if lowest > 0.75 else "in part" if lowest > 0.5 else "no")


def show(found):
    rows = [[name, key, epoch, *(f"{step[column]:.3g}" for column in ("one", "at", "two", "mean", "small"))]
            for name, one in found.items() for key in next(iter(one["epochs"].values()))
            for epoch, step in course(one, key)]
    print(table(["network", "curvature, mode", "epoch", "weight of one", "at", "weight of two", "mean",
                 f"share below {SMALL:g}"], rows))
    print("\n".join(f"{c['items'][0]}: {c['holds']}: {c['ours']}" for c in claims(found)))


def picture(found, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(14, 3.4), layout="constrained", sharey=True)
    panels = (("5.17 and 5.20: PreResNet, Hessian", "preresnet", "hessian", ("one", "two")),
              ("5.19: PreResNet, Gauss-Newton", "preresnet", "ggn", ("one",)),
              ("5.18: VGG, Hessian", "vgg", "hessian", ("one", "two")),
              ("5.18: VGG, Gauss-Newton", "vgg", "ggn", ("one",)))
    for ax, (title, network, kind, counts) in zip(axes, panels, strict=True):
        for mode in MODES[network]:
            steps = course(found[network], f"{kind}, {mode}")
            for count in counts:
                ax.plot([epoch for epoch, _ in steps], [step[count] for _, step in steps],
                        {"one": ".--", "two": "o-"}[count], label=f"{count}, BN{mode[0]}")
        ax.set(title=title, xlabel="epoch", ylim=(0, 1.02))
        ax.title.set_fontsize(9)
        ax.legend(frameon=False, fontsize=8, title="Ritz values nearest to 0", title_fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("weight")
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main():
    options = arguments(__file__, __doc__, "1000 images and 36 epochs instead of 250 and 2").parse_args()
    torch.set_num_threads(1)
    found = json.loads(options.json.read_text())["found"] if options.json.exists() else {}
    samples, epochs = (1000, 36) if options.full else (250, 2)
    for network in MODES:
        if network not in found or found[network]["samples"] != samples:
            found[network] = run(network, samples, epochs)
            save(options.json, {"found": found, "claims": claims(found)})
    save(options.json, {"found": found, "claims": claims(found)})
    picture(found, options.picture)
    show(found)


if __name__ == "__main__":
    main()
