"""Thesis, Figures 7.14 to 7.17: are the solutions of Gadam flatter than those of SGD?

    python examples/reproduce/thesis_figures_7_14_to_7_17.py [--full] [--json FILE] [--picture FILE]

A small VGG with batch normalisation for VGG-16-BN, CIFAR-10 for CIFAR-10 and Fashion-MNIST for CIFAR-100. SGD (0.1,
weight decay 5e-4) and Gadam (0.0005 to 0.005, decoupled weight decay 0.25, averaged over the last two fifths of the
training), then the spectrum of the Hessian of all training images with batch normalisation in training mode (7.14,
7.15) and in evaluation mode (7.17), the test accuracy and the norm of the weights (7.16). Of Gadam it is the average
that is looked at, with batch statistics of its own.

The thesis: Gadam's solutions are 35 to 40 times sharper, have a larger norm, and generalise better.
"""

import json

import torch
from _miniature import LOSS, build, density, ends, say, spectrum
from _report import arguments, claim, save, table
from training import data, train

import spectra
from spectra import nn, optim

DATA = {"cifar10": "CIFAR-10", "fashion-mnist": "CIFAR-100"}
OPTIMIZERS = ("SGD", "Gadam")
MODES = ("train", "eval")
TEST = 800


def optimizer_of(name, model, steps, loader):
    if name == "SGD":
        return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    return optim.Gadam(model, lr=0.003, weight_decay=0.25, start=round(0.6 * steps), every=16, bn_loader=loader)


def run(name, optimizer_name, samples, epochs, steps=60, batch=64):
    """One training, and spectra of its solution in both modes."""
    split = data.load(name, train=samples, test=TEST)
    model = build("vgg-bn", split)
    loader = data.batches(split.train, 250)
    optimizer = optimizer_of(optimizer_name, model, epochs * -(-samples // batch), loader)
    schedule = optim.plateau_decay(epochs, ratio=0.01 if optimizer_name == "SGD" else 0.5)
    history = train.fit(model, optimizer, split, epochs, batch=batch, schedule=schedule, progress=False)
    found = {"data": name, "optimizer": optimizer_name, "samples": samples, "epochs": epochs,
             "parameters": sum(w.numel() for w in model.parameters()),
             "course": [round(row["test_accuracy"], 4) for row in history]}
    if optimizer_name == "Gadam":
        with optimizer.average.applied():
            return found | solution(model, split, loader, steps)
    return found | solution(model, split, loader, steps)


def solution(model, split, loader, steps):
    found = {"train": train.evaluate(model, split.train)._asdict(), "test": train.evaluate(model, split.test)._asdict(),
             "norm": float(torch.cat([w.detach().ravel() for w in model.parameters()]).norm())}
    for mode in MODES:
        stems = spectrum(nn.HessianOperator(model, LOSS, loader, bn=mode, cache=1 << 29), steps)
        squares = sum(w * x**2 for x, w in zip(stems["nodes"], stems["weights"], strict=True))
        found[mode + " mode"] = stems | {"frobenius": squares}  # |H|² / P, as the thesis gives it
    say(f"test accuracy {found['test']['accuracy']:.3f}, largest {ends(found['eval mode'])[1]:.3g}")
    return found


def pair(found, name):
    return [found[f"{name}, {optimizer}"] for optimizer in OPTIMIZERS]


def claims(found):
    done = [name for name in DATA if all(f"{name}, {optimizer}" in found for optimizer in OPTIMIZERS)]
    rows = [sharpness_claim(*pair(found, name), mode, figure) for name, mode, figure in
            (("fashion-mnist", "train", "7.14"), ("cifar10", "train", "7.15"), ("fashion-mnist", "eval", "7.17"))
            if name in done]
    return rows + ([norm_claim(found)] if len(done) == len(DATA) else [])


def size_of(sgd):
    return (f"small VGG-BN, {sgd['parameters']} parameters, {sgd['samples']} images of {sgd['data']} for "
            f"{DATA[sgd['data']]}, {sgd['epochs']} epochs")


def sharpness_claim(sgd, gadam, mode, figure):
    high = [ends(one[mode + " mode"])[1] for one in (sgd, gadam)]
    frobenius = [one[mode + " mode"]["frobenius"] for one in (sgd, gadam)]
    ratio = high[1] / high[0]
    better = compared(sgd, gadam)
    words = "Gadam's solution is sharper" if ratio > 1 else "Gadam's solution is the flatter one"
    return claim(f"thesis Figure {figure}", f"Hessian of the solutions of SGD and Gadam, BN in {mode} mode",
                 "spectral norm 35 to 40 times larger with Gadam, and a better test accuracy",
                 f"largest eigenvalue {high[0]:.3g} with SGD, {high[1]:.3g} with Gadam; mean square of the eigenvalues "
                 f"{frobenius[0]:.2g} and {frobenius[1]:.2g}; training accuracy {100 * sgd['train']['accuracy']:.1f} "
                 f"and {100 * gadam['train']['accuracy']:.1f} %, test accuracy {100 * sgd['test']['accuracy']:.1f} and "
                 f"{100 * gadam['test']['accuracy']:.1f} %", f"{words}, and generalises "
                 + {1: "better", 0: f"as well, within the error of {TEST} test images", -1: "worse"}[better],
                 difference=f"{ratio:.2g} times", size=size_of(sgd),
                 holds="yes" if ratio > 3 and better > 0 else "in part" if ratio > 1 else "no")


def compared(sgd, gadam):
    """1 or -1 where Gadam's test accuracy is better or worse by more than the error of TEST images, else 0."""
    p, q = sgd["test"]["accuracy"], gadam["test"]["accuracy"]
    error = ((p * (1 - p) + q * (1 - q)) / TEST) ** 0.5
    return 0 if abs(q - p) < error else 1 if q > p else -1


def norm_claim(found):
    told, larger, better, scale = [], [], [], []
    for name in DATA:
        sgd, gadam = pair(found, name)
        scale.append((sgd["norm"] / gadam["norm"]) ** 2)
        larger.append(gadam["norm"] > sgd["norm"])
        better.append(compared(sgd, gadam) > 0)
        told.append(f"{name}: test error {100 - 100 * sgd['test']['accuracy']:.1f} % and "
                    f"{100 - 100 * gadam['test']['accuracy']:.1f} %, norm {sgd['norm']:.1f} and {gadam['norm']:.1f}")
    return claim("thesis Figure 7.16", "test error and norm of the weights, SGD and Gadam",
                 "Gadam: smaller error, larger norm", "; ".join(told),
                 f"larger norm in {sum(larger)} of {len(larger)}, clearly smaller error in {sum(better)} of "
                 f"{len(better)} data sets; normalised layers do not feel their scale, and their curvature falls as "
                 f"the norm's square: {' and '.join(f'{ratio:.1f} times' for ratio in scale)} of the sharpness is that",
                 size="as Figures 7.14 and 7.15",
                 holds="yes" if all(larger + better) else "in part" if any(larger + better) else "no")


def show(found):
    rows = []
    for name, one in found.items():
        for mode in MODES:
            low, high = ends(one[mode + " mode"])
            rows.append([name, mode, f"{low:.3g}", f"{high:.3g}", f"{one[mode + ' mode']['frobenius']:.3g}",
                         f"{one['norm']:.1f}", f"{100 * one['train']['accuracy']:.1f}",
                         f"{100 * one['test']['accuracy']:.1f}"])
    print(table(["solution", "mode", "smallest", "largest", "mean square", "norm", "train", "test"], rows))
    print("\n".join(f"{c['items'][0]}: {c['holds']}: {c['ours']}" for c in claims(found)))


def picture(found, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(14, 5.6), layout="constrained")
    for row, name in zip(axes, DATA, strict=True):
        for column, (one, mode) in enumerate((one, mode) for mode in MODES for one in pair(found, name)):
            stems = one[mode + " mode"]
            spectra.plot.stem(density(stems), row[column], log=True)
            row[column].set_title(f"{name}, {one['optimizer']}, {mode} mode: largest {ends(stems)[1]:.3g}", fontsize=8)
    figure.savefig(path, dpi=75)
    plt.close(figure)


def main():
    options = arguments(__file__, __doc__, "1000 images and 50 epochs instead of 250 and 4").parse_args()
    torch.set_num_threads(1)
    found = json.loads(options.json.read_text())["found"] if options.json.exists() else {}
    samples, epochs = (1000, 50) if options.full else (250, 4)
    for name in DATA:
        for optimizer in OPTIMIZERS:
            key = f"{name}, {optimizer}"
            if key not in found or found[key]["samples"] != samples:
                found[key] = run(name, optimizer, samples, epochs)
                save(options.json, {"found": found, "claims": claims(found)})
    save(options.json, {"found": found, "claims": claims(found)})
    picture(found, options.picture)
    show(found)


if __name__ == "__main__":
    main()
