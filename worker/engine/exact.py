"""Makes a network's result independent of who shares the batch, bit for bit, on a CPU.

Measured (PERFORMANCE.md 1.1): with fp32 on a CPU only two kinds of layer depend on the batch.
``conv2d`` takes another algorithm for one sample than for several, and ``linear`` another one for
one, for two to three and for four or more rows. So convolutions run sample by sample, and
products of few rows are padded to eight. Everything else (attention, norms, activations,
upsampling) was equal at every batch size tried. Since kernels differ between machines,
:func:`shared_rows` checks the claim on the live batch before trusting it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MIN_ROWS = 8
"""Rows from which a matrix product no longer depends on their number (4 suffices where measured;
8 leaves a margin for kernels that work on tiles of eight)."""


class ExactConv2d(nn.Conv2d):
    """A convolution that runs sample by sample: what each sees never depends on the others."""

    def forward(self, input: Tensor) -> Tensor:
        """``[B, C, H, W] -> [B, C', H', W']``, equal to B calls with one sample each."""
        run = super().forward
        if input.shape[0] == 1:
            return run(input)
        return torch.cat([run(input[i : i + 1]) for i in range(input.shape[0])])


class ExactLinear(nn.Linear):
    """A linear layer whose rows are padded with zeros to :data:`MIN_ROWS` before the product."""

    def forward(self, input: Tensor) -> Tensor:
        """``[..., N] -> [..., M]``; the padding is cut off again."""
        rows = input.numel() // max(1, input.shape[-1])
        if rows >= MIN_ROWS or rows == 0:
            return super().forward(input)
        flat = input.reshape(rows, input.shape[-1])
        padded = functional.pad(flat, (0, 0, 0, MIN_ROWS - rows))
        out: Tensor = super().forward(padded)[:rows]
        return out.reshape(*input.shape[:-1], self.out_features)


_EXACT: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: ExactConv2d, nn.Linear: ExactLinear}


def make_exact(module: Any) -> None:
    """Turns every plain convolution and linear layer below ``module`` into its exact kind.

    In place and without touching weights, so saving, loading and ``isinstance`` checks still
    work. Subclasses (quantised layers, adapters) are left alone: they have their own forward.
    """
    for child in module.modules():
        kind = _EXACT.get(type(child))
        if kind is not None:
            child.__class__ = kind


def shared_rows(forward: Callable[[Sequence[int]], Tensor], rows: int) -> tuple[Tensor, bool]:
    """Runs ``forward`` for all rows at once and again one by one, and compares.

    ``forward(indices)`` returns one output row per index. Returns the row-by-row result, which is
    right by construction, and whether sharing gave the same bits (so that it may be trusted for
    this shape and number of rows from now on).
    """
    together = forward(range(rows))
    apart = torch.cat([forward([i]) for i in range(rows)])
    return apart, torch.equal(together, apart)
