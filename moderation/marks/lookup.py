"""Is a file one that was made here, or does it look like one? By the hashes the worker kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moderation.marks.verify import Lookup, file_hash
from moderation.pdq import GOOD, NEAR, hashes, nearest, packed
from storage import decisions

if TYPE_CHECKING:
    from PIL.Image import Image

    from storage.database import Database


def lookup_in(database: Database) -> Lookup:
    """A lookup over everything this studio made. Blocking: for threads and the command line."""

    def look(data: bytes, image: Image) -> str:
        if database.read(decisions.known_file, file_hash(data)):
            return "exact"
        own = hashes(image)
        if own[0].quality < GOOD:
            return "none"
        rows = [row for row in database.read(decisions.bank, ("made",)) if row.quality >= GOOD]
        found = nearest(packed([row.pdq for row in rows]), [one.digits for one in own])
        return "similar" if found is not None and found[1] <= NEAR else "none"

    return look
