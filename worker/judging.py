"""The worker's way to judge: one job's policy, lists and owner, and a record of each verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from moderation.lists import Lists
from moderation.pipeline import Content, Pipeline, Surface
from moderation.policy import Policy, counted
from moderation.record import About
from storage.schema import Outcome, Verdict

if TYPE_CHECKING:
    from worker.generate import Tools


@dataclass(frozen=True)
class Bench:
    """Judges what one job reads and makes."""

    tools: Tools
    policy: Policy
    lists: Lists
    about: About

    async def judge(
        self, content: Content, *, sha256: str | None = None, keep_allowed: bool = True,
        also: Callable[[Verdict], Verdict] | None = None,
    ) -> Verdict:  # fmt: skip
        """The verdict; recorded unless it is *allow* and not to be kept. ``also``: as in
        :meth:`moderation.record.Recorder.judge`."""
        return await self._judge(self.tools.gate, content, sha256, keep_allowed, also)

    async def ask(self, text: str, before: Verdict) -> Verdict:
        """What the chat model thinks of a prompt, where it is configured as judge.

        It can hold at most, so it is not asked about what is held already. What it allows was
        recorded when it was typed.
        """
        if self.tools.judge is None or before.outcome >= Outcome.HOLD or not text.strip():
            return Verdict()
        content = Content(Surface.PROMPT, text=text)
        return await self._judge(self.tools.judge, content, None, keep_allowed=False)

    async def _judge(
        self, pipeline: Pipeline, content: Content, sha256: str | None, keep_allowed: bool,
        also: Callable[[Verdict], Verdict] | None = None,
    ) -> Verdict:  # fmt: skip
        found = await self.tools.recorder.judge(
            pipeline,
            replace(content, lists=self.lists, workspace_id=self.about.workspace_id),
            self.policy,
            replace(self.about, sha256=sha256),
            keep_allowed=keep_allowed,
            also=also,
        )
        return counted(found, content.surface)
