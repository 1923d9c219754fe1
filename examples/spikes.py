"""When does a large eigenvalue survive noise?

A symmetric matrix W of pure noise, variance v, fills the interval [-2√v, 2√v] with eigenvalues. Add a matrix with a
single eigenvalue l. The largest eigenvalue of the sum does not grow with l from the start: up to l = √v, half the edge,
it stays at the edge and its eigenvector is as good as random. Beyond, it leaves the bulk as

    l' = l + v / l,     squared overlap with the true eigenvector  1 - v / l²,

the transition of Baik, Ben Arous and Péché. The Hessian of a mini-batch is such a sum: the full Hessian plus noise of
variance v = P σ² / b. So eigenvalues of a batch Hessian are too large, by an amount that is known, and can be
corrected.

This example draws the transition from simulated matrices of order 1000, and recovers hidden eigenvalues.
"""

import numpy as np

import spectra
from spectra import rmt

N, VARIANCE = 1000, 1.0


def noise(rng):
    """A symmetric matrix of noise, whose eigenvalues have variance 1."""
    W = rng.standard_normal((N, N))
    return (W + W.T) * np.sqrt(VARIANCE / (2 * N))


def transition(rng, spikes):
    """Largest eigenvalue, and squared overlap of its vector with the first axis, for each spike."""
    found = []
    W = noise(rng)
    for spike in spikes:
        A = W.copy()
        A[0, 0] += spike
        values, vectors, _ = spectra.eigenpairs(A, 1, which="LA", tol=1e-4, rng=0)
        found.append((values[0], vectors[0, 0] ** 2))
    return np.transpose(found)


def recovered(rng, hidden):
    """Naive and corrected estimates of hidden eigenvalues from the noisy ones."""
    A = noise(rng)
    A[np.arange(len(hidden)), np.arange(len(hidden))] += hidden
    rho = spectra.spectral_density(A, steps=60, probes=4, rng=0)
    bulk = rmt.fit_bulk(rho)
    sharp = rmt.count_outliers(rho, bulk)
    values = np.sort(spectra.eigenpairs(A, len(hidden), which="LA", rng=0).values)[::-1]
    return sharp, values, rmt.spikes(values, variance=bulk.variance)


def main(picture=None):
    rng = np.random.default_rng(0)
    spikes = np.array([0.25, 0.5, 0.75, 0.9, 1.1, 1.25, 1.5, 2.0, 2.5, 3.0])
    values, overlaps = transition(rng, spikes)
    print(" spike   largest  theory   overlap  theory")
    for row in zip(spikes, values, rmt.outliers(spikes), overlaps, rmt.overlaps(spikes), strict=True):
        print("{:6.2f}  {:8.3f} {:7.3f}  {:8.3f} {:7.3f}".format(*row))
    assert np.abs(values - rmt.outliers(spikes)).max() < 0.15  # a few times sqrt(2 / n), and n^(-2/3) at the edge
    assert np.abs(overlaps - rmt.overlaps(spikes)).max() < 0.15

    hidden = np.array([6.0, 4.0, 2.5])
    sharp, naive, corrected = recovered(rng, hidden)
    print(f"\neigenvalues beyond the noise: {sharp}")
    print("hidden   ", hidden, "\nnaive    ", naive.round(3), "\ncorrected", corrected.round(3))
    assert np.abs(corrected - hidden).sum() < 0.5 * np.abs(naive - hidden).sum()
    if picture:
        draw(picture, spikes, values, overlaps)


def draw(path, spikes, values, overlaps):
    import matplotlib.pyplot as plt

    fine = np.linspace(0.01, 3.2, 400)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    left.axhspan(-0.2, 2, color="0.92", label="bulk of the noise")
    left.plot(fine, rmt.outliers(fine), label="theory")
    left.plot(spikes, values, "o", label="simulated, n = 1000")
    left.set(xlabel="eigenvalue of the clean matrix", ylabel="largest eigenvalue with noise", ylim=(0, 3.7))
    left.legend(frameon=False)
    right.plot(fine, rmt.overlaps(fine))
    right.plot(spikes, overlaps, "o")
    right.set(xlabel="eigenvalue of the clean matrix", ylabel="squared overlap of the eigenvectors")
    for ax in (left, right):
        ax.axvline(1.0, color="0.6", linewidth=0.8, linestyle=":")
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    import sys

    main(*sys.argv[1:])
