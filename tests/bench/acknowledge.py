"""`taskset -c 0 python -m tests.bench.acknowledge`: 100 commands in one second, on one core.

Prints p50, p99 and the largest wait: for the core alone, and for Slack's own library over a
socket, where the wait is from sending the envelope to its acknowledgement.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from bot.acknowledge import TARGET_P99_S, measure, percentile
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.services import Services
from storage.database import Database
from storage.embedded import EmbeddedValkey
from storage.migrate import migrate
from storage.queue import Wire
from tests.conftest import set_limits
from tests.drivers.slack_driver import driving
from tests.fakes import make_services
from tests.slack.person import Person


async def over_slack(services: Services, commands: int, within_s: float) -> list[float]:
    async with driving(services) as slack:
        slack.server.unlimited = True

        async def one(number: int) -> float:
            await asyncio.sleep(number * within_s / commands)
            person = Person(slack.server, f"U{number:04}", "C1")
            payload = {
                "command": "/imagine", "text": f"a red apple {number}", "user_id": person.id,
                "user_name": person.id, "team_id": "T0000WORK", "channel_id": "C1",
                "channel_name": "general", "trigger_id": slack.server.trigger(),
                "response_url": slack.server.response_url(), "api_app_id": "A1",
            }  # fmt: skip
            return await slack.server.push("slash_commands", payload)

        waits = await asyncio.gather(*(one(number) for number in range(commands)))
        await slack._quiet()
    return sorted(waits)


async def main(commands: int = 100, within_s: float = 1.0) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        valkey = EmbeddedValkey(home / "valkey")
        url = valkey.start()
        for name in ("core", "slack"):
            database = Database(f"sqlite:///{home / name}.db")
            migrate(database)
            wire = await Wire.connect(url)
            services = make_services(database, wire, home / name)
            await services.prompt_gate.load()
            set_limits(database)
            if name == "core":
                waits = await measure(
                    Core(services, COMMANDS, PRESSES), commands=commands, within_s=within_s
                )
            else:
                waits = await over_slack(services, commands, within_s)
            p50, p99 = percentile(waits, 0.5) * 1000, percentile(waits, 0.99) * 1000
            print(
                f"{name}: {commands} commands in {within_s:g} s: p50 {p50:.1f} ms, "
                f"p99 {p99:.1f} ms, most {waits[-1] * 1000:.1f} ms "
                f"(promised {TARGET_P99_S * 1000:.0f})"
            )
            await wire.close()
            database.close()
        valkey.stop()


if __name__ == "__main__":
    asyncio.run(main())
