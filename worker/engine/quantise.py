"""Linear layers stored in 8 or 4 bits, made from full weights while a model is loaded.

The arithmetic is that of ggml's Q8_0 and Q4_0 (blocks of 32 weights with one half-precision scale;
8.5 and 4.5 bits a weight), which llama.cpp and GGUF files use. Only storage shrinks: a layer's
weights are unpacked for each product, so that any device can, at the price of that time.
Embeddings, norms, convolutions and the first and last projections stay as they are: they are
small, and pictures suffer most from them.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Precision = Literal["full", "8-bit", "4-bit"]
BLOCK = 32
"""Weights that share a scale."""

_WHOLE = ("embed", "norm", "proj_out", "final", "lm_head")
"""Parts of names of layers that stay full."""


class PackedLinear(nn.Linear):
    """A linear layer whose weight is unpacked when it is used.

    A linear layer to whoever asks (a LoRA is put on those), but without a parameter of its own.
    """

    packed: Tensor
    scales: Tensor

    def __init__(self, packed: Tensor, scales: Tensor, bias: Any, dtype: torch.dtype) -> None:
        nn.Module.__init__(self)  # not nn.Linear's, which would make a whole weight
        self.out_features = int(packed.shape[0])
        self.in_features = int(scales.shape[1]) * BLOCK
        self.dtype = dtype
        self.register_buffer("packed", packed)
        # As integers, so that nobody's ``.to(dtype)`` rounds them.
        self.register_buffer("scales", scales)
        self.bias = bias

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """``[out, in]``, unpacked now; what asks for its type or device gets the true one."""
        quarters = self.packed.shape[1] * 2 == self.in_features
        numbers = _nibbles(self.packed) if quarters else self.packed.view(torch.int8)
        exact = torch.float32 if self.dtype == torch.float32 else torch.float16
        blocks = numbers.view(self.out_features, -1, BLOCK).to(exact)
        whole = blocks * self.scales.view(torch.float16).to(exact)[..., None]
        return whole.view(self.out_features, self.in_features).to(self.dtype)

    def forward(self, input: Tensor) -> Tensor:
        """``[..., in] -> [..., out]``."""
        return functional.linear(input, self.weight, self.bias)


def _nibbles(packed: Tensor) -> Tensor:
    """Two numbers from -8 to 7 out of each byte, the low four bits first, a block at a time."""
    halves = packed.view(packed.shape[0], -1, BLOCK // 2)
    both = torch.cat([halves & 15, halves >> 4], dim=-1)
    return both.view(packed.shape[0], -1).to(torch.int8) - 8


def packed(weight: Tensor, precision: Precision) -> tuple[Tensor, Tensor]:
    """A weight ``[out, in]`` (``in`` a multiple of 32) as bytes and scales (fp16 seen as int16)."""
    rows = weight.shape[0]
    blocks = weight.float().reshape(rows, -1, BLOCK)
    if precision == "8-bit":
        scale = blocks.abs().amax(-1, keepdim=True) / 127
        numbers = torch.round(blocks / torch.where(scale == 0, 1, scale)).to(torch.int8)
        data = numbers.view(rows, -1).view(torch.uint8)
    else:
        # The largest by size keeps its sign: it becomes -8, the one end that is whole.
        most = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
        scale = most / -8
        numbers = torch.trunc(blocks / torch.where(scale == 0, 1, scale) + 8.5).clamp(0, 15)
        low, high = numbers.to(torch.uint8).chunk(2, dim=-1)
        data = (low | high << 4).reshape(rows, -1)
    return data.contiguous(), scale[..., 0].to(torch.float16).view(torch.int16).contiguous()


def shrink(model: Any, precision: Precision) -> int:
    """Packs the linear layers of a model in place; returns how many."""
    if precision == "full":
        return 0
    tied = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    made = 0
    for name, layer in list(model.named_modules()):
        if type(layer) is not nn.Linear or layer.in_features % BLOCK or id(layer.weight) in tied:
            continue
        if any(part in name for part in _WHOLE):
            continue
        data, scales = packed(layer.weight.detach(), precision)
        _put(model, name, PackedLinear(data, scales, layer.bias, layer.weight.dtype))
        made += 1
    return made


def share_packed(source: Any, other: Any, prefix: str = "") -> None:
    """Gives ``other`` the packed layers of ``source``: same bytes, modules of its own."""
    for name, layer in source.named_modules():
        if isinstance(layer, PackedLinear):
            twin = PackedLinear(layer.packed, layer.scales, layer.bias, layer.dtype)
            _put(other, prefix + name, twin)


def _put(model: Any, name: str, layer: nn.Module) -> None:
    place, _, last = name.rpartition(".")
    setattr(model.get_submodule(place), last, layer)
