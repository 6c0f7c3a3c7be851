"""Reads the marks of a file somebody gave us and says in words what they tell."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

from PIL import Image

from bot.core.reply import Field, Reply, Tone, Visibility
from bot.core.texts import Texts
from moderation.marks.lookup import lookup_in
from moderation.marks.verify import Answer, Checked, check, suffix_of
from storage.errors import BadInput

if TYPE_CHECKING:
    from bot.core.services import Services

_TONES = {Answer.YES: Tone.GOOD, Answer.NO: Tone.INFO, Answer.UNKNOWN: Tone.WARN}


async def verify_bytes(services: Services, data: bytes) -> Checked:
    """Every mark of a file. Its picture is decoded in the confined child, as every upload is.

    Raises ``BadInput`` with a code that begins with ``upload_``.
    """
    suffix = suffix_of(data)
    if suffix is None:
        raise BadInput("upload_format")
    _, png = await services.uploads.decode(data)

    def look() -> Checked:
        image = Image.open(io.BytesIO(png), formats=("PNG",))
        image.load()
        return check(data, suffix, image, services.authority(), lookup_in(services.database))

    return await asyncio.to_thread(look)


def verified(checked: Checked, texts: Texts) -> Reply:
    """The answer as a card. It never says who made a picture: the marks do not know."""
    facts = [
        Field(
            label=texts("verify.signature"), value=texts(f"verify.signature_{checked.signature}")
        ),
        Field(
            label=texts("verify.watermark"), value=texts(f"verify.watermark_{checked.watermark}")
        ),
        Field(label=texts("verify.known"), value=texts(f"verify.known_{checked.known}")),
    ]
    if checked.model:
        facts.append(Field(label=texts("verify.model"), value=checked.model, code=True))
    if checked.made_at:
        facts.append(Field(label=texts("verify.made_at"), value=checked.made_at))
    if checked.generator:
        facts.append(Field(label=texts("verify.generator"), value=checked.generator))
    note = texts("verify.ai") if checked.ai_generated else texts("verify.no_ai_mark")
    return Reply(
        title=texts(f"verify.title_{checked.made_here}"),
        text=f"{texts(f'verify.text_{checked.made_here}')} {note}",
        tone=_TONES[checked.made_here],
        visibility=Visibility.PRIVATE,
        fields=tuple(facts),
        data=checked.model_dump(mode="json"),
    )
