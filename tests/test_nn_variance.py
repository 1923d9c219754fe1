"""The variance of mini-batch curvature against dense truth; the papers' algorithm as printed fails the same test."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn as layers  # noqa: E402
from torch.func import functional_call, grad, jacfwd, vmap  # noqa: E402

from spectra import nn  # noqa: E402
from spectra.nn._variance import METHODS  # noqa: E402

LOSS = layers.CrossEntropyLoss()


def problem(samples=120, widths=(4, 6, 3), seed=0):
    torch.manual_seed(seed)
    each = [one for a, b in itertools.pairwise(widths) for one in (layers.Linear(a, b), layers.Tanh())]
    model = layers.Sequential(*each[:-1]).double()
    return model, torch.randn(samples, widths[0]).double(), torch.randint(widths[-1], (samples,))


def single_sample_matrices(model, x, y, curvature):
    """By forward mode over reverse mode, or from J and the softmax, shape (N, P, P)."""
    names, shapes = zip(*((name, w.shape) for name, w in model.named_parameters()), strict=True)
    point = torch.cat([w.detach().flatten() for w in model.parameters()])

    def outputs(w, x):
        pieces = w.split([shape.numel() for shape in shapes])
        held = {name: piece.view(shape) for name, piece, shape in zip(names, pieces, shapes, strict=True)}
        return functional_call(model, held, (x[None],))[0]

    if curvature == "hessian":
        hessian = jacfwd(grad(lambda w, x, y: LOSS(outputs(w, x), y)))
        return vmap(lambda x, y: hessian(point, x, y))(x, y)
    J, p = vmap(lambda x: jacfwd(outputs)(point, x))(x), model(x).softmax(1).detach()
    return J.mT @ (torch.diag_embed(p) - p[:, :, None] * p[:, None]) @ J


def per_sample_variance(matrices):
    """E ||C_i - C||_F^2 / P over the samples, with n - 1."""
    return ((matrices - matrices.mean(0)).square().sum() / (len(matrices) - 1) / matrices.shape[1]).item()


def cut(x, y, size):
    return list(zip(x.split(size), y.split(size), strict=True))


def printed(matrices, size, probes, seed):
    """As printed: the sum over batches is not divided by their number, and (v' C v)^2 stands in place of ||C v||^2."""
    batches = matrices.reshape(-1, size, *matrices.shape[1:]).mean(1).numpy()
    v = np.random.default_rng(seed).choice([-1.0, 1.0], (matrices.shape[1], probes))
    return (sum(((C @ v) ** 2).sum(0) for C in batches) - (v * (batches.mean(0) @ v)).sum(0) ** 2) / len(v)


@pytest.mark.parametrize("curvature", ["hessian", "ggn"])
@pytest.mark.parametrize(("size", "samples"), [(8, 120), (5, 60), (16, 256)])
def test_estimates_are_within_three_standard_errors(size, samples, curvature):
    model, x, y = problem(samples)
    matrices = single_sample_matrices(model, x, y, curvature)
    truth = per_sample_variance(matrices) / size
    for method in METHODS:
        for seed in range(2):
            found = nn.curvature_variance(model, LOSS, cut(x, y, size), curvature=curvature, method=method, probes=6,
                                          rng=seed)
            assert abs(found.value - truth) < 3 * found.stderr and found.stderr < 0.5 * truth
            assert found.at_batch_size == size and found.per_sample == pytest.approx(found.value * size)
            assert found.sigma2 * found.parameters == pytest.approx(found.per_sample)
    usable = samples // size * size
    wrong = printed(matrices[:usable], size, 200, 0)
    assert wrong.mean() - truth > 3 * wrong.std(ddof=1) / 200**0.5 and wrong.mean() > 5 * truth


@pytest.mark.slow
def test_estimates_of_a_larger_network():
    model, x, y = problem(96, (20, 30, 10, 3))
    squares, means = 0.0, []
    for part in cut(x, y, 8):
        matrices = single_sample_matrices(model, *part, "hessian")
        squares += matrices.square().sum()
        means.append(matrices.mean(0))
    means = torch.stack(means)
    assert means.shape[1:] == (973, 973)
    truth = ((squares - 96 * means.mean(0).square().sum()) / 95 / 973).item()
    for size in (4, 8):
        for method in METHODS:
            for seed in range(4):
                found = nn.curvature_variance(model, LOSS, cut(x, y, size), method=method, probes=4, rng=seed)
                assert abs(found.per_sample - truth) < 3 * found.stderr * size
    wrong = printed(means, 1, 50, 0)
    assert wrong.mean() - truth / 8 > 3 * wrong.std(ddof=1) / 50**0.5 and wrong.mean() > 5 * truth / 8


def test_all_splits_and_all_signs_average_to_the_truth():
    """Four samples: the mean over many draws of half and probe is the variance, to the accuracy of the draws."""
    model, x, y = problem(4, seed=3)
    found = [nn.curvature_variance(model, LOSS, (x, y), probes=64, rng=seed, batch_size=1).value for seed in range(12)]
    expected = per_sample_variance(single_sample_matrices(model, x, y, "hessian"))
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / np.sqrt(12))


def test_uneven_batches_and_an_odd_sample():
    model, x, y = problem(23)
    batches = [(x[:9], y[:9]), (x[9:14], y[9:14]), (x[14:], y[14:])]
    for method in METHODS:
        found = nn.curvature_variance(model, LOSS, batches, method=method, probes=4, rng=1)
        assert found.value > 0 and found.at_batch_size == 9 and found.matvecs in (4, 12)


@pytest.mark.parametrize(("options", "message"), [
    ({"curvature": "fisher"}, "curvature must be"), ({"method": "printed"}, "method must be"),
    ({"method": "pair"}, "needs two batches"), ({"method": "sample"}, "needs two batches"), ({"probes": 0}, "positive"),
])
def test_what_cannot_be_estimated_is_refused(options, message):
    model, x, y = problem(4)
    with pytest.raises(ValueError, match=message):
        nn.curvature_variance(model, LOSS, (x, y), **options)
    with pytest.raises(ValueError, match="cannot be split"):
        nn.curvature_variance(model, LOSS, (x[:1], y[:1]))
