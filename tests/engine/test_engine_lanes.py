"""Answers that share a pass: the same bits in any company, whoever joins, leaves or was before."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from storage.registry import Registry
from storage.schema import ChatSpec, Turn
from worker.bench.tiny import byte_tokenizer
from worker.engine.outputs import Answer, Text
from worker.engine.runners import chat
from worker.engine.runners.bands import Band, Bands, measure
from worker.engine.runners.chat import ChatRunner
from worker.engine.runners.lanes import Unshareable
from worker.engine.runners.solo import SoloRunner
from worker.engine.runners.speaker import ChatWork
from worker.engine.runners.text import render
from worker.engine.stops import Stop

Make = Callable[..., ChatSpec]
Runner = ChatRunner | SoloRunner


def steps(runner: Runner, works: Sequence[ChatWork]) -> dict[int, list[Any]]:
    """Steps these works to their ends, as the engine does; their outputs by work."""
    outputs: dict[int, list[Any]] = {id(w): [] for w in works}
    live = list(works)
    while live:
        results = runner.forward(live) if runner.shares else [runner.forward([w])[0] for w in live]
        for work, result in zip(tuple(live), results, strict=True):
            stepped = runner.advance(work, result)
            outputs[id(work)] += stepped.outputs
            if stepped.done:
                live.remove(work)
    return outputs


def answer(runner: Runner, spec: ChatSpec) -> Answer:
    """The answer of one spec, made alone."""
    with torch.inference_mode():
        work = runner.begin(spec, 0)
        made = steps(runner, [work])[id(work)][-1]
    assert isinstance(made, Answer)
    return made


@pytest.fixture
def fresh(chat_runner: ChatRunner) -> ChatRunner:
    """The tiny runner with nothing remembered of earlier prompts."""
    chat_runner.prefixes = type(chat_runner.prefixes)(chat_runner.chunk, 10_000_000)
    return chat_runner


def test_any_company_gives_the_bits_of_being_alone(fresh: ChatRunner, chat_spec: Make) -> None:
    assert fresh.bands.write.shared, "kernels of this machine allow no sharing at all"
    specs = [
        chat_spec("q" * (7 * i + 1), temperature=0.9, seed=i, max_tokens=6 + 3 * i)
        for i in range(11)
    ]
    alone = [answer(fresh, spec) for spec in specs]
    with torch.inference_mode():
        works: dict[int, ChatWork] = {}
        made: dict[int, Answer] = {}
        turn = 0
        while len(made) < len(specs):
            if turn < len(specs):  # one more joins at every step, while others read or write
                works[turn] = fresh.begin(specs[turn], 0)
            turn += 1
            live = [i for i in works if i not in made]
            results = fresh.forward([works[i] for i in live])
            for i, result in zip(live, results, strict=True):
                stepped = fresh.advance(works[i], result)
                if stepped.done:
                    made[i] = stepped.outputs[-1]  # type: ignore[assignment]
    assert [made[i] for i in range(len(specs))] == alone


def test_a_shared_pass_costs_fewer_passes(
    fresh: ChatRunner, chat_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    plain = fresh._pass

    def counted(pieces: Any, band: Band) -> Any:
        passes.append(len(pieces))
        return plain(pieces, band)

    monkeypatch.setattr(fresh, "_pass", counted)
    with torch.inference_mode():
        works = [fresh.begin(chat_spec(f"q{i}", max_tokens=12, seed=i), 0) for i in range(8)]
        steps(fresh, works)
    assert len(passes) <= 14
    assert max(passes) == 8


def test_a_prompt_read_before_is_not_read_again(fresh: ChatRunner, chat_spec: Make) -> None:
    persona = Turn(role="system", text="be kind and brief " * 5)
    first = chat_spec(turns=(persona, Turn(role="user", text="one")), temperature=0.7)
    cold = answer(fresh, first)
    later = chat_spec(
        turns=(*first.turns, Turn(role="assistant", text="uh"), Turn(role="user", text="two")),
        temperature=0.7,
    )
    with torch.inference_mode():
        warm = fresh.begin(later, 0)
        assert warm.read == fresh.chunk, "the whole chunks of the turns before are there"
        reused = steps(fresh, [warm])[id(warm)][-1]
    fresh.prefixes = type(fresh.prefixes)(fresh.chunk, 10_000_000)
    assert reused == answer(fresh, later), "bit for bit what reading it again gives"
    assert answer(fresh, first) == cold


def test_remembered_prompts_stay_within_their_bytes(fresh: ChatRunner, chat_spec: Make) -> None:
    answer(fresh, chat_spec("x" * 100))
    one = fresh.prefixes.size // len(fresh.prefixes)
    fresh.prefixes = type(fresh.prefixes)(fresh.chunk, 3 * one)
    for i in range(9):
        answer(fresh, chat_spec(f"{i}" * 150, max_tokens=1))
        assert fresh.prefixes.size <= 3 * one
    assert len(fresh.prefixes) == 3


FAMILIES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 8}),
    "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": 24, "head_dim": 8}),
    "gemma3": (
        Gemma3TextConfig, Gemma3ForCausalLM,
        {
            "sliding_window": 16, "head_dim": 8,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
}  # fmt: skip


def tiny(config: Any, kind: Any, more: dict[str, Any]) -> Any:
    """A random two-layer model over bytes."""
    torch.manual_seed(5)
    return kind(
        config(
            vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.5, **more,
        )
    ).eval()  # fmt: skip


def generated(model: Any, tokenizer: Any, spec: ChatSpec) -> str:
    """What transformers' own ``generate`` answers, greedily."""
    ids = torch.tensor([render(tokenizer, spec.turns)])
    with torch.inference_mode():
        tokens = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=spec.max_tokens,
            do_sample=False, pad_token_id=0,
        )[0, ids.shape[1] :]  # fmt: skip
    return str(tokenizer.decode(tokens, skip_special_tokens=True)).rstrip("\ufffd")


@pytest.mark.parametrize("family", FAMILIES)
def test_families_answer_as_generate_does(family: str, registry: Registry, chat_spec: Make) -> None:
    model, tokenizer = tiny(*FAMILIES[family]), byte_tokenizer(512)
    with torch.inference_mode():
        runner = ChatRunner(registry.cards["talk"], copy.deepcopy(model), tokenizer, "cpu")
        specs = [chat_spec("z" * n, max_tokens=30) for n in (3, 70, 150)]
        works = [runner.begin(spec, 0) for spec in specs]
        outputs = steps(runner, works)
    for spec, work in zip(specs, works, strict=True):
        assert outputs[id(work)][-1].text == generated(model, tokenizer, spec)


def test_linear_attention_is_stepped_alone(registry: Registry, chat_spec: Make) -> None:
    model = tiny(
        Qwen3_5TextConfig, Qwen3_5ForCausalLM,
        {
            "head_dim": 8, "layer_types": ["linear_attention", "full_attention"],
            "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
    )  # fmt: skip
    tokenizer = byte_tokenizer(512)
    before = model.config._attn_implementation
    with pytest.raises(Unshareable):
        ChatRunner(registry.cards["talk"], model, tokenizer, "cpu")
    assert model.config._attn_implementation == before
    runner = SoloRunner(registry.cards["talk"], model, tokenizer, "cpu")
    spec = chat_spec("hello", max_tokens=20)
    assert answer(runner, spec).text == generated(model, tokenizer, spec)
    sampled = chat_spec("hello", temperature=0.9, seed=3)
    assert answer(runner, sampled) == answer(runner, sampled)


@torch.inference_mode()
def test_a_pass_that_broke_off_half_way_is_read_anew(
    registry: Registry, chat_model: tuple[Any, Any], chat_spec: Make
) -> None:
    """No memory in the second layer: the first layer's cache has the token already."""
    model, tokenizer = copy.deepcopy(chat_model[0]), chat_model[1]
    runner = SoloRunner(registry.cards["talk"], model, tokenizer, "cpu")
    spec = chat_spec("tell me", max_tokens=8)
    expected = answer(runner, spec).text
    passes: list[int] = []

    def short(*_: Any) -> None:
        passes.append(1)
        if len(passes) in (1, 4):
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = model.model.layers[1].register_forward_pre_hook(short)
    work, text = runner.begin(spec, 0), ""
    while True:
        try:
            (scores,) = runner.forward([work])
        except torch.OutOfMemoryError:
            continue  # as the engine does, once there is room
        stepped = runner.advance(work, scores)
        if stepped.done:
            text = stepped.outputs[-1].text  # type: ignore[union-attr]
            break
    hook.remove()
    assert text == expected and len(passes) > 5


def test_a_machine_whose_kernels_do_not_share_answers_alone(
    chat_model: tuple[Any, Any], registry: Registry, chat_spec: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # As if two rows already took another kernel: what was measured does not hold on the whole.
    monkeypatch.setattr(chat, "measure", lambda *_: Bands(Band(1, 8), Band(1, 256)))
    model, tokenizer = chat_model
    with torch.inference_mode():
        runner = ChatRunner(registry.cards["talk"], copy.deepcopy(model), tokenizer, "cpu")
        specs = [chat_spec(f"q{i}", temperature=0.8, seed=i) for i in range(4)]
        alone = [answer(runner, spec) for spec in specs]
        works = [runner.begin(spec, 0) for spec in specs]
        outputs = steps(runner, works)
    assert [outputs[id(w)][-1] for w in works] == alone


@pytest.mark.parametrize("wide", [64, 72, 688])
def test_odd_widths_share_their_passes_too(wide: int, registry: Registry, chat_spec: Make) -> None:
    model = tiny(LlamaConfig, LlamaForCausalLM, {})
    torch.manual_seed(5)
    config = LlamaConfig(**(model.config.to_dict() | {"intermediate_size": wide}))
    with torch.inference_mode(False):
        odd = LlamaForCausalLM(config).eval()
    with torch.inference_mode():
        runner = ChatRunner(registry.cards["talk"], odd, byte_tokenizer(512), "cpu")
        specs = [chat_spec("q" * (9 * i), temperature=0.8, seed=i) for i in range(5)]
        alone = [answer(runner, spec) for spec in specs]
        works = [runner.begin(spec, 0) for spec in specs]
        outputs = steps(runner, works)
    assert [outputs[id(w)][-1] for w in works] == alone
    assert runner.bands.write.shared


def test_bands_are_what_the_layers_say() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(96, 160), torch.nn.Linear(160, 96))
    bands = measure(net.modules())
    x = torch.randn(256, 96)
    with torch.inference_mode():
        for band, rows in ((bands.write, range(1, 9)), (bands.read, (17, 40, 64, 200, 256))):
            inside = [n for n in rows if band.least <= n <= band.most and not n % band.step]
            first = net(x[: inside[-1]])
            for n in inside:
                assert torch.equal(net(x[:n]), first[:n])


def test_answers_end_before_a_stop_string(fresh: ChatRunner, chat_spec: Make) -> None:
    whole = answer(fresh, chat_spec("tell", max_tokens=24, temperature=0.9))
    assert len(whole.text) > 6
    cut = whole.text[4:6]
    with torch.inference_mode():
        spec = chat_spec("tell", max_tokens=24, temperature=0.9, stop=(cut,))
        work = fresh.begin(spec, 0)
        outputs = steps(fresh, [work])[id(work)]
    made = outputs[-1]
    assert made.text == whole.text[: whole.text.index(cut)]
    assert made.text == "".join(o.text for o in outputs if isinstance(o, Text))
    assert made.recipe["finish"] == "stop"
    assert made.tokens_out < whole.tokens_out


@pytest.mark.parametrize(
    ("pieces", "strings", "text", "hit"),
    [
        (["one tw", "o three"], ["two"], "one ", True),
        (["one tw", "in"], ["two"], "one twin", False),
        (["a<", "/", "s>b"], ["</s>", "</"], "a", True),
        (["aab"], ["ab", "b"], "a", True),
        (["x"], [""], "x", False),
    ],
)
def test_stop_strings(pieces: list[str], strings: list[str], text: str, hit: bool) -> None:
    stop = Stop(strings)
    out = "".join(stop.push(piece) for piece in pieces) + stop.close()
    assert (out, stop.hit) == (text, hit)
