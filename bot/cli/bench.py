"""`atelier bench`: the bot's own measure, then the worker's benches as a process of their own."""

from __future__ import annotations

import asyncio
import json as jsonlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from bot.acknowledge import TARGET_P99_S, measure
from bot.parts import Broker, worker_env
from bot.root import build_core, build_services, close_services
from bot.settings import BotSettings, load_settings

_BURN = "while True: sum(range(10000))"
"""A worker that never pauses, as far as a processor can tell."""


def run_bench(*, json: bool, markdown: bool, quick: bool, gpu: bool, only: str | None) -> int:
    """Run the benches with this environment's settings; their exit code (1: a target is missed)."""
    told = {"--json": json, "--markdown": markdown, "--quick": quick, "--gpu": gpu}
    flags = [flag for flag, wanted in told.items() if wanted]
    names = _names(only)
    with tempfile.TemporaryDirectory(prefix="atelier-bench-") as folder:
        if not gpu and (names is None or "f" in names):
            more = Path(folder) / "more.json"
            more.write_text(jsonlib.dumps(asyncio.run(_ours(Path(folder), quick=quick))))
            flags += ["--more", str(more)]
        if names is not None:
            rest = ",".join(name for name in names if name != "f")
            flags += ["--only", rest or "none"]
        env = worker_env(load_settings(), "")
        ran = subprocess.run([sys.executable, "-m", "worker.bench", *flags], env=env)
    return ran.returncode


def _names(only: str | None) -> list[str] | None:
    if not only:
        return None
    return only.replace(" ", "").split(",")


async def _ours(folder: Path, *, quick: bool) -> list[dict[str, Any]]:
    """f: acknowledgements while fifty commands arrive in half a second, at rest and under load."""
    from bot.up import migrated

    settings = BotSettings(home=folder / "home", database_url="", redis_url="")
    (settings.home / "log").mkdir(parents=True)
    await asyncio.to_thread(migrated, settings)
    broker = Broker(settings)
    services = await build_services(settings, await broker.start())
    core = build_core(services)
    rounds = 2 if quick else 7
    try:
        await measure(core, commands=10, within_s=0.1)
        rest = [_p99(await measure(core, commands=50, within_s=0.5)) for _ in range(rounds)]
        # One a core: what a saturated worker leaves to the bot.
        burning = await asyncio.to_thread(_burners)
        try:
            load = [_p99(await measure(core, commands=50, within_s=0.5)) for _ in range(rounds)]
        finally:
            for process in burning:
                process.kill()
            await asyncio.to_thread(lambda: [process.wait() for process in burning])
    finally:
        await close_services(services)
        await broker.stop()
    resident = psutil.Process().memory_info().rss / 1e6
    median = sorted(load)[len(load) // 2]
    ratio = median / max(sorted(rest)[len(rest) // 2], 1e-3)
    told = "every command dispatched in full"
    return [
        _measure("f", "acknowledging 50 commands, every core busy, p99", median, "ms",
                 f"<= {TARGET_P99_S * 1000:.0f}", load, told, ratio),
        _measure("mem", "resident memory of the bot", resident, "MB", "", [resident], "", None),
    ]  # fmt: skip


def _burners() -> list[subprocess.Popen[bytes]]:
    cores = psutil.cpu_count() or 1
    return [subprocess.Popen([sys.executable, "-c", _BURN]) for _ in range(cores)]


def _p99(waits: Sequence[float]) -> float:
    return waits[min(len(waits) - 1, round(0.99 * len(waits)))] * 1000


def _measure(
    letter: str, name: str, value: float, unit: str, target: str, values: Sequence[float],
    identity: str, ratio: float | None,
) -> dict[str, Any]:  # fmt: skip
    """A measure in the worker's own words; it renders and counts them all."""
    return {
        "letter": letter, "name": name, "value": value, "unit": unit, "target": target,
        "low": min(values), "high": max(values), "rounds": len(values), "identity": identity,
        "clock": "wall", "also": "" if ratio is None else f"{ratio:.1f} times that at rest",
    }  # fmt: skip
