"""Pictures that start from a picture equal diffusers' own, bit for bit, in company too."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from storage.registry import ModelCard, Registry
from storage.schema import ImageSpec, JobKind, Margins, Mode, Source
from worker.bench.tiny import betas, pipeline, stable_diffusion, stable_diffusion_xl
from worker.engine.outputs import Picture
from worker.engine.runners import pixels
from worker.engine.runners.base import Pictures
from worker.engine.runners.families import family_of
from worker.engine.runners.image import ImageRunner
from worker.engine.runners.modes.canvas import Canvas, canvas_of, filled, laid_over
from worker.engine.runners.modes.hooks import Modes
from worker.engine.samplers import SAMPLERS

SIDE = 64
CARD = ModelCard(
    name="tiny", title="tiny", kind=JobKind.IMAGE, source="starter", licence="none",
    size_bytes=1, memory_bytes=1, width=SIDE, height=SIDE,
)  # fmt: skip


def picture(seed: int = 0) -> Image.Image:
    """Something smooth with an edge in it."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8))
    image = small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    ImageDraw.Draw(image).ellipse((10, 12, 40, 50), fill=(200, 30, 40))
    return image


def mask() -> Image.Image:
    image = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(image).rectangle((20, 8, 55, 40), fill=255)
    return image


PICTURES = {"start": picture(), "mask": mask()}


def source(name: str) -> Source:
    return Source(blob=name, sha256="", width=SIDE, height=SIDE)


def spec(**changes: Any) -> ImageSpec:
    base: dict[str, Any] = {
        "model": "tiny", "prompt": "a red apple", "width": SIDE, "height": SIDE, "steps": 4,
        "guidance": 5.0, "scheduler": "euler_a", "seed": 7, "strength": 0.6,
        "start": source("start"), "mode": Mode.IMAGE,
    }  # fmt: skip
    return ImageSpec(**{**base, **changes})


def runner_of(pipe: Any, registry: Registry | None = None, folder: Any = None) -> ImageRunner:
    kind = family_of(type(pipe).__name__)
    assert kind is not None
    registry = registry or Registry({"tiny": CARD, "talk": CARD.model_copy(
        update={"name": "talk", "kind": JobKind.CHAT})}, {}, "tiny", "talk")  # fmt: skip
    with torch.inference_mode():
        family = kind(copy.deepcopy(pipe), "cpu")
        modes = Modes(family, registry, "tiny", folder or ".")
        return ImageRunner(CARD, registry, family, hooks=modes.hooks, beside=modes.move)


@torch.inference_mode()
def together(
    runner: ImageRunner, specs: list[ImageSpec], pictures: Pictures = PICTURES
) -> list[Picture]:
    """All specs at once, stepped as far as each goes, those of one key in one pass."""
    works = [runner.begin(one, 0, pictures) for one in specs]
    done: dict[int, Picture] = {}
    while len(done) < len(works):
        left = [i for i in range(len(works)) if i not in done]
        key = works[left[0]].key
        batch = [i for i in left if works[i].key == key]
        for i, result in zip(batch, runner.forward([works[i] for i in batch]), strict=True):
            stepped = runner.advance(works[i], result)
            if stepped.done:
                (found,) = stepped.outputs
                assert isinstance(found, Picture)
                done[i] = found
    return [done[i] for i in range(len(works))]


@cache
def tiny(kind: str) -> ImageRunner:
    return runner_of(pipeline(kind))


@torch.inference_mode()
def through(kind: str, here: ImageRunner, one: ImageSpec, **more: Any) -> Image.Image:
    """What a diffusers pipeline of that class makes of the same wish with the same layers."""
    pipe = here.family.pipe
    parts = {k: v for k, v in pipe.components.items() if v is not None or "safety" in k
             or k in ("feature_extractor", "image_encoder")}  # fmt: skip
    fixed = {"requires_safety_checker": False} if "XL" not in kind else {"add_watermarker": False}
    if kind.startswith(("ZImage", "Flux2")):
        fixed = {}
    other = getattr(diffusers, kind)(**parts, **fixed)
    other.set_progress_bar_config(disable=True)
    chosen = SAMPLERS[one.scheduler]
    cls = getattr(diffusers, chosen.cls) if chosen.cls else type(pipe.scheduler)
    other.scheduler = cls.from_config(pipe.scheduler.config, **chosen.settings)
    if not kind.startswith("Flux2"):
        more["negative_prompt"] = one.negative or None
    made: Image.Image = other(
        prompt=one.prompt, num_inference_steps=one.steps, guidance_scale=one.guidance,
        generator=torch.Generator("cpu").manual_seed(one.seed), **more,
    ).images[0]  # fmt: skip
    return made


PIPES = {
    "sd15": "StableDiffusion", "sd21-v": "StableDiffusion", "sdxl": "StableDiffusionXL",
}  # fmt: skip


@pytest.mark.parametrize("kind", PIPES)
@pytest.mark.parametrize("scheduler", ["ddim", "euler", "euler_a", "dpmpp_2m_karras", "unipc"])
def test_image_to_image_is_diffusers_own(kind: str, scheduler: str) -> None:
    here = tiny(kind)
    one = spec(scheduler=scheduler, strength=0.5)
    theirs = through(
        f"{PIPES[kind]}Img2ImgPipeline", here, one, image=PICTURES["start"], strength=0.5
    )
    (ours,) = together(here, [one])
    assert ours.sha256 == pixels.digest(theirs)
    assert ours.recipe["start_sha256"] == pixels.digest(PICTURES["start"])


def test_z_image_starts_from_a_picture_as_its_own_pipeline_does() -> None:
    here = tiny("z-image")
    one = spec(scheduler="flow", strength=0.6, guidance=0.0)
    theirs = through(
        "ZImageImg2ImgPipeline", here, one, image=PICTURES["start"], strength=0.6,
        width=SIDE, height=SIDE,
    )  # fmt: skip
    (ours,) = together(here, [one])
    assert ours.sha256 == pixels.digest(theirs)


@pytest.mark.parametrize("kind", PIPES)
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_inpaint_is_diffusers_own_over_the_kept_pixels(kind: str, strength: float) -> None:
    here = tiny(kind)
    one = spec(mode=Mode.INPAINT, mask=source("mask"), strength=strength)
    theirs = through(
        f"{PIPES[kind]}InpaintPipeline", here, one, image=PICTURES["start"],
        mask_image=PICTURES["mask"], strength=strength, width=SIDE, height=SIDE,
    )  # fmt: skip
    (ours,) = together(here, [one])
    wanted = laid_over(theirs, Canvas(PICTURES["start"], PICTURES["mask"]))
    assert ours.sha256 == pixels.digest(wanted)
    far = (0, 50, 10, 64)
    assert ours.image.crop(far).tobytes() == PICTURES["start"].crop(far).tobytes()


def nine(make: Any) -> Any:
    torch.manual_seed(0)
    pipe = make(betas(), in_channels=9)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("make", [stable_diffusion, stable_diffusion_xl])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_an_inpainting_unet_reads_mask_and_picture(make: Any, strength: float) -> None:
    here = runner_of(nine(make))
    name = "StableDiffusionXL" if make is stable_diffusion_xl else "StableDiffusion"
    one = spec(mode=Mode.INPAINT, mask=source("mask"), strength=strength)
    theirs = through(
        f"{name}InpaintPipeline", here, one, image=PICTURES["start"],
        mask_image=PICTURES["mask"], strength=strength, width=SIDE, height=SIDE,
    )  # fmt: skip
    (ours,) = together(here, [one])
    wanted = laid_over(theirs, Canvas(PICTURES["start"], PICTURES["mask"]))
    assert ours.sha256 == pixels.digest(wanted)


def test_an_inpainting_unet_also_draws_from_nothing() -> None:
    runner = runner_of(nine(stable_diffusion))
    plain = spec(mode=Mode.TEXT, start=None)
    first, second = together(runner, [plain, spec()])
    assert first.sha256 == together(runner, [plain])[0].sha256
    assert second.sha256 == together(runner, [spec()])[0].sha256


def test_outpaint_is_an_inpaint_of_the_grown_picture() -> None:
    runner = tiny("sd15")
    one = spec(mode=Mode.OUTPAINT, margins=Margins(left=16, top=8), width=96, strength=1.0)
    canvas = canvas_of(one, PICTURES, 96, SIDE)
    assert canvas.mask is not None and canvas.mask.getpixel((8, 40)) == 255
    (ours,) = together(runner, [one])
    again = spec(
        mode=Mode.INPAINT, start=source("grown"), mask=source("edge"), width=96, strength=1.0
    )
    (same,) = together(runner, [again], {"grown": canvas.image, "edge": canvas.mask})
    assert ours.sha256 == same.sha256
    kept = (40, 30, 96, SIDE)
    assert ours.image.crop(kept).tobytes() == canvas.image.crop(kept).tobytes()


def test_neighbours_of_every_mode_change_no_bit() -> None:
    runner = tiny("sd15")
    wishes = [
        spec(strength=0.5, seed=1),
        spec(mode=Mode.INPAINT, mask=source("mask"), strength=1.0, seed=2),
        spec(mode=Mode.TEXT, start=None, seed=3, steps=3, scheduler="ddim"),
        spec(mode=Mode.OUTPAINT, margins=Margins(right=16), strength=1.0, seed=4),
        spec(strength=1.0, seed=5, guidance=1.0, scheduler="dpmpp_2m"),
    ]
    alone = [together(runner, [one])[0].sha256 for one in wishes]
    assert [made.sha256 for made in together(runner, wishes)] == alone
    assert [made.sha256 for made in together(runner, wishes[::-1])] == alone[::-1]
    assert len(set(alone)) == len(alone)


def test_what_is_transparent_is_what_is_drawn() -> None:
    clear = picture().convert("RGBA")
    clear.putalpha(mask().point(lambda value: 255 - value))
    one = spec(mode=Mode.INPAINT, strength=1.0)
    canvas = canvas_of(one, {"start": clear}, SIDE, SIDE)
    assert canvas.mask is not None and canvas.mask.tobytes() == mask().tobytes()


def test_holes_are_filled_with_what_lies_around_them() -> None:
    image = Image.new("RGB", (32, 32), (250, 10, 10))
    image.paste((0, 0, 0), (8, 8, 24, 24))
    hole = Image.new("L", (32, 32))
    hole.paste(255, (8, 8, 24, 24))
    red, green, blue = filled(image, hole).getpixel((16, 16))  # type: ignore[misc]
    assert (red, green, blue) == (250, 10, 10)


def test_large_pictures_are_decoded_by_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = tiny("sd15")
    one = spec(mode=Mode.TEXT, start=None, width=128, height=128, steps=2)
    (whole,) = together(runner, [one])
    monkeypatch.setattr(runner.family, "tile_pixels", 64 * 64)
    (tiled,) = together(runner, [one])
    assert (whole.recipe.get("vae_tiling"), tiled.recipe["vae_tiling"]) == (None, True)
    assert tiled.image.size == whole.image.size and tiled.sha256 != whole.sha256
    off = np.abs(np.asarray(tiled.image, int) - np.asarray(whole.image, int))
    assert off.mean() < 12
    assert not runner.family.pipe.vae.use_tiling
    monkeypatch.undo()
    assert together(runner, [one])[0].sha256 == whole.sha256


def test_few_steps_and_little_strength_still_make_one() -> None:
    runner = tiny("sd15")
    with torch.inference_mode():
        work = runner.begin(spec(steps=2, strength=0.05), 0, PICTURES)
    assert work.steps == 1


# ---- FLUX.2-klein: pictures as further tokens ---------------------------------------------------


MORE = PICTURES | {"other": picture(3).resize((96, 64)), "huge": picture(4).resize((1200, 1000))}


@torch.inference_mode()
def edited(here: ImageRunner, one: ImageSpec, names: tuple[str, ...]) -> Image.Image:
    made: Image.Image = here.family.pipe(
        image=[MORE[name] for name in names], prompt=one.prompt, width=SIDE, height=SIDE,
        num_inference_steps=one.steps, guidance_scale=one.guidance,
        generator=torch.Generator("cpu").manual_seed(one.seed),
    ).images[0]  # fmt: skip
    return made


def referring(*names: str, **changes: Any) -> ImageSpec:
    first, *rest = [source(name) for name in names]
    return spec(**{
        "mode": Mode.TEXT, "start": None, "scheduler": "flow", "reference": first,
        "blend": tuple(rest), "steps": 3, **changes,
    })  # fmt: skip


@pytest.mark.parametrize("names", [("start",), ("other", "start"), ("start", "other", "mask")])
@pytest.mark.parametrize("kind", ["klein", "klein-distilled"])
def test_klein_reads_references_as_its_own_pipeline_does(kind: str, names: tuple[str, ...]) -> None:
    here = tiny(kind)
    one = referring(*names)
    (ours,) = together(here, [one], MORE)
    assert ours.sha256 == pixels.digest(edited(here, one, names))
    assert len(ours.recipe["references_sha256"]) == len(names)
    (plain,) = together(here, [referring(*names, reference=None, blend=())], MORE)
    assert plain.sha256 != ours.sha256


def test_a_reference_of_more_than_a_megapixel_is_made_smaller() -> None:
    here = tiny("klein-distilled")
    one = referring("huge", steps=1)
    (ours,) = together(here, [one], MORE)
    assert ours.sha256 == pixels.digest(edited(here, one, ("huge",)))


def test_references_of_one_size_share_a_pass_and_no_bit_changes() -> None:
    here = tiny("klein")
    wishes = [
        referring("start"), referring("mask", seed=9, steps=4), referring("other"),
        referring("start", "mask"), referring("start", reference=None, blend=()),
    ]  # fmt: skip
    with torch.inference_mode():
        keys = [here.begin(one, 0, MORE).key for one in wishes]
    assert keys[0] == keys[1] and len(set(keys)) == 4
    alone = [together(here, [one], MORE)[0].sha256 for one in wishes]
    assert [made.sha256 for made in together(here, wishes, MORE)] == alone


@pytest.mark.parametrize("also", [(), ("other",)])
@pytest.mark.parametrize("mode", [Mode.IMAGE, Mode.INPAINT])
def test_klein_starts_from_a_picture_as_its_inpainting_pipeline_does(
    mode: Mode, also: tuple[str, ...]
) -> None:
    """Image to image is a white mask there: diffusers has no other pipeline for it."""
    here = tiny("klein")
    drawn = Image.new("L", (SIDE, SIDE), 255) if mode is Mode.IMAGE else PICTURES["mask"]
    more = {"mask": source("mask")} if mode is Mode.INPAINT else {}
    if also:
        more["reference"] = source(also[0])
    one = spec(mode=mode, scheduler="flow", strength=0.6, **more)
    theirs = through(
        "Flux2KleinInpaintPipeline", here, one, image=PICTURES["start"], mask_image=drawn,
        image_reference=[MORE[name] for name in also] or None, strength=0.6,
        width=SIDE, height=SIDE,
    )  # fmt: skip
    (ours,) = together(here, [one], MORE)
    if mode is Mode.INPAINT:
        theirs = laid_over(theirs, Canvas(PICTURES["start"], PICTURES["mask"]))
    assert ours.sha256 == pixels.digest(theirs)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_z_image_inpaints_as_its_own_pipeline_does(strength: float) -> None:
    here = tiny("z-image")
    one = spec(
        mode=Mode.INPAINT, mask=source("mask"), scheduler="flow", strength=strength, guidance=0.0,
    )  # fmt: skip
    theirs = through(
        "ZImageInpaintPipeline", here, one, image=PICTURES["start"], mask_image=PICTURES["mask"],
        strength=strength, width=SIDE, height=SIDE,
    )  # fmt: skip
    (ours,) = together(here, [one])
    wanted = laid_over(theirs, Canvas(PICTURES["start"], PICTURES["mask"]))
    assert ours.sha256 == pixels.digest(wanted)
