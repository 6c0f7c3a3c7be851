"""How a run ended, written in one transaction: job, generations, cases, conversation, money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session

from storage import cases, jobs, paces
from storage.jobs import Made
from storage.models import Generation, Job
from storage.schema import (
    CaseOrigin,
    GenerationStatus,
    ImageSpec,
    JobStatus,
    Millis,
    Verdict,
    parse_spec,
)


@dataclass(frozen=True)
class Exchange:
    """A question and its answer, to be remembered by the thread."""

    thread: str
    question: str
    answer: str


@dataclass(frozen=True)
class Ending:
    """What a run came to. ``cost`` in credits is settled only when the status is *succeeded*."""

    status: JobStatus
    made: tuple[Made, ...] = ()
    cost: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    error_code: str | None = None
    error_params: Mapping[str, Any] = field(default_factory=dict)
    engine_ms: Millis = 0
    units: float = 0
    """Steps of a picture, or tokens of the answer: what the job teaches of its pace; 0: nothing."""
    exchange: Exchange | None = None


def end_job(session: Session, job_id: str, fence: int, ending: Ending, *, now: Millis) -> bool:
    """Write an ending, guarded by the fence, with a case for every generation that is held.

    False when somebody else owns the job now, or it has ended; then nothing was written.
    Writing the same ending twice is fine.
    """
    job = session.get(Job, job_id)
    started = now if job is None or job.started_at is None else job.started_at
    ended = jobs.finish(
        session, job_id, fence, status=ending.status, now=now, made=ending.made,
        cost=ending.cost, run_ms=max(0, now - started), engine_ms=ending.engine_ms,
        verdict=ending.verdict.dump(), error_code=ending.error_code,
        error_params=ending.error_params,
    )  # fmt: skip
    if not ended:
        # A commit whose answer was lost and that was tried again: it was ours after all.
        return any(session.get(Generation, item.id) is not None for item in ending.made)
    if job is not None and ending.units and ending.status is JobStatus.SUCCEEDED:
        _learn(session, job, ending, now)
    for item in ending.made:
        if item.status is GenerationStatus.HELD:
            row = session.get_one(Generation, item.id)
            cases.open_case(session, row, origin=CaseOrigin.HELD, verdict=item.verdict, now=now)
    if ending.exchange is not None:
        jobs.remember(
            session, job_id, thread=ending.exchange.thread, question=ending.exchange.question,
            answer=ending.exchange.answer, now=now,
        )  # fmt: skip
    return True


def _learn(session: Session, job: Job, ending: Ending, now: Millis) -> None:
    """Let the job teach how long its kind of work takes."""
    spec = parse_spec(job.spec)
    shares = spec.count if isinstance(spec, ImageSpec) else 1
    paces.learn(session, spec, ending.units, ending.engine_ms / shares, now=now)
