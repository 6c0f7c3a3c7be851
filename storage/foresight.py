"""What is known of a job before it is queued: how long it takes, and whether it was made before."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session

from storage.cache import lookup
from storage.paces import foresee
from storage.registry import ModelCard
from storage.schema import AnySpec, Millis


@dataclass(frozen=True)
class Foresight:
    """Engine milliseconds of a job; ``cached`` when the recipe cache holds all of it."""

    estimate_ms: Millis
    cached: bool = False


def foresight(
    session: Session,
    spec: AnySpec,
    card: ModelCard,
    *,
    workspace_id: str,
    keys: list[str] | None,
) -> Foresight:
    """Look into the cache by ``keys`` (None: do not), else foresee what the engine will take."""
    if keys is not None and lookup(session, workspace_id, keys) is not None:
        return Foresight(1, cached=True)
    return Foresight(foresee(session, spec, card))
