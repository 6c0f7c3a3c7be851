"""Pipelines that nobody took apart: the same picture, paused, shown and cancelled at each step."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from storage.errors import BadInput
from storage.recipes import spec_of
from storage.registry import Registry
from storage.schema import ChatSpec, ImageSpec, Mode
from tests.engine.alone import card, registry, spec, ticking
from tests.engine.others import OTHERS, other
from worker.engine.engine import Engine
from worker.engine.errors import Cancelled, ModelUnavailable, StepFailed
from worker.engine.loading import load
from worker.engine.outputs import Answer, Output, Picture, Progress
from worker.engine.run import Run
from worker.engine.runners.chat import ChatRunner
from worker.engine.runners.fallback import FallbackRunner
from worker.engine.runners.pausing import Pausing

ALL = list(OTHERS)


@cache
def runner(kind: str) -> FallbackRunner:
    with torch.inference_mode():
        return FallbackRunner(card("tiny"), registry(), copy.deepcopy(other(kind)), "cpu")


def outputs(here: FallbackRunner, one: ImageSpec) -> list[Output]:
    """Everything one picture yields, stepped alone."""
    with torch.inference_mode():
        work, found, done = here.begin(one, 0), [], False
        while not done:
            stepped = here.advance(work, here.forward([work])[0])
            found += stepped.outputs
            done = stepped.done
        here.drop(work)
    return found


def through_pipeline(kind: str, one: ImageSpec) -> Any:
    """What diffusers makes of a spec, called as its documentation says."""
    pipe = other(kind)
    options: dict[str, Any] = {"guidance_scale": one.guidance}
    if kind in ("flux1-schnell", "qwen-image"):
        options = {"true_cfg_scale": one.guidance, "negative_prompt": one.negative or " "}
        if one.guidance <= 1:
            options = {}
    if kind in ("pixart", "sana"):
        options["use_resolution_binning"] = False
    return pipe(
        prompt=one.prompt, width=one.width, height=one.height, num_inference_steps=one.steps,
        generator=torch.Generator("cpu").manual_seed(one.seed), **options,
    ).images[0]  # fmt: skip


def last(found: list[Output]) -> Picture:
    picture = found[-1]
    assert isinstance(picture, Picture)
    return picture


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("guidance", [0.0, 4.0])
def test_the_picture_of_the_pipeline_itself(kind: str, guidance: float) -> None:
    one = spec(guidance=guidance, steps=4)
    picture = last(outputs(runner(kind), one))
    assert np.array_equal(picture.image, through_pipeline(kind, one))
    assert picture.recipe["grade"] == "strict"
    assert picture.recipe["pipeline"] == type(other(kind)).__name__
    assert last(outputs(runner(kind), spec_of(picture.recipe))).recipe == picture.recipe


@pytest.mark.parametrize("kind", ALL)
def test_progress_previews_and_a_size_between_cells(kind: str) -> None:
    found = outputs(runner(kind), spec(width=72, height=104, steps=5))
    steps = [o for o in found if isinstance(o, Progress)]
    assert [p.step for p in steps] == [1, 2, 3, 4, 5]
    assert {p.steps for p in steps} == {5}
    previews = [p.preview for p in steps if p.preview]
    # Qwen-Image's latents are those of a video autoencoder.
    assert len(previews) == (0 if kind == "qwen-image" else 4)
    assert all(max(p.size) == 128 for p in previews)
    assert last(found).image.size == (72, 104)


def test_two_in_one_pipeline_do_not_mix() -> None:
    """A pipeline keeps its scheduler and guidance in itself: each call has its own."""
    here = runner("sd3")
    specs = [spec(steps=3, guidance=0.0), spec(steps=5, guidance=6.0, seed=8, width=128)]
    alone = [last(outputs(here, one)).sha256 for one in specs]
    with torch.inference_mode():
        works = [here.begin(one, 0) for one in specs]
        made: dict[int, str] = {}
        while len(made) < 2:
            for i, work in enumerate(works):
                if i not in made:
                    stepped = here.advance(work, here.forward([work])[0])
                    if stepped.done:
                        made[i] = last(stepped.outputs).sha256
    assert [made[0], made[1]] == alone


def test_only_what_it_can_do_is_taken() -> None:
    here = runner("sd3")
    for name in ("own", "flow"):
        here.begin(spec(scheduler=name), 0)
    with pytest.raises(BadInput) as caught:
        here.begin(spec(scheduler="ddim"), 0)
    assert caught.value.code == "scheduler_unfit" and caught.value.params["known"] == "flow, own"
    with pytest.raises(BadInput) as refused:
        here.begin(spec(mode=Mode.OUTPAINT), 0)
    assert refused.value.code == "mode_unfit"
    with pytest.raises(BadInput, match="mode_unfit"):  # as the engine calls it: with the pixels
        here.begin(spec(mode=Mode.IMAGE), 0, {"start": Image.new("RGB", (64, 64))})


# ---- in the engine ------------------------------------------------------------------------------


async def drain(run: Run) -> list[Output]:
    return [o async for o in run]


def engine(inner: Any, chat: Any = None) -> Engine:
    cards = {"tiny": card("tiny"), "talk": registry().cards["talk"]}
    runners = {"tiny": inner, "talk": chat}
    return Engine(
        Registry(cards, {}, "tiny", "talk"), Path("/nowhere"), load=lambda c: runners[c.name],
        clock=ticking(),
    )  # fmt: skip


def pausing_threads() -> int:
    return sum(thread.name == "pausing" for thread in threading.enumerate())


@pytest.mark.parametrize("at", range(1, 6))
async def test_cancel_within_one_step_at_every_point(at: int) -> None:
    here = runner("sd3")
    made = engine(here)
    await made.start()
    passes: list[int] = []
    runs: list[Run] = []

    def press(*_: Any) -> None:
        """Somebody presses Cancel in the middle of step ``at``."""
        passes.append(1)
        if len(passes) == at:
            runs[0].cancel()

    hook = here.denoiser.register_forward_hook(press)
    runs.append(made.submit("j", spec(steps=5, guidance=0.0), hold=True))
    made.release(runs[0], {})
    with pytest.raises(Cancelled):
        await drain(runs[0])
    assert len(passes) == at
    hook.remove()
    # The pipeline's call is gone and the next picture is right.
    found = await drain(made.submit("k", spec(steps=1, guidance=0.0)))
    await made.stop()
    assert isinstance(found[-1], Picture)
    assert found[-1].sha256 == last(outputs(here, spec(steps=1, guidance=0.0))).sha256
    assert pausing_threads() == 0


async def test_a_stopped_engine_leaves_no_call_behind() -> None:
    made = engine(runner("sd3"))
    await made.start()
    run = made.submit("j", spec(steps=50))
    await anext(run)
    await made.stop()
    assert pausing_threads() == 0


async def test_an_answer_is_written_between_the_steps(
    chat_runner: ChatRunner, chat_spec: Callable[..., ChatSpec]
) -> None:
    made = engine(runner("sd3"), chat_runner)
    await made.start()
    await made.warm(["tiny", "talk"])
    order: list[str] = []

    async def watch(name: str, run: Run) -> Output:
        found = []
        async for output in run:
            order.append(name)
            found.append(output)
        return found[-1]

    picture = made.submit("p", spec(steps=60))
    await anext(picture)
    answer = made.submit("a", chat_spec("x", max_tokens=24))
    ends = await asyncio.gather(watch("picture", picture), watch("answer", answer))
    await made.stop()
    assert isinstance(ends[0], Picture) and isinstance(ends[1], Answer)
    # The answer ended while the picture still had steps to make.
    assert order.index("picture") < len(order) - 1 - order[::-1].index("answer") < len(order) - 10


async def test_a_fault_in_the_pipeline_ends_only_its_run() -> None:
    here = FallbackRunner(card("tiny"), registry(), copy.deepcopy(other("sd3")), "cpu")
    calls = []

    def fail(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("out of luck")

    here.denoiser.register_forward_hook(fail)
    made = engine(here)
    await made.start()
    with pytest.raises(StepFailed):
        await drain(made.submit("j", spec(guidance=0.0)))
    assert isinstance((await drain(made.submit("k", spec(guidance=0.0))))[-1], Picture)
    await made.stop()
    assert pausing_threads() == 0


def test_tried_again_after_a_fault_it_is_the_same_picture() -> None:
    """As after a shortage of memory: the call begins anew."""
    here = FallbackRunner(card("tiny"), registry(), copy.deepcopy(other("sd3")), "cpu")
    one = spec(guidance=0.0)
    expected = last(outputs(here, one)).sha256
    with torch.inference_mode():
        work = here.begin(one, 0)
        here.advance(work, here.forward([work])[0])
        hook = here.denoiser.register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            here.forward([work])
        hook.remove()
        found: list[Output] = []
        while not found or not isinstance(found[-1], Picture):
            found += here.advance(work, here.forward([work])[0]).outputs
    assert last(found).sha256 == expected
    assert [p.step for p in found if isinstance(p, Progress)] == [1, 2, 3]


# ---- loading ------------------------------------------------------------------------------------


async def test_one_line_in_the_registry_is_enough(tmp_path: Path) -> None:
    other("flux1-schnell").save_pretrained(tmp_path / "tiny", safe_serialization=True)
    loaded = load(
        card("tiny").model_copy(update={"source": "hub", "repo": "some/one", "scheduler": "own"}),
        registry(), tmp_path, "cpu",
    )  # fmt: skip
    assert isinstance(loaded, FallbackRunner)
    with torch.inference_mode():
        loaded.warm()
    expected = last(outputs(runner("flux1-schnell"), spec()))
    assert last(outputs(loaded, spec())).sha256 == expected.sha256


def test_what_diffusers_does_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model_index.json").write_text('{"_class_name": "NoSuchPipeline"}')
    hub = card("tiny").model_copy(update={"source": "hub", "repo": "some/one"})
    with pytest.raises(ModelUnavailable, match="NoSuchPipeline"):
        load(hub, registry(), tmp_path, "cpu")


# ---- the pause itself ---------------------------------------------------------------------------


def test_a_paused_call_runs_only_while_it_is_waited_for() -> None:
    log: list[Any] = []

    def call(pause: Callable[[Any], None]) -> str:
        for i in range(3):
            log.append(("inside", i, torch.is_inference_mode_enabled(), torch.get_num_threads()))
            pause(i)
        return "end"

    with torch.inference_mode():
        paused = Pausing(call)
        assert log == []
        assert [paused.resume() for _ in range(3)] == [0, 1, 2]
        assert not paused.ended
        assert paused.resume() == "end" and paused.ended
    with pytest.raises(RuntimeError):
        paused.resume()
    paused.close()
    assert log == [("inside", i, True, torch.get_num_threads()) for i in range(3)]


def test_an_abandoned_call_unwinds_through_handlers() -> None:
    undone: list[str] = []

    def call(pause: Callable[[Any], None]) -> None:
        try:
            pause(1)
        except Exception:
            undone.append("swallowed")
        finally:
            undone.append("unwound")

    paused = Pausing(call)
    paused.resume()
    paused.close()
    paused.close()
    assert undone == ["unwound"] and paused.ended
    Pausing(call).close()  # never begun
