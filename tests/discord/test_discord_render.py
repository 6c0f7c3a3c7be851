"""Every card as Discord gets it: golden, within the limits, inert, readable by who cannot see."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import discord
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.adapters.discord.render import Page, components, pages, words_for
from bot.core.reply import Button, Field, Link, Picture, Reply, Tone, Verb
from storage.schema import JobKind, JobStatus
from tests.discord.cards import JOB, every_card

GOLDEN = Path(__file__).with_name("golden")
WRITE = os.environ.get("ATELIER_GOLDEN") == "write"
NAMES = sorted(every_card("en"))


def dump(drawn: list[Page]) -> str:
    """A card as the golden files hold it."""
    shown = [
        {
            "components": components(page.view),
            "files": [[f.name, f.alt, f.spoiler] for f in page.files],
        }
        for page in drawn
    ]
    return json.dumps(shown, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def replies(locale: str) -> dict[str, Reply]:
    """The core's cards as they were when the goldens were looked at: what a later core says is
    its own tests' affair, what this adapter makes of a card is these tests'."""
    file = GOLDEN / f"replies-{locale}.json"
    if WRITE:
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = {name: r.model_dump(mode="json") for name, r in every_card(locale).items()}
        file.write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    stored = json.loads(file.read_text(encoding="utf-8"))
    return {name: Reply.model_validate(reply) for name, reply in stored.items()}


@pytest.mark.parametrize("locale", ["en", "zh"])
@pytest.mark.parametrize("name", NAMES)
def test_every_card_is_as_it_was_looked_at(name: str, locale: str) -> None:
    drawn = dump(pages(replies(locale)[name], words_for(locale)))
    file = GOLDEN / locale / f"{name}.json"
    if WRITE:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(drawn, encoding="utf-8")
    assert drawn == file.read_text(encoding="utf-8"), (
        "look at it (python -m tests.discord.shots), then ATELIER_GOLDEN=write"
    )


def walk(nodes: Any) -> Any:
    for node in nodes or ():
        yield node
        yield from walk(node.get("components"))


def within_limits(page: Page) -> None:
    nodes = list(walk(components(page.view)))
    assert len(nodes) <= 40
    assert sum(len(n["content"]) for n in nodes if n["type"] == 10) <= 4000
    assert all(n["content"] for n in nodes if n["type"] == 10)
    for node in nodes:
        if node["type"] == 1:
            assert 1 <= len(node["components"]) <= 5
        if node["type"] == 2:
            assert 1 <= len(node["label"]) <= 80
            if node["style"] == discord.ButtonStyle.link.value:
                assert "custom_id" not in node and node["url"].startswith("https://")
                continue
            assert 1 <= len(node["custom_id"]) <= 100
        if node["type"] == 12:
            assert 1 <= len(node["items"]) <= 10
            for item in node["items"]:
                assert len(item.get("description") or "") <= 256
    urls = {i["media"]["url"] for n in nodes if n["type"] == 12 for i in n["items"]}
    assert urls == {f.url for f in page.files}, "every file is named by a component"
    ids = [n["custom_id"] for n in nodes if "custom_id" in n]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", NAMES)
def test_every_card_is_within_discords_limits(name: str) -> None:
    for locale in ("en", "zh"):
        for page in pages(every_card(locale)[name], words_for(locale)):
            within_limits(page)


TEXT = st.text(alphabet=st.sampled_from("aé中 \n`*_~|>#@<:&[](){}\\🙂"), max_size=1200)


@given(prompt=TEXT, note=TEXT, alt=TEXT)
def test_no_words_of_a_member_break_a_card(prompt: str, note: str, alt: str) -> None:
    picture = Picture(
        generation_id=JOB, blob="ab/0.png", alt=alt, width=128, height=128, seed=7,
        buttons=(Button(verb=Verb.DELETE, target=JOB, label="Delete", confirm="?"),),
    )  # fmt: skip
    reply = Reply(
        job_id=JOB, kind=JobKind.IMAGE, status=JobStatus.SUCCEEDED, tone=Tone.GOOD, prompt=prompt,
        title="Done", text="Made by AI", author=note[:100],
        fields=(Field(label="Negative", value=note), Field(label="Seed", value="7", code=True)),
        pictures=(picture,),
    )  # fmt: skip
    for page in pages(reply, words_for("en")):
        within_limits(page)
        assert all("/" not in f.name and len(f.name) < 64 for f in page.files)


@given(text=st.text(alphabet=st.sampled_from("ab 中\n`#*"), max_size=20_000))
def test_no_answer_is_too_long(text: str) -> None:
    reply = Reply(
        job_id=JOB, kind=JobKind.CHAT, status=JobStatus.SUCCEEDED, text=text, prompt="q" * 4000,
        author="Ann", fields=(Field(label="Model", value="m"),),
    )  # fmt: skip
    for page in pages(reply, words_for("en")):
        within_limits(page)


def test_a_prompt_is_quoted_and_its_markdown_is_inert() -> None:
    reply = every_card("en")["queued"].model_copy(
        update={"prompt": "# big\n**bold** [a](http://x)"}
    )
    shown = "\n".join(
        n["content"] for n in walk(components(pages(reply, words_for("en"))[0].view))
        if n["type"] == 10
    )  # fmt: skip
    assert "> \\# big" in shown
    assert "\\*\\*bold" in shown


def test_blurred_pictures_are_spoilers_and_held_ones_are_not_there() -> None:
    blurred = pages(every_card("en")["blurred"], words_for("en"))[0]
    assert blurred.files[0].spoiler
    assert blurred.files[0].name.startswith("SPOILER_")
    for name in ("held", "removed", "denied"):
        assert pages(every_card("en")[name], words_for("en"))[0].files == ()


def test_every_picture_has_a_text_for_who_cannot_see_it() -> None:
    for name in ("result", "four", "blurred"):
        for file in pages(every_card("en")[name], words_for("en"))[0].files:
            assert "a red apple" in file.alt


def test_a_link_of_ours_is_a_button_that_opens_it() -> None:
    url = "https://studio.example/review/door#" + "0" * 64
    (page,) = pages(Reply(text="Yours alone.", link=Link(url=url, label="Open")), words_for("en"))
    within_limits(page)
    (button,) = [n for n in walk(components(page.view)) if n.get("url")]
    assert (button["url"], button["label"], button["style"]) == (url, "Open", 5)


@pytest.mark.parametrize("mark", ["*_~`", "字", "plain words "])
@pytest.mark.parametrize("long", [10, 900, 3_150])
def test_no_note_is_refused_for_its_length_and_no_fact_is_lost(mark: str, long: int) -> None:
    """A case with everything there is: what Discord refuses, no moderator sees."""
    facts = tuple(Field(label=f"fact {n}", value=(mark * 400)[:290] + f"={n}") for n in range(12))
    button = Button(verb=Verb.APPROVE, target=JOB, label="Approve")
    note = Reply(title=mark * 40, text=(mark * 4000)[:long], fields=facts, buttons=(button,))
    drawn = pages(note, words_for("en"))
    assert all(page.view.content_length() <= 4_000 for page in drawn)
    shown = "".join(dump([page]) for page in drawn)
    assert all(f"={n}" in shown for n in range(12))
    assert "at1:approve" in dump(drawn[-1:]), "the buttons are on the last page"


def test_a_card_with_long_reasons_for_four_pictures_is_accepted() -> None:
    picture = Picture(
        generation_id=JOB, blob=None, alt="a", width=64, height=64, seed=1, note="Held for review"
    )
    reply = Reply(
        job_id=JOB, kind=JobKind.IMAGE, status=JobStatus.SUCCEEDED, tone=Tone.WARN, title="Denied",
        prompt="*_~`" * 250, author="*" * 80, text="why " * 900, pictures=(picture,) * 4,
        fields=(Field(label="Not wanted", value="*" * 1000),),
    )  # fmt: skip
    (page,) = pages(reply, words_for("en"))
    assert page.view.content_length() <= 4_000
    assert "…" in dump([page]), "and what is left out is shown to be"


def test_channels_that_a_refusal_names_are_there_to_go_to() -> None:
    (page,) = pages(Reply(text="Not here.", channels=("123456", "*art*")), words_for("en"))
    drawn = json.dumps(components(page.view))
    assert "<#123456>" in drawn and "#*art*" not in drawn, "what is no id of Discord's is a word"
