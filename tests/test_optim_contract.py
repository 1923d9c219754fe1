"""What torch's users expect of an optimiser, asked of every one of ours, and of every controller beside one."""

import copy
import io
import pickle
import sys
import types
import unittest

import pytest

torch = pytest.importorskip("torch")

from torch.nn.functional import cross_entropy  # noqa: E402

from spectra import optim  # noqa: E402


def network(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(5, 4, dtype=dtype), torch.nn.Tanh(), torch.nn.Linear(4, 3, dtype=dtype))


def data(samples=20):
    torch.manual_seed(1)
    return torch.randn(samples, 5).double(), torch.randint(3, (samples,))


class Run:
    """A network with an optimiser, and a controller where there is one; `gain` is a parameter of no model."""

    def __init__(self, kind, seed=0, sign=1.0, model=None, **options):
        self.kind, self.sign = kind, sign
        self.model = network(seed) if model is None else model
        self.gain = torch.nn.Parameter(torch.ones(1).double())
        self.optimizer = kind.make(self.model, **kind.options | options)
        self.controller = kind.control(self.optimizer, self.model) if kind.control else None

    def loss(self, batch):
        outputs = self.model(batch[0]) * self.gain
        return self.sign * cross_entropy(outputs, batch[1]), outputs

    def closure(self, batch):
        def closure():
            loss, outputs = self.loss(batch)
            if self.kind.keeps_graph:
                return (loss, outputs) if self.kind.options.get("curvature") == "ggn" else loss
            self.optimizer.zero_grad()
            loss.backward()
            return loss

        return closure

    def step(self, batch):
        loss = self.optimizer.step(self.closure(batch))
        if self.controller is None or isinstance(self.controller, optim.Lookahead):
            return loss.item()
        if isinstance(self.controller, optim.SpectralSGDM):
            self.controller.step(lambda: self.loss(batch)[0])
        else:
            self.controller.step(lambda batch: self.loss(batch)[0], batch)
        return loss.item()

    def steps(self, n):
        for _ in range(n):
            self.step(data())
        return self.weights()

    def weights(self):
        return torch.cat([w.detach().ravel() for w in self.model.parameters()])


class Kind:
    def __init__(self, make, control=None, keeps_graph=False, **options):
        self.make, self.control, self.keeps_graph, self.options = make, control, keeps_graph, {"lr": 0.02} | options

    @property
    def ours(self):
        return self.make not in (sgd, adam)


def of_parameters(optimizer):
    return lambda model, **options: optimizer(model.parameters(), **options)


sgd, adam = of_parameters(torch.optim.SGD), of_parameters(torch.optim.Adam)
padamw, lanczos = of_parameters(optim.PAdamW), of_parameters(optim.LanczosOPT)


def kfac(model, **options):
    return optim.KFAC(model, **{"damping": 0.1, "factor_every": 2, "inverse_every": 3, "rng": 4} | options)


OPTIMISERS = {
    "PAdamW, p = 1/2": Kind(padamw, weight_decay=0.1),
    "PAdamW, p = 1/8": Kind(padamw, weight_decay=0.1, p=0.125),
    "PAdamW, p = 0.2, AMSGrad": Kind(padamw, p=0.2, amsgrad=True),
    "PAdamW, p = 0": Kind(padamw, p=0.0),
    "Gadam": Kind(optim.Gadam, weight_decay=0.1, start=1),
    "GadamX": Kind(optim.GadamX, lr=0.1, ema=0.5, bias_correction="padam"),
    "KFAC": Kind(kfac),
    "KFAC, empirical": Kind(kfac, fisher="empirical", damping_form="pi", kl_clip=1e-2, weight_decay=0.1),
    "LanczosOPT": Kind(lanczos, keeps_graph=True, k=6, damping=0.2, rng=2),
    "LanczosOPT, random": Kind(lanczos, keeps_graph=True, k=6, every=2, start="random", mode="scale", rng=2),
    "LancGN": Kind(lanczos, keeps_graph=True, k=6, damping=0.2, curvature="ggn"),
    "Adam with AutoDamping": Kind(adam, lambda o, m: optim.AutoDamping(o, "eps", every=2, rng=3), eps=0.1),
    "KFAC with AutoDamping": Kind(kfac, lambda o, m: optim.AutoDamping(
        o, rule="ledoit-wolf", every=1, curvature="ggn", compensate_lr=True, bounds=(1e-3, 10.0), rng=3)),
    "LanczosOPT with AutoDamping": Kind(lanczos, lambda o, m: optim.AutoDamping(
        o, rule="edge", floor=0.1, floor_mode="max", every=2, method="pair", rng=3), keeps_graph=True, k=6),
    "KFAC with LevenbergMarquardt": Kind(kfac, lambda o, m: optim.LevenbergMarquardt(o, every=1)),
    "SGD with Lookahead": Kind(sgd, lambda o, m: optim.Lookahead(o, every=2), momentum=0.9),
    "SGD with SpectralSGDM": Kind(sgd, lambda o, m: optim.SpectralSGDM(o, rule="nesterov", every=2, rng=3),
                                  momentum=0.5),
}


# The clauses


def groups_may_come_later(kind):
    run = Run(kind)
    run.steps(2)
    run.optimizer.add_param_group({"params": [run.gain]})
    run.steps(2)
    assert len(run.optimizer.param_groups) == 2 and run.gain.item() != 1.0
    if kind.ours:
        with pytest.raises(ValueError, match="lr must be"):
            run.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": -1.0})
        assert len(run.optimizer.param_groups) == 2


def a_restored_one_goes_on_to_the_same_bits(kind):
    """The state passes through a file that holds tensors and plain values only."""
    run, other = Run(kind), Run(kind, seed=1, lr=0.5)
    run.steps(3)
    file = io.BytesIO()
    torch.save({"model": run.model.state_dict(), "optimizer": run.optimizer.state_dict()}, file)
    found = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    other.model.load_state_dict(found["model"])
    other.optimizer.load_state_dict(found["optimizer"])
    for _ in range(4):
        assert torch.equal(run.steps(1), other.steps(1))
    assert getattr(run.controller, "history", 0) == getattr(other.controller, "history", 0)


def copies_go_on_to_the_same_bits(kind):
    run = Run(kind)
    run.steps(3)
    parts = run.model, run.gain, run.optimizer, run.controller
    for copied in (copy.deepcopy(parts), copy.deepcopy(parts) if run.controller else pickle.loads(pickle.dumps(parts))):
        other = Run(kind)
        other.model, other.gain, other.optimizer, other.controller = copied
        same = copy.deepcopy(run.model), run.weights()
        assert torch.equal(other.weights(), same[1])
        expected = Run(kind)
        expected.steps(3)
        assert torch.equal(expected.steps(4), other.steps(4))
        assert torch.equal(run.weights(), same[1])  # the copy moves itself


def closures_are_evaluated_with_gradients(kind):
    run = Run(kind)
    losses = [run.step(data()) for _ in range(30)]
    assert losses[-1] < losses[0] - 0.02


def maximising_is_minimising_the_negative(kind):
    down, up = Run(kind), Run(kind, sign=-1.0, maximize=True)
    if getattr(down.controller, "rule", "") == "ledoit-wolf":
        pytest.skip("which asks for the mean eigenvalue, and that has a sign")
    torch.testing.assert_close(down.steps(3), up.steps(3), rtol=1e-9, atol=1e-12)


def lists_and_loops_make_the_same_step(kind):
    if "foreach" not in Run(kind).optimizer.defaults:
        pytest.skip("has one form only")
    torch.testing.assert_close(Run(kind, foreach=True).steps(9), Run(kind, foreach=False).steps(9), rtol=1e-12,
                               atol=1e-14)


def numbers_may_be_tensors(kind):
    names = {"lr", "damping", "eps"} & set(Run(kind).optimizer.defaults)
    held = {name: float(Run(kind).optimizer.param_groups[0][name]) for name in names}
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in held.items()}
    run = Run(kind, **tensors)
    torch.testing.assert_close(run.steps(4), Run(kind).steps(4), rtol=1e-6, atol=1e-8)
    assert all(run.optimizer.param_groups[0][name] is value for name, value in tensors.items())


def schedulers_move_the_learning_rate(kind):
    run = Run(kind)
    run.optimizer.zero_grad()
    scheduler = torch.optim.lr_scheduler.LambdaLR(run.optimizer, lambda epoch: float(epoch == 0))
    run.steps(1)
    rate = run.optimizer.param_groups[0]["lr"]
    scheduler.step()
    assert run.optimizer.param_groups[0]["lr"] == 0.0 < rate
    before = run.weights()
    run.optimizer.step(run.closure(data()))
    if not isinstance(run.controller, optim.Lookahead):
        assert torch.equal(run.weights(), before)


def scalers_may_skip_a_step(kind):
    run = Run(kind)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    if kind.keeps_graph:
        with pytest.raises(RuntimeError, match="Closure use"):
            scaler.step(run.optimizer, closure=run.closure(data()))
        return

    def scaled_step(spoil):
        run.optimizer.zero_grad()
        scaler.scale(run.loss(data())[0]).backward()
        if spoil:
            next(run.model.parameters()).grad.fill_(float("inf"))
        scaler.step(run.optimizer)
        scaler.update()
        return run.weights()

    before = run.weights()
    assert torch.equal(scaled_step(True), before)
    if "empirical" not in kind.options.values():  # which are gradients of the loss, and must not be scaled
        torch.testing.assert_close(scaled_step(False), scaled_step_of_a_fresh_one(kind), rtol=1e-9, atol=1e-12)


def scaled_step_of_a_fresh_one(kind):
    run = Run(kind)
    if isinstance(run.optimizer, optim.KFAC):  # the skipped pass drew labels, and its statistics count
        run.loss(data())
    run.optimizer.step(run.closure(data()))
    return run.weights()


def frozen_parameters_are_left_alone(kind):
    model = network()
    model[0].weight.requires_grad_(False)
    run = Run(kind, model=model)
    before = run.weights()
    run.steps(2)
    model[2].bias.requires_grad_(False)  # and those that are frozen later
    model[2].bias.grad = None
    bias = model[2].bias.clone()
    run.steps(2)
    assert torch.equal(run.weights()[:20], before[:20]) and torch.equal(model[2].bias, bias)
    assert not torch.equal(run.weights(), before)


def complex_and_sparse_are_refused_by_name(kind):
    if not kind.ours:
        pytest.skip("torch's own optimisers have their own words")
    name = type(Run(kind).optimizer).__name__
    with pytest.raises(ValueError, match=f"{name} optimises real parameters, found one of torch.complex64"):
        kind.make(network(dtype=torch.complex64), **kind.options)
    batch = torch.randint(7, (20,)), data()[1]
    sparse, dense = (Run(kind, model=words(sparse)) for sparse in (True, False))
    if kind.keeps_graph:  # gradients of gradients are dense anyway
        sparse.step(batch), dense.step(batch)
        assert torch.equal(sparse.weights(), dense.weights())
        return
    with pytest.raises(ValueError, match=f"{name} needs dense gradients, found a sparse one of shape \\(7, 5\\)"):
        sparse.step(batch)


def words(sparse):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Embedding(7, 5, sparse=sparse), torch.nn.Linear(5, 3)).double()


def the_same_seed_makes_the_same_run(kind):
    assert torch.equal(Run(kind).steps(4), Run(kind).steps(4))


def what_is_not_finite_is_never_eaten(kind):
    """Refused by the name of the parameter where an inverse would spread it; otherwise seen in the weights."""
    run = Run(kind)
    run.steps(1)
    before, (x, y) = run.weights(), data()
    spoiled = x * float("nan"), y
    if isinstance(run.optimizer, (optim.KFAC, optim.LanczosOPT)):
        with pytest.raises(ValueError, match=r"NaN or Inf in the gradient of (0.weight|parameter 0 of group 0)"):
            run.optimizer.step(run.closure(spoiled))
        assert torch.equal(run.weights(), before)
        run.steps(1)  # and it goes on
        assert torch.isfinite(run.weights()).all()
    else:
        run.optimizer.step(run.closure(spoiled))
        assert run.weights().isnan().any()


CLAUSES = [groups_may_come_later, a_restored_one_goes_on_to_the_same_bits, copies_go_on_to_the_same_bits,
           closures_are_evaluated_with_gradients, maximising_is_minimising_the_negative,
           lists_and_loops_make_the_same_step, numbers_may_be_tensors, schedulers_move_the_learning_rate,
           scalers_may_skip_a_step, frozen_parameters_are_left_alone, complex_and_sparse_are_refused_by_name,
           the_same_seed_makes_the_same_run, what_is_not_finite_is_never_eaten]


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_contract(name, clause):
    clause(OPTIMISERS[name])


# Torch's own inputs


@pytest.mark.slow
@pytest.mark.parametrize("p", [0.5, 0.125])
def test_torchs_own_inputs_for_adamw(p, monkeypatch):
    """Every configuration and every wrong one that torch tests its AdamW with."""
    monkeypatch.setitem(sys.modules, "expecttest", types.SimpleNamespace(TestCase=unittest.TestCase))
    inputs = pytest.importorskip("torch.testing._internal.common_optimizers")
    configurations = [one.kwargs for one in inputs.optim_inputs_func_adamw(torch.device("cpu"), torch.float64)]
    assert len(configurations) >= 5
    for options in configurations:
        ours, theirs = network(), network()
        one = optim.PAdamW(ours.parameters(), p=p, **{"weight_decay": 0.01} | options)
        other = torch.optim.AdamW(theirs.parameters(), **{"weight_decay": 0.01} | options)
        for _ in range(5):
            for model, optimizer in ((ours, one), (theirs, other)):
                optimizer.zero_grad()
                cross_entropy(model(data()[0]), data()[1]).backward()
                optimizer.step()
        equal = all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
        assert equal is (p == 0.5), options
        assert all(torch.isfinite(w).all() for w in ours.parameters())
    for wrong in inputs.optim_error_inputs_func_adamw(torch.device("cpu"), torch.float64):
        made = wrong.optimizer_error_input
        tensors = [x for x in made.kwargs.values() if isinstance(x, (torch.Tensor, tuple))]
        if any(torch.is_tensor(x) or any(torch.is_tensor(y) for y in x) for x in tensors):
            continue  # tensors are refused in torch's foreach form, and taken in ours
        with pytest.raises((ValueError, TypeError, UserWarning)):  # as torch has it
            optim.PAdamW(made.params if made.params is not None else network().parameters(), p=p, **made.kwargs)
