"""`/privacy`: what is kept and why, a copy of it, and having it forgotten."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import zipfile
from typing import Any, Literal

from pydantic import Field as Option

from bot.core.command import Command, Context
from bot.core.inputs import Input
from bot.core.limits import rules_in
from bot.core.reply import Button, Document, Field, Reply, Verb, Visibility
from storage import intents, privacy, removal
from storage.blobs import Blobs
from storage.errors import BadInput, NotFound
from storage.privacy import Everything
from storage.tiers import kept_days

ACTIONS = ("show", "export", "forget", "workspace")
LARGEST = 64 << 20
"""Bytes of one file of an export, where the platform would take more: it is made in memory."""
_PER_FILE = 512
"""Bytes that a file takes in a ZIP besides its own."""


class PrivacyInput(Input):
    """What to do; without a word it explains."""

    action: Literal["show", "export", "forget", "workspace"] = Option(
        default="show", json_schema_extra={"kind": "choice", "choices": list(ACTIONS)}
    )
    part: int = Option(default=1, ge=1, le=9_999, json_schema_extra={"kind": "integer"})
    """Of an export that is more than the platform takes as one file."""


async def show_privacy(context: Context, values: PrivacyInput) -> Reply:
    """Explain, export, or ask before forgetting."""
    if values.action == "export":
        return await _export(context, values.part)
    if values.action == "forget":
        return await _ask(context, "forget")
    if values.action == "workspace":
        removal.check_owner(context.actor)
        return await _ask(context, "workspace")
    texts, rules = context.texts, rules_in(context)
    keeping = rules.keeping
    learns = "on" if rules.learning.on else "off"

    def days(count: int) -> str:
        return texts("privacy.days", n=count) if count else texts("privacy.until_deleted")

    return Reply(
        title=texts("privacy.title"),
        text=texts("privacy.text"),
        visibility=Visibility.PRIVATE,
        fields=(
            Field(
                label=texts("privacy.generations"), value=days(kept_days(context.actor.tier, rules))
            ),
            Field(label=texts("privacy.conversations"), value=days(keeping.conversations_days)),
            Field(label=texts("privacy.uploads"), value=days(keeping.uploads_days)),
            Field(label=texts("privacy.documents"), value=texts("privacy.documents_kept")),
            Field(label=texts("privacy.learning"), value=texts(f"privacy.learning_{learns}")),
            Field(label=texts("privacy.ledger"), value=texts("privacy.ledger_kept")),
            Field(label=texts("privacy.review"), value=texts("privacy.review_kept")),
        ),
    )


async def _export(context: Context, part: int) -> Reply:
    """A copy of everything, in as many files as the platform needs; one of them."""
    services, texts = context.services, context.texts
    found = await services.database.look(privacy.export, context.actor.member, now=services.clock())
    room = min(context.venue.file_limit, LARGEST)
    packed, parts = await asyncio.to_thread(pack, found, services.blobs, room=room, part=part)
    if part > parts:
        raise BadInput("option_range", option="part", limit=f"≤ {parts}")
    said = [texts("privacy.exported", jobs=len(found.data["jobs"]), files=len(found.blobs))]
    if parts > 1:
        said.append(texts("privacy.part", part=part, parts=parts))
    if part < parts:
        said.append(texts("privacy.next", part=part + 1))
    name = "atelier-export.zip" if parts == 1 else f"atelier-export-{part}-of-{parts}.zip"
    return Reply(
        title=texts("privacy.title"),
        text=" ".join(said),
        visibility=Visibility.PRIVATE,
        document=Document(name=name, media_type="application/zip", content=packed),
        data={"bytes": len(packed), "part": part, "parts": parts},
    )


def pack(found: Everything, blobs: Blobs, *, room: int, part: int = 1) -> tuple[bytes, int]:
    """One ZIP of an export and how many there are: ``data.json`` and ``ledger.csv`` in the first,
    then every picture that may be seen, in parts of at most ``room`` bytes each.

    A single picture larger than that is a part by itself. Empty for a part there is none of.
    """
    words = _zipped(
        {
            "data.json": json.dumps(found.data, indent=2, ensure_ascii=False).encode(),
            "ledger.csv": ledger_csv(found.data["ledger"]).encode(),
        }
    )
    parts: list[list[str]] = [[]]
    left = room - len(words) - _PER_FILE
    for key in found.blobs:
        size = _size(blobs, key) + _PER_FILE
        if size > left and (parts[-1] or len(parts) == 1):
            parts.append([])
            left = room - _PER_FILE
        parts[-1].append(key)
        left -= size
    if part > len(parts):
        return b"", len(parts)
    pictures = {}
    for key in parts[part - 1]:
        try:
            pictures[f"pictures/{key.replace('/', '-')}"] = blobs.get(key)
        except NotFound:
            continue  # deleted between the two reads
    return _zipped(pictures, onto=words if part == 1 else b""), len(parts)


def _size(blobs: Blobs, key: str) -> int:
    try:
        return blobs.path(key).stat().st_size
    except (OSError, NotFound):
        return 0


def _zipped(files: dict[str, bytes], onto: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    buffer.write(onto)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def ledger_csv(lines: list[dict[str, Any]]) -> str:
    """Ledger lines as CSV; a cell that a spreadsheet would run as a formula is quoted."""
    out = io.StringIO()
    names = ["at", "kind", "credits", "job", "reason"]
    writer = csv.writer(out)
    writer.writerow(names)
    for line in lines:
        cells = ["" if line.get(name) is None else str(line[name]) for name in names]
        writer.writerow([f"'{cell}" if _formula(cell) else cell for cell in cells])
    return out.getvalue()


def _formula(cell: str) -> bool:
    """Whether a spreadsheet would run it; a signed number is none."""
    return cell[:1] in tuple("=+-@\t\r") and not cell.lstrip("+-").isdigit()


async def _ask(context: Context, what: str) -> Reply:
    """Say what would be gone; the button does it. ``what``: ``forget`` or ``workspace``."""
    services, texts, space = context.services, context.texts, context.actor.workspace
    intent = await services.database.run(intents.ask, context.actor, what, {}, now=services.clock())
    return Reply(
        title=texts("privacy.title"),
        text=texts(f"privacy.{what}_ask", name=space.name or space.external_id),
        visibility=Visibility.PRIVATE,
        buttons=(
            Button(
                verb=Verb.CONFIRM, target=intent, label=texts(f"privacy.{what}_button"),
                style="danger",
            ),
        ),
    )  # fmt: skip


PRIVACY = Command(name="privacy", input=PrivacyInput, handler=show_privacy, group="mine")
