"""`/docs`: the workspace's own documents, which answers may look things up in."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import Field as Option

from bot.commands.money import date_of
from bot.core.attachment import Upload
from bot.core.command import Command, Context
from bot.core.inputs import Input, Phrase
from bot.core.limits import check_pace, rules_in
from bot.core.reading import cut, embedded, judged, name_of, text_of
from bot.core.reply import Reply, Tone, Visibility
from storage import documents
from storage.documents import MOST_BYTES
from storage.errors import BadInput, NotAllowed
from storage.schema import Role, role_at_least

ACTIONS = ("list", "add", "remove")


class DocsInput(Input):
    """What to do with the documents. Without a word: what there is."""

    action: Literal["list", "add", "remove"] = Option(
        default="list", json_schema_extra={"kind": "choice", "choices": list(ACTIONS)}
    )
    file: Upload = Option(default=None, json_schema_extra={"kind": "file"})
    document: Phrase = Option(default="", json_schema_extra={"kind": "text"})


async def docs(context: Context, values: DocsInput) -> Reply:
    """List for everybody; add and remove for admins."""
    if values.action == "list":
        return await _list(context)
    if not role_at_least(context.actor.member.role, Role.ADMIN):
        raise NotAllowed("admins_only")
    if not context.venue.installed:
        raise NotAllowed("admins_only")  # a guest workspace's settings are not ours to change
    return await (_add if values.action == "add" else _remove)(context, values)


async def _list(context: Context) -> Reply:
    texts, space = context.texts, context.actor.workspace
    found = await context.services.database.look(documents.listed, workspace_id=space.id)
    rules = rules_in(context)
    lines = [
        texts("docs.line", name=row.name, version=row.version, passages=row.passages,
              date=date_of(row.updated_at, rules.credits.timezone))
        for row in found
    ]  # fmt: skip
    state = texts("docs.on" if rules.chat.retrieval else "docs.off")
    return Reply(
        title=texts("docs.title"),
        text="\n".join([*lines, "", state]) if lines else f"{texts('docs.none')}\n\n{state}",
        visibility=Visibility.PRIVATE,
        data={
            "documents": [
                {"id": row.id, "name": row.name, "version": row.version, "sha256": row.sha256,
                 "size": row.size, "passages": row.passages, "left_out": row.left_out}
                for row in found
            ],
            "retrieval": rules.chat.retrieval,
        },
    )  # fmt: skip


async def _add(context: Context, values: DocsInput) -> Reply:
    texts, services, space = context.texts, context.services, context.actor.workspace
    if values.file is None:
        raise BadInput("document_needed")
    if values.file.size > MOST_BYTES:
        raise BadInput("document_large", limit=MOST_BYTES // 1024)
    await check_pace(context)
    name = name_of(values.file, values.document)
    data = await services.uploads.read(values.file)
    text, digest = text_of(data), hashlib.sha256(data).hexdigest()
    held = await services.database.look(documents.listed, workspace_id=space.id)
    same = next((row for row in held if row.name == name and row.sha256 == digest), None)
    if same is not None:
        return Reply(
            text=texts("docs.same", name=name), visibility=Visibility.PRIVATE,
            data={"id": same.id, "version": same.version},
        )  # fmt: skip
    passages = await cut(text)
    # Asked before the work as well, so that a full workspace hears it at once.
    await services.database.look(
        documents.check_room, workspace_id=space.id, name=name, passages=len(passages)
    )
    clean = await judged(context, passages, name=name)
    if not clean:
        raise BadInput("document_held")
    row = await services.database.run(
        documents.put, context.actor, name=name, sha256=digest, size=len(data),
        pieces=await embedded(clean), left_out=len(passages) - len(clean), now=services.clock(),
    )  # fmt: skip
    said = [texts("docs.added", name=name, version=row.version, passages=row.passages)]
    if row.left_out:
        said.append(texts("docs.left_out", n=row.left_out))
    if not rules_in(context).chat.retrieval:
        said.append(texts("docs.off"))
    return Reply(
        text=" ".join(said), tone=Tone.GOOD, visibility=Visibility.PRIVATE,
        data={"id": row.id, "version": row.version, "passages": row.passages,
              "left_out": row.left_out},
    )  # fmt: skip


async def _remove(context: Context, values: DocsInput) -> Reply:
    if not values.document:
        raise BadInput("option_missing", option="document")
    name = " ".join(values.document.split())
    await context.services.database.run(documents.remove, context.actor, name)
    return Reply(
        text=context.texts("docs.removed", name=name), tone=Tone.GOOD,
        visibility=Visibility.PRIVATE, data={"removed": name},
    )  # fmt: skip


DOCS = Command(name="docs", input=DocsInput, handler=docs, group="space")
