"""Stored pictures as uploads: read, made to fit, named by us, with a text for who cannot see."""

from __future__ import annotations

import asyncio
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import discord
from PIL import Image

from bot.adapters.discord.render import PictureFile, clip
from storage.blobs import Blobs
from storage.errors import NotFound

Remark = Callable[[bytes, bytes], bytes]
"""The stored file and a smaller copy of it, to the copy with the file's marks."""

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


def unmarked(_stored: bytes, copy: bytes) -> bytes:
    """A copy as it is: where nothing is signed (tests of layout)."""
    return copy


async def fit_all(
    blobs: Blobs, files: Sequence[PictureFile], limit: int = DEFAULT_LIMIT,
    remark: Remark = unmarked,
) -> list[Fitted]:  # fmt: skip
    """Read and fit every picture. One that was thrown away meanwhile is left out.

    ``remark`` signs a smaller copy; that is the last thing that happens to its bytes.
    """
    each = min(limit, TOTAL_LIMIT // max(1, len(files)))
    fitted = []
    for file in files:
        try:
            fitted.append(await asyncio.to_thread(_fit, blobs, file, each, remark))
        except NotFound:
            continue
    return fitted


def _fit(blobs: Blobs, file: PictureFile, limit: int, remark: Remark) -> Fitted:
    data = blobs.get(file.blob)
    if len(data) <= limit:
        return Fitted(file, data)
    kind, data = shrink(data, limit, remark)
    return Fitted(replace(file, name=f"{file.name.rpartition('.')[0]}.{kind}"), data)


def shrink(data: bytes, limit: int, remark: Remark = unmarked) -> tuple[str, bytes]:
    """A stored picture as WebP or JPEG of at most ``limit`` bytes, as good as that allows.

    Its XMP packet goes along and ``remark`` signs the copy, so that it says the same as the file
    it stands for. The last step is a quarter of the size; whatever it gives is returned. Raises
    ``NotFound`` for bytes that are no picture, which our own store never holds.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            opened = Image.open(io.BytesIO(data), formats=("PNG", "WEBP", "JPEG"))
            said = _xmp_of(opened)
            picture = opened.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombWarning) as error:
        raise NotFound("picture_unknown") from error
    made = "jpg", data
    for kind, quality, scale in _STEPS:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        drawn = picture if scale == 1.0 else picture.resize(size, Image.Resampling.LANCZOS)
        out = io.BytesIO()
        drawn.save(out, "WEBP" if kind == "webp" else "JPEG", quality=quality, **said)
        if len(out.getvalue()) > limit and scale > _STEPS[-1][2]:
            continue  # signing would only make it larger
        made = kind, remark(data, out.getvalue())
        if len(made[1]) <= limit:
            break
    return made


def _xmp_of(picture: Image.Image) -> dict[str, bytes]:
    """The packet of XMP in a stored picture, as what ``save`` takes; none is none."""
    found = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp")
    if isinstance(found, str):
        found = found.encode("utf-8")
    return {"xmp": found} if isinstance(found, bytes) and found else {}
