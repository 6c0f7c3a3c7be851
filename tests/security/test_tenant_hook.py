"""The fence around each workspace, lock by lock, with holes planted on purpose."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, text, update
from sqlalchemy import select as select_columns
from sqlalchemy.orm import aliased
from sqlmodel import Session, SQLModel, col, select

from storage import favourites, jobs, places, tenant, views
from storage.database import Database
from storage.models import (
    Favourite,
    Generation,
    Job,
    Member,
    PictureHash,
    Post,
    Workspace,
)
from storage.schema import GenerationStatus, JobKind
from storage.tenant import Across, TenantLeak, across, within
from storage.workspaces import Actor
from tests.conftest import START, actor, submitted


class Two:
    """Two workspaces with a job and a picture each."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ann = actor(database, "ann", workspace="north", credits=50)
        self.ben = actor(database, "ben", workspace="south", credits=50)
        self.job = {p: submitted(database, p_actor).id for p, p_actor in self.people()}
        self.made = {p: database.write(_picture, self.job[p], who) for p, who in self.people()}

    def people(self) -> list[tuple[str, Actor]]:
        return [("ann", self.ann), ("ben", self.ben)]


def _picture(session: Session, job_id: str, who: Actor) -> str:
    made = Generation(
        job_id=job_id, workspace_id=who.workspace.id, index=0, kind=JobKind.IMAGE,
        status=GenerationStatus.VISIBLE, seed=1, recipe={}, verdict={}, blob=f"{job_id}.png",
        created_at=START,
    )  # fmt: skip
    session.add(made)
    session.flush()
    session.add(
        Post(job_id=job_id, platform=who.workspace.platform, workspace=who.workspace.external_id,
             channel="general", updated_at=START)
    )  # fmt: skip
    session.add(Favourite(member_id=who.member.id, generation_id=made.id, created_at=START))
    session.flush()
    return made.id


@pytest.fixture
def two(database: Database) -> Two:
    return Two(database)


def seen(two: Two, query: Any) -> list[Any]:
    """What a query that forgot the workspace finds for Ann."""
    with within(two.ann.workspace.id):
        return list(two.database.read(lambda session: session.execute(query).scalars().all()))


other, somewhere = aliased(Job), aliased(Post)
FORGETFUL: dict[str, Callable[[], Any]] = {
    "rows": lambda: select(Job.workspace_id),
    "objects": lambda: select_columns(func.max(col(Job.workspace_id))),
    "an alias": lambda: select_columns(other.workspace_id),
    "a join": lambda: select_columns(col(Generation.workspace_id)).join(
        Job, col(Job.id) == col(Generation.job_id)
    ),
    "the joined side": lambda: select_columns(other.workspace_id).select_from(Workspace).join(
        other, col(Workspace.id) != ""
    ),
    "an outer join": lambda: select_columns(col(Job.workspace_id)).outerjoin(
        Generation, col(Generation.job_id) == col(Job.id)
    ),
    "an alias of a keyed table": lambda: select_columns(other.workspace_id).join(
        somewhere, col(somewhere.job_id) == col(other.id)
    ),
    "a subquery": lambda: select_columns(
        select(Job.workspace_id).subquery().c.workspace_id
    ),
    "an id list": lambda: select_columns(col(Job.workspace_id)).where(
        col(Job.id).in_(select(Generation.job_id))
    ),
    "everything or nothing": lambda: select_columns(col(Job.workspace_id)).where(
        (col(Job.workspace_id) == "x") | (col(Job.id) != "")
    ),
    "a union": lambda: select_columns(
        select_columns(col(Job.workspace_id)).union(
            select_columns(col(Member.workspace_id))
        ).subquery().c.workspace_id
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGETFUL)
def test_a_query_without_the_predicate_finds_only_ones_own(two: Two, name: str) -> None:
    query = FORGETFUL[name]()
    assert set(seen(two, query)) == {two.ann.workspace.id}
    everybody = two.database.read(lambda s: s.execute(query).scalars().all())
    if name != "objects":
        assert set(everybody) == {two.ann.workspace.id, two.ben.workspace.id}


def test_a_primary_key_of_another_workspace_finds_nothing(two: Two) -> None:
    def by_key(session: Session) -> list[Any]:
        return [
            session.get(Job, two.job["ben"]),
            session.get(Generation, two.made["ben"]),
            session.get(Member, two.ben.member.id),
            session.get(Workspace, two.ben.workspace.id),
            session.get(Post, two.job["ben"]),
            session.get(Favourite, (two.ben.member.id, two.made["ben"])),
            session.get(Job, two.job["ben"], populate_existing=True),
        ]

    with within(two.ann.workspace.id):
        assert two.database.read(by_key) == [None] * 7
        own = two.database.read(lambda s: (s.get(Post, two.job["ann"]), s.get(Job, two.job["ann"])))
    assert all(own)
    with within(two.ben.workspace.id):
        assert all(two.database.read(by_key))


def test_updates_and_deletes_touch_only_ones_own(two: Two) -> None:
    def careless(session: Session) -> list[int]:
        return [
            session.execute(statement).rowcount  # type: ignore[attr-defined]
            for statement in (
                update(Job).values(locale="zh"),
                update(Post).where(col(Post.job_id) != "").values(channel="taken"),
                update(Workspace).values(name="taken"),
                delete(Favourite),
                delete(Favourite).where(col(Favourite.generation_id) == two.made["ben"]),
            )
        ]

    with within(two.ann.workspace.id):
        assert two.database.write(careless) == [1, 1, 1, 1, 0]
    with within(two.ben.workspace.id):
        job, post, space, kept = two.database.read(
            lambda s: (
                s.get_one(Job, two.job["ben"]), s.get_one(Post, two.job["ben"]),
                s.get_one(Workspace, two.ben.workspace.id), s.exec(select(Favourite)).all(),
            )
        )  # fmt: skip
    assert (job.locale, post.channel, space.name) == ("en", "general", "south")
    assert len(kept) == 1


table = SQLModel.metadata.tables
HOLES: dict[str, Callable[[Two], Any]] = {
    "a core select": lambda two: select_columns(table["job"].c.id),
    "by a foreign key": lambda two: select_columns(table["generation"].c.blob).where(
        table["generation"].c.job_id == two.job["ben"]
    ),
    "a core alias": lambda two: select_columns(table["job"].alias("j").c.id),
    "another's workspace": lambda two: select_columns(table["job"].c.id).where(
        table["job"].c.workspace_id == two.ben.workspace.id
    ),
    "one side of a join": lambda two: select_columns(table["generation"].c.id).where(
        table["job"].c.workspace_id == two.ann.workspace.id,
        table["generation"].c.job_id == table["job"].c.id,
    ),
    "inside a subquery": lambda two: select_columns(table["job"].c.id).where(
        table["job"].c.workspace_id == two.ann.workspace.id,
        table["job"].c.id.in_(select_columns(table["generation"].c.job_id)),
    ),
    "a core update": lambda two: update(table["job"]).values(locale="zh"),
    "a core delete": lambda two: delete(table["review_case"]),
    "a core insert": lambda two: insert(table["favourite"]).values(
        member_id=two.ben.member.id, generation_id=two.made["ben"], created_at=START
    ),
    "written by hand": lambda two: text("SELECT id FROM job"),
    "by hand, in capitals": lambda two: text('SELECT id FROM "job"'),
    "by hand, joined": lambda two: text(
        "SELECT message.text FROM tier, message WHERE message.job_id = 'x'"
    ),
    "a keyed table": lambda two: select_columns(table["post"].c.token),
}  # fmt: skip


@pytest.mark.parametrize("name", HOLES)
def test_a_planted_hole_is_refused_before_it_runs(
    two: Two, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    statement = HOLES[name](two)
    with (
        caplog.at_level(logging.ERROR, logger="storage.tenant"),
        within(two.ann.workspace.id),
        pytest.raises(TenantLeak),
    ):
        two.database.write(lambda session: session.execute(statement))
    assert "refused before it ran" in caplog.text
    assert two.ben.workspace.id not in caplog.messages[0]


def test_a_core_statement_with_the_predicate_passes(two: Two) -> None:
    own = select_columns(table["job"].c.id).where(
        table["job"].c.workspace_id == two.ann.workspace.id
    )
    assert seen(two, own) == [two.job["ann"]]


def test_without_the_first_lock_the_second_holds(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the predicate not added one day (a library's change), the query fails."""
    monkeypatch.setattr(tenant, "_INSIDE", tenant._Inside(()))
    with pytest.raises(TenantLeak):
        seen(two, select(Job.id).where(col(Job.locale) != "not compiled before"))


def test_a_flush_refuses_a_row_of_another_workspace(two: Two) -> None:
    foreign = two.database.read(lambda s: s.get_one(Job, two.job["ben"]))

    def change(session: Session) -> None:
        row = session.merge(foreign, load=False)
        row.locale = "zh"
        session.flush()

    def add(session: Session) -> None:
        session.add(
            Generation(
                job_id=two.job["ben"], workspace_id=two.ben.workspace.id, index=7,
                kind=JobKind.IMAGE, status=GenerationStatus.VISIBLE, seed=1, recipe={}, verdict={},
                created_at=START,
            )
        )  # fmt: skip

    for act in (change, add):
        with within(two.ann.workspace.id), pytest.raises(TenantLeak):
            two.database.write(act)


def test_hashes_of_the_studio_are_everybodys(two: Two) -> None:
    def put(session: Session) -> None:
        for owner in (None, two.ann.workspace.id, two.ben.workspace.id):
            session.add(PictureHash(workspace_id=owner, bank="deny", pdq="0", created_at=START))

    two.database.write(put)
    assert set(seen(two, select(PictureHash.workspace_id))) == {None, two.ann.workspace.id}


def test_what_looks_across_says_so_and_sees_numbers(two: Two) -> None:
    with within(two.ann.workspace.id):
        place = two.database.read(views.place_of, two.job["ann"], now=START)
        assert place is not None and place.total == 2
        assert two.database.read(views.open_jobs) == 2
        with across(Across.LINE):
            assert len(two.database.read(lambda s: s.exec(select(Job)).all())) == 2
        with pytest.raises(ValueError, match="curiosity"), across("curiosity"):  # type: ignore[arg-type]
            pass


def test_the_line_is_the_same_from_every_workspace(two: Two) -> None:
    """Every public question about the line counts everybody's jobs, asked from wherever."""
    asked = {
        name: fn
        for name, fn in vars(places).items()
        if inspect.isfunction(fn) and fn.__module__ == places.__name__ and name[0] != "_"
    }
    assert {"line_places", "counted_place", "open_jobs", "work_ahead"} <= set(asked)
    given = {
        "now": START, "job_id": two.job["ann"], "workspace_id": two.ann.workspace.id, "since": 0,
    }  # fmt: skip
    for name, fn in asked.items():
        values = {key: given[key] for key in inspect.signature(fn).parameters if key != "session"}
        outside = two.database.read(fn, **values)
        with within(two.ann.workspace.id):
            assert two.database.read(fn, **values) == outside, f"{name} needs across(LINE)"


async def test_the_workspace_travels_into_the_databases_threads(two: Two) -> None:
    with within(two.ann.workspace.id):
        rows = await two.database.look(lambda s: s.exec(select(Job.id)).all())
        assert rows == [two.job["ann"]]
        assert await two.database.run(favourites.drop, two.ben.member.id, two.made["ben"]) is False
        with pytest.raises(Exception, match="job_unknown"):
            await two.database.look(jobs.find, two.job["ben"], workspace_id=two.ben.workspace.id)
    assert tenant.current() is None
    assert len(await two.database.look(lambda s: s.exec(select(Job.id)).all())) == 2


def test_every_table_is_fenced_or_shared_for_a_reason() -> None:
    fenced = set(tenant._mapped())
    assert fenced | set(tenant.SHARED) == set(table)
    assert not fenced & set(tenant.SHARED)
    for name in fenced - set(tenant._KEYED) - {"workspace"}:
        assert "workspace_id" in table[name].c, name
    assert all(tenant.SHARED.values())


def test_postgres_is_fenced_as_well(postgres_url: str) -> None:
    database = Database(postgres_url)
    try:
        two = Two(database)
        for query in FORGETFUL.values():
            assert set(seen(two, query())) == {two.ann.workspace.id}
        for hole in HOLES.values():
            statement = hole(two)
            with within(two.ann.workspace.id), pytest.raises(TenantLeak):
                database.write(lambda session, bad=statement: session.execute(bad))
        test_updates_and_deletes_touch_only_ones_own(two)
    finally:
        database.close()
