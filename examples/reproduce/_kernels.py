"""Kernel matrices of random inputs: what the thesis measures log-determinants on.

Its Table 2.1 does not print the scale of its inputs. Taken as lengths of the kernel 0.25 + 2.99 l, its length-scales l
give its condition numbers (0.13 decades rms over the nine rows); no rescaling alone does.
"""

import numpy as np
from scipy.spatial.distance import cdist

KERNELS = {
    "rbf": lambda r: np.exp(-0.5 * r * r),
    "exponential": lambda r: np.exp(-r),
    "matern-3/2": lambda r: (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r),
}
ROWS = 512  # of the matrix that are made at a time


def kernel_matrix(n, lengthscale, seed, noise=1e-8, kernel="rbf", dimension=6):
    """Kernel matrix of `n` Gaussian inputs at the thesis's length-scale, with `noise` on the diagonal."""
    inputs = np.random.default_rng(seed).standard_normal((n, dimension))
    K = np.empty((n, n))
    for start in range(0, n, ROWS):  # so that no other array of the matrix's size is made
        rows = slice(start, start + ROWS)
        K[rows] = KERNELS[kernel](cdist(inputs[rows], inputs) / (0.25 + 2.99 * lengthscale))
    K[np.diag_indices(n)] += noise
    return K


def probe_seed(seed):
    """A seed for the probes, so that they do not repeat the random numbers behind the inputs."""
    return 1000 + seed
