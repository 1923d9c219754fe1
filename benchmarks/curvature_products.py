"""What a curvature product costs, in units of one full-data gradient, and in memory.

    python benchmarks/curvature_products.py --json docs/measured/curvature-products.json

Two networks: an MLP 784-512-256-10 with tanh (536 thousand parameters, 2,560 samples in batches of 256), and one like
VGG with ReLU and max-pooling (633 thousand parameters, 256 samples in two batches). One thread, process time,
everything in turns, medians of five rounds; memory is what a first product adds at its peak, in a process of its own.
With packages of others in the same environment (peers_nn.sh makes one), their products stand beside ours.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import importlib.metadata
import importlib.util
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

from spectra.nn import GGNOperator, HessianOperator

CRITERION = nn.CrossEntropyLoss()
BUDGET = 2**31

# The C library hands large blocks back to the system and asks for them anew, page by page, in every pass: as it is; and
# told to keep them.
ALLOCATORS = {"as it is": {},
              "memory kept": {"MALLOC_MMAP_THRESHOLD_": str(2**33), "MALLOC_TRIM_THRESHOLD_": str(2**34)}}

MARKS = "<!-- measured by benchmarks/curvature_products.py -->", "<!-- end of what was measured -->"

TARGETS = {
    ("mlp", "Hessian"): 2.30, ("vgg", "Hessian"): 2.9, ("mlp", "Hessian, graphs kept"): 1.40,
    ("vgg", "Hessian, graphs kept"): 1.70, ("mlp", "Hessian, block, per vector"): 1.40,
    ("vgg", "Hessian, block, per vector"): 2.35, ("mlp", "GGN"): 1.95, ("vgg", "GGN"): 1.70,
    ("mlp", "GGN, graphs kept"): 1.25, ("vgg", "GGN, graphs kept"): 1.20,
}


def mlp():
    model = nn.Sequential(nn.Linear(784, 512), nn.Tanh(), nn.Linear(512, 256), nn.Tanh(), nn.Linear(256, 10))
    return model, [(torch.randn(256, 784), torch.randint(0, 10, (256,))) for _ in range(10)], 8


def vgg():
    layers = []
    for before, after in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.Conv2d(after, after, 3, padding=1), nn.ReLU(),
                   nn.MaxPool2d(2)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 168), nn.ReLU(), nn.Linear(168, 10))
    return model, [(torch.randn(128, 3, 32, 32), torch.randint(0, 10, (128,))) for _ in range(2)], 4


NETWORKS = {"mlp": mlp, "vgg": vgg}


def gradient(model, batches):
    """The unit: what one step of full-batch training costs."""
    parameters = list(model.parameters())
    total = [torch.zeros_like(p) for p in parameters]
    for x, y in batches:
        for sum_, g in zip(total, torch.autograd.grad(CRITERION(model(x), y), parameters), strict=True):
            sum_ += g


def calls(model, batches, k: int) -> dict:
    """Name -> (function, vectors)."""
    size = sum(p.numel() for p in model.parameters())
    v, V = torch.randn(size), torch.randn(k, size).T
    made = {"gradient": (lambda: gradient(model, batches), 1)}
    for name, operator in (("Hessian", HessianOperator), ("GGN", GGNOperator)):
        anew = operator(model, CRITERION, batches, cache=None, check=None)
        kept = operator(model, CRITERION, batches, cache=BUDGET, check=None)
        made[name] = (lambda anew=anew: anew @ v, 1)
        made[f"{name}, graphs kept"] = (lambda kept=kept: kept @ v, 1)
        made[f"{name}, block, per vector"] = (lambda anew=anew: anew @ V, k)
    return made | peers(model, batches, v, V, k)


def peers(model, batches, v, V, k: int) -> dict:
    """Packages that are installed beside this one."""
    found = {}
    if importlib.util.find_spec("curvlinops"):
        import curvlinops

        for name, operator in (("Hessian", "HessianLinearOperator"), ("GGN", "GGNLinearOperator")):
            op = getattr(curvlinops, operator)(model, CRITERION, list(model.parameters()), batches,
                                               check_deterministic=False)
            found[f"{name}, curvlinops"] = (lambda op=op: op @ v, 1)
            found[f"{name}, block, per vector, curvlinops"] = (lambda op=op: op @ V, k)
    if importlib.util.find_spec("pyhessian"):
        from pyhessian import hessian

        theirs = hessian(model, CRITERION, dataloader=batches, cuda=False)
        pieces = [p.view(q.shape) for p, q in zip(v.split([q.numel() for q in model.parameters()]),
                                                  model.parameters(), strict=True)]
        found["Hessian, PyHessian"] = (lambda: theirs.dataloader_hv_product(pieces), 1)
    if importlib.util.find_spec("backpack"):
        from backpack.hessianfree.ggnvp import ggn_vector_product
        from backpack.hessianfree.hvp import hessian_vector_product

        parameters = list(model.parameters())
        pieces = [p.view(q.shape) for p, q in zip(v.split([q.numel() for q in parameters]), parameters, strict=True)]

        def hessian_backpack():
            for x, y in batches:
                hessian_vector_product(CRITERION(model(x), y), parameters, pieces)

        def ggn_backpack():
            for x, y in batches:
                z = model(x)
                ggn_vector_product(CRITERION(z, y), z, model, pieces)

        found |= {"Hessian, BackPACK": (hessian_backpack, 1), "GGN, BackPACK": (ggn_backpack, 1)}
    return found


def versions() -> dict[str, str]:
    packages = {"curvlinops": "curvlinops-for-pytorch", "pyhessian": "pyhessian", "backpack": "backpack-for-pytorch"}
    return {name: importlib.metadata.version(package) for name, package in packages.items()
            if importlib.util.find_spec(name)}


def ratios(name: str, rounds: int) -> dict[str, dict]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    made = calls(*NETWORKS[name]())
    for call, _ in made.values():
        call()
    times = {label: [] for label in made}
    for _ in range(rounds):  # in turns, so that a busy moment meets all
        for label, (call, vectors) in made.items():
            start = time.process_time()
            call()
            times[label].append((time.process_time() - start) / vectors)
    unit = statistics.median(times["gradient"])
    return {label: {"ratio": statistics.median(t) / unit, "lowest": min(t) / unit, "seconds": statistics.median(t)}
            for label, t in times.items()}


def child(expression: str, environment: dict) -> str:
    """What an expression prints in a process of its own."""
    code = f"import curvature_products as c; {expression}"
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=Path(__file__).parent, check=True,
                         text=True, capture_output=True, env=os.environ | environment)
    return run.stdout


def added(name: str, what: str) -> float:
    """MiB that a first product adds, at its peak, to what the process held before."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    small = calls(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), [(torch.randn(2, 2), torch.randint(0, 2, (2,)))], 4)
    small[what][0]()  # code is loaded with its first use
    model, batches, k = NETWORKS[name]()
    product = calls(model, batches, k)[what][0]
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew at what is resident
    before = resident("VmRSS")
    product()
    return resident("VmHWM") - before


def resident(field: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path, help="write the tables of the JSON file into it, and measure nothing")
    options = parser.parse_args()
    if options.page:
        return page(json.loads(options.json.read_text()), options.page)
    found = begun(options)
    for setting, environment in ALLOCATORS.items():
        for name in options.networks:
            rows = found["networks"].setdefault(name, {})
            if any(setting in row for row in rows.values()):
                continue
            text = child(f"import json; print(json.dumps(c.ratios({name!r}, {options.rounds})))", environment)
            for label, row in json.loads(text).items():
                rows.setdefault(label, {"target": TARGETS.get((name, label))})[setting] = row
            save(found, options.json)
    for name in options.networks:
        for label, row in found["networks"][name].items():
            if "mib" not in row:
                row["mib"] = float(child(f"print(c.added({name!r}, {label!r}))", {}))
                save(found, options.json)
            asked = f", asked for {row['target']:.2f}" if row["target"] else ""
            kept = f"{row['memory kept']['ratio']:.2f} with memory kept{asked}"
            print(f"{name}: {label:45s} {row['as it is']['ratio']:5.2f} gradients ({kept}), {row['mib']:6.1f} MiB",
                  flush=True)


def begun(options) -> dict:
    """What an interrupted run has measured in this environment, or nothing yet."""
    found = {"torch": torch.__version__, "machine": platform.processor() or platform.machine(), "peers": versions(),
             "rounds": options.rounds, "networks": {}}
    if options.json and options.json.exists():
        before = json.loads(options.json.read_text())
        if all(before.get(name) == found[name] for name in ("torch", "machine", "peers", "rounds")):
            return before
    return found


def page(found: dict, path: Path) -> None:
    """Write the tables between the marks of a page."""
    lines = []
    for name, title in (("mlp", "MLP, 536 thousand parameters, 2,560 samples"),
                        ("vgg", "VGG-like, 633 thousand parameters, 256 samples")):
        lines += [f"| {title} | gradients | memory kept | MiB |", "|---|---|---|---|"]
        for label, row in found["networks"].get(name, {}).items():
            ratio = [f"{row[setting]['ratio']:.2f}" if setting in row else "" for setting in ALLOCATORS]
            lines.append(f"| {label} | {' | '.join(ratio)} | {row['mib']:.0f} |" if "mib" in row else
                         f"| {label} | {' | '.join(ratio)} | |")
        lines.append("")
    before, _, rest = path.read_text().partition(MARKS[0])
    path.write_text("\n".join([before + MARKS[0], "", *lines[:-1], "", MARKS[1]]) + rest.partition(MARKS[1])[2])


def save(found: dict, path) -> None:
    if path:
        path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
