"""One job through the worker: judged before it is stored, charged for what it made, ended once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image
from sqlmodel import select

from moderation.pipeline import Content, Pipeline, Surface
from storage import documents, jobs, views
from storage.blobs import Blobs
from storage.database import Database
from storage.endings import end_job
from storage.errors import RetryLater
from storage.models import Account, Case, Entry, Generation, Job
from storage.queue import Wire
from storage.registry import load_registry
from storage.schema import (
    TERMINAL_STATUSES,
    Category,
    ChatSpec,
    Event,
    EventType,
    Flag,
    GenerationStatus,
    ImageSpec,
    JobKind,
    JobStatus,
    Outcome,
    Verdict,
)
from tests.conftest import actor, chat_spec, image_spec, row, sound, submitted
from worker.answer_run import PIECE, pieces
from worker.engine.errors import BadPicture, Cancelled, EngineStopped, ModelUnavailable
from worker.engine.outputs import Answer, Output, Picture, Progress, Text
from worker.generate import Floor, Tools


class ScriptedRun:
    """Yields a script of outputs, errors, pauses (numbers, in seconds) and conditions (called
    until they are true)."""

    def __init__(self, spec: ImageSpec | ChatSpec, script: Sequence[Any]) -> None:
        self.spec = spec
        self.script = script
        self.busy_ms = 40
        self.asked = asyncio.Event()
        self.stopped = asyncio.Event()
        self.ended = False
        self.moments: list[Any] = []

    def cancel(self) -> None:
        self.asked.set()

    def joined(self, more: Any) -> None: ...

    def note(self, name: str, seconds: float, **facts: Any) -> None: ...

    async def __aiter__(self) -> AsyncIterator[Output]:
        try:
            for item in self.script:
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, int | float):
                    waits = [asyncio.create_task(e.wait()) for e in (self.asked, self.stopped)]
                    await asyncio.wait(waits, timeout=item, return_when="FIRST_COMPLETED")
                    for wait in waits:
                        wait.cancel()
                elif callable(item):
                    async with asyncio.timeout(60):
                        while not item():
                            await asyncio.sleep(0.01)
                else:
                    await asyncio.sleep(0)
                if self.stopped.is_set():
                    raise EngineStopped("stopped")
                if self.asked.is_set():
                    raise Cancelled("cancelled")
                if not (isinstance(item, int | float) or callable(item)):
                    yield item
        finally:
            self.ended = True


class ScriptedEngine:
    """The engine's face over scripts."""

    def __init__(self) -> None:
        self.script: Sequence[Any] = ()
        self.runs: list[ScriptedRun] = []

    def loaded(self) -> list[str]:
        return []

    def room(self) -> dict[JobKind, int]:
        busy = any(not run.ended for run in self.runs)
        return dict.fromkeys(JobKind, 0 if busy else 1)

    def submit(self, job_id: str, spec: ImageSpec | ChatSpec) -> ScriptedRun:
        self.runs.append(ScriptedRun(spec, self.script))
        return self.runs[-1]

    async def stop(self) -> None:
        for run in self.runs:
            run.stopped.set()


class Judge:
    """A stage whose findings a test decides: by words, and by the redness of a picture."""

    surfaces = frozenset(Surface)

    def __init__(self, name: str, find: Callable[[Content], Sequence[Flag]]) -> None:
        self.name = name
        self.find = find
        self.seen: list[Content] = []

    def load(self) -> None: ...

    def check(self, content: Content) -> Sequence[Flag]:
        self.seen.append(content)
        return self.find(content)


def paint(red: int = 0) -> Image.Image:
    return Image.new("RGB", (32, 32), (red, 10, 20))


def picture(index: int = 0, red: int = 0) -> Picture:
    return Picture(index, paint(red), 7 + index, {"seed": 7 + index}, "sha")


def redness(content: Content) -> list[Flag]:
    """128 is worth a person's look, 255 is certain."""
    if content.image is None:
        return []
    red = content.image.getpixel((0, 0))[0]  # type: ignore[index]
    score = {128: 0.55, 255: 0.95}.get(int(red), 0.0)
    return [Flag(category=Category.SEX, score=score, stage="image.red")] if score else []


def words(content: Content) -> list[Flag]:
    scores = {"HOLDME": 0.55, "BLOCKME": 0.95}
    found = [score for word, score in scores.items() if word in (content.text or "")]
    return [Flag(category=Category.SEXC, score=max(found), stage="text.words")] if found else []


@pytest_asyncio.fixture
async def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def eyes() -> Judge:
    return Judge("image.red", redness)


@pytest_asyncio.fixture
async def floor(
    database: Database, wire: Wire, tmp_path: Path, engine: ScriptedEngine, eyes: Judge
) -> AsyncIterator[Floor]:
    tools = Tools(
        database=database, wire=wire, blobs=Blobs(tmp_path / "blobs"), registry=load_registry(),
        engine=engine, gate=Pipeline([eyes, Judge("text.words", words)], timeout_s=60),  # type: ignore[arg-type]
        worker="w", renew_s=0.3,
    )  # fmt: skip
    opened = Floor(tools)
    running = asyncio.create_task(opened.run())
    yield opened
    running.cancel()


async def work(
    floor: Floor, engine: ScriptedEngine, spec: ImageSpec | ChatSpec, script: Sequence[Any],
    **options: Any,
) -> Job:  # fmt: skip
    """Submit, run to the end, and give the row."""
    database = floor.tools.database
    engine.script = script
    now = floor.tools.clock()
    job = submitted(database, actor(database, now=now), spec, price=4, now=now, **options)
    floor.wake()
    return await ended(database, job.id)


async def ended(database: Database, job_id: str) -> Job:
    async with asyncio.timeout(60):
        while row(database, job_id).status not in TERMINAL_STATUSES:
            await asyncio.sleep(0.02)
    return row(database, job_id)


def made(database: Database) -> list[Generation]:
    return database.read(
        lambda s: list(s.exec(select(Generation).order_by(Generation.index)))  # type: ignore[arg-type]
    )


def spent(database: Database) -> int:
    """Credits settled, once nothing is reserved any more."""
    held = database.read(lambda s: list(s.exec(select(Account))))
    assert all(account.pending == 0 for account in held)
    lines = database.read(lambda s: list(s.exec(select(Entry).where(Entry.kind == "settle"))))
    return sum(line.amount for line in lines)


async def test_a_picture_is_judged_stored_and_charged(
    floor: Floor, engine: ScriptedEngine, eyes: Judge, database: Database
) -> None:
    job = await work(floor, engine, image_spec(count=2), [picture(1), picture(0)])
    assert job.status == JobStatus.SUCCEEDED
    first, second = made(database)
    assert (first.seed, second.seed) == (7, 8)
    assert first.status == GenerationStatus.VISIBLE
    assert floor.tools.blobs.get(first.blob or "")[8:12] == b"WEBP"
    assert [content.surface for content in eyes.seen] == [Surface.OUTPUT] * 2
    assert spent(database) == job.cost == 2
    assert sound(database)


async def test_held_is_stored_unseen_with_a_case(
    floor: Floor, engine: ScriptedEngine, database: Database
) -> None:
    job = await work(floor, engine, image_spec(count=2), [picture(0), picture(1, red=128)])
    assert job.status == JobStatus.SUCCEEDED
    assert [g.status for g in made(database)] == ["visible", "held"]
    space = job.workspace_id
    shown, held = (g.blob or "" for g in made(database))
    assert database.read(views.visible_blob, workspace_id=space, key=shown)
    assert not database.read(views.visible_blob, workspace_id=space, key=held)
    case = database.read(lambda s: s.exec(select(Case)).one())
    assert case.generation_id == made(database)[1].id


async def test_blocked_is_thrown_away_and_free(
    floor: Floor, engine: ScriptedEngine, database: Database
) -> None:
    job = await work(floor, engine, image_spec(), [picture(red=255)])
    assert (job.status, job.error_code) == (JobStatus.REJECTED, "output_refused")
    assert made(database)[0].blob is None
    assert list(floor.tools.blobs.folder.rglob("*.png")) == []
    assert spent(database) == 0


async def test_a_stage_that_raises_or_hangs_holds(
    floor: Floor, engine: ScriptedEngine, eyes: Judge, database: Database
) -> None:
    def raises(content: Content) -> Sequence[Flag]:
        raise RuntimeError("broken")

    eyes.find = raises
    await work(floor, engine, image_spec(), [picture()])
    over = threading.Event()

    def hangs(content: Content) -> Sequence[Flag]:
        over.wait(60)
        return []

    eyes.find = hangs
    floor.tools = replace(floor.tools, gate=Pipeline([eyes], timeout_s=0.5))
    await work(floor, engine, image_spec(), [picture()])
    over.set()
    assert [g.status for g in made(database)] == ["held", "held"]


async def test_previews_are_judged_before_anyone_sees_them(
    floor: Floor, engine: ScriptedEngine, wire: Wire, database: Database
) -> None:
    events: list[Event] = []

    async def listen() -> None:
        async with wire.listen() as heard:
            ready.set()
            async for event in heard:
                events.append(event)

    ready = asyncio.Event()
    listening = asyncio.create_task(listen())
    await ready.wait()

    def told(steps: int) -> Callable[[], bool]:
        return lambda: sum(event.type is EventType.PROGRESS for event in events) == steps

    def settled() -> bool:
        """Nothing is being checked: what may be shown is known."""
        return not any("PictureRun._preview" in repr(t.get_coro()) for t in asyncio.all_tasks())

    # Between two progress events lie 0.2 s at least, or the second is not told.
    script = [
        Progress(0, 1, 3, paint(red=255)), told(1), settled, 0.25,
        Progress(0, 2, 3, paint()), told(2), settled, 0.25,
        Progress(0, 3, 3), told(3), picture(),
    ]  # fmt: skip
    job = await work(floor, engine, image_spec(format="png"), script)
    listening.cancel()
    progress = [event for event in events if event.type is EventType.PROGRESS]
    assert [event.step for event in progress] == [1, 2, 3]
    assert progress[0].preview is None
    assert progress[1].preview is None, "the first preview was refused"
    key = progress[2].preview
    assert key is not None
    assert await wire.preview_allowed(key, job.workspace_id)
    assert not await wire.preview_allowed(key, "another workspace")
    assert list(floor.tools.blobs.folder.rglob("*.webp")) == [], "previews go when the job ends"


async def test_a_preview_being_stored_when_its_job_ends_goes_too(
    floor: Floor, engine: ScriptedEngine, database: Database
) -> None:
    entered, gate, left = threading.Event(), threading.Event(), threading.Event()

    class Slow(Blobs):
        def put(self, data: bytes, suffix: str) -> str:
            entered.set()
            gate.wait(60)
            key = super().put(data, suffix)
            left.set()
            return key

    floor.tools = replace(floor.tools, blobs=Slow(floor.tools.blobs.folder))
    engine.script = [Progress(0, 1, 20, paint()), 30]
    now = floor.tools.clock()
    person = actor(database, now=now)
    job = submitted(database, person, now=now)
    floor.wake()
    assert await asyncio.to_thread(entered.wait, 60)
    database.write(jobs.cancel, job.id, actor=person, now=now)
    floor.wake()
    await asyncio.wait_for(engine.runs[0].asked.wait(), 60)
    gate.set()
    assert await asyncio.to_thread(left.wait, 60)
    assert (await ended(database, job.id)).status == JobStatus.CANCELLED
    assert [path for path in floor.tools.blobs.folder.rglob("*") if path.is_file()] == []


async def test_cancel_while_running(
    floor: Floor, engine: ScriptedEngine, database: Database
) -> None:
    engine.script = [Progress(0, 1, 20), 30, picture()]
    now = floor.tools.clock()
    person = actor(database, now=now)
    job = submitted(database, person, now=now)
    floor.wake()
    async with asyncio.timeout(60):
        while row(database, job.id).status != JobStatus.RUNNING:
            await asyncio.sleep(0.01)
    assert database.write(jobs.cancel, job.id, actor=person, now=now) == JobStatus.RUNNING
    floor.wake()
    done = await asyncio.wait_for(ended(database, job.id), 60)
    assert done.status == JobStatus.CANCELLED
    assert spent(database) == 0
    assert sound(database)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ([BadPicture("blank")], "bad_picture"),
        ([ModelUnavailable("no model", "get it")], "model_unavailable"),
    ],
)
async def test_failures_cost_nothing(
    floor: Floor, engine: ScriptedEngine, database: Database, script: list[Any], code: str
) -> None:
    job = await work(floor, engine, image_spec(), script)
    assert (job.status, job.error_code, job.cost) == (JobStatus.FAILED, code, 0)
    assert spent(database) == 0


async def test_the_deadline_frees_the_engine(
    floor: Floor, engine: ScriptedEngine, database: Database
) -> None:
    def shorten(session: views.Session) -> None:
        for job in session.exec(select(Job)):
            job.deadline_ms = 200

    engine.script = [30]
    now = floor.tools.clock()
    job = submitted(database, actor(database, now=now), now=now)
    database.write(shorten)
    floor.wake()
    done = await ended(database, job.id)
    assert (done.status, done.error_code) == (JobStatus.FAILED, "deadline")
    assert engine.runs[0].asked.is_set()


async def test_a_graceful_stop_gives_the_job_back(
    floor: Floor, engine: ScriptedEngine, database: Database
) -> None:
    engine.script = [30, picture()]
    now = floor.tools.clock()
    job = submitted(database, actor(database, now=now), now=now)
    floor.wake()
    async with asyncio.timeout(60):
        while row(database, job.id).status != JobStatus.RUNNING:
            await asyncio.sleep(0.01)
    await floor.stop(0.05)
    back = row(database, job.id)
    assert (back.status, back.attempts, back.lease_until) == (JobStatus.QUEUED, 0, None)
    assert sound(database)


async def test_an_answer_is_released_by_the_sentence(
    floor: Floor, engine: ScriptedEngine, wire: Wire, database: Database
) -> None:
    texts: list[str | None] = []

    async def listen() -> None:
        async with wire.listen() as heard:
            ready.set()
            async for event in heard:
                if event.type is EventType.TEXT:
                    texts.append(event.text)

    ready = asyncio.Event()
    listening = asyncio.create_task(listen())
    await ready.wait()
    pieces = ["It is ", "Paris", ". And", " it is", " big. So", " there"]
    script = [*(Text(p) for p in pieces), Answer("".join(pieces), 9, 600, {"k": 1})]
    job = await work(floor, engine, chat_spec(), script)
    async with asyncio.timeout(60):
        while len(texts) < 3:
            await asyncio.sleep(0.01)
    listening.cancel()
    assert texts == [
        "It is Paris. ", "It is Paris. And it is big. ", "It is Paris. And it is big. So there",
    ]  # fmt: skip
    assert made(database)[0].text == "It is Paris. And it is big. So there"
    assert job.cost == 2, "600 tokens are two credits"
    kept = database.read(jobs.conversation, workspace_id=job.workspace_id, thread="t1")
    assert [m.role for m in kept] == ["user", "assistant"]


async def test_a_late_finding_withdraws_what_was_shown(
    floor: Floor, engine: ScriptedEngine, wire: Wire, database: Database
) -> None:
    script = [Text("Fine so far. "), Text("Now BLOCKME. "), 30]
    job = await work(floor, engine, chat_spec(), script)
    assert (job.status, job.error_code) == (JobStatus.REJECTED, "answer_withdrawn"), "it says so"
    assert made(database)[0].text is None and made(database)[0].recipe["withdrawn"]
    assert engine.runs[0].asked.is_set(), "the engine does not go on writing it"
    assert spent(database) == 0
    kept = database.read(jobs.conversation, workspace_id=job.workspace_id, thread="t1")
    assert kept == []


async def test_a_sentence_late_in_a_long_answer_is_judged_by_itself(
    floor: Floor, engine: ScriptedEngine, database: Database
) -> None:
    """Stages that read the beginning of a text (the heads do) see the end of an answer too."""
    stage = floor.tools.gate.stages[1]
    assert isinstance(stage, Judge)
    stage.find = lambda content: words(replace(content, text=(content.text or "")[:400]))
    fine = "The harbour lies in the morning light and the gulls circle above the nets. "
    for streamed in (True, False):
        text = fine * 12 + "Now HOLDME here. " + fine
        parts = [Text(fine)] * 12 + [Text("Now HOLDME here. "), Text(fine)] if streamed else []
        await work(floor, engine, chat_spec(), [*parts, Answer(text, 1, 200, {})])
        held = made(database)[-1]
        assert (held.status, held.text) == ("held", text)
    spread = "no sentence at all " * 60 + "HOLDME"
    await work(floor, engine, chat_spec(), [Answer(spread, 1, 200, {})])
    assert [item.status for item in made(database)] == ["held"] * 3
    for kept in ("One. " * 100, "word, " * 800 + "end. ", "没有句号" * 400 + "。"):
        assert "".join(pieces(kept)) == kept and max(map(len, pieces(kept))) <= 2 * PIECE


async def test_a_held_answer_is_written_to_its_end_unseen(
    floor: Floor, engine: ScriptedEngine, database: Database
) -> None:
    text = "Well. HOLDME now. The end."
    script = [Text("Well. "), Text("HOLDME now. "), Text("The end."), Answer(text, 1, 9, {})]
    job = await work(floor, engine, chat_spec(), script)
    assert job.status == JobStatus.SUCCEEDED
    assert (made(database)[0].status, made(database)[0].text) == ("held", text)
    assert made(database)[0].recipe["withdrawn"], "its first sentence had been shown"
    kept = database.read(jobs.conversation, workspace_id=job.workspace_id, thread="t1")
    assert kept == [], "the model does not see what nobody may see"


async def test_words_that_veil_a_picture_do_not_hide_an_answer(
    floor: Floor, engine: ScriptedEngine, wire: Wire, database: Database, eyes: Judge
) -> None:
    flag = Flag(category=Category.GORE, score=0.75, stage="text.words")
    veil = Verdict(outcome=Outcome.BLUR, flags=frozenset({flag}))
    text = "There was blood. The end."
    script = [Text("There was blood. "), Text("The end."), Answer(text, 1, 9, {"turns": ["x"]})]
    await work(floor, engine, chat_spec(), script, verdict=veil)
    assert made(database)[0].status == GenerationStatus.VISIBLE
    assert "turns" not in made(database)[0].recipe
    await work(floor, engine, image_spec(), [Progress(0, 1, 2, paint()), 0.2, picture()],
               verdict=veil)  # fmt: skip
    assert made(database)[-1].status == GenerationStatus.BLURRED
    assert [c.surface for c in eyes.seen] == [Surface.OUTPUT], "no preview could be veiled"


async def test_an_ending_written_twice_keeps_its_pictures(
    floor: Floor, engine: ScriptedEngine, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that succeeded while its answer was lost: the second try finds its own work."""
    run = database.run
    lost: list[str] = []

    async def unlucky(fn: Any, *args: Any, **options: Any) -> Any:
        result = await run(fn, *args, **options)
        if fn is end_job and not lost:
            lost.append("answer")
            raise RetryLater("connection lost after commit")
        return result

    monkeypatch.setattr(database, "run", unlucky)
    job = await work(floor, engine, image_spec(), [picture()])
    async with asyncio.timeout(60):
        while floor.busy:
            await asyncio.sleep(0.02)
    assert lost
    assert job.status == JobStatus.SUCCEEDED
    assert floor.tools.blobs.get(made(database)[0].blob or "")
    assert spent(database) == 1


async def test_a_busy_database_is_no_missing_model(
    floor: Floor, engine: ScriptedEngine, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking something up may fail for a moment: the job is tried again, not ended."""
    look = database.look
    lost: list[str] = []

    async def unlucky(fn: Any, *args: Any, **options: Any) -> Any:
        if fn is documents.count and not lost:
            lost.append("answer")
            raise RetryLater("database is locked")
        return await look(fn, *args, **options)

    monkeypatch.setattr(database, "look", unlucky)
    floor.tools = replace(floor.tools, lease_ms=700)
    spec = chat_spec(retrieval=True)
    job = await work(floor, engine, spec, [Text("Paris."), Answer("Paris.", 9, 2, {})])
    assert lost and (job.status, job.attempts) == (JobStatus.SUCCEEDED, 2)


async def test_a_stopped_answer_in_chinese_costs_what_was_read(
    floor: Floor, engine: ScriptedEngine, database: Database
) -> None:
    """It has no blanks between its words; a word a blank would make it free."""
    engine.script = [Text("春眠不觉晓处处闻啼鸟。" * 60), 30]
    now = floor.tools.clock()
    person = actor(database, now=now)
    job = submitted(database, person, chat_spec(), price=9, now=now)
    floor.wake()
    async with asyncio.timeout(60):
        while await floor.tools.wire.live(job.id) is None:
            await asyncio.sleep(0.02)
    database.write(jobs.cancel, job.id, actor=person, now=now)
    floor.wake()
    done = await ended(database, job.id)
    assert done.status == JobStatus.SUCCEEDED
    assert spent(database) == 2, "660 characters are about 660 tokens, not one"


async def test_a_dead_engine_counts_as_an_attempt(
    floor: Floor, engine: ScriptedEngine, database: Database
) -> None:
    engine.script = [EngineStopped("died")]
    now = floor.tools.clock()
    job = submitted(database, actor(database, now=now), now=now)
    floor.wake()
    async with asyncio.timeout(60):
        while not (engine.runs and engine.runs[0].ended):
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    left = row(database, job.id)
    assert (left.status, left.attempts) == (JobStatus.RUNNING, 1), "left to its lease"


async def test_a_prompt_on_hold_holds_what_it_makes(
    floor: Floor, engine: ScriptedEngine, eyes: Judge, database: Database
) -> None:
    flag = Flag(category=Category.HATE, score=0.6, stage="text.words")
    hold = Verdict(outcome=Outcome.HOLD, flags=frozenset({flag}))
    script = [Progress(0, 1, 2, paint()), 0.2, picture()]
    await work(floor, engine, image_spec(), script, verdict=hold)
    assert made(database)[0].status == GenerationStatus.HELD
    assert [c.surface for c in eyes.seen] == [Surface.OUTPUT], "no preview of it either"


async def test_stop_keeps_what_was_read(
    floor: Floor, engine: ScriptedEngine, database: Database
) -> None:
    engine.script = [Text("One sentence. "), Text("And half"), 30]
    now = floor.tools.clock()
    person = actor(database, now=now)
    job = submitted(database, person, chat_spec(), now=now)
    floor.wake()
    async with asyncio.timeout(60):
        while await floor.tools.wire.live(job.id) is None:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    database.write(jobs.cancel, job.id, actor=person, now=now)
    floor.wake()
    done = await ended(database, job.id)
    assert done.status == JobStatus.SUCCEEDED
    assert made(database)[0].text == "One sentence."
    assert spent(database) == 1, "what was read is paid"
    assert sound(database)
