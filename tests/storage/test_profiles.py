"""Which models fit which machine: every card size, licences, and room to work in."""

from __future__ import annotations

import pytest

from storage.profiles import FREE, PROFILES, Precision, fits, profile_for
from storage.registry import load_registry


@pytest.mark.parametrize(
    ("gpu_bytes", "name"),
    [
        (0, "cpu"), (4_000_000_000, "cpu"), (6_000_000_000, "6 GB"),
        (8_000_000_000, "8 GB"), (7_800_000_000, "8 GB"),
        (11_900_000_000, "12 GB"), (16_000_000_000, "12 GB"), (23_600_000_000, "24 GB"),
        (48_000_000_000, "24 GB"), (79_100_000_000, "80 GB"), (143_000_000_000, "80 GB"),
    ],
)  # fmt: skip
def test_a_card_gets_the_largest_that_fits(gpu_bytes: int, name: str) -> None:
    assert profile_for(gpu_bytes).name == name


def test_more_memory_is_never_less() -> None:
    sizes = [profile_for(gigabytes * 10**9).gigabytes for gigabytes in range(160)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.name)
def test_weights_leave_room_and_licences_are_free(profile: object) -> None:
    from storage.profiles import Profile

    assert isinstance(profile, Profile)
    assert fits(profile)
    assert {profile.image.licence, profile.chat.licence} <= FREE
    assert profile.why
    if profile.gigabytes == 0:
        cards = load_registry().cards
        assert profile.image.model in cards and profile.chat.model in cards
        assert profile.image.precision is Precision.FULL
