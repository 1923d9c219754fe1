"""Train a network, keep it in a checkpoint, and go on from there to the same digits.

    python examples/training/train.py mlp fashion-mnist --epochs 3 --optimizer sgd --out mlp.pt
    python examples/training/train.py mlp fashion-mnist --epochs 9 --optimizer sgd --out mlp.pt --resume

The order of the data in an epoch depends on the seed and the epoch alone, so a training that was interrupted between
epochs ends where an uninterrupted one does.
"""

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from spectra import optim
from training import data, networks

OPTIMIZERS = {
    "sgd": lambda w, lr, decay: torch.optim.SGD(w, lr=lr, momentum=0.9, weight_decay=decay),
    "adam": lambda w, lr, decay: torch.optim.Adam(w, lr=lr, weight_decay=decay),
    "adamw": lambda w, lr, decay: torch.optim.AdamW(w, lr=lr, weight_decay=decay),
    "padamw": lambda w, lr, decay: optim.PAdamW(w, lr=lr, weight_decay=decay),
}


class Checkpoint(NamedTuple):
    """What `restore` gives back."""

    model: torch.nn.Module
    optimizer: dict | None
    """State for the `load_state_dict` of an optimiser made as the first one was."""
    history: list[dict]
    notes: dict[str, Any]


def gradient_step(model, optimizer, loss, batch):
    """The loss of the batch and the outputs, after a step along the gradient of the loss."""
    optimizer.zero_grad()
    outputs = model(batch[0])
    value = loss(outputs, batch[1])
    value.backward()
    optimizer.step()
    return value, outputs


def fit(model, optimizer, split, epochs, batch=128, schedule=None, loss=cross_entropy, seed=0, on_epoch=None,
        progress=True, history=(), step=gradient_step):
    """Train up to `epochs` epochs in all, and return the history: a dictionary for each.

    `history` is that of the epochs behind us. `schedule` gives the factor of the learning rate in an epoch, as
    `spectra.optim.plateau_decay(epochs)`. `on_epoch(model, row)` is called after each epoch. `step(model, optimizer,
    loss, batch)` returns loss and outputs; give your own for optimisers that need more than a gradient. The training
    ends early where the loss is not finite.
    """
    history, (x, y) = list(history), split.train
    for epoch in range(len(history), epochs):
        begun = time.perf_counter()
        if schedule is not None:
            _set_rate(optimizer, schedule(epoch))
        model.train()
        torch.manual_seed(seed + 7919 * (epoch + 1))
        seen, correct, total = 0, 0.0, 0.0
        for rows in torch.randperm(len(x)).split(batch):
            value, outputs = step(model, optimizer, loss, (x[rows], y[rows]))
            seen += len(rows)
            total += float(value.detach()) * len(rows)
            correct += accuracy(outputs, y[rows]) * len(rows)
        found = evaluate(model, split.test, loss)
        history.append({"epoch": epoch + 1, "loss": total / seen, "accuracy": correct / seen, "test_loss": found.loss,
                        "test_accuracy": found.accuracy, "seconds": time.perf_counter() - begun})
        if progress:
            print(line(history[-1]), file=sys.stderr)
        if on_epoch is not None:
            on_epoch(model, history[-1])
        if not math.isfinite(total):
            break
    return history


class Evaluation(NamedTuple):
    loss: float
    accuracy: float


@torch.no_grad()
def evaluate(model, xy, loss=cross_entropy, batch=512):
    """Mean loss and accuracy on inputs and targets, in evaluation mode; the mode is put back."""
    mode = model.training
    model.eval()
    total = correct = 0.0
    for x, y in zip(*(tensor.split(batch) for tensor in xy), strict=True):
        outputs = model(x)
        total += float(loss(outputs, y)) * len(y)
        correct += accuracy(outputs, y) * len(y)
    model.train(mode)
    return Evaluation(total / len(xy[1]), correct / len(xy[1]))


def accuracy(outputs, y):
    """Share of the targets whose class has the largest output."""
    return float((outputs.detach().argmax(1) == y).float().mean())


def line(row):
    return (f"epoch {row['epoch']:3d}  loss {row['loss']:.4f}  accuracy {row['accuracy']:.4f}  "
            f"test {row['test_loss']:.4f} {row['test_accuracy']:.4f}  {row['seconds']:.1f} s")


def save(path, model, optimizer=None, history=(), **notes):
    """Write a checkpoint, whole or not at all. `notes` are numbers, strings, lists and dictionaries of them."""
    path = Path(path)
    draft = path.with_name(path.name + ".part")
    torch.save({"recipe": model.recipe, "model": model.state_dict(), "history": list(history), "notes": notes,
                "optimizer": None if optimizer is None else optimizer.state_dict()}, draft)
    draft.replace(path)


def restore(path):
    """The checkpoint in a file; nothing but tensors and plain values is unpickled."""
    found = torch.load(path, map_location="cpu", weights_only=True)
    model = networks.build(**found["recipe"])
    model.load_state_dict(found["model"])
    return Checkpoint(model, found["optimizer"], found["history"], found["notes"])


def _set_rate(optimizer, factor):
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
        group["lr"] = group["initial_lr"] * factor


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Train a network and keep it in a checkpoint.")
    parser.add_argument("network", choices=sorted(networks.NETWORKS))
    parser.add_argument("data", help="images or text of spectra.datasets, such as fashion-mnist")
    parser.add_argument("--out", required=True, metavar="CHECKPOINT", help="written after each epoch")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint up to --epochs in all")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="sgd")
    parser.add_argument("--lr", type=float, help="learning rate; 0.03 for sgd, otherwise 0.001")
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--schedule", choices=("constant", "plateau"), default="constant",
                        help="plateau: constant for half the epochs, then linearly down to a hundredth")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--train", type=int, help="training samples; all by default")
    parser.add_argument("--test", type=int, help="test samples; all by default")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)

    samples = {"name": args.data, "train": args.train, "test": args.test, "seed": args.seed}
    split = data.load(**samples)
    if args.resume:
        model, state, history, _ = restore(args.out)
    else:
        model, state, history = networks.build(args.network, **split.shape, seed=args.seed), None, []
    rate = args.lr if args.lr is not None else {"sgd": 0.03}.get(args.optimizer, 1e-3)
    optimizer = OPTIMIZERS[args.optimizer](model.parameters(), rate, args.weight_decay)
    if state is not None:
        optimizer.load_state_dict(state)

    def keep(model, row):
        history.append(row)
        save(args.out, model, optimizer, history, data=samples)

    fit(model, optimizer, split, args.epochs, args.batch, seed=args.seed, on_epoch=keep, history=tuple(history),
        schedule=optim.plateau_decay(args.epochs) if args.schedule == "plateau" else None)


if __name__ == "__main__":
    main()
