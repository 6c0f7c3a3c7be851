"""The worker's way to judge: one job's policy, lists and owner, and a record of each verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from moderation.lists import Lists
from moderation.pipeline import Content
from moderation.policy import Policy
from moderation.record import About
from storage.schema import Verdict

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
        self, content: Content, *, sha256: str | None = None, keep_allowed: bool = True
    ) -> Verdict:
        """The verdict; recorded unless it is *allow* and not to be kept."""
        return await self.tools.recorder.judge(
            self.tools.gate,
            replace(content, lists=self.lists, workspace_id=self.about.workspace_id),
            self.policy,
            replace(self.about, sha256=sha256),
            keep_allowed=keep_allowed,
        )
