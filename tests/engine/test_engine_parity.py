"""A lone request through the engine equals the diffusers pipeline and transformers' generate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from storage.schema import ChatSpec, ImageSpec, Turn
from worker.engine.engine import Engine
from worker.engine.outputs import Answer, Picture, Progress, Text
from worker.engine.runners.families.base import UNET_SAMPLERS
from worker.engine.runners.image import ImageRunner
from worker.engine.runners.text import render
from worker.engine.samplers import SAMPLERS


async def picture(engine: Engine, spec: ImageSpec) -> Picture:
    return next(o for o in [o async for o in engine.submit("j", spec)] if isinstance(o, Picture))


def through_pipeline(pipe: Any, spec: ImageSpec, width: int = 64, height: int = 64) -> Any:
    """What diffusers makes of a spec."""
    chosen = SAMPLERS[spec.scheduler]
    kind = getattr(diffusers, chosen.cls) if chosen.cls else type(pipe.scheduler)
    own = diffusers.StableDiffusionPipeline(**pipe.components, requires_safety_checker=False)
    own.set_progress_bar_config(disable=True)
    own.scheduler = kind.from_config(pipe.scheduler.config, **chosen.settings)
    return own(
        spec.prompt,
        negative_prompt=spec.negative or None,
        width=width,
        height=height,
        num_inference_steps=spec.steps,
        guidance_scale=spec.guidance,
        generator=torch.Generator("cpu").manual_seed(spec.seed),
    ).images[0]


@pytest.mark.parametrize("scheduler", sorted(UNET_SAMPLERS))
@pytest.mark.parametrize("guidance", [0.0, 5.0])
async def test_bit_identical_to_the_pipeline(
    scheduler: str,
    guidance: float,
    engine: Engine,
    image_runner: ImageRunner,
    stock_pipe: Any,
    image_spec: Callable[..., ImageSpec],
) -> None:
    spec = image_spec(scheduler=scheduler, guidance=guidance, steps=5, negative="blurry")
    made = await picture(engine, spec)
    same_layers = through_pipeline(image_runner.family.pipe, spec)
    assert np.array_equal(made.image, same_layers)
    # Stock layers round differently (PERFORMANCE.md 1.1): never more than one level of 255.
    stock = np.asarray(through_pipeline(stock_pipe, spec), dtype=int)
    assert np.abs(stock - np.asarray(made.image)).max() <= 1


async def test_sizes_between_latent_cells_are_cut_from_the_middle(
    engine: Engine, image_runner: ImageRunner, image_spec: Callable[..., ImageSpec]
) -> None:
    family = image_runner.family
    family.pipe.vae_scale_factor, before = 16, family.factor
    try:
        spec = image_spec(width=72, height=104, guidance=0.0)
        assert image_runner.begin(spec, 0).latents.shape == (1, 4, 7, 5)
    finally:
        family.pipe.vae_scale_factor = before
    made = await picture(engine, image_spec(width=72, height=104))
    assert made.image.size == (72, 104)
    assert np.array_equal(
        made.image, through_pipeline(image_runner.family.pipe, image_spec(), width=72, height=104)
    )


async def test_more_lcm_steps_than_the_distillation_had(
    engine: Engine, image_spec: Callable[..., ImageSpec]
) -> None:
    assert (await picture(engine, image_spec(scheduler="lcm", steps=60))).recipe["steps"] == 60


async def test_the_style_reaches_the_model_and_the_recipe(
    engine: Engine, image_spec: Callable[..., ImageSpec]
) -> None:
    styled = await picture(engine, image_spec(prompt="a cat", style="ink", negative="dog"))
    typed = await picture(engine, image_spec(prompt="a cat, in ink", negative="dog, colour"))
    assert styled.sha256 == typed.sha256
    assert styled.recipe["prompt"] == "a cat"
    assert styled.recipe["model_prompt"] == "a cat, in ink"
    assert styled.recipe["model_negative"] == "dog, colour"
    assert styled.recipe["grade"] == "exact"
    assert styled.recipe["sha256"] == styled.sha256


async def test_progress_counts_every_step_and_previews_some(
    engine: Engine, image_spec: Callable[..., ImageSpec]
) -> None:
    outputs = [o async for o in engine.submit("j", image_spec(steps=12))]
    steps = [o for o in outputs if isinstance(o, Progress)]
    assert [p.step for p in steps] == list(range(1, 13))
    assert {p.steps for p in steps} == {12}
    previews = [p.preview for p in steps if p.preview is not None]
    assert 2 <= len(previews) <= 5
    assert all(max(p.size) == 128 and p.mode == "RGB" for p in previews)


@pytest.mark.parametrize("question", ["hello", "grüße, 世界 🍎", "x" * 90])
async def test_greedy_answer_equals_generate(
    question: str, engine: Engine, chat_model: tuple[Any, Any], chat_spec: Callable[..., ChatSpec]
) -> None:
    model, tokenizer = chat_model
    spec = chat_spec(question, repetition_penalty=1.1)
    ids = torch.tensor([render(tokenizer, spec.turns)])
    with torch.inference_mode():
        tokens = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=spec.max_tokens,
            do_sample=False,
            repetition_penalty=1.1,
            pad_token_id=0,
        )[0, ids.shape[1] :]
    expected = tokenizer.decode(tokens, skip_special_tokens=True).rstrip("\ufffd")
    outputs = [o async for o in engine.submit("j", spec)]
    answer = outputs[-1]
    assert isinstance(answer, Answer)
    assert answer.text == expected
    assert answer.text == "".join(o.text for o in outputs if isinstance(o, Text))
    assert answer.tokens_out == len(tokens)
    assert answer.tokens_in == ids.shape[1]


async def test_a_thread_longer_than_the_context_is_answered(
    engine: Engine, chat_spec: Callable[..., ChatSpec]
) -> None:
    turns = [Turn(role="system", text="be brief")]
    for i in range(30):
        turns += [Turn(role="user", text=f"q{i}"), Turn(role="assistant", text=f"a{i}" * 10)]
    turns.append(Turn(role="user", text="the last question"))
    outputs = [o async for o in engine.submit("j", chat_spec(turns=tuple(turns)))]
    answer = outputs[-1]
    assert isinstance(answer, Answer)
    assert 100 < answer.tokens_in <= 256 - 24
