"""Answers from other servers: vLLM, SGLang, llama.cpp, Ollama, OpenAI and what speaks like it.

A run made here looks like any other: pieces of text, then an answer; it can be cancelled, and the
worker judges every sentence before anyone sees it. Lives on the event loop, not on the engine
thread: waiting for a network must not hold up a picture.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from storage.errors import AtelierError
from storage.providers import Provider
from storage.registry import ModelCard
from storage.schema import ChatSpec
from worker.engine.errors import Cancelled, EngineStopped, ModelUnavailable, StepFailed
from worker.engine.outputs import Restart
from worker.engine.run import Run

if TYPE_CHECKING:
    from worker.engine.provider import Server

log = logging.getLogger(__name__)


class Remote:
    """The runs of all remote models.

    ``keys`` are by provider name; ``timeout_s`` is the longest silence of a server, in seconds,
    before its first word and between two.
    """

    def __init__(self, keys: Mapping[str, str], timeout_s: float = 30.0) -> None:
        self._keys = dict(keys)
        self._timeout_s = timeout_s
        self._servers: dict[str, Server] = {}
        self._serving: dict[Run, asyncio.Task[None]] = {}
        self._resting: dict[str, float] = {}
        # These write a line a call at INFO and whole conversations at DEBUG.
        for name in ("openai", "httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)

    def start(self, run: Run, card: ModelCard) -> None:
        """Serves a run in the background; it ends by itself, by ``cancel`` or by :meth:`close`."""
        serving = asyncio.create_task(self._serve(run, card), name=f"remote {run.job_id}")
        self._serving[run] = serving
        serving.add_done_callback(lambda _: self._serving.pop(run, None))

    def nudge(self) -> None:
        """Ends the runs that were cancelled since the last call."""
        for run, serving in list(self._serving.items()):
            if run.cancelled:
                serving.cancel()

    async def close(self) -> None:
        """Gives every run back and closes the connections. May be repeated."""
        serving = dict(self._serving)
        for run, one in serving.items():
            run.finish(EngineStopped("the engine was stopped"))
            one.cancel()
        await asyncio.gather(*serving.values(), return_exceptions=True)
        servers, self._servers = self._servers, {}
        for server in servers.values():
            await server.close()

    async def _serve(self, run: Run, card: ModelCard) -> None:
        error: AtelierError | None = None
        try:
            await self._answer(run, card)
        except asyncio.CancelledError:
            error = Cancelled("the run was cancelled")
        except AtelierError as problem:
            error = problem
        except Exception as problem:
            # As on the engine thread: one member's fault ends one run.
            error = StepFailed(type(problem).__name__)
            error.__cause__ = problem
        run.finish(error)

    async def _answer(self, run: Run, card: ModelCard) -> None:
        """The first provider that answers to the end. Raises ``ModelUnavailable`` for none."""
        from worker.engine.provider import Silent

        assert isinstance(run.spec, ChatSpec)
        reasons: list[str] = []
        for provider in self._order(card.providers):
            if reasons:
                run.put(Restart())
            began = time.monotonic()
            try:
                async for output in self._server(provider).ask(run.spec, run.pictures):
                    run.put(output)
                return
            except Silent as silent:
                reasons.append(f"{provider.name}: {silent}")
                log.warning("chat server %s did not answer: %s", provider.name, silent)
                self._resting[provider.name] = time.monotonic() + silent.again_s
            finally:
                run.charge(time.monotonic() - began)
        raise ModelUnavailable(
            "no chat server answered (" + "; ".join(reasons) + ")",
            "see whether they run, and look at ATELIER_CHAT_PROVIDERS and ATELIER_PROVIDER_KEYS",
        )

    def _order(self, providers: tuple[Provider, ...]) -> list[Provider]:
        """As configured, but those that failed lately last: the next member need not wait too."""
        now = time.monotonic()
        return sorted(providers, key=lambda p: self._resting.get(p.name, 0.0) > now)

    def _server(self, provider: Provider) -> Server:
        from worker.engine.provider import Server  # a second to import: only where configured

        if provider.name not in self._servers:
            key = self._keys.get(provider.name, "")
            self._servers[provider.name] = Server(provider, key, self._timeout_s)
        return self._servers[provider.name]
