"""Blocks of the Fisher matrix, one a layer, each in the form that its layer allows.

    Linear, Conv1d, Conv2d   F ~ A (x) G,       A = E a a' over inputs (patches), G = T E g g' over output gradients
    Embedding                F ~ diag(c) (x) G, c the frequency of each row
    norm layers              diagonal, from the gradients of single samples
    anything else            diagonal, from the gradient of the batch: n E g_batch^2

with T positions in each sample (pixels, words), taken as independent. A block turns a gradient into (F + damping)^-1 g
in the eigenbasis of its factors.

References: Martens and Grosse, ICML 2015, arXiv 1503.05671; Grosse and Martens, ICML 2016, arXiv 1602.01407.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Kronecker:
    """Linear and convolution layers: a bias is one more column of the weight, with input 1."""

    kind = "kronecker"
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d)

    def __init__(self, layer):
        self.layer = layer
        self.params = [w for w in (layer.weight, layer.bias) if w is not None]

    @staticmethod
    def fits(layer) -> bool:
        grouped = getattr(layer, "groups", 1) != 1 or getattr(layer, "padding_mode", "zeros") != "zeros"
        return not grouped

    def statistics(self, inputs, grads) -> dict[str, torch.Tensor]:
        """A and G from inputs (n, ...) and gradients (n, ...) of the loss of each sample by the layer's output."""
        a, g = _rows(self.layer, inputs), _channels_last(self.layer, grads)
        if self.layer.bias is not None:
            a = torch.cat([a, a.new_ones(len(a), 1)], 1)
        g = g.reshape(-1, g.shape[-1])
        return {"A": a.T @ a / len(a), "G": g.T @ g / len(grads)}

    @staticmethod
    def may_have(state) -> bool:
        return "diagonal_0" not in state

    def precondition(self, grads, state, damping: float, form: str) -> list[torch.Tensor]:
        """(F + damping)^-1 applied to the gradient as a matrix, outputs by inputs."""
        matrix = torch.cat([g.flatten(1) if g.dim() > 1 else g[:, None] for g in grads], 1)
        U, V = state["basis_G"], state["basis_A"]
        scale = _damped(state["values_G"][:, None], state["values_A"], damping, form)
        update = U @ ((U.T @ matrix.to(U.dtype) @ V) / scale) @ V.T
        if self.layer.bias is None:
            return [update.reshape(self.layer.weight.shape)]
        return [update[:, :-1].reshape(self.layer.weight.shape), update[:, -1]]


class Embedding:
    """Rows of the table are inputs in one-hot form: A is diagonal, the frequency of each row."""

    kind = "kronecker"
    kinds = (nn.Embedding,)

    def __init__(self, layer):
        self.layer = layer
        self.params = [layer.weight]

    @staticmethod
    def fits(layer) -> bool:
        return not layer.sparse

    def statistics(self, inputs, grads):
        g = grads.reshape(-1, grads.shape[-1])
        counts = torch.bincount(inputs.reshape(-1), minlength=self.layer.num_embeddings).to(g.dtype)
        return {"values_A": counts / counts.sum(), "G": g.T @ g / len(grads)}

    @staticmethod
    def may_have(state) -> bool:
        return "diagonal_0" not in state

    def precondition(self, grads, state, damping, form):
        U = state["basis_G"]
        scale = _damped(state["values_A"][:, None], state["values_G"], damping, form)
        return [((grads[0].to(U.dtype) @ U) / scale) @ U.T]


class Norm:
    """Scale and shift of a normalisation layer, by the gradients of single samples."""

    kind = "diagonal"
    kinds = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)

    def __init__(self, layer):
        self.layer = layer
        self.params = [w for w in (layer.weight, layer.bias) if w is not None]

    @staticmethod
    def fits(layer) -> bool:
        return True

    def statistics(self, inputs, grads):
        normalised = _normalised(self.layer, inputs)
        shape = self.layer.weight.shape
        first = grads.dim() - len(shape) if isinstance(self.layer, nn.LayerNorm) else 1
        axes = [axis for axis in range(1, grads.dim()) if not first <= axis < first + len(shape)]

        def mean_square(x):
            return (x.sum(axes) if axes else x).square().mean(0)

        found = {"diagonal_0": mean_square(grads * normalised)}
        return found if self.layer.bias is None else found | {"diagonal_1": mean_square(grads)}

    @staticmethod
    def may_have(state) -> bool:
        return True

    def precondition(self, grads, state, damping, form):
        return _divided(grads, state, damping)


class Diagonal:
    """Parameters of any layer, by the square of the batch's gradient: n times it, where noise dominates."""

    kind = "diagonal"

    def __init__(self, params):
        self.layer = None
        self.params = params

    def from_gradients(self, samples: int) -> dict[str, torch.Tensor]:
        return {f"diagonal_{i}": samples * w.grad.square() for i, w in enumerate(self.params) if w.grad is not None}

    @staticmethod
    def may_have(state) -> bool:
        return True

    def precondition(self, grads, state, damping, form):
        return _divided(grads, state, damping)


SUMMED = ("G", "diagonal_0", "diagonal_1")  # over the calls of a layer that is used several times; the others are means


def blocks(model: nn.Module) -> list:
    """Every parameter that is trained in one block, layers in the order of the model."""
    found, seen = [], set()
    for layer in model.modules():
        for kind in (Kronecker, Embedding, Norm):
            own = list(layer.parameters(recurse=False))
            free = all(w.requires_grad and id(w) not in seen for w in own)
            weighted = layer._parameters.get("weight") is not None
            if isinstance(layer, kind.kinds) and weighted and free and kind.fits(layer):
                block = kind(layer)
                found.append(block)
                seen.update(id(w) for w in block.params)
    for w in model.parameters():
        if w.requires_grad and id(w) not in seen:
            found.append(Diagonal([w]))
            seen.add(id(w))
    return found


def _damped(first, second, damping, form):
    """Eigenvalues of the damped block: products plus damping, or products of damped factors; never 0."""
    tiny = torch.finfo(first.dtype).tiny
    if form == "additive":
        return (first * second + damping).clamp_min(tiny)
    pi, root = (first.mean().clamp_min(1e-30) / second.mean().clamp_min(1e-30)).sqrt(), damping**0.5
    return ((first + pi * root) * (second + root / pi)).clamp_min(tiny)


def _divided(grads, state, damping):
    found = []
    for i, g in enumerate(grads):
        diagonal = state.get(f"diagonal_{i}")
        squares = torch.zeros_like(g) if diagonal is None else diagonal
        found.append(g / (squares + damping).clamp_min(torch.finfo(squares.dtype).tiny))
    return found


def _rows(layer, inputs):
    """What each row of the weight is multiplied with: shape (n * positions, fan in)."""
    if isinstance(layer, nn.Linear):
        return inputs.reshape(-1, inputs.shape[-1])
    one = isinstance(layer, nn.Conv1d)
    x = inputs[:, :, None] if one else inputs
    options = [getattr(layer, name) for name in ("kernel_size", "dilation", "stride")]
    kernel, dilation, stride = [(1, *option) if one else option for option in options]
    x = F.pad(x, _padding(layer, kernel, dilation, one))
    return F.unfold(x, kernel, dilation, 0, stride).transpose(1, 2).reshape(-1, x.shape[1] * kernel[0] * kernel[1])


def _padding(layer, kernel, dilation, one):
    """Left, right, top, bottom; "same" pads the odd one at the end."""
    if layer.padding == "valid":
        return (0, 0, 0, 0)
    if layer.padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2)
    height, width = (0, *layer.padding) if one else layer.padding
    return (width, width, height, height)


def _channels_last(layer, grads):
    return grads if isinstance(layer, nn.Linear) else grads.movedim(1, -1)


def _normalised(layer, inputs):
    """The layer's output before scale and shift."""
    if isinstance(layer, nn.LayerNorm):
        return F.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
    if isinstance(layer, nn.GroupNorm):
        return F.group_norm(inputs, layer.num_groups, eps=layer.eps)
    if layer.training or not layer.track_running_stats:
        return F.batch_norm(inputs, None, None, training=True, eps=layer.eps)
    return F.batch_norm(inputs, layer.running_mean, layer.running_var, eps=layer.eps)


def safe_eigh(matrix, previous: tuple | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues, not negative, and eigenvectors of a positive semidefinite matrix; no input makes it fail.

    In float64 if the matrix's own precision fails, with jitter if that does, then the previous pair, or the diagonal.
    """
    matrix = (matrix + matrix.T) / 2
    if torch.isfinite(matrix).all():
        size = matrix.diagonal().abs().max().item()
        for kind, jitter in ((matrix.dtype, 0.0), (torch.float64, 0.0), (torch.float64, 1e-10 * size + 1e-30)):
            eye = torch.eye(len(matrix), dtype=kind, device=matrix.device)
            try:
                values, vectors = torch.linalg.eigh(matrix.to(kind) + jitter * eye)
            except torch.linalg.LinAlgError:
                continue
            if torch.isfinite(vectors).all():
                return values.clamp_min(0).to(matrix.dtype), vectors.to(matrix.dtype)
    if previous is not None:
        return previous
    values = torch.nan_to_num(matrix.diagonal(), nan=0.0, posinf=0.0, neginf=0.0).clamp_min(0)
    return values, torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
