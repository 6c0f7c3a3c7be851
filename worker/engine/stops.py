"""Where an answer ends before its model thinks so. Pure: no I/O, no tensor."""

from __future__ import annotations

from collections.abc import Sequence


class Stop:
    """Ends a text before the first of some strings, holding back what may become one of them."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = [s for s in strings if s]
        self._held = ""
        self.hit = False

    def push(self, piece: str) -> str:
        """The part of the text so far that is certain; ``hit`` is set once a string was met."""
        if self.hit:
            return ""
        self._held += piece
        met = [at for s in self._strings if (at := self._held.find(s)) >= 0]
        if met:
            self.hit = True
            out, self._held = self._held[: min(met)], ""
            return out
        keep = max((_overlap(self._held, s) for s in self._strings), default=0)
        out = self._held[: len(self._held) - keep]
        self._held = self._held[len(out) :]
        return out

    def close(self) -> str:
        """What was held back at the end of a text that met none of them."""
        out, self._held = self._held, ""
        return out


def _overlap(text: str, string: str) -> int:
    """Length of the longest end of ``text`` that is a proper beginning of ``string``."""
    for length in range(min(len(text), len(string) - 1), 0, -1):
        if text.endswith(string[:length]):
            return length
    return 0
