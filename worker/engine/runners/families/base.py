"""What a family of picture models must say, so that the runner can step its pictures together."""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import diffusers
import torch
from torch import Tensor
from torch.nn import functional

from storage.errors import BadInput
from storage.schema import ImageSpec
from worker.engine.exact import make_exact
from worker.engine.runners import pixels
from worker.engine.runners.work import Condition, ImageWork, Row
from worker.engine.samplers import SAMPLERS, sampler

Encode = Callable[[str], Condition]
"""A text to its condition; the runner's, which remembers."""


class Family(ABC):
    """One architecture: its pipeline taken apart into steps. One object per loaded model.

    A lone picture computes exactly what ``pipe.__call__`` would, bit for bit in fp32 on a CPU
    (``tests/engine/test_engine_families.py``). What modes may change is in
    :class:`worker.engine.runners.work.Hook`.
    """

    pipelines: ClassVar[tuple[str, ...]] = ()
    """Names in model_index.json that this family loads; the first is the class used."""
    samplers: ClassVar[frozenset[str]] = frozenset()
    """Names of :data:`worker.engine.samplers.SAMPLERS` it can use."""
    mixes_sizes: ClassVar[bool] = False
    """True when pictures of different sizes may share one pass."""
    starts_index: ClassVar[bool] = True
    """Whether its pipeline calls ``set_begin_index(0)`` on samplers that have it."""
    tile_pixels: int = 1024 * 1024
    """Pictures of more pixels are decoded by tiles."""
    load_options: ClassVar[dict[str, Any]] = {}
    """Keyword arguments of ``from_pretrained`` beyond the common ones."""

    def __init__(self, pipe: Any, device: str) -> None:
        self.pipe = pipe
        self.device = device
        self.denoiser: Any = self._denoiser()
        self.dtype: torch.dtype = self.denoiser.dtype
        self.exact = False
        self._samplers: dict[tuple[Any, ...], Any] = {}

    # ---- what the model is -------------------------------------------------------------------

    @classmethod
    def load(cls, source: str, dtype: torch.dtype, options: dict[str, Any]) -> Any:
        """The diffusers pipeline from a folder or hub name: safetensors only, no remote code."""
        kind: Any = getattr(diffusers, cls.pipelines[0])
        return kind.from_pretrained(
            source, dtype=dtype, use_safetensors=True, **cls.load_options, **options
        )

    @abstractmethod
    def _denoiser(self) -> Any:
        """The network that is stepped."""

    @property
    def factor(self) -> int:
        """Pixels a side of one latent cell; sizes are rounded up to it."""
        return int(self.pipe.vae_scale_factor)

    @property
    def preview_channels(self) -> int:
        """Channels of what :meth:`cells` returns."""
        return int(self.pipe.vae.config.latent_channels)

    def modules(self) -> list[Any]:
        """The networks whose weights count as resident."""
        named = (getattr(self.pipe, name, None) for name in self.pipe.components)
        return [m for m in named if isinstance(m, torch.nn.Module)]

    def make_exact(self) -> None:
        """From now on no neighbour changes a bit of anyone's result (fp32 on a CPU)."""
        make_exact(self.denoiser)
        self.exact = True

    # ---- before the first step ---------------------------------------------------------------

    def sampler(self, name: str, steps: int) -> Any:
        """A scheduler object of one picture's own, set up as the checkpoint asks.

        Raises ``BadInput('scheduler_unknown')`` and ``BadInput('scheduler_unfit')``.
        """
        chosen = sampler(name)
        if name not in self.samplers:
            raise BadInput(
                "scheduler_unfit", scheduler=name, known=", ".join(sorted(self.samplers))
            )
        more = self.sampler_settings(name, steps)
        key = (name, *sorted(more.items()))
        if key not in self._samplers:
            own = self.pipe.scheduler
            kind = getattr(diffusers, chosen.cls) if chosen.cls else type(own)
            self._samplers[key] = kind.from_config(own.config, **{**chosen.settings, **more})
        # Copying one that was never used takes a fifth of reading its settings again.
        return copy.deepcopy(self._samplers[key])

    def sampler_settings(self, name: str, steps: int) -> dict[str, Any]:
        """What the family adds to a sampler's settings."""
        return {}

    def schedule(self, scheduler: Any, steps: int, width: int, height: int) -> Tensor:
        """Sets the timesteps for a picture of this size and returns them."""
        scheduler.set_timesteps(steps, device=self.device)
        if self.starts_index and hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        timesteps: Tensor = scheduler.timesteps
        return timesteps

    def step_options(self, scheduler: Any, generator: torch.Generator) -> dict[str, Any]:
        """Keyword arguments of ``scheduler.step``: the generator, where it draws noise."""
        takes = inspect.signature(scheduler.step).parameters
        return {"generator": generator} if "generator" in takes else {}

    @abstractmethod
    def encode(self, text: str) -> Condition:
        """A text alone, so that no neighbour changes it."""

    @abstractmethod
    def conditions(
        self, spec: ImageSpec, prompt: str, negative: str, encode: Encode
    ) -> tuple[Condition, ...]:
        """One condition a row, in the order of the family's pipeline."""

    @abstractmethod
    def noise(self, width: int, height: int, generator: torch.Generator) -> Tensor:
        """fp32 noise for a picture of this size, drawn on the CPU, moved to the device."""

    def key(self, work: ImageWork) -> str:
        """Works of equal key may share a pass: same shapes of everything that is concatenated."""
        shapes = [tuple(t.shape) for c in work.conditions[:1] for t in c.values()]
        return f"{work.width}x{work.height}:{shapes}"

    # ---- a step ------------------------------------------------------------------------------

    def rows(self, work: ImageWork) -> list[Row]:
        """The work's part of a pass: the same scaled latents under each of its conditions."""
        scale = getattr(work.sampler, "scale_model_input", None)  # flows need none
        sample = work.latents if scale is None else scale(work.latents, work.moment)
        time = self.time(work)
        return [Row(sample, time, condition) for condition in work.conditions]

    def time(self, work: ImageWork) -> Tensor:
        """The moment in the denoiser's own unit, as a scalar fp32 tensor."""
        return work.moment.float()

    def shape(self, row: Row) -> tuple[Any, ...]:
        """All of a row that decides which kernels it is computed with."""
        return tuple(row.sample.shape), *(tuple(t.shape) for t in row.condition.values())

    @abstractmethod
    def denoise(self, rows: Sequence[Row]) -> list[Tensor]:
        """One forward pass: an fp32 ``[1, ...]`` for each row, in the shape of its latents."""

    def guide(self, work: ImageWork, outs: Sequence[Tensor]) -> Tensor:
        """The sampler's input from the outputs of the work's rows.

        Classifier-free guidance, Ho & Salimans 2022 (arXiv 2207.12598), as diffusers has it.
        """
        if len(outs) == 1:
            return outs[0]
        negative, positive = outs
        return negative + work.spec.guidance * (positive - negative)

    def guess(self, work: ImageWork, noise: Tensor, stepped: Any) -> Tensor:
        """Latents of the clean picture as far as known: for previews only."""
        found: Tensor | None = getattr(stepped, "pred_original_sample", None)
        latents: Tensor = stepped.prev_sample
        return latents if found is None else found

    # ---- from latents to a picture and back --------------------------------------------------

    def cells(self, latents: Tensor, width: int, height: int) -> Tensor:
        """Stepped latents as ``[1, C, h, w]``, one cell a place."""
        return latents

    def decode_cells(self, cells: Tensor) -> Tensor:
        """``[N, C, h, w]`` to pixels ``[N, 3, H, W]`` in about -1..1."""
        vae = self.pipe.vae
        shift = getattr(vae.config, "shift_factor", None)
        scaled = cells.to(self.device, vae.dtype) / vae.config.scaling_factor
        decoded: Tensor = vae.decode(
            scaled if shift is None else scaled + shift, return_dict=False
        )[0]
        return decoded

    def encode_picture(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """``[1, 3, H, W]`` in -1..1 (sides of whole cells) to fp32 latents as they are stepped.

        Draws the posterior's noise from ``generator``, on the CPU, as the family's own image to
        image pipeline does: call it before drawing the noise to start from.
        """
        vae = self.pipe.vae
        encoded = vae.encode(pixels.to(self.device, vae.dtype))
        latents: Tensor = (
            encoded.latents
            if hasattr(encoded, "latents")
            else encoded.latent_dist.sample(generator)
        )
        shift = getattr(vae.config, "shift_factor", None)
        return (latents.float() - (shift or 0.0)) * float(vae.config.scaling_factor)

    def mask_cells(self, mask: Tensor) -> Tensor:
        """``[1, 1, H, W]`` (sides of whole cells, 1 where to draw) in the shape of the latents."""
        cell = int(self.pipe.vae_scale_factor)
        size = (mask.shape[-2] // cell, mask.shape[-1] // cell)
        return functional.interpolate(mask, size=size).to(self.device)

    def decode(self, work: ImageWork) -> Tensor:
        """A finished work's pixels ``[1, 3, H, W]``; always of one picture alone.

        Above :attr:`tile_pixels` by overlapping tiles, whose tones differ a little: the memory a
        whole large picture takes is more than the denoiser's. The recipe says so.
        """
        cells = self.cells(work.latents, work.width, work.height)
        vae = self.pipe.vae
        if work.width * work.height <= self.tile_pixels or not hasattr(vae, "enable_tiling"):
            return self.decode_cells(cells)
        before = bool(getattr(vae, "use_tiling", False))
        vae.enable_tiling()
        work.recipe["vae_tiling"] = True
        try:
            return self.decode_cells(cells)
        finally:
            if not before:
                vae.disable_tiling()

    def rounded(self, side: int) -> int:
        """A side in pixels, rounded up to whole cells."""
        return pixels.grid(side, self.factor) * self.factor


UNET_SAMPLERS = frozenset(SAMPLERS) - {"flow"}
"""What networks that predict the noise (or v) can use."""
