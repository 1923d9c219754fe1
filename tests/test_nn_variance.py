"""The variance of mini-batch curvature against dense truth; the papers' algorithm as printed fails the same test."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn as layers  # noqa: E402

from spectra import nn  # noqa: E402
from spectra.nn._variance import METHODS  # noqa: E402


def problem(samples=120, seed=0):
    torch.manual_seed(seed)
    model = layers.Sequential(layers.Linear(4, 6), layers.Tanh(), layers.Linear(6, 3)).double()
    return model, layers.CrossEntropyLoss(), torch.randn(samples, 4).double(), torch.randint(3, (samples,))


def single_sample_matrices(model, loss_fn, x, y, kind):
    """From one operator on batches of one sample."""
    each = kind(model, loss_fn, [(x[i : i + 1], y[i : i + 1]) for i in range(len(x))], check=None)
    return torch.stack(list(each.per_batch(torch.eye(each.shape[0]).double())))


def per_sample_variance(matrices):
    """E ||C_i - C||_F^2 / P over the samples, with n - 1."""
    return ((matrices - matrices.mean(0)).square().sum() / (len(matrices) - 1) / matrices.shape[1]).item()


@pytest.fixture(scope="module")
def truth():
    model, loss_fn, x, y = problem()
    kinds = {"hessian": nn.HessianOperator, "ggn": nn.GGNOperator}
    return {name: single_sample_matrices(model, loss_fn, x, y, kind) for name, kind in kinds.items()}


@pytest.mark.parametrize("curvature", ["hessian", "ggn"])
@pytest.mark.parametrize("method", METHODS)
def test_estimates_are_within_three_standard_errors(method, curvature, truth):
    model, loss_fn, x, y = problem()
    batches = list(zip(x.split(8), y.split(8), strict=True))
    found = nn.curvature_variance(model, loss_fn, batches, curvature=curvature, method=method, probes=12, rng=0,
                                  batch_size=32)
    expected = per_sample_variance(truth[curvature])
    assert found.per_sample == pytest.approx(found.value * 32) and found.at_batch_size == 32
    assert abs(found.per_sample - expected) < 3 * found.stderr * 32 + 0.05 * expected  # "sample" knows its probes only
    assert found.sigma2 * found.parameters == pytest.approx(found.per_sample)


def test_the_printed_algorithm_fails(truth):
    """Not divided by N, and with (v' C v)^2 in place of ||C v||^2, it is off by an order of magnitude."""
    matrices = truth["hessian"]
    rng = np.random.default_rng(0)
    batches = matrices.reshape(8, 15, *matrices.shape[1:]).mean(1).numpy()
    v = rng.standard_normal((matrices.shape[1], 200))
    printed = sum(((H @ v) ** 2).sum(0) for H in batches) - np.einsum("ik,ij,jk->k", v, batches.mean(0), v) ** 2
    expected = per_sample_variance(matrices) / 15
    assert printed.mean() / matrices.shape[1] > 5 * expected


def test_all_splits_and_all_signs_average_to_the_truth():
    """Four samples: the mean over many draws of half and probe is the variance, to the accuracy of the draws."""
    model, loss_fn, x, y = problem(4, seed=3)
    matrices = single_sample_matrices(model, loss_fn, x, y, nn.HessianOperator)
    found = [nn.curvature_variance(model, loss_fn, (x, y), probes=64, rng=seed, batch_size=1).value
             for seed in range(40)]
    expected = per_sample_variance(matrices)
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / np.sqrt(40))


def test_uneven_batches_and_an_odd_sample():
    model, loss_fn, x, y = problem(23)
    batches = [(x[:9], y[:9]), (x[9:14], y[9:14]), (x[14:], y[14:])]
    for method in METHODS:
        found = nn.curvature_variance(model, loss_fn, batches, method=method, probes=4, rng=1)
        assert found.value > 0 and found.at_batch_size == 9 and found.matvecs in (4, 12)


def test_the_law_of_batch_sizes(truth):
    """Estimates from batches of 4 and of 40 are about the same number, at one batch size."""
    model, loss_fn, x, y = problem()
    found = {n: nn.curvature_variance(model, loss_fn, list(zip(x.split(n), y.split(n), strict=True)), probes=20, rng=2,
                                      batch_size=16) for n in (4, 20)}
    small, large = found.values()
    assert abs(small.value - large.value) < 4 * np.hypot(small.stderr, large.stderr)


@pytest.mark.parametrize(("options", "message"), [
    ({"curvature": "fisher"}, "curvature must be"), ({"method": "printed"}, "method must be"),
    ({"method": "pair"}, "needs two batches"), ({"method": "sample"}, "needs two batches"), ({"probes": 0}, "positive"),
])
def test_what_cannot_be_estimated_is_refused(options, message):
    model, loss_fn, x, y = problem(4)
    with pytest.raises(ValueError, match=message):
        nn.curvature_variance(model, loss_fn, (x, y), **options)
    with pytest.raises(ValueError, match="cannot be split"):
        nn.curvature_variance(model, loss_fn, (x[:1], y[:1]))
