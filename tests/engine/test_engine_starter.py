"""The shipped picture model through the engine: as the diffusers pipeline, alone or in company."""

from __future__ import annotations

import asyncio
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from storage.registry import load_registry
from storage.schema import ImageSpec
from worker.engine.engine import Engine
from worker.engine.outputs import Picture
from worker.engine.run import Run
from worker.starter.picture import WEIGHTS, ensure_picture_model


def spec(prompt: str, seed: int, **changes: object) -> ImageSpec:
    base: dict[str, object] = {
        "model": "starter-icons", "prompt": prompt, "width": 128, "height": 128, "steps": 4,
        "guidance": 4.0, "scheduler": "ddim", "seed": seed,
    }  # fmt: skip
    return ImageSpec.model_validate({**base, **changes})


async def last(run: Run) -> Picture:
    output = [o async for o in run][-1]
    assert isinstance(output, Picture)
    return output


@pytest.mark.skipif(not (WEIGHTS / "model_index.json").is_file(), reason="no starter weights yet")
async def test_the_starter(tmp_path: Path) -> None:
    engine = Engine(load_registry(), tmp_path)
    await engine.start()
    await engine.warm(["starter-icons"])
    mine = spec("a red apple", 7)
    alone = await last(engine.submit("alone", mine))
    others = [spec("blue car", 1, scheduler="euler_a"), spec("a cat", 2, guidance=0.0, steps=3)]
    near, car, cat = await asyncio.gather(
        *(last(engine.submit("near", s)) for s in (mine, *others))
    )
    assert near.sha256 == alone.sha256
    assert len({near.sha256, car.sha256, cat.sha256}) == 3
    odd = await last(engine.submit("odd", spec("house", 3, width=72, height=104, steps=1)))
    assert odd.image.size == (72, 104)
    await engine.stop()

    folder = ensure_picture_model(tmp_path / "starter-icons")
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    stock = pipe(
        mine.prompt, width=128, height=128, num_inference_steps=4, guidance_scale=4.0,
        generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]  # fmt: skip
    difference = np.abs(np.asarray(stock, dtype=int) - np.asarray(alone.image))
    assert difference.max() <= 1
