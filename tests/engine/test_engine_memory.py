"""Running out of memory, loading beside what runs, parking: found out by injected faults."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from storage.registry import ModelCard, Registry
from storage.schema import ChatSpec, ImageSpec, JobKind
from tests.engine.test_engine_life import Hooked, drain, made
from worker.engine.engine import Engine
from worker.engine.errors import OutOfMemory, StepFailed
from worker.engine.memory import is_shortage
from worker.engine.meter import Meter
from worker.engine.outputs import Answer, Picture, Progress
from worker.engine.profile import Profile
from worker.engine.runners.base import Runner


class Counting(Meter):
    """Remembers what it heard."""

    def __init__(self) -> None:
        self.short: list[int] = []
        self.passes: list[int] = []
        self.gone: list[tuple[str, bool]] = []

    def stepped(self, kind: JobKind, requests: int, rows: int, seconds: float) -> None:
        self.passes.append(requests)

    def ran_out(self, key: str, rows: int) -> None:
        self.short.append(rows)

    def dropped(self, model: str, *, parked: bool) -> None:
        self.gone.append((model, parked))


class Small(Hooked):
    """A device with room for so many works of a pass; more raise what torch raises."""

    def __init__(self, inner: Any, room: int) -> None:
        super().__init__(inner, self.weigh)
        self.room = room

    def weigh(self, works: list[Any]) -> None:
        if len(works) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of range"), False),
    ],
)
def test_what_counts_as_a_shortage(error: Exception, short: bool) -> None:
    assert is_shortage(error) is short
    outer = StepFailed("x")
    outer.__cause__ = error
    assert is_shortage(outer) is short


@pytest.mark.parametrize("room", [1, 2, 3, 5])
async def test_a_batch_that_does_not_fit_is_halved_and_the_cap_learns(
    room: int, registry: Registry, image_runner: Any, image_spec: Callable[..., ImageSpec]
) -> None:
    """Everyone gets the very picture they would have got, and the next pass is smaller at once."""
    meter = Counting()
    engine = made(registry, {"tiny": Small(image_runner, room)}, max_images=8, meter=meter)
    plain = made(registry, {"tiny": image_runner}, max_images=8)
    await asyncio.gather(engine.start(), plain.start())
    specs = [image_spec(seed=s, steps=6, guidance=0.0) for s in range(6)]
    ends = await asyncio.gather(*(drain(engine.submit(str(s.seed), s)) for s in specs))
    wanted = await asyncio.gather(*(drain(plain.submit(str(s.seed), s)) for s in specs))
    await asyncio.gather(engine.stop(), plain.stop())
    for got, want in zip(ends, wanted, strict=True):
        assert isinstance(got[-1], Picture) and isinstance(want[-1], Picture)
        assert got[-1].sha256 == want[-1].sha256
        assert sum(isinstance(o, Progress) for o in got) == 6
    assert meter.short and len(meter.short) <= 3, "it learned nothing from the first shortage"


async def test_too_large_even_alone_fails_that_run_only(
    registry: Registry, image_runner: Any, image_spec: Callable[..., ImageSpec]
) -> None:
    class Large(Hooked):
        def forward(self, works: Sequence[Any]) -> list[Any]:
            if any(work.seed == 13 for work in works):
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(works)

    engine = made(registry, {"tiny": Large(image_runner, lambda works: None)})
    await engine.start()
    ends = await asyncio.gather(
        *(drain(engine.submit(str(s), image_spec(seed=s))) for s in (12, 13, 14)),
        return_exceptions=True,
    )
    await engine.stop()
    assert isinstance(ends[1], OutOfMemory)
    for end in (ends[0], ends[2]):
        assert isinstance(end, list) and isinstance(end[-1], Picture)


class Reading(Hooked):
    """A runner whose hook is asked when a prompt is read, not when it is stepped."""

    def begin(self, spec: Any, index: int) -> Any:
        self.hook([])
        return self.inner.begin(spec, index)

    def forward(self, works: Sequence[Any]) -> list[Any]:
        return self.inner.forward(works)


@pytest.mark.parametrize("where", [Hooked, Reading])
async def test_a_lone_request_gets_the_room_of_what_is_idle(
    where: type[Hooked], registry: Registry, image_runner: Any, chat_runner: Any,
    image_spec: Callable[..., ImageSpec],
) -> None:  # fmt: skip
    meter = Counting()

    def full(_: list[Any]) -> None:
        if "talk" in engine.loaded() and ("talk", False) not in meter.gone:
            raise torch.OutOfMemoryError("CUDA out of memory")

    runners = {"tiny": where(image_runner, full), "talk": chat_runner}
    engine = made(registry, runners, meter=meter)
    await engine.start()
    await engine.warm(["tiny", "talk"])
    assert isinstance((await drain(engine.submit("j", image_spec())))[-1], Picture)
    assert engine.loaded() == ["tiny"]
    await engine.stop()


async def test_a_load_does_not_stop_what_runs(
    registry: Registry, image_runner: Any, chat_runner: Any,
    image_spec: Callable[..., ImageSpec], chat_spec: Callable[..., ChatSpec],
) -> None:  # fmt: skip
    """The picture is made from beginning to end while the chat model is still being read."""
    reading, finished = threading.Event(), threading.Event()

    def load(card: ModelCard) -> Runner:
        if card.name == "talk":
            reading.set()
            assert finished.wait(60)
        return {"tiny": image_runner, "talk": chat_runner}[card.name]

    engine = Engine(registry, Path("/nowhere"), load=load)
    await engine.start()
    await engine.warm(["tiny"])
    answer = asyncio.create_task(drain(engine.submit("a", chat_spec())))
    assert await asyncio.to_thread(reading.wait, 20)
    assert isinstance((await drain(engine.submit("p", image_spec())))[-1], Picture)
    assert not answer.done()
    finished.set()
    assert isinstance((await answer)[-1], Answer)
    await engine.stop()


class Movable(Hooked):
    """A runner that can be parked; remembers where it was moved to."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner, lambda works: None)
        self.places: list[str] = []
        self.size = 60

    def move(self, device: str) -> None:
        self.places.append(device)


async def test_models_are_parked_in_ram_and_come_back_without_being_read(
    registry: Registry, image_runner: Any, image_spec: Callable[..., ImageSpec]
) -> None:
    runners = {name: Movable(image_runner) for name in ("tiny", "other")}
    reads: list[str] = []
    meter = Counting()

    def load(card: ModelCard) -> Runner:
        reads.append(card.name)
        return runners[card.name]

    engine = Engine(
        registry, Path("/nowhere"), load=load, memory_bytes=100, parked_bytes=200, meter=meter
    )
    await engine.start()
    for model in ("tiny", "other", "tiny", "other"):
        await drain(engine.submit("j", image_spec(model=model)))
    await engine.stop()
    assert reads == ["tiny", "other"]
    assert runners["tiny"].places == ["cpu", "cpu", "cpu"] and meter.gone[0] == ("tiny", True)


async def test_a_model_warmed_is_waited_for_and_a_stop_ends_the_waiting(
    registry: Registry, image_runner: Any
) -> None:
    hold = threading.Event()

    def load(card: ModelCard) -> Runner:
        hold.wait(20)
        return image_runner

    from worker.engine.errors import EngineStopped

    engine = Engine(registry, Path("/nowhere"), load=load)
    await engine.start()
    waiting = asyncio.create_task(engine.warm(["tiny"]))
    await asyncio.sleep(0.05)
    stopping = asyncio.create_task(engine.stop())
    with pytest.raises(EngineStopped):
        await waiting
    hold.set()
    await stopping


async def test_idle_moments_measure_the_curve_and_it_is_kept(
    registry: Registry, image_runner: Any, image_spec: Callable[..., ImageSpec], tmp_path: Path
) -> None:
    path = tmp_path / "profile.json"
    probed = Hooked(image_runner, lambda works: None)
    engine = made(registry, {"tiny": probed}, max_images=4, profile_path=path)
    await engine.start()
    await engine.warm(["tiny"])
    async with asyncio.timeout(60):
        while not path.exists():
            await asyncio.sleep(0.02)
    assert isinstance((await drain(engine.submit("j", image_spec())))[-1], Picture)
    await engine.stop()
    assert probed.passes >= 12
    # Read again by the next start: nothing is left to measure.
    again = Hooked(image_runner, lambda works: None)
    engine = made(registry, {"tiny": again}, max_images=4, profile_path=path)
    await engine.start()
    await engine.warm(["tiny"])
    await asyncio.sleep(0.2)
    await engine.stop()
    assert again.passes == 0


async def test_a_model_that_is_measured_can_leave(
    registry: Registry, image_runner: Any, chat_runner: Any,
    image_spec: Callable[..., ImageSpec], chat_spec: Callable[..., ChatSpec], tmp_path: Path,
) -> None:  # fmt: skip
    """A job comes while the curve is measured, its model takes the place of the measured one while
    an answer is written: the throw-away pictures must not keep that one's weights in memory."""
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    first: list[weakref.ref[Hooked]] = []
    alive: list[bool] = []

    def probed(works: list[Any]) -> None:
        if works[0].spec.prompt == "probe":
            loop.call_soon_threadsafe(begun.set)
            wanted.wait(60)

    def load(card: ModelCard) -> Runner:
        if card.name == "other":
            gc.collect()
            alive.append(first[0]() is not None)
            looked.set()
        if card.name == "talk":
            return Hooked(chat_runner, lambda works: looked.wait(60) if wanted.is_set() else None)
        runner = Hooked(image_runner, probed if card.name == "tiny" else lambda works: None)
        runner.size = 900
        first.append(weakref.ref(runner))
        return runner

    wanted, looked = threading.Event(), threading.Event()
    engine = Engine(
        registry, Path("/nowhere"), load=load, memory_bytes=1_100 + chat_runner.size,
        profile_path=tmp_path / "p.json",
    )  # fmt: skip
    await engine.start()
    await engine.warm(["talk", "tiny"])
    await asyncio.wait_for(begun.wait(), 60)
    runs = [engine.submit("a", chat_spec()), engine.submit("j", image_spec(model="other"))]
    wanted.set()
    assert isinstance((await drain(runs[0]))[-1], Answer)
    assert isinstance((await drain(runs[1]))[-1], Picture)
    await engine.stop()
    assert alive == [False]


def test_a_profile_of_another_machine_or_a_broken_one_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    first = Profile(path, "here")
    for _ in range(3):
        first.note("k", 1, 1, 1.0)
        first.note("k", 4, 1, 2.0)
    first.save()
    assert Profile(path, "here").curve("k") == {1: 1.0, 4: 2.0}
    assert Profile(path, "there").curve("k") == {}
    for junk in ("", "[]", '{"identity": "here"}', '{"identity": "here", "times": {"k": 3}}'):
        path.write_text(junk)
        assert Profile(path, "here").caps() == {}


def test_time_since_the_epoch_is_what_moments_carry() -> None:
    from worker.engine.run import MOMENTS, Run

    async def run() -> Run:
        return Run("j", ImageSpec(model="m", prompt="p", width=64, height=64, steps=1,
                                  guidance=0, scheduler="ddim", seed=0), lambda: None)  # fmt: skip

    made_run = asyncio.run(run())
    for _ in range(MOMENTS + 5):
        made_run.note("step", 0.5)
    assert len(made_run.moments) == MOMENTS
    assert abs(made_run.moments[0].at + 0.5 - time.time()) < 60
