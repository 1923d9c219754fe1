"""The block Krylov space of a pass: solves, quadrature rules and error bars from one projection.

Block Lanczos on M from V = [b, Z] gives an orthonormal basis Q with T = Q'MQ and V = Q R, so that M^-1 V ~ Q T^-1 R,
and z_j' f(M) z_j ~ r_j' f(T) r_j.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import eigh

from spectra import _arrays
from spectra.estimators._block_slq import deflations
from spectra.estimators._budget import bias_width
from spectra.estimators._exact import not_definite
from spectra.estimators._problem import Problem
from spectra.gp._plan import Plan
from spectra.krylov._block_lanczos import BlockLanczosRun
from spectra.krylov._columns import times
from spectra.krylov._quadrature import block_gauss, block_radau, coarse_depths, safe_end
from spectra.results import SpectralDensity, joined

_FIRST_DEPTH = 8
_GROWTH = 1.5
_FEWEST_TO_DEFLATE = 4  # probes
_SHARE = 0.2  # of the statistical error, before control variates, that bias may be
_ROUNDING = 4  # roundings that a residual gathers
_STALLED = 0.5  # a bracket that half as many steps again do not halve is made of rounding


class KrylovSpace:
    """The block Krylov space of start vectors, the first `beside` of which are no probes."""

    def __init__(self, problem: Problem, start, beside: int = 0):
        self.problem, self.start, self.beside = problem, start, beside
        self.run = BlockLanczosRun(problem.A, start, check=False)
        self._width = np.inf  # of the last bias bracket

    @property
    def steps(self) -> int:
        return self.run.steps

    @property
    def probes(self):
        return self.start[:, self.beside :]

    def advance(self, steps: int) -> None:
        """More steps, and the Ritz values and vectors of the new T."""
        self.run.advance(steps)
        self.nodes, self.vectors = eigh(self.run.T, driver="evd", check_finite=False)
        if not self.nodes[0] > 4 * _arrays.eps(self.problem.A.dtype) * self.nodes[-1]:
            raise not_definite(f"Lanczos found a Ritz value of {self.nodes[0]:.4g} beside one of {self.nodes[-1]:.4g}")

    def deepen(self, deepest: int, plan: Plan, advance: Callable) -> None:
        """Go on until the answers are good enough."""
        while self.steps < deepest and not self.run.exact:
            before = self.steps
            self.advance(min(max(int(before * _GROWTH), _FIRST_DEPTH), deepest) - before)
            advance((self.steps - before) * self.start.shape[1])
            if self.is_deep_enough(plan):
                return

    def is_deep_enough(self, plan: Plan) -> bool:
        """Solved to tolerance, with a quadrature bias below the statistical error, or one that rounding holds up."""
        wanted = self.residuals() if plan.gradient else self.residuals()[: self.beside]
        if max(wanted) > self.tolerance(plan):
            return False
        estimate = self.density(controls=False).sum(np.log)
        width, before = bias_width(estimate), self._width
        self._width = width
        return width <= max(_SHARE * estimate.stderr, 1e-9 * abs(estimate.value)) or width > _STALLED * before

    def tolerance(self, plan: Plan) -> float:
        """Relative residual to go for: what was asked, or what rounding allows at this condition number."""
        return max(plan.tol, _ROUNDING * _arrays.eps(self.problem.A.dtype) * self.nodes[-1] / self.nodes[0])

    def lowest(self) -> float:
        """A lower bound on the spectrum of M, or the best guess at one."""
        end = safe_end(self.problem.end, self.nodes, self.problem.precision(self.nodes), self.problem.n)
        return float(self.nodes[0]) if end is None or end <= 0 else end

    def coefficients(self) -> np.ndarray:
        """T^-1 R, the solutions in the basis."""
        R = self.run.R
        return self.vectors @ ((self.vectors[: len(R)].T @ R) / self.nodes[:, None])

    def residuals(self) -> np.ndarray:
        """Relative residuals of the solves."""
        return self._left(self.run.last_block, self.coefficients())

    def _left(self, B, coefficients) -> np.ndarray:
        """Relative residuals, which the block of T beyond the last tells without a product."""
        norms = np.linalg.norm(self.run.R, axis=0)
        rest = np.linalg.norm(B @ coefficients[-B.shape[1] :], axis=0) if B.size else 0 * norms
        return rest / np.where(norms > 0, norms, 1.0)

    def halfway(self, columns: int) -> tuple[Any, np.ndarray]:
        """The solutions for the first start vectors at half the depth, and the residuals of all."""
        run, half = self.run, self.steps // 2
        if half == 0:
            return 0 * self.start[:, :columns], np.ones(run.R.shape[1])
        T = run.projection(half)
        rhs = np.zeros((len(T), run.R.shape[1]))
        rhs[: len(run.R)] = run.R
        coefficients = np.linalg.solve(T, rhs)
        return times(run.basis()[:, : len(T)], coefficients[:, :columns]), self._left(run.coupling(half), coefficients)

    def solutions(self):
        """M^-1 times the start vectors, as far as the space reaches."""
        return times(self.run.basis(), self.coefficients())

    def density(self, controls: bool = True) -> SpectralDensity:
        """The quadrature rules of the probes."""
        run, problem, precision = self.run, self.problem, self.problem.precision(self.nodes)
        origin = {"method": "block-slq", "seed": problem.seed,
                  "details": {"steps": self.steps, "degree": 2 * self.steps - 1, "precision": precision,
                              "perturbation": problem.perturbation}}
        if run.dimension == problem.n:
            return SpectralDensity(self.nodes, np.ones(problem.n), problem.n, complete=True, **origin)
        R = run.R[:, self.beside :]
        rule = self.nodes[None], (R.T @ self.vectors[: len(R)]) ** 2
        end = safe_end(problem.end, self.nodes, precision, problem.n)
        variates = []
        if controls and R.shape[1] >= _FEWEST_TO_DEFLATE:
            variates = deflations(run.T, run.last_block, R, self.steps, problem.sums[: self.steps], self.nodes,
                                  self.vectors)
        return SpectralDensity(*rule, problem.n, exact=run.exact, controls=variates,
                               coarse=[block_gauss(run.projection(m), R) for m in coarse_depths(self.steps)],
                               brackets=[] if end is None else [block_radau(run.T, run.last_block, R, end)], **origin)


class Gathered:
    """What several spaces found, each with its own probes: the rest of each is let go."""

    def __init__(self, space: KrylovSpace):
        self.density = space.density()
        self.starts, self.solutions = [space.probes], [space.solutions()[:, space.beside :]]
        self.steps = space.steps

    @property
    def probes(self) -> int:
        return sum(Z.shape[1] for Z in self.starts)

    def add(self, space: KrylovSpace, advance: Callable) -> None:
        """Take a space as deep as the first."""
        space.advance(self.steps)
        advance(self.steps * space.start.shape[1])
        self.density = joined(self.density, space.density(), self.density.seed)
        self.starts.append(space.probes)
        self.solutions.append(space.solutions())
