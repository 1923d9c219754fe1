"""Optimisers: the whole torch contract for each, what each claims to be, and the theory against simulation."""

import copy
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from spectra import optim  # noqa: E402

ADAMS = {"AdamW": {}, "AMSGrad": {"amsgrad": True}, "p = 1/4": {"p": 0.25}, "p = 1/8": {"p": 0.125},
         "p = 0.2": {"p": 0.2}, "p = 0": {"p": 0.0}, "AMSGrad, p = 1/8": {"p": 0.125, "amsgrad": True},
         "Padam's factor": {"p": 0.125, "bias_correction": "padam"}}


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)).double()


def data(seed=0):
    torch.manual_seed(seed)
    return torch.randn(20, 5).double(), torch.randint(3, (20,))


def closure_of(model, optimizer, batch=None):
    x, y = data() if batch is None else batch

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    return closure


def run(model, optimizer, steps):
    closure = closure_of(model, optimizer)
    for _ in range(steps):
        closure()
        optimizer.step()
    return torch.cat([w.detach().ravel() for w in model.parameters()])


def adam(options, model, **more):
    return optim.PAdamW(model.parameters(), weight_decay=0.1, **{"lr": 0.01} | options | more)


# The contract


@pytest.mark.parametrize("options", ADAMS.values(), ids=ADAMS)
def test_lists_and_loops_make_the_same_step(options):
    runs = [run(model := network(), adam(options, model, foreach=foreach), 20) for foreach in (True, False)]
    torch.testing.assert_close(*runs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("options", ADAMS.values(), ids=ADAMS)
def test_a_restored_optimiser_continues_to_the_same_bits(options):
    model = network()
    optimizer = adam(options, model)
    run(model, optimizer, 3)
    other = network(1)
    other.load_state_dict(model.state_dict())
    again = adam({}, other)
    again.load_state_dict(pickle.loads(pickle.dumps(optimizer.state_dict())))
    assert torch.equal(run(model, optimizer, 3), run(other, again, 3))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_copies_continue_to_the_same_bits(copied):
    model = network()
    optimizer = optim.Gadam(model, lr=0.01, p=0.25)
    run(model, optimizer, 2)
    other, again = copied((model, optimizer))
    assert torch.equal(run(model, optimizer, 2), run(other, again, 2))
    assert again.average.count == optimizer.average.count == 4


def test_closures_are_evaluated_with_gradients():
    model = network()
    optimizer = adam({"p": 0.25}, model)
    losses = [optimizer.step(closure_of(model, optimizer)).item() for _ in range(30)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("options", ADAMS.values(), ids=ADAMS)
def test_maximising_is_minimising_the_negative(options):
    one, other = network(), network()
    up, down = adam(options, one, maximize=True), adam(options, other)
    for _ in range(3):
        closure_of(one, up)()
        closure_of(other, down)()
        for w in other.parameters():
            w.grad.neg_()
        up.step(), down.step()
    for w, v in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(w, v)


def test_groups_have_options_of_their_own_and_may_come_later():
    model = network()
    optimizer = optim.PAdamW(model[0].parameters(), lr=0.01, p=0.125)
    run(model, optimizer, 2)
    optimizer.add_param_group({"params": model[2].parameters(), "p": 0.5, "lr": 0.002})
    reference = torch.optim.AdamW(copy.deepcopy(model[2]).parameters(), lr=0.002, weight_decay=0.0)
    closure_of(model, optimizer)()
    for w, v in zip(model[2].parameters(), reference.param_groups[0]["params"], strict=True):
        v.grad = w.grad.clone()
    optimizer.step(), reference.step()
    for w, v in zip(model[2].parameters(), reference.param_groups[0]["params"], strict=True):
        assert torch.equal(w, v)
    with pytest.raises(ValueError, match="p must lie"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "p": 0.7})
    assert len(optimizer.param_groups) == 2


def test_learning_rates_may_be_tensors_and_schedules_move_them():
    model, other = network(), network()
    as_tensor, as_number = adam({"p": 0.25}, model, lr=torch.tensor(0.02)), adam({"p": 0.25}, other, lr=0.02)
    torch.testing.assert_close(run(model, as_tensor, 3), run(other, as_number, 3), rtol=1e-6, atol=1e-8)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(as_number, 0.1, total_steps=10)
    before = as_number.param_groups[0]["lr"]
    run(other, as_number, 1)
    scheduler.step()
    assert as_number.param_groups[0]["lr"] != before


def test_frozen_and_unused_parameters_are_left_alone():
    model = network()
    model[0].weight.requires_grad_(False)
    unused = torch.nn.Parameter(torch.ones(2).double())
    optimizer = optim.PAdamW([*model.parameters(), unused], p=0.125, weight_decay=0.5)
    before = model[0].weight.clone()
    run(model, optimizer, 3)
    assert torch.equal(model[0].weight, before) and torch.equal(unused, torch.ones(2).double())


def test_a_skipped_step_of_a_grad_scaler_changes_nothing():
    model = network().float()
    optimizer = optim.Gadam(model, p=0.25)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    x, y = data()
    loss = torch.nn.functional.cross_entropy(model(x.float()), y)
    scaler.scale(loss).backward()
    next(model.parameters()).grad.fill_(float("inf"))
    before = copy.deepcopy(model.state_dict())
    scaler.step(optimizer)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert optimizer.average.count == 0


def test_what_cannot_be_optimised_is_refused_by_name():
    with pytest.raises(ValueError, match="PAdamW optimises real parameters"):
        optim.PAdamW([torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))])
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    optimizer = optim.PAdamW(embedding.parameters())
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="needs dense gradients"):
        optimizer.step()


@pytest.mark.parametrize(("options", "message"), [
    ({"lr": -1.0}, "lr must be"), ({"lr": float("nan")}, "lr must be"), ({"betas": (1.0, 0.9)}, "betas must lie"),
    ({"betas": (0.9,)}, "two numbers"), ({"weight_decay": "x"}, "weight_decay must be"),
    ({"eps": -1e-8}, "eps must be"),
    ({"p": 0.6}, "p must lie"), ({"bias_correction": "no"}, "bias_correction must be"),
])
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        optim.PAdamW([torch.nn.Parameter(torch.ones(1))], **options)


def test_mixed_kinds_of_parameters():
    params = [torch.nn.Parameter(torch.ones(3, dtype=kind)) for kind in (torch.float32, torch.float64, torch.bfloat16)]
    optimizer = optim.PAdamW(params, lr=0.1, p=0.125)
    for w in params:
        w.grad = torch.ones_like(w)
    optimizer.step()
    assert [w.dtype for w in params] == [torch.float32, torch.float64, torch.bfloat16]
    torch.testing.assert_close(params[0].double(), params[1], rtol=1e-6, atol=1e-7)


def test_the_steps_function_in_torchs_own_inputs():
    """Parameters of no elements, of one, of many axes, and those without a gradient."""
    shapes = [(0,), (), (1,), (2, 3, 4, 5)]
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    for w in params[:-1]:
        w.grad = torch.randn_like(w)
    for options in ADAMS.values():
        optim.PAdamW(params, **options).step()
    assert all(torch.isfinite(w).all() for w in params)


# What each claims to be


@pytest.mark.parametrize("amsgrad", [False, True])
def test_half_is_adamw(amsgrad):
    """Over a hundred steps; and, by the general step with p next to 1/2, to rounding."""
    model, other, near = network(), network(), network()
    ours = run(model, adam({"amsgrad": amsgrad}, model), 100)
    theirs = run(other, torch.optim.AdamW(other.parameters(), lr=0.01, weight_decay=0.1, amsgrad=amsgrad), 100)
    assert torch.equal(ours, theirs)
    general = run(near, adam({"amsgrad": amsgrad, "p": 0.5 - 1e-12}, near), 100)
    torch.testing.assert_close(general, theirs, rtol=1e-7, atol=1e-7)


def test_zero_is_momentum_with_bias_correction():
    w = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = optim.PAdamW([w], lr=0.1, p=0.0)
    m, x = 0.0, 1.0
    for t in range(1, 6):
        w.grad = torch.tensor([3.0 * t], dtype=torch.float64)
        optimizer.step()
        m = 0.9 * m + 0.1 * 3.0 * t
        x -= 0.1 * m / (1 - 0.9**t)
    assert w.item() == pytest.approx(x, rel=1e-12)


@pytest.mark.parametrize(("correction", "factor"), [("exact", 0.001**0.125), ("padam", 0.001**0.5)])
def test_the_first_step_shows_the_bias_factor(correction, factor):
    """g / (|g|^(2p)) times a power of 1 - b2 that the published code takes for 1/2 whatever p."""
    w = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = optim.PAdamW([w], lr=1.0, p=0.125, eps=0.0, bias_correction=correction)
    w.grad = torch.full_like(w, 16.0)
    optimizer.step()
    assert w.item() == pytest.approx(-16 * factor / (0.001**0.5 * 16) ** 0.25, rel=1e-9)


def test_gadam_averages_what_adam_visits():
    model, other = network(), network()
    optimizer = optim.Gadam(model, lr=0.01, start=2, every=3)
    reference = torch.optim.AdamW(other.parameters(), lr=0.01, weight_decay=0.0)
    visited = [run(other, reference, 1) for _ in range(9)]
    run(model, optimizer, 9)
    assert optimizer.average.count == 3  # after steps 3, 6 and 9
    with optimizer.average.applied():
        found = torch.cat([w.detach().ravel() for w in model.parameters()])
    torch.testing.assert_close(found, torch.stack([visited[i] for i in (2, 5, 8)]).mean(0))
    torch.testing.assert_close(torch.cat([w.detach().ravel() for w in model.parameters()]), visited[-1])


def test_gadam_of_plain_parameters_and_its_state():
    model = network()
    optimizer = optim.GadamX(model.parameters(), lr=0.05, ema=0.5)
    run(model, optimizer, 3)
    again = optim.GadamX(model.parameters(), lr=0.05, ema=0.5)
    again.load_state_dict(optimizer.state_dict())
    assert again.average.count == 3 and again.param_groups[0]["p"] == 0.125
    with pytest.raises(ValueError, match="averages its iterates"):
        optim.PAdamW(model.parameters()).load_state_dict(optimizer.state_dict())


def test_exponential_averages():
    model = torch.nn.Linear(1, 1, bias=False)
    average = optim.IterateAverage(model, ema=0.75)
    for value in (4.0, 8.0):
        torch.nn.init.constant_(model.weight, value)
        average.update()
    with average.applied():
        assert model.weight.item() == pytest.approx(0.75 * 4 + 0.25 * 8)


def test_statistics_of_batch_norm_are_never_stale():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
    average = optim.IterateAverage(model)
    average.update()
    with pytest.raises(RuntimeError, match="give bn_loader="), average.applied():
        pass
    batches = [torch.randn(16, 3) * 5 + 2 for _ in range(4)]
    average.bn_loader = batches
    own = model[1].running_mean.clone()
    with average.applied():
        expected = torch.stack([model[0](x).mean(0) for x in batches]).mean(0)
        torch.testing.assert_close(model[1].running_mean, expected.detach(), rtol=1e-4, atol=1e-5)
    assert torch.equal(model[1].running_mean, own)
    average.update()
    average.bn_loader = None
    with pytest.raises(RuntimeError, match="batch-norm statistics"), average.applied():
        pass


def test_the_model_has_its_own_weights_back_after_an_error():
    model = torch.nn.Linear(1, 1)
    average = optim.IterateAverage(model)
    with pytest.raises(RuntimeError, match="nothing has been averaged"), average.applied():
        pass
    average.update()
    torch.nn.init.constant_(model.weight, 7.0)
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    assert model.weight.item() == 7.0


def test_patience_starts_and_stops_the_average():
    model = torch.nn.Linear(1, 1)
    average = optim.IterateAverage(model, patience=2)
    counts = []
    for score in (0.1, 0.5, 0.4, 0.5, 0.6, 0.7, 0.7, 0.6, 0.9):  # waits twice at 0.5, and again at 0.7
        average.update()
        average.observe(score)
        counts.append(average.count)
    assert counts == [0, 0, 0, 0, 1, 2, 3, 4, 4] and average.finished
    with pytest.raises(ValueError, match="patience"):
        optim.IterateAverage(model).observe(1.0)


# Schedules and batch sizes


def test_schedules_are_continuous_and_end_where_they_say():
    for factor, corners in ((optim.plateau_decay(1000), (500, 900)), (optim.warm_decay(1000), (100, 300, 900))):
        assert factor(0) == 1
        for corner in corners:
            assert factor(corner - 1) == pytest.approx(factor(corner + 1), abs=0.05)
    assert optim.plateau_decay(10, ratio=0.5)(10) == 0.5 and optim.warm_decay(10)(10) == pytest.approx(0.1)


def test_batch_sizes_and_learning_rates():
    spectral = {"rule": "spectral", "largest": 1.0, "sigma2": 1.0, "parameters": 100}
    small = optim.scale_learning_rate(1.0, 200, 400, **spectral)
    assert small == pytest.approx(1.5 / 1.25)
    assert optim.scale_learning_rate(1.0, 1, 4, **spectral) == pytest.approx(2.0)  # below the threshold: the edge
    assert optim.scale_learning_rate(1.0, 1e8, 1e9, **spectral) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(ValueError, match="needs largest="):
        optim.scale_learning_rate(1.0, 1, 2, rule="spectral")


# Theory against simulation


def simulated(lr, curvature, noise, steps, runs, seed=0):
    """Iterates of many stationary runs, shape (steps, runs)."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(runs) * np.sqrt(optim.iterate_variance(curvature, lr, noise))
    path = np.empty((steps, runs))
    for k in range(steps):
        w = w - lr * (curvature * w + noise * rng.standard_normal(runs))
        path[k] = w
    return path


@pytest.mark.parametrize(("lr", "curvature"), [(0.2, 0.5), (0.9, 2.0)])
def test_variances_of_a_noisy_quadratic(lr, curvature):
    runs, steps, decay = 4000, 100, 0.9
    path = simulated(lr, curvature, 1.5, steps, runs)
    tolerance = 4 * np.sqrt(2 / runs)
    assert path[-1].var() == pytest.approx(optim.iterate_variance(curvature, lr, 1.5), rel=tolerance)
    assert path.mean(0).var() == pytest.approx(optim.average_variance(curvature, lr, 1.5, steps), rel=tolerance)
    weights = (1 - decay) * decay ** np.arange(steps)[::-1]
    assert (weights @ path).var() == pytest.approx(optim.ema_variance(curvature, lr, 1.5, decay), rel=tolerance)


def test_the_first_iterates_from_a_fixed_start():
    rng = np.random.default_rng(0)
    w = np.zeros(20_000)
    for _ in range(3):
        w = w - 0.2 * (w + rng.standard_normal(len(w)))
    assert w.var() == pytest.approx(optim.iterate_variance(1.0, 0.2, 1.0, 3), rel=0.05)


def test_unstable_steps_are_refused():
    with pytest.raises(ValueError, match="is stable for"):
        optim.iterate_variance(3.0, 1.0, 1.0)
    assert optim.curvature_ratio(5.0, 1.0, 1.0) == 3.0


def test_the_largest_stable_step():
    rng = np.random.default_rng(0)
    H, B = (M @ M.T + np.eye(4) for M in rng.standard_normal((2, 4, 4)))
    step = optim.largest_stable_step(H, B)
    for factor, grows in ((0.99, False), (1.01, True)):
        move = np.eye(4) - factor * step * np.linalg.solve(B, H)
        assert bool(np.abs(np.linalg.eigvals(move)).max() > 1) is grows
