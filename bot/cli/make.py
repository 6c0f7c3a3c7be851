"""`atelier imagine` and `atelier ask`: one invocation, followed until its job has ended."""

from __future__ import annotations

import asyncio
import json as jsonlib
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.cli.files import BadOut, check_out, format_of, read_picture, save_pictures
from bot.cli.follow import MESSAGES, Ended, Follower, Seen
from bot.cli.screen import Screen, make_screen
from bot.cli.studio import GaveUp, Patience, Studio, logging_to, open_studio
from bot.cli.timeline import Moment, check_trace, heard, save_trace
from bot.cli.trouble import EXIT_FAILED, explain
from bot.core.command import Invocation, Who
from bot.core.reply import Reply
from bot.core.texts import credits_in_words, texts_for
from bot.instance import make_home
from bot.settings import BotSettings, load_settings
from storage import outbox
from storage.errors import MemberError, OperatorError
from storage.schema import TERMINAL_STATUSES, Address, JobStatus, Platform, new_id

OWNER = Who(
    platform=Platform.LOCAL, workspace="local", workspace_name="Local studio",
    member="owner", member_name="You", role="admin",
)  # fmt: skip
"""The person at this machine: the same member as on its web page."""
ADDRESS = Address(platform=Platform.LOCAL, workspace="local", channel="cli")

_WORDS = {2: "invalid", 3: "rejected", 4: "limited", EXIT_FAILED: "failed"}
"""``status`` when there is no job, by exit code."""


def run(
    command: str,
    prompt: str | None,
    values: Mapping[str, str | None],
    *,
    json: bool,
    timeout: float | None,
    out: Path | None,
    pictures: Mapping[str, Path | None] | None = None,
    trace: Path | None = None,
) -> int:
    """Run one command to its end; the exit code.

    ``pictures`` are files by option name, ``trace`` is where to draw the job's life.
    """
    screen = make_screen()
    seen = Seen()
    try:
        ended, files = _run(
            command, prompt, values, screen, seen, timeout=timeout, out=out, json=json,
            pictures=pictures or {}, trace=trace,
        )  # fmt: skip
    except BadOut as error:
        ended, files = _refused("out_invalid", f"{error.problem}; {error.cure}.", 2), []
    except MemberError as error:  # raised by us before there was a core to put it into words
        text = texts_for("en")(f"error.{error.code}", **error.params)
        ended, files = _refused(error.code, text, error.exit_code), []
    except OperatorError as error:
        ended, files = Ended(seen.reply or Reply(), trouble=explain(error)), []
    finally:
        screen.close()
    return _tell(command, ended, files, screen, json=json)


def _run(
    command: str,
    prompt: str | None,
    values: Mapping[str, str | None],
    screen: Screen,
    seen: Seen,
    *,
    timeout: float | None,
    out: Path | None,
    json: bool,
    pictures: Mapping[str, Path | None],
    trace: Path | None,
) -> tuple[Ended, list[str]]:
    """The command in this state folder, and the last resort for all that may befall it."""
    settings = load_settings()
    make_home(settings.home)
    with logging_to(settings.home, settings.log_level, "cli.log"):
        try:
            typed: dict[str, Any] = dict(values)
            if command != "ask":
                check_out(out)
            if trace is not None:
                check_trace(trace)
            if command == "imagine":
                typed["format"] = format_of(out, values.get("format"))
            typed |= {name: read_picture(path) for name, path in pictures.items() if path}
            if prompt is not None:
                word = "id" if command == "again" else "prompt"
                typed[word] = sys.stdin.buffer.read() if prompt == "-" else prompt
            moments: list[Moment] | None = None if trace is None else []
            ended = asyncio.run(
                _make(
                    command, typed, settings, screen, seen, timeout=timeout, json=json,
                    moments=moments,
                )
            )  # fmt: skip
            if trace is not None and moments and ended.reply.job_id:
                save_trace(trace, moments, ended.reply)
            saved = save_pictures(settings, ended, out)
            return replace(ended, trouble=saved.trouble), saved.files
        except (BadOut, MemberError, BrokenPipeError):
            raise
        except (Exception, asyncio.CancelledError, KeyboardInterrupt) as error:
            return Ended(seen.reply or Reply(), trouble=explain(error)), []


def _refused(code: str, text: str, exit_code: int) -> Ended:
    return Ended(Reply(text=text, code=code, exit_code=exit_code))


async def _make(
    command: str,
    values: dict[str, Any],
    settings: BotSettings,
    screen: Screen,
    seen: Seen,
    *,
    timeout: float | None,
    json: bool,
    moments: list[Moment] | None = None,
) -> Ended:
    stop = asyncio.Event()
    until = None if timeout is None else asyncio.get_running_loop().time() + timeout
    patience = Patience(stop, until)
    with _interrupts(stop):
        screen.waiting("Opening the studio")
        try:
            async with open_studio(settings, screen, patience) as studio:
                patience.check()
                follower = Follower(
                    studio.core, OWNER, ADDRESS, screen, patience, seen,
                    answer_to=None if json else sys.stdout,
                )  # fmt: skip
                async with follower.listening():
                    ended = await _ask(command, values, studio, follower)
                    if moments is not None and ended.reply.job_id:
                        moments += await heard(studio.core.services.wire, ended.reply.job_id)
                    return ended
        except GaveUp as error:
            return _refused(str(error), MESSAGES[str(error)], EXIT_FAILED)
    raise AssertionError("unreachable")


async def _ask(command: str, values: dict[str, Any], studio: Studio, follower: Follower) -> Ended:
    services = studio.core.services
    reply = await studio.core.dispatch(
        Invocation(command=command, values=values, who=OWNER, address=ADDRESS, key=new_id())
    )
    if reply.job_id is None:
        return Ended(reply)
    follower.take(reply)
    try:
        ended = await _finish(studio, follower)
    except BaseException:
        # Whatever went wrong here, the job must not run on with nobody waiting.
        await asyncio.shield(follower.cancel())
        raise
    if studio.own and ended.reply.status in TERMINAL_STATUSES:
        await services.database.run(outbox.mark_delivered, reply.job_id, now=services.clock())
    return ended


async def _finish(studio: Studio, follower: Follower) -> Ended:
    """Start what makes the job, and follow it meanwhile: Ctrl-C counts from the first moment."""
    following = asyncio.create_task(follower.follow())
    beginning = asyncio.create_task(studio.begin())
    tasks: list[asyncio.Task[Any]] = [following, beginning]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not following.done():
            working = beginning.result()
            if working is not None:
                await asyncio.wait([following, working], return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    working.result()  # it ends only by failing
        return await following
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def _interrupts(stop: asyncio.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM cancel the job in good order; a second one insists."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def asked() -> None:
        if stop.is_set() and task is not None:
            task.cancel()
        stop.set()

    for kind in kinds:
        loop.add_signal_handler(kind, asked)
    try:
        yield
    finally:
        for kind in kinds:
            loop.remove_signal_handler(kind)


def facts(command: str, ended: Ended, files: list[str]) -> dict[str, Any]:
    """The one JSON object: the same keys whatever happened."""
    reply = ended.reply
    known = reply.data if reply.job_id else {}
    status = known.get("status") or reply.status or _WORDS.get(ended.exit_code, "failed")
    shown: dict[str, Any] = {
        "job_id": reply.job_id,
        "status": str(status),
        "seed": known.get("seed"),
        "recipe": known.get("recipe"),
        # A prompt that was refused has a verdict and no job.
        "verdict": reply.data.get("verdict"),
        "cost": known.get("cost"),
        "queued_ms": known.get("queued_ms"),
        "run_ms": known.get("run_ms"),
        "files": files,
    }
    if command == "ask":
        shown["text"] = known.get("text")
    if known.get("generations"):
        shown["generations"] = known["generations"]
    if ended.exit_code:
        shown["code"] = ended.code
        shown["message"] = ended.message
    shown["exit_code"] = ended.exit_code
    return shown


def _tell(command: str, ended: Ended, files: list[str], screen: Screen, *, json: bool) -> int:
    if json:
        sys.stdout.write(jsonlib.dumps(facts(command, ended, files)) + "\n")
        sys.stdout.flush()
        return ended.exit_code
    if ended.exit_code:
        screen.note(ended.message)
        if ended.code:
            screen.note(f"({ended.code})")
    for file in files:
        sys.stdout.write(file + "\n")
    reply = ended.reply
    if reply.status is JobStatus.SUCCEEDED and not ended.exit_code:
        facts_shown = [f"seed {reply.data.get('seed')}"]
        if reply.data.get("cost") is not None:
            facts_shown.append(credits_in_words(reply.data["cost"], texts_for("en")))
        if reply.data.get("run_ms") is not None:
            facts_shown.append(f"{reply.data['run_ms'] / 1000:.1f} s")
        screen.note(", ".join(facts_shown))
        if reply.data.get("cached"):
            screen.note("From the cache, free.")
        if command == "again":
            screen.note(reply.text)
    sys.stdout.flush()
    return ended.exit_code
