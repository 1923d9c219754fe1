"""Damping paper, Figures 4 to 6; thesis, Figures 6.2 to 6.4: sharp and flat directions in a convex problem.

    python examples/reproduce/damping_figures_4_to_6.py [--full] [--json FILE] [--picture FILE]

Logistic regression of 1,000 images (7,850 weights, no local minima, no mini-batches) with `LanczosOPT`: k = 50 Lanczos
steps, learning rate 0.01, 100 full-batch epochs, tested on 10,000 images; MNIST (Figure 5) and Fashion-MNIST (Figure
6). The damping delta sets how much longer steps are along flat directions than along sharp ones; eta shortens the steps
within the Krylov space further. Claim: test error rises as delta falls, and with eta, while training error hardly does.

The basis is kept for 4 epochs, which saves most of the products; kept for 50 it makes trainings with little damping
diverge for a while, since steps along what it misses are long. `--full` renews it every epoch, for 500, as published.
"""

from itertools import pairwise, product

import torch
from _report import arguments, claim, table
from _study import chosen, conclude, curve, load, numbers, study
from torch.nn.functional import cross_entropy
from training import networks, train

from spectra import optim

DAMPINGS = (1e-3, 1e-2, 1e-1, 1.0)
SCALES = (1.0, 3.0, 10.0)
RATES = (0.01, 0.1)  # of gradient descent
SETTINGS = {"train": 1000, "test": 10_000, "epochs": 100, "k": 50, "every": 4, "rate": 0.01}
ITEMS = {"mnist": ["damping Figure 5", "thesis Figure 6.2"], "fashion-mnist": ["damping Figure 6", "thesis Figure 6.3"]}


def cells(data=("mnist", "fashion-mnist")):
    found = []
    for name in data:
        found += [{"data": name, "descent": rate} for rate in RATES]
        found += [{"data": name, "delta": delta, "eta": eta} for delta, eta in product(DAMPINGS, SCALES)]
    return found


def one(settings, data, delta=None, eta=None, descent=None):
    """Errors on training and test data every 5 epochs."""
    split = load(data, settings["train"], settings["test"])
    model = networks.build("logistic", **split.shape, seed=0)
    with torch.no_grad():
        for w in model.parameters():
            w.zero_()
    step = newton(model, split, settings, delta, eta) if descent is None else gradient(model, split, descent)
    train_errors, test_errors = [], []
    for epoch in range(settings["epochs"]):
        step()
        if (epoch + 1) % 5 == 0:
            train_errors.append(1 - train.evaluate(model, split.train).accuracy)
            test_errors.append(1 - train.evaluate(model, split.test).accuracy)
    return {"train error": train_errors[-1], "test error": test_errors[-1],
            "train errors": curve(train_errors), "test errors": curve(test_errors)}


def newton(model, split, settings, delta, eta):
    x, y = split.train
    opt = optim.LanczosOPT(model.parameters(), settings["rate"], delta, k=settings["k"], sharp_scale=eta,
                           every=settings["every"])
    return lambda: opt.step(lambda: cross_entropy(model(x), y))


def gradient(model, split, rate):
    opt = torch.optim.SGD(model.parameters(), rate)

    def step():
        opt.zero_grad()
        cross_entropy(model(split.train[0]), split.train[1]).backward()
        opt.step()

    return step


def run(path, settings=SETTINGS, data=("mnist", "fashion-mnist")):
    return study(path, cells(data), one, settings)


def at(rows, delta, eta):
    (row,) = chosen(rows, delta=delta, eta=eta)
    return row


# What is claimed


def claims(rows):
    found = []
    for data, items in ITEMS.items():
        own = [row for row in rows if row["data"] == data]
        if own:
            maps = [*items, "damping Figure 4", "thesis Figure 6.4"]
            found += [damping_claim(own, items), noise_free_claim(own, maps), harm_claim(own, maps)]
    return found


SIZE = "1,000 images to train, 10,000 to test, 7,850 weights"


def percent(values):
    return ", ".join(f"{100 * v:.1f}" for v in values)


def damping_claim(rows, items):
    """Test error rises as delta falls from 0.1, and training error does not."""
    data = rows[0]["data"]
    falling = [delta for delta in DAMPINGS[::-1] if delta <= 0.1]
    test = [at(rows, delta, 1.0)["test error"] for delta in falling]
    training = [at(rows, delta, 1.0)["train error"] for delta in falling]
    worse, fitted = all(a < b for a, b in pairwise(test)), max(training) - training[0] < 0.005
    gap = at(rows, 1e-3, 1.0)["test error"] - at(rows, 1e-1, 1.0)["test error"]
    return claim(items, f"Less damping, worse test error ({data})", "test error rises as the damping falls, training "
                 "error does not",
                 f"damping .1, .01, .001: test {percent(test)} %, training {percent(training)} %",
                 "The central claim: longer steps along flat directions harm the test error alone"
                 + ("" if gap > 0.02 else f"; the harm from .1 to .001 is {100 * gap:.1f} points"),
                 holds="yes" if worse and fitted and gap > 0.02 else "in part" if gap > 0 else "no", size=SIZE,
                 difference=f"{100 * gap:+.1f} points from .1 to .001")


def noise_free_claim(rows, items):
    """Where damping is tiny, eta costs test error and no training error."""
    data, tiny = rows[0]["data"], [at(rows, 1e-3, eta) for eta in SCALES]
    test, training = [row["test error"] for row in tiny], [row["train error"] for row in tiny]
    holds = training[-1] - training[0] < 0.01 and test[-1] - test[0] > 0.005
    return claim(items, f"Tiny damping: eta leaves training alone ({data})", "no or very minimal impact on training, "
                 "worse test error",
                 f"damping .001, eta 1, 3, 10: training {percent(training)} %, test {percent(test)} %", "",
                 holds="yes" if holds else "no", size=SIZE)


def harm_claim(rows, items):
    """For each damping, a larger eta harms the test error more than the training error."""
    data = rows[0]["data"]
    harm = {delta: tuple(at(rows, delta, 10.0)[key] - at(rows, delta, 1.0)[key]
                         for key in ("test error", "train error")) for delta in DAMPINGS}
    true = [delta for delta, (test, training) in harm.items() if test > training]
    rising = [delta for delta in DAMPINGS
              if all(at(rows, delta, a)["test error"] <= at(rows, delta, b)["test error"] for a, b in pairwise(SCALES))]
    told = "; ".join(f"{delta:g}: {100 * test:+.1f}, {100 * training:+.1f}" for delta, (test, training) in harm.items())
    return claim(items, f"Eta harms test more than training ({data})", "for each damping",
                 f"change from eta 1 to 10 of test and training error in points, by damping: {told}",
                 f"True of {len(true)} of {len(DAMPINGS)} dampings; the test error rises with eta at {len(rising)} of "
                 f"{len(DAMPINGS)}. With much damping the Krylov space is what learns, and eta slows that",
                 holds="yes" if len(true) == len(DAMPINGS) else "in part" if true else "no", size=SIZE)


def show(rows):
    for data in dict.fromkeys(row["data"] for row in rows):
        own = [row for row in rows if row["data"] == data]
        print(f"\n{data}: training / test error in percent\n")
        print(table(["damping", *(f"eta {eta:g}" for eta in SCALES)],
                    [[f"{delta:g}", *(cell(at(own, delta, eta)) for eta in SCALES)] for delta in DAMPINGS]))
        descents = [f"rate {rate:g} {cell(chosen(own, descent=rate)[0])}" for rate in RATES]
        print("\ngradient descent: " + "; ".join(descents))


def cell(row):
    return f"{100 * row['train error']:.1f} / {100 * row['test error']:.1f}"


def draw(rows, path):
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(row["data"] for row in rows))
    figure, axes = plt.subplots(len(names), 4, figsize=(13, 3.1 * len(names)), squeeze=False, layout="constrained")
    for line, data in zip(axes, names, strict=True):
        own = [row for row in rows if row["data"] == data]
        for ax, key in zip(line[:2], ("train error", "test error"), strict=True):
            heat_map(ax, own, key, f"{data}: {key} above the best, %")
        for ax, key in zip(line[2:], ("train errors", "test errors"), strict=True):
            curves(ax, own, key, f"{data}: {key[:-1]}")
    figure.savefig(path, dpi=80)
    plt.close(figure)


def heat_map(ax, rows, key, title):
    values = [[100 * at(rows, delta, eta)[key] for eta in SCALES] for delta in DAMPINGS]
    best = min(map(min, values))
    ax.imshow([[v - best for v in line] for line in values], cmap="Greys", aspect="auto", vmin=0)
    for (i, line), j in product(enumerate(values), range(len(SCALES))):
        ax.text(j, i, f"{line[j] - best:.1f}", ha="center", va="center",
                color="white" if line[j] - best > 0.6 * (max(map(max, values)) - best) else "black")
    ax.set(xticks=range(len(SCALES)), xticklabels=[f"{eta:g}" for eta in SCALES], xlabel="eta", ylabel="damping",
           yticks=range(len(DAMPINGS)), yticklabels=[f"{delta:g}" for delta in DAMPINGS])
    ax.set_title(title, fontsize=9)


def curves(ax, rows, key, title):
    styles = {1.0: "-", 3.0: "--", 10.0: ":"}
    for k, delta in enumerate((1e-3, 1e-2, 1e-1)):
        for eta in SCALES:
            y = numbers(at(rows, delta, eta)[key])
            ax.plot(range(5, 5 * len(y) + 1, 5), y, styles[eta], color=f"C{k}",
                    label=f"damping {delta:g}" if eta == 1 else None)
    y = numbers(chosen(rows, descent=RATES[-1])[0][key])
    ax.plot(range(5, 5 * len(y) + 1, 5), y, color="black", lw=1, label="gradient descent, 0.1")
    ax.set(xlabel="epoch", yscale="symlog" if key.startswith("train") else "log")
    if key.startswith("train"):
        ax.set_yscale("linear")
    ax.set_title(title + "; dashed eta 3, dotted 10", fontsize=9)
    ax.legend(fontsize=7)


def main():
    parser = arguments(__file__, __doc__, "renew the Krylov basis every epoch, as published")
    parser.add_argument("--data", nargs="+", default=["mnist", "fashion-mnist"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = run(options.json, SETTINGS | ({"every": 1, "epochs": 500} if options.full else {}), options.data)
    conclude(options.json, {"claims": claims(rows)})
    show(rows)
    draw(rows, options.picture)


if __name__ == "__main__":
    main()
