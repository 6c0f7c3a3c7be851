"""One submitted job as its caller sees it: an async iterator that can be cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from PIL import Image

from storage.errors import AtelierError
from storage.schema import AnySpec, ImageSpec
from worker.engine.outputs import Output

MOMENTS = 4096
"""Most moments kept of one run: a trace is for looking at, not for an endless answer."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to a job: ``at`` in seconds since the epoch, ``seconds`` long."""

    name: str
    at: float
    seconds: float = 0.0
    batch: int = 1
    """Requests that shared it."""
    index: int = 0
    """Which picture of the job."""


class Run(AsyncIterator[Output]):
    """Yields a job's outputs and ends after its last picture or its answer.

    Iterate it once, on the event loop that submitted it. Iterating raises an
    :class:`~worker.engine.errors.EngineError`: ``Cancelled``, ``EngineStopped``,
    ``ModelUnavailable``, ``BadPicture`` or ``StepFailed``. The first fault of any picture ends the
    whole run; pictures already yielded stay good. Leaving the loop early does not cancel.
    """

    def __init__(self, job_id: str, spec: AnySpec, wake: Callable[[], None]) -> None:
        self.job_id = job_id
        self.spec = spec
        self.places = spec.count if isinstance(spec, ImageSpec) else 1
        """Requests of this run not yet finished."""
        self.pictures: Mapping[str, Image.Image] = {}
        """The pixels of the spec's sources, by blob key; set before the run is begun."""
        self.cancelled = False
        self.ended = False
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Output | AtelierError | None] = asyncio.Queue()
        self._exhausted = False
        self._busy = 0.0
        self._more: Run | None = None
        self.moments: list[Moment] = []
        """What the engine did for it, in order: *load*, *begin*, each *step*, *decode*."""

    @property
    def busy_ms(self) -> int:
        """Engine milliseconds charged so far: its share (by rows) of every step it took part in."""
        return round(self._busy * 1000) + (self._more.busy_ms if self._more is not None else 0)

    def cancel(self) -> None:
        """Stops the run within one step; iteration then raises ``Cancelled``. May be repeated.

        Outputs made before that are still yielded first. No effect on a run that has ended.
        """
        self.cancelled = True
        self._wake()
        if self._more is not None:
            self._more.cancel()

    def joined(self, more: Run) -> None:
        """Another run on this one's account: cancelled with it, its time is this one's too."""
        if self._more is not None:
            self._busy += self._more.busy_ms / 1000
        self._more = more
        if self.cancelled:
            more.cancel()

    async def __anext__(self) -> Output:
        if self._exhausted:
            raise StopAsyncIteration
        item = await self._queue.get()
        if item is None:
            self._exhausted = True
            raise StopAsyncIteration
        if isinstance(item, AtelierError):
            self._exhausted = True
            raise item
        return item

    # ---- the engine thread's side ------------------------------------------------------------

    def put(self, output: Output) -> None:
        """Hands an output over to the event loop; dropped once the run has ended."""
        if not self.ended:
            self._send(output)

    def finish(self, error: AtelierError | None = None) -> None:
        """Ends the run, well or with an error; only the first call counts."""
        if not self.ended:
            self.ended = True
            self._send(error)

    def charge(self, seconds: float) -> None:
        """Adds engine time to the run's account."""
        self._busy += seconds

    def note(self, name: str, seconds: float, *, batch: int = 1, index: int = 0) -> None:
        """Keeps a moment that has just ended; cheap enough for every step of every run."""
        if len(self.moments) < MOMENTS:
            self.moments.append(Moment(name, time.time() - seconds, seconds, batch, index))

    def _send(self, item: Output | AtelierError | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self.cancelled = True
