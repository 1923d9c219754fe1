"""Packages that the library uses but does not need: imported when first used, or named with their extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["require"]


def require(module: str, extra: str, purpose: str) -> Any:
    """Import `module`, or say which extra of this library brings it.

    Examples
    --------
    >>> require("json", "all", "reading results").dumps([1])
    '[1]'
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        remedy = f"pip install 'spectra-operators[{extra}]'"
        raise ImportError(f"{purpose} needs {package}, which cannot be imported; install it with: {remedy}") from error
