"""A Slack that runs in the test: its Web API, files, streams, sockets and response URLs.

It refuses what Slack refuses and writes each refusal down: a test that leaves a fault behind fails.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import itertools
import json
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web
from PIL import Image

from tests.slack import rules

BOT_TOKEN = "xoxb-1-canary-bot"
APP_TOKEN = "xapp-1-canary-app"
WORKSPACE = "T0000WORK"
STREAM_LIFE_S = 300.0
ALL_SCOPES = frozenset(
    {
        "app_mentions:read", "assistant:write", "chat:write", "commands", "files:read",
        "files:write", "im:history", "im:write", "usergroups:read", "users:read",
    }
)  # fmt: skip


_DOCUMENTS = (".zip", ".toml", ".csv")
"""What is handed over as a file and is no picture."""


class Refused(Exception):
    """An answer with ok: false."""


@dataclass
class Stored:
    """A message as a client shows it."""

    channel: str
    ts: str
    text: str
    blocks: list[dict[str, Any]]
    thread: str | None = None
    streaming: bool = False
    started: float = 0.0
    edits: int = 0
    finished_by_reader: bool = False

    def shown(self) -> str:
        """All its words."""
        return self.text + json.dumps(self.blocks, ensure_ascii=False)


@dataclass
class File:
    """An uploaded file; ``looks`` counts how often it was asked for before it was ready."""

    id: str
    name: str
    alt: str
    data: bytes = b""
    done: bool = False
    looks: int = 0


@dataclass
class Trouble:
    """What happens to the next calls of a method: ``before`` or ``after`` Slack took them."""

    kind: str
    times: int
    retry_after: int = 0


@dataclass
class SlackServer:
    """See the module."""

    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)
    channels: set[str] = field(default_factory=lambda: {"C1"})
    """Channels that have the bot."""
    scopes: frozenset[str] = ALL_SCOPES
    clock: Callable[[], float] = time.monotonic
    processing: int = 1
    """Looks at a file before it is ready."""
    knows_repeats: bool = False
    """Whether the same ``client_msg_id`` is the same message: likely, but not promised."""
    unlimited: bool = False
    trigger_life: float = 30.0
    """Three seconds in life; a loaded test machine gets more patience."""

    def __post_init__(self) -> None:
        self.messages: dict[tuple[str, str], Stored] = {}
        self.posted: dict[tuple[str, str], str] = {}
        """Channel and ``client_msg_id`` of each message that had one, to its ts."""
        self.ephemeral: list[dict[str, Any]] = []
        self.views: dict[str, dict[str, Any]] = {}
        self.homes: dict[str, dict[str, Any]] = {}
        self.files: dict[str, File] = {}
        self.described: dict[str, dict[str, Any]] = {}
        """Files of other people, as Slack describes them."""
        self.sessions: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.prompts: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[str] = []
        self.trouble: dict[str, Trouble] = {}
        self.limited: list[str] = []
        self.downloads: list[tuple[str, str | None]] = []
        self._count = itertools.count(1)
        self._windows: dict[str, deque[float]] = defaultdict(deque)
        self._triggers: dict[str, float] = {}
        self._urls: dict[str, int] = {}
        self.hang_up: set[str] = set()
        """Response URLs whose line drops."""
        self._socket: web.WebSocketResponse | None = None
        self._acks: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.connected = asyncio.Event()
        self.url = ""
        self._runner: web.AppRunner | None = None

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> str:
        app = web.Application(client_max_size=1 << 25)
        app.add_routes([
            web.route("*", "/api/{method}", self._api),
            web.post("/api/hooks/{id}", self._hook),
            web.post("/upload/{id}", self._upload),
            web.get("/link", self._link),
        ])  # fmt: skip
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return f"{self.url}/api/"

    async def stop(self) -> None:
        if self._socket is not None and not self._socket.closed:
            await self._socket.close()
        if self._runner is not None:
            await self._runner.cleanup()

    # -- what tests do -------------------------------------------------------------------------

    def break_next(self, method: str, kind: str, times: int = 1, retry_after: int = 0) -> None:
        """``before``: a 500; ``after``: taken, then the line drops; ``429``; ``error:code``."""
        self.trouble[method] = Trouble(kind, times, retry_after)

    def trigger(self) -> str:
        """A trigger that opens one dialogue within three seconds."""
        made = f"{next(self._count)}.{WORKSPACE}.trigger"
        self._triggers[made] = self.clock()
        return made

    def response_url(self) -> str:
        made = f"{self.url}/api/hooks/{next(self._count)}"
        self._urls[made] = 0
        return made

    def event_id(self) -> str:
        return f"Ev{next(self._count):08d}"

    def add_file(self, **facts: Any) -> dict[str, Any]:
        """A file somebody else shared, as events describe it."""
        file = File(id=f"F{next(self._count):09d}", name=facts.get("name", "cat.png"), alt="")
        file.done = True
        self.files[file.id] = file
        described = {
            "id": file.id, "name": file.name, "mimetype": "image/png", "size": 1000,
            "url_private_download": f"https://files.slack.com/files-pri/T1-{file.id}/download/x.png",
            "url_private": f"https://files.slack.com/files-pri/T1-{file.id}/x.png",
            "is_external": False, "mode": "hosted",
        } | facts  # fmt: skip
        self.described[file.id] = described
        return described

    def ts(self) -> str:
        return f"1900000000.{next(self._count):06d}"

    def of(self, method: str) -> list[dict[str, Any]]:
        """The arguments of each call of a method."""
        return [arguments for name, arguments in self.calls if name == method]

    def in_channel(self, channel: str) -> list[Stored]:
        return [m for (where, _), m in self.messages.items() if where == channel]

    # -- the Web API ---------------------------------------------------------------------------

    async def _api(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        arguments = await self._arguments(request)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        wanted = APP_TOKEN if method == "apps.connections.open" else BOT_TOKEN
        if token != wanted:
            return web.json_response({"ok": False, "error": "invalid_auth"})
        scope = rules.SCOPES.get(method)
        if scope is not None and scope not in self.scopes:
            answer = {"ok": False, "error": "missing_scope", "needed": scope}
            return web.json_response(answer)
        trouble = self.trouble.get(method)
        if trouble is not None and trouble.times > 0:
            trouble.times -= 1
            if trouble.kind == "429":
                return self._slow(trouble.retry_after)
            if trouble.kind == "before":
                return web.json_response({"ok": False, "error": "internal_error"}, status=500)
            if trouble.kind.startswith("error:"):
                return web.json_response({"ok": False, "error": trouble.kind[6:]})
        else:
            trouble = None
        if self._too_many(method):
            self.limited.append(method)
            return self._slow(1)
        self.calls.append((method, arguments))
        faults = rules.argument_faults(method, arguments)
        if faults:
            self.faults += faults
            return web.json_response({"ok": False, "error": "invalid_arguments"})
        try:
            answer = getattr(self, "_" + method.replace(".", "_"))(arguments)
            if inspect.isawaitable(answer):
                answer = await answer
        except Refused as error:
            return web.json_response({"ok": False, "error": str(error)})
        if trouble is not None and request.transport is not None:
            request.transport.close()
        headers = {"X-OAuth-Scopes": ",".join(sorted(self.scopes))}
        return web.json_response({"ok": True, **answer}, headers=headers)

    async def _arguments(self, request: web.Request) -> dict[str, Any]:
        found: dict[str, Any] = dict(request.query)
        if request.content_type == "application/json":
            found |= json.loads(await request.text() or "{}")
        elif request.can_read_body:
            found |= dict(parse_qsl(await request.text()))
        return found

    def _slow(self, seconds: int) -> web.Response:
        answer = {"ok": False, "error": "ratelimited"}
        return web.json_response(answer, status=429, headers={"Retry-After": str(seconds)})

    def _too_many(self, method: str) -> bool:
        if self.unlimited:
            return False
        window, now = self._windows[method], self.clock()
        while window and now - window[0] > 60:
            window.popleft()
        if len(window) >= rules.TIERS[method]:
            return True
        window.append(now)
        return False

    def _fault(self, *faults: str) -> None:
        self.faults += faults

    def _auth_test(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"team_id": WORKSPACE, "team": "Acme", "user_id": "UBOT", "bot_id": "BBOT",
                "user": "atelier", "url": "https://acme.slack.com/"}  # fmt: skip

    def _users_info(self, given: dict[str, Any]) -> dict[str, Any]:
        person = self.people.get(given["user"], {})
        name = given["user"].lower()
        found = {"id": given["user"], "name": name, "locale": "en-US"} | person
        if given.get("include_locale") not in ("1", "true"):
            found.pop("locale")
        return {"user": found}

    def _usergroups_list(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"usergroups": self.groups}

    def _conversations_open(self, given: dict[str, Any]) -> dict[str, Any]:
        if self.people.get(given["users"], {}).get("deleted"):
            raise Refused("user_disabled")
        return {"channel": {"id": f"D{given['users']}"}}

    def _may_write(self, channel: str) -> None:
        if not channel.startswith("D") and channel not in self.channels:
            raise Refused("not_in_channel" if channel.startswith("C") else "channel_not_found")

    def _check(self, where: str, given: dict[str, Any]) -> None:
        blocks = given.get("blocks") or []
        faults = [f"{where}: {f}" for f in rules.block_faults(blocks)]
        faults += rules.text_faults(where, given.get("text") or "")
        if not given.get("text"):
            faults.append(f"{where}: no text for notifications")
        if given.get("link_names") not in (False, None) or given.get("parse") not in ("none", None):
            faults.append(f"{where}: names would become links")
        self._fault(*faults)
        if faults:
            raise Refused("invalid_blocks")
        for block in blocks:
            if block["type"] == "image":
                file = self.files.get(block["slack_file"]["id"])
                if file is None or not file.done or file.looks < self.processing:
                    self._fault(f"{where}: invalid slack file")
                    raise Refused("invalid_blocks")

    def _chat_postMessage(self, given: dict[str, Any]) -> dict[str, Any]:
        self._may_write(given["channel"])
        self._check("chat.postMessage", given)
        if given.get("unfurl_links") is not False or given.get("unfurl_media") is not False:
            self._fault("chat.postMessage: would unfurl")
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
        self._may_write(given["channel"])
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
            self._fault("a piece of a stream is too long")
            raise Refused("msg_too_long")
        self._fault(*rules.text_faults("stream", text[:4000]))
        return text

    def _chat_startStream(self, given: dict[str, Any]) -> dict[str, Any]:
        self._may_write(given["channel"])
        if not given.get("thread_ts"):
            self._fault("a stream needs a thread")
        if not given["channel"].startswith("D"):
            self._fault("a stream in a channel moves for one person only")
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

    # sessions, views

    def _agents_sessions_setStatus(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["status"] not in ("active", "processing", "suspended", "closed"):
            self._fault(f"session status {given['status']}")
        self.sessions[given["channel_id"], given["thread_ts"]].append(given["status"])
        return {"status": given["status"]}

    def _assistant_threads_setSuggestedPrompts(self, given: dict[str, Any]) -> dict[str, Any]:
        if len(given["prompts"]) > 4:
            self._fault("at most four prompts")
        self.prompts.append(given)
        return {}

    def _views_open(self, given: dict[str, Any]) -> dict[str, Any]:
        made = self._triggers.pop(given["trigger_id"], None)
        if made is None or self.clock() - made > self.trigger_life:
            raise Refused("expired_trigger_id")
        self._fault(*rules.view_faults(given["view"]))
        view_id = f"V{next(self._count):08d}"
        self.views[view_id] = given["view"] | {"id": view_id}
        return {"view": self.views[view_id]}

    def _views_update(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["view_id"] not in self.views:
            raise Refused("not_found")
        self._fault(*rules.view_faults(given["view"]))
        self.views[given["view_id"]] = given["view"] | {"id": given["view_id"]}
        return {"view": self.views[given["view_id"]]}

    def _views_publish(self, given: dict[str, Any]) -> dict[str, Any]:
        self._fault(*rules.view_faults(given["view"]))
        self.homes[given["user_id"]] = given["view"]
        return {"view": given["view"]}

    # files

    def _files_getUploadURLExternal(self, given: dict[str, Any]) -> dict[str, Any]:
        if len(given["filename"]) > 255 or not given["filename"].isascii():
            self._fault(f"file name {given['filename']!r}")
        if not given.get("alt_txt") and not given["filename"].endswith(_DOCUMENTS):
            self._fault("a picture without alt text")
        alt = given.get("alt_txt", "")
        file = File(id=f"F{next(self._count):09d}", name=given["filename"], alt=alt)
        self.files[file.id] = file
        return {"file_id": file.id, "upload_url": f"{self.url}/upload/{file.id}"}

    async def _upload(self, request: web.Request) -> web.Response:
        if "Authorization" in request.headers:
            self._fault("the token was sent with an upload")
        self.files[request.match_info["id"]].data = await request.read()
        return web.Response(text="OK")

    def _files_completeUploadExternal(self, given: dict[str, Any]) -> dict[str, Any]:
        files = [self.files[item["id"]] for item in json.loads(given["files"])]
        for file in files:
            if not file.name.endswith(_DOCUMENTS):
                Image.open(io.BytesIO(file.data)).verify()
            file.done = True
        return {"files": [{"id": file.id, "title": file.name} for file in files]}

    def _files_info(self, given: dict[str, Any]) -> dict[str, Any]:
        file = self.files.get(given["file"])
        if file is None:
            raise Refused("file_not_found")
        if file.id in self.described:
            return {"file": self.described[file.id]}
        file.looks += 1
        facts: dict[str, Any] = {"id": file.id, "name": file.name, "mimetype": ""}
        if file.looks >= self.processing:
            with Image.open(io.BytesIO(file.data)) as picture:
                facts |= {"mimetype": "image/png", "original_w": picture.width}
        return {"file": facts}

    def _files_delete(self, given: dict[str, Any]) -> dict[str, Any]:
        if self.files.pop(given["file"], None) is None:
            raise Refused("file_not_found")
        return {}

    # response URLs and the socket

    async def _hook(self, request: web.Request) -> web.Response:
        url = f"{self.url}{request.path}"
        if url in self.hang_up and request.transport is not None:
            request.transport.close()
        if self._urls.get(url, 5) >= 5:
            return web.json_response({"ok": False, "error": "used_url"}, status=404)
        self._urls[url] += 1
        given = await request.json()
        try:
            self._check("response_url", given)
        except Refused as error:
            return web.json_response({"ok": False, "error": str(error)}, status=400)
        if given.get("response_type") != "ephemeral":
            self._fault("a response URL is for private notes only")
        self.ephemeral.append({"by": url} | given)
        return web.Response(text="ok")

    def _apps_connections_open(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"url": self.url.replace("http", "ws") + "/link"}

    async def _link(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._socket = socket
        await socket.send_json({"type": "hello", "num_connections": 1})
        self.connected.set()
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                answer = json.loads(message.data)
                waiting = self._acks.pop(answer.get("envelope_id", ""), None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        self.connected.clear()
        return socket

    async def push(self, kind: str, payload: dict[str, Any], **more: Any) -> float:
        """Send an envelope over the socket; seconds until it was acknowledged."""
        began = time.monotonic()
        await self.ask(kind, payload, **more)
        return time.monotonic() - began

    async def ask(self, kind: str, payload: dict[str, Any], **more: Any) -> dict[str, Any] | None:
        """Send an envelope over the socket; what it was acknowledged with."""
        assert self._socket is not None
        envelope = f"env-{next(self._count)}"
        waiting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._acks[envelope] = waiting
        await self._socket.send_json(
            {"type": kind, "envelope_id": envelope, "payload": payload,
             "accepts_response_payload": True, **more}
        )  # fmt: skip
        async with asyncio.timeout(60):
            return (await waiting).get("payload")
