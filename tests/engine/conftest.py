"""Tiny random models, built in code and seeded, so that the engine's tests need no download."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import copy
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from storage.registry import ModelCard, Registry, Style
from storage.schema import ChatSpec, ImageSpec, JobKind, Turn
from worker.engine.engine import Engine
from worker.engine.runners.chat import ChatRunner
from worker.engine.runners.families.sd import StableDiffusion
from worker.engine.runners.image import ImageRunner

MARKS = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """As the engine runs: one torch thread, and no memory of the tests' progress bars."""
    torch.set_num_threads(1)
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()


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


@pytest.fixture(scope="session")
def stock_pipe() -> Any:
    """A complete StableDiffusionPipeline of about 200,000 random weights, 8 px a latent cell."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=8,
        norm_num_groups=8,
    ).eval()
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    ).eval()
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=259,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=24,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
    ).eval()
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    pipe = diffusers.StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=text,
        tokenizer=byte_tokenizer(24),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def chat_model() -> tuple[Any, Any]:
    """A two-layer Llama over bytes and its tokenizer."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.6,
    )
    return LlamaForCausalLM(config).eval(), byte_tokenizer(512)


@pytest.fixture(scope="session")
def registry() -> Registry:
    """Two picture models, one chat model, one style."""

    def card(name: str, kind: JobKind, **more: Any) -> ModelCard:
        return ModelCard(
            name=name, title=name, kind=kind, source="starter", revision="r1", licence="none",
            size_bytes=1, memory_bytes=1000, width=64, height=64, context_tokens=256, **more,
        )  # fmt: skip

    cards = {
        "tiny": card("tiny", JobKind.IMAGE),
        "other": card("other", JobKind.IMAGE),
        "talk": card("talk", JobKind.CHAT),
    }
    styles = {"ink": Style(name="ink", template="{prompt}, in ink", negative="colour")}
    return Registry(cards, styles, "tiny", "talk")


@pytest.fixture(scope="session")
def image_runner(stock_pipe: Any, registry: Registry) -> ImageRunner:
    """An exact runner over its own copy of the tiny pipeline, shared by the whole session."""
    with torch.inference_mode():
        family = StableDiffusion(copy.deepcopy(stock_pipe), "cpu")
        return ImageRunner(registry.cards["tiny"], registry, family)


@pytest.fixture(scope="session")
def chat_runner(chat_model: tuple[Any, Any], registry: Registry) -> ChatRunner:
    """A runner over the tiny Llama."""
    model, tokenizer = chat_model
    with torch.inference_mode():
        return ChatRunner(registry.cards["talk"], copy.deepcopy(model), tokenizer, "cpu")


@pytest.fixture
async def engine(
    registry: Registry, image_runner: ImageRunner, chat_runner: ChatRunner, tmp_path: Path
) -> AsyncIterator[Engine]:
    """A running engine over the tiny models, eight pictures and eight answers at a time."""
    runners = {"tiny": image_runner, "other": image_runner, "talk": chat_runner}
    made = Engine(
        registry, tmp_path, max_images=8, max_chats=8, load=lambda card: runners[card.name]
    )
    await made.start()
    yield made
    await made.stop()


@pytest.fixture(scope="session")
def image_spec() -> Callable[..., ImageSpec]:
    """An ImageSpec with test-sized defaults."""

    def make(**changes: Any) -> ImageSpec:
        base: dict[str, Any] = {
            "model": "tiny", "prompt": "a red apple", "width": 64, "height": 64, "steps": 4,
            "guidance": 5.0, "scheduler": "ddim", "seed": 7,
        }  # fmt: skip
        return ImageSpec(**{**base, **changes})

    return make


@pytest.fixture(scope="session")
def chat_spec() -> Callable[..., ChatSpec]:
    """A ChatSpec with test-sized defaults; ``text`` is the one question."""

    def make(text: str = "hello", **changes: Any) -> ChatSpec:
        base: dict[str, Any] = {
            "model": "talk", "thread": "t", "turns": (Turn(role="user", text=text),),
            "max_tokens": 24, "temperature": 0.0, "seed": 7,
        }  # fmt: skip
        return ChatSpec(**{**base, **changes})

    return make
