"""The awaitable front of the one thread that owns the models.

The event loop submits, cancels and listens; the engine thread loads, plans and steps. They share
an inbox under a condition, and results cross back with ``loop.call_soon_threadsafe``. What the
thread does in a turn is :class:`worker.engine.stepper.Stepper`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from storage.errors import AtelierError
from storage.registry import ModelCard, Registry
from storage.schema import AnySpec, ImageSpec, JobKind
from worker.engine.errors import Cancelled, EngineStopped, ModelUnavailable
from worker.engine.loader import Loader
from worker.engine.memory import device_budget, spare_ram
from worker.engine.meter import Meter
from worker.engine.profile import Profile
from worker.engine.remote import Remote
from worker.engine.residency import Residency
from worker.engine.run import Run
from worker.engine.runners.base import Runner
from worker.engine.samplers import sampler
from worker.engine.scheduler import Caps
from worker.engine.stepper import Stepper

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Warm:
    """A wish to have a model loaded, and the future of whoever waits for it."""

    model: str
    done: Future[None]


class Engine:
    """Makes pictures and answers for many jobs at once on one device.

    ``max_images`` and ``max_chats`` limit the pictures and answers stepped at a time (a job of
    count 4 is four pictures). ``memory_bytes`` is the budget for loaded weights and
    ``parked_bytes`` the RAM for models that wait beside a GPU (defaults:
    :mod:`worker.engine.memory`). ``threads`` are torch's: one, since two on a contended machine
    were six times slower (PERFORMANCE.md 0.8). ``load`` replaces
    :func:`worker.engine.loading.load`. ``profile_path`` is where measured batch curves are kept;
    with one, missing points are measured in idle moments. ``meter`` hears what happens.
    ``compiles`` has denoisers compiled in the background; None: on a GPU only, since compiled code
    is not *exact* (:mod:`worker.engine.runners.compiled`). ``clock`` gives seconds: of what the
    engine decides by measured times, another makes it the same every time.
    """

    def __init__(
        self,
        registry: Registry,
        models_dir: Path,
        *,
        device: str = "cpu",
        max_images: int = 4,
        max_chats: int = 4,
        memory_bytes: int | None = None,
        parked_bytes: int | None = None,
        threads: int = 1,
        load: Callable[[ModelCard], Runner] | None = None,
        profile_path: Path | None = None,
        meter: Meter | None = None,
        remote: Remote | None = None,
        compiles: bool | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.registry = registry
        self.models_dir = models_dir
        self.device = device
        self.caps = Caps({JobKind.IMAGE: max_images, JobKind.CHAT: max_chats}, {})
        self._memory = memory_bytes
        self._parked = parked_bytes
        self._threads = threads
        self._load = load
        self._profile_path = profile_path
        self._meter = meter or Meter()
        self._remote = remote
        self._clock = clock
        self.compiles = device == "cuda" if compiles is None else compiles
        self._thread: threading.Thread | None = None
        self._loaded: tuple[str, ...] = ()
        # Shared by the two threads, under the condition.
        self._news = threading.Condition()
        self._inbox: list[Run | _Warm] = []
        self._runs: set[Run] = set()
        self._held: set[Run] = set()
        """Of the runs those not released yet: nobody steps them, so that we end the cancelled."""
        self._wishes: list[Future[None]] = []
        """Of whoever waits for a model: nobody waits for ever, however the thread ends."""
        self._stopping = False
        self._nudged = False
        self._probed = False
        """Nothing left to measure since the engine became idle."""

    # ---- the event loop's side -----------------------------------------------------------------

    def listen(self, meter: Meter) -> None:
        """Who hears what happens from the next start on."""
        self._meter = meter

    async def start(self) -> None:
        """Starts the engine thread; loads nothing yet. Starting a running engine does nothing."""
        if not self.alive:
            self._stopping = False
            self._thread = threading.Thread(target=self._main, name="engine", daemon=True)
            self._thread.start()

    async def warm(self, models: Sequence[str]) -> None:
        """Has these models loaded and warmed, one after another, so that no first member waits.

        What runs goes on meanwhile. Raises ``ModelUnavailable`` (with a cure) for the first that
        is not known or cannot be loaded, and ``EngineStopped`` when the engine is not running.
        """
        for model in models:
            if model not in self.registry.cards:
                raise ModelUnavailable(
                    f"there is no model {model!r}",
                    "name one that `atelier models` lists, or add it to registry.toml",
                )
            if self._elsewhere(model):
                continue
            wish = _Warm(model, Future())
            with self._news:
                if not self.alive:
                    raise EngineStopped("the engine is not running")
                self._inbox.append(wish)
                self._news.notify()
            await asyncio.wrap_future(wish.done)

    async def stop(self) -> None:
        """Ends every run with ``EngineStopped`` after the step in progress, and joins the thread.

        A model being loaded is waited for. May be repeated.
        """
        with self._news:
            self._stopping = True
            self._news.notify()
        if self._remote is not None:
            await self._remote.close()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    @property
    def alive(self) -> bool:
        """True while the engine thread takes work; false before start, after stop or a crash."""
        return self._thread is not None and self._thread.is_alive() and not self._stopping

    def room(self) -> dict[JobKind, int]:
        """How many one-picture (or one-answer) jobs of each kind would start stepping now."""
        with self._news:
            free = dict(self.caps.active) if self.alive else dict.fromkeys(JobKind, 0)
            self._runs = {run for run in self._runs if not run.ended}
            self._held &= self._runs
            for run in self._runs:
                free[run.spec.kind] -= run.places
        return {kind: max(0, places) for kind, places in free.items()}

    def loaded(self) -> list[str]:
        """Names of the models that answer at once: in memory or elsewhere, alphabetical."""
        return sorted({*self._loaded, *filter(self._elsewhere, self.registry.cards)})

    def _elsewhere(self, model: str) -> bool:
        card = self.registry.cards.get(model)
        return card is not None and card.source == "remote"

    def submit(self, job_id: str, spec: AnySpec, *, hold: bool = False) -> Run:
        """Hands a job to the engine; call it on the event loop. Never blocks.

        ``hold`` keeps its place but does not begin it before :meth:`release`: its start pictures
        are still being read and judged.
        Raises ``NotFound`` for an unknown model or style and ``BadInput`` for an unknown sampler.
        A run submitted to an engine that does not run ends with ``EngineStopped``.
        """
        self.registry.find(spec.model, spec.kind)
        if isinstance(spec, ImageSpec):
            sampler(spec.scheduler)
            if spec.style:
                self.registry.style(spec.style)
        run = Run(job_id, spec, self._heed)
        with self._news:
            if not self.alive:
                run.finish(EngineStopped("the engine is not running"))
                return run
            self._runs.add(run)
            if hold:
                self._held.add(run)
        if not hold:
            self._pass_on(run)
        return run

    def release(self, run: Run, pictures: Mapping[str, Image.Image]) -> None:
        """Lets a held run begin, with the pixels of its sources by blob key.

        One that was cancelled meanwhile has ended, and stays so.
        """
        run.pictures = pictures
        with self._news:
            self._held.discard(run)
        self._pass_on(run)

    def _pass_on(self, run: Run) -> None:
        """To the engine thread, or to whoever answers elsewhere."""
        with self._news:
            if not self.alive or run.ended:
                return
            if not self._elsewhere(run.spec.model) or self._remote is None:
                self._inbox.append(run)
                self._news.notify()
                return
        self._remote.start(run, self.registry.cards[run.spec.model])

    def _heed(self) -> None:
        """A run was cancelled (on the event loop): whoever has it ends it; a held one has nobody,
        and would keep its place for ever."""
        if self._remote is not None:
            self._remote.nudge()
        with self._news:
            gone = {run for run in self._held if run.cancelled}
            self._held -= gone
        for run in gone:
            run.finish(Cancelled("the run was cancelled"))
        self._nudge()

    def _nudge(self) -> None:
        """The engine thread looks what is new; from any thread."""
        with self._news:
            self._nudged = True
            self._news.notify()

    # ---- the engine thread's side --------------------------------------------------------------

    def _main(self) -> None:
        loader: Loader | None = None
        try:
            import torch  # here, so that importing the engine stays cheap

            torch.set_num_threads(self._threads)
            loader = Loader(self._load or self._load_card, self.device, self._nudge)
            stepper = self._make_stepper(loader)
            with torch.inference_mode():
                while self._take_inbox(stepper):
                    stepper.turn()
                    self._loaded = tuple(stepper.loaded())
                stepper.close()
        except Exception:
            # Our bug, since models are isolated further down; a supervisor sees ``alive`` go false.
            log.exception("the engine thread died")
        finally:
            self._close()
            if loader is not None:
                loader.close()

    def _make_stepper(self, loader: Loader) -> Stepper:
        budget = self._memory or device_budget(self.device)
        spare = spare_ram(self.device) if self._parked is None else self._parked
        profile = Profile(self._profile_path, _identity(self.device))
        return Stepper(
            self.registry, self.caps, loader, Residency(budget, spare), profile, self._meter,
            self._clock,
        )  # fmt: skip

    def _load_card(self, card: ModelCard) -> Runner:
        from worker.engine.loading import load  # torch and friends: seconds to import

        told = self._meter.embedded
        return load(card, self.registry, self.models_dir, self.device, told, compiles=self.compiles)

    def _take_inbox(self, stepper: Stepper) -> bool:
        """Waits for something to do and passes on what came in; false when it is time to stop."""
        while not self._wait(stepper):
            # An idle moment: one more point of the batch curves, then a look whether it still is.
            if not (self._profile_path and stepper.probe()):
                stepper.rest()
                self._probed = True
        with self._news:
            if self._stopping:
                return False
            inbox, self._inbox, self._nudged = self._inbox, [], False
        for item in inbox:
            if isinstance(item, Run):
                stepper.add(item)
            elif item.done.set_running_or_notify_cancel():
                self._wishes.append(item.done)
                stepper.warm(item.model, _settles(item.done))
        stepper.sweep()
        return True

    def _wait(self, stepper: Stepper) -> bool:
        """Waits for news; false when it is idle and there may be something to measure."""
        with self._news:
            while stepper.idle and not (self._inbox or self._stopping or self._nudged):
                if not self._probed:
                    return False
                self._news.wait()
            self._probed = False
        return True

    def _close(self) -> None:
        """Lets nobody wait for ever, however the thread ended."""
        with self._news:
            self._stopping = True
            inbox, self._inbox = self._inbox, []
            runs, self._runs, self._held = self._runs, set(), set()
            wishes, self._wishes = self._wishes, []
        self._loaded = ()
        stopped = EngineStopped("the engine was stopped")
        for item in inbox:
            if isinstance(item, _Warm) and item.done.set_running_or_notify_cancel():
                item.done.set_exception(stopped)
        for wish in wishes:
            if not wish.done():
                wish.set_exception(stopped)
        for run in runs:
            run.finish(stopped)


def _settles(future: Future[None]) -> Callable[[AtelierError | None], None]:
    """What tells whoever waits for a model that it came, or what went wrong."""

    def settle(error: AtelierError | None) -> None:
        future.set_exception(error) if error else future.set_result(None)

    return settle


def _identity(device: str) -> str:
    """Names what measured times depend on: the device and torch."""
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else device
    return f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads"
