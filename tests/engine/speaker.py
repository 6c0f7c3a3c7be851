"""A real HTTP server that speaks the OpenAI chat protocol, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Speaker:
    """Answers ``words``; ``moods`` are used up one a call, then it is well.

    A mood: ``429``, ``500``, ``401`` or ``400`` (that status), ``picky`` (400 while options stand
    in the call), ``hang`` (headers, then silence), ``mute`` (no headers at all), ``drop`` (closes
    after two words), ``cut`` (ends politely without a finish), ``junk`` (no JSON), ``uncounted``
    (no usage).
    """

    words: tuple[str, ...] = ("Paris ", "is ", "the ", "capital.")
    moods: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    port: int = 0
    pause_s: float = 0.0
    answers: list[str] = field(default_factory=list)
    """Used up one a call, before ``words``."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            fields = {name.lower(): value for name, value in fields.items()}
            body = json.loads(await reader.readexactly(int(fields["content-length"])))
            assert head.startswith("POST /v1/chat/completions ")
            self.calls.append(body)
            self.keys.append(fields["authorization"])
            mood = self.moods.pop(0) if self.moods else ""
            if mood == "picky":
                mood = "400" if "seed" in body else ""
            if mood.isdigit():
                secret = fields["authorization"].encode()
                error = b'{"error": {"message": "no, ' + secret + b'"}}'
                writer.write(
                    f"HTTP/1.1 {mood} No\r\nretry-after: 7\r\ncontent-type: application/json\r\n"
                    f"content-length: {len(error)}\r\nconnection: close\r\n\r\n".encode()
                    + error
                )
            elif mood == "mute":
                await asyncio.sleep(60)
            else:
                await self._stream(writer, mood)
            await writer.drain()
        finally:
            writer.close()

    async def _stream(self, writer: asyncio.StreamWriter, mood: str) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        )

        async def event(data: str) -> None:
            line = f"data: {data}\n\n".encode()
            writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            await writer.drain()

        def chunk(**more: Any) -> str:
            return json.dumps(
                {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"} | more
            )

        def delta(text: str, finish: str | None = None) -> str:
            return chunk(
                choices=[{"index": 0, "delta": {"content": text}, "finish_reason": finish}]
            )

        if mood == "hang":
            await asyncio.sleep(60)
        answer = self.answers.pop(0) if self.answers else None
        words = self.words if answer is None else tuple(re.findall(r"\S+\s*|\s+", answer))
        for index, word in enumerate(words):
            if mood == "drop" and index == 2:
                writer.transport.abort()
                return
            if mood == "cut" and index == 2:
                break
            if mood == "junk":
                await event("{not json")
            await event(delta(word))
            await asyncio.sleep(self.pause_s)
        if mood != "cut":
            await event(delta("", "stop"))
        if mood != "uncounted":
            usage = {"prompt_tokens": 21, "completion_tokens": 700, "total_tokens": 721}
            await event(chunk(choices=[], usage=usage))
        await event("[DONE]")
        writer.write(b"0\r\n\r\n")


@asynccontextmanager
async def speaking(*speakers: Speaker) -> AsyncIterator[None]:
    """Starts them, each on a free port of its own."""
    servers = []
    for speaker in speakers:
        server = await asyncio.start_server(speaker.serve, "127.0.0.1", 0)
        speaker.port = server.sockets[0].getsockname()[1]
        servers.append(server)
    try:
        yield
    finally:
        for server in servers:
            server.close()
