"""The settings book: every change of a workspace's settings, who made it, and how to take it back.

The current settings are ``Workspace.settings``; the book only grows. A change is checked as a
whole before it is written, so that a broken value changes nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlmodel import Session, col, select

from storage.errors import BadInput, NotFound
from storage.models import SettingChange
from storage.schema import Millis
from storage.workspaces import Actor, lock_as_admin

Check = Callable[[Mapping[str, Any]], None]
"""Raises ``BadInput`` when a whole set of settings makes no sense; rooms above give theirs."""
_ABSENT = object()


def get(settings: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, or None."""
    found = _get(settings, path)
    return None if found is _ABSENT else found


def _get(settings: Mapping[str, Any], path: str) -> Any:
    here: Any = settings
    for part in path.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return _ABSENT
        here = here[part]
    return here


def put(settings: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of the settings with one value set; None takes it out, and empty groups with it."""
    fresh = copy.deepcopy(dict(settings))
    *groups, last = path.split(".")
    if not last or not all(groups):
        raise BadInput("setting_unknown", path=path[:80])
    trail: list[tuple[dict[str, Any], str]] = []
    here = fresh
    for part in groups:
        inner = here.get(part)
        if not isinstance(inner, dict):
            inner = here[part] = {}
        trail.append((here, part))
        here = inner
    if value is None:
        here.pop(last, None)
        for outer, part in reversed(trail):
            if outer[part]:
                break
            del outer[part]
    else:
        here[last] = value
    return fresh


def change(
    session: Session, actor: Actor, values: Mapping[str, Any], *, check: Check, now: Millis,
    seen: Mapping[str, Any] | None = None,
) -> list[SettingChange]:  # fmt: skip
    """Set several values (dotted path -> value, None for the default) at once, or none of them.

    ``seen`` is what stood at these paths (as :func:`snapshot` gives it) when somebody looked and
    decided. Returns what really changed. Raises ``NotAllowed('admins_only')``,
    ``BadInput('settings_moved')`` when something else stands there now, and what ``check`` raises.
    """
    row = lock_as_admin(session, actor)
    before = row.settings
    if seen is not None and snapshot(before, values) != seen:
        raise BadInput("settings_moved")
    fresh: dict[str, Any] = dict(before)
    for path, value in values.items():
        fresh = put(fresh, path, value)
    check(fresh)
    made = [
        _note(session, actor, path, _get(before, path), _get(fresh, path), now)
        for path in values
        if _get(before, path) != _get(fresh, path)
    ]
    row.settings = fresh
    session.add(row)
    session.flush()
    return made


def snapshot(settings: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """What stands at these paths; nothing for a path that is not set."""
    return {path: _boxed(_get(settings, path)) for path in paths}


def replace(
    session: Session, actor: Actor, settings: Mapping[str, Any], *, check: Check, now: Millis,
    seen: Mapping[str, Any] | None = None,
) -> SettingChange | None:  # fmt: skip
    """Put a whole document (an import) in place; None when nothing differs.

    ``seen`` is the document that was there when somebody looked and decided. Raises as
    :func:`change`.
    """
    return rewrite(session, actor, lambda _: settings, check=check, now=now, seen=seen)


def rewrite(
    session: Session, actor: Actor, make: Callable[[Mapping[str, Any]], Mapping[str, Any]], *,
    check: Check, now: Millis, seen: Mapping[str, Any] | None = None,
) -> SettingChange | None:  # fmt: skip
    """:func:`replace` by what ``make`` makes of the settings as they are now (a preset)."""
    row = lock_as_admin(session, actor)
    if seen is not None and row.settings != dict(seen):
        raise BadInput("settings_moved")
    settings = dict(make(row.settings))
    check(settings)
    if row.settings == settings:
        return None
    made = _note(session, actor, "", row.settings, settings, now)
    row.settings = settings
    session.add(row)
    session.flush()
    return made


def undo(
    session: Session, actor: Actor, change_id: str, *, check: Check, now: Millis
) -> SettingChange:
    """Put back what one change replaced, as a new change.

    Raises ``NotFound('change_unknown')``; ``BadInput('change_superseded')`` when the same setting
    was changed again since (take that one back first).
    """
    row = lock_as_admin(session, actor)
    found = session.get(SettingChange, change_id)
    if found is None or found.workspace_id != row.id:
        raise NotFound("change_unknown")
    now_there = row.settings if not found.path else _get(row.settings, found.path)
    if _boxed(now_there) != found.after:
        raise BadInput("change_superseded")
    value = found.before.get("value")
    fresh = dict(value or {}) if not found.path else put(row.settings, found.path, value)
    check(fresh)
    made = _note(session, actor, found.path, now_there, _back(fresh, found.path), now, found.id)
    row.settings = fresh
    session.add(row)
    session.flush()
    return made


def _back(settings: dict[str, Any], path: str) -> Any:
    return settings if not path else _get(settings, path)


def history(session: Session, workspace_id: str, *, limit: int = 20) -> list[SettingChange]:
    """The last changes, newest first."""
    return list(
        session.exec(
            select(SettingChange)
            .where(SettingChange.workspace_id == workspace_id)
            .order_by(col(SettingChange.created_at).desc(), col(SettingChange.id).desc())
            .limit(limit)
        )
    )


def _boxed(value: Any) -> dict[str, Any]:
    return {} if value is _ABSENT else {"value": value}


def _note(
    session: Session, actor: Actor, path: str, before: Any, after: Any, now: Millis,
    undoes: str | None = None,
) -> SettingChange:  # fmt: skip
    made = SettingChange(
        workspace_id=actor.workspace.id, member_id=actor.member.id, path=path,
        before=_boxed(before), after=_boxed(after), undoes=undoes, created_at=now,
    )  # fmt: skip
    session.add(made)
    return made
