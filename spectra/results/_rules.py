"""Quadrature rules of several probes: their integrals, their spread, and how far they have converged."""

from __future__ import annotations

import numpy as np

Rule = tuple[np.ndarray, np.ndarray]
"""Nodes and weights, each of shape (probes, m); nodes may have one row, shared by all probes."""


class NotFinite(ValueError):
    """A function is not finite somewhere on the spectrum; `where` says where."""

    def __init__(self, where: float):
        super().__init__(f"f is not finite at {where:.6g}, where the spectrum has weight; f must be finite on the "
                         "whole spectrum: shift the operator, change f, or give the support of the spectrum")
        self.where = float(where)


ALTERNATING = (np.log, np.log1p, np.sqrt, np.cbrt, np.reciprocal)  # derivatives alternate in sign on positive numbers


def rule(nodes, weights) -> Rule:
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


def integrals(rule: Rule, f) -> np.ndarray:
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


def neighbours(nodes, weights, x, side) -> tuple[float, float]:
    """Weights of the nodes just below and just above x; none beyond infinity."""
    if not np.isfinite(x):
        return 0.0, 0.0
    order = np.argsort(nodes)
    nodes, weights = nodes[order], weights[order]
    i = np.searchsorted(nodes, x, side=side)
    return (weights[i - 1] if i else 0.0), (weights[i] if i < len(nodes) else 0.0)


def stacked(a: Rule, b: Rule) -> Rule:
    """Rules of two runs one above the other, padded with nodes of no weight."""
    width = max(a[0].shape[1], b[0].shape[1])
    padded = []
    for nodes, weights in (a, b):
        pad = ((0, 0), (0, width - nodes.shape[1]))
        nodes = np.broadcast_to(nodes, weights.shape)
        padded.append((np.pad(nodes, pad, mode="edge"), np.pad(weights, pad)))
    return np.concatenate([padded[0][0], padded[1][0]]), np.concatenate([padded[0][1], padded[1][1]])
