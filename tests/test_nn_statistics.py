"""Statistics of networks against dense matrices, landscapes against the loss, augmented data against their source."""

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
    found = nn.statistics(model, CRITERION, batches, steps=31, probes=30, rng=0)
    assert found["hessian_largest"].value == pytest.approx(values[-1], rel=1e-4)
    assert found["hessian_smallest"].value == pytest.approx(values[0], rel=1e-3)
    truths = {"trace": values.sum(), "squared_norm": (values**2).sum(), "negative_mass": np.mean(values < 0)}
    for name, truth in truths.items():
        estimate = found[f"hessian_{name}"]
        assert abs(estimate.value - truth) < 4 * estimate.stderr + 1e-9 * abs(truth)
    assert found["ggn_negative_mass"].value < 0.5 and found["ggn_smallest"].value > -1e-8
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


def test_degeneracy_is_what_lies_at_zero():
    values = np.concatenate([np.zeros(80), np.linspace(1, 2, 20)])
    rho = spectra.spectral_density(np.diag(values), steps=20, probes=10, rng=0)
    found = nn.rank_degeneracy(rho)
    assert abs(found.value - 0.8) < 4 * found.stderr + 1e-12 and abs(found.location) < 1e-10
    assert nn.heaviest(rho, 1)[0][1] > 0.6


def test_bulk_without_spike_and_outliers():
    values = np.concatenate([np.zeros(50), np.random.default_rng(0).exponential(size=200), [40.0]])
    rho = spectra.SpectralDensity(values, np.ones(251), 251, complete=True)
    x = values[50:250]
    truth = np.mean((x - x.mean()) ** 3) / x.std() ** 3
    assert nn.skewness(rho, 1e-9, 30.0).value == pytest.approx(truth)
    with pytest.raises(ValueError, match="needs three"):
        nn.skewness(rho, 100.0)


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


def test_what_is_no_direction_is_refused(problem):
    model, batches = problem
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


def test_a_lanczos_run_on_a_network_is_saved_and_resumed_to_the_same_bits(problem, tmp_path):
    model, batches = problem
    H = nn.HessianOperator(model, CRITERION, batches)
    start = torch.randn(H.shape[0]).double()
    whole = spectra.krylov.LanczosRun(H, start)
    whole.advance(12)
    part = spectra.krylov.LanczosRun(H, start)
    part.advance(5)
    part.save(tmp_path / "run.npz")
    again = spectra.krylov.LanczosRun.load(tmp_path / "run.npz", H)
    again.advance(7)
    assert np.array_equal(whole.alpha, again.alpha) and np.array_equal(whole.beta, again.beta)
