"""The pipeline fails closed: whatever a stage does wrong, the content is held."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest

from moderation.pipeline import MAX_HUNG, Content, Ending, Pipeline
from moderation.policy import DEFAULT_POLICY, Surface
from storage.errors import OperatorError
from storage.schema import Category, Flag, Outcome, Verdict

TEXT = Content(Surface.PROMPT, text="a red apple")


class Fake:
    """A stage that does as told."""

    surfaces = frozenset(Surface)

    def __init__(self, check: Callable[[Content], Any], name: str = "text.fake") -> None:
        self.name = name
        self._check = check
        self.loaded = 0

    def load(self) -> None:
        self.loaded += 1

    def check(self, content: Content) -> Sequence[Flag]:
        found: Sequence[Flag] = self._check(content)
        return found


class Hanging(Fake):
    """Hangs until released."""

    def __init__(self, name: str = "text.hanging") -> None:
        self.release = threading.Event()
        self.calls = 0
        super().__init__(self._hang, name)

    def _hang(self, content: Content) -> list[Flag]:
        self.calls += 1
        self.release.wait(30)
        return []


class Endless(Sequence[Flag]):
    """A sequence that never ends."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: Any) -> Any:
        return flag()

    def __iter__(self) -> Iterator[Flag]:
        while True:
            time.sleep(0.01)
            yield flag()


def flag(category: Category = Category.SEX, score: float = 0.1) -> Flag:
    return Flag(category=category, score=score, stage="text.fake")


def judge(*stages: Any, content: Content = TEXT, timeout_s: float = 5.0) -> Verdict:
    return asyncio.run(Pipeline(stages, timeout_s=timeout_s).judge(content, DEFAULT_POLICY))


def raising(error: BaseException) -> Fake:
    def check(content: Content) -> Any:
        raise error

    return Fake(check)


def _nap() -> list[Flag]:
    time.sleep(0.05)
    return []


def _note(seen: list[Content], content: Content) -> list[Flag]:
    seen.append(content)
    return []


def answering(answer: Any) -> Fake:
    return Fake(lambda content: answer)


FAULTY: dict[str, Fake] = {
    "raises": raising(ValueError("secret words of a member")),
    "raises TimeoutError": raising(TimeoutError()),
    "raises CancelledError": raising(asyncio.CancelledError()),
    "raises StopIteration": raising(StopIteration()),
    "exits": raising(SystemExit(0)),
    "interrupts": raising(KeyboardInterrupt()),
    "no memory": raising(MemoryError()),
    "recurses": Fake(lambda content: FAULTY["recurses"].check(content)),
    "answers None": answering(None),
    "answers True": answering(True),
    "answers a word": answering("fine"),
    "answers bytes": answering(b"fine"),
    "answers a number": answering(0),
    "answers a flag": answering(flag()),
    "answers a set": answering({flag()}),
    "answers a dict": answering({"SEX": 0.1}),
    "answers a generator": answering(iter([flag()])),
    "answers dicts": answering([flag().model_dump()]),
    "answers None in a list": answering([flag(), None]),
    "answers a coroutine": answering([].__iter__),
    "NaN": answering([Flag.model_construct(category=Category.SEX, score=float("nan"), stage="s")]),
    "infinite": answering([Flag.model_construct(category=Category.SEX, score=-1e9, stage="s")]),
    "no category": answering(
        [Flag.model_construct(category=cast(Any, "FINE"), score=0.1, stage="s")]
    ),
    "missing fields": answering([cast(Any, Flag).model_construct()]),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_stage_holds(name: str) -> None:
    verdict = judge(FAULTY[name], Fake(lambda c: [], "text.good"))
    assert verdict.outcome is Outcome.HOLD
    (fault,) = verdict.flags
    assert fault.category is Category.FAULT
    assert fault.stage == "text.fake"
    assert "secret" not in fault.detail


@pytest.mark.parametrize("stage", [Hanging(), answering(Endless())], ids=["check", "answer"])
def test_a_hanging_stage_holds_in_time(stage: Fake) -> None:
    started = time.monotonic()
    verdict = judge(stage, Fake(lambda c: [flag()], "text.good"), timeout_s=1)
    assert time.monotonic() - started < 20, "it would hang for thirty"
    assert verdict.outcome is Outcome.HOLD
    assert {f.category for f in verdict.flags} == {Category.FAULT, Category.SEX}
    if isinstance(stage, Hanging):
        stage.release.set()


def test_a_fault_never_softens_a_block() -> None:
    bad = Fake(lambda c: [flag(Category.CSAE, 1.0)], "text.bad")
    assert judge(FAULTY["raises"], bad).outcome is Outcome.BLOCK


def test_stages_run_side_by_side() -> None:
    barrier = threading.Barrier(3, timeout=60)

    def check(content: Content) -> list[Flag]:
        barrier.wait()
        return []

    stages = [Fake(check, f"text.{n}") for n in "abc"]
    assert judge(*stages) == Verdict()


def test_a_stage_that_always_hangs_costs_a_few_threads_and_heals() -> None:
    stage = Hanging()
    endings: list[Ending] = []
    pipeline = Pipeline(
        [stage], timeout_s=0.05, observe=lambda name, ms, ending: endings.append(ending)
    )

    async def scenario() -> list[Verdict]:
        held = [await pipeline.judge(TEXT, DEFAULT_POLICY) for _ in range(MAX_HUNG + 3)]
        stage.release.set()
        async with asyncio.timeout(60):
            while pipeline._running[stage.name]:
                await asyncio.sleep(0.01)
        pipeline.timeout_s = 60  # on a busy machine, 0.05 s is short for an honest answer too
        return [*held, await pipeline.judge(TEXT, DEFAULT_POLICY)]

    *held, healed = asyncio.run(scenario())
    assert all(verdict.outcome is Outcome.HOLD for verdict in held)
    assert stage.calls == MAX_HUNG + 1
    assert endings == [Ending.HUNG] * MAX_HUNG + [Ending.BUSY] * 3 + [Ending.OK]
    assert healed == Verdict()


def test_a_busy_stage_is_not_taken_for_a_hanging_one() -> None:
    stage = Fake(lambda c: _nap())
    pipeline = Pipeline([stage], timeout_s=5)
    verdicts = asyncio.run(pipeline.judge_all([TEXT] * 40, DEFAULT_POLICY))
    assert verdicts == [Verdict()] * 40


@pytest.mark.parametrize(
    "content",
    [
        Content(Surface.OUTPUT, image=object()),
        Content(Surface.OUTPUT, text="caption", image=object()),
        Content(Surface.PROMPT),
    ],
    ids=["picture", "caption and picture", "nothing"],
)
def test_what_no_stage_reads_is_held(content: Content) -> None:
    verdict = judge(Fake(lambda c: [], "text.only"), content=content)
    assert verdict.outcome is Outcome.HOLD
    assert {f.stage for f in verdict.flags} == {"pipeline"}


def test_a_text_without_a_text_stage_is_held() -> None:
    assert judge(Fake(lambda c: [], "image.only")).outcome is Outcome.HOLD
    assert judge().outcome is Outcome.HOLD


def test_a_stage_that_does_not_know_the_surface_does_not_count() -> None:
    stage = Fake(lambda c: [])
    stage.surfaces = frozenset({Surface.ANSWER})
    assert judge(stage).outcome is Outcome.HOLD


def test_an_empty_text_is_judged_like_any_other() -> None:
    seen: list[Content] = []
    stage = Fake(lambda c: _note(seen, c))
    assert judge(stage, content=Content(Surface.NEGATIVE, text="")) == Verdict()
    assert seen


def test_verdicts_come_back_in_order() -> None:
    def check(content: Content) -> list[Flag]:
        number = float(content.text or 0)
        time.sleep(0.05 - number / 50)
        return [flag(score=number)]

    contents = [Content(Surface.PROMPT, text=str(n / 10)) for n in range(3)]
    verdicts = asyncio.run(Pipeline([Fake(check)]).judge_all(contents, DEFAULT_POLICY))
    assert [next(iter(v.flags)).score for v in verdicts] == [0.0, 0.1, 0.2]


def test_cancelling_a_judgement_is_clean() -> None:
    stage = Hanging()

    async def scenario() -> None:
        pipeline = Pipeline([stage])
        task = asyncio.create_task(pipeline.judge(TEXT, DEFAULT_POLICY))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        stage.release.set()
        await asyncio.sleep(0.05)

    asyncio.run(scenario())


def test_loading_names_the_stage_that_cannot() -> None:
    class Broken(Fake):
        def load(self) -> None:
            raise ImportError("no such library")

    good = Fake(lambda c: [], "text.good")
    with pytest.raises(OperatorError, match=r"text\.broken"):
        asyncio.run(Pipeline([good, Broken(lambda c: [], "text.broken")]).load())
    assert good.loaded == 1


@pytest.mark.parametrize("names", [("fake",), ("text.a", "text.a"), ("audio.a",)])
def test_wrong_names_are_refused_at_once(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="stage name"):
        Pipeline([Fake(lambda c: [], name) for name in names])


HANGING_PROGRAM = """
import asyncio, time
from moderation.pipeline import Content, Pipeline
from moderation.policy import DEFAULT_POLICY, Surface

class Stage:
    name, surfaces = "text.hang", frozenset(Surface)
    def load(self): pass
    def check(self, content): time.sleep(60)

verdict = asyncio.run(
    Pipeline([Stage()], timeout_s=0.1).judge(Content(Surface.PROMPT, text="x"), DEFAULT_POLICY)
)
print(verdict.outcome.word)
"""

IMPORT_PROGRAM = """
import asyncio, sys
import moderation.pipeline, moderation.policy, moderation.build, moderation.build_output
early = {"PIL", "numpy", "ahocorasick", "onnxruntime", "cv2"} & set(sys.modules)
assert not early, early
pipeline = moderation.build.prompt_pipeline()
moderation.build_output.output_pipeline()
asyncio.run(pipeline.load())
late = {"nudenet", "torch", "onnxruntime", "cv2", "PIL"} & set(sys.modules)
assert not late, late
"""


def test_the_interpreter_does_not_wait_for_a_hung_stage() -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HANGING_PROGRAM], capture_output=True, text=True, timeout=55
    )
    assert done.stdout.strip() == "hold", done.stderr
    assert time.monotonic() - started < 50, "it would hang for sixty"


def test_the_bot_needs_no_heavy_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_PROGRAM], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
