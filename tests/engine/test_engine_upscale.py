"""Larger pictures: a learned network by tiles, twice where needed, Lanczos as the last resort."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from storage.registry import ModelCard, load_registry
from storage.schema import ImageSpec, JobKind, Mode, Source
from worker.engine.errors import BadPicture, ModelUnavailable
from worker.engine.outputs import Picture, Progress
from worker.engine.runners.upscale import UpscaleRunner, load_network, load_upscaler
from worker.starter.evaluate_upscaler import psnr
from worker.starter.upscaler import WEIGHTS, Generator

CARD = load_registry().cards["starter-upscaler"]


def icon(side: int) -> Image.Image:
    """Flat shapes with true edges: drawn large, reduced."""
    image = Image.new("RGB", (side * 4, side * 4), "white")
    draw = ImageDraw.Draw(image)
    u = side * 4 / 64
    draw.ellipse((12 * u, 14 * u, 50 * u, 56 * u), fill=(210, 40, 50))
    draw.polygon([(30 * u, 4 * u), (44 * u, 10 * u), (32 * u, 16 * u)], fill=(60, 150, 70))
    draw.line((20 * u, 40 * u, 44 * u, 26 * u), fill=(255, 230, 120), width=round(3 * u))
    return image.resize((side, side), Image.Resampling.BOX)


def spec(side: int, scale: int) -> ImageSpec:
    start = Source(blob="start", sha256="", width=side, height=side)
    return ImageSpec(
        model=CARD.name, prompt="", width=side * scale, height=side * scale, steps=1, guidance=0,
        scheduler="own", seed=0, mode=Mode.UPSCALE, start=start, scale=scale,
    )  # fmt: skip


@torch.inference_mode()
def enlarged(runner: UpscaleRunner, image: Image.Image, scale: int) -> tuple[Picture, list[Any]]:
    work = runner.begin(spec(image.width, scale), 0, {"start": image})
    outputs: list[Any] = []
    while True:
        assert work.left >= 0
        stepped = runner.advance(work, runner.forward([work])[0])
        outputs += stepped.outputs
        if stepped.done:
            return outputs[-1], outputs


@pytest.fixture(scope="module")
def starter() -> UpscaleRunner:
    return load_upscaler(CARD, Path(), "cpu")


def test_the_card_names_the_shipped_file() -> None:
    assert CARD.revision == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:12]
    assert WEIGHTS.stat().st_size < 3_000_000


def test_the_starter_is_nearer_the_truth_than_lanczos(starter: UpscaleRunner) -> None:
    small, true = icon(96), np.asarray(icon(192))
    made, outputs = enlarged(starter, small, 2)
    lanczos = small.resize((192, 192), Image.Resampling.LANCZOS)
    assert psnr(np.asarray(made.image), true) > psnr(np.asarray(lanczos), true) + 1
    assert made.recipe["upscaler"] == "starter-upscaler"
    assert (made.recipe["passes"], made.recipe["revision"]) == (1, CARD.revision)
    steps = [o for o in outputs if isinstance(o, Progress)]
    assert [(o.step, o.steps) for o in steps] == [(1, 2)]


def test_our_generator_is_what_spandrel_reads(starter: UpscaleRunner) -> None:
    from safetensors.torch import load_file

    own = Generator()
    own.load_state_dict({name: value.float() for name, value in load_file(WEIGHTS).items()})
    image = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(own(image), starter._network(image), atol=1e-5)


def test_tiles_leave_no_seam(starter: UpscaleRunner) -> None:
    image = icon(160)  # two by two tiles
    made, outputs = enlarged(starter, image, 2)
    assert [o.step for o in outputs if isinstance(o, Progress)] == [1, 2, 3, 4]
    pixels = torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)[None]
    edge = torch.nn.functional.pad(pixels, (16,) * 4, mode="replicate")
    with torch.inference_mode():
        whole = starter._network(edge)[..., 32:-32, 32:-32].clamp(0, 1)
    array = (whole[0].permute(1, 2, 0).numpy() * 255).round().astype(int)
    assert np.abs(array - np.asarray(made.image, int)).max() <= 1


def test_what_is_no_number_is_not_delivered() -> None:
    class Broken(torch.nn.Upsample):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input) / 0.0 * 0.0

    broken = UpscaleRunner(CARD, Broken(scale_factor=2), 2, "cpu")
    with pytest.raises(BadPicture):
        enlarged(broken, icon(32), 2)


@pytest.mark.parametrize(("scale", "passes"), [(3, 2), (4, 2)])
def test_more_than_twice_is_twice_again(starter: UpscaleRunner, scale: int, passes: int) -> None:
    made, _ = enlarged(starter, icon(64), scale)
    assert made.image.size == (64 * scale, 64 * scale)
    assert made.recipe["passes"] == passes
    assert ("resized" in made.recipe) == (scale == 3)


def test_any_file_that_spandrel_knows_without_torchvision(tmp_path: Path) -> None:
    load_network(WEIGHTS)
    from safetensors.torch import save_file
    from spandrel.architectures.ESRGAN import ESRGAN

    torch.manual_seed(0)
    state = ESRGAN(num_filters=8, num_blocks=1, scale=4).state_dict()
    folder = tmp_path / "x4"
    folder.mkdir()
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "model.safetensors")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    card = ModelCard(
        name="x4", title="x4", kind=JobKind.IMAGE, purpose="enlarge", source="hub", licence="none",
        size_bytes=1, memory_bytes=1, sha256=digest,
    )  # fmt: skip
    made, _ = enlarged(load_upscaler(card, tmp_path, "cpu"), icon(64), 2)
    assert made.image.size == (128, 128)
    assert (made.recipe["upscaler"], made.recipe["resized"]) == ("x4", "lanczos")
    assert "torchvision" not in sys.modules
    changed = card.model_copy(update={"sha256": "0" * 64})
    made, _ = enlarged(load_upscaler(changed, tmp_path, "cpu"), icon(64), 2)
    assert made.recipe["upscaler"] == "lanczos", "what was not listed is not run"


def test_lanczos_is_the_named_last_resort(tmp_path: Path) -> None:
    absent = CARD.model_copy(update={"source": "hub", "name": "absent"})
    image = icon(64)
    made, outputs = enlarged(load_upscaler(absent, tmp_path, "cpu"), image, 3)
    wanted = image.resize((192, 192), Image.Resampling.LANCZOS)
    assert made.image.tobytes() == wanted.tobytes()
    assert (made.recipe["upscaler"], made.recipe["resized"]) == ("lanczos", "lanczos")
    assert len(outputs) == 1


def test_an_upscaler_draws_nothing(starter: UpscaleRunner, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable):
        starter.begin(spec(64, 2).model_copy(update={"mode": Mode.TEXT}), 0)
    junk = tmp_path / "junk.safetensors"
    from safetensors.torch import save_file

    save_file({"what.weight": torch.ones(2, 2)}, junk)
    with pytest.raises(ModelUnavailable, match="no upscaler"):
        load_network(junk)
