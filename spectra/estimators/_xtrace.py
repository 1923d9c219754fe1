"""XTrace and XNysTrace: every probe serves the basis and, left out of it, tests what the others missed.

With Y = A Ω for k probes ω_1 ... ω_k, Q_i an orthonormal basis of Y without its column i, and P_i = I - Q_i Q_i^H,

    t_i = tr Q_i^H A Q_i + (n - k + 1) (P_i ω_i)^H A (P_i ω_i) / |P_i ω_i|²

has mean tr A, and XTrace is the mean of the t_i. For positive semi-definite A the Nyström approximation
Y (Ω^H Y)^+ Y^H takes the place of the basis and saves its k products. Either way Q_i differs from Q by one vector of
the dual basis of Y, so all t_i come from k-by-k matrices.

The t_i are not independent, for each is tested against a basis that the others built. Their covariance can be had
without more products. Let t_i|j leave probe j out as well, D_ij = t_i - t_i|j, and fix the other probes. Given ω_j,
both t_i and t_i|j have mean tr A, so D_ij has no main effect of ω_j: it is an interaction of ω_i and ω_j, the only part
that t_i can share with t_j, and a main effect of ω_i, which has nothing in common with D_ji. Hence

    cov(t_i, t_j) = E D_ij conj(D_ji),    var(mean) = E [s²/k] + cov,

s² the sample variance of the t_i. The first term alone, the error estimate of the paper, gives a standard error 1.1 to
2.5 times too small; the sum is unbiased.

Reference: Epperly, Tropp and Webber, SIMAX 45 (2024), doi 10.1137/23M1548323.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from spectra import _arrays
from spectra.estimators._sampling import Sampler, beside, extension
from spectra.results import Estimate

_PAIRS = 64  # probes whose pairs estimate the covariance; more would cost more than it tells


def xtrace(sampler: Sampler, totals: Iterable[int]) -> Iterator[Estimate]:
    """After each total number of products, XTrace with half as many probes; no product is made twice."""
    Omega = Y = Q = Z = None
    for total in totals:
        new = sampler.draw((total - sampler.spent) // 2)
        products = sampler.multiply(new)
        columns = extension(Q, products)
        Omega, Y = beside(Omega, new), beside(Y, products)
        Q, Z = beside(Q, columns), beside(Z, sampler.multiply(columns))
        yield _mean(*_leave_one_out(sampler, Omega, Y, Q, Z))


def xnystrace(sampler: Sampler, totals: Iterable[int]) -> Iterator[Estimate]:
    """After each total number of products, XNysTrace with as many probes."""
    Omega = Y = None
    for total in totals:
        new = sampler.draw(total - sampler.spent)
        Omega, Y = beside(Omega, new), beside(Y, sampler.multiply(new))
        yield _mean(*_nystrom_leave_one_out(sampler, Omega, Y))


def _mean(samples, covariance: float) -> Estimate:
    k = len(samples)
    # A negative covariance is noise of its size; as its absolute value it keeps the interval honest.
    stderr = np.sqrt(np.var(samples, ddof=1) / k + abs(covariance)) if k > 1 else np.inf
    return Estimate(samples.mean(), float(stderr), probes=k)


def _covariance(samples, pairs) -> float:
    """Mean of D_ij conj(D_ji) over i != j; ``pairs[i, j] = t_i|j``, its diagonal ignored."""
    k = len(pairs)
    D = samples[:k, None] - pairs
    np.fill_diagonal(D, 0.0)
    return float(np.sum(D * D.T.conj()).real / (k * (k - 1)))


def _leave_one_out(sampler: Sampler, Omega, Y, Q, Z):
    """The t_i of XTrace and the covariance of two of them."""
    left, sigma, right = np.linalg.svd(_wide(_arrays.gram(Q, Y)))
    rank = int(np.sum(sigma > 4 * sampler.eps * np.sqrt(sampler.n) * sigma[0]))
    basis, sigma, right = left[:, :rank], sigma[:rank, None], right[:rank]
    H = basis.conj().T @ _wide(_arrays.gram(Q, Z)) @ basis
    W = basis.conj().T @ _wide(_arrays.gram(Q, Omega))
    U = _wide(_arrays.gram(Omega, Z)) @ basis
    S, norms = _dual(right / sigma, right, sampler.eps)

    C = W - S * np.sum(S.conj() * W, 0)  # coordinates of the projections: P_i ω_i = ω_i - Q c_i
    B = sigma * right - H @ C  # Q^H A P_i ω_i
    G = U - C.conj().T @ H  # (P_i ω_i)^H A Q
    forms = _arrays.column_dots(Omega, Y) - np.sum(U.T * C, 0) - np.sum(C.conj() * B, 0)
    lengths = _arrays.column_dots(Omega, Omega).real - np.sum(np.abs(C) ** 2, 0)
    captured = np.trace(H) - np.sum(S.conj() * (H @ S), 0)
    d = sampler.n - rank + np.isfinite(norms)
    samples = captured + _weight(sampler, d, lengths) * forms
    if rank < max(len(samples), 2):  # the basis holds all of A, with or without any one probe: the rest is rounding
        return samples, 0.0

    pairs = np.empty((min(rank, _PAIRS),) * 2, samples.dtype)
    for i in range(len(pairs)):
        E, _ = _rest(S[:, : len(pairs)], i)
        x = E.conj().T @ W[:, i]
        inner = np.sum(E.conj() * (H @ E), 0)
        form = forms[i] + x.conj() * (E.conj().T @ B[:, i]) + x * (G[i] @ E) + np.abs(x) ** 2 * inner
        weight = _weight(sampler, d[i] + 1, lengths[i] + np.abs(x) ** 2)
        pairs[i] = captured[i] - inner + weight * form
    return samples, _covariance(samples, pairs)


def _weight(sampler: Sampler, d, lengths):
    """What makes a form of P_i ω_i a sample of the trace on the complement of dimension d."""
    # On the sphere of the complement every direction is as likely, so the length is noise to divide out.
    return d / np.maximum(lengths, sampler.eps * sampler.n) if sampler.probe == "sphere" else 1.0


def _nystrom_leave_one_out(sampler: Sampler, Omega, Y):
    """The t_i of XNysTrace and the covariance of two of them.

    With (Ω^H Y)^+ = U^H U the approximation is F F^H, F = Y U^H. Without probe i it loses its part along column i of
    U, and 1/|u_i|² of ω_i^H A ω_i is left.
    """
    H, metric = _wide(_arrays.gram(Omega, Y)), _wide(_arrays.gram(Omega, Omega))
    R = _wide(_arrays.to_host(_arrays.namespace(Y).linalg.qr(Y)[1]))
    h, vectors = np.linalg.eigh((H + H.conj().T) / 2)
    rounding = 4 * sampler.eps * np.linalg.norm(R, 2) * np.sqrt(np.linalg.norm(metric, 2))
    _require_semidefinite(sampler, h[0], vectors[:, 0], metric, rounding)
    rank, kept = int(np.sum(h > rounding)), h > rounding
    root, right = np.sqrt(h[kept])[:, None], vectors[:, kept].conj().T
    F = R @ right.conj().T / root.T
    S, norms = _dual(right / root, right, sampler.eps)
    weight, pair_weight = _nystrom_weights(sampler, metric)

    captured = np.sum(np.abs(F) ** 2) - np.sum(np.abs(F @ S) ** 2, 0)
    left = norms**-2.0
    samples = captured + weight * left
    if rank < max(len(samples), 2):
        return samples, 0.0

    pairs = np.empty((min(rank, _PAIRS),) * 2)
    for i in range(len(pairs)):
        E, sines = _rest(S[:, : len(pairs)], i)
        pairs[i] = captured[i] - np.sum(np.abs(F @ E) ** 2, 0) + pair_weight[i, : len(pairs)] * left[i] / sines**2
    return samples, _covariance(samples, pairs)


def _nystrom_weights(sampler: Sampler, metric):
    """As `_weight`, for the complement of the other probes themselves: without probe i, and without j as well."""
    k = len(metric)
    if sampler.probe != "sphere":
        return np.ones(k), np.ones((k, k))
    inverse = np.linalg.inv(metric)  # 1 / its diagonal: squared distances of the probes from the span of the others
    own = np.diag(inverse).real
    d = sampler.n - k + 1
    return d * own, (d + 1) * (own[:, None] - np.abs(inverse) ** 2 / own)


def _require_semidefinite(sampler: Sampler, lowest: float, vector, metric, rounding: float):
    if lowest >= -rounding:
        return
    quotient = lowest * sampler.scale / (vector.conj() @ metric @ vector).real
    raise ValueError("xnystrace needs a positive semi-definite operator, but found a Rayleigh quotient of "
                     f"{quotient:.6g}, and an eigenvalue is no larger; use method='xtrace' or 'hutch++', or add "
                     f"a shift, e.g. A.shift({-2 * quotient:.2g})")


def _dual(vectors, rows, eps: float):
    """Unit vectors orthogonal to all columns of Y but one each (in coordinates of its range), and their former lengths.

    `rows` are the right singular vectors. Where the others span a column, leaving it out changes nothing: the vector is
    zero and its length inf.
    """
    essential = np.sum(np.abs(rows) ** 2, 0) > 1 - np.sqrt(eps)
    norms = np.where(essential, np.linalg.norm(vectors, axis=0), np.inf)
    return vectors / norms, norms


def _rest(S, i: int):
    """What is orthogonal to column i in the other columns, normalised, and how long it was (column i: 0 and 1)."""
    E = S - np.outer(S[:, i], S[:, i].conj() @ S)
    E[:, i] = 0.0
    sines = np.linalg.norm(E, axis=0)
    sines[sines == 0] = 1.0
    return E / sines, sines


def _wide(x):
    """A small matrix in double precision."""
    return x.astype(np.result_type(x, np.float64))
