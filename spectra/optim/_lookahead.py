"""Two speeds of weights: fast ones that the optimiser moves, and slow ones that follow them.

    every k steps        slow <- slow + share (fast - slow),      fast <- slow

A controller beside the optimiser, and not an optimiser around it: schedulers, scalers and checkpoints go on with the
optimiser they know.

Reference: Zhang, Lucas, Hinton and Ba, NeurIPS 2019, arXiv 1907.08610.
"""

from __future__ import annotations

from typing import Any

import torch

from spectra.optim._checks import count, in_range, sit_on


class Lookahead:
    """Pulls the weights back towards where they were k steps ago, after every k steps of any optimiser.

    Parameters
    ----------
    optimizer : torch optimiser
        Its steps are counted by a hook; there is nothing to call.
    every : int
        k.
    share : float
        Of the way that the slow weights go, in (0, 1]; 1 changes nothing.
    until : int, optional
        Steps after which the optimiser is left alone, where iterate averaging takes over, say.

    Attributes
    ----------
    steps : int
        Taken so far.

    Raises
    ------
    ValueError
        If an option is out of range.

    Notes
    -----
    Memory: one copy of the weights. The slow weights start where the optimiser stands when Lookahead is made; the
    thesis's code starts them one step later. Buffers of the optimiser, such as its momentum, are left as they are.
    Saved and restored with the optimiser.

    Examples
    --------
    >>> import torch, spectra
    >>> w = torch.nn.Parameter(torch.zeros(1))
    >>> optimizer = torch.optim.SGD([w], lr=1.0)
    >>> lookahead = spectra.optim.Lookahead(optimizer, every=2)
    >>> for _ in range(2):
    ...     w.grad = -torch.ones(1)
    ...     optimizer.step()
    >>> w.item()                                                # half the way from 0 to 2
    1.0
    """

    def __init__(self, optimizer, *, every=5, share=0.5, until=None):
        count(every, "every")
        in_range(share, "share", 0.0, 1.0)
        if not share > 0:
            raise ValueError("share must be positive; with 0 the weights would never move")
        if until is not None:
            count(until, "until", least=0)
        self.optimizer, self.every, self.share, self.until = optimizer, int(every), float(share), until
        self.steps = 0
        self._slow = [w.detach().clone() for w in self._fast()]
        self._attach()

    def _attach(self):
        sit_on(self.optimizer, self, self.optimizer.register_step_post_hook(self._follow))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy: its optimiser is a copy, too, which has lost its hooks."""
        self.__dict__.update(state)
        self._attach()

    def _fast(self):
        return [w for group in self.optimizer.param_groups for w in group["params"]]

    @torch.no_grad()
    def _follow(self, optimizer, args, kwargs):
        self.steps += 1
        if self.steps % self.every or (self.until is not None and self.steps > self.until):
            return
        fast = self._fast()
        self._slow += [w.detach().clone() for w in fast[len(self._slow):]]  # groups that came later
        torch._foreach_lerp_(self._slow, fast, self.share)
        torch._foreach_copy_(fast, self._slow)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "slow": [w.clone() for w in self._slow]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
        self._slow = [x.to(w, copy=True) for x, w in zip(state["slow"], self._fast(), strict=False)]  # as in `_follow`
