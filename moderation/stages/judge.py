"""Stage ``text.judge``: the loaded chat model reads our policy, but only for the uncertain.

The heads leave a band in which neither "harmless" nor "certain" holds. There a chat model that is
in memory anyway is asked once which of the doubtful rules a text breaks. What it names is held and
never blocked: it is an estimate by a general model. Naming nothing changes nothing: verdicts only
ever grow harsher. Where it is configured and cannot be asked, is late or answers anything but the
object asked for, the stage fails and the text is held like after any failed check.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from moderation.fence import fence
from moderation.pipeline import note_score
from moderation.policy import DEFAULTS, Surface
from storage.schema import Category, Flag

if TYPE_CHECKING:
    from moderation.pipeline import Content

Complete = Callable[[str, str], str]
"""A system text and a user text, to what the chat model answers. Blocking; raises if it cannot."""

Scores = Callable[["Content"], Mapping[Category, float]]
"""The heads' severities of a content, where 0.5 is a code's hold line."""

BAND = (0.2, 0.5)
"""Severity between which the judge is asked: below is harmless, above is held already."""

MOST = 3
"""Rules asked about at once, the most suspicious first: small models lose sight of more."""

RULES: Mapping[Category, str] = {
    Category.HATE: "attacks or demeans people for their race, religion, origin, gender, sexual "
    "orientation or disability",
    Category.VIO: "threatens, incites or praises violence against real people",
    Category.SELF: "speaks of the writer's own wish to die or hurt themselves, or asks how to",
    Category.SEX: "asks for sexually explicit content",
    Category.SEXC: "asks for sexual violence or sexual acts without consent",
    Category.ILL: "asks how to commit a crime such as fraud, theft, hacking or drug making",
    Category.WEAP: "asks how to make or obtain weapons or explosives",
    Category.HAR: "insults or bullies a person",
}
_OBJECT = re.compile(r"\{[^{}]{0,400}\}")


class JudgeStage:
    """Asks about the codes whose head is in the band."""

    name = "text.judge"
    surfaces = frozenset({Surface.PROMPT})

    def __init__(self, complete: Complete, scores: Scores, model: str = "") -> None:
        self._complete = complete
        self._scores = scores
        self.version = f"policy-judge-2 {model}".strip()

    def load(self) -> None:
        """Nothing of its own: the model is the chat engine's."""

    def asked(self, content: Content) -> list[Category]:
        """The codes it would be asked about, the most suspicious first; usually none."""
        low, high = BAND
        found = {c: s for c, s in self._scores(content).items() if low <= s < high and c in RULES}
        return sorted(found, key=lambda code: (-found[code], code))[:MOST]

    def check(self, content: Content) -> Sequence[Flag]:
        """A flag at the hold line for each rule it names. Raises ``ValueError`` on an unclear
        answer, and whatever the model raises."""
        asked = self.asked(content)
        if not asked:
            return []
        system, user = question(content.text or "", asked)
        named = read(self._complete(system, user), asked)
        for code in asked:
            note_score(f"{self.name}/{code}", float(code in named))
        return [self._flag(code) for code in sorted(named)]

    def _flag(self, code: Category) -> Flag:
        hold = DEFAULTS[code].hold
        score = hold if hold is not None else 0.4
        return Flag(category=code, score=score, stage=self.name, detail="policy judge: yes")


def question(text: str, asked: Sequence[Category]) -> tuple[str, str]:
    """The system and user turns: the rules, and the text fenced so that it cannot give orders."""
    rule, block = fence(text, "a member")
    rules = "\n".join(f"{code}: it {RULES[code]}" for code in asked)
    names = ", ".join(f'"{code}"' for code in asked)
    system = (
        "You check a quoted text against rules. Answer with one JSON object and nothing else: "
        f'{{"breaks": [...]}}, where the list holds the names of the rules it breaks, out of '
        f"{names}, and is empty when it breaks none. {rule}"
    )
    return system, f"Rules:\n{rules}\n\n{block}\n\nWhich of the rules does the quoted text break?"


def read(answer: str, asked: Sequence[Category]) -> set[Category]:
    """The codes an answer names. Raises ``ValueError`` on anything but the object asked for."""
    found = _OBJECT.search(answer)
    if found is None:
        raise ValueError("the judge gave no answer")
    try:
        named = json.loads(found[0]).get("breaks")
    except (ValueError, AttributeError) as error:
        raise ValueError("the judge gave no answer") from error
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise ValueError("the judge gave no list")
    known = {str(code): code for code in asked}
    if not set(named) <= known.keys():
        raise ValueError("the judge named a rule it was not asked about")
    return {known[name] for name in named}
