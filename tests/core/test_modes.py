"""What `/imagine` makes of its options: modes, sizes, styles, LoRAs, drafts and their prices."""

from __future__ import annotations

from typing import Any

import pytest

from bot.commands.imagine import ImagineInput, resolve
from bot.core.sizes import parse_margins, parse_size, size_like, sizes_of
from bot.core.styles import own_styles, styles_in
from storage import prices
from storage.errors import BadInput, NotFound
from storage.registry import AdapterCard, Registry, load_registry
from storage.schema import Adapter, ImageSpec, JobKind, Margins, Mode, Source
from worker.engine.runners.families.base import UNET_SAMPLERS

REGISTRY = load_registry()
CARD = REGISTRY.cards["starter-icons"]
START = Source(blob="a", sha256="", width=128, height=128)
MASK = START.model_copy(update={"blob": "m"})


def spec(pictures: dict[str, Source] | None = None, **values: Any) -> ImageSpec:
    return resolve(ImagineInput(prompt="a red apple", **values), REGISTRY, {}, pictures)


def refused(pictures: dict[str, Source] | None = None, **values: Any) -> str:
    with pytest.raises((BadInput, NotFound)) as caught:
        spec(pictures, **values)
    return caught.value.code


def test_pictures_choose_the_mode() -> None:
    assert spec().mode is Mode.TEXT
    one = spec({"image": START})
    assert (one.mode, one.strength, one.start) == (Mode.IMAGE, 0.6, START)
    one = spec({"image": START, "mask": MASK}, strength=0.4)
    assert (one.mode, one.strength, one.mask) == (Mode.INPAINT, 0.4, MASK)
    clear = START.model_copy(update={"alpha": True})
    one = spec({"image": clear})
    assert (one.mode, one.mask, one.strength) == (Mode.INPAINT, None, 1.0)
    one = spec({"image": START}, outpaint="left 64")
    assert (one.mode, one.width, one.margins) == (Mode.OUTPAINT, 192, Margins(left=64))
    one = spec({"image": START}, upscale=2)
    assert (one.mode, one.model, one.width) == (Mode.UPSCALE, "starter-upscaler", 256)


def test_what_does_not_go_together_is_said() -> None:
    assert refused(outpaint="left") == "needs_image"
    assert refused({"mask": MASK}) == "needs_image"
    assert refused(upscale=2) == "upscale_needs_image"
    assert refused({"image": START}, upscale=2, strength=0.5) == "modes_mixed"
    assert refused({"image": START, "mask": MASK}, outpaint="left") == "modes_mixed"
    wide = MASK.model_copy(update={"width": 256})
    assert refused({"image": START, "mask": wide}) == "mask_shape"
    assert refused({"image": START}, outpaint="sideways") == "outpaint_invalid"
    assert refused({"control_image": START}) == "control_kind"
    assert refused(control="canny") == "needs_image"
    assert refused(scheduler="flow") == "scheduler_unfit"
    assert refused(model="starter-upscaler") == "model_unknown"
    assert refused(lora="ink") == "adapter_unknown"
    large = START.model_copy(update={"width": 2000, "height": 2000})
    assert refused({"image": large}, upscale=2) == "upscale_large"


def test_a_start_picture_gives_the_shape() -> None:
    photo = START.model_copy(update={"width": 640, "height": 427})
    assert size_like(photo, CARD) == (160, 112)
    assert size_like(START, CARD) == (128, 128)
    assert spec({"image": photo}, size="128x128").width == 128
    width, height, margins = parse_margins("zoom 2", START, CARD)
    assert (width, height) == (128, 128)
    assert min(margins.left, margins.top, margins.right, margins.bottom) >= 32


@pytest.mark.parametrize("name", [*REGISTRY.cards])
def test_every_offered_size_can_be_drawn(name: str) -> None:
    card = REGISTRY.cards[name]
    if card.kind is not JobKind.IMAGE or card.purpose != "draw":
        return
    for size in sizes_of(card):
        width, height = parse_size(size, card)
        assert max(width, height) <= card.max_side and width % 8 == 0 == height % 8
        assert 0.5 < width * height / (card.width * card.height) < 1.4


def test_aspects_by_name_and_word() -> None:
    assert parse_size("16:9", CARD) == (176, 96)
    assert parse_size("portrait", CARD) == parse_size("3:4", CARD) == (112, 144)
    assert parse_size("square", CARD) == (128, 128)
    for junk in ("0:1", "99:1", "huge"):
        with pytest.raises(BadInput):
            parse_size(junk, CARD)


def test_the_samplers_offered_are_the_samplers_there_are() -> None:
    assert set(CARD.schedulers) == UNET_SAMPLERS - {"own"}


def test_own_styles_go_into_the_spec_as_they_read_now() -> None:
    settings = {
        "styles": [
            {"name": "house", "template": "{prompt} in our house style", "negative": "text"},
            {"name": "broken", "template": "no mark"}, {"nonsense": 1},
        ]
    }  # fmt: skip
    assert list(own_styles(settings)) == ["house"]
    assert [s.name for s in styles_in(REGISTRY, settings, CARD.name)] == ["house", "flat"]
    values = ImagineInput(prompt="a cat", style="house")
    one = resolve(values, REGISTRY, settings)
    assert (one.style, one.template_negative) == ("house", "text")
    assert one.template == "{prompt} in our house style"
    assert resolve(ImagineInput(prompt="a cat", style="flat"), REGISTRY, settings).template == ""
    with pytest.raises(NotFound):
        resolve(values, REGISTRY, {})


def test_loras_by_option_and_in_the_prompt() -> None:
    ink = AdapterCard(name="ink", kind="lora", file="ink.safetensors", sha256="0" * 64, weight=0.7)
    snow = ink.model_copy(update={"name": "snow"})
    registry = Registry(
        REGISTRY.cards, REGISTRY.styles, CARD.name, REGISTRY.chat_default,
        {"ink": ink, "snow": snow},
    )  # fmt: skip
    values = ImagineInput(prompt="a cat <lora:ink:0.3>", lora="ink, snow:1.5")
    assert resolve(values, registry).adapters == (
        Adapter(name="ink", weight=0.3), Adapter(name="snow", weight=1.5),
    )  # fmt: skip
    assert resolve(ImagineInput(prompt="a cat", lora="ink"), registry).adapters[0].weight == 0.7
    for wrong in ("ink:9", "a:b:c"):
        with pytest.raises(BadInput):
            resolve(ImagineInput(prompt="a cat", lora=wrong), registry)


def test_drafts_are_four_small_quick_ones() -> None:
    one = spec(draft=True)
    assert (one.count, one.draft, one.width, one.steps) == (4, True, 96, 10)
    assert spec(draft=True, count=2).count == 2


def test_prices_follow_the_steps_that_are_made() -> None:
    full = prices.quote(spec(), CARD)
    assert full == 1
    assert prices.quote(spec(count=4), CARD) == 4
    assert prices.quote(spec(draft=True), CARD) == 2, "four drafts, not four pictures"
    started = spec({"image": START}, strength=0.25, count=4)
    assert prices.steps_made(started) == 5
    assert prices.quote(started, CARD) == 1
    assert prices.estimate_ms(started, CARD) < prices.estimate_ms(spec(count=4), CARD) / 3
    assert prices.steps_made(spec({"image": START}, steps=2, strength=0.05)) == 1
    upscaler = REGISTRY.cards["starter-upscaler"]
    assert prices.quote(spec({"image": START}, upscale=4), upscaler) == 1
    photo = START.model_copy(update={"width": 512, "height": 512})
    assert prices.quote(spec({"image": photo}, upscale=4), upscaler) == 16
