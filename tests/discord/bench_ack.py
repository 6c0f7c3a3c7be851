"""How soon a command is acknowledged: ``python -m tests.discord.bench_ack [commands]``.

100 commands arrive within one second on one core, each with its real work behind it (core,
database, Valkey, prompt checks); measured from the event to the acknowledgement's call.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import simcord
from simcord import interactions
from simcord.enums import InteractionType

from bot.adapters.discord.app import DiscordClient
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from storage.database import Database
from storage.embedded import EmbeddedValkey
from storage.migrate import migrate
from storage.queue import Wire
from tests.conftest import set_limits
from tests.discord.stage import Stage, StageClock, build_stage
from tests.fakes import make_services


async def main(count: int) -> None:
    """Print one JSON object with the delays in milliseconds."""
    home = Path(tempfile.mkdtemp(prefix="atelier-bench-"))
    valkey = EmbeddedValkey(home / "valkey")
    wire = await Wire.connect(valkey.start())
    database = Database(f"sqlite:///{home / 'bench.db'}")
    migrate(database)
    set_limits(database)
    clock = StageClock()
    services = make_services(database, wire, home, clock=clock)
    await services.prompt_gate.load()
    client = DiscordClient(Core(services, COMMANDS, PRESSES))
    env = simcord.Env(client, settle_timeout=120.0)
    clock.env = env
    await env.start()
    try:
        with env.time_context():
            stage = await build_stage(env, client, services, database)
            delays, total = await burst(stage, count)
            made = len(stage.jobs())
    finally:
        await env.shutdown()
        await wire.close()
        database.close()
        valkey.stop()
        shutil.rmtree(home, ignore_errors=True)
    delays.sort()
    print(
        json.dumps(
            {
                "commands": count,
                "acknowledged": len(delays),
                "p50_ms": round(delays[len(delays) // 2] * 1000, 1),
                "p99_ms": round(delays[min(len(delays) - 1, len(delays) * 99 // 100)] * 1000, 1),
                "max_ms": round(delays[-1] * 1000, 1),
                "all_done_s": round(total, 2),
                "jobs": made,
            }
        )
    )


async def burst(stage: Stage, count: int) -> tuple[list[float], float]:
    """Send the commands evenly over a second; the delay of each acknowledgement."""
    backend: Any = stage.env.backend
    sent: dict[str, float] = {}
    delays: list[float] = []
    adapter: Any = stage.env._webhook_adapter
    call = adapter.request

    async def request(route: Any, session: Any, **kwargs: Any) -> Any:
        if route.path.endswith("/callback"):
            key = str(route.url).split("/interactions/")[1].split("/")[0]
            delays.append(time.perf_counter() - sent[key])
        return await call(route, session, **kwargs)

    adapter.request = request
    members = [stage.guild.add_member(stage.env.create_user(f"m{n}")) for n in range(count)]
    await stage.env.advance_time(8 * 86_400)  # young accounts have no credits yet
    root = backend.find_command("imagine", stage.guild.id, type=1)
    began = time.perf_counter()
    for number, member in enumerate(members):
        while time.perf_counter() < began + number / count:
            await asyncio.sleep(0.001)
        options, _ = interactions.build_options(
            member, "imagine", root, {"prompt": f"apple {number}"}, channel_id=stage.channel.id
        )
        data = {"id": root["id"], "name": "imagine", "type": 1, "options": options}
        record, payload = interactions.base_payload(
            backend, type=InteractionType.APPLICATION_COMMAND, channel_id=stage.channel.id,
            guild_id=stage.guild.id, user_id=member.id, data=data,
        )  # fmt: skip
        sent[str(record.id)] = time.perf_counter()
        backend.emit("INTERACTION_CREATE", payload)
        await asyncio.sleep(0)
    await stage.env.settle(timeout=110)
    return delays, time.perf_counter() - began


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
