"""Weights in 8 and 4 bits: ggml's own numbers, smaller, shared, and drawn alike in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from storage.cache import keys_of
from storage.recipes import spec_of
from storage.registry import ModelCard, Registry, load_registry
from storage.schema import ChatSpec, JobKind, Turn
from tests.engine.alone import alone, spec, together
from worker.bench.tiny import byte_tokenizer, pipeline, qwen
from worker.engine.loading import load
from worker.engine.outputs import Answer
from worker.engine.quantise import PackedLinear, packed, shrink
from worker.engine.runners.chat import ChatRunner
from worker.engine.runners.image import ImageRunner
from worker.engine.sharing import twin

BITS = {"8-bit": Kind.Q8_0, "4-bit": Kind.Q4_0}


def hub(name: str, kind: JobKind, precision: Any) -> ModelCard:
    return ModelCard(
        name=name, title=name, kind=kind, source="hub", repo="someone/" + name,
        revision="0" * 40, licence="none", size_bytes=0, memory_bytes=1000, width=64, height=64,
        context_tokens=256, precision=precision,
    )  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny picture models and a chat model on disk, in full."""
    folder = tmp_path_factory.mktemp("models")
    pipeline("sd15").save_pretrained(folder / "tiny", safe_serialization=True)
    pipeline("klein").save_pretrained(folder / "klein", safe_serialization=True)
    torch.manual_seed(2)
    talk: Any = Qwen3ForCausalLM
    model = talk(
        Qwen3Config(
            vocab_size=259, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, head_dim=32, pad_token_id=0,
            initializer_range=0.3,
        )
    )  # fmt: skip
    model.save_pretrained(folder / "talk")
    byte_tokenizer(512).save_pretrained(folder / "talk")
    return folder


def registry_of(card: ModelCard) -> Registry:
    other = {JobKind.IMAGE: JobKind.CHAT, JobKind.CHAT: JobKind.IMAGE}[card.kind]
    cards = {card.name: card, "x": hub("x", other, "full")}
    image, chat = (card.name, "x") if card.kind is JobKind.IMAGE else ("x", card.name)
    return Registry(cards, {}, image, chat)


def loaded(models: Path, name: str, kind: JobKind, precision: str) -> Any:
    card = hub(name, kind, precision)
    return load(card, registry_of(card), models, "cpu")


@pytest.mark.parametrize("precision", BITS)
def test_numbers_are_those_of_ggml(precision: Any) -> None:
    drawn = torch.Generator().manual_seed(1)
    weight = torch.randn(48, 96, generator=drawn) * torch.logspace(-3, 2, 48)[:, None]
    weight[3] = 0
    layer = PackedLinear(*packed(weight, precision), None, torch.float32)
    theirs = gguf.dequantize(gguf.quantize(weight.numpy(), BITS[precision]), BITS[precision])
    assert np.array_equal(layer.weight.numpy(), theirs)
    given = torch.randn(5, 96, generator=drawn)
    assert torch.equal(layer(given), torch.nn.functional.linear(given, torch.from_numpy(theirs)))


def test_what_is_small_or_shared_stays_full() -> None:
    model = qwen(2)
    model.lm_head.weight = model.model.embed_tokens.weight
    full = model.state_dict()["model.embed_tokens.weight"].clone()
    assert shrink(model, "full") == 0
    shrink(model, "4-bit")
    assert torch.equal(model.lm_head.weight, full)
    assert not any(isinstance(m, PackedLinear) for n, m in model.named_modules() if "norm" in n)


@pytest.mark.parametrize("precision", BITS)
@pytest.mark.parametrize("name", ["tiny", "klein"])
def test_pictures_of_packed_weights(models: Path, name: str, precision: str) -> None:
    full: ImageRunner = loaded(models, name, JobKind.IMAGE, "full")
    small: ImageRunner = loaded(models, name, JobKind.IMAGE, precision)
    assert small.size < full.size
    wish = spec(model=name)
    one, other = alone(full, wish), alone(small, wish)
    assert "precision" not in one.picture.recipe
    assert other.picture.recipe["precision"] == precision
    # Random networks magnify every error; that it is the same picture is all that can be asked.
    pairs = torch.stack([one.latents.flatten(), other.latents.flatten()])
    assert float(torch.corrcoef(pairs)[0, 1]) > 0.9
    company = [spec(model=name, seed=i, prompt=f"p{i}", steps=2 + i) for i in range(2)]
    made = together(small, [wish, *company])
    assert made[0] is not None and made[0].same_bits(other)
    assert alone(small, spec_of(other.picture.recipe)).same_bits(other)


@pytest.mark.parametrize("precision", BITS)
def test_answers_of_packed_weights(models: Path, precision: str) -> None:
    full: ChatRunner = loaded(models, "talk", JobKind.CHAT, "full")
    small: ChatRunner = loaded(models, "talk", JobKind.CHAT, precision)
    assert small.shares and small.size < full.size

    def ask(texts: list[str]) -> list[str]:
        works = [
            small.begin(
                ChatSpec(
                    model="talk", thread="t", turns=(Turn(role="user", text=text),), max_tokens=8,
                    temperature=0.0, seed=1,
                ), 0,
            )
            for text in texts
        ]  # fmt: skip
        ends: dict[int, str] = {}
        while len(ends) < len(works):
            left = [i for i in range(len(works)) if i not in ends]
            for i, result in zip(left, small.forward([works[i] for i in left]), strict=True):
                stepped = small.advance(works[i], result)
                if stepped.done:
                    end = stepped.outputs[-1]
                    assert isinstance(end, Answer)
                    ends[i] = end.text
        return [ends[i] for i in range(len(works))]

    with torch.inference_mode():
        questions = ["hello", "what is a pear?"]
        assert ask(questions) == [ask([q])[0] for q in questions]


@torch.inference_mode()
def test_a_twin_shares_the_packed_bytes(models: Path) -> None:
    """As `/ask` and a picture model's text encoder do."""
    model: Any = AutoModelForCausalLM.from_pretrained(models / "talk")
    assert shrink(model, "4-bit") == 14
    ids = torch.tensor([[5, 6, 7]])
    second = twin(model)
    assert torch.equal(second(ids).logits, model(ids).logits)
    pairs = list(zip(model.buffers(), second.buffers(), strict=True))
    assert len(pairs) > 28 and all(a.data_ptr() == b.data_ptr() for a, b in pairs)
    # A bare decoder, as Z-Image has it, becomes a language model with its embedding for a head.
    model.lm_head.weight = model.model.embed_tokens.weight
    model.model.config.tie_word_embeddings = True
    bare = twin(model.model, type(model))
    assert torch.equal(bare(ids).logits, model(ids).logits)


def test_the_operator_chooses_it_for_what_is_configured() -> None:
    full = load_registry("flux2-klein-4b", "shared")
    small = load_registry("flux2-klein-4b", "shared", precision="4-bit")
    picture, chat = (small.cards[n] for n in (small.image_default, small.chat_default))
    assert (picture.precision, chat.precision) == ("4-bit", "4-bit")
    assert picture.memory_bytes < full.cards["flux2-klein-4b"].memory_bytes / 3
    assert small.cards["sdxl"].precision == small.cards["starter-icons"].precision == "full"
    wish = spec(model="flux2-klein-4b")
    assert keys_of(wish, small) != keys_of(wish, full), "other weights, other pictures"
