"""The manifest names exactly what the code uses: commands, scopes, events, menu entries."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from bot.adapters.slack.listeners import SHORTCUTS
from bot.adapters.slack.manifest import EVENTS, FILE, ROOT, SCOPES, manifest
from bot.adapters.slack.transport import PATH
from bot.commands import COMMANDS
from bot.root import known_commands
from tests.slack import rules
from tests.slack.conftest import Studio
from tests.slack.world import ALL_SCOPES

SOURCES = {p.name: p.read_text("utf-8") for p in FILE.parent.glob("*.py")}
EVENT_SCOPES = {
    "app_mention": "app_mentions:read", "message.im": "im:history",
    "agent_session_stopped": "assistant:write",
}  # fmt: skip


def stored() -> dict[str, Any]:
    return json.loads(FILE.read_text("utf-8"))  # type: ignore[no-any-return]


def test_the_file_is_what_the_code_says() -> None:
    """Anew: atelier slack-manifest > bot/adapters/slack/manifest.json"""
    assert stored() == manifest(known_commands("en"))


def test_it_names_every_command_and_no_other(studio: Studio) -> None:
    listed = {c["command"] for c in stored()["features"]["slash_commands"]}
    assert listed == {f"/{command.name}" for command in COMMANDS} | {f"/{ROOT}"}
    assert len(listed) <= 50
    heard = {
        name for name in (c.removeprefix("/") for c in listed)
        if name == ROOT or name in studio.core.commands
    }  # fmt: skip
    assert len(heard) == len(listed)


def test_it_asks_for_the_scopes_that_the_calls_need_and_no_other() -> None:
    called = {
        match.replace("_", ".", 1) if not match.startswith(("agents", "assistant")) else
        match.replace("_", ".")
        for text in SOURCES.values()
        for match in re.findall(r"client\.([a-z]+_[a-zA-Z_]+)\(", text)
    }  # fmt: skip
    if any("files_upload_v2" in text for text in SOURCES.values()):
        called |= {"files.getUploadURLExternal", "files.completeUploadExternal"}
    called.add("assistant.threads.setSuggestedPrompts")  # Bolt's set_suggested_prompts
    needed = {rules.SCOPES[name] for name in called if name in rules.SCOPES}
    needed |= {EVENT_SCOPES[name] for name in EVENTS if name in EVENT_SCOPES}
    needed |= {"commands"}
    assert set(stored()["oauth_config"]["scopes"]["bot"]) == needed == set(SCOPES)
    assert needed == ALL_SCOPES
    assert not any("history" in scope and scope != "im:history" for scope in needed)


def test_it_subscribes_to_the_events_that_are_listened_to_and_no_other() -> None:
    heard = set(re.findall(r'app\.event\("(\w+)"\)', SOURCES["listeners.py"]))
    listed = stored()["settings"]["event_subscriptions"]["bot_events"]
    assert {name.partition(".")[0] for name in listed} == heard
    assert tuple(listed) == EVENTS


def test_its_menu_entries_are_those_that_do_something() -> None:
    entries = stored()["features"]["shortcuts"]
    assert {entry["callback_id"] for entry in entries} == set(SHORTCUTS)
    assert all(entry["type"] == "message" and len(entry["name"]) <= 24 for entry in entries)


def test_it_is_an_agent_in_socket_mode_and_fits() -> None:
    made = stored()
    assert "agent_view" in made["features"]
    assert "assistant_view" not in made["features"]
    assert made["settings"]["socket_mode_enabled"]
    assert len(made["display_information"]["description"]) <= 140
    for command in made["features"]["slash_commands"]:
        assert len(command["description"]) <= 2000
        assert 1 <= len(command["usage_hint"]) <= 1000
        assert re.fullmatch(r"/[a-z-]{1,31}", command["command"])


def test_over_http_every_address_is_ours() -> None:
    url = f"https://bot.example{PATH}"
    made = manifest(known_commands("en"), url)
    text = json.dumps(made)
    assert text.count(url) == len(made["features"]["slash_commands"]) + 2
    assert not made["settings"]["socket_mode_enabled"]


def test_the_old_assistant_class_is_not_used() -> None:
    for name, text in SOURCES.items():
        assert "AsyncAssistant" not in text, name
    assert Path(FILE).exists()
