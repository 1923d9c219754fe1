"""Thesis, section 6.6 and Figure 6.7 (damping paper, Figure 9): what moves along sharp directions, and epsilon.

    python examples/reproduce/thesis_figures_6_6_to_6_8.py [--full] [--seeds 3] [--json FILE] [--picture FILE]

Section 6.6 says that partial adaptivity (Padam, p < 1/2) and a larger epsilon both move more along the sharpest
directions of the loss. Measured: from one state of Adam in the middle of a training, the share of the update that lies
in the space of the ten sharpest eigenvectors of the Hessian, by p and epsilon.

Figure 6.7: with batch norm, AdamW with a larger epsilon generalises better, with and without weight decay. Figure 6.8,
the same for ResNet-50 on ImageNet, needs a GPU and that data.
"""

import statistics
from itertools import pairwise, product

import torch
from _report import arguments, claim, table
from _study import FULL, NARROW, chosen, conclude, mean, problem, spread, study, trained
from torch.nn.functional import cross_entropy

import spectra
from spectra import optim
from spectra.nn import HessianOperator

POWERS = (0.5, 0.25, 0.125, 0.0)
EPSILONS = (1e-8, 1e-4, 1e-3, 1e-2, 1e-1)
TRIED = (1e-8, 1e-4, 1e-3, 1e-2)
DECAYS = (0.0, 0.25)
EPOCHS, SHARP = 12, 10


def cells(seeds):
    return ([{"part": "directions", "seed": seed} for seed in seeds]
            + [{"part": "epsilon", "epsilon": epsilon, "decay": decay, "seed": seed}
               for seed, epsilon, decay in product(seeds, TRIED, DECAYS)])


def one(settings, part, seed, epsilon=None, decay=None):
    return shares(settings, seed) if part == "directions" else tuned(settings, epsilon, decay, seed)


def shares(settings, seed):
    """Share of the update in the ten sharpest directions, by p and by epsilon."""
    model, split = problem(settings, seed)
    opt = torch.optim.Adam(model.parameters(), 1e-3)
    trained(model, opt, split, settings | {"epochs": 4}, seed)
    x, y = (part[:512] for part in split.train)
    H = HessianOperator(model, cross_entropy, [(x, y)])
    vectors = torch.as_tensor(spectra.eigenpairs(H, SHARP, which="LA", tol=1e-2, rng=0).vectors)
    state = [opt.state[w] for w in model.parameters()]
    t = float(state[0]["step"])
    m, v = (torch.cat([s[key].reshape(-1) for s in state]) / (1 - beta**t)
            for key, beta in (("exp_avg", 0.9), ("exp_avg_sq", 0.999)))

    def share(p, epsilon):
        update = m / (v.sqrt() + epsilon) ** (2 * p)
        return float((vectors.T @ update).square().sum() / update.square().sum())

    return {"powers": [share(p, 1e-8) for p in POWERS], "epsilons": [share(0.5, epsilon) for epsilon in EPSILONS],
            "decay": float((vectors.T @ flat(model)).square().sum() / flat(model).square().sum())}


def flat(model):
    return torch.cat([w.detach().reshape(-1) for w in model.parameters()])


def tuned(settings, epsilon, decay, seed):
    normed = "vgg16bn" if settings["network"] == "vgg16" else "narrow-bn"
    model, split = problem(settings | {"network": normed}, seed)
    opt = optim.PAdamW(model.parameters(), 1e-3, eps=epsilon, weight_decay=decay)
    return trained(model, opt, split, settings, seed, schedule=optim.plateau_decay(settings["epochs"]))


def run(path, seeds=(0, 1, 2), settings=None):
    return study(path, cells(seeds), one, settings or NARROW | {"epochs": EPOCHS})


def means(rows, key):
    found = [row[key] for row in chosen(rows, part="directions")]
    return [statistics.mean(column) for column in zip(*found, strict=True)]


def claims(rows, settings):
    size = (f"two hidden layers of 32, {settings['train']} images of {settings['data']}, "
            f"{len({row['seed'] for row in rows})} seeds")
    powers, epsilons = means(rows, "powers"), means(rows, "epsilons")
    rising = [all(a <= b * 1.001 for a, b in pairwise(values)) for values in (powers, epsilons)]
    directions = claim("thesis Section 6.6", "Partial adaptivity and a larger epsilon move more along sharp directions",
                       "argued, not measured",
                       "share of Adam's update in the ten sharpest directions: "
                       + ", ".join(f"p = {p:g}: {100 * value:.1f} %" for p, value in zip(POWERS, powers, strict=True))
                       + "; " + ", ".join(f"epsilon {e:g}: {100 * value:.1f} %"
                                          for e, value in zip(EPSILONS, epsilons, strict=True)),
                       "", holds="yes" if all(rising) else "in part" if any(rising) else "no",
                       size=size + ", after 4 epochs of Adam")
    return [directions, epsilon_claim(rows, size + f", batch norm, {settings['epochs']} epochs")]


def epsilon_claim(rows, size):
    parts, gains, noises = [], [], []
    for decay in DECAYS:
        own = {epsilon: chosen(rows, part="epsilon", decay=decay, epsilon=epsilon) for epsilon in TRIED}
        tests = {epsilon: 100 * mean(runs, "test accuracy", 0.1) for epsilon, runs in own.items()}
        gains.append(max(tests.values()) - tests[TRIED[0]])
        noises.append(2 * 100 * max(spread(runs, "test accuracy", 0.1) for runs in own.values()))
        parts.append(f"weight decay {decay:g}: " + ", ".join(f"{e:g}: {value:.1f}" for e, value in tests.items()))
    clear = [gain > noise for gain, noise in zip(gains, noises, strict=True)]
    return claim(["thesis Figure 6.7", "damping Figure 9"], "With batch norm too a larger epsilon generalises better",
                 "slightly assists training and improves generalisation, with and without weight decay",
                 "test accuracy by epsilon; " + "; ".join(parts),
                 "Best of the larger ones, gain over 1e-8: " + ", ".join(f"{gain:+.2f}" for gain in gains)
                 + f" points, noise {max(noises):.1f}",
                 holds="yes" if all(clear) else "in part" if any(gain > 0 for gain in gains) else "no", size=size)


def show(rows):
    print(table(["", *map(str, POWERS)], [["share, by p", *means(rows, "powers")]]))
    print()
    print(table(["", *map(str, EPSILONS)], [["share, by epsilon", *means(rows, "epsilons")]]))
    print()
    print(table(["epsilon", *(f"weight decay {decay:g}: training, test" for decay in DECAYS)],
                [[f"{e:g}", *(cell(chosen(rows, part="epsilon", epsilon=e, decay=decay)) for decay in DECAYS)]
                 for e in TRIED]))


def cell(runs):
    return (f"{100 * mean(runs, 'accuracy', 0.1):.1f}, {100 * mean(runs, 'test accuracy', 0.1):.1f} ± "
            f"{100 * spread(runs, 'test accuracy', 0.1):.1f}")


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
