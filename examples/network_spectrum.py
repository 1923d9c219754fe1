"""From a checkpoint to spectrum, statistics and landscape.

    python examples/training/train.py mlp fashion-mnist --epochs 10 --out mlp.pt
    python examples/network_spectrum.py mlp.pt mlp.png
    spectra curvature examples/network_spectrum.py mlp.pt --kind ggn --landscape 1 --resume mlp.npz --plot mlp.png

The function `network` is what the command line asks for: it returns model, loss, training data and test data. Without a
checkpoint it trains a small network on handwritten digits. Write one like it for a network of your own.

A stem plot of one random vector shows everything there is: a spike at 0, for a network has far more weights than data
that tell them apart; a bulk; and about as many large eigenvalues as there are classes.
"""

import sys
from pathlib import Path

import numpy as np
import torch

import spectra
from spectra import nn

sys.path.insert(0, str(Path(__file__).resolve().parent))
from training import data, networks, train

SAMPLES, BATCH = 2000, 100


def network(checkpoint=None):
    """Model, loss, training data and test data, of a checkpoint of `examples/training` or of a network trained here."""
    if checkpoint is None:
        model, split = trained()
    else:
        found = train.restore(checkpoint)
        model, split = found.model, data.load(**found.notes["data"])
    parts = [tuple(tensor[:SAMPLES] for tensor in part) for part in (split.train, split.test)]
    return model, torch.nn.CrossEntropyLoss(), *[data.batches(part, BATCH) for part in parts]


def trained():
    """A small convolutional network on the digits of 8 x 8 pixels."""
    split = data.load("digits", train=300)
    model = networks.build("cnn", **split.shape)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    train.fit(model, optimizer, split, epochs=10, batch=50, progress=False)
    return model, split


def main(checkpoint=None, picture=None, steps=25):
    model, loss, batches, test = network(checkpoint)

    # The spectrum, from one vector of random signs.
    H = nn.HessianOperator(model, loss, batches)
    rho = spectra.spectral_density(H, steps=steps, probes=1, rng=0)
    top = rho.nodes[::-1][:15]
    print(f"{H.shape[0]} parameters, loss {H.loss():.4f}")
    print("largest Ritz values", top.round(3))
    print(f"share of eigenvalues within 0.1 % of the largest from 0: {near_zero(rho):.4f}")

    # Statistics: how large the gradient and the weights are, and what changes from one mini-batch to the next. With
    # "hessian" or "ggn" among the curvatures there are traces, norms and ends of the spectrum, too, with error bars.
    found = nn.statistics(model, loss, batches, curvatures=[], rng=0)
    found["hessian_variance"] = nn.curvature_variance(model, loss, batches, rng=0)
    for name in ("gradient_norm", "gradient_variance", "weight_norm", "hessian_variance"):
        print(f"{name:18}", found[name])

    # The loss along the sharpest direction, and along a random one of the same length.
    values, vectors, residuals = spectra.eigenpairs(H, 1, which="LA", tol=1e-2, rng=0)
    sharpest = vectors[:, 0]
    chance = H.from_dict(nn.random_direction(model, rng=0))
    scapes = {name: [nn.landscape(model, loss, part, direction, points=11) for part in (batches, test)]
              for name, direction in (("sharpest", sharpest), ("random", chance / chance.norm()))}
    for name, (seen, unseen) in scapes.items():
        print(f"loss at distance 1, {name:8} direction: train {seen.losses.max():.3f}, test {unseen.losses.max():.3f}")

    # What was claimed above.
    assert near_zero(rho) > 0.8
    assert values[0] - residuals[0] <= top[0] * 1.001 <= (values[0] + residuals[0]) * 1.01
    rise = {name: seen.losses.max() - seen.losses[5] for name, (seen, _) in scapes.items()}
    assert rise["sharpest"] > 10 * rise["random"]
    if picture:
        draw(picture, rho, scapes)


def near_zero(rho):
    nodes, weights = rho.rules[0]
    return weights[np.abs(nodes) < 1e-3 * nodes.max()].sum()


def draw(path, rho, scapes):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    spectra.plot.stem(rho, axes[0], log=True)
    for ax, (name, (seen, unseen)) in zip(axes[1:], scapes.items(), strict=True):
        spectra.plot.landscape(seen, ax, test=unseen)
        ax.set_title(f"{name} direction")
        ax.legend(frameon=False)
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main(*sys.argv[1:])
