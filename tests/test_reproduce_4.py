"""Thesis, chapter 4: theorems 7 and 8, and that its figures and table reproduce in small."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spectra

FOLDER = Path(__file__).parents[1] / "examples" / "reproduce"


def script(name):
    sys.path.insert(0, str(FOLDER))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(FOLDER))


def symmetric(values, rng):
    Q = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    return (Q * values) @ Q.T


def ritz(alpha, beta):
    return np.linalg.eigvalsh(np.diag(alpha) + np.diag(beta, 1) + np.diag(beta, -1))


# Theorem 7: H -> -H + mu I changes T to -T + mu I. No new eigenvalue is learned.


@given(st.integers(0, 10**6), st.floats(-50, 50), st.integers(1, 8))
def test_theorem_7_shift_and_invert_learns_nothing(seed, mu, steps):
    rng = np.random.default_rng(seed)
    H, v = symmetric(rng.standard_normal(20), rng), rng.standard_normal(20)
    alpha, beta, Q = spectra.lanczos(H, v, steps, basis=True)
    alpha_s, beta_s, Q_s = spectra.lanczos(mu * np.eye(20) - H, v, steps, basis=True)
    scale = 1e-9 * (1 + abs(mu))
    np.testing.assert_allclose(alpha_s, mu - alpha, atol=scale)
    np.testing.assert_allclose(beta_s, beta, atol=scale)  # as norms; the signs are in the vectors
    signs = (-1.0) ** np.arange(steps)
    np.testing.assert_allclose(Q_s[0], Q[0] * signs, atol=1e3 * scale)
    np.testing.assert_allclose(ritz(alpha_s[0], beta_s[0]), (mu - ritz(alpha[0], beta[0]))[::-1], atol=scale)


# Theorem 8: the m Ritz values are not the m largest eigenvalues.


@given(st.integers(0, 10**6), st.integers(1, 6), st.booleans())
def test_theorem_8_ritz_values_are_not_the_largest_eigenvalues(seed, m, heavy):
    """Nor are they for any start vector outside of the span of the m largest, whatever the trace: were they, the
    polynomial with these zeros would be orthogonal to 1 under weights at the other eigenvalues alone, where it has one
    sign. The smallest Ritz value is below the m-th eigenvalue."""
    rng = np.random.default_rng(seed)
    values = np.sort(rng.uniform(1, 2, 12))
    if heavy:
        values[-m:] += 100  # their sum exceeds that of the others, against the theorem's assumption
    assert not heavy or values[-m:].sum() > values[:-m].sum()
    alpha, beta, _ = spectra.lanczos(symmetric(values, rng), rng.standard_normal(12), m)
    assert ritz(alpha[0], beta[0])[0] < values[-m] - 1e-9


def test_theorem_8_in_the_mean_over_all_sign_vectors():
    values = np.array([5.0, 3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0.25])
    H = symmetric(values, np.random.default_rng(0))
    V = np.array([[1 - 2 * (k >> j & 1) for j in range(8)] for k in range(256)], dtype=float).T
    for m in (2, 3):
        alpha, _, _ = spectra.lanczos(H, V, m)
        assert alpha[:, 0].mean() == pytest.approx(values.mean())  # the first moment that the proof uses
        assert alpha[:, 0].mean() < values[m - 1]


def test_theorem_8_needs_another_proof_than_the_printed_one():
    """The printed proof needs Tr(H - (l_m + l_{m+1}) I / 2) < 0, which its assumption does not give."""
    values = np.concatenate([[1000.0, 1.0], 0.99 - 1e-6 * np.arange(1100)])  # m = 2
    middle = (values[1] + values[2]) / 2
    assert values[:2].sum() < values[2:].sum() and np.sum(values - middle) > 0


# Figures and table


def held(claims):
    for row in claims:
        assert row["items"] and row["holds"] in ("yes", "in part", "no") and row["ours"]
    json.dumps(claims)
    return [row["holds"] for row in claims]


def test_figures_of_random_matrices():
    """Stems are those of the law, the diagonal is not; five steps miss the lower end, thirty do not."""
    module = script("thesis_figures_4_3_to_4_6")
    found, diagonal = module.run(large=1600, small=100), module.diagonals(n=300)
    rows = module.claims(found, diagonal, module.typical(n=400, seeds=range(3)), "small")
    assert held(rows[:4]) == ["yes"] * 4 and rows[-1]["holds"] == "yes"
    one = found["half at zero 1600"]
    assert abs(one["share at zero"] - 0.5) < 0.02
    json.dumps(module.to_json(found, diagonal, module.synthetic(n=200)))


@pytest.mark.parametrize("law, q, second", [("wigner", None, 1.0), ("mp", 0.5, 1.5), ("mp", 2.0, 3.0)])
def test_rules_of_the_laws(law, q, second):
    """Moments 1 and 2 of the laws, and the atom of Marchenko and Pastur's."""
    module = script("thesis_figures_4_3_to_4_6")
    nodes, weights = module.jacobi(law, q)
    moments = [weights.sum(), weights @ nodes, weights @ nodes**2]
    np.testing.assert_allclose(moments, [1, 0 if q is None else 1, second], atol=1e-12)
    exact = spectra.rmt.semicircle() if q is None else spectra.rmt.marchenko_pastur(q)
    np.testing.assert_allclose([nodes[0], nodes[-1]], exact.support, atol=0.08)
    if q == 2.0:
        assert weights[0] == pytest.approx(0.5, abs=1e-3)


def test_pictures_of_random_matrices(tmp_path):
    pytest.importorskip("matplotlib")
    module = script("thesis_figures_4_3_to_4_6")
    found = module.run(large=60, small=50)
    module.picture_of_laws(found, tmp_path / "a.png", ["wigner 50", "marchenko-pastur 60"], "both")
    module.picture_4_4(found, module.diagonals(n=50), tmp_path / "b.png")
    module.picture_4_6(module.synthetic(n=100), tmp_path / "c.png")
    assert all((tmp_path / f"{name}.png").stat().st_size > 5000 for name in "abc")


def test_table_4_5_is_golub_and_van_loans_and_runs_obey_it():
    module = script("thesis_table_4_5")
    rows = module.run(n=200, vectors=5)
    assert held(module.claims(rows, "small")) == ["yes"] * 3
    assert module.bounds(1.5, 5) == pytest.approx((1 / 97**2, 1.5**-8))  # c_4(2) = 97


def test_exponent_of_the_table_not_of_the_printed_bound():
    """(4.6) has 2 m - 1. For H^(m-1) v, which lies in the Krylov space of m Lanczos steps, only 2 (m - 1) holds."""
    module = script("thesis_table_4_5")
    m, gap, angle = 3, 4.0, 0.1
    v = np.array([np.cos(angle), np.sin(angle)]) * np.array([1.0, 1 / gap]) ** (m - 1)
    quotient = (v**2 @ [1.0, 1 / gap]) / (v @ v)
    over = (1 - quotient) / np.tan(angle) ** 2
    assert gap ** -(2 * m - 1) < over <= module.bounds(gap, m)[1] == gap ** -(2 * (m - 1))


@pytest.fixture(scope="module")
def tiny():
    """A network of Linear layers, its batches, and the script of figures 4.7 and 4.8."""
    torch = pytest.importorskip("torch")
    module = script("thesis_figures_4_7_and_4_8")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    x = torch.randn(60, 6)
    y = (x[:, :3] + 0.3 * torch.randn(60, 3)).argmax(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return module, model, list(zip(x.split(25), y.split(25), strict=True))


def test_diagonals_of_the_gauss_newton_matrix(tiny):
    module, model, batches = tiny
    G = spectra.nn.GGNOperator(model, module.torch.nn.functional.cross_entropy, batches)
    exact = np.diag(np.asarray(G.todense()))
    np.testing.assert_allclose(module.ggn_diagonal(model, batches), exact, rtol=2e-4, atol=1e-7)
    drawn = np.mean([module.ggn_diagonal(model, batches, mc=20, seed=k) for k in range(20)], 0)
    assert np.abs(drawn - exact).max() < 0.1 * exact.max()
    assert drawn.sum() == pytest.approx(exact.sum(), rel=0.1)


def test_spectra_of_a_network_from_two_vectors(tiny, tmp_path):
    module, model, batches = tiny
    steps = sum(w.numel() for w in model.parameters())
    found = module.run(model, batches, steps=40, keep=tmp_path)
    again = module.run(model, batches, steps=40, keep=tmp_path)  # from the files
    for kind in module.KINDS:
        op = module.KINDS[kind](model, module.torch.nn.functional.cross_entropy, batches)
        values = np.linalg.eigvalsh(np.asarray(op.todense(), dtype=float))
        top = found[kind]["density"].rules[0][0][-3:]
        np.testing.assert_allclose(top, values[-3:], rtol=1e-3)
        assert found[kind]["density"].size == steps
        np.testing.assert_array_equal(found[kind]["density"].nodes, again[kind]["density"].nodes)
    compared = module.compared(found, 3)
    assert compared["hessian"]["relative difference of the C largest"] < 1e-3
    assert compared["ggn"]["negative mass"] < 0.5 and 1 <= compared["ggn"]["outliers"]["count"] <= 9
    json.dumps(compared)


def test_losses_along_ritz_vectors(tiny, tmp_path):
    """Where there are no kinks the second difference along each is its Ritz value; claims are made, a picture drawn."""
    _, (first, _, last), batches = tiny
    module = script("thesis_table_4_3")
    model = module.torch.nn.Sequential(first, module.torch.nn.Tanh(), last)
    both = tuple(module.torch.cat(part) for part in zip(*batches, strict=True))
    found = module.run(model, module.data.Split(both, both, {}), steps=30, points=3, span=0.02)
    for one in found.values():
        losses = one["scapes"][0].losses
        assert one["largest difference of the rises over that of train"] == 0.0
        if one["eigenvalue"] is not None and one["eigenvalue"] > 0.1:
            assert (losses[0] + losses[2] - 2 * losses[1]) / 0.02**2 == pytest.approx(one["eigenvalue"], rel=0.05)
    assert held(module.claims(found, "small"))[0] == "yes"
    module.picture(found, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_rises_of_a_parabola_beside_a_tilted_one():
    x = np.linspace(-1, 1, 5)
    found = script("thesis_table_4_3").rises(x**2, x**2 + 0.5 * x + 3)
    assert found["train"] == 1 and found["test"] == 1.5
    assert found["largest difference of the rises over that of train"] == 0.5


def test_outliers_are_those_within_the_classes():
    module = script("thesis_figures_4_7_and_4_8")
    found = module.outliers(np.array([0.0, 1.0, 2.0, 6.0, 8.0]), np.array([0.9, 0.8, 0.1, 0.7, 0.0]))
    assert (found["count"], found["leading"], found["gap below the leading"]) == (3, 2, 3.0)


def test_distance_of_distributions_is_exact():
    module = script("thesis_figures_4_7_and_4_8")
    assert module.wasserstein(([0.0, 1.0], [0.5, 0.5]), ([0.0, 3.0], [0.5, 0.5])) == pytest.approx(1.0)


@pytest.mark.slow
def test_report_of_a_network_trained_on_fashion_mnist(spectra_data, tmp_path):
    pytest.importorskip("torch")
    module = script("thesis_figures_4_7_and_4_8")
    split = module.data.load("fashion-mnist", train=1000, test=200)
    model = module.networks.mlp(10, 1, 28, widths=(24, 16))
    optimizer = module.torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    history = module.train.fit(model, optimizer, split, 5, progress=False)
    document, found, diagonals = module.report("small", model, split, history, 500, 60, None, model, progress=False)
    assert "no" not in held(document["claims"])[2:5]
    assert document["spectra"]["ggn"]["outliers"]["count"] >= 4
    module.picture_4_7(found, diagonals, tmp_path / "a.png")
    module.picture_4_8(found["hessian"]["density"], tmp_path / "b.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000 < (tmp_path / "b.png").stat().st_size
