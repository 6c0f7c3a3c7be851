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

from storage.registry import ModelCard, Registry
from storage.schema import ChatSpec, ImageSpec, JobKind, Turn
from worker.bench.tiny import byte_tokenizer, llama, seeded, small
from worker.engine.runners.chat import ChatRunner
from worker.engine.runners.families.sd import StableDiffusion
from worker.engine.runners.image import ImageRunner

PROMPTS = ("a red apple", "a blue house", "a green tree", "a cat", "a car", "the moon", "a fish",
           "a yellow star")  # fmt: skip

RANDOM = "random 1.4 M UNet"
"""What the subjects are called that need no file."""


def quiet() -> None:
    """One torch thread, no progress bars: what a bench must hold fixed."""
    torch.set_num_threads(1)
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()


def random_talker() -> tuple[Any, Any]:
    """A five-million-weight Llama of random weights over bytes, and its tokenizer."""
    torch.manual_seed(1)
    model = llama(
        hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_key_value_heads=4,
        max_position_embeddings=2048, initializer_range=0.1,
    )  # fmt: skip
    return model, byte_tokenizer(2048)


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
        pipe = seeded(small)
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
    name = "starter" if starter is not None else RANDOM
    return Subjects(registry, pipe, image, chat, model, tokenizer, name, size, steps)


def same(first: Sequence[Image.Image], second: Sequence[Image.Image]) -> int:
    """How many pictures have equal pixels."""
    pairs = zip(first, second, strict=True)
    return sum(bool(np.array_equal(np.asarray(a), np.asarray(b))) for a, b in pairs)
