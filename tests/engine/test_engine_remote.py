"""Answers from servers: streaming, falling back, stopping, and no key anywhere."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from storage.errors import OperatorError
from storage.providers import parse_keys, parse_providers
from storage.registry import load_registry
from storage.schema import ChatSpec, JobKind, Source
from tests.engine.speaker import Speaker, speaking
from worker.engine.engine import Engine
from worker.engine.errors import Cancelled, EngineStopped, ModelUnavailable
from worker.engine.outputs import Answer, Restart, Text
from worker.engine.remote import Remote
from worker.engine.run import Run

Make = Callable[..., ChatSpec]
KEY = "sk-very-secret"


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Speaker, Speaker]]:
    """Two servers that run."""
    first, second = Speaker(), Speaker(words=("Second ", "here."))
    async with speaking(first, second):
        yield first, second


async def opened(speakers: tuple[Speaker, ...], folder: Path, timeout_s: float = 5.0) -> Engine:
    """A running engine whose chat model is these servers, the first first."""
    names = ("one", "two")
    listed = ",".join(f"{n}={s.url}#model-{n}" for n, s in zip(names, speakers, strict=False))
    registry = load_registry(chat_providers=listed)
    engine = Engine(registry, folder, remote=Remote({"one": KEY}, timeout_s))
    await engine.start()
    return engine


def asked(engine: Engine, chat_spec: Make, **changes: Any) -> ChatSpec:
    return chat_spec(model=engine.registry.chat_default, **changes)


async def drain(run: Run) -> list[Any]:
    return [output async for output in run]


def said(outputs: list[Any]) -> str:
    """The text a reader has at the end, restarts respected."""
    text = ""
    for output in outputs:
        text = (
            ""
            if isinstance(output, Restart)
            else text + getattr(output, "text", "") * (isinstance(output, Text))
        )
    return text


async def test_a_server_answers_in_pieces_and_says_what_it_used(
    pair: tuple[Speaker, Speaker], chat_spec: Make, tmp_path: Path
) -> None:
    engine = await opened(pair, tmp_path)
    assert engine.room()[JobKind.CHAT] == 4
    await engine.warm([engine.registry.chat_default])
    run = engine.submit("j", asked(engine, chat_spec, temperature=0.4))
    assert engine.room()[JobKind.CHAT] == 3
    outputs = await drain(run)
    answer = outputs[-1]
    assert isinstance(answer, Answer)
    assert answer.text == said(outputs) == "Paris is the capital."
    assert len([o for o in outputs if isinstance(o, Text)]) == 4
    assert (answer.tokens_in, answer.tokens_out) == (21, 700)
    assert answer.recipe["provider"] == "one" and answer.recipe["seed_sent"] is True
    call = pair[0].calls[0]
    assert call["model"] == "model-one" and call["seed"] == 7 and call["temperature"] == 0.4
    assert call["messages"] == [{"role": "user", "content": "hello"}]
    assert pair[0].keys == [f"Bearer {KEY}"]
    assert not pair[1].calls
    await engine.stop()


@pytest.mark.parametrize("mood", ["429", "500", "401", "mute", "hang", "drop", "cut", "junk"])
async def test_the_next_server_stands_in(
    mood: str, pair: tuple[Speaker, Speaker], chat_spec: Make, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    pair[0].moods = [mood]
    engine = await opened(pair, tmp_path, timeout_s=0.3)
    outputs = await drain(engine.submit("j", asked(engine, chat_spec)))
    assert said(outputs) == outputs[-1].text == "Second here."
    assert outputs[-1].recipe["provider"] == "two"
    assert pair[1].keys == ["Bearer none"], "a key goes to its own server only"
    # The one that failed rests: the next question does not wait for it again.
    await drain(engine.submit("k", asked(engine, chat_spec)))
    assert len(pair[0].calls) == 1
    assert len(pair[1].calls) == 2
    await engine.stop()
    assert KEY not in caplog.text


async def test_nobody_answers(
    pair: tuple[Speaker, Speaker], chat_spec: Make, tmp_path: Path
) -> None:
    pair[0].moods, pair[1].moods = ["500"], ["401"]
    engine = await opened(pair, tmp_path)
    with pytest.raises(ModelUnavailable) as caught:
        await drain(engine.submit("j", asked(engine, chat_spec)))
    assert "one: it said 500" in str(caught.value) and KEY not in str(caught.value)
    await engine.stop()


async def test_a_server_that_knows_fewer_options_is_asked_again(
    pair: tuple[Speaker, Speaker], chat_spec: Make, tmp_path: Path
) -> None:
    pair[0].moods = ["picky", "uncounted"]
    engine = await opened(pair, tmp_path)
    answer = (await drain(engine.submit("j", asked(engine, chat_spec))))[-1]
    assert answer.text == "Paris is the capital."
    assert answer.recipe["seed_sent"] is False and answer.recipe["usage_counted"] is False
    assert answer.tokens_out == len(answer.text) // 4
    assert pair[0].calls[1].keys() == {"model", "messages", "stream", "max_completion_tokens"}
    await engine.stop()


async def test_stop_strings_and_cancel_end_the_stream(
    pair: tuple[Speaker, Speaker], chat_spec: Make, tmp_path: Path
) -> None:
    engine = await opened(pair, tmp_path)
    cut = (await drain(engine.submit("j", asked(engine, chat_spec, stop=("the cap",)))))[-1]
    assert (cut.text, cut.recipe["finish"]) == ("Paris is ", "stop")
    pair[0].pause_s = 30
    run = engine.submit("k", asked(engine, chat_spec))
    first = await anext(run)
    assert first == Text("Paris ")
    run.cancel()
    with pytest.raises(Cancelled):
        await drain(run)
    late = engine.submit("l", asked(engine, chat_spec))
    await anext(late)
    await engine.stop()
    with pytest.raises(EngineStopped):
        await drain(late)


async def test_a_picture_goes_along(
    pair: tuple[Speaker, Speaker], chat_spec: Make, tmp_path: Path
) -> None:
    engine = await opened(pair, tmp_path)
    source = Source(blob="ab/cd", sha256="0", width=2000, height=1000)
    spec = asked(engine, chat_spec, images=(source,))
    run = engine.submit("j", spec, hold=True)
    await asyncio.sleep(0.05)
    assert not pair[0].calls, "not before the picture was judged"
    engine.release(run, {"ab/cd": Image.new("RGB", (2000, 1000), "red")})
    await drain(run)
    shown, words = pair[0].calls[0]["messages"][-1]["content"]
    assert words == {"type": "text", "text": "hello"}
    data = base64.b64decode(shown["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(data)).size == (1024, 512)
    await engine.stop()


@pytest.mark.parametrize(
    "value",
    ["vllm", "vllm=ftp://x/v1#m", "vllm=http://x/v1", "V=http://x#m", "a=http://me:pw@x/v1#m",
     "a=http://x/v1#m,a=http://y/v1#m"],
)  # fmt: skip
def test_a_list_that_cannot_be_read_names_its_setting(value: str) -> None:
    with pytest.raises(OperatorError) as caught:
        parse_providers("ATELIER_CHAT_PROVIDERS", value)
    assert "ATELIER_CHAT_PROVIDERS" in str(caught.value) and "pw" not in str(caught.value)


def test_lists_are_read_in_order() -> None:
    found = parse_providers("S", " a=http://x:1/v1/#org/m:tag , b=https://y/v1#n ")
    assert [(p.name, p.url, p.model) for p in found] == [
        ("a", "http://x:1/v1", "org/m:tag"), ("b", "https://y/v1", "n"),
    ]  # fmt: skip
    assert parse_keys("K", "a=sk-=1, b=two") == {"a": "sk-=1", "b": "two"}
    with pytest.raises(OperatorError) as caught:
        parse_keys("K", "a=fine,secretwithoutname")
    assert "secretwithoutname" not in str(caught.value)
