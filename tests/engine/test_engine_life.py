"""Start, stop, cancel, room and faults: nobody waits for ever and nobody suffers for another."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from storage.errors import BadInput, NotFound, OperatorError, RetryLater
from storage.registry import ModelCard, Registry
from storage.schema import ChatSpec, ImageSpec, JobKind
from tests.engine.alone import ticking
from worker.engine.engine import Engine
from worker.engine.errors import (
    BadPicture,
    Cancelled,
    EngineStopped,
    ModelUnavailable,
    StepFailed,
)
from worker.engine.outputs import Answer, Output, Picture, Progress
from worker.engine.run import Run
from worker.engine.runners.base import Runner
from worker.engine.runners.image import Pass, Stepped


class Hooked:
    """A real runner with a hook before every pass and a count of the passes made."""

    def __init__(self, inner: Any, hook: Callable[[list[Any]], None]) -> None:
        self.inner, self.hook, self.passes = inner, hook, 0
        self.kind, self.shares, self.size = inner.kind, inner.shares, inner.size

    def begin(self, spec: Any, index: int) -> Any:
        return self.inner.begin(spec, index)

    def forward(self, works: Sequence[Any]) -> list[Any]:
        self.hook(list(works))
        self.passes += 1
        return self.inner.forward(works)

    def advance(self, work: Any, result: Any) -> Stepped:
        return self.inner.advance(work, result)

    def drop(self, work: Any) -> None:
        self.inner.drop(work)

    def warm(self) -> None:
        self.inner.warm()


def held_by(gate: threading.Event) -> Callable[[list[Any]], None]:
    """A hook that lets no pass begin before the gate is open."""

    def hook(_: list[Any]) -> None:
        assert gate.wait(60)

    return hook


async def drain(run: Run) -> list[Output]:
    return [o async for o in run]


def made(registry: Registry, runners: dict[str, Any], **more: Any) -> Engine:
    more = {"clock": ticking()} | more
    return Engine(registry, Path("/nowhere"), load=lambda card: runners[card.name], **more)


@pytest.mark.parametrize("at", range(1, 7))
async def test_cancel_within_one_step_of_a_picture(
    at: int, registry: Registry, image_runner: Runner, image_spec: Callable[..., ImageSpec]
) -> None:
    """Passes 1 to 5 are steps, 6 is the decode; the one in progress is the last."""

    def hook(_: list[Any]) -> None:
        if runner.passes == at - 1:
            run.cancel()

    runner = Hooked(image_runner, hook)
    engine = made(registry, {"tiny": runner})
    await engine.start()
    run = engine.submit("j", image_spec(steps=5))
    outputs: list[Output] = []
    with pytest.raises(Cancelled):
        async for output in run:
            outputs.append(output)
    await engine.stop()
    assert runner.passes == at
    assert len(outputs) == at - 1
    assert not any(isinstance(o, Picture) for o in outputs)


@pytest.mark.parametrize("at", [1, 2, 5])
async def test_cancel_within_one_token(
    at: int, registry: Registry, chat_runner: Runner, chat_spec: Callable[..., ChatSpec]
) -> None:
    def hook(_: list[Any]) -> None:
        if runner.passes == at - 1:
            run.cancel()

    runner = Hooked(chat_runner, hook)
    engine = made(registry, {"talk": runner})
    await engine.start()
    run = engine.submit("j", chat_spec())
    with pytest.raises(Cancelled):
        await drain(run)
    await engine.stop()
    assert runner.passes == at


async def test_cancel_while_waiting_and_after_the_end(
    registry: Registry, image_runner: Runner, image_spec: Callable[..., ImageSpec]
) -> None:
    gate = threading.Event()
    runner = Hooked(image_runner, held_by(gate))
    engine = made(registry, {"tiny": runner}, max_images=1)
    await engine.start()
    first, second = engine.submit("1", image_spec(steps=8)), engine.submit("2", image_spec())
    assert engine.room()[JobKind.IMAGE] == 0
    second.cancel()
    gate.set()
    with pytest.raises(Cancelled):
        await drain(second)
    assert second.busy_ms == 0
    outputs = await drain(first)
    first.cancel()
    assert isinstance(outputs[-1], Picture)
    assert await drain(first) == []
    assert engine.room() == {JobKind.IMAGE: 1, JobKind.CHAT: 4}
    await engine.stop()


async def test_room_counts_pictures_not_jobs(
    registry: Registry, image_runner: Runner, chat_runner: Runner,
    image_spec: Callable[..., ImageSpec], chat_spec: Callable[..., ChatSpec],
) -> None:  # fmt: skip
    gate = threading.Event()
    inner = {"tiny": image_runner, "talk": chat_runner}
    runners = {name: Hooked(one, held_by(gate)) for name, one in inner.items()}
    engine = made(registry, runners, max_images=8, max_chats=8)
    await engine.start()
    runs = [
        engine.submit("a", image_spec(count=4, steps=30)),
        engine.submit("b", image_spec(steps=30)),
        engine.submit("c", chat_spec()),
    ]
    assert engine.room() == {JobKind.IMAGE: 3, JobKind.CHAT: 7}
    more = engine.submit("d", image_spec(count=4, steps=30))
    assert engine.room()[JobKind.IMAGE] == 0
    gate.set()
    await asyncio.gather(*map(drain, [*runs, more]))
    assert engine.room() == {JobKind.IMAGE: 8, JobKind.CHAT: 8}
    await engine.stop()


async def test_stop_ends_running_and_waiting_runs(
    registry: Registry,
    image_runner: Runner,
    image_spec: Callable[..., ImageSpec],
    chat_runner: Runner,
    chat_spec: Callable[..., ChatSpec],
) -> None:
    engine = made(registry, {"tiny": image_runner, "talk": chat_runner}, max_images=1)
    assert engine.room() == {JobKind.IMAGE: 0, JobKind.CHAT: 0}
    with pytest.raises(EngineStopped):
        await engine.warm(["tiny"])
    await engine.start()
    running = engine.submit("1", image_spec(steps=150))
    others = [engine.submit("2", image_spec()), engine.submit("3", chat_spec(max_tokens=4096))]
    assert isinstance(await anext(aiter(running)), Progress)
    await asyncio.wait_for(engine.stop(), 60)
    for run in [running, *others]:
        with pytest.raises(EngineStopped) as caught:
            await drain(run)
        assert isinstance(caught.value, RetryLater)
    assert not engine.alive
    assert engine.room() == {JobKind.IMAGE: 0, JobKind.CHAT: 0}
    assert engine.loaded() == []
    with pytest.raises(EngineStopped):
        await drain(engine.submit("late", image_spec()))
    await engine.stop()


async def test_one_fault_in_a_shared_step_hurts_only_its_own_run(
    registry: Registry, image_runner: Runner, image_spec: Callable[..., ImageSpec]
) -> None:
    def hook(works: list[Any]) -> None:
        if any(w.spec.prompt == "bomb" and w.step == 2 for w in works):
            raise ZeroDivisionError("boom")

    runner = Hooked(image_runner, hook)
    engine = made(registry, {"tiny": runner}, max_images=4)
    await engine.start()
    fine = [image_spec(seed=i, scheduler="unipc") for i in range(3)]
    alone = [(await drain(engine.submit("a", spec)))[-1] for spec in fine]
    runs = [engine.submit("x", spec) for spec in (fine[0], image_spec(prompt="bomb"), *fine[1:])]
    ends = await asyncio.gather(*map(drain, runs), return_exceptions=True)
    assert isinstance(ends[1], StepFailed)
    assert isinstance(ends[1].__cause__, ZeroDivisionError)
    for outputs, expected in zip([ends[0], *ends[2:]], alone, strict=True):
        assert isinstance(outputs, list) and isinstance(expected, Picture)
        assert isinstance(outputs[-1], Picture)
        assert outputs[-1].sha256 == expected.sha256
    assert engine.alive
    await engine.stop()


async def test_a_passing_fault_of_a_shared_step_hurts_nobody(
    registry: Registry, image_runner: Runner, image_spec: Callable[..., ImageSpec]
) -> None:
    def hook(works: list[Any]) -> None:
        if len(works) > 1 and works[0].step == 1:
            raise MemoryError("too many at once")

    engine = made(registry, {"tiny": Hooked(image_runner, hook)})
    await engine.start()
    ends = await asyncio.gather(*(drain(engine.submit("j", image_spec(seed=i))) for i in range(4)))
    assert all(isinstance(outputs[-1], Picture) for outputs in ends)
    await engine.stop()


@pytest.mark.parametrize("poison", [float("nan"), None])
async def test_nan_and_flat_pictures_are_made_again_once(
    poison: float | None,
    registry: Registry,
    image_runner: Any,
    image_spec: Callable[..., ImageSpec],
) -> None:
    class Sick(Hooked):
        def forward(self, works: Sequence[Any]) -> list[Any]:
            results = super().forward(works)
            if works[0].step == works[0].steps and works[0].seed in (13, 14):
                return [Pass([torch.full_like(r.outs[0], poison or 0.5)], 1) for r in results]
            return results

    engine = made(registry, {"tiny": Sick(image_runner, lambda works: None)})
    await engine.start()
    with pytest.raises(BadPicture):
        await drain(engine.submit("j", image_spec(seed=13)))
    again = (await drain(engine.submit("j", image_spec(seed=14))))[-1]
    plain = (await drain(engine.submit("j", image_spec(seed=15))))[-1]
    await engine.stop()
    assert isinstance(again, Picture) and isinstance(plain, Picture)
    # Made again once, with the next seed, and it says so; otherwise it is that seed's picture.
    why = "flat" if poison is None else "nan"
    assert again.recipe["remade"] == {"why": why, "first_seed": 14}
    assert (again.seed, again.sha256) == (15, plain.sha256)
    assert "remade" not in plain.recipe


async def test_a_model_that_cannot_be_loaded_says_why_and_spares_the_rest(
    registry: Registry, image_runner: Runner, image_spec: Callable[..., ImageSpec]
) -> None:
    tries = []

    def load(card: ModelCard) -> Runner:
        if card.name == "other":
            tries.append(card.name)
            raise ModelUnavailable("model 'other' is not here", "put it there")
        return image_runner

    engine = Engine(registry, Path("/nowhere"), load=load)
    await engine.start()
    with pytest.raises(ModelUnavailable) as caught:
        await engine.warm(["other"])
    assert isinstance(caught.value, OperatorError)
    assert caught.value.cure == "put it there"
    ends = await asyncio.gather(
        *(drain(engine.submit("j", image_spec(model=m))) for m in ("other", "tiny", "other")),
        return_exceptions=True,
    )
    assert isinstance(ends[0], ModelUnavailable) and isinstance(ends[2], ModelUnavailable)
    assert isinstance(ends[1], list)
    assert engine.loaded() == ["tiny"]
    await engine.stop()


async def test_models_are_swapped_under_the_budget(
    registry: Registry, image_runner: Any, chat_runner: Any, image_spec: Callable[..., ImageSpec]
) -> None:
    loads: list[str] = []

    def load(card: ModelCard) -> Runner:
        loads.append(card.name)
        return image_runner

    engine = Engine(registry, Path("/nowhere"), load=load, memory_bytes=image_runner.size + 500)
    await engine.start()
    for model in ("tiny", "tiny", "other", "tiny"):
        await drain(engine.submit("j", image_spec(model=model)))
        assert engine.loaded() == [model]
    assert loads == ["tiny", "other", "tiny"]
    both = [engine.submit("j", image_spec(model=m, steps=6)) for m in ("tiny", "other", "tiny")]
    await asyncio.gather(*map(drain, both))
    assert engine.loaded() == ["tiny"]
    await engine.stop()


async def test_what_the_registry_does_not_know_is_refused_at_once(
    engine: Engine, image_spec: Callable[..., ImageSpec]
) -> None:
    for changes, code, kind in (
        ({"model": "nope"}, "model_unknown", NotFound),
        ({"style": "nope"}, "style_unknown", NotFound),
        ({"scheduler": "nope"}, "scheduler_unknown", BadInput),
    ):
        with pytest.raises(kind) as caught:
            engine.submit("j", image_spec(**changes))
        assert caught.value.code == code
    assert engine.room()[JobKind.IMAGE] == 8


async def test_text_that_is_not_valid_unicode_fails_alone(
    engine: Engine, chat_spec: Callable[..., ChatSpec]
) -> None:
    from storage.schema import Turn

    bad = chat_spec().model_copy(
        update={"turns": (Turn.model_construct(role="user", text="\ud800"),)}
    )
    ends = await asyncio.gather(
        drain(engine.submit("bad", bad)), drain(engine.submit("ok", chat_spec())),
        return_exceptions=True,
    )  # fmt: skip
    assert isinstance(ends[0], StepFailed)
    assert isinstance(ends[1], list) and isinstance(ends[1][-1], Answer)


async def test_a_dead_engine_leaves_nobody_waiting(
    registry: Registry, image_runner: Runner, image_spec: Callable[..., ImageSpec],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    engine = made(registry, {"tiny": image_runner})
    monkeypatch.setattr("worker.engine.stepper.plan", lambda *_: 1 / 0)
    await engine.start()
    with pytest.raises(EngineStopped):
        await drain(engine.submit("j", image_spec()))
    assert engine.room()[JobKind.IMAGE] == 0


async def test_the_event_loop_stays_free(
    registry: Registry, image_runner: Runner, chat_runner: Runner,
    image_spec: Callable[..., ImageSpec], chat_spec: Callable[..., ChatSpec],
) -> None:  # fmt: skip
    """Each step waits for the loop to do something; made on the loop, it would wait for ever."""
    loop = asyncio.get_running_loop()
    done: list[bool] = []

    def waits(_: list[Any]) -> None:
        free = threading.Event()
        loop.call_soon_threadsafe(free.set)
        done.append(free.wait(60))

    runners = {"tiny": Hooked(image_runner, waits), "talk": Hooked(chat_runner, waits)}
    engine = made(registry, runners)
    await engine.start()
    await engine.warm(["tiny", "talk"])
    ends = await asyncio.gather(
        drain(engine.submit("p", image_spec(steps=3))),
        drain(engine.submit("a", chat_spec(max_tokens=3))),
    )
    await engine.stop()
    assert all(runner.passes >= 3 for runner in runners.values())
    assert all(done)
    assert any(isinstance(o, Answer) for o in ends[1])


async def test_time_is_charged_once(
    registry: Registry, image_runner: Runner, chat_runner: Runner,
    image_spec: Callable[..., ImageSpec], chat_spec: Callable[..., ChatSpec],
) -> None:  # fmt: skip
    runners = {"tiny": image_runner, "talk": chat_runner}
    engine = made(registry, runners, max_images=8, clock=time.perf_counter)
    await engine.start()
    await engine.warm(["tiny", "talk"])
    began = time.perf_counter()
    runs = [engine.submit("j", image_spec(seed=i, guidance=5.0 * (i % 2))) for i in range(4)]
    runs.append(engine.submit("a", chat_spec()))
    await asyncio.gather(*map(drain, runs))
    wall = (time.perf_counter() - began) * 1000
    assert all(run.busy_ms > 0 for run in runs)
    assert sum(run.busy_ms for run in runs) <= wall + len(runs)
    await engine.stop()


def test_importing_the_engine_imports_no_torch() -> None:
    code = "import sys, worker.engine.engine; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
