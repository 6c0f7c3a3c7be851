"""Residency and turns over a thousand seeded lives: no tensor, the decisions as the engine asks."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from storage.schema import JobKind
from worker.engine.residency import Residency, Wanted
from worker.engine.scheduler import Active, Caps, Models, Waiting, plan

SEEDS = 1_000
BUDGET = 100
MODELS = {"a": (JobKind.IMAGE, 60), "b": (JobKind.IMAGE, 45), "c": (JobKind.CHAT, 30),
          "d": (JobKind.CHAT, 55), "e": (JobKind.IMAGE, 130)}  # fmt: skip
LOAD_TURNS = 4
CAPS = Caps({JobKind.IMAGE: 3, JobKind.CHAT: 3}, {"a": 2, "b": 1})


@dataclass
class Life:
    """What one seed came to."""

    turns: int = 0
    loads: int = 0
    ended: int = 0
    stalled: int = 0
    """Turns in which something could have been stepped and was not."""


def live(seed: int) -> Life:
    """One life: arrivals, loads that take turns, steps; every rule is checked at every turn."""
    rng = random.Random(seed)
    arrivals = sorted(
        (rng.randrange(60), rng.choice(list(MODELS)), rng.randint(1, 6))
        for _ in range(rng.randint(3, 22))
    )
    left = {str(n): steps for n, (_, _, steps) in enumerate(arrivals)}
    model_of = {str(n): model for n, (_, model, _) in enumerate(arrivals)}
    residency: Residency[str] = Residency(BUDGET)
    waiting: list[Waiting] = []
    active: list[Active] = []
    coming: dict[str, int] = {}
    spent: dict[JobKind, float] = {}
    began: dict[str, int] = {}
    life, pending = Life(), list(enumerate(arrivals))
    while pending or waiting or active:
        while pending and pending[0][1][0] <= life.turns:
            order, (_, model, _) = pending.pop(0)
            waiting.append(Waiting(str(order), MODELS[model][0], model, order))
        for model in [m for m, at in coming.items() if at <= life.turns]:
            del coming[model]
            residency.put(model, model, MODELS[model][1], reload_s=rng.uniform(0.5, 5))
        needs: dict[str, int] = {}
        for request in waiting:
            needs.setdefault(request.model, request.order)
        busy = {model_of[a.id] for a in active}
        wanted = [Wanted(m, MODELS[m][1], order) for m, order in needs.items()]
        moves = residency.moves(wanted, busy)
        assert not set(moves.drop) & busy, "what is being stepped was dropped"
        for model in moves.drop:
            residency.drop(model)
        for model in moves.load:
            residency.begin(model, MODELS[model][1])
            coming[model] = life.turns + LOAD_TURNS
            life.loads += 1
        here = len(residency.loaded()) + len(residency.coming())
        assert residency.bytes <= BUDGET or here == 1, "over budget beside others"
        models = Models(residency.loaded(), residency.coming(), moves.blocked)
        decided = plan(waiting, active, CAPS, models, spent)
        for id in decided.admit:
            request = next(w for w in waiting if w.id == id)
            assert request.model in residency.loaded()
            residency.get(request.model)
            waiting.remove(request)
            began[id] = life.turns
            active.append(
                Active(id, request.kind, request.model, request.order, life.turns, fresh=True,
                       left=left[id])
            )  # fmt: skip
        if active and decided.step is None and not decided.admit:
            life.stalled += 1
        if decided.step is not None:
            for id in decided.step.ids:
                left[id] -= 1
            active = [
                replace(a, last_turn=life.turns, fresh=False, left=left[a.id])
                if a.id in decided.step.ids
                else a
                for a in active
            ]
            life.ended += sum(left[a.id] == 0 for a in active)
            active = [a for a in active if left[a.id] > 0]
            spent[decided.step.kind] = spent.get(decided.step.kind, 0) + rng.uniform(0.1, 2)
        floor = min((spent[a.kind] for a in active if a.kind in spent), default=0.0)
        spent = {a.kind: max(spent.get(a.kind, floor), floor) for a in active}
        life.turns += 1
        assert life.turns < 2_000, f"seed {seed} never ends"
    assert life.ended == len(arrivals)
    return life


def test_a_thousand_lives_end_within_budget_without_starving_anyone() -> None:
    lives = [live(seed) for seed in range(SEEDS)]
    assert all(life.stalled == 0 for life in lives)
    # Never more loads than there were jobs: nobody's model is thrown out before it served.
    assert all(life.loads <= life.ended for life in lives)
    assert sum(life.loads for life in lives) > SEEDS, "the budget was never tight"


def test_the_order_of_arrival_bounds_the_wait_for_a_blocked_model() -> None:
    """A model too large to be beside others begins once those before it are done, however many
    younger requests keep arriving for what is loaded."""
    for seed in range(200):
        rng = random.Random(seed)
        active = [
            Active(str(n), JobKind.IMAGE, "a", n, 0, left=rng.randint(1, 9)) for n in range(3)
        ]
        left = {a.id: a.left for a in active}
        waiting = [Waiting("big", JobKind.IMAGE, "e", 3)]
        turns = 0
        while active:
            waiting.append(Waiting(f"x{turns}", rng.choice(list(JobKind)), "a", 100 + turns))
            decided = plan(waiting, active, CAPS, Models({"a"}, (), {"e": {"a"}}), {})
            assert decided.admit == (), "a younger one was let past"
            assert decided.step is not None
            for id in decided.step.ids:
                left[id] -= 1
            active = [replace(a, last_turn=turns, left=left[a.id]) for a in active if left[a.id]]
            turns += 1
        assert turns <= 27
