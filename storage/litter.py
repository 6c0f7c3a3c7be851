"""Files that no row names any more: a process died between the file and its row.

A picture's file is written before the row that names it and deleted after the row forgot it, so a
crash on either side leaves a file that nobody can see and nothing else would ever remove. That
matters most after ``/privacy forget``: what was promised gone has to go.
"""

from __future__ import annotations

import logging
import re
import time

from sqlalchemy import Text, cast, or_
from sqlalchemy import select as select_columns
from sqlmodel import Session, SQLModel

from storage.blobs import KEY, SUFFIXES, Blobs
from storage.database import Database

log = logging.getLogger(__name__)

GRACE_S = 24 * 3_600.0
"""Younger files are left alone: the row that will name one may not be written yet."""
_AT_A_TIME = 500
_NO_WORDS = (int, float, bool, bytes)


def named(session: Session) -> set[str]:
    """Every blob key that any row mentions, whatever its column is for.

    All text and JSON of all tables is looked through, not a list of columns: one that is added
    later must not cost somebody a picture. Reads the whole database; meant for once a day.
    """
    found: set[str] = set()
    key = re.compile(KEY)
    for table in SQLModel.metadata.sorted_tables:
        words = [cast(c, Text) for c in table.columns if c.type.python_type not in _NO_WORDS]
        if not words:
            continue
        mentions = [word.contains(f".{suffix}") for word in words for suffix in SUFFIXES]
        query = select_columns(*words).where(or_(*mentions))
        rows = session.execute(query.execution_options(yield_per=_AT_A_TIME))
        for row in rows:
            for value in row:
                if value:
                    found.update(match[0] for match in key.finditer(value))
    return found


def collect(database: Database, blobs: Blobs, *, grace_s: float = GRACE_S) -> int:
    """Delete files older than ``grace_s`` that no row names; returns how many.

    Ages are the file system's own, so a clock of ours that is wrong deletes nothing early.
    """
    before = time.time() - grace_s
    gone = blobs.drop_drafts(before)
    old = blobs.older(before)
    lost = old - database.read(named) if old else set()
    for key in lost:
        blobs.delete(key)
    if lost or gone:
        log.info("removed %d files that nothing named", len(lost) + gone)
    return len(lost) + gone
