"""The agent surface of a thread: "is working" with Slack's own Stop button.

``agents.sessions.setStatus`` replaced ``assistant.threads.setStatus`` in August 2026 and is the one
with the Stop button. An app that was not declared as an agent is refused; then there is a card
with our own button instead, and we do not ask again.
"""

from __future__ import annotations

import logging

from slack_sdk.web.async_client import AsyncWebClient

from bot.adapters.slack.calls import Refusal, asked
from storage.errors import AtelierError, OperatorError

log = logging.getLogger(__name__)


class Sessions:
    """Statuses of threads in direct messages with us."""

    def __init__(self, client: AsyncWebClient) -> None:
        self._client = client
        self._allowed = True

    async def working(self, channel: str, thread: str) -> bool:
        """Show that we are at work, with Slack's Stop button; False when Slack does not do that."""
        return await self._set(channel, thread, "processing")

    async def done(self, channel: str, thread: str) -> None:
        """Take it away again: it does not go by itself."""
        await self._set(channel, thread, "active")

    async def _set(self, channel: str, thread: str, status: str) -> bool:
        if not self._allowed:
            return False
        try:
            await asked(
                self._client.agents_sessions_setStatus(
                    channel_id=channel, thread_ts=thread, status=status
                )
            )
        except (Refusal, OperatorError) as error:
            log.warning("no agent status in threads: %s", error)
            self._allowed = False
            return False
        except AtelierError as error:  # decoration: the answer comes all the same
            log.info("an agent status was not set: %s", error)
            return False
        return True
