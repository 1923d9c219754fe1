"""How different two spectra are: relative entropies between densities, always from logarithms.

For two densities of maximum entropy, p = exp(-sum alpha_k T_k) and q = exp(-sum beta_k T_k) on one interval,

    KL(p||q) = ∫ p log(p/q) = sum_k (beta_k - alpha_k) E_p T_k                          (thesis, eq. 3.11)
    (KL(p||q) + KL(q||p)) / 2 = sum_k (alpha_k - beta_k) (E_q T_k - E_p T_k) / 2         (eq. 3.12)

where E_p T_k are the moments of the density itself; the moments that were asked for differ from them by the residual,
which the multipliers, easily 1e3, turn into an error. Other densities are integrated on a grid. A stored density
underflows in gaps, and its logarithm is then wrong by factors; log_pdf does not.

Relative entropy asks how deep a gap is wherever the other density has mass, and that only the ridge of the fit says.
With 100 moments of real graphs (`benchmarks/similarity.py`) the symmetric divergence varies by up to 29 % from seed to
seed with a ridge of 1e-8, by 4 % with 1e-4; Jensen and Shannon's by 15 % and 3 %; the distance of moments by 1 %.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy  # whose parts are loaded when first used
from numpy.polynomial import chebyshev

from spectra.graphs._egs import egs
from spectra.results import Estimate, SpectralDensity, standard_error

__all__ = ["divergence", "similarity_matrix"]

RIDGE = 1e-4  # soft enough that the depth of a gap does not decide
CELLS = 1000  # points of a grid on which smoothed rules are compared
LARGEST = 600.0  # logarithm of a ratio of densities, where a probe's share of it is asked for


def divergence(p: SpectralDensity, q: SpectralDensity, *, kind: str = "symmetric-kl") -> Estimate:
    """How different two spectral densities are; 0 only if they are equal.

    Parameters
    ----------
    p, q : SpectralDensity
        Both continuous on the same support, as `egs` gives them; or else any two, which are then smoothed by one
        Gaussian, as wide as the coarser of the two rules needs.
    kind : {"symmetric-kl", "kl", "js", "moments"}
        ``(KL(p||q) + KL(q||p)) / 2``, ``KL(p||q)``, or Jensen and Shannon's ``(KL(p||r) + KL(q||r)) / 2`` with
        r = (p + q) / 2, at most log 2; in nats. "moments" is the Euclidean distance of the Chebyshev moments, for two
        densities of maximum entropy, up to the lower of their orders: it needs no density, and is bounded.

    Returns
    -------
    Estimate
        `stderr` is the spread of the probes to first order; it does not know that noise makes equal spectra
        differ, by a second-order amount. Details: `order` and `ridge` of the two fits.

    Raises
    ------
    ValueError
        If two continuous densities have different supports (the divergence is infinite), or for an unknown kind.

    Notes
    -----
    The kinds that hold a logarithm of p/q depend on the order and the ridge of the fits, by orders of magnitude between
    10 and 100 moments: compare only values of one setting. `egs` has a ridge of 1e-8, which is right for counting; to
    compare graphs fit them with 1e-4, as `similarity_matrix` does, or use "js" or "moments". Source: thesis, eqs. 3.11
    and 3.12.

    Examples
    --------
    >>> import spectra
    >>> p = spectra.maxent([1.0, 0.1, -0.3], (0, 2))
    >>> q = spectra.maxent([1.0, -0.1, -0.3], (0, 2))
    >>> float(spectra.graphs.divergence(p, p)), bool(spectra.graphs.divergence(p, q).value > 0)
    (0.0, True)
    """
    if kind not in KINDS:
        raise ValueError(f"kind of divergence must be one of {list(KINDS)}, found {kind!r}")
    details = {name: (p.details.get(name), q.details.get(name)) for name in ("order", "ridge")}
    return Estimate(_value(p, q, kind), _spread(p, q, kind), None, p.matvecs + q.matvecs, min(p.probes, q.probes), None,
                    kind, details)


def similarity_matrix(graphs: Sequence, *, kind: str = "symmetric-kl", moments: int = 100, probes: int = 16,
                      ridge: float = RIDGE, rng=None, progress=False) -> np.ndarray:
    """Divergence between every two graphs, shape (g, g): row i, column j holds ``divergence(i, j)``.

    Parameters
    ----------
    graphs : sequence of graphs, or of SpectralDensities
        Anything `egs` accepts, or what it returned.
    kind : str
        See `divergence`; "kl" gives a matrix that is not symmetric.
    moments, probes, ridge, rng, progress
        For `egs`, the same for all graphs; every graph gets a seed of its own.

    Returns
    -------
    ndarray, shape (g, g)
        Zero on the diagonal. `spectra.plot.heatmap` draws it. Error bars: `divergence` of two densities.

    Notes
    -----
    For every graph the products of `egs`; for every pair about a millisecond, "js" ten.

    Examples
    --------
    >>> import spectra
    >>> ring = [(i, (i + 1) % 30) for i in range(30)]
    >>> complete = [(i, j) for i in range(30) for j in range(i)]
    >>> D = spectra.graphs.similarity_matrix([ring, ring, complete], moments=20, rng=0)
    >>> bool(D[0, 1] < D[0, 2])
    True
    """
    random = np.random.default_rng(rng)
    if kind not in KINDS:
        raise ValueError(f"kind of divergence must be one of {list(KINDS)}, found {kind!r}")
    fit = {"moments": moments, "probes": probes, "ridge": ridge, "rng": random, "progress": progress}
    densities = [G if isinstance(G, SpectralDensity) else egs(G, **fit) for G in graphs]
    values = np.zeros((len(densities), len(densities)))
    for i, p in enumerate(densities):
        for j, q in enumerate(densities[:i]):
            values[i, j] = _value(p, q, kind)
            values[j, i] = _value(q, p, kind) if kind == "kl" else values[i, j]
    return values


def _value(p: SpectralDensity, q: SpectralDensity, kind: str) -> float:
    continuous = p.log_series is not None and q.log_series is not None
    if continuous and p.support != q.support:
        raise ValueError(f"two continuous densities with the supports {p.support} and {q.support} are infinitely far "
                         "apart; estimate both on the same support")
    value = KINDS[kind](p, q) if continuous else by_quadrature(p, q, kind)
    return max(float(value), 0.0)  # equal densities differ by rounding


# By multipliers and fitted moments


def _fitted_moments(rho: SpectralDensity, order: int) -> np.ndarray:
    """E T_k under the density, k up to `order`."""
    t, weights = np.clip(_mapped(rho, rho.nodes), -1, 1), rho.weights
    before, now, moments = t, np.ones_like(t), []
    for _ in range(order + 1):
        moments.append(now @ weights)
        before, now = now, 2 * t * now - before
    return np.array(moments)


def _mapped(rho: SpectralDensity, x):
    lo, hi = rho.support
    return (2 * x - lo - hi) / (hi - lo)


def _difference(p: SpectralDensity, q: SpectralDensity) -> np.ndarray:
    """Coefficients of log p - log q: beta - alpha."""
    difference = np.zeros(max(len(p.log_series), len(q.log_series)))
    difference[: len(p.log_series)] = p.log_series
    difference[: len(q.log_series)] -= q.log_series
    return difference


def _kl(p: SpectralDensity, q: SpectralDensity) -> float:
    difference = _difference(p, q)
    return float(difference @ _fitted_moments(p, len(difference) - 1))


def _symmetric_kl(p: SpectralDensity, q: SpectralDensity) -> float:
    difference = _difference(p, q)
    change = _fitted_moments(p, len(difference) - 1) - _fitted_moments(q, len(difference) - 1)
    return float(difference @ change) / 2


def _moment_distance(p: SpectralDensity, q: SpectralDensity) -> float:
    return float(np.linalg.norm(_moment_change(p, q)))


def _moment_change(p, q):
    order = min(len(p.log_series), len(q.log_series)) - 1
    return _fitted_moments(p, order) - _fitted_moments(q, order)


def _jensen_shannon(p: SpectralDensity, q: SpectralDensity) -> float:
    return by_quadrature(p, q, "js")


KINDS = {"symmetric-kl": _symmetric_kl, "kl": _kl, "js": _jensen_shannon, "moments": _moment_distance}


# By quadrature


def by_quadrature(p: SpectralDensity, q: SpectralDensity, kind: str) -> float:
    """The divergence as an integral over a grid, of log densities."""
    if kind == "moments":
        raise ValueError('kind="moments" compares two densities of maximum entropy, which know their order; make them '
                         "with egs or maxent")
    log_p, log_q, x, weights = _log_densities(p, q)
    values_p, values_q = log_p(x), log_q(x)
    f, g = _integrands(kind, values_p, values_q)
    return float(weights @ (np.exp(values_p) * f + np.exp(values_q) * g))


def _log_densities(p, q):
    """Logarithms of both densities, as functions, and a grid on which to integrate them, with its weights."""
    if p.log_series is not None and q.log_series is not None:
        n = 2 * max(len(p.nodes), len(q.nodes)) + 1  # denser towards the ends, where spectra have peaks
        angle = (np.arange(n) + 0.5) * (np.pi / n)
        half = (p.support[1] - p.support[0]) / 2
        return p.log_pdf, q.log_pdf, np.mean(p.support) - half * np.cos(angle), half * np.sin(angle) * (np.pi / n)
    width = max((rho.support[1] - rho.support[0]) / len(rho.rules[0][0]) for rho in (p, q) if rho.log_series is None)
    lo, hi = min(p.support[0], q.support[0]) - 8 * width, max(p.support[1], q.support[1]) + 8 * width
    x = np.linspace(lo, hi, 2 * CELLS + 1)
    tables = [_smoothed(rho, width, x) for rho in (p, q)]
    log_p, log_q = (lambda at, table=table: np.interp(at, x, table) for table in tables)
    return log_p, log_q, x, np.full(len(x), x[1] - x[0])


def _smoothed(rho: SpectralDensity, width: float, x) -> np.ndarray:
    """Logarithm of the density after smoothing by a Gaussian, summed without leaving logarithms."""
    nodes, weights = rho.nodes, rho.weights
    if rho.log_series is not None:
        edges = np.linspace(*rho.support, CELLS + 1)
        nodes, weights = (edges[1:] + edges[:-1]) / 2, np.diff(rho.cdf(edges))
    log_weights = np.log(np.maximum(weights, 1e-300)) - np.log(width * np.sqrt(2 * np.pi))
    parts = np.array_split(x, max(len(x) * len(nodes) // 2**20, 1))
    return np.concatenate([scipy.special.logsumexp(log_weights - ((part[:, None] - nodes) / width) ** 2 / 2, axis=1)
                           for part in parts])


def _integrands(kind, log_p, log_q):
    """f and g with divergence ∫ p f + q g."""
    if kind == "js":
        log_r = np.logaddexp(log_p, log_q) - np.log(2)
        return (log_p - log_r) / 2, (log_q - log_r) / 2
    if kind == "kl":
        return log_p - log_q, np.zeros_like(log_p)
    return (log_p - log_q) / 2, (log_q - log_p) / 2


# The spread of the probes


def _spread(p, q, kind) -> float:
    """Standard error to first order: the divergence's derivatives in p and in q, averaged under each probe's rule."""
    by_p, by_q = _moment_derivatives(p, q) if kind == "moments" else _derivatives(p, q, kind)
    errors = [standard_error(_averages(rho, f)) if rho.probes > 1 else 0.0 for rho, f in ((p, by_p), (q, by_q))]
    return float(np.hypot(*errors))


def _derivatives(p, q, kind):
    """dD/dp and dD/dq; ∫ p log(p/q) changes by ∫ dp log(p/q) - ∫ dq p/q."""
    log_p, log_q, *_ = _log_densities(p, q)

    def derivative(x, own, other, weight_own, weight_other):
        ratio = np.exp(np.minimum(other(x) - own(x), LARGEST)) if weight_other else 0.0
        return weight_own * (own(x) - other(x)) - weight_other * ratio

    if kind == "js":
        return [lambda x, i=i: _integrands(kind, log_p(x), log_q(x))[i] for i in (0, 1)]
    one, two = (1.0, 0.0) if kind == "kl" else (0.5, 0.5)
    return (lambda x: derivative(x, log_p, log_q, one, two)), (lambda x: derivative(x, log_q, log_p, two, one))


def _moment_derivatives(p, q):
    change = _moment_change(p, q)
    direction = change / (np.linalg.norm(change) or 1.0)
    return [lambda x, rho=rho: chebyshev.chebval(_mapped(rho, x), direction) for rho in (p, q)]


def _averages(rho: SpectralDensity, f) -> np.ndarray:
    """Average of f under the rule of each probe; a continuous density has one set of nodes for all."""
    rules = rho.rules
    if rho.log_series is not None:
        return np.array([weights for _, weights in rules]) @ f(rules[0][0])
    return np.array([weights @ f(nodes) for nodes, weights in rules])
