"""Stage ``text.terms``: curated word lists, pairs of words and a few patterns, on undone text.

It finds explicit sexual words, slurs, weapon and self-harm instructions and crude jailbreaks. It
does not understand intent, and most prompts that lead to a bad picture hold no bad word: the
check of the picture is the main control, this one is the cheap first gate.

A flag's ``detail`` is the id of the rule, for moderators. The matched words are nowhere in it,
so that no reply, log or notice can echo them.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from moderation.lists import EMPTY, IpMode, Lists
from moderation.policy import LOCKED, OWN_LIST, Surface
from moderation.stages.lexicon import Lexicon, Pair, built_in
from storage.schema import Category, Flag

if TYPE_CHECKING:
    from moderation.pipeline import Content
    from moderation.stages.matcher import Hit, Matcher

MINOR = "minor"
"""The group of words and ages that mean a minor."""

SEXUAL = "sexual"
"""The group of sexual words."""

KEPT = 32
"""Workspaces whose compiled lists are kept."""

NEVER_EXCUSED = LOCKED | {Category.REAL}
"""Codes whose words a workspace's allow list cannot excuse."""

MAX_CHARS = 100_000
"""Longer texts raise, so they are held: far above any limit on prompts, and half a second."""


class TermsStage:
    """The lists of ``moderation/data``, or any other lexicon (``read`` is called in ``load``)."""

    name = "text.terms"
    surfaces = frozenset(Surface)

    def __init__(self, read: Callable[[], Lexicon] = built_in) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._lexicon: Lexicon | None = None
        self._ready: dict[Lists, tuple[Matcher, tuple[Pair, ...]]] = {}

    def load(self) -> None:
        """Read the lists and build the automaton. Raises ``ImportError``, ``OSError`` and
        ``ValueError`` (broken data)."""
        self._loaded()

    def _loaded(self, lists: Lists = EMPTY) -> tuple[Matcher, tuple[Pair, ...]]:
        """The matcher of a workspace; built once (10,000 words take 0.1 s) and kept a while."""
        with self._lock:
            known = self._ready.get(lists)
            if known is None:
                from moderation.stages.matcher import Matcher

                if self._lexicon is None:
                    self._lexicon = self._read()
                whole = self._lexicon | lists.lexicon()
                known = Matcher(whole, lists.allow), whole.pairs
                while len(self._ready) >= KEPT:
                    self._ready.pop(next(iter(self._ready)))
            else:
                del self._ready[lists]  # so that the last used are kept
            self._ready[lists] = known
            return known

    def check(self, content: Content) -> Sequence[Flag]:
        """One flag per rule found; at most one per rule however often it matched.

        Raises ``TimeoutError`` when one of the workspace's patterns takes too long, which holds.
        """
        matcher, pairs = self._loaded(content.lists)
        text = content.text or ""
        if len(text) > MAX_CHARS:
            raise ValueError("text too long to judge")
        own = matcher.find(text)
        found: dict[tuple[Category, str], float] = {}
        for hits in own:
            for rule in {hit.rule for hit in hits if _counts(hit)}:
                if rule.category is not None:
                    found[rule.category, rule.id] = rule.score
            for pair in pairs:
                if _near(hits, pair):
                    # A name that the workspace listed makes no finding of ours, which could strike.
                    ours = [hit for hit in hits if not hit.rule.id.startswith(OWN_LIST)]
                    by = "" if _near(ours, pair) else OWN_LIST
                    found[pair.category, by + pair.id] = pair.score
        self._across(matcher, own, content.context, pairs, found)
        self._patterns(text, content.lists, found)
        return [
            Flag(category=category, score=score, stage=self.name, detail=rule_id)
            for (category, rule_id), score in found.items()
            if not (category is Category.IP and content.lists.ip_mode is IpMode.ALLOW)
        ]

    def _patterns(self, text: str, lists: Lists, found: dict[tuple[Category, str], float]) -> None:
        """The workspace's own regular expressions, on every form of the text."""
        if not lists.patterns:
            return
        from moderation.stages.limits import spans
        from moderation.stages.normalise import forms

        variants = [text, *forms(text).variants]
        for entry in lists.patterns:
            if any(spans(entry.pattern, variant, most=1) for variant in variants):
                found[entry.category, f"list.{entry.name}"] = entry.score

    def mentions_sex(self, text: str) -> bool:
        """True when the text holds any sexual word (for checks of the picture)."""
        matcher, _ = self._loaded()
        return SEXUAL in _groups(matcher.find(text))

    def slurs(self, text: str) -> bool:
        """Whether a listed slur stands in the text (for heads, which may not block alone)."""
        matcher, _ = self._loaded()
        return any(
            hit.rule.category is Category.HATE for hits in matcher.find(text) for hit in hits
        )

    def rewrite(self, text: str, lists: Lists = EMPTY) -> str | None:
        """The text with protected names described instead; ``None`` when there is nothing to
        offer. Works on the text as typed, so a name hidden by look-alikes gets no offer."""
        matcher, _ = self._loaded(lists)
        raw = text.casefold()
        if len(raw) != len(text):
            return None
        spots = [hit for hit in matcher.raw(raw) if hit.rule.rewrite]
        parts: list[str] = []
        last = 0
        for hit in sorted(spots, key=lambda h: (h.start, -h.end)):
            if hit.start >= last:
                parts += [text[last : hit.start], hit.rule.rewrite]
                last = hit.end
        return "".join([*parts, text[last:]]) if parts else None

    def _across(
        self,
        matcher: Matcher,
        own: list[list[Hit]],
        context: Iterable[str],
        pairs: tuple[Pair, ...],
        found: dict[tuple[Category, str], float],
    ) -> None:
        """Child safety looks across texts: one side here and the other in the context."""
        mine = _groups(own)
        if not mine:
            return
        around = _groups(hits for text in context for hits in matcher.find(text))
        for pair in pairs:
            if pair.category is not Category.CSAE:
                continue
            if (pair.left in mine and pair.right in around) or (
                pair.right in mine and pair.left in around
            ):
                found[pair.category, pair.id + ".across"] = pair.score

    def spots(self, text: str, lists: Lists = EMPTY) -> list[tuple[int, int, Category]]:
        """Where listed words stand in the text as typed, for a moderator's eye: half-open, in
        order, none overlapping. Words hidden by look-alikes have no place and are left out."""
        matcher, _ = self._loaded(lists)
        raw = text.casefold()
        if len(raw) != len(text) or len(text) > MAX_CHARS:
            return []
        hits = [h for h in matcher.raw(raw) if h.rule.category is not None and _counts(h)]
        found: list[tuple[int, int, Category]] = []
        for hit in sorted(hits, key=lambda h: (h.start, -h.end)):
            if hit.rule.category is not None and (not found or hit.start >= found[-1][1]):
                found.append((hit.start, hit.end, hit.rule.category))
        return found

    def mentions_minor(self, text: str) -> bool:
        """True when the text names a minor or an age below 18 (for checks of the picture)."""
        matcher, _ = self._loaded()
        return MINOR in _groups(matcher.find(text))


def _counts(hit: Hit) -> bool:
    """A workspace's allowed phrase excuses what it may loosen, nothing else."""
    return not hit.excused or hit.rule.category in NEVER_EXCUSED


def _groups(found: Iterable[list[Hit]]) -> set[str]:
    return {group for hits in found for hit in hits for group in hit.rule.groups}


def _near(hits: list[Hit], pair: Pair) -> bool:
    """True when a hit of each group begin at most ``near`` characters apart, in either order."""
    rights = sorted(hit.start for hit in hits if pair.right in hit.rule.groups)
    for hit in hits:
        if rights and pair.left in hit.rule.groups:
            # By bisection: a text of ten thousand hits must not take a hundred million steps.
            first = bisect_left(rights, hit.start - pair.near)
            if first < len(rights) and rights[first] <= hit.start + pair.near:
                return True
    return False
