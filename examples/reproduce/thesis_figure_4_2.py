"""Thesis, Figure 4.2: learning rates from the spectrum (a), and stochastic Newton methods (b).

    python examples/reproduce/thesis_figure_4_2.py [--full] [--seeds 3] [--json FILE] [--picture FILE]

(a) SGD whose learning rate and momentum are those of the fastest two-term method for the quadratic of the moment, from
a Lanczos run on one batch at regular intervals: SSGDM (Polyak) and SSGDMN (Nesterov), against SGD and SWA with a
decayed schedule; all average their iterates at the end. "thesis" is (4.3) as printed.

(b) LancGN, Newton steps with the Gauss-Newton matrix of the batch from 20 Lanczos steps, damping ten times the learning
rate, against Adam and SGD: training error by epoch, and by gradients spent.
"""

from itertools import product

import torch
from _report import arguments, claim, table
from _study import FULL, NARROW, Diverged, chosen, conclude, curve, mean, numbers, problem, spread, study, trained
from torch.nn.functional import cross_entropy
from training import train

from spectra import optim

EPOCHS, RENEW = 18, 2  # 180 and 20 of the thesis, a tenth
RULES = ("polyak", "nesterov", "thesis")
RATES = (1.0, 0.01, 0.0001)
NEWTON_EPOCHS, STEPS = 5, 20
GRADIENTS = {"LancGN": 1 + 2.4 * STEPS, "SGD": 1, "Adam": 1}  # of a step; a product with the GGN costs 2.4


def cells(seeds):
    first = [{"part": "a", "method": method, "rate": rate, "seed": seed}
             for seed in seeds for method, rate in [*((f"SGD, {rule}", 0.0) for rule in RULES),
                                                    *product(("SWA", "SGD"), (0.03, 0.1))]]
    second = [{"part": "b", "method": "LancGN", "rate": rate, "seed": seed} for seed in seeds[:2] for rate in RATES]
    second += [{"part": "b", "method": method, "rate": rate, "seed": seed} for seed in seeds[:2]
               for method, rate in (("SGD", 0.01), ("SGD", 0.03), ("SGD", 0.1), ("Adam", 1e-3), ("Adam", 3e-3))]
    return first + second


def one(settings, part, method, rate, seed):
    return averaged(settings, method, rate, seed) if part == "a" else newton(settings, method, rate, seed)


def averaged(settings, method, rate, seed):
    """SGD with its rate from the spectrum, or from a schedule, and the average of the last epochs."""
    model, split = problem(settings, seed)
    rule, start = method.removeprefix("SGD, "), round(settings["epochs"] * 161 / 180)
    average = optim.IterateAverage(model, start=start - 1)
    opt = torch.optim.SGD(model.parameters(), rate or 0.01, momentum=0.9, nesterov=rule == "nesterov")
    tuning, schedule = None, None
    if rule in RULES:
        tuning = optim.SpectralSGDM(opt, rule=rule, every=RENEW, steps=20, rng=seed)
        tune(tuning, model, split, settings["batch"])
    else:
        schedule = optim.plateau_decay(start, ratio=0.5) if method == "SWA" else optim.plateau_decay(settings["epochs"])

    def on_epoch(model, row):
        average.update()
        if tuning is not None:
            tune(tuning, model, split, settings["batch"])

    found = trained(model, opt, split, settings, seed, schedule=schedule, on_epoch=on_epoch)
    rates = [] if tuning is None else [entry["lr"] for entry in tuning.history]
    momenta = [] if tuning is None else [entry["momentum"] for entry in tuning.history]
    found |= {"rates": curve(rates, 3), "momenta": curve(momenta, 3)} if rates else {}
    if found.get("diverged"):
        return found
    with average.applied():
        return found | {"average": train.evaluate(model, split.test).accuracy}


def tune(tuning, model, split, batch):
    x, y = (part[:batch] for part in split.train)
    tuning.step(lambda: cross_entropy(model(x), y))


def newton(settings, method, rate, seed):
    model, split = problem(settings, seed)
    settings = settings | {"epochs": NEWTON_EPOCHS}
    if method == "LancGN":
        opt = optim.LanczosOPT(model.parameters(), rate, 10 * rate, k=STEPS, curvature="ggn", start="random", rng=seed)
        return newton_epochs(model, opt, split, settings, seed)
    opt = (torch.optim.Adam(model.parameters(), rate) if method == "Adam"
           else torch.optim.SGD(model.parameters(), rate, momentum=0.9))
    return trained(model, opt, split, settings, seed)


def newton_epochs(model, opt, split, settings, seed):
    """As `trained`; the step takes a closure."""
    def step(model, optimizer, loss, batch):
        kept = {}

        def closure():
            kept["outputs"] = model(batch[0])
            return loss(kept["outputs"], batch[1]), kept["outputs"]

        try:
            value = optimizer.step(closure)
        except ValueError as error:  # a gradient that is not finite
            raise Diverged from error
        if not float(value) < 1e5:
            raise Diverged
        return value, kept["outputs"]

    try:
        rows = train.fit(model, opt, split, settings["epochs"], settings["batch"], seed=seed, step=step, progress=False)
    except Diverged:
        return {"diverged": True}
    return {"accuracy": rows[-1]["accuracy"], "test accuracy": rows[-1]["test_accuracy"],
            "losses": curve(row["loss"] for row in rows), "accuracies": curve(row["accuracy"] for row in rows)}


def run(path, seeds=(0, 1, 2), settings=None):
    return study(path, cells(list(seeds)), one, settings or NARROW | {"epochs": EPOCHS})


# What is claimed


def groups(rows, part):
    found = {}
    for row in chosen(rows, part=part):
        found.setdefault((row["method"], row["rate"]), []).append(row)
    return found


def claims(rows, settings):
    size = f"two hidden layers of 32, {settings['train']} images of {settings['data']}, batches of {settings['batch']}"
    seeds = {part: len({row["seed"] for row in chosen(rows, part=part)}) for part in "ab"}
    return [spectral_claim(rows, size + f", {EPOCHS} epochs, {seeds['a']} seeds"),
            newton_claim(rows, size + f", {NEWTON_EPOCHS} epochs, {seeds['b']} seeds")]


def spectral_claim(rows, size):
    own = groups(rows, "a")
    tests = {key: 100 * mean(runs, "average", 0.1) for key, runs in own.items()}
    swa = max(value for (method, _), value in tests.items() if method == "SWA")
    nesterov, polyak = tests["SGD, nesterov", 0.0], tests["SGD, polyak", 0.0]
    noise = 2 * max(100 * spread(runs, "average", 0.1) for (method, _), runs in own.items() if method != "SGD, thesis")
    drop = numbers(own["SGD, polyak", 0.0][0].get("rates", ""))
    fine, lower = nesterov > swa - noise, polyak < nesterov
    return claim("thesis Figure 4.2", "(a) SSGDMN performs like tuned SWA, SSGDM worse, dropping its learning rate",
                 "SSGDMN well against SWA; SSGDM learns to drop the rate",
                 "test accuracy of the average: " + ", ".join(f"{method}{f' {rate:g}' if rate else ''} {value:.1f}"
                                                             for (method, rate), value in tests.items())
                 + (f"; Polyak's rate from {drop[0]:.2g} to {drop[-1]:.2g}" if drop else ""),
                 "Nothing was tuned for the spectral ones. (4.3) as printed happens to fit here"
                 + ("; Polyak's rate follows the smallest Ritz values up and diverges" if polyak < 50 else ""),
                 holds="yes" if fine and 50 < polyak < nesterov else "in part" if fine or lower else "no", size=size)


def newton_claim(rows, size):
    own = {key: 1 - mean(runs, "accuracy", 0.1) for key, runs in groups(rows, "b").items()}
    newton = [error for (method, _), error in own.items() if method == "LancGN"]
    others = [error for (method, _), error in own.items() if method != "LancGN"]
    same, faster = max(newton) - min(newton) < 0.01, max(newton) < min(others)
    return claim("thesis Figure 4.2", "(b) LancGN: rates 1 to 1e-4, damping ten times as large, are alike, and learn "
                 "faster by epoch than SGD and Adam", "almost identical; significantly faster, at 40 times the cost",
                 "training error: " + ", ".join(f"{method} {rate:g}: {100 * error:.1f} %"
                                                for (method, rate), error in own.items()),
                 f"A step costs {GRADIENTS['LancGN']:.0f} gradients. Damping that follows the rate makes steps along "
                 "flat directions 1/10 of the gradient whatever the rate, so a small rate stops the sharp ones alone",
                 holds="yes" if same and faster else "in part" if same or faster else "no", size=size)


def show(rows):
    for part in "ab":
        print(f"\n({part})\n")
        print(table(["", "rate", "training accuracy", "test accuracy", "of the average"],
                    [[method, rate, *(f"{100 * mean(runs, key, 0.1):.1f}" if any(key in run for run in runs) else "—"
                                      for key in ("accuracy", "test accuracy", "average"))]
                     for (method, rate), runs in groups(rows, part).items()]))


def draw(rows, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for (method, rate), runs in groups(rows, "a").items():
        if not runs[0].get("diverged"):
            y = numbers(runs[0]["test accuracies"])
            axes[0].plot(range(1, len(y) + 1), [1 - v for v in y], label=f"{method} {rate or ''}")
    for k, ((method, rate), runs) in enumerate(groups(rows, "b").items()):
        if not runs[0].get("diverged"):
            y = [1 - v for v in numbers(runs[0]["accuracies"])]
            style = {"color": f"C{k % 10}", "ls": "-" if method == "LancGN" else "--", "label": f"{method} {rate:g}"}
            axes[1].semilogy(range(1, len(y) + 1), y, **style)
            axes[2].loglog([GRADIENTS[method] * (n + 1) for n in range(len(y))], y, **style)
    for ax, label in zip(axes, ("epoch", "epoch", "epochs of gradients"), strict=True):
        ax.set_xlabel(label)
        ax.legend(fontsize=6)
    axes[0].set(ylabel="test error", ylim=(0.15, 0.5), title="(a) rates from the spectrum")
    axes[1].set(ylabel="training error", title="(b) by epoch")
    axes[2].set(ylabel="training error", title="(b) by cost")
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main():
    parser = arguments(__file__, __doc__, "VGG-16, CIFAR-10, on a GPU")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = FULL | {"epochs": 180} if options.full else NARROW | {"epochs": EPOCHS}
    rows = run(options.json, range(options.seeds), settings)
    conclude(options.json, {"claims": claims(rows, settings)})
    show(rows)
    draw(rows, options.picture)


if __name__ == "__main__":
    main()
