"""Buttons out and presses in: a verb and an opaque id, which the core checks again when pressed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bot.adapters.slack import limits
from bot.adapters.slack.escape import fit
from bot.core.reply import Button
from bot.core.texts import Texts

ACTION = re.compile(r"^press\.([a-z_]{1,32})(?:\.\d{1,2})?$")
"""``press.<verb>``; the number only tells two buttons of one verb in one line apart."""


def actions(buttons: Sequence[Button], texts: Texts) -> dict[str, Any]:
    """One line of buttons."""
    elements = []
    for index, button in enumerate(buttons):
        element: dict[str, Any] = {
            "type": "button",
            "text": _plain(fit(button.label, limits.BUTTON_LABEL)),
            "action_id": f"press.{button.verb}.{index}",
            "value": button.target[: limits.BUTTON_VALUE],
        }
        if button.style != "plain":
            element["style"] = button.style
        if button.confirm:
            element["confirm"] = {
                "title": _plain(fit(button.label, limits.CONFIRM_TITLE)),
                "text": _plain(fit(button.confirm, limits.CONFIRM_TEXT)),
                "confirm": _plain(fit(texts("slack.yes"), limits.CONFIRM_BUTTON)),
                "deny": _plain(fit(texts("slack.no"), limits.CONFIRM_BUTTON)),
            }
            if button.style == "danger":
                element["confirm"]["style"] = "danger"
        elements.append(element)
    return {"type": "actions", "elements": elements}


def pressed(action: dict[str, Any]) -> tuple[str, str] | None:
    """The verb and target of a press; None for what is no button of ours."""
    match = ACTION.fullmatch(str(action.get("action_id", "")))
    value = action.get("value")
    if match is None or not isinstance(value, str):
        return None
    return match[1], value[:64]


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text or " ", "emoji": False}
