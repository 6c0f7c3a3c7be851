"""FLUX.2-klein: a transformer over packed latents and 512 text tokens; one size a pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from PIL import Image
from torch import Tensor
from torch.nn import functional

from storage.schema import ImageSpec
from worker.engine.runners.families.base import Encode
from worker.engine.runners.families.flow import FlowFamily
from worker.engine.runners.work import Condition, ImageWork, Row

_LEAST = 64
"""Shortest side of a picture that it reads, in pixels."""


class Flux2Klein(FlowFamily):
    """``Flux2KleinPipeline``. Latents are stepped as ``[1, h * w, 128]``, 16 pixels a token.

    Rows may carry ``references``: further pictures' tokens and places (:meth:`read_references`).
    Guidance has no effect on the distilled checkpoints. On the others an empty negative prompt is
    what the pipeline uses; another one is taken as well.
    """

    pipelines = ("Flux2KleinPipeline",)
    samplers = FlowFamily.samplers | {"dpmpp_2m"}

    @property
    def factor(self) -> int:
        """Two autoencoder cells a side make one token."""
        return int(self.pipe.vae_scale_factor) * 2

    @property
    def preview_channels(self) -> int:
        """Four autoencoder cells a token."""
        return int(self.pipe.vae.config.latent_channels) * 4

    def shift(self, steps: int, width: int, height: int) -> float:
        """The published fit over image tokens and steps."""
        tokens = (width // self.factor) * (height // self.factor)
        return float(compute_empirical_mu(image_seq_len=tokens, num_steps=steps))

    def sigmas(self, scheduler: Any, steps: int) -> Any:
        """Evenly from 1, but for solvers that make their own flow schedule."""
        if scheduler.config.get("use_flow_sigmas"):
            return None
        return np.linspace(1.0, 1 / steps, steps)

    def encode(self, text: str) -> Condition:
        """``texts`` ``[1, 512, width]``: three layers of the language model side by side."""
        return {"texts": self.pipe.encode_prompt(text, device=self.device)[0]}

    def conditions(
        self, spec: ImageSpec, prompt: str, negative: str, encode: Encode
    ) -> tuple[Condition, ...]:
        """The prompt; before it the negative where guidance means anything."""
        positive = encode(prompt)
        if spec.guidance > 1 and not self.pipe.config.is_distilled:
            return (encode(negative), positive)
        return (positive,)

    def noise(self, width: int, height: int, generator: torch.Generator) -> Tensor:
        """``[1, h * w, 128]``, drawn as ``[1, 128, h, w]``."""
        shape = (1, self.preview_channels, height // self.factor, width // self.factor)
        return self.pack(torch.randn(shape, generator=generator).to(self.device))

    def pack(self, cells: Tensor) -> Tensor:
        """``[1, C, h, w]`` to ``[1, h * w, C]``."""
        packed: Tensor = self.pipe._pack_latents(cells)
        return packed

    def cells(self, latents: Tensor, width: int, height: int) -> Tensor:
        """``[1, h * w, C]`` to ``[1, C, h, w]``."""
        rows, columns = height // self.factor, width // self.factor
        return latents.permute(0, 2, 1).reshape(1, -1, rows, columns)

    def time(self, work: ImageWork) -> Tensor:
        """0 to 1."""
        return work.moment.float() / 1000

    def rows(self, work: ImageWork) -> list[Row]:
        """As ever, with the grid's shape for the position ids."""
        rows = super().rows(work)
        for row in rows:
            row.extras["grid"] = (work.height // self.factor, work.width // self.factor)
        return rows

    def denoise(self, rows: Sequence[Row]) -> list[Tensor]:
        """One transformer call; all rows have the same number of tokens in the same places."""
        sample = torch.cat([row.sample for row in rows]).to(self.dtype)
        texts = torch.cat([row.condition["texts"] for row in rows])
        grid = rows[0].extras["grid"]
        places = self.pipe._prepare_latent_ids(torch.empty(1, 1, *grid)).to(self.device)
        length = sample.shape[1]
        if "references" in rows[0].extras:
            pictures = [row.extras["references"][0] for row in rows]
            sample = torch.cat([sample, torch.cat(pictures).to(self.dtype)], dim=1)
            places = torch.cat([places, rows[0].extras["references"][1]], dim=1)
        out: Tensor = self.pipe.transformer(
            hidden_states=sample,
            timestep=torch.stack([row.time for row in rows]),
            guidance=None,
            encoder_hidden_states=texts,
            txt_ids=self.pipe._prepare_text_ids(texts[:1]).to(self.device),
            img_ids=places,
            return_dict=False,
        )[0]
        return list(out[:, :length].float().chunk(len(rows)))

    def read_references(self, images: Sequence[Image.Image]) -> tuple[Tensor, Tensor]:
        """Tokens ``[1, N, C]`` of pictures (RGB) and their places ``[1, N, 4]``, one after another.

        Larger ones than a megapixel are made smaller, sides are cut to whole tokens, as in the
        pipeline. Draws no noise.
        """
        processor, whole = self.pipe.image_processor, self.factor
        read = []
        for image in images:
            if min(image.size) < _LEAST:  # which the pipeline refuses
                scale = _LEAST / min(image.size)
                image = image.resize((round(image.width * scale), round(image.height * scale)))
            if image.width * image.height > 1024 * 1024:
                image = processor._resize_to_target_area(image, 1024 * 1024)
            height, width = image.height // whole * whole, image.width // whole * whole
            read.append(processor.preprocess(image, height=height, width=width, resize_mode="crop"))
        tokens, places = self.pipe.prepare_image_latents(
            images=read, batch_size=1, generator=None, device=self.device, dtype=self.pipe.vae.dtype
        )
        return tokens, places

    def decode_cells(self, cells: Tensor) -> Tensor:
        """``[N, 128, h, w]`` to pixels: the batch norm undone, four cells out of each token."""
        vae, pipe = self.pipe.vae, self.pipe
        mean, deviation = self._statistics(cells)
        spread = pipe._unpatchify_latents(cells.to(self.device) * deviation + mean)
        decoded: Tensor = vae.decode(spread.to(vae.dtype), return_dict=False)[0]
        return decoded

    def encode_picture(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """The mode of the posterior, as the pipeline encodes pictures: draws no noise."""
        found = self.pipe._encode_vae_image(pixels.to(self.device, self.pipe.vae.dtype), generator)
        return self.pack(found.float())

    def mask_cells(self, mask: Tensor) -> Tensor:
        """``[1, h * w, 1]``, smooth between tokens, as the inpainting pipeline makes it."""
        size = (mask.shape[-2] // self.factor, mask.shape[-1] // self.factor)
        return self.pack(functional.interpolate(mask, size=size, mode="bilinear").to(self.device))

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        vae = self.pipe.vae
        mean = vae.bn.running_mean.view(1, -1, 1, 1).to(self.device, like.dtype)
        variance = vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps
        return mean, torch.sqrt(variance).to(self.device, like.dtype)
