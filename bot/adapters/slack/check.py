"""What `atelier doctor` asks about Slack: token shapes, scopes, the way in; it prints no secret."""

from __future__ import annotations

import re
from dataclasses import dataclass

import aiohttp
from pydantic import SecretStr
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.adapters.slack.manifest import SCOPES

PATIENCE_S = 6.0
_BOT = re.compile(r"xoxb-[\w-]{8,}")
_APP = re.compile(r"xapp-[\w-]{8,}")
_SECRET = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Result:
    """One line of the doctor's: ``ok``, or how bad, and what to do."""

    level: str
    """``ok``, ``note`` or ``bad``."""
    says: str
    cure: str = ""


async def check(
    bot_token: SecretStr | None,
    app_token: SecretStr | None,
    signing_secret: SecretStr | None,
    api: str = "https://slack.com/api/",
) -> list[Result]:
    """What could be wrong with how Slack is set up. Asks Slack, if it can be reached."""
    bot, app, secret = (
        token.get_secret_value().strip() if token is not None else ""
        for token in (bot_token, app_token, signing_secret)
    )
    if not (bot or app or secret):
        return [Result("ok", "not set up (the local page needs no tokens)")]
    found = _shapes(bot, app, secret)
    if any(result.level == "bad" for result in found):
        return found
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session:
        client = AsyncWebClient(token=bot, base_url=api, session=session, retry_handlers=[])
        found += await _bot(client)
        if not secret:
            found += await _socket(client, app)
        else:
            found.append(Result("ok", "events come over HTTP and are checked by their signature"))
    return found


def _shapes(bot: str, app: str, secret: str) -> list[Result]:
    found = []
    if not _BOT.fullmatch(bot):
        found.append(
            Result("bad", "the bot token is missing or does not begin with xoxb-",
                   "copy it from OAuth & Permissions into ATELIER_SLACK_BOT_TOKEN")
        )  # fmt: skip
    if not app and not secret:
        found.append(
            Result("bad", "there is no way in: neither an app token nor a signing secret",
                   "make an app token with connections:write (ATELIER_SLACK_APP_TOKEN)")
        )  # fmt: skip
    if app and not _APP.fullmatch(app):
        found.append(
            Result("bad", "the app token does not begin with xapp-",
                   "copy it from Basic Information, App-Level Tokens")
        )  # fmt: skip
    if secret and not _SECRET.fullmatch(secret):
        found.append(
            Result("bad", "the signing secret is not 32 hexadecimal digits",
                   "copy it from Basic Information, App Credentials")
        )  # fmt: skip
    return found


async def _bot(client: AsyncWebClient) -> list[Result]:
    try:
        answer = await client.auth_test()
    except SlackApiError as error:
        code = str(error.response.get("error", "unknown"))
        return [Result("bad", f"Slack refuses the bot token ({code})", "install the app again")]
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        cure = "see whether this machine reaches slack.com"
        return [Result("note", f"Slack does not answer ({type(error).__name__})", cure)]
    headers = {str(name).lower(): value for name, value in (answer.headers or {}).items()}
    granted = {part.strip() for part in str(headers.get("x-oauth-scopes", "")).split(",")}
    name = str(answer.get("team", ""))
    missing = sorted(set(SCOPES) - granted) if granted != {""} else []
    if missing:
        cure = "compare the app with the manifest in bot/adapters/slack, then install it again"
        return [Result("bad", f"{name}: these scopes are missing: {', '.join(missing)}", cure)]
    return [Result("ok", f"the bot token works in {name}")]


async def _socket(client: AsyncWebClient, app_token: str) -> list[Result]:
    try:
        await client.apps_connections_open(app_token=app_token)
    except SlackApiError as error:
        code = str(error.response.get("error", "unknown"))
        cure = "turn Socket Mode on, and give the app token the scope connections:write"
        return [Result("bad", f"Slack opens no socket ({code})", cure)]
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        cure = "see whether this machine reaches slack.com"
        return [Result("note", f"Slack does not answer ({type(error).__name__})", cure)]
    return [Result("ok", "the app token opens a socket")]
