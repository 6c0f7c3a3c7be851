"""What the UNet families share: one cross-attention UNet, per-row timesteps, optional residuals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from storage.schema import ImageSpec
from worker.engine.runners.families.base import UNET_SAMPLERS, Encode, Family
from worker.engine.runners.work import Condition, Row
from worker.engine.samplers import SAMPLERS


class UNetFamily(Family):
    """Stable Diffusion in all its sizes; pictures of one size share the UNet."""

    samplers = UNET_SAMPLERS

    def _denoiser(self) -> Any:
        return self.pipe.unet

    def sampler_settings(self, name: str, steps: int) -> dict[str, Any]:
        """LCM refuses more steps than its distillation had; more is slow, not wrong."""
        if SAMPLERS[name].cls != "LCMScheduler":
            return {}
        known = self.pipe.scheduler.config.get("original_inference_steps") or 50
        return {"original_inference_steps": max(steps, int(known))}

    def noise(self, width: int, height: int, generator: torch.Generator) -> Tensor:
        """``[1, 4, h, w]``; an inpainting UNet's further channels are no noise."""
        channels = int(self.pipe.vae.config.latent_channels)
        shape = (1, channels, height // self.factor, width // self.factor)
        return torch.randn(shape, generator=generator).to(self.device)

    def conditions(
        self, spec: ImageSpec, prompt: str, negative: str, encode: Encode
    ) -> tuple[Condition, ...]:
        """The prompt; before it the negative where guidance is on and not an embedding (LCM)."""
        positive = encode(prompt)
        width = self.pipe.unet.config.time_cond_proj_dim
        if width is not None:
            scale = torch.tensor([spec.guidance - 1])
            embedding = self.pipe.get_guidance_scale_embedding(scale, embedding_dim=width)
            return ({**positive, "guidance": embedding.to(self.device, self.dtype)},)
        if spec.guidance > 1:
            return (self.negative(negative, positive, encode), positive)
        return (positive,)

    def negative(self, text: str, positive: Condition, encode: Encode) -> Condition:
        """The condition that guidance leads away from."""
        return encode(text)

    def denoise(self, rows: Sequence[Row]) -> list[Tensor]:
        """One UNet call; rows may differ in time and condition, not in shape."""

        def joined(name: str) -> Tensor | None:
            if name not in rows[0].condition:
                return None
            return torch.cat([row.condition[name] for row in rows])

        options: dict[str, Any] = {}
        first = rows[0].extras
        if "down" in first:
            options["down_block_additional_residuals"] = tuple(
                torch.cat(level) for level in zip(*(r.extras["down"] for r in rows), strict=True)
            )
            options["mid_block_additional_residual"] = torch.cat([r.extras["mid"] for r in rows])
        added: dict[str, Any] = {}
        if "pooled" in rows[0].condition:
            added = {"text_embeds": joined("pooled"), "time_ids": joined("time_ids")}
        if "image_embeds" in first:
            added["image_embeds"] = [
                torch.cat(level)
                for level in zip(*(r.extras["image_embeds"] for r in rows), strict=True)
            ]
        out: Tensor = self.pipe.unet(
            torch.cat([row.sample for row in rows]).to(self.dtype),
            torch.stack([row.time for row in rows]),
            encoder_hidden_states=joined("texts"),
            timestep_cond=joined("guidance"),
            added_cond_kwargs=added or None,
            return_dict=False,
            **options,
        )[0]
        return list(out.float().chunk(len(rows)))
