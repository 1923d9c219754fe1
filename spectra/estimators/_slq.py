"""Stochastic Lanczos quadrature: one Gauss rule a random probe.

For a Rademacher probe v, m Lanczos steps give nodes theta_i and weights w_i with

    v' f(A) v = n sum_i w_i f(theta_i)    exactly for polynomials of degree 2m - 1,

and the mean over probes is tr f(A). The rules of a quarter and of half the steps come with it and show how far the
quadrature has converged; where a lower end of the spectrum is known, Gauss-Radau bounds the other side.

References: Bai, Fahey and Golub, J. Comput. Appl. Math. 74 (1996); Ubaru, Chen and Saad, SIMAX 38 (2017), doi
10.1137/16M1104974. Thesis, 4.4.2.
"""

from __future__ import annotations

from spectra._controls import power_controls
from spectra.estimators._problem import Problem
from spectra.krylov._lanczos import LanczosRun
from spectra.krylov._quadrature import coarse_depths, gauss, radau, require_inside, safe_end
from spectra.operators._adapters import Sparse
from spectra.results import SpectralDensity


class LanczosQuadrature:
    """Gauss rules from k separate Lanczos runs that share their products; `BlockQuadrature` has the same interface.

    Attributes
    ----------
    steps : int
        Depth reached.
    exact : bool
        Every run ended in an invariant subspace.
    """

    name = "slq"

    def __init__(self, problem: Problem, k: int, steps: int):
        self.problem = problem
        worth = _worth_a_basis(problem, k * (steps + 6))
        self.run = LanczosRun(problem.A, problem.probes(k), reorthogonalize=worth, expected=steps, check=False)

    @staticmethod
    def vectors(steps: int) -> float:
        """Vectors of memory a probe needs; the basis is kept only where there is room for it."""
        return 6.0

    @property
    def steps(self) -> int:
        return self.run.steps

    @property
    def exact(self) -> bool:
        return bool(self.run.broken.all())

    def advance(self, steps: int) -> None:
        self.run.advance(steps)

    def density(self, matvecs: int = 0, controls: bool = True) -> SpectralDensity:
        """The rules at the depth reached."""
        alpha, beta, problem = self.run.alpha, self.run.beta, self.problem
        rule = gauss(alpha, beta)
        precision = problem.precision(rule[0])
        require_inside(rule[0], problem.support, precision)
        end = safe_end(problem.end, rule[0], precision, problem.n)
        return SpectralDensity(
            *rule, problem.n, method=self.name, matvecs=matvecs, seed=problem.seed, exact=self.exact,
            coarse=[gauss(alpha[:, :m], beta[:, :m]) for m in coarse_depths(self.steps)],
            brackets=[] if end is None else [radau(alpha, beta, end)],
            controls=power_controls(*rule, problem.sums[: self.steps], problem.n),  # a rule of few nodes fits anything
            details={"steps": self.steps, "degree": 2 * self.steps - 1, "precision": precision,
                     "perturbation": problem.perturbation})


_IN_CACHE = 2 << 20  # bytes of a basis that is cheap to orthogonalise against, whatever a product costs


def _worth_a_basis(problem: Problem, vectors: int) -> bool:
    """Whether to orthogonalise against all vectors so far, and not the last two.

    Without that, copies of converged eigenvalues cost some steps more, and the quadrature is right all the same. So a
    large basis is not worth its memory, nor, beside the product of a sparse matrix, its time.
    """
    size = vectors * problem.n * problem.A.dtype.itemsize
    return size <= (_IN_CACHE if isinstance(problem.A, Sparse) else problem.memory // 4)
