"""Attention for answers that share a pass: rows side by side, each looking at its own lane only.

The tokens of all answers lie behind one another in one row of the model, so that every linear
layer, norm and activation serves all of them at once; only attention is split. Each answer keeps
its keys and values in a :class:`Lane`, and what it attends to is one call of torch's scaled dot
product whose shape depends on the answer alone. So an answer joins at any token, leaves at any
token, and never sees a neighbour, not even in its last bit.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface

NAME = "atelier_lanes"
"""What a model's configuration calls this attention."""
_UNKNOWN = ("softcap", "s_aux", "position_bias")
"""Attention with these needs more than a scaled dot product: such a model is stepped alone."""


class Unshareable(Exception):
    """This model's attention cannot be split into lanes."""


class Lane:
    """Keys and values of one answer: per layer ``[heads, room, width]``, filled from the left."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def write(self, layer: int, at: int, key: Tensor, value: Tensor) -> None:
        """Keeps ``[heads, n, width]`` from position ``at`` on; writing twice is fine."""
        if layer not in self.layers:
            self.layers[layer] = (
                key.new_zeros(key.shape[0], self.room, key.shape[2]),
                value.new_zeros(value.shape[0], self.room, value.shape[2]),
            )
        keys, values = self.layers[layer]
        keys[:, at : at + key.shape[1]] = key
        values[:, at : at + value.shape[1]] = value

    def cut(self, start: int, stop: int) -> dict[int, tuple[Tensor, Tensor]]:
        """A copy of the positions from ``start`` to ``stop``."""
        return {
            layer: (keys[:, start:stop].clone(), values[:, start:stop].clone())
            for layer, (keys, values) in self.layers.items()
        }

    def paste(self, at: int, piece: dict[int, tuple[Tensor, Tensor]]) -> None:
        """Puts back what :meth:`cut` took, from any lane, at position ``at``."""
        for layer, (keys, values) in piece.items():
            self.write(layer, at, keys, values)


@dataclass(slots=True)
class Rows:
    """One answer's part of a pass: rows ``start`` to ``stop``, its positions from ``at`` on."""

    lane: Lane
    start: int
    stop: int
    at: int


@lru_cache(maxsize=16)  # as many as one pass uses, layer after layer: late ones are megabytes
def _mask(count: int, at: int, groups: int, window: int, device: str) -> Tensor:
    """``[groups * count, at + count]``: what each of ``count`` new tokens may look at."""
    new = torch.arange(at, at + count, device=device)[:, None]
    old = torch.arange(at + count, device=device)[None, :]
    seen = old <= new
    if window:
        seen &= old > new - window
    return seen.repeat(groups, 1)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    lanes: Sequence[Rows] = (),
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """The attention transformers calls: ``[1, heads, rows, width]`` to ``[1, rows, heads, width]``.

    Rows that belong to no lane are padding; they get zeros.
    """
    if any(more.get(name) is not None for name in _UNKNOWN):
        raise Unshareable(type(module).__name__)
    if not lanes:
        raise RuntimeError("this model belongs to a chat runner; share its weights, not the module")
    heads, width = key.shape[1], value.shape[3]
    groups = query.shape[1] // heads
    scale = 1 / math.sqrt(query.shape[3]) if scaling is None else scaling
    out = query.new_zeros(query.shape[2], query.shape[1], width)
    for rows in lanes:
        count = rows.stop - rows.start
        rows.lane.write(
            module.layer_idx, rows.at, key[0, :, rows.start : rows.stop],
            value[0, :, rows.start : rows.stop],
        )  # fmt: skip
        keys, values = rows.lane.layers[module.layer_idx]
        until = rows.at + count
        window = sliding_window or 0
        # A new token looks back at no more than the window; a chunk at the window of its first.
        since = max(0, rows.at + 1 - window) if window else 0
        mask = None
        if count > 1:
            mask = _mask(count, rows.at, groups, window, str(query.device))[:, since:]
        # The heads of a group share their keys: they go as rows of one product, uncopied.
        asked = query[0, :, rows.start : rows.stop].reshape(1, heads, groups * count, -1)
        found = functional.scaled_dot_product_attention(
            asked, keys[None, :, since:until], values[None, :, since:until], attn_mask=mask,
            scale=scale,
        )  # fmt: skip
        out[rows.start : rows.stop] = found.reshape(heads * groups, count, width).transpose(0, 1)
    return out[None], None


AttentionInterface.register(NAME, attend)


@dataclass
class Prefixes:
    """Keys and values of prompt beginnings that were read before, chunk by chunk.

    Only whole chunks on a fixed grid are kept, and only as reading a prompt computes them: what
    is reused is bit for bit what would be computed again. A conversation's next question finds
    its earlier turns here, and everybody finds the persona. The least recently used go first.
    """

    chunk: int
    budget: int
    """Bytes kept at most."""
    size: int = 0
    _kept: OrderedDict[bytes, tuple[int, dict[int, tuple[Tensor, Tensor]]]] = field(
        default_factory=OrderedDict
    )

    def name(self, before: bytes, tokens: Sequence[int]) -> bytes:
        """The name of a chunk: its tokens, and the name of the chunk before it."""
        return blake2b(before + b",".join(b"%d" % t for t in tokens), digest_size=16).digest()

    def get(self, name: bytes) -> dict[int, tuple[Tensor, Tensor]] | None:
        """The chunk of this name, or None."""
        found = self._kept.get(name)
        if found is None:
            return None
        self._kept.move_to_end(name)
        return found[1]

    def put(self, name: bytes, piece: dict[int, tuple[Tensor, Tensor]]) -> None:
        """Keeps a chunk and forgets the oldest until it fits."""
        if name in self._kept:
            return
        size = sum(t.numel() * t.element_size() for pair in piece.values() for t in pair)
        if size > self.budget:
            return
        self._kept[name] = (size, piece)
        self.size += size
        while self.size > self.budget:
            _, (gone, _) = self._kept.popitem(last=False)
            self.size -= gone

    def __len__(self) -> int:
        return len(self._kept)
