"""The starter upscaler: twice the sides, by a small residual network, and where its file is.

The generator adds a learned residual to the picture enlarged by repeating pixels. Its state dict
has the keys of the compact super-resolution networks that ``spandrel`` knows ("RealESRGAN
Compact"), so the shipped file is loaded the same way as any downloaded upscaler and nothing in the
engine is special about it. Four times is the network applied twice.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

WEIGHTS = Path(__file__).parent / "upscaler" / "starter-2x.safetensors"
"""The shipped file, float16."""

SCALE = 2
WIDTH, DEPTH = 48, 10
"""Channels of the inner layers, and how many 3 x 3 convolutions lie between first and last."""


class Generator(nn.Module):
    """Pictures ``[n, 3, h, w]`` in 0 to 1 to ``[n, 3, 2 h, 2 w]``, not clamped."""

    def __init__(self, width: int = WIDTH, depth: int = DEPTH, scale: int = SCALE) -> None:
        super().__init__()
        self.scale = scale
        channels = [3, *[width] * (depth + 1)]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.PReLU(after)]
        layers.append(nn.Conv2d(width, 3 * scale * scale, 3, padding=1))
        self.body = nn.ModuleList(layers)

    def forward(self, pictures: Tensor) -> Tensor:
        """The enlarged pictures."""
        inner = pictures
        for layer in self.body:
            inner = layer(inner)
        residual = F.pixel_shuffle(inner, self.scale)
        return residual + F.interpolate(pictures, scale_factor=self.scale, mode="nearest")


class Discriminator(nn.Module):
    """Judges 32 x 32 px neighbourhoods: ``[n, 3, h, w]`` to a map of scores, real above fake.

    Spectral normalisation (Miyato et al. 2018, arXiv 1802.05957) keeps it from running away from
    a generator this small. ``features`` also serve as the space in which pictures are compared.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        sizes = ((3, width, 1), (width, width, 2), (width, 2 * width, 1), (2 * width, 2 * width, 2))
        norm = nn.utils.parametrizations.spectral_norm
        self.features = nn.ModuleList(
            nn.Sequential(norm(nn.Conv2d(before, after, 3, stride, padding=1)), nn.LeakyReLU(0.2))
            for before, after, stride in sizes
        )
        self.score = norm(nn.Conv2d(2 * width, 1, 3, padding=1))

    def forward(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores, and the features after each layer."""
        kept = []
        inner = pictures * 2 - 1
        for layer in self.features:
            inner = layer(inner)
            kept.append(inner)
        return self.score(inner), kept
