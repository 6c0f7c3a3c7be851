"""Calls of the Web API, with what can go wrong sorted by what to do about it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.http_retry.builtin_async_handlers import (
    AsyncConnectionErrorRetryHandler,
    AsyncRateLimitErrorRetryHandler,
)
from slack_sdk.http_retry.request import HttpRequest
from slack_sdk.http_retry.response import HttpResponse
from slack_sdk.http_retry.state import RetryState
from slack_sdk.web.async_client import AsyncWebClient

from storage.errors import AtelierError, OperatorError, RetryLater

log = logging.getLogger(__name__)

RETRIES = 2
"""How often a call waits out a 429 itself; then delivery comes back later, and others go first."""
PATIENCE_S = 20.0
"""Longest one attempt of a call may take."""

_ONCE = frozenset(
    {"chat.postMessage", "chat.postEphemeral", "chat.startStream", "chat.appendStream"}
)
"""What would be there twice; after a lost answer nobody knows whether it is there once."""
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
_CLOSED = frozenset(
    {
        "not_in_channel", "channel_not_found", "is_archived", "restricted_action",
        "restricted_action_read_only_channel", "restricted_action_thread_only_channel",
        "restricted_action_non_threadable_channel", "restricted_action_thread_locked",
        "no_permission", "thread_not_found", "cannot_reply_to_message",
        "user_not_found", "user_disabled", "users_not_found", "cannot_dm_bot",
        "messages_tab_disabled", "user_not_visible",
    }
)  # fmt: skip
_OURS = frozenset(
    {
        "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired",
        "missing_scope", "not_allowed_token_type", "ekm_access_denied", "org_login_required",
        "team_access_not_granted", "access_denied",
    }
)  # fmt: skip
_PASSING = frozenset(
    {
        "ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable",
        "request_timeout", "team_added_to_org", "accesslimited", "message_limit_exceeded",
    }
)  # fmt: skip
STREAM_OVER = frozenset(
    {"message_not_in_streaming_state", "message_not_owned_by_app", "message_not_found"}
)
"""A stream that Slack has ended: at about five minutes, or because its reader pressed Stop."""


class RepeatOnce(AsyncConnectionErrorRetryHandler):
    """A connection that Slack had closed meanwhile: once more, unless that could post twice."""

    async def _can_retry_async(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> bool:
        if request.url.rpartition("/")[2] in _ONCE:
            return False
        return bool(
            await super()._can_retry_async(
                state=state, request=request, response=response, error=error
            )
        )


class Gone(AtelierError):
    """The message is not there (any more): edit it no further."""


class Closed(AtelierError):
    """We may not write there: the channel does not have us, is archived, or the person left."""


class Refusal(AtelierError):
    """Slack says no for a reason of its own, named in ``code``."""

    def __init__(self, code: str) -> None:
        super().__init__(f"Slack answered {code}")
        self.code = code


def make_client(token: str, session: aiohttp.ClientSession, base_url: str) -> AsyncWebClient:
    """A client that waits out 429s, and repeats what may be repeated when a connection breaks."""
    return AsyncWebClient(
        token=token,
        base_url=base_url,
        session=session,
        retry_handlers=[AsyncRateLimitErrorRetryHandler(max_retry_count=RETRIES), RepeatOnce()],
        logger=logging.getLogger("bot.slack.sdk"),
    )


async def asked(call: Awaitable[Any]) -> dict[str, Any]:
    """The answer of a call. Raises ``Gone``, ``Closed``, ``Refusal``, ``RetryLater`` or
    ``OperatorError``; none of them holds a token or a text."""
    try:
        answer = await call
    except SlackApiError as error:
        raise _sorted(error) from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise RetryLater(f"Slack does not answer ({type(error).__name__})") from error
    except SlackClientError as error:
        raise RetryLater(f"Slack answered junk ({type(error).__name__})") from error
    data = answer.data
    return data if isinstance(data, dict) else {}


def _sorted(error: SlackApiError) -> AtelierError:
    answer = error.response
    status = getattr(answer, "status_code", 200)
    data = answer.data if hasattr(answer, "data") and isinstance(answer.data, dict) else {}
    code = str(data.get("error", "unknown"))
    if status == 429 or status >= 500 or code in _PASSING:
        return RetryLater(f"Slack is unwell ({status} {code})")
    if code in _GONE:
        return Gone(code)
    if code in _CLOSED:
        return Closed(code)
    if code in _OURS:
        return OperatorError(f"Slack refuses the token ({code})", "run: atelier doctor")
    if code in ("invalid_blocks", "msg_blocks_too_long", "msg_too_long"):
        log.error("Slack does not accept a card: %s %s", code, data.get("errors", ""))
    return Refusal(code)
