"""Thesis, Figures 5.7, 5.8 and 5.11 to 5.16: learning rates and dampings for other batch sizes.

    python examples/reproduce/thesis_figures_5_7_to_5_16.py [--full] [--json FILE] [--picture FILE]

A network with two hidden layers, with and without batch normalisation, on Fashion-MNIST for VGG-16 on CIFAR-100; as
many epochs for every batch size. Each rule starts from the best setting for batches of 128:

    5.7         SGD, learning rate ~ B; beside it the largest learning rate that trains, found for every B by itself
    5.8         distance from the start and test error of those
    5.11, 5.12  Adam with learning rate 1 and a large damping ~ 1/B, and the same damping for all
    5.13, 5.14  KFAC with learning rate 1 and a damping ~ 1/B, and the same damping for all
    5.15, 5.16  Adam with its usual tiny damping: learning rate ~ sqrt(B), and ~ B
"""

import json

import numpy as np
import torch
from _miniature import build, say
from _report import arguments, claim, save, table
from training import data, train

from spectra import optim

BATCHES, BASE = (16, 32, 64, 128, 256, 512, 1024), 128
GRIDS = {  # settings to choose from for batches of 128
    ("SGD", "mlp"): np.geomspace(0.01, 1.28, 8), ("SGD", "mlp-bn"): np.geomspace(0.01, 1.28, 8),
    ("Adam, damped", "mlp"): np.geomspace(1, 64, 7), ("KFAC", "mlp"): np.geomspace(1, 128, 8),
    ("Adam", "mlp"): np.geomspace(3e-4, 0.0384, 8),
}
RULES = {  # exponents p of the setting, ~ (B / 128)^p
    ("SGD", "mlp"): (1, 0), ("SGD", "mlp-bn"): (1, 0), ("Adam, damped", "mlp"): (-1, 0), ("KFAC", "mlp"): (-1, 0),
    ("Adam", "mlp"): (0.5, 1),
}
LEARNT = 0.5  # training accuracy below which a training has failed


def optimizer_of(name, model, setting):
    """`setting` is the learning rate, or the damping where the learning rate is 1."""
    weights = model.parameters()
    return {"SGD": lambda: torch.optim.SGD(weights, lr=setting, momentum=0.9, weight_decay=5e-4),
            "Adam": lambda: torch.optim.Adam(weights, lr=setting),
            "Adam, damped": lambda: torch.optim.Adam(weights, lr=1.0, eps=setting),
            "KFAC": lambda: optim.KFAC(model, lr=1.0, damping=setting, momentum=0.9, inverse_every=100, rng=0)}[name]()


def once(split, epochs, name, network, batch, setting):
    """Errors at the end of a training, and how far the weights went."""
    model, history = build(network, split), []
    start = torch.cat([w.detach().ravel().clone() for w in model.parameters()])
    try:
        train.fit(model, optimizer_of(name, model, setting), split, epochs, batch=batch, progress=False,
                  schedule=optim.plateau_decay(epochs), on_epoch=lambda _, row: history.append(row))
    except (RuntimeError, ValueError) as error:  # KFAC goes on with nothing that is not finite
        if not any(words in str(error) for words in ("NaN or Inf", "probability tensor")):
            raise
    learnt = len(history) == epochs and np.isfinite(history[-1]["loss"]) and history[-1]["accuracy"] > LEARNT
    last = history[-1] if history else {"accuracy": 0.1, "test_accuracy": 0.1}
    end = torch.cat([w.detach().ravel() for w in model.parameters()])
    return {"batch": batch, "setting": float(setting), "train": round(1 - last["accuracy"], 5),
            "test": round(1 - last["test_accuracy"], 5), "distance": distance(start, end), "learnt": bool(learnt)}


def distance(start, end):
    """Of the weights from the start; None where they are not finite."""
    found = float((end - start).norm())
    return found if np.isfinite(found) else None


def run(samples, epochs, found=None, keep=lambda found: None, batches=BATCHES, grids=GRIDS):
    """Grid for 128, rules for all batches, largest rates of SGD for all batches; what `found` has is not repeated."""
    found = found or {"samples": samples, "epochs": epochs}
    split = data.load("fashion-mnist", train=samples, test=min(samples, 2000))
    for (name, network), grid in grids.items():
        if f"{name}, {network}" in found:
            continue
        runs = [once(split, epochs, name, network, BASE, setting) for setting in grid]
        best = min(runs, key=lambda one: one["test"] if one["learnt"] else 2)["setting"]
        rules = {str(power): [once(split, epochs, name, network, batch, best * (batch / BASE) ** power)
                              for batch in batches] for power in RULES[name, network]}
        found[f"{name}, {network}"] = {"grid": runs, "best": best, "rules": rules}
        say(f"{name}, {network}: best setting {best:.3g}")
        keep(found)
    if "stable" not in found:
        found["stable"] = {str(batch): stable(split, epochs, batch) for batch in batches}
        keep(found)
    return found


def stable(split, epochs, batch):
    """Learning rates of SGD by factors of sqrt(2) and what came of them, up to the first that fails."""
    runs = []
    for rate in 0.02 * np.sqrt(2.0) ** np.arange(16):
        runs.append(once(split, epochs, "SGD", "mlp", batch, rate))
        if not runs[-1]["learnt"]:
            break
    return runs


def largest_stable(runs):
    return max((one["setting"] for one in runs if one["learnt"]), default=None)


def claims(found):
    rows = []
    if {"SGD, mlp", "SGD, mlp-bn", "stable"} <= set(found):
        rows += [linear_claim(found), distance_claim(found)]
    rows += [damping_claim(found, name, figures) for name, figures in (("Adam, damped", (11, 12)), ("KFAC", (13, 14)))
             if f"{name}, mlp" in found]
    return [*rows, root_claim(found)] if "Adam, mlp" in found else rows


def figures(*numbers):
    return [f"thesis Figure 5.{number}" for number in numbers]


def size_of(found):
    return (f"MLP, {found['samples']} images of Fashion-MNIST, {found['epochs']} epochs, for VGG-16 on CIFAR-100, "
            "300 epochs")


def errors(runs, which="test"):
    return ", ".join(f"B = {one['batch']}: {100 * one[which]:.1f} %" for one in runs)


def near(runs, slack=0.03, which="test"):
    """Batch sizes whose error is within `slack` of that at 128."""
    base = next(one for one in runs if one["batch"] == BASE)[which]
    return [one["batch"] for one in runs if one[which] <= base + slack]


def linear_claim(found):
    runs = {network: found[f"SGD, {network}"]["rules"]["1"] for network in ("mlp", "mlp-bn")}
    told = "; ".join(f"{network}: {errors(each)}" for network, each in runs.items())
    rates = {int(batch): largest_stable(each) for batch, each in found["stable"].items()}
    known = sorted((batch, rate) for batch, rate in rates.items() if rate)
    small, large = exponent(known, 0, BASE), exponent(known, 2 * BASE, np.inf)
    low, high = min(near(runs["mlp"])), max(near(runs["mlp"]))
    steady = small > 0.75 and large < 0.3 and high >= 2 * BASE
    told += "; largest learning rate that trains: " + ", ".join(f"B = {batch} {rate:.2g}" for batch, rate in known)
    return claim(figures(7), "SGD with a learning rate in proportion to the batch size",
                 "errors stay the same for batches up to 512, and training fails beyond", f"test errors, {told}",
                 f"errors stay within 3 points of that at 128 for B = {low} to {high}; the largest learning rate that "
                 f"trains grows like B^{small:.2f} up to {BASE} and like B^{large:.2f} from {2 * BASE} on",
                 difference=f"threshold at {high} of {found['samples']} images", size=size_of(found),
                 holds="yes" if steady else "in part" if small > 0.5 else "no")


def exponent(known, low, high):
    """Slope of log learning rate by log batch between two batch sizes."""
    chosen = np.log([pair for pair in known if low <= pair[0] <= high])
    return float(np.polyfit(*chosen.T, 1)[0]) if len(chosen) > 1 else 0.0


def distance_claim(found):
    told, links = [], []
    for network in ("mlp", "mlp-bn"):
        runs = found[f"SGD, {network}"]["rules"]["1"]
        runs = [one for one in runs if one["batch"] in near(runs)]
        far = [one["distance"] for one in runs]
        links.append(float(np.corrcoef(far, [one["test"] for one in runs])[0, 1]) if len(runs) > 2 else 0.0)
        told.append(f"{network}: distances {min(far):.1f} to {max(far):.1f}, correlation with the test error "
                    f"{links[-1]:.2f}")
    strong = abs(links[0]) > abs(links[1])
    return claim(figures(8), "distance from the start and test error, among the batch sizes with similar errors",
                 "a strong link without batch normalisation (farther is better), a weak one with it", "; ".join(told),
                 "farther is better without batch normalisation" if links[0] < -0.5 else "farther is not better",
                 holds="yes" if links[0] < -0.5 and strong else "in part" if links[0] < -0.3 else "no",
                 size=size_of(found))


def spread(runs, which="train"):
    values = [one[which] for one in runs]
    return max(values) - min(values)


def damping_claim(found, name, numbers):
    one = found[f"{name}, mlp"]
    scaled, same = one["rules"]["-1"], one["rules"]["0"]
    wide, narrow = near(scaled), near(same)
    name = name.split(",")[0]
    return claim(figures(*numbers), f"{name} with learning rate 1 and a damping in inverse proportion to B",
                 "training and validation errors agree for all batch sizes",
                 f"damping {one['best']:.3g} at 128; training errors {errors(scaled, 'train')}; test errors "
                 f"{errors(scaled)}; same damping for all, training: {errors(same, 'train')}",
                 f"a scaled damping keeps the test error within 3 points of that at 128 for B = {min(wide)} to "
                 f"{max(wide)}, the same damping for B = {min(narrow)} to {max(narrow)}; beyond, it is too small",
                 difference=f"{len(wide)} of {len(scaled)} batch sizes, unscaled {len(narrow)}", size=size_of(found),
                 holds="yes" if len(wide) == len(scaled) else "in part" if len(wide) > len(narrow) else "no")


def root_claim(found):
    one = found["Adam, mlp"]
    root, linear = one["rules"]["0.5"], one["rules"]["1"]
    better = spread(root) < spread(linear)
    return claim(figures(15, 16), "Adam with little damping, learning rate ~ sqrt(B) and ~ B",
                 "the square root keeps the training error, the linear rule fails completely",
                 f"learning rate {one['best']:.2g} at 128; training errors, root: {errors(root, 'train')}; linear: "
                 f"{errors(linear, 'train')}; test errors, root: {errors(root)}; linear: {errors(linear)}",
                 "the square root keeps the error better" if better else "the linear rule is at least as good",
                 difference=f"training errors spread over {100 * spread(root):.0f} points, linear "
                            f"{100 * spread(linear):.0f}", size=size_of(found),
                 holds="yes" if better and spread(linear) > 0.3 else "in part" if better else "no")


def show(found):
    for key, one in found.items():
        if isinstance(one, dict) and "rules" in one:
            print(f"\n{key}: setting for 128 is {one['best']:.3g}")
            print(table(["batch", *(f"{which}, ~ B^{power}" for power in one["rules"] for which in ("train", "test"))],
                        [[runs[0]["batch"], *(round(run[which], 3) for run in runs for which in ("train", "test"))]
                         for runs in zip(*one["rules"].values(), strict=True)]))
    print("\n".join(f"{c['items']}: {c['holds']}: {c['difference']}; {c['meaning']}" for c in claims(found)))


def picture(found, path):
    import matplotlib.pyplot as plt

    panels = (("5.7: SGD", "SGD, mlp", "test"), ("5.11: Adam, damped", "Adam, damped, mlp", "train"),
              ("5.13: KFAC", "KFAC, mlp", "train"), ("5.15: Adam", "Adam, mlp", "train"))
    figure, axes = plt.subplots(1, 5, figsize=(16, 3.4), layout="constrained")
    for ax, (title, key, which) in zip(axes, panels, strict=False):
        what = "damping" if "damped" in key or "KFAC" in key else "learning rate"
        for power, runs in found[key]["rules"].items():
            ax.semilogx([one["batch"] for one in runs], [one[which] for one in runs], "o-", base=2,
                        label=f"{what} ~ B^{power}" if float(power) else f"same {what}")
        ax.set(title=title, xlabel="batch size", ylabel=f"{which} error", ylim=(0, 1))
        ax.legend(frameon=False, fontsize=8)
    rates = {int(batch): largest_stable(runs) for batch, runs in found["stable"].items()}
    batch, rate = np.array(sorted((batch, rate) for batch, rate in rates.items() if rate)).T
    axes[4].loglog(batch, rate, "o-", base=2, label="measured")
    axes[4].loglog(batch, rate[0] * batch / batch[0], ":", base=2, label="~ B")
    axes[4].loglog(batch, rate[0] * np.sqrt(batch / batch[0]), "--", base=2, label="~ sqrt(B)")
    axes[4].set(title="largest learning rate that trains", xlabel="batch size")
    axes[4].legend(frameon=False, fontsize=8)
    for ax in axes:
        ax.title.set_fontsize(9)
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=70)
    plt.close(figure)


def main():
    options = arguments(__file__, __doc__, "2048 images and 12 epochs instead of 512 and 3").parse_args()
    torch.set_num_threads(1)
    samples, epochs = (2048, 12) if options.full else (512, 3)
    found = json.loads(options.json.read_text())["found"] if options.json.exists() else {}
    found = found if found.get("samples") == samples else {}
    found = run(samples, epochs, found, lambda found: save(options.json, {"found": found, "claims": claims(found)}))
    save(options.json, {"found": found, "claims": claims(found)})
    picture(found, options.picture)
    show(found)


if __name__ == "__main__":
    main()
