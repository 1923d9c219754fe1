"""Graphs of batches, kept from one product to the next within a budget of bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from spectra import _arrays
from spectra.nn._data import tensors


class GraphCache:
    """The first graphs that fit into the budget: "auto" (a GiB, or a quarter of what a device has free), bytes, or
    None for none."""

    def __init__(self, budget, device: torch.device):
        if not (budget is None or budget == "auto" or (isinstance(budget, (int, float)) and budget >= 0)):
            raise ValueError(f"cache must be 'auto', a number of bytes or None, found {budget!r}")
        self.budget = _free(device) if budget == "auto" else budget or 0
        self.clear()

    def clear(self) -> None:
        self.graphs: dict[int, Any] = {}
        self.spent = 0
        self.full = not self.budget
        self._sizes: dict[tuple, int] = {}  # by the shapes of a batch, so that each is measured once

    def __getstate__(self):
        return {"budget": self.budget}  # graphs belong to the weights of one operator: its copies begin without

    def __setstate__(self, state):
        self.budget = state["budget"]
        self.clear()

    def __len__(self) -> int:
        return len(self.graphs)

    def get(self, index: int):
        return self.graphs.get(index)

    def build(self, index: int, batch, make: Callable[[], Any]) -> tuple[Any, bool]:
        """A graph, and whether it was kept."""
        if self.full:
            return make(), False
        shapes = tuple(one.shape for one in tensors(batch))
        if shapes in self._sizes:
            graph = make()
        else:
            graph, size = _measured(make)
            if size is None:
                self.full = True
                return graph, False
            self._sizes[shapes] = size
        if self.spent + self._sizes[shapes] > self.budget:
            self.full = True
            return graph, False
        self.spent += self._sizes[shapes]
        self.graphs[index] = graph
        return graph, True


def _measured(make) -> tuple[Any, int | None]:
    """A graph and the bytes of the tensors that it saves for its products; None where they cannot be seen."""
    storages: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor, tensor._version

    def unpack(held):  # with hooks, autograd leaves this test to them
        tensor, version = held
        if tensor._version != version:
            raise ValueError("a tensor was changed in place after a product had kept a graph with it; are these the "
                             "data? make an operator of the new ones")
        return tensor

    try:
        with saved_tensors_hooks(pack, unpack):
            graph = make()
    except RuntimeError as error:
        if "saved tensor hooks" not in str(error):  # transforms of torch.func inside a model do not go with hooks
            raise
        return make(), None
    return graph, sum(storages.values())


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] // 4 if device.type == "cuda" else _arrays.MEMORY
