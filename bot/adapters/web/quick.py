"""Prompts to start with, one press each."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bot.core.texts import Texts

_FILE = Path(__file__).with_name("quick.toml")


@dataclass(frozen=True)
class QuickPrompt:
    """A ready prompt, with a name to press in the visitor's language."""

    icon: str
    label: str
    text: str


@cache
def _read() -> list[dict[str, str]]:
    with _FILE.open("rb") as file:
        prompts: list[dict[str, str]] = tomllib.load(file)["prompt"]
        return prompts


def quick_prompts(texts: Texts) -> list[QuickPrompt]:
    """Every ready prompt, in the file's order."""
    return [QuickPrompt(p["icon"], texts(f"quick.{p['name']}"), p["text"]) for p in _read()]
