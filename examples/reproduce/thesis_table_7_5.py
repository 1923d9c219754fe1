"""Thesis, Table 7.5 and Figure 7.10: a word-level language model on the Penn Treebank, with averages of iterates.

    python examples/reproduce/thesis_table_7_5.py [--full] [--seeds 2] [--json FILE] [--picture FILE]

ASGD, Adam, Padam, Gadam and GadamX; averages from a third of the training on, learning rates constant but for Padam's,
which falls tenfold at a half and at three quarters, as in the thesis (epochs 100 and 150 of 200). In miniature: one
LSTM layer of 64, 20,000 training words, the 1,000 commonest of them and one sign for the rest. `--full` has three
layers of 1,150 on all words, 200 epochs, for a GPU. L2 regularisation 1.2e-6 and p = 1/5, as published.
"""

import math
import time
from collections import Counter
from itertools import product

import torch
from _report import arguments, claim, table
from _study import chosen, conclude, curve, mean, numbers, spread, study
from torch import nn
from torch.nn.functional import cross_entropy

from spectra import datasets, optim

SMALL = {"words": 20_000, "test": 10_000, "vocabulary": 1000, "width": 64, "layers": 1, "epochs": 12, "window": 20,
         "streams": 20, "device": "cpu"}
FULL = {"words": None, "test": None, "vocabulary": 10_000, "width": 1150, "layers": 3, "epochs": 200, "window": 70,
        "streams": 80, "device": "cuda"}
METHODS = {"ASGD": 10.0, "Adam": 3e-3, "Padam": 1.0, "Gadam": 3e-3, "GadamX": 1.0}  # learning rates
PAPER = {"ASGD": (64.88, 61.98), "Adam": (65.96, 63.16), "Padam": (65.69, 62.15), "Gadam": (61.35, 58.77),
         "GadamX": (63.49, 60.45)}


class Model(nn.Module):
    """Words, LSTM, next words."""

    def __init__(self, vocabulary, width, layers):
        super().__init__()
        self.embed, self.head = nn.Embedding(vocabulary, width), nn.Linear(width, vocabulary)
        self.recur = nn.LSTM(width, width, layers, dropout=0.2 if layers > 1 else 0.0)
        self.drop = nn.Dropout(0.2)
        nn.init.uniform_(self.embed.weight, -0.1, 0.1)
        nn.init.uniform_(self.head.weight, -0.1, 0.1)

    def forward(self, x, state=None):
        found, state = self.recur(self.drop(self.embed(x)), state)
        return self.head(self.drop(found)), tuple(s.detach() for s in state)


def corpus(settings):
    """Numbers of the words of train, valid and test, each (length, streams)."""
    parts = [datasets.load("ptb", split=split).replace("\n", " <eos> ").split() for split in ("train", "valid", "test")]
    sizes = (settings["words"], settings["test"], settings["test"])
    parts = [words[:size] for words, size in zip(parts, sizes, strict=True)]
    common = [word for word, _ in Counter(parts[0]).most_common(settings["vocabulary"] - 1)]
    number = {word: k + 1 for k, word in enumerate(common)}
    found = []
    for words in parts:
        numbers = torch.tensor([number.get(word, 0) for word in words], device=settings["device"])
        length = len(numbers) // settings["streams"]
        found.append(numbers[: length * settings["streams"]].view(settings["streams"], length).T)
    return found


def one(settings, method, seed):
    train, valid, test = corpus(settings)
    torch.manual_seed(seed)
    model = Model(settings["vocabulary"], settings["width"], settings["layers"]).to(settings["device"])
    opt, average = optimizer(method, model), None
    if method in ("ASGD", "Gadam", "GadamX"):
        average = optim.IterateAverage(model, start=settings["epochs"] // 3)
    perplexities = []
    begun = time.perf_counter()
    for epoch in range(settings["epochs"]):
        for group in opt.param_groups:
            group["lr"] = METHODS[method] * decay(method, (epoch + 1) / settings["epochs"])
        learn(model, opt, train, settings["window"])
        if average is not None:
            average.update()
        perplexities.append(of(model, average, valid, settings["window"]))
    return {"valid": perplexities[-1], "test": of(model, average, test, settings["window"]),
            "last iterate": perplexity(model, test, settings["window"]), "perplexities": curve(perplexities),
            "seconds": round(time.perf_counter() - begun, 1)}


def optimizer(method, model):
    if method == "ASGD":
        return torch.optim.SGD(model.parameters(), METHODS[method], weight_decay=1.2e-6)
    if method in ("Adam", "Gadam"):
        return torch.optim.Adam(model.parameters(), METHODS[method], weight_decay=1.2e-6)
    return optim.PAdamW(model.parameters(), METHODS[method], weight_decay=1.2e-6, p=0.2, bias_correction="padam")


def decay(method, share):
    return 0.1 ** ((share > 0.5) + (share > 0.75)) if method == "Padam" else 1.0


def learn(model, opt, words, window):
    model.train()
    state = None
    for k in range(0, len(words) - 1, window):
        x, y = words[k : k + window], words[k + 1 : k + 1 + window]
        outputs, state = model(x[: len(y)], state)
        opt.zero_grad()
        cross_entropy(outputs.flatten(0, 1), y.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        opt.step()


def of(model, average, words, window):
    """Perplexity of the average where there is one."""
    if average is None or not average.count:
        return perplexity(model, words, window)
    with average.applied():
        return perplexity(model, words, window)


@torch.no_grad()
def perplexity(model, words, window):
    model.eval()
    total, state = 0.0, None
    for k in range(0, len(words) - 1, window):
        y = words[k + 1 : k + 1 + window]
        outputs, state = model(words[k : k + len(y)], state)
        total += float(cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="sum"))
    return math.exp(total / words[1:].numel())


def run(path, seeds=(0, 1), settings=SMALL):
    return study(path, [{"method": method, "seed": seed} for seed, method in product(seeds, METHODS)], one, settings)


def claims(rows, settings):
    own = {method: chosen(rows, method=method) for method in METHODS}
    test = {method: mean(runs, "test") for method, runs in own.items()}
    better = [pair for pair in (("Adam", "Gadam"), ("Padam", "GadamX")) if test[pair[1]] < test[pair[0]]]
    best = min(test, key=test.get)
    return [claim(["thesis Table 7.5", "thesis Figure 7.10"], "Averages beat their bases in a language model",
                  "; ".join(f"{method} {valid} / {tested}" for method, (valid, tested) in PAPER.items()),
                  "; ".join(f"{method} {mean(runs, 'valid'):.1f} / {test[method]:.1f} ± {spread(runs, 'test'):.1f}"
                            for method, runs in own.items()),
                  f"Perplexity, validation / test. True of {len(better)} of 2 pairs; the best is {best}. Without the "
                  "average, Gadam's and GadamX's last iterates have "
                  + " and ".join(f"{mean(own[m], 'last iterate'):.0f}" for m in ("Gadam", "GadamX")),
                  holds="yes" if len(better) == 2 and best == "Gadam" else "in part" if better else "no",
                  size=f"{settings['words']:,} words, vocabulary {settings['vocabulary']:,}, LSTM of "
                       f"{settings['width']}, {settings['epochs']} epochs, {len(own['Adam'])} seeds")]


def show(rows):
    print(table(["", "validation", "test", "paper"],
                [[method, f"{mean(runs, 'valid'):.1f}", f"{mean(runs, 'test'):.1f}", "{} / {}".format(*PAPER[method])]
                 for method, runs in ((m, chosen(rows, method=m)) for m in METHODS)]))


def draw(rows, path):
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
    for method in METHODS:
        y = numbers(chosen(rows, method=method)[0]["perplexities"])
        ax.plot(range(1, len(y) + 1), y, label=method)
    ax.set(xlabel="epoch", ylabel="validation perplexity", ylim=(50, 110))
    ax.legend(fontsize=7)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main():
    parser = arguments(__file__, __doc__, "three layers of 1,150, 200 epochs, on a GPU")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = FULL if options.full else SMALL
    rows = run(options.json, range(options.seeds), settings)
    conclude(options.json, {"claims": claims(rows, settings)})
    show(rows)
    draw(rows, options.picture)


if __name__ == "__main__":
    main()
