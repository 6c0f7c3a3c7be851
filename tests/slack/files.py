"""Files of the tests' Slack: uploaded in three steps, ready later, deleted for good."""

from __future__ import annotations

import io
import json
from typing import Any

from aiohttp import web
from PIL import Image

from tests.slack.world import File, Refused, World

_DOCUMENTS = (".zip", ".toml", ".csv")
"""What is handed over as a file and is no picture."""


class Files(World):
    """Its methods of the Web API."""

    def _files_getUploadURLExternal(self, given: dict[str, Any]) -> dict[str, Any]:
        if len(given["filename"]) > 255 or not given["filename"].isascii():
            self.fault(f"file name {given['filename']!r}")
        if not given.get("alt_txt") and not given["filename"].endswith(_DOCUMENTS):
            self.fault("a picture without alt text")
        alt = given.get("alt_txt", "")
        file = File(id=f"F{next(self._count):09d}", name=given["filename"], alt=alt)
        self.files[file.id] = file
        return {"file_id": file.id, "upload_url": f"{self.url}/upload/{file.id}"}

    async def _upload(self, request: web.Request) -> web.Response:
        if "Authorization" in request.headers:
            self.fault("the token was sent with an upload")
        self.files[request.match_info["id"]].data = await request.read()
        return web.Response(text="OK")

    def _files_completeUploadExternal(self, given: dict[str, Any]) -> dict[str, Any]:
        files = [self.files[item["id"]] for item in json.loads(given["files"])]
        for file in files:
            if not file.name.endswith(_DOCUMENTS):
                Image.open(io.BytesIO(file.data)).verify()
            file.done = True
        return {"files": [{"id": file.id, "title": file.name} for file in files]}

    def _files_info(self, given: dict[str, Any]) -> dict[str, Any]:
        file = self.files.get(given["file"])
        if file is None:
            raise Refused("file_not_found")
        if file.id in self.described:
            return {"file": self.described[file.id]}
        file.looks += 1
        facts: dict[str, Any] = {"id": file.id, "name": file.name, "mimetype": ""}
        if file.looks >= self.processing:
            with Image.open(io.BytesIO(file.data)) as picture:
                facts |= {"mimetype": "image/png", "original_w": picture.width}
        return {"file": facts}

    def _files_delete(self, given: dict[str, Any]) -> dict[str, Any]:
        if self.files.pop(given["file"], None) is None:
            raise Refused("file_not_found")
        return {}
