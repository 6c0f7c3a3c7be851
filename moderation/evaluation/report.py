"""Runs the text stages over labelled records and sums up: per set, per code, per language."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from moderation.evaluation.figures import auprc, bootstrap, recall_at, reliability, wilson
from moderation.evaluation.labelled import Labelled
from moderation.pipeline import Content, Judgement, Pipeline
from moderation.policy import HELP_FROM, Policy, Surface, wants_help
from storage.schema import Category, Outcome, Verdict


@dataclass(slots=True)
class Judged:
    """One record with what the filters made of it."""

    record: Labelled
    outcome: Outcome
    flagged: bool
    """Not simply allowed: held, blocked or answered with the help card."""
    score: float
    """0 to 1: 0.5 is some code's hold line, 0.9 its block line."""
    codes: dict[Category, float] = field(default_factory=dict)
    """The same per code."""


def severity(code: Category, score: float, policy: Policy) -> float:
    """A code's score where its hold line is 0.5 and its block line 0.9, so that codes compare.

    A code that only blocks counts from there; one without lines stays below 0.5.
    """
    lines = policy.of(code)
    hold = HELP_FROM if code is Category.SELF else lines.hold
    block = lines.block
    if hold is None and block is None:
        return 0.4 * score
    if hold is None or (block is not None and block < hold):
        hold = block if block is not None else 1.0
    if score < hold:
        return 0.5 * score / hold if hold > 0 else 0.5
    top = block if block is not None and block > hold else 1.0
    if score < top or top >= 1.0:
        return 0.5 + 0.4 * (score - hold) / max(top - hold, 1e-9)
    return 0.9 + 0.1 * (score - top) / max(1.0 - top, 1e-9)


def severities(judgement: Judgement, policy: Policy) -> dict[Category, float]:
    """Each code's severity, from the flags and from what heads measured below their lines."""
    worst: dict[Category, float] = {}

    def see(code: Category, score: float) -> None:
        worst[code] = max(worst.get(code, 0.0), severity(code, score, policy))

    for flag in judgement.verdict.flags:
        see(flag.category, flag.score)
    for name, score in judgement.scores.items():
        stage, _, code = name.partition("/")
        if stage == "text.heads" and code in frozenset(Category):
            see(Category(code), score)
    return worst


async def judge_all(
    pipeline: Pipeline,
    records: Iterable[Labelled],
    policy: Policy,
    tell: Callable[[int], None] | None = None,
    workspace_id: str = "",
) -> list[Judged]:
    """Judge every record as a prompt (or an answer); ``tell`` hears how many are done.

    ``workspace_id``: whose own heads judge, where it has some.
    """
    done = []
    for record in records:
        surface = Surface.ANSWER if record.answer else Surface.PROMPT
        content = Content(surface, text=record.text, workspace_id=workspace_id)
        judgement = await pipeline.judge_fully(content, policy)
        codes = severities(judgement, policy)
        verdict: Verdict = judgement.verdict
        done.append(
            Judged(
                record=record, outcome=verdict.outcome,
                flagged=verdict.outcome >= Outcome.HOLD or wants_help(verdict),
                score=min(1.0, max(codes.values(), default=0.0)), codes=codes,
            )
        )  # fmt: skip
        if tell is not None and len(done) % 100 == 0:
            tell(len(done))
    return done


def figures(judged: list[Judged], *, intervals: bool = True) -> dict[str, Any]:
    """The figures of one set. Shares are 0 to 1; ``None`` where there is nothing to divide by."""
    fine = [j for j in judged if j.record.label == 0]
    bad = [j for j in judged if j.record.label == 1]
    known = fine + bad
    labels, scores = [j.record.label for j in known], [j.score for j in known]
    report: dict[str, Any] = {
        "n": len(judged), "n_fine": len(fine), "n_violating": len(bad),
        "n_unlabelled": len(judged) - len(known),
        "false_positive_rate": _share(fine, _flagged), "recall": _share(bad, _flagged),
        "auprc": auprc(labels, scores), "recall_at_1pct_fpr": recall_at(labels, scores),
        "block_rate_fine": _share(fine, _blocked), "block_rate_violating": _share(bad, _blocked),
        "flagged_unlabelled": _share([j for j in judged if j.record.label < 0], _flagged),
    }  # fmt: skip
    if intervals:
        report["intervals"] = {
            "false_positive_rate": wilson(sum(map(_flagged, fine)), len(fine)) if fine else None,
            "recall": wilson(sum(map(_flagged, bad)), len(bad)) if bad else None,
            "auprc": bootstrap(labels, scores),
        }
        report["reliability"] = reliability(labels, scores)
    return report


def by_code(judged: list[Judged]) -> dict[str, Any]:
    """Per code that records name: is it found at all, by its own score, and where it is fine."""
    fine = [j for j in judged if j.record.label == 0]
    named = sorted({code for j in judged for code in j.record.codes})
    table: dict[str, Any] = {}
    for code in named:
        bad = [j for j in judged if code in j.record.codes]
        labels = [0] * len(fine) + [1] * len(bad)
        scores = [j.codes.get(code, 0.0) for j in (*fine, *bad)]
        table[str(code)] = {
            "n": len(bad), "recall": _share(bad, _flagged),
            "recall_by_its_own_code": _share(bad, lambda j, c=code: j.codes.get(c, 0.0) >= 0.5),  # type: ignore[misc]
            "false_positive_rate": _share(fine, lambda j, c=code: j.codes.get(c, 0.0) >= 0.5),  # type: ignore[misc]
            "recall_at_1pct_fpr": recall_at(labels, scores), "auprc": auprc(labels, scores),
        }  # fmt: skip
    return table


def by_language(judged: list[Judged]) -> dict[str, Any]:
    """Per language, when there is more than one."""
    langs = sorted({j.record.lang for j in judged})
    if len(langs) < 2:
        return {}
    return {
        lang: figures([j for j in judged if j.record.lang == lang], intervals=False)
        for lang in langs
    }


def by_kind(judged: list[Judged]) -> dict[str, Any]:
    """Flagged and blocked share per kind of text (HateCheck's functionalities, say)."""
    kinds = sorted({j.record.kind for j in judged if j.record.kind})
    if not 1 < len(kinds) <= 60:
        return {}
    table = {}
    for kind in kinds:
        own = [j for j in judged if j.record.kind == kind]
        table[kind] = {
            "n": len(own), "flagged": _share(own, _flagged), "blocked": _share(own, _blocked),
        }  # fmt: skip
    return table


def whole(judged: list[Judged]) -> dict[str, Any]:
    """Everything about one set."""
    return {
        **figures(judged), "codes": by_code(judged), "languages": by_language(judged),
        "kinds": by_kind(judged),
    }  # fmt: skip


def _flagged(judged: Judged) -> bool:
    return judged.flagged


def _blocked(judged: Judged) -> bool:
    return judged.outcome is Outcome.BLOCK


def _share(items: list[Judged], test: Callable[[Judged], bool]) -> float | None:
    return sum(map(test, items)) / len(items) if items else None
