"""The `atelier` command: a thin adapter over the command core, for a terminal and for programs."""

from bot.cli.app import main

__all__ = ["main"]
