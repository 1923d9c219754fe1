"""The density of maximum entropy that has given moments.

Among the densities p on [lo, hi] with prescribed averages mu_k of T_1, ..., T_m (Chebyshev polynomials of
t = (2x - hi - lo)/(hi - lo)), the one nearest to a prior q in relative entropy, S[p|q] = -∫ p log(p/q), is

    p = q exp(-sum_{k=0}^m alpha_k T_k),      alpha_0 = log Z normalises.

The multipliers minimise a smooth convex function, the dual

    D(alpha) = log ∫ q exp(-sum_{k>=1} alpha_k T_k) + sum_k alpha_k mu_k + ridge/2 sum_k alpha_k².

The ridge keeps the minimum at a finite place where the moments belong to a few atoms. What it costs is known: the
minimiser has E T_k - mu_k = ridge alpha_k, and min D = max S[p|q] - sum_k (E T_k - mu_k)²/(2 ridge), which falls with
every further moment. Narrow peaks have multipliers in the thousands; where one of them exceeds 200, a penalty that goes
on linearly takes over from the ridge, so that no moment is missed by more than 200 ridge.

`_given` reads the moments, `_dual` is the function above on a grid, `_newton` finds its minimum.

References: Granziol, thesis (2021), section 2.4 and appendix A; Mead and Papanicolaou, J. Math. Phys. 25 (1984), doi
10.1063/1.526446.
"""

from __future__ import annotations

import warnings

import numpy as np

from spectra._maxent._dual import Dual, at_points
from spectra._maxent._given import Given, log_prior_series, number, read, violation_of
from spectra._maxent._newton import BOUND, Fit, minimise, solve
from spectra.results import ConvergenceWarning, SpectralDensity

__all__ = ["maxent"]

TINY = 1e-300  # keeps points in gaps, whose mass underflows, in the rule


def maxent(moments, support=None, *, basis="chebyshev", prior=None, ridge=1e-8, spread=0.0, bias=False, size=1):
    """Density of maximum entropy, relative to a prior, that has the given moments.

    ``p = q exp(-sum_k alpha_k T_k)`` maximises ``-∫ p log(p/q)`` among the densities with ``E T_k = mu_k``.

    Parameters
    ----------
    moments : array_like, shape (m + 1,), or Estimate of that shape
        ``mu_i = (1/n) tr P_i(A)``, i = 0 ... m, with P_i the Chebyshev or Legendre polynomials of the support mapped
        onto [-1, 1], or plain powers of A; divided by mu_0. The Estimate is what `spectra.moments` returns.
    support : (lo, hi), optional
        Interval that holds the spectrum; default: the Estimate's.
    basis : {"chebyshev", "legendre", "power"}
        P_i; an Estimate brings its own. Powers are converted, and lose 0.4 to 0.8 digits an order by it.
    prior : callable or SpectralDensity, optional
        The density q, positive on the support, unnormalised if you like; default: uniform.
    ridge : float
        Regularisation of the multipliers, see Notes.
    spread : float
        Adds this many times the variance of each estimated moment to its ridge: a softer fit. Moments of one set of
        probes are the exact moments of a positive measure, so the fit needs none, and gains nothing we could measure.
    bias : bool
        Solve with a quarter and a half of the moments too, so that integrals carry a bias bracket; half as long again.
    size : int
        Order n of the operator, for ``tr f(A) = n E f``; an Estimate brings its own.

    Returns
    -------
    SpectralDensity
        With `log_pdf`, summed as a Chebyshev series. Attributes: `multipliers` alpha_0 ... alpha_m (of T_k, whatever
        the basis of the moments), `residual` max |E T_k - mu_k| on a grid four times finer than the one used, `mass` on
        that grid, `relative_entropy`, `objective` (the minimum of the dual for the plain ridge, which falls with every
        further moment), `iterations`, `points`, `violation` (distance of the moments from possible ones). From an
        Estimate with samples there is one rule for each probe, to first order in the deviation of its moments, so
        integrals carry standard errors.

    Raises
    ------
    ValueError
        If no distribution on the support has moments like these, if powers have lost all digits, or if the prior is not
        positive.

    Warns
    -----
    ConvergenceWarning
        With the residual, if the moments are impossible by more than their known noise (the density then is a soft
        fit), or if a peak is too narrow for the finest grid.

    Notes
    -----
    No moment is missed by more than ``200 * ridge``, unless nearly all mass sits in a few atoms and that bound is not
    reached in 300 iterations; then by ``ridge * max |alpha_k|``, typically 1e-5. A support of no width gives the atom.
    1 to 40 ms up to 200 moments, 0.1 to 2 s if a tenth of the mass and more sits in atoms. Memory: the grid, 8 m to
    2^19 points, once for each probe.

    Source: thesis, Algorithm 1, with (2.24); the dual is (2.25) with alpha_0 eliminated.

    Examples
    --------
    >>> import numpy as np, spectra
    >>> rho = spectra.maxent([1.0, 0.0, -1 / 3], support=(0.0, 2.0))   # the moments of the uniform density
    >>> rho.pdf([0.1, 1.0, 1.9]).round(6)
    array([0.5, 0.5, 0.5])
    """
    given = read(moments, support, basis, size)
    ridge, spread = number(ridge, "ridge", above=1e-14), number(spread, "spread", above=0.0)
    if given.width == 0:
        return _atom(given, ridge)
    noise = spread * given.variance + given.rounding**2
    violation = violation_of(given)
    if violation > BOUND * ridge:
        # White noise in m moments makes them impossible by about 2 sqrt(m) standard deviations, and a multiplier of
        # size BOUND shall be enough to allow for one.
        noise = noise + given.variance + violation / (2 * np.sqrt(given.order) * BOUND)
    log_prior = log_prior_series(prior, given.support)
    fits = [minimise(Dual(given.mu[1 : k + 1], noise[:k], log_prior, max(8 * k, 2 * len(log_prior), 64)), ridge)
            for k in _orders(given.order, bias)]
    return _density(given, fits, violation, ridge)


def _orders(m: int, bias: bool) -> list[int]:
    return [m // 4, m // 2, m] if bias and m >= 8 else [m]


def _density(given: Given, fits: list[Fit], violation: float, ridge: float) -> SpectralDensity:
    """The answer as a quadrature rule, one for each probe if there are samples, with what it is worth."""
    fit = fits[-1]
    dual, point, there = fit.dual, fit.point, fit.there
    mean = fit.finer.moments(there.masses)[1 : dual.order + 1]
    mass = float(np.exp(there.log_z - point.log_z))
    residual = float(np.abs(mean - dual.mu).max())
    _warn(given, fit, violation, residual, mass, ridge)
    log_series = np.zeros(max(dual.order + 1, len(dual.log_prior)))
    log_series[: len(dual.log_prior)] = dual.log_prior
    log_series[: dual.order + 1] -= np.concatenate([[point.log_z + np.log(given.width / 2)], point.alpha])
    details = {"multipliers": np.concatenate([[point.log_z], point.alpha]), "residual": residual, "mass": mass,
               "relative_entropy": float(there.log_z + point.alpha @ mean), "objective": fit.objective,
               "iterations": fit.iterations, "points": dual.points, "violation": violation, "ridge": ridge,
               "basis": given.basis, "order": dual.order}
    return SpectralDensity(given.nodes(dual), _responses(given, fit)[:, ::-1], given.size, support=given.support,
                           matvecs=given.matvecs, seed=given.seed, method="maxent", log_series=log_series,
                           deterministic=given.certain, details=details,
                           coarse=[(given.nodes(f.dual), f.point.masses[::-1]) for f in fits[:-1]])


def _responses(given: Given, fit: Fit) -> np.ndarray:
    """Masses for each probe, shape (probes, points): p (1 - sum_k dalpha_k (T_k - E T_k)), dalpha = -H^{-1} dmu."""
    p, m = fit.point.masses, fit.dual.order
    masses = np.maximum(p, TINY)
    if given.deviations is None:
        return masses[None]
    dalpha = -solve(fit.factor, given.deviations[:, 1:].T).T
    mean = fit.dual.moments(p)[1 : m + 1]
    tilts = [at_points(np.concatenate([[-d @ mean], d]), fit.dual.points) for d in dalpha]
    return masses * (1 - np.array(tilts))


def _warn(given: Given, fit: Fit, violation, residual, mass, ridge):
    excess = residual - np.abs(ridge * fit.point.pull.slope + fit.dual.variance * fit.point.alpha).max()
    if violation > given.noise_size and residual > 10 * BOUND * ridge:
        lo, hi = given.support
        problem = (f"no distribution on [{lo:.6g}, {hi:.6g}] has these moments, they are off by about {violation:.2g}: "
                   f"the density misses them by up to {residual:.2g}; check the support, or give them to more digits")
    elif excess > 1e-5 or abs(mass - 1) > 1e-5:
        problem = (f"maxent did not converge in {fit.iterations} iterations on {fit.dual.points} points: it misses the "
                   f"moments by {residual:.2g}, the gradient is {fit.gradient:.2g}, a finer grid has mass {mass:.6g}; "
                   "use fewer moments or a larger ridge")
    else:
        return
    warnings.warn(problem, ConvergenceWarning, stacklevel=4)


def _atom(given: Given, ridge: float) -> SpectralDensity:
    """All eigenvalues equal: the one density that has no choice."""
    details = {"multipliers": np.zeros(given.order + 1), "residual": 0.0, "mass": 1.0, "relative_entropy": 0.0,
               "objective": 0.0, "iterations": 0, "points": 1, "violation": 0.0, "ridge": ridge, "basis": given.basis,
               "order": given.order}
    probes = 1 if given.deviations is None else len(given.deviations)
    return SpectralDensity([given.support[0]], np.ones((probes, 1)), given.size, support=given.support,
                           matvecs=given.matvecs, seed=given.seed, method="maxent", complete=True, details=details)
