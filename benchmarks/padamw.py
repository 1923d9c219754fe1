"""Time of one step of PAdamW as a ratio to torch's own AdamW on the same tensors, in turns, in one process."""

import json
import statistics
import sys
import time

import torch

from spectra.optim import PAdamW

SHAPES = [(512, 784), (512,), (256, 512), (256,), (10, 256), (10,)] * 4
POWERS = (0.5, 0.25, 0.125, 0.2, 0.0)


def parameters():
    torch.manual_seed(0)
    found = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    for w in found:
        w.grad = torch.randn_like(w)
    return found


def measure(rounds=15, steps=5):
    torch.set_num_threads(1)
    optimisers = {"torch": torch.optim.AdamW(parameters(), foreach=True)}
    optimisers |= {p: PAdamW(parameters(), p=p, weight_decay=0.01) for p in POWERS}
    times = {name: [] for name in optimisers}
    for _ in range(rounds):
        for name, optimiser in optimisers.items():
            start = time.process_time()
            for _ in range(steps):
                optimiser.step()
            times[name].append(time.process_time() - start)
    unit = statistics.median(times["torch"])
    return {str(name): statistics.median(values) / unit for name, values in times.items()}


if __name__ == "__main__":
    ratios = measure()
    for name, ratio in ratios.items():
        print(f"{'AdamW of torch, foreach' if name == 'torch' else 'PAdamW, p = ' + name:26} {ratio:.2f}")
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w") as file:
            json.dump({"torch": torch.__version__, "ratios": ratios}, file, indent=1)
