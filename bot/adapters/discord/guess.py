"""Completion of options while they are typed; for models, with how busy each one is."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any

import discord
from discord import app_commands

from bot.adapters.discord.catalog import name_of
from bot.adapters.discord.render import clip, words_for
from bot.core.command import CommandInfo, Core
from bot.core.inputs import OptionInfo
from bot.core.texts import pick_locale
from storage import views
from storage.errors import AtelierError

log = logging.getLogger(__name__)

_MOST = 25
_NAME = 100
_LOOK_S = 0.8
"""Completion has 3 s and cannot be deferred: without the line in time it goes without."""
_FRESH_S = 2.0


@dataclass
class Guesses:
    """Answers completions from the core's catalog."""

    core: Core
    _line: dict[str, tuple[int, int]] = field(default_factory=dict)
    _line_at: float = 0.0

    async def __call__(
        self,
        interaction: discord.Interaction[Any],
        info: CommandInfo,
        option: OptionInfo,
        so_far: str,
    ) -> list[app_commands.Choice[Any]]:
        """What fits what was typed; when nothing does, Discord sends what was typed itself."""
        texts = words_for(pick_locale(str(interaction.locale)))
        wanted = so_far.strip().lower()
        busy = await self._busy() if option.name == "model" else {}
        found = []
        for choice in option.choices:
            name = name_of(choice, texts)
            if not choice or (wanted not in choice.lower() and wanted not in name.lower()):
                continue
            label = name if name == choice or option.name != "style" else f"{name} ({choice})"
            if option.name == "model":
                waiting, wait_ms = busy.get(choice, (0, 0))
                label += f" · {self._wait(texts, waiting, wait_ms)}" if busy is not None else ""
            found.append(app_commands.Choice(name=clip(label, _NAME), value=choice[:_NAME]))
        return found[:_MOST]

    def _wait(self, texts: Any, waiting: int, wait_ms: int) -> str:
        if not waiting:
            return str(texts("guess.free"))
        return str(texts("guess.waiting", n=waiting, seconds=max(1, round(wait_ms / 1000))))

    async def _busy(self) -> dict[str, tuple[int, int]]:
        """Per model how many wait and for how long; a little old, or empty when nobody says."""
        now = time.monotonic()
        if now - self._line_at < _FRESH_S:
            return self._line
        try:
            async with asyncio.timeout(_LOOK_S):
                self._line = await self.core.services.database.look(views.waiting_by_model)
                self._line_at = now
        except (TimeoutError, AtelierError):
            log.info("completion without the line: the database is slow")
        return self._line
