"""What Discord's refusals mean for us: one action for each, decided in one place. Pure."""

from __future__ import annotations

import asyncio
from enum import StrEnum

import aiohttp
import discord


class Fault(StrEnum):
    """What to do when Discord says no."""

    ANSWERED = "answered"  # somebody answered this interaction already: do nothing more
    LATE = "late"  # the interaction is not known any more: nobody would see an answer
    TOKEN = "token"  # the interaction's token is over: use another way
    GONE = "gone"  # the message or channel was deleted: stop editing it
    CLOSED = "closed"  # we may not post or read there: use another way
    LARGE = "large"  # the files are too large: make them smaller
    BLOCKED = "blocked"  # the server's AutoMod refused the words: show it without them
    WAIT = "wait"  # rate limit, outage, time-out: try again later
    BROKEN = "broken"  # our own mistake


_CODES = {
    10062: Fault.LATE,  # unknown interaction
    40060: Fault.ANSWERED,  # interaction has already been acknowledged
    50027: Fault.TOKEN,  # invalid webhook token
    10015: Fault.TOKEN,  # unknown webhook
    10008: Fault.GONE,  # unknown message
    10003: Fault.GONE,  # unknown channel
    50001: Fault.CLOSED,  # missing access
    50013: Fault.CLOSED,  # missing permissions
    50007: Fault.CLOSED,  # cannot send messages to this person
    50083: Fault.CLOSED,  # thread is archived
    160002: Fault.CLOSED,  # cannot reply without permission to read message history
    40005: Fault.LARGE,  # request entity too large
    200000: Fault.BLOCKED,  # message was blocked by AutoMod
    200001: Fault.BLOCKED,  # title was blocked by AutoMod
    30046: Fault.WAIT,  # maximum number of edits to messages older than 1 hour reached
    20028: Fault.WAIT,  # the channel write limit was hit
}


def fault_of(error: BaseException) -> Fault:
    """The action for an error that a call to Discord raised."""
    if isinstance(error, discord.RateLimited | TimeoutError | asyncio.TimeoutError | OSError):
        return Fault.WAIT
    if isinstance(error, aiohttp.ClientError | discord.ConnectionClosed):
        return Fault.WAIT
    if isinstance(error, discord.HTTPException):
        known = _CODES.get(error.code)
        if known is not None:
            return known
        if error.status == 413:
            return Fault.LARGE
        if error.status == 429 or error.status >= 500:
            return Fault.WAIT
        if error.status == 404:
            return Fault.GONE
        if error.status in (401, 403):
            return Fault.CLOSED
    return Fault.BROKEN


EXPECTED = (
    discord.HTTPException,
    discord.RateLimited,
    discord.ConnectionClosed,
    aiohttp.ClientError,
    TimeoutError,
    OSError,
)
"""What a call to Discord raises when the world, not our code, is at fault."""
