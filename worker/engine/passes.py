"""One shared pass, whatever goes wrong in it: faults stay with their own, memory is found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from storage.errors import AtelierError
from worker.engine.errors import OutOfMemory, StepFailed
from worker.engine.memory import give_back, is_shortage
from worker.engine.runners.base import Runner

log = logging.getLogger(__name__)
T = TypeVar("T")

Result = tuple[Any, AtelierError | None]


def attempt(call: Callable[..., T], *arguments: Any) -> tuple[T | None, AtelierError | None]:
    """Calls into a model; whatever it raises becomes the error of the run that asked.

    The broad ``except`` of the engine: models and their libraries raise anything, and one
    member's fault must not stop the thread that serves the others.
    """
    try:
        return call(*arguments), None
    except AtelierError as error:
        return None, error
    except Exception as error:
        if is_shortage(error):
            log.warning("out of memory: %s", str(error).strip().splitlines()[0][:200])
            short = OutOfMemory("the device ran out of memory")
            short.__cause__ = error
            return None, short
        log.exception("a model call failed")
        failed = StepFailed(f"{type(error).__name__}: {error}")
        failed.__cause__ = error
        return None, failed


class Passes:
    """Runs passes for a batch; what runs out of memory is tried in halves, then alone.

    ``ran_out(rows)`` is told of every shortage of a shared pass; ``make_room()`` drops what is
    idle before a lone request is tried a last time.
    """

    def __init__(self, ran_out: Callable[[int], None], make_room: Callable[[], None]) -> None:
        self._ran_out = ran_out
        self._make_room = make_room

    def forward(self, runner: Runner, works: Sequence[Any]) -> list[Result]:
        """A result or an error for each work: together if that works, else in smaller parts."""
        done: list[Result] = []
        size = len(works)
        while len(done) < len(works):
            part = works[len(done) : len(done) + size]
            if len(part) == 1:
                done.append(self._alone(runner, part[0]))
                continue
            results, error = attempt(runner.forward, part)
            if error is None and results is not None:
                done += [(result, None) for result in results]
            elif isinstance(error, OutOfMemory):
                self._ran_out(sum(work.weight for work in part))
                give_back()
                # What is left of this pass goes in the smaller size at once.
                size = len(part) - len(part) // 2
                log.warning("a shared step of %d had no memory, trying %d", len(part), size)
            else:
                log.warning("a shared step of %d failed, trying each alone", len(part))
                done += [self._alone(runner, work) for work in part]
        return done

    def _alone(self, runner: Runner, work: Any) -> Result:
        results, error = attempt(runner.forward, [work])
        if isinstance(error, OutOfMemory):
            self._make_room()
            give_back()
            results, error = attempt(runner.forward, [work])
        return (None if results is None else results[0], error)
