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
from spectra.optim._checks import count, number, numpy_generator, one_of, require_dense_real, require_finite, trainable
from spectra.optim._products import (
    GradientGraph,
    LossCurvature,
    OutputGraph,
    flat,
    gradients,
    split,
    twice_differentiable,
)

CURVATURES, STARTS = ("hessian", "ggn"), ("gradient", "random")

# The three meanings of eta: in the damping paper's (9), in the thesis's text, and in the published code.
WEIGHTS = {"divide": lambda size, delta, eta: 1 / (eta * (size + delta)),
           "scale": lambda size, delta, eta: 1 / (eta * size + delta),
           "add": lambda size, delta, eta: 1 / (size + delta + eta)}


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
    mode : {"divide", "scale", "add"}
        ``1 / (eta (|l| + delta))``, the damping paper's (9); ``1 / (eta |l| + delta)``, the thesis's; or
        ``1 / (|l| + delta + eta)``, that of the published code, for which an eta of 0 leaves steps as they are.
    curvature : {"hessian", "ggn"}
        The Hessian with its eigenvalues made positive, or the Gauss-Newton matrix (LancGN).
    start : {"gradient", "random"}
        First Lanczos vector. From the gradient the step is the best in its Krylov space; the published runs start at
        random.
    every : int
        Steps for which a Krylov basis is kept.
    maximize : bool
    rng : int, Generator or None
        Draws random starts.

    Attributes
    ----------
    ritz_values : ndarray
        Of the last basis.

    Raises
    ------
    ValueError
        If an option is out of range, the closure calls backward(), or a gradient is not finite (naming its parameter).

    Notes
    -----
    A step costs k products, 2 to 3 gradients each, and with a kept basis one gradient. Memory: k vectors of all
    parameters and the graph of the loss. Published settings: logistic regression lr .01, k 50; the thesis's LancGN
    (4.3.1) on VGG-16 ``curvature="ggn", k=20, start="random"``, damping ten times lr.

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
                 start="gradient", every=1, maximize=False, rng=None):
        for name, value, known in (("mode", mode, WEIGHTS), ("curvature", curvature, CURVATURES),
                                   ("start", start, STARTS)):
            one_of(value, name, known)
        for name, value in (("k", k), ("every", every)):
            count(value, name)
        number(sharp_scale, "sharp_scale", least=0.0)
        if sharp_scale == 0 and mode != "add":
            raise ValueError(f"sharp_scale must be positive, found {sharp_scale!r}; 1 leaves steps as they are")
        super().__init__(params, {"lr": lr, "damping": damping, "maximize": maximize})
        self.options = {"k": int(k), "sharp_scale": float(sharp_scale), "mode": mode, "curvature": curvature,
                        "start": start, "every": int(every)}
        self.generator, self.seed = numpy_generator(rng)
        self.steps = 0
        self.ritz_values = self._vectors = None

    def add_param_group(self, param_group) -> None:
        """Add parameters with options of their own."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            number(group["lr"], "lr", least=0.0)
            number(group["damping"], "damping")
            if not float(group["damping"]) > 0:
                raise ValueError(f"damping must be positive, found {group['damping']!r}: the step outside of the "
                                 "Krylov space is divided by it")
            require_dense_real(group["params"], "LanczosOPT")
        except ValueError:
            self.param_groups.pop()
            raise
        self._vectors = None

    def step(self, closure: Callable | None = None):
        """One step. `closure` computes the loss and returns it with its graph, without calling backward(); for
        ``curvature="ggn"`` it returns the loss and the outputs that it is a function of."""
        if closure is None:
            raise ValueError("LanczosOPT needs a closure that returns the loss with its graph")
        params = trainable(self)
        if not params:
            raise ValueError("LanczosOPT has no parameter that is trained: none of them requires a gradient")
        with twice_differentiable(params):
            loss, outputs = self._evaluated(closure())
        slopes = gradients(loss, params)
        require_finite({self._name(w): g for w, g in zip(params, slopes, strict=True)}, "LanczosOPT")
        g = flat(slopes)
        if self._vectors is None or self.steps % self.options["every"] == 0 or len(self._vectors) != len(g):
            graph = GradientGraph(loss, params) if outputs is None else OutputGraph(loss, params, outputs)
            self._decompose(LossCurvature(graph), g)
        with torch.no_grad():
            self._move(params, g)
        self.steps += 1
        return loss.detach()

    def _evaluated(self, found):
        """The loss, and for the Gauss-Newton matrix the outputs that it is split at."""
        if self.options["curvature"] == "hessian":
            return (found[0] if isinstance(found, tuple) else found), None
        if not (isinstance(found, tuple) and len(found) == 2):
            raise ValueError('for curvature="ggn" the closure returns (loss, outputs), the outputs that the loss is a '
                             f"function of; found {type(found).__name__}")
        return found[0], [found[1]]

    def _name(self, w) -> str:
        place = next((i, j) for i, group in enumerate(self.param_groups)
                     for j, own in enumerate(group["params"]) if own is w)
        return f"parameter {place[1]} of group {place[0]}, shape {tuple(w.shape)}"

    def _decompose(self, operator, g):
        size = len(g)
        random = self.options["start"] == "random" or not torch.any(g)
        start = _arrays.gaussians(self.generator, size, 1, operator.like, operator.dtype) if random else g[:, None]
        run = LanczosRun(operator, start, check=False)
        run.advance(min(self.options["k"], size))
        self.ritz_values, coefficients, basis = _ritz(run)
        self._vectors = basis @ torch.from_numpy(coefficients).to(basis)

    def _move(self, params, g):
        inside = self._vectors.T @ g
        sizes = torch.from_numpy(abs(self.ritz_values)).to(g)
        outside = g - self._vectors @ inside
        weigh, eta = WEIGHTS[self.options["mode"]], self.options["sharp_scale"]
        moves = {}  # by damping, tensor by tensor
        for group in self.param_groups:
            damping, lr = float(group["damping"]), float(group["lr"])
            if damping not in moves:
                found = self._vectors @ (weigh(sizes, damping, eta) * inside) + outside / damping
                moves[damping] = {id(w): move for w, move in zip(params, split(found, params), strict=True)}
            for w in group["params"]:
                if id(w) in moves[damping]:
                    w.sub_(moves[damping][id(w)], alpha=-lr if group["maximize"] else lr)

    def state_dict(self):
        """As any optimiser's, with the basis in use and the state of the random source."""
        ritz = None if self.ritz_values is None else self.ritz_values.tolist()
        own = {"steps": self.steps, "ritz_values": ritz, "vectors": self._vectors,
               "generator": self.generator.bit_generator.state}
        return super().state_dict() | {"lanczos": own}

    def load_state_dict(self, state_dict) -> None:
        """Continue where another optimiser of the same parameters stood."""
        if "lanczos" not in state_dict:
            raise ValueError("this is not the state of a LanczosOPT: it has no 'lanczos'")
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "lanczos"})
        own, like = state_dict["lanczos"], self.param_groups[0]["params"][0]
        self.steps = own["steps"]
        self.ritz_values = None if own["ritz_values"] is None else np.array(own["ritz_values"])
        self._vectors = None if own["vectors"] is None else own["vectors"].to(like.device)
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
