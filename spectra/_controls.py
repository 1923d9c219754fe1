"""Control variates: what is known exactly need not be estimated.

A probe v estimates tr f(A) by v'f(A)v. For any matrix C with known trace, v'(f(A) - C)v + tr C has the same mean,
and less variance the nearer C is to f(A). With Ritz pairs (theta_i, z_i) found from other probes and
P = I - sum z_i z_i', take

    C = sum_i f(theta_i) z_i z_i' + P (c_0 + c_1 A + c_2 A^2) P,

whose trace needs only n, tr A and ||A||_F^2. The coefficients are the least-squares fit of f under the spectral measure
of what the probes have outside the Ritz vectors: thousands of nodes, so a few probes cannot overfit it.

Near relatives: Meyer, Musco, Musco and Woodruff, Hutch++ (2021), arXiv:2010.09649; Chen and Hallman, Krylov-aware
stochastic trace estimation (2023), arXiv:2205.00736.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Control:
    """A control variate for some of the probes.

    Attributes
    ----------
    rows : ndarray of int, shape (k,)
        The probes it corrects; the Ritz vectors come from others.
    ritz : ndarray, shape (d,)
        Ritz values; none if only powers are used.
    inside : ndarray, shape (k, d)
        Squared components of the probes along the Ritz vectors.
    nodes, weights : ndarray, shape (D,)
        Spectral measure of the probes outside.
    scale : float
        Powers are those of A / scale, so that none overflows.
    forms : ndarray, shape (k, q)
        ``p' (A/scale)^i p`` for i = 0 ... q-1, with p = P v.
    traces : ndarray, shape (q,)
        ``tr P (A/scale)^i P``, exactly.
    """

    rows: np.ndarray
    ritz: np.ndarray
    inside: np.ndarray
    nodes: np.ndarray
    weights: np.ndarray
    scale: float
    forms: np.ndarray
    traces: np.ndarray

    def correction(self, f: Callable) -> np.ndarray:
        """``tr C - v' C v`` for each of its probes."""
        at_ritz = f(self.ritz) if len(self.ritz) else np.zeros(0)
        return at_ritz.sum() - self.inside @ at_ritz - (self.forms - self.traces) @ self._fit(f)

    def _fit(self, f):
        keep = self.weights > 0
        if not keep.any():
            return np.zeros(len(self.traces))
        root = np.sqrt(self.weights[keep])
        design = np.vander(self.nodes[keep] / self.scale, len(self.traces), increasing=True)
        return np.linalg.lstsq(root[:, None] * design, root * f(self.nodes[keep]), rcond=1e-10)[0]

    def shifted(self, by: int) -> Control:
        """The same for probes counted from `by` on."""
        return Control(**(self.to_arrays() | {"rows": self.rows + by, "scale": self.scale}))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Its fields as arrays, to be stored."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict) -> Control:
        """The inverse of `to_arrays`."""
        return cls(**(arrays | {"scale": float(arrays["scale"])}))


def controlled(samples: np.ndarray, controls: Sequence[Control], f: Callable) -> np.ndarray:
    """Samples of tr f(A), one a probe, less what is known exactly; left alone where that would spread them."""
    corrected = samples.copy()
    with np.errstate(all="ignore"):
        for control in controls:
            corrected[control.rows] += control.correction(f)
    if not np.all(np.isfinite(corrected)):
        return samples
    return samples if len(samples) > 2 and np.ptp(corrected) > np.ptp(samples) else corrected


def power_controls(nodes, weights, traces: Sequence[float], size: int) -> list[Control]:
    """Control variates from exact power sums alone, ``traces = (n, tr A, tr A^2)`` as far as known.

    `nodes` and `weights`, of shape (k, m), are the quadrature rules of the probes; each row of weights sums to 1.
    Either half of the probes is corrected with the fit under the measure of the other: a rule of few nodes could be
    overfitted, and the spread of the probes would not show it.
    """
    nodes = np.broadcast_to(nodes, weights.shape)
    scale = float(np.abs(nodes).max()) or 1.0
    powers = np.arange(len(traces))
    forms = np.stack([size * (weights * (nodes / scale) ** i).sum(1) for i in powers], 1)
    known = np.asarray(traces, dtype=float) / scale**powers
    return [Control(rows, np.zeros(0), np.zeros((len(rows), 0)), nodes[others].ravel(), weights[others].ravel(), scale,
                    forms[rows], known) for rows, others in halves(len(weights))]


def halves(probes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The two halves of the probes, each with the other; a single probe has only itself."""
    rows = np.arange(probes)
    if probes < 2:
        return [(rows, rows)]
    first, second = rows[: probes // 2], rows[probes // 2 :]
    return [(first, second), (second, first)]
