"""The settings book, its TOML file, the presets, the operator's sums."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session, select

from storage import book, document, jobs
from storage.database import Database
from storage.economics import Assumptions, Prices, measure, project
from storage.errors import BadInput, NotAllowed, NotFound
from storage.models import SettingChange, Workspace
from storage.schema import JobKind, JobStatus
from tests.conftest import START, actor, submitted

PRESETS = document.PRESETS


def settings(database: Database) -> dict[str, Any]:
    return database.read(lambda s: dict(s.exec(select(Workspace)).one().settings))


def test_a_change_is_written_with_its_past_and_can_be_taken_back(database: Database) -> None:
    boss = actor(database, "boss", role="admin")
    made = database.write(
        book.change, boss, {"limits.burst": 5, "paused": True}, check=document.validate, now=START
    )
    assert settings(database) == {"limits": {"burst": 5}, "paused": True}
    assert [(m.path, m.before, m.after) for m in made] == [
        ("limits.burst", {}, {"value": 5}), ("paused", {}, {"value": True}),
    ]  # fmt: skip
    database.write(book.change, boss, {"limits.burst": 9}, check=document.validate, now=START + 1)
    with pytest.raises(BadInput, match="change_superseded"):
        database.write(book.undo, boss, made[0].id, check=document.validate, now=START + 2)
    last = database.read(book.history, boss.workspace.id)[0]
    database.write(book.undo, boss, last.id, check=document.validate, now=START + 3)
    assert settings(database)["limits"] == {"burst": 5}
    database.write(book.undo, boss, made[0].id, check=document.validate, now=START + 4)
    assert settings(database) == {"paused": True}, "an empty group goes too"


def test_a_broken_value_changes_nothing(database: Database) -> None:
    boss = actor(database, "boss", role="admin")
    with pytest.raises(BadInput) as caught:
        database.write(
            book.change, boss, {"paused": True, "limits.burst": 0}, check=document.validate,
            now=START,
        )  # fmt: skip
    assert caught.value.params["path"] == "limits.burst"
    assert settings(database) == {}
    assert database.read(lambda s: s.exec(select(SettingChange)).all()) == []


def test_only_admins_of_the_same_workspace_change_and_undo(database: Database) -> None:
    boss = actor(database, "boss", role="admin")
    made = database.write(book.change, boss, {"paused": True}, check=document.validate, now=START)
    for role in ("member", "moderator"):
        with pytest.raises(NotAllowed):
            database.write(
                book.change, actor(database, role, role=role), {"paused": False},
                check=document.validate, now=START,
            )  # fmt: skip
    stranger = actor(database, "boss", workspace="other", role="owner")
    with pytest.raises(NotFound):
        database.write(book.undo, stranger, made[0].id, check=document.validate, now=START)


VALUES = st.dictionaries(
    st.sampled_from(["paused", "limits.burst", "limits.per_minute", "keeping.uploads_days",
                     "commands.imagine.only_channels", "commands.*.not_roles"]),
    st.none() | st.booleans() | st.integers(1, 50) | st.lists(st.sampled_from("abc"), max_size=2),
    max_size=4,
)  # fmt: skip


@given(VALUES)
def test_what_validates_survives_the_file(values: dict[str, Any]) -> None:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        tree = book.put(tree, path, value)
    try:
        document.validate(tree)
    except BadInput:
        return
    assert document.load(document.dump(tree, title="x")) == tree


BROKEN = [
    ("paused = maybe", "settings_syntax", 1, ""),
    ("[limits]\nburst = 3\nper_minute = 0\n", "setting_invalid_line", 3, "limits.per_minute"),
    ("[credits]\n\ntimezone = 'Mars/X'\n", "setting_invalid_line", 3, "credits.timezone"),
    ("[commands.imagine]\nleast = 'king'\n", "setting_invalid_line", 2, "commands.imagine.least"),
    ("[commands.\"*\"]\nonly = ['a']\n", "setting_invalid_line", 2, "commands.*.only"),
    ("[atelier]\nschema = 9\n", "settings_schema", None, ""),
    ("paused = true\n[limits]\nburst = {", "settings_syntax", 3, ""),
]


@pytest.mark.parametrize(("text", "code", "line", "path"), BROKEN)
def test_a_broken_file_is_refused_with_line_and_field(
    text: str, code: str, line: int | None, path: str
) -> None:
    with pytest.raises(BadInput) as caught:
        document.load(text)
    assert caught.value.code == code
    assert caught.value.params.get("line") == line
    assert caught.value.params.get("path", "") == path


@pytest.mark.parametrize("name", ["family", "standard", "artists"])
def test_presets_are_valid(name: str) -> None:
    text = (PRESETS / f"{name}.toml").read_text()
    assert document.load(text) == {k: v for k, v in tomllib.loads(text).items() if k != "atelier"}


def test_a_whole_document_is_one_change(database: Database) -> None:
    boss = actor(database, "boss", role="admin")
    family = document.load((PRESETS / "family.toml").read_text())
    made = database.write(book.replace, boss, family, check=document.validate, now=START)
    assert made is not None
    assert database.write(book.replace, boss, family, check=document.validate, now=START) is None
    database.write(book.undo, boss, made.id, check=document.validate, now=START + 1)
    assert settings(database) == {}


# -- the operator's sums -----------------------------------------------------------------------


def finished(database: Database, name: str, kind_ms: int, status: JobStatus, price: int) -> None:
    person = actor(database, name)
    job = submitted(database, person, price=price)
    claim = database.write(jobs.claim, worker="w", room={JobKind.IMAGE: 1}, now=START)
    assert claim is not None and claim.job_id == job.id

    def end(session: Session) -> None:
        jobs.finish(
            session, job.id, claim.fence, status=status, now=START + 10, cost=price,
            engine_ms=kind_ms,
        )  # fmt: skip

    database.write(end)


def test_costs_come_from_engine_time_and_the_operator_s_prices(database: Database) -> None:
    finished(database, "ann", 1_800_000, JobStatus.SUCCEEDED, 3)
    finished(database, "bob", 1_800_000, JobStatus.FAILED, 1)
    prices = Prices(watts=500, cents_per_kwh=40, rent_cents_per_hour=100)
    seen = database.read(measure, since=START, until=START + 1000, prices=prices)
    pictures = next(line for line in seen.kinds if line.kind == "image")
    assert (pictures.jobs, pictures.succeeded, pictures.engine_ms) == (2, 1, 3_600_000)
    assert pictures.cents == pytest.approx(0.5 * 40 + 100)
    assert pictures.cents_per_success == pytest.approx(120)
    assert seen.active_members == 2
    assert seen.cost_per_active_member_cents == pytest.approx(60)
    assert seen.credits == {"grant": 100, "settle": 3}
    assert seen.outstanding_credits == 97
    free = next(line for line in seen.tiers if line.tier == "free")
    assert (free.members, free.revenue_cents) == (2, 0)
    # Outside the window nothing is counted.
    empty = database.read(measure, since=START + 1000, until=START + 2000, prices=prices)
    assert (empty.cost_cents, empty.cost_per_active_member_cents) == (0, None)


def test_a_projection_is_its_formula() -> None:
    months = project(
        Assumptions(members=100, growth=0.1, churn=0.05, conversion=0.1, price_cents=1000,
                    cost_per_member_cents=50, fixed_cents=100, months=3)
    )  # fmt: skip
    assert [m.members for m in months] == [100, 105, 110]
    assert months[0].revenue_cents == 10_000
    assert months[0].cost_cents == 5_100
    assert months[2].margin_cents == months[2].revenue_cents - months[2].cost_cents


def test_more_churn_never_brings_more() -> None:
    margins = [
        sum(m.margin_cents for m in project(Assumptions(churn=churn, cost_per_member_cents=1)))
        for churn in (0, 0.05, 0.2, 1)
    ]
    assert margins == sorted(margins, reverse=True)
