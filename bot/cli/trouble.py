"""The last resort: what no command foresaw becomes a code and a sentence, never a traceback."""

from __future__ import annotations

import asyncio
import json as jsonlib
import logging
import os
import sys
from collections.abc import Callable

from bot.cli.follow import Trouble
from bot.cli.studio import logging_to
from bot.core.texts import texts_for
from bot.instance import make_home
from bot.settings import load_settings
from storage.errors import MemberError, OperatorError, RetryLater
from storage.schema import new_id

log = logging.getLogger(__name__)

EXIT_FAILED = 5


def explain(error: BaseException) -> Trouble:
    """Put an error into words; what may be our own bug is logged with a reference."""
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return Trouble("interrupted", "Stopped at once.")
    if isinstance(error, OperatorError):
        return Trouble("operator", f"{error.problem}; cure: {error.cure}.")
    if isinstance(error, RetryLater):
        log.warning("a passing fault", exc_info=error)
        return Trouble("busy", "The database did not answer in time: try again in a moment.")
    reference = new_id()[-8:]
    log.error("bug %s", reference, exc_info=error)
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if isinstance(error.filename, str) else ""
        return Trouble("system", f"{error.strerror}{where}. Reference: {reference}.")
    return Trouble("bug", f"Something went wrong on our side. Reference: {reference}.")


def _logged(error: BaseException) -> Trouble:
    """Explain an error that got past its command; the rest goes to the log, if we have one."""
    try:
        settings = load_settings()
        make_home(settings.home)
    except OperatorError:
        return explain(error)
    with logging_to(settings.home, settings.log_level, "cli.log"):
        return explain(error)


def guarded(work: Callable[[], int], *, json: bool) -> int:
    """Run a command; its exit code, whatever befalls it."""
    try:
        return work()
    except BrokenPipeError:
        # Whoever read us has gone. What is still in the buffer must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except MemberError as error:  # what was typed cannot be done: no bug, and not for the log
        code, exit_code = error.code, error.exit_code
        message = texts_for("en")(f"error.{code}", **error.params)
    except (Exception, asyncio.CancelledError, KeyboardInterrupt) as error:
        found = _logged(error)
        code, message, exit_code = found.code, found.message, EXIT_FAILED
    if json:
        told = {"code": code, "message": message, "exit_code": exit_code}
        sys.stdout.write(jsonlib.dumps(told) + "\n")
        sys.stdout.flush()
    else:
        sys.stderr.write(f"atelier: {message}\n({code})\n")
    return exit_code
