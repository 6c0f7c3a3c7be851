"""What a fixed rule does besides refusing: the strike, and the words its member is told.

Only a prompt that the member typed strikes, by a rule of our own lists: no button under what
somebody or a model wrote before the rule knew it. A negative prompt says what must not appear
("child, nude" in one is a precaution, though it is refused). Pictures are judged by estimates, and
an answer is the model's words, not the member's. Where nobody could look at it again there is no
strike: in the local studio, whose one person is owner and operator, in a space of one person by
themselves, and where somebody brought us along to a place that has not installed us. What calls
for help is answered with help, never that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bot.core.dates import date_of
from bot.core.limits import rules_in
from moderation.policy import (
    POLICY_VERSION,
    Policy,
    Surface,
    counted,
    gravest,
    wants_help,
)
from storage import machine
from storage.database import Session
from storage.errors import Refused
from storage.machine import Grounds, Struck
from storage.models import DecisionRecord
from storage.review_words import HOUR_MS
from storage.schema import PERSONAL, Category, Platform, Verdict

if TYPE_CHECKING:
    from bot.core.command import Context


class Striking:
    """The strike of one invocation: at most one, for its prompt."""

    def __init__(self, context: Context, policy: Policy) -> None:
        self._context = context
        self._policy = policy
        self.struck: Struck | None = None
        """What came of it."""

    def on(self, surface: Surface) -> Callable[[Session, DecisionRecord, Verdict], None] | None:
        """What happens with the record of a text of this surface."""
        if surface is not Surface.PROMPT or not self._context.typed:
            return None

        def strike(session: Session, record: DecisionRecord, verdict: Verdict) -> None:
            self.struck = None  # a transaction tried again begins anew
            if not wants_help(verdict):
                self.struck = self._strike(session, record, counted(verdict, surface))

        return strike

    def _strike(self, session: Session, record: DecisionRecord, verdict: Verdict) -> Struck | None:
        context = self._context
        flag = gravest(verdict, self._policy)
        if flag is None or context.actor.workspace.platform == Platform.LOCAL:
            return None
        if flag.category is not Category.CSAE:
            alone = context.address.workspace.startswith(PERSONAL)
            if alone or not context.venue.installed:
                return None
            if Category.CSAE in verdict.categories():
                return None  # sealed by an estimate: no case may show it, so nothing to appeal
        grounds = Grounds(
            code=flag.category, rule=f"{flag.stage}:{flag.detail}", policy=POLICY_VERSION
        )
        return machine.strike(
            session, record, grounds, rules_in(context).review, address=context.address,
            locale=context.texts.locale, verdict=verdict, now=context.services.clock(),
        )  # fmt: skip

    def refusal(self, verdict: Verdict, code: Category) -> Refused:
        """The no, with the strike that came with it, until when it counts and how to appeal."""
        texts, struck = self._context.texts, self.struck
        if struck is None:
            name = texts(f"category.{code}")
            return Refused(
                "prompt_refused", verdict=verdict.public(), category=name, category_code=str(code)
            )
        name = texts(f"category.{struck.code}")
        zone = rules_in(self._context).credits.timezone
        if struck.disabled:
            return Refused(
                "prompt_disabled", verdict=verdict.public(), category=name,
                category_code=struck.code,
            )  # fmt: skip
        told: dict[str, str | int] = {
            "category": name, "category_code": struck.code, "weight": struck.weight,
            "until": date_of(struck.until, zone),
        }  # fmt: skip
        code_said = "prompt_struck" if struck.fresh else "prompt_struck_before"
        if struck.out_until is not None:
            code_said = "prompt_struck_out"
            told["hours"] = -(-(struck.out_until - self._context.services.clock()) // HOUR_MS)
        return Refused(code_said, verdict=verdict.public(), case_id=struck.case_id, **told)
