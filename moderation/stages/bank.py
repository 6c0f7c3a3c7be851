"""Stage ``image.bank``: is this picture known? Denied before means denied again.

The bank is read from the database by whoever owns this stage and handed over whole; lookups are
in memory (10,000 hashes take a millisecond).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moderation.pdq import GOOD, NEAR, hashes, nearest, packed
from moderation.pipeline import note_score
from moderation.policy import Surface
from storage.schema import Category, Flag

if TYPE_CHECKING:
    from moderation.pipeline import Content


@dataclass(frozen=True, slots=True)
class Known:
    """One hash of a bank. ``workspace_id`` is ``None`` for the whole studio."""

    digits: str
    bank: str
    category: str
    workspace_id: str | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """The closest known picture, ``distance`` bits away."""

    known: Known
    distance: int


class BankStage:
    """Flags what looks like a denied picture with the code it was denied for."""

    name = "image.bank"
    surfaces = frozenset({Surface.OUTPUT, Surface.PREVIEW, Surface.UPLOAD})
    version = "pdq-1"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: list[Known] = []

    def load(self) -> None:
        """Nothing to load; an empty bank knows nothing."""

    def replace(self, rows: Iterable[Known]) -> None:
        """Take a newly read bank."""
        fresh = [row for row in rows if len(row.digits) == 64]
        with self._lock:
            self._rows = fresh

    def check(self, content: Content) -> Sequence[Flag]:
        """A flag of score 1 when a denied picture is near."""
        if content.image is None:
            raise ValueError("no picture")
        match = self.look(content, ("deny",))
        if match is None:
            return []
        note_score("image.bank/distance", float(match.distance))
        code = match.known.category
        category = Category(code) if code in frozenset(Category) else Category.SEX
        return [Flag(category=category, score=1.0, stage=self.name, detail="denied before")]

    def look(self, content: Content, banks: tuple[str, ...]) -> Match | None:
        """The nearest known picture of these banks within reach, in any orientation."""
        with self._lock:
            rows = self._rows
        rows = [
            row for row in rows
            if row.bank in banks and row.workspace_id in (None, content.workspace_id)
        ]  # fmt: skip
        if not rows:
            return None
        own = hashes(content.image)
        if own[0].quality < GOOD:
            return None
        found = nearest(packed([row.digits for row in rows]), [one.digits for one in own])
        if found is None or found[1] > NEAR:
            return None
        return Match(rows[found[0]], found[1])
