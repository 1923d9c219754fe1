"""Damping paper, Figures 7, 8, 11 to 15, Tables 1 and 2; thesis, Figures 6.5, 6.6, Tables 6.1 to 6.3: which damping.

    python examples/reproduce/damping_figures_7_to_15.py [--full] [--seeds 3] [--json FILE] [--picture FILE]

KFAC and Adam, each with a flat damping and with one that sets itself, from every starting value of a factor-3 grid, at
two learning rates, KFAC with and without the KL clip that the published runs had. No weight decay, no batch norm,
learning rate constant for half the epochs and then linear to a hundredth, momentum 0.9, as in the paper.

    flat        the damping stays
    variance    start + s, with s the variance of the batch Hessian (15); the paper's rule
    variance*   the same with the learning rate times 1 + damping, as in the published runs
    edge        2 sqrt(s), where eigenvalues of pure noise end; the start holds for the first step alone
    scaled-edge the edge times rate / (1 - momentum), from before the first step, so that there is no start; not in the
                paper: steps along flat directions, rate / damping long, are then half of what the noise's edge allows
"""

import math
import statistics
from itertools import product

import torch
from _report import arguments, claim, table
from _study import (
    FULL,
    SMALL,
    chosen,
    conclude,
    curve,
    largest_eigenvalue,
    mean,
    numbers,
    problem,
    spread,
    study,
    trained,
)
from scipy.stats import spearmanr

from spectra import optim

STARTS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
RATES = (1e-3, 1e-2)
STABLE = "scaled-edge"
RULES = {"flat": None, "variance": {"rule": "variance"}, "variance*": {"rule": "variance", "compensate_lr": True},
         "edge": {"rule": "edge"}, STABLE: {"rule": "scaled-edge"}}
CLIP = 0.01
KEY = {"KFAC": "damping", "Adam": "eps"}


def grid(seeds, starts=STARTS, rates=RATES):
    """Cells, the most wanted first; what is less wanted from every second start."""
    families = [("KFAC", 1e-3, None), ("KFAC", 1e-2, None), ("Adam", 1e-2, None), ("KFAC", 1e-2, CLIP),
                ("KFAC", 1e-3, CLIP), ("Adam", 1e-3, None)]
    found = [{"optimizer": optimizer, "rate": rate, "clip": clip, "rule": rule, "start": start, "ramp": False,
              "seed": seed}
             for (optimizer, rate, clip), seed, rule, start in product(families, seeds, RULES, starts)
             if rate in rates and rule != STABLE and not (clip and rule == "variance")]
    return [cell for cell in found if fine(cell) or cell["start"] in starts[::2]]


def fine(cell):
    """Whether all starts are tried: without the clip, and for Adam at the rate that suits it, without the factor."""
    if cell["optimizer"] == "KFAC":
        return cell["clip"] is None
    return cell["rate"] == 1e-2 and cell["rule"] != "variance*"


def stable(seeds, rates=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2)):
    """The rule without a start, at more learning rates, and with the clip."""
    return [{"optimizer": "KFAC", "rate": rate, "clip": clip, "rule": STABLE, "start": rate, "ramp": False,
             "seed": seed}
            for rate, clip, seed in product(rates, (None, CLIP), seeds) if not clip or rate in RATES]


def ramps(seeds):
    """Figures 14 and 15: Adam with a learning rate that rises fivefold early on."""
    return [{"optimizer": "Adam", "rate": rate, "clip": None, "rule": rule, "start": start, "ramp": True, "seed": seed}
            for rate, start, rule, seed in product((3e-3, 1e-2), (1e-4, 1e-2), ("flat", "variance"), seeds)]


def baselines(seeds):
    """SGD, and Adam with its customary 1e-8, which Figures 1, 7 and 8 compare with."""
    others = [("SGD", rate, 0.0) for rate in (0.01, 0.03, 0.1)] + [("Adam", rate, 1e-8) for rate in (1e-3, 3e-3, 1e-2)]
    return [{"optimizer": optimizer, "rate": rate, "clip": None, "rule": "flat", "start": start, "ramp": False,
             "seed": seed} for (optimizer, rate, start), seed in product(others, seeds)]


def one(settings, optimizer, rate, clip, rule, start, ramp, seed):
    """Train once."""
    model, split = problem(settings, seed)
    make = {"SGD": lambda: torch.optim.SGD(model.parameters(), rate, momentum=0.9),
            "Adam": lambda: torch.optim.Adam(model.parameters(), rate, eps=start),
            "KFAC": lambda: optim.KFAC(model, rate, start, kl_clip=clip, rng=seed)}
    opt, control = make[optimizer](), None
    if RULES[rule] is not None:
        control = optim.AutoDamping(opt, KEY[optimizer], model=model, rng=seed, **RULES[rule])
    factor = (optim.warm_decay if ramp else optim.plateau_decay)(settings["epochs"])
    look = {"before" if rule == STABLE else "after": control and control.step}
    found = trained(model, opt, split, settings, seed, schedule=factor, **look)
    if control is not None:
        dampings = [entry["damping"] for entry in control.history]
        found["dampings"] = curve(dampings[:: max(1, len(dampings) // 10)], 3)
    if not found.get("diverged") and rule == "flat" and clip is None:
        found["largest"] = largest_eigenvalue(model, split)
    return found


def run(seeds=(0, 1, 2), settings=SMALL, path="damping_figures_7_to_15.json"):
    return study(path, [*baselines(seeds), *stable(seeds), *grid(seeds), *ramps(seeds)], one, settings)


# What came of it


def family(rows, optimizer, rate, clip=None):
    own = chosen(rows, optimizer=optimizer, rate=rate, clip=clip, ramp=False)
    return [row for row in own if row["start"] in STARTS or row["rule"] == STABLE]


def by_start(rows, rule):
    """Runs of every starting value; where none matters, the same ones for each."""
    found = {start: chosen(rows, rule=rule) if rule == STABLE else chosen(rows, rule=rule, start=start)
             for start in STARTS}
    return {start: runs for start, runs in found.items() if runs}


def best(rows, rule, key, smallest=False):
    """The starting value whose runs are best in the mean, and that mean. A divergence counts as chance, or loss 2.3."""
    means = {start: mean(runs, key, CHANCE[key]) for start, runs in by_start(rows, rule).items()}
    start = (min if smallest else max)(means, key=means.get)
    return start, means[start]


CHANCE = {"accuracy": 0.1, "test accuracy": 0.1, "mean loss": 2.303}


def enough(rows):
    """95 % of the best flat run's final training accuracy."""
    return 0.95 * best(rows, "flat", "accuracy")[1]


def reached(rows, rule, level):
    """Starting values from which every seed comes to this training accuracy."""
    return [start for start, runs in by_start(rows, rule).items()
            if all(run.get("accuracy", 0.0) >= level for run in runs)]


def decades(starts):
    return math.log10(max(starts) / min(starts)) if starts else -math.inf


def failed(rows, rule):
    """Starting values at which a seed diverged, or ended with less than half of the training images right."""
    return [start for start, runs in by_start(rows, rule).items()
            if any(run.get("accuracy", 0.0) < 0.5 for run in runs)]


def rules_of(rows):
    return [rule for rule in RULES if any(row["rule"] == rule for row in rows)]


def verdicts(rows):
    """For each rule of a family: what the requirement asks."""
    level = enough(rows)
    found = {}
    for rule in rules_of(rows):
        starts = reached(rows, rule, level)
        start, loss = best(rows, rule, "mean loss", smallest=True)
        place, test = best(rows, rule, "test accuracy")
        found[rule] = {"level": level, "reached": starts, "decades": decades(starts),
                       "failed": failed(rows, rule), "starts": len(by_start(rows, rule)), "startless": rule == STABLE,
                       "best start": start, "mean loss": loss, "test accuracy": test,
                       "test error bar": spread(by_start(rows, rule)[place], "test accuracy", 0.1),
                       "final accuracy": best(rows, rule, "accuracy")[1]}
    return found


# What is claimed


def claims(rows, settings):
    size = (f"{settings['network']} network, {settings['train']} images of {settings['data']}, "
            f"{settings['epochs']} epochs of {settings['batch']}, {len({row['seed'] for row in rows})} seeds")
    found = [gap_claim(rows), table_2_claim(rows), *sharpness_claims(rows), *spread_claims(rows)]
    for optimizer, rate, clip in (("KFAC", 1e-3, None), ("KFAC", 1e-2, None), ("KFAC", 1e-3, CLIP),
                                  ("KFAC", 1e-2, CLIP), ("Adam", 1e-3, None), ("Adam", 1e-2, None)):
        own = family(rows, optimizer, rate, clip)
        if own:
            found += automatic_claims(verdicts(own), optimizer, rate, clip)
    if any(row["ramp"] for row in rows):
        found.append(ramp_claim(rows))
    return [row | {"size": size} for row in found]


FIGURES = {("KFAC", 1e-3): ["damping Figure 11", "damping Figure 13"], ("KFAC", 1e-2): ["damping Figure 12"],
           ("Adam", 1e-3): ["damping Figure 14"], ("Adam", 1e-2): ["damping Figure 14"]}


def automatic_claims(found, optimizer, rate, clip):
    """Range of starting values, speed and test accuracy of automatic damping against flat damping."""
    items, flat = FIGURES[optimizer, rate], found["flat"]
    where = f"{optimizer}, rate {rate:g}" + (f", KL clip {clip:g}" if clip else "")
    others = {rule: f for rule, f in found.items() if rule != "flat"}
    published = [rule for rule in others if rule.startswith("variance")]  # the paper's claims are about these
    fewer = [rule for rule, f in others.items() if len(f["failed"]) < len(flat["failed"])]
    wider = [rule for rule, f in others.items() if f["decades"] >= flat["decades"] + 1]
    faster = [rule for rule, f in others.items() if f["mean loss"] <= flat["mean loss"]]
    noise = {rule: 2 * math.hypot(f["test error bar"], flat["test error bar"]) for rule, f in others.items()}
    fair = [rule for rule, f in others.items() if f["test accuracy"] >= flat["test accuracy"] - noise[rule]]

    def each(tell):
        return "; ".join(f"{rule} {tell(f)}" for rule, f in found.items())

    stable = claim(items, f"{where}: starting values that fail", "flat diverges where automatic damping trains",
                   each(lambda f: f"{len(f['failed'])} of {f['starts']}"), told(fewer, "Fewer by rule"),
                   holds=verdict(fewer, published), size="")
    ranges = claim(items, f"{where}: decades of starting values that reach 95 % of the best flat training accuracy",
                   "insensitive to the start", each(lambda f: span(f)) + f" (level {flat['level']:.3f})",
                   told(wider, "Wider by a decade by rule"), holds=verdict(wider, published), size="")
    speed = claim(items, f"{where}: convergence of the best start", "faster than every flat damping",
                  "loss, mean over the training: " + each(lambda f: f"{f['mean loss']:.3f} from {f['best start']:g}"),
                  told(faster, "At least as fast by rule"), holds=verdict(faster, published), size="")
    test = claim(items, f"{where}: test accuracy of the best start", "competitive or better",
                 "percent: " + each(lambda f: f"{100 * f['test accuracy']:.1f} ± {100 * f['test error bar']:.1f}"),
                 told(fair, "Within noise or better by rule"), holds=verdict(fair, published), size="")
    if optimizer == "Adam":  # nothing fails with or without
        return [speed, test]
    return [stable, ranges] if clip else [stable, ranges, speed, test]


def span(f):
    if f["startless"]:
        return "every one, having no start" if f["reached"] else "none"
    return f"{f['decades']:.1f} ({f['reached'][0]:g} to {f['reached'][-1]:g})" if f["reached"] else "none"


def told(rules, what):
    return f"{what}: {', '.join(rules)}" if rules else f"{what}: none"


def verdict(true, of):
    true = [x for x in true if x in of]
    return "yes" if len(true) == len(of) else "in part" if true else "no"


def customary(rows):
    """Test accuracies of the best learning rate of SGD, Adam with 1e-8, and Adam with any larger epsilon."""
    def top(own):
        groups = {}
        for row in own:
            groups.setdefault((row["rate"], row["start"]), []).append(row)
        return max(groups.values(), key=lambda runs: mean(runs, "test accuracy", 0.1))

    flat = chosen(rows, rule="flat", clip=None, ramp=False)
    adam = chosen(flat, optimizer="Adam")
    return {"SGD": top(chosen(flat, optimizer="SGD")), "Adam": top([row for row in adam if row["start"] == 1e-8]),
            "Adam-D": top([row for row in adam if row["start"] > 1e-8]), "KFAC": top(chosen(flat, optimizer="KFAC"))}


def tested(runs):
    return f"{100 * mean(runs, 'test accuracy', 0.1):.1f} ± {100 * spread(runs, 'test accuracy', 0.1):.1f}"


def gap_claim(rows):
    found = customary(rows)
    gap = mean(found["SGD"], "test accuracy", 0.1) - mean(found["Adam"], "test accuracy", 0.1)
    noise = 2 * math.hypot(*(spread(found[key], "test accuracy", 0.1) for key in ("SGD", "Adam")))
    return claim("damping Figure 1", "SGD generalises better than Adam without weight decay", "65.3 against 61.9 %",
                 f"SGD {tested(found['SGD'])}, Adam {tested(found['Adam'])} %, each at its best rate",
                 "" if gap > noise else "No gap beyond noise at this size",
                 holds="yes" if gap > noise else "no", difference=f"{100 * gap:+.1f} points", size="")


def table_2_claim(rows):
    found = customary(rows)
    means = {key: mean(runs, "test accuracy", 0.1) for key, runs in found.items()}
    closer = means["Adam-D"] >= means["SGD"] - 2 * spread(found["SGD"], "test accuracy", 0.1)
    best_epsilon = found["Adam-D"][0]
    return claim(["damping Table 2", "damping Figure 8", "thesis Figure 6.6"], "A larger epsilon closes the gap",
                 "SGD 65.3 ± .6, Adam-D 65.5 ± .7, Adam 61.9 ± .4",
                 f"SGD {tested(found['SGD'])}, Adam-D {tested(found['Adam-D'])} (epsilon {best_epsilon['start']:g}, "
                 f"rate {best_epsilon['rate']:g}), Adam {tested(found['Adam'])}",
                 "The best of a grid has the advantage of choice",
                 holds="yes" if closer and means["Adam-D"] > means["Adam"] else "in part" if closer else "no", size="")


def sharpness_claims(rows):
    """Tables 1 and 6.1 to 6.3: spectral norm at the end against the damping, flat."""
    found = []
    for optimizer, items in (("KFAC", ["damping Table 1", "thesis Table 6.2", "thesis Table 6.3"]),
                             ("Adam", ["damping Table 1", "thesis Table 6.1", "thesis Table 6.3"])):
        parts, correlations = [], []
        for rate in RATES:
            own = {start: [run["largest"] for run in runs if run.get("accuracy", 0.0) > 0.5]
                   for start, runs in by_start(family(rows, optimizer, rate), "flat").items()}
            own = {start: statistics.mean(values) for start, values in own.items() if values}
            if len(own) > 2:
                correlations.append(float(spearmanr(list(own), list(own.values())).statistic))
                parts.append(f"rate {rate:g}: " + ", ".join(f"{start:g}: {value:.3g}" for start, value in own.items()))
        fall = [c < -0.5 for c in correlations]
        found.append(claim(items, f"{optimizer}: largest eigenvalue at the end, by damping",
                           "falls with the damping: 711 to 6.7 for KFAC, 53 to 2.4 for Adam", "; ".join(parts),
                           "rank correlation " + ", ".join(f"{c:+.2f}" for c in correlations) +
                           ("" if fall and all(fall) else ". Where the training set is learned to the last the Hessian "
                            "vanishes with the loss; more damping leaves more of the loss, and so more curvature"),
                           holds="yes" if fall and all(fall) else "in part" if any(fall) else "no", size=""))
    return found


def spread_claims(rows):
    """Figures 7, 8, 6.5, 6.6: larger rate with larger damping generalises better at the same training accuracy."""
    found = []
    for optimizer, items in (("KFAC", ["damping Figure 7", "thesis Figure 6.5"]),
                             ("Adam", ["damping Figure 8", "thesis Figure 6.6"])):
        parts, gains = [], []
        for rate in RATES:
            flat = {start: runs for start, runs in by_start(family(rows, optimizer, rate), "flat").items()
                    if all(run.get("accuracy", 0.0) > 0.5 for run in runs)}
            if not flat:
                continue
            least, top = min(flat), max(flat, key=lambda start: mean(flat[start], "test accuracy"))
            gains.append(mean(flat[top], "test accuracy") - mean(flat[least], "test accuracy"))
            parts.append(f"rate {rate:g}: least damping that trains {least:g} has {tested(flat[least])} % (training "
                         f"{100 * mean(flat[least], 'accuracy'):.1f}), best {top:g} has {tested(flat[top])} % "
                         f"(training {100 * mean(flat[top], 'accuracy'):.1f})")
        holds = "yes" if gains and min(gains) > 0.01 else "in part" if gains and max(gains) > 0.01 else "no"
        found.append(claim(items, f"{optimizer}: more damping than training needs helps the test accuracy",
                           "KFAC 56.0 to 65.0 %, Adam 61.9 to 66.2 %", "; ".join(parts), "", holds=holds, size=""))
    return found


def ramp_claim(rows):
    """Figure 15: with a fivefold rise of the rate, flat damping diverges and automatic damping does not."""
    groups = {}
    for row in chosen(rows, ramp=True):
        groups.setdefault((row["rate"], row["start"], row["rule"]), []).append(row)
    stable = {key: sum(bool(run.get("diverged")) for run in runs) for key, runs in groups.items()}
    settings = sorted({key[:2] for key in groups})
    better = [key for key in settings if mean(groups[*key, "variance"], "test accuracy", 0.1)
              > mean(groups[*key, "flat"], "test accuracy", 0.1)]
    parts = [f"rate {rate:g}, start {start:g}: flat {tested(groups[rate, start, 'flat'])} "
             f"({stable[rate, start, 'flat']} diverged), variance {tested(groups[rate, start, 'variance'])} "
             f"({stable[rate, start, 'variance']})" for rate, start in settings]
    return claim(["damping Figure 14", "damping Figure 15"], "Adam with a learning rate that rises fivefold",
                 "flat damping diverges, automatic damping trains and generalises best", "; ".join(parts),
                 f"Automatic damping is better at {len(better)} of {len(settings)}",
                 holds=verdict(better, settings), size="")


# Tables and pictures


def show(rows):
    for optimizer, rate, clip in product(("KFAC", "Adam"), RATES, (None, CLIP)):
        own = family(rows, optimizer, rate, clip)
        if own:
            print(f"\n### {optimizer}, rate {rate:g}" + (f", KL clip {clip:g}" if clip else "") + "\n")
            print(table(["start", *rules_of(own)],
                        [[f"{start:g}", *(cell(by_start(own, rule).get(start)) for rule in rules_of(own))]
                         for start in by_start(own, "flat")]))


def cell(runs):
    """Mean loss over the training, final training and test accuracy; how many diverged."""
    if not runs:
        return None
    lost = sum(bool(run.get("diverged")) for run in runs)
    kept = [run for run in runs if not run.get("diverged")]
    if not kept:
        return "diverged"
    accuracies = " / ".join(f"{100 * mean(kept, key):.1f}" for key in ("accuracy", "test accuracy"))
    return f"{mean(kept, 'mean loss'):.2f} / {accuracies}" + (f" ({lost} diverged)" if lost else "")


def draw(rows, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(15, 6.4), layout="constrained")
    families = [("KFAC", 1e-3), ("KFAC", 1e-2), ("Adam", 1e-3), ("Adam", 1e-2)]
    for line, key in zip(axes, ("accuracy", "test accuracy"), strict=True):
        for ax, (optimizer, rate) in zip(line, families, strict=True):
            own = family(rows, optimizer, rate)
            for rule in rules_of(own):
                y = {start: mean(runs, key, 0.1) for start, runs in by_start(own, rule).items()}
                ax.semilogx(list(y), list(y.values()), "o-", ms=3, label=rule)
            ax.set_title(f"{optimizer}, rate {rate:g}", fontsize=9)
            ax.set(xlabel="damping at the start", ylabel=f"final {'training ' if key == 'accuracy' else ''}{key}",
                   ylim=(0, 1.03) if key == "accuracy" else (0.6, 0.85))
            ax.legend(fontsize=7)
    figure.savefig(path, dpi=75)
    plt.close(figure)


def draw_curves(rows, path):
    """Figures 11 to 13: loss and damping by epoch, seed 0."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(13, 6.4), layout="constrained")
    for line, rate in zip(axes, RATES, strict=True):
        own = chosen(family(rows, "KFAC", rate), seed=0)
        for k, start in enumerate((1e-3, 1e-2, 1e-1)):
            for rule, style in (("flat", "--"), ("variance", "-"), ("edge", ":")):
                (row,) = chosen(own, rule=rule, start=start)
                if row.get("diverged"):
                    continue
                for ax, key in zip(line, ("losses", "test accuracies", "dampings"), strict=True):
                    y = numbers(row[key]) if key in row else []
                    ax.plot(range(1, len(y) + 1), y, style, color=f"C{k}", label=f"{rule}, {start:g}")
        for ax, label in zip(line, ("training loss", "test accuracy", "damping"), strict=True):
            ax.set(xlabel="epoch" if label != "damping" else "tenth of the training", ylabel=label)
            ax.set_title(f"KFAC, rate {rate:g}", fontsize=9)
        line[0].set_yscale("log")
        line[2].set_yscale("log")
        line[0].legend(fontsize=6)
    figure.savefig(path, dpi=75)
    plt.close(figure)


def main():
    parser = arguments(__file__, __doc__, "VGG-16, 300 epochs, on a GPU")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = FULL if options.full else SMALL
    rows = run(range(options.seeds), settings, options.json)
    conclude(options.json, {"claims": claims(rows, settings)})
    show(rows)
    draw(rows, options.picture)
    draw_curves(rows, options.picture.with_stem(options.picture.stem + "_curves"))


if __name__ == "__main__":
    main()
