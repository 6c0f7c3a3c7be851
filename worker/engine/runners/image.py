"""Pictures by steps: requests of one latent shape share the denoiser, each keeps its own state.

The loop of ``diffusers.StableDiffusionPipeline.__call__`` (0.42), turned inside out: what the
pipeline holds in local variables lives in an :class:`ImageWork`, so that requests with other
prompts, seeds, guidance, samplers and step counts share one forward pass, join and leave between
steps. A lone request computes exactly what the pipeline would (``tests/engine/test_parity.py``).
"""

from __future__ import annotations

import inspect
import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch
from torch import Tensor

from storage.registry import ModelCard, Registry
from storage.schema import ImageSpec, JobKind
from worker.engine.exact import make_exact, shared_rows
from worker.engine.outputs import Picture, Progress
from worker.engine.runners import pixels
from worker.engine.runners.base import Stepped, weigh
from worker.engine.samplers import sampler

PREVIEWS = 5
"""About how many previews a picture gets over its steps."""

_EMBEDDINGS = 64
"""Prompts whose encoding is kept; a job of four pictures encodes its prompt once."""

_serial = itertools.count()


@dataclass
class ImageWork:
    """One picture in the making. Latents are fp32 ``[1, C, h, w]`` on the model's device."""

    spec: ImageSpec
    index: int
    seed: int
    key: str
    recipe: dict[str, Any]
    sampler: Any
    timesteps: Tensor
    generator: torch.Generator
    latents: Tensor
    texts: Tensor
    """``[rows, tokens, width]``: the prompt, or the negative and the prompt under guidance."""
    condition: Tensor | None = None
    """Guidance as an embedding ``[rows, n]``, for models distilled that way (LCM)."""
    extra: dict[str, Any] = field(default_factory=dict)
    step: int = 0

    @property
    def steps(self) -> int:
        """Denoising steps in all."""
        return len(self.timesteps)

    @property
    def weight(self) -> int:
        """Rows of a shared pass: 2 under classifier-free guidance, else 1."""
        return len(self.texts)


class ImageRunner:
    """Steps pictures of one Stable Diffusion pipeline; see :class:`worker.engine.runners.base`."""

    kind = JobKind.IMAGE
    shares = True

    def __init__(self, card: ModelCard, registry: Registry, pipe: Any, device: str) -> None:
        self.card = card
        self.registry = registry
        self.pipe = pipe
        self.device = device
        self.dtype: torch.dtype = pipe.unet.dtype
        self.factor = int(pipe.vae_scale_factor)
        self.exact = device == "cpu" and self.dtype == torch.float32
        if self.exact:
            make_exact(pipe.unet)
        self.size = weigh(pipe.unet, pipe.vae, pipe.text_encoder)
        self._preview = pixels.previewer(pipe.vae, self._decode)
        self._embeddings: OrderedDict[str, Tensor] = OrderedDict()
        self._shareable: dict[tuple[int, ...], bool] = {}

    # ---- begin -----------------------------------------------------------------------------

    def begin(self, spec: ImageSpec, index: int) -> ImageWork:
        """Picture ``index`` of a spec, before its first step.

        Raises ``BadInput('scheduler_unknown')`` and ``NotFound('style_unknown')``.
        """
        prompt, negative = self._texts(spec)
        scheduler = self._sampler(spec)
        scheduler.set_timesteps(spec.steps, device=self.device)
        generator = torch.Generator("cpu").manual_seed(spec.seed_of(index))
        rows, columns = pixels.grid(spec.height, self.factor), pixels.grid(spec.width, self.factor)
        shape = (1, int(self.pipe.unet.config.in_channels), rows, columns)
        noise = torch.randn(shape, generator=generator).to(self.device)
        texts = self._embed(prompt)
        condition = None
        if (width := self.pipe.unet.config.time_cond_proj_dim) is not None:
            scale = torch.tensor([spec.guidance - 1])
            condition = self.pipe.get_guidance_scale_embedding(scale, embedding_dim=width)
            condition = condition.to(self.device, self.dtype)
        elif spec.guidance > 1:
            texts = torch.cat([self._embed(negative), texts])
        takes = inspect.signature(scheduler.step).parameters
        return ImageWork(
            spec=spec,
            index=index,
            seed=spec.seed_of(index),
            key=f"image:{spec.model}:{rows}x{columns}",
            recipe=self._recipe(spec, index, prompt, negative),
            sampler=scheduler,
            timesteps=scheduler.timesteps,
            generator=generator,
            latents=noise * scheduler.init_noise_sigma,
            texts=texts,
            condition=condition,
            extra={"generator": generator} if "generator" in takes else {},
        )

    def _texts(self, spec: ImageSpec) -> tuple[str, str]:
        """Prompt and negative as the model reads them, the style applied."""
        if not spec.style:
            return spec.prompt, spec.negative
        style = self.registry.style(spec.style)
        negatives = [text for text in (spec.negative, style.negative) if text]
        return style.apply(spec.prompt), ", ".join(negatives)

    def _sampler(self, spec: ImageSpec) -> Any:
        """A scheduler object of this request's own, set up as the checkpoint asks."""
        chosen = sampler(spec.scheduler)
        settings: dict[str, Any] = dict(chosen.settings)
        config = self.pipe.scheduler.config
        if chosen.cls == "LCMScheduler":
            # It refuses more steps than the distillation had; more is slow, not wrong.
            settings["original_inference_steps"] = max(
                spec.steps, int(config.get("original_inference_steps") or 50)
            )
        return getattr(diffusers, chosen.cls).from_config(config, **settings)

    def _embed(self, text: str) -> Tensor:
        """``[1, tokens, width]`` for a text, encoded alone so that no neighbour changes it."""
        found = self._embeddings.pop(text, None)
        if found is None:
            found = self.pipe.encode_prompt(text, self.device, 1, False)[0]
        self._embeddings[text] = found
        if len(self._embeddings) > _EMBEDDINGS:
            self._embeddings.popitem(last=False)
        return found

    def _recipe(self, spec: ImageSpec, index: int, prompt: str, negative: str) -> dict[str, Any]:
        """Everything needed to make the picture again; the pixels' hash is added at the end."""
        return {
            "kind": str(spec.kind),
            "model": spec.model,
            "revision": self.card.revision,
            "prompt": spec.prompt,
            "negative": spec.negative,
            "style": spec.style,
            "model_prompt": prompt,
            "model_negative": negative,
            "width": spec.width,
            "height": spec.height,
            "steps": spec.steps,
            "guidance": spec.guidance,
            "scheduler": spec.scheduler,
            "seed": spec.seed_of(index),
            "grade": "exact" if self.exact else "replay",
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": torch.cuda.get_device_name() if self.device == "cuda" else self.device,
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
        }

    # ---- step ------------------------------------------------------------------------------

    def forward(self, works: Sequence[ImageWork]) -> list[Tensor]:
        """The denoiser for all works at once: each gets its ``[rows, C, h, w]``.

        A work past its last step has a key of its own and gets its decoded picture instead.
        """
        if works[0].step == works[0].steps:
            return [self._decode(work.latents) for work in works]
        samples: list[Tensor] = []
        times: list[Tensor] = []
        for work in works:
            moment = work.timesteps[work.step]
            scaled = work.sampler.scale_model_input(work.latents, moment)
            samples += [scaled] * work.weight
            times += [moment.float()] * work.weight
        sample, time = torch.cat(samples).to(self.dtype), torch.stack(times)
        texts = torch.cat([work.texts for work in works])
        conditions = [work.condition for work in works if work.condition is not None]
        condition = torch.cat(conditions) if conditions else None

        def run(rows: Sequence[int]) -> Tensor:
            pick = list(rows)
            out: Tensor = self.pipe.unet(
                sample[pick],
                time[pick],
                encoder_hidden_states=texts[pick],
                timestep_cond=None if condition is None else condition[pick],
                return_dict=False,
            )[0]
            return out.float()

        out: Any = self._share(run, sample)
        return list(out.split([work.weight for work in works]))

    def _share(self, run: Any, sample: Tensor) -> Tensor:
        """All rows of a pass, sharing it wherever that is known not to change a bit.

        The first pass of each shape and number of rows is run both ways and compared, because
        kernels differ between machines: exactness is checked here, not assumed.
        """
        rows, shape = len(sample), tuple(sample.shape)
        if not self.exact or rows == 1:
            return torch.as_tensor(run(range(rows)))
        known = self._shareable.get(shape)
        if known is None:
            result, self._shareable[shape] = shared_rows(run, rows)
            return result
        if known:
            return torch.as_tensor(run(range(rows)))
        return torch.cat([run([row]) for row in range(rows)])

    def _decode(self, latents: Tensor) -> Tensor:
        """Scaled latents ``[N, C, h, w]`` to pixels ``[N, 3, H, W]`` in about -1..1."""
        vae = self.pipe.vae
        scaled = latents.to(self.device, self.dtype) / vae.config.scaling_factor
        decoded: Tensor = vae.decode(scaled, return_dict=False)[0]
        return decoded

    def advance(self, work: ImageWork, result: Tensor) -> Stepped:
        """Guidance and the sampler's step for one work, or its finished picture.

        Raises :class:`worker.engine.errors.BadPicture` for a picture not worth delivering.
        """
        if work.step == work.steps:
            return Stepped([self._finish(work, result)], done=True)
        noise = result
        if len(result) == 2:
            # Classifier-free guidance, Ho & Salimans 2022 (arXiv 2207.12598), as diffusers has it.
            noise = result[:1] + work.spec.guidance * (result[1:] - result[:1])
        moment = work.timesteps[work.step]
        out = work.sampler.step(noise, moment, work.latents, **work.extra)
        work.latents = out.prev_sample
        work.step += 1
        if work.step == work.steps:
            # Decoding is a turn of its own: others step in between, and Cancel still takes effect.
            work.key = f"decode:{next(_serial)}"
        # The sampler's guess of the clean picture, where it gives one, shows far more than noise.
        guess = getattr(out, "pred_original_sample", None)
        return Stepped([self._progress(work, work.latents if guess is None else guess)])

    def _progress(self, work: ImageWork, guess: Tensor) -> Progress:
        every = max(1, -(-work.steps // PREVIEWS))
        due = work.step % every == 0 and work.step < work.steps
        preview = self._preview(guess) if due else None
        return Progress(work.index, work.step, work.steps, preview)

    def _finish(self, work: ImageWork, decoded: Tensor) -> Picture:
        image = pixels.finished(decoded)
        image = pixels.crop_centre(image, work.spec.width, work.spec.height)
        sha256 = pixels.digest(image)
        return Picture(work.index, image, work.seed, {**work.recipe, "sha256": sha256}, sha256)

    def warm(self) -> None:
        """One guided step and a decode at the card's own size."""
        card = self.card
        spec = ImageSpec(
            model=card.name, prompt="warm", width=card.width, height=card.height, steps=1,
            guidance=card.guidance, scheduler=card.scheduler, seed=0,
        )  # fmt: skip
        work = self.begin(spec, 0)
        self.advance(work, self.forward([work])[0])
        self.forward([work])
