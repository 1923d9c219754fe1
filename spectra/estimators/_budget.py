"""How much may be spent: `matvecs` in all, or `probes` x `steps`, or whatever a tolerance needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

DEFAULT_MATVECS = 1500
CAP = 20_000


@dataclass(frozen=True)
class Budget:
    """A budget, checked.

    Attributes
    ----------
    matvecs : int
        Products allowed in all; with a tolerance, the cap.
    probes, steps : int or None
        Fixed shape of the run, if both were given.
    rtol : float or None
        Relative tolerance asked for at 95 %, bias included.
    spent : int
        Products already spent before the method began.
    """

    matvecs: int
    probes: int | None
    steps: int | None
    rtol: float | None
    spent: int = 0

    def less(self, products: int, purpose: str) -> Budget:
        """The budget after `products` were spent on `purpose`; a fixed shape is run as it was asked for.

        Raises
        ------
        ValueError
            If nothing is left.
        """
        if self.shape:
            return replace(self, spent=self.spent + products)
        if products >= self.matvecs:
            raise ValueError(f"a budget of {self.matvecs} products leaves none after the {products} that {purpose}; "
                             "allow more")
        return replace(self, matvecs=self.matvecs - products, spent=self.spent + products)

    @property
    def nominal(self) -> int:
        """Products it is expected to take, against which exact methods are weighed."""
        return min(self.matvecs, DEFAULT_MATVECS) if self.rtol is not None else self.matvecs

    @property
    def shape(self) -> tuple[int, int] | None:
        """(probes, steps), if fixed."""
        return (self.probes, self.steps) if self.probes and self.steps else None


def budget(matvecs=None, probes=None, steps=None, rtol=None) -> Budget:
    """Check the four ways to ask and settle on one.

    Raises
    ------
    ValueError
        If a count is not a positive integer, the tolerance does not lie in (0, 1), or the demands contradict each
        other.
    """
    for name, count in (("matvecs", matvecs), ("probes", probes), ("steps", steps)):
        if count is not None and (int(count) != count or count < 1):
            raise ValueError(f"{name} must be a positive integer, found {count!r}")
    if rtol is not None and not 0 < rtol < 1:
        raise ValueError(f"rtol must lie between 0 and 1, found {rtol!r}; 1e-3 asks for three digits")
    if rtol is not None and (probes or steps):
        raise ValueError("rtol chooses probes and steps itself; give it alone, or with matvecs as a cap")
    if matvecs is not None and probes and steps:
        raise ValueError(f"give matvecs, or probes and steps, not all three (probes x steps = {probes * steps})")
    if rtol is None and matvecs is None and (probes or steps):
        probes, steps = probes or 16, steps or 64
        matvecs = probes * steps
    elif matvecs is not None and (probes or steps):
        probes = probes or max(matvecs // steps, 1)
        steps = steps or max(matvecs // probes, 1)
        if probes * steps > matvecs:
            raise ValueError(f"{probes} probes x {steps} steps need more than the {matvecs} products allowed")
    if matvecs is None:
        matvecs = CAP if rtol is not None else DEFAULT_MATVECS
    return Budget(int(matvecs), probes, steps, rtol)
