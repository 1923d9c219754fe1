"""Damping paper, section 8: the largest stable learning rate of SGD, Adam and KFAC.

    python examples/reproduce/damping_section_8.py [--full] [--seeds 3] [--json FILE]

The largest learning rate of a logarithmic grid at which training does not fail, momentum 0.9. In theory it is 2 over
the largest eigenvalue of B^-1 H (20), so a preconditioner B that knows the sharpest directions of the Hessian H stands
a larger rate: KFAC more than Adam, Adam more than SGD. The paper sets the damping to 1 in its argument and does not
print that of its runs, so a grid of dampings is measured. A learning rate is in units of 1 / H for SGD, and none for
KFAC, so the comparison has a damping in it whatever one does; beside it, the largest rate over damping.
"""

from itertools import product

import torch
from _report import arguments, claim, table
from _study import FULL, NARROW, chosen, conclude, problem, study, trained

from spectra import optim

RATES = (0.01, 0.018, 0.032, 0.056, 0.1, 0.18, 0.32, 0.56, 1.0, 1.8)
METHODS = (("SGD", 0.0), ("Adam", 0.1), ("Adam", 1.0), ("KFAC", 0.1), ("KFAC", 1.0))
PAPER = {"SGD": 0.01, "Adam": 0.12, "KFAC": 0.32}
EPOCHS = 6


def cells(seeds):
    return [{"optimizer": optimizer, "damping": damping, "rate": rate, "seed": seed}
            for seed, (optimizer, damping), rate in product(seeds, METHODS, RATES)]


def one(settings, optimizer, damping, rate, seed):
    model, split = problem(settings, seed)
    make = {"SGD": lambda: torch.optim.SGD(model.parameters(), rate, momentum=0.9),
            "Adam": lambda: torch.optim.Adam(model.parameters(), rate, eps=damping),
            "KFAC": lambda: optim.KFAC(model, rate, damping, rng=seed)}
    schedule = optim.plateau_decay(settings["epochs"])
    found = trained(model, make[optimizer](), split, settings, seed, schedule=schedule)
    return {key: found[key] for key in ("diverged", "accuracy", "test accuracy", "mean loss") if key in found}


def run(path, seeds=(0, 1, 2), settings=None):
    return study(path, cells(seeds), one, settings or NARROW | {"epochs": EPOCHS})


def stable(rows, optimizer, damping):
    """The largest rate at which, and below which, all seeds train."""
    largest = None
    for rate in RATES:
        runs = chosen(rows, optimizer=optimizer, damping=damping, rate=rate)
        if not all(run.get("accuracy", 0.0) > 0.4 for run in runs):
            break
        largest = rate
    return largest


def claims(rows, settings):
    found = {(optimizer, damping): stable(rows, optimizer, damping) for optimizer, damping in METHODS}
    ours = ", ".join(f"{optimizer}{f' (damping {damping:g})' if damping else ''} {value or 'below .01'}"
                     for (optimizer, damping), value in found.items())
    own = {damping: (found["SGD", 0.0] or 0, found["Adam", damping] or 0, found["KFAC", damping] or 0)
           for damping in (0.1, 1.0)}
    ordered = [damping for damping, (sgd, adam, kfac) in own.items() if sgd < adam < kfac]
    adam_above = [damping for damping, (sgd, adam, _) in own.items() if sgd < adam]
    return [claim(["damping Section 8"], "Largest stable learning rate: SGD, then Adam, then KFAC",
                  ", ".join(f"{name} {value}" for name, value in PAPER.items()), ours,
                  f"The whole order with damping {ordered or 'none'}, Adam above SGD with {adam_above or 'none'}. "
                  "Flat directions see rate over damping, so KFAC's largest rate grows with its damping and says "
                  "nothing by itself",
                  holds="yes" if len(ordered) == 2 else "in part" if ordered or adam_above else "no",
                  size=f"two hidden layers of 32, {settings['train']} images of {settings['data']}, "
                       f"{settings['epochs']} epochs of {settings['batch']}, "
                       f"{len({row['seed'] for row in rows})} seeds")]


def show(rows):
    print(table(["rate", *(f"{optimizer} {damping or ''}" for optimizer, damping in METHODS)],
                [[f"{rate:g}", *(cell(chosen(rows, optimizer=o, damping=d, rate=rate)) for o, d in METHODS)]
                 for rate in RATES]))


def cell(runs):
    """Training accuracy of the worst seed."""
    return f"{100 * min(run.get('accuracy', 0.0) for run in runs):.0f}"


def main():
    parser = arguments(__file__, __doc__, "VGG-16, CIFAR-10, 300 epochs, on a GPU", picture=False)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = FULL if options.full else NARROW | {"epochs": EPOCHS}
    rows = run(options.json, range(options.seeds), settings)
    conclude(options.json, {"claims": claims(rows, settings)})
    show(rows)


if __name__ == "__main__":
    main()
