"""What does a mini-batch do to the Hessian of a network, and can it be told in advance?

The Hessian of a batch of B out of N samples is the full one plus noise. Random matrix theory has two models of it:

    additive         H + W, with W symmetric noise of variance v = s (1 - B/N), the same in all directions:
                     an eigenvalue l becomes l + v / l
    multiplicative   G^(1/2) S G^(1/2) for the Gauss-Newton matrix G, a mean of one positive matrix a sample, with S the
                     sample covariance of as much noise: the larger an eigenvalue, the noisier its direction

with the effective batch b = B / (1 - B/N). Both need only numbers of the full data: the largest eigenvalues, the
variance s (`spectra.nn.curvature_variance`), the trace of G. Here they are to predict the extreme eigenvalues of
batches of 32, 128 and 512 images, for a small network on Fashion-MNIST, beside what the batches have.
"""

import numpy as np
import torch

import spectra
from spectra import datasets, nn, rmt

SAMPLES, BATCHES, SIZES, SHARP = 4096, 10, (32, 128, 512), 10
LOSS = torch.nn.CrossEntropyLoss()


def images():
    """Some images of Fashion-MNIST with their classes."""
    X, y = datasets.load("fashion-mnist")
    rows = np.random.default_rng(0).permutation(len(X))[:SAMPLES]
    x = torch.from_numpy(X[rows].reshape(SAMPLES, -1).astype(np.float32))
    return (x - x.mean()) / x.std(), torch.from_numpy(y[rows].astype(np.int64))


def trained(x, y, epochs=8):
    """A network with one hidden layer, 25,450 parameters, after some epochs of gradient descent."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(128):
            optimizer.zero_grad()
            LOSS(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model


def nodes(operator, steps):
    """Ritz values, the largest first: the outer ones are eigenvalues."""
    return spectra.spectral_density(operator, steps=steps, probes=1, rng=0).nodes[::-1]


def full(model, loss, data, steps=60, probes=2):
    """What the predictions need, from all data: ends of H, largest eigenvalues and trace of G, variances of both."""
    H, G = nn.HessianOperator(model, loss, data), nn.GGNOperator(model, loss, data)
    hessian, ggn = nodes(H, steps), nodes(G, steps)
    found = {"parameters": H.shape[0], "samples": sum(len(y) for _, y in data), "hessian": [hessian[-1], hessian[0]],
             "ggn": list(ggn[:SHARP]), "trace": float(spectra.trace(G, matvecs=steps, rng=0))}
    for name in ("hessian", "ggn"):
        s = nn.curvature_variance(model, loss, data, curvature=name, probes=probes, rng=0)
        found[f"{name} variance"] = s.per_sample
    return found


def predicted(found, batch):
    """Both theories for batches of one size, each for the largest eigenvalue of H and of G.

    The noise of H is taken for that of G in the multiplicative model: what is sharp comes from G.
    """
    b = rmt.effective_batch(batch, found["samples"])
    additive = rmt.batch_extremes(*found["hessian"], found["hessian variance"] / b)
    return {"smallest": additive.smallest, "hessian": additive.largest,
            "ggn": rmt.batch_extremes(0.0, found["ggn"][0], found["ggn variance"] / b).largest,
            "law": law(found, b), "multiplicative": multiplicative(found, b * gaussian_samples(found))}


def law(found, samples):
    """Theorem for one outlier in multiplicative noise: the rest of G's spectrum is taken for flat, at its mean."""
    rest = (found["trace"] - sum(found["ggn"])) / found["parameters"]
    spike, ratio = found["ggn"][0] / rest - 1, found["parameters"] / samples
    return float(rmt.outliers([spike], noise="multiplicative", variance=rest, ratio=ratio)[0])


def multiplicative(found, samples, draws=200):
    """The same with all sharp eigenvalues, which repel each other: the mean over sample covariances drawn from them."""
    rng, samples = np.random.default_rng(0), max(round(samples), 1)
    Z = rng.standard_normal((draws, len(found["ggn"]), samples)) * np.sqrt(found["ggn"])[:, None]
    rest = (found["trace"] - sum(found["ggn"])) / samples
    return float(np.linalg.eigvalsh(Z @ Z.transpose(0, 2, 1) / samples)[:, -1].mean() + rest)


def gaussian_samples(found):
    """How many Gaussian samples are as noisy as one image: less than one, since most images have little curvature."""
    gaussian = found["trace"] ** 2 + np.sum(np.square(found["ggn"]))
    return gaussian / (found["parameters"] * found["ggn variance"])


def measured(model, loss, x, y, size, batches=BATCHES, steps=30):
    """Smallest and largest eigenvalue of H and largest of G for single batches, shape (batches, 3)."""
    rng = np.random.default_rng(size)
    found = []
    for _ in range(batches):
        rows = torch.from_numpy(rng.choice(len(x), size, replace=False))
        H, G = (kind(model, loss, (x[rows], y[rows]), check=None) for kind in (nn.HessianOperator, nn.GGNOperator))
        hessian = nodes(H, steps)
        found.append([hessian[-1], hessian[0], nodes(G, steps)[0]])
    return np.array(found)


def anisotropy(model, loss, data, variance):
    """How much noisier the sharpest direction u is than the average one: E |(H_i - H) u|² P / E |H_i - H|²."""
    H = nn.HessianOperator(model, loss, data)
    u = spectra.eigenpairs(H, 1, which="LA", tol=1e-3, rng=0).vectors
    products = torch.stack([block[:, 0] for block in H.per_batch(u)])
    noise = (products - products.mean(0)).square().sum() / (len(products) - 1)
    return float(noise) * len(data[0][1]) / variance


def main():
    x, y = images()
    model, data = trained(x, y), list(zip(x.split(128), y.split(128), strict=True))
    found = full(model, LOSS, data)
    low, high = found["hessian"]
    print(f"{found['parameters']} parameters, {found['samples']} images; eigenvalues of H: {low:.2f} to {high:.2f}, "
          f"of G: up to {found['ggn'][0]:.2f}\n")
    print("         largest of H          smallest of H          largest of G\n"
          "batch    measured  additive    measured  additive    measured  additive  multiplicative")
    for size in SIZES:
        theory, each = predicted(found, size), measured(model, LOSS, x, y, size)
        low, high, ggn = (f"{m:5.2f} ± {s:4.2f}" for m, s in zip(each.mean(0), each.std(0, ddof=1), strict=True))
        print(f"{size:5d} {high:>11} {theory['hessian']:9.2f} {low:>11} {theory['smallest']:9.2f} {ggn:>11} "
              f"{theory['ggn']:9.2f} {theory['multiplicative']:15.2f}")
        error = np.abs(np.array([theory["ggn"], theory["multiplicative"]]) / each[:, 2].mean() - 1)
        assert error[1] < 0.25, "the multiplicative model predicts the largest eigenvalue of G"
        assert size == 512 or error[1] < error[0], "and is nearer than the additive one, which predicts hardly a change"
    ratio = anisotropy(model, LOSS, data, found["hessian variance"])
    print(f"\nBecause the noise is not the same in all directions: along the sharpest one it is {ratio:.0f} times the "
          "average.")
    assert ratio > 100


if __name__ == "__main__":
    main()
