"""Answers as they are written, in direct messages: a native stream, and what to do when it ends.

In a channel only the person who asked would see a stream move (agentconnect#1494), so there the
card is edited for everybody instead. And Slack ends a stream at about five minutes, whatever is
still being written (python-slack-sdk#1859): from then on the same message is edited.
"""

from __future__ import annotations

import logging

from slack_sdk.web.async_client import AsyncWebClient

from bot.adapters.slack import limits
from bot.adapters.slack.calls import STREAM_OVER, Gone, Refusal, asked
from bot.adapters.slack.escape import escaped

log = logging.getLogger(__name__)


STREAMING = "streaming_state_conflict"
"""What Slack says to an edit of a message that still streams."""


class StreamOver(Exception):
    """This message takes no more pieces: edit it."""


class Streams:
    """The streams this process has open. A restart forgets them; their messages are edited then."""

    def __init__(self, client: AsyncWebClient, workspace: str) -> None:
        self._client = client
        self._workspace = workspace
        self._sent: dict[str, str] = {}

    def knows(self, job_id: str) -> bool:
        """Whether this process opened the job's stream and it still takes pieces."""
        return job_id in self._sent

    async def start(self, job_id: str, channel: str, thread: str, member: str, text: str) -> str:
        """Open a stream with its first sentences; the id of its message.

        Raises ``StreamOver`` when Slack has no streams here.
        """
        pieces = _pieces(text)
        try:
            answer = await asked(
                self._client.chat_startStream(
                    channel=channel, thread_ts=thread, markdown_text=pieces[0],
                    recipient_team_id=self._workspace, recipient_user_id=member,
                )
            )  # fmt: skip
        except Refusal as error:
            log.warning("no native stream here (%s): editing instead", error.code)
            raise StreamOver from error
        self._sent[job_id] = text
        ts = str(answer["ts"])
        for piece in pieces[1:]:
            await self._append(job_id, channel, ts, piece)
        return ts

    async def go_on(self, job_id: str, channel: str, ts: str, text: str) -> None:
        """Append what is new. Raises ``StreamOver`` when that cannot be done by appending."""
        sent = self._sent.get(job_id)
        if sent is None or not text.startswith(sent):
            self._sent.pop(job_id, None)
            raise StreamOver
        for piece in _pieces(text[len(sent) :]):
            await self._append(job_id, channel, ts, piece)
        self._sent[job_id] = text

    async def _append(self, job_id: str, channel: str, ts: str, piece: str) -> None:
        try:
            await asked(self._client.chat_appendStream(channel=channel, ts=ts, markdown_text=piece))
        except (Refusal, Gone) as error:
            self._sent.pop(job_id, None)
            log.info("a stream is over (%s): editing its message", error)
            raise StreamOver from error

    async def stop(self, job_id: str, channel: str, ts: str) -> None:
        """Close it, if Slack has not done so: only then may its message be edited."""
        self._sent.pop(job_id, None)
        try:
            await asked(self._client.chat_stopStream(channel=channel, ts=ts))
        except Gone:
            return
        except Refusal as error:
            if error.code not in STREAM_OVER:
                log.warning("a stream could not be closed: %s", error.code)


def _pieces(text: str) -> list[str]:
    """Escaped pieces that one call may carry, cut after white space and nothing lost."""
    pieces = [""]
    for character in text:
        mark = escaped(character)
        last = pieces[-1]
        full = len(last) + len(mark) > limits.STREAM
        if full or (len(last) > limits.STREAM - 200 and last[-1:].isspace()):
            pieces.append("")
        pieces[-1] += mark
    return [piece for piece in pieces if piece]
