"""Time of one step of PAdamW as a ratio to torch's own AdamW on the same tensors, in turns, in one process."""

import argparse
import statistics
import time
from pathlib import Path

import torch
from _rounds import save

from spectra.optim import PAdamW

HERE = Path(__file__).parent
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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=HERE.parent / "docs" / "measured" / "padamw.json")
    options = parser.parse_args()
    ratios = measure()
    for name, ratio in ratios.items():
        print(f"{'AdamW of torch, foreach' if name == 'torch' else 'PAdamW, p = ' + name:26} {ratio:.2f}")
    save(options.json, {"torch": torch.__version__, "ratios": ratios})


if __name__ == "__main__":
    main()
