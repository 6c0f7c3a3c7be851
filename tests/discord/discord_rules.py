"""Rules of Discord that simcord does not play by itself: locales, nonces, lost answers."""

from __future__ import annotations

import json
from typing import Any

from tests.discord.stage import Stage

KEEPS_NONCES_S = 180.0
"""Discord drops a second message with the same nonce "in the past few minutes"."""


def follow_the_rules(stage: Stage) -> None:
    """Patch one environment and its present client; all else stays as simcord made it."""
    backend: Any = stage.env.backend
    emit = backend.emit

    def emitted(name: str, payload: Any, *args: Any, **kwargs: Any) -> Any:
        if name == "INTERACTION_CREATE":
            payload["locale"] = stage.locale
            if "guild_locale" in payload:
                payload["guild_locale"] = stage.guild_locale
            payload |= stage.event
            for message in (payload["data"].get("resolved") or {}).get("messages", {}).values():
                if message.get("flags", 0) & 1 << 15:  # Components V2: discord-api-docs#8277
                    message["attachments"] = []
            stage.events.append(payload)
        return emit(name, payload, *args, **kwargs)

    backend.emit = emitted
    remember_nonces(stage)


def remember_nonces(stage: Stage) -> None:
    """Enforced nonces for the client that is attached now (again after a restart)."""
    http: Any = stage.client.http
    call = http.request

    async def request(route: Any, *, files: Any = None, form: Any = None, **kwargs: Any) -> Any:
        key = None
        if route.method == "POST" and route.path == "/channels/{channel_id}/messages":
            body = kwargs.get("json") or json.loads(form[0]["value"])
            assert body.get("allowed_mentions") == {"parse": []}, "mentions are disabled"
            if body.get("enforce_nonce"):
                assert len(body["nonce"]) <= 25, "Discord takes at most 25 characters"
                key = body["nonce"]  # by its author, whatever the channel
                if key in stage.nonces and stage.env._virtual_time < stage.nonces[key][0]:
                    stage.repeated += 1
                    return stage.nonces[key][1]
        answer = await call(route, files=files, form=form, **kwargs)
        if key is not None:
            stage.nonces[key] = (stage.env._virtual_time + KEEPS_NONCES_S, answer)
        if key is not None and stage.lose_answers:
            stage.lose_answers -= 1
            raise TimeoutError("accepted, and the answer was lost")
        return answer

    http.request = request
