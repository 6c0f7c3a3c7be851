"""Batch caps follow the measured curve: the published ones give the batches they should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.profile import NEAR, Profile, best_rows

# Seconds of a pass by rows, from the published speed-ups (PERFORMANCE.md 2.2: Qwen-Image, H200).
SMALL = {n: n / gain for n, gain in {1: 1, 2: 1.82, 3: 2.69, 4: 2.77, 8: 3.14, 16: 3.21}.items()}
LARGE = {n: n / gain for n, gain in {1: 1, 2: 1.02, 3: 1.03}.items()}


@pytest.mark.parametrize(
    ("curve", "single", "expected"),
    [
        (SMALL, 1, 8),  # 512 pixels: the last doubling gains two per cent, at twice the wait
        (LARGE, 1, 1),  # 1024 pixels: nothing gained, nothing shared
        ({2: 1.0, 4: 1.9, 8: 3.9}, 2, 2),  # with guidance one request is two rows
        ({2: 1.0, 4: 1.1, 8: 2.0}, 2, 8),
        ({}, 1, 1),
        ({4: 1.0}, 1, 1),  # nobody knows what one costs alone
        ({1: 1.0, 2: 1.0, 4: 4.0}, 1, 2),  # a batch can be worse than a smaller one
        # A neighbour without guidance made its one row in no time: no choice for two.
        ({1: 0.1, 2: 4.0, 4: 8.0}, 2, 2),
        ({1: 0.1, 2: 4.0, 4: 4.4}, 2, 4),
    ],
)
def test_table(curve: dict[int, float], single: int, expected: int) -> None:
    assert best_rows(curve, single) == expected


@given(
    st.dictionaries(st.sampled_from([1, 2, 3, 4, 6, 8, 16]), st.floats(0.01, 10)),
    st.sampled_from([1, 2]),
)
def test_the_cap_is_never_far_from_the_best_when_sharing_pays(
    curve: dict[int, float], single: int
) -> None:
    """Whatever was measured, there is an answer: the engine's thread asks at every turn."""
    rows = best_rows(curve, single)
    able = [n / s for n, s in curve.items() if n >= single]
    assert rows == single or (rows > single and rows / curve[rows] >= NEAR * max(able))


def test_the_first_pass_is_set_up_and_one_interruption_is_not_the_truth() -> None:
    profile = Profile()
    for seconds in (99.0, 1.0, 1.0, 50.0, 1.0):
        profile.note("k", 1, 1, seconds)
    for seconds in (99.0, 1.1, 1.1, 1.1):
        profile.note("k", 4, 1, seconds)
    assert profile.curve("k") == {1: 1.0, 4: 1.1}
    assert profile.cap("k") == 4


def test_nothing_is_limited_before_sharing_was_measured() -> None:
    profile = Profile()
    for _ in range(3):
        profile.note("k", 2, 2, 1.0)
    assert profile.cap("k") is None and profile.caps() == {}


def test_what_ran_out_of_memory_is_not_tried_again() -> None:
    profile = Profile()
    profile.ran_out("k", 8)
    assert profile.cap("k") == 4 and not profile.lacks("k", 8) and profile.lacks("k", 4)
    profile.ran_out("k", 2)
    profile.ran_out("k", 8)
    assert profile.caps() == {"k": 1}
