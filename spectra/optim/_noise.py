"""What a batch says of the noise in its curvature.

Two sets of n and m samples have curvatures C_1 and C_2. For a probe v of independent signs, d = (C_1 - C_2) v and
h = (n C_1 + m C_2) v / (n + m), and S the variance that one sample has, summed over all elements,

    E ||d||^2 = (1/n + 1/m) S,        E v'h = tr C,        E ||h||^2 = ||C||_F^2 + S / (n + m).

A batch of B samples has S / B, and s = S / (B P). The probe is most of the spread, not the data.

Reference: damping paper, Algorithm 1, as corrected in docs/errata.md; for whole data sets `nn.curvature_variance`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from spectra.nn._data import batch_size
from spectra.optim._batch_loss import BatchLoss, products, rows_of

_BYTES = 1 - 2 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32)


class Compared(NamedTuple):
    """Losses of two sets of samples, how many each has, and the outputs that the losses are functions of."""

    losses: list[torch.Tensor]
    outputs: list[torch.Tensor]
    sizes: tuple[int, int]


class Noise(NamedTuple):
    """S, tr C and ||C||_F^2, each in its shares of the parameter tensors; the last two where asked for."""

    per_sample: np.ndarray
    trace: np.ndarray | None
    square: np.ndarray | None


def split(loss: BatchLoss, batch, chunks: int, samples: int | None, generator) -> Iterator[Compared]:
    """The random halves of each of so many chunks of a batch, of at most so many samples; odd ones are left out."""
    n = batch_size(batch)
    for chunk in torch.from_numpy(generator.permutation(n)).tensor_split(min(chunks, n // 2)):
        rows = chunk[: min(len(chunk), samples or n) // 2 * 2]
        whole = len(rows) == n
        halves = (rows if whole else torch.arange(len(rows))).chunk(2)
        yield Compared(*loss.parts(batch if whole else rows_of(batch, rows), halves), (len(rows) // 2,) * 2)


def pair(loss: BatchLoss, before, batch) -> Iterator[Compared]:
    """Two batches, whole."""
    yield Compared(*loss.wholes([before, batch]), (batch_size(before), batch_size(batch)))


def noise(compared, params, *, curvature: str, moments: bool, generator) -> Noise:
    """Mean of the estimates from each comparison, each with a probe of its own."""
    found = [_estimate(one, params, curvature, moments, generator) for one in compared]
    return Noise(*(None if x[0] is None else np.mean(x, 0) for x in zip(*found, strict=True)))


def _estimate(compared: Compared, params, curvature, moments, generator) -> Noise:
    (one, other), (n, m) = compared.losses, compared.sizes
    v = signs(generator, sum(w.numel() for w in params), params[0])
    wanted = [one - other] + ([(n * one + m * other) / (n + m)] if moments else [])
    found = products(wanted, compared.outputs, params, v, curvature)
    per_sample = _dots(found[0], found[0]) / (1 / n + 1 / m)
    if not moments:
        return Noise(per_sample, None, None)
    probe = [x.view_as(w) for x, w in zip(v.split([w.numel() for w in params]), params, strict=True)]
    return Noise(per_sample, _dots(probe, found[1]), _dots(found[1], found[1]) - per_sample / (n + m))


def signs(generator: np.random.Generator, size: int, like: torch.Tensor) -> torch.Tensor:
    """The probe of `spectra._arrays.signs`, by a table of what each byte means: it is drawn every few steps."""
    drawn = np.frombuffer(generator.bytes((size + 7) // 8), np.uint8)
    return torch.from_numpy(np.take(_BYTES, drawn, axis=0).reshape(-1)[:size]).to(like)


def _dots(first, second) -> np.ndarray:
    kind = torch.promote_types(first[0].dtype, torch.float32)
    dots = [torch.dot(a.reshape(-1).to(kind), b.reshape(-1).to(kind)) for a, b in zip(first, second, strict=True)]
    return torch.stack(dots).double().cpu().numpy()
