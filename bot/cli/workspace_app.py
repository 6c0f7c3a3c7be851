"""``atelier workspace``: names, options and help; see :mod:`bot.cli.app`."""

from __future__ import annotations

from typing import Annotated

import typer

from bot.cli.options import Json

app = typer.Typer(help="The servers and teams that use this studio.", no_args_is_help=True)


@app.command("list")
def workspace_list(json: Json = False) -> None:
    """Every workspace, and where the platform has taken us out."""
    from bot.cli import workspace as work
    from bot.cli.trouble import guarded

    raise typer.Exit(guarded(lambda: work.run_list(json=json), json=json))


@app.command("delete")
def workspace_delete(
    workspace: Annotated[
        str, typer.Argument(help="A workspace: its id, its platform's id, or 'local'.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    json: Json = False,
) -> None:
    """Delete all a workspace wrote, made and learnt. Ledger, strikes and audit log stay."""
    from bot.cli import workspace as work
    from bot.cli.trouble import guarded

    raise typer.Exit(guarded(lambda: work.run_delete(workspace, yes=yes, json=json), json=json))
