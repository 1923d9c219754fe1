"""Thesis, Table 4.3: the loss along the sharpest directions, on training and on test data.

    python examples/reproduce/thesis_table_4_3.py [--checkpoint FILE] [--full] [--json FILE] [--picture FILE]

The table is a call of the authors' program: 21 points to a distance of 1 along each Ritz vector. Its pictures show, and
its caption says, that along the sharpest directions training and test loss are alike, and that what is flat for the
training loss need not be flat for the test loss. Here: a multilayer perceptron on Fashion-MNIST instead of VGG-16 on
CIFAR-100; Ritz vectors of the Hessian of the loss over some thousand training images, and a random direction.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal

import spectra
from spectra import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _report import claim, save, table
from training import data, networks, train

PAPER = {"distance": 1.0, "points": 21}
LOSS = torch.nn.functional.cross_entropy


def trained(images=10_000, epochs=10, checkpoint=None):
    """The network, and training and test images."""
    split = data.load("fashion-mnist", train=None if checkpoint else images)
    if checkpoint:
        return train.restore(checkpoint).model, split
    model = networks.build("mlp", **split.shape)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    train.fit(model, optimizer, split, epochs)
    return model, split


def run(model, split, samples=2000, steps=60, points=PAPER["points"], span=PAPER["distance"], progress=False):
    """Losses on both data along Ritz vectors, the three sharpest and the one nearest 0, and a random direction."""
    parts = [data.batches(tuple(tensor[:samples] for tensor in part), 500) for part in (split.train, split.test)]
    H = nn.HessianOperator(model, LOSS, parts[0])
    start = 2.0 * np.random.default_rng(0).integers(0, 2, H.shape[0]) - 1
    alpha, beta, Q = spectra.lanczos(H, torch.from_numpy(start).to(H.like), steps, basis=True)
    values, vectors = eigh_tridiagonal(alpha[0], beta[0])
    chance = H.from_dict(nn.random_direction(model, rng=0))
    chosen = {f"sharpest, {k + 1}": steps - 1 - k for k in range(3)} | {"flattest": int(np.argmin(np.abs(values)))}
    directions = {name: (float(values[k]), Q[0] @ torch.from_numpy(vectors[:, k]).to(H.like))
                  for name, k in chosen.items()} | {"random": (None, chance / chance.norm())}
    found = {}
    for name, (value, direction) in directions.items():
        scapes = [nn.landscape(model, LOSS, part, direction, span=span, points=points, progress=progress)
                  for part in parts]
        found[name] = {"eigenvalue": value, "scapes": scapes} | rises(*(scape.losses for scape in scapes))
    return found


def rises(seen, unseen):
    """How far each loss rises, and how much of the difference between the rises there is."""
    middle = len(seen) // 2
    one, other = seen - seen[middle], unseen - unseen[middle]
    return {"train": float(one.max()), "test": float(other.max()), "range of train": float(np.ptp(one)),
            "range of test": float(np.ptp(other)),
            "largest difference of the rises over that of train": float(np.abs(one - other).max() / one.max())}


def claims(found, size):
    sharp = [found[f"sharpest, {k}"] for k in (1, 2, 3)]
    alike = [one["largest difference of the rises over that of train"] for one in sharp]
    flat, ratio = found["flattest"], found["flattest"]["range of test"] / found["flattest"]["range of train"]
    return [
        claim("thesis Table 4.3", "loss along the three sharpest Ritz vectors, train beside test", "similar curves",
              f"the rises differ by {', '.join(f'{100 * one:.0f} %' for one in alike)} of that of the training loss",
              "the sharpest directions are those of the classes, which both data share", size=size,
              holds="yes" if max(alike) < 0.2 else "in part" if min(alike) < 0.2 else "no"),
        claim("thesis Table 4.3", "flat for the training loss is not flat for the test loss", "said of the pictures",
              f"along the Ritz vector nearest 0 the training loss varies by {flat['range of train']:.1g}, the test "
              f"loss by {flat['range of test']:.1g}, {ratio:.0f} times as much; along the sharpest by "
              f"{sharp[0]['range of train']:.2g} and {sharp[0]['range of test']:.2g}",
              "where training ended the test loss still has a slope; on the scale of the loss both are flat", size=size,
              holds="yes" if ratio > 10 else "in part" if ratio > 1.5 else "no"),
    ]


def picture(found, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(3.2 * len(found), 3), layout="constrained")
    for ax, (name, one) in zip(axes, found.items(), strict=True):
        spectra.plot.landscape(one["scapes"][0], ax, test=one["scapes"][1])
        ax.set_title(name if one["eigenvalue"] is None else f"{name}: {one['eigenvalue']:.2g}", fontsize=10)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main():
    docs = Path(__file__).resolve().parents[2] / "docs"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="a network of examples/training instead of training one on 10,000 images")
    parser.add_argument("--full", action="store_true", help="the loss over 10,000 images")
    parser.add_argument("--json", default=docs / "measured" / "thesis_table_4_3.json")
    parser.add_argument("--picture", default=docs / "img" / "thesis_table_4_3.png")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, split = trained(checkpoint=args.checkpoint)
    samples = 10_000 if args.full else 2000
    found = run(model, split, samples, progress=True)
    told = claims(found, f"mlp, {networks.parameters(model):,} parameters, {samples:,} images of each")
    print(table(["direction", "eigenvalue", "train rises", "test rises"],
                [[name, one["eigenvalue"], one["train"], one["test"]] for name, one in found.items()]))
    for row in told:
        print(f"{row['holds']:8} {row['what']}: {row['ours']}")
    kept = {name: {key: value for key, value in one.items() if key != "scapes"}
            | {"losses": [scape.losses.tolist() for scape in one["scapes"]]} for name, one in found.items()}
    save(args.json, {"paper": PAPER, "claims": told, "directions": kept})
    picture(found, args.picture)


if __name__ == "__main__":
    main()
