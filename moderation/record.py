"""Judges and writes down why: the one way content is judged outside tests of the pipeline."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from moderation.pii import mask
from moderation.pipeline import Content, Judgement, Pipeline
from moderation.policy import POLICY_VERSION, Policy, counted, reasons
from moderation.stages.normalise import forms
from moderation.statement import statement
from storage import decisions
from storage.errors import RetryLater
from storage.models import DecisionRecord
from storage.schema import Category, Flag, Millis, Outcome, Verdict, new_id

if TYPE_CHECKING:
    from storage.clock import Clock
    from storage.database import Database, Session
    from storage.vault import Vault

log = logging.getLogger(__name__)

MAX_KEPT = 8000
"""Characters of a text that a record keeps."""


@dataclass(frozen=True, slots=True)
class About:
    """Whose content it is. ``key`` is the invocation's, ``sha256`` that of a picture's pixels."""

    workspace_id: str
    member_id: str | None = None
    key: str = ""
    job_id: str | None = None
    sha256: str | None = None


class Recorder:
    """Judges through a pipeline and keeps a decision record of it.

    ``vault`` encrypts what must not be read; without one such text is not kept at all.
    """

    def __init__(self, database: Database, clock: Clock, vault: Vault | None = None) -> None:
        self._database = database
        self._clock = clock
        self._vault = vault

    async def judge(
        self,
        pipeline: Pipeline,
        content: Content,
        policy: Policy,
        about: About,
        *,
        keep_allowed: bool = True,
        also: Callable[[Verdict], Verdict] | None = None,
        then: Callable[[Session, DecisionRecord, Verdict], None] | None = None,
    ) -> Verdict:
        """The verdict. A record that cannot be written holds what would have been shown.

        ``also`` knows something that no stage does (what the picture was made from) and may make
        the verdict harsher before it is written down.

        ``keep_allowed=False`` writes only what was restricted: for previews and for the
        sentences of an answer that is recorded once it is whole. ``then`` happens in the
        transaction that keeps the record, and again when that is tried again.
        """
        judgement = await pipeline.judge_fully(content, policy)
        if also is not None:
            judgement = replace(judgement, verdict=also(judgement.verdict))
        verdict = judgement.verdict
        if verdict.outcome is Outcome.ALLOW and not keep_allowed:
            return verdict
        record = record_of(judgement, content, policy, about, self._clock(), self._vault)
        try:
            await self._database.run(_keep, record, verdict, then)
        except RetryLater:
            # The caller's own transaction will fail too; it must not be judged "allow" for that.
            log.warning("a decision record could not be written now")
            raise
        return verdict

    async def recent_prompts(self, workspace_id: str, member_id: str) -> tuple[str, ...]:
        """What this member typed last, for rules that look across prompts."""

        found = await self._database.look(
            decisions.recent_prompts, workspace_id=workspace_id, member_id=member_id,
            now=self._clock(),
        )  # fmt: skip
        return tuple(found)


def _keep(
    session: Session,
    record: DecisionRecord,
    verdict: Verdict,
    then: Callable[[Session, DecisionRecord, Verdict], None] | None,
) -> None:
    decisions.keep(session, record)
    if then is not None:
        then(session, record, verdict)


def record_of(
    judgement: Judgement,
    content: Content,
    policy: Policy,
    about: About,
    now: Millis,
    vault: Vault | None = None,
) -> DecisionRecord:
    """The row for one judged content; personal data masked, child-abuse text sealed or dropped.

    Of a picture of that kind the prompt is sealed and its perceptual hash kept.
    """
    verdict = judgement.verdict
    codes = reasons(counted(verdict, content.surface), policy)
    sealed = any(
        f.category is Category.CSAE and policy.of(f.category).outcome(f.score) is Outcome.BLOCK
        for f in verdict.flags
    )
    text = storable(content.text or "")[:MAX_KEPT]
    # Of a picture the words are those it was asked for with.
    secret = text or storable("\n".join(content.context))[:MAX_KEPT]
    identity = new_id()
    masked = mask(text) if text and not sealed else ""
    variants = forms(masked).variants if masked else ()
    scores = {name: round(score, 4) for name, score in judgement.scores.items()}
    return DecisionRecord(
        id=identity,
        workspace_id=about.workspace_id,
        member_id=about.member_id,
        key=about.key,
        job_id=about.job_id,
        surface=str(content.surface),
        text=masked,
        normalised=storable(variants[-1]) if len(variants) > 1 else "",
        sealed=vault.seal(secret, identity) if sealed and vault is not None else None,
        image_sha256=about.sha256,
        image_hash=_pdq_of(content) if sealed else None,
        outcome=verdict.outcome.word,
        flags=[flag.model_dump(mode="json") for flag in sorted_flags(verdict)],
        scores=scores,
        thresholds=policy.dump(),
        versions={"policy": POLICY_VERSION, **judgement.versions},
        ms=round(judgement.ms),
        statement=statement(verdict.outcome, codes, picture=content.image is not None, now=now),
        created_at=now,
        expires_at=0,
    )


def storable(text: str) -> str:
    """The text without what no database takes: NUL and halves of surrogate pairs, which escapes
    such as ``\\u0000`` decode to."""
    return text.encode("utf-8", "ignore").decode("utf-8").replace("\x00", "")


def _pdq_of(content: Content) -> str | None:
    """What is kept of pixels that nobody may see: their perceptual hash."""
    if content.image is None:
        return None
    from moderation.pdq import pdq

    try:
        return pdq(content.image).digits
    except Exception:  # a picture no stage could judge either; the record matters more
        log.warning("a sealed picture has no hash")
        return None


def sorted_flags(verdict: Verdict) -> list[Flag]:
    """The findings, gravest first."""
    return sorted(verdict.flags, key=lambda f: (-f.score, f.category, f.stage, f.detail))
