"""Small relatives of the papers' networks, and spectra of their curvature.

A product with the Hessian over 1,000 images takes a hundredth to a tenth of a second on one core, so that whole
trainings can be looked at. They have 5 to 27 thousand parameters: q = P / N passes 1 with some thousand images.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training import networks

import spectra


def vgg(classes, channels, size, norm=False):
    """Three convolutions, the first with a stride of 4, and two linear layers, with or without normalisation."""
    layers, width = [], channels
    for filters, kernel, stride, pool in ((8, 5, 4, False), (16, 3, 1, True), (16, 3, 1, False)):
        layers += [nn.Conv2d(width, filters, kernel, stride, kernel // 2), *([nn.BatchNorm2d(filters)] if norm else [])]
        layers += [nn.ReLU(), *([nn.MaxPool2d(2, ceil_mode=True)] if pool else [])]
        width = filters
    side = -(-size // 8)
    head = [nn.Flatten(), nn.Linear(width * side * side, 16), nn.ReLU(), nn.Linear(16, classes)]
    return nn.Sequential(*layers, *head)


class PreResNet(nn.Module):
    """A strided convolution and two pre-activation blocks of the harness's residual networks."""

    def __init__(self, classes, channels, size):
        super().__init__()
        stem = nn.Conv2d(channels, 8, 5, stride=4, padding=2, bias=False)
        blocks = networks.Block(8, 8, stride=1), networks.Block(8, 16, stride=2)
        self.body = nn.Sequential(stem, *blocks, nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Linear(16, classes)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def mlp_bn(classes, channels, size):
    """Two hidden layers with batch normalisation."""
    layers = [nn.Flatten(), nn.Linear(channels * size**2, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32)]
    return nn.Sequential(*layers, nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, classes))


NETWORKS = {"vgg": vgg, "vgg-bn": lambda *shape: vgg(*shape, norm=True), "preresnet": PreResNet,
            "mlp": lambda *shape: networks.mlp(*shape, widths=(32, 32)), "mlp-bn": mlp_bn}
LOSS = nn.CrossEntropyLoss()


def build(name, split, seed=0):
    """A network for the data, with weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name](split.shape["classes"], split.shape["channels"], split.shape["size"])


def augmented_step(model, optimizer, loss, batch):
    """A step of the harness's `fit` on flipped and shifted images; what is drawn follows torch's random state."""
    x, y = batch
    seed = int(torch.randint(1 << 31, ()))
    shifted = spectra.nn.Augmented(x, y, copies=1, original=False, batch_size=len(x), rng=seed)
    optimizer.zero_grad()
    outputs = model(shifted[0][0])
    value = loss(outputs, y)
    value.backward()
    optimizer.step()
    return value, outputs


def spectrum(operator, steps, seed=0):
    """Ritz values and weights of one random vector, as plain numbers for JSON."""
    rho = spectra.spectral_density(operator, steps=steps, probes=1, rng=seed)
    return {"nodes": np.round(rho.nodes, 7).tolist(), "weights": np.round(rho.weights, 9).tolist(), "size": rho.size}


def density(found):
    """The density back from its numbers."""
    return spectra.SpectralDensity(found["nodes"], found["weights"], found["size"])


def ends(found):
    """Smallest and largest Ritz value."""
    return found["nodes"][0], found["nodes"][-1]


def bulk_edge(found):
    """Largest Ritz value that carries more than one eigenvalue's share of the weight."""
    return max(x for x, w in zip(found["nodes"], found["weights"], strict=True) if w * found["size"] > BULK)


BULK = 5  # a single eigenvalue's weight is 1/P times the square of a normal variable, hardly ever above 5/P


def say(*words):
    print(*words, file=sys.stderr, flush=True)
