"""Finds a lexicon's terms in a text: Aho-Corasick, word boundaries of each script, exceptions."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from moderation.stages.lexicon import Lexicon, Rule
from moderation.stages.normalise import forms, plain, squeeze

_SHORTEST_SQUEEZED = 3
"""Terms shorter than this when squeezed ("ass" becomes "as") are not looked for that way."""

_TERM, _ALLOWED, _OWN = range(3)


@dataclass(frozen=True, slots=True)
class Hit:
    """One rule found at one place (half-open, in characters) of one form of the text."""

    rule: Rule
    start: int
    end: int
    excused: bool = False
    """Inside a phrase that this workspace allows: no finding by itself, but still a side of a
    pair, so that allowing a word never opens child safety."""


class Matcher:
    """Immutable once built, so any number of threads may use it.

    Building imports ``ahocorasick`` and takes some milliseconds; matching 500 characters takes
    well under one.
    """

    def __init__(self, lexicon: Lexicon, allow: Iterable[str] = ()) -> None:
        """``allow`` are a workspace's own phrases; the lexicon's own excuse altogether."""
        import ahocorasick

        terms: dict[str, list[Rule]] = defaultdict(list)
        squeezed: dict[str, list[Rule]] = defaultdict(list)
        for rule in lexicon.rules:
            for term in rule.terms:
                for key in _spellings(term):
                    terms[key].append(rule)
                    short = squeeze(key)
                    if key.isascii() and key.isalpha() and len(short) >= _SHORTEST_SQUEEZED:
                        squeezed[short].append(rule)
        allowed = {key for phrase in lexicon.allow for key in _spellings(phrase)}
        own = {key for phrase in allow for key in _spellings(phrase)} - allowed
        self._squeezed = dict(squeezed)
        self._patterns = [(re.compile(p), rule) for rule in lexicon.rules for p in rule.patterns]
        self._automaton = ahocorasick.Automaton()
        for key in terms.keys() | allowed | own:
            kind = _ALLOWED if key in allowed else _OWN if key in own else _TERM
            self._automaton.add_word(key, (len(key), kind, tuple(terms.get(key, ()))))
        self._automaton.make_automaton()
        self._empty = not terms and not allowed and not own

    def find(self, text: str) -> list[list[Hit]]:
        """The hits in each form of the text that has any; places count within their form."""
        prepared = forms(text)
        found = [hits for hits in map(self._in_form, prepared.variants) if hits]
        for word in prepared.squeezed:
            hits = [Hit(rule, 0, len(word)) for rule in self._squeezed.get(word, ())]
            if hits:
                found.append(hits)
        return found

    def raw(self, text: str) -> list[Hit]:
        """The hits in the text exactly as it is (lower case expected)."""
        return self._in_form(text)

    def _in_form(self, text: str) -> list[Hit]:
        allowed: list[tuple[int, int]] = []
        own: list[tuple[int, int]] = []
        hits: list[Hit] = []
        for start, end, kind, rules in self._words(text):
            if kind != _TERM:
                (allowed if kind == _ALLOWED else own).append((start, end))
            hits.extend(Hit(rule, start, end) for rule in rules)
        for pattern, rule in self._patterns:
            hits.extend(Hit(rule, *match.span()) for match in pattern.finditer(text))
        if allowed:
            hits = [hit for hit in hits if not _inside(hit, allowed)]
        if own:
            hits = [replace(hit, excused=True) if _inside(hit, own) else hit for hit in hits]
        return hits

    def _words(self, text: str) -> Iterator[tuple[int, int, int, tuple[Rule, ...]]]:
        if self._empty:
            return
        for last, (length, kind, rules) in self._automaton.iter(text):
            start, end = last - length + 1, last + 1
            if _stands_alone(text, start, end):
                yield start, end, kind, rules


def _inside(hit: Hit, spans: list[tuple[int, int]]) -> bool:
    """True when one of the spans, which are in order of their ends, covers the hit."""
    first = bisect_left(spans, hit.end, key=lambda span: span[1])
    # A phrase is short: of the spans that end later, only the next few can begin early enough.
    return any(start <= hit.start for start, _ in spans[first : first + 8])


def _spellings(term: str) -> set[str]:
    """The term as typed and as :func:`plain` leaves it; English-looking words in the plural too."""
    words = {unicodedata.normalize("NFC", term).casefold(), plain(term)}
    for word in tuple(words):
        if word.isascii() and word[-1:].isalpha() and word[-1] not in "sxyz":
            words.add(word + "s")
    return {word for word in words if word.strip()}


def _stands_alone(text: str, start: int, end: int) -> bool:
    """True when a match is not merely a piece of a longer word of its script."""
    before = text[start - 1] if start else " "
    after = text[end] if end < len(text) else " "
    return not _glued(text[start], before, end - start) and not _glued(
        text[end - 1], after, end - start, trailing=True
    )


def _glued(edge: str, neighbour: str, length: int, trailing: bool = False) -> bool:
    """True when ``neighbour`` continues the word that ``edge`` belongs to.

    Chinese, hiragana and Thai write no spaces, so there is no such thing. Katakana words end
    where the katakana ends, but long ones form compounds on their right, as Korean nouns take
    their particles; Arabic nouns take theirs on the left, so only the right side is checked.
    """
    if not neighbour.isalnum() and neighbour not in "_ー":
        return False
    kind, other = _script(edge), _script(neighbour)
    if kind != other or kind == "unspaced":
        return False
    if trailing:
        return not (kind == "hangul" or (kind == "katakana" and length >= 4))
    return kind != "arabic"


def _script(char: str) -> str:
    if char < "\u0590":
        return "spaced"
    if "\u0600" <= char <= "\u06ff":
        return "arabic"
    if "\u30a0" <= char <= "\u30ff":
        return "katakana"
    if "\uac00" <= char <= "\ud7a3":
        return "hangul"
    if "\u0e00" <= char <= "\u0eff" or "\u3040" <= char <= "\u309f" or char >= "\u3400":
        return "unspaced"
    return "spaced"
