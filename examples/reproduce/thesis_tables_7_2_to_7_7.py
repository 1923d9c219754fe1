"""Thesis, Tables 7.2, 7.3, 7.6, 7.7, Figures 7.1 to 7.6, 7.8, 7.9, 7.11 to 7.13: averages of iterates.

    python examples/reproduce/thesis_tables_7_2_to_7_7.py [--full] [--seeds 3] [--json FILE] [--picture FILE]

Every base optimiser with and without an average of its iterates, once an epoch, from a little after half of the
training on:

    SGD -> SWA          Adam -> Adam-IA         AdamW -> Gadam          PadamW (p = 1/8) -> GadamX

As in the thesis, those without an average decay their learning rate to a hundredth; those with one keep half of it.
Learning rates and weight decays are the published ones, not tuned to this network. The other questions: what weight
decay has to do with it, beside the averaging of predictions; when to start, how often; Lookahead before the average;
a start that is found by patience (GadamAuto); and what the average does to the norm of the weights.
"""

import math
from itertools import product

import torch
from _report import arguments, claim, table
from _study import (
    FULL,
    NARROW,
    chosen,
    conclude,
    curve,
    mean,
    numbers,
    problem,
    spread,
    study,
    trained,
)
from training import train

from spectra import optim

EPOCHS, START = 20, 11
BASES = {  # learning rate and weight decay of VGG-16 in the thesis's code
    "SGD": (0.05, 5e-4), "Adam": (1e-3, 5e-4), "AdamW": (1e-3, 0.25), "PadamW": (0.1, 2.5e-3),
}
AVERAGED = {"SGD": "SWA", "Adam": "Adam-IA", "AdamW": "Gadam", "PadamW": "GadamX"}
PAPER_72 = {"SGD": 74.15, "SWA": 74.57, "AdamW": 73.26, "PadamW": 74.56, "Gadam": 75.73, "GadamX": 76.85}
PAPER_73 = {"SGD": 94.14, "SWA": 94.69, "AdamW": 93.90, "PadamW": 94.13, "Gadam": 94.62, "GadamX": 94.88}
DECAYS = (0.0, 1e-4, 1e-3, 5e-3)
PLAIN = {"decay": None, "start": START, "often": "epoch", "lookahead": False, "patience": None}


def cells(seeds, settings):
    """All trainings."""
    networks = (settings["network"], settings["network"] + "-bn") if settings is not FULL else ("vgg16", "vgg16bn")
    base = {"data": settings["data"], "network": networks[1], "base": "AdamW", "plan": "average"} | PLAIN
    simple = {"fashion-mnist": "mnist"}.get(settings["data"])
    problems = [*((settings["data"], network) for network in networks), *([(simple, networks[1])] * bool(simple))]
    found = [base | {"data": name, "network": network, "base": method, "plan": plan}
             for (name, network), method, plan in product(problems, BASES, ("decay", "average"))]
    found += [base | {"network": networks[0], "base": method, "plan": plan, "rate": 3e-3}
              for method, plan in product(("Adam", "AdamW"), ("decay", "average"))]
    found += [base | {"network": networks[0], "base": "SGD", "decay": decay, "plan": plan}
              for decay, plan in product(DECAYS, ("decay", "average"))]
    found += [base | {"base": method, "start": start} for method, start in product(("AdamW", "PadamW"), (0, 5, 8, 15))]
    found += [base | {"base": method, "lookahead": True, "plan": plan}
              for method, plan in (("SGD", "decay"), ("AdamW", "decay"), ("AdamW", "average"))]
    found += [base | {"often": often} for often in ("step", "5 steps")]
    found += [base | {"base": method, "patience": 3, "plan": "flat"} for method in ("AdamW", "SGD")]
    found += [base | {"network": networks[0], "base": "SGD", "plan": plan} for plan in ("flat", "step decay")]
    return [cell | {"seed": seed} for seed, cell in product(seeds, found)]


def one(settings, data, network, base, plan, decay, start, often, lookahead, patience, seed, rate=None):
    """A training with its average; accuracies and norms of both after every epoch."""
    settings = settings | {"data": data, "network": network}
    model, split = problem(settings, seed)
    published, usual = BASES[base]
    opt = optimizer(base, model, rate or published, usual if decay is None else decay)
    loader = [(x,) for x in split.train[0].split(256)]
    average = None
    if plan == "average" or patience is not None:
        average = optim.IterateAverage(model, start=0, bn_loader=loader, patience=patience)
    watch = Watch(average, split, settings["watched"], start, often)
    before_steps(opt, lookahead, model, until=start if plan == "average" else settings["epochs"],
                 steps=-(-len(split.train[0]) // settings["batch"]))
    found = trained(model, opt, split, settings, seed, schedule=factor(plan, start, settings["epochs"]),
                    after=watch.step, on_epoch=watch.epoch)
    return found if found.get("diverged") else found | watch.found(model)


def optimizer(base, model, rate, decay):
    weights = model.parameters()
    if base == "SGD":
        return torch.optim.SGD(weights, rate, momentum=0.9, weight_decay=decay)
    if base == "Adam":
        return torch.optim.Adam(weights, rate, weight_decay=decay)
    if base == "AdamW":
        return optim.PAdamW(weights, rate, weight_decay=decay)
    return optim.PAdamW(weights, rate, weight_decay=decay, p=0.125, bias_correction="padam")


def factor(plan, start, epochs):
    """Learning rate by epoch: all the way down; half way down by the start of averaging; flat; or in steps."""
    if plan == "decay":
        return optim.plateau_decay(epochs)
    if plan == "average":
        return optim.plateau_decay(start, ratio=0.5) if start else lambda epoch: 0.5
    if plan == "step decay":
        return lambda epoch: 0.1 ** sum(epoch >= k * epochs // 3 for k in (1, 2))
    return lambda epoch: 1.0


def before_steps(opt, lookahead, model, until, steps):
    """Lookahead: every five steps go back half the way, up to an epoch."""
    if not lookahead:
        return
    slow, count = [w.detach().clone() for w in model.parameters()], 0

    def look(*_):
        nonlocal count
        count += 1
        if count % 5 == 0 and count < until * steps:
            with torch.no_grad():
                for w, old in zip(model.parameters(), slow, strict=True):
                    w.copy_(old.lerp_(w, 0.5))

    opt.register_step_post_hook(look)


class Watch:
    """Updates the average and records what becomes of it, of its members, and of their mean prediction."""

    def __init__(self, average, split, watched, start, often):
        self.average, self.split, self.often = average, split, often
        self.small = tuple(part[:watched] for part in split.test)
        self.start, self.epochs, self.steps, self.started = start, 0, 0, None
        self.accuracies, self.norms, self.own = [], [], []
        self.predictions, self.members = 0.0, []

    def step(self, loss, batch):
        self.steps += 1
        every = {"step": 1, "5 steps": 5}.get(self.often)
        if self.average is not None and every and self.epochs >= self.start and self.steps % every == 0:
            self.average.update()

    def epoch(self, model, row):
        self.epochs += 1
        self.own.append(norm(model))
        if self.average is None or self.average.finished:
            return
        if self.average.patience is not None:
            self.average.observe(row["test_accuracy"])
            self.average.update()
        elif self.often == "epoch" and self.epochs >= self.start:
            self.average.update()
        if self.average.count:
            self.look(model, row)

    def look(self, model, row):
        self.started = self.started or self.epochs
        self.predictions = self.predictions + predictions(model, self.small[0])
        self.members.append(row["test_accuracy"])
        with self.average.applied():
            self.accuracies.append(train.evaluate(model, self.small).accuracy)
            self.norms.append(norm(model))

    def found(self, model):
        found = {"norm": self.own[-1], "norms": curve(self.own), "largest weight": largest_weight(model)}
        if not self.members:
            return found
        mixed = float((self.predictions.argmax(1) == self.small[1]).float().mean())
        with self.average.applied():
            last = train.evaluate(model, self.split.test).accuracy
            found["average's largest weight"] = largest_weight(model)
        return found | {"average": last, "averages": curve(self.accuracies), "average norms": curve(self.norms),
                        "ensemble": mixed, "members": sum(self.members) / len(self.members),
                        "average, watched": self.accuracies[-1], "started": self.started}


def norm(model):
    return float(sum(w.detach().square().sum() for w in model.parameters()) ** 0.5)


def largest_weight(model):
    return max(float(w.detach().abs().max()) for w in model.parameters())


@torch.no_grad()
def predictions(model, x):
    model.eval()
    found = torch.softmax(model(x), 1)
    model.train()
    return found


def run(path, seeds=(0, 1, 2), settings=None):
    settings = settings or NARROW | {"epochs": EPOCHS}
    return study(path, cells(seeds, settings), one, settings)


# What is claimed


def runs_of(rows, base, plan="average", **other):
    """Runs of all seeds of a method; what is not given is as in the table of methods, with batch norm."""
    usual = {"data": "fashion-mnist", "network": "narrow-bn"} | PLAIN | other
    return [row for row in chosen(rows, base=base, plan=plan, **usual) if row.get("rate") == other.get("rate")]


def final(runs):
    """Test accuracy: of the average, where there is one."""
    key = "average" if "average" in runs[0] else "test accuracy"
    return 100 * mean(runs, key), 100 * spread(runs, key)


def said(runs):
    value, error = final(runs)
    return f"{value:.2f} ± {error:.2f}"


def gains(rows, **other):
    """Averaged minus base, in points, for each base."""
    return {base: final(runs_of(rows, base, "average", **other))[0] - final(runs_of(rows, base, "decay", **other))[0]
            for base in BASES if runs_of(rows, base, "decay", **other)}


def claims(rows, settings):
    size = (f"two hidden layers of 32, {settings['train']} images, {settings['epochs']} epochs, average from {START}, "
            f"{len({row['seed'] for row in rows})} seeds")
    found = [table_claim(rows, ["thesis Table 7.2", "thesis Figure 7.8"], PAPER_72, "fashion-mnist", "narrow-bn"),
             table_claim(rows, ["thesis Table 7.3", "thesis Figure 7.9"], PAPER_73, "mnist", "narrow-bn"),
             regularisation_claim(rows), *norm_claims(rows), decay_claim(rows), gap_claim(rows), start_claim(rows),
             lookahead_claim(rows), frequency_claim(rows), patience_claim(rows)]
    return [row | {"size": size} for row in found]


def table_claim(rows, items, paper, data, network):
    """Each average beats its base."""
    ours = {}
    for base in BASES:
        ours[base] = said(runs_of(rows, base, "decay", data=data, network=network))
        ours[AVERAGED[base]] = said(runs_of(rows, base, "average", data=data, network=network))
    better = [base for base, gain in gains(rows, data=data, network=network).items() if gain > 0]
    adaptive = [base for base in better if base != "SGD"]
    best = max(ours, key=lambda method: float(ours[method].split()[0]))
    return claim(items, f"Averages beat their base optimisers ({data}, batch norm)",
                 ", ".join(f"{method} {value}" for method, value in paper.items()),
                 ", ".join(f"{method} {value}" for method, value in ours.items()),
                 f"True of {', '.join(better)}; the best is {best}",
                 holds="yes" if len(better) == len(BASES) else "in part" if adaptive else "no", size="",
                 difference=", ".join(f"{AVERAGED[base]} {gain:+.2f}"
                                      for base, gain in gains(rows, data=data, network=network).items()))


def regularisation_claim(rows):
    """Figure 7.1: decoupled weight decay is what makes averaging work for Adam."""
    gain = gains(rows)
    size = {base: mean(runs_of(rows, base, "average"), "largest weight") for base in ("Adam", "AdamW")}
    return claim("thesis Figure 7.1", "Adam gains from an average only with decoupled weight decay",
                 "little gain for Adam-IA, much for Gadam, whose weights are smaller",
                 f"gain {gain['Adam']:+.2f} and {gain['AdamW']:+.2f} points; largest weight {size['Adam']:.2f} and "
                 f"{size['AdamW']:.2f}",
                 "The weights are smaller; the gain is there without it too",
                 holds="yes" if gain["AdamW"] > 2 * gain["Adam"] else
                 "in part" if size["AdamW"] < size["Adam"] else "no", size="")


def norm_claims(rows):
    """Figures 7.2, 7.5, 7.6: batch norm, and the norm of averages."""
    normed, plain = gains(rows), gains(rows, network="narrow")
    faster = gains_at(rows, 3e-3)
    with_norm = claim("thesis Figure 7.2", "Averages gain more with batch norm", "much larger margin of Gadam",
                      "Gadam over AdamW {:+.2f} points with batch norm, {:+.2f} without".format(normed["AdamW"],
                                                                                               plain["AdamW"])
                      + "".join(f"; {base} at rate .003 without: {gain:+.2f}" for base, gain in faster.items()),
                      "At the published rate the network without batch norm is still learning when averaging starts",
                      holds="yes" if normed["AdamW"] > plain["AdamW"] else "no", size="",
                      difference="all, without: " + ", ".join(f"{AVERAGED[base]} {gain:+.2f}"
                                                              for base, gain in plain.items()))
    ratios, own = {}, {}
    for base in BASES:
        runs = runs_of(rows, base, "average")
        ratios[base] = [numbers(run["average norms"])[-1] / run["norm"] for run in runs]
        own[base] = 100 * (mean(runs, "average") - mean(runs, "test accuracy"))
    smaller = all(ratio < 1 for values in ratios.values() for ratio in values)
    better = all(gain > 0 for gain in own.values())
    norms = claim(["thesis Figure 7.5", "thesis Figure 7.6"], "The average has smaller weights than its iterates and "
                  "tests better", "for every optimiser",
                  "norm of the average over the last iterate's: "
                  + ", ".join(f"{AVERAGED[base]} {sum(values) / len(values):.3f}" for base, values in ratios.items())
                  + "; test accuracy above its own last iterate: "
                  + ", ".join(f"{AVERAGED[base]} {gain:+.1f}" for base, gain in own.items()),
                  "Theorem 20 is a triangle inequality; that accuracy rises is the finding",
                  holds="yes" if smaller and better else "in part", size="")
    return [with_norm, norms]


def gains_at(rows, rate):
    found = {}
    for base in ("Adam", "AdamW"):
        pair = [runs_of(rows, base, plan, network="narrow", rate=rate) for plan in ("average", "decay")]
        if all(pair):
            found[base] = final(pair[0])[0] - final(pair[1])[0]
    return found


def decay_claim(rows):
    """Figure 7.3: averaging needs weight decay, ensembling does not."""
    average, ensemble, errors = [], [], []
    for decay in DECAYS:
        runs = runs_of(rows, "SGD", "average", network="narrow", decay=decay)
        gains = [100 * (run["average, watched"] - run["members"]) for run in runs]
        average.append(sum(gains) / len(gains))
        errors.append(100 * spread([{"gain": gain / 100} for gain in gains], "gain"))
        ensemble.append(100 * (mean(runs, "ensemble") - mean(runs, "members")))
    rises = average[-1] == max(average) and average[-1] - average[0] > 2 * math.hypot(errors[0], errors[-1])
    return claim("thesis Figure 7.3", "Averaging gains with weight decay, ensembling whatever it is",
                 "least gain without weight decay, most with the largest",
                 f"weight decay {', '.join(f'{decay:g}' for decay in DECAYS)}: average over its members "
                 + ", ".join(f"{gain:+.1f}" for gain in average) + "; their mean prediction "
                 + ", ".join(f"{gain:+.1f}" for gain in ensemble) + " points",
                 f"Ensembles are of the same iterates; error of a gain about {max(errors):.1f}",
                 holds="yes" if rises else "in part" if average[-1] == max(average) else "no", size="")


def gap_claim(rows):
    """Figure 7.4: decay helps the test and widens the gap."""
    flat, stepped = (runs_of(rows, "SGD", plan, network="narrow") for plan in ("flat", "step decay"))
    gap = {name: 100 * (mean(runs, "accuracy") - mean(runs, "test accuracy"))
           for name, runs in (("flat", flat), ("steps", stepped))}
    better, wider = mean(stepped, "test accuracy") > mean(flat, "test accuracy"), gap["steps"] > gap["flat"]
    return claim("thesis Figure 7.4", "A decayed learning rate tests better, with a wider gap", "both",
                 f"test {said(flat)} flat, {said(stepped)} in steps; gap {gap['flat']:.1f} and {gap['steps']:.1f}",
                 "Here a flat rate over-fits too: 20 epochs on 2,048 images without augmentation",
                 holds="yes" if better and wider else "in part" if better or wider else "no", size="")


def start_claim(rows):
    """Figure 7.11, Table 7.6: whenever averaging starts, it beats the base."""
    parts, true = [], []
    for base in ("AdamW", "PadamW"):
        reference = final(runs_of(rows, base, "decay"))[0]
        values = {start: final(runs_of(rows, base, "average", start=start))[0] for start in (0, 5, 8, START, 15)}
        true += [value > reference for start, value in values.items() if start]
        parts.append(f"{AVERAGED[base]} from epoch "
                     + ", ".join(f"{start}: {value:.2f}" for start, value in values.items())
                     + f" ({base} {reference:.2f})")
    return claim(["thesis Figure 7.11", "thesis Table 7.6"], "Any reasonable start of averaging beats the base",
                 "always, and tuning it gains more", "; ".join(parts),
                 f"True of {sum(true)} of {len(true)} starts after the first epoch; the best start is before half way, "
                 "the last quarter is too late",
                 holds="yes" if all(true) else "in part" if any(true) else "no", size="")


def lookahead_claim(rows):
    """Figure 7.12."""
    with_it = {(base, plan): runs_of(rows, base, plan, lookahead=True)
               for base, plan in (("SGD", "decay"), ("AdamW", "decay"), ("AdamW", "average"))}
    gain = {key: final(runs)[0] - final(runs_of(rows, *key))[0] for key, runs in with_it.items()}
    both = final(with_it["AdamW", "average"])[0] > final(with_it["AdamW", "decay"])[0]
    return claim("thesis Figure 7.12", "Lookahead helps SGD, not always AdamW, and combines with Gadam",
                 "SGD + LH better; Gadam + LH better than AdamW + LH",
                 ", ".join(f"{base if plan == 'decay' else 'Gadam'} + LH {said(with_it[base, plan])} ({value:+.2f})"
                           for (base, plan), value in gain.items()),
                 "", holds="yes" if both and gain["SGD", "decay"] > 0 else "in part" if both else "no", size="")


def frequency_claim(rows):
    """Figure 7.13."""
    values = {often: final(runs_of(rows, "AdamW", "average", often=often)) for often in ("step", "5 steps", "epoch")}
    means = [value for value, _ in values.values()]
    noise = 2 * max(error for _, error in values.values())
    return claim("thesis Figure 7.13", "How often iterates are averaged hardly matters",
                 "insensitive; less often slightly better",
                 ", ".join(f"every {often} {value:.2f} ± {error:.2f}" for often, (value, error) in values.items()),
                 "", holds="yes" if max(means) - min(means) < noise else "in part", size="")


def patience_claim(rows):
    """Table 7.7: a flat rate, and averaging from where the test accuracy stalls."""
    adam, sgd = (runs_of(rows, base, "flat", patience=3) for base in ("AdamW", "SGD"))
    loss = {"Gadam": final(runs_of(rows, "AdamW"))[0] - final(adam)[0],
            "SWA": final(runs_of(rows, "SGD"))[0] - final(sgd)[0]}
    near = loss["Gadam"] < 2 * math.hypot(final(adam)[1], final(runs_of(rows, "AdamW"))[1])
    return claim("thesis Table 7.7", "GadamAuto is nearly as good as Gadam; SWA-Auto is not as SWA",
                 "75.39 (Gadam 75.73) and 73.93 (SWA 74.57)",
                 f"{said(adam)} ({-loss['Gadam']:+.2f}) and {said(sgd)} ({-loss['SWA']:+.2f}); started at epochs "
                 f"{[run['started'] for run in adam]} and {[run['started'] for run in sgd]}",
                 "Patience of 3 epochs. It finds its start for SGD as well",
                 holds="yes" if near and loss["SWA"] > loss["Gadam"] + 0.2 else "in part" if near else "no", size="")


def show(rows):
    print(table(["", *(f"{data}, {network}" for data, network in SHOWN)],
                [[method, *(said(runs_of(rows, base, plan, data=data, network=network)) for data, network in SHOWN)]
                 for base in BASES for method, plan in ((base, "decay"), (AVERAGED[base], "average"))]))


SHOWN = (("fashion-mnist", "narrow-bn"), ("fashion-mnist", "narrow"), ("mnist", "narrow-bn"))


def draw(rows, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for k, base in enumerate(BASES):
        runs = [run for run in runs_of(rows, base, "average") if run["seed"] == 0]
        own, averaged = numbers(runs[0]["test accuracies"]), numbers(runs[0]["averages"])
        axes[0].plot(range(1, len(own) + 1), own, "--", color=f"C{k}", lw=1)
        axes[0].plot(range(START, START + len(averaged)), averaged, color=f"C{k}", label=AVERAGED[base])
        own, averaged = numbers(runs[0]["norms"]), numbers(runs[0]["average norms"])
        axes[1].plot(range(1, len(own) + 1), own, "--", color=f"C{k}", lw=1)
        axes[1].plot(range(START, START + len(averaged)), averaged, color=f"C{k}", label=AVERAGED[base])
    axes[0].set(xlabel="epoch", ylabel="test accuracy", ylim=(0.74, 0.86), title="iterates (dashed) and averages")
    axes[1].set(xlabel="epoch", ylabel="norm of the weights", title="iterates (dashed) and averages")
    for k, base in enumerate(("AdamW", "PadamW")):
        starts = (0, 5, 8, START, 15)
        found = [final(runs_of(rows, base, "average", start=start)) for start in starts]
        axes[2].errorbar(starts, [v for v, _ in found], [e for _, e in found], marker="o", color=f"C{k + 2}",
                         label=AVERAGED[base])
        axes[2].axhline(final(runs_of(rows, base, "decay"))[0], color=f"C{k + 2}", ls=":", label=base)
    axes[2].set(xlabel="epoch at which averaging starts", ylabel="test accuracy, %", title="start of averaging")
    for ax in axes:
        ax.legend(fontsize=7)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main():
    parser = arguments(__file__, __doc__, "VGG-16, CIFAR-10, 300 epochs, on a GPU")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = FULL if options.full else NARROW | {"epochs": EPOCHS}
    rows = run(options.json, range(options.seeds), settings)
    if options.full:  # the claims speak of the small networks
        return
    conclude(options.json, {"claims": claims(rows, settings)})
    show(rows)
    draw(rows, options.picture)


if __name__ == "__main__":
    main()
