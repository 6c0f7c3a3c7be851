"""`/verify`: was this picture made here?"""

from __future__ import annotations

from pydantic import Field

from bot.core.attachment import Upload
from bot.core.command import Command, Context
from bot.core.inputs import Input
from bot.core.reply import Reply
from bot.core.verifying import verified, verify_bytes
from storage.errors import BadInput


class VerifyInput(Input):
    """A picture to look at."""

    image: Upload = Field(default=None, json_schema_extra={"kind": "image"})


async def verify(context: Context, values: VerifyInput) -> Reply:
    """Read the marks of an attached picture; nothing of it is kept."""
    if values.image is None:
        raise BadInput("upload_not_attached")
    data = await context.services.uploads.read(values.image)
    return verified(await verify_bytes(context.services, data), context.texts)


VERIFY = Command(name="verify", input=VerifyInput, handler=verify)
