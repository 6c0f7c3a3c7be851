"""The statement of reasons of a restriction, with the field names of the EU Transparency Database.

Article 17 of the Digital Services Act says what it must hold; the words a member reads are made
from it by the front ends (``category.*``, ``rule.*``). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from moderation.policy import POLICY_VERSION
from storage.schema import Category, Millis, Outcome

_VISIBILITY = {
    Outcome.BLUR: "DECISION_VISIBILITY_CONTENT_LABELLED",
    Outcome.HOLD: "DECISION_VISIBILITY_CONTENT_DISABLED",
    Outcome.BLOCK: "DECISION_VISIBILITY_CONTENT_REMOVED",
}
_CATEGORY = {
    Category.CSAE: "STATEMENT_CATEGORY_PROTECTION_OF_MINORS",
    Category.REAL: "STATEMENT_CATEGORY_NON_CONSENSUAL_BEHAVIOUR",
    Category.SEX: "STATEMENT_CATEGORY_PORNOGRAPHY_OR_SEXUALIZED_CONTENT",
    Category.SEXC: "STATEMENT_CATEGORY_NON_CONSENSUAL_BEHAVIOUR",
    Category.VIO: "STATEMENT_CATEGORY_VIOLENCE",
    Category.GORE: "STATEMENT_CATEGORY_VIOLENCE",
    Category.HATE: "STATEMENT_CATEGORY_ILLEGAL_OR_HARMFUL_SPEECH",
    Category.HAR: "STATEMENT_CATEGORY_CYBER_VIOLENCE",
    Category.SELF: "STATEMENT_CATEGORY_SELF_HARM",
    Category.ILL: "STATEMENT_CATEGORY_SCAMS_AND_FRAUD",
    Category.WEAP: "STATEMENT_CATEGORY_RISK_FOR_PUBLIC_SECURITY",
    Category.PII: "STATEMENT_CATEGORY_DATA_PROTECTION_AND_PRIVACY_VIOLATIONS",
    Category.IP: "STATEMENT_CATEGORY_INTELLECTUAL_PROPERTY_INFRINGEMENTS",
    Category.INJ: "STATEMENT_CATEGORY_SCOPE_OF_PLATFORM_SERVICE",
    Category.FAULT: "STATEMENT_CATEGORY_SCOPE_OF_PLATFORM_SERVICE",
}


def statement(
    outcome: Outcome,
    codes: Iterable[Category],
    *,
    picture: bool,
    now: Millis,
    automated: bool = True,
    reported: bool = False,
) -> dict[str, Any] | None:
    """What was done and why; ``None`` when nothing was restricted.

    ``codes`` are those that led to the outcome, the first one first. ``automated`` is false when
    a person decided.
    """
    if outcome not in _VISIBILITY:
        return None
    named = list(dict.fromkeys(codes)) or [Category.FAULT]
    at = datetime.fromtimestamp(now / 1000, tz=UTC).date().isoformat()
    return {
        "decision_visibility": [_VISIBILITY[outcome]],
        "decision_ground": "DECISION_GROUND_INCOMPATIBLE_CONTENT",
        "incompatible_content_ground": f"Atelier policy {POLICY_VERSION}, code {named[0]}",
        "incompatible_content_explanation": f"rule.{named[0]}",
        "category": _CATEGORY[named[0]],
        "category_addition": sorted({_CATEGORY[c] for c in named[1:]} - {_CATEGORY[named[0]]}),
        "content_type": ["CONTENT_TYPE_SYNTHETIC_MEDIA" if picture else "CONTENT_TYPE_TEXT"],
        "content_date": at,
        "application_date": at,
        "source_type": "SOURCE_ARTICLE_16" if reported else "SOURCE_VOLUNTARY",
        "automated_detection": "No" if reported else "Yes",
        "automated_decision": "AUTOMATED_DECISION_FULLY" if automated
        else "AUTOMATED_DECISION_NOT_AUTOMATED",
        "redress": ["appeal to this workspace's moderators within six months"],
    }  # fmt: skip
