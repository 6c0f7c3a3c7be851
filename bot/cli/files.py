"""Where the pictures of a command go: checked before the work, written whole after it."""

from __future__ import annotations

import os
from pathlib import Path

from bot.cli.follow import Ended
from bot.settings import BotSettings
from storage.blobs import Blobs
from storage.errors import OperatorError

SUFFIX = ".png"


def check_out(out: Path) -> None:
    """Refuse a place we could not write to, before anything is paid. Raises ``BadOut``."""
    folder = out if out.is_dir() else out.parent
    if not folder.is_dir():
        raise BadOut(f"the folder {folder} does not exist")
    if not os.access(folder, os.W_OK):
        raise BadOut(f"the folder {folder} cannot be written")
    if not out.is_dir() and out.suffix.lower() not in ("", SUFFIX):
        raise BadOut(f"pictures are PNG files, so a name must end in {SUFFIX}")


class BadOut(OperatorError):
    """``--out`` names a place we cannot write to: bad usage."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, "give another --out")


def names(out: Path | None, seeds: list[int]) -> list[Path]:
    """One path per picture: ``name.png``, or ``name-1.png`` ... for several."""
    if out is None or out.is_dir():
        folder = out or Path()
        return [_fresh(folder / f"atelier-{seed}{SUFFIX}") for seed in seeds]
    plain = out if out.suffix else out.with_name(out.name + SUFFIX)
    if len(seeds) == 1:
        return [plain]
    return [plain.with_name(f"{plain.stem}-{n}{plain.suffix}") for n in range(1, len(seeds) + 1)]


def _fresh(path: Path) -> Path:
    """A name we chose ourselves must not overwrite another picture."""
    tried, number = path, 1
    while tried.exists():
        number += 1
        tried = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return tried


def save_pictures(settings: BotSettings, ended: Ended, out: Path | None) -> list[str]:
    """Copy what may be shown out of the blob store; the paths, as the person would type them."""
    blobs = Blobs(settings.blobs_dir)
    shown = [picture for picture in ended.reply.pictures if picture.blob is not None]
    every = names(out, [picture.seed for picture in ended.reply.pictures])
    saved = []
    for picture, path in zip(ended.reply.pictures, every, strict=True):
        if picture not in shown or picture.blob is None:
            continue
        draft = path.with_name(f".{path.name}.part")
        draft.write_bytes(blobs.get(picture.blob))
        draft.replace(path)
        saved.append(str(path))
    return saved
