"""One set of weights answers and encodes: the same bits as apart, and no second copy."""

from __future__ import annotations

import copy
import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3Model

from storage.errors import OperatorError
from storage.registry import ModelCard, Registry, load_registry
from storage.schema import ChatSpec, JobKind
from worker.bench.tiny import byte_tokenizer
from worker.engine import sharing
from worker.engine.errors import ModelUnavailable
from worker.engine.loading import load
from worker.engine.runners.chat import ChatRunner
from worker.engine.sharing import twin

Make = Callable[..., ChatSpec]


def config() -> Qwen3Config:
    return Qwen3Config(
        vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=512,
        tie_word_embeddings=True, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        initializer_range=0.5,
    )  # fmt: skip


@pytest.fixture
def encoder() -> Any:
    """A picture model's text encoder: a whole tiny Qwen3."""
    torch.manual_seed(9)
    return Qwen3ForCausalLM(config()).eval()


def encode(encoder: Any, ids: torch.Tensor) -> list[torch.Tensor]:
    """As FLUX.2-klein and Z-Image do: padded, masked, hidden states of some layers."""
    mask = (ids != 0).long()
    out = encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
    return [out.hidden_states[i] for i in (1, 2, -1)]


IDS = torch.tensor([[7, 8, 9, 10, 11, 0, 0, 0], [20, 21, 22, 23, 24, 25, 26, 27]])


@torch.inference_mode()
def test_chat_and_encoding_at_once_are_bit_for_bit_what_they_are_apart(
    encoder: Any, registry: Registry, chat_spec: Make
) -> None:
    card, tokenizer = registry.cards["talk"], byte_tokenizer(512)
    apart = copy.deepcopy(encoder)
    states = encode(apart, IDS)
    lone = ChatRunner(card, copy.deepcopy(encoder), tokenizer, "cpu")
    specs = [chat_spec(f"question {i}", seed=i, temperature=0.8) for i in range(3)]

    def answers(runner: ChatRunner, between: Callable[[], None]) -> list[str]:
        works = [runner.begin(spec, 0) for spec in specs]
        live = list(works)
        while live:
            for work, scores in zip(tuple(live), runner.forward(live), strict=True):
                if runner.advance(work, scores).done:
                    live.remove(work)
            between()
        return [work.text for work in works]

    expected = answers(lone, lambda: None)
    shared = ChatRunner(card, twin(encoder), tokenizer, "cpu")

    def encode_too() -> None:
        assert all(map(torch.equal, encode(encoder, IDS), states))

    assert answers(shared, encode_too) == expected
    assert encoder.config._attn_implementation != shared.model.config._attn_implementation


def test_no_byte_is_there_twice(encoder: Any) -> None:
    second = twin(encoder)
    mine, theirs = dict(encoder.named_parameters()), dict(second.named_parameters())
    assert mine.keys() == theirs.keys()
    assert all(mine[n].data_ptr() == theirs[n].data_ptr() for n in mine)
    assert {n: b.data_ptr() for n, b in encoder.named_buffers()} == {
        n: b.data_ptr() for n, b in second.named_buffers()
    }
    assert second.lm_head.weight.data_ptr() == encoder.model.embed_tokens.weight.data_ptr()
    assert second.config is not encoder.config
    encoder.to(torch.float64)
    assert second.model.norm.weight.dtype == torch.float64, "they move together, too"


def test_a_bare_decoder_answers_with_its_embedding_as_head(encoder: Any) -> None:
    bare = Qwen3Model(config()).eval()
    bare.load_state_dict(encoder.model.state_dict())
    second = twin(bare, Qwen3ForCausalLM)
    with torch.inference_mode():
        assert torch.equal(second(IDS).logits, encoder(IDS).logits)
    assert second.lm_head.weight.data_ptr() == bare.embed_tokens.weight.data_ptr()
    untied = Qwen3Model(Qwen3Config(**(config().to_dict() | {"tie_word_embeddings": False})))
    with pytest.raises(ValueError, match="lm_head"):
        twin(untied, Qwen3ForCausalLM)


@pytest.fixture
def pair(encoder: Any, tmp_path: Path) -> Registry:
    """A picture model on disk (its language model, at least) and the chat model that shares it."""
    folder = tmp_path / "pic"
    encoder.save_pretrained(folder / "text_encoder")
    byte_tokenizer(512).save_pretrained(folder / "tokenizer")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "ZImagePipeline"}))
    common = {"source": "hub", "repo": "o/pic", "revision": "0" * 40, "licence": "x",
              "size_bytes": 0, "memory_bytes": 0}  # fmt: skip
    cards = {
        "pic": ModelCard(name="pic", title="Pic", kind=JobKind.IMAGE, **common),  # type: ignore[arg-type]
        "talk": ModelCard(name="talk", title="Talk", kind=JobKind.CHAT, shares="pic", **common),  # type: ignore[arg-type]
    }
    return Registry(cards, {}, "pic", "talk")


def test_whoever_loads_first_the_other_shares(
    pair: Registry, encoder: Any, chat_spec: Make, tmp_path: Path
) -> None:
    sharing._ENCODERS.clear()
    first = load(pair.cards["talk"], pair, tmp_path, "cpu")
    assert isinstance(first, ChatRunner)
    passed = sharing.encoder_for("pic")
    assert passed is not None, "the picture model is handed the one in memory"
    ours = first.model.model.embed_tokens.weight
    assert passed.model.embed_tokens.weight.data_ptr() == ours.data_ptr()
    with torch.inference_mode():
        assert all(map(torch.equal, encode(passed, IDS), encode(encoder, IDS)))
    del first, ours
    gc.collect()
    sharing._ENCODERS.clear()
    sharing.keep("pic", passed)
    second = load(pair.cards["talk"], pair, tmp_path, "cpu")
    assert isinstance(second, ChatRunner)
    shared = second.model.model.embed_tokens.weight
    assert shared.data_ptr() == passed.model.embed_tokens.weight.data_ptr()
    with torch.inference_mode():
        second.warm()
    assert second.size == 0, "its bytes are the picture model's"
    second.move("meta")
    assert second.model.device.type == "cpu", "and so is moving them"


def test_what_cannot_answer_says_so(pair: Registry, tmp_path: Path) -> None:
    sharing._ENCODERS.clear()
    sharing.keep("pic", torch.nn.Linear(2, 2))
    assert sharing.encoder_for("pic") is None, "no language model, no use"
    (tmp_path / "pic" / "text_encoder" / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ModelUnavailable):
        load(pair.cards["talk"], pair, tmp_path, "cpu")
    with pytest.raises(OperatorError, match="no language model"):
        load_registry(chat_model="shared")
    named = load_registry("owner/pic@" + "a" * 40, "shared")
    card = named.default(JobKind.CHAT)
    assert card.shares == named.image_default
    assert named.cards[card.shares].revision == card.revision
