"""Train a network whose damping sets itself, and watch why it does.

    python examples/train_with_damping.py --picture damping.png
    python examples/train_with_damping.py --rule flat --damping 0.003           # what a fixed one does

KFAC divides each step by a curvature that it estimates from single batches. Where the damping is smaller than the noise
in that curvature, steps along flat directions are long and mean nothing; where it is much larger, KFAC is slow gradient
descent. `AutoDamping` measures the noise on the batch at hand, every ten steps, and moves the damping along.

After each epoch this prints and keeps the loss, the damping, the noise s, and the sharpness of the whole training loss:
the largest eigenvalue of its Hessian, by Lanczos. The defaults are small; --train 10000 --epochs 10 shows more.
"""

import argparse
import json
import statistics
from pathlib import Path

import torch
from training import data, networks, train

import spectra
from spectra import nn, optim

RULES = ("edge", "scaled-edge", "variance", "flat")
CRITERION = torch.nn.functional.cross_entropy


def controlled(damping):
    """One step of `train.fit`: the gradient, a look at the batch, and the optimiser's step."""

    def step(model, optimizer, loss, batch):
        optimizer.zero_grad()
        outputs = model(batch[0])
        value = loss(outputs, batch[1])
        value.backward()
        if damping is not None:
            damping.step(loss, batch)
        optimizer.step()
        return value, outputs

    return step


def sharpness(model, xy, samples=64):
    """Largest eigenvalue of the Hessian on some training samples, to a few per cent."""
    hessian = nn.HessianOperator(model, CRITERION, tuple(tensor[:samples] for tensor in xy), check=None)
    return float(spectra.eigenpairs(hessian, 1, which="LA", tol=0.05, rng=0).values[0])


def run(split, *, network="cnn", rule="edge", start=0.03, lr=1e-2, epochs=5, batch=64, kl_clip=None, seed=0):
    """Train, and return the history: what `train.fit` says of each epoch, with damping, noise and sharpness."""
    model = networks.build(network, **split.shape, seed=seed)
    optimizer = optim.KFAC(model, lr=lr, damping=start, kl_clip=kl_clip, rng=seed)
    damping = None if rule == "flat" else optim.AutoDamping(optimizer, rule=rule, every=10, rng=seed)

    def watch(model, row):
        seen = damping.history[-10:] if damping else []
        row["damping"] = float(optimizer.param_groups[0]["damping"])
        row["noise"] = statistics.mean(entry["variance"] for entry in seen) if seen else None
        row["sharpness"] = sharpness(model, split.train)
        print(f"damping {row['damping']:.4f}   sharpness {row['sharpness']:.2f}", flush=True)

    history = train.fit(model, optimizer, split, epochs, batch, step=controlled(damping), seed=seed, on_epoch=watch)
    return history, [] if damping is None else damping.history


def draw(history, estimates, path):
    """Loss, accuracy, damping and sharpness against the epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    (loss, accuracy), (damping, sharp) = figure.subplots(2, 2)
    epochs = [row["epoch"] for row in history]
    for name, label in (("loss", "training"), ("test_loss", "test")):
        loss.plot(epochs, [row[name] for row in history], "o-", label=label)
    for name, label in (("accuracy", "training"), ("test_accuracy", "test")):
        accuracy.plot(epochs, [row[name] for row in history], "o-", label=label)
    if estimates:
        per_epoch = estimates[-1]["step"] / len(epochs)
        steps = [entry["step"] / per_epoch for entry in estimates]
        damping.semilogy(steps, [2 * entry["variance"] ** 0.5 for entry in estimates], ".", color="0.7",
                         label="edge of the noise, 2√s")
        damping.semilogy(steps, [entry["damping"] for entry in estimates], label="damping")
    else:
        damping.semilogy(epochs, [row["damping"] for row in history], label="damping")
    sharp.plot(epochs, [row["sharpness"] for row in history], "o-", color="C3")
    for axes, title in ((loss, "loss"), (accuracy, "accuracy"), (damping, "damping"), (sharp, "largest eigenvalue")):
        axes.set(title=title, xlabel="epoch")
    for axes in (loss, accuracy, damping):
        axes.legend(frameon=False)
    figure.savefig(path, dpi=100)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--network", default="cnn", choices=sorted(networks.NETWORKS))
    parser.add_argument("--rule", default="edge", choices=RULES)
    parser.add_argument("--damping", type=float, default=0.03, help="at the start, and for ever if flat")
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--kl-clip", type=float, help="bound on the length of a step; 0.01 in the published runs")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--train", type=int, default=512, help="training samples")
    parser.add_argument("--test", type=int, default=300, help="test samples")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--json", type=Path, help="log of every epoch and every estimate")
    args = parser.parse_args(arguments)
    split = data.load(args.data, train=args.train, test=args.test)
    history, estimates = run(split, network=args.network, rule=args.rule, start=args.damping, lr=args.lr,
                             epochs=args.epochs, kl_clip=args.kl_clip)
    assert history[-1]["loss"] < history[0]["loss"]
    if args.json:
        args.json.write_text(json.dumps({"epochs": history, "estimates": estimates}, indent=1))
    if args.picture:
        draw(history, estimates, args.picture)
    return history


if __name__ == "__main__":
    main()
