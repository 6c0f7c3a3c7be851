"""What is evicted for what, by table and property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.residency import Residency, Resident, evictions

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


def test_the_least_recently_used_goes_first() -> None:
    residency: Residency[str] = Residency(100)
    residency.put("a", "A", 50)
    residency.put("b", "B", 50)
    assert residency.get("a") == "A"
    assert residency.make_room(50, set()) == ("b",)
    residency.drop("b")
    assert residency.loaded() == ["a"]
    assert residency.get("b") is None
