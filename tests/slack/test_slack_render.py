"""What Slack is given: the same as last time, within every limit, and nothing in it is parsed."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from bot.adapters.slack import views
from bot.adapters.slack.escape import escaped, fit, fit_escaped, literal
from bot.adapters.slack.render import (
    WORDS,
    answer_parts,
    continuations,
    message,
    progress_bar,
    words_for,
)
from bot.adapters.slack.rich import rich_text
from bot.core.reply import (
    Button,
    Field,
    Form,
    FormField,
    Link,
    Picture,
    Progress,
    Reply,
    Tone,
    Verb,
)
from bot.core.texts import LOCALES, load_words
from bot.root import known_commands
from storage.schema import JobKind, JobStatus
from tests.slack import rules
from tests.slack.samples import FILES, samples

GOLDEN = Path(__file__).with_name("golden")
NASTY = (
    "<!channel> <!here|x> <!everyone> <@U123> <#C123|general> <!subteam^S1> @channel "
    "<https://evil.example|click me> <mailto:a@b.c> &lt;!channel&gt; *bold* _it_ ~no~ `code` "
    "``` {when} </script> \u202e\u200b :tada: [x](http://evil.example) ![y](http://evil.example)"
)


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("name", samples("en"))
def test_every_card_is_as_it_was(name: str, locale: str) -> None:
    """Goldens; after a wanted change: ATELIER_GOLDEN=1 python -m pytest tests/slack."""
    made = message(samples(locale)[name], words_for(locale), FILES)
    text = json.dumps({"text": made.text, "blocks": made.blocks}, indent=1, ensure_ascii=False)
    file = GOLDEN / f"{name}.{locale}.json"
    if os.environ.get("ATELIER_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
    assert json.loads(file.read_text(encoding="utf-8")) == json.loads(text)


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("name", samples("en"))
def test_every_card_is_accepted(name: str, locale: str) -> None:
    made = message(samples(locale)[name], words_for(locale), FILES)
    assert rules.block_faults(made.blocks) == []
    assert rules.text_faults("text", made.text) == []
    assert made.text


TEXTS = (
    "", "short", NASTY, "x" * 4_000, "&<>" * 900, "字" * 3_000, "a\n\nb\n\n" * 500,
    "```\n" + "code\n" * 3_000, "*_~`" * 200, "\u202e\u200b😀é" * 50,
)  # fmt: skip


def any_reply(dice: random.Random) -> Reply:
    """A reply of anything the core could say, and of much that it would not."""

    def text() -> str:
        return dice.choice(TEXTS)

    def some(most: int, make: Callable[[], Any]) -> tuple[Any, ...]:
        return tuple(make() for _ in range(dice.randint(0, most)))

    def button() -> Button:
        style = dice.choice(["plain", "primary", "danger"])
        return Button(
            verb=dice.choice(list(Verb)), target=text(), label=text(), style=style,  # type: ignore[arg-type]
            confirm=text(),
        )  # fmt: skip

    def picture() -> Picture:
        return Picture(
            generation_id="g", blob=dice.choice([None, *FILES]), alt=text(), width=64, height=64,
            seed=1, blurred=dice.random() < 0.5, note=text(), buttons=some(9, button),
        )  # fmt: skip

    return Reply(
        text=text(), title=text(), prompt=text(), author=text(), tone=dice.choice(list(Tone)),
        job_id=dice.choice([None, "01ARZ3NDEKTSV4RRFFQ69G5FAV"]),
        kind=dice.choice(list(JobKind)), status=dice.choice(list(JobStatus)),
        fields=some(12, lambda: Field(label=text(), value=text(), code=dice.random() < 0.5)),
        pictures=some(4, picture), buttons=some(9, button), place=dice.choice([None, 1, 7]),
        total=dice.choice([None, 9]), eta_at=dice.choice([None, 1_900_000_000_000]),
        streaming=dice.random() < 0.3,
        progress=dice.choice([None, Progress(step=3, steps=20, index=2, count=3)]),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_core_says_slack_accepts(seed: int) -> None:
    texts, dice = words_for("en"), random.Random(seed)
    for _ in range(25):
        reply = any_reply(dice)
        for made in (message(reply, texts, FILES), *continuations(reply, texts)):
            assert rules.block_faults(made.blocks) == []
            assert rules.text_faults("text", made.text) == []


def parsed_texts(value: Any) -> list[str]:
    """Every text of a payload that Slack would parse."""
    if isinstance(value, dict):
        if value.get("type") == "mrkdwn":
            return [value["text"]]
        if value.get("type") in ("plain_text", "text"):
            return []
        return [t for item in value.values() for t in parsed_texts(item)]
    return [t for item in value for t in parsed_texts(item)] if isinstance(value, list) else []


@pytest.mark.parametrize("kind", list(JobKind))
@pytest.mark.parametrize("status", list(JobStatus))
def test_nothing_a_model_or_a_member_writes_pings_anybody(kind: JobKind, status: JobStatus) -> None:
    reply = Reply(
        job_id="j", kind=kind, status=status, text=NASTY, title=NASTY, prompt=NASTY, author=NASTY,
        fields=(Field(label=NASTY, value=NASTY), Field(label=NASTY, value=NASTY, code=True)),
        streaming=status is JobStatus.RUNNING,
        pictures=(
            Picture(generation_id="g", blob=None, alt=NASTY, width=1, height=1, seed=1, note=NASTY),
        ),
    )  # fmt: skip
    made = message(reply, words_for("en"))
    for text in (*parsed_texts(made.blocks), made.text):
        bare = re.sub(r"<!date\^\d+\^\{time_secs\}\|\d+>", "", text)
        assert "<" not in bare
        assert ">" not in bare
    assert not re.search(
        r'"type": "(user|channel|broadcast|link|usergroup)"', json.dumps(made.blocks)
    )


@given(text=st.text(max_size=300), limit=st.integers(2, 80))
def test_escaping(text: str, limit: int) -> None:
    for made in (escaped(text), literal(text), fit_escaped(text, limit)):
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", made)
    assert len(fit_escaped(text, limit)) <= limit
    assert len(fit(text, limit)) <= limit
    back = escaped(text).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert back == text


@effort(max_examples=40)
@given(text=st.text("ab *_`#->1.\n<&", max_size=400))
def test_an_answers_words_all_arrive(text: str) -> None:
    block = rich_text(text)
    shown = json.dumps(block, ensure_ascii=False) if block else ""
    for word in re.findall(r"[ab]{2,}", text):
        assert word in shown


def test_lists_code_and_quotes_have_their_own_elements() -> None:
    block = rich_text(
        "# T\n\na **b** *i* `c`\n\n- one\n- two\n  - in\n\n3. three\n4. four\n\n> q\n\n```\nx\n```"
    )
    assert block is not None
    kinds = [e["type"].removeprefix("rich_text_") for e in block["elements"]]
    assert kinds == ["section", "list", "list", "list", "quote", "preformatted"]
    bullets, inner, numbers = block["elements"][1:4]
    assert (bullets["style"], len(bullets["elements"]), inner["indent"]) == ("bullet", 2, 1)
    assert (numbers["style"], numbers["offset"], len(numbers["elements"])) == ("ordered", 2, 2)


def test_a_bar_never_runs_back() -> None:
    shares = [
        progress_bar(Progress(step=step, steps=10, index=index, count=3))[1]
        for index in range(3) for step in range(11)
    ]  # fmt: skip
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 100)
    assert progress_bar(Progress())[1] == 0


def test_parts_of_an_answer_keep_every_paragraph() -> None:
    text = "\n\n".join(f"Number {n}. " + "word " * 200 for n in range(30))
    assert all(f"Number {n}. " in "".join(answer_parts(text)) for n in range(30))


@pytest.mark.parametrize("locale", LOCALES)
def test_every_command_has_a_dialogue_that_slack_accepts(locale: str) -> None:
    for info in known_commands(locale):
        ticket = views.Ticket(command=info.name, channel="C1")
        view = views.command_form(info, words_for(locale), ticket)
        if info.options:
            assert rules.view_faults(view) == [], info.name
            assert views.ticket_of(view) == ticket


def test_a_form_keeps_what_it_was_given() -> None:
    fields = (
        FormField(name="prompt", label="Prompt", kind="long", value="x", required=True),
        FormField(name="style", label="Style", kind="choice", choices=("", "flat"), value="flat"),
        FormField(name="n", label="N", kind="number", value="2.5", minimum=0, maximum=9),
        FormField(name="flag", label="Flag", kind="flag", value="true"),
        FormField(name="image", label="Picture", kind="image"),
    )
    form = Form(title="A title that is longer than Slack", submit="Go", fields=fields, command="x")
    view = views.reply_form(form, words_for("en"), views.Ticket(channel="C1"))
    assert rules.view_faults(view) == []
    assert views.ticket_of(view).command == "x"
    state = {
        "option.style": {"value": {"type": "static_select", "selected_option": {"value": " "}}},
        "option.flag": {"value": {"type": "checkboxes", "selected_options": []}},
        "option.image": {"value": {"type": "file_input", "files": [{"id": "F1"}]}},
        "other": {"value": {"type": "plain_text_input", "value": "not an option"}},
    }
    values = views.values_of({"state": {"values": state}})
    assert values == {"style": "", "flag": "false", "image": {"id": "F1"}}
    assert views.ticket_of({"private_metadata": "junk"}) == views.Ticket()


def test_both_languages_have_every_word() -> None:
    en, zh = (load_words(WORDS, locale) for locale in LOCALES)
    assert en.keys() == zh.keys()
    for key, sentence in en.items():
        assert set(re.findall(r"{\w+}", sentence)) == set(re.findall(r"{\w+}", zh[key])), key
    plain = [k for k, v in zh.items() if not re.search(r"[一-鿿]", v)]
    assert plain == ["slack.prompt.help_message"], "a command is called what it is called"
    sources = "\n".join(p.read_text("utf-8") for p in WORDS.parent.glob("*.py"))
    for key in en:
        family = key.rpartition(".")[0]
        assert f'"{key}"' in sources or f'"{family}.{{' in sources, f"{key} is not used"


def test_files_stay_small() -> None:
    for path in WORDS.parent.rglob("*.py"):
        assert len(path.read_text("utf-8").splitlines()) < 400, path


def test_a_link_of_ours_is_one_and_an_address_in_a_text_is_none() -> None:
    url = "https://studio.example/review/door#abc"
    made = message(Reply(text="see https://evil.example", link=Link(url=url, label="Open")),
                   words_for("en"))  # fmt: skip
    assert rules.block_faults(made.blocks) == []
    links = [e for b in made.blocks for s in b.get("elements", ()) for e in s.get("elements", ())
             if e["type"] == "link"]  # fmt: skip
    assert links == [{"type": "link", "url": url, "text": "Open"}]
    assert url not in made.text, "a notification shows no secret"


def test_buttons_stay_whatever_is_left_out_above_them() -> None:
    fields = tuple(Field(label="label", value="*" * 400) for _ in range(20))
    button = Button(verb=Verb.CONFIRM, target="x", label="Yes")
    made = message(Reply(title="T", text="z" * 3_100, fields=fields, buttons=(button,)),
                   words_for("en"))  # fmt: skip
    assert made.blocks[-1]["type"] == "actions"
    assert not rules.block_faults(made.blocks)


def test_channels_that_a_refusal_names_are_there_to_go_to() -> None:
    made = message(Reply(text="Not here.", channels=("C0123456789", "art")), words_for("en"))
    drawn = json.dumps(made.blocks)
    assert '{"type": "channel", "channel_id": "C0123456789"}' in drawn
    assert '"text": "#art"' in drawn, "what is no id of Slack's is a word"
