"""Makes a network's result independent of who shares the batch, bit for bit, on a CPU.

Measured (PERFORMANCE.md 1.1): with fp32 on a CPU three kinds of layer depend on the batch.
``conv2d`` takes another algorithm for one sample than for several, and ``linear`` other ones for
few rows than for many. So a lone sample is convolved as one of a pair where that matters, and
products of few rows are padded. SiLU, sigmoid and tanh-GELU round
the last elements beyond a multiple of 32 by scalar code, the others by vector code: they are padded
so that no element is ever last. Everything else (attention, norms, upsampling) was equal at every
batch size tried.

Kernels differ between machines, so none of this is assumed: each convolution compares the two
ways once per shape and keeps samples apart where they differ, and :func:`shared_rows` does the
same for the network as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

T = TypeVar("T")

MIN_ROWS = 32
"""Rows from which a matrix product no longer depends on their number: measured, 4 with AVX2 and 16
with AVX-512 (MKL 2024.2, 1 to 8,192 terms a product); 32 leaves a margin."""

LANES = 64
"""Elements that vector code handles at a time: 32 where measured (AVX2), 64 with AVX-512."""


class ExactConv2d(nn.Conv2d):
    """A convolution in which what a sample gets never depends on the others.

    Each sample's result is by definition that of :meth:`_alone`; a batch is convolved at once
    where a probe has shown that it gives the same bits.
    """

    _paired: dict[tuple[int, ...], bool]
    _shared: dict[tuple[int, ...], bool]

    def forward(self, input: Tensor) -> Tensor:
        """``[B, C, H, W] -> [B, C', H', W']``, equal to B calls with one sample each."""
        shape = tuple(input.shape)
        if shape[1:] not in self._paired or shape not in self._shared:
            self._probe(input)
        if shape[0] == 1:
            return self._alone(input)
        if self._shared[shape]:
            return super().forward(input)
        return self._apart(input)

    def _alone(self, sample: Tensor) -> Tensor:
        """One sample's result; computed in a pair where that is what larger batches agree with."""
        if self._paired[tuple(sample.shape[1:])]:
            return super().forward(torch.cat([sample, torch.zeros_like(sample)]))[:1]
        return super().forward(sample)

    def _apart(self, input: Tensor) -> Tensor:
        return torch.cat([self._alone(input[i : i + 1]) for i in range(input.shape[0])])

    def _probe(self, like: Tensor) -> None:
        """Finds out, on noise of the same shape, which ways of computing give the same bits."""
        shape = tuple(like.shape)
        noise = torch.randn(
            max(2, shape[0]), *shape[1:], generator=torch.Generator().manual_seed(0)
        )
        noise = noise.to(like)
        run = super().forward
        if shape[1:] not in self._paired:
            self._paired[shape[1:]] = not torch.equal(run(noise[:1]), run(noise[:2])[:1])
        self._shared[shape] = torch.equal(run(noise), self._apart(noise))


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


class ExactSiLU(nn.SiLU):
    """SiLU by vector code throughout, however many elements there are."""

    def forward(self, input: Tensor) -> Tensor:
        """Element by element, each the same wherever it stands."""
        return _unended(super().forward, input)


class ExactGELU(nn.GELU):
    """GELU by vector code throughout, however many elements there are."""

    def forward(self, input: Tensor) -> Tensor:
        """Element by element, each the same wherever it stands."""
        return _unended(super().forward, input)


def _unended(run: Callable[[Tensor], Tensor], input: Tensor) -> Tensor:
    """Runs an element-wise function over whole vectors: in one row, padded at its end.

    In one row, because a slice (half of a gated layer, say) is otherwise computed row by row, each
    with an end of its own.
    """
    count = input.numel()
    if count % LANES == 0 and input.is_contiguous():
        return run(input)  # as it is: one row, and no end
    flat = input.reshape(count)
    if count % LANES:
        flat = functional.pad(flat, (0, LANES - count % LANES))
    return run(flat)[:count].reshape(input.shape)


_EXACT: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: ExactConv2d,
    nn.Linear: ExactLinear,
    nn.SiLU: ExactSiLU,
    nn.GELU: ExactGELU,
}


def make_exact(module: Any) -> None:
    """Turns each plain convolution, linear layer and activation in ``module`` into its exact kind.

    In place and without touching weights, so saving, loading and ``isinstance`` checks still
    work. Subclasses (quantised layers, adapters) are left alone: they have their own forward.
    """
    for child in module.modules():
        kind = _EXACT.get(type(child))
        if kind is None:
            continue
        child.__class__ = kind
        if kind is ExactConv2d:
            child._paired, child._shared = {}, {}


def shared_rows(
    forward: Callable[[Sequence[T]], list[Tensor]], rows: Sequence[T]
) -> tuple[list[Tensor], bool]:
    """Runs ``forward`` for all rows at once and again one by one, and compares.

    ``forward(rows)`` returns one output a row. Returns the row-by-row results, which are right by
    construction, and whether sharing gave the same bits (so that it may be trusted for rows of
    these shapes from now on).
    """
    together = forward(rows)
    apart = [out for row in rows for out in forward([row])]
    return apart, all(map(torch.equal, together, apart))
