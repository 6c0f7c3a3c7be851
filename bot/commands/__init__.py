"""The commands, one file a family, each defined once."""

from __future__ import annotations

from typing import Any

from bot.commands.account import CANCEL, HELP, HISTORY, JOB, QUEUE
from bot.commands.again import AGAIN
from bot.commands.blend import BLEND
from bot.commands.chat import ASK, PERSONA, RESET
from bot.commands.confirm import confirm
from bot.commands.docs import DOCS
from bot.commands.imagine import IMAGINE, UPSCALE
from bot.commands.mod import MOD
from bot.commands.money import CODE, CREDITS, GIFT, GRANT, LINK, REDEEM, TIER
from bot.commands.muse import BRAINSTORM, DESCRIBE, ENHANCE, draw, pick, reword
from bot.commands.presses import PRESSES as JOB_PRESSES
from bot.commands.privacy import PRIVACY
from bot.commands.reports import REPORT, REPORT_PRESSES
from bot.commands.review import REVIEW, REVIEW_PRESSES, STRIKES
from bot.commands.verify import VERIFY
from bot.commands.workspace import CONFIG, press_config
from bot.core.command import Command, PressHandler
from bot.core.reply import Verb

COMMANDS: tuple[Command[Any], ...] = (
    IMAGINE,
    UPSCALE,
    BLEND,
    AGAIN,
    ASK,
    ENHANCE,
    BRAINSTORM,
    DESCRIBE,
    RESET,
    PERSONA,
    QUEUE,
    HISTORY,
    JOB,
    CANCEL,
    CREDITS,
    GIFT,
    REDEEM,
    LINK,
    PRIVACY,
    STRIKES,
    REPORT,
    REVIEW,
    CONFIG,
    DOCS,
    GRANT,
    TIER,
    CODE,
    VERIFY,
    MOD,
    HELP,
)

PRESSES: dict[Verb, PressHandler] = {
    **JOB_PRESSES,
    Verb.DRAW: draw,
    Verb.REWORD: reword,
    Verb.PICK: pick,
    **REPORT_PRESSES,
    **REVIEW_PRESSES,
    Verb.CONFIRM: confirm,
    Verb.CONFIG: press_config,
}

__all__ = ["COMMANDS", "PRESSES"]
