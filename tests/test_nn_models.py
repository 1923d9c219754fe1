"""Models, losses and data that are out of the ordinary: exact against dense truth, or refused with their name."""

import copy
import functools
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from networks import Dense, close, criterion_total, made, mlp, output_hessian, outputs_total  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402
from torch.utils.data import DataLoader, IterableDataset, TensorDataset  # noqa: E402

from spectra.nn import EmpiricalFisherOperator, FisherOperator, GGNOperator, HessianOperator  # noqa: E402

CE = nn.CrossEntropyLoss()


class Layer(nn.Module):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def vectors(op, k=2):
    return torch.randn(op.shape[0], k, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(op.like)


def batches(*shape, sizes=(5, 3), integers=None):
    g = torch.Generator().manual_seed(2)
    return [(torch.randn(n, *shape, generator=g, dtype=torch.float64) if integers is None
             else torch.randint(0, integers, (n, *shape), generator=g), torch.randint(0, 3, (n,), generator=g))
            for n in sizes]


def by_differences(loss, parameters, step=1e-5):
    """The Hessian by central differences of gradients, in place; `loss` takes nothing."""
    parameters = list(parameters)
    point = nn.utils.parameters_to_vector(parameters).detach().clone()

    def gradient(w):
        nn.utils.vector_to_parameters(w, parameters)
        return torch.cat([g.flatten() for g in torch.autograd.grad(
            loss(), parameters, allow_unused=True, materialize_grads=True)]).detach()

    columns = [(gradient(point + step * e) - gradient(point - step * e)) / (2 * step)
               for e in torch.eye(len(point)).double()]
    nn.utils.vector_to_parameters(point, parameters)
    return torch.stack(columns, 1)


class OneWeightTwice(nn.Module):
    """An autoencoder whose decoder is its encoder, transposed."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return F.linear(torch.tanh(self.layer(x)), self.layer.weight.t())[:, :3]


class Hypernetwork(nn.Module):
    """Weights that are themselves outputs of a layer."""

    def __init__(self):
        super().__init__()
        self.weights, self.layer = nn.Linear(4, 12), nn.Linear(4, 4)

    def forward(self, x):
        return F.linear(torch.tanh(self.layer(x)), self.weights(x.new_ones(4)).view(3, 4))


class RowByRow(nn.Module):
    """Linear layers on vectors, with a weight that is one."""

    def __init__(self):
        super().__init__()
        self.layer, self.out, self.scale = nn.Linear(4, 4), nn.Linear(4, 3), nn.Parameter(torch.randn(3))

    def forward(self, x):
        rows = torch.stack([self.out(torch.tanh(self.layer(row))) for row in x])
        return rows + F.linear(rows, self.scale)[:, None]


def shared_convolution():
    layer = nn.Conv2d(2, 2, 3, padding=1)
    return nn.Sequential(nn.Conv2d(1, 2, 1), layer, nn.Tanh(), layer, nn.Flatten(), nn.Linear(32, 3))


ODD = {
    "spectral norm": (lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 5)), nn.Tanh(),
                                            nn.Linear(5, 3)), (4,)),
    "in-place relu": (lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)), (4,)),
    "weight twice": (OneWeightTwice, (4,)),
    "hypernetwork": (Hypernetwork, (4,)),
    "row by row": (RowByRow, (4,)),
    "shared convolution": (shared_convolution, (1, 4, 4)),
    "prelu, rms norm, celu": (lambda: nn.Sequential(nn.Linear(4, 5), nn.PReLU(), nn.RMSNorm(5), nn.CELU(),
                                                    nn.Linear(5, 3)), (4,)),
    "mish, adaptive pool, pixel shuffle": (lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.Mish(), nn.Dropout2d(), nn.AdaptiveAvgPool2d(2), nn.PixelShuffle(2),
        nn.Flatten(), nn.Linear(16, 3)), (1, 4, 4)),
    "causal attention": (lambda: nn.Sequential(nn.TransformerEncoderLayer(4, 2, 4, dropout=0.1, batch_first=True),
                                               Layer(lambda x: x.mean(1)), nn.Linear(4, 3)), (3, 4)),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_models_have_the_curvature_of_the_dense_matrices(name):
    build, shape = ODD[name]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nested tensors in transformer layers
        model, data = build().double().eval(), batches(*shape)
    H = HessianOperator(model, CE, data)
    V = vectors(H)
    close(H @ V, Dense(model, criterion_total(CE, data)).hessian() @ V.numpy(), 1e-8)
    function = Dense(model, outputs_total(data))
    J, z = function.jacobian(), function(function.point)
    M = output_hessian(CE, z, torch.cat([y for _, y in data]))
    expected = J.flatten(0, -2).T @ (M @ (J.flatten(0, -2) @ V))
    for cache in ("auto", None):
        close(GGNOperator(model, CE, data, cache=cache) @ V, expected, 1e-11)


def test_the_padding_row_of_an_embedding_is_a_constant():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(6, 3, padding_idx=0), nn.Flatten(), nn.Tanh(), nn.Linear(6, 3)).double()
    nn.init.normal_(model[0].weight)
    plain = nn.Sequential(nn.Embedding(6, 3, sparse=True), *model[1:]).double()
    plain[0].weight = model[0].weight
    data = batches(2, integers=6)
    rest = torch.ones(18 + 21).double()
    rest[:3] = 0  # the row
    for operator in (HessianOperator, GGNOperator):
        free = operator(plain, CE, data).todense()
        for cache in ("auto", None):
            close(operator(model, CE, data, cache=cache).todense(), rest[:, None] * free * rest, 1e-11)
    with pytest.raises(ValueError, match="max_norm"):
        HessianOperator(nn.Sequential(nn.Embedding(6, 3, max_norm=1.0), *model[1:]), CE, data) @ vectors(model_of(39))


def model_of(size):
    return HessianOperator(nn.Linear(size, 1, bias=False).double(), nn.MSELoss(), (torch.ones(1, size).double(),
                                                                                  torch.ones(1, 1).double()))


# Losses that differentiate


def equation(model, batch):
    """Residual of u_xx - u_t + u = 0."""
    x = batch[0].clone().requires_grad_()
    u = model(x)
    first = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
    second = torch.autograd.grad(first[:, 0].sum(), x, create_graph=True)[0]
    return (second[:, 0] - first[:, 1] + u[:, 0]).square().mean()


def equation_by_transforms(model, batch):
    slopes = torch.vmap(torch.func.grad(lambda x: model(x[None])[0, 0]))(batch[0])
    return (slopes[:, 0] - slopes[:, 1] ** 2).square().mean()


def gradient_penalty(model, batch):
    loss = model(batch[0]).square().mean()
    return loss + sum(g.square().sum() for g in torch.autograd.grad(loss, list(model.parameters()), create_graph=True))


@pytest.mark.parametrize("loss_fn", [equation, equation_by_transforms, gradient_penalty])
def test_losses_that_take_derivatives_themselves(loss_fn):
    torch.manual_seed(0)
    model, data = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).double(), batches(2)

    def total():
        return sum(len(batch[0]) * loss_fn(model, batch) for batch in data) / 8

    H = HessianOperator(model, loss_fn, data)
    close(H.todense(), by_differences(total, model.parameters()), 1e-7)
    assert H.loss() == pytest.approx(total().item(), rel=1e-12)
    with pytest.raises(ValueError, match="takes derivatives of the model"):
        GGNOperator(model, loss_fn, data) @ vectors(H)


class Forces(nn.Module):
    """The model itself returns derivatives, of an energy."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))

    def forward(self, x):
        with torch.enable_grad():
            x = x.clone().requires_grad_()
            return torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


class Mapped(nn.Module):
    """Written for one sample, applied to many."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return torch.vmap(lambda row: torch.tanh(self.layer(row)))(x)


@pytest.mark.parametrize("build", [Forces, Mapped])
def test_models_that_use_derivatives_and_transforms(build):
    torch.manual_seed(0)
    model = build().double()
    data = [(x, x.flip(1)) for x, _ in batches(4)]
    x, y = (torch.cat(part) for part in zip(*data, strict=True))
    H = HessianOperator(model, nn.MSELoss(), data)
    close(H.todense(), by_differences(lambda: F.mse_loss(model(x), y), model.parameters()), 1e-7)
    options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    rows = [torch.autograd.grad(z, list(model.parameters()), **options) for z in model(x).flatten()]
    J = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    for cache in ("auto", None):
        close(GGNOperator(model, nn.MSELoss(), data, cache=cache).todense(), 2 * J.T @ J / len(J), 1e-12)


@pytest.mark.parametrize("criterion", [nn.HuberLoss(delta=0.3), nn.SmoothL1Loss(), nn.KLDivLoss(reduction="sum"),
                                       nn.NLLLoss(ignore_index=1, weight=torch.tensor([1.0, 2.0, 3.0]).double())],
                         ids=lambda criterion: type(criterion).__name__)
def test_more_criteria(criterion):
    torch.manual_seed(1)
    model = mlp().double()
    data = batches(4)
    if not isinstance(criterion, nn.NLLLoss):
        data = [(x, torch.rand(len(x), 3).double().softmax(1)) for x, _ in data]
    if not isinstance(criterion, (nn.HuberLoss, nn.SmoothL1Loss)):
        model = nn.Sequential(*model, nn.LogSoftmax(1))
    H = HessianOperator(model, criterion, data)
    V = vectors(H)
    close(H @ V, Dense(model, criterion_total(criterion, data)).hessian() @ V.numpy(), 1e-8)


def test_gauss_newton_says_whether_it_is_positive():
    model, data = made("linear, tanh")
    assert GGNOperator(model, CE, data, check=None).psd
    assert GGNOperator(model, nn.HuberLoss(), [(x, x[:, :3]) for x, _ in data]).psd

    def bent(model, batch):
        return torch.sin(model(batch[0])).mean()

    unchecked = GGNOperator(model, bent, data, check=None)
    assert not unchecked.psd and np.linalg.eigvalsh(unchecked.todense().numpy())[0] < -1e-3
    with pytest.raises(ValueError, match="convex in the outputs"):
        GGNOperator(model, bent, data) @ vectors(unchecked)
    negative = nn.CrossEntropyLoss(weight=torch.tensor([1.0, -2.0, 1.0]).double())
    with pytest.raises(ValueError, match="convex in the outputs"):
        GGNOperator(model, negative, data) @ vectors(unchecked)


class Outputs(nn.Module):
    def __init__(self, inner, pack):
        super().__init__()
        self.inner, self.pack = inner, pack

    def forward(self, x):
        return self.pack(self.inner(x))


@pytest.mark.parametrize("operator", [HessianOperator, GGNOperator, EmpiricalFisherOperator])
def test_outputs_in_tuples_and_dictionaries(operator):
    model, data = made("linear, tanh")
    expected = operator(model, CE, data)
    V = vectors(expected)
    pair = Outputs(model, lambda z: (z, z**2))
    close(operator(pair, lambda m, b: CE(m(b[0])[0], b[1]), data) @ V, expected @ V, 1e-12)
    close(operator(Outputs(model, lambda z: {"logits": z, "square": z**2}), CE, data) @ V, expected @ V, 1e-12)
    with pytest.raises(TypeError, match="returned a tuple"):
        operator(pair, CE, data) @ V


# Models that are wrapped, compiled, or cannot be differentiated


@pytest.mark.slow  # the compiler takes seconds to load
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_wrapped_and_compiled_models():
    model, data = made("linear, tanh")
    expected = HessianOperator(model, CE, data)
    V = vectors(expected)
    wrapped = [nn.DataParallel(model), torch.compile(model), nn.Sequential(torch.compile(model)),
               torch.jit.script(model), torch.jit.trace(model, data[0][0])]
    for one in wrapped:
        close(HessianOperator(one, CE, data) @ V, expected @ V, 1e-12)


class Half(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return g * (1 - ctx.saved_tensors[0].tanh() ** 2)


class Twice(Half):
    @staticmethod
    def backward(ctx, g):
        return g * (1 - ctx.saved_tensors[0].tanh() ** 2)


@pytest.mark.parametrize("operator", [HessianOperator, GGNOperator])
@pytest.mark.parametrize("cache", ["auto", None])
def test_functions_without_a_second_derivative(operator, cache):
    model, data = made("linear, tanh")
    expected = operator(model, CE, data)
    V = vectors(expected)
    twice, half = (nn.Sequential(model[0], Layer(kind.apply), model[2]) for kind in (Twice, Half))
    close(operator(twice, CE, data, cache=cache) @ V, expected @ V, 1e-12)
    with pytest.raises(ValueError, match="once_differentiable"):
        operator(half, CE, data, cache=cache) @ V
    bag = nn.Sequential(nn.EmbeddingBag(6, 3), nn.Linear(3, 3)).double()
    with pytest.raises(NotImplementedError, match="no second derivative"):
        operator(bag, CE, batches(2, integers=6), cache=cache) @ torch.ones(30).double()


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputed_activations_are_refused(reentrant):
    model, data = made("linear, tanh")

    class Recomputed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.inner = nn.Linear(4, 4).double(), model

        def forward(self, x):
            return checkpoint(self.inner, self.first(x), use_reentrant=reentrant)

    with pytest.raises((RuntimeError, ValueError), match="checkpoint"):
        HessianOperator(Recomputed(), CE, data) @ torch.ones(63).double()


def test_weights_without_values_or_order():
    data = batches(4)
    with pytest.raises(ValueError, match=r"parameter 0\.weight is on the meta device"):
        HessianOperator(mlp().to("meta"), CE, data)
    with pytest.raises(ValueError, match="has no shape yet"):
        HessianOperator(nn.LazyLinear(3), CE, data)
    with pytest.raises(ValueError, match="Tanh has no parameters"):
        HessianOperator(nn.Tanh(), CE, data)
    with pytest.raises(ValueError, match="no parameter is left"):
        HessianOperator(mlp().requires_grad_(False), CE, data)

    class Complex(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.layer = nn.Parameter(torch.randn(4, 4, dtype=torch.complex128)), nn.Linear(4, 3).double()

        def forward(self, x):
            return self.layer((x.to(self.w) @ self.w).abs())

    model = Complex()
    with pytest.raises(TypeError, match=r"expected real parameters, but w has dtype torch\.complex128"):
        HessianOperator(model, CE, data)
    H = HessianOperator(model, CE, data, params=["layer"])
    features = [((x.to(model.w) @ model.w).abs().detach(), y) for x, y in data]
    close(H.todense(), HessianOperator(model.layer, CE, features).todense(), 1e-12)


def test_half_precision_batch_norm_on_its_batches():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).to(torch.bfloat16)
    data = [(x.bfloat16(), y) for x, y in batches(4)]
    H = HessianOperator(model, CE, data, bn="train")
    exact = HessianOperator(model.double(), CE, [(x.double(), y) for x, y in data], bn="train")
    V = vectors(exact)
    assert H.dtype == np.float32
    close(exact @ V, HessianOperator(model, CE, [(x.double(), y) for x, y in data], bn="train", cache=None) @ V, 1e-12)


# Data, and what is around a product


def test_streams_workers_and_what_can_be_read_only_once():
    model, data = made("linear, tanh")
    samples = [(x, y) for xs, ys in data for x, y in zip(xs, ys, strict=True)]
    expected = HessianOperator(model, CE, data)
    V = vectors(expected)

    class Stream(IterableDataset):
        def __init__(self, read):
            self.read = read

        def __iter__(self):
            return self.read()

    close(HessianOperator(model, CE, DataLoader(Stream(lambda: iter(samples)), batch_size=4)) @ V, expected @ V, 1e-12)
    once = iter(samples)
    with pytest.raises(ValueError, match=r"pass list\((data|loader)\)"):
        HessianOperator(model, CE, DataLoader(Stream(lambda: once), batch_size=4), cache=None) @ V
    with pytest.raises(TypeError, match="can be read only once"):
        HessianOperator(model, CE, (batch for batch in data))
    stacked = TensorDataset(*(torch.stack(part) for part in zip(*samples, strict=True)))
    H = HessianOperator(model, CE, DataLoader(stacked, batch_size=4, shuffle=True, num_workers=1, drop_last=True),
                        cache=None)
    assert torch.equal(H @ V, H @ V)


@pytest.mark.parametrize("where", ["forward", "backward", "loader"])
@pytest.mark.parametrize("operator", [HessianOperator, GGNOperator, FisherOperator])
def test_an_interrupt_leaves_everything_as_it_was(operator, where):
    model, data, left = *made("batch norm"), [1 << 30]

    def tick(place):
        left[0] -= place == where
        if left[0] < 0:
            raise KeyboardInterrupt

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            tick("forward")
            return x * 2

        @staticmethod
        def backward(ctx, g):
            tick("backward")
            return g * 2

    class Loader:
        def __iter__(self):
            for batch in data:
                tick("loader")
                yield batch

    def state():
        return ([t.clone() for t in model.state_dict().values()] + [torch.get_rng_state()],
                [m.training for m in model.modules()] + [p.requires_grad for p in model.parameters()]
                + [id(p) for p in model.parameters()] + [p.grad for p in model.parameters()]
                + [len(m._forward_hooks) for m in model.modules()] + [torch.backends.mha.get_fastpath_enabled()])

    model = nn.Sequential(*model[:2], Layer(Watched.apply), nn.Dropout(), *model[2:])
    options = {"rng": 0} if operator is FisherOperator else {}
    H = operator(model, CE, Loader(), bn="train", dropout="seeded", check=None, cache=None, **options)
    V = vectors(H)
    expected, before = H @ V, state()
    for ticks in range(2):
        left[0] = ticks
        with pytest.raises(KeyboardInterrupt):
            H @ V
        after = state()
        assert all(map(torch.equal, before[0], after[0])) and before[1] == after[1]
    left[0] = 1 << 30
    assert torch.equal(H @ V, expected)


def test_products_are_in_full_precision_whatever_the_caller_allows():
    model, data = made("linear, tanh")
    expected = HessianOperator(model, CE, data)
    V = vectors(expected)
    torch.set_float32_matmul_precision("medium")
    try:
        found = HessianOperator(model.float(), CE, [(x.float(), y) for x, y in data], cache=None) @ V.float()
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    close(found, HessianOperator(model.double(), CE, data) @ V, 1e-5)


def test_data_that_change_under_a_kept_graph_are_noticed():
    model, data = made("linear, tanh")
    for cache, message in (("auto", "changed in place"), (None, "differs from the one of the first pass")):
        H = HessianOperator(model, CE, data, cache=cache)
        V = vectors(H)
        H @ V
        data[0][0].add_(1)
        with pytest.raises(ValueError, match=message):
            H @ V


def test_in_inference_mode_and_without_gradients():
    model, data = made("linear, tanh")
    expected = HessianOperator(model, CE, data)
    v = vectors(expected, 1)[:, 0]
    with torch.inference_mode():
        copies = [(x.clone(), y.clone()) for x, y in data]
        for operator in (HessianOperator, GGNOperator):
            for cache in ("auto", None):
                found = operator(model, CE, copies, cache=cache) @ v.clone()
                close(found.clone(), operator(model, CE, data) @ v, 1e-12)
    with torch.no_grad():
        close(HessianOperator(model, CE, data) @ v, expected @ v, 1e-12)
    assert not (expected @ v.clone().requires_grad_()).requires_grad


# Precisions


def in_float32_and_float64(model, loss_fn, data):
    """The Hessian of a model in float32, checked by the way, and of its copy in float64."""
    return [HessianOperator(one, loss_fn, data, cache=None).todense().numpy()
            for one in (copy.deepcopy(model).float(), copy.deepcopy(model).double())]


WEIGHT = torch.tensor([0.2, 1.0, 3.0])


@pytest.mark.parametrize("loss_fn", [
    nn.CrossEntropyLoss(weight=WEIGHT), functools.partial(F.cross_entropy, weight=WEIGHT),
    lambda z, y: F.cross_entropy(z, y, WEIGHT, reduction="sum") / len(y),
    lambda model, batch: F.nll_loss(model(batch[0]).log_softmax(1), batch[1], weight=WEIGHT)])
def test_weights_of_classes_have_the_precision_of_the_outputs(loss_fn):
    model, (batch, _) = made("linear, tanh")
    single, double = in_float32_and_float64(model, loss_fn, [batch])
    close(torch.from_numpy(single), double, 1e-5)
    for operator in (GGNOperator, FisherOperator, EmpiricalFisherOperator):
        if isinstance(loss_fn, nn.Module):
            operator(copy.deepcopy(model).float(), loss_fn, [batch]) @ torch.ones(43)


class FromZero(nn.Module):
    """A recurrence that makes its own first state."""

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.GRUCell(4, 3), nn.Linear(3, 3)

    def forward(self, x):
        state = torch.zeros(len(x), 3)
        for _ in range(2):
            state = self.cell(x, state)
        return self.out(state)


class Single(nn.Module):
    """Insists on float32 for a norm, as libraries of transformers do."""

    def __init__(self):
        super().__init__()
        self.norm, self.out = nn.LayerNorm(4), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(torch.tanh(self.norm(x.float()).to(self.out.weight.dtype)))


def test_models_that_make_tensors_of_a_precision_of_their_own():
    torch.manual_seed(0)
    data = batches(4)
    single, double = in_float32_and_float64(FromZero(), CE, data)
    close(torch.from_numpy(single), double, 1e-5)
    assert torch.get_default_dtype() == torch.float32
    model, (x, y) = Single(), tuple(torch.cat(parts) for parts in zip(*data, strict=True))
    found = HessianOperator(model, CE, (x.float(), y)).todense()
    model.double()
    close(found, by_differences(lambda: CE(model.out(torch.tanh(model.norm(x))), y), model.parameters()), 1e-5)


def test_a_loss_that_insists_on_half_precision_is_told_why_it_fails():
    model, data = made("linear, tanh")
    with pytest.raises(RuntimeError, match="same dtype") as caught:
        HessianOperator(model.bfloat16(), lambda m, b: CE(m(b[0].bfloat16()).float(), b[1]), data) @ torch.ones(43)
    assert "are evaluated in torch.float32" in caught.value.__notes__[0]


class Keeping(nn.Module):
    """Counts its calls, keeps an activation, and makes a table when it is first called."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls, self.table, self.last = nn.Linear(4, 3), 0, None, None

    def forward(self, x):
        self.calls += 1
        self.table = torch.linspace(0.5, 1.0, 4) if self.table is None else self.table
        self.last = self.layer(x * self.table)
        return self.last


@pytest.mark.parametrize("operator", [HessianOperator, GGNOperator])
def test_what_a_model_keeps_in_attributes_is_as_it_was(operator):
    model = Keeping()
    op = operator(model, CE, batches(4))
    V = vectors(op)
    product = op @ V
    assert model.calls == 0 and model.table is None and model.last is None
    copy.deepcopy(model)(batches(4)[0][0].float())
    assert torch.equal(copy.deepcopy(op) @ V, product)


class Temperature(nn.Module):
    def __init__(self):
        super().__init__()
        self.inverse = nn.Parameter(torch.tensor(1.5))

    def forward(self, z, y):
        return F.cross_entropy(self.inverse * z, y)


def test_a_criterion_with_parameters_of_its_own():
    model, [batch] = made("linear, tanh", sizes=(7,))
    H = HessianOperator(model, Temperature(), batch)
    V = vectors(H)
    close(H @ V, HessianOperator(model, lambda z, y: F.cross_entropy(1.5 * z, y), batch) @ V, 1e-12)
    assert not (H @ V).requires_grad


def test_a_loss_without_a_second_derivative():
    model, data = made("linear, tanh")
    for operator in (HessianOperator, GGNOperator):
        with pytest.raises(NotImplementedError, match="or the loss, has no second derivative"):
            operator(model, nn.MultiMarginLoss(p=2), data) @ torch.ones(43, dtype=torch.float64)


# Data and doors


@pytest.mark.parametrize("operator", [HessianOperator, GGNOperator, EmpiricalFisherOperator, FisherOperator])
def test_a_batch_of_which_every_target_is_ignored_adds_nothing(operator):
    model, data = made("linear, tanh")
    ignored = data[0][0], torch.full_like(data[0][1], -100)
    seed = {"rng": 0} if operator is FisherOperator else {}
    for cache in ("auto", None):
        with_it = operator(model, CE, [*data, ignored], cache=cache, **seed)
        V = vectors(with_it)
        close(with_it @ V, operator(model, CE, data, **seed) @ V, 1e-12)
    with pytest.raises(ValueError, match="no batch has a target that counts"):
        operator(model, CE, [ignored], **seed) @ V
    if operator is GGNOperator:
        def loss(model, batch):
            return F.cross_entropy(model(batch[0]), batch[1], reduction="sum"), (batch[1] != -100).sum()

        close(operator(model, loss, [ignored, *data]) @ V, operator(model, CE, data) @ V, 1e-12)


def test_a_loader_whose_workers_stay_is_frozen_in_one_order():
    model, [(x, y)] = made("linear, tanh", sizes=(11,))
    loader = DataLoader(TensorDataset(x, y), batch_size=4, shuffle=True, num_workers=1, persistent_workers=True)
    H = HessianOperator(model, CE, loader, cache=None)
    V = vectors(H)
    first = H @ V
    assert torch.equal(first, H @ V)


def test_copies_begin_without_the_kept_graphs():
    model, data = made("linear, tanh")
    H = GGNOperator(model, CE, data)
    V = vectors(H)
    product = H @ V
    twin = copy.deepcopy(H)
    assert len(H._cache) == 2 and not len(twin._cache) and torch.equal(twin @ V, product)


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"model": lambda x: x}, TypeError, "must be a torch.nn.Module, found a function"),
    ({"data": []}, ValueError, "hold no batch"),
    ({"data": TensorDataset(torch.ones(2, 4))}, TypeError, "wrap it in a torch.utils.data.DataLoader"),
    ({"data": (np.ones((2, 4)), np.ones(2))}, TypeError, "torch.from_numpy"),
])
def test_what_is_no_model_and_no_data(arguments, error, message):
    model, data = made("linear, tanh")
    with pytest.raises(error, match=message):
        HessianOperator(**{"model": model, "loss_fn": CE, "data": data} | arguments)


def test_a_module_names_its_parameters():
    model, data = made("linear, tanh")
    assert HessianOperator(model, CE, data, params=model[2]).names == ["2.weight", "2.bias"]
