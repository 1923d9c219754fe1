"""How much weight decay? The evidence says, without a validation set.

Around the weights w that training found, Laplace's approximation makes the posterior a Gaussian, and the probability of
the data given the model is the likelihood at w times MacKay's Occam factor:

    log p(data) = -L(w) - (a / 2) |w|² - (1 / 2) log det(I + G / a),

with L the sum of the losses, a the weight decay (a Gaussian prior of precision a) and G the curvature of L. The Hessian
at w need not be positive, so G is its Gauss-Newton part. A sharp minimum uses up its prior: it pays with the
log-determinant, and that is the term nobody can factorise for a network of millions of weights. Here it is estimated
from products with G, with an error bar, beside the exact one of a network of 610 weights.

Reference: MacKay, Neural Computation 4 (1992) 415 and 448; thesis 4.1.1.
"""

import numpy as np
import torch
from torch import nn

import spectra
from spectra import datasets
from spectra.nn import GGNOperator

DECAYS = (0.03, 0.1, 0.3, 1.0, 3.0)
LOSS = nn.CrossEntropyLoss(reduction="sum")


def digits(count=500, seed=0):
    """Handwritten digits of 8 x 8 pixels: training data, and the others."""
    X, y = datasets.load("digits")
    order = np.random.default_rng(seed).permutation(len(y))
    x = torch.from_numpy(X.reshape(len(y), -1)[order] / 16.0 - 0.3).double()
    y = torch.from_numpy(y[order]).long()
    return (x[:count], y[:count]), (x[count:], y[count:])


def fitted(train, decay, seed=0):
    """The most probable weights under the prior."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10)).double()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        objective = LOSS(model(train[0]), train[1]) + decay / 2 * square(model)
        objective.backward()
        return objective

    optimizer.step(closure)
    return model


def square(model):
    return sum((w * w).sum() for w in model.parameters())


def main():
    torch.set_num_threads(1)  # more threads than one only wait for each other at matrices as small as these
    train, test = digits()
    print("  decay   loss  decay term     log det, estimated    exact    evidence   test loss   test errors")
    rows = []
    for decay in DECAYS:
        model = fitted(train, decay)
        G = GGNOperator(model, LOSS, train)
        P = G.shape[0]

        # The log-determinant of I + G / a. G is positive semi-definite, so G + a has no eigenvalue below a.
        estimate = spectra.logdet(G.shift(decay), method="slq", probes=15, steps=20, rng=0)
        occam = estimate.value - P * np.log(decay)
        exact = np.linalg.slogdet(np.eye(P) + np.asarray(G.todense()) / decay)[1]
        low, high = estimate.interval(0.999)  # five intervals, and all of them are to hold
        assert low <= exact + P * np.log(decay) <= high

        with torch.no_grad():
            loss, penalty = float(LOSS(model(train[0]), train[1])), decay / 2 * float(square(model))
            outputs = model(test[0])
            unseen = float(LOSS(outputs, test[1])) / len(test[1])
            errors = float((outputs.argmax(1) != test[1]).float().mean())
        rows.append((decay, -loss - penalty - occam / 2, -loss - penalty - exact / 2, unseen))
        print(f"{decay:7.2f} {loss:6.1f} {penalty:11.1f} {occam:12.1f} ± {estimate.stderr:4.1f} {exact:13.1f} "
              f"{rows[-1][1]:11.1f} {unseen:11.3f} {100 * errors:10.1f} %")

    _, evidence, truth, unseen = np.array(rows).T
    best = int(np.argmax(evidence))
    print(f"\nthe evidence is largest for a decay of {DECAYS[best]}, the loss on other digits least for "
          f"{DECAYS[int(np.argmin(unseen))]}")
    assert best == int(np.argmax(truth))  # as with exact determinants
    assert 0 < best < len(DECAYS) - 1
    assert unseen[best] < 1.1 * unseen.min()  # nearly the best on data that the evidence never saw


if __name__ == "__main__":
    main()
