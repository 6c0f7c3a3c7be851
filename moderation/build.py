"""Puts the text stages together: what the bot needs.

The worker's pipeline, which also sees pictures, is in ``moderation.build_output``. Two files,
so that no chain of imports leads from the bot to nudenet and the bot's image stays small.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from moderation.lists import Lists
from moderation.pipeline import Content, Observer, Pipeline, Surface
from moderation.stages.heads import HeadsStage
from moderation.stages.terms import TermsStage
from storage.schema import Flag


def prompt_pipeline(
    timeout_s: float = 10.0, observe: Observer | None = None, *, heads: bool = True
) -> Pipeline:
    """Text only: prompts, negative prompts, names and answers. Loads in half a second.

    A picture given to it is held, because nothing here can see it. ``heads=False`` leaves only
    the word lists, to see what the heads add.
    """
    stages = text_stages()
    return Pipeline(stages if heads else stages[:1], timeout_s=timeout_s, observe=observe)


def text_stages() -> tuple[TermsStage, HeadsStage]:
    """The stages that read text, word lists first."""
    terms = TermsStage()
    return terms, HeadsStage(slurs=terms.slurs)


@cache
def _terms() -> TermsStage:
    return TermsStage()


def rewritten(text: str, lists: Lists) -> str | None:
    """A prompt with protected names described instead, to offer when the names are blocked."""
    return _terms().rewrite(text, lists)


def listed_words(text: str, lists: Lists) -> list[tuple[int, int]]:
    """Where words of the lists stand in a text, to show them to a moderator. Blocking: the first
    call reads the lists."""
    return [(start, end) for start, end, _ in _terms().spots(text, lists)]


def listed(surface: Surface, text: str, lists: Lists) -> Sequence[Flag]:
    """What the built-in and these lists find in one text by itself. Blocking.

    Raises as ``TermsStage.check``.
    """
    return _terms().check(Content(surface, text=text, lists=lists))
