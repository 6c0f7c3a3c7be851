"""Every card as the core gives it, as the page draws it and as Slack draws it, in both languages.

Discord's are beside its adapter (tests/discord/golden). When a change is meant, look at what you
made (the page, ``python -m tests.discord.shots``), then ``ATELIER_GOLDEN=write`` writes them anew.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bot.adapters.slack import render as slack
from bot.adapters.web.render import Look, Renderer
from bot.core.reply import Reply
from tests.discord.cards import NOW, every_card

GOLDEN = Path(__file__).with_name("golden")
WRITE = os.environ.get("ATELIER_GOLDEN") == "write"
NAMES = sorted(every_card("en"))


@pytest.fixture(autouse=True)
def _one_time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page writes times as its reader's clock does."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def as_core(reply: Reply, locale: str) -> str:
    shown = reply.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(shown, ensure_ascii=False, indent=1, sort_keys=True)


def as_web(reply: Reply, locale: str) -> str:
    html = Renderer(clock=lambda: NOW / 1000).card(reply, Look(locale))
    return "\n".join(line for line in map(str.rstrip, html.splitlines()) if line)


def as_slack(reply: Reply, locale: str) -> str:
    texts = slack.words_for(locale)
    files = {slack.file_key(p): f"F{i}" for i, p in enumerate(reply.pictures) if p.blob}
    drawn = slack.message(reply, texts, files)
    return json.dumps(
        {"text": drawn.text, "blocks": drawn.blocks}, ensure_ascii=False, indent=1, sort_keys=True
    )


FACES: dict[str, Callable[[Reply, str], str]] = {
    "core": as_core, "web": as_web, "slack": as_slack,
}  # fmt: skip


@pytest.mark.parametrize("locale", ["en", "zh"])
@pytest.mark.parametrize("face", FACES)
def test_every_card_is_as_it_was_looked_at(face: str, locale: str) -> None:
    cards = every_card(locale, NOW)
    drawn = "\n".join(f"=== {name}\n{FACES[face](cards[name], locale)}\n" for name in NAMES)
    file = GOLDEN / f"{face}-{locale}.txt"
    if WRITE:
        file.parent.mkdir(exist_ok=True)
        file.write_text(drawn, encoding="utf-8")
    kept = file.read_text(encoding="utf-8")
    assert drawn.split("=== ") == kept.split("=== ")


@pytest.mark.parametrize("face", FACES)
def test_no_english_is_left_on_a_chinese_card(face: str) -> None:
    """Labels of buttons, states and facts: what the core says is said in the reader's language."""
    english = every_card("en", NOW)
    for name, card in every_card("zh", NOW).items():
        drawn = FACES[face](card, "zh")
        for word in ("Cancel", "Reroll", "Delete", "Report", "Held for review", "Seed", "Upscale"):
            assert f">{word}<" not in drawn, (name, word)
            assert f'"{word}"' not in drawn, (name, word)
        assert drawn != FACES[face](english[name], "en")
