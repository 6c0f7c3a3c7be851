"""What a worker is told, and what it is not."""

from __future__ import annotations

import os

import pytest

from bot.parts import worker_env
from bot.settings import BotSettings


def test_a_worker_gets_no_platform_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISCORD_TOKEN", "SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "WEB_TOKEN"):
        monkeypatch.setenv(f"ATELIER_{name}", "canary-secret")
    monkeypatch.setenv("ATELIER_MAX_IMAGES", "2")
    told = worker_env(BotSettings(), "redis://:p@127.0.0.1:1/0")
    assert "canary-secret" not in told.values()
    assert told["ATELIER_MAX_IMAGES"] == "2"
    assert told["ATELIER_PARENT_PID"] == str(os.getpid())
