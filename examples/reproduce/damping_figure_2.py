"""Damping paper, Figure 2; thesis, Figure 6.1: a bulk near zero and a few outliers, after SGD and after Adam.

    python examples/reproduce/damping_figure_2.py [--full] [--seeds 3] [--json FILE] [--picture FILE]

The figures draw a hypothetical spectrum, a noise bulk with a Tracy-Widom edge and outliers, beside the Hessian of
VGG-16 at the end of a training by SGD and by Adam. Measured at the end of both: the largest eigenvalues of the Hessian
of 512 training images, where they leave a gap, the share of the spectrum that is near zero, and the edge 2 sqrt(s) of
the noise that one batch adds: outliers of a batch have to lie beyond it.
"""

import statistics
from itertools import product

import numpy as np
import torch
from _report import arguments, claim, table
from _study import FULL, SMALL, chosen, conclude, curve, mean, numbers, problem, spread, study, trained
from torch.nn.functional import cross_entropy

import spectra
from spectra import optim
from spectra.nn import HessianOperator, curvature_variance

METHODS = {"SGD": 0.03, "Adam": 0.003}
TOP = 20


def one(settings, method, seed):
    model, split = problem(settings, seed)
    make = torch.optim.Adam if method == "Adam" else lambda w, rate: torch.optim.SGD(w, rate, momentum=0.9)
    opt, factor = make(model.parameters(), METHODS[method]), optim.plateau_decay(settings["epochs"])
    found = trained(model, opt, split, settings, seed, schedule=factor)
    x, y = (part[:512] for part in split.train)
    H = HessianOperator(model, cross_entropy, [(x, y)])
    values = spectra.eigenpairs(H, TOP, which="LA", tol=3e-2, rng=0).values
    density = spectra.spectral_density(H, steps=30, probes=1, rng=0)
    batches = list(zip(x.split(settings["batch"]), y.split(settings["batch"]), strict=True))
    noise = float(curvature_variance(model, cross_entropy, batches, rng=0))
    near = float(density.weights[np.abs(density.nodes) < 0.05 * values[0]].sum() / density.weights.sum())
    return found | {"values": curve(values), "near zero": near, "edge": 2 * noise**0.5}


def run(path, seeds=(0, 1, 2), settings=SMALL):
    return study(path, [{"method": method, "seed": seed} for seed, method in product(seeds, METHODS)], one, settings)


def outliers(row):
    """How many eigenvalues lie above the widest relative gap of the largest."""
    values = numbers(row["values"])
    return 1 + max(range(len(values) - 1), key=lambda i: values[i] / max(values[i + 1], 1e-12))


def claims(rows, settings):
    own = {method: chosen(rows, method=method) for method in METHODS}
    near = statistics.mean(row["near zero"] for row in rows)
    beyond = {method: [sum(v > row["edge"] for v in numbers(row["values"])) for row in runs]
              for method, runs in own.items()}
    top = {method: statistics.mean(numbers(row["values"])[0] for row in runs) for method, runs in own.items()}
    test = {method: 100 * mean(runs, "test accuracy") for method, runs in own.items()}
    noise = 200 * max(spread(runs, "test accuracy") for runs in own.values())
    sharper = max(top, key=top.get)
    size = f"{settings['network']} network, 6,266 weights, {settings['train']} images, {len(rows) // 2} seeds"
    few = near > 0.9 and all(0 < count < TOP for counts in beyond.values() for count in counts)
    first = claim(["damping Figure 2", "thesis Figure 6.1"], "A bulk at zero and a few outliers, as many as classes",
                  "three hypothetical outliers; a bulk and several outliers of VGG-16",
                  f"{100 * near:.1f} % of the spectrum within 5 % of the largest eigenvalue of zero; beyond the edge "
                  "2 sqrt(s) of a batch's noise: "
                  + "; ".join(f"{method} {counts}" for method, counts in beyond.items())
                  + "; widest gap after " + "; ".join(f"{method} {[outliers(row) for row in runs]}"
                                                      for method, runs in own.items()),
                  "10 classes", holds="yes" if few else "in part" if near > 0.9 else "no", size=size)
    better = test[sharper] > min(test.values()) + noise
    second = claim("damping Figure 2", "The sharper solution has the better test accuracy", "VGG-16, SGD against Adam",
                   ", ".join(f"{method}: largest eigenvalue {top[method]:.1f}, test {test[method]:.1f} %"
                             for method in METHODS),
                   f"The sharper one is {sharper}'s; noise {noise:.1f} points. Sharpness here tells how much of the "
                   "training loss is left", holds="yes" if better else "no", size=size)
    return [first, second]


def show(rows):
    print(table(["", "seed", "test", "edge of the noise", "largest eigenvalues"],
                [[row["method"], row["seed"], f"{100 * row['test accuracy']:.1f}", f"{row['edge']:.2f}",
                  " ".join(f"{v:.2f}" for v in numbers(row["values"])[:12])] for row in rows]))


def draw(rows, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for ax, method in zip(axes, METHODS, strict=True):
        for row in chosen(rows, method=method):
            ax.semilogy(range(1, TOP + 1), numbers(row["values"]), "o-", ms=3, label=f"seed {row['seed']}")
        ax.axhline(statistics.mean(row["edge"] for row in chosen(rows, method=method)), color="black", ls=":",
                   label="edge of a batch's noise")
        ax.set(xlabel="number", ylabel="eigenvalue of the Hessian", title=f"after {method}")
        ax.legend(fontsize=7)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main():
    parser = arguments(__file__, __doc__, "VGG-16, CIFAR-10, 300 epochs, on a GPU")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = FULL if options.full else SMALL
    rows = run(options.json, range(options.seeds), settings)
    conclude(options.json, {"claims": claims(rows, settings)})
    show(rows)
    draw(rows, options.picture)


if __name__ == "__main__":
    main()
