"""How conversations go in a workspace: the settings of ``/config``'s chat group, in force."""

from __future__ import annotations

from typing import Any

from bot.core.reply import Verb
from tests.core.test_muse import Studio, studio

__all__ = ["studio"]  # a fixture


def asked(studio: Studio, question: str) -> Any:
    """The call that asked this last (a conversation may be folded after it)."""
    return next(
        call for call in reversed(studio.speaker.calls)
        if call["messages"][-1]["content"].startswith(question)
    )  # fmt: skip


async def set_to(studio: Studio, path: str, value: str) -> str | None:
    reply = await studio.fake.say("config", role="admin", action="set", path=path, value=value)
    return reply.code


async def test_temperature_and_memory_are_the_workspaces(studio: Studio) -> None:
    long = "a story of many words about boats and the sea and a storm. " * 8
    studio.speaker.answers = [long, long]
    assert await set_to(studio, "chat.temperature", "0.2") is None
    await studio.ask(prompt="the first question")
    await studio.ask(prompt="the second question")
    second = asked(studio, "the second question")
    assert second["temperature"] == 0.2
    assert "the first question" in str(second["messages"])
    # Room for the newest exchange only.
    assert await set_to(studio, "chat.memory_tokens", "160") is None
    await studio.ask(prompt="the third question", temperature=1.5)
    third = asked(studio, "the third question")
    told = str(third["messages"])
    assert third["temperature"] == 1.5, "a member's own word goes first"
    assert "the first question" not in told and "the second question" in told


async def test_what_makes_no_sense_changes_nothing(studio: Studio) -> None:
    await studio.fake.say("help")
    for path, value in (
        ("chat.temperature", "hot"), ("chat.temperature", "nan"), ("chat.temperature", "2.5"),
        ("chat.memory_tokens", "-1"), ("chat.nonsense", "1"), ("persona", "nobody"),
        ("channel_personas.general", "nobody"),
    ):  # fmt: skip
        assert await set_to(studio, path, value) in ("setting_invalid", "setting_unknown"), path
    assert await set_to(studio, "persona", "teacher") is None
    await studio.ask(prompt="what is rain?")
    assert "patient teacher" in studio.speaker.calls[-1]["messages"][0]["content"]


async def test_the_group_opens_as_a_dialogue_and_saves(studio: Studio) -> None:
    await studio.fake.say("help")
    opened = await studio.fake.press(Verb.CONFIG, "chat", role="admin")
    assert opened.form is not None
    filled = {field.name: field.value for field in opened.form.fields}
    assert filled["persona"] == "atelier" and filled["chat.memory_tokens"] == "0"
