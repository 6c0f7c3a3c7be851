"""What a person sees while a job is made: a progress bar on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

_PLAIN_EVERY_S = 2.0


class Screen(Protocol):
    """Where progress goes; results go to standard output, this never does."""

    def note(self, text: str) -> None:
        """One line that stays."""

    def waiting(self, text: str) -> None:
        """What we wait for; replaces the last one."""

    def step(self, text: str, done: int, total: int) -> None:
        """How far it is."""

    def close(self) -> None:
        """Take the bar away."""


class TerminalScreen:
    """A rich progress bar on standard error."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=30),
            TextColumn("{task.fields[count]}"), console=console, transient=True,
            # Answers go to the terminal as they are, not through rich.
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._task: TaskID | None = None

    def _show(self, text: str, done: int | None, total: int | None) -> None:
        count = f"{done}/{total}" if total else ""
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task(text, total=total, count=count)
        self._progress.update(
            self._task, description=text, completed=done or 0, total=total, count=count
        )

    def note(self, text: str) -> None:
        """One line that stays."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def waiting(self, text: str) -> None:
        """What we wait for."""
        self._show(text, None, None)

    def step(self, text: str, done: int, total: int) -> None:
        """How far it is."""
        self._show(text, done, total)

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()


class PlainScreen:
    """Lines on standard error: each state once, steps every two seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = ""
        self._at = 0.0

    def note(self, text: str) -> None:
        """One line."""
        print(text, file=self._stream, flush=True)

    def waiting(self, text: str) -> None:
        """One line for each change of state."""
        if text != self._last:
            self._last = text
            self.note(text)

    def step(self, text: str, done: int, total: int) -> None:
        """One line every two seconds, and the last."""
        now = time.monotonic()
        if done >= total or now - self._at >= _PLAIN_EVERY_S:
            self._at = now
            self.waiting(f"{text}: {done}/{total}")

    def close(self) -> None:
        """Nothing to take away."""


def make_screen() -> Screen:
    """The screen that fits standard error."""
    if sys.stderr.isatty():
        return TerminalScreen(Console(stderr=True))
    return PlainScreen(sys.stderr)
