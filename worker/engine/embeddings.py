"""What prompts are encoded to, kept within a number of bytes: the least recently used go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

BYTES = 64_000_000
"""About 400 prompts of SDXL, 40 of a long-context encoder."""


class Embeddings:
    """A bounded cache of conditions (tensors by name) by text; one a loaded model.

    ``told(hit)`` hears of every look. The tensors must not be changed afterwards. Used on the
    engine thread only.
    """

    def __init__(self, bytes: int = BYTES, told: Callable[[bool], None] | None = None) -> None:
        self._limit = bytes
        self._told = told
        self._kept: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self.size = 0
        """Bytes kept."""

    def get(self, text: str) -> Any | None:
        """What was put for ``text``, if it is still kept."""
        found = self._kept.get(text)
        if self._told is not None:
            self._told(found is not None)
        if found is None:
            return None
        self._kept.move_to_end(text)
        return found[0]

    def put(self, text: str, condition: Any) -> None:
        """Keeps a condition, and forgets as many old ones as it needs room for."""
        size = sum(t.numel() * t.element_size() for t in condition.values())
        if size > self._limit:
            return
        self._forget(text)
        while self._kept and self.size + size > self._limit:
            self._forget(next(iter(self._kept)))
        self._kept[text] = (condition, size)
        self.size += size

    def _forget(self, text: str) -> None:
        found = self._kept.pop(text, None)
        if found is not None:
            self.size -= found[1]
