"""The networks of the experiments, for square images of up to 32 pixels, and a transformer that reads text.

    logistic, mlp, cnn, transformer      small
    vgg16, vgg16bn                       Simonyan and Zisserman, arXiv 1409.1556; the usual small head for CIFAR
    preresnet110                         He et al., arXiv 1603.05027: pre-activation, basic blocks
    wrn28x10                             Zagoruyko and Komodakis, arXiv 1605.07146

`build` gives a network its recipe, a dictionary of its own arguments, so that a checkpoint can build it again.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


def build(name, classes=10, channels=1, size=28, seed=0):
    """A network by its name, with weights that depend on the seed alone."""
    if name not in NETWORKS:
        raise ValueError(f"expected a network among {sorted(NETWORKS)}, found {name!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NETWORKS[name](classes, channels, size)
    model.recipe = {"name": name, "classes": classes, "channels": channels, "size": size, "seed": seed}
    return model


def parameters(model):
    """How many numbers the network learns."""
    return sum(w.numel() for w in model.parameters() if w.requires_grad)


def logistic(classes, channels, size):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, classes))


def mlp(classes, channels, size, widths=(1024, 512)):
    """Two hidden layers; 1.33 million parameters on images of 28 x 28."""
    sizes = [channels * size * size, *widths]
    layers = [layer for a, b in zip(sizes, widths, strict=False) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], classes))


def cnn(classes, channels, size):
    """Three convolutions without normalisation; 0.11 million parameters."""
    layers, width = [], channels
    for filters in (32, 64, 128):
        layers += [nn.Conv2d(width, filters, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
        width = filters
    side = math.ceil(size / 8)
    return _he(nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * side * side, classes)))


def vgg16(classes, channels, size, norm=False):
    """Thirteen convolutions and two hidden layers. Pools round up, so that 28 pixels shrink to one as 32 do."""
    layers, width = [], channels
    for filters in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if filters == 0:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            continue
        layers += [nn.Conv2d(width, filters, 3, padding=1), *([nn.BatchNorm2d(filters)] if norm else []), nn.ReLU()]
        width = filters
    head = [nn.Flatten(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, classes)]
    return _he(nn.Sequential(*layers, *head))


def vgg16bn(classes, channels, size):
    return vgg16(classes, channels, size, norm=True)


def preresnet110(classes, channels, size):
    return _he(ResNet(classes, channels, widths=(16, 32, 64), blocks=18))


def wrn28x10(classes, channels, size):
    return _he(ResNet(classes, channels, widths=(160, 320, 640), blocks=4))


class Block(nn.Module):
    """Normalise, activate, convolve, twice, and add; where the shape changes the activated input is projected."""

    def __init__(self, width, filters, stride):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(filters)
        self.conv1 = nn.Conv2d(width, filters, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.shortcut = None if width == filters and stride == 1 else nn.Conv2d(width, filters, 1, stride, bias=False)

    def forward(self, x):
        active = F.relu(self.norm1(x))
        y = self.conv2(F.relu(self.norm2(self.conv1(active))))
        return y + (x if self.shortcut is None else self.shortcut(active))


class ResNet(nn.Module):
    """Three groups of pre-activation blocks, the second and the third on half the pixels."""

    def __init__(self, classes, channels, widths, blocks):
        super().__init__()
        layers, width = [nn.Conv2d(channels, 16, 3, padding=1, bias=False)], 16
        for group, filters in enumerate(widths):
            for k in range(blocks):
                layers.append(Block(width, filters, stride=2 if group > 0 and k == 0 else 1))
                width = filters
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def transformer(classes, channels, size, patch=4, width=64):
    """Patches of 4 x 4 pixels as tokens; classes from their mean."""
    tokens = math.ceil(size / patch) ** 2
    return Transformer(Patches(channels, patch, size, width), nn.Linear(width, classes), tokens, width, blocks=2)


def transformer_text(classes, channels, size, width=64):
    """Of `size` tokens each predicts the next among `classes`; outputs (samples, classes, size)."""
    return Transformer(nn.Embedding(classes, width), nn.Linear(width, classes), size, width, blocks=2, text=True)


class Patches(nn.Module):
    def __init__(self, channels, patch, size, width):
        super().__init__()
        self.missing = -size % patch
        self.project = nn.Conv2d(channels, width, patch, stride=patch)

    def forward(self, x):
        x = F.pad(x, (0, self.missing, 0, self.missing))
        return self.project(x).flatten(2).transpose(1, 2)


class Transformer(nn.Module):
    """Embed, add positions, attend, and read the classes: of the mean token, or of each token of a text."""

    def __init__(self, embed, head, tokens, width, blocks, text=False):
        super().__init__()
        self.embed, self.head, self.text = embed, head, text
        self.positions = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.blocks = nn.Sequential(*[Attention(width, causal=text) for _ in range(blocks)], nn.LayerNorm(width))

    def forward(self, x):
        x = self.embed(x)
        x = self.blocks(x + self.positions[: x.shape[1]])
        return self.head(x).transpose(1, 2) if self.text else self.head(x.mean(1))


class Attention(nn.Module):
    """A pre-norm transformer block: attention of four heads, then two linear layers."""

    def __init__(self, width, heads=4, causal=False):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


def _he(model):
    """He's initialisation of all convolutions, without which deep networks of ReLU do not start to learn."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


NETWORKS = {"logistic": logistic, "mlp": mlp, "cnn": cnn, "vgg16": vgg16, "vgg16bn": vgg16bn,
            "preresnet110": preresnet110, "wrn28x10": wrn28x10, "transformer": transformer,
            "transformer-text": transformer_text}
