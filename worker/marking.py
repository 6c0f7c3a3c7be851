"""The last step before storage: a judged picture becomes a file that says what it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from moderation.marks.facts import Facts, LabelProfile, SourceType
from moderation.marks.manifest import Ingredient
from moderation.marks.marker import Encode, mark
from moderation.marks.verify import file_hash
from moderation.pdq import pdq
from moderation.policy import POLICY_VERSION
from storage import decisions
from storage.blobs import Blobs
from storage.errors import NotFound
from storage.schema import ImageSpec, Millis, Mode, new_id
from worker.encode import ENCODERS

if TYPE_CHECKING:
    from PIL.Image import Image

    from moderation.marks.identity import Identity
    from worker.generate import Tools


def finished(
    image: Image,
    spec: ImageSpec,
    *,
    identity: Identity | None,
    profile: LabelProfile,
    blobs: Blobs,
    now: Millis,
    encode: Encode | None = None,
) -> tuple[bytes, str]:
    """The bytes to store and their suffix, in the spec's format unless ``encode`` is given.

    Without an identity (tests) it only encodes. Blocking: some 30 ms at 512 pixels. Raises when
    signing fails, and then nothing is stored: a picture without its marks must not leave.
    """
    encode = encode or ENCODERS[spec.format]
    if identity is None:
        return encode(image, None)
    parents = _parents(spec, blobs)
    facts = Facts(
        model=spec.model, made_at=now, policy_version=POLICY_VERSION, mark_id=new_id(),
        source=SourceType.COMPOSITE if parents else SourceType.TRAINED, profile=profile,
    )  # fmt: skip
    return mark(image, facts, identity, encode, parents)


async def remember(tools: Tools, image: Image, data: bytes, workspace_id: str) -> None:
    """Keep a made picture's hashes, so that the file and its copies are known again. Says what
    was made, not by whom."""
    found = await asyncio.to_thread(pdq, image)
    await tools.database.run(
        decisions.add_hash, bank="made", pdq=found.digits, quality=found.quality,
        now=tools.clock(), workspace_id=workspace_id, file_sha256=file_hash(data),
    )  # fmt: skip


def _parents(spec: ImageSpec, blobs: Blobs) -> tuple[Ingredient, ...]:
    """The start picture as it was stored: whatever marks it carries stay readable in ours."""
    if spec.mode is Mode.TEXT or spec.start is None:
        return ()
    try:
        data = blobs.get(spec.start.blob)
    except NotFound:  # deleted since the engine read it
        return ()
    return (Ingredient(data, spec.start.blob.rpartition(".")[2]),)
