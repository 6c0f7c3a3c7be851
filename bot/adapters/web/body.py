"""What a page or a program posts, as text that is certainly text."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from bot.core.attachment import Attachment
from bot.core.decode import MAX_BYTES
from storage.errors import BadInput
from storage.schema import Platform

LARGEST = 1 << 20
"""Longest body without files that we read: a form of 10,000 emoji is 120 kB."""
MOST_FILES = 4
"""Pictures in one form: start, mask, control and reference."""


async def read_body(request: Request) -> dict[str, Any]:
    """The fields of a form or a JSON object; its files as attachments.

    Raises ``BadInput``: ``text_not_utf8`` for bytes that are not UTF-8 or half a surrogate pair
    (decoding them leniently would change what was asked), ``text_long`` for more than a megabyte,
    ``body_invalid`` for anything else that is not a form or an object.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        fields = await _files(request)
        if not _clean(fields):
            raise BadInput("text_not_utf8")
        return fields
    raw = await _bytes(request)
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


async def read_file(request: Request) -> bytes:
    """One file: the form's field ``file``, or the whole body.

    Raises ``BadInput``: ``upload_not_attached`` for none, ``upload_large`` for more than
    ``MAX_BYTES``, however it is announced, ``body_invalid`` for a form that cannot be read.
    """
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        form = await _parsed(request, MAX_BYTES + LARGEST, most=1)
        try:
            given = form.get("file")
            data = await given.read(MAX_BYTES + 1) if isinstance(given, UploadFile) else b""
        finally:
            await form.close()
    else:
        data = b"".join([part async for part in _capped(request, MAX_BYTES)])
    if not data:
        raise BadInput("upload_not_attached")
    if len(data) > MAX_BYTES:
        raise BadInput("upload_large", limit=MAX_BYTES >> 20)
    return data


async def _capped(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it arrives, no more than it may be."""
    length = 0
    async for part in request.stream():
        length += len(part)
        if length > limit:
            raise BadInput("upload_large", limit=MAX_BYTES >> 20)
        yield part


async def _parsed(request: Request, limit: int, *, most: int) -> FormData:
    """A form of at most ``limit`` bytes and ``most`` files; the caller closes it."""
    parser = MultiPartParser(
        request.headers, _capped(request, limit), max_files=most, max_fields=100,
        max_part_size=LARGEST,
    )  # fmt: skip
    try:
        return await parser.parse()
    except (MultiPartException, UnicodeDecodeError, LookupError) as error:
        raise BadInput("body_invalid") from error


async def _files(request: Request) -> dict[str, Any]:
    """A form with files: each a picture, or nothing where none was chosen."""
    form = await _parsed(request, LARGEST + MOST_FILES * MAX_BYTES, most=MOST_FILES)
    fields: dict[str, Any] = {}
    try:
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                fields[name] = value
            elif not name.startswith(("v.", "file")):
                raise BadInput("body_invalid")
            elif data := await value.read(MAX_BYTES + 1):
                fields[name] = Attachment(
                    platform=Platform.LOCAL, name=value.filename or "", size=len(data), data=data,
                    content_type=value.content_type or "",
                )  # fmt: skip
    finally:
        await form.close()
    return fields


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
