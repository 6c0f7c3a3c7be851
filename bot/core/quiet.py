"""Why something was held, refused or denied is for who asked, not for the whole channel. Pure.

The card that all can read says only that it is not shown; the reason goes to one person, as a
private note beside the card, or by direct message where there is no such note.
"""

from __future__ import annotations

import hashlib

from bot.core.reply import Reply, Tone
from bot.core.texts import Texts
from storage.schema import GenerationStatus, JobStatus

_HIDDEN = frozenset({str(GenerationStatus.HELD), str(GenerationStatus.REMOVED)})


def is_delicate(reply: Reply) -> bool:
    """Whether a card's text tells why something may not be seen."""
    if not reply.text or reply.tone is Tone.GOOD:
        return False
    if reply.status is JobStatus.REJECTED:
        return True
    made = reply.data.get("generations") or ()
    # A stopped answer keeps what was released, and may be ruled on too.
    ended = reply.status in (JobStatus.SUCCEEDED, JobStatus.CANCELLED)
    return ended and any(one["status"] in _HIDDEN for one in made)


def for_all(reply: Reply, texts: Texts) -> Reply:
    """The card as a channel may read it."""
    if not is_delicate(reply):
        return reply
    return reply.model_copy(update={"text": texts("card.quiet")})


def for_one(reply: Reply) -> Reply:
    """What who asked reads: the reason, how to appeal, without the card's own parts."""
    return Reply(
        title=reply.title, text=reply.text, tone=reply.tone, locale=reply.locale,
        buttons=tuple(b for b in reply.buttons if b.verb == "appeal"),
    )  # fmt: skip


def mark_of(reply: Reply) -> str:
    """Names what was told, so that a redrawn card does not tell it twice."""
    return hashlib.sha256(f"{reply.title}\n{reply.text}".encode()).hexdigest()[:16]
