"""Complete random models, for benches and tests: pipelines of every family, about 100,000 weights
each, and a talker. No file needed."""

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
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

library: Any = diffusers  # untyped

MARKS = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer(length: int) -> Any:
    """Every byte is a token, so a random model happily makes half characters."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate([*MARKS, *alphabet])}
    inner = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    kind: Any = PreTrainedTokenizerFast
    tokenizer = kind(
        tokenizer_object=inner,
        pad_token=MARKS[0],
        bos_token=MARKS[1],
        eos_token=MARKS[2],
        model_max_length=length,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def unet(
    cross: int, *, in_channels: int = 4, channels: tuple[int, ...] = (16, 32), **more: Any
) -> Any:
    deep = ("CrossAttnDownBlock2D",) * (len(channels) - 1)
    return library.UNet2DConditionModel(
        block_out_channels=channels,
        layers_per_block=1,
        in_channels=in_channels,
        out_channels=4,
        down_block_types=("DownBlock2D", *deep),
        up_block_types=(*(block.replace("Down", "Up") for block in deep), "UpBlock2D"),
        cross_attention_dim=cross,
        attention_head_dim=8,
        norm_num_groups=8,
        **({"sample_size": 8} | more),
    ).eval()


def vae(kind: Any = library.AutoencoderKL, *, width: int = 8, **more: Any) -> Any:
    return kind(
        block_out_channels=(width,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=width // 2,
        **({"sample_size": 64} | more),
    ).eval()


def clip(kind: Any = CLIPTextModel, *, width: int = 16, length: int = 24) -> Any:
    return kind(
        CLIPTextConfig(
            vocab_size=259,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=length,
            projection_dim=16,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
    ).eval()


def qwen(layers: int) -> Any:
    kind: Any = Qwen3ForCausalLM
    return kind(
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


def llama(**sizes: Any) -> Any:
    """A talker over bytes: two layers of 32, unless told otherwise."""
    base: dict[str, Any] = {
        "vocab_size": 259, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.6,
    }  # fmt: skip
    kind: Any = LlamaForCausalLM
    return kind(LlamaConfig(**(base | sizes))).eval()


def betas(**more: Any) -> Any:
    """The noise schedule of Stable Diffusion."""
    return library.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        **more,
    )


def small(channels: tuple[int, ...] = (32, 64)) -> Any:
    """A Stable Diffusion of 1.4 million weights (by default): for speeds, not for identity."""
    return library.StableDiffusionPipeline(
        unet=unet(32, channels=channels, sample_size=16),
        vae=vae(width=16, sample_size=128),
        text_encoder=clip(width=32, length=32),
        tokenizer=byte_tokenizer(32),
        scheduler=betas(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion(scheduler: Any = None, **more: Any) -> Any:
    return library.StableDiffusionPipeline(
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
    return library.StableDiffusionXLPipeline(
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
    transformer = library.Flux2Transformer2DModel(
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
    auto = vae(library.AutoencoderKLFlux2)
    auto.bn.running_mean.normal_(0, 0.3)
    auto.bn.running_var.uniform_(0.5, 1.5)
    return library.Flux2KleinPipeline(
        scheduler=library.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=auto,
        text_encoder=qwen(28),
        tokenizer=byte_tokenizer(512),
        transformer=transformer,
        is_distilled=distilled,
    )


def z_image() -> Any:
    transformer = library.ZImageTransformer2DModel(
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
    return library.ZImagePipeline(
        scheduler=library.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(scaling_factor=0.36, shift_factor=0.11),
        text_encoder=qwen(3).model,
        tokenizer=byte_tokenizer(512),
        transformer=transformer,
    )


KINDS: dict[str, Callable[[], Any]] = {
    "sd15": stable_diffusion,
    "sd21-v": lambda: stable_diffusion(betas(prediction_type="v_prediction")),
    "sd-turbo": lambda: stable_diffusion(
        library.EulerDiscreteScheduler.from_config(betas().config, timestep_spacing="trailing")
    ),
    "sd-lcm": lambda: stable_diffusion(
        library.LCMScheduler.from_config(betas().config), time_cond_proj_dim=12
    ),
    "sdxl": stable_diffusion_xl,
    "sdxl-turbo": lambda: stable_diffusion_xl(
        library.EulerAncestralDiscreteScheduler.from_config(
            betas().config, timestep_spacing="trailing"
        )
    ),
    "sdxl-lightning": lambda: stable_diffusion_xl(
        library.EulerDiscreteScheduler.from_config(betas().config, timestep_spacing="trailing")
    ),
    "sdxl-lcm": lambda: stable_diffusion_xl(
        library.LCMScheduler.from_config(betas().config), time_cond_proj_dim=12
    ),
    "klein": flux2,
    "klein-distilled": lambda: flux2(distilled=True),
    "z-image": z_image,
}
"""One a family and variant: what the real checkpoints differ in, nothing else."""


def seeded(make: Callable[[], Any]) -> Any:
    """What a maker makes, the same every time."""
    torch.manual_seed(0)
    pipe = make()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@cache
def pipeline(kind: str) -> Any:
    """The tiny pipeline of a kind, made once; never to be changed."""
    return seeded(KINDS[kind])
