"""One attempt to learn: is the new head better on held-out decisions, and does the gate hold?

A code is tried when it has enough labels of both kinds on both sides of the split. Its new head is
taken when, on the held-out labels, it makes fewer mistakes at the hold line than the head in
force, by more than chance would (exact McNemar test, one-sided), and when the public gate holds
with it. Everything that was measured is in the report, promoted or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderation.evaluation import gate
from moderation.evaluation.figures import auprc
from moderation.heads.local import Correction, LocalHeads, digest
from moderation.heads.model import Heads, Lines
from moderation.learning.fit import fit
from moderation.learning.split import Label, held_out
from moderation.pipeline import Pipeline
from moderation.stages.heads import HeadsStage
from moderation.stages.terms import TermsStage
from storage.schema import Category

LEAST_LEARNT, LEAST_HELD = 12, 6
"""Labels of each kind (violates, does not) needed to learn from and to measure on, per code."""

CHANCE = 0.05
"""How likely chance alone may make the new head look so much better."""

_WHO = "candidate"
"""The workspace that the gate is asked as."""


@dataclass(frozen=True)
class Attempt:
    """What came of it. ``heads`` is ``None`` when nothing is promoted."""

    heads: LocalHeads | None
    report: dict[str, Any] = field(default_factory=dict)


async def attempt(labels: Sequence[Label], heads: Heads, before: LocalHeads | None) -> Attempt:
    """Learn from a workspace's labels; ``before`` are its heads in force."""
    old = dict(before.codes) if before is not None else {}
    sides = held_out(labels)
    readings = [heads.read(label.text) for label in labels]
    report: dict[str, Any] = {
        "labels": len(labels), "held_out": sum(sides), "codes": {}, "promoted": [],
    }  # fmt: skip
    fresh = dict(old)
    for place, code in enumerate(heads.codes):
        rows = [i for i, label in enumerate(labels) if label.of(code) is not None]
        if not rows:
            continue
        truth = np.array([float(labels[i].of(code) or 0) for i in rows])
        held = np.array([sides[i] for i in rows])
        told = _counts(truth, held)
        report["codes"][str(code)] = told
        if min(told["learnt"]) < LEAST_LEARNT or min(told["measured"]) < LEAST_HELD:
            told["result"] = "few_labels"
            continue
        vectors = np.stack([readings[i].vector for i in rows]).astype(np.float64)
        shipped = np.array([readings[i].logits[code] for i in rows])
        new = fit(vectors[~held], shipped[~held], truth[~held], place, heads.lines[code].hold)
        now = [
            old[code].logit(code, s, v) if code in old else s
            for s, v in zip(shipped[held], vectors[held], strict=True)
        ]
        then = [new.logit(code, s, v) for s, v in zip(shipped[held], vectors[held], strict=True)]
        told |= compared(truth[held], np.array(now), np.array(then), heads.lines[code])
        if told["result"] == "better":
            fresh[code] = new
    better = [code for code in fresh if fresh[code] is not old.get(code)]
    if not better:
        report["result"] = "few_labels" if _only_few(report) else "no_better"
        return Attempt(None, report)
    return await _past_the_gate(fresh, old, better, report)


def _counts(truth: NDArray[Any], held: NDArray[Any]) -> dict[str, Any]:
    """``learnt`` and ``measured``: how many violate and how many do not, on each side."""
    bad = truth > 0
    return {
        "learnt": [int((bad & ~held).sum()), int((~bad & ~held).sum())],
        "measured": [int((bad & held).sum()), int((~bad & held).sum())],
    }


def _only_few(report: dict[str, Any]) -> bool:
    return all(told["result"] == "few_labels" for told in report["codes"].values())


def compared(
    truth: NDArray[Any], now: NDArray[Any], then: NDArray[Any], lines: Lines
) -> dict[str, Any]:
    """The head in force and the new one on the same held-out labels, at the hold line."""
    bad = truth > 0
    wrong_now, wrong_then = (now >= lines.hold) != bad, (then >= lines.hold) != bad
    mended, broken = int((wrong_now & ~wrong_then).sum()), int((~wrong_now & wrong_then).sum())
    chance = mcnemar(mended, broken)
    labels = [int(value) for value in bad]
    return {
        "mistakes_before": int(wrong_now.sum()), "mistakes_after": int(wrong_then.sum()),
        "mended": mended, "broken": broken, "chance": round(chance, 4),
        "auprc_before": auprc(labels, now.tolist()), "auprc_after": auprc(labels, then.tolist()),
        "result": "better" if mended > broken and chance <= CHANCE else "no_better",
    }  # fmt: skip


def mcnemar(mended: int, broken: int) -> float:
    """The chance that of so many changed decisions at least ``mended`` are for the better when
    either way is equally likely (McNemar's test, exact and one-sided); 1 when nothing changed."""
    n = mended + broken
    if n == 0:
        return 1.0
    return float(sum(math.comb(n, k) for k in range(mended, n + 1)) / 2**n)


async def _past_the_gate(
    fresh: dict[Category, Correction],
    old: dict[Category, Correction],
    better: list[Category],
    report: dict[str, Any],
) -> Attempt:
    """Promote what the public gate lets through: all of it, else code by code."""
    terms = TermsStage()
    stage = HeadsStage(slurs=terms.slurs)
    pipeline = Pipeline([terms, stage], timeout_s=60.0)

    async def stands(codes: dict[Category, Correction]) -> dict[str, float]:
        stage.learn({_WHO: LocalHeads(codes)} if codes else {})
        return await gate.figures(pipeline, _WHO)

    before = await stands(old)
    report["gate_before"] = before
    kept = dict(old)
    # The surest first; each is added to what has passed.
    for code in sorted(better, key=lambda c: (report["codes"][str(c)]["chance"], c)):
        found = await stands({**kept, code: fresh[code]})
        told = report["codes"][str(code)]
        told["gate"] = found
        failed = gate.worse(found, before)
        if failed:
            told["result"], told["gate_failed"] = "gate", failed
        else:
            told["result"], kept[code] = "promoted", fresh[code]
    promoted = [code for code in better if report["codes"][str(code)]["result"] == "promoted"]
    report["promoted"] = sorted(map(str, promoted))
    report["result"] = "promoted" if promoted else "gate"
    if not promoted:
        return Attempt(None, report)
    made = LocalHeads(kept)
    return Attempt(LocalHeads(kept, digest(made.dump())), report)
