"""How many probes does a trace need?

One probe z of random signs gives z'Az, which has mean tr A and variance 2 (‖A‖_F² - Σ a_ii²). For a matrix that does
not know the coordinates we use, a_ii is about tr A / n, and the relative variance of one probe is

    v = 2 (Σ λ_i² / (Σ λ_i)² - 1/n).

It falls like 1/n: the larger the matrix, the fewer the probes. How it depends on the condition number κ is a question
of the spectrum. For eigenvalues in [1, κ] (Pólya and Szegő)

    v ≤ (κ - 1)² / (2 κ n),

with equality if the share 1/(κ + 1) of them is κ and all others are 1. For eigenvalues in geometric progression v is
only about log(κ) / n. The thesis has v ≤ 2 / (1 + (n - 1)/κ²) (2.34), which holds as well and is 4 κ times as large.

This example measures v with random operators of known spectrum, and draws the number of probes that give a standard
error of one per cent, v / 0.01².
"""

import numpy as np
from scipy.fft import dct, idct

import spectra

PROBES = 300
TARGET = 0.01


class Rotated(spectra.LinearOperator):
    """Q diag(eigenvalues) Q' with Q made of random signs and cosine transforms: O(n log n) a product."""

    hermitian = True

    def __init__(self, eigenvalues, rng):
        n = len(eigenvalues)
        self.eigenvalues, self.signs = eigenvalues[:, None], rng.choice([-1.0, 1.0], size=(2, n, 1))
        super().__init__(shape=(n, n))

    def _matmat(self, V):
        first, second = self.signs
        W = dct(first * dct(second * V, axis=0, norm="ortho"), axis=0, norm="ortho")
        return second * idct(first * idct(self.eigenvalues * W, axis=0, norm="ortho"), axis=0, norm="ortho")


def geometric(n, kappa):
    return np.geomspace(1.0, kappa, n)


def two_point(n, kappa):
    """As many eigenvalues κ as make it hardest."""
    large = max(round(n / (kappa + 1)), 1)
    return np.repeat([1.0, kappa], [n - large, large])


def predicted(eigenvalues):
    """Relative variance of one probe."""
    return 2 * (np.sum(eigenvalues**2) / np.sum(eigenvalues) ** 2 - 1 / len(eigenvalues))


def worst(n, kappa):
    return (kappa - 1) ** 2 / (2 * kappa * n)


def printed(n, kappa):
    return 2 / (1 + (n - 1) / kappa**2)


def measured(eigenvalues, seed):
    rng = np.random.default_rng(seed)
    trace = spectra.trace(Rotated(eigenvalues, rng), method="hutchinson", matvecs=PROBES, rng=seed, check=False)
    return trace.probes * (trace.stderr / np.sum(eigenvalues)) ** 2


sizes = 2 ** np.arange(6, 14)
kappas = 10.0 ** np.arange(1, 5)
by_size = {kappa: [measured(geometric(n, kappa), i) for i, n in enumerate(sizes)] for kappa in (1e1, 1e3, 1e6)}
by_kappa = {
    spectrum: [measured(spectrum(sizes[-1], kappa), i) for i, kappa in enumerate(kappas)]
    for spectrum in (geometric, two_point)
}

print("relative standard deviation of one probe, geometric spectrum")
print("       n " + "".join(f"   kappa {kappa:<7.0e}" for kappa in by_size))
for i, n in enumerate(sizes):
    print(f"{n:8} " + "".join(f"{np.sqrt(v[i]):16.4f}" for v in by_size.values()))

# The formula holds, within the noise of a variance from 300 samples (8 % standard error for Gaussian ones).
for kappa, found in by_size.items():
    np.testing.assert_allclose(found, [predicted(geometric(n, kappa)) for n in sizes], rtol=0.5)
for spectrum, found in by_kappa.items():
    np.testing.assert_allclose(found, [predicted(spectrum(sizes[-1], kappa)) for kappa in kappas], rtol=0.5)

# Twice the size, half the probes: the slope of log v against log n is -1.
for kappa, found in by_size.items():
    slope = np.polyfit(np.log(sizes), np.log(found), 1)[0]
    print(f"kappa {kappa:.0e}: relative variance falls like n^{slope:.2f}")
    assert -1.15 < slope < -0.85

# No spectrum exceeds the sharp bound, the two-point spectrum reaches it, and the printed bound lies far above.
for kappa in kappas:
    n = sizes[-1]
    assert predicted(geometric(n, kappa)) <= worst(n, kappa)
    assert 0.5 * worst(n, kappa) <= predicted(two_point(n, kappa)) <= worst(n, kappa)
    assert worst(n, kappa) <= printed(n, kappa)

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("no picture without matplotlib")
else:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for kappa, found in by_size.items():
        line = left.loglog(sizes, np.array(found) / TARGET**2, "o", label=f"κ = {kappa:,.0f}")[0]
        left.loglog(sizes, [predicted(geometric(n, kappa)) / TARGET**2 for n in sizes], color=line.get_color())
    left.set(xlabel="n", ylabel="probes for a standard error of 1 %", title="The larger, the fewer (geometric spectra)")
    fine = np.geomspace(10, 1e4, 50)
    for spectrum, name in ((geometric, "geometric"), (two_point, "hardest: two points")):
        line = right.loglog(kappas, np.array(by_kappa[spectrum]) / TARGET**2, "o", label=name)[0]
        right.loglog(fine, [predicted(spectrum(n, kappa)) / TARGET**2 for kappa in fine], color=line.get_color())
    right.loglog(fine, [worst(n, kappa) / TARGET**2 for kappa in fine], "0.5", linewidth=1, label="sharp bound")
    right.loglog(fine, [printed(n, kappa) / TARGET**2 for kappa in fine], "0.5", linestyle="--", label="thesis (2.34)")
    right.set(xlabel="condition number κ", title=f"The condition number alone says little (n = {n})")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
    figure.savefig("probes.png", dpi=150)
    print("picture: probes.png")
