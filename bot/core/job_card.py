"""A job as a card, whatever its state: one drawing for every platform. Pure."""

from __future__ import annotations

import logging
from typing import Any

from bot.core.derive import LARGER, LONGEST_SIDE
from bot.core.muse import WRITTEN, draw_buttons, drawn_from, written
from bot.core.reply import Button, Field, Picture, Progress, Reply, Tone, Verb
from bot.core.statements import statement
from bot.core.texts import Texts, credits_in_words
from storage.models import Generation
from storage.review_words import AGAINST
from storage.schema import (
    AnySpec,
    CaseStatus,
    Category,
    ChatSpec,
    Event,
    GenerationStatus,
    ImageSpec,
    JobKind,
    JobStatus,
    Millis,
    Turn,
    Verdict,
    parse_spec,
    without_details,
)
from storage.views import JobView

log = logging.getLogger(__name__)

_TONES = {
    JobStatus.SUCCEEDED: Tone.GOOD,
    JobStatus.FAILED: Tone.BAD,
    JobStatus.REJECTED: Tone.WARN,
    JobStatus.CANCELLED: Tone.WARN,
}


def card(seen: JobView, texts: Texts, live: Event | None = None, *, now: Millis = 0) -> Reply:
    """Draw one job. Pure: the same row, progress and moment give the same card."""
    try:
        return _draw(seen, texts, live, now)
    except (ValueError, KeyError):
        # Written by another version of us: one such row must not hide all the others.
        log.exception("job %s cannot be drawn", seen.job.id)
        return Reply(
            job_id=seen.job.id,
            locale=texts.locale,
            status=JobStatus(seen.job.status),
            author=seen.author,
            created_at=seen.job.created_at,
            tone=Tone.BAD,
            title=texts("card.unreadable"),
            text=texts("card.unreadable_why"),
            exit_code=5,
            data={"job_id": seen.job.id, "status": str(seen.job.status)},
        )


def _draw(seen: JobView, texts: Texts, live: Event | None, now: Millis) -> Reply:
    job = seen.job
    status = JobStatus(job.status)
    spec = masked(parse_spec(job.spec), job.verdict, texts, ruled=ruled_of(seen))
    code = job.error_code
    reply = Reply(
        job_id=job.id,
        locale=texts.locale,
        kind=JobKind(job.kind),
        status=status,
        prompt=spec.prompt,
        author=seen.author,
        created_at=job.created_at,
        tone=_TONES.get(status, Tone.INFO),
        title=texts(f"status.{status}"),
        code=code,
        exit_code=exit_code(seen),
        data=facts(seen),
    )
    if status is JobStatus.QUEUED and seen.place is not None:
        place = seen.place
        return reply.model_copy(
            update={
                "text": texts("card.queued", place=place.place, total=place.total),
                "place": place.place,
                "total": place.total,
                "eta_at": place.eta_at,
                "buttons": (_cancel(job.id, spec, texts),),
            }
        )
    if status in (JobStatus.QUEUED, JobStatus.RUNNING):
        return reply.model_copy(update=_running(seen, spec, texts, live, now))
    if status is JobStatus.SUCCEEDED:
        return reply.model_copy(update=_disclosed(_result(seen, spec, texts), seen, spec, texts))
    if status is JobStatus.CANCELLED and seen.generations and isinstance(spec, ChatSpec):
        # A stopped answer keeps what was read already.
        return reply.model_copy(update=_disclosed(_answer(seen, spec, texts), seen, spec, texts))
    if any(ruling.by_rule for ruling in seen.rulings.values()):
        # A rule's strike: its words are not asked for again from here, only appealed.
        told = statement(seen, texts)
        return reply.model_copy(
            update={"text": told.text, "title": told.title, "tone": told.tone,
                    "buttons": told.buttons}
        )  # fmt: skip
    sentence = _why(code, job.error_params, texts) if code else texts(f"card.{status}")
    return reply.model_copy(update={"text": sentence, "buttons": _again(job.id, spec, texts)})


def _why(code: str, params: dict[str, Any], texts: Texts) -> str:
    """The sentence for a job's error; policy codes are stored and put into words here."""
    if "category_code" in params:
        params = {**params, "category": texts(f"category.{params['category_code']}")}
    return texts(f"error.{code}", **params)


def ruled_of(seen: JobView) -> bool | None:
    """Whether moderators let everything of a job stand; None while one of them has to decide."""
    rulings = [seen.rulings.get(made.id) for made in seen.generations]
    words = [one for one in rulings if one is not None and (one.action or one.upheld is not None)]
    waits = any(made.status == GenerationStatus.HELD for made in seen.generations) or any(
        one.status == CaseStatus.APPEALED for one in words
    )
    if waits or not words:
        return None
    return all(one.upheld is False or one.action not in AGAINST for one in words)


def masked(
    spec: AnySpec, verdict: dict[str, Any] | None, texts: Texts, *, ruled: bool | None = None
) -> AnySpec:
    """The spec with its words hidden when words are what a verdict holds or blocks.

    Others read the card too: what waits for a moderator is not repeated on it meanwhile, what
    was denied never, what was approved is (``ruled``).
    """
    found = Verdict.parse(verdict) if verdict is not None else Verdict()
    if ruled or found.allowed or not any(flag.stage.startswith("text.") for flag in found.flags):
        return spec
    hidden = texts("card.hidden_prompt" if ruled is None else "card.denied_prompt")
    if isinstance(spec, ImageSpec):
        return spec.model_copy(update={"prompt": hidden, "negative": ""})
    return spec.model_copy(update={"turns": (Turn(role="user", text=hidden),)})


def exit_code(seen: JobView) -> int:
    """What a command line exits with for this job: 3 when nothing of what it made may be seen."""
    if seen.job.status == JobStatus.REJECTED:
        return 3
    if seen.job.status != JobStatus.SUCCEEDED:
        return 5
    shown = (GenerationStatus.VISIBLE, GenerationStatus.BLURRED)
    return 0 if any(made.status in shown for made in seen.generations) else 3


def facts(seen: JobView) -> dict[str, object]:
    """The card for programs: what `--json` prints."""
    job = seen.job
    shown = [g for g in seen.generations if g.status != GenerationStatus.REMOVED]
    first = seen.generations[0] if seen.generations else None
    answers = [g.text for g in shown if g.text is not None and g.status == GenerationStatus.VISIBLE]
    verdict = job.verdict
    if verdict is None and first is not None:
        verdict = first.verdict
    return {
        "job_id": job.id,
        "kind": str(job.kind),
        "thread": job.spec.get("thread"),
        "status": str(job.status),
        "seed": first.seed if first else job.spec.get("seed"),
        "recipe": first.recipe if first else None,
        "verdict": without_details(verdict) if verdict is not None else None,
        "cost": job.cost,
        "cached": job.cached,
        "queued_ms": job.queued_ms,
        "run_ms": job.run_ms,
        "error": job.error_code,
        "text": answers[0] if answers else None,
        "generations": [
            {"id": g.id, "index": g.index, "status": str(g.status), "seed": g.seed,
             "sha256": g.sha256, "blob": g.blob}
            for g in seen.generations
        ],
    }  # fmt: skip


def _cancel(job_id: str, spec: AnySpec, texts: Texts) -> Button:
    label = "button.stop" if isinstance(spec, ChatSpec) else "button.cancel"
    return Button(verb=Verb.CANCEL, target=job_id, label=texts(label), style="danger")


def _again(job_id: str, spec: AnySpec, texts: Texts) -> tuple[Button, ...]:
    if isinstance(spec, ChatSpec):
        return (Button(verb=Verb.REGENERATE, target=job_id, label=texts("button.regenerate")),)
    return (
        Button(verb=Verb.REROLL, target=job_id, label=texts("button.reroll"), style="primary"),
        Button(verb=Verb.EDIT, target=job_id, label=texts("button.edit")),
    )


def _eta(seen: JobView, spec: AnySpec, live: Event | None, now: Millis) -> Millis | None:
    """When a running job will probably be done: by its own pace once it has one."""
    started = seen.job.started_at
    if live is not None and live.steps and started is not None and isinstance(spec, ImageSpec):
        done = live.index * live.steps + live.step
        if done:
            return now + round((now - started) / done * (live.steps * spec.count - done))
    return seen.place.eta_at if seen.place else None


def _running(
    seen: JobView, spec: AnySpec, texts: Texts, live: Event | None, now: Millis
) -> dict[str, object]:
    stopping = seen.job.cancel_requested_at is not None
    shown: dict[str, object] = {
        "buttons": () if stopping else (_cancel(seen.job.id, spec, texts),),
        "eta_at": _eta(seen, spec, live, now),
        "title": texts("card.stopping") if stopping else texts("status.running"),
    }
    if isinstance(spec, ChatSpec):
        shown["streaming"] = True
        shown["text"] = (live.text or "") if live else ""
    else:
        step = live.step if live else 0
        index = live.index if live else 0
        shown["progress"] = Progress(
            step=step, steps=spec.steps, index=index, count=spec.count,
            preview=live.preview if live else None,
        )  # fmt: skip
        if step:
            shown["text"] = texts("card.step", step=step, steps=spec.steps)
        else:
            shown["text"] = texts("card.starting")
    return shown


def _result(seen: JobView, spec: AnySpec, texts: Texts) -> dict[str, object]:
    if isinstance(spec, ChatSpec):
        return _answer(seen, spec, texts)
    pictures = tuple(picture_of(made, spec, texts) for made in seen.generations)
    held = sum(made.status == GenerationStatus.HELD for made in seen.generations)
    update: dict[str, object] = {
        "pictures": pictures,
        "fields": (*facts_of(spec, seen.job.cost, texts), *drawn_from(seen, spec, texts)),
        "buttons": _again(seen.job.id, spec, texts),
        "text": " ".join(
            filter(None, [texts("card.ai_picture"), seen.disclosure, *_told(seen, texts)])
        ),
    }
    if held:
        update["tone"] = Tone.WARN
        update["title"] = texts("status.held")
        update["text"] = _held(seen, seen.generations, texts)
    if seen.rulings:
        told = statement(seen, texts)
        if told.text:
            update["text"] = told.text
            update["buttons"] = (*told.buttons, *_again(seen.job.id, spec, texts))
            if not held:
                update["title"], update["tone"] = told.title, told.tone
    return update


def _disclosed(
    update: dict[str, object], seen: JobView, spec: AnySpec, texts: Texts
) -> dict[str, object]:
    """With what the workspace says under an answer; a picture's card has it in its text."""
    fields = update.get("fields")
    if not seen.disclosure or not isinstance(spec, ChatSpec) or not isinstance(fields, tuple):
        return update
    said = Field(label=texts("field.disclosure"), value=seen.disclosure)
    return update | {
        "fields": (*fields, said),
        "data": facts(seen) | {"disclosure": seen.disclosure},
    }


def _told(seen: JobView, texts: Texts) -> list[str]:
    """What there is to say of how it came about: cache, made again, compared."""
    told = [texts("card.cached")] if seen.job.cached and not seen.job.cost else []
    for made in seen.generations:
        remade, again = made.recipe.get("remade"), made.recipe.get("again")
        if isinstance(remade, dict):
            why = texts(f"remade.{remade['why']}")
            told.append(texts("card.remade", seed=made.seed, first=remade["first_seed"], why=why))
        if isinstance(again, dict):
            if again.get("identical"):
                told.append(texts("again.identical"))
            elif again.get("psnr_db") is None:
                told.append(texts("again.unknown"))
            else:
                told.append(texts("again.differs", psnr=again["psnr_db"]))
    return told


def facts_of(spec: ImageSpec, cost: int | None, texts: Texts) -> tuple[Field, ...]:
    """What a picture's card says of how it was made."""
    fields = [
        Field(label=texts("field.seed"), value=str(spec.seed), code=True),
        Field(label=texts("field.size"), value=f"{spec.width}x{spec.height}"),
        Field(label=texts("field.steps"), value=str(spec.steps)),
        Field(label=texts("field.guidance"), value=f"{spec.guidance:g}"),
        Field(label=texts("field.model"), value=spec.model),
        Field(label=texts("field.cost"), value=credits_in_words(cost or 0, texts)),
    ]
    if spec.style:
        fields.insert(1, Field(label=texts("field.style"), value=spec.style))
    if spec.negative:
        fields.append(Field(label=texts("field.negative"), value=spec.negative))
    return tuple(fields)


def _held(seen: JobView, generations: list[Generation], texts: Texts) -> str:
    """Why something waits for a moderator: the reason in words, its code, and how to appeal."""
    found = [c for made in generations for c in Verdict.parse(made.verdict).categories()]
    code = found[0] if found else Category.FAULT
    said = texts("card.held", reason=texts(f"category.{code}"), code=code, job=seen.job.id)
    if any(made.recipe.get("withdrawn") for made in generations):
        return f"{texts('card.withdrawn')} {said}"
    return said


def _made_from(made: Generation, spec: ImageSpec, texts: Texts) -> tuple[Button, ...]:
    """What can be made from one picture, most wanted first."""
    verbs = [Verb.VARY_SUBTLE, Verb.VARY_STRONG, Verb.UPSCALE]
    if spec.draft:
        verbs = [Verb.FINISH, *verbs[:2]]
    elif max(made.width or 0, made.height or 0) * LARGER > LONGEST_SIDE:
        verbs.remove(Verb.UPSCALE)
    verbs += [Verb.FAVOURITE, Verb.AGAIN]
    return tuple(Button(verb=verb, target=made.id, label=texts(f"button.{verb}")) for verb in verbs)


def _own_buttons(made: Generation, texts: Texts) -> tuple[Button, ...]:
    return (
        Button(
            verb=Verb.DELETE, target=made.id, label=texts("button.delete"), style="danger",
            confirm=texts("confirm.delete"),
        ),
        Button(
            verb=Verb.REPORT, target=made.id, label=texts("button.report"),
            confirm=texts("confirm.report"),
        ),
    )  # fmt: skip


def picture_of(made: Generation, spec: ImageSpec, texts: Texts) -> Picture:
    status = GenerationStatus(made.status)
    shown = status in (GenerationStatus.VISIBLE, GenerationStatus.BLURRED)
    return Picture(
        generation_id=made.id,
        blob=made.blob if shown else None,
        alt=texts("picture.alt", prompt=spec.prompt[:300], seed=made.seed),
        width=made.width or spec.width,
        height=made.height or spec.height,
        seed=made.seed,
        blurred=status is GenerationStatus.BLURRED,
        note="" if shown else texts(f"picture.{status}"),
        buttons=(*_made_from(made, spec, texts), *_own_buttons(made, texts)) if shown else (),
    )


def _answer(seen: JobView, spec: ChatSpec, texts: Texts) -> dict[str, object]:
    shown = [made for made in seen.generations if made.status == GenerationStatus.VISIBLE]
    if spec.template in WRITTEN and shown:
        return written(seen, spec, shown, texts)
    made = seen.generations[0] if seen.generations else None
    told = statement(seen, texts) if seen.rulings else None
    if told is not None and told.text and made is not None and made.text is not None:
        hidden = made.status not in (GenerationStatus.VISIBLE, GenerationStatus.BLURRED)
        if hidden:
            return {
                "text": told.text, "title": told.title, "tone": told.tone,
                "buttons": (*told.buttons, *_again(seen.job.id, spec, texts)),
            }  # fmt: skip
    if made is None or made.status == GenerationStatus.REMOVED:
        return {"text": texts("picture.removed"), "buttons": _again(seen.job.id, spec, texts)}
    if made.status == GenerationStatus.HELD:
        return {
            "tone": Tone.WARN,
            "title": texts("status.held"),
            "text": _held(seen, [made], texts),
            "buttons": _again(seen.job.id, spec, texts),
        }
    return {
        "text": made.text or "",
        "fields": (
            Field(label=texts("field.model"), value=spec.model),
            Field(label=texts("field.seed"), value=str(made.seed), code=True),
            Field(label=texts("field.cost"), value=credits_in_words(seen.job.cost or 0, texts)),
            *_sources(made, texts),
        ),
        "buttons": (
            *(draw_buttons(made, texts) if spec.template == "describe" else ()),
            *_again(seen.job.id, spec, texts),
            *_own_buttons(made, texts),
        ),
    }


def _sources(made: Generation, texts: Texts) -> tuple[Field, ...]:
    """The documents whose passages went along with the question, by name."""
    found = made.recipe.get("documents") or ()
    names = [str(one["name"]) for one in found if isinstance(one, dict) and "name" in one]
    if not names:
        return ()
    return (Field(label=texts("field.sources"), value=", ".join(names)[:500]),)
