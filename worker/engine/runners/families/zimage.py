"""Z-Image: a transformer that takes pictures of different sizes and captions in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.z_image.pipeline_z_image import (
    calculate_shift,
    get_default_z_image_sigmas,
)
from torch import Tensor

from storage.schema import ImageSpec
from worker.engine.runners.families.base import Encode
from worker.engine.runners.families.flow import FlowFamily
from worker.engine.runners.work import Condition, ImageWork, Row

_TOKENS = 32
"""Captions are padded to multiples of this many tokens inside the transformer."""


class ZImage(FlowFamily):
    """``ZImagePipeline``. Latents are stepped as ``[1, 16, h, w]``, 8 pixels a cell.

    Guidance follows the pipeline: on above 0, and ``positive + guidance * (positive - negative)``.
    In the exact grade any sizes share a pass. Elsewhere only pictures of equal size and caption
    length do: a longer neighbour makes the attention masked, which picks another kernel, and the
    receipt could not be repeated without the neighbour's shape.
    """

    pipelines = ("ZImagePipeline",)
    mixes_sizes = True

    @property
    def factor(self) -> int:
        """Two autoencoder cells a side make one token."""
        return int(self.pipe.vae_scale_factor) * 2

    def shift(self, steps: int, width: int, height: int) -> float:
        """Linear in the number of image tokens."""
        config = self.pipe.scheduler.config
        return float(
            calculate_shift(
                (width // self.factor) * (height // self.factor),
                config.get("base_image_seq_len", 256),
                config.get("max_image_seq_len", 4096),
                config.get("base_shift", 0.5),
                config.get("max_shift", 1.15),
            )
        )

    def sigmas(self, scheduler: Any, steps: int) -> Any:
        """Evenly from 1 (an array: UniPC cannot take the list that the pipeline passes)."""
        return np.array(get_default_z_image_sigmas(steps))

    def encode(self, text: str) -> Condition:
        """``texts`` ``[1, tokens, width]``, without padding."""
        found, _ = self.pipe.encode_prompt(text, self.device, do_classifier_free_guidance=False)
        return {"texts": found[0][None]}

    def conditions(
        self, spec: ImageSpec, prompt: str, negative: str, encode: Encode
    ) -> tuple[Condition, ...]:
        """The prompt, then the negative when guidance is on."""
        positive = encode(prompt)
        return (positive, encode(negative)) if spec.guidance > 0 else (positive,)

    def noise(self, width: int, height: int, generator: torch.Generator) -> Tensor:
        """``[1, 16, h, w]``."""
        cell = int(self.pipe.vae_scale_factor)
        shape = (1, int(self.pipe.transformer.in_channels), height // cell, width // cell)
        return torch.randn(shape, generator=generator).to(self.device)

    def key(self, work: ImageWork) -> str:
        """Anyone in the exact grade; else equal sizes and padded caption lengths."""
        if self.exact:
            return "any"
        return f"{work.width}x{work.height}:{[_padded(c) for c in work.conditions]}"

    def shape(self, row: Row) -> tuple[Any, ...]:
        """Captions count as they are padded, so that few lengths have to be tried."""
        return tuple(row.sample.shape), _padded(row.condition)

    def time(self, work: ImageWork) -> Tensor:
        """0 at pure noise to 1."""
        return (1000 - work.moment.float()) / 1000

    def denoise(self, rows: Sequence[Row]) -> list[Tensor]:
        """One transformer call over lists; shapes and captions may all differ."""
        options: dict[str, Any] = {}
        if "blocks" in rows[0].extras:
            blocks = [row.extras["blocks"] for row in rows]
            options["controlnet_block_samples"] = {
                index: torch.cat([block[index] for block in blocks]) for index in blocks[0]
            }
        outs: list[Tensor] = self.pipe.transformer(
            [row.sample[0].to(self.dtype).unsqueeze(1) for row in rows],
            torch.stack([row.time for row in rows]),
            [row.condition["texts"][0] for row in rows],
            return_dict=False,
            **options,
        )[0]
        return [out.float().squeeze(1)[None] for out in outs]

    def guide(self, work: ImageWork, outs: Sequence[Tensor]) -> Tensor:
        """The pipeline's own form of guidance; the network predicts the flow backwards."""
        if len(outs) == 1:
            return -outs[0]
        positive, negative = outs
        return -(positive + work.spec.guidance * (positive - negative))


def _padded(condition: Condition) -> int:
    """Tokens of a caption inside the transformer."""
    return -(-condition["texts"].shape[1] // _TOKENS) * _TOKENS
