"""Workspace settings as one TOML file: written with every change, read with line and field. Pure.

The file's first table says which schema it follows, so that a later version knows what it reads.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from storage.errors import BadInput
from storage.rules import KEYS, Rules

SCHEMA = 1
PRESETS = Path(__file__).with_name("presets")
"""Ready-made documents: ``family``, ``standard``, ``artists``."""
_TABLE = re.compile(r"^\s*\[+\s*([^\]]+?)\s*\]+\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\"'*-]+)\s*=")


def dump(settings: Mapping[str, Any], *, title: str = "") -> str:
    """The settings as TOML; what is at its default is not written."""
    # A place's name is its own choice: on one line it stays a remark.
    head = f"# Settings of {' '.join(title.split())}.\n" if title else ""
    return head + tomli_w.dumps({"atelier": {"schema": SCHEMA}, **_clean(dict(settings))})


def _clean(value: Any) -> Any:
    """Without None, which TOML cannot say."""
    if isinstance(value, dict):
        return {str(k): _clean(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value if v is not None]
    return value


def load(text: str) -> dict[str, Any]:
    """The settings a file holds, checked against :class:`~storage.rules.Rules`.

    Raises ``BadInput``: ``settings_syntax`` (line), ``settings_schema``, ``setting_invalid``
    (line, path, why), ``setting_unknown``. Groups of other rooms are checked by them.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        raise BadInput("settings_syntax", line=line) from error
    head = data.pop("atelier", {})
    if not isinstance(head, dict) or head.get("schema", SCHEMA) != SCHEMA:
        raise BadInput("settings_schema", known=SCHEMA)
    validate(data, text)
    return data


def validate(settings: Mapping[str, Any], text: str = "") -> None:
    """Raise ``BadInput('setting_invalid')`` for the first of our values that makes no sense."""
    try:
        Rules.model_validate({k: v for k, v in settings.items() if k in KEYS})
    except ValidationError as error:
        raise invalid(error, text) from error


def invalid(error: ValidationError, text: str = "", prefix: str = "") -> BadInput:
    """The first problem, with its path, the line where a file says it, and the reason."""
    problem = error.errors(include_url=False, include_input=False)[0]
    path = prefix + ".".join(str(part) for part in problem["loc"])
    return bad(path, str(problem["msg"]).removeprefix("Value error, "), text)


def bad(path: str, why: str, text: str = "") -> BadInput:
    """A setting that cannot be so: its path, the line where a file says it, and the reason."""
    line = line_of(text, path) if text else 0
    if line:
        return BadInput("setting_invalid_line", path=path[:80], why=why[:160], line=line)
    return BadInput("setting_invalid", path=path[:80], why=why[:160])


def line_of(text: str, path: str) -> int:
    """The line (from 1) that sets ``path``, or the nearest table above it; 0 when none does."""
    wanted, best, table = path.split("."), 0, ""
    depth = 0
    for number, line in enumerate(text.splitlines(), 1):
        header = _TABLE.match(line)
        if header:
            table = header[1]
        key = _KEY.match(line)
        here = table if header else ".".join(p for p in (table, key[1] if key else "") if p)
        parts = [part.strip().strip("\"'") for part in here.split(".")] if here else []
        if (header or key) and parts == wanted[: len(parts)] and len(parts) > depth:
            best, depth = number, len(parts)
    return best
