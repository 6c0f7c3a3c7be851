"""`atelier bench`: starts the worker's benches as a process of its own (the bot has no engine)."""

from __future__ import annotations

import subprocess
import sys

from bot.parts import worker_env
from bot.settings import load_settings


def run_bench(*, json: bool, markdown: bool, quick: bool, gpu: bool, only: str | None) -> int:
    """Run the benches with this environment's settings; their exit code (1: a target is missed)."""
    told = {"--json": json, "--markdown": markdown, "--quick": quick, "--gpu": gpu}
    flags = [flag for flag, wanted in told.items() if wanted]
    if only:
        flags += ["--only", only]
    env = worker_env(load_settings(), "")
    return subprocess.run([sys.executable, "-m", "worker.bench", *flags], env=env).returncode
