"""The chat platforms of `atelier up`: each one that has its tokens, as a part that runs by itself.

Their libraries are imported only where they are used: the local page needs none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from bot.core.command import Core
from bot.core.presenter import Notifier, Presenter
from bot.parts import Say
from bot.settings import BotSettings, is_set
from storage.errors import OperatorError
from storage.schema import Platform


class PlatformPart(Presenter, Notifier, Protocol):
    """A presenter that also keeps its platform connected."""

    async def run(self) -> None:
        """Connect, serve and reconnect until cancelled; a platform that is away or unwell ends
        nothing. Raises ``OperatorError`` for what only the operator can mend (Discord's token)."""


MakePlatforms = Callable[[BotSettings, Core, Say], Mapping[Platform, PlatformPart]]


def platform_parts(settings: BotSettings, core: Core, say: Say) -> dict[Platform, PlatformPart]:
    """A part for each platform whose tokens are set.

    Raises ``OperatorError`` when its library is not installed.
    """
    parts: dict[Platform, PlatformPart] = {}
    if is_set(settings.discord_token):
        parts[Platform.DISCORD] = _discord(settings, core, say)
    if settings.uses_slack:
        parts[Platform.SLACK] = _slack(settings, core, say)
    return parts


def _discord(settings: BotSettings, core: Core, say: Say) -> PlatformPart:
    try:
        from bot.adapters.discord.part import DiscordPart
    except ImportError as error:
        raise OperatorError(
            f"Discord's token is set, but {error.name} is not installed",
            'install it with: pip install "atelier[discord]"',
        ) from error
    assert settings.discord_token is not None
    return DiscordPart(core, settings.discord_token, say)


def _slack(settings: BotSettings, core: Core, say: Say) -> PlatformPart:
    try:
        from bot.adapters.slack.app import Keys, SlackPart
    except ImportError as error:
        raise OperatorError(
            f"Slack's tokens are set, but {error.name} is not installed",
            'install it with: pip install "atelier[slack]"',
        ) from error
    assert settings.slack_bot_token is not None
    return SlackPart(
        core,
        Keys(
            bot_token=settings.slack_bot_token, app_token=settings.slack_app_token,
            signing_secret=settings.slack_signing_secret, host=settings.slack_host,
            port=settings.slack_port,
        ),
        say,
    )  # fmt: skip
