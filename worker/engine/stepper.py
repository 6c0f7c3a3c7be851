"""The engine thread's work, one turn at a time: begin, step, hand out, charge, end.

No thread and no event loop in here; :mod:`worker.engine.engine` drives it. Each turn asks
:func:`worker.engine.scheduler.plan`, begins what it admits and steps the one batch it names.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from storage.errors import AtelierError
from storage.registry import ModelCard, Registry
from storage.schema import JobKind
from worker.engine.errors import Cancelled, StepFailed
from worker.engine.residency import Residency
from worker.engine.run import Run
from worker.engine.runners.base import Runner
from worker.engine.scheduler import Active, Batch, Caps, Waiting, plan

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(eq=False)
class _Request:
    """One picture or answer of a run; ``runner`` and ``work`` are set once it has begun."""

    run: Run
    index: int
    order: int
    runner: Runner | None = None
    work: Any = None
    last_turn: int = 0

    @property
    def id(self) -> str:
        return str(self.order)


class Stepper:
    """Steps the requests of many runs on the loaded models. Not thread-safe.

    ``load`` makes a runner from a model's card (and may raise ``ModelUnavailable``); ``budget`` is
    the bytes of weights to keep loaded.
    """

    def __init__(
        self, registry: Registry, caps: Caps, load: Callable[[ModelCard], Runner], budget: int
    ) -> None:
        self._registry = registry
        self._caps = caps
        self._load = load
        self._residency: Residency[Runner] = Residency(budget)
        self._waiting: list[_Request] = []
        self._active: list[_Request] = []
        self._order = 0
        self._turn = 0
        self._last_kind: JobKind | None = None

    @property
    def idle(self) -> bool:
        """True when there is nothing to step or begin."""
        return not (self._waiting or self._active)

    def loaded(self) -> list[str]:
        """Names of the models in memory, alphabetical."""
        return self._residency.loaded()

    def add(self, run: Run) -> None:
        """Queues a run: one request a picture, or one for the answer."""
        for index in range(run.places):
            self._waiting.append(_Request(run, index, self._order))
            self._order += 1

    def warm(self, model: str) -> AtelierError | None:
        """Loads a model and runs it once; returns what went wrong."""

        def load_and_run() -> None:
            runner = self._runner(model)
            if runner is not None:
                runner.warm()

        return self._attempt(load_and_run)[1]

    def sweep(self) -> None:
        """Ends the runs that were cancelled since the last turn."""
        for run in {r.run for r in (*self._waiting, *self._active) if r.run.cancelled}:
            self._end(run, Cancelled("the run was cancelled"))

    def turn(self) -> None:
        """Begins what fits and makes one step of one batch; does nothing when idle."""
        self._turn += 1
        waiting = [Waiting(r.id, r.run.spec.kind, r.run.spec.model, r.order) for r in self._waiting]
        active = [
            Active(r.id, r.run.spec.kind, r.work.key, r.order, r.last_turn) for r in self._active
        ]
        decided = plan(waiting, active, self._caps, self._fitting(), self._last_kind)
        by_id = {r.id: r for r in (*self._waiting, *self._active)}
        held: set[JobKind] = set()
        for id in decided.admit:
            request = by_id[id]
            if request.run.spec.kind not in held and not self._begin(request):
                held.add(request.run.spec.kind)  # nobody of its kind overtakes it
        if decided.step is not None:
            self._step(decided.step, [by_id[id] for id in decided.step.ids])

    def _fitting(self) -> set[str]:
        """Models of waiting requests that are loaded or could be loaded now."""
        return {
            model
            for model in {r.run.spec.model for r in self._waiting}
            if self._residency.get(model) or self._makes_room(model) is not None
        }

    def _makes_room(self, model: str) -> tuple[str, ...] | None:
        busy = {r.run.spec.model for r in self._active}
        return self._residency.make_room(self._registry.cards[model].memory_bytes, busy)

    def _runner(self, model: str) -> Runner | None:
        """The model's runner, loaded if need be; None when it does not fit beside busy ones."""
        runner = self._residency.get(model)
        if runner is not None:
            return runner
        drop = self._makes_room(model)
        if drop is None:
            return None
        for old in drop:
            self._residency.drop(old)
        card = self._registry.cards[model]
        began = time.perf_counter()
        runner = self._load(card)
        self._residency.put(model, runner, runner.size)
        log.info("loaded %s in %.1f s", model, time.perf_counter() - began)
        return runner

    def _begin(self, request: _Request) -> bool:
        """Moves a waiting request among the active, its model loaded and its work prepared.

        False when its model does not fit beside those admitted earlier in this turn.
        """
        run = request.run
        if run.ended:
            return True
        runner, error = self._attempt(self._runner, run.spec.model)
        if error is not None:
            # Everyone waiting for this model would only fail the same way, one load later.
            for other in {r.run for r in self._waiting if r.run.spec.model == run.spec.model}:
                self._end(other, error)
            return True
        if runner is None:
            return False
        began = time.perf_counter()
        # Only what starts from a picture has any, so that other runners need not know of them.
        pictures = (run.pictures,) if run.pictures else ()
        work, error = self._attempt(runner.begin, run.spec, request.index, *pictures)
        run.charge(time.perf_counter() - began)
        if error is not None:
            self._end(run, error)
            return True
        request.runner, request.work, request.last_turn = runner, work, self._turn
        self._waiting.remove(request)
        self._active.append(request)
        return True

    def _step(self, batch: Batch, requests: list[_Request]) -> None:
        """One pass for a batch; one by one, so that each streams at once, if it cannot share."""
        self._last_kind = batch.kind
        runner = requests[0].runner
        if runner is not None and not runner.shares:
            for request in requests:
                self._pass(runner, [request])
        elif runner is not None:
            self._pass(runner, requests)

    def _pass(self, runner: Runner, requests: list[_Request]) -> None:
        """One pass, then each request's own part; charges each run its share."""
        requests = [r for r in requests if not (r.run.ended or r.run.cancelled)]
        if not requests:
            return
        weights = [r.work.weight for r in requests]
        began = time.perf_counter()
        results = self._forward(runner, requests)
        spent = (time.perf_counter() - began) / sum(weights)
        for request, weight, (result, error) in zip(requests, weights, results, strict=True):
            run = request.run
            request.last_turn = self._turn
            run.charge(spent * weight)
            if run.cancelled or run.ended:
                continue
            if error is None:
                began = time.perf_counter()
                stepped, error = self._attempt(runner.advance, request.work, result)
                run.charge(time.perf_counter() - began)
            if error is not None or stepped is None:
                self._end(run, error)
                continue
            for output in stepped.outputs:
                run.put(output)
            if stepped.done:
                self._retire(request)

    def _forward(
        self, runner: Runner, requests: list[_Request]
    ) -> list[tuple[Any, AtelierError | None]]:
        """A result or an error for each request: together if that works, else each alone."""
        works = [r.work for r in requests]
        if len(works) > 1:
            results, error = self._attempt(runner.forward, works)
            if error is None and results is not None:
                return [(result, None) for result in results]
            log.warning("a shared step of %d failed, trying each alone", len(works))
        alone = [self._attempt(runner.forward, [work]) for work in works]
        return [(None if out is None else out[0], error) for out, error in alone]

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
        if request.runner is not None:
            self._attempt(request.runner.drop, request.work)

    def _attempt(
        self, call: Callable[..., T], *arguments: Any
    ) -> tuple[T | None, AtelierError | None]:
        """Calls into a model; whatever it raises becomes the error of the run that asked.

        The one broad ``except`` of the engine: models and their libraries raise anything, and one
        member's fault must not stop the thread that serves the others.
        """
        try:
            return call(*arguments), None
        except AtelierError as error:
            return None, error
        except Exception as error:
            log.exception("a model call failed")
            failed = StepFailed(f"{type(error).__name__}: {error}")
            failed.__cause__ = error
            return None, failed
