"""Learning from decisions: better or nothing, never past the gate, never outside its workspace."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.cli import learning as command_line
from moderation.evaluation import gate
from moderation.heads.local import ONLY_RAISED, Correction, LocalHeads
from moderation.heads.model import Heads, Reading, shared
from moderation.learning import keep
from moderation.learning.attempt import attempt, mcnemar
from moderation.learning.fit import anchors, fit
from moderation.learning.split import Label, groups, held_out
from moderation.pipeline import Content, Pipeline, Surface
from moderation.policy import DEFAULT_POLICY
from moderation.record import record_of
from moderation.stages.heads import HeadsStage
from storage import decisions, learning, privacy, review, review_appeals, review_undo
from storage.database import Database
from storage.errors import BadInput
from storage.models import Case, DecisionRecord, Job, LearnedHead, LearnedLabel, Workspace
from storage.review_words import BULK_UNDO_MS, Ruling
from storage.schema import Category, Outcome
from storage.workspaces import Actor
from tests.conftest import START, actor
from tests.moderation.learnt_texts import THINGS, questions, trades
from tests.storage.test_review import held

ILL = Category.ILL


@pytest.fixture(scope="module")
def heads() -> Heads:
    return shared()


# -- the split ---------------------------------------------------------------------------------

texts = st.lists(
    st.tuples(
        st.sampled_from("abcdef"), st.sampled_from(["red car", "red car now", "sea", "x y z"])
    ),
    max_size=14,
)


@given(texts)
def test_a_group_is_on_one_side(pairs: list[tuple[str, str]]) -> None:
    labels = [Label(str(i), m, t, (("ILL", 1),)) for i, (m, t) in enumerate(pairs)]
    sides, found = held_out(labels), groups(labels)
    for one, left in enumerate(labels):
        for two, right in enumerate(labels):
            if left.member == right.member or left.text == right.text:
                assert found[one] == found[two]
            if found[one] == found[two]:
                assert sides[one] == sides[two]
    order = sorted(range(len(labels)), key=lambda i: pairs[i])
    again = held_out([labels[i] for i in order])
    assert [sides[i] for i in order] == again  # the order of labels decides nothing


@given(st.integers(0, 40), st.integers(0, 40))
def test_chance_is_a_share_and_falls(mended: int, broken: int) -> None:
    assert 0 < mcnemar(mended, broken) <= 1
    assert mcnemar(mended + 1, broken) <= mcnemar(mended, broken) + 1e-12


# -- the numbers -------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_a_fit_is_finite_and_the_same_again(seed: int, many: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(many, 384))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    shipped, truth = rng.normal(0, 30, many), (rng.random(many) < 0.5).astype(float)
    one, two = (fit(vectors, shipped, truth, 0) for _ in range(2))
    assert np.isfinite(one.weights).all() and np.isfinite([one.bias, one.shipped]).all()
    assert one.bias == two.bias and (one.weights == two.weights).all()


def test_junk_is_refused() -> None:
    vectors = np.full((3, 384), np.nan)
    with pytest.raises(ValueError, match="none"):
        fit(vectors, np.zeros(3), np.ones(3), 0)
    for data in (b"", b"junk", LocalHeads({ILL: _nothing(bias=float("inf"))}).dump()):
        with pytest.raises(ValueError):
            LocalHeads.load(data)
    rows = anchors()
    assert len(rows.vectors) == len(rows.logits) == len(rows.labels) > 500
    assert np.isfinite(rows.vectors).all() and np.isfinite(rows.logits).all()


def _nothing(bias: float = 0.0) -> Correction:
    return Correction(bias, 1.0, np.zeros(384, dtype=np.float32))


@given(st.sampled_from(Category), st.floats(-9, 9), st.floats(-30, 30))
def test_what_no_workspace_may_loosen_is_only_raised(
    code: Category, logit: float, bias: float
) -> None:
    reading = Reading({code: logit}, np.zeros(384, dtype=np.float32))
    own = LocalHeads({code: _nothing(bias)}).logits(reading)[code]
    assert own >= logit if code in ONLY_RAISED else own == pytest.approx(logit + bias)


# -- an attempt --------------------------------------------------------------------------------


async def test_too_few_labels_say_so(heads: Heads) -> None:
    made = await attempt(trades("ILL")[:8] + questions("ILL")[:8], heads, None)
    assert made.heads is None and made.report["result"] == "few_labels"
    one = [Label(t.id, "the only member", t.text, t.codes) for t in trades("ILL")]
    made = await attempt(one, heads, None)
    assert made.heads is None and made.report["result"] == "few_labels"
    assert (await attempt([], heads, None)).report["result"] == "few_labels"


async def test_what_is_better_and_holds_the_gate_is_promoted(heads: Heads) -> None:
    made = await attempt(trades("ILL") + questions("ILL"), heads, None)
    told = made.report["codes"]["ILL"]
    assert made.heads is not None and made.report["promoted"] == ["ILL"], made.report
    assert told["mistakes_after"] < told["mistakes_before"] and told["chance"] <= 0.05
    assert not gate.worse(told["gate"], made.report["gate_before"])
    stored = LocalHeads.load(made.heads.dump())
    assert stored.version == made.heads.version
    # With the same labels there is nothing better than what is in force.
    again = await attempt(trades("ILL") + questions("ILL"), heads, stored)
    assert again.heads is None and again.report["result"] == "no_better"


async def test_poisoned_labels_do_not_pass_the_gate(heads: Heads) -> None:
    """Moderators (or whoever has their accounts) who call ordinary prompts violations."""
    prompts = [r.text for r in gate.parts()["over_refusal"][:60]]
    poison = [
        Label(f"p{i}", f"poison-{i}", f"{THINGS[i % 40]} {text}", (("VIO", 1),))
        for i, text in enumerate(prompts)
    ]
    threats = ["I will", "we shall", "somebody must", "tonight they", "let us all"]
    fine = [
        Label(f"f{i}", f"fine-{i}", f"{threats[i % 5]} murder the {thing} crowd, burn {i} houses",
              (("VIO", 0),))
        for i, thing in enumerate(THINGS)
    ]  # fmt: skip
    made = await attempt(poison + fine, heads, None)
    assert made.heads is None, made.report
    assert made.report["result"] == "gate"
    assert made.report["codes"]["VIO"]["gate_failed"]


# -- from the review room to the filters -------------------------------------------------------


def switched(database: Database, workspace_id: str, on: bool) -> None:
    def act(session: Any) -> None:
        space = session.get_one(Workspace, workspace_id)
        space.settings = {**space.settings, "learning": {"on": on}}
        session.add(space)

    database.write(act)


def judged(
    database: Database, case: Case, text: str, *, stage: str = "text.terms", code: str = "ILL",
    key: str | None = None, surface: str = "prompt", **more: Any,
) -> str:  # fmt: skip
    """A decision record of what the case's member typed."""

    def act(session: Any) -> str:
        job = session.get_one(Job, case.job_id)
        if key is not None:
            job.key = key
            session.add(job)
        record = DecisionRecord(
            workspace_id=case.workspace_id, member_id=case.member_id, key=job.key, surface=surface,
            text=text, outcome="hold", flags=[{"category": code, "score": 0.6, "stage": stage,
                                               "detail": "x"}],
            created_at=START, expires_at=0, **more,
        )  # fmt: skip
        return decisions.keep(session, record)

    return database.write(act)


def ruled(database: Database, case: Case, who: Actor, ruling: Ruling, code: str = "ILL") -> Any:
    return database.write(review.decide, who, case.id, ruling, now=START + 1000, code=code)


LATER = START + 1000 + BULK_UNDO_MS


def gathered(database: Database, workspace_id: str, now: int = LATER) -> dict[str, dict[str, int]]:
    database.write(learning.gather, workspace_id=workspace_id, now=now)
    rows = database.read(learning.labels, workspace_id=workspace_id)
    return {row.text: row.codes for row in rows}


def test_labels_follow_what_stands(database: Database) -> None:
    ann, mod = actor(database, "ann"), actor(database, "mod", role="moderator")
    other = actor(database, "mia", role="moderator")
    space = ann.workspace.id
    wrong, right, undone, picture, chat, sealed = (held(database, ann)[0] for _ in range(6))
    judged(database, wrong, "denied words")
    judged(database, right, "approved words")
    judged(database, undone, "undone words")
    judged(database, picture, "harmless words of a denied picture", stage="image.nudenet")
    judged(database, chat, "words of a chat message", key="discord-message-1")
    judged(database, sealed, "", code="CSAE", sealed="x")
    deny = Ruling.DENY
    rulings = [
        ruled(database, wrong, mod, deny), ruled(database, right, mod, Ruling.APPROVE),
        ruled(database, undone, mod, deny), ruled(database, picture, mod, deny, "SEX"),
        ruled(database, chat, mod, deny), ruled(database, sealed, mod, deny, "CSAE"),
    ]  # fmt: skip
    assert gathered(database, space, START + 2000) == {}  # each may still be undone
    database.write(review_undo.undo, mod, rulings[2].id, now=START + 2000)
    assert gathered(database, space) == {"denied words": {"ILL": 1}, "approved words": {"ILL": 0}}
    database.write(review_appeals.appeal, ann, wrong.id, "why", now=LATER)
    assert gathered(database, space) == {"approved words": {"ILL": 0}}  # it waits for its appeal
    database.write(review_appeals.decide_appeal, other, wrong.id, upheld=False, now=LATER)
    assert gathered(database, space)["denied words"] == {"ILL": 0}
    # What expired in the records stays learnt, until its own time is over.
    database.write(decisions.purge, now=START + 40 * decisions.DAY_MS)
    assert len(gathered(database, space)) == 2
    assert gathered(database, space, START + learning.KEPT_MS + 1) == {}


@pytest.mark.parametrize("expired", [False, True])
def test_nothing_of_an_overturned_ruling_is_learnt(database: Database, expired: bool) -> None:
    """Neither its code, which no filter had named, nor after its text's record has expired."""
    ann, mod = actor(database, "ann"), actor(database, "mod", role="moderator")
    other, space = actor(database, "mia", role="moderator"), ann.workspace.id
    [case] = held(database, ann)
    judged(database, case, "these words")
    ruled(database, case, mod, Ruling.DENY, code="HATE")
    assert gathered(database, space) == {"these words": {"HATE": 1}}
    if expired:
        database.write(decisions.purge, now=START + 40 * decisions.DAY_MS)
    database.write(review_appeals.appeal, ann, case.id, "why", now=LATER)
    database.write(review_appeals.decide_appeal, other, case.id, upheld=False, now=LATER)
    left = {"HATE": 0} if expired else {"ILL": 0}
    assert gathered(database, space) == {"these words": left}


def full(database: Database, space_of: Actor, rows: list[Label]) -> None:
    """Labels as if gathered, each by a member of this workspace."""
    fine, bad = held(database, space_of, count=2)
    mod = actor(database, "mod", workspace=space_of.workspace.external_id, role="moderator")
    ruled(database, fine, mod, Ruling.APPROVE)
    ruled(database, bad, mod, Ruling.DENY)

    def act(session: Any) -> None:
        for row in rows:
            case = bad if 1 in dict(row.codes).values() else fine
            session.add(
                LearnedLabel(
                    workspace_id=case.workspace_id, member_id=people[row.member], case_id=case.id,
                    record_id=row.id, surface="prompt", text=row.text, codes=dict(row.codes),
                    created_at=START,
                )
            )  # fmt: skip

    people = {
        name: actor(database, name, workspace=space_of.workspace.external_id).member.id
        for name in sorted({row.member for row in rows})
    }
    database.write(act)


async def test_from_decisions_to_the_filters_and_back(
    sqlite_database: Database, heads: Heads, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    database = sqlite_database
    ann, foreign = actor(database, "ann"), actor(database, "eve", workspace="elsewhere")
    space, elsewhere = ann.workspace.id, foreign.workspace.id
    with pytest.raises(BadInput, match="learning_off"):
        await keep.learn(database, space, now=LATER)
    assert await keep.due(database, now=LATER) == []
    switched(database, space, True)
    full(database, ann, trades("ILL") + questions("ILL"))
    assert await keep.due(database, now=LATER) == [space]
    outcome = await keep.learn(database, space, now=LATER)
    assert outcome.result == "promoted" and outcome.version
    assert await keep.due(database, now=LATER + 1) == []  # once a day, and only with news
    assert await keep.due(database, now=LATER + keep.EVERY_MS) == []

    stage = HeadsStage()
    pipeline = Pipeline([stage], timeout_s=30.0)
    assert await keep.refresh(database, [pipeline]) == 1
    text = "selling my harbour pilot licence, cheap tonight"
    here, there = [
        await pipeline.judge_fully(
            Content(Surface.PROMPT, text=text, workspace_id=where), DEFAULT_POLICY
        )
        for where in (space, elsewhere)
    ]
    assert here.verdict.outcome is Outcome.HOLD and there.verdict.outcome is Outcome.ALLOW
    assert here.versions["text.heads"] == f"{heads.version}+{outcome.version}"
    assert there.versions["text.heads"] == heads.version
    about = record_of(
        here, Content(Surface.PROMPT, text=text), DEFAULT_POLICY, _about(space), START
    )
    assert about.versions["text.heads"].endswith(outcome.version)

    # Heads made beside other shipped heads, and broken ones, are not used.
    for change in ({"base": "older"}, {"weights": b"junk"}):
        before = database.write(_changed, space, change)
        assert await keep.refresh(database, [pipeline]) == 0
        database.write(_changed, space, before)
    assert await keep.refresh(database, [pipeline]) == 1

    # Who is forgotten takes their labels along, and every head that learnt from them.
    seller = database.read(lambda s: s.get_one(LearnedLabel, _first(s, space)).member_id)
    database.write(lambda s: privacy.forget(s, _member(s, seller), now=LATER))
    assert database.read(learning.active, workspace_id=space) is None
    assert await keep.refresh(database, [pipeline]) == 0
    left = database.read(learning.labels, workspace_id=space)
    assert left and all(row.member_id != seller for row in left)

    # The command line tries again with what is left.
    monkeypatch.setattr(command_line, "opened", lambda work: work(database))
    monkeypatch.setattr(command_line.asyncio, "run", _in_thread)
    monkeypatch.setattr(command_line, "now_ms", lambda: LATER)
    assert command_line.run_learn(space, json=True) in (0, 1)
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] and told["labels"] == len(left)

    # Switched off: all of it is erased, and an attempt that was under way is not kept.
    switched(database, space, False)
    assert await keep.tidy(database) == 1 and await keep.tidy(database) == 0
    assert database.read(learning.count, workspace_id=space) == 0
    assert database.read(learning.last, workspace_id=space) is None
    none = database.write(
        learning.record, workspace_id=space, base="x", report={}, now=LATER, used=[], weights=b"x"
    )
    assert none is None


def test_an_attempt_whose_label_is_gone_is_not_kept(sqlite_database: Database) -> None:
    ann = actor(sqlite_database, "ann")
    switched(sqlite_database, ann.workspace.id, True)
    more: dict[str, Any] = {
        "workspace_id": ann.workspace.id,
        "base": "b",
        "report": {},
        "now": START,
    }
    assert sqlite_database.write(learning.record, used=["gone"], weights=b"x", **more) is None
    first = sqlite_database.write(learning.record, used=[], weights=b"x", version="1", **more)
    second = sqlite_database.write(learning.record, used=[], weights=b"y", version="2", **more)
    assert first is not None and second is not None and second.number == first.number + 1
    rows = sqlite_database.read(lambda s: [s.get_one(LearnedHead, r.id) for r in (first, second)])
    assert [(r.active, r.weights) for r in rows] == [(False, None), (True, b"y")]


def _about(space: str) -> Any:
    from moderation.record import About

    return About(space)


def _changed(session: Any, space: str, values: dict[str, Any]) -> dict[str, Any]:
    row = learning.active(session, workspace_id=space)
    assert row is not None
    before = {name: getattr(row, name) for name in values}
    for name, value in values.items():
        setattr(row, name, value)
    session.add(row)
    return before


def _first(session: Any, space: str) -> str:
    return learning.labels(session, workspace_id=space)[0].id


def _member(session: Any, member_id: str) -> Any:
    from storage.models import Member

    return session.get_one(Member, member_id)


def _in_thread(work: Any) -> Any:
    """The command line's own loop, beside the test's."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    def run() -> Any:
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(work)
        finally:
            loop.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()
