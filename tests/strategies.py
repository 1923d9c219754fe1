"""Matrices for property tests, each built from a spectrum that was drawn: what is asked of them is known exactly."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st


class Case(NamedTuple):
    """A Hermitian matrix and its eigenvalues, ascending."""

    A: np.ndarray
    eigenvalues: np.ndarray

    @property
    def size(self) -> float:
        """Its largest absolute eigenvalue, or 1 if there is none but 0: what rounding is measured against."""
        return float(np.abs(self.eigenvalues).max()) or 1.0


def _geometric(draw, n):
    return np.geomspace(1.0, 10.0 ** -draw(st.integers(1, 14)), n)


def _repeated(draw, n):
    return np.repeat(draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n)), 2)[:n].astype(float)


def _clustered(draw, n):
    return draw(st.sampled_from([-1.0, 1.0, 5.0])) + 1e-9 * np.arange(n)


def _outlier(draw, n):
    return np.concatenate([[10.0 ** draw(st.integers(1, 8))], np.linspace(1.0, 2.0, n - 1)])


def _low_rank(draw, n):
    values = np.zeros(n)
    rank = draw(st.integers(0, min(n, 3)))
    values[:rank] = draw(st.lists(st.floats(0.5, 4.0), min_size=rank, max_size=rank))
    return values


def _plain(draw, n):
    return np.array(draw(st.lists(st.floats(-10, 10), min_size=n, max_size=n)))


SPECTRA = {"geometric": _geometric, "repeated": _repeated, "clustered": _clustered, "outlier": _outlier,
           "low rank": _low_rank, "plain": _plain, "zero": lambda draw, n: np.zeros(n),
           "identity": lambda draw, n: np.ones(n), "negative": lambda draw, n: -np.linspace(1.0, 2.0, n)}
"""Kinds of spectra by name; those of `POSITIVE` have no negative eigenvalue."""

POSITIVE = ("geometric", "outlier", "low rank", "zero", "identity")


def from_spectrum(eigenvalues, *, seed: int = 0, complex_entries: bool = False) -> Case:
    """The matrix with these eigenvalues and random eigenvectors."""
    eigenvalues = np.sort(np.asarray(eigenvalues, dtype=float))
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((len(eigenvalues),) * 2)
    if complex_entries:
        X = X + 1j * rng.standard_normal(X.shape)
    Q = np.linalg.qr(X)[0]
    A = (Q * eigenvalues) @ Q.conj().T
    return Case((A + A.conj().T) / 2, eigenvalues)


@st.composite
def hermitian(draw, *, min_order: int = 1, max_order: int = 12, kinds=tuple(SPECTRA), complex_entries=None) -> Case:
    """Hermitian matrices of small order, real and complex, with spectra of the given kinds."""
    n = draw(st.one_of(st.integers(min_order, max_order), st.sampled_from([min_order, min(min_order + 1, max_order)])))
    eigenvalues = SPECTRA[draw(st.sampled_from(kinds))](draw, n)
    is_complex = draw(st.booleans()) if complex_entries is None else complex_entries
    return from_spectrum(eigenvalues, seed=draw(st.integers(0, 2**20)), complex_entries=is_complex)


def semidefinite(**kwargs) -> st.SearchStrategy[Case]:
    """Hermitian matrices without negative eigenvalues (to rounding)."""
    return hermitian(kinds=POSITIVE, **kwargs)


@st.composite
def signed_permutations(draw, n: int) -> np.ndarray:
    """Orthogonal matrices with one entry, 1 or -1, in each row and column."""
    order = draw(st.permutations(range(n)))
    signs = draw(st.lists(st.sampled_from([1.0, -1.0]), min_size=n, max_size=n))
    return np.eye(n)[:, order] * signs
