"""A card of every kind, in both languages: for goldens, limits and pictures of them."""

from __future__ import annotations

from bot.adapters.slack.render import words_for
from bot.core.reply import Button, Field, Picture, Progress, Reply, Tone, Verb
from storage.schema import JobKind, JobStatus

JOB = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
MADE = "01BX5ZZKBKACTAV9WEVGEMMVS0"
AT = 1_900_000_000_000
BLOBS = [f"{n:02x}/{'ab' * 16}.png" for n in range(4)]
FILES = {blob: f"F00000000{n}" for n, blob in enumerate(BLOBS)} | {
    f"{BLOBS[0]}#veiled": "F000000009"
}
PROMPTS = {"en": "a red apple on a wooden table, soft light", "zh": "木桌上的一个红苹果，柔和的光"}
ANSWERS = {
    "en": (
        "Paris is the capital of **France**.\n\n- It lies on the Seine.\n- About two million "
        "people live there.\n\n1. Louvre\n2. Orsay\n\n> as they say\n\n```python\n"
        'print("<!channel>")\n```'
    ),
    "zh": (
        "巴黎是**法国**的首都。\n\n- 位于塞纳河畔。\n- 约有两百万人口。\n\n```python\nprint(1)\n```"
    ),
}
QUESTIONS = {"en": "What is the capital of France?", "zh": "法国的首都是哪里？"}


def _button(verb: Verb, texts: object, target: str = JOB, **more: object) -> Button:
    key = "button.stop" if more.pop("stop", False) else f"button.{verb}"
    return Button(verb=verb, target=target, label=texts(key), **more)  # type: ignore[operator,arg-type]


def samples(locale: str) -> dict[str, Reply]:
    """By name; the same every time."""
    texts = words_for(locale)
    prompt = PROMPTS[locale]
    base = Reply(
        job_id=JOB, kind=JobKind.IMAGE, locale=locale, prompt=prompt, created_at=AT,
        author="Ann" if locale == "en" else "安",
    )  # fmt: skip
    chat = base.model_copy(update={"kind": JobKind.CHAT, "prompt": QUESTIONS[locale]})

    def of(reply: Reply, **more: object) -> Reply:
        status = more.get("status")
        if status is not None and "title" not in more:
            more["title"] = texts(f"status.{status}")
        return reply.model_copy(update=more)

    cancel = (_button(Verb.CANCEL, texts, style="danger"),)
    again = (_button(Verb.REROLL, texts, style="primary"), _button(Verb.EDIT, texts))
    own = (
        _button(Verb.VARY_SUBTLE, texts, MADE), _button(Verb.VARY_STRONG, texts, MADE),
        _button(Verb.UPSCALE, texts, MADE), _button(Verb.FAVOURITE, texts, MADE),
        _button(Verb.DELETE, texts, MADE, style="danger", confirm=texts("confirm.delete")),
        _button(Verb.REPORT, texts, MADE, confirm=texts("confirm.report")),
    )  # fmt: skip
    pictures = tuple(
        Picture(
            generation_id=MADE, blob=blob, alt=texts("picture.alt", prompt=prompt, seed=7 + n),
            width=512, height=512, seed=7 + n, buttons=own,
        )
        for n, blob in enumerate(BLOBS)
    )  # fmt: skip
    facts = (
        Field(label=texts("field.seed"), value="7", code=True),
        Field(label=texts("field.size"), value="512x512"),
        Field(label=texts("field.model"), value="starter-icons"),
        Field(label=texts("field.cost"), value=texts("amount.credits", n=3)),
    )
    done = {"status": JobStatus.SUCCEEDED, "tone": Tone.GOOD, "buttons": again, "fields": facts,
            "text": texts("card.ai_picture")}  # fmt: skip
    asked = (_button(Verb.REGENERATE, texts),)
    return {
        "queued": of(base, status=JobStatus.QUEUED, place=3, total=9, eta_at=AT + 60_000,
                     text=texts("card.queued", place=3, total=9), buttons=cancel),
        "running": of(base, status=JobStatus.RUNNING, eta_at=AT + 8_000, buttons=cancel,
                      text=texts("card.step", step=12, steps=20),
                      progress=Progress(step=12, steps=20, index=0, count=1)),
        "result": of(base, **done, pictures=pictures[:1]),
        "grid": of(base, **done, pictures=pictures),
        "blurred": of(base, **done,
                      pictures=(pictures[0].model_copy(update={"blurred": True}),)),
        "held": of(base, **(done | {
            "tone": Tone.WARN, "title": texts("status.held"),
            "text": texts("card.held", reason=texts("category.GORE"), code="GORE", job=JOB),
            "pictures": (pictures[0].model_copy(update={
                "blob": None, "note": texts("picture.held"), "buttons": ()}),),
        })),
        "denied": of(base, status=JobStatus.REJECTED, tone=Tone.WARN, buttons=again,
                     text=texts("error.output_refused", category=texts("category.GORE"))),
        "failed": of(base, status=JobStatus.FAILED, tone=Tone.BAD, buttons=again,
                     text=texts("error.crashed")),
        "cancelled": of(base, status=JobStatus.CANCELLED, tone=Tone.WARN, buttons=again,
                        text=texts("card.cancelled")),
        "streaming": of(chat, status=JobStatus.RUNNING, streaming=True,
                        text=ANSWERS[locale].split("\n\n")[0],
                        buttons=(_button(Verb.CANCEL, texts, stop=True, style="danger"),)),
        "answer": of(chat, status=JobStatus.SUCCEEDED, tone=Tone.GOOD, text=ANSWERS[locale],
                     fields=facts[2:], buttons=(*asked, *own[4:])),
        "credits": Reply(title=texts("credits.title"), text=texts("credits.text", available=42),
                         fields=(Field(label=texts("credits.available"), value="42"),
                                 Field(label=texts("credits.tier"), value="free"))),
        "refused": Reply(title=texts("title.Refused"), tone=Tone.WARN, code="prompt_refused",
                         text=texts("error.prompt_refused", category=texts("category.GORE"))),
    }  # fmt: skip
