"""Damping that sets itself: its estimates against dense curvature matrices, its rules, its controllers."""

import copy
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn as layers  # noqa: E402

from spectra import ConvergenceWarning, nn, optim, rmt  # noqa: E402

CRITERION = layers.CrossEntropyLoss()


def problem(samples=24, seed=0):
    torch.manual_seed(seed)
    model = layers.Sequential(layers.Linear(3, 4), layers.Tanh(), layers.Linear(4, 3)).double()
    return model, (torch.randn(samples, 3).double(), torch.randint(3, (samples,)))


def sgd(model, **options):
    return torch.optim.Adam(model.parameters(), **{"lr": 0.01, "eps": 0.5} | options)


def weights(model):
    return torch.cat([w.detach().ravel() for w in model.parameters()])


# The estimate


def singles(model, batch, curvature):
    """The curvature matrix of each sample, one after the other."""
    kind = {"hessian": nn.HessianOperator, "ggn": nn.GGNOperator}[curvature]
    parts = [(batch[0][i : i + 1], batch[1][i : i + 1]) for i in range(len(batch[0]))]
    operator = kind(model, CRITERION, parts, check=None)
    return operator.per_batch(torch.eye(operator.shape[0], dtype=operator.like.dtype))


def dense(model, batch, curvature):
    """The mean C of the samples' curvature matrices, and S = sum_i ||C_i - C||_F^2 / (n - 1)."""
    n, total, squares = len(batch[0]), 0.0, 0.0
    for matrix in singles(model, batch, curvature):
        total, squares = total + matrix, squares + matrix.square().sum().item()
    return total / n, (squares - total.square().sum().item() / n) / (n - 1)


def estimates(model, batches, repeats=150, **options):
    """Variances that a controller finds, and their mean and standard error."""
    damping = optim.AutoDamping(sgd(model), "eps", every=1, model=model, rng=0, **options)
    for i in range(repeats):
        damping.step(CRITERION, batches[i % len(batches)])
    found = np.array([entry["variance"] for entry in damping.history])
    return found, found.mean(), found.std() / np.sqrt(len(found))


@pytest.mark.parametrize("curvature", ["hessian", "ggn"])
@pytest.mark.parametrize("chunks", [1, 3])
def test_halves_have_the_right_mean(curvature, chunks):
    """For a fixed batch of n the mean over halves and probes is sum_i ||C_i - C||_F^2 / ((n - 1) B P)."""
    model, batch = problem(12)
    C, S = dense(model, batch, curvature)
    truth = S / (48 * len(C))
    _, mean, error = estimates(model, [batch], curvature=curvature, chunks=chunks, batch_size=48)
    assert mean == pytest.approx(truth, abs=3 * error)


@pytest.mark.parametrize("curvature", ["hessian", "ggn"])
def test_pairs_have_the_right_mean(curvature):
    """For two fixed batches of n and m the mean over probes is ||C_1 - C_2||_F^2 / ((1/n + 1/m) B P)."""
    model, (x, y) = problem(20)
    batches = [(x[:12], y[:12]), (x[12:], y[12:])]
    one, other = (dense(model, batch, curvature)[0] for batch in batches)
    truth = (one - other).square().sum().item() / ((1 / 12 + 1 / 8) * 10 * len(one))
    found, mean, error = estimates(model, batches, repeats=151, curvature=curvature, method="pair", batch_size=10)
    assert len(found) == 150 and mean == pytest.approx(truth, abs=3 * error)


@pytest.mark.parametrize("curvature", ["hessian", "ggn"])
def test_moments_have_the_right_mean(curvature):
    """What Ledoit and Wolf's rule takes: tr C / P, and tr C^2 / P without the noise of the batch."""
    model, batch = problem(24)
    C, S = dense(model, batch, curvature)
    damping = optim.AutoDamping(sgd(model), "eps", rule="ledoit-wolf", curvature=curvature, model=model, rng=0)
    found = np.array([damping._estimate(CRITERION, batch) for _ in range(150)])
    truth = [S / 24, C.trace().item(), C.square().sum().item() - S / 24]
    assert np.all(abs(found.mean(0) - np.array(truth) / len(C)) < 3 * found.std(0) / 150**0.5)


def test_a_part_of_the_batch_tells_as_much():
    """The same mean, and a spread that the probe makes."""
    model, batch = problem(96)
    (_, mean, error), (_, part, wider) = (estimates(model, [batch], samples=n) for n in (None, 32))
    assert abs(mean - part) < 3 * np.hypot(error, wider) and wider < 1.4 * error


def test_chunks_with_fresh_probes_tell_more():
    """At equal data, than the estimator of the published code: the variance of eight batches about their mean."""
    torch.manual_seed(0)
    model = layers.Sequential(layers.Linear(10, 20), layers.Tanh(), layers.Linear(20, 4))
    x, y = torch.randn(128, 10), torch.randint(4, (128,))
    batches = list(zip(x.split(16), y.split(16), strict=True))
    ours, mean, _ = estimates(model, [(x, y)], repeats=40, chunks=32, batch_size=16)
    theirs = np.array([nn.curvature_variance(model, CRITERION, batches, method="sample", rng=i).value
                       for i in range(40)])
    assert ours.std() / mean <= 0.6 * theirs.std() / theirs.mean()


@pytest.mark.slow
def test_a_convolutional_network_of_two_thousand_weights():
    """Every method against the dense truth, within three standard errors."""
    torch.manual_seed(0)
    model = layers.Sequential(layers.Conv2d(1, 6, 3), layers.ReLU(), layers.MaxPool2d(2), layers.Conv2d(6, 10, 3),
                              layers.ReLU(), layers.Flatten(), layers.Linear(160, 10))
    x, y = torch.randn(6, 1, 14, 14), torch.randint(10, (6,))
    for curvature in ("hessian", "ggn"):
        C, S = dense(model, (x, y), curvature)
        assert 2000 < len(C) < 2500
        for options in ({}, {"chunks": 3}):
            _, mean, error = estimates(model, [(x, y)], curvature=curvature, **options)
            assert mean == pytest.approx(S / (6 * len(C)), abs=3 * error)


def test_all_forms_of_a_loss_are_the_same_loss():
    found = []
    model, batch = problem()
    forms = [CRITERION, lambda part: CRITERION(model(part[0]), part[1]),
             lambda net, part: CRITERION(net(part[0]), part[1]), torch.nn.functional.cross_entropy]
    for form in forms:
        damping = optim.AutoDamping(sgd(model), "eps", model=model, rng=3)
        damping.step(form, batch)
        found.append(damping.history[0]["variance"])
    assert found == pytest.approx([found[0]] * 4)
    with pytest.raises(ValueError, match="no model is known"):
        optim.AutoDamping(sgd(model), "eps").step(CRITERION, batch)


def test_groups_share_the_whole():
    model, batch = problem()
    whole, parts = (optim.AutoDamping(
        torch.optim.Adam([{"params": model[0].parameters()}, {"params": model[2].parameters()}], eps=0.1), "eps",
        model=model, rng=5, per_group=apart) for apart in (False, True))
    whole.step(CRITERION, batch)
    parts.step(CRITERION, batch)
    sizes = np.array([16, 15])
    assert np.dot(parts.history[0]["variance"], sizes) / 31 == pytest.approx(whole.history[0]["variance"])
    assert parts.damping[0] != parts.damping[1] and whole.damping == whole.optimizer.param_groups[1]["eps"]


# The controller


@pytest.mark.parametrize("rule", ["variance", "edge", "shrinkage", "ledoit-wolf"])
def test_rules_are_those_of_random_matrices(rule):
    model, _ = problem()
    damping = optim.AutoDamping(sgd(model), "eps", rule=rule)
    damping.observe(0.04, 1.0, 3.0)
    floor = 0.5 if rule == "variance" else 0.0
    assert damping.damping == pytest.approx(floor + rmt.optimal_damping(0.04, rule=rule, mean=1.0, mean_square=3.0))


def test_a_scaled_edge_goes_with_the_learning_rate():
    """Initial, not scheduled, and with what momentum makes of it."""
    model, _ = problem()
    optimizer = optim.KFAC(model, lr=0.02, momentum=0.9)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.1)
    damping = optim.AutoDamping(optimizer, rule="scaled-edge")
    damping.observe(0.25)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.002) and damping.damping == pytest.approx(0.2 * 1.0)
    adam = optim.AutoDamping(sgd(model, lr=0.05), "eps", rule="scaled-edge")
    adam.observe(0.25)
    assert adam.damping == pytest.approx(0.5)


def test_the_old_damping_weighs_and_the_first_estimate_is_taken_whole():
    model, _ = problem()
    damping = optim.AutoDamping(sgd(model), "eps", floor=0.1, ema=0.7)
    damping.observe(0.9)
    assert damping.damping == pytest.approx(1.0)
    damping.observe(0.0)
    assert damping.damping == pytest.approx(0.7 * 1.0 + 0.3 * 0.1)


def test_floors_and_bounds():
    model, _ = problem()
    larger = optim.AutoDamping(sgd(model), "eps", floor=0.3, floor_mode="max")
    larger.observe(0.2)
    assert larger.damping == pytest.approx(0.3)
    bounded = optim.AutoDamping(sgd(model), "eps", rule="edge", bounds=(0.1, 0.15))
    bounded.observe(100.0)
    assert bounded.damping == 0.15


def test_estimates_that_are_not_finite_change_nothing():
    model, (x, y) = problem()
    damping = optim.AutoDamping(sgd(model), "eps", model=model, rng=0)
    with pytest.warns(ConvergenceWarning, match="at step 1 is nan; the damping stays at 0.5"):
        damping.step(CRITERION, (x * float("inf"), y))
    assert damping.damping == 0.5 and len(damping.history) == 1


def test_rules_of_moments_average_them_and_wait_for_a_positive_mean():
    model, _ = problem()
    damping = optim.AutoDamping(sgd(model), "eps", rule="ledoit-wolf", ema=0.5)
    damping.observe(0.04, -1.0, 3.0)
    assert damping.damping == 0.5
    damping.observe(0.04, 3.0, 5.0)  # in the mean 1 and 4
    assert damping.damping == pytest.approx(rmt.optimal_damping(0.04, rule="ledoit-wolf", mean=1.0, mean_square=4.0))


def test_a_curvature_of_negative_mean_has_no_target_and_changes_nothing():
    model, _ = problem()
    damping = optim.AutoDamping(sgd(model), "eps", rule="ledoit-wolf", model=model, rng=0)
    before = damping.damping
    damping.observe(0.1, -1.0, 2.0)
    assert damping.damping == before
    damping.observe(0.1, 3.0, 10.0)
    assert damping.damping != before


def test_short_batches_are_looked_at_as_far_as_they_go():
    model, (x, y) = problem()
    damping = optim.AutoDamping(sgd(model), "eps", every=2, chunks=8, model=model, rng=0)
    with pytest.warns(ConvergenceWarning, match="waits for the next batch"):
        damping.step(CRITERION, (x[:1], y[:1]))
    assert not damping.history
    damping.step(CRITERION, (x[:5], y[:5]))  # two chunks
    assert damping.history[0]["variance"] > 0 and damping.history[0]["batch_size"] == 5


def test_a_loss_of_outputs_and_targets_without_a_name_says_how_to_write_it():
    model, batch = problem()
    damping = optim.AutoDamping(sgd(model), "eps", model=model)
    with pytest.raises(TypeError, match="a loss of outputs and targets is a torch criterion"):
        damping.step(lambda outputs, targets: CRITERION(outputs, targets), batch)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_a_loss_that_is_no_mean_is_refused(reduction):
    model, batch = problem()
    damping = optim.AutoDamping(sgd(model), "eps", model=model, every=1)
    with pytest.raises(ValueError, match="must be a mean over samples"):
        damping.step(layers.CrossEntropyLoss(reduction=reduction), batch)
    with pytest.raises(ValueError, match=r"a tensor of one element, a mean over samples, found shape \(12,\)"):
        damping.step(lambda batch: layers.functional.cross_entropy(model(batch[0]), batch[1], reduction="none"), batch)


def test_pairs_may_be_parted_by_a_checkpoint():
    histories = []
    for parted in (False, True):
        model, (x, y) = problem()
        optimizer = sgd(model)
        damping = optim.AutoDamping(optimizer, "eps", every=2, method="pair", model=model, rng=0)
        for k in range(6):
            if parted and k == 2:
                state, optimizer = optimizer.state_dict(), sgd(model)
                damping = optim.AutoDamping(optimizer, "eps", every=2, method="pair", model=model, rng=1)
                optimizer.load_state_dict(state)
            damping.step(CRITERION, (x[k : k + 9], y[k : k + 9]))
        histories.append(damping.history)
    assert histories[0] == histories[1] and [entry["step"] for entry in histories[0]] == [3, 5]


def test_only_every_so_often():
    model, batch = problem()
    damping = optim.AutoDamping(sgd(model), "eps", every=3, model=model, rng=0)
    for _ in range(7):
        damping.step(CRITERION, batch)
    assert [entry["step"] for entry in damping.history] == [1, 4, 7]


def test_the_model_is_left_as_it_was():
    torch.manual_seed(0)
    model = layers.Sequential(layers.Linear(3, 4), layers.BatchNorm1d(4), layers.Dropout(0.5), layers.Linear(4, 3))
    batch = torch.randn(10, 3), torch.randint(3, (10,))
    optimizer = optim.KFAC(model, rng=0)
    damping = optim.AutoDamping(optimizer, rng=0)  # KFAC knows its model
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    damping.step(CRITERION, batch)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training and torch.equal(state, torch.get_rng_state()) and not optimizer.watch.sums
    assert all(w.grad is None for w in model.parameters())


def test_learning_rates_are_compensated_within_steps_only():
    model, batch = problem()
    seen = []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.param_groups[0]["damping"] = 0.5
    damping = optim.AutoDamping(optimizer, compensate_lr=True)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    for _ in range(2):
        before = weights(model)
        optimizer.zero_grad()
        CRITERION(model(batch[0]), batch[1]).backward()
        gradient = torch.cat([w.grad.ravel() for w in model.parameters()])
        optimizer.step()
        seen.append(((before - weights(model)) / gradient).mean().item())
        scheduler.step()
    assert seen == pytest.approx([0.1 * 1.5, 0.05 * 1.5])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.025) and damping.damping == 0.5


def test_a_controller_made_anew_takes_the_place_of_the_one_before():
    """As where a cell of a notebook is run twice."""
    w = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([w], lr=0.1)
    optimizer.param_groups[0]["damping"] = 1.0
    w.grad = torch.ones(1)
    for _ in range(2):
        optim.AutoDamping(optimizer, compensate_lr=True)
        optim.Lookahead(optimizer, every=1, share=0.5)
    optimizer.step()
    assert w.item() == pytest.approx(-0.1 * 2 * 0.5)
    again, other = copy.deepcopy((optimizer, optim.Lookahead(optimizer, every=1, share=0.5)))
    assert set(again.state_dict()) == {"state", "param_groups", "Lookahead"} and other.optimizer is again


@pytest.mark.parametrize("make", [lambda o, m: optim.AutoDamping(o, "eps", every=1, model=m, rng=3),
                                  lambda o, m: optim.LevenbergMarquardt(o, "eps", every=1, model=m)])
def test_a_restored_controller_continues_to_the_same_numbers(make):
    model, batch = problem()
    optimizer = sgd(model)
    first = make(optimizer, model)

    def steps(model, optimizer, controller):
        for _ in range(3):
            optimizer.zero_grad()
            CRITERION(model(batch[0]), batch[1]).backward()
            optimizer.step()
            controller.step(CRITERION, batch)

    steps(model, optimizer, first)
    other, _ = problem(seed=1)
    other.load_state_dict(model.state_dict())
    again = sgd(other)
    second = make(again, other)
    again.load_state_dict(pickle.loads(pickle.dumps(optimizer.state_dict())))
    second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
    steps(model, optimizer, first), steps(other, again, second)
    assert first.history == second.history and torch.equal(weights(model), weights(other))


@pytest.mark.parametrize(("options", "message"), [
    ({"key": "damping"}, "have no 'damping'"), ({"rule": "best"}, "rule must be"), ({"ema": 1.0}, "ema must lie"),
    ({"batch_size": 0}, "batch_size must be"), ({"bounds": (2, 1)}, "bounds must be"),
    ({"bounds": 3}, "bounds must be"),
    ({"every": 0}, "every must be"), ({"floor": -1.0}, "floor must be"), ({"floor_mode": "x"}, "floor_mode must be"),
])
def test_wrong_options_are_refused(options, message):
    model, _ = problem()
    with pytest.raises(ValueError, match=message):
        optim.AutoDamping(sgd(model), **{"key": "eps"} | options)
    for wrong in ({"bounds": (2, 1)}, {"decay": 0.0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            optim.LevenbergMarquardt(sgd(model), "eps", **wrong)


def test_levenberg_and_marquardt_punish_bad_predictions():
    """On a quartic a short step goes as predicted, and one of 2 from 1 to -1 gains nothing."""
    for lr, factor in ((1e-3, 0.95), (0.5, 1 / 0.95)):
        w = torch.nn.Parameter(torch.tensor([1.0]).double())
        optimizer = torch.optim.SGD([w], lr=lr)
        optimizer.param_groups[0]["damping"] = 1.0
        damping = optim.LevenbergMarquardt(optimizer, every=1)
        (w**4).sum().backward()
        optimizer.step()
        damping.step(lambda batch, w=w: (w**4).sum(), None)
        assert damping.damping == pytest.approx(factor)
        assert damping.history[0]["ratio"] == pytest.approx(1.0 if lr < 0.1 else 0.0, abs=0.01)
