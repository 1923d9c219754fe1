"""True-Hessian paper, Figures 1 to 33 and Tables 1 to 3, in miniature: empirical and augmented Hessian over training.

    python examples/reproduce/true_hessian_spectra.py [--full] [--json FILE] [--folder FOLDER]

Small relatives of PreResNet-110 and VGG-16-BN on 1,000 images of CIFAR-10, and of Fashion-MNIST where the paper has
CIFAR-100; SGD with momentum on flipped and shifted images, with the paper's two schedules ("normal": 0.1; "over-fit": a
small learning rate for long), spectra at the paper's epochs as shares of the training, and at its end the Hessian of
the images themselves (empirical) beside that of six augmented copies, which brings q = P / N below 1. A network with
two hidden layers, of q = 27 (Fashion-MNIST) and 100 (CIFAR-10) as far from 1 as the paper's 23, gets thirty copies. All
are too small to fit the augmented images as the paper's networks do.

The prediction beside it is the paper's Theorem 1, with the variance of the Hessian as measured: an empirical outlier l
comes from a true one of l - v / l (about), v = P sigma² (1/n - 1/N). The same is asked the other way round: from the
augmented images, what is the largest eigenvalue over the images alone, and from these, over n of them? There also by
the multiplicative model, which `examples/batch_spectrum.py` explains.
"""

import json
from pathlib import Path

import numpy as np
import torch
from _miniature import LOSS, augmented_step, build, density, ends, say, spectrum
from _report import DOCS, arguments, claim, save, table
from batch_spectrum import full, nodes, predicted
from training import data, train

import spectra
from spectra import nn, optim, rmt

PAPER = {  # largest and smallest eigenvalue, empirical and augmented, then test and training accuracy: Tables 1 and 2
    ("CIFAR-100", "normal"): ((20.56, -6.54), (3.026, -0.014), 77.24, 99.85),
    ("CIFAR-100", "over-fit"): ((281.32, -7.33), (45.68, 2e-5), 56.85, 99.62),
    ("CIFAR-10", "normal"): ((6.82, -1.37), (0.5825, -0.0061), 95.32, 99.98),  # section 6.1; Table 2 repeats CIFAR-100
    ("CIFAR-10", "over-fit"): ((184.4, -2.9), (15.6, -9e-4), 86.46, 99.91),
}
SHARES = (0, 1 / 12, 1 / 6, 1 / 4, 5 / 12, 1 / 2, 1)  # epochs 0, 25, 50, 75, 125, 150, 300 of 300
SCHEDULES = {"normal": {"lr": 0.1, "weight_decay": 5e-4, "longer": 1},
             "over-fit": {"lr": 0.003, "weight_decay": 0.0, "longer": 3}}
STANDS_FOR = {"fashion-mnist": "CIFAR-100", "cifar10": "CIFAR-10"}
TABLES = ["true-Hessian Table 1", "true-Hessian Table 2"]
UNITS = [("preresnet", "cifar10", "normal"), ("preresnet", "cifar10", "over-fit"), ("vgg-bn", "cifar10", "normal"),
         ("preresnet", "fashion-mnist", "normal"), ("preresnet", "fashion-mnist", "over-fit"),
         ("mlp", "fashion-mnist", "normal"), ("mlp", "fashion-mnist", "over-fit"), ("mlp", "cifar10", "normal"),
         ("mlp", "cifar10", "over-fit")]
COPIES, SLOWER = {"mlp": 30}, {"mlp": 0.3}  # copies for other than 6; without normalisation a smaller learning rate


def trained(network, name, schedule, samples, epochs, look=lambda model, split, row: None):
    """A network after its training, the data, and the history; `look` sees it after every epoch."""
    split, options = data.load(name, train=samples, test=800), SCHEDULES[schedule]
    model, total, rate = build(network, split), epochs * options["longer"], options["lr"] * SLOWER.get(network, 1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=options["weight_decay"])
    look(model, split, {"epoch": 0})
    history = train.fit(model, optimizer, split, total, batch=64, schedule=optim.plateau_decay(total), progress=False,
                        step=augmented_step, on_epoch=lambda model, row: look(model, split, row))
    say(f"{network}, {name}, {schedule}: test accuracy {history[-1]['test_accuracy']:.3f}")
    return model, split, history


def run(network, name, schedule, samples, epochs, copies=None, steps=40, few=(64, 250), draws=6):
    """One training with its spectra."""
    every = SHARES if name == "cifar10" and network != "mlp" else SHARES[::3]
    total = epochs * SCHEDULES[schedule]["longer"]
    looked, spectra_at = {round(share * total) for share in (every if schedule == "normal" else (1,))}, {}

    def look(model, split, row):
        if row["epoch"] in looked:
            H = nn.HessianOperator(model, LOSS, data.batches(split.train, 250), cache=1 << 29)
            spectra_at[str(row["epoch"])] = spectrum(H, steps) | {"loss": H.loss()}

    model, split, history = trained(network, name, schedule, samples, epochs, look)
    kept = ("epoch", "loss", "accuracy", "test_loss", "test_accuracy")
    found = {"network": network, "data": name, "schedule": schedule, "samples": samples, "epochs": spectra_at,
             "parameters": sum(w.numel() for w in model.parameters()),
             "history": [{key: round(row[key], 4) for key in kept} for row in history],
             "train": train.evaluate(model, split.train)._asdict(), "test": train.evaluate(model, split.test)._asdict()}
    copies = copies or COPIES.get(network, 6)
    found |= at_the_end(model, split, copies, steps, () if network == "vgg-bn" else few, draws)
    return found | (from_the_augmented(model, split, copies) if network == "mlp" else {})


def once_more(model, split):
    """Ends of the Hessian of one augmented copy: as many images as the empirical one has, distributed as all copies."""
    copy = nn.Augmented(*split.train, copies=1, original=False, batch_size=250, rng=1)
    found = nodes(nn.HessianOperator(model, LOSS, list(copy), check=None), 30)
    return [float(found[-1]), float(found[0])]


def at_the_end(model, split, copies, steps, few, draws):
    """Augmented spectrum, variance, and the largest eigenvalue over a few images, with predictions."""
    x, y = split.train
    numbers = full(model, LOSS, data.batches(split.train, 125), steps=40)
    more = nn.Augmented(x, y, copies=copies, batch_size=250, rng=0)
    H = nn.HessianOperator(model, LOSS, more, cache=1 << 30)
    found = {"copies": copies, "variance": numbers["hessian variance"], "hessian": list(map(float, numbers["hessian"])),
             "augmented": spectrum(H, round(0.7 * steps)) | {"loss": H.loss()}, "few": [],
             "one copy": once_more(model, split)}
    v = numbers["hessian variance"] * (1 - 1 / copies) / len(x)
    found["from theory"] = [float(value) for value in rmt.spikes(found["hessian"], variance=v)]
    found["noise"] = v
    rng = np.random.default_rng(0)
    for n in (n for n in few if n < len(x)):
        rows = [rng.choice(len(x), n, replace=False) for _ in range(draws)]
        measured = [nodes(nn.HessianOperator(model, LOSS, (x[r], y[r]), check=None), 25) for r in rows]
        theory = predicted(numbers, n)
        found["few"].append({"samples": n, "largest": [float(each[0]) for each in measured],
                             "smallest": [float(each[-1]) for each in measured],
                             "additive": [theory["smallest"], theory["hessian"]],
                             "multiplicative": theory["multiplicative"]})
    return found


def from_the_augmented(model, split, copies):
    """The largest eigenvalue of the images alone, as both models predict it from the augmented ones."""
    more = nn.Augmented(*split.train, copies=copies, batch_size=250, rng=0)
    theory = predicted(full(model, LOSS, list(more), steps=30, probes=1), len(split.train[0]))
    return {"empirical from augmented": {"additive": theory["hessian"], "multiplicative": theory["multiplicative"]}}


def summary(found):
    """Numbers of Tables 1 to 3 for the empirical and the augmented spectrum of a training."""
    last = found["epochs"][max(found["epochs"], key=int)]
    rows = {}
    for name, stems in (("empirical", last), ("augmented", found["augmented"])):
        rho = density(stems)
        low, high = ends(stems)
        rows[name] = {"largest": high, "smallest": low, "heaviest": nn.heaviest(rho),
                      "negative values": sum(x < 0 for x in stems["nodes"]), "steps": len(stems["nodes"]),
                      "negative mass": nn.negative_mass(rho, without_nearest=True).value}
    return rows


def units(found, network=None, schedule=None):
    """Finished trainings of a network with a schedule."""
    return [unit for unit in found.values()
            if network in (None, unit["network"]) and schedule in (None, unit["schedule"])]


def figures(*numbers):
    return [f"true-Hessian Figure {number}" for number in numbers]


def claims(found):
    rows = [paper_claim()]
    normal, over = (units(found, "preresnet", schedule) for schedule in SCHEDULES)
    vgg = units(found, "vgg-bn")
    for network in ("preresnet", "mlp"):
        for schedule, numbers in (("normal", (1, 2, 3, 4, 13)), ("over-fit", (5, 6, 7, 8))):
            here = units(found, network, schedule)
            rows += [shrink_claim(here, figures(*numbers), f"{schedule} schedule")] if here else []
    if normal:
        rows.append(epochs_claim(normal, figures(*range(14, 21), 30, 31)))
    if vgg:
        rows += [shrink_claim(vgg, figures(21, 22), "normal schedule"),
                 epochs_claim(vgg, figures(*range(23, 30), 32, 33))]
    if normal and len(over) == len(normal):
        rows += [few_claim([unit for unit in found.values() if unit["few"]]), heaviest_claim(normal + over)]
    for network in ("preresnet", "mlp"):
        normal, over = (units(found, network, schedule) for schedule in SCHEDULES)
        if normal and len(over) == len(normal):
            rows += [curves_claim(normal + over), schedules_claim(normal, over)]
    return rows


def paper_claim():
    """The printed tables against the printed theorem: l' = l + v / l with l > sqrt(v) is at most 2 l."""
    told = [f"{name}, {schedule}: {high:g} from {true:g}, {high / true:.1f} times"
            for (name, schedule), ((high, _), (true, _), *_) in PAPER.items()]
    return claim(TABLES, "the printed eigenvalues against the printed Theorem 1",
                 "empirical eigenvalues are larger than augmented ones, as Theorem 1 says", "; ".join(told),
                 "by Theorem 1 an outlier is at most twice the true eigenvalue, and a drowned one shows the edges of a "
                 "symmetric bulk; the printed spectra shrink more and are not symmetric, so noise of one variance in "
                 "all directions cannot be what they show", holds="no", size="arithmetic on the printed numbers",
                 difference="6 to 12 times, for at most 2")


def size_of(unit_list):
    one = unit_list[0]
    names = dict.fromkeys(unit["data"] for unit in unit_list)
    told = " and ".join(f"{name} for {STANDS_FOR[name]}" for name in names)
    if set(names) == {"cifar10"}:
        told = "cifar10 for CIFAR-10 and CIFAR-100"
    parameters = " and ".join(dict.fromkeys(str(unit["parameters"]) for unit in unit_list))
    return f"small {one['network']}, {parameters} parameters, {one['samples']} images, {told}"


def shrink_claim(unit_list, items, schedule):
    told, lower, upper, near = [], [], [], []
    for unit in unit_list:
        rows = summary(unit)
        (low, high, below), (low_true, high_true, below_true) = (
            (row["smallest"], row["largest"], f"{row['negative values']}/{row['steps']}") for row in rows.values())
        lower.append(low / low_true if low_true < 0 else np.inf)
        upper.append(high / high_true)
        near.append(abs(unit["from theory"][1] / high_true - 1) < 0.1)
        told.append(f"{unit['data']}: [{low:.2g}, {high:.3g}] empirical, [{low_true:.2g}, {high_true:.3g}] augmented, "
                    f"predicted [{unit['from theory'][0]:.2g}, {unit['from theory'][1]:.3g}]; negative Ritz values "
                    f"{below} and {below_true}; loss {unit['train']['loss']:.3f} and {unit['augmented']['loss']:.3f}"
                    + back(unit))
    ratios = [unit["parameters"] / unit["samples"] for unit in unit_list]
    q = " and ".join(dict.fromkeys(f"{ratio:.3g} to {ratio / unit['copies']:.2g}"
                                   for ratio, unit in zip(ratios, unit_list, strict=True)))
    shrinks = min(lower) > 1 and min(upper) > 1
    return claim(items, f"extreme eigenvalues, empirical and augmented, {schedule}",
                 "both ends shrink several times over with augmentation, as Theorem 1 predicts", "; ".join(told),
                 f"q from {q}; the negative end shrinks {times(lower)}, the positive one "
                 f"{times(upper)}; Theorem 1 with the measured variance predicts next to no change, and is within 10 % "
                 f"of the largest in {sum(near)} of {len(near)}{noise_alone(unit_list)}", size=size_of(unit_list),
                 difference=f"largest {times(upper)}, for 6 to 12",
                 holds="yes" if shrinks and min(upper) > 2 else "in part" if min(lower) > 1 or shrinks else "no")


def noise_alone(unit_list):
    """How much of the shrinking is noise: one augmented copy against all of them, the same distribution."""
    known = [unit for unit in unit_list if "one copy" in unit]
    if not known:
        return ""
    lower, upper = (times([unit["one copy"][end] / ends(unit["augmented"])[end] for unit in known]) for end in (0, 1))
    return (f"; from one augmented copy to all of them, noise alone, the ends shrink {lower} and {upper}: the rest is "
            "that shifted and mirrored images are other images")


def times(ratios):
    return " and ".join(f"{ratio:.2g}" for ratio in ratios) + " times"


def back(unit):
    """What tells noise from another distribution: one copy of augmented images, and predictions from all of them."""
    found = ""
    if "one copy" in unit:
        low, high = unit["one copy"]
        found += f"; one augmented copy, as many images as the empirical Hessian has, [{low:.2g}, {high:.3g}]"
    theory = unit.get("empirical from augmented")
    if theory is not None:
        found += (f"; predicted for it from all copies: largest additive {theory['additive']:.3g}, multiplicative "
                  f"{theory['multiplicative']:.3g}")
    return found


def epochs_claim(unit_list, items):
    told, shapes = [], []
    for unit in unit_list:
        course = {int(epoch): ends(stems) for epoch, stems in unit["epochs"].items()}
        weights = [nn.rank_degeneracy(density(stems), nearest=2).value for stems in unit["epochs"].values()]
        asymmetry = [high / -low for epoch, (low, high) in sorted(course.items()) if epoch > 0]
        shapes.append(min(weights) > 0.5 and min(asymmetry) > 1)
        told.append(f"{unit['data']}: " + ", ".join(f"epoch {epoch} [{low:.2g}, {high:.2g}]"
                                                     for epoch, (low, high) in sorted(course.items()))
                    + f"; weight of the two Ritz values nearest to 0 {min(weights):.2f} to {max(weights):.2f}")
    return claim(items, "spectra of the Hessian of all images over training",
                 "after the start a spike at 0, a few positive outliers, smaller negative ones", "; ".join(told),
                 "the shape is the same after the start" if all(shapes) else
                 "outliers to the right dominate, but the spike at 0 is not as heavy in a small network",
                 size=size_of(unit_list), holds="yes" if all(shapes) else "in part")


def curves_claim(unit_list):
    told = [f"{unit['data']}, {unit['schedule']}: training {100 * unit['train']['accuracy']:.1f} %, test "
            f"{100 * unit['test']['accuracy']:.1f} %" for unit in unit_list]
    pairs = [(normal, over) for normal in unit_list for over in unit_list
             if normal["data"] == over["data"] and (normal["schedule"], over["schedule"]) == ("normal", "over-fit")]
    worse = [over["test"]["accuracy"] < normal["test"]["accuracy"] for normal, over in pairs]
    return claim(figures(9, 10, 11, 12), "training and test curves of both schedules",
                 "training accuracy 99.6 to 99.98 % with both; test accuracy 77 and 95 % normal, 57 and 86 % over-fit",
                 "; ".join(told), "the small learning rate ends with the worse test accuracy in "
                 f"{sum(worse)} of {len(worse)}; networks of this size do not fit their augmented images",
                 size=size_of(unit_list), holds="in part" if any(worse) else "no")


def schedules_claim(normal, over):
    told, sharper = [], []
    for unit in normal:
        other = next(one for one in over if one["data"] == unit["data"])
        high = [summary(one)["empirical"]["largest"] for one in (unit, other)]
        true = [summary(one)["augmented"]["largest"] for one in (unit, other)]
        worse = other["test"]["accuracy"] < unit["test"]["accuracy"]
        sharper.append(worse == (true[1] > true[0]))
        told.append(f"{unit['data']}: normal {high[0]:.2f} and {true[0]:.2f} at test accuracy "
                    f"{100 * unit['test']['accuracy']:.1f} %, over-fit {high[1]:.2f} and {true[1]:.2f} at "
                    f"{100 * other['test']['accuracy']:.1f} %")
    return claim(TABLES, "largest eigenvalue, empirical and augmented, and accuracy",
                 "the over-fit schedule ends sharper, in both, and generalises worse", "; ".join(told),
                 f"the sharper solution generalises worse in {sum(sharper)} of {len(sharper)} data sets",
                 size=size_of(normal), holds="yes" if all(sharper) else "in part" if any(sharper) else "no")


def heaviest_claim(unit_list):
    told, carried = [], []
    for unit in unit_list:
        for name, row in summary(unit).items():
            total = sum(weight for _, weight in row["heaviest"])
            carried.append(total)
            told.append(f"{unit['data']}, {unit['schedule']}, {name}: {total:.2f} near "
                        + ", ".join(f"{value:.1g}" for value, _ in row["heaviest"])
                        + f" (below 0: {row['negative mass']:.2f})")
    return claim("true-Hessian Table 3", "the three Ritz values of most weight",
                 "together 0.98 to 0.999 of the weight, all near 0, empirical and augmented", "; ".join(told),
                 "most of the spectrum is near 0, less so than in networks two hundred times larger",
                 size=size_of(unit_list), difference=f"{min(carried):.2f} to {max(carried):.2f}",
                 holds="yes" if min(carried) > 0.97 else "in part" if min(carried) > 0.6 else "no")


def few_claim(unit_list):
    told, errors, falls = [], {"additive": [], "multiplicative": []}, []
    for unit in unit_list:
        every = [(row["samples"], np.mean(row["largest"]), np.std(row["largest"], ddof=1), row["additive"][1],
                  row["multiplicative"]) for row in unit["few"]]
        falls.append(every[0][1] > unit["hessian"][1])
        for _, mean, _, additive, multiplicative in every:
            errors["additive"].append(abs(additive / mean - 1))
            errors["multiplicative"].append(abs(multiplicative / mean - 1))
        told.append(f"{unit['network']}, {unit['data']}, {unit['schedule']}: " + ", ".join(
            f"{n} images {mean:.2f} ± {spread:.2f} (additive {additive:.2f}, multiplicative {multiplicative:.2f})"
            for n, mean, spread, additive, multiplicative in every) + f", {unit['samples']} {unit['hessian'][1]:.2f}")
    mean = {name: 100 * np.mean(each) for name, each in errors.items()}
    nearer = mean["multiplicative"] < mean["additive"]
    return claim(figures(1, 2, 5, 6), "the largest eigenvalue shrinks as the number of images grows",
                 "Theorem 1: shrinks by v / l", "; ".join(told) + f"; mean error additive {mean['additive']:.0f} %, "
                 f"multiplicative {mean['multiplicative']:.0f} %", f"shrinks in {sum(falls)} of {len(falls)} runs; "
                 + ("the multiplicative model of the Gauss-Newton matrix is nearer, additive noise predicts no change"
                    if nearer else "additive noise is nearer"),
                 size="1000 images, all trainings", holds="in part" if sum(falls) > len(falls) / 2 else "no")


def picture(found, folder):
    """Empirical beside augmented; spectra over epochs; training curves."""
    import matplotlib.pyplot as plt

    pairs = [unit for unit in units(found, "preresnet") if unit["data"] == "cifar10"]
    pairs += [unit for unit in units(found, "mlp") if unit["data"] == "fashion-mnist"]
    figure, axes = plt.subplots(3, len(pairs), figsize=(4 * len(pairs), 8.4), layout="constrained", squeeze=False)
    for column, unit in zip(axes.T, pairs, strict=True):
        last = unit["epochs"][max(unit["epochs"], key=int)]
        for ax, stems, name in ((column[0], last, "empirical"), (column[1], unit["augmented"], "augmented")):
            spectra.plot.stem(density(stems), ax, log=True)
            low, high = ends(stems)
            ax.set_title(f"{unit['network']}, {unit['data']}, {unit['schedule']}:\n{name} [{low:.2g}, {high:.3g}]",
                         fontsize=9)
        for key in ("accuracy", "test_accuracy"):
            column[2].plot([row[key] for row in unit["history"]], label=key.replace("_", " "))
        column[2].set(xlabel="epoch", ylim=(0, 1))
        column[2].legend(frameon=False, fontsize=8)
        column[2].spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "true_hessian_augmented.png", dpi=60)
    plt.close(figure)

    rows = [unit for unit in units(found, schedule="normal") if len(unit["epochs"]) == len(SHARES)]
    figure, axes = plt.subplots(len(rows), len(SHARES), figsize=(15, 2.4 * len(rows)), layout="constrained",
                                squeeze=False)
    for line, unit in zip(axes, rows, strict=True):
        for ax, epoch in zip(line, sorted(unit["epochs"], key=int), strict=False):
            stems = unit["epochs"][epoch]
            spectra.plot.stem(density(stems), ax, log=True)
            ax.set_title(f"{unit['network']}, {unit['data']}, epoch {epoch}", fontsize=9)
            ax.set(xlabel="", ylabel="")
    figure.savefig(folder / "true_hessian_epochs.png", dpi=75)
    plt.close(figure)


def show(found):
    lines = []
    for unit in found.values():
        for name, row in summary(unit).items():
            lines.append([unit["network"], unit["data"], unit["schedule"], name, f"{row['largest']:.3g}",
                          f"{row['smallest']:.3g}", f"{row['negative values']}/{row['steps']}",
                          f"{row['negative mass']:.3f}", f"{100 * unit['test']['accuracy']:.1f}",
                          f"{100 * unit['train']['accuracy']:.1f}",
                          ", ".join(f"[{w:.2f}, {x:.1g}]" for x, w in row["heaviest"])])
    print(table(["network", "data", "schedule", "Hessian", "largest", "smallest", "negative Ritz values",
                 "negative mass", "test", "train", "heaviest [weight, value]"], lines))
    print("\n".join(f"{c['items'][0]} ...: {c['holds']}: {c['ours']}" for c in claims(found)))


def main():
    parser = arguments(__file__, __doc__, "1000 images, 50 epochs, instead of 300 and 2", picture=False)
    parser.add_argument("--folder", type=Path, default=DOCS / "img", help="for the pictures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = json.loads(options.json.read_text())["found"] if options.json.exists() else {}
    sizes = {"samples": 1000, "epochs": 50} if options.full else {"samples": 300, "epochs": 2, "steps": 20}
    for unit in UNITS:
        name = ", ".join(unit)
        if name not in found or found[name]["samples"] != sizes["samples"]:
            found[name] = run(*unit, **sizes)
            save(options.json, {"found": found, "claims": claims(found)})
    save(options.json, {"found": found, "claims": claims(found)})
    picture(found, options.folder)
    show(found)


if __name__ == "__main__":
    main()
