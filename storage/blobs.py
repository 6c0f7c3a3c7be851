"""Files of generations behind a small interface: put, get, delete. Names are made here."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from storage.errors import NotFound

SUFFIXES = ("png", "webp", "jpg")
KEY = rf"[0-9a-f]{{2}}/[0-9a-f]{{32}}\.(?:{'|'.join(SUFFIXES)})"
"""What a key looks like, as a pattern: to find keys in other text."""
_KEY = re.compile(KEY)


class Blobs:
    """Blobs on local disk. A key is random: it says nothing about who or what."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes, suffix: str) -> str:
        """Store bytes under a fresh key; on disk when this returns. Suffix: png, webp or jpg."""
        name = secrets.token_hex(16)
        key = f"{name[:2]}/{name}.{suffix}"
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".part")
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        # The new name is on disk only when its folder is.
        for folder in (path.parent, self.folder):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        return key

    def path(self, key: str) -> Path:
        """Where a blob lies. Raises ``NotFound`` for anything that is not a key of ours."""
        if not _KEY.fullmatch(key):
            raise NotFound("picture_unknown")
        return self.folder / key

    def get(self, key: str) -> bytes:
        """The bytes. Raises ``NotFound``."""
        try:
            return self.path(key).read_bytes()
        except FileNotFoundError as error:
            raise NotFound("picture_unknown") from error

    def delete(self, key: str) -> None:
        """Remove a blob; removing it twice is fine."""
        self.path(key).unlink(missing_ok=True)

    def older(self, than: float) -> set[str]:
        """Keys of all blobs written before a time, in seconds since the epoch."""
        found = set()
        for path in self._written_before(than):
            key = f"{path.parent.name}/{path.name}"
            if _KEY.fullmatch(key):
                found.add(key)
        return found

    def drop_drafts(self, before: float) -> int:
        """Remove what was begun before a time and never finished; returns how many."""
        gone = 0
        for path in self._written_before(before):
            if path.suffix == ".part":
                path.unlink(missing_ok=True)
                gone += 1
        return gone

    def _written_before(self, than: float) -> Iterator[Path]:
        for path in self.folder.glob("??/*"):
            try:
                if path.stat().st_mtime < than:
                    yield path
            except FileNotFoundError:  # deleted meanwhile, by whoever it belongs to
                continue
