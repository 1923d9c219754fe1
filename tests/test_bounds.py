"""Bounds of the spectrum: safe for every spectrum, every start that chance allows, every library, every scale."""

import numpy as np
import pytest
from hypothesis import given
from libraries import MATRICES
from scipy import sparse
from strategies import from_spectrum, hermitian

from spectra import LinearOperator
from spectra.krylov import LanczosRun, _bounds
from spectra.krylov._bounds import FAILURE, smallest_component, spectral_bounds
from spectra.operators import Diagonal, aslinearoperator

N = 400
_LINE = np.linspace(0.0, 1.0, N)
GALLERY = {
    "uniform": _LINE,
    "indefinite": 2 * _LINE - 1,
    "dense edges": np.cos(np.pi * _LINE),
    "sparse edges": np.sign(_LINE - 0.5) * np.abs(2 * _LINE - 1) ** 3,
    "geometric": np.geomspace(1e-8, 1.0, N),
    "one outlier": np.append(_LINE[1:], 10.0),
    "near outlier": np.append(_LINE[1:], 1.1),
    "power law": 1.0 / np.arange(1, N + 1),
    "clusters": np.repeat(np.linspace(0.0, 1.0, 10), N // 10) + 1e-6 * _LINE,
    "pair on top": np.append(_LINE[2:], [2.0, 2.0001]),
    "rank 5": np.append(np.zeros(N - 5), [1.0, 2.0, 3.0, 4.0, 5.0]),
    "rank 1": np.append(np.zeros(N - 1), 1.0),
    "two values": np.repeat([0.0, 1.0], N // 2),
    "identity": np.ones(N),
    "minus identity": -np.ones(N),
    "zero": np.zeros(N),
}
ENDS_EARLY = ("rank 5", "rank 1", "two values", "identity", "minus identity", "zero")
DTYPES = (np.float64, np.float32, np.complex128)


def operator(eigenvalues, dtype=np.float64) -> Diagonal:
    """In exact arithmetic a Gaussian start does not tell a diagonal matrix from one with other eigenvectors."""
    op = Diagonal(eigenvalues.astype(dtype))
    op.psd = False  # so that 0 is not known to be a bound
    return op


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", GALLERY)
@pytest.mark.parametrize("steps", [30, 7])
def test_every_eigenvalue_lies_inside(name, dtype, steps):
    eigenvalues = GALLERY[name].astype(dtype).real.astype(float)
    for seed in range(5):
        lo, hi = spectral_bounds(operator(GALLERY[name], dtype), steps=steps, rng=seed)
        assert lo <= eigenvalues.min() and eigenvalues.max() <= hi


@pytest.mark.parametrize("name", GALLERY)
def test_bounds_are_not_wasteful(name):
    """At most 12 % of the spread at either end with 30 steps; nothing where the recurrence ends."""
    eigenvalues = GALLERY[name]
    lo, hi = spectral_bounds(operator(eigenvalues), rng=0)
    waste = 1e-11 * np.abs(eigenvalues).max() if name in ENDS_EARLY else 0.12 * np.ptp(eigenvalues)
    assert hi - eigenvalues.max() <= waste and eigenvalues.min() - lo <= waste


def test_an_isolated_end_is_met_to_rounding():
    assert spectral_bounds(operator(GALLERY["one outlier"]), rng=0)[1] == pytest.approx(10.0, rel=1e-12)


def unlucky_start(eigenvalues):
    """A start vector whose component along the top eigenvector is the least that the probability admits."""
    delta = smallest_component(operator(eigenvalues), FAILURE / 2)
    v = np.random.default_rng(1).standard_normal(N)
    top = np.argmax(eigenvalues)
    v[top] = 0.0
    v *= np.sqrt(1 - delta**2) / np.linalg.norm(v)
    v[top] = delta
    return v[:, None]


UNIQUE_TOP = [name for name in GALLERY if np.sum(GALLERY[name] == GALLERY[name].max()) == 1]


@pytest.mark.parametrize("name", UNIQUE_TOP)
@pytest.mark.parametrize("steps", [7, 30, 60])
def test_safe_for_the_worst_start_that_the_probability_admits(name, steps, monkeypatch):
    """The claim itself: wherever the component is delta or more, the bound holds."""
    starts = [unlucky_start(GALLERY[name])]
    draw = _bounds._arrays.gaussians
    monkeypatch.setattr(_bounds._arrays, "gaussians", lambda *args: starts.pop() if starts else draw(*args))
    _, hi = spectral_bounds(operator(GALLERY[name]), steps=steps, rng=0)
    assert not starts and GALLERY[name].max() <= hi


def test_a_ritz_value_plus_its_residual_is_no_bound():
    """Why there is more to it: from the same start this popular bound falls short, by a lot."""
    eigenvalues = GALLERY["near outlier"]
    run = LanczosRun(operator(eigenvalues), unlucky_start(eigenvalues))
    run.advance(20)
    T = np.diag(run.alpha[0]) + np.diag(run.beta[0, :-1], 1) + np.diag(run.beta[0, :-1], -1)
    theta, Y = np.linalg.eigh(T)
    assert theta[-1] + run.beta[0, -1] * abs(Y[-1, -1]) < eigenvalues.max() - 0.05


def test_the_end_is_where_the_orthonormal_polynomial_reaches_one_over_delta():
    run = LanczosRun(operator(GALLERY["uniform"]), np.random.default_rng(0).standard_normal(N))
    run.advance(8)
    alpha, beta = run.alpha[0], run.beta[0]
    top, end = _bounds._end(alpha, beta, 1e-3)
    now, before = 1.0, 0.0
    for j in range(8):
        now, before = ((end - alpha[j]) * now - (beta[j - 1] if j else 0.0) * before) / beta[j], now
    assert now == pytest.approx(1e3, rel=1e-8)
    assert top == pytest.approx(np.linalg.eigvalsh(np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1))[-1])


@pytest.mark.parametrize("probability", [0.3, 1e-3, 1e-6])
def test_smallest_component_follows_the_law_of_random_directions(probability):
    """In the plane the angle is uniform; a complex component of order n has P(|g|^2 < t) = 1 - (1 - t)^(n-1)."""
    plane = smallest_component(operator(np.ones(2)), probability)
    assert 2 / np.pi * np.arcsin(plane) == pytest.approx(probability, rel=1e-9)
    delta = smallest_component(operator(np.ones(50), np.complex128), probability)
    assert -np.expm1(49 * np.log1p(-(delta**2))) == pytest.approx(probability, rel=1e-9)


def test_more_starts_admit_larger_components():
    """Two starts miss a direction together with the product of their probabilities."""
    assert smallest_component(operator(_LINE), 1e-6, 2) == smallest_component(operator(_LINE), 1e-3)


@given(case=hermitian())
def test_small_orders_are_exact(case):
    op = aslinearoperator(case.A)
    lo, hi = spectral_bounds(op)
    assert lo <= case.eigenvalues[0] + 1e-14 * case.size and case.eigenvalues[-1] - 1e-14 * case.size <= hi
    assert [lo, hi] == pytest.approx([case.eigenvalues[0], case.eigenvalues[-1]], abs=1e-12 * case.size)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rounding_does_not_cut_the_end_off(dtype):
    """The matrix of ones has the eigenvalues 0 and n, exactly; factorisations miss them by a rounding or two."""
    for n in range(2, 60):
        for sign in (1, -1):
            lo, hi = spectral_bounds(sign * np.ones((n, n), dtype), rng=n)
            assert lo <= min(0, sign * n) and max(0, sign * n) <= hi


def test_gershgorin_helps_where_entries_are_stored():
    A = sparse.diags_array([np.full(N - 1, -1.0), np.full(N, 2.0), np.full(N - 1, -1.0)], offsets=[-1, 0, 1]).tocsr()
    lo, hi = spectral_bounds(A, rng=0)
    assert lo == pytest.approx(0.0, abs=1e-13) and hi == pytest.approx(4.0, abs=1e-12)
    assert lo <= 2 - 2 * np.cos(np.pi / (N + 1)) and hi >= 2 + 2 * np.cos(np.pi / (N + 1))


def test_claims_are_bounds():
    op = Diagonal(_LINE + 0.5)
    assert op.psd and 0 <= spectral_bounds(op, steps=4, rng=0)[0] <= 0.5
    op.lower_bound = 0.4
    assert spectral_bounds(op, steps=4, rng=0)[0] == 0.4


def test_a_claim_that_a_ritz_value_contradicts_is_refused():
    op = operator(GALLERY["indefinite"])
    op.psd = True
    with pytest.raises(ValueError, match=r"claims to be positive semi-definite, but a Ritz value is -0\.99"):
        spectral_bounds(op, rng=0)
    op.psd, op.lower_bound = False, -0.5
    with pytest.raises(ValueError, match=r"no eigenvalue lies below -0\.5, but a Ritz value is -0\.99"):
        spectral_bounds(op, rng=0)


@pytest.mark.parametrize("name", ["uniform", "rank 1", "identity"])
@pytest.mark.parametrize("steps", [1, 2, 30])
def test_products_stay_within_the_steps(name, steps):
    op = operator(GALLERY[name])
    spectral_bounds(op, steps=steps, rng=0)
    assert 1 <= op.matvecs <= steps


@pytest.mark.parametrize("name", GALLERY)
def test_safe_without_room_for_the_basis(name, monkeypatch):
    monkeypatch.setattr(_bounds._arrays, "MEMORY", 1)
    for seed in range(3):
        lo, hi = spectral_bounds(operator(GALLERY[name]), steps=60, rng=seed)
        assert lo <= GALLERY[name].min() and GALLERY[name].max() <= hi


@pytest.mark.parametrize("dtype, scale", [(np.float64, 1e150), (np.float64, 1e-150), (np.float32, 1e15),
                                          (np.float32, 1e-15)])
@pytest.mark.parametrize("name", ["indefinite", "one outlier", "two values"])
def test_scaling_changes_nothing_but_the_scale(name, dtype, scale):
    plain = np.array(spectral_bounds(operator(GALLERY[name], dtype), rng=3))
    scaled = np.array(spectral_bounds(operator(GALLERY[name] * scale, dtype), rng=3))
    assert scaled / scale == pytest.approx(plain, abs=(1e-9 if dtype == np.float64 else 1e-3) * np.abs(plain).max())


@pytest.mark.parametrize("library", MATRICES)
@pytest.mark.parametrize("n", [20, 200])
def test_one_seed_gives_one_answer_on_every_library(library, n):
    A = from_spectrum(np.linspace(-1.0, 2.0, n)).A
    assert spectral_bounds(MATRICES[library](A), rng=5) == pytest.approx(spectral_bounds(A, rng=5), rel=1e-10)


def test_answers_are_plain_floats():
    assert [type(x) for x in spectral_bounds(MATRICES["strict"](np.eye(3)))] == [float, float]


def test_what_cannot_be_answered_is_refused_by_name():
    with pytest.raises(ValueError, match="needs a Hermitian operator"):
        spectral_bounds(np.triu(np.ones((3, 3))))
    with pytest.raises(ValueError, match="steps >= 1, found 0"):
        spectral_bounds(np.eye(3), steps=0)


@pytest.mark.parametrize("n", [5, 100])
def test_a_product_that_turns_nan_is_named(n):
    class Fails(LinearOperator):
        hermitian, _verified, shape = True, True, (n, n)

        def _matmat(self, V):
            return np.full_like(V, np.nan)

    with pytest.raises(ValueError, match="returned NaN or Inf"):
        spectral_bounds(Fails())
