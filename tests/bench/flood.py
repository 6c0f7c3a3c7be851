"""``python -m tests.bench.flood``: 1,000 commands by one member in 10 s, on the starter models.

A real core, Valkey, SQLite file and worker process (``--models`` is a folder that ``atelier
worker prepare`` filled). Six others, three of them in another workspace, ask for small pictures
all the while. Prints what was accepted, the flooder's open jobs and balance, and how long the
others waited for their start, against the bound of shared/RELIABILITY.md section 4.3:
``running job + active members x longest job + slack``.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from sqlmodel import Session, col, select

from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from storage import ledger
from storage.claims import SLACK_MS, count_open
from storage.database import Database
from storage.embedded import EmbeddedValkey
from storage.migrate import migrate
from storage.models import Job, Member, Tier
from storage.queue import Wire
from storage.schema import TERMINAL_STATUSES, JobStatus
from storage.workspaces import account_of
from tests.fakes import FakeAdapter, make_services

COMMANDS_SENT, WITHIN_S, SIDE = 1_000, 10.0, "128x128"


def p95(values: list[int]) -> int:
    return sorted(values)[max(0, -(-len(values) * 95 // 100) - 1)]


async def flood(core: Core, database: Database, lasts_s: float) -> int:
    """Run it; the exit status: 0 when every promise was kept."""
    here = FakeAdapter(core=core, workspace="here")
    there = FakeAdapter(core=core, workspace="there")
    await here.say("help", "flooder")
    flooder = database.read(lambda s: s.exec(select(Member).where(Member.name == "flooder")).one())
    most = database.read(lambda s: s.get_one(Tier, flooder.tier_id)).max_queued
    codes: Counter[str] = Counter()
    open_most, poorest = 0, 10**9

    def look(session: Session) -> tuple[int, int]:
        held = ledger.balance(session, account_of(flooder))
        return count_open(session, member_id=flooder.id), held.available

    async def one(number: int, begin: float) -> None:
        nonlocal open_most, poorest
        await asyncio.sleep(max(0.0, begin + number * WITHIN_S / COMMANDS_SENT - time.monotonic()))
        reply = await here.say(
            "imagine", "flooder", prompt=f"a red apple {number}", size=SIDE, steps=20
        )
        codes[reply.code or "accepted"] += 1
        if reply.code is None:
            opened, left = await database.look(look)
            open_most, poorest = max(open_most, opened), min(poorest, left)

    async def calm(fake: FakeAdapter, name: str, number: int) -> None:
        over = time.monotonic() + lasts_s
        await asyncio.sleep(0.3 * number)
        while time.monotonic() < over:
            await fake.say("imagine", name, prompt=f"a {name} pear", size=SIDE, steps=20)
            await asyncio.sleep(4.0)

    begin = time.monotonic()
    sending = [one(number, begin) for number in range(COMMANDS_SENT)]
    others = [
        calm(fake, f"{fake.workspace}-{number}", number)
        for fake in (here, there)
        for number in range(3)
    ]
    await asyncio.gather(*others, *sending)
    took = time.monotonic() - begin
    while database.read(count_open):
        await asyncio.sleep(0.2)
    jobs = database.read(lambda s: s.exec(select(Job).order_by(col(Job.id))).all())
    done = [job for job in jobs if job.status == JobStatus.SUCCEEDED]
    waits = [job.queued_ms or 0 for job in done if job.member_id != flooder.id and not job.cached]
    longest = max(job.run_ms or 0 for job in done)
    bound = longest + 7 * longest + SLACK_MS
    kept = {
        f"open jobs of the flooder, most: {open_most} (tier: {most})": open_most <= most,
        f"balance, least: {poorest}": poorest >= 0,
        f"ledger: {database.read(ledger.verify)}": database.read(ledger.verify) == [],
        f"others' wait p95: {p95(waits)} ms of {len(waits)} jobs, bound {bound}": p95(waits)
        <= bound,
        f"every job ended: {len(jobs)}": all(job.status in TERMINAL_STATUSES for job in jobs),
    }
    print(f"{COMMANDS_SENT} commands answered in {took:.1f} s: {dict(codes.most_common())}")
    floods = sum(job.member_id == flooder.id for job in jobs)
    middle = sorted(waits)[len(waits) // 2]
    print(f"longest run {longest} ms; others' p50 {middle} ms, max {max(waits)}; floods {floods}")
    for said, good in kept.items():
        print("kept  " if good else "BROKEN", said)
    return 0 if all(kept.values()) else 1


async def main(models: Path, lasts_s: float) -> int:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        valkey = EmbeddedValkey(home / "valkey")
        url = await asyncio.to_thread(valkey.start)
        database = Database(f"sqlite:///{home / 'flood.db'}")
        migrate(database)
        wire = await Wire.connect(url)
        services = make_services(database, wire, home)
        await services.prompt_gate.load()
        (home / "models").symlink_to(models)
        log = (home / "worker.log").open("wb")
        worker = subprocess.Popen(
            [sys.executable, "-m", "worker"], stdout=log, stderr=log,
            env=os.environ | {
                "ATELIER_DATABASE_URL": database.url, "ATELIER_REDIS_URL": url,
                "ATELIER_HOME": str(home),
            },
        )  # fmt: skip
        try:
            while b"worker ready" not in (home / "worker.log").read_bytes():
                if worker.poll() is not None:
                    print((home / "worker.log").read_text()[-2000:])
                    return 2
                await asyncio.sleep(0.2)
            return await flood(Core(services, COMMANDS, PRESSES), database, lasts_s)
        finally:
            worker.terminate()
            await asyncio.to_thread(worker.wait)
            await wire.close()
            database.close()
            await asyncio.to_thread(valkey.stop)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the others ask")
    given = parser.parse_args()
    logging.getLogger("moderation").setLevel(logging.CRITICAL)
    sys.exit(asyncio.run(main(given.models.resolve(), given.seconds)))
