"""What a case was asked with, in a moderator's language: written while nothing else is to do.

Nobody waits for it and nobody pays for it. A job that comes in stops it at once; what was stopped
is tried again later.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from storage import translations
from storage.errors import AtelierError, NotFound, RetryLater
from storage.schema import ChatSpec, JobKind
from storage.templates import template
from storage.translations import Wanted
from worker.engine.errors import Cancelled, EngineStopped
from worker.engine.outputs import Answer

if TYPE_CHECKING:
    from worker.engine.run import Run
    from worker.generate import Tools

log = logging.getLogger(__name__)

TEMPLATES = {"en": "translate", "zh": "translate_zh"}
IDLE_LOOKS = 3
"""So often in a row there has to be nothing to do before one is begun."""


class Translator:
    """One translation at a time, between jobs."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._idle = 0
        self._run: Run | None = None
        self._stopped = False
        """Asked to give way since the present one was begun, perhaps before the engine had it."""
        self._begun: asyncio.Task[bool] | None = None

    def look(self, *, busy: bool) -> None:
        """Called at each look for work: begins one when there was nothing to do for a while."""
        self._idle = 0 if busy else self._idle + 1
        if self._idle >= IDLE_LOOKS and (self._begun is None or self._begun.done()):
            self._begun = asyncio.create_task(self._quietly(), name="translate")

    def stop(self) -> None:
        """There is work: whatever is being translated gives way."""
        self._idle, self._stopped = 0, True
        if self._run is not None:
            self._run.cancel()

    async def _quietly(self) -> bool:
        """A translation that fails must not stop the floor."""
        try:
            return await self.once()
        except RetryLater:
            return False
        except Exception:
            log.exception("bug while translating")
            return False

    async def once(self) -> bool:
        """Translate the oldest text that waits; True when one was written."""
        tools = self._tools
        self._stopped = False
        wanted = await tools.database.look(translations.next_wanted)
        if wanted is None or self._stopped:
            return False
        card = tools.registry.default(JobKind.CHAT)
        try:
            text = await self._ask(wanted)
        except (Cancelled, EngineStopped, asyncio.CancelledError):
            return False  # gave way, or we are going: no try was used up
        except AtelierError as error:
            log.info("a case was not translated: %s", type(error).__name__)
            text = ""
        finally:
            self._run = None
        return await tools.database.run(
            translations.keep, wanted.id, text, card.name, now=tools.clock()
        )

    async def _ask(self, wanted: Wanted) -> str:
        tools = self._tools
        card = tools.registry.default(JobKind.CHAT)
        name = TEMPLATES.get(wanted.locale)
        if name is None:
            raise NotFound("template_unknown", template=wanted.locale)
        used = template(name)
        spec = ChatSpec(
            model=card.name, thread="", turns=used.turns(wanted.text),
            max_tokens=min(used.max_tokens, card.context_tokens // 4),
            temperature=used.temperature or 0.0, seed=0, stop=used.stop,
            repetition_penalty=card.repetition_penalty,
        )  # fmt: skip
        text = ""
        self._run = tools.engine.submit(f"{wanted.id}:translate", spec)
        async for output in self._run:
            if isinstance(output, Answer):
                text = output.text.strip()[: translations.LONGEST]
        return text
