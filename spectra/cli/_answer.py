"""What a command returns, and the words and pictures that several of them use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from spectra._optional import require
from spectra.results import Estimate, SpectralDensity

__all__ = ["Answer", "draw", "source", "with_error"]


class Answer(NamedTuple):
    """What a command found: for JSON, for people, and how to draw it into a file."""

    data: dict[str, Any]
    lines: list[str]
    draw: Callable[[str], None] | None = None


def source(rho: SpectralDensity) -> str:
    """Where a density comes from."""
    return f"{rho.probes} probe{'' if rho.probes == 1 else 's'}, {rho.matvecs} products, {rho.method}, seed {rho.seed}"


def with_error(estimate: Estimate) -> str:
    """Value, standard error and bias, without where they come from."""
    return repr(estimate).rpartition(" (")[0]


def draw(path: str, columns: int, size: tuple[float, float], fill: Callable, title: str) -> None:
    """Write a picture of one row of axes, which `fill` draws on."""
    pyplot = require("matplotlib.pyplot", "plot", "--plot")
    figure, axes = pyplot.subplots(1, columns, figsize=size, layout="constrained")
    try:
        fill(axes)
        figure.suptitle(title, fontsize=10)
        figure.savefig(path, dpi=150)
    finally:
        pyplot.close(figure)
