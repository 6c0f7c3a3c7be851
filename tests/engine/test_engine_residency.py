"""What is evicted for what, by table and property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.residency import Moves, Residency, Resident, Wanted, evictions, moves

OLD, NEW = Resident("old", 40, 1), Resident("new", 40, 2)


@pytest.mark.parametrize(
    ("residents", "busy", "need", "expected"),
    [
        ([], set(), 50, ()),
        ([OLD, NEW], set(), 20, ()),
        ([NEW, OLD], set(), 50, ("old",)),
        ([OLD, NEW], {"old"}, 50, ("new",)),
        ([OLD, NEW], set(), 90, ("old", "new")),
        ([OLD, NEW], {"old"}, 90, None),
        # Larger than everything: only when it would be alone.
        ([OLD], set(), 500, ("old",)),
        ([OLD], {"old"}, 500, None),
        ([], set(), 500, ()),
    ],
)
def test_table(
    residents: list[Resident], busy: set[str], need: int, expected: tuple[str, ...] | None
) -> None:
    assert evictions(residents, busy, need, 100) == expected


@given(st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=6), st.integers(1, 120))
def test_never_a_busy_one_and_never_over_budget_beside_others(
    models: list[tuple[int, bool]], need: int
) -> None:
    residents = [Resident(str(i), size, i) for i, (size, _) in enumerate(models)]
    busy = {str(i) for i, (_, working) in enumerate(models) if working}
    drop = evictions(residents, busy, need, 100)
    if drop is not None:
        assert not busy & set(drop)
        kept = [r for r in residents if r.model not in drop]
        assert not kept or sum(r.size for r in kept) + need <= 100
    else:
        assert sum(r.size for r in residents if r.model in busy) + need > 100


def test_the_least_recently_used_goes_first_among_equals() -> None:
    residency: Residency[str] = Residency(100)
    residency.put("a", "A", 50)
    residency.put("b", "B", 50)
    assert residency.get("a") == "A"
    assert residency.make_room(50, set()) == ("b",)
    residency.drop("b")
    assert residency.loaded() == ["a"]
    assert residency.get("b") is None


def test_what_is_dear_to_reload_stays_until_nobody_asks_for_it() -> None:
    residency: Residency[str] = Residency(100)
    residency.put("dear", "D", 50, reload_s=10)
    dropped = []
    for name in ("w", "x", "y", "z", "u", "v"):
        residency.put(name, name, 50, reload_s=3)
        (victim,) = residency.make_room(50, set()) or ("",)
        dropped.append(victim)
        residency.drop(victim)
    # Recency alone would have dropped it first; cost alone would never drop it.
    assert dropped.index("dear") == 3


@pytest.mark.parametrize(
    ("wanted", "busy", "expected"),
    [
        ([], set(), Moves((), (), {})),
        ([Wanted("old", 40, 1)], set(), Moves((), (), {})),
        ([Wanted("c", 20, 1)], set(), Moves(("c",), (), {})),
        ([Wanted("c", 50, 1)], {"new"}, Moves(("c",), ("old",), {})),
        # What an older request waits for is not dropped for a younger one's model.
        ([Wanted("old", 40, 1), Wanted("c", 50, 2)], set(), Moves(("c",), ("new",), {})),
        ([Wanted("c", 90, 1)], {"new"}, Moves((), (), {"c": frozenset({"new"})})),
        # Room that a blocked one waits for is not given to a younger one.
        ([Wanted("c", 90, 1), Wanted("d", 15, 2)], {"new"},
         Moves((), (), {"c": frozenset({"new"}), "d": frozenset({"new"})})),
        # Two at once when both fit.
        ([Wanted("c", 10, 1), Wanted("d", 10, 2)], {"new"}, Moves(("c", "d"), (), {})),
    ],
)  # fmt: skip
def test_moves(wanted: list[Wanted], busy: set[str], expected: Moves) -> None:
    assert moves([OLD, NEW], wanted, busy, 100) == expected


def test_parked_models_stay_within_their_budget_and_come_back_once() -> None:
    residency: Residency[str] = Residency(100, spare=80)
    for name in ("a", "b", "c"):
        residency.put(name, name.upper(), 40)
        assert residency.parks(name)
        residency.drop(name)
        residency.park(name, name.upper(), 40)
    assert residency.parked() == ["b", "c"] and residency.parked_bytes == 80
    assert residency.begin("b", 40) == "B" and residency.begin("a", 40) is None
    assert residency.parked() == ["c"] and residency.coming() == ["a", "b"]
    assert residency.bytes == 80
    residency.fail("a")
    residency.put("b", "B", 45)
    assert residency.bytes == residency.size_of("b", 1) == 45


def test_the_budget_learns_but_never_below_what_runs() -> None:
    residency: Residency[str] = Residency(100)
    residency.put("a", "A", 60)
    residency.learn(90)
    assert residency.budget == 90
    residency.learn(10)
    assert residency.budget == 60
