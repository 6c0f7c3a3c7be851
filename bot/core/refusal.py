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
    return reply.model_copy(
        update={
            "text": texts(f"error.{reply.code}", **params),
            "title": texts(f"title.{reply.data['kind']}") if reply.title else "",
        }
    )
