"""A text file somebody attached, read, judged and cut into passages with their vectors.

Blocking work runs in threads, a passage at a time, so that nobody's command waits for a long file.
"""

from __future__ import annotations

import asyncio
import unicodedata
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from bot.core.attachment import Attachment
from bot.core.inputs import clean_text, is_blank
from moderation.lists import lists_of
from moderation.pipeline import Content, Surface
from moderation.policy import counted, reasons
from moderation.record import About
from moderation.settings import policy_of
from storage import embedding
from storage.chunking import passages
from storage.documents import MOST_BYTES, PASSAGE_TOKENS, Piece
from storage.errors import BadInput, Refused
from storage.schema import Category, Outcome

if TYPE_CHECKING:
    from bot.core.command import Context

NAME_MAX = 80
_SUFFIXES = frozenset({".md", ".markdown", ".txt", ".text"})


def name_of(attachment: Attachment, wanted: str) -> str:
    """What the document is called: as asked for, else the file's own name without its path.

    Raises ``BadInput('document_format')`` for a file that does not end like a text.
    """
    given = clean_text(attachment.name.replace("\\", "/")) if attachment.name else ""
    last = PurePosixPath(given).name
    if last and PurePosixPath(last).suffix.lower() not in _SUFFIXES:
        raise BadInput("document_format")
    found = " ".join((wanted or last).split())[:NAME_MAX]
    if is_blank(found):
        raise BadInput("option_missing", option="document")
    return found


def text_of(data: bytes) -> str:
    """The file's text. Raises ``BadInput``: ``document_large``, ``document_format``,
    ``document_empty``."""
    if len(data) > MOST_BYTES:
        raise BadInput("document_large", limit=MOST_BYTES // 1024)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput("document_format") from error
    if any(unicodedata.category(char) == "Cc" and char not in "\n\r\t\f" for char in text):
        raise BadInput("document_format")  # a picture or a program called .txt
    text = clean_text(text.replace("\r\n", "\n").replace("\f", "\n\n"))
    if is_blank(text):
        raise BadInput("document_empty")
    return text


async def cut(text: str) -> list[str]:
    """The passages of a text."""
    return await asyncio.to_thread(passages, text, PASSAGE_TOKENS, embedding.tokens)


async def judged(context: Context, texts: list[str], *, name: str) -> list[str]:
    """The passages that may be stored; what a moderator would have to look at is left out.

    Raises ``Refused`` when the name (``document_name_refused``) or any passage
    (``document_refused``, which says where) is against the rules.
    """
    settings = context.actor.workspace.settings
    policy, lists = policy_of(settings), lists_of(settings)
    space, member = context.actor.workspace, context.actor.member
    about = About(space.id, member.id, key=context.key)
    clean = []
    for part, text in enumerate((name, *texts)):
        content = Content(
            surface=Surface.NAME if part == 0 else Surface.PROMPT, text=text, lists=lists,
            workspace_id=space.id,
        )  # fmt: skip
        verdict = await context.services.recorder.judge(
            context.services.prompt_gate, content, policy, about, keep_allowed=False
        )
        if verdict.outcome is Outcome.BLOCK or (part == 0 and not verdict.allowed):
            codes = reasons(counted(verdict, content.surface), policy)
            category = context.texts(f"category.{codes[0] if codes else Category.FAULT}")
            if part == 0:
                raise Refused("document_name_refused", verdict=verdict.public(), category=category)
            raise Refused(
                "document_refused", verdict=verdict.public(), category=category, part=part,
                parts=len(texts),
            )  # fmt: skip
        if part and verdict.allowed:
            clean.append(text)
    return clean


async def embedded(texts: list[str]) -> list[Piece]:
    """Each passage with its vector."""
    return [Piece(text, await asyncio.to_thread(embedding.embed_passage, text)) for text in texts]
