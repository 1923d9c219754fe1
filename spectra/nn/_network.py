"""A model held still: its weights, its mode, its random numbers and its buffers, for the time of a product.

The model is called with copies: leaves that share memory with its parameters (or hold them in higher precision) and
clones of its buffers, by `torch.func.functional_call`. So nothing is written to the model, whatever its layers do.
"""

from __future__ import annotations

import contextlib
import sys

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from spectra.nn._data import mapped
from spectra.nn._derivatives import plain_formulas
from spectra.nn._losses import Loss, Value
from spectra.nn._parameters import Parameters

BN = ("eval", "train")
DROPOUT = ("off", "seeded", "error")


class NotFinite(ValueError):
    """The loss of a batch is no number."""


class _Call(nn.Module):
    """``f(model, batch)`` as a module, so that one functional call covers whatever f does with the model."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, f, batch):
        return f(self.model, batch)


class Network:
    """A model with its loss at the weights it has now.

    `dtype` is the precision in which it is evaluated; None is the widest of its parameters, and at least float32.
    """

    def __init__(self, model, loss: Loss, parameters: Parameters, *, bn: str, dropout: str, dtype=None):
        if bn not in BN or dropout not in DROPOUT:
            raise ValueError(f"bn must be one of {BN} and dropout one of {DROPOUT}, found {bn!r} and {dropout!r}")
        self.model, self.loss, self.parameters = model, loss, parameters
        self.bn, self.dropout = bn, dropout
        self.dtype = _precision(model, dtype)
        self.device = next(model.parameters()).device
        self._call = _Call(model)
        self._fingerprint: list | None = None
        self._leaves: dict[str, torch.Tensor] = {}
        self._recurrent = any(isinstance(m, nn.RNNBase) for m in model.modules())

    def like(self) -> torch.Tensor:
        return torch.empty(0, dtype=self.dtype, device=self.device)

    def in_precision(self, dtype) -> Network:
        """The same network evaluated in another precision."""
        return Network(self.model, self.loss, self.parameters, bn=self.bn, dropout=self.dropout, dtype=dtype)

    # Weights

    def refresh(self) -> bool:
        """Look at the weights; whether they have changed since the last look.

        Version numbers miss writes through `.data`, so a sum of each tensor is compared, too.
        """
        held = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        held = {name: tensor for name, tensor in held.items() if not tensor.is_complex()}
        versions = [None if t.is_inference() else t._version for t in held.values()]
        sums = torch.stack([t.detach().sum(dtype=torch.float64).to(self.device) for t in held.values()]).tolist()
        for (name, tensor), total in zip(held.items(), sums, strict=True):
            if total - total != 0 and not torch.isfinite(tensor).all() and isinstance(tensor, nn.Parameter):
                raise NotFinite(f"parameter {name} holds NaN or Inf; expected finite weights")
        sums = [str(total) for total in sums]  # as text: a mask of -inf is equal to itself, NaN would not be
        found = list(zip(held, [t.data_ptr() for t in held.values()], versions, sums, strict=True))
        if found == self._fingerprint:
            return False
        self._fingerprint = found
        with torch.inference_mode(False):
            self._leaves = {name: _usable(p.detach(), self.dtype) for name, p in self.model.named_parameters()}
            for name in self.parameters.names:
                self._leaves[name].requires_grad_()
        return True

    @property
    def leaves(self) -> list[torch.Tensor]:
        """The parameters that are differentiated by."""
        return [self._leaves[name] for name in self.parameters.names]

    # Evaluation

    def place(self, batch):
        """A batch on the device of the model and in its precision."""
        return mapped(lambda one: _usable(one.to(self.device), self.dtype), batch)

    def call(self, f, batch, index: int, replaced: dict | None = None):
        """``f(model, batch)`` with the leaves in place of the parameters; `replaced` takes the place of some."""
        tensors = {**self._leaves, **(replaced or {}), **self._buffers()}
        before = self._random_states()
        if self.dropout == "seeded":
            torch.manual_seed(index)
        with plain_formulas(), _new_tensors(self.dtype):
            value = functional_call(self._call, {f"model.{name}": t for name, t in tensors.items()}, (f, batch))
        if self.dropout != "seeded" and not all(map(torch.equal, before, self._random_states())):
            raise ValueError(f"the forward pass draws random numbers with dropout={self.dropout!r}, so every product "
                             "would be that of another matrix; use dropout='off', or 'seeded' for one fixed draw")
        return value

    def _random_states(self) -> list[torch.Tensor]:
        states = [torch.get_rng_state()]
        return states if self.device.type != "cuda" else [*states, torch.cuda.get_rng_state(self.device)]

    def evaluate(self, f, batch, index: int):
        """``f(model, batch)`` without a graph, unless f itself differentiates."""
        try:
            with torch.no_grad():
                return self.call(f, batch, index)
        except RuntimeError as error:
            if "does not require grad" not in str(error):
                raise
        return self.call(f, batch, index)

    def value(self, batch, index: int, replaced: dict | None = None) -> Value:
        """Loss of a batch; finite, or an error that names the batch."""
        value = require_finite(self.call(self.loss, batch, index, replaced), index)
        if value.total.requires_grad:
            return value
        raise ValueError("the loss does not depend on the chosen parameters; does loss_fn use the model it is given, "
                         "without torch.no_grad and without detach?")

    def _buffers(self) -> dict[str, torch.Tensor]:
        return {name: b.to(self.dtype, copy=True) if b.is_floating_point() and b.dtype != self.dtype else b.clone()
                for name, b in self.model.named_buffers()}

    # Mode

    @contextlib.contextmanager
    def still(self):
        """Mode, random state and kernels of a product; all put back afterwards, attributes of the modules, too."""
        devices = [self.device] if self.device.type == "cuda" else []
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(devices))
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(torch.autocast(self.device.type, enabled=False))
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))  # the fast kernels have no second derivative
            stack.enter_context(_no_fused_transformers())
            stack.enter_context(_exact_products())
            if "torch._dynamo" in sys.modules:  # compiled parts have first derivatives only
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            if self.device.type == "cuda":
                stack.enter_context(_exact_cudnn(without=self._recurrent))
            stack.enter_context(self._modes())
            with self._explained():
                yield

    @contextlib.contextmanager
    def _modes(self):
        """The modules in their modes, and afterwards as they were: with the attributes that a forward pass sets, too,
        such as counts, states, and tables made at the first call in the precision of that call."""
        modes = [(module, module.training) for module in self.model.modules()]
        attributes = [(vars(module), dict(vars(module))) for module, _ in modes]
        try:
            for module, training in modes:
                module.training = self._training(module, training)
            yield
        finally:
            for held, before in attributes:
                for name in held.keys() - before.keys():
                    del held[name]
                held.update(before)
            for module, training in modes:  # of a scripted module it is no attribute
                module.training = training

    @contextlib.contextmanager
    def _explained(self):
        """Errors of torch that a product meets and a forward pass does not, with what to do."""
        try:
            yield
        except RuntimeError as error:
            if _lacks_a_derivative(error):
                raise NotImplementedError(f"a layer of the model, or the loss, has no second derivative: {error}; "
                                          "replace it, or leave what lies before a layer out with params=") from error
            if is_of_precision(error):
                error.add_note(f"The model and its data are evaluated in {self.dtype}, whatever they come in: leave "
                               "out what changes the precision of inputs or outputs, such as .bfloat16().")
            raise

    def _training(self, module, training: bool) -> bool:
        if isinstance(module, (_BatchNorm, _InstanceNorm)):
            return self.bn == "train"
        return {"off": False, "seeded": True, "error": training}[self.dropout]


def _lacks_a_derivative(error: RuntimeError) -> bool:
    return "derivative" in str(error) and (isinstance(error, NotImplementedError) or "not implemented" in str(error))


def is_of_precision(error: RuntimeError) -> bool:
    """Whether torch complains of tensors of two precisions."""
    return any(words in str(error) for words in ("dtype", "scalar type"))


def require_finite(value: Value, index: int) -> Value:
    if not torch.isfinite(value.total.detach()):
        raise NotFinite(f"the loss of batch {index} is {value.total.item()}; expected a finite number: look at this "
                         "batch and at the weights")
    return value


def _usable(tensor, dtype):
    """In the precision of the products if it is a real number, and ready for autograd."""
    if tensor.is_floating_point():
        tensor = tensor.to(dtype)
    return tensor.clone() if tensor.is_inference() else tensor


def _precision(model, dtype) -> torch.dtype:
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype, dtype)
    if dtype is None:
        dtype = torch.float32
        for parameter in model.parameters():
            if parameter.is_floating_point():
                dtype = torch.promote_types(dtype, parameter.dtype)
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"products run in float32 or float64, found {dtype}; lower precision is noise to a "
                         "recurrence, so models in bfloat16 are evaluated in float32")
    return dtype


@contextlib.contextmanager
def _no_fused_transformers():
    """The fused encoder layer of evaluation mode has no forward mode."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextlib.contextmanager
def _new_tensors(dtype):
    """What a forward pass makes anew, such as the first state of a recurrence, has the precision of the weights."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def _exact_products():
    """Matrix products in float32 throughout, where the caller lets them be shortened to TF32 or bfloat16."""
    before = torch.get_float32_matmul_precision()
    if before != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def _exact_cudnn(without: bool):
    """No TF32 in convolutions, which would leave three digits; no cuDNN for recurrent layers, whose kernels have no
    second derivative."""
    flags = torch.backends.cudnn
    before = flags.enabled, flags.allow_tf32
    flags.enabled, flags.allow_tf32 = before[0] and not without, False
    try:
        yield
    finally:
        flags.enabled, flags.allow_tf32 = before
