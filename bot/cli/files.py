"""Where the pictures of a command go: checked before the work, written whole after it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from bot.cli.follow import Ended, Trouble
from bot.core.attachment import Attachment
from bot.core.decode import MAX_BYTES
from bot.settings import BotSettings
from storage.blobs import Blobs
from storage.errors import BadInput, OperatorError
from storage.schema import Platform

FORMATS = {".png": ("png",), ".webp": ("lossless", "webp")}
"""File endings and the formats that may have them; the first is what a lone ending means."""


def format_of(out: Path | None, asked: str | None) -> str | None:
    """The format to ask for: what was asked, else what the name of ``--out`` says, else PNG.

    Raises ``BadOut`` when the two contradict one another. A terminal's picture is kept as a file,
    so it is lossless unless somebody says otherwise.
    """
    suffix = out.suffix.lower() if out is not None and not out.is_dir() else ""
    if asked and suffix in FORMATS and asked not in FORMATS[suffix]:
        raise BadOut(f"a picture in the format {asked} does not end in {suffix}")
    return asked or FORMATS.get(suffix, ("png",))[0]


def read_picture(path: Path) -> Attachment:
    """A picture file of this machine as an attachment. Raises ``BadInput('file_unreadable')``."""
    try:
        size = path.stat().st_size
        # One byte more than is taken shows that it is too large; the rest need not be read.
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInput("file_unreadable", file=path.name[:80]) from error
    return Attachment(platform=Platform.LOCAL, name=path.name, size=size, data=data)


def check_out(out: Path | None) -> None:
    """Refuse a place we could not write to, before anything is paid. Raises ``BadOut``.

    Without ``out`` it is the working folder.
    """
    target = out or Path()
    try:
        folder = target if target.is_dir() else target.parent
        if not folder.is_dir():
            raise BadOut(f"the folder {folder} does not exist")
        if not target.is_dir() and target.suffix.lower() not in ("", *FORMATS):
            raise BadOut("pictures are PNG or WebP files, so a name must end in .png or .webp")
        # Only a try tells: root, a read-only file system and a full disk defeat every question.
        with NamedTemporaryFile(dir=folder, prefix=".atelier-", suffix=".part") as draft:
            draft.write(b"atelier")
    except OSError as error:
        raise BadOut(f"{target} cannot be written ({error.strerror})") from error


class BadOut(OperatorError):
    """``--out`` names a place we cannot write to: bad usage."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, "give another --out")


@dataclass(frozen=True)
class Saved:
    """The files that were written, as the person would type them, and what stopped us."""

    files: list[str]
    trouble: Trouble | None = None


def names(out: Path | None, seeds: list[int], suffix: str = ".png") -> list[Path]:
    """One path per picture: ``name.png``, or ``name-1.png`` ... for several.

    ``suffix`` is the files' own, for names that have none.
    """
    if out is None or out.is_dir():
        folder = out or Path()
        return [_fresh(folder / f"atelier-{seed}{suffix}") for seed in seeds]
    plain = out if out.suffix else out.with_name(out.name + suffix)
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


def save_pictures(settings: BotSettings, ended: Ended, out: Path | None) -> Saved:
    """Copy what may be shown out of the blob store, as far as the disk allows."""
    blobs = Blobs(settings.blobs_dir)
    kept = [Path(picture.blob).suffix for picture in ended.reply.pictures if picture.blob]
    seeds = [picture.seed for picture in ended.reply.pictures]
    every = names(out, seeds, kept[0] if kept else ".png")
    files: list[str] = []
    for picture, path in zip(ended.reply.pictures, every, strict=True):
        if picture.blob is None:
            continue
        draft = path.with_name(f".atelier-{os.getpid()}.part")
        try:
            draft.write_bytes(blobs.get(picture.blob))
            draft.replace(path)
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            message = (
                f"{path} could not be written ({error.strerror}). "
                f"The picture is kept: the studio's page shows job {ended.reply.job_id}."
            )
            return Saved(files, Trouble("out_failed", message))
        files.append(str(path))
    return Saved(files)
