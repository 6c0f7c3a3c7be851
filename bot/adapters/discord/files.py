"""Stored pictures as uploads: read, made to fit, named by us, with a text for who cannot see."""

from __future__ import annotations

import asyncio
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import discord
from PIL import Image

from bot.adapters.discord.render import PictureFile, clip
from storage.blobs import Blobs
from storage.errors import NotFound

DEFAULT_LIMIT = 10 * 2**20
"""Bytes per file where Discord tells no other limit."""
TOTAL_LIMIT = 24 * 2**20
"""Bytes of one message's files together; Discord takes 25 MiB with everything around them."""
_ALT = 1024
_STEPS: tuple[tuple[str, int, float], ...] = (
    ("webp", 90, 1.0),
    ("jpg", 85, 1.0),
    ("jpg", 70, 1.0),
    ("jpg", 70, 0.7),
    ("jpg", 60, 0.5),
    ("jpg", 50, 0.25),
)
"""What is tried in turn when a picture is too large: format, quality, scale."""


@dataclass(frozen=True)
class Fitted:
    """A picture's bytes as they are sent, under the name the layout will have to use."""

    file: PictureFile
    data: bytes

    def upload(self) -> discord.File:
        """A fresh upload; each is read once."""
        return discord.File(
            io.BytesIO(self.data), filename=self.file.name, description=clip(self.file.alt, _ALT)
        )


async def fit_all(
    blobs: Blobs, files: Sequence[PictureFile], limit: int = DEFAULT_LIMIT
) -> list[Fitted]:
    """Read and fit every picture. One that was thrown away meanwhile is left out."""
    each = min(limit, TOTAL_LIMIT // max(1, len(files)))
    fitted = []
    for file in files:
        try:
            fitted.append(await asyncio.to_thread(_fit, blobs, file, each))
        except NotFound:
            continue
    return fitted


def _fit(blobs: Blobs, file: PictureFile, limit: int) -> Fitted:
    data = blobs.get(file.blob)
    if len(data) <= limit:
        return Fitted(file, data)
    kind, data = shrink(data, limit)
    return Fitted(replace(file, name=f"{file.name.rpartition('.')[0]}.{kind}"), data)


def shrink(data: bytes, limit: int) -> tuple[str, bytes]:
    """A stored picture as WebP or JPEG of at most ``limit`` bytes, as good as that allows.

    The last step is a quarter of the size; whatever it gives is returned. Raises ``NotFound``
    for bytes that are no picture, which our own store never holds.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            picture = Image.open(io.BytesIO(data), formats=("PNG", "WEBP", "JPEG")).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombWarning) as error:
        raise NotFound("picture_unknown") from error
    made = "jpg", data
    for kind, quality, scale in _STEPS:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        drawn = picture if scale == 1.0 else picture.resize(size, Image.Resampling.LANCZOS)
        out = io.BytesIO()
        drawn.save(out, "WEBP" if kind == "webp" else "JPEG", quality=quality)
        made = kind, out.getvalue()
        if len(made[1]) <= limit:
            break
    return made
