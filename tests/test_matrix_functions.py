"""f(A) B: against dense truth, exact where it must be, and honest about its error everywhere else."""

import warnings

import numpy as np
import pytest
import truth
from hypothesis import given
from hypothesis import strategies as st
from libraries import MATRICES, move
from numpy.polynomial import Polynomial
from strategies import from_spectrum, hermitian

import spectra
from spectra import LinearOperator
from spectra.krylov._functions import matrix_function
from spectra.operators import Diagonal, aslinearoperator
from spectra.results import NotFinite

N = 150
GALLERY = {
    "uniform": np.linspace(0.01, 1.0, N),
    "geometric": np.geomspace(1e-6, 1.0, N),
    "indefinite": np.linspace(-1.0, 1.0, N),
    "outlier": np.append(np.linspace(1.0, 2.0, N - 1), 1e6),
    "three values": np.repeat([1.0, 2.0, 5.0], N // 3),
    "rank 2": np.append(np.zeros(N - 2), [1.0, 2.0]),
    "identity": np.ones(N),
}
FUNCTIONS = {
    "exp": lambda x: np.exp(-x),
    "root": lambda x: np.sqrt(np.abs(x)),
    "inverse": lambda x: 1 / (x + 1.5),
    "wave": lambda x: np.cos(20 * x),
    "step": lambda x: np.where(x > 0.5, 1.0, 0.0),
}
SMOOTH = ("exp", "inverse", "wave")
DTYPES = (np.float64, np.float32, np.complex128)


def block(n=N, k=3, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal((n, k)).astype(dtype)


def quietly(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spectra.ConvergenceWarning)
        return matrix_function(*args, **kwargs)


def distance(found, expected):
    return np.linalg.norm(np.asarray(found) - expected, axis=0) / np.linalg.norm(expected, axis=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("f", SMOOTH)
@pytest.mark.parametrize("name", ["uniform", "geometric", "indefinite", "three values", "rank 2", "identity"])
def test_smooth_functions_of_every_kind_of_spectrum(name, f, dtype):
    case = from_spectrum(GALLERY[name], complex_entries=dtype == np.complex128)
    A, B = case.A.astype(dtype), block(dtype=dtype)
    found = matrix_function(A, B, FUNCTIONS[f])
    assert found.value.dtype == dtype
    assert distance(found.value, truth.function(case.A, FUNCTIONS[f]) @ B).max() <= np.sqrt(np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("f", FUNCTIONS)
@pytest.mark.parametrize("name", GALLERY)
@pytest.mark.parametrize("steps", [8, 40])
def test_the_error_is_not_underrated(name, f, dtype, steps):
    """Whatever the spectrum and the function, and however few the steps: a factor of 1.5, and rounding."""
    case = from_spectrum(GALLERY[name], complex_entries=dtype == np.complex128)
    B = block(dtype=dtype)
    found = quietly(case.A.astype(dtype), B, FUNCTIONS[f], steps=steps, tol=1e-12)
    with np.errstate(over="ignore"):
        error = distance(found.value, truth.function(case.A, FUNCTIONS[f]) @ B)
    assert np.all(error <= 1.5 * found.errors + 500 * np.finfo(dtype).eps)


@pytest.mark.parametrize("degree", [0, 1, 3, 6])
def test_polynomials_below_the_number_of_steps_are_exact(degree):
    A, B = from_spectrum(GALLERY["indefinite"]).A, block()
    p = Polynomial(np.arange(1.0, degree + 2))
    found = quietly(A, B, p, steps=degree + 1, tol=1e-14)
    assert found.steps == degree + 1
    assert distance(found.value, truth.function(A, p) @ B).max() < 1e-13


@pytest.mark.parametrize("f", ["exp", "inverse", "root"])
@pytest.mark.parametrize("name, distinct", [("three values", 3), ("rank 2", 3), ("identity", 1)])
def test_an_invariant_subspace_is_exact(name, distinct, f):
    A = Diagonal(GALLERY[name])
    found = matrix_function(A, block(), FUNCTIONS[f], tol=1e-6)
    assert found.steps == distinct
    assert found.value == pytest.approx(FUNCTIONS[f](GALLERY[name])[:, None] * block(), abs=1e-6)


@given(case=hermitian(), k=st.integers(1, 4), shift=st.floats(-1.0, 1.0))
def test_small_orders_are_exact(case, k, shift):
    B = block(len(case.A), k)

    def f(x):
        return np.arctan(x / case.size + shift) + 3.0

    assert distance(matrix_function(case.A, B, f).value, truth.function(case.A, f) @ B).max() < 1e-11


def test_a_root_taken_twice_is_the_matrix():
    A, B = from_spectrum(GALLERY["uniform"]).A, block()
    once = matrix_function(A, B, np.sqrt, tol=1e-12).value
    assert distance(matrix_function(A, once, np.sqrt, tol=1e-12).value, A @ B).max() < 1e-11


def test_columns_do_not_touch_each_other():
    A, B = from_spectrum(GALLERY["uniform"]).A, block(k=4)
    together = matrix_function(A, B, np.sqrt, steps=20, tol=0.1).value
    for j in range(4):
        assert matrix_function(A, B[:, j], np.sqrt, steps=20, tol=0.1).value == pytest.approx(together[:, j], rel=1e-9)


def test_columns_that_end_early_beside_others():
    A = np.diag(GALLERY["uniform"])
    B = block()
    B[:, 1] = 0.0
    B[3, 1] = 2.0  # an eigenvector
    B[:, 2] = 0.0
    found = matrix_function(A, B, np.sqrt)
    assert found.value == pytest.approx(np.sqrt(GALLERY["uniform"])[:, None] * B, abs=1e-7)
    assert not found.value[:, 2].any() and found.errors[2] == 0.0
    assert found.errors[1] < 1e-14


def test_shapes_are_kept_and_inputs_left_alone():
    A, b = from_spectrum(GALLERY["uniform"]).A, block(k=1)[:, 0]
    A.flags.writeable = b.flags.writeable = False
    assert matrix_function(A, b, np.exp).value.shape == (N,)
    assert matrix_function(A, b[:, None], np.exp).value.shape == (N, 1)
    assert not matrix_function(A, 0 * b, np.exp).value.any()


def test_products_are_counted_and_few():
    op = aslinearoperator(from_spectrum(GALLERY["uniform"]).A)
    found = matrix_function(op, block(), np.exp)
    assert found.matvecs == op.matvecs == 3 * found.steps
    assert found.steps < 15


def test_groups_within_the_memory_give_the_same():
    A, B = from_spectrum(GALLERY["uniform"]).A, block(k=5)
    whole, groups = (matrix_function(A, B, np.sqrt, memory=m) for m in (None, 2 * N * N * 8))
    assert groups.value == pytest.approx(whole.value, rel=1e-6) and len(groups.errors) == 5


@pytest.mark.parametrize("scale", [1e150, 1e-150, 1e300, 1e-300])
def test_scaling_changes_nothing_but_the_scale(scale):
    A, B = from_spectrum(GALLERY["uniform"]).A, block()
    plain = matrix_function(A, B, np.sqrt).value
    assert matrix_function(A * scale, B, np.sqrt).value / np.sqrt(scale) == pytest.approx(plain, rel=1e-6, abs=1e-8)
    assert matrix_function(A, B * scale, np.sqrt).value / scale == pytest.approx(plain, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("library", MATRICES)
def test_every_library(library):
    case, b = from_spectrum(GALLERY["uniform"]), move(block(), library)
    found = matrix_function(MATRICES[library](case.A), b, np.sqrt)
    assert type(found.value) is type(b)
    assert distance(found.value, truth.function(case.A, np.sqrt) @ block()).max() < 1e-8


def test_too_few_steps_are_a_warning():
    A = from_spectrum(GALLERY["geometric"]).A
    with pytest.warns(spectra.ConvergenceWarning, match=r"3 of 3 columns .* after 10 steps, asked for 1\.5e-08"):
        matrix_function(A, block(), np.log, steps=10)


def test_what_rounding_of_the_matrix_destroys_is_a_warning():
    """In single precision, next to an eigenvalue of 1e6, those from 1 to 2 are rounding: the waves are noise."""
    A = from_spectrum(GALLERY["outlier"]).A.astype(np.float32)
    with pytest.warns(spectra.ConvergenceWarning, match="too fast for the rounding of A"):
        matrix_function(A, block(dtype=np.float32), FUNCTIONS["wave"])


def test_a_function_that_is_not_finite_on_the_spectrum_is_named():
    with pytest.raises(NotFinite, match=r"not finite at -0\.\d"):
        matrix_function(from_spectrum(GALLERY["indefinite"]).A, block(), np.log)
    with pytest.raises(NotFinite, match="not finite at 0"):
        matrix_function(np.zeros((3, 3)), np.ones(3), np.log)


@pytest.mark.parametrize("f, message", [(lambda x: 1.0, r"shape \(1,\) .*found shape \(\)"),
                                        (lambda x: np.exp(1j * x), "complex one as two real ones")])
def test_a_function_of_the_wrong_kind_is_named(f, message):
    with pytest.raises(ValueError, match=message):
        matrix_function(np.eye(1), np.ones(1), f)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="needs a Hermitian operator"):
        matrix_function(np.triu(np.ones((3, 3))), np.ones(3), np.exp)
    with pytest.raises(ValueError, match=r"found \(4,\)"):
        matrix_function(np.eye(3), np.ones(4), np.exp)
    with pytest.raises(ValueError, match="NaN or Inf"):
        matrix_function(np.eye(3), np.full(3, np.nan), np.exp)
    for options in ({"steps": 0}, {"tol": 0.0}, {"tol": 1.0}):
        with pytest.raises(ValueError, match="steps >= 1 and 0 < tol < 1"):
            matrix_function(np.eye(3), np.ones(3), np.exp, **options)


def test_a_value_out_of_range_is_named():
    with pytest.raises(ValueError, match="leaves the range of float64"):
        matrix_function(np.eye(3), 1e200 * np.ones(3), lambda x: 1e200 * x)


def test_a_product_that_turns_nan_is_named():
    class Fails(LinearOperator):
        hermitian, _verified, shape = True, True, (9, 9)

        def _matmat(self, V):
            return np.full_like(V, np.nan)

    with pytest.raises(ValueError, match="returned NaN or Inf"):
        matrix_function(Fails(), np.ones(9), np.exp)
