"""Newton steps in the Krylov space of the gradient, damped gradient steps in the rest.

    w <- w - lr [ sum_i (1/eta) phi_i phi_i' g / (|l_i| + delta)  +  (g - sum_i phi_i phi_i' g) / delta ]

with Ritz pairs (l_i, phi_i) of the Hessian from k Lanczos steps. The part outside the Krylov space is exact at the cost
of one vector. Damping decides how much larger steps are along flat directions than along sharp ones, and eta makes the
sharp ones smaller still: what generalisation is suspected to depend on.

Reference: damping paper, (9) and section 5; thesis 4.3.1 (LancGN).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.optim.optimizer import Optimizer

from spectra import _arrays
from spectra.krylov._lanczos import LanczosRun
from spectra.optim._checks import number, require_dense_real
from spectra.optim._products import LossGGN, LossHessian, split

CURVATURES, MODES, STARTS = ("hessian", "ggn"), ("divide", "scale"), ("gradient", "random")


class LanczosOPT(Optimizer):
    """Damped Newton steps in a Krylov space, damped gradient steps outside of it.

    Parameters
    ----------
    params : iterable of tensors, or of dicts that define groups
    lr, damping : float
        Of every parameter group; all groups share one curvature. `damping` (delta) must be positive.
    k : int
        Lanczos steps.
    sharp_scale : float
        eta: how much shorter steps are within the Krylov space.
    mode : {"divide", "scale"}
        ``1 / (eta (|l| + delta))``, the damping paper's (9), or ``1 / (eta |l| + delta)``, the thesis's.
    curvature : {"hessian", "ggn"}
        The Hessian with its eigenvalues made positive, or the Gauss-Newton matrix (LancGN).
    start : {"gradient", "random"}
        First Lanczos vector. From the gradient the step is the best in its Krylov space; the published runs start at
        random.
    every : int
        Steps for which a Krylov basis is kept.
    rng : int, Generator or None
        Draws random starts.

    Attributes
    ----------
    ritz_values : ndarray
        Of the last basis.

    Raises
    ------
    ValueError
        If an option is out of range, or the closure calls backward().

    Notes
    -----
    A step costs k products, 2 to 3 gradients each, and with a kept basis one gradient. Memory: k vectors of all
    parameters and the graph of the loss. Published settings: logistic regression lr .01, k 50; LancGN on VGG-16 k 20,
    damping ten times lr.

    Examples
    --------
    On a quadratic, with k as large as the number of parameters, one step with lr = 1 is the damped Newton step.

    >>> import torch, spectra
    >>> w = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    >>> optimizer = spectra.optim.LanczosOPT([w], lr=1.0, damping=1.0, k=2)
    >>> loss = optimizer.step(lambda: (w * torch.tensor([1.0, 3.0]) * w).sum() / 2)
    >>> w.data                                                    # 1 - 1/(1 + 1), 1 - 3/(3 + 1)
    tensor([0.5000, 0.2500])
    """

    def __init__(self, params, lr=0.01, damping=0.1, *, k=50, sharp_scale=1.0, mode="divide", curvature="hessian",
                 start="gradient", every=1, rng=None):
        for name, value, known in (("mode", mode, MODES), ("curvature", curvature, CURVATURES),
                                   ("start", start, STARTS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {known}, found {value!r}")
        for name, value in (("k", k), ("every", every)):
            if int(value) != value or value < 1:
                raise ValueError(f"{name} must be a positive integer, found {value!r}")
        if not sharp_scale > 0:
            raise ValueError(f"sharp_scale must be positive, found {sharp_scale!r}; 1 leaves steps as they are")
        super().__init__(params, {"lr": lr, "damping": damping})
        self.options = {"k": int(k), "sharp_scale": float(sharp_scale), "mode": mode, "curvature": curvature,
                        "start": start, "every": int(every)}
        self.generator, self.seed = _arrays.generator(rng)
        self.steps = 0
        self.ritz_values = self._vectors = None

    def add_param_group(self, param_group) -> None:
        """Add parameters with options of their own."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            number(group["lr"], "lr", least=0.0)
            if not float(group["damping"]) > 0:
                raise ValueError(f"damping must be positive, found {group['damping']!r}: the step outside of the "
                                 "Krylov space is divided by it")
            require_dense_real(group["params"], "LanczosOPT")
        except ValueError:
            self.param_groups.pop()
            raise
        self._vectors = None

    def step(self, closure: Callable):
        """One step. `closure` computes the loss and returns it with its graph, without calling backward(); for
        ``curvature="ggn"`` it returns the loss and the outputs that it is a function of."""
        if closure is None:
            raise ValueError("LanczosOPT needs a closure that returns the loss with its graph")
        params = [w for group in self.param_groups for w in group["params"] if w.requires_grad]
        with torch.enable_grad():
            loss, operator = self._curvature(closure(), params)
        g = operator.gradient
        if self._vectors is None or self.steps % self.options["every"] == 0 or len(self._vectors) != len(g):
            self._decompose(operator, g)
        with torch.no_grad():
            self._move(params, g)
        self.steps += 1
        return loss.detach()

    def _curvature(self, found, params):
        if self.options["curvature"] == "hessian":
            loss = found[0] if isinstance(found, tuple) else found
            return loss, LossHessian(loss, params)
        if not (isinstance(found, tuple) and len(found) == 2):
            raise ValueError('for curvature="ggn" the closure returns (loss, outputs), the outputs that the loss is a '
                             f"function of; found {type(found).__name__}")
        return found[0], LossGGN(found[0], params, found[1])

    def _decompose(self, operator, g):
        size = len(g)
        random = self.options["start"] == "random" or not torch.any(g)
        start = _arrays.gaussians(self.generator, size, 1, operator.like, operator.dtype) if random else g[:, None]
        run = LanczosRun(operator, start, check=False)
        run.advance(min(self.options["k"], size))
        values, coefficients, basis = _ritz(run)
        self.ritz_values = values
        self._vectors = basis @ torch.from_numpy(coefficients).to(basis)

    def _move(self, params, g):
        inside = self._vectors.T @ g
        values = torch.from_numpy(abs(self.ritz_values)).to(g)
        outside = g - self._vectors @ inside
        moves = {}
        for group in self.param_groups:
            damping, eta = float(group["damping"]), self.options["sharp_scale"]
            if damping not in moves:
                if self.options["mode"] == "divide":
                    weights = 1 / (eta * (values + damping))
                else:
                    weights = 1 / (eta * values + damping)
                moves[damping] = split(self._vectors @ (weights * inside) + outside / damping, params)
        place = {id(w): i for i, w in enumerate(params)}
        for group in self.param_groups:
            for w in group["params"]:
                if id(w) in place:
                    w.sub_(moves[float(group["damping"])][place[id(w)]], alpha=float(group["lr"]))

    def state_dict(self):
        """As any optimiser's, with the basis in use and the state of the random source."""
        own = {"steps": self.steps, "ritz_values": self.ritz_values, "vectors": self._vectors,
               "generator": self.generator.bit_generator.state}
        return super().state_dict() | {"lanczos": own}

    def load_state_dict(self, state_dict) -> None:
        """Continue where another optimiser of the same parameters stood."""
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "lanczos"})
        own = state_dict["lanczos"]
        self.steps, self.ritz_values, self._vectors = own["steps"], own["ritz_values"], own["vectors"]
        self.generator.bit_generator.state = own["generator"]

    def __getstate__(self):
        names = ("options", "generator", "seed", "steps", "ritz_values", "_vectors")
        return super().__getstate__() | {name: getattr(self, name) for name in names}


def _ritz(run: LanczosRun):
    """Ritz values, their coefficients in the basis, and the basis (n, m), cut where the recurrence broke down."""
    alpha, beta = run.alpha[0], run.beta[0]
    broken = np.flatnonzero(beta == 0)
    m = int(broken[0]) + 1 if len(broken) else len(alpha)
    T = np.diag(alpha[:m]) + np.diag(beta[: m - 1], 1) + np.diag(beta[: m - 1], -1)
    values, coefficients = np.linalg.eigh(T)
    return values, coefficients, run.basis()[0, :, :m]
