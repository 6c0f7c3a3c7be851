"""Which labels are learnt from and which only measured on. Pure.

Texts of one member, and texts that nearly repeat each other, form one group; a group is on one
side, always the same one, so that no later head is measured on what an earlier one has learnt.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

HELD_OUT = 0.35
"""Share of groups that are only measured on."""

NEAR = 0.6
"""Share of common words (Jaccard, of what either has) from which two texts repeat each other."""

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0eff]|\w+")


@dataclass(frozen=True, slots=True)
class Label:
    """One text and what moderators said: code to 1 (violates) or 0 (does not)."""

    id: str
    member: str
    text: str
    codes: tuple[tuple[str, int], ...]

    def of(self, code: str) -> int | None:
        """What was said of a code; ``None`` for nothing."""
        return dict(self.codes).get(code)


def groups(labels: Sequence[Label]) -> list[int]:
    """For each label the number of its group: the place of its first member."""
    parent = list(range(len(labels)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    def join(one: int, two: int) -> None:
        first, second = sorted((root(one), root(two)))
        parent[second] = first

    by_member: dict[str, int] = {}
    for place, label in enumerate(labels):
        join(place, by_member.setdefault(label.member, place))
    words = [frozenset(_WORD.findall(label.text.casefold())) for label in labels]
    by_word: dict[str, list[int]] = {}
    for place, own in enumerate(words):
        near: dict[int, int] = {}
        for word in own:
            for other in by_word.get(word, ()):
                near[other] = near.get(other, 0) + 1
            by_word.setdefault(word, []).append(place)
        for other, shared in near.items():
            if shared >= NEAR * (len(own) + len(words[other]) - shared):
                join(place, other)
    return [root(place) for place in range(len(labels))]


def held_out(labels: Sequence[Label]) -> list[bool]:
    """For each label whether it is only measured on.

    A group's side follows from the names of its members: the one with the smallest hash speaks.
    When a new text joins two groups that were on different sides, what was learnt from may become
    measured on, which flatters the head in force and never the new one.
    """
    group = groups(labels)
    shares: dict[int, float] = {}
    for place, label in enumerate(labels):
        share = _share(label.member)
        shares[group[place]] = min(share, shares.get(group[place], 1.0))
    return [shares[number] < HELD_OUT for number in group]


def _share(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48
