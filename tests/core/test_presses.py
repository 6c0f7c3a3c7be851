"""Buttons that make the next thing of a picture: each is checked again when it is pressed."""

from __future__ import annotations

import asyncio

import pytest
from sqlmodel import Session, select

from bot.core.command import Handle, Venue
from bot.core.derive import FINISHED, STRONG, SUBTLE
from bot.core.reply import EFFECTS, Verb, Visibility, rows
from bot.core.services import Services
from storage import cases, ledger
from storage.database import Database
from storage.models import Case, Generation, Job, Post, Workspace
from storage.schema import (
    GenerationStatus,
    ImageSpec,
    JobStatus,
    Mode,
    Platform,
    parse_spec,
)
from tests.conftest import HandClock, sound
from tests.core.test_commands import finish, picture
from tests.fakes import FakeAdapter

MAKERS = (Verb.VARY_SUBTLE, Verb.VARY_STRONG, Verb.UPSCALE)


async def drawn(fake: FakeAdapter, database: Database, count: int = 1, **wish: object) -> list[str]:
    """A finished picture job of ann's; the ids of its generations."""
    card = await fake.say("imagine", prompt="a red apple", seed=7, count=count, **wish)
    assert card.job_id is not None
    assert fake.core is not None
    blobs = fake.core.services.blobs
    finish(database, tuple(picture(blobs.put(b"p", "png"), index=i) for i in range(count)))
    made = database.read(cases.generations, card.job_id, workspace_id=workspace(database))
    return [row.id for row in made]


def workspace(database: Database) -> str:
    return database.read(lambda s: s.exec(select(Workspace.id)).one())


def newest(database: Database) -> tuple[Job, ImageSpec]:
    row = database.read(lambda s: s.exec(select(Job).order_by(Job.id.desc())).first())  # type: ignore[attr-defined]
    assert row is not None
    spec = parse_spec(row.spec)
    assert isinstance(spec, ImageSpec)
    return row, spec


def change(database: Database, generation_id: str, **values: object) -> None:
    def edit(session: Session) -> None:
        made = session.get_one(Generation, generation_id)
        for name, value in values.items():
            setattr(made, name, value)

    database.write(edit)


async def test_vary_starts_from_the_picture(fake: FakeAdapter, database: Database) -> None:
    made, other = await drawn(fake, database, count=2)
    for verb, strength in ((Verb.VARY_SUBTLE, SUBTLE), (Verb.VARY_STRONG, STRONG)):
        card = await fake.press(verb, other)
        job, spec = newest(database)
        assert card.job_id == job.id
        assert card.status == JobStatus.QUEUED
        assert (spec.mode, spec.strength, spec.count) == (Mode.IMAGE, strength, 1)
        assert spec.start is not None
        assert spec.start.generation_id == other != made
        assert spec.seed != 8
        assert job.parent_id is not None
        await fake.press(Verb.CANCEL, job.id)
    assert sound(database)


async def test_upscale_doubles_and_has_an_end(fake: FakeAdapter, database: Database) -> None:
    (made,) = await drawn(fake, database)
    await fake.press(Verb.UPSCALE, made)
    _, spec = newest(database)
    assert (spec.mode, spec.scale, spec.width, spec.height) == (Mode.UPSCALE, 2, 256, 256)
    assert spec.seed == 7, "what is only made larger keeps its seed"
    change(database, made, width=1_032, height=1_032)
    assert (await fake.press(Verb.UPSCALE, made)).code == "upscale_large"


async def test_finish_is_for_drafts(fake: FakeAdapter, database: Database) -> None:
    (made,) = await drawn(fake, database)
    assert (await fake.press(Verb.FINISH, made)).code == "not_a_draft"

    def as_draft(session: Session) -> None:
        job = session.exec(select(Job)).one()
        job.spec = job.spec | {"draft": True, "width": 64, "height": 96}
        row = session.get_one(Generation, made)
        row.width, row.height = 64, 96

    database.write(as_draft)
    card = await fake.press(Verb.SHOW, newest(database)[0].id)
    assert card.pictures[0].buttons[0].verb is Verb.FINISH
    assert Verb.UPSCALE not in {b.verb for b in card.pictures[0].buttons}
    await fake.press(Verb.FINISH, made)
    _, spec = newest(database)
    assert (spec.width, spec.height, spec.draft, spec.strength) == (88, 128, False, FINISHED)


@pytest.mark.parametrize("verb", MAKERS)
async def test_only_who_may_and_only_what_is_shown(
    fake: FakeAdapter, database: Database, verb: Verb
) -> None:
    (made,) = await drawn(fake, database)
    before = newest(database)[0].id
    assert (await fake.press(verb, made, "eve")).code == "not_yours"
    assert (await fake.press(verb, before)).code == "generation_unknown", "a job is no picture"
    assert (await fake.press(verb, made[:-1] + "!")).code == "generation_unknown"
    for status in (GenerationStatus.HELD, GenerationStatus.REMOVED):
        change(database, made, status=status)
        assert (await fake.press(verb, made)).code == "generation_hidden"
    stranger = FakeAdapter(core=fake.core, workspace="guild-2")
    assert (await stranger.press(verb, made)).code == "generation_unknown"
    assert newest(database)[0].id == before
    change(database, made, status=GenerationStatus.VISIBLE)
    moderator = await fake.press(verb, made, "mod", role="moderator")
    assert moderator.status == JobStatus.QUEUED
    assert sound(database)


async def test_a_press_without_credits_changes_nothing(
    fake: FakeAdapter, database: Database
) -> None:
    (made,) = await drawn(fake, database)

    def spend(session: Session) -> None:
        account = ledger.member_account(session.exec(select(Job)).one().member_id)
        left = ledger.balance(session, account).available
        ledger.reserve(session, account, left, job_id="X" * 26, now=1)

    database.write(spend)
    assert (await fake.press(Verb.VARY_SUBTLE, made)).code == "credits_short"
    assert len(database.read(lambda s: s.exec(select(Job)).all())) == 1


async def test_the_edit_form_is_five_fields_and_checks_what_comes_back(
    fake: FakeAdapter, database: Database
) -> None:
    await drawn(fake, database, steps=12, negative="worm")
    job, _ = newest(database)
    form = (await fake.press(Verb.EDIT, job.id)).form
    assert form is not None
    assert [field.name for field in form.fields] == ["prompt", "negative", "style", "seed", "size"]
    back = {field.name: field.value for field in form.fields}
    for bad, code in (
        ({"prompt": ""}, "prompt_empty"),
        ({"seed": "-1"}, "seed_range"),
        ({"size": "7x7"}, "size_range"),
        ({"style": "none-such"}, "style_unknown"),
        ({"steps": "90"}, "option_unknown"),
    ):
        assert (await fake.press(Verb.EDIT, job.id, **(back | bad))).code == code
    assert (await fake.press(Verb.EDIT, job.id, "eve", **back)).code == "not_yours"
    sent = await fake.press(Verb.EDIT, job.id, **(back | {"prompt": "a pear", "negative": ""}))
    _, spec = newest(database)
    assert sent.prompt == "a pear"
    assert (spec.seed, spec.steps, spec.negative) == (7, 12, ""), "what is not in the form stays"


async def test_a_favourite_is_ones_own_and_goes_to_private_messages(
    fake: FakeAdapter, database: Database
) -> None:
    (made,) = await drawn(fake, database)
    copy = await fake.press(Verb.FAVOURITE, made, "eve")
    assert copy.direct
    assert copy.visibility is Visibility.PRIVATE
    assert [p.generation_id for p in copy.pictures] == [made]
    assert copy.pictures[0].buttons == ()
    again = await fake.press(Verb.FAVOURITE, made, "eve")
    assert again.direct
    hers = await fake.say("history", "eve", kept=True)
    assert [job["job_id"] for job in hers.data["jobs"]] == [newest(database)[0].id]
    assert (await fake.say("history", "ann", kept=True)).data["jobs"] == []
    change(database, made, status=GenerationStatus.REMOVED)
    assert (await fake.press(Verb.FAVOURITE, made, "eve")).code == "generation_unknown"
    assert (await fake.say("history", "eve", kept=True)).data["jobs"] == []


async def test_what_is_private_is_nobody_elses_to_press(
    fake: FakeAdapter, database: Database
) -> None:
    fake.handle = Handle(visibility=Visibility.PRIVATE)
    (made,) = await drawn(fake, database)
    assert database.read(lambda s: s.exec(select(Post)).one()).private
    for verb in (Verb.FAVOURITE, Verb.REPORT):
        assert (await fake.press(verb, made, "eve")).code == "generation_unknown"
    assert (await fake.press(Verb.REPORT, newest(database)[0].id, "eve")).code is not None
    assert database.read(lambda s: s.exec(select(Case)).all()) == []
    assert (await fake.press(Verb.FAVOURITE, made)).direct


async def test_a_private_card_comes_back_in_private_only_and_so_does_what_is_made_of_it(
    fake: FakeAdapter, database: Database
) -> None:
    fake.handle = Handle(visibility=Visibility.PRIVATE)
    (made,) = await drawn(fake, database)
    first = newest(database)[0].id
    fake.handle = Handle()
    assert (await fake.say("job", job=first)).code == "card_private"
    assert (await fake.press(Verb.SHOW, first)).code == "card_private"
    fake.venue = Venue(private=True)
    assert (await fake.say("job", job=first)).job_id == first
    fake.venue = Venue()
    await fake.press(Verb.VARY_SUBTLE, made)
    child = newest(database)[0].id
    assert child != first
    posts = database.read(lambda s: {p.job_id: p.private for p in s.exec(select(Post))})
    assert posts == {first: True, child: True}


async def test_one_report_button_reports_each_picture_of_a_grid(
    fake: FakeAdapter, database: Database
) -> None:
    made = await drawn(fake, database, count=3)
    change(database, made[2], status=GenerationStatus.HELD)
    job, _ = newest(database)
    reply = await fake.press(Verb.REPORT, job.id, "eve")
    assert reply.visibility is Visibility.PRIVATE
    await fake.press(Verb.REPORT, job.id, "eve")
    reported = database.read(lambda s: s.exec(select(Case.generation_id)).all())
    assert sorted(reported) == sorted(made[:2])


async def test_rows_of_five(fake: FakeAdapter, database: Database) -> None:
    await drawn(fake, database, count=4)
    grid = await fake.press(Verb.SHOW, newest(database)[0].id)
    lines = rows(grid)
    assert [line.picture for line in lines] == [None, 0, 1, 2, 3]
    assert all(len(line.buttons) <= 5 for line in lines)
    assert [b.verb for b in lines[0].buttons] == [Verb.REROLL, Verb.EDIT, Verb.REPORT]
    assert lines[0].buttons[-1].target == grid.job_id
    assert lines[2].buttons[0].label.endswith(" 2")
    fake_one = await drawn(fake, database)
    single = await fake.press(Verb.SHOW, newest(database)[0].id)
    verbs = [b.verb for line in rows(single) for b in line.buttons]
    assert verbs == [b.verb for b in (*single.buttons, *single.pictures[0].buttons)]
    assert len(fake_one) == 1


def test_every_verb_says_its_effect() -> None:
    assert EFFECTS.keys() == set(Verb)


async def test_the_line_counts_everything_that_shares_the_gpu(
    fake: FakeAdapter, database: Database
) -> None:
    other = FakeAdapter(core=fake.core, workspace="guild-2")
    await other.say("imagine", prompt="theirs")
    await fake.say("imagine", prompt="mine **bold** `x`")
    line = await fake.say("queue")
    assert line.visibility is Visibility.PRIVATE
    assert line.data["total"] == 2
    assert [job["place"] for job in line.data["jobs"]] == [2]
    assert line.data["jobs"][0]["eta_at"]
    assert "theirs" not in line.text
    assert "mine bold x" in line.text


async def test_cancel_without_an_id_stops_the_newest(fake: FakeAdapter, database: Database) -> None:
    first = await fake.say("imagine", prompt="a")
    second = await fake.say("imagine", prompt="b")
    assert (await fake.say("cancel")).job_id == second.job_id
    assert (await fake.say("cancel")).job_id == first.job_id
    assert (await fake.say("cancel")).code == "nothing_open"
    assert (await fake.say("job", job=f"show {first.job_id}")).job_id == first.job_id


async def test_help_has_headings_and_only_what_one_may_use(fake: FakeAdapter) -> None:
    member = await fake.say("help")
    assert "**Make something**" in member.text
    assert "**/imagine**" in member.text
    assert set(member.data["commands"]) == {
        name
        for name, command in fake.core.commands.items()  # type: ignore[union-attr]
        if command.role == "member" and not command.needs  # /blend: no model here could
    }


async def test_a_post_is_written_with_the_job(
    fake: FakeAdapter, services: Services, clock: HandClock
) -> None:
    fake.venue = Venue(private=True)
    fake.handle = Handle(token="secret-token", until=clock.now + 900_000)  # type: ignore[arg-type]
    assert "secret-token" not in repr(fake.handle)
    card = await fake.say("imagine", prompt="a")
    post = await services.posts.get(card.job_id or "")
    assert post is not None
    assert post.token == "secret-token"
    assert post.address.platform is Platform.FAKE


async def test_the_same_event_five_times_at_once_is_one_job_and_one_post(
    fake: FakeAdapter, database: Database
) -> None:
    assert fake.core is not None
    event = fake.invocation("imagine", prompt="a red apple", key="interaction-1")
    replies = await asyncio.gather(*(fake.core.dispatch(event) for _ in range(5)))
    assert len({reply.job_id for reply in replies}) == 1
    assert all(reply.code is None for reply in replies)
    assert len(database.read(lambda s: s.exec(select(Job)).all())) == 1
    assert len(database.read(lambda s: s.exec(select(Post)).all())) == 1
    assert sound(database)
