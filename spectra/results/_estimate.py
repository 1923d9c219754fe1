"""A number with an error bar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import scipy  # whose parts are loaded when first used


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
        t = scipy.special.stdtrit(freedom, (1 + level) / 2)
        stderr = np.asarray(self.stderr, dtype=float)
        return (t * stderr)[()]

    def to_dict(self) -> dict[str, Any]:
        """The estimate and its 95 % interval as plain Python numbers, ready for JSON."""
        low, high = (None, None) if np.iscomplexobj(self.value) else self.interval()
        names = ("value", "stderr", "bias", "matvecs", "probes", "seed", "method")
        fields = {name: plain(getattr(self, name)) for name in names}
        return fields | {"interval": [plain(low), plain(high)], "details": plain(dict(self.details))}

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


def plain(x):
    """`x` in the types JSON knows; non-finite numbers become None."""
    if isinstance(x, Mapping):
        return {str(k): plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    if isinstance(x, np.ndarray):
        return plain(x.tolist())
    if isinstance(x, np.generic):
        return plain(x.item())
    if isinstance(x, float):
        return x if np.isfinite(x) else None
    if isinstance(x, complex):
        return {"real": plain(x.real), "imag": plain(x.imag)}
    return x if isinstance(x, (str, int, bool, type(None))) else str(x)
