"""`atelier moderation learn`: one attempt to learn from a workspace's decisions, now."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from bot.cli.tables import opened, print_json
from moderation.learning.keep import Outcome, learn
from storage import workspaces
from storage.clock import now_ms
from storage.database import Database

EXIT_REFUSED = 1


def run_learn(workspace: str, *, json: bool) -> int:
    """Learn and say what came of it. Raises ``NotFound('workspace_unknown')`` and what
    :func:`moderation.learning.keep.learn` raises; 1 when the public gate refused."""

    def work(database: Database) -> Outcome:
        found = database.read(workspaces.named, workspace)
        return asyncio.run(learn(database, found, now=now_ms()))

    outcome = opened(work)
    if json:
        print_json(
            {"ok": True, "result": outcome.result, "version": outcome.version, **outcome.report}
        )
    else:
        sys.stdout.write(_table(outcome))
    return EXIT_REFUSED if outcome.result == "gate" else 0


_WORDS = {
    "promoted": "promoted: it is better on decisions it has not seen, and the public gate holds",
    "gate": "not promoted: the public gate does not hold with it",
    "no_better": "not promoted: no better than what is in force",
    "few_labels": "not promoted: too few decisions",
    "gone": "not kept: labels were taken back meanwhile; try again",
    "better": "better",
}


def _table(outcome: Outcome) -> str:
    report: dict[str, Any] = outcome.report
    lines = [f"{report['labels']} labels, {report['held_out']} of them only measured on\n"]
    for code, told in sorted(report["codes"].items()):
        learnt, measured = told["learnt"], told["measured"]
        line = f"  {code:6} learnt {learnt[0]}+{learnt[1]}, measured {measured[0]}+{measured[1]}"
        if "mistakes_before" in told:
            line += f", mistakes {told['mistakes_before']} -> {told['mistakes_after']}"
            line += f" (chance {told['chance']:.3f})"
        lines.append(f"{line}: {_WORDS[told['result']]}\n")
        if told.get("gate_failed"):
            lines.append(f"         fails: {', '.join(told['gate_failed'])}\n")
    version = f", version {outcome.version}" if outcome.version else ""
    lines.append(f"{_WORDS[outcome.result]}{version}\n")
    return "".join(lines)
