"""Was this picture made here: yes, no, or we cannot tell. Never who made it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from moderation.marks import manifest, watermark
from moderation.marks.identity import tag_of
from storage.schema import Frozen

if TYPE_CHECKING:
    from PIL.Image import Image


class Answer(StrEnum):
    """What the marks say together."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "cannot_tell"


class Checked(Frozen):
    """What was looked at and what it said. ``JSON`` output of ``atelier verify``."""

    made_here: Answer
    signature: str
    """``ours``, ``other`` (valid, another signer), ``broken`` or ``none``."""
    watermark: str
    """``ours``, ``other`` (another studio of this kind) or ``none``."""
    known: str
    """``exact`` (the very file), ``similar`` (looks the same) or ``none``; ``unasked`` without a
    database."""
    model: str = ""
    made_at: str = ""
    generator: str = ""
    """Who the manifest says wrote it, when it is not ours."""
    ai_generated: bool = False
    """Any mark says that a model made it or had a part in it."""


Lookup = Callable[[bytes, "Image"], str]
"""File and picture to ``exact``, ``similar`` or ``none``."""


def check(
    data: bytes, suffix: str, image: Image, ca: str | None, lookup: Lookup | None = None
) -> Checked:
    """Read every mark of a file. ``image`` is its decoded picture, ``ca`` our authority (PEM).

    A watermark survives re-encoding and a signature does not, so either is enough for *yes*. A
    valid manifest of somebody else without any mark of ours means *no*; the absence of marks
    means nothing, for they can be removed. Blocking, some 10 ms a megapixel.
    """
    found = manifest.read(data, suffix, ca)
    seal = "none"
    if found is not None:
        seal = "broken" if not found.valid else "ours" if found.trusted else "other"
    reading = watermark.read(image)
    water = "none"
    if reading is not None:
        water = "ours" if ca is not None and reading.tag == tag_of(ca) else "other"
    known = lookup(data, image) if lookup is not None else "unasked"
    answer = Answer.UNKNOWN
    if "ours" in (seal, water) or known in ("exact", "similar"):
        answer = Answer.YES
    elif "other" in (seal, water):
        answer = Answer.NO
    ours = found.ours if found is not None and seal == "ours" else {}
    return Checked(
        made_here=answer, signature=seal, watermark=water, known=known,
        model=ours.get("model", ""), made_at=ours.get("made", ""),
        generator="" if found is None or seal == "ours" else found.generator[:80],
        ai_generated=water != "none" or known in ("exact", "similar")
        or (found is not None and "lgorithmicMedia" in found.source_type),
    )  # fmt: skip


def suffix_of(data: bytes) -> str | None:
    """``png``, ``webp`` or ``jpg`` by the file's first bytes; ``None`` for anything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return "jpg" if data.startswith(b"\xff\xd8\xff") else None


def file_hash(data: bytes) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def decoded(data: bytes, most_pixels: int = 4096 * 4096) -> Any:
    """The picture in a trusted place's file (the command line); strangers' files are decoded in a
    confined child first. Raises ``ValueError`` on anything that is no picture of ours to read."""
    from PIL import Image as pillow

    try:
        image = pillow.open(io.BytesIO(data), formats=("PNG", "WEBP", "JPEG"))
        if image.width * image.height > most_pixels:
            raise ValueError("picture too large")
        image.load()
    except (OSError, SyntaxError, pillow.DecompressionBombError) as error:
        raise ValueError("not a picture") from error
    return image
