"""Your own operator, in four lines.

All that an estimator asks of a matrix is its product with a block of columns. This one is a circulant matrix of order
32,768: stored, it would take 8.6 GB, while its product costs two Fourier transforms. Its eigenvalues are the transform
of its first column, so that we can check every answer.
"""

import numpy as np

import spectra


class Circulant(spectra.LinearOperator):
    """C V = F^-1 diag(eigenvalues) F V with the discrete Fourier transform F."""

    hermitian = True

    def __init__(self, eigenvalues):
        self.eigenvalues = eigenvalues
        super().__init__(shape=(len(eigenvalues), len(eigenvalues)))

    def _matmat(self, V):
        return np.fft.irfft(self.eigenvalues[: len(V) // 2 + 1, None] * np.fft.rfft(V, axis=0), n=len(V), axis=0)


def periodic_kernel(n):
    """Eigenvalues of a Matern-like correlation on a ring of n points, with noise."""
    frequency = np.fft.fftfreq(n, 1 / n)
    spectrum = 1 / (1 + (frequency / 500) ** 2) ** 2
    return spectrum / spectrum.mean() + 0.1


# A small one can be compared with its dense matrix: shape, linearity, symmetry, entries.
small = periodic_kernel(64)
dense = np.fft.irfft(small[:33, None] * np.fft.rfft(np.eye(64), axis=0), n=64, axis=0)
spectra.testing.check_operator(Circulant(small), dense)

# The large one cannot be stored, and need not be.
eigenvalues = periodic_kernel(32_768)
C = Circulant(eigenvalues)
for name, answer, truth in (
    ("trace", spectra.trace(C, matvecs=100, rng=0), np.sum(eigenvalues)),
    ("log det", spectra.logdet(C, matvecs=200, rng=0), np.sum(np.log(eigenvalues))),
):
    low, high = answer.interval(0.99)
    print(f"{name:8} {answer}   exact {truth:.1f}")
    assert low <= truth <= high
    assert abs(answer.value - truth) < 0.02 * abs(truth)

lo, hi = spectra.spectral_bounds(C, rng=0)
print(f"spectrum in [{lo:.4g}, {hi:.4g}]   exact [{eigenvalues.min():.4g}, {eigenvalues.max():.4g}]")
assert lo <= eigenvalues.min() <= eigenvalues.max() <= hi
print(f"{C.matvecs} products in all")
