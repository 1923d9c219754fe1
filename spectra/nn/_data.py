"""Data that are the same in every pass.

An operator is a matrix only if every pass over the data sees the same batches. So each pass replays the same random
state: a shuffling loader is frozen in one order, and random augmentations of torch repeat. The caller's random state is
left where it was, and a checksum of every batch tells when a pass differs after all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import torch

_SEED = 0  # of the order of a shuffling loader without a generator of its own: the same in every process, so that a
# run can be continued in another one

_SAMPLED = 4096  # entries of a tensor in its checksum


class Batches:
    """The batches of a loader, a list, or a pair of tensors, in a fixed order."""

    def __init__(self, data):
        self.data = [data] if _is_one_batch(data) else data
        _require_batches(self.data)
        self._generators = [(one, one.get_state()) for one in _generators(data)]
        self._seen: list[tuple] = []
        self.complete = False

    def __len__(self) -> int:
        try:
            return len(self.data)
        except TypeError:  # a loader of a stream has the method, and no length
            return len(self._seen)

    def __iter__(self) -> Iterator:
        """The batches; the caller's random state is held back while the loader works."""
        if getattr(self.data, "persistent_workers", False) and not self._seen:
            with _Replay(self._generators):
                iter(self.data)  # the first iterator of such a loader draws one number more than the others
        replayed = _Replay(self._generators)
        with replayed:
            iterator = iter(self.data)
        index = 0
        while True:
            with replayed:
                batch = next(iterator, self)
            if batch is self:
                break
            self._compare(index, batch)
            yield batch
            index += 1
        if index == 0 and not self.complete:
            raise ValueError("the data hold no batch")
        if self.complete and index != len(self._seen):
            raise ValueError(f"this pass over the data has {index} batches, the first had {len(self._seen)}; can they "
                             "be read only once? pass list(data)")
        self.complete = True

    def first(self):
        return next(iter(self))

    def _compare(self, index: int, batch):
        found = tuple(_digest(one) for one in tensors(batch))
        if index == len(self._seen) and not self.complete:
            self._seen.append(found)
        elif index >= len(self._seen) or self._seen[index] != found:
            raise ValueError(f"batch {index} differs from the one of the first pass, so the operator would be another "
                             "matrix in every product; make augmentations deterministic, or pass list(loader)")


class _Replay:
    """A random state of its own, entered for moments: the loader draws from it, the caller's is put back."""

    def __init__(self, generators):
        self.generators = generators
        self.states = [state for _, state in generators]
        self.cpu = torch.Generator().manual_seed(_SEED).get_state()

    def __enter__(self):
        self.outside = torch.get_rng_state(), [one.get_state() for one, _ in self.generators]
        self._set(self.cpu, self.states)

    def __exit__(self, *_):
        self.cpu, self.states = torch.get_rng_state(), [one.get_state() for one, _ in self.generators]
        self._set(*self.outside)

    def _set(self, cpu, states):
        torch.set_rng_state(cpu)
        for (generator, _), state in zip(self.generators, states, strict=True):
            generator.set_state(state)


def _generators(data) -> list[torch.Generator]:
    """Generators that a loader was given."""
    holders = (data, getattr(data, "sampler", None), getattr(getattr(data, "batch_sampler", None), "sampler", None))
    found = {id(one.generator): one.generator for one in holders
             if isinstance(getattr(one, "generator", None), torch.Generator)}
    return list(found.values())


def _require_batches(data) -> None:
    expected, found = "data must be a loader, a list of batches, or a pair (inputs, targets)", type(data).__name__
    if isinstance(data, torch.utils.data.Dataset):
        raise TypeError(f"{expected}, found a {found}; wrap it in a torch.utils.data.DataLoader")
    if not hasattr(data, "__iter__") or hasattr(data, "__next__"):
        raise TypeError(f"{expected}, found a {found}, which can be read only once or not at all; pass list(data)")
    if isinstance(data, (list, tuple)) and not data:
        raise ValueError(f"the data hold no batch: {expected}")
    if isinstance(data, (list, tuple)) and any(isinstance(one, np.ndarray) for one in data):
        raise TypeError(f"{expected} of torch tensors, found NumPy arrays; torch.from_numpy makes tensors of them")


def _is_one_batch(data) -> bool:
    if isinstance(data, (torch.Tensor, Mapping)):
        return True
    return (isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], torch.Tensor)
            and not isinstance(data[0], list))


def tensors(batch) -> Iterator[torch.Tensor]:
    """All tensors of a nested batch."""
    if isinstance(batch, torch.Tensor):
        yield batch
    elif dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        for one in dataclasses.fields(batch):
            yield from tensors(getattr(batch, one.name))
    elif isinstance(batch, Mapping):
        for one in batch.values():
            yield from tensors(one)
    elif isinstance(batch, (list, tuple)):
        for one in batch:
            yield from tensors(one)


def mapped(f, batch):
    """The same nest with `f` of every tensor."""
    if isinstance(batch, torch.Tensor):
        return f(batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        return dataclasses.replace(batch, **{one.name: mapped(f, getattr(batch, one.name))
                                             for one in dataclasses.fields(batch) if one.init})
    if isinstance(batch, Mapping):
        held = {name: mapped(f, one) for name, one in batch.items()}
        return held if type(batch) is dict else _like(batch, held)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(mapped(f, one) for one in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(mapped(f, one) for one in batch)
    return batch


def _like(mapping, held: dict):
    """Mappings of other libraries (batches and outputs of transformer models) take a dict."""
    try:
        return type(mapping)(held)
    except TypeError:
        return type(mapping)(**held)


def batch_size(batch) -> int:
    """Length of the first tensor with a batch dimension."""
    for one in tensors(batch):
        if one.dim():
            return one.shape[0]
    raise ValueError("a batch holds no tensor with a batch dimension; let loss_fn return (sum, count)")


def stated_size(batch_size: int | None, first: int) -> int:
    """The size of mini-batches that a variance is stated at: as asked for, or that of the first batch."""
    if batch_size is None:
        return first
    if int(batch_size) != batch_size or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer, found {batch_size!r}")
    return int(batch_size)


def head(batch, k: int):
    """The first k samples, where every tensor has the batch dimension in front; otherwise the batch."""
    sizes = {one.shape[0] if one.dim() else None for one in tensors(batch)}
    return mapped(lambda one: one[:k], batch) if len(sizes) == 1 and None not in sizes else batch


def _digest(one: torch.Tensor):
    """Shape and sum of some thousand entries spread over the tensor; as text, since NaN is not equal to itself."""
    flat = one.reshape(-1)[:: max(one.numel() // _SAMPLED, 1)]
    wide = torch.float64 if one.is_floating_point() else None
    return tuple(one.shape), str(flat.sum(dtype=wide).item())
