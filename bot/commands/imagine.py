"""`/imagine` and `/upscale`: words and pictures become a picture job."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import Field

from bot.core.attachment import Upload
from bot.core.cards import job_reply
from bot.core.command import Command, Context
from bot.core.derive import enlarge
from bot.core.guards import judge_texts, submit_job
from bot.core.inputs import Input, Phrase, Prompt
from bot.core.limits import check_private, check_rules, rules_in
from bot.core.quotes import quote_reply, throw_away
from bot.core.reply import Reply, Visibility
from bot.core.sizes import draft_size, parse_margins, parse_size, size_like
from bot.core.styles import dressed
from moderation.pipeline import Surface
from storage import prompts
from storage.errors import BadInput, NotFound
from storage.registry import ModelCard, Registry, Style
from storage.schema import (
    MAX_SEED,
    Adapter,
    Control,
    ControlKind,
    ImageSpec,
    JobKind,
    Mode,
    Source,
    Verdict,
)

DRAFTS = 4
"""Pictures of a draft grid."""
HALVED = 12
"""Models of at least so many steps make drafts in half of them; distilled ones need all."""
STRENGTH = 0.6
"""How far a start picture may change when nobody says."""
OUTPAINT = ["left", "right", "top", "bottom", "all", "zoom"]
"""Offered; more can be typed: ``left 64, top 32``."""
PICTURES = ("image", "mask", "control_image", "reference")
_LORA = re.compile(r"([^\s,:]{1,64})(?::([+-]?\d?(?:\.\d{1,3})?))?")


def option(kind: str, **more: Any) -> Any:
    """What front ends need to know of an option beside its type."""
    return {"kind": kind, **more}


class ImagineInput(Input):
    """What a member may ask of a picture; what is left out comes from the model's card."""

    prompt: Prompt = Field(json_schema_extra=option("long"))
    negative: Phrase = Field(default="", json_schema_extra=option("long"))
    style: Phrase = Field(default="", json_schema_extra=option("choice", choices="styles"))
    dry_run: bool = Field(default=False, json_schema_extra=option("flag"))
    private: bool = Field(default=False, json_schema_extra=option("flag"))
    size: Phrase = Field(default="", json_schema_extra=option("choice", choices="sizes"))
    image: Upload = Field(default=None, json_schema_extra=option("image"))
    strength: float | None = Field(
        default=None, ge=0.05, le=1, allow_inf_nan=False,
        json_schema_extra=option("number", step=0.05, usual=STRENGTH),
    )  # fmt: skip
    mask: Upload = Field(default=None, json_schema_extra=option("image"))
    outpaint: Phrase = Field(default="", json_schema_extra=option("choice", choices=OUTPAINT))
    upscale: Annotated[int, Ge(2), Le(4)] | None = Field(
        default=None, ge=2, le=4, json_schema_extra=option("integer")
    )
    control: Phrase = Field(default="", json_schema_extra=option("choice", choices="controls"))
    control_image: Upload = Field(default=None, json_schema_extra=option("image", needs="controls"))
    reference: Upload = Field(default=None, json_schema_extra=option("image", needs="references"))
    lora: Phrase = Field(default="", json_schema_extra=option("choice", choices="loras"))
    draft: bool = Field(default=False, json_schema_extra=option("flag"))
    count: int = Field(default=1, ge=1, le=4, json_schema_extra=option("integer"))
    steps: Annotated[int, Ge(1)] | None = Field(
        default=None, ge=1, json_schema_extra=option("integer", default_from="card")
    )
    guidance: float | None = Field(
        default=None, ge=0, le=30, allow_inf_nan=False,
        json_schema_extra=option("number", step=0.5, default_from="card"),
    )  # fmt: skip
    seed: Annotated[int, Ge(0), Le(MAX_SEED)] | None = Field(
        default=None, ge=0, le=MAX_SEED, json_schema_extra=option("integer")
    )
    scheduler: Phrase = Field(
        default="", json_schema_extra=option("choice", choices="schedulers", default_from="card")
    )
    format: Literal["", "webp", "lossless", "png"] = Field(
        default="", json_schema_extra=option("choice", choices=("webp", "lossless", "png"))
    )
    enhance: bool = Field(default=False, json_schema_extra=option("flag"))
    model: Phrase = Field(default="", json_schema_extra=option("choice", choices="models"))


class UpscaleInput(Input):
    """A picture to make larger."""

    image: Upload = Field(default=None, json_schema_extra=option("image"))
    scale: int = Field(default=2, ge=2, le=4, json_schema_extra=option("integer"))
    dry_run: bool = Field(default=False, json_schema_extra=option("flag"))
    private: bool = Field(default=False, json_schema_extra=option("flag"))


def resolve(
    values: ImagineInput,
    registry: Registry,
    settings: Mapping[str, Any] | None = None,
    pictures: Mapping[str, Source] | None = None,
) -> ImageSpec:
    """The complete spec: every default filled in, a random seed chosen when none was given.

    ``settings`` are the workspace's, ``pictures`` the stored attachments by option name. Raises
    ``NotFound`` for an unknown model, style or LoRA and ``BadInput`` for everything else.
    """
    given = dict(pictures or {})
    if values.upscale is not None:
        return _enlarging(values, registry, given)
    card = _drawing(values.model, registry)
    steps = values.steps if values.steps is not None else card.steps
    if steps > card.max_steps:
        raise BadInput("steps_range", maximum=card.max_steps)
    if values.scheduler and values.scheduler not in card.schedulers:
        known = ", ".join(card.schedulers)
        raise BadInput("scheduler_unfit", scheduler=values.scheduler[:40], known=known)
    mode = _mode(values, given, card)
    if values.draft:
        if steps == card.steps and steps >= HALVED:
            steps //= 2
        mode["width"], mode["height"] = draft_size(mode["width"], mode["height"], card)
    return ImageSpec(
        model=card.name,
        prompt=values.prompt,
        negative=values.negative,
        steps=steps,
        guidance=values.guidance if values.guidance is not None else card.guidance,
        scheduler=values.scheduler or card.scheduler,
        # Short enough to read aloud; any 63-bit seed may be typed.
        seed=values.seed if values.seed is not None else secrets.randbelow(2**32),
        count=DRAFTS if values.draft and values.count == 1 else values.count,
        draft=values.draft,
        enhance=values.enhance,
        format=values.format or "webp",
        adapters=loras_of(values.lora, values.prompt, card, registry),
        **dressed(values.style, registry, settings or {}),
        **mode,
    )


def _drawing(name: str, registry: Registry) -> ModelCard:
    card = registry.find(name or registry.default(JobKind.IMAGE).name, JobKind.IMAGE)
    if card.purpose != "draw":
        known = ", ".join(n for n in registry.cards if registry.draws(n))
        raise NotFound("model_unknown", model=card.name, known=known)
    return card


def _enlarging(values: ImagineInput, registry: Registry, given: Mapping[str, Source]) -> ImageSpec:
    """``upscale`` makes a given picture larger and draws nothing."""
    if "image" not in given:
        raise BadInput("upscale_needs_image")
    drawn = {"strength", "mask", "outpaint", "control", "control_image", "reference", "draft"}
    if mixed := sorted(drawn & values.model_fields_set):
        raise BadInput("modes_mixed", one="upscale", other=mixed[0])
    return enlarge(given["image"], registry, values.upscale or 2, values.prompt)


def _mode(values: ImagineInput, given: dict[str, Source], card: ModelCard) -> dict[str, Any]:
    """What the pictures make of the job: mode, size, and each picture in its place."""
    control = _control(values, given)
    start, mask = given.get("image"), given.get("mask")
    found: dict[str, Any] = {"control": control, "reference": given.get("reference")}
    if start is None:
        for name in ("mask", "outpaint"):
            if name in given or getattr(values, name) not in (None, ""):
                raise BadInput("needs_image", option=name)
        like = control.source if control is not None and not values.size else None
        size = parse_size(values.size, card) if like is None else size_like(like, card)
        return found | {"width": size[0], "height": size[1]}
    strength = values.strength
    if values.outpaint:
        if mask is not None:
            raise BadInput("modes_mixed", one="outpaint", other="mask")
        width, height, margins = parse_margins(values.outpaint, start, card)
        return found | {
            "mode": Mode.OUTPAINT, "start": start, "margins": margins,
            "width": width, "height": height, "strength": 1.0 if strength is None else strength,
        }  # fmt: skip
    width, height = parse_size(values.size, card) if values.size else size_like(start, card)
    found |= {"start": start, "width": width, "height": height}
    if mask is not None:
        if abs(mask.width / mask.height - start.width / start.height) > 0.02:
            raise BadInput("mask_shape")
        found["mask"] = mask
    if mask is not None or start.alpha:
        # Without a mask, what the picture leaves transparent is what is drawn.
        return found | {"mode": Mode.INPAINT, "strength": 1.0 if strength is None else strength}
    return found | {"mode": Mode.IMAGE, "strength": STRENGTH if strength is None else strength}


def _control(values: ImagineInput, given: dict[str, Source]) -> Control | None:
    """The control picture: its own option, else the start picture, which then is none."""
    if not values.control:
        if "control_image" in given:
            raise BadInput("control_kind", known=", ".join(ControlKind))
        return None
    words = values.control.lower().split()
    annotated = words[1:] == ["map"]
    try:
        kind = ControlKind(words[0] if annotated else " ".join(words))
    except ValueError as error:
        raise BadInput("control_kind", known=", ".join(ControlKind)) from error
    source = given.get("control_image") or given.pop("image", None)
    if source is None:
        raise BadInput("needs_image", option="control")
    return Control(kind=kind, source=source, annotated=annotated)


def loras_of(chosen: str, prompt: str, card: ModelCard, registry: Registry) -> tuple[Adapter, ...]:
    """The LoRAs of the option (``ink:0.8, snow``) and of the prompt (``<lora:ink:0.8>``).

    Raises ``NotFound('adapter_unknown')`` and ``BadInput``: ``lora_invalid``, ``loras_many``,
    ``weight_range``.
    """
    wanted = []
    for piece in filter(None, re.split(r"[,\s]+", chosen)):
        match = _LORA.fullmatch(piece)
        if match is None:
            raise BadInput("lora_invalid")
        try:
            wanted.append(prompts.Named(match[1], float(match[2]) if match[2] else None))
        except ValueError as error:
            raise BadInput("lora_invalid") from error

    def known(named: prompts.Named) -> Adapter:
        found = registry.adapter(named.name, "lora", card.name)
        weight = found.weight if named.weight is None else named.weight
        if abs(weight) > prompts.WEIGHT_MAX:
            raise BadInput("weight_range", maximum=f"{prompts.WEIGHT_MAX:g}")
        return Adapter(name=found.name, weight=weight)

    options = tuple(known(named) for named in wanted)
    both = prompts.merge(options, tuple(known(n) for n in prompts.parse(prompt).loras))
    if len(both) > prompts.ADAPTERS_MAX:
        raise BadInput("loras_many", maximum=prompts.ADAPTERS_MAX)
    return both


def check_words(spec: ImageSpec) -> None:
    """Whether both prompts can be read. Raises ``BadInput`` as ``storage.prompts.parse``."""
    prompts.parse(spec.prompt)
    prompts.parse(spec.negative)


def check_fit(spec: ImageSpec, registry: Registry) -> None:
    """Whether the model has what the spec asks for. Raises ``BadInput``."""
    if spec.control is not None and registry.control_for(spec.model, spec.control.kind) is None:
        raise BadInput("control_absent", control=spec.control.kind)
    control = spec.control
    if control is not None and not (
        control.annotated or registry.annotates(spec.model, control.kind)
    ):
        raise BadInput("annotator_absent", control=control.kind)
    most = registry.references_of(spec.model)
    if len(spec.references) > most:
        raise BadInput("references_many" if most else "reference_absent", maximum=most)


async def judge_spec(context: Context, spec: ImageSpec) -> Verdict:
    """Judge a spec's words as typed and as the model reads them: brackets hide nothing.

    Raises ``Refused``.
    """
    prompt, negative = prompts.parse(spec.prompt).text, prompts.parse(spec.negative).text
    if spec.template:
        own = Style(name=spec.style, template=spec.template, negative=spec.template_negative)
        prompt = own.apply(prompt)
        negative = ", ".join(text for text in (negative, own.negative) if text)

    def both(typed: str, read: str) -> str:
        return typed if typed == read else f"{typed}\n{read}"

    return await judge_texts(
        context,
        {
            Surface.PROMPT: both(spec.prompt, prompt),
            Surface.NEGATIVE: both(spec.negative, negative),
        },
    )


async def check_served(context: Context, spec: ImageSpec) -> None:
    """Whether some worker has the model's weights. Raises ``NotFound('model_absent')``.

    While no worker says anything (none runs, or Redis is away) the job is taken and waits.
    """
    services = context.services
    served = await services.wire.served(now=services.clock())
    if served is None or any(spec.model in models for models in served.values()):
        return
    allowed = rules_in(context).models.images
    known = sorted(
        name
        for name in frozenset().union(*served.values())
        if services.registry.draws(name) and (not allowed or name in allowed)
    )
    raise NotFound("model_absent", model=spec.model, known=", ".join(known))


async def submit_picture(
    context: Context, spec: ImageSpec, *, parent_id: str | None = None
) -> Reply:
    """Check a spec's words, price and queue it, show its card. Raises ``MemberError``."""
    # A button comes here without a command's check: nothing is judged that no rule lets pass.
    await check_rules(context, "imagine")
    check_words(spec)
    check_fit(spec, context.services.registry)
    await check_served(context, spec)
    verdict = await judge_spec(context, spec)
    job_id = await submit_job(context, spec, verdict=verdict, parent_id=parent_id)
    return await job_reply(
        context.services, job_id, context.texts.locale, workspace_id=context.actor.workspace.id
    )


async def imagine(context: Context, values: ImagineInput) -> Reply:
    """Take the pictures in, check the words, price the work, queue the job, show its card."""
    check_private(context, values.private)
    check_words(_words_of(values))
    pictures = {}
    for name in PICTURES:
        attached = getattr(values, name)
        if attached is not None:
            pictures[name] = await context.services.uploads.take(context, attached)
    settings = context.actor.workspace.settings
    spec = resolve(values, context.services.registry, settings, pictures)
    if values.dry_run:
        check_fit(spec, context.services.registry)
        await check_served(context, spec)
        return await throw_away(context, await quote_reply(context, spec))
    return await submit_picture(context, spec)


def _words_of(values: ImagineInput) -> ImageSpec:
    """Only the words, to be read before any picture is fetched for nothing."""
    return ImageSpec(
        model="", prompt=values.prompt, negative=values.negative, width=64, height=64, steps=1,
        guidance=0, scheduler="", seed=0,
    )  # fmt: skip


async def upscale(context: Context, values: UpscaleInput) -> Reply:
    """Take a picture in and queue it for the upscaler."""
    check_private(context, values.private)
    if values.image is None:
        raise BadInput("upscale_needs_image")
    start = await context.services.uploads.take(context, values.image)
    spec = enlarge(start, context.services.registry, values.scale)
    if values.dry_run:
        return await throw_away(context, await quote_reply(context, spec))
    return await submit_picture(context, spec)


IMAGINE = Command(
    name="imagine", input=ImagineInput, handler=imagine, visibility=Visibility.PUBLIC, group="make"
)
UPSCALE = Command(
    name="upscale", input=UpscaleInput, handler=upscale, visibility=Visibility.PUBLIC, group="make"
)
