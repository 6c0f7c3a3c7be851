"""The picture model's parts: the denoiser, the noise schedule and a plain sampler."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from worker.starter.captions import WIDTH
from worker.starter.patch_autoencoder import PatchAutoencoder

GRID = 8
"""Native latent grid: 8 x 8 cells of 16 px make the 128 x 128 px picture."""

LATENTS = 48
"""Numbers per latent cell."""

HEAD = 32
"""Width of one attention head."""


def make_unet(channels: tuple[int, ...], layers: int = 1) -> Any:
    """A denoiser with cross-attention at every level.

    The token states also go through attention pooling into the time embedding
    (`addition_embed_type="text"`), so every block knows the caption as a whole.
    """
    heads = tuple(width // HEAD for width in channels)
    return UNet2DConditionModel(  # type: ignore[no-untyped-call]
        sample_size=GRID,
        in_channels=LATENTS,
        out_channels=LATENTS,
        block_out_channels=channels,
        layers_per_block=layers,
        down_block_types=("CrossAttnDownBlock2D",) * len(channels),
        up_block_types=("CrossAttnUpBlock2D",) * len(channels),
        cross_attention_dim=WIDTH,
        attention_head_dim=heads,  # the number of heads, despite its name
        addition_embed_type="text",
        addition_embed_type_num_heads=8,
        resnet_time_scale_shift="scale_shift",
    )


def make_scheduler() -> Any:
    """The schedule the model learns on: cosine, 1000 steps, velocity prediction."""
    return DDIMScheduler(  # type: ignore[no-untyped-call]
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,  # not used with trailing spacing; keeps pipelines from complaining
        set_alpha_to_one=True,
    )


@torch.inference_mode()
def draw(
    unet: Any,
    vae: PatchAutoencoder,
    states: Tensor,
    empty: Tensor,
    *,
    steps: int = 20,
    guidance: float = 3.0,
    seed: int = 0,
    grid: tuple[int, int] = (GRID, GRID),
) -> Tensor:
    """Pictures (n, 3, h, w) in 0 to 1 for text states (n, 16, 384), by DDIM.

    `empty` is the state of the empty prompt (1, 16, 384); picture i uses seed + i.
    """
    scheduler = make_scheduler()
    scheduler.set_timesteps(steps)
    device = next(unet.parameters()).device
    noise = [
        torch.randn(1, LATENTS, *grid, generator=torch.Generator().manual_seed(seed + i))
        for i in range(len(states))
    ]
    z = torch.cat(noise).to(device)
    both = torch.cat([empty.expand_as(states), states]).to(device, torch.float32)
    for t in scheduler.timesteps:
        out = unet(torch.cat([z, z]), t.to(device), both).sample
        base, told = out.chunk(2)
        z = scheduler.step(base + guidance * (told - base), t, z).prev_sample
    pictures: Tensor = vae.to(device).decode(z, return_dict=False)[0]
    return (pictures / 2 + 0.5).clamp(0, 1).cpu()
