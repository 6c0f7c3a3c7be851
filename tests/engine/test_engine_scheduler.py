"""The plan: tables for what must happen, properties for what must never happen."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.schema import JobKind
from worker.engine.scheduler import Active, Batch, Caps, Waiting, admissible, next_batch, plan

IMAGE, CHAT = JobKind.IMAGE, JobKind.CHAT
CAPS = Caps({IMAGE: 2, CHAT: 2}, {})


def waits(order: int, kind: JobKind = IMAGE, model: str = "m") -> Waiting:
    return Waiting(str(order), kind, model, order)


def acts(order: int, last: int, kind: JobKind = IMAGE, key: str = "k") -> Active:
    return Active(str(order), kind, key, order, last)


@pytest.mark.parametrize(
    ("waiting", "active", "fits", "expected"),
    [
        ([], [], {"m"}, ()),
        ([waits(3), waits(1), waits(2)], [], {"m"}, ("1", "2")),
        ([waits(1), waits(2)], [acts(0, 0)], {"m"}, ("1",)),
        ([waits(1)], [acts(0, 0), acts(9, 0)], {"m"}, ()),
        # Kinds have rooms of their own.
        ([waits(1), waits(2, CHAT)], [acts(0, 0), acts(9, 0)], {"m"}, ("2",)),
        # The oldest's model does not fit: nobody of its kind overtakes it, chat goes on.
        ([waits(1, model="big"), waits(2), waits(3, CHAT)], [], {"m"}, ("3",)),
        # A younger one that does not fit holds back only those behind it.
        ([waits(1), waits(2, model="big"), waits(3)], [], {"m"}, ("1",)),
    ],
)
def test_admission(
    waiting: list[Waiting], active: list[Active], fits: set[str], expected: tuple[str, ...]
) -> None:
    assert admissible(waiting, active, CAPS, fits) == expected


@pytest.mark.parametrize(
    ("active", "last", "expected"),
    [
        ([], None, None),
        ([acts(2, 1), acts(1, 1)], IMAGE, Batch(IMAGE, "k", ("1", "2"))),
        ([acts(1, 1), acts(2, 1, CHAT, "c")], None, Batch(CHAT, "c", ("2",))),
        ([acts(1, 1), acts(2, 2, CHAT, "c")], CHAT, Batch(IMAGE, "k", ("1",))),
        ([acts(1, 3), acts(2, 2, CHAT, "c")], IMAGE, Batch(CHAT, "c", ("2",))),
        # Two shapes take turns.
        ([acts(1, 4), acts(2, 3, key="wide")], IMAGE, Batch(IMAGE, "wide", ("2",))),
        # A newcomer of another shape does not overtake one that waits.
        ([acts(1, 4), acts(2, 5, key="wide")], IMAGE, Batch(IMAGE, "k", ("1",))),
    ],
)
def test_next_batch(active: list[Active], last: JobKind | None, expected: Batch | None) -> None:
    assert next_batch(active, CAPS, last) == expected


def test_beyond_the_batch_cap_those_who_waited_longest_go() -> None:
    caps = Caps({IMAGE: 9}, {"k": 2})
    active = [acts(1, 5), acts(2, 5), acts(3, 4)]
    assert next_batch(active, caps) == Batch(IMAGE, "k", ("1", "3"))


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
    left = {str(order): steps for order, (_, _, _, steps) in enumerate(jobs)}
    arriving = [(turn, waits(i, kind, model)) for i, (turn, kind, model, _) in enumerate(jobs)]
    waiting: list[Waiting] = []
    active: list[Active] = []
    begun: dict[JobKind, list[int]] = {IMAGE: [], CHAT: []}
    last: JobKind | None = None
    turn = 0
    while arriving or waiting or active:
        waiting += [w for t, w in arriving if t <= turn]
        arriving = [(t, w) for t, w in arriving if t > turn]
        decided = plan(waiting, active, caps, {"a", "b", "c"}, last)
        assert decided == plan(waiting[::-1], active[::-1], caps, {"a", "b", "c"}, last)
        for id in decided.admit:
            chosen = next(w for w in waiting if w.id == id)
            assert all(w.order > chosen.order or w.kind is not chosen.kind
                       for w in waiting if w.id not in decided.admit)  # fmt: skip
            waiting.remove(chosen)
            key = f"{chosen.kind}:{chosen.model}"
            active.append(Active(id, chosen.kind, key, chosen.order, turn))
            begun[chosen.kind].append(chosen.order)
        for kind, cap in caps.active.items():
            assert sum(a.kind is kind for a in active) <= cap
        step = decided.step
        if step is not None:
            assert len({a.key for a in active if a.id in step.ids}) == 1
            assert len(step.ids) <= caps.batch.get(step.key, chats)
            for id in step.ids:
                left[id] -= 1
            active = [replace(a, last_turn=turn) if a.id in step.ids else a for a in active]
            active = [a for a in active if left[a.id] > 0]
            last = step.kind
        # Never more than every other active request, times the two kinds, between two steps.
        assert all(turn - a.last_turn <= 2 * (images + chats) for a in active)
        turn += 1
        assert turn < 2000
    assert all(steps == 0 for steps in left.values())


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(2, 20))
def test_kinds_alternate_while_both_have_work(pictures: int, answers: int, turns: int) -> None:
    active = [acts(i, 0) for i in range(pictures)]
    active += [acts(100 + i, 0, CHAT, "c") for i in range(answers)]
    last: JobKind | None = None
    seen: list[JobKind] = []
    for turn in range(turns):
        batch = next_batch(active, CAPS, last)
        assert batch is not None
        active = [replace(a, last_turn=turn) if a.id in batch.ids else a for a in active]
        last = batch.kind
        seen.append(batch.kind)
    assert all(before is not after for before, after in itertools.pairwise(seen))
