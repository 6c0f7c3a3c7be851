"""What a page or a program posts, as text that is certainly text."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from storage.errors import BadInput

LARGEST = 1 << 20
"""Longest body we read: a form of 10,000 emoji is 120 kB."""


async def read_body(request: Request) -> dict[str, Any]:
    """The fields of a form or a JSON object.

    Raises ``BadInput``: ``text_not_utf8`` for bytes that are not UTF-8 or half a surrogate pair
    (decoding them leniently would change what was asked), ``text_long`` for more than a megabyte,
    ``body_invalid`` for anything else that is not a form or an object.
    """
    raw = await _bytes(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        fields = _json(raw)
    elif kind in ("application/x-www-form-urlencoded", ""):
        fields = _form(raw)
    else:
        raise BadInput("body_invalid")
    if not _clean(fields):
        raise BadInput("text_not_utf8")
    return fields


def values_of(fields: dict[str, Any]) -> dict[str, Any]:
    """An invocation's values: the object ``values``, or the form fields named ``v.<option>``."""
    given = fields.get("values")
    if isinstance(given, dict):
        return given
    return {name[2:]: value for name, value in fields.items() if name.startswith("v.")}


def text_of(fields: dict[str, Any], name: str, limit: int = 64) -> str:
    """A short field as text, cut to ``limit``; empty when it is missing or not text."""
    value = fields.get(name, "")
    return value[:limit] if isinstance(value, str) else ""


async def _bytes(request: Request) -> bytes:
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > LARGEST:
            raise BadInput("text_long", length=len(parts), limit=LARGEST)
    return bytes(parts)


def _json(raw: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadInput("text_not_utf8") from error
    except (ValueError, RecursionError) as error:
        raise BadInput("body_invalid") from error
    if not isinstance(fields, dict):
        raise BadInput("body_invalid")
    return fields


def _form(raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=100)
    except UnicodeDecodeError as error:
        raise BadInput("text_not_utf8") from error
    except ValueError as error:
        raise BadInput("body_invalid") from error
    return dict(pairs)


def _clean(value: Any) -> bool:
    """Whether every text inside can be written as UTF-8."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return False
        return True
    if isinstance(value, dict):
        return all(_clean(k) and _clean(v) for k, v in value.items())
    if isinstance(value, list):
        return all(_clean(item) for item in value)
    return True
