"""``atelier moderation``: names, options and help; see :mod:`bot.cli.app`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bot.cli.options import Json

app = typer.Typer(
    help="Try, measure and teach the filters; check the audit log.", no_args_is_help=True
)


@app.command("eval")
def moderation_eval(
    path: Annotated[Path, typer.Argument(help="A labelled JSONL file, or a folder of them.")],
    json: Json = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Texts of each file, at most.")] = None,
    assume: Annotated[
        int | None, typer.Option(min=0, max=1, help="Label of texts that have none: 0 or 1.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a reliability plot (SVG) here.")] = None,
    words_only: Annotated[
        bool, typer.Option("--words-only", help="Without the trained heads: word lists alone.")
    ] = False,
) -> None:
    """False positives, recall and AUPRC of the text filters on labelled texts."""
    from bot.cli import moderation as work
    from bot.cli.trouble import guarded

    raise typer.Exit(
        guarded(
            lambda: work.run_eval(
                path, json=json, limit=limit, assume=assume, plot_to=plot, words_only=words_only
            ),
            json=json,
        )
    )


@app.command("try")
def moderation_try(
    text: Annotated[str, typer.Argument(help="A text to judge.")], json: Json = False
) -> None:
    """Every score of one text against this workspace's thresholds."""
    from bot.cli import moderation as work
    from bot.cli.trouble import guarded

    raise typer.Exit(guarded(lambda: work.run_try(text, json=json), json=json))


@app.command("learn")
def moderation_learn(
    workspace: Annotated[
        str, typer.Argument(help="A workspace: its id, its platform's id, or 'local'.")
    ] = "local",
    json: Json = False,
) -> None:
    """Learn from a workspace's decisions now; a better head that holds the gate is used."""
    from bot.cli import learning as work
    from bot.cli.trouble import guarded

    raise typer.Exit(guarded(lambda: work.run_learn(workspace, json=json), json=json))


@app.command("verify")
def moderation_verify(json: Json = False) -> None:
    """Check the audit log's chain: every line where it was, and what it was."""
    from bot.cli import sums
    from bot.cli.trouble import guarded

    raise typer.Exit(guarded(lambda: sums.run_audit_verify(json=json), json=json))


@app.command("sealed")
def moderation_sealed(
    record: Annotated[str, typer.Argument(help="A record to open; without it, list them.")] = "",
    json: Json = False,
) -> None:
    """What looks like child abuse and has to be reported: hashes and who; the words on request."""
    from bot.cli import sealed as work
    from bot.cli.trouble import guarded

    raise typer.Exit(guarded(lambda: work.run_sealed(record, json=json), json=json))


@app.command("enable")
def moderation_enable(
    member: Annotated[str, typer.Argument(help="The id that `atelier moderation sealed` lists.")],
    json: Json = False,
) -> None:
    """Let a member make things again whom the rule on child abuse keeps from it."""
    from bot.cli import sealed as work
    from bot.cli.trouble import guarded

    raise typer.Exit(guarded(lambda: work.run_enable(member, json=json), json=json))
