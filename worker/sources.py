"""What a job starts from: its pictures read and judged before the engine sees a pixel."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

from PIL import Image

from moderation.pipeline import Content, Surface
from moderation.stages.nudity import has_face, without_face
from storage import cases
from storage.blobs import Blobs
from storage.errors import AtelierError, NotFound
from storage.schema import AnySpec, ImageSpec, Source, Verdict, harshest

if TYPE_CHECKING:
    from worker.judging import Bench

MAX_PIXELS = 4096 * 4096
"""Larger files are refused unread: whoever stored them was not one of us."""


class SourceGone(AtelierError):
    """A picture the job starts from was deleted, or cannot be read any more."""


def sources_of(spec: AnySpec) -> tuple[Source, ...]:
    """The pictures a spec names, each once, in a fixed order."""
    named = spec.sources if isinstance(spec, ImageSpec) else spec.images
    return tuple({source.blob: source for source in named}.values())


def open_source(blobs: Blobs, source: Source) -> Image.Image:
    """The pixels of a stored source: RGB, or RGBA where it has an alpha channel.

    Raises :class:`SourceGone`.
    """
    try:
        image = Image.open(io.BytesIO(blobs.get(source.blob)), formats=("PNG", "WEBP", "JPEG"))
        if image.width * image.height > MAX_PIXELS:
            raise SourceGone(f"{source.blob} is too large")
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    except (NotFound, OSError, ValueError, Image.DecompressionBombError) as error:
        raise SourceGone(f"{source.blob}: {error}") from error


async def read_sources(bench: Bench, spec: AnySpec) -> tuple[dict[str, Image.Image], Verdict]:
    """The pixels of every source by blob key, and the join of their verdicts.

    Judged without their alpha channel, since what it hides is what the engine would read. Raises
    :class:`SourceGone`.
    """
    sources = sources_of(spec)
    images = await asyncio.gather(
        *(asyncio.to_thread(open_source, bench.tools.blobs, source) for source in sources)
    )
    verdicts = await asyncio.gather(
        *(
            _judged(bench, spec, source, image)
            for source, image in zip(sources, images, strict=True)
        )
    )
    pictures = {source.blob: image for source, image in zip(sources, images, strict=True)}
    return pictures, harshest(verdicts)


async def _judged(bench: Bench, spec: AnySpec, source: Source, image: Image.Image) -> Verdict:
    content = Content(surface=Surface.UPLOAD, image=image.convert("RGB"), context=(spec.prompt,))
    found = await bench.judge(content, sha256=source.sha256)
    if source.generation_id is None or not has_face(found):
        return found
    return found if await _of_a_face(bench, source.generation_id) else without_face(found)


async def _of_a_face(bench: Bench, generation_id: str) -> bool:
    """Whether what we made goes back to somebody's photograph; so, too, when nothing tells."""
    try:
        made = await bench.tools.database.look(
            cases.generation, generation_id, workspace_id=bench.about.workspace_id
        )
    except NotFound:
        return True
    return has_face(Verdict.parse(made.verdict))
