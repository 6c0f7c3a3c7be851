"""Start pictures made ready for the model: fitted, filled where there is nothing, masked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageChops, ImageFilter, ImageOps
from torch import Tensor

from storage.schema import ImageSpec, Mode
from worker.engine.runners.base import Pictures

Array = npt.NDArray[np.float32]

FEATHER = 96
"""The seam around a mask is one part in this many of the longer side, in pixels."""


@dataclass(frozen=True)
class Canvas:
    """A start picture at the size it is drawn at; ``mask`` is white where to draw, or None."""

    image: Image.Image
    mask: Image.Image | None = None


def canvas_of(spec: ImageSpec, pictures: Pictures, width: int, height: int) -> Canvas:
    """What a spec starts from, ``width`` x ``height`` pixels (the spec's size in whole cells)."""
    if spec.start is None:
        raise ValueError("the spec starts from nothing")
    start = pictures[spec.start.blob]
    inner = (spec.width, spec.height)
    mask: Image.Image | None = None
    if spec.mode is Mode.OUTPAINT:
        edge = spec.margins
        inner = (inner[0] - edge.left - edge.right, inner[1] - edge.top - edge.bottom)
        kept = ImageOps.fit(start.convert("RGB"), inner, Image.Resampling.LANCZOS)
        image = Image.new("RGB", (spec.width, spec.height))
        image.paste(kept, (edge.left, edge.top))
        mask = Image.new("L", image.size, 255)
        mask.paste(0, (edge.left, edge.top, edge.left + inner[0], edge.top + inner[1]))
        image = filled(image, mask)
    else:
        image = _fit(start.convert("RGB"), inner)
        if spec.mode is Mode.INPAINT:
            mask = _mask(spec, start, pictures, inner)
            if spec.mask is None:
                image = filled(image, mask)
    return Canvas(grown(image, width, height), None if mask is None else grown(mask, width, height))


def _fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture scaled and cut to a size around its middle; itself when it has that size."""
    return image if image.size == size else ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def _mask(
    spec: ImageSpec, start: Image.Image, pictures: Pictures, size: tuple[int, int]
) -> Image.Image:
    """White where to draw: the mask given, else where the start picture is transparent."""
    if spec.mask is not None:
        given = pictures[spec.mask.blob]
        # A drawn mask is white on black; one cut out with an eraser is transparent.
        grey = given.convert("RGBA").getchannel("A") if given.mode == "RGBA" else None
        mask = ImageChops.invert(grey) if grey is not None else given.convert("L")
        if mask.size != start.size:
            mask = mask.resize(start.size, Image.Resampling.BILINEAR)
    else:
        mask = ImageChops.invert(start.convert("RGBA").getchannel("A"))
    fitted = _fit(mask, size)
    return fitted.point(lambda value: 255 if value >= 128 else 0)


def grown(image: Image.Image, width: int, height: int) -> Image.Image:
    """The picture in the middle of a larger one, its edge pixels repeated outwards."""
    if image.size == (width, height):
        return image
    left, top = (width - image.width) // 2, (height - image.height) // 2
    pixels = np.asarray(image)
    edges = [(top, height - image.height - top), (left, width - image.width - left)]
    padding = edges if pixels.ndim == 2 else [*edges, (0, 0)]
    return Image.fromarray(np.pad(pixels, padding, mode="edge"))


def filled(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with smooth colour where the mask is white, grown from what lies around it.

    Pull and push: known pixels are averaged to ever smaller pictures, and what is unknown in a
    large one is taken from the next smaller.
    """
    known = 1 - np.asarray(mask, np.float32)[..., None] / 255
    colour = np.asarray(image, np.float32) * known
    levels = [(colour, known)]
    while min(levels[-1][0].shape[:2]) > 1 and levels[-1][1].min() < 1:
        levels.append(tuple(_halved(part) for part in levels[-1]))  # type: ignore[arg-type]
    colour, known = levels[-1]
    result: Array = np.asarray(colour / np.maximum(known, 1e-6), np.float32)
    for colour, known in reversed(levels[:-1]):
        rows, columns = colour.shape[:2]
        larger = _larger(result, rows, columns)
        here = colour / np.maximum(known, 1e-6)
        share = np.minimum(known, 1)
        result = np.asarray(here * share + larger * (1 - share), np.float32)
    return Image.fromarray(result.clip(0, 255).round().astype(np.uint8))


def _halved(part: Array) -> Array:
    rows, columns = part.shape[:2]
    even = np.pad(part, ((0, rows % 2), (0, columns % 2), (0, 0)), mode="edge")
    blocks = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, -1)
    return np.asarray(blocks.mean((1, 3)), np.float32)


def _larger(part: Array, rows: int, columns: int) -> Array:
    planes = [
        np.asarray(Image.fromarray(part[..., i]).resize((columns, rows), Image.Resampling.BILINEAR))
        for i in range(part.shape[2])
    ]
    return np.stack(planes, axis=-1)


def to_tensor(image: Image.Image) -> Tensor:
    """``[1, 3, H, W]`` in -1..1, computed as diffusers' VaeImageProcessor does.

    Laid out in memory as there too: a convolution rounds differently in another order of strides.
    """
    pixels = np.stack([np.asarray(image.convert("RGB"), np.float32) / 255.0])
    return 2.0 * torch.from_numpy(pixels.transpose(0, 3, 1, 2)) - 1.0


def mask_tensor(mask: Image.Image) -> Tensor:
    """``[1, 1, H, W]``, 1 where to draw and 0 elsewhere; laid out as :func:`to_tensor`'s."""
    pixels = np.stack([np.asarray(mask.convert("L"), np.float32) / 255.0])[..., None]
    whole = torch.from_numpy(pixels.transpose(0, 3, 1, 2))
    whole[whole < 0.5] = 0
    whole[whole >= 0.5] = 1
    return whole


def laid_over(drawn: Image.Image, canvas: Canvas) -> Image.Image:
    """What was drawn where the mask is white, the start picture's own pixels elsewhere.

    The decoder changes every pixel a little, also those nobody asked to change; the seam is soft
    on the outside of the mask.
    """
    if canvas.mask is None:
        return drawn
    radius = max(1.0, max(drawn.size) / FEATHER)
    soft = ImageChops.lighter(canvas.mask, canvas.mask.filter(ImageFilter.GaussianBlur(radius)))
    return Image.composite(drawn, canvas.image, soft)
