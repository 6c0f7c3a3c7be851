"""Stage ``text.judge``: the loaded chat model reads our policy, but only for the uncertain.

The heads leave a band in which neither "harmless" nor "certain" holds. There a chat model that is
in memory anyway is asked one question per code, yes or no. Its yes holds and never blocks: it is
an estimate by a general model. Its no changes nothing: verdicts only ever grow harsher.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from moderation.fence import fence
from moderation.policy import DEFAULTS, Surface
from storage.schema import Category, Flag

if TYPE_CHECKING:
    from moderation.pipeline import Content

Complete = Callable[[str, str], str]
"""A system text and a user text, to what the chat model answers. Blocking."""

BAND = (0.2, 0.5)
"""Severity between which the judge is asked: below is harmless, above is held already."""

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
_ANSWER = re.compile(r"\b(yes|no)\b", re.IGNORECASE)


class JudgeStage:
    """Asks about the codes whose head is in the band; ``scores`` gives the heads' severities."""

    name = "text.judge"
    surfaces = frozenset({Surface.PROMPT})
    version = "policy-judge-1"

    def __init__(
        self, complete: Complete, scores: Callable[[str], Mapping[Category, float]]
    ) -> None:
        self._complete = complete
        self._scores = scores

    def load(self) -> None:
        """Nothing of its own: the model is the chat engine's."""

    def check(self, content: Content) -> Sequence[Flag]:
        """A flag at the hold line for each yes. Raises ``ValueError`` on an unclear answer."""
        text = content.text or ""
        low, high = BAND
        asked = [c for c, s in self._scores(text).items() if low <= s < high and c in RULES]
        return [self._flag(code) for code in asked if self._violates(code, text)]

    def _violates(self, code: Category, text: str) -> bool:
        rule, block = fence(text, "a member")
        system = (
            f"You check texts against one rule and answer with the single word yes or no. {rule}"
        )
        answer = self._complete(
            system, f"{block}\nDoes the quoted text violate this rule: it {RULES[code]}? yes or no"
        )
        found = _ANSWER.search(answer)
        if found is None:
            raise ValueError("the judge gave no answer")
        return found[1].casefold() == "yes"

    def _flag(self, code: Category) -> Flag:
        hold = DEFAULTS[code].hold
        score = hold if hold is not None else 0.4
        return Flag(category=code, score=score, stage=self.name, detail="policy judge: yes")
