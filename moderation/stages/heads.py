"""Stage ``text.heads``: what a text means, estimated by small trained heads, without a network.

Each head's score is put on the policy's scale by its own lines, fixed when it was trained: the
logit that so many of a thousand harmless texts exceed becomes the default *hold* line of its code,
and so on in straight pieces. What a head may do is bounded here and in the policy: hate, threats,
crime, weapons and insults are held at most; explicit sexual text and jailbreaks may be blocked;
self-harm calls for the help card. A listed slur and the hate head together block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from moderation.pipeline import note_score
from moderation.policy import Surface
from storage.schema import Category, Flag

if TYPE_CHECKING:
    from moderation.heads.local import LocalHeads
    from moderation.heads.model import Heads, Lines
    from moderation.pipeline import Content

NOTE = 0.35
"""Scores from here on become flags; lower ones are only recorded."""

SCALE: Mapping[Category, tuple[float, float, float]] = {
    # code: score at the head's hold line, at its block line, and the most it may say
    Category.HATE: (0.5, 0.7, 0.85),
    Category.HAR: (0.8, 0.9, 0.95),
    Category.SELF: (0.4, 0.6, 0.75),
    Category.SEX: (0.5, 0.7, 0.95),
    Category.SEXC: (0.4, 0.5, 0.59),
    Category.VIO: (0.5, 0.7, 0.85),
    Category.ILL: (0.5, 0.7, 0.85),
    Category.WEAP: (0.5, 0.6, 0.69),
    Category.PII: (0.9, 0.95, 0.95),
    Category.INJ: (0.5, 0.8, 0.95),
}

ON_ANSWERS = frozenset({Category.HATE, Category.SEX, Category.SEXC})
"""The heads learnt from what people type; of what a model answers only these are asked."""


class HeadsStage:
    """Flags of the heads; ``slurs`` says whether a listed slur stands in a text."""

    name = "text.heads"
    surfaces = frozenset({Surface.PROMPT, Surface.NAME, Surface.ANSWER})

    def __init__(self, slurs: Callable[[str], bool] | None = None) -> None:
        self._slurs = slurs
        self._lock = threading.Lock()
        self._heads: Heads | None = None
        self._local: Mapping[str, LocalHeads] = {}

    @property
    def version(self) -> str:
        """The first digits of the weights' hash; empty before they are read."""
        return self._heads.version if self._heads is not None else ""

    def version_for(self, content: Content) -> str:
        """The version with which this content is judged: its workspace may have heads of its own,
        which are named after the shipped ones."""
        own = self._local.get(content.workspace_id)
        return f"{self.version}+{own.version}" if own is not None else self.version

    def learn(self, local: Mapping[str, LocalHeads]) -> None:
        """Take what workspaces learnt (by their ids), instead of what was known before."""
        self._local = dict(local)

    def load(self) -> None:
        """Read the weights (2 MB) and the embedding model (72 MB, shared by all processes)."""
        self._loaded()

    def _loaded(self) -> Heads:
        with self._lock:
            if self._heads is None:
                from moderation.heads.model import shared

                self._heads = shared()
            return self._heads

    def scores(self, text: str, workspace_id: str = "") -> dict[Category, float]:
        """Every head's score for a text on the policy's scale, 0 to 1, in a workspace."""
        heads, own = self._loaded(), self._local.get(workspace_id)
        reading = heads.read(text)
        return scaled(reading.logits if own is None else own.logits(reading), heads.lines)

    def check(self, content: Content) -> Sequence[Flag]:
        """The findings from ``NOTE`` on; everything measured goes into the decision record."""
        text = content.text or ""
        scores = self.scores(text, content.workspace_id)
        for code, score in scores.items():
            note_score(f"{self.name}/{code}", score)
        answer = content.surface is Surface.ANSWER
        found = {
            code: score
            for code, score in scores.items()
            if score >= NOTE and (not answer or code in ON_ANSWERS)
        }
        flags = [
            Flag(category=code, score=score, stage=self.name, detail="head")
            for code, score in found.items()
        ]
        hate = found.get(Category.HATE, 0.0)
        if hate >= SCALE[Category.HATE][0] and self._slurs is not None and self._slurs(text):
            flags.append(
                Flag(
                    category=Category.HATE, score=0.95, stage="text.agreed", detail="head and list"
                )
            )
        return flags


def scaled(
    logits: Mapping[Category, float], lines: Mapping[Category, Lines]
) -> dict[Category, float]:
    """Logits of every head as scores on the policy's scale."""
    return {
        code: on_policy_scale(logit, lines[code], *SCALE[code]) for code, logit in logits.items()
    }


def on_policy_scale(logit: float, lines: Lines, hold: float, block: float, most: float) -> float:
    """A logit as a score: ``lines.hold`` becomes ``hold`` and ``lines.block`` becomes ``block``.

    Rises throughout; below the floor it runs to 0 and above the block line to ``most``.
    """
    import math

    if logit < lines.floor:
        return NOTE * hold * math.exp(max(-40.0, logit - lines.floor))
    if logit < lines.hold:
        share = (logit - lines.floor) / (lines.hold - lines.floor)
        return NOTE * hold + share * (hold - NOTE * hold)
    if logit < lines.block:
        return hold + (logit - lines.hold) / (lines.block - lines.hold) * (block - hold)
    return most - (most - block) * math.exp(lines.block - logit)
