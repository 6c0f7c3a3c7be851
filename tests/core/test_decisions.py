"""Every judged text leaves a record: masked, sealed where the law says so, read by later rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlmodel import Session, select

from bot.core.services import Services
from storage import decisions
from storage.database import Database
from storage.models import DecisionRecord, Job, Workspace
from storage.vault import Vault
from tests.conftest import HandClock
from tests.fakes import FakeAdapter


def records(services: Services) -> list[DecisionRecord]:
    def read(session: Session) -> list[DecisionRecord]:
        return list(session.exec(select(DecisionRecord).order_by(DecisionRecord.id)))  # type: ignore[arg-type]

    return services.database.read(read)


async def test_a_prompt_leaves_a_record(fake: FakeAdapter, services: Services) -> None:
    await fake.say("imagine", prompt="a red apple for ann.lee@mail.org", negative="blurry")
    prompt, negative = records(services)
    assert (prompt.surface, negative.surface) == ("prompt", "negative")
    assert prompt.text == "a red apple for [email]" and prompt.outcome == "allow"
    assert prompt.key == negative.key and prompt.member_id is not None
    assert prompt.versions["policy"] and prompt.statement is None
    assert prompt.expires_at - prompt.created_at == 7 * decisions.DAY_MS


async def test_a_refusal_says_why(fake: FakeAdapter, services: Services) -> None:
    reply = await fake.say("imagine", prompt="h.a.r.d.c.o.r.e p0rn")
    assert reply.code == "prompt_refused"
    (record,) = records(services)
    assert record.outcome == "block" and "porn" in record.normalised
    assert record.statement is not None
    assert record.statement["category"] == "STATEMENT_CATEGORY_PORNOGRAPHY_OR_SEXUALIZED_CONTENT"
    assert record.statement["automated_decision"] == "AUTOMATED_DECISION_FULLY"
    assert record.flags[0]["category"] == "SEX"


async def test_child_safety_looks_across_the_last_three_prompts(
    fake: FakeAdapter, services: Services, clock: HandClock, tmp_path: Path
) -> None:
    await fake.say("imagine", prompt="a little girl in a garden")
    await fake.say("imagine", prompt="a castle", negative="clouds")
    reply = await fake.say("imagine", "bob", prompt="a lingerie shop window")
    assert reply.code != "prompt_refused", "another member's prompts do not count"
    reply = await fake.say("imagine", prompt="now in lingerie")
    assert reply.code == "prompt_refused"
    sealed = records(services)[-1]
    assert sealed.text == "" and sealed.normalised == "" and sealed.sealed is not None
    assert Vault.open(tmp_path).unseal(sealed.sealed, sealed.id) == "now in lingerie"
    clock.advance(2 * decisions.DAY_MS)
    reply = await fake.say("imagine", prompt="lingerie on a clothes line")
    assert reply.code != "prompt_refused", "yesterday is forgotten"


async def test_after_three_other_prompts_the_first_no_longer_counts(fake: FakeAdapter) -> None:
    for prompt in ("a little girl in a garden", "a castle", "a river", "a hill"):
        await fake.say("imagine", prompt=prompt)
    assert (await fake.say("imagine", prompt="lingerie")).code != "prompt_refused"


async def test_a_negative_prompt_counts_too(fake: FakeAdapter) -> None:
    reply = await fake.say("imagine", prompt="a woman in lingerie", negative="adult, little girl")
    assert reply.code == "prompt_refused"


async def test_a_blocked_character_comes_with_another_way_to_say_it(
    fake: FakeAdapter, services: Services
) -> None:
    await fake.say("imagine", prompt="a tree")

    def block(session: Session) -> None:
        for workspace in session.exec(select(Workspace)):
            workspace.settings = {"lists": {"ip_mode": "block"}}
            session.add(workspace)

    services.database.write(block)
    reply = await fake.say("imagine", prompt="Mickey Mouse on a bike")
    assert reply.code == "ip_refused"
    assert "cheerful cartoon mouse" in reply.text and "Mickey" not in reply.text


@pytest.mark.parametrize(("region", "line"), [("", "findahelpline"), ("DE", "0800 111 0 111")])
async def test_the_help_card_knows_the_region(
    fake: FakeAdapter, services: Services, region: str, line: str
) -> None:
    await fake.say("imagine", prompt="a tree")

    def choose(session: Session) -> None:
        for workspace in session.exec(select(Workspace)):
            workspace.settings = {"lists": {"help_region": region}}
            session.add(workspace)

    services.database.write(choose)
    reply = await fake.say("ask", prompt="I want to kill myself")
    assert reply.code == "self_harm_help" and line in reply.text


async def test_records_go_when_their_time_is_up(
    fake: FakeAdapter, services: Services, clock: HandClock
) -> None:
    await fake.say("imagine", prompt="a tree")
    await fake.say("imagine", prompt="hardcore porn")
    clock.advance(8 * decisions.DAY_MS)
    assert services.database.write(decisions.purge, now=clock()) == 1
    assert [r.outcome for r in records(services)] == ["block"]
    clock.advance(90 * decisions.DAY_MS)
    assert services.database.write(decisions.purge, now=clock()) == 1


async def test_moderators_see_every_score_and_members_none(
    fake: FakeAdapter, services: Services
) -> None:
    reply = await fake.say("mod", action="try", text="h.a.r.d.c.o.r.e p0rn")
    assert reply.code == "role_needed" and not reply.fields
    reply = await fake.say("mod", "mia", role="moderator", action="try", text="hardcore porn")
    assert reply.code is None and reply.data["outcome"] == "block"
    assert reply.data["severity"]["SEX"] >= 0.9 and "SEX" in reply.fields[0].label
    assert "text.terms" in reply.fields[0].value
    assert "text.heads/SELF" in reply.data["scores"]
    assert records(services) == [], "nothing is kept"


async def test_forgetting_a_member_takes_their_records_but_not_the_sealed(
    fake: FakeAdapter, services: Services
) -> None:
    await fake.say("imagine", prompt="hardcore porn")
    await fake.say("imagine", prompt="a nude child")
    member = records(services)[0].member_id
    assert member is not None
    services.database.write(decisions.forget_member, member_id=member)
    (left,) = records(services)
    assert left.sealed is not None and left.text == ""


async def test_what_a_negative_prompt_keeps_out_is_neither_a_reason_nor_a_call_for_help(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    reply = await fake.say("imagine", prompt="a quiet lake", negative="nude, porn, suicide, blood")
    assert reply.code is None, "who keeps it out does not ask for it"
    job = database.read(lambda s: s.get_one(Job, reply.job_id or ""))
    assert job.verdict == {"outcome": "allow", "flags": []}
    kept = next(r for r in records(services) if r.surface == "negative")
    assert {flag["category"] for flag in kept.flags} >= {"SEX"}, "moderators may see all of it"
