"""What is measured: the starter as it ships, and tiny random models that need no file."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from storage.registry import ModelCard, Registry
from storage.schema import ChatSpec, ImageSpec, JobKind, Turn
from worker.engine.runners.chat import ChatRunner
from worker.engine.runners.families.sd import StableDiffusion
from worker.engine.runners.image import ImageRunner

_MARKS = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROMPTS = ("a red apple", "a blue house", "a green tree", "a cat", "a car", "the moon", "a fish",
           "a yellow star")  # fmt: skip


def quiet() -> None:
    """One torch thread, no progress bars: what a bench must hold fixed."""
    torch.set_num_threads(1)
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()


def bytes_tokenizer(length: int) -> Any:
    """Every byte is a token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate([*_MARKS, *alphabet])}
    inner = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    kind: Any = PreTrainedTokenizerFast
    tokenizer = kind(
        tokenizer_object=inner, pad_token=_MARKS[0], bos_token=_MARKS[1], eos_token=_MARKS[2],
        model_max_length=length,
    )  # fmt: skip
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def random_pipe(channels: tuple[int, ...] = (32, 64)) -> Any:
    """A complete StableDiffusionPipeline of random weights (1.4 million by default)."""
    torch.manual_seed(0)
    deep = ("CrossAttnDownBlock2D",) * (len(channels) - 1)
    library: Any = diffusers  # untyped
    unet = library.UNet2DConditionModel(
        block_out_channels=channels, layers_per_block=1, sample_size=16, in_channels=4,
        out_channels=4, down_block_types=("DownBlock2D", *deep),
        up_block_types=(*(b.replace("Down", "Up") for b in deep), "UpBlock2D"),
        cross_attention_dim=32, attention_head_dim=8, norm_num_groups=8,
    ).eval()  # fmt: skip
    vae = library.AutoencoderKL(
        block_out_channels=(16, 16, 16, 16), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, norm_num_groups=8,
        sample_size=128,
    ).eval()  # fmt: skip
    clip: Any = CLIPTextModel
    text = clip(
        CLIPTextConfig(
            vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=32, bos_token_id=1, eos_token_id=2,
            pad_token_id=0,
        )
    ).eval()  # fmt: skip
    scheduler = library.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    )  # fmt: skip
    pipe = library.StableDiffusionPipeline(
        unet=unet, vae=vae, text_encoder=text, tokenizer=bytes_tokenizer(32), scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def random_talker() -> tuple[Any, Any]:
    """A five-million-weight Llama of random weights over bytes, and its tokenizer."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=259, hidden_size=256, intermediate_size=768, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=2048,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.1,
    )  # fmt: skip
    llama: Any = LlamaForCausalLM
    return llama(config).eval(), bytes_tokenizer(2048)


@dataclass
class Subjects:
    """Everything the measures need, made once."""

    registry: Registry
    pipe: Any
    """The raw pipeline: what the engine is measured against."""
    image: ImageRunner
    chat: ChatRunner
    model: Any
    tokenizer: Any
    name: str
    size: int
    steps: int

    def spec(self, seed: int = 7, **changes: Any) -> ImageSpec:
        """A picture of this subject."""
        base: dict[str, Any] = {
            "model": "picture", "prompt": PROMPTS[seed % len(PROMPTS)], "width": self.size,
            "height": self.size, "steps": self.steps, "guidance": 3.0, "scheduler": "ddim",
            "seed": seed,
        }  # fmt: skip
        return ImageSpec(**(base | changes))

    def question(self, text: str, tokens: int = 48, seed: int = 7, **more: Any) -> ChatSpec:
        """An answer of this subject, greedy unless said otherwise."""
        base: dict[str, Any] = {
            "model": "talk", "thread": "t", "turns": (Turn(role="user", text=text),),
            "max_tokens": tokens, "temperature": 0.0, "seed": seed,
        }  # fmt: skip
        return ChatSpec(**(base | more))

    def raw(self, specs: Sequence[ImageSpec]) -> list[Image.Image]:
        """The same pictures by the diffusers pipeline, in one call."""
        with torch.inference_mode():
            out = self.pipe(
                [s.prompt for s in specs], negative_prompt=[s.negative for s in specs],
                num_inference_steps=specs[0].steps, guidance_scale=specs[0].guidance,
                width=self.size, height=self.size, output_type="pil",
                generator=[torch.Generator("cpu").manual_seed(s.seed) for s in specs],
            )  # fmt: skip
        found: list[Image.Image] = out.images
        return found


def subjects(starter: Path | None, *, size: int, steps: int) -> Subjects:
    """The starter in ``starter`` (a folder as the worker keeps it), else random weights."""
    quiet()
    if starter is not None:
        importlib.import_module("worker.starter.patch_autoencoder")  # diffusers imports none itself
        kind: Any = diffusers.StableDiffusionPipeline
        pipe = kind.from_pretrained(
            starter, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
            use_safetensors=True, local_files_only=True,
        )  # fmt: skip
        pipe.set_progress_bar_config(disable=True)
    else:
        pipe = random_pipe()
    # The pipeline as everyone uses it: the checkpoint's scheduler is what the specs ask for.
    sampler: Any = diffusers.DDIMScheduler
    pipe.scheduler = sampler.from_config(pipe.scheduler.config)

    def card(name: str, kind: JobKind) -> ModelCard:
        return ModelCard(
            name=name, title=name, kind=kind, source="starter", revision="r1", licence="none",
            size_bytes=1, memory_bytes=1000, width=size, height=size, context_tokens=2048,
        )  # fmt: skip

    cards = {
        "picture": card("picture", JobKind.IMAGE),
        "other": card("other", JobKind.IMAGE),
        "talk": card("talk", JobKind.CHAT),
    }
    registry = Registry(cards, {}, "picture", "talk")
    model, tokenizer = random_talker()
    with torch.inference_mode():
        family = StableDiffusion(copy.deepcopy(pipe), "cpu")
        image = ImageRunner(cards["picture"], registry, family)
        chat = ChatRunner(cards["talk"], copy.deepcopy(model), tokenizer, "cpu")
    name = "starter" if starter is not None else "random 1.4 M UNet"
    return Subjects(registry, pipe, image, chat, model, tokenizer, name, size, steps)


def same(first: Sequence[Image.Image], second: Sequence[Image.Image]) -> int:
    """How many pictures have equal pixels."""
    pairs = zip(first, second, strict=True)
    return sum(bool(np.array_equal(np.asarray(a), np.asarray(b))) for a, b in pairs)
