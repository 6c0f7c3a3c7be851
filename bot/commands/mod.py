"""`/mod`: what moderators may ask of the filters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field as Option

from bot.core.command import Command, Context
from bot.core.inputs import Input
from bot.core.reply import Field, Reply, Tone, Visibility
from moderation.evaluation.report import severities
from moderation.lists import lists_of
from moderation.pipeline import Content, Surface
from moderation.settings import policy_of
from storage.schema import Category, Outcome, Role

MOST_SHOWN = 8
_TONES = {
    Outcome.ALLOW: Tone.GOOD, Outcome.BLUR: Tone.INFO, Outcome.HOLD: Tone.WARN,
    Outcome.BLOCK: Tone.BAD,
}  # fmt: skip


class ModInput(Input):
    """A text to try."""

    action: Literal["try"] = Option(
        default="try", json_schema_extra={"kind": "choice", "choices": ["try"]}
    )
    text: str = Option(min_length=1, max_length=4000, json_schema_extra={"kind": "long"})


async def mod(context: Context, values: ModInput) -> Reply:
    """Every score of a text against this workspace's thresholds; nothing is kept or run.

    For moderators only: who sees the scores can walk around them.
    """
    texts, settings = context.texts, context.actor.workspace.settings
    policy = policy_of(settings)
    content = Content(Surface.PROMPT, text=values.text, lists=lists_of(settings))
    judged = await context.services.prompt_gate.judge_fully(content, policy)
    scores = severities(judged, policy)

    def line(code: Category) -> Field:
        lines = policy.of(code)
        numbers = [texts("mod.score", score=f"{scores[code]:.2f}")]
        if lines.hold is not None:
            numbers.append(texts("mod.hold", line=lines.hold))
        if lines.block is not None:
            numbers.append(texts("mod.block", line=lines.block))
        rules = sorted(
            {
                f"{flag.stage} {flag.detail} {flag.score:.2f}"
                for flag in judged.verdict.flags
                if flag.category is code
            }
        )
        return Field(
            label=f"{code} · {texts(f'category.{code}')}", value="; ".join([*numbers, *rules])
        )

    worst = sorted(scores, key=lambda code: -scores[code])[:MOST_SHOWN]
    outcome = judged.verdict.outcome
    return Reply(
        title=texts("mod.title"),
        text=texts("mod.text", outcome=texts(f"mod.outcome_{outcome.word}"), ms=round(judged.ms)),
        tone=_TONES[outcome],
        visibility=Visibility.PRIVATE,
        fields=tuple(line(code) for code in worst),
        data={
            **judged.verdict.dump(),
            "severity": {str(code): round(score, 4) for code, score in scores.items()},
            "scores": judged.scores,
        },
    )


MOD = Command(name="mod", input=ModInput, handler=mod, role=Role.MODERATOR)
