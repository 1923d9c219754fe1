"""Operators: every pair (operator, matrix), and the algebra over all of them, against dense matrices."""

import warnings

import array_api_strict
import numpy as np
import pytest
import scipy.sparse as sp
from cases import PAIRS, Foreign, Opaque, hermitian_matrix, integers, random_matrix, to_torch, torch_csr
from scipy.sparse.linalg import eigsh

import spectra
from spectra import _arrays
from spectra.operators import Diagonal, LinearOperator, aslinearoperator
from spectra.testing import check_operator

ALGEBRA = {
    "2 A": (lambda A: 2 * A, lambda M: 2 * M),
    "A (1 + 2i)": (lambda A: A * (1 + 2j), lambda M: M * (1 + 2j)),
    "-A / 4": (lambda A: -A / 4, lambda M: -M / 4),
    "A + s": (lambda A: A.shift(0.5), lambda M: M + 0.5 * np.eye(len(M))),
    "3 (A - 1) + 2": (lambda A: (3 * A.shift(-1.0)).shift(2.0), lambda M: 3 * M - np.eye(len(M))),
    "A + A": (lambda A: A + A, lambda M: 2 * M),
    "A - A / 2": (lambda A: A - A / 2, lambda M: M / 2),
    "A^H": (lambda A: A.H, lambda M: M.conj().T),
    "A^H A": (lambda A: A.H @ A, lambda M: M.conj().T @ M),
    "A A^H + 1": (lambda A: (A @ A.H).shift(1.0), lambda M: M @ M.conj().T + np.eye(len(M))),
    "(2 A)^H": (lambda A: (A * 2).H, lambda M: 2 * M.conj().T),
}
"""Name -> the same expression in operators and in matrices."""

NO_ADJOINT = ("torch csr", "foreign")  # these do not know theirs, unless they are Hermitian


@pytest.mark.parametrize("name", PAIRS)
def test_every_operator_is_its_matrix(name):
    op, dense = PAIRS[name]()
    check_operator(op, dense)


@pytest.mark.parametrize("expression", ALGEBRA)
@pytest.mark.parametrize("name", PAIRS)
def test_algebra_of_operators_is_that_of_their_matrices(name, expression):
    op, dense = PAIRS[name]()
    on_operators, on_matrices = ALGEBRA[expression]
    if dense.shape[0] != dense.shape[1] and expression in ("A + s", "3 (A - 1) + 2"):
        with pytest.raises(ValueError, match="shift needs a square operator"):
            on_operators(op)
        return
    if "^H" in expression and name.startswith(NO_ADJOINT) and not op.hermitian:
        with pytest.raises(TypeError, match="adjoint"):
            on_operators(op)
        return
    if "2i" in expression and name.startswith(("torch", "subclass on torch", "diagonal on torch", "strict")):
        pytest.skip("a real matrix of another library does not multiply complex blocks")
    found = on_operators(op)
    check_operator(found, on_matrices(dense.astype(np.result_type(dense, op.dtype))))


@pytest.mark.parametrize("left", ["dense", "csr", "torch", "SciPy operator", "subclass", "diagonal"])
@pytest.mark.parametrize("right", ["dense", "csr, complex", "foreign"])
def test_sums_and_products_of_different_kinds(left, right):
    (A, M), (B, N) = PAIRS[left](), PAIRS[right]()
    if "torch" in left:
        pytest.skip("blocks of one library do not go through operators of two")
    n = min(len(M), len(N))
    pick_A, pick_B = (aslinearoperator(np.eye(n, len(X))) for X in (M, N))
    A, B = pick_A @ A @ pick_A.H, pick_B @ B @ pick_B.H
    M, N = M[:n, :n], N[:n, :n]
    check_operator(A + B, M + N)
    check_operator(A @ B, M @ N)


def test_a_vector_and_a_block_go_through_alike():
    A = random_matrix(4, 6)
    op, x = aslinearoperator(A), random_matrix(6, 2, seed=1)
    np.testing.assert_allclose(op @ x[:, 0], A @ x[:, 0], rtol=1e-14)
    np.testing.assert_allclose(op @ x, A @ x, rtol=1e-14)
    np.testing.assert_allclose(op @ [1, 0, 0, 0, 0, 0], A[:, 0], rtol=1e-14)


@pytest.mark.parametrize("x", [np.ones(5), np.ones((4, 2)), np.ones((6, 2, 2)), np.float64(2.0)], ids=np.shape)
def test_blocks_of_the_wrong_shape_are_refused(x):
    with pytest.raises(ValueError, match=r"multiplies arrays of shape \(6,\) or \(6, k\)"):
        aslinearoperator(random_matrix(4, 6)) @ x


# Claims


def test_claims_are_found_out_from_entries():
    A = hermitian_matrix(5)
    assert aslinearoperator(A).hermitian and not aslinearoperator(random_matrix(5, 5)).hermitian
    assert aslinearoperator(hermitian_matrix(5, np.complex128)).hermitian
    assert not aslinearoperator(A + 1j * np.eye(5)).hermitian
    assert aslinearoperator(A * (1 + 1e-16)).hermitian  # to rounding
    assert not aslinearoperator(A + 1e-12 * np.triu(np.ones((5, 5)), 1)).hermitian


@pytest.mark.parametrize("store", [np.asarray, sp.csr_array, torch_csr])
def test_a_claim_that_the_entries_contradict_is_refused(store):
    with pytest.raises(ValueError, match="differs from its conjugate transpose by up to 2"):
        aslinearoperator(store(np.array([[1.0, 2.0], [0.0, 1.0]])), hermitian=True)


def test_claims_are_made_on_a_copy():
    op = Opaque(np.eye(3))
    claimed = aslinearoperator(op, psd=True)
    assert claimed.psd and claimed.hermitian and op.hermitian is None and not op.psd
    check_operator(claimed, np.eye(3))


def test_combinations_inherit_what_follows_and_nothing_else():
    P = aslinearoperator(np.eye(3), psd=True)
    P.lower_bound = 1.0
    assert (2 * P).psd and (2 * P).lower_bound == 2.0
    assert P.shift(1.0).psd and P.shift(1.0).lower_bound == 2.0
    assert not (-P).psd and (-P).lower_bound is None and (-P).hermitian
    assert not P.shift(-2.0).psd and P.shift(-2.0).lower_bound == -1.0
    assert not (P * 1j).hermitian and not P.shift(1j).hermitian
    assert (P + P).psd and not (P + (-P)).psd
    assert not (P @ P).hermitian  # a product of Hermitian operators need not be
    N = aslinearoperator(random_matrix(3, 3))
    assert not (P + N).hermitian and not (2 * N).hermitian


def test_what_is_semidefinite_bounds_what_is_made_of_it():
    """psd alone says that nothing lies below 0; a shift lifts that, a factor scales it, a sum adds."""
    A = np.outer([1.0, 2.0, 2.0], [1.0, 2.0, 2.0])
    P, N = aslinearoperator(A, psd=True), aslinearoperator(-A)
    assert P.shift(0.3).lower_bound == 0.3 and (2 * P.shift(0.3)).lower_bound == 0.6
    assert (P.shift(0.3) + P.shift(0.2)).lower_bound == 0.5
    assert (P + Diagonal(np.array([1.0, 2.0, 3.0]))).lower_bound == 1.0
    assert P.shift(-0.5).lower_bound == -0.5 and not P.shift(-0.5).psd
    assert (P.shift(-0.5) + 0.5 * np.eye(3)).psd is False  # of a stored matrix only its entries are known
    assert P.shift(-0.5).shift(0.5).psd and (P.shift(0.3) + Diagonal(np.full(3, -0.3))).psd
    assert N.shift(0.3).lower_bound is (N + P).lower_bound is (-P).shift(1.0).lower_bound is None
    assert (1j * P).shift(1.0).lower_bound is None
    for op, dense in ((P.shift(0.3), A + 0.3 * np.eye(3)), (2 * P.shift(0.3) + P, 3 * A + 0.6 * np.eye(3)),
                      (Diagonal(np.array([-1.0, 4.0])), np.diag([-1.0, 4.0]))):
        check_operator(op, dense)
        assert op.lower_bound <= np.linalg.eigvalsh(dense)[0] * (1 + 1e-12) + 1e-12


def test_a_shift_of_a_semidefinite_matrix_closes_the_bracket():
    """The noise of a kernel matrix need not be said twice: Gauss-Radau takes it from the shift."""
    x = np.linspace(0, 1, 120)
    A = np.exp(-30 * (x[:, None] - x) ** 2)
    asked = {"method": "slq", "probes": 6, "steps": 8, "rng": 0, "preconditioner": "none"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spectra.ConvergenceWarning)
        known = spectra.logdet(aslinearoperator(A, psd=True).shift(1e-2), **asked)
        said = spectra.logdet(A + 1e-2 * np.eye(120), support=(1e-2, 100.0), **asked)
        unknown = spectra.logdet(A + 1e-2 * np.eye(120), **asked)
    np.testing.assert_allclose(known.bias, said.bias, rtol=1e-6, atol=1e-8)
    assert known.bias != pytest.approx(unknown.bias, rel=1e-3)


# What comes in


@pytest.mark.parametrize(("given", "dtype"), [
    (np.int64, "float64"), (np.int8, "float64"), (np.uint8, "float64"), (bool, "float64"), (np.float16, "float32"),
    (np.float32, "float32"), (np.float64, "float64"), (np.complex64, "complex64"), (np.complex128, "complex128"),
    (">f4", "float32"),
])
def test_entries_are_converted_where_that_is_exact(given, dtype):
    op = aslinearoperator(np.eye(3).astype(given))
    assert op.dtype == np.dtype(dtype) == (op @ np.ones(3, dtype)).dtype


@pytest.mark.parametrize("dtype", [np.longdouble, np.clongdouble, object, "U3", "M8[s]"], ids=str)
def test_other_entries_are_refused_by_name(dtype):
    with pytest.raises(TypeError, match=r"single or double precision, found dtype .*; convert"):
        aslinearoperator(np.zeros((2, 2)).astype(dtype))


@pytest.mark.parametrize("store", [np.asarray, sp.csr_array, array_api_strict.asarray, to_torch, torch_csr])
def test_integers_beyond_the_mantissa_are_refused(store):
    with pytest.raises(TypeError, match=r"beyond 2\*\*53 have no exact float64"):
        aslinearoperator(store(np.array([[2**60, 0], [0, 1]])))


@pytest.mark.parametrize(("thing", "message"), [
    (np.ones(3), "expected a matrix, found an array of shape"), (np.ones((2, 2, 2)), "expected a matrix"),
    (np.float64(1.0), "expected a matrix"), (None, "found NoneType"), ("matrix", "found str"), ({}, "found dict"),
    (np.sin, "found ufunc"), (3.0, "found float"), ([[1, 2], [3]], "inhomogeneous"),
    (np.ma.masked_array(np.eye(2), mask=np.eye(2) > 0), "masked array"),
], ids=str)
def test_what_is_no_matrix_is_refused_by_name(thing, message):
    with pytest.raises((TypeError, ValueError), match=message):
        aslinearoperator(thing)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("store", [np.asarray, sp.csr_array, sp.dia_array, np.ndarray.tolist, array_api_strict.asarray,
                                   lambda A: A.astype(np.float32), lambda A: A * (1 + 0j), torch_csr])
def test_nan_and_inf_stop_at_the_door(store, bad):
    A = np.eye(4)
    A[1, 2] = A[2, 1] = bad
    with np.errstate(invalid="ignore"):
        stored = store(A)
    with pytest.raises(ValueError, match="holds NaN or Inf"):
        aslinearoperator(stored)


def test_the_callers_matrix_is_left_alone():
    data, indices = np.array([1.0, 3.0, 2.0, 2.0]), np.array([1, 0, 1, 1])
    A = sp.csr_array((data, indices, np.array([0, 2, 4])), shape=(2, 2))
    op = aslinearoperator(A)
    np.testing.assert_array_equal(A.data, [1.0, 3.0, 2.0, 2.0])  # neither sorted nor summed
    np.testing.assert_array_equal(A.indices, [1, 0, 1, 1])
    np.testing.assert_array_equal(op.todense(), [[3.0, 1.0], [0.0, 4.0]])
    dense = np.eye(3)
    dense.flags.writeable = False
    check_operator(aslinearoperator(dense), np.eye(3))


def test_a_scipy_operator_that_turns_real_into_complex_is_refused():
    from scipy.sparse.linalg import LinearOperator as ScipyOperator

    op = aslinearoperator(ScipyOperator((3, 3), matvec=lambda v: 1j * v, dtype=float))
    with pytest.raises(TypeError, match="complex128"):
        spectra.trace(op)


# What comes out


def test_to_scipy_serves_its_eigensolver():
    A = hermitian_matrix(60)
    values = eigsh(aslinearoperator(A).to_scipy(), 3, which="LA", return_eigenvectors=False, v0=np.ones(60))
    np.testing.assert_allclose(np.sort(values), np.linalg.eigvalsh(A)[-3:], rtol=1e-10)


@pytest.mark.parametrize("name", ["torch", "torch csr, float64", "strict"])
def test_to_scipy_moves_vectors_there_and_back(name):
    op, dense = PAIRS[name]()
    x = np.arange(float(len(dense)))
    found = op.to_scipy() @ x
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, dense @ x, rtol=1e-13)


def test_products_are_counted_column_by_column_at_every_level():
    inner = Opaque(np.eye(5), hermitian=True)
    outer = (2 * inner).shift(1.0) @ inner
    outer @ np.ones((5, 3))
    outer @ np.ones(5)
    assert outer.matvecs == 4 and inner.matvecs == inner.columns_seen == 8
    assert aslinearoperator(np.eye(3)).todense() is not None and aslinearoperator(np.eye(3)).matvecs == 0
    inner.todense()
    assert inner.matvecs == 13


def test_an_opaque_operator_forms_its_matrix_block_by_block(monkeypatch):
    A = random_matrix(9, 9)
    monkeypatch.setattr(_arrays, "MEMORY", 9 * 8 * 16 * 2)
    op = Opaque(A)
    np.testing.assert_array_equal(op.todense(), A)
    assert op.columns_seen == 9


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
def test_a_step_of_the_recurrence_is_what_it_says(dtype, rng):
    A = hermitian_matrix(30, dtype)
    V, U = random_matrix(30, 3, dtype, 1), random_matrix(30, 3, dtype, 2)
    b, c = np.array([0.5, -1.0, 2.0]), np.array([3.0, 0.0, -1.0])
    expected = 0.3 * (A @ V) + b * V + c * U
    rounding = 200 * np.finfo(dtype).eps
    for op in (aslinearoperator(A), Opaque(A), aslinearoperator(sp.csr_array(A)), 0.5 * (Opaque(A) * 2.0),
               aslinearoperator(A - np.eye(30, dtype=dtype)).shift(1.0)):
        W, vw, ww = op._step(V, U, 0.3, b, c)
        assert W.dtype == dtype
        np.testing.assert_allclose(W, expected, atol=rounding * 10)
        np.testing.assert_allclose(vw, np.einsum("ij,ij->j", V.conj(), expected), atol=rounding * 100)
        np.testing.assert_allclose(ww, np.einsum("ij,ij->j", expected.conj(), expected).real, atol=rounding * 100)
        assert op.matvecs == 3


@pytest.mark.parametrize(("build", "error"), [
    (lambda A: A + np.eye(3), ValueError), (lambda A: A @ aslinearoperator(np.eye(3)), ValueError),
    (lambda A: A * np.nan, TypeError), (lambda A: A.shift(np.inf), TypeError), (lambda A: A * np.ones(2), TypeError),
    (lambda A: A * "2", TypeError), (lambda A: A / 0.0, (TypeError, ZeroDivisionError)),
])
def test_algebra_that_makes_no_sense_is_refused(build, error):
    with pytest.raises(error):
        build(aslinearoperator(np.eye(2)))


@pytest.mark.parametrize("d", [np.eye(2), 3.0, [1.0, 2.0], np.array([1.0, np.nan])], ids=str)
def test_a_diagonal_needs_finite_entries_in_a_row(d):
    with pytest.raises(ValueError, match="Diagonal needs"):
        Diagonal(d)


# The check itself


class Liar(LinearOperator):
    """The matrix of ones, with one lie."""

    shape, hermitian = (4, 4), True

    def __init__(self, **lies):
        super().__init__()
        self.calls = 0
        for name, value in lies.items():
            setattr(self, name, value)

    def _matmat(self, V):
        self.calls += 1
        return np.ones((4, 4)) @ V


def _written(V):
    W = np.ones((4, 4)) @ V
    V[:] = 0.0
    return W


COUNTER = iter(range(10**6))

LIES = {
    "its shape": (lambda: Liar(_matmat=lambda V: np.ones((3, 4)) @ V), ValueError, "must return an array of shape"),
    "its dtype": (lambda: Liar(dtype=np.dtype("float32")), AssertionError, "must have dtype float32"),
    "linearity": (lambda: Liar(_matmat=lambda V: np.ones((4, 4)) @ np.abs(V)), AssertionError, "differs from 2Ax"),
    "repeatability": (lambda: Liar(_matmat=lambda V: np.ones((4, 4)) @ V * next(COUNTER)), AssertionError, "repeating"),
    "one column": (lambda: Liar(_matmat=lambda V: V.shape[1] * V.sum(0) * np.ones((4, 1))), AssertionError,
                   "one column differs"),
    "writing": (lambda: Liar(_matmat=_written), AssertionError, "overwrites"),
    "hermitian": (lambda: Liar(_matmat=lambda V: np.triu(np.ones((4, 4))) @ V), AssertionError, "differ by"),
    "psd": (lambda: Liar(_matmat=lambda V: -V, psd=True), AssertionError, "psd is claimed, but"),
    "psd alone": (lambda: Liar(hermitian=False, psd=True, _adjoint=lambda: Liar()), AssertionError, "claim both"),
    "lower bound": (lambda: Liar(lower_bound=5.0), AssertionError, "lower_bound is 5"),
    "columns": (lambda: Liar(columns=lambda indices: np.zeros((4, len(indices)))), AssertionError, r"columns\(\)"),
    "diagonal": (lambda: Liar(diagonal=lambda: np.zeros(4)), AssertionError, r"diagonal\(\)"),
    "frobenius": (lambda: Liar(frobenius_norm=lambda: 3.0), AssertionError, "frobenius_norm"),
    "adjoint": (lambda: Liar(hermitian=False, _adjoint=lambda: aslinearoperator(2 * np.ones((4, 4)))), AssertionError,
                "differ by"),
}


@pytest.mark.parametrize("lie", LIES)
def test_check_operator_finds_every_lie(lie):
    make, error, message = LIES[lie]
    with pytest.raises(error, match=message):
        check_operator(make(), np.ones((4, 4)))


def test_check_operator_finds_the_wrong_matrix():
    check_operator(Liar(), np.ones((4, 4)))
    with pytest.raises(AssertionError, match="not the matrix given"):
        check_operator(Liar(), np.eye(4))
    with pytest.raises(AssertionError, match="expected a matrix of shape"):
        check_operator(Liar(), np.eye(5))


def test_an_operator_without_a_product_or_a_shape_says_so():
    class Nothing(LinearOperator):
        hermitian = True

    with pytest.raises(TypeError, match="must implement _matmat"):
        Nothing((3, 3)) @ np.ones(3)
    with pytest.raises((TypeError, ValueError), match="shape"):
        aslinearoperator(Nothing())


def test_repr_names_the_claims():
    assert repr(aslinearoperator(np.eye(2), psd=True)) == "<Dense of shape (2, 2), float64, hermitian, psd>"
    assert repr(aslinearoperator(Foreign(integers(3)))) == "<FromMatmul of shape (3, 3), float64>"
