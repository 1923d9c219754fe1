"""The entropic graph spectrum: the density of maximum entropy that has a graph's Chebyshev moments.

The normalised Laplacian L has its spectrum in [0, 2], and B = L - I maps it onto [-1, 1]. What is known exactly is not
estimated: every connected component C has one null vector, u_C = D^(1/2) 1_C / |D^(1/2) 1_C|, so with P = I - U U'

    n mu_k = tr T_k(B) = c (-1)^k + E (P z)' T_k(B) (P z),      E z z' = I,

and only the second term needs probes. The doubling identities give two moments a product.

Reference: Granziol et al., thesis (2021), Algorithms 2 and 4, 3.4.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.sparse

from spectra import _arrays
from spectra._maxent import maxent
from spectra._progress import track
from spectra.graphs._matrices import adjacency, components, degrees, is_normalized_laplacian, normalized
from spectra.krylov._chebyshev import chebyshev_moments
from spectra.operators import LinearOperator, aslinearoperator
from spectra.results import Estimate, SpectralDensity, standard_error

__all__ = ["egs"]

SUPPORT = (0.0, 2.0)
RIDGE = 1e-8


def egs(G, *, moments: int = 100, probes: int = 16, ridge: float = RIDGE, rng=None, memory: int | None = None,
        progress=False) -> SpectralDensity:
    """Entropic graph spectrum ``p = exp(-sum_k alpha_k T_k(x - 1))`` of the normalised Laplacian of a graph.

    p has the greatest entropy among the densities on [0, 2] with the graph's Chebyshev moments
    ``mu_k = (1/n) tr T_k(L - I)``, k up to `moments`. It is positive and smooth: a spectrum made of points becomes
    comparable, see `divergence`.

    Parameters
    ----------
    G : graph, or its normalised Laplacian
        Anything `adjacency` accepts. For a weighted graph give the graph, not the Laplacian, which does not tell the
        degrees that the null vectors are made of; then nothing is projected out, and the estimate is a little noisier.
    moments : int
        Chebyshev moments: the resolution, about ``pi / moments`` in the middle of the spectrum.
    probes : int
        Rademacher vectors: the noise.
    ridge : float
        Regularisation, see `spectra.maxent`. To compare graphs, 1e-4 is better, see `divergence`.
    rng : int, Generator or None
    memory : int, optional
        Bytes for blocks of vectors; default 1 GiB. Probes are processed in groups that fit.
    progress : bool or callable

    Returns
    -------
    SpectralDensity
        With `entropy`, `log_pdf`, and the attributes `multipliers`, `order`, `ridge`, `residual`, `components`. The
        eigenvalue 0, once for every component, enters by its exact moments, and is a narrow peak of the density.
        Standard errors of integrals are those of the probes.

    Raises
    ------
    ValueError, TypeError
        As `adjacency`; or if there is no moment or no probe.

    Warns
    -----
    ConvergenceWarning
        If the density misses the moments.

    Notes
    -----
    ``probes * ceil(moments / 2)`` products of one vector with L, five vectors of memory a probe, and a search for the
    components. Source: thesis, Algorithm 4, with Algorithm 2 corrected.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> complete = [(i, j) for i in range(40) for j in range(i)]          # eigenvalues 0 and 40/39, 39 times
    >>> rho = spectra.graphs.egs(complete, moments=20, rng=0)
    >>> bool(np.isclose(rho.expect(lambda x: x), 1.0, atol=1e-5)), rho.components
    (True, 1)
    """
    spectrum = Spectrum(G, moments, probes, rng, progress, memory)
    rho = maxent(spectrum.moments, ridge=ridge)
    rho.details = rho.details | {"components": spectrum.components}
    return rho


class Spectrum:
    """The normalised Laplacian of a graph, its null space, and the Chebyshev moments of what is left.

    Attributes
    ----------
    L : csr_array
        The normalised Laplacian.
    labels : ndarray
        Component of every node.
    null : csr_array, shape (n, c)
        Orthonormal null vectors, one for every component; none where the degrees are not known.
    """

    def __init__(self, G, order: int = 100, probes: int = 16, rng=None, progress=False, memory: int | None = None):
        for name, count in (("moments", order), ("probes", probes)):
            if int(count) != count or count < 1:
                raise ValueError(f"{name} must be a positive integer, found {count!r}")
        self.L, d = _laplacian_and_degrees(G)
        self.operator = aslinearoperator(self.L, psd=True)
        self.labels = components(self.L)
        self.null = _null_vectors(self.L, d, self.labels)
        self.order, self.probes = int(order), int(probes)
        self.generator, self.seed = _arrays.generator(rng)
        self.progress, self.memory = progress, _arrays.allowance(memory)

    @property
    def n(self) -> int:
        return self.L.shape[0]

    @property
    def components(self) -> int:
        return int(self.labels.max()) + 1

    @property
    def rest(self) -> int:
        """How many eigenvalues are not known."""
        return self.n - self.null.shape[1]

    def project(self, V):
        """V without its components along the null vectors."""
        return V - self.null @ (self.null.T @ V)

    def blocks(self, vectors: float):
        """The probes, projected, in blocks that fit the memory if each needs so many vectors."""
        for k in _arrays.groups(self.probes, vectors * 8 * self.n, self.memory):
            yield self.project(_arrays.signs(self.generator, self.n, k, None, np.dtype(float)))

    @cached_property
    def rest_moments(self) -> Estimate:
        """Moments of the eigenvalues that are not known, each probe's divided by its own mu_0.

        The quotient uses that mu_0 is known: it is a regression on it, biased by a share 1/n at most.
        """
        before = self.operator.matvecs
        with track(self.progress, self.probes * -(-self.order // 2), "moments") as advance:
            samples = np.concatenate([chebyshev_moments(self.operator, V, self.order, SUPPORT, advance)
                                      for V in self.blocks(5)])
        samples /= samples[:, :1]
        return self._estimate(samples, self.rest, self.operator.matvecs - before)

    @property
    def moments(self) -> Estimate:
        """Moments of the whole spectrum."""
        atom = (-1.0) ** np.arange(self.order + 1)
        if not self.rest:
            return self._estimate(np.tile(atom, (self.probes, 1)), self.n, 0)
        known = self.null.shape[1] / self.n
        samples = known * atom + (1 - known) * self.rest_moments.details["samples"]
        return self._estimate(samples, self.n, self.rest_moments.matvecs)

    def _estimate(self, samples, size, matvecs) -> Estimate:
        stderr = np.array([standard_error(column) for column in samples.T])
        details = {"samples": samples, "support": SUPPORT, "basis": "chebyshev", "size": size}
        return Estimate(samples.mean(0), stderr, None, matvecs, self.probes, self.seed, "chebyshev", details)


def _laplacian_and_degrees(G):
    """The normalised Laplacian, and degrees up to a factor for every component, as far as they can be known."""
    if isinstance(G, LinearOperator):
        G = getattr(G, "host", G)
    if scipy.sparse.issparse(G) or isinstance(G, np.ndarray):
        matrix = scipy.sparse.csr_array(G)
        if matrix.shape[0] == matrix.shape[1] > 0 and is_normalized_laplacian(matrix):
            entries = matrix.astype(float)
            entries.sum_duplicates()
            entries.eliminate_zeros()
            return entries, np.maximum(np.diff(entries.indptr) - 1.0, 0.0)  # right if there are no weights
    W = adjacency(G)
    return normalized(W), degrees(W)


def _null_vectors(L, d, labels) -> scipy.sparse.csr_array:
    n, c = len(labels), int(labels.max()) + 1
    alone = np.bincount(labels)[labels] == 1
    root = np.where(alone, 1.0, np.sqrt(d))
    norms = np.sqrt(np.bincount(labels, weights=root**2))
    U = scipy.sparse.csr_array((root / norms[labels], labels, np.arange(n + 1)), shape=(n, c))
    known = abs(L @ U).max() <= 1e-10
    return U if known else scipy.sparse.csr_array((n, 0))
