"""`make demo-discord`: the whole studio with a pretended Discord, without a token or a network."""

from __future__ import annotations

import argparse
import asyncio
import sys

from bot.cli.studio import logging_to
from bot.core.command import Core
from bot.instance import make_home
from bot.parts import Say
from bot.platforms import PlatformPart
from bot.settings import BotSettings, load_settings
from bot.up import up
from storage.errors import OperatorError
from storage.schema import Platform


def main() -> int:
    """Run until Ctrl-C; 2 when the demonstration's own packages are missing."""
    words = argparse.ArgumentParser(prog="make demo-discord", description=__doc__)
    words.add_argument("--locale", default="en-US", choices=["en-US", "zh-CN"])
    words.add_argument("--port", type=int, default=8643)
    chosen = words.parse_args()
    try:
        from bot.adapters.discord.pretend import PretendPart
    except ImportError:
        sys.stderr.write("The demonstration needs the dev packages: make setup\n")
        return 2

    def make(_: BotSettings, core: Core, say: Say) -> dict[Platform, PlatformPart]:
        part = PretendPart(core, say, locale=chosen.locale, port=chosen.port)
        return {Platform.DISCORD: part}

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def opened(link: str) -> None:
        say(f"The local page, beside it: {link}")

    settings = load_settings()
    make_home(settings.home)
    try:
        with logging_to(settings.home, settings.log_level, "bot.log"):
            asyncio.run(up(settings, say, opened, make_platforms=make))
    except OperatorError as error:
        say(str(error))
        return 5
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
