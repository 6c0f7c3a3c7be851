"""The operator's settings: three places, the line that is wrong, its cure, never a secret."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bot.settings import BotSettings
from storage.errors import OperatorError
from storage.setting_names import BOT, WORKER
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


def test_each_process_knows_the_other_s_names() -> None:
    """Both read one file; the lists are by hand because bot and worker never meet."""
    shared = set(StorageSettings.model_fields)
    assert set(BotSettings.model_fields) - shared == BOT
    assert set(WorkerSettings.model_fields) - shared == WORKER


WRONG_NAMES = [
    (".env", f"# tokens\nATELIER_DISCORD_TOKN={SECRET}\n", ".env, line 2",
     "ATELIER_DISCORD_TOKEN"),
    (".env", "POSTGRES_PASSWORD=x\nexport ATELEIR_WEB_PORT=1\n", ".env, line 2",
     "ATELIER_WEB_PORT"),
    (".env", "ATELIER_COFFEE_MAKER_BRAND=x\n", ".env, line 1", ""),
    ("atelier.toml", 'web_port = 1\nmax_imges = 2\n', "atelier.toml, line 2", "max_images"),
    ("atelier.toml", 'ATELIER_WEB_PORT = 1\n', "atelier.toml, line 1", "web_port"),
    ("atelier.toml", "[coffee]\ncups = 1\n", "atelier.toml, line 1", ""),
]  # fmt: skip


@pytest.mark.parametrize(("file", "text", "place", "nearest"), WRONG_NAMES)
@pytest.mark.parametrize("kind", [BotSettings, WorkerSettings])
def test_a_misspelt_name_in_our_files_stops_the_start_with_line_and_cure(
    folder: Path, kind: type[StorageSettings], file: str, text: str, place: str, nearest: str
) -> None:
    (folder / file).write_text(text)
    said = wrong(kind)
    assert said.problem.startswith(f"{place}: there is no setting ")
    assert f"did you mean {nearest}?" in said.cure if nearest else "remove" in said.cure


def test_the_other_process_s_settings_and_other_programs_are_no_mistake(folder: Path) -> None:
    (folder / ".env").write_text("POSTGRES_PASSWORD=x\nCOMPOSE_PROFILES=gpu\nATELIER_DEVICE=cpu\n")
    (folder / "atelier.toml").write_text('web_port = 1\nmax_images = 2\nhome = "var"\n')
    assert read_settings(BotSettings).web_port == 1
    assert read_settings(WorkerSettings).max_images == 2


def test_a_misspelt_name_in_the_environment_is_said_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ATELIER_SLACK_BOT_TOCKEN", SECRET)
    with caplog.at_level(logging.WARNING):
        read_settings(BotSettings)
    assert "ATELIER_SLACK_BOT_TOCKEN in the environment" in caplog.text
    assert "did you mean ATELIER_SLACK_BOT_TOKEN?" in caplog.text and SECRET not in caplog.text
