"""Pictures that start from a picture: image to image, inpaint, outpaint, as diffusers has them.

The arithmetic and the order of random draws are those of ``StableDiffusionImg2ImgPipeline`` and
``StableDiffusionInpaintPipeline`` (0.42; the SDXL and Z-Image kin draw in the same order), so a
lone picture equals theirs bit for bit in fp32 on a CPU. None of it touches the network, so these
pictures share passes with every other of their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from storage.errors import BadInput
from storage.schema import ImageSpec, Mode
from worker.engine.runners import pixels
from worker.engine.runners.base import Pictures
from worker.engine.runners.families.base import Family
from worker.engine.runners.families.unet import UNetFamily
from worker.engine.runners.modes.canvas import (
    Canvas,
    canvas_of,
    laid_over,
    mask_tensor,
    to_tensor,
)
from worker.engine.runners.work import Hook, ImageWork, Row


def channels(family: Family) -> int:
    """Input channels of a UNet: 4 of latents, and 5 more in an inpainting one; 0 if it is none."""
    if not isinstance(family, UNetFamily):
        return 0
    return int(family.pipe.unet.config.in_channels)


def cut(family: Family, work: ImageWork) -> None:
    """Leaves out the first steps: ``strength`` of them remain, at least one.

    As ``get_timesteps`` of the family's own pipelines; transformers round the other way there.
    """
    steps, strength = work.spec.steps, work.spec.strength
    if isinstance(family, UNetFamily):
        skipped = steps - min(int(steps * strength), steps)
    else:
        skipped = int(max(steps - min(steps * strength, steps), 0))
    skipped = min(skipped, steps - 1)
    order = int(getattr(work.sampler, "order", 1))
    work.timesteps = work.timesteps[skipped * order :]
    if hasattr(work.sampler, "set_begin_index"):
        work.sampler.set_begin_index(skipped * order)


def noised(sampler: Any, latents: Tensor, noise: Tensor, moment: Tensor) -> Tensor:
    """Clean latents with as much noise as they have at a moment (``[1]``)."""
    add = getattr(sampler, "add_noise", None)
    mixed: Tensor = (
        add(latents, noise, moment)
        if add is not None
        else sampler.scale_noise(latents, moment, noise)
    )
    return mixed


class StartHook(Hook):
    """Image to image: the start picture, noised as far as ``strength`` says, denoised anew."""

    def __init__(self, spec: ImageSpec, pictures: Pictures) -> None:
        self._spec = spec
        self._pictures = pictures
        self._canvas: Canvas | None = None

    def _ready(self, work: ImageWork) -> Canvas:
        if self._canvas is None:
            self._canvas = canvas_of(self._spec, self._pictures, work.width, work.height)
            work.recipe["start_sha256"] = pixels.digest(self._canvas.image)
            if self._canvas.mask is not None:
                work.recipe["mask_sha256"] = pixels.digest(self._canvas.mask)
        return self._canvas

    def start(self, family: Family, work: ImageWork) -> Tensor | None:
        """The start picture's latents with noise."""
        canvas = self._ready(work)
        cut(family, work)
        latents = family.encode_picture(to_tensor(canvas.image), work.generator)
        noise = family.noise(work.width, work.height, work.generator)
        return noised(work.sampler, latents, noise, work.timesteps[:1])


class InpaintHook(StartHook):
    """Inpaint and outpaint: what the mask keeps is put back after every step, noised alike.

    With an inpainting UNet (nine channels) the mask and what it keeps are inputs instead. At the
    end the kept pixels are the start picture's own.
    """

    def __init__(self, spec: ImageSpec, pictures: Pictures) -> None:
        super().__init__(spec, pictures)
        self._mask = torch.empty(0)
        self._kept = torch.empty(0)
        self._noise = torch.empty(0)
        self._more: Tensor | None = None

    def start(self, family: Family, work: ImageWork) -> Tensor | None:
        """Noise, or the noised start picture; what is kept is remembered."""
        canvas = self._ready(work)
        if canvas.mask is None:
            raise ValueError("an inpaint without a mask")
        cut(family, work)
        if not isinstance(family, UNetFamily):
            self._kept = family.encode_picture(to_tensor(canvas.image), work.generator)
            self._noise = family.noise(work.width, work.height, work.generator)
            self._mask = family.mask_cells(mask_tensor(canvas.mask))
            return noised(work.sampler, self._kept, self._noise, work.timesteps[:1])
        nine = channels(family) == 9
        image, whole = to_tensor(canvas.image), self._spec.strength == 1.0
        if not nine or not whole:
            # In the pipeline's order of strides, on which the next convolution's rounding depends.
            self._kept = family.encode_picture(image, work.generator).contiguous()
        self._noise = family.noise(work.width, work.height, work.generator)
        mask = mask_tensor(canvas.mask)
        # Drawn in every case, since the pipeline does and later draws follow it.
        hidden = family.encode_picture(image * (mask < 0.5), work.generator)
        self._mask = family.mask_cells(mask)
        if nine:
            self._more = torch.cat([self._mask, hidden], dim=1)
        if whole:
            return self._noise * float(work.sampler.init_noise_sigma)
        return noised(work.sampler, self._kept, self._noise, work.timesteps[:1])

    def rows(self, family: Family, work: ImageWork, rows: Sequence[Row]) -> Sequence[Row]:
        """An inpainting UNet's five further channels."""
        return rows if self._more is None else widened(rows, self._more)

    def after_step(self, family: Family, work: ImageWork) -> None:
        """Puts back what the mask keeps, with the noise of the step to come."""
        if self._more is not None:
            return
        kept = self._kept
        if work.step < work.steps:
            moment = torch.tensor([work.timesteps[work.step]])
            kept = noised(work.sampler, kept, self._noise, moment)
        work.latents = (1 - self._mask) * kept + self._mask * work.latents

    def finish(self, family: Family, work: ImageWork, image: Image.Image) -> Image.Image:
        """What was drawn over the start picture's own pixels."""
        canvas = self._ready(work)
        size = self._spec.width, self._spec.height
        own = Canvas(
            pixels.crop_centre(canvas.image, *size),
            None if canvas.mask is None else pixels.crop_centre(canvas.mask, *size),
        )
        return laid_over(image, own)


class EverywhereHook(Hook):
    """An inpainting UNet asked for a whole picture: the mask is white, nothing is kept."""

    def __init__(self) -> None:
        self._more: Tensor | None = None

    def rows(self, family: Family, work: ImageWork, rows: Sequence[Row]) -> Sequence[Row]:
        """Mask and hidden picture, encoded once; no draw touches the picture's generator."""
        if self._more is None:
            blank = torch.zeros(1, 3, work.height, work.width)
            hidden = family.encode_picture(blank, torch.Generator("cpu").manual_seed(0))
            mask = torch.ones(1, 1, *hidden.shape[-2:], device=hidden.device)
            self._more = torch.cat([mask, hidden], dim=1)
        return widened(rows, self._more)


def widened(rows: Sequence[Row], more: Tensor) -> list[Row]:
    """Rows with further channels behind their latents."""
    return [replace(row, sample=torch.cat([row.sample, more], dim=1)) for row in rows]


def start_hooks(spec: ImageSpec, family: Family, pictures: Pictures) -> list[Hook]:
    """The hooks that decide where a picture begins."""
    hooks: list[Hook] = []
    if spec.mode in (Mode.INPAINT, Mode.OUTPAINT):
        return [InpaintHook(spec, pictures)]
    if spec.mode is Mode.IMAGE:
        hooks.append(StartHook(spec, pictures))
    elif spec.mode is not Mode.TEXT:
        raise BadInput("mode_unfit", model=spec.model)
    if channels(family) == 9:
        hooks.append(EverywhereHook())
    return hooks
