"""Stored pictures, when they may be shown."""

from __future__ import annotations

import re

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from bot.adapters.web.reader import Reader

_KEY = re.compile(r"[0-9a-z]{2}/[0-9a-zA-Z_-]{8,128}\.(png|webp)", re.ASCII)
_SEED = re.compile(r"[0-9]{1,19}", re.ASCII)
_MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "webp": b"RIFF"}


def make_pictures(reader: Reader) -> APIRouter:
    """The route of the pictures. What may not be shown looks the same as what is not there."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/blobs/{key:path}")
    async def picture(key: str, download: int = 0, seed: str = "") -> Response:
        match = _KEY.fullmatch(key)
        data = await reader.picture(key) if match else None
        if match is None or data is None or not data.startswith(_MAGIC[match.group(1)]):
            return PlainTextResponse("not found\n", 404)
        kind = match.group(1)
        headers = {"Cache-Control": "private, max-age=600"}
        if download:
            name = f"atelier-{seed}" if _SEED.fullmatch(seed) else "atelier"
            headers["Content-Disposition"] = f'attachment; filename="{name}.{kind}"'
        return Response(data, media_type=f"image/{kind}", headers=headers)

    return routes
