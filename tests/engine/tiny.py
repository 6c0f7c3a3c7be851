"""Complete random pipelines of every family, about 100,000 weights each, made once a session."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import diffusers
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
)

MARKS = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer(length: int) -> PreTrainedTokenizerFast:
    """Every byte is a token, so a random model happily makes half characters."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate([*MARKS, *alphabet])}
    inner = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=MARKS[0],
        bos_token=MARKS[1],
        eos_token=MARKS[2],
        model_max_length=length,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def unet(cross: int, **more: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=cross,
        attention_head_dim=8,
        norm_num_groups=8,
        **more,
    ).eval()


def vae(kind: Any = diffusers.AutoencoderKL, **more: Any) -> Any:
    return kind(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
        **more,
    ).eval()


def clip(kind: Any = CLIPTextModel) -> Any:
    return kind(
        CLIPTextConfig(
            vocab_size=259,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=24,
            projection_dim=16,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
    ).eval()


def qwen(layers: int) -> Any:
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=259,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            pad_token_id=0,
            initializer_range=0.3,
        )
    ).eval()


def betas(**more: Any) -> Any:
    """The noise schedule of Stable Diffusion."""
    return diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        **more,
    )


def stable_diffusion(scheduler: Any = None, **more: Any) -> Any:
    return diffusers.StableDiffusionPipeline(
        unet=unet(16, **more),
        vae=vae(),
        text_encoder=clip(),
        tokenizer=byte_tokenizer(24),
        scheduler=scheduler or betas(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl(scheduler: Any = None, **more: Any) -> Any:
    return diffusers.StableDiffusionXLPipeline(
        unet=unet(
            32,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 16,
            **more,
        ),
        vae=vae(),
        text_encoder=clip(),
        text_encoder_2=clip(CLIPTextModelWithProjection),
        tokenizer=byte_tokenizer(24),
        tokenizer_2=byte_tokenizer(24),
        scheduler=scheduler or betas(),
        add_watermarker=False,
    )


def flux2(*, distilled: bool = False) -> Any:
    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=48,
        timestep_guidance_channels=16,
        axes_dims_rope=(2, 2, 2, 2),
        guidance_embeds=False,
    ).eval()
    auto = vae(diffusers.AutoencoderKLFlux2)
    auto.bn.running_mean.normal_(0, 0.3)
    auto.bn.running_var.uniform_(0.5, 1.5)
    return diffusers.Flux2KleinPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=auto,
        text_encoder=qwen(28),
        tokenizer=byte_tokenizer(512),
        transformer=transformer,
        is_distilled=distilled,
    )


def z_image() -> Any:
    transformer = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 6, 6],
        axes_lens=[600, 64, 64],
    ).eval()
    for token in (transformer.x_pad_token, transformer.cap_pad_token):
        torch.nn.init.normal_(token)
    return diffusers.ZImagePipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(scaling_factor=0.36, shift_factor=0.11),
        text_encoder=qwen(3).model,
        tokenizer=byte_tokenizer(512),
        transformer=transformer,
    )


KINDS: dict[str, Callable[[], Any]] = {
    "sd15": stable_diffusion,
    "sd21-v": lambda: stable_diffusion(betas(prediction_type="v_prediction")),
    "sd-turbo": lambda: stable_diffusion(
        diffusers.EulerDiscreteScheduler.from_config(betas().config, timestep_spacing="trailing")
    ),
    "sd-lcm": lambda: stable_diffusion(
        diffusers.LCMScheduler.from_config(betas().config), time_cond_proj_dim=12
    ),
    "sdxl": stable_diffusion_xl,
    "sdxl-turbo": lambda: stable_diffusion_xl(
        diffusers.EulerAncestralDiscreteScheduler.from_config(
            betas().config, timestep_spacing="trailing"
        )
    ),
    "sdxl-lightning": lambda: stable_diffusion_xl(
        diffusers.EulerDiscreteScheduler.from_config(betas().config, timestep_spacing="trailing")
    ),
    "sdxl-lcm": lambda: stable_diffusion_xl(
        diffusers.LCMScheduler.from_config(betas().config), time_cond_proj_dim=12
    ),
    "klein": flux2,
    "klein-distilled": lambda: flux2(distilled=True),
    "z-image": z_image,
}
"""One a family and variant: what the real checkpoints differ in, nothing else."""


@cache
def pipeline(kind: str) -> Any:
    """The tiny pipeline of a kind; seeded, and never changed by a test."""
    torch.manual_seed(0)
    pipe = (KINDS | OTHERS)[kind]()
    pipe.set_progress_bar_config(disable=True)
    return pipe


# ---- pipelines that nobody has taken apart ------------------------------------------------------


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
