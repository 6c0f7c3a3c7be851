"""What a run yields: plain values, free of torch, that the worker checks, stores and announces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image


@dataclass(frozen=True, slots=True)
class Progress:
    """A denoising step was made.

    ``index`` is the picture within its job (0 to count - 1), ``step`` counts from 1 to ``steps``.
    ``preview`` is an unchecked small picture (RGB, longest side at most 128 pixels) every few
    steps, else None: it must pass moderation before anyone sees it.
    """

    index: int
    step: int
    steps: int
    preview: Image.Image | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished, unchecked picture.

    ``image`` is RGB at the size asked for; ``sha256`` is the hex digest of its raw uint8 pixels,
    row by row (:func:`worker.engine.runners.pixels.digest`), and is also in ``recipe``.
    """

    index: int
    image: Image.Image
    seed: int
    recipe: dict[str, Any]
    sha256: str


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of an answer to append to the pieces before; never half a UTF-8 character."""

    text: str


@dataclass(frozen=True, slots=True)
class Restart:
    """The answer begins anew: what was written before this is void (its server went away)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of an answer. ``text`` is the join of all :class:`Text` pieces since the last
    :class:`Restart`, exactly.

    ``tokens_in`` counts the prompt after truncation, ``tokens_out`` the tokens made, the closing
    mark included.
    """

    text: str
    tokens_in: int
    tokens_out: int
    recipe: dict[str, Any]


Output = Progress | Picture | Text | Restart | Answer
