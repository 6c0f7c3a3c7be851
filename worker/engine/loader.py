"""Loads models on a thread of its own, so that what runs goes on stepping meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from storage.errors import AtelierError
from storage.registry import ModelCard
from worker.engine.errors import ModelUnavailable, StepFailed
from worker.engine.memory import give_back, is_shortage
from worker.engine.runners.base import Runner

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a load: a warmed runner, or what went wrong."""

    model: str
    runner: Runner | None
    error: AtelierError | None
    seconds: float
    from_ram: bool = False
    """It was parked there, and only moved."""


class Loader:
    """One side thread that loads, compiles and warms models, one after another.

    ``load`` makes a runner from a card (and may raise ``ModelUnavailable``); ``done`` is called
    on the side thread after each, to wake whoever takes the results. A runner with a ``move``
    (to ``"cpu"`` or the device) may be parked in RAM and brought back without reading it again.
    """

    def __init__(
        self, load: Callable[[ModelCard], Runner], device: str, done: Callable[[], None]
    ) -> None:
        self._load = load
        self._device = device
        self._done = done
        self._results: SimpleQueue[Loaded] = SimpleQueue()
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader")

    def start(self, card: ModelCard, parked: Runner | None, park: Sequence[Runner] = ()) -> None:
        """Begins to load a model, from RAM when it was parked; first moves ``park`` there."""
        self._threads.submit(self._run, card, parked, tuple(park))

    def take(self) -> list[Loaded]:
        """What has finished since the last call."""
        found = []
        while not self._results.empty():
            found.append(self._results.get())
        return found

    def close(self) -> None:
        """Waits for the load under way and ends the thread."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _run(self, card: ModelCard, parked: Runner | None, park: Sequence[Runner]) -> None:
        """The second broad ``except`` of the engine: loading runs the libraries' code too."""
        began = time.perf_counter()
        runner, error = None, None
        try:
            import torch

            with torch.inference_mode():
                for old in park:
                    move: Any = getattr(old, "move", None)
                    move("cpu")
                give_back()
                runner = self._bring(card, parked)
        except AtelierError as raised:
            error = raised
        except Exception as raised:
            log.exception("model %s could not be loaded", card.name)
            error = _failure(card, raised)
            error.__cause__ = raised
        seconds = time.perf_counter() - began
        self._results.put(Loaded(card.name, runner, error, seconds, parked is not None))
        self._done()

    def _bring(self, card: ModelCard, parked: Runner | None) -> Runner:
        if parked is not None:
            move: Any = getattr(parked, "move", None)
            move(self._device)
            return parked
        try:
            runner = self._load(card)
        except Exception as error:
            if not is_shortage(error):
                raise
            log.warning("no memory to load %s, trying once more", card.name)
            give_back()
            runner = self._load(card)
        # Here, not on the engine thread: nobody's step waits for compilation and first-call work.
        runner.warm()
        return runner


def _failure(card: ModelCard, raised: Exception) -> AtelierError:
    """What whoever waits for a model is told: what to do where memory ran out, else our bug."""
    if is_shortage(raised):
        return ModelUnavailable(
            f"model {card.name!r} does not fit into the memory there is",
            "choose a smaller model, ATELIER_PRECISION=4-bit, or let less run beside it",
        )
    return StepFailed(f"{type(raised).__name__}: {raised}")
