"""The engine thread's work, one turn at a time: load, begin, step, hand out, charge, end.

No thread and no event loop in here; :mod:`worker.engine.engine` drives it, and loading happens on
:class:`worker.engine.loader.Loader`'s own thread. Each turn asks :mod:`worker.engine.residency`
what to load and :func:`worker.engine.scheduler.plan` what to begin and which batch to step.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from storage.errors import AtelierError
from storage.registry import ModelCard, Registry
from storage.schema import MAX_SEED, Grade, ImageSpec, JobKind
from worker.engine.errors import BadPicture, Cancelled, OutOfMemory
from worker.engine.loader import Loaded
from worker.engine.memory import give_back
from worker.engine.meter import Meter
from worker.engine.outputs import Output, Picture
from worker.engine.passes import Passes, attempt
from worker.engine.probing import Probing
from worker.engine.profile import Profile
from worker.engine.residency import Residency, Wanted
from worker.engine.run import Run
from worker.engine.runners.base import Runner
from worker.engine.scheduler import Active, Batch, Caps, Models, Waiting, next_batch, plan

log = logging.getLogger(__name__)

DECODE = "decode"
"""How the key of a work begins that is past its last step and only has to be decoded."""

Done = Callable[[AtelierError | None], None]
Seconds = Callable[[], float]


class Loads(Protocol):
    """Where models come from: :class:`worker.engine.loader.Loader`, or a test's own."""

    def start(self, card: ModelCard, parked: Runner | None, park: list[Runner]) -> None:
        """Begins to load a model."""

    def take(self) -> list[Loaded]:
        """What has finished since the last call."""


@dataclass(eq=False)
class _Request:
    """One picture or answer of a run; ``runner`` and ``work`` are set once it has begun."""

    run: Run
    index: int
    order: int
    runner: Runner | None = None
    work: Any = None
    last_turn: int = 0
    fresh: bool = True
    remade: str = ""
    """Why it was begun again with the next seed, if it was."""

    @property
    def id(self) -> str:
        return str(self.order)


class Stepper:
    """Steps the requests of many runs on the loaded models. Not thread-safe.

    ``loads`` brings models; ``residency`` holds them under its budget; ``profile`` gives the
    batch caps and learns from every pass; ``meter`` hears what happens; ``clock`` gives the seconds
    by which kinds share the engine, curves are measured and runs are charged.
    """

    def __init__(
        self,
        registry: Registry,
        caps: Caps,
        loads: Loads,
        residency: Residency[Runner],
        profile: Profile | None = None,
        meter: Meter | None = None,
        clock: Seconds = time.perf_counter,
    ) -> None:
        self._registry = registry
        self._caps = caps
        self._loads = loads
        self._residency = residency
        self._profile = profile or Profile()
        self._meter = meter or Meter()
        self._clock = clock
        self._probing = Probing(self._profile, caps, clock)
        self._waiting: list[_Request] = []
        self._active: list[_Request] = []
        self._warming: dict[str, list[Done]] = {}
        self._blocked: dict[str, frozenset[str]] = {}
        self._order = 0
        self._turn = 0
        self._spent: dict[JobKind, float] = {}

    @property
    def idle(self) -> bool:
        """True when there is nothing to do until something arrives or has finished loading."""
        if self._active:
            return False
        needs = {*self._warming, *(r.run.spec.model for r in self._waiting)}
        if not needs:
            return True
        # While something is loading, its end wakes us; else there is a load to start.
        return bool(self._residency.coming()) and not needs & set(self._residency.loaded())

    def loaded(self) -> list[str]:
        """Models whose jobs should come next, alphabetical: here, coming or next in line.

        What has to make room for a blocked model is no longer among them, so that the claim
        bundles for what will be here, not for what is about to go.
        """
        leaving = {m for blockers in self._blocked.values() for m in blockers}
        here = {m for m in self._residency.loaded() if m not in leaving}
        return sorted(here | set(self._residency.coming()) | self._blocked.keys())

    def add(self, run: Run) -> None:
        """Queues a run: one request a picture, or one for the answer."""
        for index in range(run.places):
            self._waiting.append(_Request(run, index, self._order))
            self._order += 1

    def warm(self, model: str, done: Done) -> None:
        """Wants a model here; ``done`` is called with None or what went wrong, in a later turn."""
        if self._residency.get(model) is not None:
            done(None)
        else:
            self._warming.setdefault(model, []).append(done)

    def sweep(self) -> None:
        """Ends the runs that were cancelled since the last turn."""
        for run in {r.run for r in (*self._waiting, *self._active) if r.run.cancelled}:
            self._end(run, Cancelled("the run was cancelled"))

    def turn(self) -> None:
        """Loads, begins what fits and makes one step of one batch; quick when idle."""
        self._turn += 1
        self._collect()
        self._want()
        self._catch_up()
        waiting = [Waiting(r.id, r.run.spec.kind, r.run.spec.model, r.order) for r in self._waiting]
        models = Models(self._residency.loaded(), self._residency.coming(), self._blocked)
        caps = Caps(self._caps.active, {**self._profile.caps(), **self._caps.batch})
        decided = plan(waiting, [_as_active(r) for r in self._active], caps, models, self._spent)
        by_id = {r.id: r for r in (*self._waiting, *self._active)}
        for id in decided.admit:
            self._begin(by_id[id])
        step = decided.step
        if decided.admit:
            # Newcomers join this very pass: of four that came at once the first would else be a
            # step ahead of the others until its end, in passes of one and of three.
            step = next_batch([_as_active(r) for r in self._active], caps, self._spent)
        if step is not None:
            self._step(step, [by_id[id] for id in step.ids])

    def probe(self) -> bool:
        """In an idle moment: measures one more point of a batch curve; False when all are known."""
        self._collect()
        runners = [(m, self._residency.get(m)) for m in self._residency.loaded()]
        return self._probing.step([(self._registry.cards[m], r) for m, r in runners if r])

    def rest(self) -> None:
        """Nothing to do: forgets what probing held and writes down what was learned."""
        self._probing.stop()
        self._profile.save()

    # ---- models ------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Takes the models that have finished loading, or failed to."""
        for came in self._loads.take():
            if came.runner is not None:
                size = max(came.runner.size, 1)
                self._residency.put(came.model, came.runner, size, came.seconds)
                log.info("loaded %s in %.1f s", came.model, came.seconds)
                self._meter.loaded(came.model, came.seconds, from_ram=came.from_ram)
                for run in {r.run for r in self._waiting if r.run.spec.model == came.model}:
                    run.note("load", came.seconds)
            else:
                self._residency.fail(came.model)
                # Everyone waiting for this model would only fail the same way, one load later.
                for run in {r.run for r in self._waiting if r.run.spec.model == came.model}:
                    self._end(run, came.error)
            for done in self._warming.pop(came.model, []):
                done(came.error)

    def _want(self) -> None:
        """Starts the loads that waiting requests and wishes to warm need and that have room."""
        needs: dict[str, int] = {}
        for request in self._waiting:
            needs.setdefault(request.run.spec.model, request.order)
        for model in self._warming:
            needs.setdefault(model, self._order)
        here = {*self._residency.loaded(), *self._residency.coming()}
        if needs.keys() <= here:
            self._blocked = {}
            return
        cards = self._registry.cards
        wanted = [
            Wanted(model, self._residency.size_of(model, cards[model].memory_bytes), order)
            for model, order in needs.items()
        ]
        decided = self._residency.moves(wanted, self._busy())
        self._blocked = dict(decided.blocked)
        park = [runner for model in decided.drop if (runner := self._leave(model)) is not None]
        for model in decided.load:
            size = self._residency.size_of(model, cards[model].memory_bytes)
            parked = self._residency.begin(model, size)
            self._loads.start(cards[model], parked, park)
            park = []

    def _leave(self, model: str) -> Runner | None:
        """Takes a model off the device; the runner when it has to be moved to RAM."""
        parks = self._residency.parks(model)
        self._probing.forget(model)
        runner = self._residency.drop(model)
        parks = parks and hasattr(runner, "move")
        self._meter.dropped(model, parked=parks)
        log.info("%s %s", "parked" if parks else "dropped", model)
        if runner is None or not parks:
            return None
        self._residency.park(model, runner, runner.size)
        return runner

    def _busy(self, *also: str) -> set[str]:
        """Models that may not leave the device: stepped now (or named), or holding the weights of
        one that is."""
        busy = {r.run.spec.model for r in self._active} | set(also)
        cards = self._registry.cards
        return busy | {card.shares for m in busy if (card := cards.get(m)) and card.shares}

    def _make_room(self, *keep: str) -> None:
        """The device is full: everything idle goes, and the budget is lowered by a tenth."""
        busy = self._busy(*keep)
        before = self._residency.bytes
        for model in self._residency.loaded():
            if model not in busy:
                self._meter.dropped(model, parked=False)
                self._probing.forget(model)
                self._residency.drop(model)
        self._residency.learn(int(min(self._residency.budget, before) * 0.9))
        log.warning("the budget for models is now %d bytes", self._residency.budget)

    # ---- requests ----------------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Idle time earns nothing: a kind that comes back starts at the other's account."""
        active = {r.run.spec.kind for r in self._active}
        spent = {k: self._spent[k] for k in active if k in self._spent}
        floor = min(spent.values(), default=0.0)
        self._spent = {k: max(spent.get(k, floor), floor) for k in active}

    def _begin(self, request: _Request) -> None:
        """Moves a waiting request among the active, its work prepared."""
        run = request.run
        if run.ended:
            return
        runner = self._residency.get(run.spec.model)
        if runner is None:
            return
        request.runner, request.last_turn, request.fresh = runner, self._turn, True
        if self._prepare(request, run.spec):
            self._waiting.remove(request)
            self._active.append(request)

    def _prepare(self, request: _Request, spec: Any) -> bool:
        """Gives a request its work for a spec; False when the run ended in an error instead."""
        run = request.run
        assert request.runner is not None
        began = self._clock()
        # Only what starts from a picture has any, so that other runners need not know of them.
        pictures = (run.pictures,) if run.pictures else ()
        work, error = attempt(request.runner.begin, spec, request.index, *pictures)
        if isinstance(error, OutOfMemory):
            # Reading a long prompt takes memory, too: what is idle makes room, as for a step.
            self._make_room(run.spec.model)
            give_back()
            work, error = attempt(request.runner.begin, spec, request.index, *pictures)
        seconds = self._clock() - began
        run.charge(seconds)
        run.note("begin", seconds, index=request.index)
        if error is not None:
            self._end(run, error)
            return False
        request.work = work
        return True

    def _step(self, batch: Batch, requests: list[_Request]) -> None:
        """One pass for a batch; one by one, so that each streams at once, if it cannot share."""
        runner = requests[0].runner
        if runner is None:
            return
        self._residency.get(requests[0].run.spec.model)
        began = self._clock()
        for part in [requests] if runner.shares else [[r] for r in requests]:
            self._pass(runner, part)
        spent = self._spent.get(batch.kind, 0.0)
        self._spent[batch.kind] = spent + self._clock() - began

    def _pass(self, runner: Runner, requests: list[_Request]) -> None:
        """One pass, then each request's own part; charges each run its share."""
        requests = [r for r in requests if not (r.run.ended or r.run.cancelled)]
        if not requests:
            return
        key = requests[0].work.key
        weights = [r.work.weight for r in requests]
        rows = sum(weights)
        passes = Passes(lambda rows: self._ran_out(key, rows), self._make_room)
        began = self._clock()
        results = passes.forward(runner, [r.work for r in requests])
        seconds = self._clock() - began
        kind = requests[0].run.spec.kind
        self._meter.stepped(kind, len(requests), rows, seconds)
        decodes = key.startswith(DECODE)
        whole = all(error is None for _, error in results)
        if whole and not decodes and _shared_key(requests[0].run.spec):
            self._profile.note(key, rows, min(weights), seconds)
        name = DECODE if decodes else "step"
        for request, weight, (result, error) in zip(requests, weights, results, strict=True):
            run = request.run
            request.last_turn, request.fresh = self._turn, False
            run.charge(seconds / rows * weight)
            run.note(name, seconds, batch=len(requests), index=request.index)
            if run.cancelled or run.ended:
                continue
            self._advance(runner, request, result, error)

    def _advance(
        self, runner: Runner, request: _Request, result: Any, error: AtelierError | None
    ) -> None:
        """Applies a pass's result to one request, and hands out what it made."""
        run = request.run
        stepped = None
        if error is None:
            began = self._clock()
            stepped, error = attempt(runner.advance, request.work, result)
            run.charge(self._clock() - began)
        if isinstance(error, BadPicture) and self._remake(request, error):
            return
        if error is not None or stepped is None:
            self._end(run, error)
            return
        for output in stepped.outputs:
            run.put(self._marked(request, output))
        if stepped.done:
            self._retire(request)

    def _remake(self, request: _Request, error: BadPicture) -> bool:
        """Begins a picture once more with the next seed; False when that was done already."""
        spec = request.run.spec
        if request.remade or not isinstance(spec, ImageSpec):
            return False
        request.remade = error.why
        log.info("picture %d of job %s is %s: again", request.index, request.run.job_id, error.why)
        self._meter.remade(error.why)
        self._drop(request)
        self._prepare(request, next_seed(spec))
        return True

    def _marked(self, request: _Request, output: Output) -> Output:
        """A picture made again says so in its recipe."""
        if not request.remade or not isinstance(output, Picture):
            return output
        spec: Any = request.run.spec
        note = {"why": request.remade, "first_seed": spec.seed_of(request.index)}
        return replace(output, recipe={**output.recipe, "remade": note})

    def _ran_out(self, key: str, rows: int) -> None:
        self._meter.ran_out(key, rows)
        self._profile.ran_out(key, rows)

    def close(self) -> None:
        """Lets go of every begun work; their runs are ended by whoever stops the engine."""
        for request in self._active:
            self._drop(request)
        self._active = []

    def _retire(self, request: _Request) -> None:
        """A request is done; its run too when it was the last."""
        self._active.remove(request)
        self._drop(request)
        request.run.places -= 1
        if request.run.places == 0:
            self._end(request.run, None)

    def _end(self, run: Run, error: AtelierError | None) -> None:
        """Ends a run and drops whatever is left of it."""
        self._waiting = [r for r in self._waiting if r.run is not run]
        for request in [r for r in self._active if r.run is run]:
            self._active.remove(request)
            self._drop(request)
        run.finish(error)

    def _drop(self, request: _Request) -> None:
        """Tells the runner that a begun work is over, however it ended."""
        if request.runner is not None and request.work is not None:
            attempt(request.runner.drop, request.work)
            request.work = None


def next_seed(spec: ImageSpec) -> ImageSpec:
    """The spec with the first seed that none of its pictures uses: seed + count."""
    return spec.model_copy(update={"seed": (spec.seed + spec.count) % (MAX_SEED + 1)})


def _shared_key(spec: Any) -> bool:
    """Whether a picture's batch key is one that others may have: worth a curve."""
    if not isinstance(spec, ImageSpec):
        return False
    return spec.grade is not Grade.STRICT and spec.bucket is None and not spec.buckets


def _as_active(request: _Request) -> Active:
    work = request.work
    return Active(
        request.id, request.run.spec.kind, work.key, request.order, request.last_turn,
        fresh=request.fresh, rows=work.weight, left=getattr(work, "left", 0),
    )  # fmt: skip
