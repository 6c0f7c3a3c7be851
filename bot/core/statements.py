"""What the owner is told about a ruling: the statement of reasons, in their language. Pure.

It says what was restricted, which rule it rests on and in which words, whether a machine or a
person decided, what it cost, and how to have it looked at again (DSA Art. 17).
"""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.reply import Button, Tone, Verb
from bot.core.texts import Texts
from storage.review import nothing_left
from storage.review_words import AGAINST, Ruling
from storage.schema import CaseStatus
from storage.views import JobView, RulingView


@dataclass(frozen=True)
class Told:
    """The words and buttons for a card; empty text when there is nothing to say."""

    title: str = ""
    text: str = ""
    tone: Tone = Tone.INFO
    buttons: tuple[Button, ...] = ()


def statement(seen: JobView, texts: Texts) -> Told:
    """The newest ruling's statement; several pictures give one paragraph each."""
    numbered = len(seen.generations) > 1
    parts, buttons = [], []
    title, tone = "", Tone.INFO
    # Of several pictures those that were shown stay paid; with nothing left all is given back.
    paid = 0 if nothing_left(seen.generations) else seen.job.cost or 0
    for made in seen.generations:
        ruling = seen.rulings.get(made.id)
        if ruling is None:
            continue
        said = _sentence(ruling, paid, texts)
        if not said:
            continue
        parts.append(f"**{made.index + 1}.** {said}" if numbered else said)
        if tone is not Tone.WARN:  # one that is not shown names the card, whatever comes after
            title, tone = _title(ruling, texts)
        if ruling.appealable:
            label = texts("button.appeal")
            if numbered:
                label = f"{label} {made.index + 1}"
            buttons.append(Button(verb=Verb.APPEAL, target=ruling.case_id, label=label))
    return Told(title=title, text="\n\n".join(parts), tone=tone, buttons=tuple(buttons))


def _title(ruling: RulingView, texts: Texts) -> tuple[str, Tone]:
    if ruling.hidden:
        return texts("status.held"), Tone.WARN
    if ruling.by_rule and ruling.upheld is False:
        return texts("ruling.cleared_title"), Tone.GOOD
    if ruling.status == CaseStatus.APPEALED:
        return texts("ruling.appealed_title"), Tone.INFO
    if ruling.action in AGAINST and ruling.upheld is not False:
        if ruling.by_rule:
            return texts("ruling.refused_title"), Tone.WARN
        return texts("ruling.denied_title"), Tone.WARN
    if ruling.question:
        return texts("ruling.asked_title"), Tone.WARN
    return texts("status.succeeded"), Tone.GOOD


def _sentence(ruling: RulingView, cost: int, texts: Texts) -> str:
    if ruling.hidden:
        return texts("ruling.hidden")
    if ruling.question:
        return texts("ruling.asked", question=ruling.question)
    if ruling.upheld is False:
        return texts("ruling.cleared" if ruling.by_rule else "ruling.overturned")
    if ruling.action not in AGAINST:
        return texts("ruling.approved") if ruling.action else ""
    said = [
        texts(
            "ruling.refused" if ruling.by_rule else "ruling.denied",
            category=texts(f"category.{ruling.code}"),
            code=ruling.code,
        ),
        texts(f"rule.{ruling.code}"),
    ]
    if ruling.note:
        said.append(texts("ruling.note", note=ruling.note))
    if ruling.action == Ruling.DENY_STRIKE:
        said.append(texts("ruling.struck"))
    if ruling.action == Ruling.BAN:
        said.append(texts("ruling.banned"))
    said.append(texts("ruling.by_rule" if ruling.by_rule else "ruling.by_person"))
    said.append(texts("ruling.cost_rest", n=cost) if cost else texts("ruling.cost"))
    if ruling.status == CaseStatus.APPEALED:
        said.append(texts("ruling.appeal_waits"))
    elif ruling.upheld is True:
        said.append(texts("ruling.upheld"))
    elif ruling.appealable:
        said.append(texts("ruling.appeal"))
    return " ".join(said)
