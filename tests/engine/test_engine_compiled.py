"""Regional compilation: in the background, shared as ever, named in the receipt."""

from __future__ import annotations

import copy
import logging
import shutil
import threading
import time
from typing import Any

import numpy as np
import pytest
import torch

from storage.recipes import spec_of
from storage.schema import Grade
from tests.engine.alone import Made, alone, card, registry, spec, together
from worker.bench.tiny import pipeline
from worker.engine.runners.families import family_of
from worker.engine.runners.image import ImageRunner

PATIENCE_S = 240.0
"""Compilers are slow on a busy machine; nothing here depends on how slow."""
COMPILER = "inductor" if shutil.which("c++") or shutil.which("g++") else "aot_eager"
TELLING: list[str] = []
"""The threads that the backend ``telling`` was asked on."""


@torch._dynamo.register_backend(name="telling")
def telling(graph: Any, inputs: Any) -> Any:
    """Compiles nothing, and says who asked."""
    TELLING.append(threading.current_thread().name)
    return graph.forward


def compiling(kind: str, compiler: str) -> ImageRunner:
    pipe = copy.deepcopy(pipeline(kind))
    pipe.set_progress_bar_config(disable=True)
    family = family_of(type(pipe).__name__)
    assert family is not None
    with torch.inference_mode():
        return ImageRunner(card("tiny"), registry(), family(pipe, "cpu"), compiler=compiler)


def ready(here: ImageRunner) -> Made:
    """The picture that no compiled code drew; after it there is some."""
    first = alone(here, spec())
    assert here.compiled is not None
    assert here.compiled.wait(PATIENCE_S)
    return first


@pytest.fixture(scope="module")
def compiled() -> tuple[ImageRunner, Made]:
    """A Stable Diffusion with compiled code, by a real compiler where there is one."""
    here = compiling("sd15", COMPILER)
    return here, ready(here)


def apart(one: Made, other: Made) -> int:
    """The largest difference of two pictures, in levels of 255."""
    a, b = (np.asarray(m.picture.image, np.int16) for m in (one, other))
    return int(np.abs(a - b).max())


def test_the_first_picture_waits_for_no_compiler(compiled: tuple[ImageRunner, Made]) -> None:
    here, first = compiled
    assert "compiled" not in first.picture.recipe
    assert first.picture.recipe["grade"] == Grade.REPLAY
    later = alone(here, spec())
    assert later.picture.recipe["compiled"] is True
    assert later.picture.recipe["compiler"] == COMPILER
    assert apart(first, later) <= 2  # another order of sums, no other picture


def test_company_shares_compiled_passes_and_receipts_repeat_them(
    compiled: tuple[ImageRunner, Made],
) -> None:
    here, _ = compiled
    company = [
        spec(prompt=f"p{i}", seed=i, steps=3 + i % 2, guidance=[0.0, 3.0][i % 2]) for i in range(3)
    ]
    passes: list[int] = []
    hook = here.family.denoiser.register_forward_hook(lambda *_: passes.append(1))
    try:
        made = together(here, company)
    finally:
        hook.remove()
    assert len(passes) == 4
    for one in made:
        assert one is not None
        again = spec_of(one.picture.recipe)
        assert again.compiled is True and (again.bucket or again.buckets)
        assert alone(here, again).same_bits(one)


def test_what_was_drawn_uncompiled_is_repeated_so(compiled: tuple[ImageRunner, Made]) -> None:
    here, first = compiled
    assert alone(here, spec_of(first.picture.recipe)).same_bits(first)
    strict = alone(here, spec(grade=Grade.STRICT))
    assert "compiled" not in strict.picture.recipe


def test_a_changed_network_falls_back_to_what_is_right(
    compiled: tuple[ImageRunner, Made], caplog: pytest.LogCaptureFixture
) -> None:
    """As a LoRA does: the layers it is put into are other modules than those compiled."""
    here, first = compiled
    blocks = [m for m in here.family.denoiser.modules() if type(m).__name__.endswith("erBlock")]
    plain = blocks[0].ff
    blocks[0].ff = torch.nn.Sequential(plain)
    try:
        with caplog.at_level(logging.WARNING):
            found = alone(here, spec())
    finally:
        blocks[0].ff = plain
    assert found.picture.recipe["compiled"] is False
    assert "no longer fit" in caplog.text
    assert apart(first, found) <= 2
    assert "compiled" not in alone(here, spec()).picture.recipe


@pytest.mark.parametrize("kind", ["klein", "z-image"])
def test_transformers_compile_beside_the_engine_only(kind: str) -> None:
    here = compiling(kind, "telling")
    TELLING.clear()
    first = ready(here)
    assert set(TELLING) == {"compiler"}
    told = len(TELLING)
    made = together(here, [spec(), spec(prompt="p", steps=2)])
    assert len(TELLING) == told
    assert made[0] is not None and made[0].picture.recipe["compiled"] is True
    assert apart(first, made[0]) <= 1


def test_a_compiler_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    here = compiling("sd15", "no-such-compiler")
    with caplog.at_level(logging.WARNING):
        first = ready(here)
    assert "is drawn uncompiled" in caplog.text
    second = alone(here, spec())
    assert second.same_bits(first) and "compiled" not in second.picture.recipe


def test_a_model_that_is_parked_meanwhile_is_compiled_later() -> None:
    """Its weights leave while its blocks are compiled, which fails: that is no fault of theirs."""
    here = compiling("sd15", "telling")
    compiled = here.compiled
    assert compiled is not None
    denoise, away = compiled._denoise, threading.Event()

    def broken(rows: Any) -> Any:
        if away.is_set():
            raise RuntimeError("Expected all tensors to be on the same device")
        return denoise(rows)

    compiled._denoise = broken

    def park() -> None:
        with compiled.still():
            away.set()

    parking = threading.Thread(target=park)
    with compiled._network:  # so that neither is first by luck
        alone(here, spec())
        parking.start()
        while not compiled._moves:
            time.sleep(0.001)
        away.set()
    parking.join()
    assert compiled.wait(PATIENCE_S)
    assert not compiled.failed
    away.clear()
    ready(here)
    assert alone(here, spec()).picture.recipe["compiled"]
