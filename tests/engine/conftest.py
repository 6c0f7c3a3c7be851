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

from storage.registry import ModelCard, Registry, Style
from storage.schema import ChatSpec, ImageSpec, JobKind, Turn
from tests.engine.alone import ticking
from worker.bench.tiny import byte_tokenizer, llama, pipeline
from worker.engine.engine import Engine
from worker.engine.runners.chat import ChatRunner
from worker.engine.runners.families.sd import StableDiffusion
from worker.engine.runners.image import ImageRunner


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """As the engine runs: one torch thread, and no memory of the tests' progress bars."""
    torch.set_num_threads(1)
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()


@pytest.fixture(scope="session")
def stock_pipe() -> Any:
    """A complete StableDiffusionPipeline of about 200,000 random weights, 8 px a latent cell."""
    return pipeline("sd15")


@pytest.fixture(scope="session")
def chat_model() -> tuple[Any, Any]:
    """A two-layer Llama over bytes and its tokenizer."""
    torch.manual_seed(1)
    return llama(), byte_tokenizer(512)


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
        registry, tmp_path, max_images=8, max_chats=8, load=lambda card: runners[card.name],
        clock=ticking(),
    )  # fmt: skip
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
