"""The operator's switches; *stop* refuses everything new everywhere while it is on."""

from __future__ import annotations

from sqlmodel import Session

from storage.models import Switch
from storage.schema import Millis

STOP = "stop"


def is_on(session: Session, name: str) -> bool:
    """Whether a switch is on; one nobody ever touched is off."""
    row = session.get(Switch, name)
    return row is not None and row.on


def turn(session: Session, name: str, on: bool, *, now: Millis, note: str = "") -> None:
    """Turn a switch on or off; the note says why, for whoever finds it."""
    row = session.get(Switch, name)
    if row is None:
        row = Switch(id=name, changed_at=now)
    row.on, row.note, row.changed_at = on, note[:200], now
    session.add(row)
    session.flush()
