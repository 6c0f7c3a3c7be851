"""Misspelt names of settings: found where they stand, with the nearest right one.

A name that nobody reads is worse than a wrong value: `ATELIER_DISCORD_TOKN` starts a studio
without Discord and says nothing. Our own files hold nothing but our settings, so that a wrong name
there stops the start. The environment belongs to whoever runs us (a test, a wrapper, another
release beside us may have names of its own), so there it is only said.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

PREFIX = "ATELIER_"
BOT = frozenset({
    "discord_token", "log_level", "recipe_cache", "slack_app_token", "slack_bot_token",
    "slack_host", "slack_port", "slack_signing_secret", "web_host", "web_hosts", "web_port",
    "web_token", "web_url",
})  # fmt: skip
"""What only `atelier` reads. Both processes read one file, so that each must know the other's."""
WORKER = frozenset({
    "clip_floor", "clip_model", "compile", "device", "grace_s", "guard_model", "judge",
    "judge_timeout_s", "lease_ms", "log_level", "max_chats", "max_images", "memory_mb",
    "metrics_host", "metrics_port", "parent_pid", "provider_keys", "provider_timeout_s",
})  # fmt: skip
"""What only the worker reads."""
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")
_LIKE = 0.6
"""How alike a name must be to be offered (difflib's ratio)."""
_SURELY = 0.85
"""How alike one without our prefix must be to be one of ours, misspelt."""


class Unknown(NamedTuple):
    """A name that is no setting: where it stands, and the setting that is most like it."""

    place: str
    name: str
    nearest: str
    """As it is written there; empty when nothing is like it."""


def in_toml(file: Path, known: Iterable[str]) -> list[Unknown]:
    """Names in our own TOML file. Raises ``tomllib.TOMLDecodeError``."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return []
    names = set(known)
    return [
        Unknown(_at(file, text, name), name, _nearest(_bare(name), names))
        for name in tomllib.loads(text)
        if name not in names
    ]


def in_env_file(file: Path, known: Iterable[str]) -> list[Unknown]:
    """Names in a ``.env`` file that begin as ours do, or nearly are one of ours."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    names = {f"{PREFIX}{name}".upper() for name in known}
    found = []
    for number, line in enumerate(lines, 1):
        match = _LINE.match(line)
        if match is None or match[1].upper() in names:
            continue
        ours = match[1].upper().startswith(PREFIX)
        nearest = _nearest(match[1].upper(), names, _LIKE if ours else _SURELY)
        if ours or nearest:
            found.append(Unknown(f"{file}, line {number}", match[1], nearest))
    return found


def in_environment(environment: Mapping[str, str], known: Iterable[str]) -> list[Unknown]:
    """Variables that begin as ours do and are none. No value is looked at."""
    names = {f"{PREFIX}{name}".upper() for name in known}
    return [
        Unknown("the environment", name, _nearest(name.upper(), names))
        for name in sorted(environment)
        if name.upper().startswith(PREFIX) and name.upper() not in names
    ]


def _bare(name: str) -> str:
    return name.lower().removeprefix(PREFIX.lower())


def _nearest(name: str, names: Iterable[str], cutoff: float = _LIKE) -> str:
    return next(iter(difflib.get_close_matches(name, sorted(names), 1, cutoff)), "")


def _at(file: Path, text: str, name: str) -> str:
    wanted = re.compile(rf"\s*(?:\[+\s*)?[\"']?{re.escape(name)}[\"']?\s*[=.\]]")
    for number, line in enumerate(text.splitlines(), 1):
        if wanted.match(line):
            return f"{file}, line {number}"
    return str(file)
