"""One tenant never meets another: while a workspace is in force, every statement stays inside it.

Three locks, each by itself enough for the mistake it is there for:

1. An ORM statement (``select``, ``update``, ``delete``, ``session.get``) gets the predicate on the
   workspace added to every tenant table it names, subqueries and aliases included. Forgetting it
   finds nothing of anybody else's.
2. What goes to the driver is read once more as text: a tenant table without
   ``table.workspace_id = <the workspace in force>`` raises :class:`TenantLeak`, in tests and in
   production. This catches Core tables, ``text()`` and whatever a library may add later.
3. A flush refuses rows of another workspace.

What rightly looks further says so by name: ``with across(Across.LINE): ...``. No workspace is in
force in the worker, in sweeps and deliveries, or on the command line of the operator.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine, String, Table, bindparam, event, or_
from sqlalchemy import select as select_columns
from sqlalchemy.orm import ORMExecuteState, with_loader_criteria
from sqlalchemy.orm.interfaces import CriteriaOption
from sqlmodel import Session, SQLModel

from storage import models

log = logging.getLogger(__name__)


class TenantLeak(Exception):
    """Our bug: a statement could have read or changed what belongs to another workspace.

    Nothing was executed. The message names the tables, never a value.
    """


class Across(StrEnum):
    """Why a piece of code may look beyond the workspace in force. There is no other reason."""

    LINE = "the line"
    """One GPU for everybody: place, predicted wait, backlog and the fairness clocks count all
    workspaces' jobs. What leaves is numbers."""
    PERSON = "one person's own"
    """Accounts that a person joined by a code: balance, export and forgetting follow the person."""
    MADE = "made here"
    """`/verify` tells whether this studio made a file, yes or no, by hashes."""


SHARED = {
    "tier": "the operator's list of tiers",
    "pace": "how fast work goes on this machine",
    "switch": "the operator's switches",
    "account": "reached only by a member's own account id; linked accounts cross workspaces",
    "entry": "as account",
    "reservation": "as account",
    "outbox": "ids of jobs on their way to the wire, sent for everybody by whoever comes first",
}
"""Tables without a tenant, and why. Every other one is fenced; a test keeps this complete."""

_workspace: ContextVar[str | None] = ContextVar("atelier_workspace", default=None)
_across: ContextVar[Across | None] = ContextVar("atelier_across", default=None)
_flushing: ContextVar[bool] = ContextVar("atelier_flushing", default=False)


def current() -> str | None:
    """The workspace in force; None where no statement is fenced."""
    return _workspace.get()


@contextmanager
def within(workspace_id: str) -> Iterator[None]:
    """Put a workspace in force, for this coroutine and every thread its database calls run in."""
    token = _workspace.set(workspace_id)
    try:
        yield
    finally:
        _workspace.reset(token)


@contextmanager
def across(reason: Across) -> Iterator[None]:
    """Look beyond the workspace in force, for a named reason; also a decorator."""
    token = _across.set(Across(reason))
    try:
        yield
    finally:
        _across.reset(token)


def _fenced() -> str | None:
    """The workspace that the next statement has to stay in, if any."""
    return None if _across.get() is not None else _workspace.get()


# -- Lock 1: the ORM ---------------------------------------------------------------------------

_HERE = bindparam("atelier_workspace", callable_=lambda: _workspace.get(), type_=String())
"""Filled at execution: the compiled statement is the same for every workspace."""
_KEYED: dict[str, tuple[str, str]] = {
    "post": ("job_id", "job"),
    "favourite": ("member_id", "member"),
    "link_code": ("member_id", "member"),
}
"""Tables whose tenant is that of the row they point to."""


def _mapped() -> dict[str, type[SQLModel]]:
    found = {mapper.local_table: mapper.class_ for mapper in SQLModel._sa_registry.mappers}
    return {
        table.name: model
        for table, model in found.items()
        if isinstance(table, Table) and table.name not in SHARED
    }


def _owned_by(table: str) -> Any:
    """The ids of a table's rows in the workspace in force, under a name no statement uses."""
    rows = SQLModel.metadata.tables[table].alias(f"owner_{table}")
    return select_columns(rows.c.id).where(rows.c.workspace_id == _HERE)


_JOBS, _MEMBERS = _owned_by("job"), _owned_by("member")
# Functions of the entity, because a plain criterion does not follow an alias into a join. Each
# has code of its own and no closure: SQLAlchemy remembers what it read by the code.
_RULES: dict[str, Callable[[Any], Any]] = {
    "workspace": lambda entity: entity.id == _HERE,
    "post": lambda entity: entity.job_id.in_(_JOBS),
    "favourite": lambda entity: entity.member_id.in_(_MEMBERS),
    "link_code": lambda entity: entity.member_id.in_(_MEMBERS),
    # A hash without a workspace is the studio's, for everybody.
    "picture_hash": lambda entity: or_(entity.workspace_id == _HERE, entity.workspace_id.is_(None)),
}


def _criteria() -> Iterator[Any]:
    for name, model in _mapped().items():
        rule = _RULES.get(name, lambda entity: entity.workspace_id == _HERE)
        yield with_loader_criteria(model, rule, include_aliases=True, track_closure_variables=False)


class _Inside(CriteriaOption):
    """All the criteria as one option with a constant cache key: a statement pays for one."""

    inherit_cache = True
    _cache_key_traversal: Any = ()

    def __init__(self, rules: Sequence[Any]) -> None:
        self.rules = tuple(rules)

    def process_compile_state(self, compile_state: Any) -> None:
        for rule in self.rules:
            rule.process_compile_state(compile_state)

    def get_global_criteria(self, attributes: dict[Any, Any]) -> None:
        for rule in self.rules:
            rule.get_global_criteria(attributes)


_INSIDE = _Inside(tuple(_criteria()))


class TenantSession(Session):
    """A session whose statements stay inside the workspace in force."""

    def flush(self, objects: Any = None) -> None:
        """Write what changed; rows of another workspace raise :class:`TenantLeak`."""
        token = _flushing.set(True)
        try:
            super().flush(objects)
        finally:
            _flushing.reset(token)


@event.listens_for(TenantSession, "do_orm_execute")
def _stay_inside(state: ORMExecuteState) -> None:
    if _fenced() is None:
        return
    if state.is_column_load:
        # A row read again: it was inside when it was read first.
        state.update_execution_options(atelier_known_row=True)
    elif state.is_orm_statement:
        state.statement = state.statement.options(_INSIDE)


# -- Lock 3: the flush -------------------------------------------------------------------------


@event.listens_for(TenantSession, "before_flush")
def _own_rows(session: Session, _context: Any, _instances: Any) -> None:
    here = _fenced()
    if here is None:
        return
    for rows in (session.new, session.dirty, session.deleted):
        for row in rows:
            name = "id" if isinstance(row, models.Workspace) else "workspace_id"
            owner = getattr(row, name, None)
            if owner is not None and owner != here:
                raise _leak({type(row).__tablename__}, "a row of another workspace was to change")


# -- Lock 2: what goes to the driver -----------------------------------------------------------

_TABLES = frozenset(table for table in SQLModel.metadata.tables if table not in SHARED)
_NAMES = "|".join(sorted(_TABLES, key=len, reverse=True))
_NAMED = re.compile(
    rf"(?P<lead>\bFROM|\bJOIN|\bUPDATE|\bINTO|,)\s*\(?\"?(?P<table>{_NAMES})\"?(?![\w.\"])"
    r"(?:\s+AS\s+\"?(?P<alias>\w+)\"?)?",
    re.IGNORECASE,
)
_PARAM = r"(?P<param>\?|%\((?P<name>\w+)\)s)"
_EQUAL = re.compile(rf"(?P<alias>\w+)\.(?P<column>workspace_id|id)\s*=\s*{_PARAM}")
_IN = re.compile(r"(?P<alias>\w+)\.(?P<key>job_id|member_id) IN \(SELECT owner_(job|member)\.id")

Needs = tuple[tuple[tuple[int | str, ...], int], ...]
"""For each tenant table named: the parameters that may bind it, and how many times it is named."""


def _needs(sql: str) -> Needs | set[str]:
    """What has to hold for this statement; the tables that nothing binds when it cannot."""
    if sql.lstrip()[:6].upper() == "INSERT":
        return set(_NAMED_IN_INSERT.findall(sql))
    named: dict[tuple[str, str], int] = {}
    for found in _NAMED.finditer(sql):
        table = found["table"].lower()
        named[(table, found["alias"] or table)] = named.get((table, found["alias"] or table), 0) + 1
    keyed = {(found["alias"], found["key"]) for found in _IN.finditer(sql)}
    equal: dict[tuple[str, str], list[int | str]] = {}
    for found in _EQUAL.finditer(sql):
        place: int | str = found["name"] or sql.count("?", 0, found.start("param"))
        equal.setdefault((found["alias"], found["column"]), []).append(place)
    needs, open_tables = [], set()
    for (table, alias), times in named.items():
        if table in _KEYED and (alias, _KEYED[table][0]) in keyed:
            continue  # and the rows it points to are checked as a table of their own
        places = equal.get((alias, "id" if table == "workspace" else "workspace_id"), [])
        if len(places) < times:
            open_tables.add(table)
        needs.append((tuple(places), times))
    return open_tables or tuple(needs)


_NAMED_IN_INSERT = re.compile(rf"INSERT\s+INTO\s+\"?({_NAMES})\"?(?![\w.])", re.IGNORECASE)
_known: dict[str, Needs | set[str]] = {}
"""By statement: its shape is read once."""
_KNOWN_MOST = 4_000


def check(sql: str, parameters: Any, here: str) -> None:
    """Raise :class:`TenantLeak` unless every tenant table in ``sql`` is bound to ``here``."""
    needs = _known.get(sql)
    if needs is None:
        if len(_known) >= _KNOWN_MOST:
            _known.clear()
        needs = _known[sql] = _needs(sql)
    if isinstance(needs, set):
        if needs:
            raise _leak(needs, "no predicate on the workspace")
        return
    many = isinstance(parameters, list)
    for values in parameters if many else (parameters,):
        for places, times in needs:
            if sum(_value(values, place) == here for place in places) < times:
                raise _leak({"?"}, "a predicate on another workspace")


def _value(values: Mapping[str, Any] | Sequence[Any], place: int | str) -> Any:
    if isinstance(values, Mapping):
        return values.get(str(place))
    return values[int(place)] if int(place) < len(values) else None


def _leak(tables: set[Any], what: str) -> TenantLeak:
    problem = TenantLeak(f"{what}: {', '.join(sorted(map(str, tables)))}")
    log.error("refused before it ran: %s", problem, stack_info=True)
    return problem


def guard(engine: Engine) -> None:
    """Read every statement of this engine before it goes to the driver."""

    @event.listens_for(engine, "before_cursor_execute")
    def _look(
        _connection: Any, _cursor: Any, sql: str, parameters: Any, context: Any, _many: bool
    ) -> None:
        here = _fenced()
        if here is None or _flushing.get():
            return
        if context is not None and context.execution_options.get("atelier_known_row"):
            return
        check(sql, parameters, here)
