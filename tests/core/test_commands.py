"""Commands and buttons through the front door, on both databases."""

from __future__ import annotations

import pytest
from sqlmodel import select

from bot.core.command import Invocation
from bot.core.reply import Tone, Verb
from storage import endings, jobs, views
from storage.blobs import Blobs
from storage.database import Database
from storage.endings import Ending, Exchange
from storage.jobs import Made
from storage.models import Case, Generation, Job
from storage.queue import Wire
from storage.schema import (
    Category,
    ChatSpec,
    Flag,
    GenerationStatus,
    ImageSpec,
    JobKind,
    JobStatus,
    Outcome,
    Verdict,
    new_id,
    parse_spec,
)
from tests.conftest import START, HandClock, sound
from tests.fakes import FakeAdapter

BOTH = {JobKind.IMAGE: 4, JobKind.CHAT: 4}


def finish(database: Database, made: tuple[Made, ...], **ending: object) -> str:
    """Claim the next job and end it as a worker would."""
    claim = database.write(jobs.claim, worker="w", room=BOTH, now=START)
    assert claim is not None
    wish = Ending(status=JobStatus.SUCCEEDED, made=made, cost=1, **ending)  # type: ignore[arg-type]
    assert database.write(endings.end_job, claim.job_id, claim.fence, wish, now=START + 900)
    return claim.job_id


def picture(blob: str | None, verdict: Verdict | None = None, index: int = 0) -> Made:
    verdict = verdict or Verdict()
    status = GenerationStatus.VISIBLE if verdict.allowed else GenerationStatus.HELD
    return Made(
        index=index, status=status, seed=7 + index, recipe={"seed": 7 + index},
        verdict=verdict.dump(), blob=blob, width=128, height=128, sha256="ab",
    )  # fmt: skip


def answer(text: str) -> Made:
    return Made(
        index=0, status=GenerationStatus.VISIBLE, seed=1, recipe={}, verdict=Verdict().dump(),
        text=text,
    )  # fmt: skip


async def test_imagine_queues_with_every_default_filled(
    fake: FakeAdapter, database: Database, wire: Wire
) -> None:
    reply = await fake.say("imagine", prompt="a red apple", seed="7")
    assert reply.status == JobStatus.QUEUED
    assert (reply.place, reply.total) == (1, 1)
    assert [b.verb for b in reply.buttons] == [Verb.CANCEL]
    spec = parse_spec(database.read(lambda s: s.exec(select(Job)).one()).spec)
    assert isinstance(spec, ImageSpec)
    assert (spec.width, spec.height, spec.steps, spec.seed) == (128, 128, 20, 7)
    assert spec.model == "starter-icons"
    assert await wire.pool.zcard("atelier:tickets") == 1, "a ticket waits for a worker"


async def test_a_seed_is_chosen_and_stored_when_none_is_given(
    fake: FakeAdapter, database: Database
) -> None:
    await fake.say("imagine", prompt="a")
    await fake.say("imagine", prompt="a")
    seeds = {parse_spec(j.spec).seed for j in database.read(lambda s: s.exec(select(Job)).all())}
    assert len(seeds) == 2


async def test_the_same_invocation_five_times_is_one_job(
    fake: FakeAdapter, database: Database
) -> None:
    replies = [await fake.say("imagine", prompt="a", key="interaction-1") for _ in range(5)]
    assert len({reply.job_id for reply in replies}) == 1
    assert len(database.read(lambda s: s.exec(select(Job)).all())) == 1
    assert sound(database)


async def test_result_card_has_seed_recipe_alt_text_and_buttons(
    fake: FakeAdapter, database: Database
) -> None:
    queued = await fake.say("imagine", prompt="a red apple", seed=7, count=2, style="flat")
    blob = Blobs(fake.core.services.blobs.folder).put(b"png", "png")  # type: ignore[union-attr]
    finish(database, (picture(blob), picture(blob, index=1)))
    card = await fake.press(Verb.SHOW, queued.job_id or "")
    assert card.status == JobStatus.SUCCEEDED
    assert [p.seed for p in card.pictures] == [7, 8]
    assert "a red apple" in card.pictures[0].alt
    assert {b.verb for b in card.buttons} == {Verb.REROLL, Verb.EDIT}
    assert [b.verb for b in card.pictures[0].buttons] == [
        Verb.VARY_SUBTLE, Verb.VARY_STRONG, Verb.UPSCALE, Verb.FAVOURITE, Verb.AGAIN,
        Verb.DELETE, Verb.REPORT,
    ]  # fmt: skip
    assert card.data["cost"] == 1
    assert card.data["recipe"] == {"seed": 7}
    assert sound(database)


async def test_reroll_keeps_the_words_and_changes_the_seed(
    fake: FakeAdapter, database: Database
) -> None:
    first = await fake.say("imagine", prompt="a red apple", seed=7, steps=12)
    again = await fake.press(Verb.REROLL, first.job_id or "")
    rows = database.read(lambda s: s.exec(select(Job)).all())
    child = next(j for j in rows if j.id == again.job_id)
    spec = parse_spec(child.spec)
    assert isinstance(spec, ImageSpec)
    assert (spec.prompt, spec.steps, child.parent_id) == ("a red apple", 12, first.job_id)
    assert spec.seed != 7


async def test_edit_offers_the_same_values(fake: FakeAdapter) -> None:
    first = await fake.say("imagine", prompt="a red apple", seed=7, negative="worm", style="flat")
    form = (await fake.press(Verb.EDIT, first.job_id or "")).form
    assert form is not None
    values = {field.name: field.value for field in form.fields}
    assert values["seed"] == "7"
    assert values["negative"] == "worm"
    assert values["style"] == "flat"
    assert form.verb is Verb.EDIT
    sent = await fake.press(form.verb, form.target, **(values | {"prompt": "a green apple"}))
    assert sent.code is None
    assert sent.prompt == "a green apple"
    assert sent.job_id != first.job_id


async def test_cancel_is_the_owners_or_a_moderators(fake: FakeAdapter, database: Database) -> None:
    job = (await fake.say("imagine", prompt="a")).job_id or ""
    assert (await fake.press(Verb.CANCEL, job, "eve")).code == "not_yours"
    assert (await fake.press(Verb.CANCEL, job)).status == JobStatus.CANCELLED
    other = (await fake.say("imagine", prompt="b")).job_id or ""
    card = await fake.press(Verb.CANCEL, other, "mod", role="moderator")
    assert card.status == JobStatus.CANCELLED
    assert sound(database)


async def test_cancel_of_a_running_job_asks_the_worker(
    fake: FakeAdapter, database: Database
) -> None:
    job = (await fake.say("imagine", prompt="a")).job_id or ""
    claim = database.write(jobs.claim, worker="w", room=BOTH, now=START)
    assert claim is not None
    card = await fake.press(Verb.CANCEL, job)
    assert card.title == "Stopping"
    assert card.buttons == ()
    assert database.write(jobs.renew, job, claim.fence, now=START).cancelled


async def test_a_refused_prompt_costs_nothing_and_is_not_echoed(
    fake: FakeAdapter, database: Database
) -> None:
    reply = await fake.say("imagine", prompt="hardcore porn, blowjob")
    assert reply.code == "prompt_refused"
    assert reply.exit_code == 3
    assert "porn" not in reply.text
    assert "sexual content" in reply.text
    reply = await fake.say("imagine", prompt="a beach", negative="child porn")
    assert reply.code == "prompt_refused", "negative prompts are judged too"
    assert database.read(lambda s: s.exec(select(Job)).all()) == []
    reply = await fake.say("imagine", prompt="a beach", negative="nude, nsfw")
    assert reply.code is None, "asking to keep nudity out is no offence"


async def test_self_harm_gets_help_not_rules(fake: FakeAdapter) -> None:
    reply = await fake.say("ask", prompt="I want to kill myself")
    assert reply.code == "self_harm_help"
    assert "findahelpline" in reply.text
    assert (reply.title, reply.tone) == ("You are not alone", Tone.INFO), "nobody is told off"


async def test_a_command_that_was_nearly_right_is_offered(fake: FakeAdapter) -> None:
    reply = await fake.say("imagin", prompt="a")
    assert reply.code == "command_near" and "/imagine?" in reply.text


async def test_held_is_not_shown_and_is_a_case(fake: FakeAdapter, database: Database) -> None:
    job = (await fake.say("imagine", prompt="a")).job_id or ""
    held = Verdict(outcome=Outcome.HOLD, flags=frozenset({Flag(
        category=Category.SEX, score=0.6, stage="image.nudenet")}))  # fmt: skip
    blob = fake.core.services.blobs.put(b"png", "png")  # type: ignore[union-attr]
    finish(database, (picture(blob, held),), verdict=held)
    card = await fake.press(Verb.SHOW, job)
    assert card.title == "Held for review"
    assert card.pictures[0].blob is None
    assert card.exit_code == 3
    assert "sexual content" in card.text
    case = database.read(lambda s: s.exec(select(Case)).one())
    assert case.job_id == job
    made = card.pictures[0].generation_id
    assert (await fake.press(Verb.DELETE, made)).code == "under_review"


async def test_delete_takes_the_bytes_away(fake: FakeAdapter, database: Database) -> None:
    blobs = fake.core.services.blobs  # type: ignore[union-attr]
    job = (await fake.say("imagine", prompt="a")).job_id or ""
    blob = blobs.put(b"png", "png")
    finish(database, (picture(blob),))
    made = (await fake.press(Verb.SHOW, job)).pictures[0].generation_id
    assert (await fake.press(Verb.DELETE, made, "eve")).code == "not_yours"
    assert blobs.path(blob).exists()
    card = await fake.press(Verb.DELETE, made)
    assert card.pictures[0].note == "Deleted"
    assert not blobs.path(blob).exists()
    assert (await fake.press(Verb.DELETE, made)).code is None, "deleting twice is fine"


async def test_reports_join_one_case(fake: FakeAdapter, database: Database) -> None:
    job = (await fake.say("imagine", prompt="a")).job_id or ""
    finish(database, (picture("ab/" + "a" * 32 + ".png"),))
    made = (await fake.press(Verb.SHOW, job)).pictures[0].generation_id
    for name in ("eve", "bob", "eve"):
        assert (await fake.press(Verb.REPORT, made, name)).code is None
    assert len(database.read(lambda s: s.exec(select(Case)).all())) == 1


async def test_another_workspace_sees_nothing(fake: FakeAdapter, database: Database) -> None:
    job = (await fake.say("imagine", prompt="a")).job_id or ""
    finish(database, (picture(None),))
    made = database.read(lambda s: s.exec(select(Generation)).one()).id
    fake.workspace = "guild-2"
    for verb, target in (
        (Verb.SHOW, job), (Verb.CANCEL, job), (Verb.REROLL, job), (Verb.EDIT, job),
        (Verb.DELETE, made), (Verb.REPORT, made),
    ):  # fmt: skip
        reply = await fake.press(verb, target, "ann", role="admin")
        assert reply.code in ("job_unknown", "generation_unknown"), verb


async def test_a_thread_remembers_and_regenerate_replaces(
    fake: FakeAdapter, database: Database
) -> None:
    await fake.say("ask", prompt="My name is Ada.", thread="t")
    finish(database, (answer("Hello Ada."),),
           exchange=Exchange("at:fake:general:t", "My name is Ada.", "Hello Ada."))  # fmt: skip
    second = await fake.say("ask", prompt="What is my name?", thread="t")
    spec = parse_spec(database.read(lambda s: s.get_one(Job, second.job_id)).spec)
    assert isinstance(spec, ChatSpec)
    assert [t.role for t in spec.turns] == ["system", "user", "assistant", "user"]
    assert [t.text for t in spec.turns[1:]] == ["My name is Ada.", "Hello Ada.", "What is my name?"]
    finish(
        database,
        (answer("Bob."),),
        exchange=Exchange("at:fake:general:t", "What is my name?", "Bob."),
    )
    again = await fake.press(Verb.REGENERATE, second.job_id or "")
    assert again.status == JobStatus.QUEUED
    finish(
        database,
        (answer("Ada."),),
        exchange=Exchange("at:fake:general:t", "What is my name?", "Ada."),
    )
    space = database.read(lambda s: s.get_one(Job, again.job_id)).workspace_id
    kept = database.read(jobs.conversation, workspace_id=space, thread="at:fake:general:t")
    assert [m.text for m in kept] == ["My name is Ada.", "Hello Ada.", "What is my name?", "Ada."]
    elsewhere = await fake.say("ask", prompt="What is my name?", thread="other")
    other = parse_spec(database.read(lambda s: s.get_one(Job, elsewhere.job_id)).spec)
    assert isinstance(other, ChatSpec)
    assert len(other.turns) == 2


async def test_deleting_an_answer_takes_it_out_of_the_conversation(
    fake: FakeAdapter, database: Database
) -> None:
    first = await fake.say("ask", prompt="Tell me a secret.", thread="t")
    exchange = Exchange("at:fake:general:t", "Tell me a secret.", "The code is 1234.")
    finish(database, (answer("The code is 1234."),), exchange=exchange)
    second = await fake.say("ask", prompt="Say it again.", thread="t")
    shown = await fake.press(Verb.SHOW, first.job_id or "")
    target = next(b.target for b in shown.buttons if b.verb is Verb.DELETE)
    await fake.press(Verb.DELETE, target)
    third = await fake.say("ask", prompt="And now?", thread="t")
    for job_id in (second.job_id, third.job_id):
        spec = database.read(lambda s, job_id=job_id: s.get_one(Job, job_id)).spec
        assert "1234" not in str(spec)


async def test_a_typed_thread_is_ones_own_and_never_a_place(
    fake: FakeAdapter, database: Database
) -> None:
    async def thread(name: str, **options: str) -> str:
        reply = await fake.say("ask", name, prompt="hi", **options)  # type: ignore[arg-type]
        spec = parse_spec(database.read(lambda s: s.get_one(Job, reply.job_id)).spec)
        assert isinstance(spec, ChatSpec)
        return spec.thread

    place = await thread("ann", thread="t")
    fake.channel = "elsewhere"

    async def typed(name: str, text: str) -> str:
        assert fake.core is not None
        reply = await fake.core.dispatch(
            Invocation(
                command="ask", values={"prompt": "hi", "thread": text}, who=fake.who(name),
                address=fake.address(), key=new_id(),
            )
        )  # fmt: skip
        spec = parse_spec(database.read(lambda s: s.get_one(Job, reply.job_id)).spec)
        assert isinstance(spec, ChatSpec)
        return spec.thread

    assert await typed("eve", place) != place
    assert await typed("eve", "general") != await typed("bob", "general")


async def test_buttons_of_a_job_are_its_owners_or_a_moderators(
    fake: FakeAdapter, database: Database
) -> None:
    picture_job = (await fake.say("imagine", prompt="a")).job_id or ""
    answer_job = (await fake.say("ask", prompt="b", thread="t")).job_id or ""
    for verb, target in (
        (Verb.SHOW, picture_job), (Verb.REROLL, picture_job), (Verb.EDIT, picture_job),
        (Verb.REGENERATE, answer_job), (Verb.CANCEL, answer_job),
    ):  # fmt: skip
        assert (await fake.press(verb, target, "eve")).code == "not_yours", verb
        assert (await fake.press(verb, target, "mod", role="moderator")).code is None, verb
    assert (await fake.say("job", "eve", job=picture_job)).code == "not_yours"


async def test_a_row_of_another_version_hides_nothing_else(
    fake: FakeAdapter, database: Database
) -> None:
    odd = (await fake.say("imagine", prompt="a")).job_id or ""
    fine = (await fake.say("imagine", prompt="b")).job_id or ""

    def spoil(session: views.Session) -> None:
        job = session.get_one(Job, odd)
        job.spec = job.spec | {"sparkle": 11}
        session.add(job)

    database.write(spoil)
    claim = database.write(jobs.claim, worker="w", room=BOTH, now=START)
    assert claim is not None
    assert claim.job_id == fine, "the unreadable one does not stand in the way"
    card = await fake.press(Verb.SHOW, odd)
    assert card.status == JobStatus.FAILED
    assert "another version" in card.text
    assert len((await fake.say("history")).data["jobs"]) == 2
    assert sound(database)


async def test_a_prompt_that_waits_for_a_moderator_is_not_repeated(
    fake: FakeAdapter, database: Database
) -> None:
    flag = Flag(category=Category.HATE, score=0.6, stage="text.terms", detail="rule-7")
    hold = Verdict(outcome=Outcome.HOLD, flags=frozenset({flag}))
    job = (await fake.say("imagine", prompt="something unkind")).job_id or ""
    finish(database, (picture(None, hold),), verdict=hold)
    card = await fake.press(Verb.SHOW, job)
    assert "unkind" not in card.model_dump_json()
    assert "rule-7" not in card.model_dump_json(), "details are for moderators"


async def test_account_commands(fake: FakeAdapter, database: Database, clock: HandClock) -> None:
    await fake.say("imagine", prompt="a red apple")
    credits = await fake.say("credits")
    assert credits.data.items() >= {"available": 49, "pending": 1, "posted": 50}.items()
    queue = await fake.say("queue")
    assert [job["place"] for job in queue.data["jobs"]] == [1]
    assert queue.data["total"] == 1
    history = await fake.say("history")
    assert "a red apple" in history.text
    help_ = await fake.say("help")
    assert "/imagine" in help_.text
    assert "/ask" in help_.text


async def test_a_bug_is_one_calm_sentence(
    fake: FakeAdapter, caplog: pytest.LogCaptureFixture
) -> None:
    assert fake.core is not None
    fake.core.services.blobs.folder = None  # type: ignore[assignment]
    fake.core.presses[Verb.SHOW] = broken
    reply = await fake.press(Verb.SHOW, "secret prompt")
    assert reply.code == "bug"
    assert reply.exit_code == 5
    assert "secret" not in reply.text
    reference = reply.text.rstrip(".").split()[-1]
    assert reference in caplog.text


async def broken(*_: object) -> None:
    raise ZeroDivisionError("secret detail")
