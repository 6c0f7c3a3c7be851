"""The operator's settings: three places, the line that is wrong, its cure, never a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.settings import BotSettings
from storage.errors import OperatorError
from storage.settings import StorageSettings, read_settings
from worker.settings import WorkerSettings

SECRET = "xoxb-canary-canary"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("WEB_PORT", "LOG_LEVEL", "MAX_IMAGES"):
        monkeypatch.delenv(f"ATELIER_{name}", raising=False)
    return tmp_path


def wrong(kind: type[StorageSettings] = BotSettings, **overrides: object) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        read_settings(kind, **overrides)
    assert SECRET not in str(caught.value)
    assert caught.value.cure and caught.value.__cause__ is None
    return caught.value


def test_a_file_an_env_file_and_the_environment_in_this_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "atelier.toml").write_text('web_port = 1111\nlog_level = "DEBUG"\n')
    assert read_settings(BotSettings).web_port == 1111
    (folder / ".env").write_text("ATELIER_WEB_PORT=2222\n")
    assert read_settings(BotSettings).web_port == 2222
    monkeypatch.setenv("ATELIER_WEB_PORT", "3333")
    found = read_settings(BotSettings)
    assert (found.web_port, found.log_level) == (3333, "DEBUG")
    assert read_settings(BotSettings, web_port=4444).web_port == 4444


def test_what_is_wrong_is_named_with_its_line_and_cure(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml, env = folder / "atelier.toml", folder / ".env"
    toml.write_text(f'slack_bot_token = "{SECRET}"\n\nweb_port = "many"\n')
    assert wrong().problem.startswith("atelier.toml, line 3: ATELIER_WEB_PORT is not usable")
    toml.write_text("web_port = 1\nmax_images = 0\n")
    assert "atelier.toml, line 2" in wrong(WorkerSettings).problem
    env.write_text(f"ATELIER_SLACK_BOT_TOKEN={SECRET}\n# a remark\nATELIER_LOG_LEVEL={SECRET}\n")
    assert wrong().problem.startswith(".env, line 3: ATELIER_LOG_LEVEL")
    monkeypatch.setenv("ATELIER_LOG_LEVEL", SECRET)
    assert wrong().problem.startswith("the environment: ATELIER_LOG_LEVEL")
    toml.write_text(f"web_port = 1\nslack_bot_token = {SECRET}\n")
    said = wrong()
    assert "line 2" in said.problem and "quotes" in said.cure
