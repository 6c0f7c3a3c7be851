"""Stable Diffusion XL, SDXL-Turbo, Lightning and LCM: two text encoders and size conditioning."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from storage.schema import ImageSpec
from worker.engine.runners.families.base import Encode
from worker.engine.runners.families.unet import UNetFamily
from worker.engine.runners.work import Condition


class StableDiffusionXL(UNetFamily):
    """``StableDiffusionXLPipeline``: adds ``pooled`` ``[1, width]`` and ``time_ids`` ``[1, 6]``."""

    pipelines = ("StableDiffusionXLPipeline", "StableDiffusionXLInpaintPipeline")
    load_options: ClassVar[dict[str, Any]] = {"add_watermarker": False}

    def encode(self, text: str) -> Condition:
        """``texts`` of both encoders side by side, and the second one's ``pooled``."""
        texts, _, pooled, _ = self.pipe.encode_prompt(
            text, device=self.device, do_classifier_free_guidance=False
        )
        return {"texts": texts, "pooled": pooled}

    def negative(self, text: str, positive: Condition, encode: Encode) -> Condition:
        """Without a negative prompt: zeros, where the checkpoint was trained so."""
        if not text and self.pipe.config.force_zeros_for_empty_prompt:
            return {name: torch.zeros_like(value) for name, value in positive.items()}
        return encode(text)

    def conditions(
        self, spec: ImageSpec, prompt: str, negative: str, encode: Encode
    ) -> tuple[Condition, ...]:
        """As every UNet's, with the size of the picture: original, crop corner, target."""
        size = [self.rounded(spec.height), self.rounded(spec.width)]
        found = super().conditions(spec, prompt, negative, encode)
        ids = torch.tensor([[*size, 0, 0, *size]], dtype=found[-1]["texts"].dtype)
        return tuple({**condition, "time_ids": ids.to(self.device)} for condition in found)
