"""Optimisers: the whole torch contract for each, what each claims to be, and the theory against simulation."""

import copy

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


# Options


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


@pytest.mark.parametrize(("options", "message"), [
    ({"lr": -1.0}, "lr must be"), ({"lr": float("nan")}, "lr must be"), ({"betas": (1.0, 0.9)}, "betas must lie"),
    ({"betas": (0.9,)}, "two numbers"), ({"betas": 0.9}, "two numbers"),
    ({"weight_decay": "x"}, "weight_decay must be"),
    ({"eps": -1e-8}, "eps must be"),
    ({"p": 0.6}, "p must lie"), ({"p": "x"}, "p must be a finite number, found"),
    ({"bias_correction": "no"}, "bias_correction must be"),
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


def test_a_run_of_adamw_goes_on():
    """From the state of torch's, which knows no p, to the same bits."""
    model, other = network(), network()
    theirs = torch.optim.AdamW(other.parameters(), lr=0.01)
    run(other, theirs, 3)
    ours = optim.PAdamW(model.parameters())
    model.load_state_dict(other.state_dict())
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    assert torch.equal(run(model, ours, 3), run(other, theirs, 3))


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


def test_a_loader_that_has_run_out_is_no_source_of_statistics():
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    average = optim.IterateAverage(model, bn_loader=iter([torch.randn(16, 3)]))
    average.update()
    with average.applied():
        pass
    average.update()
    with pytest.raises(ValueError, match="no batch went through"), average.applied():
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
    spoiled = optim.IterateAverage(model, patience=2)
    for score in (float("nan"), 0.5, 0.6, float("nan")):
        spoiled.observe(score)
    spoiled.update()
    assert spoiled.count == 0  # it has waited once since 0.6


def test_gadam_starts_on_a_plateau():
    model = network()
    optimizer = optim.Gadam(model, lr=0.01, patience=1)
    counts = []
    for score in (0.5, 0.4, 0.6, 0.5):
        run(model, optimizer, 3)
        optimizer.average.observe(score)
        counts.append(optimizer.average.count)
    assert counts == [0, 0, 3, 6] and optimizer.average.finished


# Lookahead


def test_lookahead_is_the_recursion_of_its_paper():
    model, reference = network(), network()
    optimizer, plain = (torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9) for net in (model, reference))
    lookahead = optim.Lookahead(optimizer, every=3, share=0.4, until=6)
    slow = [w.detach().clone() for w in reference.parameters()]
    for step in range(1, 10):
        found, expected = run(model, optimizer, 1), run(reference, plain, 1)
        if step in (3, 6):
            with torch.no_grad():
                for w, old in zip(reference.parameters(), slow, strict=True):
                    old += 0.4 * (w - old)
                    w.copy_(old)
            expected = torch.cat([w.detach().ravel() for w in reference.parameters()])
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert lookahead.steps == 9


def test_lookahead_takes_parameters_that_come_later_and_refuses_nonsense():
    model = network()
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
    optim.Lookahead(optimizer, every=1, share=0.5)
    run(model, optimizer, 1)
    optimizer.add_param_group({"params": model[2].parameters()})
    again = torch.optim.SGD([{"params": model[0].parameters()}, {"params": model[2].parameters()}], lr=0.1)
    optim.Lookahead(again)
    again.load_state_dict(optimizer.state_dict())
    before = model[2].weight.clone()
    run(model, optimizer, 1)
    assert not torch.equal(model[2].weight, before)
    for options, message in (({"every": 0}, "every must be"), ({"share": 0.0}, "share must be positive"),
                             ({"share": 1.5}, "share must lie"), ({"until": -1}, "until must be")):
        with pytest.raises(ValueError, match=message):
            optim.Lookahead(optimizer, **options)


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
