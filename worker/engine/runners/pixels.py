"""From decoded tensors to pictures: rounding, cropping, checking, hashing and previews."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from worker.engine.errors import BadPicture

PREVIEW_SIDE = 128
"""Longest side of a preview in pixels."""


def digest(image: Image.Image) -> str:
    """SHA-256, in hex, of an RGB picture's uint8 pixels row by row."""
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()


def grid(side: int, factor: int) -> int:
    """Latent cells that cover ``side`` pixels at ``factor`` pixels a cell, rounded up."""
    return -(-side // factor)


def crop_centre(image: Image.Image, width: int, height: int) -> Image.Image:
    """The middle ``width`` x ``height`` pixels; the picture itself when it has that size."""
    if image.size == (width, height):
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def to_image(decoded: Tensor) -> Image.Image:
    """``[1, 3, H, W]`` in -1..1 to an RGB picture, rounded as diffusers' VaeImageProcessor does."""
    pixels = (decoded[0].float() * 0.5 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray((pixels * 255).round().astype("uint8"), "RGB")


def finished(decoded: Tensor) -> Image.Image:
    """A decoded picture worth delivering.

    Raises :class:`BadPicture` when it holds NaN or infinity, or is one flat colour.
    """
    if not bool(torch.isfinite(decoded).all()):
        raise BadPicture("the picture holds values that are not numbers", "nan")
    return _varied(to_image(decoded))


def finished_unit(pixels: Any) -> Image.Image:
    """The same for a numpy array ``[H, W, 3]`` in 0..1, as diffusers pipelines return."""
    if not bool(np.isfinite(pixels).all()):
        raise BadPicture("the picture holds values that are not numbers", "nan")
    return _varied(Image.fromarray((pixels * 255).round().astype("uint8"), "RGB"))


def _varied(image: Image.Image) -> Image.Image:
    bands: Any = image.getextrema()  # one (lowest, highest) per channel of an RGB picture
    if all(high - low <= 1 for low, high in bands):
        raise BadPicture("the picture is one flat colour")
    return image


def fit_linear(decode: Callable[[Tensor], Tensor], channels: int) -> Tensor:
    """A linear map from latent channels to RGB, fitted to a decoder on a few smooth noises.

    Any decoder has one, so no table per model family is needed. ``decode`` takes ``[N, C, 8, 8]``
    of about unit variance and returns ``[N, 3, H, W]`` in -1..1; returns ``[C + 1, 3]``, the last
    row being the offset. Least squares over four or more times 64 cells (at least five a channel),
    each against the mean of its pixels.
    """
    rng = torch.Generator().manual_seed(0)
    noises = max(4, -(-5 * channels // 64))
    coarse = torch.randn((noises, channels, 3, 3), generator=rng)
    smooth = functional.interpolate(coarse, size=(8, 8), mode="bilinear", align_corners=True)
    latents = smooth + 0.2 * torch.randn((noises, channels, 8, 8), generator=rng)
    pixels = functional.adaptive_avg_pool2d(decode(latents).float().cpu(), (8, 8))
    cells = latents.permute(0, 2, 3, 1).reshape(-1, channels)
    cells = torch.cat([cells, torch.ones(len(cells), 1)], dim=1)
    target = pixels.permute(0, 2, 3, 1).reshape(-1, 3)
    factors: Tensor = torch.linalg.lstsq(cells, target).solution
    return factors


def linear_preview(latents: Tensor, factors: Tensor) -> Tensor:
    """``[1, C, h, w]`` latents and ``[C + 1, 3]`` factors to ``[1, 3, h, w]`` in about -1..1."""
    flat = latents[0].float().cpu().permute(1, 2, 0)
    return (flat @ factors[:-1] + factors[-1]).permute(2, 0, 1)[None]


def previewer(
    vae: Any, decode: Callable[[Tensor], Tensor], channels: int
) -> Callable[[Tensor], Image.Image]:
    """A function from scaled latents ``[1, C, h, w]`` to a small picture, made once a model.

    An autoencoder that says so (``preview_by_decoding``) is simply run; any other is replaced by
    its linear fit (1 to 3 ms), since even a tiny convolutional one costs as much as a step.
    """
    if getattr(vae, "preview_by_decoding", False):
        paint = decode
    else:
        factors = fit_linear(decode, channels)

        def paint(latents: Tensor) -> Tensor:
            return linear_preview(latents, factors)

    def preview(latents: Tensor) -> Image.Image:
        image = to_image(torch.nan_to_num(paint(latents)))
        scale = PREVIEW_SIDE / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        return image.resize(size, Image.Resampling.BILINEAR)

    return preview
