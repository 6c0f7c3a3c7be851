"""Setting Slack up: what the doctor says, what `atelier up` does, what is logged."""

from __future__ import annotations

import asyncio
import logging

import pytest
from pydantic import SecretStr

from bot.adapters.slack.app import Keys, SlackPart
from bot.adapters.slack.check import check
from bot.adapters.slack.logs import Redacted
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.services import Services
from bot.parts import worker_env
from bot.platforms import platform_parts
from bot.settings import BotSettings
from storage.errors import RetryLater
from storage.schema import Address, Platform
from tests.slack.person import until
from tests.slack.server import SlackServer
from tests.slack.world import APP_TOKEN, BOT_TOKEN

SECRET = SecretStr("0123456789abcdef0123456789abcdef")


async def levels(server: SlackServer, *tokens: SecretStr | None) -> list[tuple[str, str]]:
    found = await check(*tokens, api=f"{server.url}/api/")  # type: ignore[arg-type]
    assert "canary" not in str(found)
    return [(result.level, result.says) for result in found]


async def test_the_doctor_is_content(server: SlackServer) -> None:
    said = await levels(server, SecretStr(BOT_TOKEN), SecretStr(APP_TOKEN), None)
    assert [level for level, _ in said] == ["ok", "ok"]
    assert "Acme" in said[0][1]
    said = await levels(server, SecretStr(BOT_TOKEN), None, SECRET)
    assert [level for level, _ in said] == ["ok", "ok"]
    assert (await levels(server, None, None, None))[0][0] == "ok"


@pytest.mark.parametrize(
    ("bot", "app", "secret", "words"),
    [
        (None, APP_TOKEN, None, "xoxb-"), ("xoxp-123456789", APP_TOKEN, None, "xoxb-"),
        (BOT_TOKEN, None, None, "no way in"), (BOT_TOKEN, "xoxb-123456789", None, "xapp-"),
        (BOT_TOKEN, None, "too short", "32"), (BOT_TOKEN + "x", APP_TOKEN, None, "invalid_auth"),
        (BOT_TOKEN, APP_TOKEN + "x", None, "no socket"),
    ],
)  # fmt: skip
async def test_the_doctor_names_what_is_wrong(
    server: SlackServer, bot: str | None, app: str | None, secret: str | None, words: str
) -> None:
    tokens = [SecretStr(token) if token is not None else None for token in (bot, app, secret)]
    said = await levels(server, *tokens)
    assert any(level == "bad" and words in says for level, says in said), said


async def test_the_doctor_names_missing_scopes(server: SlackServer) -> None:
    server.scopes = server.scopes - {"files:write", "im:history"}
    said = await levels(server, SecretStr(BOT_TOKEN), SecretStr(APP_TOKEN), None)
    assert ("bad", "Acme: these scopes are missing: files:write, im:history") in said


async def test_the_doctor_without_a_network() -> None:
    found = await check(SecretStr(BOT_TOKEN), SecretStr(APP_TOKEN), None, "http://127.0.0.1:1/api/")
    assert [result.level for result in found] == ["note", "note"]


async def test_up_has_slack_when_its_tokens_are_set(services: Services) -> None:
    core = Core(services, COMMANDS, PRESSES)

    def parts(**tokens: str) -> set[Platform]:
        settings = BotSettings(_env_file=None, **tokens)  # type: ignore[call-arg,arg-type]
        return set(platform_parts(settings, core, print)) - {Platform.DISCORD}

    assert parts() == set()
    assert parts(slack_bot_token="xoxb-1") == set()
    assert parts(slack_app_token="xapp-1") == set()
    assert parts(slack_bot_token="xoxb-1", slack_app_token=" ") == set()
    assert parts(slack_bot_token="xoxb-1", slack_app_token="xapp-1") == {Platform.SLACK}
    assert parts(slack_bot_token="xoxb-1", slack_signing_secret="a" * 32) == {Platform.SLACK}


def test_a_worker_gets_no_secret_of_slacks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BOT_TOKEN", "APP_TOKEN", "SIGNING_SECRET"):
        monkeypatch.setenv(f"ATELIER_SLACK_{name}", "canary")
    assert "canary" not in worker_env(BotSettings(_env_file=None), "redis://x").values()  # type: ignore[call-arg]


async def test_a_refused_token_is_said_and_ends_nothing(
    server: SlackServer, services: Services
) -> None:
    said: list[str] = []
    core = Core(services, COMMANDS, PRESSES)
    keys = Keys(
        bot_token=SecretStr("xoxb-wrong"), app_token=SecretStr(APP_TOKEN), api=f"{server.url}/api/"
    )
    part = SlackPart(core, keys, said.append)
    running = asyncio.create_task(part.run())
    await until(lambda: said)
    assert "invalid_auth" in said[0]
    assert "xoxb" not in said[0]
    assert not running.done()
    from bot.core.reply import Reply

    with pytest.raises(RetryLater):
        await part.present(
            Address(platform=Platform.SLACK, workspace="T", channel="C"), Reply(job_id="j")
        )
    running.cancel()


async def test_slack_that_is_away_is_tried_again(server: SlackServer, services: Services) -> None:
    said: list[str] = []
    core = Core(services, COMMANDS, PRESSES)
    keys = Keys(
        bot_token=SecretStr(BOT_TOKEN), app_token=SecretStr(APP_TOKEN), api=f"{server.url}/api/"
    )
    server.break_next("auth.test", "before", times=1)
    running = asyncio.create_task(SlackPart(core, keys, said.append).run())
    await until(lambda: said)
    assert said == ["Slack: connected to Acme."]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    "line",
    [
        "Invalid request signature detected (signature: v0=1, timestamp: 1, body: canary)",
        "Unhandled request ({'type': 'event', 'text': 'canary'})",
        "Received message (type: TEXT, data: 'canary', extra: , session: 1)",
        "trouble with xoxb-1-canary-2 and xapp-1-canary",
        "posting to https://hooks.slack.com/services/canary now",
        "first line\ncanary on the second",
    ],
)
def test_what_slacks_libraries_may_say(line: str) -> None:
    record = logging.LogRecord("slack", logging.WARNING, "f", 1, line, None, None)
    assert Redacted().filter(record)
    assert "canary" not in record.getMessage()
    assert record.getMessage()[:5] == line[:5]
