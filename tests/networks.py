"""Small networks with their data, one for each kind of layer, and their dense curvature the long way round."""

import copy
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.func import functional_call, grad, jacrev, jvp, vmap  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402


def mlp(activation=nn.Tanh, inputs=4, classes=3, width=5):
    return nn.Sequential(nn.Linear(inputs, width), activation(), nn.Linear(width, classes))


class Attention(nn.Module):
    """One head over a short sequence, by scaled_dot_product_attention."""

    def __init__(self, d=4, classes=3):
        super().__init__()
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, classes)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (1, -1)).transpose(1, 2).chunk(3, -1)
        return self.out(F.scaled_dot_product_attention(q, k, v).squeeze(1).mean(1))


class Recurrent(nn.Module):
    def __init__(self, layer=nn.LSTM, d=3, hidden=3, classes=3):
        super().__init__()
        self.layer, self.out = layer(d, hidden, batch_first=True), nn.Linear(hidden, classes)

    def forward(self, x):
        return self.out(self.layer(x)[0][:, -1])


class Transformer(nn.Module):
    """Called as transformer libraries do it: keyword inputs, an output object with logits, tied embeddings, a mask."""

    def __init__(self, vocabulary=7, d=4, length=5):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, d), nn.Embedding(length, d)
        self.layer = nn.TransformerEncoderLayer(d, 2, 6, dropout=0.1, activation="gelu", batch_first=True)
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        self.register_buffer("length", torch.arange(length))

    def forward(self, input_ids=None, attention_mask=None, labels=None):
        x = self.tokens(input_ids) + self.positions(self.length[: input_ids.shape[1]])
        mask = None if attention_mask is None else attention_mask == 0
        return {"logits": self.head(self.norm(self.layer(x, src_key_padding_mask=mask))), "loss": None}


def transformer_loss(model, batch):
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])["logits"]
    y = batch["labels"]
    return F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum"), (y != -100).sum()


def transformer_batches():
    g = torch.Generator().manual_seed(1)
    batches = []
    for size in (3, 2):
        tokens = torch.randint(0, 7, (size, 5), generator=g)
        mask = torch.ones_like(tokens)
        mask[0, 3:] = 0
        batches.append({"input_ids": tokens, "attention_mask": mask,
                        "labels": torch.where(mask == 1, tokens.roll(1, 1), -100)})
    return batches


def image_net(*layers, flat):
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, 3))


LAYERS = {
    "linear, tanh": (mlp, (4,)),
    "gelu": (lambda: mlp(nn.GELU), (4,)),
    "silu": (lambda: mlp(nn.SiLU), (4,)),
    "softplus, softmax": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Softplus(), nn.Softmax(1), nn.Linear(5, 3)), (4,)),
    "conv1d": (lambda: image_net(nn.Conv1d(2, 3, 3, padding=1), nn.Tanh(), nn.Conv1d(3, 2, 2, stride=2), flat=6),
               (2, 6)),
    "conv2d": (lambda: image_net(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.Tanh(),
                                 nn.Conv2d(4, 2, 3, stride=2, groups=2), nn.Sigmoid(), flat=8), (2, 5, 5)),
    "conv2d, same, dilated, circular": (lambda: image_net(
        nn.Conv2d(1, 2, 3, padding="same", dilation=2), nn.Tanh(),
        nn.Conv2d(2, 1, 3, padding=1, padding_mode="circular"), nn.Tanh(), flat=16), (1, 4, 4)),
    "conv3d": (lambda: image_net(nn.Conv3d(1, 2, 2), nn.Tanh(), flat=16), (1, 3, 3, 3)),
    "transposed convolution": (lambda: image_net(nn.ConvTranspose2d(1, 2, 2), nn.Tanh(), flat=32), (1, 3, 3)),
    "batch norm": (lambda: image_net(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), flat=12), (1, 4, 4)),
    "layer norm": (lambda: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3)), (4,)),
    "group norm, silu": (lambda: image_net(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), flat=16), (1, 4, 4)),
    "instance norm": (lambda: image_net(nn.Conv2d(1, 2, 2), nn.InstanceNorm2d(2, affine=True), nn.Tanh(), flat=18),
                      (1, 4, 4)),
    "relu, max-pool": (lambda: image_net(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 2),
                                         nn.ReLU(), flat=2), (1, 4, 4)),
    "average pool, upsample": (lambda: image_net(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Upsample(
        scale_factor=2, mode="bilinear"), flat=8), (1, 4, 4)),
    "weight norm": (lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), nn.Tanh(),
                                          nn.Linear(5, 3)), (4,)),
    "attention": (Attention, (3, 4)),
    "multi-head attention": (lambda: nn.Sequential(nn.TransformerEncoderLayer(4, 2, 5, batch_first=True), nn.Flatten(),
                                                   nn.Linear(12, 3)), (3, 4)),
    "lstm": (Recurrent, (3, 3)),
    "gru": (lambda: Recurrent(nn.GRU), (3, 3)),
    "embedding": (lambda: nn.Sequential(nn.Embedding(6, 3), nn.Flatten(), nn.Tanh(), nn.Linear(6, 3)), "tokens"),
}
"""Name -> (model, shape of an input)."""


def made(name: str, sizes=(7, 4)):
    """A model of `LAYERS` in float64 in training mode, and uneven batches for it."""
    build, shape = LAYERS[name]
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nested tensors in transformer layers
        model = build().double()
    g = torch.Generator().manual_seed(4)
    batches = []
    for size in sizes:
        x = (torch.randint(0, 6, (size, 2), generator=g) if shape == "tokens"
             else torch.randn(size, *shape, generator=g, dtype=torch.float64))
        batches.append((x, torch.randint(0, 3, (size,), generator=g)))
    return model.train(), batches


# The long way round


class Dense:
    """The loss over all data as a function of one float64 vector: jvp(grad) column by column, in a copy."""

    def __init__(self, model, total, *, mode="eval", names=None):
        """`total(model)` is the loss over all data, or the outputs where Jacobians are asked for."""
        self.model = copy.deepcopy(model).double().train(mode == "train")
        everything = dict(self.model.named_parameters())
        self.names = [n for n, p in everything.items() if (p.requires_grad if names is None else n in names)]
        self.shapes = [everything[n].shape for n in self.names]
        self.total = total
        self.point = torch.cat([everything[n].detach().reshape(-1) for n in self.names])

    def __call__(self, vector):
        pieces = vector.split([shape.numel() for shape in self.shapes])
        held = {f"m.{n}": p.view(s) for n, p, s in zip(self.names, pieces, self.shapes, strict=True)}
        buffers = {f"m.{n}": b.clone() for n, b in self.model.named_buffers()}
        return functional_call(_Total(self.model, self.total), {**held, **buffers}, ())

    def gradient(self):
        with sdpa_kernel(SDPBackend.MATH):
            return grad(self)(self.point)

    def hessian(self) -> np.ndarray:
        """jvp(grad), all columns at once; where a layer or a loss has no forward mode, differences."""
        try:
            with sdpa_kernel(SDPBackend.MATH):
                return self._columns(torch.eye(len(self.point)).double()).numpy()
        except (NotImplementedError, RuntimeError):
            return self.hessian_by_differences()

    def _columns(self, eye):
        def column(e):
            return jvp(grad(self), (self.point,), (e,))[1]

        try:
            return vmap(column, out_dims=1)(eye)
        except RuntimeError:  # recurrent layers have no rule for many columns at once
            return torch.stack([column(e) for e in eye], 1)

    def hessian_by_differences(self, step=1e-5) -> np.ndarray:
        """Central differences of exact gradients: for smooth networks without forward mode."""
        w, columns = self.point, []
        with sdpa_kernel(SDPBackend.MATH):
            for e in torch.eye(len(w)).double():
                ahead, behind = (torch.autograd.functional.jacobian(self, w + s * step * e) for s in (1, -1))
                columns.append((ahead - behind) / (2 * step))
        dense = torch.stack(columns, 1)
        return ((dense + dense.T) / 2).detach().numpy()

    def jacobian(self):
        """Jacobian of all outputs, shape (*outputs, P), by reverse mode only."""
        with sdpa_kernel(SDPBackend.MATH):
            return torch.autograd.functional.jacobian(self, self.point)


class _Total(nn.Module):
    def __init__(self, model, total):
        super().__init__()
        self.m, self.f = model, total

    def forward(self):
        return self.f(self.m)


def criterion_total(criterion, batches):
    """The loss as if all data were one batch."""
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return lambda model: criterion(model(x), y)


def outputs_total(batches):
    x = torch.cat([x for x, _ in batches])
    return lambda model: model(x)


def output_hessian(criterion, z, y):
    """Hessian of the loss by the outputs, as a matrix, by two reverse passes."""
    flat = z.detach().reshape(-1)
    return jacrev(jacrev(lambda v: criterion(v.view(z.shape), y)))(flat)


def close(found, expected, tolerance=1e-8):
    found, expected = (torch.as_tensor(one).double().numpy() for one in (found, expected))
    scale = max(np.abs(expected).max(), 1e-300)
    assert np.abs(found - expected).max() <= tolerance * scale, np.abs(found - expected).max() / scale


