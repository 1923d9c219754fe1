"""Data enlarged by deterministic flips and shifted crops: a stand-in for the distribution the data were drawn from.

The Hessian of the loss over the distribution, the "true" Hessian, is out of reach; that over r augmented copies of the
data is nearer to it, and with ``q = P / (r N)`` below 1 it is in the regime where its noise is small.

Reference: true-Hessian paper, sections 4 and 5.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from spectra import _arrays


class Augmented:
    """Images with seeded flips and padded crops, repeated, as batches that are the same in every pass.

    Parameters
    ----------
    images : tensor, shape (N, channels, height, width)
    labels : tensor, shape (N, ...)
    copies : int
        r; the data are N r samples. The first copy is the data themselves, unless `original` is False.
    flip : bool
        Mirror left and right with chance 1/2.
    padding : int
        Shift by up to so many pixels both ways, zeros coming in.
    batch_size : int
    original : bool
        Whether the first copy stays as it is.
    rng : int, Generator or None

    Raises
    ------
    ValueError
        If there are no images of four axes, or not as many labels.

    Notes
    -----
    Batches are made as they are asked for: memory of one batch beside the images, and a few bytes for each sample.

    Examples
    --------
    >>> import torch, spectra.nn
    >>> data = spectra.nn.Augmented(torch.rand(10, 1, 4, 4), torch.zeros(10), copies=3, batch_size=8, rng=0)
    >>> len(data), data.samples, [len(x) for x, y in data]
    (4, 30, [8, 8, 8, 6])
    >>> all(torch.equal(x, again) for (x, _), (again, _) in zip(data, data))
    True
    """

    def __init__(self, images, labels, *, copies: int, flip: bool = True, padding: int = 4, batch_size: int = 128,
                 original: bool = True, rng=None):
        if images.dim() != 4 or len(labels) != len(images) or not len(images):
            raise ValueError(f"Augmented needs images (N, channels, height, width) and N labels, found "
                             f"{tuple(images.shape)} and {tuple(labels.shape)}")
        for name, value, least in (("copies", copies, 1), ("padding", padding, 0), ("batch_size", batch_size, 1)):
            if int(value) != value or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, found {value!r}")
        self.images, self.labels, self.batch_size = images, labels, int(batch_size)
        self.samples, self.padding = len(images) * int(copies), int(padding)
        generator, self.seed = _arrays.generator(rng)
        self._flips = torch.from_numpy(generator.random(self.samples) < 0.5 if flip else np.zeros(self.samples, bool))
        self._shifts = torch.from_numpy(generator.integers(0, 2 * self.padding + 1, (self.samples, 2)))
        if original:
            self._flips[: len(images)] = False
            self._shifts[: len(images)] = self.padding

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int):
        if not 0 <= index < len(self):
            raise IndexError(index)
        chosen = torch.arange(index * self.batch_size, min((index + 1) * self.batch_size, self.samples))
        source = (chosen % len(self.images)).to(self.images.device)
        x = self.images[source]
        x = torch.where(self._flips[chosen].to(x.device)[:, None, None, None], x.flip(-1), x)
        return self._cropped(x, self._shifts[chosen].to(x.device)), self.labels[source.to(self.labels.device)]

    def _cropped(self, x, shifts):
        if not self.padding:
            return x
        height, width = x.shape[-2:]
        padded = F.pad(x, (self.padding,) * 4)
        rows = shifts[:, :1] + torch.arange(height, device=x.device)
        columns = shifts[:, 1:] + torch.arange(width, device=x.device)
        each = torch.arange(len(x), device=x.device)[:, None, None]
        return padded.movedim(1, -1)[each, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()
