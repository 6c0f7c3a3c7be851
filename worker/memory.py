"""Long conversations in the background: the oldest part becomes a few judged sentences."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from moderation.lists import lists_of
from moderation.pii import mask
from moderation.pipeline import Content, Surface
from moderation.record import About
from moderation.settings import policy_of
from storage import threads
from storage.errors import AtelierError
from storage.jobs import Claim
from storage.rules import rules_of
from storage.schema import ChatSpec, JobKind, Outcome
from storage.templates import template
from storage.workspaces import settings_of
from worker.engine.outputs import Answer
from worker.judging import Bench

if TYPE_CHECKING:
    from worker.generate import Tools

log = logging.getLogger(__name__)

_LONGEST = 1200


async def fold(tools: Tools, claim: Claim) -> bool:
    """Fold a conversation when it is longer than what its model takes along; True when it was.

    Nobody waits for it and nobody pays for it. A summary that is not clean is not kept: then the
    oldest messages simply no longer go along.
    """
    spec = claim.spec
    if not isinstance(spec, ChatSpec) or not spec.thread:
        return False
    card = tools.registry.find(spec.model, JobKind.CHAT)
    settings = await tools.database.look(settings_of, claim.workspace_id)
    taken = card.context_tokens // 2
    made = await tools.database.look(
        threads.foldable, workspace_id=claim.workspace_id, thread=spec.thread,
        tokens=min(taken, rules_of(settings).chat.memory_tokens or taken),
    )  # fmt: skip
    if made is None:
        return False
    about = About(claim.workspace_id, claim.member_id, job_id=claim.job_id)
    bench = Bench(tools, policy_of(settings), lists_of(settings), about)
    used = template("fold")
    lines = [f"Before: {made.before}"] if made.before else []
    lines += [f"{m.role}: {m.text}" for m in made.messages]
    wish = ChatSpec(
        model=card.name, thread="", turns=used.turns("\n".join(lines)),
        max_tokens=min(used.max_tokens, card.context_tokens // 4),
        temperature=used.temperature or 0.0, seed=0, stop=used.stop,
        repetition_penalty=card.repetition_penalty,
    )  # fmt: skip
    text = ""
    try:
        async for output in tools.engine.submit(f"{claim.job_id}:fold", wish):
            if isinstance(output, Answer):
                text = output.text.strip()[:_LONGEST]
    except AtelierError as error:
        log.info("a conversation was not folded: %s", type(error).__name__)
        return False
    if not text:
        return False
    verdict = await bench.judge(Content(surface=Surface.ANSWER, text=text))
    summary = mask(text) if verdict.outcome is Outcome.ALLOW else ""
    return await tools.database.run(
        threads.fold, workspace_id=claim.workspace_id, thread=spec.thread, made=made,
        summary=summary, now=tools.clock(),
    )  # fmt: skip
