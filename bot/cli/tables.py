"""`atelier jobs`, `models`, `doctor` and `ledger verify`: read, and print a table or JSON."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from bot.cli.make import OWNER
from bot.cli.studio import logging_to
from bot.core.job_card import facts
from bot.instance import make_home, read_instance
from bot.machine import gpu_bytes
from bot.settings import BotSettings, load_settings
from storage import ledger, views
from storage.blobs import Blobs
from storage.clock import now_ms
from storage.database import Database
from storage.presence import is_present
from storage.profiles import PROFILES, profile_for
from storage.schema import JobKind, parse_spec
from storage.workspaces import Actor, enrol

T = TypeVar("T")


def print_json(data: dict[str, Any]) -> None:
    """One object on standard output, and nothing else."""
    sys.stdout.write(jsonlib.dumps(data) + "\n")
    sys.stdout.flush()


def _settings() -> BotSettings:
    settings = load_settings()
    make_home(settings.home)
    instance = read_instance(settings.home)
    if instance is None:
        return settings
    return settings.model_copy(update={"database_url": instance.database_url})


def home_here() -> Path:
    """This studio's state folder."""
    return _settings().home


def blobs_here() -> Blobs:
    """This studio's files."""
    return Blobs(_settings().blobs_dir)


def opened(read: Callable[[Database], T]) -> T:
    """Do something with this studio's database, whether the studio runs or not."""
    return _with_database(_settings(), read)


def _with_database(settings: BotSettings, read: Callable[[Database], T]) -> T:
    from bot.up import migrated

    with logging_to(settings.home, settings.log_level, "cli.log"):
        migrated(settings)
        database = Database(settings.database)
        try:
            return read(database)
        finally:
            database.close()


def _owner(database: Database, settings: BotSettings) -> Actor:
    return database.write(
        enrol, platform=OWNER.platform, workspace=OWNER.workspace,
        workspace_name=OWNER.workspace_name, member=OWNER.member, member_name=OWNER.member_name,
        role=OWNER.role, now=now_ms(), monthly_credits=settings.monthly_credits,
    )  # fmt: skip


def run_jobs(*, json: bool, limit: int) -> int:
    """The newest jobs, newest first."""
    settings = _settings()

    def read(database: Database) -> list[views.JobView]:
        actor = _owner(database, settings)
        return database.read(
            views.history, workspace_id=actor.workspace.id, limit=limit, now=now_ms()
        )

    seen = _with_database(settings, read)
    if json:
        rows = [
            {
                **facts(one),
                "created_at": one.job.created_at,
                "prompt": parse_spec(one.job.spec).prompt,
            }
            for one in seen
        ]
        print_json({"jobs": rows})
        return 0
    if not seen:
        sys.stdout.write('No jobs yet: atelier imagine "a red apple"\n')
        return 0
    console = _console()
    wide = console.width >= 100
    table = Table(box=None)
    for name in ("made", "job", "kind", "status", "cost", *(("took",) if wide else ())):
        table.add_column(name, no_wrap=True)
    table.add_column("prompt")
    for one in seen:
        job = one.job
        made = datetime.fromtimestamp(job.created_at / 1000).strftime("%m-%d %H:%M")
        took = ["" if job.run_ms is None else f"{job.run_ms / 1000:.1f} s"] if wide else []
        cost = "" if job.cost is None else str(job.cost)
        # The prompt has what is left of the line; everything else must be whole to be of use.
        prompt = _plain(_prompt(one), max(8, console.width - (80 if wide else 68)))
        table.add_row(made, job.id, str(job.kind), _word(one), cost, *took, prompt)
    console.print(table)
    return 0


def _word(seen: views.JobView) -> str:
    held = sum(str(made.status) == "held" for made in seen.generations)
    return f"{seen.job.status} ({held} held)" if held else str(seen.job.status)


def _prompt(seen: views.JobView) -> str:
    return parse_spec(seen.job.spec).prompt


def _plain(text: str, most: int = 60) -> str:
    """One line of a member's words, harmless to a terminal and to rich's markup."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = line if len(line) <= most else line[: most - 1] + "…"
    return line.replace("[", "\\[")


def _console() -> Console:
    """A terminal's width, or no limit when another program reads."""
    return Console() if sys.stdout.isatty() else Console(width=200)


def run_models(*, json: bool) -> int:
    """Every model of the registry."""
    settings = load_settings()
    registry = settings.registry
    defaults = (registry.image_default, registry.chat_default, registry.vision_default)
    suggested = profile_for(gpu_bytes())
    rows = [
        {
            "name": card.name, "title": card.title, "kind": str(card.kind), "source": card.source,
            "repo": card.repo, "revision": card.revision, "licence": card.licence,
            "size_bytes": card.size_bytes, "memory_bytes": card.memory_bytes,
            "present": is_present(card, settings.models_dir), "default": card.name in defaults,
        }
        for card in registry.cards.values()
    ]  # fmt: skip
    if json:
        styles = {c.name: [s.name for s in registry.styles_for(c.name)]
                  for c in registry.cards.values() if c.kind is JobKind.IMAGE}  # fmt: skip
        profiles = [p.model_dump(mode="json") | {"suggested": p is suggested} for p in PROFILES]
        print_json({"models": rows, "styles": styles, "profiles": profiles})
        return 0
    table = Table(
        "name", "kind", "here", "size", "memory", "source", "revision", "licence", box=None
    )
    for row in rows:
        here = (
            "yes" if row["present"] else "when first used" if row["source"] == "starter" else "no"
        )
        name = f"{row['name']} *" if row["default"] else str(row["name"])
        table.add_row(
            name, str(row["kind"]), here, _megabytes(row["size_bytes"]),
            _megabytes(row["memory_bytes"]), f"{row['source']}: {row['repo']}",
            str(row["revision"])[:12], str(row["licence"]),
        )  # fmt: skip
    _console().print(table)
    sys.stdout.write("* used when no model is named\n\nFor a GPU of at least that memory:\n")
    fitting = Table("", "pictures", "answers", "weights", "licences", box=None)
    for profile in PROFILES:
        image, chat = profile.image, profile.chat
        fitting.add_row(
            f"{profile.name} <" if profile is suggested else profile.name,
            f"{image.model} ({image.precision})", f"{chat.model} ({chat.precision})",
            f"{profile.total:g} GB" + (" shared" if profile.shared else ""),
            " and ".join(dict.fromkeys((image.licence, chat.licence))),
        )  # fmt: skip
    _console().print(fitting)
    sys.stdout.write(f"< this machine: {suggested.why}\n")
    return 0


def _megabytes(count: Any) -> str:
    if not count:
        return "?"
    return f"{int(count) / 1e6:,.0f} MB" if int(count) >= 500_000 else "< 1 MB"


def run_ledger_verify(*, json: bool) -> int:
    """Replay the ledger; 0 when it is sound, 5 on any drift."""
    settings = _settings()

    def read(database: Database) -> dict[str, Any]:
        with database.transaction(read_only=True) as session:  # one snapshot for everything
            found = ledger.verify(session)
            minted = -ledger.balance(session, ledger.MINT).posted
            spent = ledger.balance(session, ledger.REVENUE).posted
            return {
                "ok": not found,
                "entries": ledger.total_entries(session),
                "granted": minted,
                "spent": spent,
                "with_members": minted - spent,
                "violations": [{"invariant": v.invariant, "where": v.where} for v in found],
            }

    report = _with_database(settings, read)
    if json:
        print_json(report)
    else:
        write = sys.stdout.write
        write(f"{report['entries']} entries replayed\n")
        write(
            f"granted {report['granted']}, spent {report['spent']}, "
            f"with members {report['with_members']}\n"
        )
        for violation in report["violations"]:
            write(f"BROKEN {violation['invariant']}: {violation['where']}\n")
        write("The ledger is sound.\n" if report["ok"] else "The ledger has drifted.\n")
    return 0 if report["ok"] else 5


def run_doctor(*, json: bool) -> int:
    """Every check; 0 when nothing blocks, 5 otherwise."""
    import asyncio

    from bot.doctor import Level, examine

    settings = load_settings()
    found = asyncio.run(examine(settings))
    blocked = any(one.level is Level.BLOCK for one in found)
    if json:
        print_json({"ok": not blocked, "checks": [one.model_dump(mode="json") for one in found]})
        return 5 if blocked else 0
    console = _console()
    marks = {Level.OK: "[green]ok[/green]   ", Level.WARN: "[yellow]note[/yellow] ",
             Level.BLOCK: "[red]BAD[/red]  "}  # fmt: skip
    for one in found:
        line = f"{marks[one.level]}{one.name}: {_plain(one.says, 300)}"
        if one.cure:
            line += f". Cure: {_plain(one.cure, 300)}"
        console.print(line, highlight=False, soft_wrap=True)
    return 5 if blocked else 0
