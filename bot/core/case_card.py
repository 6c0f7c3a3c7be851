"""A case as moderators see it: what was made, what was found, who made it, what to press. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bot.core.languages import language_of
from bot.core.reply import Button, Field, Form, FormField, Picture, Reply, Tone, Verb, Visibility
from bot.core.texts import Texts
from moderation.pii import mask
from storage.known import DENY
from storage.models import Case, Decision
from storage.review_claims import UNDECIDED
from storage.review_views import CaseView
from storage.review_words import FIRST, Ruling, is_sealed, ruled_sealed
from storage.schema import CaseOrigin, CaseStatus, Category, JobKind, Millis, Verdict, parse_spec

_RULINGS: tuple[tuple[Verb, str], ...] = (
    (Verb.APPROVE, "primary"), (Verb.BLUR, "plain"), (Verb.DENY, "danger"),
    (Verb.STRIKE, "danger"), (Verb.REVEAL, "plain"), (Verb.ESCALATE, "plain"),
    (Verb.ASK, "plain"), (Verb.BAN, "danger"),
)  # fmt: skip
CODES = tuple(str(code) for code in Category if code is not Category.FAULT)


@dataclass(frozen=True)
class Mark:
    """Where a listed word stands in the prompt (half-open, in characters)."""

    start: int
    end: int


def case_card(
    seen: CaseView,
    texts: Texts,
    *,
    now: Millis,
    marks: Sequence[Mark] = (),
    blind: bool = False,
    steal: bool = False,
    translates: bool = True,
) -> Reply:
    """One case with its context. A picture is always veiled; adapters show it on a click.

    ``marks`` are listed words of the prompt as :func:`shown_prompt` gives it. ``blind`` hides what
    was decided: for a second look. ``steal`` offers to take somebody else's lock over.
    Without ``translates`` no model here reads other languages, and no translation is promised.
    """
    case = seen.case
    if is_sealed(case.verdict):
        return _sealed(case, texts)
    codes = Verdict.parse(case.verdict).categories()
    reason = ", ".join(f"{texts(f'category.{code}')} ({code})" for code in codes)
    if case.origin == CaseOrigin.REPORTED:
        reason = ", ".join(filter(None, (texts("case.reported_only"), reason)))
    if case.origin == CaseOrigin.REFUSED:
        reason = ", ".join((texts("case.refused_only"), reason))
    prompt = shown_prompt(seen)
    language = language_of(prompt)
    waits = translates and _wanted(seen, language, texts) and not _text_of(seen, texts.locale)
    translated = _translated(seen, language, texts, waits=waits)
    lines = [f"> {_marked(prompt, marks)}" if prompt else "", translated]
    if seen.made.text:
        # Bars of its own would end the veil too early.
        lines.append(f"||{seen.made.text[:1000].replace('|', '¦')}||")
    if seen.appeal is not None and seen.appeal.decided_at is None and not blind:
        lines.append(f"**{texts('case.appeal')}** {seen.appeal.text}")
    if not blind:
        lines += [_ruled(ruling, texts) for ruling in seen.decisions]
    late = _late(case, now) and not blind
    return Reply(
        title=_title(case, codes, texts, blind),
        text="\n\n".join(line for line in lines if line),
        tone=Tone.WARN if late or case.severity >= 3 else Tone.INFO,
        visibility=Visibility.PRIVATE,
        fields=(
            Field(label=texts("case.reason"), value=reason or texts("case.none")),
            Field(label=texts("case.findings"), value=_findings(case.verdict, texts)),
            Field(label=texts("case.member"), value=_standing(seen, texts)),
            Field(label=texts("case.before"), value=_before(seen, texts)),
            Field(label=texts("case.language"), value=_language(language, texts)),
            *(() if blind else (
                Field(label=texts("case.similar"), value=_similar(seen, texts)),
                Field(label=texts("case.due"), value=_due(case, texts, now)),
                Field(label=texts("case.holder"), value=seen.holder or texts("case.free")),
            )),
            Field(label=texts("case.id"), value=case.id, code=True),
        ),
        pictures=_pictures(seen, texts),
        buttons=_blind_buttons(case, texts)
        if blind
        else (
            *buttons_of(case, seen.decisions, texts),
            *((steal_button(case.id, texts),) if steal and case.status in UNDECIDED else ()),
        ),
        data={
            "case_id": case.id, "status": str(case.status), "job_id": seen.job.id,
            "alike": 0 if blind else seen.alike, "late": late, "blind": blind,
            "member_id": seen.member.id, "language": language,
            "code": str(codes[0]) if codes else "",
            "translating": waits,
        },
    )  # fmt: skip


def shown_prompt(seen: CaseView) -> str:
    """What was asked, as moderators read it: personal data masked, cut to 500 characters."""
    return mask(parse_spec(seen.job.spec).prompt)[:500]


def _sealed(case: Case, texts: Texts) -> Reply:
    """What anybody sees of sealed content: that it is sealed."""
    return Reply(
        title=texts("case.sealed_title"), text=texts("case.sealed"), tone=Tone.BAD,
        visibility=Visibility.PRIVATE,
        fields=(Field(label=texts("case.id"), value=case.id, code=True),),
        data={"case_id": case.id, "status": str(case.status), "sealed": True},
    )  # fmt: skip


def _title(case: Case, codes: Sequence[Category], texts: Texts, blind: bool) -> str:
    if blind:
        return texts("case.blind_title")
    if case.severity >= FIRST:
        return texts("case.ncii_title")
    if codes:
        return texts("case.title", code=codes[0], severity=case.severity)
    return texts("case.reported_title", severity=case.severity)


def _marked(prompt: str, marks: Sequence[Mark]) -> str:
    """The prompt with its listed words in bold; stars of its own would end that too early."""
    parts, last = [], 0
    for mark in marks:
        word = prompt[mark.start : mark.end]
        if mark.start < last or not word.strip() or "*" in word:
            continue
        parts += [prompt[last : mark.start], f"**{word}**"]
        last = mark.end
    return "".join([*parts, prompt[last:]]).replace("\n", "\n> ")


def _wanted(seen: CaseView, language: str, texts: Texts) -> bool:
    return bool(language) and language != texts.locale


def wants_translation(seen: CaseView, locale: str) -> bool:
    """Whether this card would be read better with a translation that nobody asked for yet."""
    if is_sealed(seen.case.verdict):
        return False
    language = language_of(shown_prompt(seen))
    known = any(row.locale == locale for row in seen.translations)
    return bool(language) and language != locale and not known


def _text_of(seen: CaseView, locale: str) -> str:
    return next((row.text for row in seen.translations if row.locale == locale), "")


def _translated(seen: CaseView, language: str, texts: Texts, *, waits: bool) -> str:
    """The machine translation, under its label; or that one is on its way."""
    if not _wanted(seen, language, texts):
        return ""
    name = texts(f"language.{language}")
    if waits:
        return f"*{texts('case.translating', language=name)}*"
    text = _text_of(seen, texts.locale)
    if not text:
        return ""
    label = texts("case.translation", language=name)
    return f"*{label}* {mask(text)[:600]}"


def _language(language: str, texts: Texts) -> str:
    return texts(f"language.{language}") if language else texts("case.none")


def _late(case: Case, now: Millis) -> bool:
    return case.due_at is not None and case.due_at < now and case.status in UNDECIDED


def _pictures(seen: CaseView, texts: Texts) -> tuple[Picture, ...]:
    made = seen.made
    if made.kind != JobKind.IMAGE:
        return ()
    blob = None if ruled_sealed(seen.decisions) else made.blob
    return (
        Picture(
            generation_id=made.id, blob=blob, alt=texts("case.alt"), width=made.width or 0,
            height=made.height or 0, seed=made.seed, blurred=True,
        ),
    )  # fmt: skip


def buttons_of(case: Case, decisions: Sequence[Decision], texts: Texts) -> tuple[Button, ...]:
    """What can be pressed now. What may be pressed by whom is decided at press time."""
    if case.status == CaseStatus.APPEALED:
        return (
            Button(verb=Verb.UPHOLD, target=case.id, label=texts("button.uphold")),
            Button(verb=Verb.OVERTURN, target=case.id, label=texts("button.overturn"),
                   style="primary"),
        )  # fmt: skip
    if case.status in (CaseStatus.DECIDED, CaseStatus.CLOSED):
        return ()
    proposed = next((d for d in decisions if d.proposed and d.undone_at is None), None)
    if proposed is not None:
        return (
            Button(verb=Verb.AGREE, target=proposed.id, label=texts("button.agree"),
                   style="danger"),
            Button(verb=Verb.APPROVE, target=case.id, label=texts("button.approve")),
            Button(verb=Verb.DENY, target=case.id, label=texts("button.deny")),
        )  # fmt: skip
    return tuple(
        Button(verb=verb, target=case.id, label=texts(f"button.{verb}"), style=style)
        for verb, style in _RULINGS
    )


def steal_button(case_id: str, texts: Texts) -> Button:
    """For an admin, on a case that somebody else looks at."""
    return Button(verb=Verb.STEAL, target=case_id, label=texts("button.steal"))


def _blind_buttons(case: Case, texts: Texts) -> tuple[Button, ...]:
    return (
        Button(verb=Verb.LOOK_APPROVE, target=case.id, label=texts("button.approve"),
               style="primary"),
        Button(verb=Verb.LOOK_DENY, target=case.id, label=texts("button.deny"), style="danger"),
        Button(verb=Verb.REVEAL, target=case.id, label=texts("button.reveal")),
    )  # fmt: skip


def _ruled(ruling: Decision, texts: Texts) -> str:
    said = texts(f"ruled.{ruling.action}")
    if ruling.proposed:
        said = texts("ruled.proposed", what=said)
    if ruling.undone_at is not None:
        said = texts("ruled.undone", what=said)
    code = f" ({ruling.code})" if ruling.code else ""
    return f"- {said}{code}" + (f": {ruling.note}" if ruling.note else "")


def _findings(verdict: dict[str, Any], texts: Texts) -> str:
    flags = sorted(verdict["flags"], key=lambda flag: -flag["score"])
    lines = [
        f"{flag['category']} {flag['score']:.2f} {flag['stage']}"
        + (f": {flag['detail']}" if flag["detail"] else "")
        for flag in flags[:8]
    ]  # fmt: skip
    return "\n".join(lines) or texts("case.none")


def _standing(seen: CaseView, texts: Texts) -> str:
    standing = seen.standing
    return texts(
        "case.standing", name=seen.member.name or seen.member.external_id,
        strikes=len(standing.strikes), weight=standing.weight, reports=seen.reports,
    )  # fmt: skip


def _before(seen: CaseView, texts: Texts) -> str:
    lines = [mask(parse_spec(job.spec).prompt)[:80] for job in seen.before]
    if len(lines) > 1:
        lines = [f"{number}. {line}" for number, line in enumerate(lines, 1)]
    return "\n".join(lines) or texts("case.none")


def _similar(seen: CaseView, texts: Texts) -> str:
    """Past rulings about the very same pixels, then about pictures that look alike."""
    counted = Counter(texts(f"ruled.{action}") for _, action in seen.similar)
    lines = [f"{said} × {count}" if count > 1 else said for said, count in counted.items()]
    for near in seen.near:
        said = texts("case.near_denied" if near.bank == DENY else "case.near_allowed")
        code = f" ({near.category})" if near.category else ""
        lines.append(f"{said}{code}, {texts('case.distance', bits=near.distance)}")
    return "\n".join(lines) or texts("case.none")


def _due(case: Case, texts: Texts, now: Millis) -> str:
    if case.due_at is None:
        return texts("case.none")
    return due_in_words(case.due_at, texts, now)


def due_in_words(due_at: Millis, texts: Texts, now: Millis) -> str:
    """How long until a due time, or since: minutes, hours, then days."""
    minutes = round((due_at - now) / 60_000)
    return texts("case.overdue" if minutes < 0 else "case.due_in", span=span(abs(minutes), texts))


def span(minutes: int, texts: Texts) -> str:
    """A length of time, roughly: 12 minutes, 3 hours, 2 days."""
    for unit, length, most in (("minutes", 1, 90), ("hours", 60, 48 * 60), ("days", 1440, 0)):
        if not most or minutes < most:
            count = max(1, round(minutes / length))
            return texts(f"span.{unit}", n=count)
    raise AssertionError("unreachable")


def ruling_form(verb: Verb, case: Case, texts: Texts) -> Form:
    """The dialogue of a ruling that needs words: the rule, a note, for a ban the hours."""
    found = [str(code) for code in Verdict.parse(case.verdict).categories() if str(code) in CODES]
    fields = []
    if verb is Verb.ASK:
        fields.append(
            FormField(name="note", label=texts("case.question"), kind="long", required=True)
        )
    else:
        fields.append(
            FormField(
                name="code", label=texts("case.rule"), kind="choice", required=True,
                value=found[0] if found else "SEX", choices=CODES,
            )
        )  # fmt: skip
        if verb is not Verb.LOOK_DENY:
            fields.append(FormField(name="note", label=texts("case.note"), kind="long"))
    if verb is Verb.BAN:
        fields.append(
            FormField(name="hours", label=texts("case.hours"), kind="integer", value="24",
                      minimum=1, maximum=24 * 365)
        )  # fmt: skip
    name = Verb.DENY if verb is Verb.LOOK_DENY else verb
    return Form(
        title=texts(f"button.{name}"), submit=texts(f"button.{name}"), verb=verb, target=case.id,
        fields=tuple(fields),
    )  # fmt: skip


RULING_OF: dict[Verb, Ruling] = {
    Verb.APPROVE: Ruling.APPROVE, Verb.BLUR: Ruling.APPROVE_BLURRED, Verb.DENY: Ruling.DENY,
    Verb.STRIKE: Ruling.DENY_STRIKE, Verb.ESCALATE: Ruling.ESCALATE, Verb.ASK: Ruling.ASK,
    Verb.BAN: Ruling.BAN,
}  # fmt: skip
BLIND_RULING: dict[Verb, Ruling] = {
    Verb.LOOK_APPROVE: Ruling.APPROVE, Verb.LOOK_DENY: Ruling.DENY,
}  # fmt: skip
NEEDS_WORDS = frozenset({Verb.DENY, Verb.STRIKE, Verb.BAN, Verb.ASK, Verb.LOOK_DENY})
