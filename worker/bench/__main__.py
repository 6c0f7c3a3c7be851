"""`python -m worker.bench`: what `atelier bench` runs; exit code 1 when a target is missed."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from worker.bench.measure import Measure, settle, table
from worker.settings import WorkerSettings

ORDER = (
    "a",
    "b",
    "b2",
    "c",
    "d",
    "e",
    "g",
    "h",
    "i",
    "j",
    "k",
    "l",
    "m",
    "families",
    "trace",
    "mem",
)


def plan(quick: bool, starter: Path | None) -> tuple[dict[str, Callable[[], list[Measure]]], str]:
    """The measures by letter, and what they are taken on."""
    from worker.bench import delivery, families, pictures, talk, traffic, waking
    from worker.bench.subjects import subjects

    rounds = 3 if quick else 7
    if quick or starter is None:
        it = subjects(None, size=128, steps=2 if quick else 4)
    else:
        it = subjects(starter, size=128, steps=10)
    tokens = 12 if quick else 48
    return {
        "a": lambda: pictures.overhead(it, rounds),
        "b": lambda: pictures.batching(it, 2 if quick else rounds),
        "b2": lambda: pictures.mixed(it),
        "c": lambda: waking.latency(it, 20 if quick else 60, 2 if quick else 9),
        "d": lambda: talk.throughput(it, 2 if quick else rounds, tokens),
        "e": lambda: talk.first_token(it, 2 if quick else rounds),
        "g": lambda: traffic.fairness(*((8, 1) if quick else (20, 7))),
        "h": lambda: pictures.switching(it, 2 if quick else rounds),
        "i": lambda: delivery.moderation(rounds, it, starter, real=not quick),
        "j": lambda: delivery.delivery(rounds),
        "k": lambda: pictures.previews(it, rounds),
        "l": lambda: pictures.cancelling(it, every=3 if quick else 1),
        "m": lambda: pictures.identity(it),
        # Every family costs rounds of its own: not within a minute.
        "families": lambda: [] if quick else families.families(it, rounds),
        "trace": lambda: traffic.two_models(0.5 if quick else 1.0),
        "mem": lambda: pictures.peak_memory(it),
    }, it.name


def run(quick: bool, only: str | None, say: Callable[[str], None]) -> list[Measure]:
    """Takes the measures one after another, telling each when it is there."""
    settings = WorkerSettings()
    starter = settings.models_dir / "starter-icons"
    measures, name = plan(quick, starter if (starter / "model_index.json").exists() else None)
    wanted = _wanted(only, list(measures))
    say(f"on {name}, {'2 to 3 rounds (quick)' if quick else '7 rounds'}, one torch thread")
    found: list[Measure] = []
    for letter in wanted:
        began = time.perf_counter()
        settle()
        taken = measures[letter]()
        found += taken
        for one in taken:
            met = {True: "met", False: "MISSED", None: ""}[one.target_met]
            say(f"{one.letter:6}{one.value:10.3f} {one.unit:6} {one.target:10} {met:7} {one.name}")
        say(f"      {time.perf_counter() - began:.1f} s")
    return found


def _more(path: Path | None, say: Callable[[str], None]) -> list[Measure]:
    """What the bot measured before it started us."""
    if path is None:
        return []
    found = [Measure(**one) for one in json.loads(path.read_text(encoding="utf-8"))]
    for one in found:
        say(f"{one.letter:6}{one.value:10.3f} {one.unit:6} {one.target:10} {one.name} {one.also}")
    return found


def _wanted(only: str | None, known: list[str]) -> list[str]:
    """``abl`` or ``a,b2,trace``: the measures asked for, all without asking."""
    if not only:
        return known
    if only == "none":
        return []
    names = only.replace(" ", "").split(",") if "," in only or only in known else list(only)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"no measure {unknown[0]!r}; there are {', '.join(known)}")
    return names


def main(arguments: list[str] | None = None) -> int:
    """Entry point; the exit code: 0 all targets met, 1 one is missed, 2 bad usage or no GPU."""
    parser = argparse.ArgumentParser(prog="python -m worker.bench", description=__doc__)
    for flag in ("json", "markdown", "quick", "gpu"):
        parser.add_argument(f"--{flag}", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--more", type=Path, help="measures taken elsewhere, to tell beside ours")
    given = parser.parse_args(arguments)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.disable(logging.WARNING)

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    if given.gpu:
        from worker.bench.gpu import checks, refusal

        problem = refusal()
        if problem:
            say(problem)
            if given.json:
                sys.stdout.write(json.dumps({"measures": [], "error": problem}) + "\n")
            return 2
        found = checks(say, quick=given.quick)
    else:
        found = _more(given.more, say) + run(given.quick, given.only, say)
    if given.json:
        sys.stdout.write(json.dumps({"measures": [one.dump() for one in found]}) + "\n")
    elif given.markdown:
        sys.stdout.write(table(found))
    missed = [one for one in found if one.target_met is False]
    if missed:
        say("missed: " + "; ".join(f"{m.letter} {m.name} ({m.value:.3g})" for m in missed))
    return 1 if missed else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
