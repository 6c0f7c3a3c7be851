"""One word per thing: the words the glossary retired do not name anything of ours."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RETIRED = {
    "task": "job (arq's tickets live in worker/tasks.py)",
    "request": "invocation (requests exist inside the engine only)",
    "user": "member",
    "guild": "workspace",
    "team": "workspace",
    "infraction": "strike",
    "coins": "credits",
    "points": "credits",
    "manager": "say what it does",
    "helper": "say what it does",
    "helpers": "say what it does",
    "util": "say what it does",
    "utils": "say what it does",
}
# Where a retired word is the right one: the engine's requests, and HTTP's own vocabulary.
ALLOWED = {
    ("worker/tasks.py", "task"),
    ("worker/engine", "request"),
    ("bot/adapters/web", "request"),
    ("bot/adapters/discord", "guild"),  # Discord's own word for a server
    ("bot/adapters/slack/transport.py", "request"),  # HTTP's
    ("bot/adapters/slack/calls.py", "request"),  # the SDK's
    ("worker/starter", "points"),  # of a curve
}


def words(name: str) -> set[str]:
    """`someName_here` -> {some, name, here}."""
    return {w.lower() for w in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def definitions(path: Path) -> Iterator[tuple[int, str]]:
    """Names of modules, classes, functions and parameters: what others have to say aloud."""
    yield 1, path.stem
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


@pytest.mark.parametrize("room", ["bot", "worker", "moderation", "storage"])
def test_retired_words_name_nothing(room: str) -> None:
    found = []
    for path in sorted((ROOT / room).rglob("*.py")):
        where = path.relative_to(ROOT).as_posix()
        for line, name in definitions(path):
            for word in words(name) & RETIRED.keys():
                if not any(where.startswith(p) and word == w for p, w in ALLOWED):
                    found.append(f"{where}:{line} {name}: use {RETIRED[word]}")
    assert found == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        path.relative_to(ROOT).as_posix()
        for room in ("bot", "worker", "moderation", "storage")
        for path in (ROOT / room).rglob("*.py")
        if "versions" not in path.parts and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []
