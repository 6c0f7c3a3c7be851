"""The command line as typer sees it: names, options and help; the work is in the other files.

Imports of the work are inside the functions, so that ``--help`` and ``--version`` are quick.
Options are passed on as they were typed: the core's input models are the one place that judges
them, so an error has the same stable code on every front end.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from bot.cli.moderation_app import app as moderation_app
from bot.cli.operating import economics, resume, stop
from bot.cli.options import Json, Timeout
from bot.cli.workspace_app import app as workspace_app

app = typer.Typer(
    name="atelier",
    help=(
        "A community's own AI studio. Start it with [bold]atelier up[/bold], or make something at"
        ' once: [bold]atelier imagine "a red apple"[/bold], [bold]atelier ask "Why?"[/bold].'
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 2 bad usage, 3 refused by policy, 4 no credits or limit, 5 failed.",
)
_START, _MAKE, _LOOK, _OPERATE = "Start", "Make", "Look", "Operate"
"""Headings of ``atelier --help``, in its order."""

ledger_app = typer.Typer(
    help="Replay every credit ever moved ('ledger verify').", no_args_is_help=True
)
app.add_typer(ledger_app, name="ledger", rich_help_panel=_OPERATE)
app.add_typer(moderation_app, name="moderation", rich_help_panel=_OPERATE)
app.add_typer(workspace_app, name="workspace", rich_help_panel=_OPERATE)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"atelier {version('atelier')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Hold the options that come before every command."""


@app.command(rich_help_panel=_START)
def up(
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port of the page, else 8642 or the next free one; 0 takes any."
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address the page listens on, else 127.0.0.1.")
    ] = None,
    no_worker: Annotated[
        bool, typer.Option("--no-worker", help="Run no worker here: workers run elsewhere.")
    ] = False,
) -> None:
    """Run the studio: page, queue, worker and models, until Ctrl-C."""
    from bot.cli import studio
    from bot.cli.trouble import guarded

    raise typer.Exit(
        guarded(lambda: studio.run_up(port=port, host=host, worker=not no_worker), json=False)
    )


@app.command(rich_help_panel=_MAKE)
def imagine(
    prompt: Annotated[str, typer.Argument(help="What to draw; - reads it from standard input.")],
    negative: Annotated[str | None, typer.Option(help="What to keep out of the picture.")] = None,
    style: Annotated[str | None, typer.Option(help="A style, for instance flat or 3d.")] = None,
    size: Annotated[str | None, typer.Option(help="Width x height, for instance 128x128.")] = None,
    steps: Annotated[str | None, typer.Option(help="Denoising steps.")] = None,
    guidance: Annotated[str | None, typer.Option(help="How closely to follow the prompt.")] = None,
    seed: Annotated[
        str | None, typer.Option(help="0 to 2^63-1: the same seed, the same picture.")
    ] = None,
    count: Annotated[str | None, typer.Option(help="How many pictures, 1 to 4.")] = None,
    model: Annotated[str | None, typer.Option(help="A model's name, see 'atelier models'.")] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="Start from this picture; where it is transparent, only that is drawn."),
    ] = None,
    strength: Annotated[
        str | None, typer.Option(help="How far the start picture may change, 0.05 to 1.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="White where the start picture is drawn anew.")
    ] = None,
    outpaint: Annotated[
        str | None, typer.Option(help="Continue it: 'left', 'right 64', 'all 32', 'zoom 1.5'.")
    ] = None,
    upscale: Annotated[
        str | None, typer.Option(help="Make the start picture 2 to 4 times larger instead.")
    ] = None,
    control: Annotated[
        str | None, typer.Option(help="Follow a picture's canny (lines), depth or pose.")
    ] = None,
    control_image: Annotated[Path | None, typer.Option(help="The picture to follow.")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="A picture the result should be like.")
    ] = None,
    lora: Annotated[str | None, typer.Option(help="LoRAs: 'ink' or 'ink:0.8, snow'.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="The sampling method.")] = None,
    draft: Annotated[
        bool, typer.Option("--draft", help="Four small quick ones to choose from.")
    ] = False,
    enhance: Annotated[
        bool, typer.Option("--enhance", help="Let the chat model write the prompt out first.")
    ] = False,
    format: Annotated[
        str | None, typer.Option(help="webp, lossless or png, else what --out ends in, else png.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File or folder for the picture, else atelier-SEED.png here."),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(help="Draw the job's life as a timeline into this .svg or .png file."),
    ] = None,
    json: Json = False,
    timeout: Timeout = None,
) -> None:
    """Make pictures: the same core, queue, checks and credits as everywhere else."""
    from bot.cli import make
    from bot.cli.trouble import guarded

    values = {
        "negative": negative, "style": style, "size": size, "steps": steps,
        "guidance": guidance, "seed": seed, "count": count, "model": model, "strength": strength,
        "outpaint": outpaint, "upscale": upscale, "control": control, "lora": lora,
        "scheduler": scheduler, "draft": "true" if draft else None,
        "enhance": "true" if enhance else None, "format": format,
    }  # fmt: skip
    pictures = {
        "image": image, "mask": mask, "control_image": control_image, "reference": reference,
    }  # fmt: skip
    raise typer.Exit(
        guarded(
            lambda: make.run(
                "imagine",
                prompt,
                values,
                json=json,
                timeout=timeout,
                out=out,
                pictures=pictures,
                trace=trace,
            ),
            json=json,
        )
    )


@app.command(rich_help_panel=_MAKE)
def upscale(
    image: Annotated[Path, typer.Argument(help="The picture to make larger.")],
    scale: Annotated[str | None, typer.Option(help="2 to 4 times per side, else 2.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File or folder for the picture, else atelier-SEED.png here."),
    ] = None,
    json: Json = False,
    timeout: Timeout = None,
) -> None:
    """Make a picture larger by the upscaler."""
    from bot.cli import make
    from bot.cli.trouble import guarded

    raise typer.Exit(
        guarded(
            lambda: make.run(
                "upscale", None, {"scale": scale}, json=json, timeout=timeout, out=out,
                pictures={"image": image},
            ),
            json=json,
        )
    )  # fmt: skip


@app.command(rich_help_panel=_MAKE)
def blend(
    images: Annotated[list[Path], typer.Argument(help="Two to four pictures.")],
    prompt: Annotated[str | None, typer.Option(help="What should come of them.")] = None,
    size: Annotated[str | None, typer.Option(help="Width x height of the result.")] = None,
    seed: Annotated[str | None, typer.Option(help="The same seed, the same picture.")] = None,
    model: Annotated[str | None, typer.Option(help="A model's name, see 'atelier models'.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File or folder for the picture, else atelier-SEED.png here."),
    ] = None,
    json: Json = False,
    timeout: Timeout = None,
) -> None:
    """Blend pictures into one, by a model that reads reference pictures."""
    from bot.cli import make
    from bot.cli.trouble import guarded

    if len(images) > 4:
        raise typer.BadParameter("at most four pictures")
    names = ("image", "image2", "image3", "image4")
    values = {"prompt": prompt, "size": size, "seed": seed, "model": model}
    raise typer.Exit(
        guarded(
            lambda: make.run(
                "blend", None, values, json=json, timeout=timeout, out=out,
                pictures=dict(zip(names, images, strict=False)),
            ),
            json=json,
        )
    )  # fmt: skip


@app.command(rich_help_panel=_MAKE)
def again(
    id: Annotated[str, typer.Argument(help="A picture's id, or its job's, see 'atelier jobs'.")],
    out: Annotated[
        Path | None,
        typer.Option(help="File or folder for the picture, else atelier-SEED.webp here."),
    ] = None,
    json: Json = False,
    timeout: Timeout = None,
) -> None:
    """Make a picture anew from its recipe, and say whether it came out identical."""
    from bot.cli import make
    from bot.cli.trouble import guarded

    raise typer.Exit(
        guarded(lambda: make.run("again", id, {}, json=json, timeout=timeout, out=out), json=json)
    )


@app.command(rich_help_panel=_MAKE)
def ask(
    prompt: Annotated[str, typer.Argument(help="The question; - reads it from standard input.")],
    thread: Annotated[
        str | None, typer.Option(help="A conversation to go on with: any name you choose.")
    ] = None,
    max_tokens: Annotated[str | None, typer.Option(help="Longest answer, in tokens.")] = None,
    temperature: Annotated[str | None, typer.Option(help="0 is the most sober.")] = None,
    seed: Annotated[str | None, typer.Option(help="The same seed, the same answer.")] = None,
    json: Json = False,
    timeout: Timeout = None,
) -> None:
    """Ask a question; the answer is shown as it is written (and checked)."""
    from bot.cli import make
    from bot.cli.trouble import guarded

    values = {
        "thread": thread, "max_tokens": max_tokens, "temperature": temperature, "seed": seed,
    }  # fmt: skip
    raise typer.Exit(
        guarded(
            lambda: make.run("ask", prompt, values, json=json, timeout=timeout, out=None), json=json
        )
    )


@app.command(rich_help_panel=_LOOK)
def jobs(
    json: Json = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, newest first.")] = 20,
) -> None:
    """List the newest jobs of this studio."""
    from bot.cli import tables
    from bot.cli.trouble import guarded

    raise typer.Exit(guarded(lambda: tables.run_jobs(json=json, limit=limit), json=json))


@app.command(rich_help_panel=_START)
def models(json: Json = False) -> None:
    """List the models: source, licence, size, memory, and whether they are on this machine."""
    from bot.cli import tables
    from bot.cli.trouble import guarded

    raise typer.Exit(guarded(lambda: tables.run_models(json=json), json=json))


@app.command(rich_help_panel=_START)
def doctor(json: Json = False) -> None:
    """Look for what is wrong with the set-up, each with its cure."""
    from bot.cli import tables
    from bot.cli.trouble import guarded

    raise typer.Exit(guarded(lambda: tables.run_doctor(json=json), json=json))


@app.command(rich_help_panel=_LOOK)
def verify(
    file: Annotated[Path, typer.Argument(help="A PNG, WebP or JPEG picture.")],
    json: Json = False,
) -> None:
    """Was this picture made here? Reads its signature and watermark and knows its hash."""
    from bot.cli import verify as work
    from bot.cli.trouble import guarded

    raise typer.Exit(guarded(lambda: work.run(file, json=json), json=json))


@app.command(rich_help_panel=_OPERATE)
def bench(
    json: Json = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table as the README has it.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer rounds: an answer within a minute.")
    ] = False,
    gpu: Annotated[
        bool, typer.Option("--gpu", help="The checks that need a GPU, within ten minutes.")
    ] = False,
    only: Annotated[
        str | None, typer.Option(help="Letters of the measures to take, for instance abl.")
    ] = None,
) -> None:
    """Measure this machine against the targets; fails when one is missed."""
    from bot.cli.bench import run_bench

    raise typer.Exit(run_bench(json=json, markdown=markdown, quick=quick, gpu=gpu, only=only))


@app.command(rich_help_panel=_OPERATE)
def migrate() -> None:
    """Bring the database to the newest schema and exit; safe to run twice, or twice at once."""
    from bot.cli import studio
    from bot.cli.trouble import guarded

    raise typer.Exit(guarded(studio.run_migrate, json=False))


@app.command("slack-manifest", rich_help_panel=_OPERATE)
def slack_manifest(
    url: Annotated[
        str, typer.Argument(help="Your public address, https://…/slack/events; none: Socket Mode.")
    ] = "",
) -> None:
    """Print the manifest to make the Slack app from, with every command there is."""
    import json

    from bot.adapters.slack.manifest import manifest
    from bot.root import known_commands

    typer.echo(json.dumps(manifest(known_commands("en"), url), indent=2, ensure_ascii=False))


@ledger_app.command("verify")
def ledger_verify(json: Json = False) -> None:
    """Replay every entry and compare with the balances; fails on any drift."""
    from bot.cli import tables
    from bot.cli.trouble import guarded

    raise typer.Exit(guarded(lambda: tables.run_ledger_verify(json=json), json=json))


for command in (economics, stop, resume):
    app.command(rich_help_panel=_OPERATE)(command)


def main() -> None:
    """The `atelier` program."""
    # Python itself prints what nobody logs, tracebacks included.
    logging.getLogger().addHandler(logging.NullHandler())
    app()
