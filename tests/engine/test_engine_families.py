"""Every family computes what its diffusers pipeline does: bit for bit, whatever the sampler."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from storage.errors import BadInput
from storage.schema import ImageSpec
from tests.engine.alone import Made, alone, runner, spec
from worker.bench.tiny import KINDS, pipeline
from worker.engine.outputs import Progress
from worker.engine.runners.families import FAMILIES, family_of
from worker.engine.runners.families.flow import FlowFamily
from worker.engine.samplers import SAMPLERS


def pairs() -> list[tuple[str, str]]:
    """Every tiny model with every sampler that its family can use."""
    found = []
    for kind in KINDS:
        family = family_of(type(pipeline(kind)).__name__)
        assert family is not None
        found += [(kind, name) for name in sorted(family.samplers)]
    return found


def through_pipeline(pipe: Any, one: ImageSpec, **more: Any) -> tuple[Any, torch.Tensor]:
    """What diffusers makes of a spec: the picture and the last latents."""
    pipe = type(pipe)(**pipe.components, **fixed(pipe))
    pipe.set_progress_bar_config(disable=True)
    chosen = SAMPLERS[one.scheduler]
    settings = dict(chosen.settings)
    if isinstance(pipe, diffusers.Flux2KleinPipeline | diffusers.ZImagePipeline) and (
        chosen.cls and "Flow" not in chosen.cls
    ):
        settings |= {
            "prediction_type": "flow_prediction",
            "use_flow_sigmas": True,
            "use_dynamic_shifting": pipe.scheduler.config.use_dynamic_shifting,
            "flow_shift": pipe.scheduler.config.shift,
        }
    kind = getattr(diffusers, chosen.cls) if chosen.cls else type(pipe.scheduler)
    pipe.scheduler = kind.from_config(pipe.scheduler.config, **settings)
    last: dict[str, torch.Tensor] = {}

    def keep(_: Any, step: int, time: Any, values: dict[str, torch.Tensor]) -> dict[str, Any]:
        last.update(latents=values["latents"].clone())
        return {}

    if not isinstance(pipe, diffusers.Flux2KleinPipeline):
        more["negative_prompt"] = one.negative or None
    if isinstance(pipe, diffusers.ZImagePipeline) and one.scheduler == "unipc":
        # The pipeline's own list of the same numbers is one that UniPC cannot multiply.
        more["sigmas"] = np.array(torch.linspace(1.0, 1 / one.steps, one.steps).tolist())
    image = pipe(
        prompt=one.prompt,
        width=one.width,
        height=one.height,
        num_inference_steps=one.steps,
        guidance_scale=one.guidance,
        generator=torch.Generator("cpu").manual_seed(one.seed),
        callback_on_step_end=keep,
        **more,
    ).images[0]
    return image, last["latents"]


def fixed(pipe: Any) -> dict[str, Any]:
    """Constructor arguments that are no components."""
    if isinstance(pipe, diffusers.StableDiffusionPipeline):
        return {"requires_safety_checker": False}
    if isinstance(pipe, diffusers.StableDiffusionXLPipeline):
        return {"add_watermarker": False}
    if isinstance(pipe, diffusers.Flux2KleinPipeline):
        return {"is_distilled": pipe.config.is_distilled}
    return {}


def assert_equal(made: Made, expected: tuple[Any, torch.Tensor]) -> None:
    image, latents = expected
    assert torch.equal(made.latents, latents)
    assert np.array_equal(made.picture.image, image)


@pytest.mark.parametrize(("kind", "scheduler"), pairs())
def test_bit_identical_to_the_pipeline(kind: str, scheduler: str) -> None:
    here = runner(kind)
    for guidance in (0.0, 3.0):
        one = spec(scheduler=scheduler, guidance=guidance)
        assert_equal(alone(here, one), through_pipeline(here.family.pipe, one))


@pytest.mark.parametrize("kind", list(KINDS))
def test_other_sizes_steps_and_negatives_too(kind: str) -> None:
    here = runner(kind)
    one = spec(width=96, height=64, steps=5, negative="blurry", seed=2**40, prompt="grüße 世界")
    if isinstance(here.family.pipe, diffusers.Flux2KleinPipeline):
        with torch.inference_mode():
            embeds = here.family.encode("blurry")["texts"]
        expected = through_pipeline(here.family.pipe, one, negative_prompt_embeds=embeds)
    else:
        expected = through_pipeline(here.family.pipe, one)
    assert_equal(alone(here, one), expected)


@pytest.mark.parametrize("kind", list(KINDS))
def test_stock_layers_round_within_one_level(kind: str) -> None:
    """Layers made exact take other kernels than stock ones (PERFORMANCE.md 1.1)."""
    one = spec(guidance=0.0)
    stock = np.asarray(through_pipeline(pipeline(kind), one)[0], dtype=int)
    assert np.abs(stock - np.asarray(alone(runner(kind), one).picture.image)).max() <= 1


def test_a_consistency_pipeline_is_a_stable_diffusion_with_an_embedding() -> None:
    here = runner("sd-lcm")
    parts = {k: v for k, v in here.family.pipe.components.items() if k != "image_encoder"}
    pipe = diffusers.LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    one = spec(guidance=4.0)
    image = pipe(
        one.prompt, width=64, height=64, num_inference_steps=3, guidance_scale=4.0,
        generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]  # fmt: skip
    assert np.array_equal(alone(here, one).picture.image, image)


def test_the_kind_of_prediction_reaches_every_sampler() -> None:
    """The same weights read as noise and as v draw different pictures with each sampler."""
    here, other = runner("sd15"), runner("sd21-v")
    for a, b in zip(
        here.family.denoiser.parameters(), other.family.denoiser.parameters(), strict=True
    ):
        assert torch.equal(a, b)
    for name in sorted(here.family.samplers):
        one = spec(scheduler=name)
        if name != "own":
            assert other.family.sampler(name, 3).config.prediction_type == "v_prediction"
        assert not torch.equal(alone(here, one).latents, alone(other, one).latents)


@pytest.mark.parametrize("kind", ["klein", "z-image"])
def test_a_sampler_of_the_other_kind_is_refused(kind: str) -> None:
    family = runner(kind).family
    unfit = set(SAMPLERS) - family.samplers
    assert {"ddim", "euler", "euler_a", "lcm"} <= unfit
    for name in sorted(unfit):
        with pytest.raises(BadInput) as caught:
            family.sampler(name, 4)
        assert caught.value.code == "scheduler_unfit"
        assert "flow" in str(caught.value.params["known"])
    with pytest.raises(BadInput):
        runner("sdxl").family.sampler("flow", 4)


def test_each_pipeline_has_one_family() -> None:
    names = [name for family in FAMILIES for name in family.pipelines]
    assert len(names) == len(set(names))
    assert family_of("StableVideoDiffusionPipeline") is None


@pytest.mark.parametrize("kind", list(KINDS))
def test_words_numbers_and_guidance_matter(kind: str) -> None:
    here = runner(kind)
    varied = [spec(), spec(prompt="a blue car"), spec(seed=8), spec(steps=4), spec(width=80)]
    if kind != "klein-distilled":
        varied.append(spec(guidance=6.0))
    assert len({alone(here, one).picture.sha256 for one in varied}) == len(varied)


@pytest.mark.parametrize("kind", list(KINDS))
def test_sizes_between_cells_are_cut_and_previews_are_made(kind: str) -> None:
    made = alone(runner(kind), spec(width=72, height=88, steps=5))
    assert made.picture.image.size == (72, 88)
    previews = [o.preview for o in made.outputs if isinstance(o, Progress) and o.preview]
    assert len(previews) == 4
    assert all(max(p.size) == 128 for p in previews)


@pytest.mark.parametrize("kind", ["klein", "z-image"])
def test_a_flow_is_guessed_to_its_end(kind: str) -> None:
    """With the true velocity, ``x - sigma * v`` is the clean picture at any step."""
    here = runner(kind)
    assert isinstance(here.family, FlowFamily)
    with torch.inference_mode():
        work = here.begin(spec(steps=4), 0)
        clean = torch.randn(work.latents.shape, generator=torch.Generator().manual_seed(1))
        noise = work.latents
        for _ in range(3):
            velocity = noise - clean
            out = work.sampler.step(velocity, work.moment, work.latents)
            guess = here.family.guess(work, velocity, out)
            assert torch.allclose(guess, clean, atol=1e-4)
            work.latents, work.step = out.prev_sample, work.step + 1


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "klein", "z-image"])
def test_pictures_go_to_latents_and_back(kind: str) -> None:
    """Encoding gives latents of the shape and scale that are stepped and decoded."""
    family = runner(kind).family
    pixels = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(2)) * 2 - 1
    with torch.inference_mode():
        latents = family.encode_picture(pixels, torch.Generator().manual_seed(3))
        again = family.encode_picture(pixels, torch.Generator().manual_seed(3))
        like = family.noise(96, 64, torch.Generator().manual_seed(4))
        assert latents.shape == like.shape and latents.dtype == torch.float32
        assert torch.equal(latents, again)
        cells = family.cells(latents, 96, 64)
        assert family.decode_cells(cells).shape == (1, 3, 64, 96)
        # Undo the decoder's first lines: what is left is what the autoencoder gave.
        vae = family.pipe.vae
        if kind == "klein":
            mean, deviation = family._statistics(cells)
            raw = family.pipe._unpatchify_latents(cells * deviation + mean)
            plain = vae.encode(pixels).latent_dist.mode()
        else:
            raw = cells / vae.config.scaling_factor + (getattr(vae.config, "shift_factor", 0) or 0)
            plain = vae.encode(pixels).latent_dist.sample(torch.Generator().manual_seed(3))
        assert torch.allclose(raw, plain, atol=1e-5)
