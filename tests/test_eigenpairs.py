"""Eigenpairs against dense truth, null vectors and multiple eigenvalues above all."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from libraries import MATRICES, move
from scipy import sparse
from strategies import from_spectrum, hermitian

import spectra
from spectra import LinearOperator
from spectra.krylov._eigenpairs import eigenpairs
from spectra.operators import Diagonal, aslinearoperator

N = 300  # beyond the order up to which the matrix is formed
_LINE = np.linspace(0.0, 1.0, N)
GALLERY = {
    "uniform": _LINE,
    "indefinite": np.linspace(-1.0, 1.1, N),
    "outliers": np.append(_LINE[4:], [-3.0, 5.0, 7.0, 7.5]),
    "power law": 1.0 / np.arange(1, N + 1),
    "fourfold top": np.append(_LINE[4:], np.full(4, 1.5)),
    "cluster": np.append(_LINE[4:], 1.5 + 1e-9 * np.arange(4)),
    "semidefinite": np.append(np.zeros(3), np.linspace(0.1, 1.0, N - 3)),
    "rank 2": np.append(np.zeros(N - 2), [1.0, 2.0]),
    "two values": np.repeat([0.0, 1.0], N // 2),
    "identity": np.ones(N),
    "zero": np.zeros(N),
}
FIRST = {"LA": lambda x: x[np.argsort(-x)], "SA": np.sort, "LM": lambda x: x[np.argsort(-abs(x), kind="stable")]}


def check(A, pairs, eigenvalues, which, tolerance):
    """Values, their order, residuals and orthonormality, all against what is known."""
    size, k = np.abs(eigenvalues).max() or 1.0, len(pairs.values)
    X = np.asarray(pairs.vectors).astype(np.result_type(A.dtype, np.float64))
    assert X.shape == (len(A), k)
    assert pairs.values == pytest.approx(FIRST[which](eigenvalues)[:k], abs=tolerance * size)
    assert np.abs(X.conj().T @ X - np.eye(k)).max() <= tolerance
    residuals = np.linalg.norm(A.astype(X.dtype) @ X - X * pairs.values, axis=0)
    assert pairs.residuals == pytest.approx(residuals, abs=tolerance * size)
    assert residuals.max() <= tolerance * size


@pytest.mark.parametrize("which", FIRST)
@pytest.mark.parametrize("name", GALLERY)
@pytest.mark.parametrize("k", [1, 5])
def test_every_kind_of_spectrum(name, which, k):
    case = from_spectrum(GALLERY[name], seed=2)
    check(case.A, eigenpairs(case.A, k, which=which, rng=0), case.eigenvalues, which, 1e-12)


@pytest.mark.parametrize("name", ["indefinite", "fourfold top", "rank 2"])
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 2e-5), (np.complex128, 1e-12), (np.complex64, 2e-5)])
def test_every_dtype(name, dtype, tolerance):
    case = from_spectrum(GALLERY[name], seed=2, complex_entries=np.issubdtype(dtype, np.complexfloating))
    A = case.A.astype(dtype)
    pairs = eigenpairs(A, 5, which="LA", rng=0)
    assert pairs.vectors.dtype == dtype
    check(A, pairs, case.eigenvalues, "LA", tolerance)


@given(case=hermitian(), which=st.sampled_from(list(FIRST)), data=st.data())
def test_small_orders(case, which, data):
    k = data.draw(st.integers(1, len(case.A)))
    pairs = eigenpairs(case.A, k, which=which)
    tolerance = 1e-12
    if which == "LM":  # 1 and -1 are wanted equally
        assert np.abs(pairs.values) == pytest.approx(np.sort(np.abs(case.eigenvalues))[::-1][:k],
                                                     abs=tolerance * case.size)
    else:
        check(case.A, pairs, case.eigenvalues, which, tolerance)


GRAPHS = {
    "ring": nx.cycle_graph(N),
    "torus": nx.grid_2d_graph(18, 18, periodic=True),
    "hypercube": nx.hypercube_graph(9),
    "caves": nx.caveman_graph(30, 10),
    "paths": nx.disjoint_union_all([nx.path_graph(60)] * 5),
    "random pieces": nx.gnp_random_graph(400, 2.0 / 400, seed=1),
}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("which", ["SA", "LA"])
def test_multiple_eigenvalues_of_graphs(name, which):
    """The null space of a Laplacian has a dimension for each component; symmetry gives other multiplicities."""
    L = sparse.csr_array(nx.laplacian_matrix(GRAPHS[name]), dtype=float)
    dense = L.toarray()
    check(dense, eigenpairs(L, 7, which=which, rng=1), np.linalg.eigvalsh(dense), which, 1e-11)


def test_agrees_with_scipy_where_scipy_is_right():
    beside = np.full(499, -1.0)
    A = sparse.diags_array([beside, 2.0 + np.arange(500) % 7, beside], offsets=[-1, 0, 1]).tocsr()
    expected = sparse.linalg.eigsh(A, 4, which="LA", return_eigenvectors=False, v0=np.ones(500))
    assert np.sort(eigenpairs(A, 4, which="LA", rng=0).values) == pytest.approx(np.sort(expected), rel=1e-12)


def test_fewer_products_than_order():
    op = Diagonal(GALLERY["outliers"])
    eigenpairs(op, 3, rng=0)
    assert op.matvecs < 80


@pytest.mark.parametrize("dtype, scale", [(np.float64, 1e150), (np.float64, 1e-150), (np.float64, 1e300),
                                          (np.float64, 1e-300), (np.float32, 1e15), (np.float32, 1e-15)])
def test_scaling_changes_nothing_but_the_scale(dtype, scale):
    A = from_spectrum(GALLERY["indefinite"], seed=1).A
    plain, scaled = (eigenpairs((A * c).astype(dtype), 3, rng=4) for c in (1.0, scale))
    tolerance = 1e-13 if dtype == np.float64 else 1e-5
    assert scaled.values / scale == pytest.approx(plain.values, rel=tolerance)
    assert (scaled.residuals / scale).max() <= tolerance


@pytest.mark.parametrize("library", MATRICES)
@pytest.mark.parametrize("n", [12, N])
def test_one_seed_gives_one_answer_on_every_library(library, n):
    case = from_spectrum(np.linspace(-1.0, 1.1, n), seed=3)
    matrix = MATRICES[library](case.A)
    pairs = eigenpairs(matrix, 3, rng=7)
    assert type(pairs.vectors) is type(move(case.A, library))
    check(case.A, pairs, case.eigenvalues, "LM", 1e-12)
    assert pairs.values == pytest.approx(eigenpairs(case.A, 3, rng=7).values, abs=1e-13)


def test_one_seed_gives_one_answer():
    A = from_spectrum(GALLERY["uniform"]).A
    one, two = eigenpairs(A, 2, rng=11), eigenpairs(A, 2, rng=11)
    assert np.array_equal(one.values, two.values) and np.array_equal(one.vectors, two.vectors)


def test_slow_convergence_is_a_warning_with_the_best_pairs():
    case = from_spectrum(np.geomspace(1e-8, 1.0, N))
    with pytest.warns(spectra.ConvergenceWarning, match=r"residuals .* up to .*raise maxiter"):
        pairs = eigenpairs(case.A, 2, which="SA", maxiter=3, rng=0)
    X = pairs.vectors
    assert pairs.residuals == pytest.approx(np.linalg.norm(case.A @ X - X * pairs.values, axis=0), rel=1e-6)
    assert np.all(pairs.values < 0.05)


def test_a_search_for_copies_cut_short_is_a_warning():
    """One fill of the basis finds the pair, but not whether there is another."""
    with pytest.warns(spectra.ConvergenceWarning, match="raise maxiter"):
        assert eigenpairs(Diagonal(GALLERY["rank 2"]), 1, maxiter=1, rng=0).values == pytest.approx([2.0])


@pytest.mark.parametrize("k", [0, -1, 4, 1.5, True])
def test_an_impossible_number_of_pairs(k):
    with pytest.raises(ValueError, match="integer k from 1 to the order 3"):
        eigenpairs(np.eye(3), k)


def test_what_cannot_be_answered_is_refused_by_name():
    with pytest.raises(ValueError, match="LM, LA, SA, found 'SM'"):
        eigenpairs(np.eye(3), 1, which="SM")
    with pytest.raises(ValueError, match="needs a Hermitian operator"):
        eigenpairs(np.triu(np.ones((3, 3))), 1)
    with pytest.raises(ValueError, match="0 < tol < 1"):
        eigenpairs(np.eye(3), 1, tol=0.0)


@pytest.mark.parametrize("n", [5, N])
def test_a_product_that_turns_nan_is_named(n):
    class Fails(LinearOperator):
        hermitian, _verified, shape = True, True, (n, n)

        def _matmat(self, V):
            return np.full_like(V, np.nan)

    with pytest.raises(ValueError, match="returned NaN or Inf"):
        eigenpairs(Fails(), 1)


def test_an_operator_known_by_its_products_only():
    A = from_spectrum(GALLERY["outliers"], seed=5).A
    op = aslinearoperator(aslinearoperator(A).to_scipy())
    check(A, eigenpairs(op, 4, rng=0), GALLERY["outliers"], "LM", 1e-12)
