"""The commands, one file a family, each defined once."""

from __future__ import annotations

from typing import Any

from bot.commands.account import CANCEL, CREDITS, HELP, HISTORY, JOB, QUEUE
from bot.commands.chat import ASK
from bot.commands.imagine import IMAGINE, UPSCALE
from bot.commands.presses import PRESSES
from bot.core.command import Command

COMMANDS: tuple[Command[Any], ...] = (
    IMAGINE,
    UPSCALE,
    ASK,
    CREDITS,
    QUEUE,
    HISTORY,
    JOB,
    CANCEL,
    HELP,
)

__all__ = ["COMMANDS", "PRESSES"]
