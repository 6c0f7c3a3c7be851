"""One reply of each kind a member can meet, drawn by the core itself; for renders and shots."""

from __future__ import annotations

from bot.core.job_card import card
from bot.core.reply import Reply
from bot.core.texts import texts_for
from storage.models import Generation, Job
from storage.schema import (
    Category,
    ChatSpec,
    Event,
    EventType,
    Flag,
    GenerationStatus,
    ImageSpec,
    JobStatus,
    Outcome,
    Turn,
    Verdict,
)
from storage.views import JobView, Place

NOW = 1_800_000_000_000
JOB = "01KBXAMPLE0000000000000001"


def job(spec: ImageSpec | ChatSpec, status: JobStatus, **more: object) -> Job:
    """A stored job."""
    facts: dict[str, object] = {
        "id": JOB, "workspace_id": "w", "member_id": "m", "key": "k", "kind": spec.kind,
        "model": spec.model, "batch_key": "b", "spec": spec.model_dump(mode="json"),
        "address": {}, "locale": "en", "status": status, "estimate_ms": 2_000,
        "deadline_ms": 60_000, "created_at": NOW, "cost": 1,
    }  # fmt: skip
    return Job(**(facts | more))


def image(**changes: object) -> ImageSpec:
    facts: dict[str, object] = {
        "model": "starter-icons", "prompt": "a red apple", "width": 128, "height": 128,
        "steps": 20, "guidance": 3.0, "scheduler": "ddim", "seed": 7,
    }  # fmt: skip
    return ImageSpec(**(facts | changes))


def chat(question: str) -> ChatSpec:
    return ChatSpec(
        model="smollm2-135m", thread="t", turns=(Turn(role="user", text=question),),
        max_tokens=64, temperature=0.2, seed=7,
    )  # fmt: skip


def verdict(outcome: Outcome) -> Verdict:
    return Verdict(
        outcome=outcome,
        flags=frozenset({Flag(category=Category.VIO, score=0.6, stage="image.test")}),
    )


def made(
    index: int = 0, status: GenerationStatus = GenerationStatus.VISIBLE, **more: object
) -> Generation:
    found = Verdict() if status is GenerationStatus.VISIBLE else verdict(Outcome.HOLD)
    facts: dict[str, object] = {
        "id": f"01KBXAMPLE000000000000001{index}", "job_id": JOB, "workspace_id": "w",
        "index": index, "kind": "image", "status": status, "seed": 7 + index, "recipe": {},
        "verdict": found.dump(), "blob": f"ab/{'0' * 20}{index}.png", "width": 128,
        "height": 128, "created_at": NOW,
    }  # fmt: skip
    return Generation(**(facts | more))


def every_card(locale: str, now: int = NOW) -> dict[str, Reply]:
    """Name to reply, for every state a card can be in."""
    texts = texts_for(locale)
    prompt = "一个红苹果" if locale == "zh" else "a red apple"
    question = "法国的首都是哪里？" if locale == "zh" else "What is the capital of France?"
    said = "法国的首都是巴黎。" if locale == "zh" else "The capital of France is **Paris**."
    place = Place(3, 9, now + 42_000)

    def draw(
        spec: ImageSpec | ChatSpec, status: JobStatus, *generations: Generation,
        live: Event | None = None, **more: object,
    ) -> Reply:  # fmt: skip
        here = place if status is JobStatus.QUEUED else None
        seen = JobView(
            job=job(spec, status, **more), generations=list(generations), place=here,
            author="Ann",
        )  # fmt: skip
        return card(seen, texts, live, now=now)

    step = Event(
        type=EventType.PROGRESS, job_id=JOB, step=8, steps=20, preview="ab/preview00000.webp"
    )
    text = Event(type=EventType.PROGRESS, job_id=JOB, text=said)
    picture = image(prompt=prompt)
    answer = chat(question)
    return {
        "queued": draw(picture, JobStatus.QUEUED),
        "running": draw(picture, JobStatus.RUNNING, live=step, started_at=now - 4_000),
        "stopping": draw(picture, JobStatus.RUNNING, live=step, cancel_requested_at=NOW),
        "result": draw(picture, JobStatus.SUCCEEDED, made()),
        "four": draw(image(prompt=prompt, count=4, style="flat"), JobStatus.SUCCEEDED,
                     *(made(i) for i in range(4))),
        "blurred": draw(picture, JobStatus.SUCCEEDED, made(status=GenerationStatus.BLURRED)),
        "held": draw(picture, JobStatus.SUCCEEDED, made(status=GenerationStatus.HELD)),
        "removed": draw(picture, JobStatus.SUCCEEDED, made(status=GenerationStatus.REMOVED)),
        "denied": draw(picture, JobStatus.REJECTED, error_code="output_refused",
                       error_params={"category_code": "VIO"}, cost=0),
        "failed": draw(picture, JobStatus.FAILED, error_code="bad_picture", cost=0),
        "cancelled": draw(picture, JobStatus.CANCELLED, cost=0),
        "ask_queued": draw(answer, JobStatus.QUEUED),
        "ask_streaming": draw(answer, JobStatus.RUNNING, live=text),
        "ask_answer": draw(answer, JobStatus.SUCCEEDED, made(kind="chat", blob=None, text=said)),
        "ask_held": draw(answer, JobStatus.SUCCEEDED,
                         made(kind="chat", blob=None, text=said, status=GenerationStatus.HELD)),
    }  # fmt: skip
