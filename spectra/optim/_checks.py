"""What every optimiser asks of its arguments and of the gradients it is given."""

from __future__ import annotations

import math
import numbers
from typing import Any

import torch

from spectra import _arrays


def number(x, name: str, least: float = -math.inf) -> None:
    """Refuse anything but a finite number of at least `least`; tensors of one element count as numbers."""
    value = x.item() if isinstance(x, torch.Tensor) and x.numel() == 1 else x
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value) or value < least:
        bound = f" of at least {least:g}" if math.isfinite(least) else ""
        raise ValueError(f"{name} must be a finite number{bound}, found {x!r}")


def positive(x, name: str) -> None:
    number(x, name)
    if not x > 0:
        raise ValueError(f"{name} must be positive, found {x!r}")


def in_range(x, name: str, low: float, high: float, *, open_above: bool = False) -> None:
    number(x, name)
    if not (low <= float(x) < high if open_above else low <= float(x) <= high):
        raise ValueError(f"{name} must lie in [{low:g}, {high:g}{')' if open_above else ']'}, found {x!r}")


def count(x, name: str, least: int = 1) -> None:
    if isinstance(x, bool) or not isinstance(x, numbers.Real) or x % 1 != 0 or x < least:
        raise ValueError(f"{name} must be an integer of at least {least}, found {x!r}")


def limits(bounds) -> tuple[float, float]:
    """Two numbers, 0 <= lo <= hi."""
    lo, hi = bounds if isinstance(bounds, (tuple, list)) and len(bounds) == 2 else (None, None)
    numeric = all(isinstance(x, numbers.Real) for x in (lo, hi))
    if not (numeric and 0 <= lo <= hi):
        raise ValueError(f"bounds must be two numbers, 0 <= lo <= hi, found {bounds!r}")
    return float(lo), float(hi)


def one_of(x, name: str, known) -> None:
    if x not in tuple(known):
        raise ValueError(f"{name} must be one of {tuple(known)}, found {x!r}")


def require_dense_real(params, optimizer: str) -> None:
    """Refuse complex parameters and sparse gradients, by name."""
    for w in params:
        if torch.is_complex(w):
            raise ValueError(f"{optimizer} optimises real parameters, found one of {w.dtype} and shape "
                             f"{tuple(w.shape)}; optimise torch.view_as_real of it")
        if w.grad is not None and w.grad.is_sparse:
            raise ValueError(f"{optimizer} needs dense gradients, found a sparse one of shape {tuple(w.grad.shape)}; "
                             "make the embedding with sparse=False, or use torch.optim.SparseAdam")


def require_finite(grads: dict[str, torch.Tensor], optimizer: str) -> None:
    """Refuse NaN and Inf in gradients, naming them: an inverse would spread them over all that it touches."""
    norms = torch._foreach_norm(list(grads.values())) if grads else []
    if not norms or torch.isfinite(torch.stack([x.to("cpu", torch.float64) for x in norms]).sum()):
        return
    bad = [name for name, g in grads.items() if not torch.isfinite(g).all()]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise ValueError(f"{optimizer} found NaN or Inf in the gradient of {bad[0]}{more}, and changed nothing; lower "
                         "the learning rate, raise the damping, or skip this batch")


def numpy_generator(rng):
    """A NumPy generator, and its seed, from an int, a generator of NumPy or torch, or None."""
    if isinstance(rng, torch.Generator):
        rng = int(torch.randint(2**31, (1,), generator=rng, device=rng.device))
    return _arrays.generator(rng)


def torch_generator(rng) -> torch.Generator:
    """The same for torch, on the host."""
    if isinstance(rng, torch.Generator):
        return rng
    generator = torch.Generator()
    generator.manual_seed(int(_arrays.generator(rng)[0].integers(2**62)) if not isinstance(rng, int) else rng)
    return generator


def assign(group: dict[str, Any], key: str, value: float) -> None:
    """Write an option of a parameter group; where it is a tensor, into the tensor, which others may hold."""
    if isinstance(group[key], torch.Tensor):
        group[key].fill_(value)
    else:
        group[key] = value


def require_key(optimizer, key: str) -> None:
    for group in optimizer.param_groups:
        if key not in group:
            raise ValueError(f"the parameter groups of {type(optimizer).__name__} have no {key!r}; they have "
                             f"{sorted(set(group) - {'params'})}")


def trainable(optimizer) -> list[torch.Tensor]:
    return [w for group in optimizer.param_groups for w in group["params"] if w.requires_grad]


def sit_on(optimizer, controller, *handles) -> None:
    """Make the controller's state a part of the optimiser's: one checkpoint holds both.

    A controller that is made anew takes the place of the one before of its kind, whose hooks, `handles`, are removed.
    """
    name = type(controller).__name__
    held = optimizer.__dict__.setdefault("_handles_of_controllers", {})  # neither copied nor pickled, as hooks are not
    for handle in held.pop(name, ()):
        handle.remove()

    def save(optimizer, state):
        return state | {name: controller.state_dict()}

    def restore(optimizer, state):
        if name in state:
            controller.load_state_dict(state[name])

    held[name] = (*handles, optimizer.register_state_dict_post_hook(save),
                  optimizer.register_load_state_dict_pre_hook(restore))
