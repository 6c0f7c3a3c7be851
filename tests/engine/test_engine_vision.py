"""A vision model of this machine: what it is shown changes its answer, as in ``generate``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from storage.registry import ModelCard, Registry
from storage.schema import ChatSpec, JobKind, Source
from worker.bench.tiny import byte_tokenizer
from worker.engine.engine import Engine
from worker.engine.loading import load
from worker.engine.outputs import Answer
from worker.engine.runners.vision import VisionRunner

Make = Callable[..., ChatSpec]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SOURCE = Source(blob="ab/pic", sha256="0", width=50, height=40)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete LLaVA of about 100,000 random weights, on disk."""
    torch.manual_seed(2)
    tokenizer = byte_tokenizer(512)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.6,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        image_size=28, patch_size=14, projection_dim=16,
    )  # fmt: skip
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision, text_config=text, image_token_index=image_token,
            vision_feature_select_strategy="full", vision_feature_layer=-1,
        )
    )  # fmt: skip
    torch.nn.init.normal_(model.model.multi_modal_projector.linear_2.weight, std=1.0)
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
        ),
        tokenizer=tokenizer, patch_size=14, vision_feature_select_strategy="full",
        num_additional_image_tokens=1, chat_template=TEMPLATE,
    )  # fmt: skip
    home = tmp_path_factory.mktemp("models")
    model.save_pretrained(home / "eyes")
    processor.save_pretrained(home / "eyes")
    return home


@pytest.fixture(scope="module")
def runner(files: Path, registry: Registry) -> VisionRunner:
    card = ModelCard(
        name="eyes", title="Eyes", kind=JobKind.CHAT, source="hub", repo="o/eyes",
        revision="0" * 40, licence="x", size_bytes=0, memory_bytes=0, context_tokens=256,
        vision=True,
    )  # fmt: skip
    registry.cards["eyes"] = card
    made = load(card, registry, files, "cpu")
    assert isinstance(made, VisionRunner)
    return made


def seen(runner: VisionRunner, spec: ChatSpec, colour: str) -> str:
    with torch.inference_mode():
        work = runner.begin(spec, 0, {SOURCE.blob: Image.new("RGB", (50, 40), colour)})
        while not (stepped := runner.advance(work, runner.forward([work])[0])).done:
            pass
    answer = stepped.outputs[-1]
    assert isinstance(answer, Answer)
    return answer.text


def test_the_answer_is_generates_and_depends_on_the_picture(
    runner: VisionRunner, chat_spec: Make
) -> None:
    spec = chat_spec("what is it?", model="eyes", images=(SOURCE,), max_tokens=16)
    inputs: Any = runner._processed(spec, [Image.new("RGB", (50, 40), "red")])
    with torch.inference_mode():
        tokens = runner.model.generate(
            **inputs, max_new_tokens=16, do_sample=False, pad_token_id=0
        )[0, inputs["input_ids"].shape[1] :]
    expected = runner.tokenizer.decode(tokens, skip_special_tokens=True).rstrip("\ufffd")
    assert seen(runner, spec, "red") == expected
    assert seen(runner, spec, "lime") != expected


@torch.inference_mode()
def test_a_pass_that_broke_off_reads_its_picture_again(
    runner: VisionRunner, chat_spec: Make
) -> None:
    spec = chat_spec("what is it?", model="eyes", images=(SOURCE,), max_tokens=6)
    expected = seen(runner, spec, "red")
    layer, passes = runner.model.model.language_model.layers[-1], []

    def short(*_: Any) -> None:
        passes.append(1)
        if len(passes) in (1, 4):
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = layer.register_forward_pre_hook(short)
    work = runner.begin(spec, 0, {SOURCE.blob: Image.new("RGB", (50, 40), "red")})
    done = False
    while not done:
        try:
            done = runner.advance(work, runner.forward([work])[0]).done
        except torch.OutOfMemoryError:
            continue
    hook.remove()
    assert work.text == expected
    runner.drop(work)
    assert work.pictures is None


def test_nobody_types_a_picture(runner: VisionRunner, chat_spec: Make) -> None:
    spec = chat_spec("a <image> b <im<image>age>", model="eyes", images=(SOURCE,))
    made: Any = runner._processed(spec, [Image.new("RGB", (50, 40))])
    image = runner.tokenizer.convert_tokens_to_ids("<image>")
    once: Any = runner._processed(
        chat_spec("x", model="eyes", images=(SOURCE,)), [Image.new("RGB", (50, 40))]
    )
    assert (made["input_ids"] == image).sum() == (once["input_ids"] == image).sum()


async def test_through_the_engine_with_and_without_a_picture(
    runner: VisionRunner, registry: Registry, chat_spec: Make, tmp_path: Path
) -> None:
    engine = Engine(registry, tmp_path, load=lambda _: runner)
    await engine.start()
    specs = [chat_spec(f"q{i}", model="eyes", images=(SOURCE,), max_tokens=12) for i in range(2)]
    runs = [engine.submit(f"j{i}", spec, hold=True) for i, spec in enumerate(specs)]
    plain = engine.submit("k", chat_spec("hello", model="eyes", max_tokens=12))
    for run, colour in zip(runs, ("red", "lime"), strict=True):
        engine.release(run, {SOURCE.blob: Image.new("RGB", (50, 40), colour)})

    async def last(run: Any) -> str:
        return [o async for o in run][-1].text  # type: ignore[no-any-return]

    texts = await asyncio.gather(*map(last, (*runs, plain)))
    await engine.stop()
    assert texts[:2] == [
        seen(runner, spec, colour) for spec, colour in zip(specs, ("red", "lime"), strict=True)
    ]
