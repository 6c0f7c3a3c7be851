"""One server that speaks the OpenAI protocol: a spec in, pieces of an answer out.

Keys and what a server says go into no log line and no error: some servers quote the key they
refuse, and an answer nobody has judged belongs nowhere.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Mapping
from typing import Any

import openai
from PIL import Image

from storage.providers import Provider
from storage.schema import ChatSpec
from worker.engine.outputs import Answer, Text
from worker.engine.stops import Stop

CONNECT_S = 5.0
REST_S = 20.0
"""How long a server that failed is asked last."""
MOST_REST_S = 300.0
"""Longest Retry-After that is believed."""
CHARS_PER_TOKEN = 4
"""For servers that do not say what they used: the usual ratio of English text."""
_LONGEST_SIDE = 1024
"""Pictures are sent no larger than this, in pixels."""


class Silent(Exception):
    """A server did not answer; ``again_s`` is how long to leave it alone, in seconds."""

    def __init__(self, why: str, again_s: float = REST_S) -> None:
        super().__init__(why)
        self.again_s = again_s


class Server:
    """A provider with its connection. ``timeout_s`` is its longest silence."""

    def __init__(self, provider: Provider, key: str, timeout_s: float) -> None:
        self.provider = provider
        self._timeout_s = timeout_s
        self._client = openai.AsyncOpenAI(
            base_url=provider.url,
            api_key=key or "none",  # the library insists; servers of one's own take any
            max_retries=0,  # asking the next one is our retry
            timeout=openai.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)),
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def ask(
        self, spec: ChatSpec, pictures: Mapping[str, Image.Image]
    ) -> AsyncIterator[Text | Answer]:
        """The answer piece by piece, then its end. Raises :class:`Silent`, perhaps midway."""
        stop = Stop(spec.stop)
        text, used, finish = "", None, ""
        stream, options = await self._open(spec, await asyncio.to_thread(messages, spec, pictures))
        try:
            while (chunk := await self._next(stream)) is not None:
                used = chunk.usage or used
                for choice in chunk.choices[:1]:
                    piece = stop.push(choice.delta.content or "")
                    finish = choice.finish_reason or finish
                    text += piece
                    if piece:
                        yield Text(piece)
                if stop.hit:
                    break
        finally:
            await stream.close()
        if not (finish or stop.hit):
            raise Silent("it broke off")
        rest = "" if stop.hit else stop.close()
        text += rest
        if rest:
            yield Text(rest)
        said = {"length": "length", "stop": "end"}.get(finish, finish)
        read = sum(len(turn.text) for turn in spec.turns) // CHARS_PER_TOKEN
        yield Answer(
            text,
            used.prompt_tokens if used else read,
            used.completion_tokens if used else max(1, len(text) // CHARS_PER_TOKEN),
            self._recipe(spec, "stop" if stop.hit else said, options, counted=used is not None),
        )

    async def _open(self, spec: ChatSpec, said: list[dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
        """The stream, and the options the server took.

        A server that refuses an option it does not know is asked again with the bare minimum:
        the protocol is one, its dialects are many.
        """
        full = {
            "max_tokens": spec.max_tokens, "temperature": spec.temperature,
            "seed": spec.seed % 2**31, "stream_options": {"include_usage": True},
        }  # fmt: skip
        if spec.stop:
            full["stop"] = list(spec.stop[:4])
        if spec.repetition_penalty != 1.0:
            full["extra_body"] = {"repetition_penalty": spec.repetition_penalty}
        for options in (full, {"max_completion_tokens": spec.max_tokens}):
            try:
                async with asyncio.timeout(self._timeout_s):
                    # Options differ by server: the overloads of the library know only OpenAI's.
                    create: Any = self._client.chat.completions.create
                    stream = await create(
                        model=self.provider.model, messages=said, stream=True, **options
                    )
                return stream, options
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if options is not full:
                    raise Silent(f"it refused with {error.status_code}") from None
            except openai.APIStatusError as error:
                raise Silent(f"it said {error.status_code}", _patience(error)) from None
            except (openai.APIConnectionError, TimeoutError) as error:
                slow = isinstance(error, openai.APITimeoutError | TimeoutError)
                raise Silent("it was silent" if slow else "it could not be reached") from None
        raise AssertionError("not reached")

    async def _next(self, stream: Any) -> Any:
        """The next chunk, or None at the end."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await anext(stream, None)
        except (TimeoutError, openai.APITimeoutError):
            raise Silent("it fell silent") from None
        except (openai.OpenAIError, ValueError):
            raise Silent("it broke off") from None

    def _recipe(
        self, spec: ChatSpec, finish: str, options: dict[str, Any], *, counted: bool
    ) -> dict[str, Any]:
        return {
            "kind": str(spec.kind),
            "model": self.provider.model,
            "provider": self.provider.name,
            "turns": [turn.model_dump() for turn in spec.turns],
            "max_tokens": spec.max_tokens,
            "temperature": spec.temperature if "temperature" in options else None,
            "stop": list(spec.stop),
            "seed": spec.seed,
            "seed_sent": "seed" in options,
            "finish": finish,
            "grade": "provider",  # no promise of ours: it may change its model any day
            "usage_counted": counted,
        }


def _patience(error: openai.APIStatusError) -> float:
    """Seconds a server asked to be left alone, within reason."""
    try:
        return min(MOST_REST_S, max(1.0, float(error.response.headers["retry-after"])))
    except (KeyError, ValueError):
        # A wrong key or an unknown model mends itself no sooner.
        return MOST_REST_S if error.status_code in (401, 403, 404) else REST_S


def messages(spec: ChatSpec, pictures: Mapping[str, Image.Image]) -> list[dict[str, Any]]:
    """The conversation in the protocol's shape; pictures stand before the last question."""
    said: list[dict[str, Any]] = [{"role": t.role, "content": t.text} for t in spec.turns]
    if spec.images:
        shown = [
            {"type": "image_url", "image_url": {"url": _data_url(pictures[source.blob])}}
            for source in spec.images
        ]
        said[-1]["content"] = [*shown, {"type": "text", "text": spec.turns[-1].text}]
    return said


def _data_url(image: Image.Image) -> str:
    """A picture as the protocol carries it: small, without what its file said about its maker."""
    small = image.convert("RGB")
    small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
