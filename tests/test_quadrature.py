"""Gauss and Gauss-Radau quadrature, plain and block: degrees of exactness, enclosure, and errors that name the end."""

import numpy as np
import pytest
from cases import random_matrix
from strategies import from_spectrum

from spectra.krylov import BlockLanczosRun, LanczosRun
from spectra.krylov._quadrature import block_gauss, block_radau, gauss, radau, safe_end

N, STEPS, K = 40, 5, 3


def plain(eigenvalues, dtype=float, steps=STEPS, seed=0):
    case = from_spectrum(eigenvalues, complex_entries=np.issubdtype(dtype, np.complexfloating))
    V = random_matrix(len(eigenvalues), K, dtype, seed)
    run = LanczosRun(case.A, V)
    run.advance(steps)
    return case, V, run


def block(eigenvalues, dtype=float, steps=STEPS, seed=0):
    case = from_spectrum(eigenvalues, complex_entries=np.issubdtype(dtype, np.complexfloating))
    V = random_matrix(len(eigenvalues), K, dtype, seed)
    run = BlockLanczosRun(case.A, V)
    run.advance(steps)
    return case, V, run


def forms(case, V, f):
    """v^H f(A) v / |v|^2 for every column."""
    values, vectors = np.linalg.eigh(case.A)
    weights = np.abs(vectors.conj().T @ V) ** 2
    return f(values) @ weights / weights.sum(0)


def integrals(rule, f):
    nodes, weights = rule
    return (weights * f(nodes)).sum(1) / weights.sum(1)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_gauss_is_exact_to_degree_2m_minus_1_and_not_beyond(dtype):
    case, V, run = plain(np.linspace(-1, 1, N), dtype)
    rule = gauss(run.alpha, run.beta)
    assert rule[0].shape == rule[1].shape == (K, STEPS)
    np.testing.assert_allclose(rule[1].sum(1), 1, rtol=1e-14)
    assert np.all(rule[1] > 0) and np.all(np.abs(rule[0]) < 1)
    for degree in range(2 * STEPS):
        np.testing.assert_allclose(integrals(rule, lambda x, d=degree: x**d), forms(case, V, lambda x, d=degree: x**d),
                                   atol=1e-14)
    error = integrals(rule, lambda x: x ** (2 * STEPS)) - forms(case, V, lambda x: x ** (2 * STEPS))
    assert np.all(error < -1e-5)  # the error is -beta_1^2 ... beta_m^2
    np.testing.assert_allclose(error, -np.prod(run.beta**2, 1), rtol=1e-6)


@pytest.mark.parametrize("end", [-1.0, 1.0, -1.5, 3.0])
def test_radau_has_a_node_at_the_end_and_one_degree_more(end):
    case, V, run = plain(np.linspace(-1, 1, N))
    rule = radau(run.alpha, run.beta, end)
    assert rule[0].shape == (K, STEPS + 1)
    np.testing.assert_allclose(np.abs(rule[0] - end).min(1), 0, atol=1e-13)
    for degree in range(2 * STEPS + 1):
        expected = forms(case, V, lambda x, d=degree: x**d)
        np.testing.assert_allclose(integrals(rule, lambda x, d=degree: x**d), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_block_gauss_is_exact_to_degree_2m_minus_1(dtype):
    case, V, run = block(np.linspace(-1, 1, N), dtype)
    nodes, weights = block_gauss(run.T, run.R)
    assert nodes.shape == (1, K * STEPS) and weights.shape == (K, K * STEPS)
    np.testing.assert_allclose(weights.sum(1), (np.abs(V) ** 2).sum(0), rtol=1e-13)
    for degree in range(2 * STEPS):
        expected = forms(case, V, lambda x, d=degree: x**d)
        np.testing.assert_allclose(integrals((nodes, weights), lambda x, d=degree: x**d), expected, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_block_radau_is_exact_to_degree_2m(dtype):
    case, V, run = block(np.linspace(-1, 1, N), dtype)
    nodes, weights = block_radau(run.T, run.last_block, run.R, -1.25)
    assert np.sum(np.abs(nodes + 1.25) < 1e-12) == K
    for degree in range(2 * STEPS + 1):
        expected = forms(case, V, lambda x, d=degree: x**d)
        np.testing.assert_allclose(integrals((nodes, weights), lambda x, d=degree: x**d), expected, atol=1e-12)


ENCLOSED = {"log": np.log, "inverse": np.reciprocal, "root": np.sqrt, "cube root": np.cbrt, "log1p": np.log1p}


@pytest.mark.parametrize("f", ENCLOSED)
@pytest.mark.parametrize("eigenvalues", [np.geomspace(1e-3, 1, N), np.linspace(0.1, 5, N),
                                         np.repeat([0.5, 1.0, 4.0], 14)], ids=["geometric", "even", "repeated"])
def test_gauss_and_radau_enclose_functions_with_alternating_derivatives(f, eigenvalues):
    f, end = ENCLOSED[f], 0.9 * eigenvalues.min()
    case, V, run = plain(eigenvalues, steps=2)
    truth = forms(case, V, f)
    above, below = integrals(gauss(run.alpha, run.beta), f), integrals(radau(run.alpha, run.beta, end), f)
    if f is np.reciprocal:
        above, below = below, above
    assert np.all(below < truth) and np.all(truth < above)
    case, V, run = block(eigenvalues, steps=2)
    above = integrals(block_gauss(run.T, run.R), f)
    below = integrals(block_radau(run.T, run.last_block, run.R, end), f)
    if f is np.reciprocal:
        above, below = below, above
    slack = 1e-12 * np.abs(truth).max()  # an invariant space: all three are the truth
    assert np.all(below <= truth + slack) and np.all(truth <= above + slack)


def test_deeper_rules_close_in():
    case, V, run = plain(np.geomspace(1e-3, 1, N), steps=25)
    truth = forms(case, V, np.log)
    above = np.array([integrals(gauss(run.alpha[:, :m], run.beta[:, :m]), np.log) for m in range(1, 26)])
    below = np.array([integrals(radau(run.alpha[:, :m], run.beta[:, :m], 5e-4), np.log) for m in range(1, 26)])
    assert np.all(np.diff(above, axis=0) < 1e-12) and np.all(np.diff(below, axis=0) > -1e-12)
    assert np.all(above > truth - 1e-12) and np.all(below < truth + 1e-12)


@pytest.mark.parametrize("inside", [0.0, 0.3, -0.5])
def test_an_end_inside_the_spectrum_is_refused(inside):
    _, _, run = plain(np.linspace(-1, 1, N))
    with pytest.raises(ValueError, match="given as an end of the spectrum, but Lanczos found Ritz values on both"):
        radau(run.alpha, run.beta, inside)
    _, _, run = block(np.linspace(-1, 1, N))
    with pytest.raises(ValueError, match="given as a lower end of the spectrum, but block Lanczos found Ritz values"):
        block_radau(run.T, run.last_block, run.R, inside)


def test_a_safe_end_lies_below_every_node_by_rounding_and_no_more():
    nodes = np.array([[1.0, 2.0, 3.0]])
    assert safe_end(None, nodes, 2e-16, 100) is None
    assert safe_end(0.5, nodes, 2e-16, 100) == 0.5
    end = safe_end(1.0, nodes, 2e-16, 100)
    assert 1 - 1e-13 < end < 1
    with pytest.raises(ValueError, match=r"lower end of the spectrum is 1\.1 .* found a Ritz value of 1;"):
        safe_end(1.1, nodes, 2e-16, 100)


def test_an_invariant_space_needs_no_radau():
    case, V, run = block(np.repeat([1.0, 2.0], 20), steps=5)
    assert run.exact
    found = integrals(block_radau(run.T, run.last_block, run.R, 0.5), np.log)
    np.testing.assert_allclose(found, forms(case, V, np.log), atol=1e-13)


@pytest.mark.parametrize("scale", [2.0**-900, 2.0**900])
def test_rules_scale(scale):
    case, V, run = plain(np.geomspace(0.1, 1, N))
    scaled = LanczosRun(scale * case.A, V)
    scaled.advance(STEPS)
    nodes, weights = gauss(run.alpha, run.beta)
    big_nodes, big_weights = gauss(scaled.alpha, scaled.beta)
    np.testing.assert_allclose(big_nodes / scale, nodes, rtol=1e-12)
    np.testing.assert_allclose(big_weights, weights, rtol=1e-10)
