"""A studio that is a script: the real command core over made-up jobs, for tests and the demo."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from PIL import Image, ImageDraw, ImageFilter

from bot.adapters.web.live import WebPresenter
from bot.commands.chat import AskInput
from bot.commands.imagine import ImagineInput, resolve
from bot.core.command import Command, Context, Core
from bot.core.reply import (
    Button,
    Field,
    Form,
    FormField,
    Picture,
    Progress,
    Reply,
    Tone,
    Verb,
    Visibility,
)
from bot.core.texts import Texts, texts_for
from storage.errors import LimitReached, NotFound
from storage.registry import load_registry
from storage.schema import Address, ImageSpec, JobKind, JobStatus, Platform, new_id

TOKEN = "a-token-for-tests"
BASE = "http://127.0.0.1:8642"
JSON = {"Accept": "application/json"}
ADDRESS = Address(platform=Platform.LOCAL, workspace="local", channel="web")
ANSWER = (
    "The capital of France is **Paris**.\n\n"
    "It lies on the Seine, and it is known for:\n\n"
    "- the Eiffel Tower\n- the Louvre\n- its `café` culture\n\n"
    "```python\nprint('Bonjour, Paris!')\n```\n"
)


def paint(prompt: str, seed: int, width: int, height: int, blur: float = 0.0) -> bytes:
    """A made-up icon: soft shapes on a quiet ground, the same for the same words and seed."""
    dice = random.Random(f"{prompt}|{seed}")
    hue = dice.randrange(360)
    big = Image.new("RGB", (width * 2, height * 2), f"hsl({(hue + 180) % 360}, 32%, 92%)")
    draw = ImageDraw.Draw(big)
    for index in range(5):
        size = width * (1.25 - index * 0.2)
        x = width + dice.uniform(-0.28, 0.28) * width
        y = height + dice.uniform(-0.28, 0.28) * height
        colour = f"hsl({(hue + index * 17) % 360}, {62 + index * 5}%, {40 + index * 8}%)"
        box = (x - size / 2, y - size / 2, x + size / 2, y + size / 2)
        if (index + seed) % 3:
            draw.ellipse(box, fill=colour)
        else:
            draw.rounded_rectangle(box, size / 5, fill=colour)
    picture = big.resize((width, height), Image.Resampling.LANCZOS)
    if blur:
        picture = picture.filter(ImageFilter.GaussianBlur(blur))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


@dataclass
class FakeStudio:
    """Jobs by id and their cards; ``pace`` is the length of a step in seconds (0: by hand)."""

    presenter: WebPresenter
    pace: float = 0.0
    jobs: dict[str, Reply] = field(default_factory=dict)
    specs: dict[str, Any] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    """Blob keys that exist but may not be shown."""
    keys: dict[str, str] = field(default_factory=dict)
    """Job by invocation key: the same key is the same job."""
    invocations: list[tuple[str, Any, Context]] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    credits: int = 500
    reserved: int = 0
    refuse: bool = False

    # -- what the page reads ------------------------------------------------------------------
    async def card(self, job_id: str, locale: str) -> Reply:
        if job_id not in self.jobs:
            raise NotFound("job_unknown")
        return self.jobs[job_id]

    async def timeline(self, locale: str, limit: int, before: str | None = None) -> list[Reply]:
        ids = sorted(id for id in self.jobs if before is None or id < before)
        return [self.jobs[id] for id in ids[-limit:]]

    async def kept(self, locale: str, limit: int) -> list[Reply]:
        return []

    async def balance(self) -> Any:
        return SimpleNamespace(available=self.credits, pending=self.reserved)

    async def picture(self, key: str) -> bytes | None:
        return None if key in self.hidden else self.blobs.get(key)

    # -- scripted work ------------------------------------------------------------------------
    def store(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        key = f"{digest[:2]}/{digest}.png"
        self.blobs[key] = data
        return key

    async def show(self, job_id: str, **changes: Any) -> Reply:
        reply = self.jobs[job_id].model_copy(update=changes)
        self.jobs[job_id] = reply
        await self.presenter.update(ADDRESS, reply)
        return reply

    def open_job(self, context: Context, prompt: str, kind: JobKind, spec: Any) -> Reply:
        if self.refuse:
            raise LimitReached("credits_short", needed=4, available=1)
        known = self.keys.get(context.key)
        if known:
            return self.jobs[known]
        texts = context.texts
        job_id = self.keys[context.key] = new_id()
        label = texts("button.stop" if kind is JobKind.CHAT else "button.cancel")
        self.specs[job_id] = spec
        self.jobs[job_id] = Reply(
            job_id=job_id, kind=kind, status=JobStatus.QUEUED, prompt=prompt, author="You",
            created_at=int(time.time() * 1000), place=3, total=9, title=texts("status.queued"),
            eta_at=int((time.time() + 12) * 1000),
            buttons=(Button(verb=Verb.CANCEL, target=job_id, label=label, style="danger"),),
            data={"thread": context.address.thread},
        )  # fmt: skip
        if self.pace:
            work = self.draw if kind is JobKind.IMAGE else self.write
            task = asyncio.create_task(work(job_id, texts))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        return self.jobs[job_id]

    def over(self, job_id: str) -> bool:
        return self.jobs[job_id].status is JobStatus.CANCELLED

    async def draw(self, job_id: str, texts: Texts) -> None:
        spec: ImageSpec = self.specs[job_id]
        for place in (2, 1):
            await asyncio.sleep(self.pace * 4)
            if self.over(job_id):
                return
            await self.show(job_id, place=place)
        for index in range(spec.count):
            for step in range(1, spec.steps + 1):
                await asyncio.sleep(self.pace)
                if self.over(job_id):
                    return
                await self.step(job_id, texts, step, index)
        await self.finish(job_id, texts)

    async def step(self, job_id: str, texts: Texts, step: int, index: int = 0) -> Reply:
        spec: ImageSpec = self.specs[job_id]
        blur = max(1.0, 24.0 * (1 - step / spec.steps))
        preview = self.store(paint(spec.prompt, spec.seed_of(index), 64, 64, blur))
        return await self.show(
            job_id, status=JobStatus.RUNNING, title=texts("status.running"), place=None,
            eta_at=int((time.time() + (spec.steps - step) * max(self.pace, 0.1)) * 1000),
            progress=Progress(step=step, steps=spec.steps, index=index, count=spec.count,
                              preview=preview if step > 2 else None),
        )  # fmt: skip

    async def finish(self, job_id: str, texts: Texts, **changes: Any) -> Reply:
        spec: ImageSpec = self.specs[job_id]
        pictures = tuple(self.picture_of(spec, index, texts) for index in range(spec.count))
        facts = {
            "seed": str(spec.seed), "style": spec.style, "size": f"{spec.width}x{spec.height}",
            "steps": str(spec.steps), "guidance": f"{spec.guidance:g}", "model": spec.model,
            "negative": spec.negative, "cost": texts("amount.credits", n=4),
        }  # fmt: skip
        fields = tuple(
            Field(label=texts(f"field.{name}"), value=value, code=name == "seed")
            for name, value in facts.items()
            if value
        )
        buttons = (
            Button(verb=Verb.REROLL, target=job_id, label=texts("button.reroll"), style="primary"),
            Button(verb=Verb.EDIT, target=job_id, label=texts("button.edit")),
        )
        self.credits -= 4
        update = {
            "status": JobStatus.SUCCEEDED, "title": texts("status.succeeded"), "tone": Tone.GOOD,
            "progress": None, "eta_at": None, "pictures": pictures, "fields": fields,
            "buttons": buttons, "text": texts("card.ai_picture"),
        }  # fmt: skip
        return await self.show(job_id, **(update | changes))

    def picture_of(self, spec: ImageSpec, index: int, texts: Texts) -> Picture:
        seed = spec.seed_of(index)
        key = self.store(paint(spec.prompt, seed, spec.width, spec.height))
        made = new_id()
        return Picture(
            generation_id=made, blob=key, width=spec.width, height=spec.height, seed=seed,
            alt=texts("picture.alt", prompt=spec.prompt, seed=seed),
            buttons=(
                *(
                    Button(verb=verb, target=made, label=texts(f"button.{verb}"))
                    for verb in (Verb.VARY_SUBTLE, Verb.VARY_STRONG, Verb.UPSCALE, Verb.FAVOURITE)
                ),
                Button(verb=Verb.DELETE, target=made, label=texts("button.delete"),
                       style="danger", confirm=texts("confirm.delete")),
                Button(verb=Verb.REPORT, target=made, label=texts("button.report"),
                       confirm=texts("confirm.report")),
            ),
        )  # fmt: skip

    async def write(self, job_id: str, texts: Texts, answer: str = ANSWER) -> None:
        await asyncio.sleep(self.pace * 4)
        for end in range(0, len(answer), 6):
            if self.over(job_id):
                return
            await self.show(
                job_id, status=JobStatus.RUNNING, streaming=True, text=answer[:end], place=None,
                eta_at=None, title=texts("status.running"),
            )  # fmt: skip
            await asyncio.sleep(self.pace)
        await self.answer(job_id, texts, answer)

    async def answer(self, job_id: str, texts: Texts, text: str = ANSWER) -> Reply:
        made = new_id()
        return await self.show(
            job_id, status=JobStatus.SUCCEEDED, streaming=False, text=text, tone=Tone.GOOD,
            title=texts("status.succeeded"), place=None, eta_at=None,
            fields=(Field(label=texts("field.model"), value="smollm2-135m"),
                    Field(label=texts("field.seed"), value="7", code=True),
                    Field(label=texts("field.cost"), value=texts("amount.credits", n=1))),
            buttons=(
                Button(verb=Verb.REGENERATE, target=job_id, label=texts("button.regenerate")),
                Button(verb=Verb.DELETE, target=made, label=texts("button.delete"),
                       style="danger", confirm=texts("confirm.delete")),
                Button(verb=Verb.REPORT, target=made, label=texts("button.report"),
                       confirm=texts("confirm.report")),
            ),
        )  # fmt: skip


def make_core(studio: FakeStudio) -> Core:
    """The real core with scripted handlers: real validation, real sentences, made-up jobs."""

    def quoted(price: int) -> Reply:
        facts = {"price": price, "available": studio.credits, "dry_run": True}
        return Reply(visibility=Visibility.PRIVATE, data=facts)

    async def imagine(context: Context, values: ImagineInput) -> Reply:
        if values.dry_run:
            return quoted(values.count)
        studio.invocations.append(("imagine", values, context))
        spec = resolve(values.model_copy(update={"image": None}), context.services.registry)
        return studio.open_job(context, spec.prompt, JobKind.IMAGE, spec)

    async def ask(context: Context, values: AskInput) -> Reply:
        if values.dry_run:
            return quoted(1)
        studio.invocations.append(("ask", values, context))
        return studio.open_job(context, values.prompt, JobKind.CHAT, values)

    def job_of(target: str) -> str:
        if target not in studio.jobs:
            raise NotFound("job_unknown")
        return target

    async def cancel(context: Context, target: str) -> Reply:
        return await studio.show(
            job_of(target), status=JobStatus.CANCELLED, streaming=False, tone=Tone.WARN,
            title=context.texts("status.cancelled"), text=context.texts("card.cancelled"),
            progress=None, place=None, eta_at=None, buttons=(),
        )  # fmt: skip

    async def again(context: Context, target: str) -> Reply:
        old = studio.jobs[job_of(target)]
        assert old.kind is not None
        spec = studio.specs[target]
        if isinstance(spec, ImageSpec):
            spec = spec.model_copy(update={"seed": spec.seed + 1000})
        return studio.open_job(context, old.prompt, old.kind, spec)

    async def edit(context: Context, target: str) -> Reply:
        spec: ImageSpec = studio.specs[job_of(target)]
        t = context.texts
        fields = (
            FormField(name="prompt", label=t("field.prompt"), kind="long", value=spec.prompt,
                      required=True),
            FormField(name="style", label=t("field.style"), kind="choice", value=spec.style,
                      choices=("", "flat")),
            FormField(name="seed", label=t("field.seed"), kind="integer", value=str(spec.seed),
                      minimum=0),
            FormField(name="steps", label=t("field.steps"), kind="integer",
                      value=str(spec.steps), minimum=1, maximum=100),
            FormField(name="count", label=t("field.count"), kind="integer",
                      value=str(spec.count), minimum=1, maximum=4),
        )  # fmt: skip
        return Reply(
            visibility=Visibility.PRIVATE,
            form=Form(title=t("form.edit"), command="imagine", submit=t("form.submit"),
                      fields=fields),
        )  # fmt: skip

    async def delete(context: Context, target: str) -> Reply:
        for job_id, card in studio.jobs.items():
            if any(p.generation_id == target for p in card.pictures):
                gone = tuple(
                    p.model_copy(update={"blob": None, "note": context.texts("picture.removed"),
                                         "buttons": ()})
                    if p.generation_id == target else p
                    for p in card.pictures
                )  # fmt: skip
                return await studio.show(job_id, pictures=gone)
        raise NotFound("generation_unknown")

    async def report(context: Context, target: str) -> Reply:
        return Reply(
            text=context.texts("report.thanks"), tone=Tone.GOOD, visibility=Visibility.PRIVATE
        )

    async def credits(context: Context, _: Any) -> Reply:
        return Reply(
            title=context.texts("credits.title"),
            text=context.texts("credits.text", available=studio.credits),
            visibility=Visibility.PRIVATE,
        )

    from bot.commands.account import NoInput

    async def actor(who: Any) -> Any:
        member = SimpleNamespace(id="m", role="admin", roles=(), banned_until=None)
        return SimpleNamespace(workspace=SimpleNamespace(id="w", settings={}), member=member)

    async def look(*_: Any, **__: Any) -> bool:
        return False  # no switch is on

    services: Any = SimpleNamespace(
        metrics=SimpleNamespace(answered=lambda *_: None),
        texts=texts_for, registry=load_registry(), actor=actor, clock=lambda: 0,
        page_url="",
        database=SimpleNamespace(look=look),
    )  # fmt: skip
    commands: list[Command[Any]] = [
        Command(name="imagine", input=ImagineInput, handler=imagine),
        Command(name="ask", input=AskInput, handler=ask),
        Command(name="credits", input=NoInput, handler=credits),
    ]
    presses = {
        Verb.CANCEL: cancel, Verb.REROLL: again, Verb.REGENERATE: again, Verb.EDIT: edit,
        Verb.DELETE: delete, Verb.REPORT: report,
    }  # fmt: skip
    return Core(services, commands, presses)
