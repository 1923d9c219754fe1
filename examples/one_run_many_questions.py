"""One run, many questions.

Lanczos quadrature spends its products before it knows what will be asked. What comes back, a `SpectralDensity`, is a
set of weighted points near the spectrum; log-determinants, inverse traces, norms, counts and quantiles are integrals
against it, each with its own error bar, and cost nothing more.
"""

import tempfile
from pathlib import Path

import numpy as np
import scipy.sparse

import spectra

# The discrete Laplacian of a 60 x 60 grid with a small mass term. Its eigenvalues are known in closed form.
side, mass = 60, 0.1
second = scipy.sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(side, side))
one = scipy.sparse.eye_array(side)
A = scipy.sparse.kron(second, one) + scipy.sparse.kron(one, second) + mass * scipy.sparse.eye_array(side**2)
modes = 2 - 2 * np.cos(np.pi * np.arange(1, side + 1) / (side + 1))
eigenvalues = np.sort((modes[:, None] + modes + mass).ravel())

# 10 probes of 100 steps: 1,000 products with a matrix of order 3,600, and then no more.
rho = spectra.spectral_density(A.tocsr(), steps=100, probes=10, rng=2)
print(rho)

questions = {
    "log det A": (rho.sum(np.log), np.sum(np.log(eigenvalues))),
    "tr A^-1": (rho.sum(np.reciprocal), np.sum(1 / eigenvalues)),
    "tr A^1/2 (Schatten norm, p = 1/2)": (rho.sum(np.sqrt), np.sum(np.sqrt(eigenvalues))),
    "tr exp(-A)": (rho.sum(lambda x: np.exp(-x)), np.sum(np.exp(-eigenvalues))),
    "eigenvalues up to 1": (rho.count(0.0, 1.0), np.sum(eigenvalues <= 1)),
    "mean square eigenvalue": (rho.moment(2), np.mean(eigenvalues**2)),
}
for question, (answer, truth) in questions.items():
    low, high = answer.interval()
    print(f"{question:35}{answer.value:12.3f}   95 % [{low:.3f}, {high:.3f}]   exact {truth:.3f}")
    rounding = 1e-9 * truth  # the mean square is known from the entries: its interval is a point
    assert low - rounding <= truth <= high + rounding
    assert abs(answer.value - truth) < 0.05 * truth

median = rho.quantile(0.5)
print(f"{'median eigenvalue':35}{median:12.3f}   exact {np.median(eigenvalues):.3f}")
assert abs(median - np.median(eigenvalues)) < 0.05 * np.median(eigenvalues)

# A second run with another seed makes it 20 probes, and the standard error falls by about the square root of two.
both = rho.merge(spectra.spectral_density(A.tocsr(), steps=100, probes=10, rng=3))
print("two seeds:", both.sum(np.log))
assert both.probes == 20
assert both.sum(np.log).stderr < rho.sum(np.log).stderr

# With one Krylov space for all probes the same questions are answered more sharply. And if a number is known that no
# eigenvalue lies below, here the mass, the bias of the quadrature is bracketed instead of guessed.
B = spectra.aslinearoperator(A.tocsr())
B.lower_bound = mass
shared = spectra.spectral_density(B, method="block-slq", steps=100, probes=10, rng=2)
for question, f in {"log det A": np.log, "tr A^-1": np.reciprocal}.items():
    answer, truth = shared.sum(f), np.sum(f(eigenvalues))
    low, high = answer.interval()
    print(f"{question:35}{answer.value:12.3f}   95 % [{low:.3f}, {high:.3f}], in one space")
    assert low <= truth <= high
    assert answer.stderr < 0.75 * rho.sum(f).stderr

# A recurrence can be asked on its way, and goes on: watch the bracket close, stop when it is narrow enough.
signs = np.random.default_rng(0).choice([-1.0, 1.0], (side**2, 4))
run = spectra.krylov.LanczosRun(B, signs)
widths = []
for _ in range(4):
    run.advance(15)
    low, high = run.density().sum(np.reciprocal).bias
    widths.append(high - low)
    print(f"tr A^-1 after {run.steps} steps: bias between {low:.3g} and {high:.3g}")
assert widths[3] < 0.01 * widths[0]

# Results outlive the process: one file of plain arrays, from which every question can still be asked.
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "grid.npz"
    both.save(path)
    again = spectra.SpectralDensity.load(path)
assert again.sum(np.log).value == both.sum(np.log).value
assert again.seed == (2, 3)
