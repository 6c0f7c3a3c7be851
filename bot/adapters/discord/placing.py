"""What a stored post says of its card on Discord: where it is, who reads it there. Pure."""

from __future__ import annotations

import string

from bot.adapters.discord.render import words_for
from bot.adapters.discord.wire import ANSWER
from bot.core.reply import Reply
from bot.core.texts import Texts
from storage.posts import Placed, PostState
from storage.schema import PERSONAL

DIRECT = "direct"
"""Noted on a post whose card went to its owner's direct messages."""
ANSWERED = "answered"
"""Noted on a post whose card is the private answer: progress is shown there and nowhere else."""


def answer_of(post: Placed) -> int | None:
    """The message that answers the interaction a job came from, when it came from one."""
    message = post.address.message or ""
    number = message.removeprefix(ANSWER)
    return int(number) if message.startswith(ANSWER) and number.isdecimal() else None


def reads_alone(post: Placed) -> bool:
    """Whether only who asked reads the card: a private answer, their direct messages."""
    return (
        post.private or bool(post.extra.get(DIRECT)) or post.address.workspace.startswith(PERSONAL)
    )


def away(reply: Reply, post: Placed, words: Texts) -> Reply:
    """A server's card in direct messages: without the buttons, which work on that server only
    (who somebody is there, no direct message tells), and with where to find them."""
    if post.address.workspace.startswith(PERSONAL) or not (reply.buttons or reply.pictures):
        return reply
    where = words("direct.buttons", job=post.job_id)
    return reply.model_copy(
        update={
            "buttons": (),
            "pictures": tuple(p.model_copy(update={"buttons": ()}) for p in reply.pictures),
            "text": f"{reply.text}\n\n{where}" if reply.text else where,
        }
    )


def nonce_of(post: Placed, page: int, direct: bool) -> str:
    """The nonce of one page: the same for every try, and another one in a direct message.

    Discord looks for it among all that we sent in the last minutes, wherever: a card deleted in
    its channel must not stand in the way of the one that goes to its owner.
    """
    signs = string.ascii_uppercase if direct else string.digits + string.ascii_lowercase
    return f"{post.nonce}{signs[page % len(signs)]}"


def is_fresh(post: Placed) -> bool:
    """Whether a job's card was not put up anywhere yet."""
    if post.state in (PostState.FINAL, PostState.LOST):
        return False
    return not (post.address.message or "").isdecimal() and not post.extra.get(ANSWERED)


def reduced(reply: Reply) -> Reply:
    """The card without what people wrote: a server's AutoMod has taken offence at something."""
    words = words_for(reply.locale)
    return reply.model_copy(
        update={
            "prompt": "",
            "author": "",
            "pictures": tuple(p.model_copy(update={"alt": reply.title}) for p in reply.pictures),
            "text": words("card.automod"),
            "fields": tuple(field for field in reply.fields if field.code),
        }
    )
