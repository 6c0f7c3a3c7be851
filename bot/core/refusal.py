"""A no in the language of who reads it. Pure."""

from __future__ import annotations

from bot.core.reply import Reply
from bot.core.texts import Texts


def translated(reply: Reply, texts: Texts) -> Reply:
    """A private no in the language of who asked, whatever the card would have been in. Pure."""
    params = reply.data.get("params")
    if reply.code is None or not isinstance(params, dict) or not texts.has(f"error.{reply.code}"):
        return reply
    if "category_code" in params:
        params = {**params, "category": texts(f"category.{params['category_code']}")}
    title = title_of(reply.code, reply.data["kind"], texts) if reply.title else ""
    return reply.model_copy(update={"text": texts(f"error.{reply.code}", **params), "title": title})


def title_of(code: str, kind: str, texts: Texts) -> str:
    """What a no is headed by: its kind, but whoever is unwell is not told off."""
    return texts("title.help" if code == "self_harm_help" else f"title.{kind}")
