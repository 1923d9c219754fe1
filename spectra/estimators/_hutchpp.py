"""Hutchinson's estimator of the trace, and Hutch++, which first takes out what a few products capture.

For probes with E v v^H = I the quadratic forms v^H A v have mean tr A. Hutch++ finds an orthonormal basis Q of the
range of A Ω and splits

    tr A = tr Q^H A Q + tr P A P,    P = I - Q Q^H,

the first part exact, the second sampled by probes that had no share in Q; so, given Q, the samples are independent, and
Student's t on their spread is an honest error bar.

References: Hutchinson, Comm. Statist. Simul. 18 (1989), doi 10.1080/03610918908812806; Meyer, Musco, Musco and
Woodruff, Hutch++ (SOSA 2021), doi 10.1137/1.9781611976496.16.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from spectra import _arrays
from spectra.estimators._sampling import Sampler, beside, effective_rank, extension, off
from spectra.results import Estimate, standard_error

_ENOUGH = 8  # probes that tell an effective rank
_COLUMNS = 32  # of the samples, as many enter it: the Gram matrix must stay cheap beside the products
_GROWTH = 1 / 6  # a larger basis pays where it cuts the variance by more than as many products cut it by averaging


def hutchinson(sampler: Sampler, totals: Iterable[int]) -> Iterator[Estimate]:
    """After each total number of products, the mean of ``v^H A v`` over as many probes."""
    samples, rank = np.empty(0), {}
    for total in totals:
        for k in sampler.groups(total - len(samples), 4):
            V = sampler.draw(k)
            W = sampler.multiply(V)
            new = _arrays.column_dots(V, W)
            samples = np.concatenate([samples, new])
            if not rank:
                rank = _spread_rank(sampler, V, W, new, sampler.n)
        yield Estimate(samples.mean(), standard_error(samples), probes=len(samples), details=rank)


def hutchpp(sampler: Sampler, totals: Iterable[int]) -> Iterator[Estimate]:
    """After each total number of products, Hutch++ with a third of them in the basis.

    From the second total on the basis grows, and new probes replace those that met the smaller one, as long as growing
    has paid; then there are only more probes.
    """
    Q = Z = None
    captured, samples, rank = 0.0, np.empty(0), {}
    before = np.inf
    for total in totals:
        left = total - sampler.spent
        k = _basis_size(sampler, left, 0 if Q is None else Q.shape[1])
        variance = _variance(samples)
        if k and (Q is None or variance <= _GROWTH * before):
            new = extension(Q, sampler.multiply(sampler.draw(k)))
            Q, Z = beside(Q, new), beside(Z, sampler.multiply(new))
            captured = _arrays.column_dots(Q, Z).sum()
            before = variance if len(samples) else 2 * np.sum(np.abs(_arrays.gram(Q, Z)) ** 2)
            samples = np.empty(0)
            left -= 2 * k
        fresh, rank = _residual_samples(sampler, Q, Z, left)
        samples = np.concatenate([samples, fresh])
        yield Estimate(captured + samples.mean(), standard_error(samples), probes=len(samples),
                       details=rank | {"basis": 0 if Q is None else Q.shape[1]})


def _basis_size(sampler: Sampler, products: int, present: int) -> int:
    """Columns to add to the basis with so many products: a third, leaving two probes at least, within memory."""
    return max(min((products - 2) // 3, sampler.room(6) - present), 0)


def _variance(samples) -> float:
    return float(np.var(samples, ddof=1)) if len(samples) > 1 else np.inf


def _residual_samples(sampler: Sampler, Q, Z, count: int):
    """Samples of tr P A P, and the effective rank of what they see."""
    samples, rank = [], {}
    d = sampler.n - (0 if Q is None else Q.shape[1])
    for k in sampler.groups(count, 6):
        V = off(Q, sampler.draw(k))
        W = sampler.multiply(V)
        # On the sphere of the complement every direction is as likely, so the length of P v is noise to divide out:
        # then a multiple of the identity has no variance at all.
        weight = d / _arrays.column_dots(V, V).real if sampler.probe == "sphere" else 1.0
        samples.append(weight * _arrays.column_dots(V, W))
        if not rank and not _is_rounding(sampler, V, W, Z):
            rank = _spread_rank(sampler, V, off(Q, W), samples[0], d)
    return np.concatenate(samples), rank


def _is_rounding(sampler, V, W, Z) -> bool:
    """Whether A P v is no more than the rounding of what A Q left: the basis holds all of A."""
    if Z is None:
        return False
    size = _arrays.column_norms(Z).max() * _arrays.column_norms(V).max()
    return _arrays.column_norms(W).max() <= 100 * sampler.eps * np.sqrt(sampler.n) * size


def _spread_rank(sampler, V, W, samples, d: int) -> dict:
    """Number of eigenvalues behind the spread of ``samples = v^H W``, or nothing where that cannot be told.

    A multiple of the identity does not spread samples of probes of equal length and is taken out first; where the
    samples spread much less than Gaussian ones would, the signs cancel a large diagonal, and its size says nothing.
    """
    k = min(len(samples), _COLUMNS)
    if k < _ENOUGH:
        return {}
    centre = 0.0 if sampler.probe == "gaussian" else samples.mean() / d
    B = (W - _like(centre, W) * V)[:, :k]
    if np.var(samples) < 0.1 * 2 * np.mean(_arrays.column_dots(B, B).real):
        return {}
    return {"effective_rank": effective_rank(B)}


def _like(x, W):
    """A number in the kind, real or complex, of the array it multiplies."""
    return complex(x) if np.issubdtype(_arrays.dtype_of(W), np.complexfloating) else float(np.real(x))
