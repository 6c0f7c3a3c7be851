"""Which language a short text is in, by its script and its smallest words. Pure, and no more than
a label: for a moderator's card, and to know whether a translation is worth making."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SCRIPTS: tuple[tuple[str, str], ...] = (
    ("ja", "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9d"),
    ("ko", "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"),
    ("zh", "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"),
    ("ru", "\u0400-\u052f"),
    ("ar", "\u0600-\u06ff\u0750-\u077f"),
    ("he", "\u0590-\u05ff"),
    ("el", "\u0370-\u03ff\u1f00-\u1fff"),
    ("th", "\u0e00-\u0e7f"),
    ("hi", "\u0900-\u097f"),
)
_SHARE = 0.3
"""Of the letters: less is a name or a quotation in another script."""


def _small(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORDS: Mapping[str, frozenset[str]] = {
    "en": _small("the a an of and in on with at is are to from for by this that"),
    "de": _small("der die das und ein eine einer einen mit auf im ist nicht den von zu"),
    "fr": _small("le la les des un une et dans avec sur est du au aux pour qui en"),
    "es": _small("el la los las un una y en con de del sobre es por para que al"),
    "pt": _small("o a os as um uma e em com de do da no na sobre por para que"),
    "it": _small("il lo la gli le un una e in con di del della su per che nel"),
    "nl": _small("de het een en van in op met is aan niet voor te dat"),
    "pl": _small("i w na z do nie się jest to pod nad przy o"),
    "tr": _small("bir ve ile için bu da de çok gibi üzerinde"),
    "vi": _small("một và của trong với là có trên những người"),
}
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]+")
_LEAD = 1
"""By how many small words a language must lead English to be named."""


def language_of(text: str) -> str:
    """A language code of :data:`LANGUAGES`; ``en`` for Latin letters that say nothing else, empty
    for a text without letters."""
    letters = len(_LETTER.findall(text))
    if not letters:
        return ""
    for code, ranges in _SCRIPTS:
        if len(re.findall(f"[{ranges}]", text)) >= _SHARE * letters:
            return code
    words = [word.casefold() for word in _WORD.findall(text)]
    counts = {code: sum(word in small for word in words) for code, small in _WORDS.items()}
    best = max(counts, key=lambda code: counts[code])
    return best if counts[best] >= counts["en"] + _LEAD else "en"


LANGUAGES = tuple(dict.fromkeys([*(code for code, _ in _SCRIPTS), *_WORDS]))
"""Every code that :func:`language_of` can give."""
