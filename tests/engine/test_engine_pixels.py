"""Cropping, hashing, checking and the linear preview."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from worker.engine.errors import BadPicture
from worker.engine.runners import pixels


@pytest.mark.parametrize(("side", "factor", "cells"), [(64, 8, 8), (72, 16, 5), (8, 16, 1)])
def test_grid_rounds_up(side: int, factor: int, cells: int) -> None:
    assert pixels.grid(side, factor) == cells


def test_crop_takes_the_middle() -> None:
    image = Image.fromarray(np.arange(10 * 10 * 3, dtype=np.uint8).reshape(10, 10, 3), "RGB")
    cut = pixels.crop_centre(image, 6, 4)
    assert cut.size == (6, 4)
    assert np.array_equal(np.asarray(cut), np.asarray(image)[3:7, 2:8])
    assert pixels.crop_centre(image, 10, 10) is image


def test_digest_is_of_the_pixels() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    assert pixels.digest(image) == hashlib.sha256(bytes([1, 2, 3, 1, 2, 3])).hexdigest()


def test_nan_and_flat_are_refused() -> None:
    good = torch.rand(1, 3, 8, 8) * 2 - 1
    assert pixels.finished(good).size == (8, 8)
    holed = good.clone()
    holed[0, 1, 2, 3] = float("nan")
    for bad in (holed, good.clone().fill_(float("inf")), torch.zeros(1, 3, 8, 8)):
        with pytest.raises(BadPicture):
            pixels.finished(bad)


def test_the_fit_finds_a_linear_decoder() -> None:
    """A decoder that is linear per cell is recovered exactly, and previewed as it would decode."""
    mix = torch.randn(3, 4, generator=torch.Generator().manual_seed(5)) * 0.2

    def decode(latents: torch.Tensor) -> torch.Tensor:
        colours = torch.einsum("rc,nchw->nrhw", mix, latents) + 0.1
        return colours.repeat_interleave(8, 2).repeat_interleave(8, 3)

    factors = pixels.fit_linear(decode, 4)
    assert torch.allclose(factors[:4], mix.T, atol=1e-4)
    assert torch.allclose(factors[4], torch.full((3,), 0.1), atol=1e-4)

    class Vae(torch.nn.Module):
        config = type("Config", (), {"latent_channels": 4})
        big = torch.nn.Parameter(torch.zeros(2_000_001))

        def __init__(self) -> None:
            super().__init__()
            self.weight = self.big

    preview = pixels.previewer(Vae(), decode, 4)(torch.randn(1, 4, 4, 8))
    assert preview.size == (128, 64)
