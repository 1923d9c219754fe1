"""Many small trainings: one at a time, each saved as it ends, none done twice.

    settings    of all trainings of a study: network, data, epochs, batch
    cell        what one training is about: optimiser, learning rate, damping, seed; a dictionary
    run         what came of it: a dictionary of numbers, and of curves written as one string each

The small network has three convolutions and 6,266 parameters and learns 1,024 images to the last; the narrow one has
two hidden layers and no convolutions, for studies of many epochs. `--full` takes the papers' sizes, and a GPU.
"""

import json
import math
import statistics
import sys
import time
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from _report import save
from torch import nn
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training import data, networks, train

import spectra
from spectra.nn import HessianOperator

SMALL = {"network": "small", "data": "fashion-mnist", "train": 1024, "test": 10_000, "watched": 500, "epochs": 12,
         "batch": 64, "device": "cpu"}
NARROW = SMALL | {"network": "narrow", "train": 2048, "watched": 1000}
FULL = {"network": "vgg16", "data": "cifar10-jpeg", "train": None, "test": None, "watched": None, "epochs": 300,
        "batch": 128, "device": "cuda"}
HOPELESS = 1e5  # a loss beyond this is a divergence, finite or not


def study(path, cells, measure, settings):
    """What came of each cell, as one dictionary each: from the file where it has them, measured otherwise."""
    path = Path(path)
    document = json.loads(path.read_text()) if path.exists() else {}
    runs = document.get("runs", {}) if document.get("settings") == settings else {}
    missing = [cell for cell in cells if name(cell) not in runs]
    for k, cell in enumerate(missing):
        begun = time.perf_counter()
        runs[name(cell)] = measure(settings, **cell)
        document |= {"settings": settings, "runs": runs}
        save(path, {key: value for key, value in document.items() if key != "versions"})
        print(f"{k + 1}/{len(missing)}  {name(cell)}  {time.perf_counter() - begun:.1f} s", file=sys.stderr)
    return [cell | runs[name(cell)] for cell in cells]


def name(cell):
    return ", ".join(f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
                     for key, value in cell.items())


def conclude(path, conclusions):
    """Put claims beside the runs in the file."""
    document = json.loads(Path(path).read_text())
    save(path, {key: value for key, value in document.items() if key != "versions"} | conclusions)


def curve(values, digits=4):
    return " ".join(f"{value:.{digits}g}" for value in values)


def numbers(text):
    return [float(word) for word in text.split()]


# One training


class Diverged(Exception):
    """The loss left all bounds."""


load = cache(data.load)


def problem(settings, seed):
    """A network by its seed, and data, always the same."""
    split = load(settings["data"], settings["train"], settings["test"])
    make = {"small": small, "narrow": narrow}.get(settings["network"].removesuffix("-bn"), networks.build)
    model = make(settings["network"], **split.shape, seed=seed).to(settings["device"])
    return model, data.Split(*[tuple(t.to(settings["device"]) for t in part) for part in split[:2]], split.shape)


def small(name, classes, channels, size, seed):
    """Three convolutions of stride 2 and a linear layer; "small-bn" with batch norm."""
    widths = (channels, 8, 16, 16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = []
        for (a, b), kernel in zip(pairwise(widths), (5, 3, 3), strict=True):
            convolution = nn.Conv2d(a, b, kernel, stride=2, padding=kernel // 2)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            layers += [convolution, *([nn.BatchNorm2d(b)] if name.endswith("bn") else []), nn.ReLU()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * (-(-size // 8)) ** 2, classes))


def narrow(name, classes, channels, size, seed):
    """Two hidden layers of 32, 26,506 parameters on 28 x 28 pixels; "narrow-bn" with batch norm."""
    widths = (channels * size * size, 32, 32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Flatten()]
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), *([nn.BatchNorm1d(b)] if name.endswith("bn") else []), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


def trained(model, optimizer, split, settings, seed, *, schedule=None, before=None, after=None,
            on_epoch=None):
    """Curves and final figures of a training. `before(loss, batch)` and `after` are called around every step."""
    watched = data.Split(split.train, tuple(part[: settings["watched"]] for part in split.test), split.shape)
    rows = []

    def step(model, optimizer, loss, batch):
        if before is not None:
            before(loss, batch)
        try:
            value, outputs = train.gradient_step(model, optimizer, loss, batch)
        except ValueError as error:  # some optimisers refuse a gradient that is not finite
            raise Diverged from error
        if not float(value.detach()) < HOPELESS:
            raise Diverged
        if after is not None:
            after(loss, batch)
        return value, outputs

    def keep(model, row):
        rows.append(row)
        if on_epoch is not None:
            on_epoch(model, row)

    try:
        train.fit(model, optimizer, watched, settings["epochs"], settings["batch"], schedule, seed=seed, step=step,
                  on_epoch=keep, progress=False)
    except Diverged:
        return {"diverged": True, "epochs": len(rows)}
    if not rows[-1]["loss"] < math.log(split.shape["classes"]) + 0.2:  # worse than knowing nothing
        return {"diverged": True, "epochs": len(rows)}
    found = train.evaluate(model, split.test)
    return {"accuracy": rows[-1]["accuracy"], "test accuracy": found.accuracy, "test loss": found.loss,
            "mean loss": statistics.mean(row["loss"] for row in rows),
            "losses": curve(row["loss"] for row in rows), "accuracies": curve(row["accuracy"] for row in rows),
            "test accuracies": curve(row["test_accuracy"] for row in rows)}


def largest_eigenvalue(model, split, samples=256, steps=10):
    """Of the Hessian on the first training samples, from a few Lanczos steps."""
    x, y = (part[:samples] for part in split.train)
    H = HessianOperator(model, cross_entropy, [(x, y)])
    return float(spectra.spectral_bounds(H, steps=steps, rng=0, check=False)[1])


# Of several seeds


def mean(rows, key, otherwise=0.0):
    """Mean over runs; `otherwise` where one diverged."""
    return statistics.mean(row.get(key, otherwise) for row in rows)


def spread(rows, key, otherwise=0.0):
    """Standard error of the mean."""
    values = [row.get(key, otherwise) for row in rows]
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


def chosen(rows, **wanted):
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def first_epoch(row, key, level):
    """The first epoch, counted from 1, at which a curve reaches the level; None if it never does."""
    values = numbers(row[key]) if key in row else []
    return next((k + 1 for k, value in enumerate(values) if value >= level), None)
