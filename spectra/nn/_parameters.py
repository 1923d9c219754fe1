"""The parameters that an operator differentiates by, as one long vector.

Order is that of `model.named_parameters()`: the parameters one after another, each flattened row by row. A tied
parameter appears once, under its first name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping

import torch


class Parameters:
    """Names and shapes of the chosen parameters, and where each lies in the vector."""

    def __init__(self, shapes: dict[str, torch.Size]):
        self.shapes = shapes
        self.names = list(shapes)
        self.sizes = [shape.numel() for shape in shapes.values()]
        self.size = sum(self.sizes)

    def split(self, row) -> list[torch.Tensor]:
        """Views of a contiguous vector, one for each parameter in its shape."""
        return [piece.view(shape) for piece, shape in zip(row.split(self.sizes), self.shapes.values(), strict=True)]

    def owner(self, index: int) -> str:
        """Name of the parameter that holds entry `index` of the vector."""
        for name, size in zip(self.names, self.sizes, strict=True):
            if index < size:
                return name
            index -= size
        raise IndexError(index)

    def to_dict(self, v) -> dict[str, torch.Tensor]:
        if tuple(v.shape[:1]) != (self.size,):
            raise ValueError(f"expected a vector of {self.size} entries or a block of such columns, found "
                             f"shape {tuple(v.shape)}")
        pieces = v.split(self.sizes)
        return {name: piece.reshape(*shape, *v.shape[1:])
                for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)}

    def from_dict(self, tensors: Mapping[str, torch.Tensor], like) -> torch.Tensor:
        missing, strange = set(self.names) - set(tensors), set(tensors) - set(self.names)
        if missing or strange:
            raise ValueError(f"expected one tensor for each of {len(self.names)} parameters, missing "
                             f"{sorted(missing)}, unknown {sorted(strange)}")
        pieces = []
        for name, shape in self.shapes.items():
            tensor = torch.as_tensor(tensors[name]).detach()
            if tensor.shape[: len(shape)] != shape or tensor.dim() > len(shape) + 1:
                raise ValueError(f"{name} has shape {tuple(shape)} (and columns behind it, if any), found "
                                 f"{tuple(tensor.shape)}")
            pieces.append(tensor.to(like).reshape(shape.numel(), *tensor.shape[len(shape):]))
        return torch.cat(pieces)

    def layers(self, by: str | Callable[[str], str]) -> dict[str, list[str]]:
        """Names grouped by layer (the module that owns them), one by one, or by what a function says of a name."""
        ways = {"layer": lambda name: name.rpartition(".")[0] or name, "parameter": lambda name: name}
        label = by if callable(by) else ways.get(by)
        if label is None:
            raise ValueError(f"by must be 'layer', 'parameter' or a function of a name, found {by!r}")
        groups: dict[str, list[str]] = {}
        for name in self.names:
            groups.setdefault(label(name), []).append(name)
        return groups


def uncompiled(model):
    """The model that `torch.compile` holds: compiled code has first derivatives only."""
    return getattr(model, "_orig_mod", model)


def choose(model: torch.nn.Module, params) -> Parameters:
    """The parameters that `params` means: None, names, parameters, a module or its name, or a predicate."""
    model = uncompiled(model)
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, found a {type(model).__name__}")
    everything = dict(model.named_parameters())
    if not everything:
        raise ValueError(f"{type(model).__name__} has no parameters")
    _require_values(everything)
    chosen = _names(everything, params)
    if not chosen:
        raise ValueError("no parameter is left: expected at least one that is trainable (requires_grad) or named in "
                         "params")
    for name in chosen:
        if not everything[name].is_floating_point():
            raise TypeError(f"expected real parameters, but {name} has dtype {everything[name].dtype}; leave it out "
                            "with params=")
    return Parameters({name: everything[name].shape for name in everything if name in chosen})


def _require_values(everything: dict) -> None:
    for name, p in everything.items():
        if isinstance(p, torch.nn.parameter.UninitializedParameter):
            raise ValueError(f"parameter {name} has no shape yet; call the lazy model on a batch first")
        if p.device.type == "meta":
            raise ValueError(f"parameter {name} is on the meta device and has no values; load the weights first")
    devices = sorted({str(p.device) for p in everything.values()})
    if len(devices) > 1:
        raise ValueError(f"the parameters lie on {devices}, and products need them on one device; move the model")


def _names(everything: dict, params) -> set[str]:
    if params is None:
        return {name for name, p in everything.items() if p.requires_grad}
    if isinstance(params, torch.nn.Module):
        params = params.parameters()
    if callable(params):
        return {name for name, p in everything.items() if p.requires_grad and params(name, p)}
    if isinstance(params, str):
        params = [params]
    if not isinstance(params, Iterable):
        raise TypeError(f"params must be None, names, parameters or a predicate (name, parameter), found {params!r}")
    return {name for one in params for name in _named(everything, one)}


def _named(everything: dict, one) -> list[str]:
    if isinstance(one, torch.Tensor):
        found = [name for name, p in everything.items() if p is one]
        if not found:
            raise ValueError(f"a tensor of shape {tuple(one.shape)} in params is no parameter of the model")
        return found
    found = [name for name in everything if name == one or name.startswith(f"{one}.")]
    if not found:
        near = difflib.get_close_matches(str(one), everything, n=3, cutoff=0.3)
        raise ValueError(f"no parameter or module is called {one!r}; did you mean {near or list(everything)[:3]}?")
    return found
