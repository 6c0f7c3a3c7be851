"""A Slack that runs in the test: its Web API, files, streams, sockets and response URLs.

It refuses what Slack refuses and writes each refusal down: a test that leaves a fault behind fails.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web

from tests.slack import rules
from tests.slack.files import Files
from tests.slack.messages import Messages
from tests.slack.world import APP_TOKEN, BOT_TOKEN, WORKSPACE, Refused


class SlackServer(Messages, Files):
    """See the module."""

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

    # people, sessions, views

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

    def _agents_sessions_setStatus(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["status"] not in ("active", "processing", "suspended", "closed"):
            self.fault(f"session status {given['status']}")
        self.sessions[given["channel_id"], given["thread_ts"]].append(given["status"])
        return {"status": given["status"]}

    def _assistant_threads_setSuggestedPrompts(self, given: dict[str, Any]) -> dict[str, Any]:
        if len(given["prompts"]) > 4:
            self.fault("at most four prompts")
        self.prompts.append(given)
        return {}

    def _views_open(self, given: dict[str, Any]) -> dict[str, Any]:
        made = self._triggers.pop(given["trigger_id"], None)
        if made is None or self.clock() - made > self.trigger_life:
            raise Refused("expired_trigger_id")
        self.fault(*rules.view_faults(given["view"]))
        view_id = f"V{next(self._count):08d}"
        self.views[view_id] = given["view"] | {"id": view_id}
        return {"view": self.views[view_id]}

    def _views_update(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["view_id"] not in self.views:
            raise Refused("not_found")
        self.fault(*rules.view_faults(given["view"]))
        self.views[given["view_id"]] = given["view"] | {"id": given["view_id"]}
        return {"view": self.views[given["view_id"]]}

    def _views_publish(self, given: dict[str, Any]) -> dict[str, Any]:
        self.fault(*rules.view_faults(given["view"]))
        self.homes[given["user_id"]] = given["view"]
        return {"view": given["view"]}

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
            self.fault("a response URL is for private notes only")
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
