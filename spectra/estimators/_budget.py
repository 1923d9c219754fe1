"""How much may be spent: `matvecs` in all, `probes` x `steps`, or what a tolerance needs; and what was reached."""

from __future__ import annotations

from dataclasses import dataclass, replace

from spectra.results import Estimate

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
        What was given; with both, the shape of the run is fixed, and preliminaries come on top of it.
    rtol : float or None
        Relative tolerance asked for at 95 %, bias included.
    spent : int
        Products already spent before the method began.
    capped : bool
        Whether the caller gave `matvecs`.
    """

    matvecs: int
    probes: int | None
    steps: int | None
    rtol: float | None
    spent: int = 0
    capped: bool = False

    def less(self, products: int, purpose: str) -> Budget:
        """The budget after `products` were spent on `purpose`; a fixed shape is run as it was asked for.

        Raises
        ------
        ValueError
            If nothing is left.
        """
        if self.probes and self.steps:
            return replace(self, spent=self.spent + products)
        if products >= self.matvecs:
            raise ValueError(f"a budget of {self.matvecs} products leaves none after the {products} that {purpose}; "
                             "allow more")
        return replace(self, matvecs=self.matvecs - products, spent=self.spent + products)

    @property
    def nominal(self) -> int:
        """Products it is expected to take, against which exact methods are weighed."""
        return min(self.matvecs, DEFAULT_MATVECS) if self.rtol is not None else self.matvecs

    def shape(self, beside: int = 0) -> tuple[int, int] | None:
        """(probes, steps) if either was given; `beside` more runs of as many steps fit the budget with them.

        Raises
        ------
        ValueError
            If not even one probe, or one step, fits.
        """
        if not (self.probes or self.steps):
            return None
        probes = self.probes or max(self.matvecs // self.steps - beside, 1)
        steps = self.steps or max(self.matvecs // (probes + beside), 1)
        if not (self.probes and self.steps) and (probes + beside) * steps > self.matvecs:
            raise ValueError(f"{probes + beside} runs of {steps} steps need more than the {self.matvecs} products "
                             "left; raise matvecs")
        return probes, steps


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
    require_tolerance(rtol)
    if rtol is not None and (probes or steps):
        raise ValueError("rtol chooses probes and steps itself; give it alone, or with matvecs as a cap")
    if matvecs is not None and probes and steps:
        raise ValueError(f"give matvecs, or probes and steps, not all three (probes x steps = {probes * steps})")
    probes, steps = (None if count is None else int(count) for count in (probes, steps))
    capped = matvecs is not None
    if rtol is None and not capped and (probes or steps):
        probes, steps = probes or 16, steps or 64
        matvecs = probes * steps
    if matvecs is None:
        matvecs = CAP if rtol is not None else DEFAULT_MATVECS
    return Budget(int(matvecs), probes, steps, rtol, capped=capped)


def require_tolerance(rtol: float | None, meaning: str = "1e-3 asks for three digits") -> None:
    """Refuse a tolerance that does not lie in (0, 1)."""
    if rtol is not None and not 0 < rtol < 1:
        raise ValueError(f"rtol must lie between 0 and 1, found {rtol!r}; {meaning}")


def bias_width(estimate: Estimate) -> float:
    """How far the bias bracket reaches from 0."""
    return 0.0 if estimate.bias is None else float(max(abs(end) for end in estimate.bias))


def reached(estimate: Estimate, offset: float = 0.0) -> float:
    """Half the width of the 95 % interval, bias included, relative to the value and a known part of it, `offset`."""
    value = abs(estimate.value + offset)
    half = float(estimate.half_width()) + bias_width(estimate)
    return half / value if value else (float("inf") if half else 0.0)
