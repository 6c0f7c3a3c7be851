"""Messages and streams of the tests' Slack, checked as Slack checks them."""

from __future__ import annotations

from typing import Any

from tests.slack import rules
from tests.slack.world import STREAM_LIFE_S, Refused, Stored, World


class Messages(World):
    """Its methods of the Web API."""

    def _check(self, where: str, given: dict[str, Any]) -> None:
        blocks = given.get("blocks") or []
        faults = [f"{where}: {f}" for f in rules.block_faults(blocks)]
        faults += rules.text_faults(where, given.get("text") or "")
        if not given.get("text"):
            faults.append(f"{where}: no text for notifications")
        if given.get("link_names") not in (False, None) or given.get("parse") not in ("none", None):
            faults.append(f"{where}: names would become links")
        self.fault(*faults)
        if faults:
            raise Refused("invalid_blocks")
        for block in blocks:
            if block["type"] == "image":
                file = self.files.get(block["slack_file"]["id"])
                if file is None or not file.done or file.looks < self.processing:
                    self.fault(f"{where}: invalid slack file")
                    raise Refused("invalid_blocks")

    def _chat_postMessage(self, given: dict[str, Any]) -> dict[str, Any]:
        self.may_write(given["channel"])
        self._check("chat.postMessage", given)
        if given.get("unfurl_links") is not False or given.get("unfurl_media") is not False:
            self.fault("chat.postMessage: would unfurl")
        named = given["channel"], str(given.get("client_msg_id", ""))
        if self.knows_repeats and named in self.posted:
            if (given["channel"], self.posted[named]) not in self.messages:
                raise Refused("duplicate_message_not_found")
            return {"ts": self.posted[named], "channel": given["channel"]}
        ts = self.ts()
        if named[1]:
            self.posted[named] = ts
        self.messages[given["channel"], ts] = Stored(
            given["channel"], ts, given["text"], given.get("blocks") or [], given.get("thread_ts")
        )
        return {"ts": ts, "channel": given["channel"]}

    def _chat_postEphemeral(self, given: dict[str, Any]) -> dict[str, Any]:
        self.may_write(given["channel"])
        self._check("chat.postEphemeral", given)
        self.ephemeral.append({"by": "api"} | given)
        return {"message_ts": self.ts()}

    def _found(self, given: dict[str, Any]) -> Stored:
        found = self.messages.get((given["channel"], given["ts"]))
        if found is None:
            raise Refused("message_not_found")
        return found

    def _chat_update(self, given: dict[str, Any]) -> dict[str, Any]:
        found = self._found(given)
        self._check("chat.update", given)
        self._age(found)
        if found.streaming:
            raise Refused("streaming_state_conflict")
        found.text, found.blocks = given["text"], given.get("blocks") or []
        found.edits += 1
        return {"ts": found.ts, "channel": found.channel}

    def _chat_delete(self, given: dict[str, Any]) -> dict[str, Any]:
        self._found(given)
        del self.messages[given["channel"], given["ts"]]
        return {}

    # streams

    def _age(self, stream: Stored) -> None:
        if stream.streaming and self.clock() - stream.started > STREAM_LIFE_S:
            stream.streaming = False

    def _piece(self, given: dict[str, Any]) -> str:
        text = given.get("markdown_text") or ""
        if len(text) > 12_000:
            self.fault("a piece of a stream is too long")
            raise Refused("msg_too_long")
        self.fault(*rules.text_faults("stream", text[:4000]))
        return text

    def _chat_startStream(self, given: dict[str, Any]) -> dict[str, Any]:
        self.may_write(given["channel"])
        if not given.get("thread_ts"):
            self.fault("a stream needs a thread")
        if not given["channel"].startswith("D"):
            self.fault("a stream in a channel moves for one person only")
        ts = self.ts()
        self.messages[given["channel"], ts] = Stored(
            given["channel"], ts, self._piece(given), [], given["thread_ts"], streaming=True,
            started=self.clock(),
        )  # fmt: skip
        return {"ts": ts, "channel": given["channel"]}

    def _stream(self, given: dict[str, Any]) -> Stored:
        found = self._found(given)
        self._age(found)
        if not found.streaming:
            raise Refused("message_not_in_streaming_state")
        return found

    def _chat_appendStream(self, given: dict[str, Any]) -> dict[str, Any]:
        found = self._stream(given)
        found.text += self._piece(given)
        return {"ts": found.ts}

    def _chat_stopStream(self, given: dict[str, Any]) -> dict[str, Any]:
        self._stream(given).streaming = False
        return {}
