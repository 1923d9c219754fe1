"""Block stochastic Lanczos quadrature: all probes share one Krylov space, and each is measured against the others'.

The projection T = Q'AQ on the block Krylov space of V = Q_1 R gives v_j' f(A) v_j ~ r_j' f(T) r_j, far more accurate
than k separate runs of as many products when the spectrum decays or is ill-conditioned. The same T gives, for half of
the probes, Ritz pairs of the Krylov space of the other half: they deflate tr f(A) (see `spectra._controls`), at the
cost of small dense algebra and no product. When the space fills up, T is similar to A, and the answer is exact.

References: Golub and Meurant (2010), chapter 6; Chen and Hallman (2023), arXiv:2205.00736.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

from spectra._controls import Control, halves, power_controls
from spectra.estimators._problem import Problem
from spectra.krylov._block_lanczos import BlockLanczosRun
from spectra.krylov._quadrature import block_gauss, block_radau, coarse_depths, require_inside, safe_end
from spectra.results import SpectralDensity

_FEWEST_TO_DEFLATE = 4  # probes; each half must leave the other a space worth having


class BlockQuadrature:
    """Gauss rules of k probes from one block Krylov space.

    Attributes
    ----------
    steps : int
        Depth reached.
    exact : bool
        The space is invariant.
    """

    name = "block-slq"

    def __init__(self, problem: Problem, k: int, steps: int):
        self.problem = problem
        self.run = BlockLanczosRun(problem.A, problem.probes(k), expected=steps, check=False)

    @staticmethod
    def vectors(steps: int) -> float:
        """Vectors of memory a probe needs: its share of the basis."""
        return steps + 6.0

    @property
    def steps(self) -> int:
        return self.run.steps

    @property
    def dimension(self) -> int:
        """Dimension of the shared space."""
        return self.run.dimension

    @property
    def exact(self) -> bool:
        return self.run.exact

    def advance(self, steps: int) -> None:
        self.run.advance(steps)

    def fill(self) -> None:
        """Grow the space to all of R^n, with fresh vectors where an invariant space leaves directions out."""
        n, k = self.problem.n, self.run.R.shape[1]
        while self.dimension < n:
            if self.exact:
                self.run.extend(self.problem.probes(min(k, n - self.dimension)))
            self.advance(n)

    def density(self, matvecs: int = 0, controls: bool = True) -> SpectralDensity:
        """The rules at the depth reached; without `controls` cheaper, to watch convergence."""
        run, problem = self.run, self.problem
        T, R = run.T, run.R
        nodes, vectors = eigh(T, driver="evd", check_finite=False)
        precision = problem.precision(nodes)
        origin = {"method": self.name, "matvecs": matvecs, "seed": problem.seed,
                  "details": {"steps": self.steps, "degree": 2 * self.steps - 1, "precision": precision,
                              "perturbation": problem.perturbation}}
        if run.dimension == problem.n:
            return SpectralDensity(nodes, np.ones(problem.n), problem.n, complete=True, **origin)
        rule = nodes[None], np.abs(R.conj().T @ vectors[: len(R)]) ** 2
        require_inside(rule[0], problem.support, precision)
        end = safe_end(problem.end, rule[0], precision, problem.n)
        sums = problem.sums[: self.steps]
        variates = power_controls(*_normalised(rule), sums, problem.n)
        if controls and R.shape[1] >= _FEWEST_TO_DEFLATE:
            variates = deflations(T, run.last_block, R, self.steps, sums, nodes, vectors)
        return SpectralDensity(
            *rule, problem.n, exact=run.exact, controls=variates,
            coarse=[block_gauss(run.projection(m), R) for m in coarse_depths(self.steps)],
            brackets=[] if end is None else [block_radau(T, run.last_block, R, end)], **origin)


def deflations(T, B, R, steps: int, sums: tuple, nodes, vectors) -> list[Control]:
    """One control variate for each half of the probes, from the Krylov space of the other half.

    Everything happens in coordinates of Q: A Q = Q T + Q_{m+1} B E', so that products of A with vectors of the space,
    and their norms, are known without another product.
    """
    start = np.zeros((len(T), R.shape[1]), dtype=np.result_type(T, R))
    start[: len(R)] = R
    steps = _independent(T, len(R), steps)
    return [_deflation(T, B, rows, _deflated(T, start, rows, others, steps), sums, nodes, vectors)
            for rows, others in halves(R.shape[1])]


_COLLAPSED = 1e-4  # of the largest diagonal entry: an off-diagonal block with a smaller singular value is near-singular


def _independent(T, width: int, steps: int) -> int:
    """Steps until the space is numerically invariant.

    What comes later is made of rounding, which mixes all probes: a half's space would no longer be independent of the
    other half, and the control biased.
    """
    least = _COLLAPSED * np.abs(np.diagonal(T)).max()
    for j in range(1, steps):
        block = T[j * width : (j + 1) * width, (j - 1) * width : j * width]
        if block.shape != (width, width) or np.linalg.svd(block, compute_uv=False)[-1] < least:
            return j
    return steps


def _deflated(T, start, rows, others, steps):
    """Ritz values and vectors from `others`, and what the probes `rows` have inside and outside."""
    space = BlockLanczosRun(T, start[:, others])
    space.advance(steps)
    ritz, S = eigh(space.T, driver="evd", check_finite=False)
    Z = space.basis() @ S
    inside = Z.conj().T @ start[:, rows]
    return ritz, Z, inside, start[:, rows] - Z @ inside


def _deflation(T, B, rows, deflated, sums, nodes, vectors) -> Control:
    ritz, Z, inside, outside = deflated
    scale = float(np.abs(nodes).max()) or 1.0
    image = _apply(T, B, outside) / scale
    forms = [_squares(outside), np.sum(outside.conj() * image[: len(T)], 0).real, _squares(image)]
    taken = [len(ritz), ritz.sum() / scale, _squares(_apply(T, B, Z) / scale).sum()]
    q = len(sums)
    traces = np.array(sums) / scale ** np.arange(q) - taken[:q]
    measure = _squares((vectors.conj().T @ outside).T)  # of these probes: halves of unequal size leave unequal rests
    return Control(rows, ritz, np.abs(inside.T) ** 2, nodes, measure, scale, np.stack(forms[:q], 1), traces)


def _apply(T, B, X):
    """A Q X in the orthonormal basis (Q, Q_{m+1})."""
    below = B @ X[len(X) - B.shape[1] :] if B.size else np.zeros((0, X.shape[1]))
    return np.concatenate([T @ X, below])


def _squares(X):
    return np.sum(np.abs(X) ** 2, 0)


def _normalised(rule):
    nodes, weights = rule
    return nodes, weights / weights.sum(1, keepdims=True)
