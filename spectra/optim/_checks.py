"""What every optimiser asks of its arguments."""

from __future__ import annotations

import math

import torch


def number(x, name: str, least: float = -math.inf) -> None:
    """Refuse anything but a finite number of at least `least`; tensors of one element count as numbers."""
    value = x.item() if isinstance(x, torch.Tensor) and x.numel() == 1 else x
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < least:
        raise ValueError(f"{name} must be a finite number of at least {least:g}, found {x!r}")


def in_range(x, name: str, low: float, high: float, *, open_above: bool = False) -> None:
    number(x, name)
    if not (low <= float(x) < high if open_above else low <= float(x) <= high):
        raise ValueError(f"{name} must lie in [{low:g}, {high:g}{')' if open_above else ']'}, found {x!r}")


def require_dense_real(params, optimizer: str) -> None:
    """Refuse complex parameters and sparse gradients, by name."""
    for w in params:
        if torch.is_complex(w):
            raise ValueError(f"{optimizer} optimises real parameters, found one of {w.dtype} and shape "
                             f"{tuple(w.shape)}; optimise torch.view_as_real of it")
        if w.grad is not None and w.grad.is_sparse:
            raise ValueError(f"{optimizer} needs dense gradients, found a sparse one of shape {tuple(w.grad.shape)}; "
                             "make the embedding with sparse=False, or use torch.optim.SparseAdam")
