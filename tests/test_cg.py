"""Block conjugate gradients: against dense solves, against the minimisers they should be, and against bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from libraries import MATRICES, move
from scipy import sparse
from strategies import from_spectrum, hermitian

import spectra
from spectra import LinearOperator
from spectra.krylov._cg import cg
from spectra.operators import aslinearoperator

N = 120
GALLERY = {
    "uniform": np.linspace(0.01, 1.0, N),
    "geometric": np.geomspace(1e-4, 1.0, N),
    "outliers": np.append(np.linspace(1.0, 2.0, N - 3), [1e2, 1e4, 1e6]),
    "clusters": np.repeat([1.0, 2.0, 3.0, 10.0], N // 4) + 1e-9 * np.arange(N),
    "four values": np.repeat([1.0, 2.0, 3.0, 10.0], N // 4),
    "identity": np.ones(N),
}


class Scaling:
    """Solves with the diagonal matrix of these entries."""

    def __init__(self, d):
        self.d = d

    def solve(self, V):
        return V / self.d[:, None]


class Matrix:
    """Solves with a dense matrix."""

    def __init__(self, P):
        self.P = P

    def solve(self, V):
        return np.linalg.solve(self.P, V)


def right_hand_sides(n=N, k=5, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    B = rng.standard_normal((n, k))
    return (B + 1j * rng.standard_normal((n, k)) if np.issubdtype(dtype, np.complexfloating) else B).astype(dtype)


def residuals(A, X, B):
    wide = np.result_type(A.dtype, np.float64)
    X, B = np.asarray(X).astype(wide), np.asarray(B).astype(wide)
    return np.linalg.norm(B - A.astype(wide) @ X, axis=0) / np.linalg.norm(B, axis=0)


# A condition number of 1e6 leaves single precision no digit of the residual that is asked for.
WITHIN_REACH = [(name, dtype) for name in GALLERY for dtype in (np.float64, np.float32, np.complex128)
                if (name, dtype) != ("outliers", np.float32)]


@pytest.mark.parametrize("name, dtype", WITHIN_REACH)
@pytest.mark.parametrize("k", [1, 5])
def test_every_kind_of_spectrum(name, dtype, k):
    A = from_spectrum(GALLERY[name], seed=1, complex_entries=dtype == np.complex128).A.astype(dtype)
    B = right_hand_sides(k=k, dtype=dtype)
    found = cg(A, B)
    tol = float(np.sqrt(np.finfo(dtype).eps))
    assert found.solution.dtype == dtype
    assert residuals(A, found.solution, B).max() <= 1.01 * tol
    assert found.residuals == pytest.approx(residuals(A, found.solution, B), abs=tol / 10)


@given(case=hermitian(kinds=["geometric", "outlier", "identity"]), k=st.integers(1, 4), power=st.integers(-3, 3))
def test_small_orders(case, k, power):
    n = len(case.A)
    A = case.A + 1e-3 * case.size * np.eye(n)
    B = 10.0**power * right_hand_sides(n, k)
    found = cg(A, B, tol=1e-10)
    assert found.solution == pytest.approx(np.linalg.solve(A, B), rel=1e-6, abs=1e-6 * 10.0**power / case.size)


def minimiser(A, B, steps, P=None):
    """The X in the sum of the Krylov spaces of all columns that minimises the error in the norm of A."""
    solve = (lambda V: V) if P is None else lambda V: np.linalg.solve(P, V)
    blocks, block = [], solve(B)
    for _ in range(steps):
        blocks.append(block / np.linalg.norm(block))
        block = solve(A @ block)
    Q = np.linalg.qr(np.concatenate(blocks, 1))[0]
    return Q @ np.linalg.solve(Q.conj().T @ A @ Q, Q.conj().T @ B)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("complex_entries", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_each_step_minimises_the_error_over_the_shared_krylov_space(k, complex_entries, steps):
    A = from_spectrum(GALLERY["uniform"], seed=4, complex_entries=complex_entries).A
    B = right_hand_sides(k=k, dtype=A.dtype)
    with pytest.warns(spectra.ConvergenceWarning):
        found = cg(A, B, maxiter=steps)
    assert found.steps == steps
    assert found.solution == pytest.approx(minimiser(A, B, steps), abs=1e-9)


@pytest.mark.parametrize("complex_entries", [False, True])
def test_and_over_the_preconditioned_one(complex_entries):
    A = from_spectrum(GALLERY["uniform"], seed=4, complex_entries=complex_entries).A
    P = from_spectrum(np.linspace(1.0, 5.0, N), seed=5, complex_entries=complex_entries).A
    B = right_hand_sides(k=3, dtype=A.dtype)
    with pytest.warns(spectra.ConvergenceWarning):
        found = cg(A, B, preconditioner=Matrix(P), maxiter=4)
    assert found.solution == pytest.approx(minimiser(A, B, 4, P), abs=1e-9)


def test_as_many_steps_as_distinct_eigenvalues():
    A = from_spectrum(GALLERY["four values"]).A
    assert cg(A, right_hand_sides(k=1), tol=1e-10).steps == 4


def test_a_shared_space_saves_products():
    A = from_spectrum(np.geomspace(1e-3, 1.0, 250)).A
    B = right_hand_sides(250, 16)
    apart = sum(cg(A, B[:, j]).matvecs for j in range(16))
    assert cg(A, B).matvecs < apart / 2


def test_finished_columns_stop_costing_products():
    case = from_spectrum(np.geomspace(1e-3, 1.0, 400))
    hard = right_hand_sides(400, 1)
    easy = np.linalg.eigh(case.A)[1][:, :15]
    assert cg(case.A, np.concatenate([easy, hard], 1)).matvecs < cg(case.A, hard).matvecs + 150


def test_dependent_columns_cost_one():
    A = from_spectrum(GALLERY["uniform"]).A
    b = right_hand_sides(k=1)
    copies, single = cg(A, b * np.array([[1.0, -2.0, 1e6, 1e-6]])), cg(A, b)
    assert copies.steps == single.steps
    assert copies.matvecs <= single.matvecs + 6
    assert copies.solution / np.array([1.0, -2.0, 1e6, 1e-6]) == pytest.approx(np.tile(single.solution, 4), rel=1e-6)


def test_zero_columns_are_solved_by_zero():
    A = from_spectrum(GALLERY["uniform"]).A
    B = right_hand_sides(k=3)
    B[:, 1] = 0.0
    found = cg(A, B)
    assert not found.solution[:, 1].any() and found.residuals[1] == 0.0
    assert residuals(A, found.solution[:, [0, 2]], B[:, [0, 2]]).max() < 2e-8
    nothing = cg(A, np.zeros(N))
    assert not nothing.solution.any() and nothing.steps == 0 and nothing.matvecs == 0


def test_more_columns_than_rows_and_more_than_a_group():
    A = np.diag([1.0, 2.0])
    B = right_hand_sides(2, 16)
    assert cg(A, B).solution == pytest.approx(B / [[1.0], [2.0]])
    C = from_spectrum(GALLERY["uniform"]).A
    many = right_hand_sides(k=70)
    assert residuals(C, cg(C, many).solution, many).max() < 2e-8


def test_shapes_are_kept_and_inputs_left_alone():
    A = from_spectrum(GALLERY["uniform"]).A
    b = right_hand_sides(k=1)[:, 0]
    b.flags.writeable = False
    A.flags.writeable = False
    assert cg(A, b).solution.shape == (N,)
    assert cg(A, b[:, None]).solution.shape == (N, 1)
    assert cg(A, list(b)).solution == pytest.approx(cg(A, b).solution)


def test_products_are_counted():
    op = aslinearoperator(from_spectrum(GALLERY["uniform"]).A)
    first = cg(op, right_hand_sides())
    assert first.matvecs == op.matvecs
    assert cg(op, right_hand_sides()).matvecs == first.matvecs == op.matvecs / 2


@pytest.mark.parametrize("scale", [1e150, 1e-150, 1e300, 1e-300])
def test_scaling_changes_nothing_but_the_scale(scale):
    A, B = from_spectrum(GALLERY["geometric"]).A, right_hand_sides()
    plain = cg(A, B, tol=1e-10).solution
    assert cg(A * scale, B, tol=1e-10).solution * scale == pytest.approx(plain, rel=1e-4, abs=1e-4)
    assert cg(A, B * scale, tol=1e-10).solution / scale == pytest.approx(plain, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("scale", [1e15, 1e-15])
def test_scaling_in_single_precision(scale):
    A, B = from_spectrum(GALLERY["uniform"]).A, right_hand_sides()
    scaled = (A * scale).astype(np.float32)
    assert residuals(scaled, cg(scaled, B.astype(np.float32)).solution, B.astype(np.float32)).max() < 4e-4


def test_a_solution_out_of_range_is_named():
    with pytest.raises(ValueError, match="leaves the range of float64"):
        cg(1e-300 * np.eye(3), 1e100 * np.ones(3))


@pytest.mark.parametrize("library", MATRICES)
def test_every_library(library):
    A, B = from_spectrum(GALLERY["geometric"]).A, right_hand_sides()
    b = move(B, library)
    found = cg(MATRICES[library](A), b)
    assert type(found.solution) is type(b)
    assert residuals(A, found.solution, B).max() < 2e-8
    preconditioned = cg(MATRICES[library](A), b, preconditioner=Scaling(move(np.full(N, 2.0), library)))
    assert residuals(A, preconditioned.solution, B).max() < 2e-8


def badly_scaled():
    d = np.geomspace(1.0, 1e8, N)
    return np.sqrt(d)[:, None] * from_spectrum(np.linspace(1.0, 2.0, N)).A * np.sqrt(d), d


def test_a_good_preconditioner_saves_steps():
    A, d = badly_scaled()
    found = cg(A, right_hand_sides(), preconditioner=Scaling(d))
    assert found.steps < 20 and residuals(A, found.solution, right_hand_sides()).max() < 2e-8


def test_the_perfect_preconditioner_needs_one_step():
    A = from_spectrum(GALLERY["geometric"]).A
    assert cg(A, right_hand_sides(), preconditioner=Matrix(A)).steps == 1


def test_the_scale_of_a_preconditioner_does_not_matter():
    A, d = badly_scaled()
    plain = cg(A, right_hand_sides(), preconditioner=Scaling(d))
    for scale in (1e-200, 1e200):
        scaled = cg(A, right_hand_sides(), preconditioner=Scaling(scale * d))
        assert scaled.solution == pytest.approx(plain.solution, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("bad", [-np.ones(N), np.append(np.ones(N - 1), -1e-3), np.full(N, np.nan)])
def test_a_preconditioner_that_is_not_positive_definite_is_named(bad):
    with pytest.raises(ValueError, match="needs a positive definite preconditioner"):
        cg(from_spectrum(GALLERY["uniform"]).A, right_hand_sides(), preconditioner=Scaling(bad))


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("eigenvalues", [np.linspace(-1.0, 1.0, N), np.append(np.full(N - 1, 2.0), -0.5), -np.ones(N)])
def test_negative_curvature_is_named_with_its_remedy(k, eigenvalues):
    with pytest.raises(ValueError, match=r"found the curvature x'Ax / x'x = -\d.*A\.shift\("):
        cg(from_spectrum(eigenvalues).A, right_hand_sides(k=k))


def test_the_zero_matrix_is_refused():
    with pytest.raises(ValueError, match="curvature x'Ax / x'x = 0"):
        cg(np.zeros((4, 4)), np.ones((4, 2)))


def test_consistent_singular_systems_are_solved():
    """A Laplacian, and right-hand sides that sum to zero on each component."""
    beside, degrees = np.full(39, -1.0), np.concatenate([[1.0], np.full(38, 2.0), [1.0]])
    L = sparse.diags_array([beside, degrees, beside], offsets=[-1, 0, 1])
    B = right_hand_sides(40, 16)
    B -= B.mean(0)
    assert residuals(L.toarray(), cg(L.tocsr(), B).solution, B).max() < 2e-8
    ones = np.ones((6, 6))
    assert cg(ones, np.ones((6, 3))).solution == pytest.approx(np.full((6, 3), 1 / 6))


def test_an_inconsistent_singular_system_is_a_warning_and_no_worse_than_zero():
    with pytest.warns(spectra.ConvergenceWarning, match="relative residual of up to 1"):
        found = cg(np.ones((6, 6)), np.array([1.0, -1.0, 2.0, 0.0, 0.0, 1.0]))
    assert np.all(np.isfinite(found.solution)) and found.residuals[0] <= 1.0


def test_too_few_steps_are_a_warning_with_the_residual():
    A, B = from_spectrum(GALLERY["geometric"]).A, right_hand_sides()
    with pytest.warns(spectra.ConvergenceWarning, match=r"after 3 steps with 5 of 5 columns .* asked for 1\.5e-08"):
        found = cg(A, B, maxiter=3)
    assert found.residuals == pytest.approx(residuals(A, found.solution, B))


def test_close_to_what_rounding_allows():
    """Single precision at a condition number of 1e3: the recurrence drifts, and starting afresh makes up for it."""
    A, B = from_spectrum(np.geomspace(1e-3, 1.0, 200), seed=5).A.astype(np.float32), right_hand_sides(200, 4)
    assert cg(A, B, tol=1.5e-5).residuals.max() <= 1.5e-5


def test_more_than_rounding_allows_is_a_warning():
    A, B = from_spectrum(np.geomspace(1e-7, 1.0, 60)).A, right_hand_sides(60, 3)
    with pytest.warns(spectra.ConvergenceWarning, match="rounding allows no less"):
        found = cg(A, B, tol=1e-15)
    assert found.residuals.max() < 1e-8  # and yet the best there is
    assert found.steps < 600


@pytest.mark.parametrize("B, error, message", [
    (np.ones((4, 2)), ValueError, r"shape \(3, k\), k > 0, or \(3,\), found \(4, 2\)"),
    (np.ones((3, 0)), ValueError, r"found \(3, 0\)"),
    (np.array([1.0, np.nan, 0.0]), ValueError, "NaN or Inf"),
    (np.array([1.0, np.inf, 0.0]), ValueError, "NaN or Inf"),
    (np.ones(3, complex), TypeError, "block is complex and the operator real"),
])
def test_bad_right_hand_sides_are_named(B, error, message):
    with pytest.raises(error, match=message):
        cg(np.eye(3), B)


def test_an_array_of_another_library_is_named():
    with pytest.raises(TypeError, match="array of the operator's library"):
        cg(MATRICES["strict"](np.eye(3)), np.ones(3))


@pytest.mark.parametrize("options", [{"tol": 0.0}, {"tol": 1.0}, {"maxiter": 0}])
def test_bad_limits_are_named(options):
    with pytest.raises(ValueError, match="0 < tol < 1 and maxiter > 0"):
        cg(np.eye(3), np.ones(3), **options)


def test_an_operator_that_is_not_hermitian_is_refused():
    with pytest.raises(ValueError, match="needs a Hermitian operator"):
        cg(np.triu(np.ones((3, 3))), np.ones(3))


def test_a_product_that_turns_nan_is_named():
    class Fails(LinearOperator):
        hermitian, _verified, shape = True, True, (9, 9)

        def _matmat(self, V):
            return np.full_like(V, np.nan)

    with pytest.raises(ValueError, match="returned NaN or Inf"):
        cg(Fails(), np.ones(9))
