"""Images and text as float32 tensors, drawn and normalised the same way every time."""

from typing import NamedTuple

import numpy as np
import torch

from spectra import datasets

ALIASES = {"cifar10": "cifar10-4000"}  # lossless, but few; "cifar10-jpeg" has all images, a little blurred
WINDOW = 32  # tokens of text in a sample


class Split(NamedTuple):
    """Training and test data, each a pair of inputs and targets."""

    train: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]
    shape: dict
    """Arguments for `networks.build`: classes, channels, size."""


def load(name, train=None, test=None, seed=0):
    """A data set of `spectra.datasets`: `train` and `test` samples of it, or all, drawn by the seed.

    Images become (samples, channels, height, width), of mean 0 and variance 1 by channel over the training samples.
    Text becomes (samples, 32) numbers of words or characters, with the next ones as targets. Where no test data come
    with a set, a fifth of the training data is held out.
    """
    name = ALIASES.get(name, name)
    return LOADERS[datasets.info(name)["kind"]](name, train, test, np.random.default_rng(seed))


def batches(xy, size):
    """A list of batches (x, y) in order, for the operators of `spectra.nn`."""
    return list(zip(*(tensor.split(size) for tensor in xy), strict=True))


def _images(name, train, test, rng):
    x, y = _grids(datasets.load(name, split="train"))
    if "test" in datasets.info(name)["splits"]:
        held = _grids(datasets.load(name, split="test"))
    else:
        order, last = rng.permutation(len(x)), len(x) // 5
        held, (x, y) = (x[order[:last]], y[order[:last]]), (x[order[last:]], y[order[last:]])
    shape = {"classes": int(y.max()) + 1, "channels": x.shape[1], "size": x.shape[2]}
    (x, y), held = _drawn((x, y), train, rng), _drawn(held, test, rng)
    mean, std = x.mean((0, 2, 3)), x.std((0, 2, 3))

    def finished(x, y):
        normal = (x - mean[:, None, None]) / std[:, None, None]
        return torch.from_numpy(normal.astype(np.float32)), torch.from_numpy(y.astype(np.int64))

    return Split(finished(x, y), finished(*held), shape)


def _grids(images):
    """Images as (samples, channels, height, width)."""
    x, y = np.asarray(images.X), np.asarray(images.y)
    if x.ndim == 2:
        side = round(x.shape[1] ** 0.5)
        x = x.reshape(-1, side, side)
    return (x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)), y


def _text(name, train, test, rng):
    info = datasets.info(name)
    tokens = [_tokens(datasets.load(name, split=split), info["unit"]) for split in info["splits"]]
    if len(tokens) == 1:
        cut = len(tokens[0]) * 4 // 5
        tokens = [tokens[0][:cut], tokens[0][cut:]]
    known = {token: k for k, token in enumerate(sorted(set(tokens[0]) | set(tokens[-1])))}
    parts = [_windows(np.array([known[token] for token in part])) for part in (tokens[0], tokens[-1])]
    shape = {"classes": len(known), "channels": 1, "size": WINDOW}
    drawn = (_drawn(part, count, rng) for part, count in zip(parts, (train, test), strict=True))
    return Split(*(tuple(map(torch.from_numpy, part)) for part in drawn), shape)


def _tokens(text, unit):
    return list(text) if unit == "characters" else text.replace("\n", " <eos> ").split()


def _windows(numbers):
    """Samples of consecutive tokens, each with the token after it as its target."""
    count = (len(numbers) - 1) // WINDOW
    return numbers[: count * WINDOW].reshape(count, WINDOW), numbers[1 : count * WINDOW + 1].reshape(count, WINDOW)


def _drawn(xy, count, rng):
    """`count` samples, or all, in an order drawn at random: some sets are sorted by class."""
    total = len(xy[0])
    if count is not None and not 1 <= count <= total:
        raise ValueError(f"expected between 1 and {total} samples, found {count}")
    rows = rng.permutation(total)[:count]
    return tuple(part[rows] for part in xy)


LOADERS = {"images": _images, "text": _text}
