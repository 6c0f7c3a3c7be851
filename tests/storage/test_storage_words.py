"""Words and facts without a queue: verdicts, blobs, the registry, people, cases, views."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from storage import cases, jobs, ledger, reports, views
from storage.blobs import Blobs
from storage.database import Database
from storage.errors import NotAllowed, NotFound, OperatorError
from storage.jobs import Made
from storage.models import Generation
from storage.registry import load_registry
from storage.schema import (
    MAX_SEED,
    CaseOrigin,
    Category,
    Flag,
    GenerationStatus,
    JobKind,
    JobStatus,
    Outcome,
    Platform,
    Verdict,
    harshest,
    new_id,
    parse_spec,
)
from storage.workspaces import Actor
from tests.conftest import START, actor, chat_spec, image_spec, row, submitted

MONTH_MS = 32 * 86_400_000

flags = st.builds(
    Flag, category=st.sampled_from(Category), score=st.floats(0, 1), stage=st.text(max_size=5),
    detail=st.text(max_size=5),
)  # fmt: skip
verdicts = st.builds(
    Verdict, outcome=st.sampled_from(Outcome), flags=st.frozensets(flags, max_size=4)
)


@given(verdicts, verdicts, verdicts)
def test_verdicts_join_like_a_lattice(a: Verdict, b: Verdict, c: Verdict) -> None:
    assert (a | a, a | b, (a | b) | c) == (a, b | a, a | (b | c))
    assert Verdict() | a == a == harshest([a])
    assert harshest([a, b]).outcome == max(a.outcome, b.outcome)


@given(verdicts)
def test_a_verdict_survives_storage(verdict: Verdict) -> None:
    assert Verdict.parse(verdict.dump()) == verdict


def test_specs_survive_storage_and_junk_does_not() -> None:
    for spec in (image_spec(seed=MAX_SEED, count=4), chat_spec()):
        assert parse_spec(spec.model_dump(mode="json")) == spec
    assert image_spec(seed=MAX_SEED).seed_of(1) == 0
    for junk in ({"width": 130}, {"seed": MAX_SEED + 1}, {"steps": 0}, {"count": 5}, {"x": 1}):
        with pytest.raises(ValidationError):
            image_spec(**junk)


def test_ids_sort_by_time() -> None:
    assert len(new_id()) == 26 and len({new_id() for _ in range(1000)}) == 1000


# -- Blobs -------------------------------------------------------------------------------------


def test_a_blob_comes_back_and_goes_for_good(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    key = blobs.put(b"picture", "png")
    assert re.fullmatch(r"[0-9a-f]{2}/[0-9a-f]{32}\.png", key)
    assert blobs.get(key) == b"picture"
    assert blobs.put(b"picture", "png") != key
    blobs.delete(key)
    blobs.delete(key)
    with pytest.raises(NotFound):
        blobs.get(key)


@pytest.mark.parametrize(
    "key",
    ["", "../../etc/passwd", "aa/../../x.png", "/etc/passwd", "aa/" + "a" * 32 + ".png\n",
     "aa/" + "a" * 32 + ".png\0", "aa/" + "a" * 32 + ".svg", "aa/" + "a" * 31 + "/.png",
     "AA/" + "A" * 32 + ".png", "aa\\" + "a" * 32 + ".png", "a" * 4096],
)  # fmt: skip
def test_no_key_leads_out_of_the_folder(tmp_path: Path, key: str) -> None:
    blobs = Blobs(tmp_path)
    for use in (blobs.path, blobs.get, blobs.delete):
        with pytest.raises(NotFound):
            use(key)


def test_a_suffix_that_is_not_a_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Blobs(tmp_path).put(b"x", "html")


def test_a_failed_write_leaves_no_half_blob(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        with pytest.raises(OSError):
            blobs.put(b"x" * 100_000, "png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


# -- Registry ----------------------------------------------------------------------------------


def test_unknown_names_are_refused_and_name_the_known() -> None:
    registry = load_registry()
    for name in ("nothing", "smollm2-135m", "x" * 500):
        with pytest.raises(NotFound) as refusal:
            registry.find(name, JobKind.IMAGE)
        assert "starter-icons" in str(refusal.value.params["known"])
        assert len(str(refusal.value.params["model"])) <= 80
    with pytest.raises(NotFound):
        registry.style("nothing")


def test_hub_models_are_pinned_to_a_commit() -> None:
    for card in load_registry().cards.values():
        if card.source == "hub":
            assert re.fullmatch(r"[0-9a-f]{40}", card.revision), card.name
    commit = "b261bac6fd2cf515557d5d0707481eafa0485ec2"
    assert load_registry(f"owner/model@{commit}").default(JobKind.IMAGE).revision == commit
    assert load_registry("stabilityai/sd-turbo").image_default == "sd-turbo"
    for loose in ("owner/model", "owner/model@main", "owner/model@" + "z" * 40,
                  "../model@" + commit, "owner/a/b@" + commit, "@" + commit):  # fmt: skip
        with pytest.raises(OperatorError):
            load_registry(loose)
    with pytest.raises(OperatorError):
        load_registry(chat_model="nothing")


# -- People ------------------------------------------------------------------------------------


def posted(database: Database, person: Actor) -> int:
    return database.read(ledger.balance, ledger.member_account(person.member.id)).posted


def test_credits_come_once_a_month(database: Database) -> None:
    ann = actor(database)
    assert posted(database, actor(database)) == ann.tier.monthly_credits
    actor(database, now=START + MONTH_MS)
    assert posted(database, actor(database, now=START + MONTH_MS)) == 2 * ann.tier.monthly_credits


def test_role_and_name_follow_the_platform(database: Database) -> None:
    ann = actor(database)
    assert actor(database, role="admin").member.role == "admin"
    back = actor(database)
    assert (back.member.id, back.member.role) == (ann.member.id, "member")
    assert actor(database, workspace="other", role="admin").member.id != ann.member.id
    assert actor(database).member.role == "member"
    local = actor(database, platform=Platform.LOCAL)
    assert (local.tier.id, ann.tier.id) == ("team", "free")


# -- Cases and views ---------------------------------------------------------------------------


def made(database: Database, person: Actor, status: GenerationStatus) -> Generation:
    job = submitted(database, person)
    got = database.write(jobs.claim, worker="w", room={JobKind.IMAGE: 9}, now=START)
    assert got is not None
    item = Made(
        index=0, status=status, seed=7, recipe={}, verdict=Verdict().dump(), blob=f"aa/{job.id}"
    )
    assert database.write(
        jobs.finish, got.job_id, got.fence, status=JobStatus.SUCCEEDED, now=START, made=[item]
    )
    found: Generation = database.read(lambda session: session.get_one(Generation, item.id))
    return found


def test_a_reported_picture_is_one_case_and_not_its_owners_to_delete(database: Database) -> None:
    ann, ben = actor(database), actor(database, "ben")
    mod = actor(database, "mod", role="moderator")
    picture = made(database, ann, GenerationStatus.VISIBLE)
    with pytest.raises(NotFound):
        database.write(
            reports.report, picture.id, actor=actor(database, workspace="other"), now=START
        )
    assert database.write(reports.report, picture.id, actor=ben, now=START).fresh
    assert database.write(reports.report, picture.id, actor=mod, now=START).fresh
    assert not database.write(reports.report, picture.id, actor=ben, now=START).fresh
    (case,) = database.read(cases.open_cases, workspace_id=ann.workspace.id)
    assert (case.member_id, case.reporter_id, case.origin) == (
        ann.member.id, ben.member.id, CaseOrigin.REPORTED,
    )  # fmt: skip
    for person in (ann, ben):
        with pytest.raises(NotAllowed):
            database.write(cases.remove, picture.id, actor=person, now=START)
    assert database.write(cases.remove, picture.id, actor=mod, now=START) == picture.blob


def test_owners_delete_and_what_is_held_stays(database: Database) -> None:
    ann, ben = actor(database), actor(database, "ben")
    picture = made(database, ann, GenerationStatus.VISIBLE)
    shown = {"workspace_id": ann.workspace.id, "key": picture.blob or ""}
    assert database.read(views.visible_blob, **shown)
    assert not database.read(views.visible_blob, **(shown | {"workspace_id": "other"}))
    with pytest.raises(NotAllowed):
        database.write(cases.remove, picture.id, actor=ben, now=START)
    assert database.write(cases.remove, picture.id, actor=ann, now=START) == picture.blob
    assert database.write(cases.remove, picture.id, actor=ann, now=START) is None
    assert not database.read(views.visible_blob, **shown)
    held = made(database, ann, GenerationStatus.HELD)
    assert not database.read(views.visible_blob, workspace_id=ann.workspace.id, key=held.blob or "")
    with pytest.raises(NotAllowed):
        database.write(cases.remove, held.id, actor=ann, now=START)


def test_history_is_newest_first_and_stays_in_its_workspace(database: Database) -> None:
    ann, ben = actor(database), actor(database, "ben")
    picture = made(database, ann, GenerationStatus.VISIBLE)
    waiting = submitted(database, ben)
    submitted(database, actor(database, workspace="other"))
    page = database.read(views.history, workspace_id=ann.workspace.id, now=START)
    assert {v.job.id for v in page} == {picture.job_id, waiting.id}
    assert [v.job.id for v in page] == sorted((v.job.id for v in page), reverse=True)
    card = database.read(views.view, waiting.id, workspace_id=ann.workspace.id, now=START)
    assert card.author == "ben" and card.place is not None and card.place.total == 2
    mine = database.read(
        views.history, workspace_id=ann.workspace.id, member_id=ann.member.id, now=START
    )
    assert [v.job.id for v in mine] == [picture.job_id]
    assert [g.id for g in mine[0].generations] == [picture.id]
    done = database.read(views.undelivered, platforms=[Platform.FAKE])
    assert [job.id for job, _ in done] == [picture.job_id]
    assert database.read(views.undelivered, platforms=[Platform.LOCAL]) == []
    assert row(database, waiting.id).delivered_at is None
