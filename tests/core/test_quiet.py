"""Why something is not shown is for who asked; how a refusal is headed, in their language."""

from __future__ import annotations

from dataclasses import replace

from bot.core.command import error_reply
from bot.core.job_card import card
from bot.core.quiet import for_all, is_delicate
from bot.core.refusal import translated
from bot.core.texts import texts_for
from storage.errors import Refused
from storage.models import Generation, Job
from storage.schema import CaseStatus, GenerationStatus, JobKind, JobStatus, Verdict
from storage.views import JobView, RulingView
from tests.conftest import START, chat_spec, image_spec

EN = texts_for("en")
DENIED = RulingView(
    case_id="c1", status=CaseStatus.DECIDED, action="deny", code="GORE", note="Too much blood.",
    question="", upheld=None, appealable=True,
)  # fmt: skip
APPROVED = replace(DENIED, case_id="c2", action="approve", note="", appealable=False)


def view(kind: JobKind, status: JobStatus, *rulings: RulingView) -> JobView:
    """An ended job, a generation for each ruling; what was denied is removed."""
    spec = image_spec(count=len(rulings)) if kind is JobKind.IMAGE else chat_spec()
    job = Job(
        id="j1", workspace_id="w1", member_id="m1", key="k", kind=kind, model=spec.model,
        batch_key="b", spec=spec.model_dump(mode="json"), address={}, locale="en", status=status,
        estimate_ms=1, deadline_ms=1, created_at=START, cost=2,
    )  # fmt: skip
    made = [
        Generation(
            id=f"g{n}", job_id="j1", workspace_id="w1", index=n, kind=kind, seed=n, recipe={},
            status=GenerationStatus.REMOVED if one.action == "deny" else GenerationStatus.VISIBLE,
            verdict=Verdict().dump(), text="an answer" if kind is JobKind.CHAT else None,
            created_at=START, width=128, height=128,
        )
        for n, one in enumerate(rulings)
    ]  # fmt: skip
    said = {item.id: one for item, one in zip(made, rulings, strict=True)}
    return JobView(job=job, author="ann", generations=made, place=None, rulings=said)


def test_one_denied_picture_is_nobody_elses_business_whatever_became_of_the_others() -> None:
    for rulings in ((DENIED, APPROVED), (APPROVED, DENIED)):
        reply = card(view(JobKind.IMAGE, JobStatus.SUCCEEDED, *rulings), EN)
        assert "Too much blood" in reply.text
        assert "blood" not in for_all(reply, EN).text


def test_nor_is_an_answer_that_was_stopped_and_then_denied() -> None:
    reply = card(view(JobKind.CHAT, JobStatus.CANCELLED, DENIED), EN)
    assert "Too much blood" in reply.text and is_delicate(reply)


def test_whoever_is_unwell_is_not_told_off_in_either_language() -> None:
    reply = error_reply(Refused("self_harm_help", verdict="block", lines="findahelpline.com"), EN)
    assert reply.title == EN("title.help")
    zh = texts_for("zh")
    assert translated(reply, zh).title == zh("title.help")
