"""Follows one job to its end: events make it lively, the row is the truth."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TextIO

from bot.cli.screen import Screen
from bot.cli.studio import Patience
from bot.core.cards import job_reply
from bot.core.command import Core, Press, Who
from bot.core.reply import Reply, Verb
from storage.errors import RetryLater
from storage.schema import (
    TERMINAL_STATUSES,
    Address,
    Event,
    EventType,
    JobKind,
    JobStatus,
    new_id,
)

LOOK_S = 1.0
"""How often the row is read when no event came."""
CANCEL_S = 15.0
"""How long we wait for a cancelled job to end before we leave it to the workers."""

MESSAGES = {
    "interrupted": "Cancelled. Nothing was charged.",
    "timeout": "That took longer than you allowed, so it was cancelled. Nothing was charged.",
}


@dataclass(frozen=True)
class Trouble:
    """What went wrong on this side of the core: a stable code and a sentence."""

    code: str
    message: str


@dataclass(frozen=True)
class Ended:
    """How a command ended: the last card, or the reply that said no."""

    reply: Reply
    why: str = ""
    """``timeout`` or ``interrupted`` when we asked for its end."""
    trouble: Trouble | None = None
    """What went wrong here, whatever became of the job."""

    @property
    def still_open(self) -> bool:
        """Whether there is a job that may still be running."""
        return self.reply.job_id is not None and self.reply.status not in TERMINAL_STATUSES

    @property
    def cut_short(self) -> bool:
        """Whether we stopped an answer in the middle: what was written is kept and paid."""
        recipe = self.reply.data.get("recipe")
        return bool(self.why) and isinstance(recipe, dict) and recipe.get("finish") == "stopped"

    @property
    def exit_code(self) -> int:
        """What the process exits with."""
        if self.trouble is not None or self.still_open or self.cut_short:
            return 5
        return 5 if self.reply.status is JobStatus.CANCELLED else self.reply.exit_code

    @property
    def code(self) -> str | None:
        """The stable code of what went wrong."""
        if self.trouble is not None:
            return self.trouble.code
        stopped = self.still_open or self.cut_short or self.reply.status is JobStatus.CANCELLED
        if self.why and stopped:
            return self.why
        if self.reply.code is None and self.exit_code == 3:
            return "held"
        return self.reply.code or (str(self.reply.status) if self.reply.status else None)

    @property
    def message(self) -> str:
        """What went wrong, in words, and what is known of the job."""
        reply = self.reply
        known = ""
        if self.still_open:
            known = f"Job {reply.job_id} was {reply.status} when last seen: see 'atelier jobs'."
        if self.trouble is not None:
            return f"{self.trouble.message} {known}".rstrip()
        if self.still_open and self.why:
            return f"Its end was asked for, and no worker has answered. {known}"
        if self.cut_short:
            return "Stopped. What was written until then is kept and charged."
        if self.why and reply.status is JobStatus.CANCELLED:
            return MESSAGES[self.why]
        return reply.text or reply.title


class Seen:
    """The newest card of this command's job, for whoever has to report after a mishap."""

    def __init__(self) -> None:
        self.reply: Reply | None = None


def harmless(text: str) -> str:
    """Without what could command a terminal: a model may write escape codes."""
    return "".join(ch for ch in text if ch in "\n\t" or unicodedata.category(ch) != "Cc")


class Follower:
    """Watches the job of one invocation. Use inside :meth:`listening`."""

    def __init__(
        self,
        core: Core,
        who: Who,
        address: Address,
        screen: Screen,
        patience: Patience,
        seen: Seen,
        *,
        answer_to: TextIO | None,
    ) -> None:
        self._core = core
        self._who = who
        self._address = address
        self._screen = screen
        self._patience = patience
        self._seen = seen
        self._answer_to = answer_to
        self._written = ""
        self._job_id = ""
        self._workspace = ""
        self._wake = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear every event from now on, so that nothing between asking and following is missed."""
        async with self._core.services.wire.listen() as events:
            hearing = asyncio.create_task(self._hear(events))
            try:
                yield
            finally:
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)

    async def _hear(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            if event.job_id != self._job_id:
                continue
            if event.type is EventType.STATE:
                self._wake.set()
            elif event.type is EventType.PROGRESS and event.steps:
                picture = f" {event.index + 1}" if event.index else ""
                self._screen.step(f"Making picture{picture}", event.step, event.steps)
            elif event.text:
                self._write(event.text)

    def _write(self, text: str) -> None:
        """Show what is new of an answer; the whole answer so far comes each time."""
        if self._answer_to is None or not text.startswith(self._written):
            return
        fresh = text[len(self._written) :]
        if fresh:
            self._screen.close()
            self._answer_to.write(harmless(fresh))
            self._answer_to.flush()
            self._written = text

    def take(self, reply: Reply) -> None:
        """Watch the job that the core answered with, from this moment on."""
        self._job_id, self._seen.reply = reply.job_id or "", reply

    async def follow(self) -> Ended:
        """Wait until the job has ended, or is cancelled because of Ctrl-C or the time limit."""
        reply = self._seen.reply
        assert reply is not None, "take a job first"
        loop = asyncio.get_running_loop()
        why = ""
        asked_at: float | None = None
        while True:
            fresh = await self._look()
            if fresh is not None:
                reply = self._seen.reply = fresh
            if reply.status in TERMINAL_STATUSES:
                self._end_answer(reply)
                return Ended(reply, why)
            if asked_at is None:
                why = self._patience.why()
                if why:
                    asked_at = loop.time()
                    self._screen.waiting("Cancelling")
            if asked_at is not None:
                # Again and again: a job that a stopping worker gives back is queued once more.
                await self.cancel()
                if loop.time() > asked_at + CANCEL_S:
                    return Ended(reply, why)
            elif fresh is not None:
                self._show(fresh)
            await self._pause()

    async def _look(self) -> Reply | None:
        """The card as it is now; None while the database is too busy to say."""
        services = self._core.services
        try:
            self._workspace = self._workspace or (await services.actor(self._who)).workspace.id
            return await job_reply(services, self._job_id, "en", workspace_id=self._workspace)
        except RetryLater:
            return None

    async def _pause(self) -> None:
        """Until something happens to the job, someone presses Ctrl-C, or a second has passed."""
        waits = [asyncio.create_task(self._wake.wait())]
        most = LOOK_S
        if not self._patience.why():
            waits.append(asyncio.create_task(self._patience.stop.wait()))
            if self._patience.until is not None:
                left = self._patience.until - asyncio.get_running_loop().time()
                most = min(LOOK_S, max(0.0, left))
        try:
            await asyncio.wait(waits, timeout=most, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            self._wake.clear()

    def _show(self, reply: Reply) -> None:
        if reply.status is JobStatus.QUEUED and reply.place is not None:
            if reply.place > 1:
                self._screen.waiting(f"In line, {reply.place} of {reply.total}")
        elif reply.kind is JobKind.CHAT:
            if reply.text:
                self._write(reply.text)
            elif not self._written:
                self._screen.waiting("Thinking")
        elif reply.progress is not None and reply.progress.step:
            self._screen.step("Making picture", reply.progress.step, reply.progress.steps)
        elif reply.status is JobStatus.RUNNING:
            self._screen.waiting("Starting")

    def _end_answer(self, reply: Reply) -> None:
        """Finish the shown answer: its rest, and the end of the line."""
        if reply.kind is not JobKind.CHAT or self._answer_to is None:
            return
        if reply.status is JobStatus.SUCCEEDED and not reply.exit_code:
            answer = reply.text
            if self._written and not answer.startswith(self._written):
                self._answer_to.write("\n")
                self._written = ""
            self._write(answer)
        if self._written:
            self._answer_to.write("\n")
            self._answer_to.flush()

    async def cancel(self) -> None:
        """Press Cancel, as any member would."""
        await self._core.press(
            Press(
                verb=Verb.CANCEL, target=self._job_id, who=self._who, address=self._address,
                key=new_id(),
            )
        )  # fmt: skip
