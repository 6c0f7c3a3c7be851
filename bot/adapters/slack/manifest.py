"""The app's manifest: what to paste at api.slack.com/apps, made from what the code listens to.

``manifest.json`` beside this file is for Socket Mode; a test keeps it true. `atelier
slack-manifest` prints it, and with an address the one for HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bot.adapters.slack.escape import fit
from bot.adapters.slack.render import words_for
from bot.core.command import CommandInfo

FILE = Path(__file__).with_name("manifest.json")
ROOT = "atelier"
"""The one command that holds all others (`/atelier imagine …`), where a name is taken already."""
SCOPES = {
    "app_mentions:read": "questions by mention",
    "assistant:write": "suggested prompts and the Stop button",
    "chat:write": "cards and answers",
    "commands": "slash commands and message menus",
    "files:read": "pictures members share with us, and whether our own are ready",
    "files:write": "pictures we made",
    "im:history": "direct messages to us",
    "im:write": "private results",
    "usergroups:read": "user groups as roles",
    "users:read": "names, language and who is an admin",
}
"""Each scope and what it is for; no channel's history is among them."""
EVENTS = (
    "agent_session_stopped", "app_home_opened", "app_mention", "app_uninstalled", "message.im",
)  # fmt: skip
SHORTCUTS = ("describe", "start_image", "report")
_HINT = 100


def manifest(catalog: Sequence[CommandInfo], url: str = "") -> dict[str, Any]:
    """The manifest for these commands; with ``url`` for HTTP, without for Socket Mode."""
    texts = words_for("en")
    where = {"url": url} if url else {}
    commands = [
        {
            "command": f"/{info.name}", "description": fit(info.help, 100),
            "usage_hint": _usage(info), "should_escape": False, **where,
        }
        for info in catalog
    ]  # fmt: skip
    commands.append(
        {
            "command": f"/{ROOT}", "description": "Every command of Atelier by its name",
            "usage_hint": "imagine a red apple", "should_escape": False, **where,
        }
    )  # fmt: skip
    subscriptions: dict[str, Any] = {"bot_events": list(EVENTS)}
    interactivity: dict[str, Any] = {"is_enabled": True}
    if url:
        subscriptions["request_url"] = interactivity["request_url"] = url
    prompts = [
        {"title": texts(f"slack.prompt.{name}"), "message": texts(f"slack.prompt.{name}_message")}
        for name in ("picture", "question", "help")
    ]
    return {
        "_metadata": {"major_version": 2, "minor_version": 1},
        "display_information": {
            "name": "Atelier",
            "description": "Pictures and answers for your community, moderated",
            "background_color": "#1f2430",
        },
        "features": {
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "agent_view": {
                "agent_description": "Draws pictures and answers questions.",
                "suggested_prompts": prompts,
            },
            "bot_user": {"display_name": "Atelier", "always_online": True},
            "shortcuts": [
                {
                    "name": texts(f"slack.shortcut.{name}"), "type": "message",
                    "callback_id": name, "description": texts(f"slack.shortcut.{name}_help"),
                }
                for name in SHORTCUTS
            ],
            "slash_commands": commands,
        },
        "oauth_config": {"scopes": {"bot": list(SCOPES)}},
        "settings": {
            "event_subscriptions": subscriptions,
            "interactivity": interactivity,
            "org_deploy_enabled": False,
            "socket_mode_enabled": not url,
            "token_rotation_enabled": False,
        },
    }  # fmt: skip


def _usage(info: CommandInfo) -> str:
    """The options of a command, the required one first and bare, as they are typed."""
    required = [f"{option.name}" for option in info.options if option.required]
    others = [f"{option.name}:" for option in info.options if not option.required]
    return fit(" ".join((*required, *others)), _HINT) or " "
