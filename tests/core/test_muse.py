"""Chat from the command to the card, through the real core, queue, worker, engine and a chat
server that speaks over HTTP."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest_asyncio
from PIL import Image

from bot.commands import COMMANDS, PRESSES
from bot.core.attachment import Attachment
from bot.core.command import Core
from bot.core.reply import EFFECTS, Effect, Reply, Verb
from moderation.build import prompt_pipeline
from moderation.build_output import output_pipeline
from moderation.pipeline import Pipeline
from storage import threads
from storage.blobs import Blobs
from storage.database import Database
from storage.models import ThreadMemory, Workspace
from storage.queue import Wire
from storage.registry import load_registry
from storage.schema import TERMINAL_STATUSES, ImageSpec, JobStatus, Platform, parse_spec
from tests.conftest import row, sound
from tests.engine.speaker import Speaker, speaking
from tests.fakes import FakeAdapter, make_services
from tests.worker.test_floor import Judge, redness
from worker.engine.engine import Engine
from worker.engine.remote import Remote
from worker.generate import Floor, Tools

SCENE = (
    "Subject: a red apple with a green leaf\nScene: on a wooden table\nStyle: oil painting\n"
    "Light: warm evening light\nCamera: close up"
)


@dataclass
class Studio:
    """A member's front end, and the chat server behind the worker."""

    fake: FakeAdapter
    speaker: Speaker
    database: Database
    floor: Floor

    async def done(self, reply: Reply) -> Reply:
        """The card of a job once it has ended."""
        assert reply.job_id is not None, reply.text
        self.floor.wake()
        async with asyncio.timeout(60):
            while row(self.database, reply.job_id).status not in TERMINAL_STATUSES:
                await asyncio.sleep(0.02)
        return await self.fake.press(Verb.SHOW, reply.job_id)

    async def ask(self, command: str = "ask", **values: Any) -> Reply:
        """Use a command and wait for its card."""
        return await self.done(await self.fake.say(command, **values))

    def settings(self, **values: Any) -> None:
        """Change the workspace's settings."""

        def write(session: Any) -> None:
            from sqlmodel import select

            space = session.exec(select(Workspace)).one()
            space.settings = {**space.settings, **values}
            session.add(space)

        self.database.write(write)


async def open_studio(
    database: Database, wire: Wire, folder: Path, speaker: Speaker, gate: Pipeline,
    **models: Any,
) -> tuple[Studio, Engine, asyncio.Task[None]]:  # fmt: skip
    registry = load_registry(**models)
    services = replace(make_services(database, wire, folder), registry=registry)
    await services.prompt_gate.load()
    await gate.load()
    engine = Engine(registry, folder / "models", remote=Remote({}, 5.0))
    await engine.start()
    floor = Floor(
        Tools(
            database=database, wire=wire, blobs=Blobs(folder / "blobs"), registry=registry,
            engine=engine, gate=gate, worker="w",
        )
    )  # fmt: skip
    running = asyncio.create_task(floor.run())
    fake = FakeAdapter(core=Core(services, COMMANDS, PRESSES))
    return Studio(fake, speaker, database, floor), engine, running


@pytest_asyncio.fixture
async def studio(sqlite_database: Database, wire: Wire, tmp_path: Path) -> AsyncIterator[Studio]:
    """A studio whose chat and vision models are one server."""
    speaker = Speaker()
    # Words as everywhere; a picture that no stage reads is held, and what is said of it, too.
    gate = Pipeline([*prompt_pipeline().stages, Judge("image.red", redness)], timeout_s=60)
    async with speaking(speaker):
        made, engine, running = await open_studio(
            sqlite_database, wire, tmp_path, speaker, gate,
            chat_providers=f"one={speaker.url}#m", vision_providers=f"two={speaker.url}#eyes",
        )  # fmt: skip
        yield made
        running.cancel()
        await engine.stop()
        assert sound(sqlite_database)


def names(reply: Reply) -> list[str]:
    return [str(button.verb) for button in reply.buttons]


async def test_enhance_writes_a_scene_that_can_be_drawn_and_changed(studio: Studio) -> None:
    studio.speaker.answers = [SCENE]
    card = await studio.ask("enhance", prompt="a red apple")
    assert card.prompt == "a red apple", "the member's own words stay"
    assert "on a wooden table" in card.text and "Light" in card.text
    assert "fixed rules" not in card.text
    assert names(card)[:3] == ["draw", "reword", "regenerate"]
    told = studio.speaker.calls[0]["messages"]
    assert [m["role"] for m in told] == ["system", "user", "assistant"] * 1 + [
        "user", "assistant", "user",
    ]  # fmt: skip
    assert told[-1]["content"] == "Idea: a red apple"
    target = card.buttons[0].target
    drawn = await studio.fake.press(Verb.DRAW, target)
    spec = parse_spec(row(studio.database, drawn.job_id or "").spec)
    assert isinstance(spec, ImageSpec)
    assert spec.prompt.startswith("a red apple with a green leaf, on a wooden table, oil painting")
    assert row(studio.database, drawn.job_id or "").parent_id == card.job_id
    form = await studio.fake.press(Verb.REWORD, target)
    assert form.form is not None and form.form.fields[0].value == spec.prompt
    changed = await studio.fake.press(Verb.REWORD, target, prompt="a green pear")
    assert changed.prompt == "a green pear"
    foreign = await studio.fake.press(Verb.DRAW, target, "bob")
    assert foreign.code is not None and foreign.job_id is None


async def test_what_the_rules_wrote_is_said(studio: Studio) -> None:
    studio.speaker.answers = ["apple apple apple apple", SCENE.replace("close up", "warm light")]
    nothing = await studio.ask("enhance", prompt="a red apple")
    assert "fixed rules" in nothing.text and "`a red apple, " in nothing.text
    part = await studio.ask("enhance", prompt="a red apple")
    assert "Camera" in part.text.rsplit("fixed rules", 1)[1]
    studio.fake.locale = "zh"
    chinese = await studio.ask("enhance", prompt="a red apple")
    assert "镜头" in chinese.text and "固定规则" in chinese.text


async def test_brainstorm_is_a_session_of_directions(studio: Studio) -> None:
    studio.speaker.answers = [
        "1. Harbour: a lighthouse above a harbour at dawn\n2. Storm: a lighthouse in high waves\n"
        "3. Toy: a lighthouse made of paper, studio light\n4. Stars: a lighthouse under stars",
        "1. One: a lighthouse in a storm, oil painting\n2. Two: nothing at all at all",
    ]
    card = await studio.ask("brainstorm", prompt="a lighthouse")
    assert card.text.splitlines()[1] == "2. **Storm**: a lighthouse in high waves"
    assert names(card)[:8] == ["draw"] * 4 + ["pick"] * 4
    drawn = await studio.fake.press(Verb.DRAW, card.buttons[1].target)
    assert drawn.prompt == "a lighthouse in high waves"
    again = await studio.done(await studio.fake.press(Verb.PICK, card.buttons[5].target))
    assert again.prompt == "a lighthouse in high waves"
    assert "oil painting" in again.text and "fixed rules" in again.text and "4." in again.text
    told = " ".join(m["content"] for m in studio.speaker.calls[1]["messages"])
    assert "Harbour" in told, "the session remembers what was tried"
    assert row(studio.database, again.job_id or "").parent_id == card.job_id


def attached() -> Attachment:
    buffer = io.BytesIO()
    Image.new("RGB", (90, 60), "navy").save(buffer, "PNG")
    data = buffer.getvalue()
    return Attachment(platform=Platform.LOCAL, name="x.png", size=len(data), data=data)


async def test_describe_reads_the_picture_and_offers_to_draw(studio: Studio) -> None:
    studio.speaker.words = ("A plain ", "navy blue ", "rectangle.")
    card = await studio.ask("describe", image=attached())
    assert card.text == "A plain navy blue rectangle."
    assert names(card)[:2] == ["draw", "reword"]
    call = studio.speaker.calls[0]
    assert call["model"] == "eyes"
    assert call["messages"][-1]["content"][0]["type"] == "image_url"
    asked = await studio.ask("ask", prompt="which colour?", image=attached())
    assert asked.status == JobStatus.SUCCEEDED
    assert studio.speaker.calls[1]["model"] == "eyes"
    assert (await studio.fake.say("describe")).code == "describe_needs_image"


async def test_without_eyes_a_clear_sentence(
    database: Database, wire: Wire, tmp_path: Path
) -> None:
    services = make_services(database, wire, tmp_path)
    await services.prompt_gate.load()
    fake = FakeAdapter(core=Core(services, COMMANDS, PRESSES))
    for command, more in (("describe", {}), ("ask", {"prompt": "what is it?"})):
        reply = await fake.say(command, image=attached(), **more)
        assert reply.code == "vision_none"
        assert "ATELIER_VISION_PROVIDERS" in reply.text
    assert not list((tmp_path / "blobs").rglob("*.png")), "nothing was kept of it"


async def test_a_conversation_remembers_and_begins_afresh(studio: Studio) -> None:
    await studio.ask(prompt="I am called Ann")
    await studio.ask(prompt="What am I called?")
    said = [m["content"] for m in studio.speaker.calls[1]["messages"]]
    assert said[1:] == ["I am called Ann", "Paris is the capital.", "What am I called?"]
    assert (await studio.fake.say("reset")).data == {"reset": True}
    assert (await studio.fake.say("ask", prompt="reset")).data == {"reset": False}
    await studio.ask(prompt="And now?")
    assert len(studio.speaker.calls[2]["messages"]) == 2
    await studio.ask(prompt="elsewhere", thread="t")
    assert len(studio.speaker.calls[3]["messages"]) == 2


async def test_a_long_conversation_is_folded_into_a_summary(studio: Studio) -> None:
    for number in range(12):
        studio.speaker.answers.append(f"answer {number} " + "word " * 700)
    studio.speaker.words = ("Ann likes ", "apples.")
    for number in range(6):
        await studio.ask(prompt=f"question {number}", max_tokens=1024)
    async with asyncio.timeout(60):
        while not (kept := studio.database.read(summaries)):
            await asyncio.sleep(0.02)
    folds = [c for c in studio.speaker.calls if "Summarise" in c["messages"][-1]["content"]]
    assert folds and "question 0" in folds[0]["messages"][-1]["content"]
    assert kept[0].summary
    studio.speaker.answers = []
    await studio.ask(prompt="and now?")
    told = studio.speaker.calls[-1]["messages"]
    assert f"Earlier in this conversation: {kept[0].summary}" in told[0]["content"]
    assert "question 0" not in str(told)


def summaries(session: Any) -> list[ThreadMemory]:
    from sqlmodel import select

    return list(session.exec(select(ThreadMemory).where(ThreadMemory.folded != "")))


async def test_personas_by_channel_with_their_templates(studio: Studio) -> None:
    assert (
        await studio.fake.say("persona", role="member", persona="teacher")
    ).code == "admins_only"
    unknown = await studio.fake.say("persona", role="admin", persona="nobody")
    assert unknown.code == "persona_unknown"
    assert (await studio.fake.say("persona", role="admin", persona="teacher")).code is None
    shown = await studio.fake.say("persona")
    assert shown.data["persona"] == "teacher" and "patient teacher" in shown.text
    card = await studio.ask(prompt="what is rain?")
    told = studio.speaker.calls[0]["messages"]
    assert told[0]["content"].startswith("You are a patient teacher")
    assert told[-1]["content"].startswith("what is rain?\n\nThink step by step")
    assert card.prompt == "what is rain?"
    studio.fake.channel = "other"
    await studio.ask(prompt="hello")
    assert "Atelier" in studio.speaker.calls[1]["messages"][0]["content"]


async def test_data_is_validated_and_repaired_once(studio: Studio) -> None:
    await studio.ask(prompt="hello")
    studio.settings(channel_personas={"general": "analyst"})
    good = '{"answer": "Paris", "confidence": "high"}'
    studio.speaker.answers = ['Sure! {"answer": "Paris"}', good]
    card = await studio.ask(prompt="capital of France?")
    assert '"confidence": "high"' in card.text
    assert card.data["recipe"]["repaired"] is True  # type: ignore[index]
    mended = studio.speaker.calls[-1]["messages"][-1]["content"]
    assert "'confidence' is a required property" in mended
    studio.speaker.answers = ["no", "still no"]
    failed = await studio.ask(prompt="again?")
    assert (failed.status, failed.code) == (JobStatus.FAILED, "answer_unreadable")
    assert row(studio.database, failed.job_id or "").cost == 0


async def test_tools_answer_as_the_asking_member(studio: Studio) -> None:
    await studio.ask(prompt="the secret of bob", thread="x")
    studio.settings(channel_personas={"general": "clerk"})
    studio.speaker.answers = [
        '{"tool": "calculator", "input": "(17 + 4) * 2"}', "It is 42.",
        '{"tool": "history", "input": "secret"}', "Nothing there.",
        '{"tool": "shell", "input": "rm -rf /"}', "I cannot.",
    ]  # fmt: skip
    card = await studio.ask(prompt="what is (17+4)*2?")
    assert card.text == "It is 42."
    assert card.data["recipe"]["tools"] == ["calculator"]  # type: ignore[index]
    result = studio.speaker.calls[-1]["messages"][-1]["content"]
    assert "<<\n42\n>>" in result and "data only" in result
    assert "calculator:" in studio.speaker.calls[-1]["messages"][0]["content"]
    await studio.done(await studio.fake.say("ask", "cat", prompt="what was made here?"))
    assert "nothing was found" in studio.speaker.calls[-1]["messages"][-1]["content"]
    await studio.ask(prompt="delete everything")
    assert "not allowed here" in studio.speaker.calls[-1]["messages"][-1]["content"]


async def test_a_chinese_prompt_draws_an_apple_with_the_starter(
    sqlite_database: Database, wire: Wire, tmp_path: Path
) -> None:
    made, engine, running = await open_studio(
        sqlite_database, wire, tmp_path, Speaker(), output_pipeline()
    )
    try:
        card = await made.ask("imagine", prompt="一个红苹果", seed=7, steps=8)
        assert card.status == JobStatus.SUCCEEDED
        assert card.prompt == "一个红苹果"
        recipe: Any = card.data["recipe"]
        assert (recipe["prompt"], recipe["asked"]) == ("a red apple", "一个红苹果")
        assert recipe["written_by"] == "lexicon"
        assert "a red apple" in {field.value for field in card.fields}
        plain = await made.ask("imagine", prompt="a red apple", seed=7, steps=8)
        hashes = [c.data["generations"][0]["sha256"] for c in (card, plain)]  # type: ignore[index]
        assert hashes[0] == hashes[1], "the very same picture as in English"
        assert "asked" not in plain.data["recipe"]  # type: ignore[operator]
        short = await made.ask("imagine", prompt="a red apple", seed=7, steps=8, enhance=True)
        assert short.data["recipe"]["written_by"] == "short"  # type: ignore[index]
    finally:
        running.cancel()
        await engine.stop()


def test_new_buttons_say_what_they_answer_with() -> None:
    assert EFFECTS[Verb.DRAW] is EFFECTS[Verb.PICK] is Effect.NEW
    assert EFFECTS[Verb.REWORD] is Effect.FORM


def test_tokens_are_counted_generously() -> None:
    assert threads.tokens_of("一二三四") == 8
    assert threads.tokens_of("a" * 400) == 104
