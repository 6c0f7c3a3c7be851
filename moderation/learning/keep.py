"""A workspace's learning from the database and back to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moderation.heads.local import LocalHeads
from moderation.heads.model import Heads, shared
from moderation.learning.attempt import attempt
from moderation.learning.split import Label
from moderation.pipeline import Pipeline
from moderation.stages.heads import HeadsStage
from storage import learning
from storage.errors import BadInput
from storage.models import LearnedHead, LearnedLabel
from storage.schema import Millis

if TYPE_CHECKING:
    from storage.database import Database

log = logging.getLogger(__name__)

EVERY_MS = 24 * 3_600_000
"""Between two attempts in one workspace."""
NEW_LABELS = 10
"""As many labels more than at the last attempt, or it is not worth one."""


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to: ``result`` is promoted, gate, no_better, few_labels, or gone (the
    labels changed meanwhile; the next attempt sees what is there)."""

    result: str
    version: str
    report: dict[str, Any]


async def learn(database: Database, workspace_id: str, *, now: Millis) -> Outcome:
    """Gather, learn, and put in force what is better. Takes seconds to a minute of one core.

    Raises ``BadInput('learning_off')`` where the workspace did not ask for it.
    """
    if not await database.look(_wanted, workspace_id):
        raise BadInput("learning_off")
    await database.run(learning.gather, workspace_id=workspace_id, now=now)
    rows = await database.look(learning.labels, workspace_id=workspace_id)
    in_force = await database.look(learning.active, workspace_id=workspace_id)
    heads = await asyncio.to_thread(shared)
    before = _read(in_force, heads)
    known = [_label(row) for row in rows]
    made = await asyncio.to_thread(_run, known, heads, before)
    weights = made.heads.dump() if made.heads is not None else None
    version = made.heads.version if made.heads is not None else ""
    kept = await database.run(
        learning.record, workspace_id=workspace_id, base=heads.version, report=made.report, now=now,
        used=[row.id for row in rows], weights=weights, version=version,
    )  # fmt: skip
    if kept is None:
        return Outcome("gone", "", made.report)
    return Outcome(str(made.report["result"]), version, made.report)


def _run(known: list[Label], heads: Heads, before: LocalHeads | None) -> Any:
    """In a thread with a loop of its own: the embeddings of many texts take seconds."""
    return asyncio.run(attempt(known, heads, before))


def _wanted(session: Any, workspace_id: str) -> bool:
    return any(space.id == workspace_id for space in learning.wanting(session))


def _label(row: LearnedLabel) -> Label:
    codes = tuple(sorted((code, int(value)) for code, value in row.codes.items()))
    return Label(row.id, row.member_id, row.text, codes)


def _read(row: LearnedHead | None, heads: Heads) -> LocalHeads | None:
    """A stored head; none when it was made beside other shipped heads or cannot be read."""
    if row is None or row.weights is None or row.base != heads.version:
        return None
    try:
        return LocalHeads.load(row.weights)
    except ValueError:
        log.error("the learnt head %s cannot be read; the shipped ones apply", row.version)
        return None


async def refresh(database: Database, pipelines: Iterable[Pipeline]) -> int:
    """Hand the heads stages what is in force in every workspace; returns how many there are."""
    heads = await asyncio.to_thread(shared)
    rows = await database.look(learning.in_force, base=heads.version)
    known = {row.workspace_id: own for row in rows if (own := _read(row, heads)) is not None}
    for pipeline in pipelines:
        for stage in pipeline.stages:
            if isinstance(stage, HeadsStage):
                stage.learn(known)
    return len(known)


async def due(database: Database, *, now: Millis) -> list[str]:
    """Workspaces whose labels have grown since a last attempt of more than a day ago."""
    return await database.run(_due, now)


def _due(session: Any, now: Millis) -> list[str]:
    found = []
    for space in learning.wanting(session):
        last = learning.last(session, workspace_id=space.id)
        if last is not None and now - last.created_at < EVERY_MS:
            continue
        count = learning.gather(session, workspace_id=space.id, now=now)
        before = int(last.report.get("labels", 0)) if last is not None else 0
        if count >= before + NEW_LABELS:
            found.append(space.id)
    return found


async def tidy(database: Database) -> int:
    """Erase what workspaces learnt that switched learning off; returns how many had something."""
    gone = await database.look(learning.unwanted)
    for workspace_id in gone:
        await database.run(learning.erase, workspace_id=workspace_id)
    return len(gone)
