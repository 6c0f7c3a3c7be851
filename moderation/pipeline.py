"""Runs every stage that applies, at once and in threads, and fails closed. Pure: no I/O library.

A stage that raises, hangs or answers junk yields ``Category.FAULT``, which every policy holds.
So does content that no stage can read: nothing unjudged becomes visible.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from moderation.lists import EMPTY, Lists
from moderation.policy import Policy, Surface, decide
from storage.errors import OperatorError
from storage.schema import Category, Flag, Verdict

__all__ = [
    "Content", "Ending", "Judgement", "Observer", "Pipeline", "Stage", "Surface", "note_score",
]  # fmt: skip

log = logging.getLogger(__name__)

T = TypeVar("T")

LOAD_TIMEOUT_S = 120.0
"""Longest a stage may take to load its library and weights, in seconds."""

MAX_HUNG = 4
"""A stage with this many checks past their time is not asked again until one returns, so that
a stage which always hangs costs four threads and not one per message."""


@dataclass(frozen=True, slots=True)
class Content:
    """What is to be judged: a text, a picture, or a picture with its caption.

    ``image`` is a decoded ``PIL.Image.Image`` or ``None``: PIL decodes lazily and two stages
    that read one undecoded picture would race, so the caller has called ``load()``. ``context``
    holds what the same member wrote around it (the prompt of a picture, the last prompts). It is
    not judged by itself; it is read by rules that look across several texts, such as a minor in
    one prompt and nudity in the next.
    """

    surface: Surface
    text: str | None = None
    image: Any = None
    context: tuple[str, ...] = ()
    lists: Lists = EMPTY
    """The workspace's own words and names."""
    workspace_id: str = ""
    """Whose banks of known pictures apply besides the studio's."""


class Stage(Protocol):
    """One check.

    ``name`` starts with ``text.`` or ``image.``, which says what the stage reads; it is asked
    only about content that has such a part, on its ``surfaces``.
    """

    name: str
    surfaces: frozenset[Surface]

    def load(self) -> None:
        """Import heavy libraries and read weights. Idempotent and safe to call from threads."""

    def check(self, content: Content) -> Sequence[Flag]:
        """The findings; none means nothing was found. Runs in a thread, several at a time.

        Scores are on the policy's scale: by convention 0.5 deserves a person's look and 0.7 is
        certain enough to act upon (the exact lines are the workspace's). May raise anything.
        """


class Ending(StrEnum):
    """How one check ended; ``OK`` is the only one that does not hold the content."""

    OK = "ok"
    RAISED = "raised"
    HUNG = "hung"
    JUNK = "junk"
    BUSY = "busy"  # not asked: too many earlier checks are still hanging
    ABSENT = "absent"  # no stage reads this kind of content


Observer = Callable[[str, float, Ending], None]
"""Told of each check: the stage's name, its milliseconds and how it ended (for metrics)."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One content judged: the verdict and what it came from."""

    verdict: Verdict
    scores: dict[str, float]
    """Everything the stages measured, found or not: ``text.heads/SELF`` to 0.12, say."""
    versions: dict[str, str]
    """Of each stage that was asked."""
    ms: float


_SCORES: contextvars.ContextVar[dict[str, float] | None] = contextvars.ContextVar(
    "moderation_scores", default=None
)


def note_score(name: str, score: float) -> None:
    """Let a stage record what it measured, below every line too; for the decision record."""
    scores = _SCORES.get()
    if scores is not None:
        scores[name] = score


@dataclass(frozen=True, slots=True)
class _Result:
    flags: tuple[Flag, ...]
    ending: Ending = Ending.OK


class Pipeline:
    """Stages in no particular order; the verdict does not depend on it.

    ``timeout_s`` is the time one stage has for one content, in seconds. Safe to share between
    event loops and threads: it keeps no loop-bound state.
    """

    def __init__(
        self,
        stages: Iterable[Stage],
        timeout_s: float = 10.0,
        observe: Observer | None = None,
    ) -> None:
        self.stages = tuple(stages)
        self.timeout_s = timeout_s
        self._observe = observe
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._running: dict[str, dict[int, float]] = {}
        if timeout_s <= 0:
            raise ValueError("timeout_s must be positive")
        for stage in self.stages:
            if not stage.name.startswith(("text.", "image.")):
                raise ValueError(f"stage name {stage.name!r} must start with 'text.' or 'image.'")
        if len({stage.name for stage in self.stages}) < len(self.stages):
            raise ValueError("stage names must be unique")

    def watch(self, observe: Observer) -> None:
        """Tell this observer of every check from now on (instead of an earlier one)."""
        self._observe = observe

    async def load(self) -> None:
        """Load every stage now rather than at the first message.

        Raises ``OperatorError`` naming the stage that cannot load. A pipeline that is used all
        the same holds everything that stage should have judged.
        """
        for stage in self.stages:
            try:
                await asyncio.wait_for(_in_daemon_thread(stage.load, stage.name), LOAD_TIMEOUT_S)
            except Exception as error:  # whatever a library raises means the same here
                raise OperatorError(
                    f"moderation stage {stage.name} cannot load ({type(error).__name__})",
                    "run the set-up again (make setup) and read the log above",
                ) from error

    async def judge(self, content: Content, policy: Policy) -> Verdict:
        """The verdict on one content. Never raises because of a stage; cancelling is safe."""
        return (await self.judge_fully(content, policy)).verdict

    async def judge_fully(self, content: Content, policy: Policy) -> Judgement:
        """The verdict with everything that led to it: what a decision record keeps."""
        started = time.monotonic()
        scores: dict[str, float] = {}
        token = _SCORES.set(scores)
        try:
            verdict, asked = await self._judged(content, policy)
        finally:
            _SCORES.reset(token)
        versions = {stage.name: _version(stage, content) for stage in asked}
        took = (time.monotonic() - started) * 1000
        return Judgement(verdict=verdict, scores=dict(scores), versions=versions, ms=took)

    async def _judged(self, content: Content, policy: Policy) -> tuple[Verdict, list[Stage]]:
        results = [
            _fault("pipeline", Ending.ABSENT, f"no stage reads {medium} on {content.surface}")
            for medium in self._unread(content)
        ]
        asked = [stage for stage in self.stages if _applies(stage, content)]
        results += await asyncio.gather(*(self._ask(stage, content) for stage in asked))
        flags = [flag for result in results for flag in result.flags]
        return decide(flags, policy, content.surface), asked

    async def judge_all(self, contents: Iterable[Content], policy: Policy) -> list[Verdict]:
        """One verdict per content, in the same order, judged concurrently."""
        return list(await asyncio.gather(*(self.judge(content, policy) for content in contents)))

    def _unread(self, content: Content) -> list[str]:
        """The parts of the content that no stage reads: ``text``, ``image``, ``nothing``."""
        media = [m for m in ("text", "image") if getattr(content, m) is not None]
        names = [s.name for s in self.stages if content.surface in s.surfaces]
        unread = [m for m in media if not any(name.startswith(f"{m}.") for name in names)]
        return unread if media else ["nothing"]

    async def _ask(self, stage: Stage, content: Content) -> _Result:
        started = time.monotonic()
        result = await self._guarded(stage, content, started)
        if result.ending is not Ending.OK:
            log.warning("stage %s: %s", stage.name, result.flags[0].detail)
        if self._observe is not None:
            self._observe(stage.name, (time.monotonic() - started) * 1000, result.ending)
        return result

    async def _guarded(self, stage: Stage, content: Content, started: float) -> _Result:
        with self._lock:
            running = self._running.setdefault(stage.name, {})
            hung = sum(started - since > self.timeout_s for since in running.values())
            if hung >= MAX_HUNG:
                return _fault(stage.name, Ending.BUSY, f"{hung} earlier checks still hang")
            number = next(self._numbers)
            running[number] = started

        def work() -> _Result:
            try:
                return _check(stage, content)
            finally:
                with self._lock:
                    running.pop(number, None)

        try:
            return await asyncio.wait_for(_in_daemon_thread(work, stage.name), self.timeout_s)
        except TimeoutError:
            return _fault(stage.name, Ending.HUNG, f"no answer in {self.timeout_s:g} s")
        except RuntimeError as error:  # the system has no thread left to give
            with self._lock:
                running.pop(number, None)
            return _fault(stage.name, Ending.RAISED, f"raised {type(error).__name__}")


def _applies(stage: Stage, content: Content) -> bool:
    medium = stage.name.partition(".")[0]
    return content.surface in stage.surfaces and getattr(content, medium) is not None


def _version(stage: Stage, content: Content) -> str:
    """A stage's version; some have one of their own in each workspace."""
    of = getattr(stage, "version_for", None)
    return str(of(content)) if callable(of) else str(getattr(stage, "version", ""))


def _check(stage: Stage, content: Content) -> _Result:
    """Ask the stage and trust nothing: runs in the stage's thread, so iteration may hang too."""
    try:
        found = stage.check(content)
    except BaseException as error:  # SystemExit too: a broken check must hold, never post
        return _fault(stage.name, Ending.RAISED, f"raised {_where(error)}")
    try:
        return _Result(flags=_validated(found))
    except BaseException as error:
        return _fault(stage.name, Ending.JUNK, f"answered junk ({type(error).__name__})")


def _validated(found: object) -> tuple[Flag, ...]:
    """The flags, checked anew: ``model_construct`` and subclasses can smuggle NaN past types."""
    if not isinstance(found, Sequence) or isinstance(found, str | bytes):
        raise TypeError("not a sequence")
    flags = []
    for flag in found:
        if not isinstance(flag, Flag):
            raise TypeError("not a flag")
        flags.append(
            Flag(category=flag.category, score=flag.score, stage=flag.stage, detail=flag.detail)
        )
    return tuple(flags)


def _fault(stage: str, ending: Ending, detail: str) -> _Result:
    flag = Flag(category=Category.FAULT, score=1.0, stage=stage, detail=detail)
    return _Result(flags=(flag,), ending=ending)


def _where(error: BaseException) -> str:
    """The error's type and line, without its message, which may quote what a member wrote."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    file = frames[-1].filename.replace("\\", "/").rpartition("/")[2]
    return f"{type(error).__name__} at {file}:{frames[-1].lineno}"


async def _in_daemon_thread(function: Callable[[], T], name: str) -> T:
    """Run a blocking function in a thread of its own and await it.

    Not ``asyncio.to_thread``: its pool has a fixed number of threads, so a few hung checks would
    stop all others, and both the loop and the interpreter wait for its threads on the way out.
    A daemon thread costs 0.1 ms to start and holds nothing back.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():  # timed out or cancelled meanwhile
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = context.run(function)
        except BaseException as error:
            # An exit or interrupt must not travel on and stop the event loop.
            failure = error if isinstance(error, Exception) else RuntimeError(repr(error))
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:  # the loop was closed while we worked; nobody waits any more
            log.debug("a check of %s ended after its event loop", name)

    threading.Thread(target=run, name=f"moderation:{name}", daemon=True).start()
    return await future
