"""Newton steps in Krylov spaces, and SGD by its spectrum: against dense linear algebra and known rates."""

import copy
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn as layers  # noqa: E402

from spectra import nn, optim  # noqa: E402

CRITERION = layers.CrossEntropyLoss()


def problem(samples=24, seed=0):
    torch.manual_seed(seed)
    model = layers.Sequential(layers.Linear(3, 4), layers.Tanh(), layers.Linear(4, 3)).double()
    return model, (torch.randn(samples, 3).double(), torch.randint(3, (samples,)))


def weights(model):
    return torch.cat([w.detach().ravel() for w in model.parameters()])


def quadratic(n=6, seed=0):
    rng = np.random.default_rng(seed)
    M = rng.standard_normal((n, n))
    A = torch.from_numpy(M + M.T)
    w = torch.nn.Parameter(torch.from_numpy(rng.standard_normal(n)))
    return A, w, lambda: w @ A @ w / 2


def absolute(A):
    values, vectors = torch.linalg.eigh(A)
    return vectors @ torch.diag(values.abs()) @ vectors.T


@pytest.mark.parametrize("start", ["gradient", "random"])
def test_one_step_on_a_quadratic_is_the_damped_newton_step(start):
    A, w, loss = quadratic()
    before = w.detach().clone()
    optim.LanczosOPT([w], lr=1.0, damping=0.3, k=6, start=start, rng=0).step(loss)
    expected = before - torch.linalg.solve(absolute(A) + 0.3 * torch.eye(6), A @ before)
    torch.testing.assert_close(w.detach(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("mode", "weight"), [("divide", lambda x, d: 1 / (4 * (x + d))),
                                              ("scale", lambda x, d: 1 / (4 * x + d)),
                                              ("add", lambda x, d: 1 / (x + d + 4))])
def test_sharp_directions_are_scaled_and_the_rest_is_exact(mode, weight):
    A, w, loss = quadratic()
    before, k, damping = w.detach().clone(), 3, 0.3
    g = (A @ before)
    K = torch.linalg.qr(torch.stack([g, A @ g, A @ A @ g], 1))[0]
    values, inner = torch.linalg.eigh(K.T @ A @ K)
    ritz = K @ inner
    inside = ritz.T @ g
    expected = before - 0.1 * (ritz @ (weight(values.abs(), damping) * inside) + (g - ritz @ inside) / damping)
    optim.LanczosOPT([w], lr=0.1, damping=damping, k=k, sharp_scale=4.0, mode=mode).step(loss)
    torch.testing.assert_close(w.detach(), expected, rtol=1e-6, atol=1e-9)


def test_the_gauss_newton_step_is_dense_algebra():
    model, (x, y) = problem()
    G = nn.GGNOperator(model, CRITERION, (x, y), check=None).todense()
    before, g = weights(model), nn.HessianOperator(model, CRITERION, (x, y), check=None).gradient()
    optimizer = optim.LanczosOPT(model.parameters(), lr=1.0, damping=0.05, k=31, curvature="ggn")

    def closure():
        outputs = model(x)
        return CRITERION(outputs, y), outputs

    optimizer.step(closure)
    expected = before - torch.linalg.solve(G + 0.05 * torch.eye(len(G)), g)
    torch.testing.assert_close(weights(model), expected, rtol=1e-5, atol=1e-7)
    assert optimizer.ritz_values.min() > -1e-10


def test_training_and_restoring_to_the_same_bits():
    model, (x, y) = problem()
    make = lambda net: optim.LanczosOPT(net.parameters(), lr=0.3, damping=0.1, k=8, start="random", every=2,  # noqa: E731
                                        rng=1)
    optimizer = make(model)
    losses = [optimizer.step(lambda: CRITERION(model(x), y)).item() for _ in range(9)]
    assert losses[-1] < 0.8 * losses[0]
    other, _ = problem(seed=2)
    other.load_state_dict(model.state_dict())
    again = make(other)
    again.load_state_dict(pickle.loads(pickle.dumps(optimizer.state_dict())))
    for _ in range(3):
        optimizer.step(lambda: CRITERION(model(x), y)), again.step(lambda: CRITERION(other(x), y))
    assert torch.equal(weights(model), weights(other))
    third, copied = copy.deepcopy((model, optimizer))
    optimizer.step(lambda: CRITERION(model(x), y)), copied.step(lambda: CRITERION(third(x), y))
    assert torch.equal(weights(model), weights(third))


def test_groups_frozen_parameters_and_zero_gradients():
    a, b, frozen = (torch.nn.Parameter(torch.ones(2).double()) for _ in range(3))
    frozen.requires_grad_(False)
    optimizer = optim.LanczosOPT([{"params": [a], "lr": 1.0}, {"params": [b, frozen], "lr": 0.0, "damping": 3.0}], k=4)
    optimizer.step(lambda: (a**2).sum() + (b**2).sum())
    assert torch.allclose(a, torch.full((2,), 1 - 2 / 2.1).double()) and torch.equal(b, torch.ones(2).double())
    with torch.no_grad():
        a.zero_(), b.zero_()
    optimizer.step(lambda: (a**2).sum() + (b**2).sum())
    assert torch.equal(a, torch.zeros(2).double())


def test_closures_that_spend_the_graph_are_refused():
    _, w, loss = quadratic()

    def closure():
        value = loss()
        value.backward()
        return value

    with pytest.raises(ValueError, match="does not call backward"):
        optim.LanczosOPT([w]).step(closure)
    with pytest.raises(ValueError, match="the closure returns"):
        optim.LanczosOPT([w], curvature="ggn").step(loss)


def test_what_is_no_loss_is_refused():
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = optim.LanczosOPT([w])
    for closure, message in ((None, "needs a closure"), (lambda: w**2, r"found shape \(3,\)"),
                             (lambda: 3.0, "found float")):
        with pytest.raises(ValueError, match=message):
            optimizer.step(closure)
    w.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter that is trained"):
        optimizer.step(lambda: (w**2).sum())


@pytest.mark.parametrize(("options", "message"), [
    ({"damping": 0.0}, "damping must be positive"), ({"k": 0}, "k must be"), ({"mode": "x"}, "mode must be"),
    ({"curvature": "x"}, "curvature must be"), ({"start": "x"}, "start must be"), ({"sharp_scale": 0.0}, "sharp_scale"),
    ({"sharp_scale": "x"}, "sharp_scale must be"),
])
def test_wrong_lanczos_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        optim.LanczosOPT([torch.nn.Parameter(torch.ones(2))], **options)


# SGD by its spectrum


def test_rates_of_convergence_are_the_textbooks():
    """On a quadratic with eigenvalues in [1, 100] heavy balls contract by (10 - 1) / (10 + 1) a step."""
    diagonal = torch.linspace(1, 100, 12).double()
    w = torch.nn.Parameter(torch.ones(12).double())
    optimizer = torch.optim.SGD([w], lr=1e-9, momentum=0.0)
    tuning = optim.SpectralSGDM(optimizer, rule="polyak", steps=12, spike=1.0, rng=0, every=1000)
    loss = lambda: (w * diagonal * w).sum() / 2  # noqa: E731
    tuning.step(loss)
    group = optimizer.param_groups[0]
    assert group["lr"] == pytest.approx((2 / 11) ** 2) and group["momentum"] == pytest.approx((9 / 11) ** 2)
    norms = []
    for _ in range(120):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        norms.append(w.detach().norm().item())
    assert (norms[-1] / norms[59]) ** (1 / 60) == pytest.approx(9 / 11, abs=0.02)


def test_nesterovs_and_the_printed_rule():
    for rule, lr in (("nesterov", 1 / 100), ("thesis", 0.1)):
        w = torch.nn.Parameter(torch.ones(2).double())
        optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.5)
        optim.SpectralSGDM(optimizer, rule=rule, spike=1.0).step(
            lambda w=w: (w * torch.tensor([1.0, 100.0]) * w).sum() / 2)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(lr)
        assert optimizer.param_groups[0]["momentum"] == pytest.approx(9 / 11)
        assert optimizer.param_groups[0]["nesterov"] is (rule == "nesterov")


def test_spikes_are_removed():
    from spectra.optim._spectral_sgd import extremes

    assert extremes(np.array([1e-6, 0.5, 4.0]), np.array([0.8, 0.08, 0.12]), 0.65) == (0.5, 4.0)
    assert extremes(np.array([3.0]), np.array([1.0]), 0.5) == (3.0, 3.0)


def test_a_linear_loss_changes_nothing():
    w = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.5)
    optim.SpectralSGDM(optimizer, rng=0).step(lambda: w.sum())
    assert optimizer.param_groups[0]["lr"] == 0.1
