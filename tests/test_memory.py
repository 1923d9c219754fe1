"""Estimators keep to the memory they are given: peaks of what NumPy allocates, on an operator that allocates little."""

import tracemalloc

import numpy as np
import pytest

import spectra
from spectra import graphs, krylov
from spectra.estimators import _density, _diagonal, _moments, _sum, _trace

N = 40_000
VECTOR = 8 * N
BUDGET = 20 * VECTOR
COLUMNS = 24  # of right-hand sides, which with their solutions are not counted


class Scaling(spectra.LinearOperator):
    """A diagonal matrix that shows its products alone."""

    hermitian = psd = _verified = True

    def __init__(self):
        super().__init__((N, N))
        self.d = np.linspace(1.0, 3.0, N)

    def _matmat(self, V):
        return self.d[:, None] * V


def _ring():
    return graphs.normalized_laplacian(np.stack([np.arange(N), np.roll(np.arange(N), 1)], 1))


def _affordable(method):
    return min(48, _trace._room(Scaling(), method, BUDGET))


CASES = {
    "eigenpairs": lambda A, m: spectra.eigenpairs(A, 2, tol=0.5, maxiter=1, rng=0, memory=m),
    "spectral bounds": lambda A, m: spectra.spectral_bounds(A, steps=16, rng=0, memory=m),
    "matrix function": lambda A, m: krylov.matrix_function(A, np.ones((N, COLUMNS)), np.sqrt, steps=4, memory=m),
    "cg": lambda A, m: krylov.cg(A, np.ones((N, COLUMNS)) + np.eye(N, COLUMNS), tol=0.5, memory=m),
    "egs": lambda A, m: graphs.egs(_RING[0], moments=4, probes=48, rng=0, memory=m),
    "cluster count": lambda A, m: graphs.egs_cluster_count(_RING[0], method="lanczos", moments=8, probes=48, rng=0,
                                                           memory=m),
}
_RING: list = []
for _name in _trace.METHODS.keys() - {"exact"}:
    CASES[f"trace, {_name}"] = lambda A, m, name=_name: spectra.trace(A, method=name, matvecs=_affordable(name), rng=0,
                                                                      memory=m)
for _name in _diagonal.METHODS.keys() - {"exact"}:
    CASES[f"diagonal, {_name}"] = lambda A, m, name=_name: spectra.diagonal(A, method=name, matvecs=48, rng=0, memory=m)
for _name in _sum.METHODS.keys() - {"exact"}:
    CASES[f"spectral_sum, {_name}"] = lambda A, m, name=_name: spectra.spectral_sum(
        A, np.sqrt, method=name, probes=24, steps=3, support=(1, 3), rng=0, memory=m)
    CASES[f"logdet, {_name}"] = lambda A, m, name=_name: spectra.logdet(A, method=name, matvecs=100, rng=0, memory=m)
for _name in _density.DENSITIES:
    CASES[f"spectral_density, {_name}"] = lambda A, m, name=_name: spectra.spectral_density(
        A, method=name, probes=24, steps=3, support=(1, 3), rng=0, memory=m)
for _name in _moments.BASES:
    CASES[f"moments, {_name}"] = lambda A, m, name=_name: spectra.moments(A, 4, basis=name, probes=48, support=(1, 3),
                                                                          rng=0, memory=m)

BESIDE = {"matrix function": 2 * COLUMNS, "cg": 2 * COLUMNS, "diagonal": 6, "egs": 20, "cluster count": 20}
"""Vectors that the budget does not count: what is given, and what is returned; of a graph, its matrix."""


def peak(case, memory) -> int:
    A = Scaling()
    if not _RING:
        _RING.append(_ring())
    tracemalloc.start()
    try:
        CASES[case](A, memory)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore::spectra.ConvergenceWarning")
@pytest.mark.parametrize("case", sorted(CASES))
def test_an_estimator_keeps_to_its_budget(case):
    beside = next((vectors for name, vectors in BESIDE.items() if case.startswith(name)), 0)
    assert peak(case, BUDGET) <= 1.2 * BUDGET + beside * VECTOR + 2e6  # and what is small


@pytest.mark.filterwarnings("ignore::spectra.ConvergenceWarning")
@pytest.mark.parametrize("case", ["trace, hutchinson", "spectral_density, block-slq", "moments, chebyshev"])
def test_without_one_the_same_calls_take_much_more(case):
    assert peak(case, None) > 4 * BUDGET


def test_the_default_is_a_gibibyte_and_no_more_than_a_quarter_of_what_is_free(monkeypatch):
    from spectra import _arrays

    assert _arrays.allowance(10) == 10
    monkeypatch.setattr(_arrays, "_free", lambda like: 2.0**40)
    assert _arrays.allowance(None) == 2**30
    monkeypatch.setattr(_arrays, "_free", lambda like: 2.0**30)
    assert _arrays.allowance(None) == 2**28
