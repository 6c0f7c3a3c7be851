"""What the asking workspace's documents say to a question: found when its job begins.

Passages are data. They stand in the system turn between borders that they cannot contain, after a
sentence that says so, without template marks and without lines that claim to be a speaker.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from moderation.fence import fence
from storage import documents, embedding
from storage.documents import room_for
from storage.jobs import Claim
from storage.schema import ChatSpec, JobKind, Quoted, Turn

if TYPE_CHECKING:
    from worker.generate import Tools

RELEVANT = (
    "Passages of this workspace's documents that may help follow. Use what answers the question "
    "and leave the rest."
)


async def look_up(tools: Tools, question: str, workspace_id: str, model: str) -> tuple[Quoted, ...]:
    """The best passages for a question, within the model's room; none when there are none."""
    if not question.strip() or not await tools.database.look(
        documents.count, workspace_id=workspace_id
    ):
        return ()
    card = tools.registry.find(model, JobKind.CHAT)
    query = await asyncio.to_thread(embedding.embed_query, question)
    return await tools.database.look(
        documents.search, query, workspace_id=workspace_id, room=room_for(card.context_tokens)
    )


async def with_documents(tools: Tools, claim: Claim) -> Claim:
    """A claim whose question has the passages that fit it, where its workspace looks things up."""
    spec = claim.spec
    if not isinstance(spec, ChatSpec) or not spec.retrieval:
        return claim
    found = await look_up(tools, spec.prompt, claim.workspace_id, spec.model)
    return replace(claim, spec=spec.model_copy(update={"documents": found}))


def quoted(spec: ChatSpec) -> ChatSpec:
    """The spec with its passages fenced at the end of the system turn."""
    if not spec.documents:
        return spec
    told = fenced(spec.documents)
    first, *rest = spec.turns
    if first.role == "system":
        turns = (Turn(role="system", text=f"{first.text}\n\n{told}"), *rest)
    else:
        turns = (Turn(role="system", text=told), *spec.turns)
    return spec.model_copy(update={"turns": turns})


def fenced(passages: tuple[Quoted, ...]) -> str:
    """Passages between borders, each under its document's name.

    The border is a hash of what it encloses: the same passages read the same when a job asks the
    engine again, and no document can hold the hash of itself.
    """
    inside = "\n".join(f"{one.name}\n{one.text}" for one in passages)
    border = hashlib.sha256(inside.encode()).hexdigest()[:12]
    rule, blocks = "", []
    for one in passages:
        rule, block = fence(f"From {one.name}:\n{one.text}", "the workspace's documents", border)
        blocks.append(block)
    return "\n".join([RELEVANT, rule, *blocks])
