"""What every computation returns: a number with an error bar, or a quadrature rule for a spectrum.

`Estimate` is a value with its standard error. `SpectralDensity` is a quadrature rule for the spectral measure

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
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from scipy.special import stdtrit

from spectra._controls import Control, controlled

__all__ = ["ConvergenceWarning", "Estimate", "SpectralDensity"]


class ConvergenceWarning(UserWarning):
    """An answer is less certain than asked for: the message says by how much, and what would help."""


@dataclass(frozen=True)
class Estimate:
    """A number (or an array of numbers) with an error bar.

    Parameters
    ----------
    value : float or ndarray
        The estimate.
    stderr : float or ndarray
        Standard error over the probes; 0 for a deterministic answer, inf where one probe gives no spread.
    bias : tuple (lo, hi) or None
        Bracket of the deterministic error: the truth minus the expectation of `value` is believed to lie in [lo, hi].
        None where the method has no such error.
    matvecs : int
        Products with the operator spent, counted.
    probes : int
        Independent samples behind `stderr`.
    seed : int or None
        Seed that reproduces the answer; None if nothing was drawn.
    method : str
        Name of the method.
    details : mapping
        Whatever else the method found, read-only, also available as attributes.

    Examples
    --------
    >>> from spectra import Estimate
    >>> e = Estimate(2.0, 0.5, probes=5, method="hutchinson")
    >>> float(e), tuple(round(x, 3) for x in e.interval(0.95))
    (2.0, (0.612, 3.388))
    """

    value: Any
    stderr: Any = 0.0
    bias: tuple[Any, Any] | None = None
    matvecs: int = 0
    probes: int = 0
    seed: Any = None
    method: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "details", MappingProxyType(dict(self.details)))

    def interval(self, level: float = 0.95) -> tuple[Any, Any]:
        """Confidence interval: Student's t on the spread of the probes, widened by the bias bracket.

        ``(value + lo - t s, value + hi + t s)`` with `s` the standard error and `t` the quantile of Student's
        distribution with ``probes - 1`` degrees of freedom.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie strictly between 0 and 1, found {level!r}; 0.95 is customary")
        if np.iscomplexobj(self.value):
            raise ValueError("a complex estimate has no interval; take its value and stderr")
        lo, hi = self.bias or (0.0, 0.0)
        half = self.half_width(level)
        ends = self.value + lo - half, self.value + hi + half
        return ends if np.ndim(self.value) else (float(ends[0]), float(ends[1]))

    def half_width(self, level: float = 0.95):
        """Half the width of the statistical part of the interval, ``t * stderr``."""
        freedom = max(self.details.get("freedom", self.probes - 1), 1)
        t = stdtrit(freedom, (1 + level) / 2)
        stderr = np.asarray(self.stderr, dtype=float)
        return (t * stderr)[()]

    def to_dict(self) -> dict[str, Any]:
        """The estimate and its 95 % interval as plain Python numbers, ready for JSON."""
        low, high = (None, None) if np.iscomplexobj(self.value) else self.interval()
        names = ("value", "stderr", "bias", "matvecs", "probes", "seed", "method")
        plain = {name: _plain(getattr(self, name)) for name in names}
        return plain | {"interval": [_plain(low), _plain(high)], "details": _plain(dict(self.details))}

    def __float__(self) -> float:
        return float(self.value)

    def __format__(self, spec: str) -> str:
        return format(float(self), spec) if spec else str(self)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.value, dtype=dtype)

    def __getattr__(self, name: str):
        details = self.__dict__.get("details", {})
        if name in details:
            return details[name]
        raise AttributeError(f"Estimate has no attribute {name!r}; details hold {sorted(details)}")

    def __reduce__(self):
        values = (self.value, self.stderr, self.bias, self.matvecs, self.probes, self.seed, self.method)
        return Estimate, (*values, dict(self.details))

    def __repr__(self) -> str:
        source = f"{self.matvecs} matvecs, {self.method or 'unnamed'}"
        if self.seed is not None:
            source += f", seed {self.seed}"
        if np.ndim(self.value):
            return f"Estimate of shape {np.shape(self.value)} ({source})"
        text = f"{self.value:.{_digits(self.value, self.stderr)}g}"
        if np.any(self.stderr):
            text += f" ± {float(self.stderr):.2g}"
        if self.bias:
            text += f", bias in [{float(self.bias[0]):.2g}, {float(self.bias[1]):.2g}]"
        return f"{text} ({source})"


def _digits(value, stderr) -> int:
    """Significant digits of `value` that its standard error leaves standing, and one more."""
    if not stderr or not np.isfinite(stderr) or not value:
        return 10 if not stderr else 4
    return int(np.clip(np.ceil(np.log10(abs(value / stderr))) + 2, 2, 15))


def _plain(x):
    """`x` in the types JSON knows; non-finite numbers become None."""
    if isinstance(x, Mapping):
        return {str(k): _plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [_plain(v) for v in x]
    if isinstance(x, np.ndarray):
        return _plain(x.tolist())
    if isinstance(x, np.generic):
        return _plain(x.item())
    if isinstance(x, float):
        return x if np.isfinite(x) else None
    if isinstance(x, complex):
        return {"real": _plain(x.real), "imag": _plain(x.imag)}
    return x if isinstance(x, (str, int, bool, type(None))) else str(x)


class NotFinite(ValueError):
    """A function is not finite somewhere on the spectrum; `where` says where."""

    def __init__(self, where: float):
        super().__init__(f"f is not finite at {where:.6g}, where the spectrum has weight; f must be finite on the "
                         "whole spectrum: shift the operator, change f, or give the support of the spectrum")
        self.where = float(where)


Rule = tuple[np.ndarray, np.ndarray]
"""Nodes and weights, each of shape (probes, m); nodes may have one row, shared by all probes."""


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
    complete : bool
        The rule is the spectral measure itself, not that of random probes: integrals have no statistical error.
    controls : sequence of Control, optional
        Control variates that lower the variance of `sum` and `count`.
    log_series : ndarray, optional
        Chebyshev coefficients on `support` of the logarithm of a continuous density, where there is one.
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
                 brackets=(), exact=False, complete=False, controls=(), log_series=None, details=None):
        self._rule = _rule(nodes, weights)
        self.size = int(size)
        self.matvecs = int(matvecs)
        self.seed = seed
        self.method = method
        self.exact = bool(exact or complete)
        self.complete = bool(complete)
        self.details = MappingProxyType(dict(details or {}))
        self._coarse = tuple(_rule(*r) for r in coarse)
        self._brackets = tuple(_rule(*r) for r in brackets)
        self._controls = tuple(controls)
        self.log_series = None if log_series is None else np.asarray(log_series, dtype=float)
        inside = self.nodes
        lo, hi = (inside[0], inside[-1]) if support is None else support
        self.support = (float(lo), float(hi))

    # The averaged rule

    @property
    def probes(self) -> int:
        """Number of probes behind the rule."""
        return self._rule[1].shape[0]

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
        return _integrals(self._rule, f).mean()

    def sum(self, f: Callable) -> Estimate:
        """Estimate of ``tr f(A) = sum_i f(lambda_i)``; `f` acts on arrays of eigenvalues.

        The standard error is that of the mean over probes, after control variates where the run left any. The bias
        bracket is the quadrature's: between Gauss and Gauss-Radau where the end of the spectrum is known, otherwise
        extrapolated from rules of lower depth.
        """
        samples = controlled(self.size * _integrals(self._rule, f), self._controls, f)
        return self._estimate(samples, self._bias(f), {"freedom": self._freedom()})

    def moment(self, k: int) -> Estimate:
        """Estimate of the power moment ``(1/n) tr A^k``; an m-point Gauss rule is exact to order 2m - 1, and carries a
        bias bracket beyond."""
        if int(k) != k or k < 0:
            raise ValueError(f"moment needs an order 0, 1, 2, ..., found {k!r}; use sum(lambda x: x**k) / size")
        f = _Power(int(k))
        known = self.exact or k <= self.details.get("degree", k)
        bias = None if known or not self._coarse else tuple(end / self.size for end in self._bias(f))
        samples = controlled(self.size * _integrals(self._rule, f), self._controls, f) / self.size
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

        if self.log_series is not None:
            return self._estimate(self.size * self._masses(a, b), self._bias(inside))
        samples = controlled(self.size * _integrals(self._rule, inside), self._controls, inside)
        return self._estimate(samples, self._count_bias(a, b))

    def _freedom(self) -> int:
        """Degrees of freedom of the spread: as in regression, every coefficient that is fitted costs one."""
        fitted = max((len(control.traces) for control in self._controls), default=1)
        return max(self.probes - fitted, 1)

    def _estimate(self, values: np.ndarray, bias, details: Mapping = MappingProxyType({})) -> Estimate:
        """Mean and standard error of one value for each probe."""
        values = np.asarray(values, dtype=float)
        stderr = 0.0 if self.complete else standard_error(values)
        return Estimate(float(values.mean()), stderr, bias, self.matvecs, len(values), self.seed, self.method, details)

    def _bias(self, f):
        """Bracket of quadrature error of tr f(A), from the Radau rules or from how the coarse rules converge."""
        if not self.exact and not (self._coarse or self._brackets):
            return None
        fine = _integrals(self._rule, f).mean()
        if self.exact:
            lo = hi = 0.0
        elif (gap := self._radau_gap(f, fine)) is not None:
            lo, hi = min(gap, 0.0), max(gap, 0.0)
        else:
            lo, hi = remaining_change(*[_integrals(r, f).mean() for r in self._coarse], fine)
        rounding = self._rounding(f)
        return float(self.size * (lo - rounding)), float(self.size * (hi + rounding))

    def _radau_gap(self, f, fine) -> float | None:
        """Gauss-Radau less Gauss, for functions that they enclose; the truth lies between."""
        for nodes, weights in self._brackets:
            if f in _ALTERNATING and nodes.min() > 0:
                return float((f(nodes) * weights).sum(1).mean() - fine)
        return None

    def _rounding(self, f) -> float:
        """Change of (1/n) tr f(A) when eigenvalues move by the rounding errors of a Lanczos recurrence."""
        nodes, weights = self._averaged()
        precision = self.details.get("precision", np.finfo(float).eps)
        with np.errstate(all="ignore"):
            change = np.abs(f(nodes + 4 * precision * np.abs(nodes).max()) - f(nodes))
        return float(np.where(np.isfinite(change), change, 0.0) @ weights)

    def _count_bias(self, a, b):
        if self.exact or not self._coarse:
            return None
        below_a = [_neighbours(n, w, a, "left") for n, w in self.rules]
        below_b = [_neighbours(n, w, b, "right") for n, w in self.rules]
        (left_a, right_a), (left_b, right_b) = np.mean(below_a, 0), np.mean(below_b, 0)
        return float(-self.size * (left_b + right_a)), float(self.size * (right_b + left_a))

    # The distribution

    def cdf(self, x):
        """Distribution function: share of eigenvalues at or below `x`."""
        x = np.asarray(x, dtype=float)
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
        if self.log_series is None:
            raise ValueError(f"log_pdf needs a continuous density, but this one ({self.method}) is a set of "
                             "weighted points; use pdf(x, width=...) or spectra.maxent")
        lo, hi = self.support
        x = np.asarray(x, dtype=float)
        inside = chebyshev.chebval((2 * x - (hi + lo)) / (hi - lo), self.log_series)
        return np.where((x >= lo) & (x <= hi), inside, -np.inf)

    def entropy(self) -> float:
        """Differential entropy ``-int p log p``; a discrete rule is smoothed first (see `pdf`)."""
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
        if self.log_series is not None or other.log_series is not None:
            raise ValueError("continuous densities cannot be merged; average their moments and fit once more")
        seeds = _seeds(self) + _seeds(other)
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"merge needs different seeds, found {seeds}; the same seed gives the same probes")
        return joined(self, other, seeds)

    def save(self, path) -> None:
        """Write the density to one `.npz` file (plain arrays, no pickles)."""
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
                  "method": self.method, "exact": self.exact, "complete": self.complete, "details": _plain(details)}
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


# Integrals against rules

_ALTERNATING = (np.log, np.log1p, np.sqrt, np.cbrt, np.reciprocal)  # derivatives alternate in sign on positive numbers


@dataclass(frozen=True)
class _Power:
    k: int

    def __call__(self, x):
        return x**self.k


def _rule(nodes, weights) -> Rule:
    nodes = np.atleast_2d(np.asarray(nodes, dtype=float))
    weights = np.atleast_2d(np.asarray(weights, dtype=float))
    if nodes.shape[1] != weights.shape[1] or nodes.shape[0] not in (1, weights.shape[0]) or not weights.size:
        raise ValueError(f"a rule needs nodes of shape (probes, m) or (1, m) and weights of shape (probes, m), m > 0, "
                         f"found {nodes.shape} and {weights.shape}")
    mass = weights.sum(1, keepdims=True)
    if not (np.all(np.isfinite(nodes)) and np.all(np.isfinite(mass)) and np.all(mass > 0)):
        raise ValueError("a rule needs finite nodes and weights of positive total mass; "
                         "a NaN here comes from the operator's products")
    mass[np.abs(mass - 1) <= 8 * np.finfo(float).eps] = 1.0  # a stored rule is read back to the same digits
    return nodes, weights / mass


def _integrals(rule: Rule, f) -> np.ndarray:
    """Integral of `f` for each probe; nodes without weight are not asked for a value."""
    nodes, weights = rule
    try:
        with np.errstate(all="ignore"):
            values = np.asarray(f(nodes))
    except TypeError as error:
        raise ValueError(f"f must map an array to an array ({error}); write it with NumPy functions, "
                         "e.g. lambda x: np.exp(-x)") from None
    if np.iscomplexobj(values):
        raise ValueError("f must be real, found complex values; estimate its real and imaginary parts apart")
    if values.shape != nodes.shape:
        raise ValueError(f"f must map an array of shape {nodes.shape} to the same shape, found {values.shape}; "
                         "write it with NumPy functions, e.g. lambda x: np.exp(-x)")
    used = np.broadcast_to(weights > 0, weights.shape) if nodes.shape == weights.shape else (weights > 0).any(0)[None]
    bad = used & ~np.isfinite(values)
    if bad.any():
        raise NotFinite(nodes[bad][0])
    values = np.where(used, values, 0.0)
    return (values * weights).sum(1)


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean of `values`; inf for a single one. Safe against overflow of the squares."""
    if len(values) < 2:
        return np.inf
    largest = np.abs(values).max()
    if largest == 0 or not np.isfinite(largest):
        return float(largest)
    return float(largest * np.std(values / largest, ddof=1) / np.sqrt(len(values)))


def remaining_change(*values: float) -> tuple[float, float]:
    """Bracket of what is still missing from a sequence computed at depths m/4, m/2, m.

    With differences d1, d2 of two doublings and r = |d2/d1| the rest is up to d2 clip(40 r^2, 1/2, 10): twice what is
    missing when convergence is as slow as it looks, more where it may be slowing down (eigenvalues not seen yet). Of
    900 Gauss rules for the logarithm (14 spectra, condition 1e2 to 1e12, 5 to 160 steps) the bracket holds 99 %, at a
    median of 6 times the error; the limit of a geometric sequence, d2 r/(1-r), doubled, holds 87 %. Two values tell
    nothing.
    """
    if len(values) < 3:
        return -np.inf, np.inf
    first, second = values[1] - values[0], values[2] - values[1]
    noise = 8 * np.finfo(float).eps * max(abs(v) for v in values)
    if abs(second) <= noise:
        return -noise, noise
    ratio = second / first if first else np.inf
    rest = second * float(np.clip(40 * ratio**2, 0.5, 10.0))
    if not 0 < ratio < 0.9:  # it may turn round
        return -abs(rest) - noise, abs(rest) + noise
    return min(rest, 0.0) - noise, max(rest, 0.0) + noise


def _neighbours(nodes, weights, x, side) -> tuple[float, float]:
    """Weights of the nodes just below and just above x; none beyond infinity."""
    if not np.isfinite(x):
        return 0.0, 0.0
    order = np.argsort(nodes)
    nodes, weights = nodes[order], weights[order]
    i = np.searchsorted(nodes, x, side=side)
    return (weights[i - 1] if i else 0.0), (weights[i] if i < len(nodes) else 0.0)


def _seeds(rho: SpectralDensity) -> tuple:
    return rho.seed if isinstance(rho.seed, tuple) else (rho.seed,)


def joined(a: SpectralDensity, b: SpectralDensity, seed) -> SpectralDensity:
    """The density with the probes of both; those of `a` come first."""
    if len(a._coarse) != len(b._coarse) or len(a._brackets) != len(b._brackets):
        raise ValueError("two densities can be joined if both carry the same kind of bias bracket; "
                         "run both with the same options")
    (lo_a, hi_a), (lo_b, hi_b) = a.support, b.support
    return SpectralDensity(
        *_stack(a._rule, b._rule), a.size, support=(min(lo_a, lo_b), max(hi_a, hi_b)),
        matvecs=a.matvecs + b.matvecs, seed=seed, method=a.method, exact=a.exact and b.exact,
        details=_shallower(a.details, b.details),
        coarse=[_stack(x, y) for x, y in zip(a._coarse, b._coarse, strict=True)],
        brackets=[_stack(x, y) for x, y in zip(a._brackets, b._brackets, strict=True)],
        controls=[*a._controls, *(control.shifted(a.probes) for control in b._controls)])


def _shallower(a: Mapping, b: Mapping) -> dict:
    """Details of two runs together: what holds for the shallower one."""
    return dict(a) | {name: min(a[name], b[name]) for name in ("steps", "degree") if name in a and name in b}


def _stack(a: Rule, b: Rule) -> Rule:
    """Rules of two runs one above the other, padded with nodes of no weight."""
    width = max(a[0].shape[1], b[0].shape[1])
    padded = []
    for nodes, weights in (a, b):
        pad = ((0, 0), (0, width - nodes.shape[1]))
        nodes = np.broadcast_to(nodes, weights.shape)
        padded.append((np.pad(nodes, pad, mode="edge"), np.pad(weights, pad)))
    return np.concatenate([padded[0][0], padded[1][0]]), np.concatenate([padded[0][1], padded[1][1]])
