"""Chinese picture prompts for a model that reads English: words looked up, order kept. No model.

``cldr.tsv`` comes from Unicode's character annotations (``build.py``), ``own.tsv`` is ours and
wins. This is no translation: grammar is lost, and what the lists do not know is named, not guessed.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from storage.schema import Frozen

_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_STOPS = {
    "，": ", ",
    "、": ", ",
    "。": ". ",
    "；": ", ",
    "：": ": ",
    "！": " ",
    "？": " ",
    "　": " ",
}
_LONGEST = 8


class Translation(Frozen):
    """The English words, and the Chinese characters nobody knew, in order."""

    text: str
    unknown: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether enough was understood to draw something that was asked for."""
        return bool(self.text) and len(self.unknown) <= max(1, len(self.text.split()))


def is_chinese(text: str) -> bool:
    """Whether a text has Chinese characters."""
    return _CHINESE.search(text) is not None


@cache
def words() -> dict[str, str]:
    """Every Chinese word we know and its English; an empty one means a picture does without."""
    known: dict[str, str] = {}
    for name in ("cldr.tsv", "own.tsv"):
        for line in Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines():
            chinese, _, english = line.partition("\t")
            known[chinese] = english.replace("-", " ")
    return known


def translate(prompt: str) -> Translation:
    """A prompt with its Chinese words looked up, the longest first; the rest stays as it is."""
    known = words()
    out: list[str] = []
    unknown: list[str] = []
    at = 0
    while at < len(prompt):
        if not _CHINESE.match(prompt[at]):
            out.append(_STOPS.get(prompt[at], prompt[at]))
            at += 1
            continue
        for length in range(min(_LONGEST, len(prompt) - at), 0, -1):
            found = known.get(prompt[at : at + length])
            if found is not None:
                out.append(f" {found} ")
                at += length
                break
        else:
            unknown.append(prompt[at])
            at += 1
    text = re.sub(r"\s+", " ", "".join(out))
    text = re.sub(r"\s+([,.:])", r"\1", text).strip(" ,.")
    text = re.sub(r"\ba ((?:very )?[aeiou])", r"an \1", text)
    return Translation(text=text, unknown=tuple(unknown))
