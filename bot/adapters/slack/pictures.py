"""Pictures as Slack files: uploaded once, waited for, shown in a block, deleted with the card.

An upload is finished later than it is answered, and a block that names an unfinished file is
refused (python-slack-sdk#1658, #1521): so :meth:`Pictures.ready` asks until it has dimensions.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable, Mapping

from PIL import Image, ImageFilter
from slack_sdk.web.async_client import AsyncWebClient

from bot.adapters.slack.calls import Refusal, asked
from bot.core.reply import Picture
from storage.blobs import Blobs
from storage.errors import AtelierError, NotFound, RetryLater

log = logging.getLogger(__name__)

ALT = 1000
"""Longest ``alt_txt`` of a file."""
_PAUSES_S = (0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 3.0, 4.0)
"""Between two looks at a file that is still being processed: 12 s in all, then later."""


class Pictures:
    """Uploads for one workspace."""

    def __init__(
        self,
        client: AsyncWebClient,
        blobs: Blobs,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._blobs = blobs
        self._sleep = sleep

    async def upload(self, blob: str, *, name: str, alt: str, blurred: bool = False) -> str | None:
        """The id of a new file that shows a blob; None when its bytes are gone.

        Nobody sees the file until a message shows it. The name is ours, whatever was asked.
        """
        try:
            data = await asyncio.to_thread(self._blobs.get, blob)
        except NotFound:
            return None
        if blurred:
            data = await asyncio.to_thread(_blur, data)
        suffix = "png" if blurred else blob.rpartition(".")[2]
        answer = await asked(
            self._client.files_upload_v2(
                file=data, filename=f"{name}.{suffix}", title=name, alt_txt=alt[:ALT]
            )
        )
        return str(answer["files"][0]["id"])

    async def upload_picture(self, picture: Picture) -> str | None:
        """See :meth:`upload`."""
        assert picture.blob is not None
        name = f"atelier-{picture.seed}-{picture.generation_id[-6:].lower()}"
        return await self.upload(picture.blob, name=name, alt=picture.alt, blurred=picture.blurred)

    async def ready(self, file: str) -> None:
        """Return when a message may show this file. Raises ``RetryLater`` when it takes long."""
        for pause in (*_PAUSES_S, None):
            answer = await asked(self._client.files_info(file=file))
            facts = answer.get("file", {})
            if facts.get("original_w") and facts.get("mimetype"):
                return
            if pause is not None:
                await self._sleep(pause)
        raise RetryLater("Slack is still processing a picture")

    async def forget(self, files: Mapping[str, str]) -> None:
        """Delete files that no card shows any more; one that is gone already is fine."""
        for file in files.values():
            try:
                await asked(self._client.files_delete(file=file))
            except Refusal as error:
                if error.code not in ("file_not_found", "file_deleted"):
                    log.warning("a file stays at Slack: %s", error.code)
            except AtelierError as error:
                log.warning("a file stays at Slack: %s", error)


def _blur(data: bytes) -> bytes:
    """The same picture, recognisable in colour only."""
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
        rgb = picture.convert("RGB")
        soft = rgb.filter(ImageFilter.GaussianBlur(max(rgb.size) / 12))
        out = io.BytesIO()
        soft.save(out, "PNG")
        return out.getvalue()
