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
_COLUMNS = 32  # as many of them are looked at: their Gram matrix must stay cheap beside the products
_GROWTH = 1 / 2  # what doubling the basis must leave of the variance, at most, to be done again


def hutchinson(sampler: Sampler, totals: Iterable[int]) -> Iterator[Estimate]:
    """After each total number of products, the mean of ``v^H A v`` over as many probes."""
    samples, rank = np.empty(0), {}
    for total in totals:
        for k in sampler.groups(total - len(samples), 4):
            V = sampler.draw(k)
            W = sampler.multiply(V)
            new = _arrays.column_dots(V, W)
            if not len(samples):
                rank = _spread_rank(_centred(sampler, None, V, W, new), new)
            samples = np.concatenate([samples, new])
        yield Estimate(samples.mean(), standard_error(samples), probes=len(samples), details=rank)


def hutchpp(sampler: Sampler, totals: Iterable[int]) -> Iterator[Estimate]:
    """After each total number of products, Hutch++ with a third of them in the basis.

    At later totals the basis grows, and new probes replace those that met the smaller one, as long as growing has
    paid; then there are only more probes.
    """
    Q = Z = None
    captured, samples, rank = 0.0, np.empty(0), {}
    energy = before = np.inf  # ‖P A P‖_F², with this basis and with the one before
    for total in totals:
        left = total - sampler.spent
        k = _basis_size(sampler, left, 0 if Q is None else Q.shape[1])
        if k and (energy <= _GROWTH * before or before == np.inf):
            new = extension(Q, sampler.multiply(sampler.draw(k)))
            Q, Z = beside(Q, new), beside(Z, sampler.multiply(new))
            captured = _arrays.column_dots(Q, Z).sum()
            before, samples = energy, np.empty(0)
            left -= 2 * k
        fresh, energy, rank = _residual_samples(sampler, Q, Z, left)
        samples = np.concatenate([samples, fresh])
        yield Estimate(captured + samples.mean(), standard_error(samples), probes=len(samples),
                       details=rank | {"basis": 0 if Q is None else Q.shape[1]})


def _basis_size(sampler: Sampler, products: int, present: int) -> int:
    """Columns to add to the basis with so many products: a third, leaving two probes at least, within memory."""
    return max(min((products - 2) // 3, sampler.room(6) - present), 0)


def _residual_samples(sampler: Sampler, Q, Z, count: int):
    """Samples of tr P A P, and ‖P A P‖_F² and its effective rank as the first group sees them."""
    samples, energy, rank = [], np.inf, {}
    d = sampler.n - (0 if Q is None else Q.shape[1])
    for k in sampler.groups(count, 6, kept=2 * (sampler.n - d)):
        V = off(Q, sampler.draw(k))
        W = sampler.multiply(V)
        # On the sphere of the complement every direction is as likely, so the length of P v is noise to divide out:
        # then a multiple of the identity has no variance at all.
        weight = d / _arrays.column_dots(V, V).real if sampler.probe == "sphere" else 1.0
        samples.append(weight * _arrays.column_dots(V, W))
        if len(samples) == 1 and not _is_rounding(sampler, V, W, Z):
            B = _centred(sampler, Q, V, W, samples[0])
            energy, rank = _energy(B), _spread_rank(B, samples[0])
    return np.concatenate(samples), energy, rank


def _is_rounding(sampler, V, W, Z) -> bool:
    """Whether A P v is no more than the rounding of what A Q left: the basis holds all of A."""
    if Z is None:
        return False
    size = _arrays.column_norms(Z).max() * _arrays.column_norms(V).max()
    return _arrays.column_norms(W).max() <= 100 * sampler.eps * np.sqrt(sampler.n) * size


def _centred(sampler, Q, V, W, samples):
    """P W, the first columns, less what a multiple of the identity gives: it does not spread samples of probes of equal
    length."""
    k = min(len(samples), _COLUMNS)
    V, W = V[:, :k], off(Q, W[:, :k])
    if sampler.probe == "gaussian":
        return W
    centre = samples.mean() / (sampler.n - (0 if Q is None else Q.shape[1]))
    is_complex = np.issubdtype(_arrays.dtype_of(W), np.complexfloating)
    return W - (complex(centre) if is_complex else float(np.real(centre))) * V


def _energy(B) -> float:
    return float(np.mean(_arrays.column_dots(B, B).real))


def _spread_rank(B, samples) -> dict:
    """Number of eigenvalues behind the spread of the samples, or nothing where it cannot be told.

    Where they spread much less than Gaussian ones would, the signs cancel a large diagonal, and its size says nothing.
    """
    if len(samples) < _ENOUGH or np.var(samples) < 0.1 * 2 * _energy(B):
        return {}
    return {"effective_rank": effective_rank(B)}
