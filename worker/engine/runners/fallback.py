"""Pictures of pipelines that nobody has taken apart: their own ``__call__``, paused at each step.

Slower in company than a stepped family (nothing is shared) but as fair: after every step the
engine has the thread back, for answers, other pictures and Cancel.
"""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from storage.errors import BadInput
from storage.registry import ModelCard, Registry
from storage.schema import Grade, ImageSpec, JobKind, Mode
from worker.engine.errors import ModelUnavailable
from worker.engine.outputs import Picture, Progress
from worker.engine.receipt import receipt
from worker.engine.runners import pixels
from worker.engine.runners.base import NO_PICTURES, Pictures, Stepped, weigh
from worker.engine.runners.image import PREVIEWS, styled
from worker.engine.runners.pausing import Pausing
from worker.engine.samplers import SAMPLERS, sampler

CELL = 32
"""Sides are rounded up to this many pixels, which every pipeline of diffusers 0.42 divides."""

_serial = itertools.count()


@dataclass(frozen=True)
class _Step:
    """What the pipeline's callback told: ``made`` of ``steps``, and latents where it shows them."""

    made: int
    steps: int
    latents: Tensor | None


@dataclass(eq=False)
class FallbackWork:
    """One picture inside its pipeline's loop."""

    spec: ImageSpec
    index: int
    seed: int
    width: int
    height: int
    key: str
    recipe: dict[str, Any]
    call: Pausing
    texts: tuple[str, str]
    """Prompt and negative as the model reads them."""
    weight: int = 1
    made: int = 0

    @property
    def left(self) -> int:
        """Denoising steps still to come, as far as known before the first."""
        return max(0, self.spec.steps - self.made)


class FallbackRunner:
    """Runs one text-to-image pipeline of any class; see :class:`worker.engine.runners.base`.

    Raises ``ModelUnavailable`` for a pipeline without a callback after each step.
    """

    kind = JobKind.IMAGE
    shares = False

    def __init__(self, card: ModelCard, registry: Registry, pipe: Any, device: str) -> None:
        self.card = card
        self.registry = registry
        self.pipe = pipe
        self.device = device
        parts = pipe.components
        self.denoiser: Any = parts.get("transformer") or parts.get("unet") or parts.get("prior")
        self._takes = set(inspect.signature(pipe.__call__).parameters)
        if self.denoiser is None or not self._takes & {"callback_on_step_end", "callback"}:
            raise ModelUnavailable(
                f"model {card.name!r} is a {type(pipe).__name__}, which cannot be paused",
                "choose a text-to-image pipeline with callback_on_step_end",
            )
        self.dtype: torch.dtype = self.denoiser.dtype
        self.size = weigh(*(m for m in parts.values() if isinstance(m, torch.nn.Module)))
        pipe.set_progress_bar_config(disable=True)
        self._preview = self._previewer()

    # ---- begin -----------------------------------------------------------------------------

    def begin(self, spec: ImageSpec, index: int, pictures: Pictures = NO_PICTURES) -> FallbackWork:
        """Picture ``index`` of a spec, before its first step.

        Raises ``BadInput('scheduler_unfit')`` for a sampler other than the checkpoint's own, and
        ``BadInput('mode_unfit')`` for anything but text to image.
        """
        if spec.mode is not Mode.TEXT or spec.sources or spec.adapters:
            raise BadInput("mode_unfit", model=self.card.title)
        self._check_sampler(spec.scheduler)
        prompt, negative = styled(self.registry, spec)
        width, height = (pixels.grid(side, CELL) * CELL for side in (spec.width, spec.height))
        return FallbackWork(
            spec=spec,
            index=index,
            seed=spec.seed_of(index),
            width=width,
            height=height,
            key=f"call:{next(_serial)}",
            recipe=receipt(self.card, spec, index, Grade.STRICT, self, prompt, negative)
            | {"pipeline": type(self.pipe).__name__},
            call=self._call(spec, index, prompt, negative),
            texts=(prompt, negative),
        )

    def _call(self, spec: ImageSpec, index: int, prompt: str, negative: str) -> Pausing:
        """The pipeline's call for one picture, not yet begun."""
        # A copy of its own, since a pipeline keeps scheduler, guidance and progress in itself.
        pipe = copy.copy(self.pipe)
        pipe.scheduler = type(self.pipe.scheduler).from_config(self.pipe.scheduler.config)
        options = self._options(spec, prompt, negative) | {
            "width": pixels.grid(spec.width, CELL) * CELL,
            "height": pixels.grid(spec.height, CELL) * CELL,
            "generator": torch.Generator("cpu").manual_seed(spec.seed_of(index)),
        }
        return Pausing(lambda pause: self._run(pipe, options, pause))

    def _check_sampler(self, name: str) -> None:
        mine = type(self.pipe.scheduler).__name__
        known = [n for n, s in SAMPLERS.items() if not s.cls or (s.cls == mine and not s.settings)]
        sampler(name)
        if name not in known:
            raise BadInput("scheduler_unfit", scheduler=name, known=", ".join(sorted(known)))

    def _options(self, spec: ImageSpec, prompt: str, negative: str) -> dict[str, Any]:
        """Keyword arguments that say what to draw, as far as this pipeline takes them."""
        embeds = bool(self.denoiser.config.get("guidance_embeds"))
        options: dict[str, Any] = {
            "prompt": prompt,
            "num_inference_steps": spec.steps,
            "guidance_scale": spec.guidance,
            "use_resolution_binning": False,  # the size asked for, not the nearest trained one
            "output_type": "np",
        }
        if negative:  # else each pipeline has its own idea of none: None, "" or zeros
            options["negative_prompt"] = negative
        if "true_cfg_scale" in self._takes and not embeds:
            # Qwen-Image and FLUX.1 call real guidance so, and want a negative prompt for it.
            del options["guidance_scale"]
            if spec.guidance > 1:
                options |= {"true_cfg_scale": spec.guidance, "negative_prompt": negative or " "}
        return {name: value for name, value in options.items() if name in self._takes}

    # ---- step ------------------------------------------------------------------------------

    def _run(self, pipe: Any, options: dict[str, Any], pause: Callable[[Any], None]) -> Any:
        """On the call's own thread: the pipeline from end to end, pausing after each step."""
        made = 0

        def tell(latents: Tensor | None) -> None:
            nonlocal made
            made += 1
            pause(_Step(made, max(made, len(pipe.scheduler.timesteps)), latents))

        def after(_: Any, step: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
            tell(values.get("latents"))
            return {}

        def old(step: int, time: Any, latents: Tensor) -> None:
            tell(latents)

        if "callback_on_step_end" in self._takes:
            options = {**options, "callback_on_step_end": after}
        else:
            options = {**options, "callback": old, "callback_steps": 1}
        return pipe(**options)

    def forward(self, works: Sequence[FallbackWork]) -> list[Any]:
        """One more step of the one work, or after the last its decoded picture.

        Unlike a stepped family's pass it moves the work on. Tried again after a fault (a shortage
        of memory) it begins anew, which the seed makes the same picture.
        """
        for work in works:
            if work.call.ended:
                work.call = self._call(work.spec, work.index, *work.texts)
        return [work.call.resume() for work in works]

    def advance(self, work: FallbackWork, result: Any) -> Stepped:
        """The step's progress, or the finished picture. Raises ``BadPicture`` for a bad one."""
        if isinstance(result, _Step):
            work.made = result.made
            return Stepped([self._progress(work, result)])
        image = pixels.finished_unit(result.images[0])
        image = pixels.crop_centre(image, work.spec.width, work.spec.height)
        sha256 = pixels.digest(image)
        recipe = {**work.recipe, "sha256": sha256}
        return Stepped([Picture(work.index, image, work.seed, recipe, sha256)], done=True)

    def drop(self, work: FallbackWork) -> None:
        """Ends the pipeline's call where it stands."""
        work.call.close()

    def move(self, device: str) -> None:
        """To RAM and back, between pictures."""
        self.pipe.to(device)

    def warm(self) -> None:
        """One step and a decode at the card's own size."""
        card = self.card
        spec = ImageSpec(
            model=card.name, prompt="warm", width=card.width, height=card.height, steps=1,
            guidance=card.guidance, scheduler="own", seed=0,
        )  # fmt: skip
        work = self.begin(spec, 0)
        while not work.call.ended:
            self.forward([work])
        self.drop(work)

    # ---- previews --------------------------------------------------------------------------

    def _previewer(self) -> Callable[[Tensor], Image.Image] | None:
        """For autoencoders of flat pictures; None for the others (video autoencoders)."""
        vae = self.pipe.components.get("vae")
        config = getattr(vae, "config", {})
        if vae is None or not {"scaling_factor", "latent_channels"} <= set(config):
            return None
        shift = config.get("shift_factor") or 0.0

        def decode(cells: Tensor) -> Tensor:
            scaled = cells.to(self.device, vae.dtype) / config["scaling_factor"] + shift
            decoded: Tensor = vae.decode(scaled, return_dict=False)[0]
            return decoded

        return pixels.previewer(vae, decode, int(config["latent_channels"]))

    def _progress(self, work: FallbackWork, step: _Step) -> Progress:
        every = max(1, -(-step.steps // PREVIEWS))
        due = step.made % every == 0 and step.made < step.steps
        cells = self._cells(work, step.latents) if due else None
        preview = self._preview(cells) if self._preview is not None and cells is not None else None
        return Progress(work.index, step.made, step.steps, preview)

    def _cells(self, work: FallbackWork, latents: Tensor | None) -> Tensor | None:
        """Latents as ``[1, C, h, w]``, or None where they have another form."""
        unpack = getattr(self.pipe, "_unpack_latents", None)
        if latents is not None and latents.ndim == 3 and unpack is not None:
            latents = unpack(latents, work.height, work.width, self.pipe.vae_scale_factor)
        channels = self.pipe.vae.config.get("latent_channels") if self._preview else None
        fits = latents is not None and latents.ndim == 4 and latents.shape[1] == channels
        return latents if fits else None
