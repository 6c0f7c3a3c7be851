"""The verdict's laws and the policy's table: order never matters, more is never milder."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from moderation.pipeline import Content, Judgement
from moderation.policy import (
    ADULT_SEX,
    DEFAULT_POLICY,
    DEFAULTS,
    LOCKED,
    Policy,
    Surface,
    Thresholds,
    counted,
    decide,
    wants_help,
)
from moderation.record import About, record_of
from moderation.settings import policy_of
from storage.schema import Category, Flag, Outcome, Verdict, harshest

scores = st.floats(0.0, 1.0)
flags = st.builds(
    Flag,
    category=st.sampled_from(Category),
    score=scores,
    stage=st.sampled_from(["text.a", "image.b"]),
    detail=st.sampled_from(["", "x"]),
)
verdicts = st.builds(Verdict, outcome=st.sampled_from(Outcome), flags=st.frozensets(flags))


@st.composite
def thresholds(draw: st.DrawFn) -> Thresholds:
    lines = sorted(draw(st.lists(scores, min_size=3, max_size=3)))
    keep = draw(st.tuples(*[st.booleans()] * 3))
    blur, hold, block = (line if kept else None for line, kept in zip(lines, keep, strict=True))
    return Thresholds(blur=blur, hold=hold, block=block)


FREE = sorted(frozenset(Category) - LOCKED - {Category.SEX, Category.REAL})
policies = st.builds(
    Policy,
    adult=st.booleans(),
    thresholds=st.dictionaries(st.sampled_from(FREE), thresholds(), max_size=4),
)
surfaces = st.sampled_from(Surface)


@given(verdicts, verdicts, verdicts)
def test_verdicts_form_a_join_semilattice(a: Verdict, b: Verdict, c: Verdict) -> None:
    assert a | a == a
    assert a | b == b | a
    assert (a | b) | c == a | (b | c)
    assert Verdict() | a == a == a | Verdict()
    assert (a | b).outcome >= max(a.outcome, b.outcome)
    assert harshest([a, b, c]) == harshest([c, a, b, a])
    assert Verdict.parse(json.loads(json.dumps(a.dump()))) == a


@given(st.lists(flags), st.lists(flags), policies, surfaces)
def test_deciding_together_is_joining_what_was_decided_apart(
    one: list[Flag], two: list[Flag], policy: Policy, surface: Surface
) -> None:
    apart = decide(one, policy, surface) | decide(two, policy, surface)
    assert decide(one + two, policy, surface) == apart
    assert decide(two + one + one, policy, surface) == apart


@given(st.lists(flags), flags, policies, surfaces)
def test_more_flags_are_never_milder(
    some: list[Flag], another: Flag, policy: Policy, surface: Surface
) -> None:
    before = decide(some, policy, surface)
    assert decide([*some, another], policy, surface).outcome >= before.outcome


@given(flags, scores, policies, surfaces)
def test_a_higher_score_is_never_milder(
    flag: Flag, score: float, policy: Policy, surface: Surface
) -> None:
    low, high = sorted((flag.score, score))
    outcomes = [
        decide([flag.model_copy(update={"score": s})], policy, surface).outcome for s in (low, high)
    ]
    assert outcomes == sorted(outcomes)


@given(policies, surfaces, scores)
def test_no_policy_lets_child_abuse_or_a_fault_through(
    policy: Policy, surface: Surface, score: float
) -> None:
    csae = Flag(category=Category.CSAE, score=score, stage="s")
    fault = Flag(category=Category.FAULT, score=score, stage="s")
    assert decide([csae], policy, surface).outcome is Outcome.BLOCK
    assert decide([fault], policy, surface).outcome >= Outcome.HOLD


def test_nothing_found_is_allowed() -> None:
    assert decide([], DEFAULT_POLICY, Surface.OUTPUT) == Verdict()


@pytest.mark.parametrize(
    ("category", "score", "surface", "outcome"),
    [
        (Category.SEX, 0.49, Surface.OUTPUT, Outcome.ALLOW),
        (Category.SEX, 0.5, Surface.OUTPUT, Outcome.HOLD),
        (Category.SEX, 0.7, Surface.OUTPUT, Outcome.BLOCK),
        (Category.SEX, 0.7, Surface.PROMPT, Outcome.BLOCK),
        (Category.SEX, 1.0, Surface.NEGATIVE, Outcome.ALLOW),
        (Category.GORE, 1.0, Surface.NEGATIVE, Outcome.ALLOW),
        (Category.GORE, 0.9, Surface.OUTPUT, Outcome.BLUR),
        (Category.CSAE, 0.0, Surface.NEGATIVE, Outcome.BLOCK),
        (Category.HATE, 0.6, Surface.NEGATIVE, Outcome.HOLD),
        (Category.INJ, 0.85, Surface.PROMPT, Outcome.BLOCK),
        (Category.INJ, 1.0, Surface.ANSWER, Outcome.ALLOW),
        (Category.SELF, 0.4, Surface.PROMPT, Outcome.ALLOW),
        (Category.SELF, 0.9, Surface.PROMPT, Outcome.BLOCK),
        (Category.WEAP, 0.8, Surface.PROMPT, Outcome.BLOCK),
        (Category.IP, 1.0, Surface.OUTPUT, Outcome.ALLOW),
    ],
)
def test_the_default_table(
    category: Category, score: float, surface: Surface, outcome: Outcome
) -> None:
    flag = Flag(category=category, score=score, stage="s")
    verdict = decide([flag], DEFAULT_POLICY, surface)
    assert verdict.outcome is outcome
    assert verdict.flags == {flag}, "even an ignored flag stays for the moderators"


def test_every_code_has_its_default() -> None:
    assert set(DEFAULTS) == set(Category)


def test_distress_is_not_refused_but_wants_help() -> None:
    verdict = decide(
        [Flag(category=Category.SELF, score=0.4, stage="s")], DEFAULT_POLICY, Surface.PROMPT
    )
    assert verdict.allowed and wants_help(verdict)
    assert not wants_help(Verdict())


def test_a_workspace_changes_one_line_and_keeps_the_others() -> None:
    policy = Policy.parse({"thresholds": {"HATE": {"block": 0.6}, "VIO": {"hold": None}}})
    assert policy.of(Category.HATE) == Thresholds(hold=0.5, block=0.6)
    assert policy.of(Category.VIO) == Thresholds(block=0.9)
    assert policy.of(Category.SEX) == DEFAULTS[Category.SEX]
    assert Policy.parse(json.loads(json.dumps(policy.dump()))) == policy


def test_nudity_is_milder_among_adults_only() -> None:
    adult = Policy(adult=True)
    assert adult.of(Category.SEX) == ADULT_SEX
    assert Policy.parse({"adult": True, "thresholds": {"SEX": {"hold": 0.9}}}).of(
        Category.SEX
    ) == Thresholds(blur=0.5, hold=0.9)
    with pytest.raises(ValidationError, match="age-restricted"):
        Policy.parse({"thresholds": {"SEX": {"block": None}}})


@pytest.mark.parametrize("category", sorted(LOCKED))
@pytest.mark.parametrize("lines", [{"blur": None, "hold": None, "block": None}, {"block": 1.0}])
def test_locked_codes_cannot_be_loosened(category: str, lines: dict[str, float | None]) -> None:
    if category == Category.FAULT and lines == {"block": 1.0}:
        lines = {"hold": 0.5}
    for adult in (True, False):
        with pytest.raises(ValidationError, match="cannot be loosened"):
            Policy.parse({"adult": adult, "thresholds": {category: lines}})


def test_locked_codes_can_be_tightened() -> None:
    policy = Policy.parse({"thresholds": {"WEAP": {"hold": 0.1, "block": 0.2}}})
    assert policy.of(Category.WEAP).block == 0.2


@pytest.mark.parametrize(
    "data",
    [
        {"thresholds": {"NOPE": {"hold": 0.5}}},
        {"thresholds": {"HATE": {"hold": 1.5}}},
        {"thresholds": {"HATE": {"hold": float("nan")}}},
        {"thresholds": {"HATE": {"hold": 0.8, "block": 0.2}}},
        {"thresholds": {"HATE": {"hide": 0.8}}},
        {"thresholds": {"HATE": 0.8}},
        {"thresholds": ["HATE"]},
        {"thresholds": {"HATE": None}},
        {"unknown": 1},
    ],
)
def test_junk_policies_are_refused(data: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Policy.parse(data)


def test_stricter_is_a_partial_order() -> None:
    lines = [None, 0.2, 0.8]
    table = [
        Thresholds(blur=a, hold=b, block=c)
        for a, b, c in itertools.product(lines, repeat=3)
        if [x for x in (a, b, c) if x is not None] == sorted(x for x in (a, b, c) if x is not None)
    ]
    for one, two in itertools.product(table, repeat=2):
        truly = all(one.outcome(s / 20) >= two.outcome(s / 20) for s in range(21))
        assert one.at_least(two) == truly


# -- what a workspace may change ---------------------------------------------------------------


@pytest.mark.parametrize(
    "lines", [{"block": None}, {"block": 0.9}, {"hold": None, "block": None}, {"block": 1.0}]
)
def test_a_real_person_made_sexual_is_blocked_whatever_a_workspace_sets(
    lines: dict[str, float | None],
) -> None:
    """Since December 2026 the law leaves no choice; what may defame is the workspace's to judge."""
    with pytest.raises(ValidationError, match="REAL"):
        Policy.parse({"thresholds": {"REAL": lines}})
    assert policy_of({"policy": {"thresholds": {"REAL": lines}}}).of(Category.REAL).block == 0.8
    looser = Policy.parse({"thresholds": {"REAL": {"hold": None}}})
    assert looser.of(Category.REAL) == Thresholds(block=0.8)


def test_lines_for_adults_elsewhere_leave_the_other_codes_alone() -> None:
    stored = {"adult": True, "thresholds": {"SEX": {"blur": 0.6, "hold": 0.9},
                                            "HATE": {"hold": 0.2}}}  # fmt: skip
    here = policy_of({"policy": stored}, adult=True)
    assert here.of(Category.SEX).hold == 0.9 and here.of(Category.HATE).hold == 0.2
    elsewhere = policy_of({"policy": stored}, adult=False)
    assert elsewhere.of(Category.SEX) == DEFAULTS[Category.SEX]
    assert elsewhere.of(Category.HATE).hold == 0.2, "what was made stricter stays so"
    for junk in ("x", ["SEX"], {"thresholds": 3}, {"thresholds": {"SEX": 7, "NONE": {}}}):
        assert policy_of({"policy": junk}, adult=False) == Policy()


def test_what_a_surface_ignores_is_no_reason_for_what_became_of_the_rest() -> None:
    nude = Flag(category=Category.SEX, score=0.95, stage="text.terms")
    hate = Flag(category=Category.HATE, score=0.6, stage="text.terms")
    verdict = decide([nude, hate], DEFAULT_POLICY, Surface.NEGATIVE)
    assert counted(verdict, Surface.NEGATIVE) == Verdict(
        outcome=Outcome.HOLD, flags=frozenset({hate})
    )
    assert counted(verdict, Surface.PROMPT) == verdict
    judged = Judgement(verdict=verdict, scores={}, versions={}, ms=1.0)
    about = Content(Surface.NEGATIVE, text="nude, and worse")
    record = record_of(judged, about, DEFAULT_POLICY, About("w"), now=0)
    assert (
        record.statement is not None and "HATE" in record.statement["incompatible_content_ground"]
    )
    assert {flag["category"] for flag in record.flags} == {"SEX", "HATE"}, "moderators see all"
