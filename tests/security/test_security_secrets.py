"""Row 14: canary secrets pushed through every way to the logs, and none of them arrives."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from bot.cli.studio import logging_to
from bot.core.command import Handle
from bot.core.services import Services
from bot.settings import BotSettings
from storage.redact import Redacting, redact
from tests.fakes import FakeAdapter

# Built from pieces, so that no scanner takes this file for a leak.
DISCORD = "M" + "TA4" * 8 + "." + "Gabcde" + "." + "x" * 38
INTERACTION = "aW50ZXJhY3Rpb246" + "CANARY0123456789" * 4
SLACK = "xo" + "xb-123456789012-CANARYCANARY"
APP = "xa" + "pp-1-A012-CANARYCANARY"
LINES = {
    "bot header": f"Authorization: Bot {DISCORD}",
    "bot token alone": f"login with {DISCORD} failed",
    "callback": f"POST https://discord.com/api/v10/interactions/123/{INTERACTION}/callback has 204",
    "webhook": f"PATCH /webhooks/99/{INTERACTION}/messages/@original",
    "payload": f'{{"type": 2, "token": "{INTERACTION}", "id": "1"}}',
    "slack bot": f"auth.test with {SLACK}",
    "slack app": f"apps.connections.open {APP}",
    "slack form": f"token={SLACK}&team_id=T1",
    "slack hook": "POST https://hooks.slack.com/commands/T0/1/CANARYcanary12345",
    "slack old hook": "https://hooks.slack.com/services/T0/B0/CANARYcanary12345",
    "signature": "X-Slack-Signature: v0=CANARYa2114d57b48eac39b9ad189dd8316235a7b4",
    "bearer": "Authorization: Bearer CANARY.abcdefghijklmnop",
    "database": "postgresql+psycopg://atelier:CANARYpassword@db/atelier",
    "redis": "redis://:CANARYpassword@localhost:6379/0",
    "setting": "ATELIER_SLACK_SIGNING_SECRET=CANARYcanary1234",
    "dict": "{'password': 'CANARYcanary1234'}",
    "key": "api_key: CANARYcanary1234",
}


@pytest.mark.parametrize("name", LINES)
def test_no_credential_is_left_in_a_line(name: str) -> None:
    kept = redact(LINES[name])
    assert "CANARY" not in kept
    assert DISCORD not in kept
    assert "[redacted]" in kept


@pytest.mark.parametrize(
    "line",
    [
        "job 01J8ZQ4S8N1YV3QK6F0D2M7C5B is queued, its ticket waits",
        "the token of the page belongs to the state folder",
        "GET https://cdn.discordapp.com/attachments/1/2/a.png",
        "a bot walks into a bar", "password: no", "Place 3 of 9: done in 12 s",
    ],
)  # fmt: skip
def test_ordinary_lines_stay_as_they_are(line: str) -> None:
    assert redact(line) == line


def test_a_traceback_is_redacted_too() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(Redacting("%(message)s"))
    logger = logging.getLogger("tests.secrets")
    logger.addHandler(handler)
    try:
        raise RuntimeError(f"bad token {SLACK}")
    except RuntimeError:
        logger.error("calling with %s", INTERACTION, exc_info=True, stack_info=True)
    finally:
        logger.removeHandler(handler)
    assert "RuntimeError" in out.getvalue()
    assert "CANARY" not in out.getvalue()


def test_what_the_bot_logs_at_debug_is_redacted(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    with logging_to(tmp_path, "DEBUG", "bot.log"):
        for name in ("discord.http", "slack_bolt.App", "bot", "aiohttp.client"):
            for line in LINES.values():
                logging.getLogger(name).debug(line)
                logging.getLogger(name).info("%s", {"body": line})
    written = (tmp_path / "log" / "bot.log").read_text(encoding="utf-8")
    assert written.count("\n") >= len(LINES)
    assert "CANARY" not in written
    assert DISCORD not in written


async def test_a_token_goes_through_every_error_path_unseen(
    fake: FakeAdapter, services: Services, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Refused, full, broken database, a bug: no reply, log or row holds the token in the clear."""
    caplog.set_level(logging.DEBUG)
    fake.handle = Handle(token=INTERACTION, until=services.clock() + 900_000)  # type: ignore[arg-type]
    replies = [
        await fake.say("imagine", prompt="a"), await fake.say("imagine", prompt=""),
        await fake.say("nothing"), await fake.press("cancel", "x"),
    ]  # fmt: skip
    for _ in range(4):
        replies.append(await fake.say("imagine", prompt="again"))

    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(type(services.database), "run", broken)
    replies.append(await fake.say("imagine", prompt="b"))
    monkeypatch.undo()
    assert {"bug", "prompt_empty", "queue_full_member"} <= {r.code for r in replies}
    assert not any("CANARY" in r.model_dump_json() for r in replies)
    assert "CANARY" not in caplog.text
    with services.database.engine.connect() as connection:
        for table in inspect(services.database.engine).get_table_names():
            rows = connection.execute(text(f'SELECT * FROM "{table}"')).all()
            assert "CANARY" not in str(rows), table


def test_settings_hide_every_secret() -> None:
    secrets = {
        name: "CANARYcanary1234567890"
        for name, field in BotSettings.model_fields.items()
        if "SecretStr" in str(field.annotation)
    }
    assert {"discord_token", "slack_bot_token", "slack_app_token", "web_token"} <= secrets.keys()
    settings = BotSettings(**secrets)  # type: ignore[arg-type]
    assert "CANARY" not in repr(settings) + str(settings) + settings.model_dump_json()
    named = [n for n in BotSettings.model_fields if n.endswith(("_token", "_secret", "_password"))]
    assert set(named) <= secrets.keys(), "a secret setting is a SecretStr"
