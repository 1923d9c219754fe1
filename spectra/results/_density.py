"""A quadrature rule for the spectral measure of an operator,

    mu = (1/n) sum_i delta(x - lambda_i)  ~  sum_j w_j delta(x - theta_j),

kept probe by probe, so that every integral against it, (1/n) tr f(A) ~ sum_j w_j f(theta_j), carries the spread
of the probes. Rules of lower depth from the same run tell how far the quadrature itself has converged.
Everything here is NumPy float64.

References: Golub and Meurant, Matrices, Moments and Quadrature (2010); Ubaru, Chen and Saad, SIMAX 38 (2017), doi
10.1137/16M1104974.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.polynomial import chebyshev

from spectra._controls import Control, controlled
from spectra.results._estimate import Estimate, plain
from spectra.results._rules import (
    ALTERNATING,
    Rule,
    integrals,
    neighbours,
    remaining_change,
    rule,
    stacked,
    standard_error,
)


class SpectralDensity:
    """A quadrature rule for the spectral measure of an operator, probe by probe and averaged.

    Parameters
    ----------
    nodes : ndarray, shape (probes, m), (1, m) or (m,)
        Where the rule evaluates; one row if the probes share their nodes.
    weights : ndarray, shape (probes, m) or (m,)
        Non-negative weights; each probe's sum to 1 (a constant factor is divided out).
    size : int
        Order n of the operator, so that ``tr f(A) = n * expect(f)``.
    support : tuple (lo, hi), optional
        Interval that holds the spectrum; default: the hull of the nodes.
    matvecs, seed, method
        Where the rule came from.
    coarse : sequence of (nodes, weights), optional
        Rules of increasing lower depth from the same run (a quarter, a half of the steps). They measure convergence.
    brackets : sequence of (nodes, weights), optional
        Gauss-Radau rules: for functions with derivatives of constant sign (log, inverse, square root on a positive
        interval) each bounds the integral on the other side of the Gauss rule.
    exact : bool
        The rule integrates every function exactly for its probes (the recurrence ended in an invariant subspace).
    deterministic : bool
        No random probes stand behind the rule: integrals have no statistical error.
    complete : bool
        The rule is the spectral measure itself: both exact and deterministic.
    controls : sequence of Control, optional
        Control variates that lower the variance of `sum` and `count`.
    log_series : ndarray, optional
        Chebyshev coefficients on `support` of the logarithm of a continuous density, where there is one.
    law : object with `pdf(x)`, `cdf(x)`, `quantile(p)` and `entropy()`, optional
        A distribution known in closed form, of which the rule is a quadrature.
    details : mapping, optional
        Whatever else the method found, also available as attributes.

    Examples
    --------
    >>> import numpy as np
    >>> from spectra import SpectralDensity
    >>> rho = SpectralDensity([1.0, 2.0], [0.25, 0.75], size=4)
    >>> rho.expect(np.sqrt).round(4), rho.count(1.5, 2.5).value
    (np.float64(1.3107), 3.0)
    """

    def __init__(self, nodes, weights, size, *, support=None, matvecs=0, seed=None, method="", coarse=(),
                 brackets=(), exact=False, deterministic=False, complete=False, controls=(), log_series=None, law=None,
                 details=None):
        self._rule = rule(nodes, weights)
        self.size = int(size)
        self.matvecs = int(matvecs)
        self.seed = seed
        self.method = method
        self.exact = bool(exact or complete)
        self.deterministic = bool(deterministic or complete)
        self.details = MappingProxyType(dict(details or {}))
        self._coarse = tuple(rule(*r) for r in coarse)
        self._brackets = tuple(rule(*r) for r in brackets)
        self._controls = tuple(controls)
        self.log_series = None if log_series is None else np.asarray(log_series, dtype=float)
        self.law = law
        inside = self.nodes
        lo, hi = (inside[0], inside[-1]) if support is None else support
        self.support = (float(lo), float(hi))

    # The averaged rule

    @property
    def probes(self) -> int:
        """Number of probes behind the rule."""
        return self._rule[1].shape[0]

    @property
    def complete(self) -> bool:
        """Whether the rule is the spectral measure itself: exact, and without random probes."""
        return self.exact and self.deterministic

    @property
    def continuous(self) -> bool:
        """Whether there is a density beside the weighted points."""
        return self.log_series is not None or self.law is not None

    @property
    def rules(self) -> list[Rule]:
        """One (nodes, weights) pair for each probe."""
        nodes, weights = self._rule
        return list(zip(np.broadcast_to(nodes, weights.shape), weights, strict=True))

    @property
    def nodes(self) -> np.ndarray:
        """Nodes of the averaged rule, sorted."""
        return self._averaged()[0]

    @property
    def weights(self) -> np.ndarray:
        """Weights of the averaged rule, in the order of `nodes`; they sum to 1."""
        return self._averaged()[1]

    def _averaged(self) -> Rule:
        nodes, weights = self._rule
        if nodes.shape[0] == 1:
            nodes, weights = nodes[0], weights.mean(0)
        else:
            nodes, weights = nodes.ravel(), weights.ravel() / len(weights)
        keep = weights > 0
        order = np.argsort(nodes[keep], kind="stable")
        return nodes[keep][order], weights[keep][order]

    # Integrals

    def expect(self, f: Callable) -> float:
        """Average of `f` over the spectrum, ``(1/n) tr f(A) ~ sum_j w_j f(theta_j)``; `f` acts on arrays."""
        return integrals(self._rule, f).mean()

    def sum(self, f: Callable) -> Estimate:
        """Estimate of ``tr f(A) = sum_i f(lambda_i)``; `f` acts on arrays of eigenvalues.

        The standard error is that of the mean over probes, after control variates where the run left any. The bias
        bracket is the quadrature's: between Gauss and Gauss-Radau where the end of the spectrum is known, otherwise
        extrapolated from rules of lower depth. The detail `rounding` is what rounding errors have in it.
        """
        samples = controlled(self.size * integrals(self._rule, f), self._controls, f)
        bias = self._bias(f)
        rounding = 0.0 if bias is None else float(self.size * self._rounding(f))
        return self._estimate(samples, bias, {"freedom": self._freedom(), "rounding": rounding})

    def moment(self, k: int) -> Estimate:
        """Estimate of the power moment ``(1/n) tr A^k``; an m-point Gauss rule is exact to order 2m - 1, and carries a
        bias bracket beyond."""
        if int(k) != k or k < 0:
            raise ValueError(f"moment needs an order 0, 1, 2, ..., found {k!r}; use sum(lambda x: x**k) / size")
        f = _Power(int(k))
        known = self.exact or k <= self.details.get("degree", k)
        bias = None if known or not self._coarse else tuple(end / self.size for end in self._bias(f))
        samples = controlled(self.size * integrals(self._rule, f), self._controls, f) / self.size
        return self._estimate(samples, bias)

    def count(self, a: float, b: float) -> Estimate:
        """Estimate of the number of eigenvalues in the closed interval [a, b].

        For a Gauss rule the bias bracket is that of Chebyshev, Markov and Stieltjes: the distribution function at x
        differs from the rule's by at most the weight of the neighbouring node on either side.
        """
        if not a <= b:
            raise ValueError(f"count needs a <= b, found a={a!r}, b={b!r}; exchange them")

        def inside(x):
            return ((x >= a) & (x <= b)).astype(float)

        if self.law is not None:
            return self._estimate([self.size * float(self.cdf(b) - self.cdf(np.nextafter(a, -np.inf)))], None)
        if self.log_series is not None:
            return self._estimate(self.size * self._masses(a, b), self._bias(inside))
        samples = controlled(self.size * integrals(self._rule, inside), self._controls, inside)
        return self._estimate(samples, self._count_bias(a, b))

    def _freedom(self) -> int:
        """Degrees of freedom of the spread: as in regression, every coefficient that is fitted costs one."""
        fitted = max((len(control.traces) for control in self._controls), default=1)
        return max(self.probes - fitted, 1)

    def _estimate(self, values: np.ndarray, bias, details: Mapping = MappingProxyType({})) -> Estimate:
        """Mean and standard error of one value for each probe."""
        values = np.asarray(values, dtype=float)
        stderr = 0.0 if self.deterministic else standard_error(values)
        return Estimate(float(values.mean()), stderr, bias, self.matvecs, len(values), self.seed, self.method, details)

    def _bias(self, f):
        """Bracket of quadrature error of tr f(A), from the Radau rules or from how the coarse rules converge."""
        if not self.exact and not (self._coarse or self._brackets):
            return None
        fine = integrals(self._rule, f).mean()
        if self.exact:
            lo = hi = 0.0
        elif (gap := self._radau_gap(f, fine)) is not None:
            lo, hi = min(gap, 0.0), max(gap, 0.0)
        else:
            lo, hi = remaining_change(*[integrals(r, f).mean() for r in self._coarse], fine)
        rounding = self._rounding(f)
        return float(self.size * (lo - rounding)), float(self.size * (hi + rounding))

    def _radau_gap(self, f, fine) -> float | None:
        """Gauss-Radau less Gauss, for functions that they enclose; the truth lies between."""
        for nodes, weights in self._brackets:
            if f in ALTERNATING and nodes.min() > 0:
                return float((f(nodes) * weights).sum(1).mean() - fine)
        return None

    def _rounding(self, f) -> float:
        """Change of (1/n) tr f(A) when all eigenvalues move by the rounding errors of a Lanczos recurrence, or A by a
        measured E: tr f'(A) E is at most the product of two Frobenius norms, whatever E has to do with A.
        """
        nodes, weights = self._averaged()
        precision = self.details.get("precision", np.finfo(float).eps)
        moved = _changes(f, nodes, 4 * precision * np.abs(nodes).max())
        perturbed = _changes(f, nodes, self.details.get("perturbation", 0.0))
        return float(max(moved @ weights, np.sqrt(perturbed**2 @ weights)))

    def _count_bias(self, a, b):
        if self.exact or not self._coarse:
            return None
        below_a = [neighbours(n, w, a, "left") for n, w in self.rules]
        below_b = [neighbours(n, w, b, "right") for n, w in self.rules]
        (left_a, right_a), (left_b, right_b) = np.mean(below_a, 0), np.mean(below_b, 0)
        return float(-self.size * (left_b + right_a)), float(self.size * (right_b + left_a))

    # The distribution

    def cdf(self, x):
        """Distribution function: share of eigenvalues at or below `x`."""
        x = np.asarray(x, dtype=float)
        if np.isnan(x).any():
            raise ValueError("cdf needs points on the real line, found NaN")
        if self.law is not None:
            return self.law.cdf(x)
        if self.log_series is not None:
            grid, masses = self._cumulative()
            return np.interp(x, grid, masses)
        nodes, weights = self._averaged()
        below = np.concatenate([[0.0], np.cumsum(weights)])
        return np.minimum(below[np.searchsorted(nodes, x, side="right")], 1.0)

    def quantile(self, p):
        """Smallest x with ``cdf(x) >= p``."""
        p = np.asarray(p, dtype=float)
        if not np.all((p >= 0) & (p <= 1)):
            raise ValueError(f"quantile needs probabilities in [0, 1], found {p!r}")
        if self.law is not None:
            return self.law.quantile(p)
        if self.log_series is not None:
            grid, masses = self._cumulative()
            return np.interp(p, masses, grid)
        nodes, weights = self._averaged()
        index = np.searchsorted(np.cumsum(weights) * (1 + 4 * np.finfo(float).eps), p, side="left")
        return nodes[np.minimum(index, len(nodes) - 1)]

    def pdf(self, x, width: float | None = None):
        """Density at `x`: the density itself where it is continuous, else the rule smoothed by a Gaussian.

        Smoothing is for display: it changes every moment beyond the first (thesis, Theorem 2).

        Parameters
        ----------
        x : array_like
            Points.
        width : float, optional
            Standard deviation of the Gaussian; default: a continuous density unsmoothed, or for a discrete rule the
            width of the support over the number of nodes of one probe.
        """
        x = np.asarray(x, dtype=float)
        if width is None and self.law is not None:
            return self.law.pdf(x)
        if width is None and self.log_series is not None:
            return np.exp(self.log_pdf(x))
        nodes, weights = self._averaged()
        width = self._default_width() if width is None else float(width)
        if not width > 0:
            raise ValueError(f"pdf needs a positive width, found {width!r}")
        with np.errstate(over="ignore"):
            z = (x[..., None] - nodes) / width
            return (np.exp(-0.5 * z * z) @ weights) / (width * np.sqrt(2 * np.pi))

    def log_pdf(self, x):
        """Logarithm of a continuous density at `x`, summed as a series (never a logarithm of a stored density)."""
        if self.law is not None:
            with np.errstate(divide="ignore"):
                return np.log(self.law.pdf(np.asarray(x, dtype=float)))
        if self.log_series is None:
            raise ValueError(f"log_pdf needs a continuous density, but this one ({self.method}) is a set of "
                             "weighted points; use pdf(x, width=...) or spectra.maxent")
        lo, hi = self.support
        x = np.asarray(x, dtype=float)
        inside = chebyshev.chebval((2 * x - (hi + lo)) / (hi - lo), self.log_series)
        return np.where((x >= lo) & (x <= hi), inside, -np.inf)

    def entropy(self) -> float:
        """Differential entropy ``-int p log p``; a discrete rule is smoothed first (see `pdf`)."""
        if self.law is not None:
            return self.law.entropy()
        if self.log_series is not None:
            return -self.expect(self.log_pdf)
        lo, hi = self.support
        pad = 6 * self._default_width()
        x = np.linspace(lo - pad, hi + pad, 4001)
        p = self.pdf(x)
        return float(-np.trapezoid(p * np.log(np.where(p > 0, p, 1.0)), x))

    def _default_width(self) -> float:
        lo, hi = self.support
        size = max(abs(lo), abs(hi))
        spread = hi - lo if hi - lo > 64 * np.finfo(float).eps * size else size or 1.0  # rounding has no width
        return spread / self._rule[0].shape[1]

    def _cumulative(self) -> Rule:
        """Distribution function of a continuous density on the midpoints between its nodes."""
        nodes, weights = self._averaged()
        edges = np.concatenate([[self.support[0]], (nodes[1:] + nodes[:-1]) / 2, [self.support[1]]])
        return edges, np.concatenate([[0.0], np.cumsum(weights)])

    def _masses(self, a, b) -> np.ndarray:
        """Mass of [a, b] for each probe of a continuous density."""
        weights = self._rule[1]
        edges = self._cumulative()[0]
        below = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights, 1)], 1)
        return np.array([np.interp(b, edges, w) - np.interp(a, edges, w) for w in below])

    # More probes, and storage

    def merge(self, other: SpectralDensity) -> SpectralDensity:
        """The density with the probes of both runs; their seeds must differ, or the probes would be the same."""
        if self.size != other.size or self.method != other.method:
            raise ValueError(f"merge needs two runs of one method on one operator, found {self.method} of order "
                             f"{self.size} and {other.method} of order {other.size}")
        if self.continuous or other.continuous:
            raise ValueError("continuous densities cannot be merged; average their moments and fit once more")
        seeds = _seeds(self) + _seeds(other)
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"merge needs different seeds, found {seeds}; the same seed gives the same probes")
        return joined(self, other, seeds)

    def save(self, path) -> None:
        """Write the density to one `.npz` file (plain arrays, no pickles)."""
        if self.law is not None:
            raise ValueError(f"a law in closed form ({self.method}) is not written to a file; keep its parameters, "
                             "or pickle it")
        arrays = {"nodes": self._rule[0], "weights": self._rule[1]}
        for kind, rules in (("coarse", self._coarse), ("bracket", self._brackets)):
            for i, (nodes, weights) in enumerate(rules):
                arrays |= {f"{kind}_{i}_nodes": nodes, f"{kind}_{i}_weights": weights}
        for i, control in enumerate(self._controls):
            arrays |= {f"control_{i}_{name}": x for name, x in control.to_arrays().items()}
        if self.log_series is not None:
            arrays["log_series"] = self.log_series
        details = {k: v for k, v in self.details.items() if not isinstance(v, np.ndarray)}
        arrays |= {f"detail_{k}": v for k, v in self.details.items() if isinstance(v, np.ndarray)}
        header = {"size": self.size, "support": self.support, "matvecs": self.matvecs, "seed": self.seed,
                  "method": self.method, "exact": self.exact, "deterministic": self.deterministic,
                  "details": plain(details)}
        with open(path, "wb") as file:
            np.savez_compressed(file, header=np.array(json.dumps(header)), **arrays)

    @classmethod
    def load(cls, path) -> SpectralDensity:
        """Read a density written by `save`."""
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            arrays = {name: file[name] for name in file.files if name != "header"}

        def rules(kind):
            count = sum(name.startswith(kind) for name in arrays) // 2
            return [(arrays[f"{kind}_{i}_nodes"], arrays[f"{kind}_{i}_weights"]) for i in range(count)]

        names = [name for name in arrays if name.startswith("control_")]
        controls = [Control.from_arrays({name.split("_", 2)[2]: arrays[name] for name in names
                                         if name.startswith(f"control_{i}_")})
                    for i in range(len({name.split("_")[1] for name in names}))]
        details = header.pop("details") | {k[7:]: v for k, v in arrays.items() if k.startswith("detail_")}
        seed = header.pop("seed")
        return cls(arrays["nodes"], arrays["weights"], coarse=rules("coarse"), brackets=rules("bracket"),
                   controls=controls, log_series=arrays.get("log_series"), details=details,
                   seed=tuple(seed) if isinstance(seed, list) else seed, **header)

    def __getattr__(self, name: str):
        details = self.__dict__.get("details", {})
        if name in details:
            return details[name]
        raise AttributeError(f"SpectralDensity has no attribute {name!r}; details hold {sorted(details)}")

    def __getstate__(self):
        return self.__dict__ | {"details": dict(self.details)}

    def __setstate__(self, state):
        self.__dict__.update(state, details=MappingProxyType(state["details"]))

    def __repr__(self) -> str:
        lo, hi = self.support
        return (f"SpectralDensity of order {self.size} on [{lo:.6g}, {hi:.6g}] ({self.probes} probes of "
                f"{self._rule[0].shape[1]} nodes, {self.matvecs} matvecs, {self.method or 'unnamed'})")


def _changes(f, nodes, shift) -> np.ndarray:
    """|f(x + shift) - f(x)|, where that is finite."""
    with np.errstate(all="ignore"):
        change = np.abs(f(nodes + shift) - f(nodes))
        return np.where(np.isfinite(change**2), change, 0.0)


def _seeds(rho: SpectralDensity) -> tuple:
    return rho.seed if isinstance(rho.seed, tuple) else (rho.seed,)


def joined(a: SpectralDensity, b: SpectralDensity, seed) -> SpectralDensity:
    """The density with the probes of both; those of `a` come first."""
    if len(a._coarse) != len(b._coarse) or len(a._brackets) != len(b._brackets):
        raise ValueError("two densities can be joined if both carry the same kind of bias bracket; "
                         "run both with the same options")
    (lo_a, hi_a), (lo_b, hi_b) = a.support, b.support
    return SpectralDensity(
        *stacked(a._rule, b._rule), a.size, support=(min(lo_a, lo_b), max(hi_a, hi_b)),
        matvecs=a.matvecs + b.matvecs, seed=seed, method=a.method, exact=a.exact and b.exact,
        details=_shallower(a.details, b.details),
        coarse=[stacked(x, y) for x, y in zip(a._coarse, b._coarse, strict=True)],
        brackets=[stacked(x, y) for x, y in zip(a._brackets, b._brackets, strict=True)],
        controls=[*a._controls, *(control.shifted(a.probes) for control in b._controls)])


def _shallower(a: Mapping, b: Mapping) -> dict:
    """Details of two runs together: what holds for the shallower one."""
    return dict(a) | {name: min(a[name], b[name]) for name in ("steps", "degree") if name in a and name in b}


@dataclass(frozen=True)
class _Power:
    k: int

    def __call__(self, x):
        return x**self.k
