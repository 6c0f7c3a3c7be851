"""Flags and a workspace's thresholds make one verdict. Pure, total and monotone.

Stages put their scores on one scale, so that one table serves all of them. The defaults (an
empty cell never applies; scores are 0 to 1; a score on the line counts):

| Code  | blur | hold | block | Why                                                         |
|-------|------|------|-------|-------------------------------------------------------------|
| CSAE  |      |      | 0.0   | any finding blocks; cannot be loosened                      |
| FAULT |      | 0.0  |       | a broken check holds; cannot be loosened                    |
| REAL  |      | 0.5  | 0.8   | a real person: doubtful is held, sexual is blocked          |
| SEX   |      | 0.5  | 0.7   | nudity is held, explicit blocked; looser only where adults  |
| SEXC  |      | 0.4  | 0.6   | sexual violence; cannot be loosened                         |
| VIO   |      | 0.5  | 0.9   | threats and incitement are read by a person                 |
| GORE  | 0.7  |      |       | fiction is allowed, graphic wounds are veiled               |
| HATE  |      | 0.5  | 0.9   | a slur list or a classifier alone may hold, never block     |
| HAR   |      | 0.8  |       | insults: the report button does the rest                    |
| SELF  |      |      | 0.8   | instructions blocked; distress is allowed and gets help     |
| ILL   |      | 0.5  | 0.9   | how-to for crime                                            |
| WEAP  |      | 0.5  | 0.7   | weapon making; cannot be loosened                           |
| PII   |      | 0.9  |       | secrets of others                                           |
| IP    |      |      |       | a label only, unless the workspace sets a line              |
| INJ   |      |      | 0.8   | crude jailbreaks are refused; nothing to review             |

In an age-restricted channel (``adult=True``) SEX becomes blur 0.5, hold 0.7.

What an outcome means depends on the surface, and the caller acts on it: a *block* on a prompt
refuses it before anything is queued; a *hold* keeps it from going on until a person has looked;
*blur* on a text surface asks that the output be veiled. Two surfaces ignore some codes:

* a negative prompt names what must **not** appear ("nude, gore"), so only the codes that no
  context excuses count there: CSAE, REAL, HATE, PII, INJ and FAULT;
* INJ is about what goes into a model, so it does not count on answers, outputs and previews.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from pydantic import Field, field_validator, model_validator

from storage.schema import Category, Flag, Frozen, Outcome, Verdict

POLICY_VERSION = "2026-11-25"
"""Of the table above and the rules that are not a workspace's to change; in marks and records."""


class Surface(StrEnum):
    """Where the content would become visible, or where it goes in."""

    PROMPT = "prompt"
    NEGATIVE = "negative"
    ANSWER = "answer"
    OUTPUT = "output"
    PREVIEW = "preview"
    UPLOAD = "upload"
    NAME = "name"


class Thresholds(Frozen):
    """The lowest score (0 to 1) for each outcome of one code; ``None`` means never."""

    blur: float | None = Field(default=None, ge=0.0, le=1.0)
    hold: float | None = Field(default=None, ge=0.0, le=1.0)
    block: float | None = Field(default=None, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _rising(self) -> Thresholds:
        given = [line for line in (self.blur, self.hold, self.block) if line is not None]
        if given != sorted(given):
            raise ValueError("thresholds must rise: blur <= hold <= block")
        return self

    def outcome(self, score: float) -> Outcome:
        """What a finding of this score (0 to 1) does."""
        for line, outcome in (
            (self.block, Outcome.BLOCK),
            (self.hold, Outcome.HOLD),
            (self.blur, Outcome.BLUR),
        ):
            if line is not None and score >= line:
                return outcome
        return Outcome.ALLOW

    def at_least(self, other: Thresholds) -> bool:
        """True when no score fares milder here than under ``other``."""
        lines = [line for line in (other.blur, other.hold, other.block) if line is not None]
        return all(self.outcome(line) >= other.outcome(line) for line in lines)


DEFAULTS: Mapping[Category, Thresholds] = {
    Category.CSAE: Thresholds(block=0.0),
    Category.FAULT: Thresholds(hold=0.0),
    Category.REAL: Thresholds(hold=0.5, block=0.8),
    Category.SEX: Thresholds(hold=0.5, block=0.7),
    Category.SEXC: Thresholds(hold=0.4, block=0.6),
    Category.VIO: Thresholds(hold=0.5, block=0.9),
    Category.GORE: Thresholds(blur=0.7),
    Category.HATE: Thresholds(hold=0.5, block=0.9),
    Category.HAR: Thresholds(hold=0.8),
    Category.SELF: Thresholds(block=0.8),
    Category.ILL: Thresholds(hold=0.5, block=0.9),
    Category.WEAP: Thresholds(hold=0.5, block=0.7),
    Category.PII: Thresholds(hold=0.9),
    Category.IP: Thresholds(),
    Category.INJ: Thresholds(block=0.8),
}

ADULT_SEX = Thresholds(blur=0.5, hold=0.7)
"""SEX where the platform itself has checked that everyone is of age."""

LOCKED = frozenset({Category.CSAE, Category.FAULT, Category.SEXC, Category.WEAP})
"""Codes that no workspace may loosen; tightening is always possible."""

REAL_BLOCKS = Thresholds(block=0.8)
"""What no workspace may loosen of REAL: a real person made sexual. What may deceive or defame,
below, is its own to judge."""

_SENSITIVE_ANYWHERE = frozenset(
    {Category.CSAE, Category.REAL, Category.HATE, Category.PII, Category.INJ, Category.FAULT}
)
_IGNORED: Mapping[Surface, frozenset[Category]] = {
    Surface.NEGATIVE: frozenset(Category) - _SENSITIVE_ANYWHERE,
    Surface.ANSWER: frozenset({Category.INJ}),
    Surface.OUTPUT: frozenset({Category.INJ}),
    Surface.PREVIEW: frozenset({Category.INJ}),
}


class Policy(Frozen):
    """One workspace's thresholds: the defaults and where it differs from them.

    ``thresholds`` holds the differences only. From JSON, a code may give some lines and keep the
    others: ``{"thresholds": {"HATE": {"block": 0.6}}}``; an explicit ``null`` switches a line
    off. Raises ``pydantic.ValidationError`` on unknown codes, scores outside 0 to 1, lines that
    do not rise, and on any attempt to loosen a locked code (SEX too, unless ``adult``; REAL's
    block line).
    """

    adult: bool = False
    """For age-restricted channels only: the caller asks the platform, not the member."""
    thresholds: dict[Category, Thresholds] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("thresholds"), dict):
            return data
        adult = data.get("adult") is True
        filled: dict[Any, Any] = {}
        for code, lines in data["thresholds"].items():
            base = _default(code, adult)
            partial = isinstance(lines, dict) and base is not None
            filled[code] = {**base.model_dump(), **lines} if partial and base else lines
        return {**data, "thresholds": filled}

    @field_validator("thresholds")
    @classmethod
    def _not_looser(cls, given: dict[Category, Thresholds]) -> dict[Category, Thresholds]:
        for category in LOCKED & given.keys():
            if not given[category].at_least(DEFAULTS[category]):
                raise ValueError(f"{category} cannot be loosened")
        real = given.get(Category.REAL)
        if real is not None and not real.at_least(REAL_BLOCKS):
            raise ValueError("REAL cannot be loosened where a real person is made sexual")
        return given

    @model_validator(mode="after")
    def _nudity_only_among_adults(self) -> Policy:
        sex = self.thresholds.get(Category.SEX)
        if sex is not None and not self.adult and not sex.at_least(DEFAULTS[Category.SEX]):
            raise ValueError("SEX can be loosened in age-restricted channels only")
        return self

    def of(self, category: Category) -> Thresholds:
        """The lines that apply to a code in this workspace."""
        own = self.thresholds.get(category)
        if own is not None:
            return own
        return ADULT_SEX if self.adult and category is Category.SEX else DEFAULTS[category]

    def dump(self) -> dict[str, Any]:
        """A JSON object that :meth:`parse` reads back."""
        return self.model_dump(mode="json")

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Policy:
        """A stored policy back as a value. Raises ``pydantic.ValidationError`` on junk."""
        return cls.model_validate(dict(data))


def _default(code: object, adult: bool) -> Thresholds | None:
    """The default lines of a code as JSON writes it; ``None`` for an unknown code."""
    if not isinstance(code, str) or code not in frozenset(Category):
        return None
    category = Category(code)
    return ADULT_SEX if adult and category is Category.SEX else DEFAULTS[category]


DEFAULT_POLICY = Policy()
"""What a workspace has before anyone changes anything."""


def decide(flags: Iterable[Flag], policy: Policy, surface: Surface) -> Verdict:
    """The verdict on a set of findings: the harshest outcome any of them asks for.

    Order and repetition do not matter, and adding a flag or raising a score never makes the
    verdict milder. Flags that a surface ignores stay in the verdict, for the moderators.
    """
    found = frozenset(flags)
    ignored = _IGNORED.get(surface, frozenset())
    outcomes = (_outcome(f, policy) for f in found if f.category not in ignored)
    return Verdict(outcome=max(outcomes, default=Outcome.ALLOW), flags=found)


def _outcome(flag: Flag, policy: Policy) -> Outcome:
    """What one finding asks for. A hate head may hold, never block, whatever the lines say: at
    0.5 % false positives on chat such heads flag most *non*-hateful identity statements."""
    outcome = policy.of(flag.category).outcome(flag.score)
    if flag.category is Category.HATE and is_statistical(flag):
        return min(outcome, Outcome.HOLD)
    return outcome


def counted(verdict: Verdict, surface: Surface) -> Verdict:
    """A verdict without the findings that its surface ignores, to be joined with those of other
    surfaces: "nude" in a negative prompt is no reason for what became of the picture."""
    ignored = _IGNORED.get(surface, frozenset())
    kept = frozenset(flag for flag in verdict.flags if flag.category not in ignored)
    return verdict.model_copy(update={"flags": kept})


STATISTICAL = ("text.heads", "text.guard", "text.judge")
"""Stages that estimate. What they find alone never makes a strike."""

OWN_LIST, ACROSS = "list.", ".across"
"""How the name of a rule begins that a workspace made, and ends where two prompts were joined."""

_STRIKES = (Category.CSAE, Category.REAL, Category.SEXC, Category.INJ)
"""Codes for which a fixed rule strikes by itself, the gravest first."""


def is_statistical(flag: Flag) -> bool:
    """Whether a model's estimate, not a rule, made this finding."""
    return flag.stage.startswith(STATISTICAL) or flag.stage.startswith("image.")


def strikeable(verdict: Verdict, policy: Policy) -> list[Category]:
    """The codes for which a machine alone may strike: a fixed rule of the three gravest blocked
    (and of INJ, which counts from its third time). Everything else strikes only when a moderator
    has confirmed it.
    """
    return sorted({flag.category for flag in _striking(verdict, policy)})


def gravest(verdict: Verdict, policy: Policy) -> Flag | None:
    """The finding that a machine's one strike for this verdict rests on; None for no strike."""
    found = sorted(_striking(verdict, policy), key=lambda f: (_STRIKES.index(f.category), f.detail))
    return found[0] if found else None


def _striking(verdict: Verdict, policy: Policy) -> list[Flag]:
    """Findings of our own lists that block by the shipped lines. Left out are the words a
    workspace lists itself and what only its tighter lines block, which are its moderators' to
    strike for; and what joins two prompts: that they are one wish is a guess, good enough to
    refuse and to seal."""
    return [
        flag
        for flag in verdict.flags
        if flag.category in _STRIKES
        and not is_statistical(flag)
        and not flag.detail.startswith(OWN_LIST)
        and not flag.detail.endswith(ACROSS)
        and DEFAULTS[flag.category].outcome(flag.score) is Outcome.BLOCK
        and policy.of(flag.category).outcome(flag.score) is Outcome.BLOCK
    ]


def reasons(verdict: Verdict, policy: Policy) -> list[Category]:
    """The codes that led to the verdict's outcome, gravest score first; for *allow*, none."""
    if verdict.outcome is Outcome.ALLOW:
        return []
    worst: dict[Category, float] = {}
    for flag in verdict.flags:
        if _outcome(flag, policy) >= verdict.outcome:
            worst[flag.category] = max(flag.score, worst.get(flag.category, 0.0))
    return sorted(worst, key=lambda c: (c is Category.FAULT, -worst[c], c)) or verdict.categories()


HELP_FROM = 0.4
"""The lowest SELF score that calls for the help card."""


def wants_help(verdict: Verdict) -> bool:
    """True when the member should be shown the help card: any sign of self-harm, allowed or not."""
    return any(f.category is Category.SELF and f.score >= HELP_FROM for f in verdict.flags)
