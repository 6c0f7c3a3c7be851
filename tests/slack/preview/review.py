"""The review room on Slack as a picture: ``python -m tests.slack.preview.review OUT [zh]``."""

from __future__ import annotations

import sys

from playwright.sync_api import sync_playwright

from bot.adapters.slack.render import message, words_for
from bot.core.announcer import late_card
from bot.core.case_card import Mark, case_card, ruling_form
from bot.core.quiet import for_all, for_one
from bot.core.reply import Reply, Tone, Verb
from storage.models import Case, Generation, Job, Member
from storage.review_views import CaseView
from storage.schema import (
    CaseOrigin,
    Category,
    Flag,
    GenerationStatus,
    JobKind,
    JobStatus,
    Outcome,
    Verdict,
)
from storage.strikes import Standing
from tests.conftest import START, image_spec
from tests.slack.preview.__main__ import FLAGS, STYLE, block

HELD = Verdict(
    outcome=Outcome.HOLD,
    flags=frozenset({Flag(category=Category.SEX, score=0.6, stage="image.nudenet",
                          detail="BREAST_EXPOSED")}),
)  # fmt: skip
HOUR = 3_600_000


def seen() -> CaseView:
    """A held picture with its context, late by an hour."""
    case = Case(
        id="01K8APJ4ATK5231M5FT0PD73ZX", workspace_id="w", job_id="j", generation_id="g",
        member_id="m", origin=CaseOrigin.HELD, verdict=HELD.dump(), severity=2,
        due_at=START, created_at=START,
    )  # fmt: skip
    spec = image_spec(prompt="a marble statue of a naked goddess").model_dump(mode="json")
    job = Job(id="j", workspace_id="w", member_id="m", key="k", kind=JobKind.IMAGE, model="x",
              batch_key="b", spec=spec, address={}, locale="en", estimate_ms=1, deadline_ms=1,
              created_at=START)  # fmt: skip
    made = Generation(id="g", job_id="j", workspace_id="w", index=0, kind=JobKind.IMAGE, seed=7,
                      status=GenerationStatus.HELD, recipe={}, verdict=HELD.dump(),
                      created_at=START)  # fmt: skip
    member = Member(id="m", workspace_id="w", external_id="U1", name="Ann", tier_id="free",
                    created_at=START)  # fmt: skip
    return CaseView(
        case=case, job=job, made=made, member=member, holder="mia", reports=0, decisions=(),
        standing=Standing(weight=1, step=None, strikes=()), appeal=None,
        similar=((case, "deny"), (case, "deny")), alike=1, before=(), near=(),
    )  # fmt: skip


def page(locale: str) -> str:
    """The card in the review channel, the message that it is late, what the channel and what who
    asked read."""
    texts = words_for(locale)
    view = seen()
    now = START + HOUR
    told = Reply(
        title=texts("ruling.denied_title"), tone=Tone.WARN, status=JobStatus.SUCCEEDED,
        text=" ".join(
            [texts("ruling.denied", category=texts("category.SEX"), code="SEX"), texts("rule.SEX"),
             texts("ruling.by_person"), texts("ruling.cost"), texts("ruling.appeal")]
        ),
        data={"generations": [{"status": "removed"}]},
    )  # fmt: skip
    form = ruling_form(Verb.DENY, view.case, texts)
    shown = {
        "the review channel": case_card(view, texts, now=now, marks=[Mark(21, 26)]),
        "late": late_card([view.case], texts, now),
        "everybody": for_all(told, texts),
        "who asked": for_one(told),
    }
    parts = []
    for name, reply in shown.items():
        body = "".join(block(item) for item in message(reply, texts).blocks)
        parts.append(
            f'<section><h4>{name}</h4><div class="message"><div class="face">A</div>'
            f"<div><b>Atelier</b> <small>APP 9:41</small>{body}</div></div></section>"
        )
    assert form.fields
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><main>{''.join(parts)}</main>"


def main() -> None:
    """Draw."""
    out, locale = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "en"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        tab = browser.new_page(viewport={"width": 1100, "height": 700})
        tab.set_content(page(locale))
        tab.screenshot(path=out, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
