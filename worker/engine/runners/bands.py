"""How many rows a matrix product may have so that one row's bits do not depend on the number.

A product of few rows and one of many take different kernels, and so do some numbers between:
``{1}, {2, 3}, {4 ...}`` on one processor, ``{1}, {2 ... 15}, {16 ...}`` on another (both
measured). Answers that share a pass keep their bits when every pass stays inside one such band:
a lone token is padded up to the band's lower end, and what is more than its upper end is split.

Activations depend on the number too: they are computed 32 numbers at a time, and what is left over
at the end of a block by a scalar that rounds otherwise. So rows are padded to a number whose block
has nothing left over, and the leftover falls into the padding.

Tokens being written and prompts being read each have their own band, because padding a lone
token to where prompts are read costs three times its time, and padding it to two rows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.engine.quantise import PackedLinear

MOST_LANES = 8
"""Answers written in one pass; more are split into several."""
MOST_READ = 256
"""Prompt tokens of all answers read in one pass."""
_READ_FROM = 16
_BLOCK = 32
"""Numbers that an activation computes at a time: two AVX-512 registers, four of AVX2."""
_SAMPLED = (17, 24, 31, 32, 33, 48, 64, 65, 100, 128, 192, 255)
"""Numbers of rows compared with ``MOST_READ``; kernels switch at small numbers and at tiles."""


@dataclass(frozen=True, slots=True)
class Band:
    """Numbers of rows from ``least`` to ``most`` between which a row's bits stay the same."""

    least: int
    most: int
    step: int = 1
    """The number has to be a multiple of this."""

    def padded(self, rows: int) -> int:
        """The number of rows to compute for so many."""
        return max(self.least, -(-rows // self.step) * self.step)

    @property
    def shared(self) -> bool:
        """Whether more than one row of interest fits."""
        return self.most > 1


@dataclass(frozen=True, slots=True)
class Bands:
    """The band for writing tokens and the band for reading prompts."""

    write: Band
    read: Band


def fixed(lanes: int, chunk: int) -> Bands:
    """Bands of one number each: every pass has the same shape, whoever is in it.

    For a GPU, where the kernel follows from the shape alone and rows do not look at each other.
    """
    return Bands(Band(lanes, lanes), Band(chunk, chunk))


def measure(layers: Iterable[nn.Module], head: nn.Module | None = None) -> Bands:
    """The bands of a network on this processor: what holds for each shape of its linear layers.

    No activation follows ``head``, the layer that scores words, so that its width is free.

    Takes a second for a model of 135 million parameters.
    """
    layers = list(layers)
    step = 1
    for layer in layers:
        if isinstance(layer, nn.Linear | PackedLinear) and layer is not head:
            step = max(step, _BLOCK // math.gcd(_BLOCK, layer.out_features))
    kinds = {
        (layer.out_features, layer.in_features, layer.weight.dtype): layer
        for layer in layers
        if isinstance(layer, nn.Linear | PackedLinear)
    }
    least = max((_write_from(layer.weight) for layer in kinds.values()), default=1)
    # The head scores one row an answer, however many were read.
    read = max((_read_from(x.weight) for x in kinds.values() if x is not head), default=1)
    most = MOST_LANES
    most -= most % step
    write = Band(least, most, step) if least <= most else Band(1, 1)
    return Bands(write, Band(read, MOST_READ, step))


def _rows(weight: Any, most: int) -> Callable[[int], Tensor]:
    """The product of the first so many of ``most`` rows of noise with a layer's weights."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(most, weight.shape[1], generator=generator).to(weight)
    return lambda count: functional.linear(noise[:count], weight)


def _write_from(weight: Any) -> int:
    """The smallest number of rows that gets the bits of ``MOST_LANES``."""
    rows = _rows(weight, MOST_LANES)
    most, least = rows(MOST_LANES), MOST_LANES
    while least > 1 and torch.equal(rows(least - 1), most[: least - 1]):
        least -= 1
    return least


def _read_from(weight: Any) -> int:
    """The smallest number of rows from which on the bits of ``MOST_READ`` are got."""
    rows = _rows(weight, MOST_READ)
    reference = rows(MOST_READ)

    def same(count: int) -> bool:
        return torch.equal(rows(count), reference[:count])

    if not all(map(same, (_READ_FROM, *_SAMPLED))):
        return MOST_READ
    least = _READ_FROM
    while least > 1 and same(least - 1):
        least -= 1
    return least
