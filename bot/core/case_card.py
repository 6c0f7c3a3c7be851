"""A case as moderators see it: what was made, what was found, who made it, what to press. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bot.core.reply import Button, Field, Form, FormField, Picture, Reply, Tone, Verb, Visibility
from bot.core.texts import Texts
from storage.models import Case, Decision
from storage.review_views import CaseView
from storage.review_words import Ruling
from storage.schema import CaseStatus, Category, JobKind, Millis, Verdict, parse_spec

SEALED = frozenset({Category.CSAE})
"""Never shown to anybody, not even blurred (shared/MODERATION.md 3.3)."""
_RULINGS: tuple[tuple[Verb, str], ...] = (
    (Verb.APPROVE, "primary"), (Verb.BLUR, "plain"), (Verb.DENY, "danger"),
    (Verb.STRIKE, "danger"), (Verb.REVEAL, "plain"), (Verb.ESCALATE, "plain"),
    (Verb.ASK, "plain"), (Verb.BAN, "danger"),
)  # fmt: skip
CODES = tuple(str(code) for code in Category if code is not Category.FAULT)


def is_sealed(case: Case) -> bool:
    """Whether a case is about something that nobody is to see."""
    return bool(SEALED & set(Verdict.parse(case.verdict).categories()))


def case_card(seen: CaseView, texts: Texts, *, now: Millis) -> Reply:
    """One case with its context. A picture is always veiled; adapters show it on a click."""
    case, spec = seen.case, parse_spec(seen.job.spec)
    codes = Verdict.parse(case.verdict).categories()
    reason = ", ".join(f"{texts(f'category.{code}')} ({code})" for code in codes)
    lines = [f"> {spec.prompt[:500]}" if spec.prompt else ""]
    if seen.made.text and not is_sealed(case):
        lines.append(f"||{seen.made.text[:1000]}||")
    if seen.appeal is not None and seen.appeal.decided_at is None:
        lines.append(f"**{texts('case.appeal')}** {seen.appeal.text}")
    for ruling in seen.decisions:
        lines.append(_ruled(ruling, texts))
    return Reply(
        title=texts("case.title", code=codes[0], severity=case.severity)
        if codes else texts("case.reported_title", severity=case.severity),
        text="\n\n".join(line for line in lines if line),
        tone=Tone.WARN if case.severity >= 3 else Tone.INFO,
        visibility=Visibility.PRIVATE,
        fields=(
            Field(label=texts("case.reason"), value=reason or texts("case.reported_only")),
            Field(label=texts("case.findings"), value=_findings(case.verdict, texts)),
            Field(label=texts("case.member"), value=_standing(seen, texts)),
            Field(label=texts("case.before"), value=_before(seen, texts)),
            Field(label=texts("case.similar"), value=_similar(seen, texts)),
            Field(label=texts("case.due"), value=_due(case, texts, now)),
            Field(label=texts("case.holder"), value=seen.holder or texts("case.free")),
            Field(label=texts("case.id"), value=case.id, code=True),
        ),
        pictures=_pictures(seen, texts),
        buttons=buttons_of(case, seen.decisions, texts),
        data={"case_id": case.id, "status": str(case.status), "job_id": seen.job.id},
    )  # fmt: skip


def _pictures(seen: CaseView, texts: Texts) -> tuple[Picture, ...]:
    made = seen.made
    if made.kind != JobKind.IMAGE:
        return ()
    sealed = is_sealed(seen.case)
    return (
        Picture(
            generation_id=made.id, blob=None if sealed else made.blob,
            alt=texts("case.alt"), width=made.width or 0, height=made.height or 0,
            seed=made.seed, blurred=True, note=texts("case.sealed") if sealed else "",
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
    sealed = is_sealed(case)
    return tuple(
        Button(verb=verb, target=case.id, label=texts(f"button.{verb}"), style=style)
        for verb, style in _RULINGS
        if not (sealed and verb in (Verb.REVEAL, Verb.APPROVE, Verb.BLUR))
    )


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
    lines = [f"- {parse_spec(job.spec).prompt[:80]}" for job in seen.before]
    return "\n".join(lines) or texts("case.none")


def _similar(seen: CaseView, texts: Texts) -> str:
    lines = [texts(f"ruled.{action}") for _, action in seen.similar]
    return ", ".join(lines) or texts("case.none")


def _due(case: Case, texts: Texts, now: Millis) -> str:
    if case.due_at is None:
        return texts("case.none")
    minutes = round((case.due_at - now) / 60_000)
    if minutes < 0:
        return texts("case.overdue", hours=f"{-minutes / 60:.1f}")
    return texts("case.due_in", hours=f"{minutes / 60:.1f}")


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
        fields.append(FormField(name="note", label=texts("case.note"), kind="long"))
    if verb is Verb.BAN:
        fields.append(
            FormField(name="hours", label=texts("case.hours"), kind="integer", value="24",
                      minimum=1, maximum=24 * 365)
        )  # fmt: skip
    return Form(
        title=texts(f"button.{verb}"), submit=texts(f"button.{verb}"), verb=verb, target=case.id,
        fields=tuple(fields),
    )  # fmt: skip


RULING_OF: dict[Verb, Ruling] = {
    Verb.APPROVE: Ruling.APPROVE, Verb.BLUR: Ruling.APPROVE_BLURRED, Verb.DENY: Ruling.DENY,
    Verb.STRIKE: Ruling.DENY_STRIKE, Verb.ESCALATE: Ruling.ESCALATE, Verb.ASK: Ruling.ASK,
    Verb.BAN: Ruling.BAN,
}  # fmt: skip
NEEDS_WORDS = frozenset({Verb.DENY, Verb.STRIKE, Verb.BAN, Verb.ASK})
