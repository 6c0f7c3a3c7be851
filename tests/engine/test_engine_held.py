"""A held run belongs to nobody yet: cancelled or forgotten, it must not keep its place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from storage.errors import BadInput
from storage.registry import Registry
from storage.schema import ChatSpec, ImageSpec, JobKind, Source
from tests.engine.test_engine_life import drain, made
from worker.engine.engine import Engine
from worker.engine.errors import Cancelled, EngineStopped, ModelUnavailable
from worker.engine.outputs import Answer, Picture


async def test_a_held_run_that_is_cancelled_ends_and_gives_its_place_back(
    engine: Engine, image_spec: Callable[..., ImageSpec]
) -> None:
    run = engine.submit("held", image_spec(count=4), hold=True)
    assert engine.room()[JobKind.IMAGE] == 4
    run.cancel()
    assert run.ended
    assert engine.room()[JobKind.IMAGE] == 8
    engine.release(run, {})  # whoever read its pictures has not heard of it
    with pytest.raises(Cancelled):
        await drain(run)
    assert isinstance((await drain(engine.submit("next", image_spec())))[-1], Picture)


async def test_a_held_run_ends_with_the_engine(
    registry: Registry, image_runner: Any, image_spec: Callable[..., ImageSpec]
) -> None:
    engine = made(registry, {"tiny": image_runner})
    await engine.start()
    run = engine.submit("held", image_spec(), hold=True)
    await engine.stop()
    engine.release(run, {})
    with pytest.raises(EngineStopped):
        await drain(run)


async def test_a_question_about_pictures_is_refused_by_a_model_of_words(
    engine: Engine, chat_spec: Callable[..., ChatSpec]
) -> None:
    """As one that this machine's registry does not call a vision model may be asked."""
    source = Source(blob="ab/cd", sha256="0", width=8, height=8)
    run = engine.submit("j", chat_spec(images=(source,)), hold=True)
    engine.release(run, {"ab/cd": Image.new("RGB", (8, 8))})
    with pytest.raises(BadInput, match="vision_none"):
        await drain(run)
    assert isinstance((await drain(engine.submit("k", chat_spec())))[-1], Answer)


async def test_a_model_nobody_knows_does_not_end_the_engine(
    engine: Engine, image_spec: Callable[..., ImageSpec]
) -> None:
    with pytest.raises(ModelUnavailable, match="no-such"):
        await asyncio.wait_for(engine.warm(["no-such"]), 60)
    assert engine.alive
    assert isinstance((await drain(engine.submit("j", image_spec())))[-1], Picture)


async def test_a_load_without_memory_names_a_cure(
    registry: Registry, image_spec: Callable[..., ImageSpec]
) -> None:
    tries: list[str] = []

    def load(card: Any) -> Any:
        tries.append(card.name)
        raise MemoryError

    engine = Engine(registry, Path("/nowhere"), load=load)
    await engine.start()
    with pytest.raises(ModelUnavailable) as caught:
        await drain(engine.submit("j", image_spec()))
    await engine.stop()
    assert tries == ["tiny", "tiny"], "once more, with what was given back"
    assert "smaller" in caught.value.cure
