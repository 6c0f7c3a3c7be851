"""Complete random pipelines that nobody has taken apart; `worker.bench.tiny` makes all others."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import diffusers
from transformers import (
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    T5Config,
    T5EncoderModel,
)

from worker.bench.tiny import byte_tokenizer, clip, seeded, vae


def t5() -> Any:
    return T5EncoderModel(
        T5Config(
            vocab_size=259, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, pad_token_id=0
        )
    ).eval()


def stable_diffusion_3() -> Any:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        out_channels=4,
        pos_embed_max_size=32,
    ).eval()
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(shift_factor=0.06, scaling_factor=1.5),
        text_encoder=clip(CLIPTextModelWithProjection),
        tokenizer=byte_tokenizer(24),
        text_encoder_2=clip(CLIPTextModelWithProjection),
        tokenizer_2=byte_tokenizer(24),
        text_encoder_3=None,
        tokenizer_3=None,
    )


def flux1(*, guidance_embeds: bool = False) -> Any:
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(2, 2, 4),
        guidance_embeds=guidance_embeds,
    ).eval()
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=vae(shift_factor=0.1, scaling_factor=0.4),
        text_encoder=clip(),
        tokenizer=byte_tokenizer(24),
        text_encoder_2=t5(),
        tokenizer_2=byte_tokenizer(48),
        transformer=transformer,
    )


def pixart() -> Any:
    """One with the older callback."""
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=8,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_channels=16,
        in_channels=4,
        cross_attention_dim=16,
        out_channels=8,
        use_additional_conditions=False,
    ).eval()
    return diffusers.PixArtSigmaPipeline(
        tokenizer=byte_tokenizer(48),
        text_encoder=t5(),
        vae=vae(),
        transformer=transformer,
        scheduler=diffusers.DPMSolverMultistepScheduler(),
    )


def sana() -> Any:
    levels = ("ResBlock",) * 3 + ("EfficientViTBlock",)
    auto = diffusers.AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=levels,
        decoder_block_types=levels,
        encoder_block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        encoder_qkv_multiscales=((), (), (), (5,)),
        decoder_qkv_multiscales=((), (), (), (5,)),
        encoder_layers_per_block=(1,) * 4,
        decoder_layers_per_block=(1,) * 4,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
    ).eval()
    transformer = diffusers.SanaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=16,
        sample_size=8,
    ).eval()
    gemma = Gemma2Config(
        vocab_size=259,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        pad_token_id=0,
    )
    return diffusers.SanaPipeline(
        tokenizer=byte_tokenizer(512),
        text_encoder=Gemma2Model(gemma).eval(),
        vae=auto,
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def qwen_image() -> Any:
    transformer = diffusers.QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        guidance_embeds=False,
        axes_dims_rope=(8, 4, 4),
    ).eval()
    auto = diffusers.AutoencoderKLQwenImage(
        base_dim=24,
        z_dim=4,
        dim_mult=[1, 2, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.1, -0.1, 0.2, 0.0],
        latents_std=[1.0, 1.5, 0.8, 1.2],
    ).eval()
    text = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_parameters": {
            "mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1e6,
        },
        "vocab_size": 259,
        "pad_token_id": 0,
    }  # fmt: skip
    sight = {
        "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2,
        "out_hidden_size": 16,
    }  # fmt: skip
    encoder = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(text_config=text, vision_config=sight)
    )
    return diffusers.QwenImagePipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=True),
        vae=auto,
        text_encoder=encoder.eval(),
        tokenizer=byte_tokenizer(512),
        transformer=transformer,
    )


OTHERS: dict[str, Callable[[], Any]] = {
    "sd3": stable_diffusion_3,
    "flux1-schnell": flux1,
    "flux1-dev": lambda: flux1(guidance_embeds=True),
    "pixart": pixart,
    "sana": sana,
    "qwen-image": qwen_image,
}
"""What only the fallback runs."""


@cache
def other(kind: str) -> Any:
    """The tiny pipeline of a kind; seeded, and never changed by a test."""
    return seeded(OTHERS[kind])
