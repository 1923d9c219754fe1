"""AdamW with a partial power of its denominator, and the two members of the Gadam family that average it.

    w <- (1 - lr wd) w
    m <- b1 m + (1 - b1) g,     v <- b2 v + (1 - b2) g^2
    w <- w - lr (m / (1 - b1^t)) / ((v / (1 - b2^t))^(1/2) + eps)^(2p)

p = 1/2 is AdamW, p = 0 momentum SGD with bias correction; between them adaptivity is traded for the generalisation of
SGD. The thesis's Algorithm 9 divides by the bias factors inside the recursion, where they compound; this is the
corrected step.

References: Chen et al., Padam, IJCAI 2020, arXiv 1806.06763; Loshchilov and Hutter, ICLR 2019, arXiv 1711.05101;
thesis, Algorithm 9, as corrected in docs/errata.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.adamw import adamw
from torch.optim.optimizer import Optimizer

from spectra.optim._average import IterateAverage
from spectra.optim._checks import in_range, number, require_dense_real

BIAS_CORRECTIONS = ("exact", "padam")


class PAdamW(Optimizer):
    """Partially adaptive AdamW: the denominator to the power 2p, weight decay decoupled.

    Parameters
    ----------
    params : iterable of tensors, or of dicts that define groups
    lr : float or tensor
    betas : (float, float)
        Decay of the means of g and g^2, in [0, 1).
    eps : float
        Damping of the denominator, inside the power.
    weight_decay : float
        Decoupled: weights shrink by ``1 - lr * weight_decay`` a step.
    p : float
        In [0, 1/2]: 1/2 is AdamW, 0 bias-corrected momentum SGD. 1/8 is usual.
    amsgrad : bool
        Largest v so far in place of v.
    bias_correction : {"exact", "padam"}
        "padam" divides the step by ``(1 - b2^t)^(1/2)`` whatever p, as the published code does: for p < 1/2 a hidden
        warm-up of about ``1 / (1 - b2)`` steps that published numbers depend on.
    maximize : bool
    foreach : bool, optional
        Whole lists of tensors at a time; default: yes.

    Raises
    ------
    ValueError
        If a number is out of range; if a gradient is sparse or a parameter complex.

    Notes
    -----
    Memory: two copies of the parameters. With p = 1/2 the step is torch's own AdamW, to the last bit, and the state has
    the same names. p = 1/4 and 1/8 take square roots instead of powers. Gradients that are not finite go to the
    weights, as in torch.

    Examples
    --------
    >>> import torch, spectra
    >>> w = torch.nn.Parameter(torch.tensor([3.0]))
    >>> optimizer = spectra.optim.PAdamW([w], lr=0.5, p=0.0)
    >>> w.square().sum().backward()
    >>> optimizer.step()                                    # the first step of SGD: 3 - 0.5 * 6
    >>> round(w.item(), 6) + 0.0
    0.0
    """

    average: IterateAverage | None = None

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, p=0.5, *, amsgrad=False,
                 bias_correction="exact", maximize=False, foreach=None):
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "p": p,
                    "amsgrad": amsgrad, "bias_correction": bias_correction, "maximize": maximize, "foreach": foreach}
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            _check(group)
        except ValueError:
            self.param_groups.pop()
            raise

    @torch.no_grad()
    def step(self, closure: Callable | None = None):
        """One step; `closure` re-evaluates the loss and its gradient and returns the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step(group)
        if self.average is not None:
            self.average.update()
        return loss

    def _step(self, group):
        params = [w for w in group["params"] if w.grad is not None]
        if not params:
            return
        require_dense_real(params, "PAdamW")
        states = [self._state(w, group["amsgrad"]) for w in params]
        grads = [w.grad for w in params]
        m, v, steps = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
        largest = [state["max_exp_avg_sq"] for state in states] if group["amsgrad"] else []
        foreach = group["foreach"] is None or group["foreach"]
        beta1, beta2 = (float(beta) for beta in group["betas"])
        common = {"beta1": beta1, "beta2": beta2, "lr": float(group["lr"]), "eps": float(group["eps"]),
                  "weight_decay": float(group["weight_decay"]), "maximize": group["maximize"]}
        if group["p"] == 0.5:  # "exact" and "padam" agree here
            adamw(params, grads, m, v, largest, steps, foreach=foreach, amsgrad=group["amsgrad"], **common)
            return
        exponent = 0.5 if group["bias_correction"] == "padam" else float(group["p"])
        update = _together if foreach else _one_by_one
        for own in _of_equal_age(params, grads, m, v, largest, steps):
            update(*own, p=float(group["p"]), exponent=exponent, **common)

    def _state(self, w, amsgrad):
        state = self.state[w]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(w, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(w, memory_format=torch.preserve_format)
        if amsgrad and "max_exp_avg_sq" not in state:
            state["max_exp_avg_sq"] = state["exp_avg_sq"].clone()
        return state

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"average": self.average}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # torch's AdamW has no p
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def state_dict(self) -> dict[str, Any]:
        """As any optimiser's, with the state of `average` where there is one."""
        state = super().state_dict()
        return state if self.average is None else state | {"average": self.average.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where another optimiser of the same parameters stood."""
        if ("average" in state_dict) != (self.average is not None):
            raise ValueError("one of the two optimisers averages its iterates and the other does not; make both with "
                             "Gadam or both with PAdamW")
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "average"})
        if self.average is not None:
            self.average.load_state_dict(state_dict["average"])


def Gadam(model, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, *, p=0.5, start=0, every=1, ema=None,
          bn_loader=None, patience=None, amsgrad=False, bias_correction="exact", maximize=False,
          foreach=None) -> PAdamW:
    """AdamW whose iterates are averaged: Adam that generalises.

    Parameters
    ----------
    model : Module, or iterable of parameters
        With a model, the average can be evaluated with batch-norm statistics of its own.
    lr, betas, eps, weight_decay, p, amsgrad, bias_correction, maximize, foreach
        As `PAdamW`.
    start, every, ema, bn_loader, patience
        As `IterateAverage`, in steps of the optimiser; with `patience` (GadamAuto) the average starts where the scores
        given to ``optimizer.average.observe`` stagnate.

    Returns
    -------
    PAdamW
        With an `average`, updated by every step; ``with optimizer.average.applied(): evaluate(model)``.

    Raises
    ------
    ValueError
        As `PAdamW` and `IterateAverage`.

    Notes
    -----
    Thesis 7.1 and Algorithm 9. Published settings: averaging from epoch 161 of 300, once an epoch, with half the
    learning rate and a weight decay of 0.25; with Lookahead, ``Lookahead(optimizer, until=start)`` beside it.
    Parameters that are added later and are not the model's are optimised, and not averaged.

    Examples
    --------
    >>> import torch, spectra
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = spectra.optim.Gadam(model, lr=1e-2)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     model(torch.ones(4, 2)).square().mean().backward()
    ...     optimizer.step()
    >>> optimizer.average.count
    3
    """
    is_model = isinstance(model, torch.nn.Module)
    params = list(model.parameters() if is_model else model)
    optimizer = PAdamW(params, lr, betas, eps, weight_decay, p, amsgrad=amsgrad, bias_correction=bias_correction,
                       maximize=maximize, foreach=foreach)
    flat = [w for group in optimizer.param_groups for w in group["params"]]
    optimizer.average = IterateAverage(model if is_model else torch.nn.ParameterList(flat), start=start, every=every,
                                       ema=ema, bn_loader=bn_loader, patience=patience)
    return optimizer


def GadamX(model, lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, *, p=0.125, start=0, every=1, ema=None,
           bn_loader=None, patience=None, amsgrad=False, bias_correction="exact", maximize=False,
           foreach=None) -> PAdamW:
    """Gadam with a partially adaptive optimiser, p = 1/8, at the learning rates of SGD.

    Parameters
    ----------
    model, lr, betas, eps, weight_decay, p, start, every, ema, bn_loader, patience, amsgrad, bias_correction
        As `Gadam`.
    maximize, foreach
        As `Gadam`.

    Returns
    -------
    PAdamW

    Raises
    ------
    ValueError
        As `Gadam`.

    Notes
    -----
    Thesis 7.1. The published numbers were made with ``bias_correction="padam"``.

    Examples
    --------
    >>> import torch, spectra
    >>> spectra.optim.GadamX(torch.nn.Linear(2, 1)).param_groups[0]["p"]
    0.125
    """
    return Gadam(model, lr, betas, eps, weight_decay, p=p, start=start, every=every, ema=ema, bn_loader=bn_loader,
                 patience=patience, amsgrad=amsgrad, bias_correction=bias_correction, maximize=maximize,
                 foreach=foreach)


def _check(group):
    number(group["lr"], "lr", least=0.0)
    if not isinstance(group["betas"], (tuple, list)) or len(group["betas"]) != 2:
        raise ValueError(f"betas must be two numbers in [0, 1), found {group['betas']!r}")
    for beta in group["betas"]:
        in_range(beta, "betas", 0.0, 1.0, open_above=True)
    number(group["eps"], "eps", least=0.0)
    number(group["weight_decay"], "weight_decay", least=0.0)
    in_range(group["p"], "p", 0.0, 0.5)
    if group["bias_correction"] not in BIAS_CORRECTIONS:
        raise ValueError(f"bias_correction must be one of {BIAS_CORRECTIONS}, found {group['bias_correction']!r}")
    require_dense_real(group["params"], "PAdamW")


def _of_equal_age(params, grads, m, v, largest, steps):
    """Lists split by step count, kind and device, as the fused operations want them; the counts go up by one."""
    groups = {}
    for i, (w, count) in enumerate(zip(params, steps, strict=True)):
        count += 1
        groups.setdefault((int(count), w.device, w.dtype), []).append(i)
    for (count, *_), chosen in groups.items():
        lists = ([x[i] for i in chosen] for x in (params, grads, m, v))
        yield *lists, [largest[i] for i in chosen] if largest else [], count


def _together(params, grads, m, v, largest, t, *, p, exponent, beta1, beta2, lr, eps, weight_decay, maximize):
    """`_one_by_one` on lists. The bias factor of v goes into the step size and into eps, which saves a pass."""
    if maximize:
        grads = torch._foreach_neg(grads)
    if weight_decay:
        torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_lerp_(m, grads, 1 - beta1)
    torch._foreach_mul_(v, beta2)
    torch._foreach_addcmul_(v, grads, grads, 1 - beta2)
    if largest:
        torch._foreach_maximum_(largest, v)
    root = (1 - beta2**t) ** 0.5
    step = -lr / (1 - beta1**t) * root ** (2 * exponent)
    if p == 0:
        torch._foreach_add_(params, m, alpha=step)
        return
    denominator = torch._foreach_sqrt(largest or v)
    torch._foreach_add_(denominator, eps * root)
    if _roots(p):
        for _ in range(_roots(p)):
            torch._foreach_sqrt_(denominator)
        torch._foreach_addcdiv_(params, m, denominator, step)
    else:  # d^(-2p) = exp(-2p log d), which is twice as fast as a power
        torch._foreach_log_(denominator)
        torch._foreach_mul_(denominator, -2 * p)
        torch._foreach_exp_(denominator)
        torch._foreach_addcmul_(params, m, denominator, step)


def _one_by_one(params, grads, m, v, largest, t, *, p, exponent, beta1, beta2, lr, eps, weight_decay, maximize):
    for i, (w, g) in enumerate(zip(params, grads, strict=True)):
        g = -g if maximize else g
        w.mul_(1 - lr * weight_decay)
        m[i].lerp_(g, 1 - beta1)
        v[i].mul_(beta2).addcmul_(g, g, value=1 - beta2)
        u = torch.maximum(largest[i], v[i], out=largest[i]) if largest else v[i]
        root = (1 - beta2**t) ** 0.5
        denominator = (u.sqrt() + eps * root) ** (2 * p)
        w.addcdiv_(m[i], denominator, value=-lr / (1 - beta1**t) * root ** (2 * exponent))


def _roots(p: float) -> int:
    """How many square roots make the power 2p; 0 if none do."""
    return {0.25: 1, 0.125: 2, 0.0625: 3}.get(p, 0)
