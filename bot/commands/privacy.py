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
from storage import intents, privacy
from storage.blobs import Blobs
from storage.errors import NotFound
from storage.privacy import Everything
from storage.tiers import kept_days


class PrivacyInput(Input):
    """What to do; without a word it explains."""

    action: Literal["show", "export", "forget"] = Option(
        default="show",
        json_schema_extra={"kind": "choice", "choices": ["show", "export", "forget"]},
    )


async def show_privacy(context: Context, values: PrivacyInput) -> Reply:
    """Explain, export, or ask before forgetting."""
    if values.action == "export":
        return await _export(context)
    if values.action == "forget":
        return await _ask(context)
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


async def _export(context: Context) -> Reply:
    services, texts = context.services, context.texts
    found = await services.database.look(privacy.export, context.actor.member, now=services.clock())
    packed = await asyncio.to_thread(pack, found, services.blobs)
    return Reply(
        title=texts("privacy.title"),
        text=texts("privacy.exported", jobs=len(found.data["jobs"]), files=len(found.blobs)),
        visibility=Visibility.PRIVATE,
        document=Document(name="atelier-export.zip", media_type="application/zip", content=packed),
        data={"bytes": len(packed)},
    )


def pack(found: Everything, blobs: Blobs) -> bytes:
    """A ZIP: ``data.json``, ``ledger.csv`` and every picture that may be seen."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.json", json.dumps(found.data, indent=2, ensure_ascii=False))
        archive.writestr("ledger.csv", ledger_csv(found.data["ledger"]))
        for key in found.blobs:
            try:
                archive.writestr(f"pictures/{key.replace('/', '-')}", blobs.get(key))
            except NotFound:
                continue  # deleted between the two reads
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


async def _ask(context: Context) -> Reply:
    services, texts = context.services, context.texts
    intent = await services.database.run(
        intents.ask, context.actor, "forget", {}, now=services.clock()
    )
    return Reply(
        title=texts("privacy.title"),
        text=texts("privacy.forget_ask"),
        visibility=Visibility.PRIVATE,
        buttons=(
            Button(
                verb=Verb.CONFIRM, target=intent, label=texts("privacy.forget_button"),
                style="danger",
            ),
        ),
    )  # fmt: skip


PRIVACY = Command(name="privacy", input=PrivacyInput, handler=show_privacy, group="mine")
