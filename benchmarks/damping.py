"""What damping that sets itself costs, and how precise its estimates are.

    python benchmarks/damping.py --json docs/measured/damping-cost.json

Costs: one estimate in gradients of the same batch, and epochs of KFAC (an estimate every 10 steps) and Adam (every 25)
with and without the controller, for a CNN, an MLP and logistic regression of 28 x 28 inputs, batches of 128. Precision:
the coefficient of variation of one estimate from 512 samples, cut in chunks with a probe each, beside the published
code's, eight batches about their mean under one probe. One thread, processor time, all in turns, medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from training import networks

from spectra import nn, optim

BATCH = 128
TARGETS = {"estimate": 4.5, "kfac": 1.15, "adam": 1.20, "spread": 0.6}
OPTIMISERS = {"kfac": (lambda model: optim.KFAC(model, lr=1e-3, damping=0.03, rng=0), "damping", 10),
              "adam": (lambda model: torch.optim.Adam(model.parameters(), lr=1e-3), "eps", 25)}


def batch_of(samples):
    return torch.randn(samples, 1, 28, 28), torch.randint(10, (samples,))


def in_turns(calls, rounds):
    """Median processor seconds of each call."""
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def estimate(name, rounds):
    """One estimate of each kind, in gradients."""
    model, batch = networks.build(name), batch_of(BATCH)
    params = list(model.parameters())
    calls = {"gradient": lambda: torch.autograd.grad(cross_entropy(model(batch[0]), batch[1]), params)}
    kinds = {"hessian": {}, "ggn": {"curvature": "ggn"}, "hessian, moments": {"rule": "ledoit-wolf"}}
    for label, options in kinds.items():
        damping = optim.AutoDamping(torch.optim.Adam(params), "eps", every=1, model=model, rng=0, **options)
        calls[label] = lambda damping=damping: damping.step(cross_entropy, batch)
    found = in_turns(calls, rounds)
    unit = found.pop("gradient")
    return {label: seconds / unit for label, seconds in found.items()}


def epoch(name, kind, rounds):
    """Time of the steps from one estimate to the next, with the controller by without."""
    make, key, every = OPTIMISERS[kind]
    batch = batch_of(BATCH)

    def stretch(controlled):
        model = networks.build(name)
        optimizer = make(model)
        damping = optim.AutoDamping(optimizer, key, every=every, model=model, rng=0) if controlled else None
        steps_of(model, optimizer, damping, batch, 2 * every)  # decompositions become rare
        return lambda: steps_of(model, optimizer, damping, batch, every)

    found = in_turns({controlled: stretch(controlled) for controlled in (False, True)}, rounds)
    return found[True] / found[False]


def steps_of(model, optimizer, damping, batch, count):
    for _ in range(count):
        optimizer.zero_grad()
        cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()
        if damping is not None:
            damping.step(cross_entropy, batch)


def spread(repeats):
    """Coefficients of variation at equal data, and their ratio, for a CNN of 2,220 weights."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(1, 6, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Conv2d(6, 10, 3),
              torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(160, 10)]
    model, adam = torch.nn.Sequential(*layers), OPTIMISERS["adam"][0]
    x, y = torch.randn(512, 1, 14, 14), torch.randint(10, (512,))
    damping = optim.AutoDamping(adam(model), "eps", every=1, chunks=32, batch_size=64, model=model, rng=0)
    for _ in range(repeats):
        damping.step(cross_entropy, (x, y))
    ours = [entry["variance"] for entry in damping.history]
    batches = list(zip(x.split(64), y.split(64), strict=True))
    theirs = [nn.curvature_variance(model, cross_entropy, batches, method="sample", rng=i).value
              for i in range(repeats)]
    found = {name: float(np.std(values, ddof=1) / np.mean(values))
             for name, values in (("chunks", ours), ("published", theirs))}
    return found | {"ratio": found["chunks"] / found["published"], "repeats": repeats,
                    "means": float(np.mean(ours) / np.mean(theirs))}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=60)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    document = {"torch": torch.__version__, "batch": BATCH, "targets": TARGETS, "networks": {}}

    def keep():
        if args.json:
            args.json.write_text(json.dumps(document, indent=1) + "\n")

    for name in ("logistic", "mlp", "cnn"):
        found = document["networks"][name] = {"parameters": networks.parameters(networks.build(name))}
        found["estimate"] = estimate(name, args.rounds)
        print(name, {kind: round(ratio, 2) for kind, ratio in found["estimate"].items()}, flush=True)
        for kind in OPTIMISERS:
            found[kind] = epoch(name, kind, args.rounds)
            print(f"{name}, epoch of {kind}: {found[kind]:.3f} of one without", flush=True)
            keep()
    document["spread"] = spread(args.repeats)
    print("spread", document["spread"])
    keep()


if __name__ == "__main__":
    main()
