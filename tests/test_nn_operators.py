"""Curvature operators against dense matrices made the long way round, in float64; and the ten traps."""

import copy
import functools
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from networks import (  # noqa: E402
    LAYERS,
    Dense,
    Transformer,
    close,
    criterion_total,
    made,
    mlp,
    output_hessian,
    outputs_total,
    transformer_batches,
    transformer_loss,
)
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

import spectra  # noqa: E402
from spectra.nn import EmpiricalFisherOperator, FisherOperator, GGNOperator, HessianOperator  # noqa: E402
from spectra.testing import check_operator  # noqa: E402

CE = nn.CrossEntropyLoss()
ALL = (HessianOperator, GGNOperator, FisherOperator, EmpiricalFisherOperator)
SMOOTH = ("weight norm", "lstm", "gru")  # their references are differences, or have rounding of their own


def vectors(op, k=2):
    return torch.randn(op.shape[0], k, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(op.like)


def dense(op):
    return op.todense().numpy()


def parts_of_ggn(model, criterion, batches):
    """J, H_L (both of all data at once) and the outputs."""
    function = Dense(model, outputs_total(batches))
    J, z = function.jacobian(), function(function.point)
    y = torch.cat([y for _, y in batches])
    return J.reshape(-1, J.shape[-1]), output_hessian(criterion, z, y), z, y


def state(model):
    """Everything that a product must leave alone."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return ({name: t.detach().clone() for name, t in tensors.items()}, [m.training for m in model.modules()],
            [None if p.grad is None else p.grad.clone() for p in model.parameters()],
            [p.requires_grad for p in model.parameters()], torch.get_rng_state())


def assert_same_state(before, after):
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert before[1] == after[1] and before[3] == after[3] and torch.equal(before[4], after[4])
    assert all((a is None) == (b is None) and (a is None or torch.equal(a, b))
               for a, b in zip(before[2], after[2], strict=True))


# Every kind of layer; traps 1, 2, 3, 5, 7, 8


@pytest.mark.parametrize("name", LAYERS)
def test_products_are_those_of_the_dense_matrices(name):
    model, batches = made(name)
    before = state(model)
    H = HessianOperator(model, CE, batches)
    V = vectors(H, 5)
    W, again = H @ V, H @ V[:, 0]
    close(W, Dense(model, criterion_total(CE, batches)).hessian() @ V.numpy(), 1e-8 if name in SMOOTH else 1e-12)
    close(again, W[:, 0], 1e-12)
    J, M, *_ = parts_of_ggn(model, CE, batches)
    kept, direct = GGNOperator(model, CE, batches), GGNOperator(model, CE, batches, cache=None)
    close(kept @ V, J.T @ (M @ (J @ V)), 1e-12)
    close(direct @ V[:, :2], J.T @ (M @ (J @ V[:, :2])), 1e-12)
    assert_same_state(before, state(model))


@pytest.mark.parametrize("operator", ALL)
def test_every_operator_keeps_its_claims(operator):
    model, batches = made("linear, tanh")
    for dtype, cache in ((torch.float32, "auto"), (torch.float64, None), (torch.float64, 4000)):
        check_operator(operator(model.float(), CE, batches, dtype=dtype, cache=cache))


def test_batch_norm_in_training_mode_is_the_mean_over_the_fixed_batches():
    model, batches = made("batch norm")
    before = state(model)
    H = HessianOperator(model, CE, batches, bn="train")
    G = GGNOperator(model, CE, batches, bn="train", cache=None)
    expected, gauss_newton = 0, 0
    for batch in batches:
        share = len(batch[0]) / 11
        expected = expected + share * Dense(model, criterion_total(CE, [batch]), mode="train").hessian()
        function = Dense(model, outputs_total([batch]), mode="train")
        J, z = function.jacobian(), function(function.point)
        J, M = J.reshape(-1, J.shape[-1]), output_hessian(CE, z, batch[1])
        gauss_newton = gauss_newton + share * (J.T @ M @ J)
    close(dense(H), expected, 1e-12)
    close(G @ vectors(G), gauss_newton @ vectors(G), 1e-12)
    assert_same_state(before, state(model))
    evaluation = dense(HessianOperator(model, CE, batches))
    assert np.abs(dense(H) - evaluation).max() > 1e-2 * np.abs(evaluation).max()


def test_transformer_with_a_dict_of_inputs_and_ignored_targets():
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, batches = Transformer().double(), transformer_batches()
    H, G = (op(model, transformer_loss, batches) for op in (HessianOperator, GGNOperator))

    def total(m):
        sums, counts = zip(*(transformer_loss(m, batch) for batch in batches), strict=True)
        return sum(sums) / sum(counts)

    V = vectors(H)
    assert not any("head" in name for name in H.names)  # tied to the embedding: one parameter, under its first name
    close(H @ V, Dense(model, total, names=H.names).hessian() @ V.numpy(), 1e-11)
    function = Dense(model, lambda m: torch.cat([m(b["input_ids"], b["attention_mask"])["logits"] for b in batches]),
                     names=G.names)
    J, z = function.jacobian(), function(function.point)
    y = torch.cat([b["labels"] for b in batches]).flatten()
    M = output_hessian(lambda v, y: F.cross_entropy(v.flatten(0, 1), y), z, y)
    close(G @ V, J.reshape(-1, V.shape[0]).T @ (M @ (J.reshape(-1, V.shape[0]) @ V)), 1e-11)


def test_a_criterion_on_a_batch_with_labels():
    model = Transformer().double()
    batches = transformer_batches()

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, input_ids, attention_mask):
            return self.inner(input_ids, attention_mask)["logits"].transpose(1, 2)

    V = vectors(HessianOperator(model, transformer_loss, batches))
    by_criterion = HessianOperator(Logits(), CE, batches) @ V
    close(by_criterion, HessianOperator(model, transformer_loss, batches) @ V, 1e-12)


# Weights: trap 4


@pytest.mark.parametrize("cut", [(11,), (7, 4), (5, 5, 1)])
@pytest.mark.parametrize("criterion", [
    CE, F.cross_entropy, nn.CrossEntropyLoss(reduction="sum"), nn.CrossEntropyLoss(ignore_index=2),
    nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64), label_smoothing=0.2),
    functools.partial(F.cross_entropy, ignore_index=0), functools.partial(F.cross_entropy, reduction="sum")],
    ids=["mean", "function", "sum", "ignore_index", "weighted", "partial ignore", "partial sum"])
def test_however_the_data_are_cut_it_is_one_batch(criterion, cut):
    model, [(x, y)] = made("linear, tanh", sizes=(11,))
    batches = list(zip(x.split(cut), y.split(cut), strict=True))
    H, G = (op(model, criterion, batches) for op in (HessianOperator, GGNOperator))
    close(dense(H), Dense(model, criterion_total(criterion, [(x, y)])).hessian(), 1e-12)
    J, M, *_ = parts_of_ggn(model, criterion, [(x, y)])
    close(dense(G), J.T @ M @ J, 1e-12)
    close(H.gradient(), Dense(model, criterion_total(criterion, [(x, y)])).gradient(), 1e-12)
    assert np.isclose(H.loss(), criterion(model(x), y).item(), rtol=1e-12)


def test_sums_with_counts_means_and_added_batches():
    model, batches = made("linear, tanh")
    V = vectors(HessianOperator(model, CE, batches))

    def summed(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1], reduction="sum"), len(batch[0])

    def mean(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1])

    expected = HessianOperator(model, CE, batches) @ V
    for loss_fn in (summed, mean, lambda z, y: F.cross_entropy(z, y)):
        close(HessianOperator(model, loss_fn, batches) @ V, expected, 1e-12)
        close(GGNOperator(model, loss_fn, batches) @ V, GGNOperator(model, CE, batches) @ V, 1e-12)
    added = HessianOperator(model, lambda m, b: summed(m, b)[0], batches, weight="sum")
    close(added @ V, 11 * expected, 1e-12)


def test_a_batch_whose_targets_are_all_ignored_counts_for_nothing():
    model, [(x, y), (x2, _)] = made("linear, tanh")
    batches = [(x, y), (x2, torch.full((4,), -100))]
    H = HessianOperator(model, CE, batches)
    close(dense(H), dense(HessianOperator(model, CE, [(x, y)])), 1e-12)
    with pytest.raises(ValueError, match="no batch has a target that counts"):
        HessianOperator(model, CE, batches[1:], check=None) @ vectors(H)
    with pytest.raises(ValueError, match=r"return \(sum, count\)"):
        HessianOperator(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), batches, check=None) @ vectors(H)


def test_products_of_batches_add_up():
    model, batches = made("linear, tanh", sizes=(4, 4, 3))
    for operator in (HessianOperator, GGNOperator, EmpiricalFisherOperator):
        H = operator(model, CE, batches)
        V = vectors(H)
        parts = list(H.per_batch(V))
        close(sum(w * part for w, part in zip(H.weights, parts, strict=True)), H @ V, 1e-12)
        close(parts[1], operator(model, CE, batches[1:2]) @ V, 1e-12)
        assert np.allclose(H.weights, np.array([4, 4, 3]) / 11)
        close(next(iter(H.per_batch(V[:, 0]))), parts[0][:, 0], 1e-12)


def test_many_batches_are_added_up_in_float64():
    model, [(x, y)] = made("linear, tanh", sizes=(100,))
    batches = list(zip(x.split(2), y.split(2), strict=True))
    single = HessianOperator(copy.deepcopy(model).float(), CE, [(x.float(), y) for x, y in batches])
    V = vectors(single)
    close(single @ V, HessianOperator(model, CE, batches) @ V.double(), 2e-6)


# Output curvature


LOSSES = {
    "cross-entropy": (CE, lambda n: torch.randint(0, 3, (n,))),
    "probabilities": (nn.CrossEntropyLoss(label_smoothing=0.1), lambda n: torch.rand(n, 3).double().softmax(1)),
    "squared": (nn.MSELoss(), lambda n: torch.randn(n, 3).double()),
    "squared, sum": (nn.MSELoss(reduction="sum"), lambda n: torch.randn(n, 3).double()),
    "binary": (nn.BCEWithLogitsLoss(weight=torch.tensor([1.0, 2.0, 0.5]).double(),
                                    pos_weight=torch.tensor([2.0, 1.0, 3.0]).double()),
               lambda n: torch.randint(0, 2, (n, 3)).double()),
    "poisson": (nn.PoissonNLLLoss(), lambda n: torch.randint(0, 5, (n, 3)).double()),
    "huber": (nn.HuberLoss(delta=5.0), lambda n: torch.randn(n, 3).double()),
}


def with_targets(name, sizes=(7, 4)):
    criterion, targets = LOSSES[name]
    model, batches = made("linear, tanh", sizes)
    torch.manual_seed(6)
    return criterion, model, [(x, targets(len(x))) for x, _ in batches]


@pytest.mark.parametrize("name", LOSSES)
def test_gauss_newton_of_every_loss(name):
    criterion, model, batches = with_targets(name)
    J, M, *_ = parts_of_ggn(model, criterion, batches)
    G = GGNOperator(model, criterion, batches)
    check_operator(G, (J.T @ M @ J).numpy())
    truth = Dense(model, criterion_total(criterion, batches)).hessian()
    close(dense(HessianOperator(model, criterion, batches)), truth, 1e-8)


@pytest.mark.parametrize("name", ["cross-entropy", "probabilities", "squared", "squared, sum", "binary"])
def test_fisher_information_is_gauss_newton_in_the_mean(name):
    criterion, model, batches = with_targets(name)
    J, M, *_ = parts_of_ggn(model, criterion, batches)
    mc, draws = 400, 6
    found = [dense(FisherOperator(model, criterion, batches, mc=mc, rng=seed, check=None)) for seed in range(draws)]
    truth = (J.T @ M @ J).numpy()
    spread = np.std(found, axis=0, ddof=1) / draws**0.5
    assert np.abs(np.mean(found, axis=0) - truth).max() < 0.1 * np.abs(truth).max()
    deviation = np.trace(np.mean(found, axis=0) - truth) / np.std([np.trace(f) for f in found], ddof=1) * draws**0.5
    assert abs(deviation) < 5.9  # t with 5 degrees of freedom: 1 in 500
    assert spread.max() < 0.1 * np.abs(truth).max()
    F1 = FisherOperator(model, criterion, batches, rng=3)
    check_operator(F1)
    again = FisherOperator(model, criterion, batches, rng=F1.seed, cache=None)
    assert np.allclose(dense(F1), dense(again), atol=1e-12)


def sample_gradients(model, criterion, batches):
    return torch.stack([Dense(model, lambda m, x=x, y=y: criterion(m(x[None]), y[None])).gradient()
                        for xs, ys in batches for x, y in zip(xs, ys, strict=True)])


@pytest.mark.parametrize("name", ["cross-entropy", "squared", "squared, sum", "poisson"])
def test_empirical_fisher_is_the_second_moment_of_gradients(name):
    criterion, model, batches = with_targets(name)
    g = sample_gradients(model, criterion, batches)
    scale = 1 if criterion.reduction == "sum" else 1 / len(g)
    E = EmpiricalFisherOperator(model, criterion, batches)
    check_operator(E, (scale * g.T @ g).numpy())
    centred = EmpiricalFisherOperator(model, criterion, batches, centered=True)
    deviations = g - g.mean(0)
    check_operator(centred, (scale * deviations.T @ deviations).numpy())
    by_function = EmpiricalFisherOperator(model, lambda m, b: criterion(m(b[0]), b[1]), batches,
                                          weight="sum" if scale == 1 else "count")
    close(dense(by_function), scale * g.T @ g, 1e-12)
    with pytest.raises(ValueError, match="not a sum over batches"):
        next(iter(centred.per_batch(vectors(E))))


def test_empirical_fisher_of_a_sequence_counts_targets():
    model, batches = Transformer().double().eval(), transformer_batches()

    def logits(batch):
        return model(batch["input_ids"], batch["attention_mask"])["logits"].transpose(1, 2)

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, input_ids, attention_mask):
            return logits({"input_ids": input_ids, "attention_mask": attention_mask})

    E = EmpiricalFisherOperator(Logits(), CE, batches, params=["inner.norm"])
    expected, count = 0, 0
    for batch in batches:
        losses = F.cross_entropy(logits(batch), batch["labels"], reduction="none")
        for loss in losses[batch["labels"] != -100]:
            g = torch.cat([t.flatten() for t in torch.autograd.grad(loss, list(model.norm.parameters()),
                                                                     retain_graph=True)])
            expected, count = expected + torch.outer(g, g), count + 1
    close(dense(E), expected / count, 1e-11)


def test_what_cannot_be_split_at_the_outputs_is_refused():
    model, batches = made("linear, tanh")
    V = vectors(HessianOperator(model, CE, batches))
    decayed = lambda m, b: CE(m(b[0]), b[1]) + 0.1 * sum((p**2).sum() for p in m.parameters())  # noqa: E731
    with pytest.raises(ValueError, match=r"depends on 0\.weight by other ways than the outputs"):
        GGNOperator(model, decayed, batches) @ V
    close(HessianOperator(model, decayed, batches) @ V, HessianOperator(model, CE, batches) @ V + 0.2 * V, 1e-12)
    with pytest.raises(ValueError, match="convex in the outputs"):
        GGNOperator(model, lambda m, b: -m(b[0]).square().mean(), batches) @ V
    with pytest.raises(ValueError, match="linear in the outputs"):
        GGNOperator(model, lambda m, b: m(b[0]).mean(), batches) @ V
    with pytest.raises(ValueError, match="NLLLoss"):
        GGNOperator(model, nn.NLLLoss(), batches)
    with pytest.raises(ValueError, match="no output of the model was seen"):
        GGNOperator(model, lambda m, b: CE(m.forward(b[0]), b[1]), batches) @ V
    with pytest.raises(ValueError, match="likelihood of a criterion that it knows"):
        FisherOperator(model, nn.HuberLoss(), batches)

    class OwnLoss(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x, labels):
            return {"loss": CE(self.inner(x), labels)}

    with pytest.raises(ValueError, match="computes its loss itself"):
        GGNOperator(OwnLoss(), lambda m, b: m(*b)["loss"], batches) @ V


# Traps 5, 6: the model is left alone, the operator is one matrix


def test_gradients_and_modes_are_left_alone():
    model, batches = made("batch norm")
    CE(model(batches[0][0]), batches[0][1]).backward()
    model[1].eval()
    for operator in ALL:
        before = state(model)
        op = operator(model, CE, DataLoader(TensorDataset(*batches[0]), batch_size=3, shuffle=True), bn="train")
        op @ vectors(op)
        op.gradient()
        assert_same_state(before, state(model))
    with pytest.raises(ValueError, match="loss of batch 1 is nan"):
        op = HessianOperator(model, CE, [batches[0], (batches[1][0] * torch.nan, batches[1][1])])
        op @ vectors(op)
    assert_same_state(before, state(model))


def test_dropout_is_off_seeded_or_refused():
    plain, batches = made("linear, tanh")
    dropped = nn.Sequential(plain[0], plain[1], nn.Dropout(0.5), plain[2])
    expected = HessianOperator(plain, CE, batches)
    V = vectors(expected)
    off = HessianOperator(dropped, CE, batches)
    close(off @ V, expected @ V, 1e-12)
    seeded = HessianOperator(dropped, CE, batches, dropout="seeded")
    check_operator(seeded)
    torch.manual_seed(99)
    close(HessianOperator(dropped, CE, batches, dropout="seeded", cache=None) @ V, seeded @ V, 1e-12)
    assert (seeded @ V - off @ V).abs().max() > 1e-2 * (off @ V).abs().max()
    with pytest.raises(ValueError, match="draws random numbers"):
        HessianOperator(dropped.train(), CE, batches, dropout="error") @ V
    close(HessianOperator(dropped.eval(), CE, batches, dropout="error") @ V, expected @ V, 1e-12)

    def careless(model, batch):
        return CE(F.dropout(model(batch[0]), 0.5), batch[1])  # always active

    with pytest.raises(ValueError, match="draws random numbers with dropout='off'"):
        HessianOperator(plain, careless, batches) @ V


def test_a_shuffling_loader_is_frozen_and_changing_data_are_refused():
    model, [(x, y)] = made("linear, tanh", sizes=(11,))
    loader = DataLoader(TensorDataset(x, y), batch_size=4, shuffle=True, drop_last=True)
    H = HessianOperator(model, CE, loader, cache=None)
    V = vectors(H)
    torch.manual_seed(1)
    first, drawn = H @ V, torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))  # the caller's random state is not drawn from
    assert torch.equal(first, H @ V)
    own = DataLoader(TensorDataset(x, y), batch_size=4, shuffle=True, drop_last=True,
                     generator=torch.Generator().manual_seed(7))
    G = HessianOperator(model, CE, own, cache=None)
    assert torch.equal(G @ V, G @ V)

    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, i):
            return x[i] + noise.normal(), y[i]

    noise = np.random.default_rng(0)
    with pytest.raises(ValueError, match="batch 0 differs from the one of the first pass"):
        HessianOperator(model, CE, DataLoader(Noisy(), batch_size=3), cache=None) @ V
    with pytest.raises(TypeError, match=r"pass list\(data\)"):
        HessianOperator(model, CE, iter([(x, y)]))
    with pytest.raises(ValueError, match="no batch"):
        HessianOperator(model, CE, []) @ V


def test_it_follows_the_weights():
    model, batches = made("linear, tanh")
    H = HessianOperator(model, CE, batches)
    V = vectors(H)
    H @ V
    with torch.no_grad():
        model[0].weight.mul_(1.5)
    close(H @ V, HessianOperator(model, CE, batches) @ V, 1e-12)
    model[2].weight.data.add_(0.1)  # unseen by version counters
    close(H @ V, HessianOperator(model, CE, batches) @ V, 1e-12)


# Trap 8: parameters


def test_frozen_unused_and_chosen_parameters():
    model, batches = made("linear, tanh")
    model.register_parameter("unused", nn.Parameter(torch.ones(2, dtype=torch.float64)))
    whole = HessianOperator(model, CE, batches)
    full = dense(whole)
    used = [i for i, name in enumerate(whole.names) if name != "unused"]
    assert whole.shape == (45, 45) and used and not full[whole.to_dict(torch.arange(45.0))["unused"].long()].any()
    last = whole.to_dict(torch.arange(45.0))
    rows = torch.cat([last["2.weight"].flatten(), last["2.bias"]]).long().numpy()
    for params in (["2"], ["2.weight", "2.bias"], lambda name, p: name.startswith("2."), list(model[2].parameters())):
        for operator in (HessianOperator, GGNOperator):
            block = operator(model, CE, batches, params=params, cache=None)
            whole = operator(model, CE, batches)
            close(dense(block), dense(whole)[np.ix_(rows, rows)], 1e-12)
    model[0].weight.requires_grad_(False)
    assert HessianOperator(model, CE, batches).names == ["unused", "0.bias", "2.weight", "2.bias"]
    assert HessianOperator(model, CE, batches, params=["0.weight"]).names == ["0.weight"]
    assert not model[0].weight.requires_grad
    with pytest.raises(ValueError, match="no parameter or module is called 'weights'"):
        HessianOperator(model, CE, batches, params=["weights"])
    with pytest.raises(ValueError, match="does not depend on the chosen parameters"):
        HessianOperator(model, CE, batches, params=["unused"], check=None) @ torch.ones(2, dtype=torch.float64)


def test_blocks_by_layer_and_dictionaries():
    model, batches = made("linear, tanh")
    H = HessianOperator(model, CE, batches)
    full, where = dense(H), H.to_dict(torch.arange(43))
    blocks = H.blocks(by="layer")
    assert list(blocks) == ["0", "2"] and list(H.blocks(by="parameter")) == H.names
    for block in blocks.values():
        rows = torch.cat([where[n].flatten() for n in block.names]).numpy()
        close(dense(block), full[np.ix_(rows, rows)], 1e-12)
    V = vectors(H)
    assert torch.equal(H.from_dict(H.to_dict(V)), V) and H.to_dict(V)["0.weight"].shape == (5, 4, 2)
    assert torch.equal(H.from_dict(H.to_dict(V[:, 0])), V[:, 0])
    with pytest.raises(ValueError, match="missing"):
        H.from_dict({"0.weight": model[0].weight})
    seeded = FisherOperator(model, CE, batches, mc=3, rng=5)
    rows = torch.cat([where[n].flatten() for n in ("2.weight", "2.bias")]).numpy()
    close(dense(seeded.blocks()["2"]), dense(seeded)[np.ix_(rows, rows)], 1e-12)


def test_half_and_mixed_precision_models_run_in_float32():
    model, batches = made("linear, tanh")
    half = copy.deepcopy(model).to(torch.bfloat16)
    mixed = copy.deepcopy(half)
    mixed[2].to(torch.float32)
    exact = copy.deepcopy(half).double()
    V = vectors(HessianOperator(exact, CE, batches))
    expected = HessianOperator(exact, CE, [(x.bfloat16().double(), y) for x, y in batches]) @ V
    for one in (half, mixed):
        H = HessianOperator(one, CE, [(x.bfloat16(), y) for x, y in batches])
        assert H.dtype == np.float32
        close(H @ V.float(), expected, 1e-5)
        close(HessianOperator(one, CE, [(x.bfloat16(), y) for x, y in batches], dtype=torch.float64) @ V, expected,
              1e-12)
    with pytest.raises(ValueError, match="float32 or float64"):
        HessianOperator(half, CE, batches, dtype=torch.bfloat16)


# Trap 9: what is not finite


def test_what_is_not_finite_is_named():
    model, batches = made("linear, tanh")
    H = HessianOperator(model, CE, batches)
    V = vectors(H)
    with pytest.raises(ValueError, match=r"not finite, first in parameter 0\.weight"):
        H @ (V * torch.inf)
    root = HessianOperator(model, lambda m, b: torch.sqrt((0 * m(b[0])).abs()).sum(), batches, check=None)
    with pytest.raises(ValueError, match="not finite"):
        root @ V
    with torch.no_grad():
        model[2].bias[1] = torch.nan
    with pytest.raises(ValueError, match=r"parameter 2\.bias holds NaN"):
        H @ V
    with pytest.raises(ValueError, match=r"parameter 2\.bias holds NaN"):
        GGNOperator(model, CE, batches)


# Trap 10, and the rest of the library


def test_logistic_regression_at_zero_has_a_multiple_top_eigenvalue():
    torch.manual_seed(0)
    model = nn.Linear(6, 4, bias=False).double()
    nn.init.zeros_(model.weight)
    x, y = torch.randn(50, 6).double(), torch.randint(0, 4, (50,))
    H = HessianOperator(model, CE, (x, y))
    values, _, residuals = spectra.eigenpairs(H, 4, which="LA", rng=0)
    top = np.linalg.eigvalsh((x.T @ x / 50).numpy())[-1] / 4
    assert np.allclose(values[:3], top, rtol=1e-10) and values[3] < 0.99 * top
    assert max(residuals) < 1e-10
    _, beta, _ = spectra.lanczos(H, torch.ones(24, dtype=torch.float64) + torch.arange(24), 24)
    assert (beta == 0).any()  # one start vector sees each eigenspace once


def test_the_library_works_on_it(tmp_path):
    model, batches = made("linear, tanh")
    H = HessianOperator(model, CE, batches)
    full = dense(H)
    exact = np.linalg.eigvalsh(full)
    rho = spectra.spectral_density(H, steps=43, probes=3, rng=0)
    low, high = rho.moment(1).interval(0.999)
    assert low <= exact.mean() <= high
    assert np.isclose(spectra.trace(H, matvecs=43, method="exact").value, np.trace(full))
    values, vectors_, _ = spectra.eigenpairs(H, 2, which="LA", rng=0)
    assert np.allclose(values, exact[:-3:-1]) and isinstance(vectors_, torch.Tensor)
    start = torch.ones(43, dtype=torch.float64)
    whole = spectra.krylov.LanczosRun(H, start)
    whole.advance(12)
    part = spectra.krylov.LanczosRun(H, start)
    part.advance(5)
    part.save(tmp_path / "run.npz")
    resumed = spectra.krylov.LanczosRun.load(tmp_path / "run.npz", HessianOperator(model, CE, batches))
    resumed.advance(7)
    assert np.array_equal(whole.alpha, resumed.alpha) and np.array_equal(whole.beta, resumed.beta)
    assert np.allclose(H.to_scipy() @ np.ones(43), full @ np.ones(43))


ELSEWHERE = """
import sys, numpy as np, torch, spectra
from networks import made
from spectra.nn import HessianOperator
torch.set_num_threads(1)
model, batches = made("batch norm")
H = HessianOperator(model, torch.nn.CrossEntropyLoss(), batches, bn="train")
run = spectra.krylov.LanczosRun.load(sys.argv[1], H)
run.advance(14 - run.steps)
np.savez(sys.argv[2], alpha=run.alpha, beta=run.beta)
"""


@pytest.mark.slow
def test_an_interrupted_run_goes_on_in_another_process_to_the_same_bits(tmp_path):
    torch.set_num_threads(1)
    model, batches = made("batch norm")
    left = [1 << 30]

    class Loader:
        def __iter__(self):
            for batch in batches:
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
                yield batch

    H = HessianOperator(model, CE, Loader(), bn="train", cache=None)
    start = torch.randn(H.shape[0], generator=torch.Generator().manual_seed(0)).double()
    whole = spectra.krylov.LanczosRun(H, start)
    whole.advance(14)
    run = spectra.krylov.LanczosRun(H, start)
    left[0] = 11  # in the middle of the sixth product
    with pytest.raises(KeyboardInterrupt):
        run.advance(14)
    left[0] = 1 << 30
    assert 0 < run.steps < 14
    run.save(tmp_path / "run.npz")
    subprocess.run([sys.executable, "-W", "ignore", "-c", ELSEWHERE, tmp_path / "run.npz", tmp_path / "end.npz"],
                   cwd=Path(__file__).parent, check=True)
    with np.load(tmp_path / "end.npz") as found:
        assert np.array_equal(found["alpha"], whole.alpha) and np.array_equal(found["beta"], whole.beta)
    run.advance(14 - run.steps)
    assert np.array_equal(run.alpha, whole.alpha) and np.array_equal(run.beta, whole.beta)


def test_progress_cache_and_doors():
    model, batches = made("linear, tanh")
    seen = []
    H = HessianOperator(model, CE, batches, progress=lambda done, total: seen.append((done, total)))
    V = vectors(H)
    H @ V
    assert seen == [(1, 2), (2, 2)] and H.matvecs == 2
    for operator in ALL:
        kept, none = operator(model, CE, batches, **seed(operator)), operator(model, CE, batches, cache=None,
                                                                              **seed(operator))
        close(kept @ V, none @ V, 1e-12)
        close(kept @ V, none @ V, 1e-12)
        assert len(kept._cache) == 2 and not len(none._cache) and kept._cache.spent > 0
    with pytest.raises(TypeError, match="expected a torch tensor"):
        H @ np.ones(43)
    for wrong in ({"bn": "on"}, {"dropout": "on"}, {"weight": "mean"}, {"cache": "much"}, {"check": "twice"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            HessianOperator(model, CE, batches, **wrong)


def seed(operator):
    return {"rng": 0} if operator is FisherOperator else {}


def test_the_check_refuses_a_wrong_derivative():
    class Wrong(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x**3

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 3 * x.detach() ** 2  # right, but its derivative by x is lost

    class Layer(nn.Module):
        def forward(self, x):
            return Wrong.apply(x)

    model, batches = made("linear, tanh")
    wrong = nn.Sequential(model[0], Layer(), model[2])
    V = vectors(HessianOperator(model, CE, batches))
    with pytest.raises(ValueError, match="differs from the directional derivative"):
        HessianOperator(wrong, CE, batches) @ V
    HessianOperator(wrong, CE, batches, check=None) @ V


def test_weight_normalisation_of_torch_is_corrected():
    """Torch's own second derivative of weight normalisation is wrong; without the correction H is not symmetric."""
    model, batches = made("weight norm")
    H = dense(HessianOperator(model, CE, batches))
    assert np.abs(H - H.T).max() <= 1e-12 * np.abs(H).max()


def test_mlp_of_the_examples_is_what_it_says():
    assert sum(p.numel() for p in mlp().parameters()) == 43
