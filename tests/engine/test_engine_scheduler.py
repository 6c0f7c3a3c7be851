"""The plan: tables for what must happen, properties for what must never happen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.schema import JobKind
from worker.engine.scheduler import (
    Active,
    Batch,
    Caps,
    Models,
    Waiting,
    admissible,
    next_batch,
    plan,
)

IMAGE, CHAT = JobKind.IMAGE, JobKind.CHAT
CAPS = Caps({IMAGE: 2, CHAT: 2}, {})


def waits(order: int, kind: JobKind = IMAGE, model: str = "m") -> Waiting:
    return Waiting(str(order), kind, model, order)


def acts(order: int, last: int, kind: JobKind = IMAGE, key: str = "k") -> Active:
    return Active(str(order), kind, key, order, last)


READY = Models({"m"})


@pytest.mark.parametrize(
    ("waiting", "active", "models", "expected"),
    [
        ([], [], READY, ()),
        ([waits(3), waits(1), waits(2)], [], READY, ("1", "2")),
        ([waits(1), waits(2)], [acts(0, 0)], READY, ("1",)),
        ([waits(1)], [acts(0, 0), acts(9, 0)], READY, ()),
        # Kinds have rooms of their own.
        ([waits(1), waits(2, CHAT)], [acts(0, 0), acts(9, 0)], READY, ("2",)),
        # The oldest's model is not here yet: nobody of its kind overtakes it, chat goes on.
        ([waits(1, model="big"), waits(2), waits(3, CHAT)], [], READY, ("3",)),
        # A younger one that is not here holds back only those behind it.
        ([waits(1), waits(2, model="big"), waits(3)], [], READY, ("1",)),
        # Its room is taken and its load under way: who is ready may pass.
        ([waits(1, model="big"), waits(2)], [], Models({"m"}, {"big"}), ("2",)),
        # It has no room until m ends: nothing younger of m begins, whatever its kind.
        ([waits(1, model="big"), waits(2, CHAT), waits(3)], [acts(0, 0)],
         Models({"m"}, (), {"big": {"m"}}), ()),
        # What was there before it still begins, and another model is not held back.
        ([waits(1, CHAT), waits(2, model="big"), waits(3, CHAT), waits(4, CHAT, "n")], [acts(0, 0)],
         Models({"m", "n"}, (), {"big": {"m"}}), ("1",)),
        ([waits(2, model="big"), waits(4, CHAT, "n")], [acts(0, 0)],
         Models({"m", "n"}, (), {"big": {"m"}}), ("4",)),
    ],
)  # fmt: skip
def test_admission(
    waiting: list[Waiting], active: list[Active], models: Models, expected: tuple[str, ...]
) -> None:
    assert admissible(waiting, active, CAPS, models) == expected


@pytest.mark.parametrize(
    ("active", "spent", "expected"),
    [
        ([], {}, None),
        ([acts(2, 1), acts(1, 1)], {IMAGE: 9}, Batch(IMAGE, "k", ("1", "2"))),
        ([acts(1, 1), acts(2, 1, CHAT, "c")], {}, Batch(CHAT, "c", ("2",))),
        # Whoever had less engine time goes; chat on a tie.
        ([acts(1, 1), acts(2, 2, CHAT, "c")], {CHAT: 2, IMAGE: 1}, Batch(IMAGE, "k", ("1",))),
        ([acts(1, 3), acts(2, 2, CHAT, "c")], {CHAT: 1, IMAGE: 2}, Batch(CHAT, "c", ("2",))),
        ([acts(1, 3), acts(2, 2, CHAT, "c")], {CHAT: 2, IMAGE: 2}, Batch(CHAT, "c", ("2",))),
        # Two shapes take turns.
        ([acts(1, 4), acts(2, 3, key="wide")], {}, Batch(IMAGE, "wide", ("2",))),
        # A newcomer of another shape does not overtake one that waits.
        ([acts(1, 4), acts(2, 5, key="wide")], {}, Batch(IMAGE, "k", ("1",))),
        # A newcomer does not make its shape look as if it had just been stepped.
        ([acts(1, 2), replace(acts(3, 5), fresh=True), acts(2, 4, key="wide")], {},
         Batch(IMAGE, "k", ("1", "3"))),
    ],
)  # fmt: skip
def test_next_batch(
    active: list[Active], spent: dict[JobKind, float], expected: Batch | None
) -> None:
    assert next_batch(active, CAPS, spent) == expected


def lasts(order: int, last: int, left: int, rows: int = 1) -> Active:
    return replace(acts(order, last), left=left, rows=rows)


@pytest.mark.parametrize(
    ("cap", "active", "expected"),
    [
        # Beyond the cap those who waited longest go.
        (2, [lasts(1, 5, 9), lasts(2, 5, 9), lasts(3, 4, 9)], ("1", "3")),
        # Rows count, not requests: guidance takes two; a lone row may fill the gap.
        (4, [lasts(1, 1, 9, 2), lasts(2, 1, 9, 2), lasts(3, 1, 9, 2)], ("1", "2")),
        (5, [lasts(1, 1, 9, 2), lasts(2, 1, 9, 2), lasts(3, 1, 9, 2), lasts(4, 1, 9)],
         ("1", "2", "4")),
        # Sharing gains nothing and they are alike: one after another, the oldest first.
        (1, [lasts(1, 7, 9), lasts(2, 3, 9)], ("1",)),
        # They are unlike: they take turns.
        (1, [lasts(1, 7, 20), lasts(2, 3, 4)], ("2",)),
        (1, [lasts(1, 3, 20), lasts(2, 7, 4)], ("1",)),
        # Even a single request of more rows than the cap is stepped.
        (1, [lasts(1, 1, 9, 2)], ("1",)),
    ],
)  # fmt: skip
def test_the_measured_cap_decides_who_shares(
    cap: int, active: list[Active], expected: tuple[str, ...]
) -> None:
    assert next_batch(active, Caps({IMAGE: 9}, {"k": cap})) == Batch(IMAGE, "k", expected)


arrivals = st.lists(
    st.tuples(
        st.integers(0, 30),  # turn of arrival
        st.sampled_from([IMAGE, CHAT]),
        st.sampled_from(["a", "b", "c"]),  # model, and with it the batch key
        st.integers(1, 12),  # steps
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(arrivals, st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_nobody_starves_and_no_cap_is_broken(
    jobs: list[tuple[int, JobKind, str, int]], images: int, chats: int, width: int
) -> None:
    caps = Caps({IMAGE: images, CHAT: chats}, {f"{IMAGE}:{m}": width for m in "abc"})
    models = Models({"a", "b", "c"})
    left = {str(order): steps for order, (_, _, _, steps) in enumerate(jobs)}
    arriving = [(turn, waits(i, kind, model)) for i, (turn, kind, model, _) in enumerate(jobs)]
    waiting: list[Waiting] = []
    active: list[Active] = []
    spent: dict[JobKind, float] = {}
    turn = 0
    while arriving or waiting or active:
        waiting += [w for t, w in arriving if t <= turn]
        arriving = [(t, w) for t, w in arriving if t > turn]
        active = [replace(a, left=left[a.id]) for a in active]
        decided = plan(waiting, active, caps, models, spent)
        assert decided == plan(waiting[::-1], active[::-1], caps, models, spent)
        for id in decided.admit:
            chosen = next(w for w in waiting if w.id == id)
            assert all(w.order > chosen.order or w.kind is not chosen.kind
                       for w in waiting if w.id not in decided.admit)  # fmt: skip
            waiting.remove(chosen)
            key = f"{chosen.kind}:{chosen.model}"
            active.append(Active(id, chosen.kind, key, chosen.order, turn, fresh=True))
        for kind, cap in caps.active.items():
            assert sum(a.kind is kind for a in active) <= cap
        step = decided.step
        if step is not None:
            assert len({a.key for a in active if a.id in step.ids}) == 1
            assert len(step.ids) <= caps.batch.get(step.key, chats)
            for id in step.ids:
                left[id] -= 1
            active = [
                replace(a, last_turn=turn, fresh=False) if a.id in step.ids else a for a in active
            ]
            active = [a for a in active if left[a.id] > 0]
            spent[step.kind] = spent.get(step.kind, 0) + 1
        kinds = {a.kind for a in active}
        floor = min((spent[k] for k in kinds if k in spent), default=0)
        spent = {k: max(spent.get(k, floor), floor) for k in kinds}
        turn += 1
        assert turn < 2000
    assert all(steps == 0 for steps in left.values())


@settings(max_examples=100, deadline=None)
@given(st.floats(0.01, 5.0), st.floats(0.01, 5.0), st.integers(10, 60))
def test_kinds_share_the_engines_time_whatever_their_steps_cost(
    picture: float, token: float, turns: int
) -> None:
    """At every moment both had the same time but for the longer of the two steps."""
    active = [acts(1, 0), acts(2, 0, CHAT, "c")]
    cost = {IMAGE: picture, CHAT: token}
    spent = {IMAGE: 0.0, CHAT: 0.0}
    for _ in range(turns):
        batch = next_batch(active, CAPS, spent)
        assert batch is not None
        spent[batch.kind] += cost[batch.kind]
        assert abs(spent[IMAGE] - spent[CHAT]) <= max(cost.values()) + 1e-9
