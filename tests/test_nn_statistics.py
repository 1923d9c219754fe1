"""Statistics of networks against dense matrices, landscapes against the loss, augmented data against their source."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn as layers  # noqa: E402

import spectra  # noqa: E402
from spectra import nn  # noqa: E402

CRITERION = layers.CrossEntropyLoss()


@pytest.fixture
def problem():
    torch.manual_seed(0)
    model = layers.Sequential(layers.Linear(3, 4), layers.Tanh(), layers.Linear(4, 3)).double()
    x, y = torch.randn(40, 3).double(), torch.randint(3, (40,))
    return model, list(zip(x.split(10), y.split(10), strict=True))


def test_summary_against_the_dense_hessian(problem):
    model, batches = problem
    H = nn.HessianOperator(model, CRITERION, batches).todense()
    values = torch.linalg.eigvalsh(H).numpy()
    found = nn.statistics(model, CRITERION, batches, steps=31, probes=12, rng=0)
    assert found["hessian_largest"].value == pytest.approx(values[-1], rel=1e-4)
    assert found["hessian_smallest"].value == pytest.approx(values[0], rel=1e-3)
    truths = {"trace": values.sum(), "squared_norm": (values**2).sum(), "negative_mass": np.mean(values < 0)}
    for name, truth in truths.items():
        estimate = found[f"hessian_{name}"]
        assert abs(estimate.value - truth) < 4 * estimate.stderr + 1e-9 * abs(truth)
    assert found["ggn_negative_mass"].value < 0.5 and found["ggn_smallest"].value > -1e-8
    assert found["hessian_norm"].value == pytest.approx(np.abs(values).max(), rel=1e-4)
    assert found["hessian_squared_norm"].value == pytest.approx(H.square().sum().item(), rel=0.3)
    weights = torch.cat([w.detach().ravel() for w in model.parameters()])
    assert found["weight_norm"].value == pytest.approx(weights.norm().item())
    assert found["largest_weight"].value == weights.abs().max().item()
    assert found["loss"].value == pytest.approx(np.mean([CRITERION(model(x), y).item() for x, y in batches]))


def test_variance_of_gradients(problem):
    model, batches = problem
    each = nn.EmpiricalFisherOperator(model, CRITERION, batches, centered=True)
    truth = each.todense().trace().item() * 40 / 39 / each.shape[0]  # per sample, with n - 1
    singles = [(x[i : i + 1], y[i : i + 1]) for x, y in batches for i in range(10)]
    found = nn.gradient_variance(model, CRITERION, singles)
    assert found.per_sample == pytest.approx(truth, rel=1e-6) and found.at_batch_size == 1
    coarse = nn.gradient_variance(model, CRITERION, batches, batch_size=1)
    assert abs(coarse.value - truth) < 4 * coarse.stderr
    with pytest.raises(ValueError, match="at least two batches"):
        nn.gradient_variance(model, CRITERION, batches[:1])
    for variance in (nn.gradient_variance, nn.curvature_variance):
        with pytest.raises(ValueError, match="mean of its samples"):
            variance(model, layers.CrossEntropyLoss(reduction="sum"), batches)


def test_shares_of_a_network_at_a_shallow_depth(problem):
    """The bracket of the negative mass covers what the depth leaves open, the standard error the probes."""
    model, batches = problem
    H = nn.HessianOperator(model, CRITERION, batches)
    truth = np.mean(torch.linalg.eigvalsh(H.todense()).numpy() < 0)
    for steps in (4, 31):
        found = nn.negative_mass(spectra.spectral_density(H, steps=steps, probes=12, rng=0))
        low, high = found.interval(0.99)
        assert low <= truth <= high and (steps < 31 or high - low < 0.3)


def test_degeneracy_and_rank_of_a_gauss_newton_matrix():
    """Four samples of three classes leave all but eight dimensions flat."""
    torch.manual_seed(0)
    model = layers.Sequential(layers.Linear(3, 6), layers.Tanh(), layers.Linear(6, 3)).double()
    G = nn.GGNOperator(model, CRITERION, (torch.randn(4, 3).double(), torch.tensor([0, 1, 2, 0])))
    values = torch.linalg.eigvalsh(G.todense()).numpy()
    rank = int((values > 1e-12 * values[-1]).sum())
    assert rank == 8 <= nn.rank_bound(model, curvature="ggn", samples=4) == 12
    found = nn.rank_degeneracy(spectra.spectral_density(G, steps=12, probes=20, rng=0))
    assert abs(found.value - (45 - rank) / 45) < 3 * found.stderr and abs(found.location) < 1e-12


def test_heaviest_ritz_values_are_the_multiple_eigenvalues():
    """At w = 0 the Hessian of logistic regression is the covariance by (I - 1/C) / C: all eigenvalues are multiple."""
    torch.manual_seed(0)
    model = layers.Linear(3, 5, bias=False).double()
    layers.init.zeros_(model.weight)
    x = torch.randn(30, 3).double()
    H = nn.HessianOperator(model, CRITERION, (x, torch.randint(5, (30,))))
    truth = np.append(np.linalg.eigvalsh((x.T @ x / 30).numpy()) / 5, 0.0)
    rho = spectra.spectral_density(H, steps=15, probes=1, rng=0)
    found = nn.heaviest(rho, 4)
    assert np.allclose(sorted(value for value, _ in found), sorted(truth), atol=1e-12)
    assert sum(weight for _, weight in found) == pytest.approx(1)


@pytest.mark.parametrize("k", [0, -1, 1.5])
def test_the_number_of_ritz_values_is_a_count(k):
    with pytest.raises(ValueError, match="k must be a positive integer"):
        nn.heaviest(spectra.SpectralDensity([0.0, 1.0], [0.5, 0.5], 2), k)


def test_skewness_of_the_bulk(problem):
    model, batches = problem
    G = nn.GGNOperator(model, CRITERION, batches)
    values = torch.linalg.eigvalsh(G.todense()).numpy()
    complete = spectra.SpectralDensity(values, np.full(31, 1 / 31), 31, complete=True)
    inside = values[(values > 1e-10) & (values < values[-2])]
    truth = np.mean((inside - inside.mean()) ** 3) / inside.std() ** 3
    assert nn.skewness(complete, 1e-10, values[-3]).value == pytest.approx(truth) and truth > 1
    found = nn.skewness(spectra.spectral_density(G, steps=31, probes=16, rng=0), 1e-10, values[-3] * (1 + 1e-9))
    assert abs(found.value - truth) < 3 * found.stderr
    with pytest.raises(ValueError, match="needs three"):
        nn.skewness(complete, 100.0)


def test_diagonals_exact_and_by_monte_carlo(problem):
    model, batches = problem
    H = nn.HessianOperator(model, CRITERION, batches)
    truth = H.todense().diagonal().numpy()
    assert np.allclose(spectra.diagonal(H, method="exact").value, truth, atol=1e-14)
    found = spectra.diagonal(H, method="hutchinson", matvecs=200, rng=0)
    assert np.mean(np.abs(np.asarray(found.value) - truth) < 3 * np.asarray(found.stderr)) > 0.95
    assert np.abs(np.asarray(found.value) - truth).max() < 0.5 * np.abs(truth).max()


def test_rank_bounds_of_networks():
    assert nn.rank_bound(layers.Linear(5, 2)) == 40
    with pytest.raises(ValueError, match="BatchNorm1d"):
        nn.rank_bound(layers.Sequential(layers.Linear(5, 2), layers.BatchNorm1d(2)))


def test_landscapes_are_losses_at_moved_weights(problem):
    model, batches = problem
    H = nn.HessianOperator(model, CRITERION, batches)
    u, v = torch.randn(2, H.shape[0]).double()
    before = [w.detach().clone() for w in model.parameters()]
    found = nn.landscape(model, CRITERION, batches, [u, H.to_dict(v)], span=0.5, points=3)
    assert all(torch.equal(w, b) for w, b in zip(model.parameters(), before, strict=True))
    assert found.losses[1, 1] == pytest.approx(H.loss())
    with torch.no_grad():
        for w, du, dv in zip(model.parameters(), H.to_dict(u).values(), H.to_dict(v).values(), strict=True):
            w.add_(0.5 * du - 0.5 * dv)
    assert found.losses[2, 0] == pytest.approx(H.loss())
    assert found.coordinates[0].tolist() == [-0.5, 0.0, 0.5]


def test_curvature_along_a_ritz_vector(problem):
    model, batches = problem
    H = nn.HessianOperator(model, CRITERION, batches)
    values, vectors, _ = spectra.eigenpairs(H, 1, which="LA", rng=0)
    h = 1e-3
    low, middle, high = nn.landscape(model, CRITERION, batches, vectors, span=h, points=3).losses
    assert (low - 2 * middle + high) / h**2 == pytest.approx(values[0], rel=1e-3)


def test_statistics_of_batch_norm_follow_the_weights():
    torch.manual_seed(0)
    model = layers.Sequential(layers.Linear(3, 3), layers.BatchNorm1d(3), layers.Linear(3, 2))
    batch = torch.randn(64, 3), torch.randint(2, (64,))
    model(batch[0])
    model.eval()
    direction = {name: torch.zeros_like(w) for name, w in model.named_parameters()}
    direction["0.weight"] = model[0].weight.detach().clone()  # scaling before batch norm changes nothing
    direction["0.bias"] = model[0].bias.detach().clone()
    stale = nn.landscape(model, CRITERION, [batch], direction, span=0.9, points=3).losses
    fresh = nn.landscape(model, CRITERION, [batch], direction, span=0.9, points=3, refresh=[batch]).losses
    assert np.ptp(fresh) < 1e-2 * fresh[1] and np.ptp(stale) > 10 * np.ptp(fresh)


def test_statistics_of_batch_norm_are_means_over_batches_without_dropout():
    """As `update_bn` makes them, and of batches that it does not know."""
    torch.manual_seed(0)
    model = layers.Sequential(layers.Dropout(0.5), layers.Linear(3, 3), layers.BatchNorm1d(3), layers.Linear(3, 2))
    batches = [(torch.randn(n, 3), torch.randint(2, (n,))) for n in (9, 16)]
    plain = copy.deepcopy(model)
    plain[0] = layers.Identity()
    torch.optim.swa_utils.update_bn([x for x, _ in batches], plain)
    plain.eval()
    expected = sum(CRITERION(plain(x), y).item() * len(y) for x, y in batches) / 25
    state, before = torch.get_rng_state(), copy.deepcopy(model.state_dict())

    def loss(model, batch):
        return CRITERION(model(batch["x"]), batch["y"])

    found = nn.landscape(model, loss, [{"x": x, "y": y} for x, y in batches], nn.random_direction(model, rng=0),
                         points=1, span=0.0, refresh=[{"x": x, "y": y} for x, y in batches])
    assert found.losses[0] == pytest.approx(expected, rel=1e-6)
    assert torch.equal(state, torch.get_rng_state()) and model.training and all(
        torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(TypeError, match="read only once"):
        nn.landscape(model, CRITERION, batches, nn.random_direction(model, rng=0), points=3, refresh=iter(batches))


def test_only_a_loss_without_end_is_infinite(problem):
    model, batches = problem
    direction = nn.random_direction(model, rng=0)
    far = nn.landscape(model, CRITERION, batches, {name: 1e200 * one for name, one in direction.items()}, span=1e200,
                       points=3).losses
    assert np.isinf(far[[0, 2]]).all() and np.isfinite(far[1])
    with pytest.raises(ValueError, match="hold no batch"):
        nn.landscape(model, CRITERION, [], direction, points=3)
    with pytest.raises(ValueError, match="cannot be weighted"):
        nn.landscape(model, lambda m, b: CRITERION(m(b[0]), b[1]), [(x, 0 * y - 100) for x, y in batches], direction,
                     points=3)


def test_parameters_may_be_given_once(problem):
    """As a generator, which most modules give."""
    model, batches = problem
    last = list(model.children())[-1]
    size = sum(w.numel() for w in last.parameters())
    assert nn.gradient_variance(model, CRITERION, batches, params=last.parameters()).parameters == size
    assert nn.curvature_variance(model, CRITERION, batches, params=last.parameters(), rng=0).parameters == size
    found = nn.statistics(model, CRITERION, batches, params=last.parameters(), steps=4, curvatures=["ggn"], rng=0)
    weights = torch.nn.utils.parameters_to_vector(last.parameters())
    assert found["weight_norm"].value == pytest.approx(weights.norm().item())
    assert nn.landscape(model, CRITERION, batches, torch.zeros(size), params=last.parameters(), points=1).losses.size


@pytest.mark.parametrize("variance", [nn.gradient_variance, nn.curvature_variance])
@pytest.mark.parametrize("size", [0, 2.5])
def test_a_batch_size_is_a_count(problem, variance, size):
    model, batches = problem
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        variance(model, CRITERION, batches, batch_size=size)


def test_what_is_no_direction_is_refused(problem):
    model, batches = problem
    with pytest.raises(ValueError, match="points must be"):
        nn.landscape(model, CRITERION, batches, nn.random_direction(model, rng=0), points=0)
    with pytest.raises(ValueError, match="missing"):
        nn.landscape(model, CRITERION, batches, {"0.weight": model[0].weight})
    with pytest.raises(ValueError, match="one or two directions"):
        nn.landscape(model, CRITERION, batches, [])
    with pytest.raises(ValueError, match="one entry for each"):
        nn.landscape(model, CRITERION, batches, torch.ones(3))


def test_random_directions_have_the_scale_of_filters():
    model = layers.Sequential(layers.Conv2d(2, 3, 3), layers.BatchNorm2d(3))
    found = nn.random_direction(model, rng=0)
    norms = [w.detach().flatten(1).norm(dim=1) for w in (found["0.weight"], model[0].weight)]
    torch.testing.assert_close(*norms)
    assert not found["1.weight"].any()
    assert torch.equal(found["0.weight"], nn.random_direction(model, rng=0)["0.weight"])


def test_augmented_copies_are_flips_and_shifts_of_the_data():
    images = torch.arange(2 * 16.0).reshape(2, 1, 4, 4) + 1
    data = nn.Augmented(images, torch.tensor([0, 1]), copies=20, padding=1, batch_size=7, rng=0)
    x, y = (torch.cat(parts) for parts in zip(*data, strict=True))
    assert torch.equal(x[:2], images) and y.tolist() == [0, 1] * 20 and len(x) == data.samples == 40
    shifts = [(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
    for image, label in zip(x, y, strict=True):
        sources = [images[label], images[label].flip(-1)]
        padded = [torch.nn.functional.pad(source, (1,) * 4) for source in sources]
        views = [p[:, 1 + dx : 5 + dx, 1 + dy : 5 + dy] for p in padded for dx, dy in shifts]
        assert any(torch.equal(image, view) for view in views)
    assert len({tuple(one.ravel().tolist()) for one in x}) > 20
    H = nn.HessianOperator(layers.Sequential(layers.Flatten(), layers.Linear(16, 2)), CRITERION, data)
    assert torch.equal(H @ torch.ones(34), H @ torch.ones(34))
    with pytest.raises(ValueError, match="N labels"):
        nn.Augmented(images, torch.zeros(3), copies=2)
