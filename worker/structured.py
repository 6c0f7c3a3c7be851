"""Answers as data: one JSON object found in what a model wrote, checked against a schema. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jsonschema

_LONGEST = 200
_DEEPEST = 20


def read(text: str, schema: Mapping[str, Any]) -> tuple[Any, str]:
    """The object a model wrote and an empty string, or None and what is wrong with it in words.

    Models like to say something before and after, and to fence it: the first object that can be
    read counts.
    """
    found, problem = None, "there is no JSON object in it"
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        try:
            found, _ = decoder.raw_decode(text, at)
            problem = ""
            break
        except (ValueError, RecursionError) as error:
            problem = f"it is not valid JSON ({str(error)[:80]})"
            at = text.find("{", at + 1)
    if problem:
        return None, problem
    if _depth(found) > _DEEPEST:
        return None, "it is nested too deeply"
    wrong = next(iter(jsonschema.Draft202012Validator(dict(schema)).iter_errors(found)), None)
    if wrong is None:
        return found, ""
    where = ".".join(str(part) for part in wrong.absolute_path)
    return None, f"{where or 'the object'}: {wrong.message}"[:_LONGEST]


def _depth(value: Any, level: int = 0) -> int:
    if level > _DEEPEST or not isinstance(value, dict | list):
        return level
    inner = value.values() if isinstance(value, dict) else value
    return max((_depth(item, level + 1) for item in inner), default=level)


def mend(problem: str) -> str:
    """What to say to a model whose object was no good."""
    return f"That cannot be used: {problem}. Write the JSON object again, correct and alone."


def show(found: Any) -> str:
    """The object as an answer people and programs can read."""
    return "```json\n" + json.dumps(found, ensure_ascii=False, indent=2) + "\n```"
