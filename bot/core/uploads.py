"""Pictures that members give us: from a platform's attachment to a stored source of a job.

Fetched only from the platform's own hosts (:mod:`bot.core.fetching`), decoded only in a confined
child (:mod:`bot.core.decode`), stored as bare pixels under a name of ours. Stored is not shown:
no front end shows a source (``views.visible_blob`` knows generations only), and the worker judges
each source with the image stages before the engine reads it (``worker.sources``).
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.core.attachment import Attachment
from bot.core.decode import MAX_BYTES
from bot.core.fetching import Fetch, Fetcher, check_url
from storage.blobs import Blobs
from storage.errors import BadInput
from storage.schema import Platform, Source

if TYPE_CHECKING:
    from bot.core.command import Context

log = logging.getLogger(__name__)

DECODE_S = 8.0
"""Longest a decode may take on a busy machine; idle, the largest picture takes under a second."""
_CHILD = Path(__file__).with_name("decode.py")
_AT_ONCE = 2
"""Decoding children at a time: each may use some hundred megabytes."""

Headers = Callable[[str], Mapping[str, str]]
"""The headers that let us read a file of this host (Slack's token); asked after the host check."""

KeepMarks = Callable[[bytes, bytes], bytes]
"""The original file and its clean copy, to the copy with the original's marks."""


class Uploads:
    """The way in for pictures. One per process."""

    def __init__(
        self, blobs: Blobs, fetch: Fetch | None = None, keep_marks: KeepMarks | None = None
    ) -> None:
        """``fetch`` replaces the network in tests; ``keep_marks`` puts the original's manifest
        into the clean copy."""
        self._keep_marks = keep_marks
        self._blobs = blobs
        self._fetch = fetch or Fetcher()
        self._headers: dict[Platform, Headers] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)

    def authorise(self, platform: Platform, headers: Headers) -> None:
        """Let an adapter say which headers its platform's files need."""
        self._headers[platform] = headers

    async def take(self, context: Context, attachment: Attachment) -> Source:
        """Fetch, decode and store an attachment; what a spec may start from.

        It is thrown away when the invocation comes to nothing. Raises ``BadInput`` with a code
        that begins with ``upload_``, or ``RetryLater``.
        """
        data = await self.read(attachment)
        facts, png = await self.decode(data)
        if self._keep_marks is not None:
            png = await asyncio.to_thread(self._keep_marks, data, png)
        blob = await asyncio.to_thread(self._blobs.put, png, "png")
        source = Source(blob=blob, sha256=facts["sha256"], width=facts["width"],
                        height=facts["height"], alpha=facts["alpha"])  # fmt: skip
        context.taken.append(source)
        return source

    async def read(self, attachment: Attachment) -> bytes:
        """The attachment's bytes, whatever they are. Raises as :meth:`take`."""
        limit = MAX_BYTES >> 20
        if attachment.external:
            raise BadInput("upload_external")
        if attachment.size > MAX_BYTES:
            raise BadInput("upload_large", limit=limit)
        if attachment.data is not None:
            if attachment.platform is not Platform.LOCAL:
                raise BadInput("upload_host")
            if len(attachment.data) > MAX_BYTES:
                raise BadInput("upload_large", limit=limit)
            return attachment.data
        host = check_url(attachment.url, attachment.platform)
        headers = self._headers.get(attachment.platform)
        return await self._fetch(
            attachment.url, attachment.platform, headers(host) if headers else {}
        )

    async def decode(self, data: bytes) -> tuple[dict[str, Any], bytes]:
        """Bare pixels as PNG, and what they are. Raises ``BadInput``."""
        async with self._room:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", str(_CHILD),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL, env={}, start_new_session=True,
            )  # fmt: skip
            try:
                async with asyncio.timeout(DECODE_S):
                    out, _ = await process.communicate(data)
            except TimeoutError as error:
                raise BadInput("upload_broken") from error
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        line, _, png = out.partition(b"\n")
        try:
            facts = json.loads(line)
        except ValueError as error:  # killed by one of its limits
            log.info("a decoder ended with %s", process.returncode)
            raise BadInput("upload_broken") from error
        if "error" in facts:
            code = str(facts["error"])
            raise BadInput(code, limit=MAX_BYTES >> 20)
        return facts, png
