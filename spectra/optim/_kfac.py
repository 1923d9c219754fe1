"""KFAC: natural gradient descent with a Kronecker-factored Fisher matrix, as an ordinary torch optimiser.

    w <- w - lr (momentum buffer of (F + damping)^-1 g)

F is estimated layer by layer (see `_kronecker`) from what flows through the layers anyway (see `_fisher`): inputs in
the forward pass, gradients in a backward pass of labels that the model itself draws (the true Fisher) or in the loss's
own (the empirical one).

References: Martens and Grosse, ICML 2015, arXiv 1503.05671; damping paper, 7.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.optimizer import Optimizer

from spectra.optim._checks import (
    count,
    in_range,
    number,
    one_of,
    positive,
    require_dense_real,
    require_finite,
    torch_generator,
)
from spectra.optim._fisher import DRAWS, Watch, trains
from spectra.optim._kronecker import Diagonal, blocks, safe_eigh

FISHERS = ("mc", "empirical")
FORMS = ("additive", "pi")


class KFAC(Optimizer):
    """Natural gradient descent with a Kronecker-factored Fisher matrix.

    Parameters
    ----------
    model : Module
        Called in the ordinary way; layers are watched by hooks while the model is in training mode.
    lr, damping, momentum : float
        ``w -= lr * v``, ``v = momentum * v + (F + damping I)^-1 g``. `damping` is a key of every parameter group, which
        `AutoDamping` moves.
    stat_decay : float
        Weight of the old factors in their running mean.
    fisher : {"mc", "empirical"}
        "mc": labels drawn from the model's own prediction, the Fisher matrix; one more backward pass when the factors
        are due. "empirical": gradients of the loss itself, which must be a mean over samples and not scaled.
    likelihood : {"categorical", "bernoulli", "gaussian"}
        What the model's output means, for "mc": logits of classes (on the last axis of 2-d output, else axis 1), logits
        of independent labels, or means of unit variance.
    damping_form : {"additive", "pi"}
        Damping added to the products of eigenvalues, or shared between the two factors (Martens and Grosse, 6.3).
    factor_every, inverse_every : int
        Steps between updates of the factors, and of their eigenvalues.
    weight_decay : float
        Decoupled.
    kl_clip : float, optional
        Bound on ``lr^2 v'g``: longer updates are shortened. The damping paper's runs had 0.01 without saying so.
    per_layer : bool
        A parameter group for every layer, each with a damping of its own.
    maximize : bool
    rng : int, Generator or None
        Draws the labels.

    Attributes
    ----------
    blocks : list
        One for each layer, with `kind`: "kronecker" or "diagonal". Diagonal are norm layers, grouped convolutions,
        convolutions that pad with anything but zeros, layers of which a part is frozen, and parameters that belong to
        no layer known here.

    Raises
    ------
    ValueError
        If an option is out of range or a parameter complex.
        A gradient that is not finite is refused by the name of its parameter, and nothing is changed.
    RuntimeError
        If a step is taken before the model was run in training mode.

    Notes
    -----
    For a layer of d inputs and k outputs: memory 2 (d^2 + k^2), time d^3 + k^3 every `inverse_every` steps (and, before
    that, whenever the number of factors seen has doubled) and d k (d + k) every step. No factor, however degenerate,
    stops it: eigenvalues are clipped at 0, failed decompositions repeated in float64 and with jitter, and the last good
    one is kept. Watches the layers themselves: a layer whose weight is used in another way, as in torch's
    MultiheadAttention, is diagonal; of a tied weight only the use by its first layer is seen. The loss is taken to be a
    mean over targets.

    Examples
    --------
    >>> import torch, spectra
    >>> _ = torch.manual_seed(0)
    >>> model, x, y = torch.nn.Linear(3, 2), torch.randn(50, 3), torch.randint(2, (50,))
    >>> optimizer = spectra.optim.KFAC(model, lr=0.1, damping=1e-2, rng=0)
    >>> for _ in range(20):
    ...     optimizer.zero_grad()
    ...     loss = torch.nn.functional.cross_entropy(model(x), y)
    ...     loss.backward()
    ...     optimizer.step()
    >>> bool(torch.nn.functional.cross_entropy(model(x), y) < 0.67)
    True
    """

    def __init__(self, model, lr=1e-3, damping=1e-2, momentum=0.9, *, stat_decay=0.95, fisher="mc",
                 likelihood="categorical", damping_form="additive", factor_every=10, inverse_every=100,
                 weight_decay=0.0, kl_clip=None, per_layer=False, maximize=False, rng=None):
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"KFAC watches the layers of a model, so it needs a torch Module, found "
                            f"{type(model).__name__}")
        for name, value, known in (("fisher", fisher, FISHERS), ("damping_form", damping_form, FORMS),
                                   ("likelihood", likelihood, DRAWS)):
            one_of(value, name, known)
        in_range(stat_decay, "stat_decay", 0.0, 1.0, open_above=True)
        for name, value in (("factor_every", factor_every), ("inverse_every", inverse_every)):
            count(value, name)
        if kl_clip is not None:
            positive(kl_clip, "kl_clip")
        self.model, self.blocks = model, blocks(model)
        params = [w for block in self.blocks for w in block.params]
        if not params:
            raise ValueError(f"KFAC found no parameter that is trained in this {type(model).__name__}")
        require_dense_real(params, "KFAC")
        groups = [{"params": block.params} for block in self.blocks] if per_layer else [{"params": params}]
        super().__init__(groups, {"lr": lr, "damping": damping, "momentum": momentum, "weight_decay": weight_decay,
                                  "maximize": maximize})
        self.options = {"stat_decay": stat_decay, "fisher": fisher, "likelihood": likelihood,
                        "damping_form": damping_form, "factor_every": factor_every, "inverse_every": inverse_every,
                        "kl_clip": kl_clip}
        self.steps = 0
        self.generator = torch_generator(rng)
        self._watch()

    def _watch(self):
        self.watch = Watch(self.model, self.blocks, self._due, fisher=self.options["fisher"],
                           likelihood=self.options["likelihood"], generator=self.generator)

    def _due(self, block) -> bool:
        """Whether to look at a layer now: every so many steps, and where nothing is known of it yet."""
        new = not self.state.get(block.params[0])
        return trains(self.model) and (new or self._factors_due())

    def _factors_due(self) -> bool:
        return self.steps % self.options["factor_every"] == 0

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; those that the model did not have get diagonal blocks."""
        super().add_param_group(param_group)
        group, known = self.param_groups[-1], {id(w) for block in self.blocks for w in block.params}
        try:
            for name in ("lr", "damping", "weight_decay"):
                number(group[name], name, least=0.0)
            in_range(group["momentum"], "momentum", 0.0, 1.0, open_above=True)
            require_dense_real(group["params"], "KFAC")
        except ValueError:
            self.param_groups.pop()
            raise
        self.blocks += [Diagonal([w]) for w in group["params"] if id(w) not in known]

    # The step

    @torch.no_grad()
    def step(self, closure: Callable | None = None):
        """One step; `closure` re-evaluates the loss and its gradient and returns the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._check_gradients()
        self._update_factors()
        self._decompose()
        updates = self._updates()
        shorter = self._clip(updates)
        for group in self.param_groups:
            for w in group["params"]:
                if id(w) in updates:
                    self._move(w, updates[id(w)] * shorter, group)
        self.steps += 1
        self.watch.forget()
        return loss

    def _check_gradients(self):
        names = {id(w): name for name, w in self.model.named_parameters()}
        params = [w for group in self.param_groups for w in group["params"] if w.grad is not None]
        require_dense_real(params, "KFAC")
        try:
            require_finite({names.get(id(w), f"parameter {i}"): w.grad for i, w in enumerate(params)}, "KFAC")
        except ValueError:
            self.watch.forget()
            raise

    def _update_factors(self):
        for i, block in enumerate(self.blocks):
            if self.state[block.params[0]] and not self._factors_due():
                continue
            found = self.watch.found(block.layer)
            if not found and self._never_called(block):
                self.blocks[i] = block = Diagonal(block.params)
            if block.layer is None:
                found = block.from_gradients(max(self.watch.samples, 1))
            for name, new in found.items():
                if torch.isfinite(new).all():  # squares may overflow where gradients do not
                    self._blend(self.state[block.params[0]], name, new)

    def _never_called(self, block) -> bool:
        """Whether the weights are used, by their gradients, and the layer is not, though the model was watched."""
        used = any(w.grad is not None for w in block.params)
        return block.layer is not None and used and self.watch.samples > 0 and not self.state[block.params[0]]

    def _blend(self, state, name, new):
        old = state.get(name)
        state[name] = new if old is None else old.lerp_(new.to(old.dtype), 1 - self.options["stat_decay"])

    def _decomposition_due(self) -> bool:
        seen, rest = divmod(self.steps, self.options["factor_every"])
        early = rest == 0 and seen & (seen - 1) == 0 and self.steps < self.options["inverse_every"]
        return early or self.steps % self.options["inverse_every"] == 0

    def _decompose(self):
        due = self._decomposition_due()
        for block in self.blocks:
            state = self.state[block.params[0]]
            for name in ("A", "G"):
                previous = (state[f"values_{name}"], state[f"basis_{name}"]) if f"basis_{name}" in state else None
                if name in state and (due or previous is None):
                    state[f"values_{name}"], state[f"basis_{name}"] = safe_eigh(state[name], previous)

    def _updates(self) -> dict[int, torch.Tensor]:
        """(F + damping)^-1 g for every parameter with a gradient, by identity."""
        damping = {id(w): float(group["damping"]) for group in self.param_groups for w in group["params"]}
        updates = {}
        for block in self.blocks:
            if all(w.grad is None for w in block.params):
                continue
            state = self.state[block.params[0]]
            if not any(name.startswith(("basis", "diagonal")) for name in state):
                if self.watch.called:  # an empty batch, or one whose statistics are not finite: nothing to go by
                    continue
                raise RuntimeError("KFAC has seen no forward pass of its model in training mode since it was made; "
                                   "call model.train(), model(inputs), backward, and then step")
            grads = [torch.zeros_like(w) if w.grad is None else w.grad for w in block.params]
            new = block.precondition(grads, state, damping[id(block.params[0])], self.options["damping_form"])
            updates |= {id(w): v.to(w.dtype) for w, v in zip(block.params, new, strict=True) if w.grad is not None}
        return updates

    def _clip(self, updates) -> float:
        """``min(1, sqrt(kl_clip / (lr^2 v'g)))``."""
        if self.options["kl_clip"] is None:
            return 1.0
        size = sum(float(group["lr"]) ** 2 * (updates[id(w)] * w.grad).sum()
                   for group in self.param_groups for w in group["params"] if id(w) in updates)
        return min(1.0, (self.options["kl_clip"] / max(float(size), 1e-300)) ** 0.5)

    def _move(self, w, update, group):
        lr, state = float(group["lr"]), self.state[w]
        update = -update if group["maximize"] else update
        if group["momentum"]:
            if "momentum_buffer" in state:
                update = state["momentum_buffer"].mul_(group["momentum"]).add_(update)
            state["momentum_buffer"] = update
        w.mul_(1 - lr * group["weight_decay"]).add_(update, alpha=-lr)

    # State

    def state_dict(self) -> dict[str, Any]:
        """As any optimiser's, with the count of steps and the state of the generator."""
        return super().state_dict() | {"steps": self.steps, "generator": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where another optimiser of the same model stood."""
        if "generator" not in state_dict:
            raise ValueError("this is not the state of a KFAC: it has no 'generator'")
        super().load_state_dict({key: value for key, value in state_dict.items() if key not in ("steps", "generator")})
        params = [w for group in self.param_groups for w in group["params"]]
        for i, state in state_dict["state"].items():  # factors keep their precision, whatever that of the parameter
            w = params[i]
            self.state[w].update({name: x.detach().clone().to(w.device) for name, x in state.items()})
        self.blocks = [block if block.may_have(self.state[block.params[0]]) else Diagonal(block.params)
                       for block in self.blocks]
        self.steps = state_dict["steps"]
        self.generator.set_state(state_dict["generator"])

    def __getstate__(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("blocks", "model", "options", "steps")}
        return super().__getstate__() | own | {"generator": self.generator.get_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        copied = "blocks" in state  # and not `load_state_dict`
        if copied:
            self.generator = torch.Generator()
            self.generator.set_state(state.pop("generator"))
        super().__setstate__(state)
        if copied:
            self._watch()
