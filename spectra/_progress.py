"""Progress of a long call: nothing, a bar on standard error, or the caller's own function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["track"]


@contextmanager
def track(
    progress: bool | Callable[[int, int], object], total: int, label: str = ""
) -> Iterator[Callable[..., object]]:
    """Yield ``advance(n=1)``, to be called as work is done.

    Parameters
    ----------
    progress : bool or callable
        False does nothing; True draws a tqdm bar on standard error; a callable receives ``(done, total)`` after
        every step.
    total : int
        Units of work expected.
    label : str
        What the bar calls the work.

    Examples
    --------
    >>> seen = []
    >>> with track(lambda done, total: seen.append((done, total)), 3, "products") as advance:
    ...     advance(2)
    ...     advance()
    >>> seen
    [(2, 3), (3, 3)]
    """
    if callable(progress):
        yield _report(progress, total)
    elif progress:
        from tqdm import tqdm

        with tqdm(total=total, desc=label or None) as bar:  # standard error is tqdm's default
            yield bar.update
    else:
        yield _ignore


def _ignore(n: int = 1) -> None:
    """Work was done and nobody asked."""


def _report(progress: Callable[[int, int], object], total: int) -> Callable[..., None]:
    done = 0

    def advance(n: int = 1) -> None:
        nonlocal done
        done += n
        progress(done, total)

    return advance
