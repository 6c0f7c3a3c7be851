"""The rule order, the token bucket and what admins may set: tables and properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from storage.access import Asking, decide
from storage.bucket import UNIT, refilled, take
from storage.database import Database
from storage.rules import CommandRule, Limits, Rules, role_here, rules_of
from storage.schema import Role
from tests.conftest import START, actor

RULES = Rules(
    commands={
        "imagine": CommandRule(only_channels=("art",), not_roles=("muted",)),
        "*": CommandRule(not_channels=("serious",)),
        "config": CommandRule(least=Role.ADMIN),
    }
)


@pytest.mark.parametrize(
    ("change", "allowed", "code"),
    [
        ({}, True, "allowed"),
        ({"stopped": True}, False, "stopped"),
        ({"stopped": True, "role": Role.OWNER}, False, "stopped"),
        ({"channel": "chat"}, False, "only_channels"),
        ({"channel": "chat", "role": Role.ADMIN}, True, "allowed_admin"),
        ({"roles": ("muted",)}, False, "not_role"),
        ({"command": "ask", "channel": "chat"}, True, "allowed"),
        ({"command": "ask", "channel": "serious"}, False, "not_channel"),
        ({"command": "config"}, False, "least"),
        ({"command": "config", "role": Role.MODERATOR}, False, "least"),
        ({"command": "config", "role": Role.ADMIN}, True, "allowed_admin"),
        ({"banned_until": 10, "now": 9}, False, "timed_out"),
        ({"banned_until": 10, "now": 10}, True, "allowed"),
    ],
)
def test_the_first_rule_that_speaks_decides(change: dict[str, object], allowed: bool, code: str
) -> None:  # fmt: skip
    asking = Asking.model_validate(
        {"command": "imagine", "channel": "art", "role": Role.MEMBER} | change
    )
    ruling = decide(RULES, asking)
    assert (ruling.allowed, ruling.code) == (allowed, code)
    assert allowed or ruling.trail[-1] == code


def test_a_paused_workspace_lets_admins_in() -> None:
    paused = Rules(paused=True)
    ask = Asking(command="ask", channel="c", role=Role.MODERATOR)
    assert decide(paused, ask).code == "paused"
    assert decide(paused, ask.model_copy(update={"role": Role.ADMIN})).allowed


def test_one_bad_value_falls_back_alone() -> None:
    rules = rules_of({"paused": "perhaps", "limits": {"burst": 3}, "policy": {"x": 1}})
    assert (rules.paused, rules.limits.burst) == (False, 3)


def test_a_time_zone_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError, match="Europe/Berlin"):
        Rules.model_validate({"credits": {"timezone": "Mars/Olympus"}})


def test_ids_may_be_typed_as_mentions() -> None:
    rule = CommandRule.model_validate({"only_channels": "<#123>, <#456> 123"})
    assert rule.only_channels == ("123", "456")


def test_platform_roles_raise_and_never_lower() -> None:
    rules = Rules(mod_roles=("m",), admin_roles=("a",))
    assert role_here(rules, "member", ("m",)) is Role.MODERATOR
    assert role_here(rules, "owner", ("m",)) is Role.OWNER
    assert role_here(rules, "member", ("a", "m")) is Role.ADMIN
    assert role_here(rules, "emperor", ()) is Role.MEMBER


@given(st.integers(0, 50_000), st.integers(0, 10**7), st.integers(1, 100), st.integers(1, 600))
def test_a_bucket_never_overflows_and_never_shrinks(
    level: int, elapsed: int, burst: int, per_minute: int
) -> None:
    limits = Limits(burst=burst, per_minute=per_minute)
    level = min(level, burst * UNIT)
    now = refilled(level, 0, limits, elapsed)
    assert level <= now <= burst * UNIT


def test_a_flood_is_slowed_and_the_wait_it_is_told_is_enough(database: Database) -> None:
    ann, limits = actor(database, "ann"), Limits(burst=3, per_minute=6)
    waits = [database.write(take, ann.member.id, limits, now=START) for _ in range(5)]
    assert waits == [0, 0, 0, 10_000, 10_000]
    assert database.write(take, ann.member.id, limits, now=START + 9_999) > 0
    assert database.write(take, ann.member.id, limits, now=START + 10_000) == 0
