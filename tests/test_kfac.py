"""KFAC: its blocks against the Fisher matrix they approximate, its step against linear algebra, its contract."""

import copy
import pickle
import weakref

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from spectra import optim  # noqa: E402
from spectra.optim._kronecker import safe_eigh  # noqa: E402


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.norm, self.out = nn.Embedding(7, 4), nn.LayerNorm(4), nn.Linear(4, 3)

    def forward(self, words):
        return self.out(self.norm(self.table(words)).mean(1))


class Attention(nn.Module):
    """Its output projection is never called as a layer, and its gain is a parameter of no layer."""

    def __init__(self):
        super().__init__()
        self.attend, self.gain, self.out = nn.MultiheadAttention(4, 2, batch_first=True), nn.Parameter(torch.ones(4)), \
            nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.gain * self.attend(x, x, x)[0].mean(1))


class Transposed(nn.Module):
    """Classes on axis 1, where cross-entropy wants them."""

    def forward(self, x):
        return x.movedim(-1, 1)


def images(n=12):
    return torch.randn(n, 2, 6, 6), torch.randint(3, (n,))


NETWORKS = {
    "linear": (lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), lambda: (torch.randn(12, 5),
                                                                                            torch.randint(3, (12,)))),
    "convolutions": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, stride=2), nn.BatchNorm2d(4), nn.ReLU(),
                                           nn.Conv2d(4, 4, 3, groups=2, padding="same"), nn.Flatten(),
                                           nn.Linear(36, 3)), images),
    "sequences": (lambda: nn.Sequential(nn.Conv1d(2, 4, 3, padding="same", bias=False), nn.GroupNorm(2, 4), nn.Tanh(),
                                        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3)),
                  lambda: (torch.randn(12, 2, 9), torch.randint(3, (12,)))),
    "words": (Words, lambda: (torch.randint(7, (12, 5)), torch.randint(3, (12,)))),
    "attention": (Attention, lambda: (torch.randn(12, 5, 4), torch.randint(3, (12,)))),
}


def make(name, seed=0):
    torch.manual_seed(seed)
    build, draw = NETWORKS[name]
    return build(), draw()


def train(model, optimizer, batch, steps):
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def weights(model):
    return torch.cat([w.detach().ravel() for w in model.parameters()])


# Blocks against the Fisher matrix


def dense_fisher(model, x, params, empirical_labels=None):
    """Mean over samples of E g g', with the expectation over labels taken exactly, or over given labels."""
    total = 0.0
    for i in range(len(x)):
        scores = model(x[i : i + 1])
        chances = torch.softmax(scores, 1)[0].detach()
        labels = range(scores.shape[1]) if empirical_labels is None else [int(empirical_labels[i])]
        for label in labels:
            share = chances[label] if empirical_labels is None else 1.0
            loss = F.cross_entropy(scores, torch.tensor([label]))
            g = torch.cat([d.ravel() for d in torch.autograd.grad(loss, params, retain_graph=True)])
            total = total + share * torch.outer(g, g)
    return total / len(x)


def block_matrix(optimizer, block):
    """The block as a dense matrix, parameters in the order weight (outputs by inputs), bias."""
    state = optimizer.state[block.params[0]]
    matrix = torch.kron(state["G"], state["A"])
    if block.layer.bias is None:
        return matrix
    outputs, inputs = state["G"].shape[0], state["A"].shape[0]
    order = [i * inputs + j for i in range(outputs) for j in range(inputs - 1)]
    order += [i * inputs + inputs - 1 for i in range(outputs)]
    return matrix[order][:, order]


def test_a_single_sample_has_an_exact_kronecker_block():
    """For one sample F = a a' (x) g g' exactly, so the empirical block is the empirical Fisher matrix."""
    torch.manual_seed(0)
    model, x, y = nn.Linear(4, 3).double(), torch.randn(1, 4).double(), torch.tensor([1])
    optimizer = optim.KFAC(model, fisher="empirical")
    train(model, optimizer, (x, y), 1)
    model.load_state_dict(model.state_dict())
    torch.manual_seed(0)
    fresh = nn.Linear(4, 3).double()
    truth = dense_fisher(fresh, x, list(fresh.parameters()), y)
    torch.testing.assert_close(block_matrix(optimizer, optimizer.blocks[0]), truth)


def test_sampled_labels_average_to_the_fisher_matrix():
    """Last layer, inputs all equal: F = a a' (x) E g g', and the mean over many draws is that."""
    torch.manual_seed(0)
    model = nn.Linear(4, 3).double()
    x = torch.randn(1, 4).double().expand(20_000, 4)
    truth = dense_fisher(model, x[:1], list(model.parameters()))
    optimizer = optim.KFAC(model, rng=0)
    train(model, optimizer, (x, torch.zeros(len(x), dtype=torch.long)), 1)
    found = block_matrix(optimizer, optimizer.blocks[0])
    torch.testing.assert_close(found, truth, atol=0.02 * truth.abs().max().item(), rtol=0)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_other_likelihoods(likelihood):
    torch.manual_seed(0)
    model = nn.Linear(4, 3).double()
    x = torch.randn(1, 4).double().expand(20_000, 4)
    optimizer = optim.KFAC(model, likelihood=likelihood, rng=0)
    chances = torch.sigmoid(model(x[:1]))[0].detach()
    train(model, optimizer, (x, torch.zeros(len(x), dtype=torch.long)), 1)
    expected = torch.eye(3) if likelihood == "gaussian" else torch.diag(chances * (1 - chances))
    torch.testing.assert_close(optimizer.state[model.weight]["G"], expected.double(), atol=0.03, rtol=0)


@pytest.mark.parametrize("make_layer", [
    lambda: nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
    lambda: nn.Conv2d(2, 3, 3, padding="same"), lambda: nn.Conv2d(2, 3, 2, padding=1, bias=False),
    lambda: nn.Conv2d(2, 3, 3, padding="valid"), lambda: nn.Conv1d(2, 3, 3, stride=2, padding=2, dilation=2)])
def test_patches_are_what_the_convolution_multiplies(make_layer):
    """The layer's gradient is the product of output gradients and patches, whatever the geometry."""
    from spectra.optim._kronecker import _channels_last, _rows

    torch.manual_seed(0)
    layer = make_layer()
    x = torch.randn(4, 2, 9) if isinstance(layer, nn.Conv1d) else torch.randn(4, 2, 7, 8)
    output = layer(x)
    g = torch.randn_like(output)
    (expected,) = torch.autograd.grad(output, layer.weight, g)
    found = _channels_last(layer, g).reshape(-1, 3).T @ _rows(layer, x)
    torch.testing.assert_close(found.reshape(expected.shape), expected)


@pytest.mark.parametrize("layer", [nn.LayerNorm(4), nn.BatchNorm1d(4), nn.GroupNorm(2, 4)])
def test_norm_layers_are_diagonal_by_single_samples(layer):
    from spectra.optim._kronecker import Norm

    torch.manual_seed(0)
    nn.init.normal_(layer.weight)
    x = torch.randn(6, 4, 5) if not isinstance(layer, nn.LayerNorm) else torch.randn(6, 5, 4)
    g = torch.randn_like(x)
    squares = []
    normalised = layer(x)
    for i in range(6):
        only = torch.zeros_like(g)
        only[i] = g[i]
        squares.append([d.square() for d in torch.autograd.grad(normalised, [layer.weight, layer.bias], only,
                                                                retain_graph=True)])
    found = Norm(layer).statistics(x, g)
    torch.testing.assert_close(found["diagonal_0"], torch.stack([s[0] for s in squares]).mean(0))
    torch.testing.assert_close(found["diagonal_1"], torch.stack([s[1] for s in squares]).mean(0))


@pytest.mark.parametrize("fisher", ["mc", "empirical"])
def test_activations_may_overwrite_what_a_layer_returned(fisher):
    factors = []
    for inplace in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace), nn.Linear(4, 4),
                              nn.ReLU(inplace), nn.Flatten(), nn.Linear(48, 5), nn.ReLU(inplace), nn.Linear(5, 3))
        optimizer = optim.KFAC(model, fisher=fisher, rng=0)
        train(model, optimizer, images(), 1)
        factors.append([optimizer.state[w] for w in model.parameters()])
    for one, other in zip(*factors, strict=True):
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("fisher", ["mc", "empirical"])
def test_factors_are_not_shortened_by_autocast(fisher):
    model, (x, y) = make("linear")
    optimizer = optim.KFAC(model, lr=0.01, fisher=fisher, rng=0)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    state = optimizer.state[model[0].weight]
    assert losses[-1] < losses[0] and state["A"].dtype == state["G"].dtype == torch.float32
    inputs = torch.cat([x, torch.ones(12, 1)], 1)
    torch.testing.assert_close(state["A"], inputs.T @ inputs / 12)


class Keyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x):
        return self.layer(input=x)


def test_layers_may_be_called_by_keyword():
    torch.manual_seed(0)
    model = Keyword()
    train(model, optim.KFAC(model, rng=0), NETWORKS["linear"][1](), 2)


def test_transformed_functions_of_the_model_are_no_training():
    model, (x, y) = make("linear")
    optimizer = optim.KFAC(model, rng=0)

    def loss(params, x, y):
        return F.cross_entropy(torch.func.functional_call(model, params, (x[None],)), y[None])

    gradients = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(dict(model.named_parameters()), x, y)
    assert gradients["0.weight"].shape == (12, 4, 5) and not optimizer.watch.calls and not optimizer.watch.samples
    train(model, optimizer, (x, y), 1)


class Skipping(nn.Module):
    """A residual block that is not always there."""

    def __init__(self):
        super().__init__()
        self.block, self.out, self.there = nn.Linear(5, 5), nn.Linear(5, 3), False

    def forward(self, x):
        return self.out(x + self.block(x) if self.there else x)


@pytest.mark.parametrize("first", [1, 3, 30])
def test_a_layer_may_take_part_from_any_step_on(first):
    torch.manual_seed(0)
    model, batch = Skipping(), NETWORKS["linear"][1]()
    optimizer = optim.KFAC(model, factor_every=10, inverse_every=100, rng=0)
    train(model, optimizer, batch, first)
    before, model.there = model.block.weight.clone(), True
    train(model, optimizer, batch, 1)
    assert not torch.equal(model.block.weight, before)
    assert [block.kind for block in optimizer.blocks] == ["kronecker"] * 2


@pytest.mark.parametrize("first", [1, 3])
def test_layers_may_be_unfrozen_at_any_step(first):
    model, batch = make("linear")
    model[0].requires_grad_(False)
    optimizer = optim.KFAC(model, rng=0)
    train(model, optimizer, batch, first)
    before = model[0].weight.clone()
    model[0].requires_grad_(True)
    optimizer.add_param_group({"params": model[0].parameters()})
    train(model, optimizer, batch, 2)
    assert not torch.equal(model[0].weight, before)


def test_a_layer_used_twice_sums_over_its_uses():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3, bias=False)

        def forward(self, x):
            return self.layer(torch.tanh(self.layer(x)))

    torch.manual_seed(0)
    model, x = Twice().double(), torch.randn(10, 3).double()
    optimizer = optim.KFAC(model, lr=0.0, fisher="empirical")
    first = torch.tanh(model.layer(x)).detach()
    train(model, optimizer, (x, torch.randint(3, (10,))), 1)
    state = optimizer.state[model.layer.weight]
    torch.testing.assert_close(state["A"], (x.T @ x + first.T @ first) / 20)


# The step


@pytest.mark.parametrize("form", ["additive", "pi"])
def test_the_step_is_a_solve_with_the_damped_block(form):
    torch.manual_seed(0)
    model, damping, lr = nn.Linear(4, 3).double(), 0.1, 0.5
    optimizer = optim.KFAC(model, lr=lr, damping=damping, momentum=0.0, damping_form=form, rng=0)
    before = [w.detach().clone() for w in model.parameters()]
    train(model, optimizer, (torch.randn(20, 4).double(), torch.randint(3, (20,))), 1)
    state, g = optimizer.state[model.weight], torch.cat([model.weight.grad, model.bias.grad[:, None]], 1)
    A, G = state["A"], state["G"]
    if form == "additive":
        dense = torch.kron(G, A) + damping * torch.eye(15)
        move = torch.linalg.solve(dense, g.ravel()).reshape(g.shape)
    else:
        pi = (A.trace() / 5 / (G.trace() / 3)).sqrt()
        move = torch.linalg.solve(G + damping**0.5 / pi * torch.eye(3), g) @ torch.linalg.inv(
            A + pi * damping**0.5 * torch.eye(5))
    torch.testing.assert_close(before[0] - model.weight, lr * move[:, :4])
    torch.testing.assert_close(before[1] - model.bias, lr * move[:, 4])


def test_embeddings_solve_row_by_row():
    torch.manual_seed(0)
    model, batch = make("words")
    optimizer = optim.KFAC(model, lr=1.0, damping=0.1, momentum=0.0, rng=0)
    before = model.table.weight.detach().clone()
    train(model, optimizer, batch, 1)
    state, g = optimizer.state[model.table.weight], model.table.weight.grad
    for row in range(7):
        move = torch.linalg.solve(state["values_A"][row] * state["G"] + 0.1 * torch.eye(4), g[row])
        torch.testing.assert_close(before[row] - model.table.weight[row], move, rtol=1e-4, atol=1e-6)


def test_clipping_bounds_the_quadratic_change():
    sizes = []
    for clip in (None, 1e-3, 1e3):
        model, batch = make("linear")
        optimizer = optim.KFAC(model, lr=0.5, damping=1e-3, momentum=0.0, kl_clip=clip, rng=0)
        before = weights(model)
        train(model, optimizer, batch, 1)
        sizes.append((before - weights(model)).norm().item())
        if clip is None:
            gradient = torch.cat([w.grad.ravel() for w in model.parameters()])
            change = 0.5 * ((before - weights(model)) @ gradient).item()  # lr^2 v'g
    assert sizes[2] == sizes[0] and sizes[1] / sizes[0] == pytest.approx((1e-3 / change) ** 0.5, rel=1e-4)


def test_weight_decay_is_decoupled_and_momentum_accumulates():
    model = nn.Linear(2, 2, bias=False)
    optimizer = optim.KFAC(model, lr=0.1, weight_decay=0.5, momentum=0.9, rng=0)
    batch = torch.zeros(5, 2), torch.zeros(5, dtype=torch.long)  # no gradient
    before = model.weight.detach().clone()
    train(model, optimizer, batch, 1)
    torch.testing.assert_close(model.weight.detach(), before * 0.95)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("fisher", ["mc", "empirical"])
def test_training_lowers_the_loss(name, fisher):
    model, batch = make(name)
    optimizer = optim.KFAC(model, lr=0.05, damping=0.1, fisher=fisher, rng=0)
    losses = train(model, optimizer, batch, 25)
    assert losses[-1] < 0.8 * losses[0]


def test_blocks_say_what_they_are():
    model, batch = make("attention")
    optimizer = optim.KFAC(model, rng=0)
    train(model, optimizer, batch, 1)
    kinds = {id(w): block.kind for block in optimizer.blocks for w in block.params}
    assert kinds[id(model.out.weight)] == "kronecker"
    for w in (model.attend.in_proj_weight, model.attend.out_proj.weight, model.gain):
        assert kinds[id(w)] == "diagonal"
    convolutions, _ = make("convolutions")
    kinds = [block.kind for block in optim.KFAC(convolutions).blocks]
    assert sorted(kinds) == ["diagonal"] * 3 + ["kronecker"] * 2  # norm; weight and bias of the grouped convolution


# No crash of a decomposition


@pytest.mark.parametrize("case", ["zero batch", "empty batch", "duplicated inputs", "dead units", "huge", "tiny"])
def test_degenerate_factors_do_not_stop_it(case):
    model, (x, y) = make("linear")
    with torch.no_grad():
        if case == "dead units":
            model[0].weight.zero_()
    cases = {"zero batch": 0 * x, "duplicated inputs": x[:1].expand(12, 5), "huge": 1e15 * x, "tiny": 1e-20 * x}
    x = cases.get(case, x)
    optimizer = optim.KFAC(model, lr=1e-3, inverse_every=1, factor_every=1, rng=0)
    if case == "empty batch":
        F.cross_entropy(model(x[:0]), y[:0], reduction="sum").backward()
        optimizer.step()
    train(model, optimizer, (x, y), 5)
    assert torch.isfinite(weights(model)).all()


def test_decompositions_of_anything():
    values, vectors = safe_eigh(torch.full((3, 3), float("nan")))
    assert torch.equal(vectors, torch.eye(3)) and torch.equal(values, torch.zeros(3))
    previous = (torch.ones(2), torch.eye(2))
    assert safe_eigh(torch.full((2, 2), float("inf")), previous) is previous
    values, vectors = safe_eigh(torch.ones(4, 4))
    assert values.min() >= 0
    torch.testing.assert_close(vectors @ torch.diag(values) @ vectors.T, torch.ones(4, 4), rtol=0, atol=1e-5)


def test_outputs_that_are_not_finite_pass_and_the_step_names_them():
    model, (x, y) = make("linear")
    optimizer = optim.KFAC(model, factor_every=1, rng=0)
    train(model, optimizer, (x, y), 1)
    before, factor = weights(model), optimizer.state[model[0].weight]["A"].clone()
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"NaN or Inf in the gradient of 0.weight and \d more"):
            train(model, optimizer, (x * bad, y), 1)
    assert torch.equal(weights(model), before) and torch.equal(optimizer.state[model[0].weight]["A"], factor)
    train(model, optimizer, (x, y), 1)
    assert torch.isfinite(weights(model)).all()


def test_a_block_restores_in_the_form_that_it_had():
    """A layer whose weight is used otherwise has turned diagonal; a fresh optimiser learns it from the state."""
    model, batch = make("attention")
    optimizer = optim.KFAC(model, factor_every=2, rng=1)
    train(model, optimizer, batch, 3)
    other, _ = make("attention", 1)
    other.load_state_dict(model.state_dict())
    again = optim.KFAC(other, factor_every=2, rng=2)
    again.load_state_dict(optimizer.state_dict())
    train(model, optimizer, batch, 3), train(other, again, batch, 3)
    assert torch.equal(weights(model), weights(other))


def test_forgotten_optimisers_watch_no_more_and_copied_models_are_watched_by_no_one():
    model, (x, _) = make("linear")
    optimizer = optim.KFAC(model, rng=0)
    other = copy.deepcopy(model)
    other(x)
    assert not optimizer.watch.sums
    watch = weakref.ref(optimizer.watch)
    del optimizer  # at once, without the garbage collector
    assert watch() is None and not any(layer._forward_hooks for layer in model.modules())
    model(x)


def test_a_mean_over_words_has_the_curvature_of_a_mean_over_words():
    """n samples of T targets each weigh as n T samples of one: in the factors and in the step."""
    factors = []
    torch.manual_seed(0)
    x, y = torch.randn(6, 5, 4).double(), torch.randint(3, (6, 5))
    for fisher in ("empirical", "mc"):
        for apart in (False, True):
            torch.manual_seed(1)
            layer = nn.Linear(4, 3).double()
            model = layer if apart else nn.Sequential(layer, Transposed())
            inputs, labels = (x.reshape(30, 4), y.reshape(30)) if apart else (x, y)
            optimizer = optim.KFAC(model, fisher=fisher, rng=0)
            train(model, optimizer, (inputs, labels), 1)
            factors.append(optimizer.state[layer.weight]["G"])
    torch.testing.assert_close(factors[0], factors[1])
    torch.testing.assert_close(factors[2], factors[3])


def test_a_step_before_any_forward_pass_says_what_to_do():
    model, (x, y) = make("linear")
    model.eval()
    optimizer = optim.KFAC(model)
    F.cross_entropy(model(x), y).backward()
    with pytest.raises(RuntimeError, match="training mode"):
        optimizer.step()


# The contract


@pytest.mark.parametrize("name", NETWORKS)
def test_a_restored_optimiser_continues_to_the_same_bits(name):
    model, batch = make(name)
    optimizer = optim.KFAC(model, lr=0.01, factor_every=2, inverse_every=3, rng=1)
    train(model, optimizer, batch, 4)
    other, _ = make(name, 1)
    other.load_state_dict(model.state_dict())
    again = optim.KFAC(other, lr=0.5, factor_every=2, inverse_every=3, rng=7)
    train(other, again, batch, 1)  # blocks that turn out diagonal are known from here on
    other.load_state_dict(model.state_dict())
    again.load_state_dict(pickle.loads(pickle.dumps(optimizer.state_dict())))
    train(model, optimizer, batch, 4), train(other, again, batch, 4)
    assert torch.equal(weights(model), weights(other))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("fisher", ["mc", "empirical"])
def test_copies_continue_to_the_same_bits(copied, fisher):
    model, batch = make("convolutions")
    optimizer = optim.KFAC(model, lr=0.01, factor_every=2, fisher=fisher, rng=1)
    train(model, optimizer, batch, 3)
    other, again = copied((model, optimizer))
    train(model, optimizer, batch, 4), train(other, again, batch, 4)
    assert torch.equal(weights(model), weights(other)) and again.model is other


def test_every_layer_may_have_a_damping_of_its_own():
    model, batch = make("linear")
    optimizer = optim.KFAC(model, lr=0.1, momentum=0.0, per_layer=True, rng=0)
    assert len(optimizer.param_groups) == 2
    optimizer.param_groups[0]["damping"] = 1e12
    before = model[0].weight.detach().clone(), model[2].weight.detach().clone()
    train(model, optimizer, batch, 1)
    assert torch.allclose(model[0].weight, before[0], atol=1e-10) and not torch.allclose(model[2].weight, before[1])


def test_frozen_layers_and_later_groups():
    model, batch = make("linear")
    model[0].weight.requires_grad_(False)
    optimizer = optim.KFAC(model, lr=0.1, rng=0)
    extra = nn.Parameter(torch.ones(2))
    optimizer.add_param_group({"params": [extra], "lr": 0.5})
    before = model[0].weight.detach().clone()
    train(model, optimizer, batch, 2)
    assert torch.equal(model[0].weight, before) and torch.equal(extra, torch.ones(2))


def test_accumulated_batches_are_one():
    """Two half batches give the factors of the whole, for the empirical Fisher matrix, which draws nothing."""
    factors = []
    for parts in (1, 2):
        model, (x, y) = make("linear")
        optimizer = optim.KFAC(model, fisher="empirical")
        for some, labels in zip(x.chunk(parts), y.chunk(parts), strict=True):
            F.cross_entropy(model(some), labels).backward()
        optimizer.step()
        factors.append(optimizer.state[model[0].weight]["G"])
    torch.testing.assert_close(*factors)


@pytest.mark.parametrize(("options", "message"), [
    ({"fisher": "none"}, "fisher must be"), ({"damping_form": "x"}, "damping_form must be"),
    ({"likelihood": "x"}, "likelihood must be"), ({"damping": -1.0}, "damping must be"),
    ({"momentum": 1.0}, "momentum must lie"), ({"stat_decay": 1.0}, "stat_decay must lie"),
    ({"kl_clip": 0.0}, "kl_clip must be positive"), ({"factor_every": 0}, "factor_every must be"),
])
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        optim.KFAC(nn.Linear(2, 2), **options)


def test_what_cannot_be_optimised_is_refused_by_name():
    with pytest.raises(TypeError, match="needs a torch Module"):
        optim.KFAC([nn.Parameter(torch.ones(2))])
    with pytest.raises(ValueError, match="KFAC optimises real parameters"):
        optim.KFAC(nn.Linear(2, 2, dtype=torch.complex64))
    flat = nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))
    with pytest.raises(ValueError, match=r'found an output of shape \(5,\); give likelihood="gaussian"'):
        optimizer = optim.KFAC(flat)
        flat(torch.ones(5, 2))
        optimizer.step()
    with pytest.raises(ValueError, match="no parameter that is trained"):
        optim.KFAC(nn.ReLU())
