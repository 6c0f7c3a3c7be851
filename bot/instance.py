"""One running studio per state folder: its lock, its card for others to find it, its token."""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from pydantic import ValidationError

from storage.errors import OperatorError
from storage.schema import Frozen, Millis

_BORN_SLACK_S = 2.0
"""Process start times are rounded differently by different readers."""


class Instance(Frozen):
    """How to reach a running studio; ``var/instance.json``, readable by its owner only."""

    pid: int
    born: float
    """When that process started: a reused process id is not taken for ours."""
    redis_url: str
    database_url: str
    web_url: str = ""
    """Empty while it is a single command, which serves no page and nobody else."""
    started_at: Millis

    def alive(self) -> bool:
        """Whether that very process still lives."""
        try:
            process = psutil.Process(self.pid)
            return lives(process) and bool(abs(process.create_time() - self.born) < _BORN_SLACK_S)
        except psutil.Error:
            return False


def make_home(home: Path) -> None:
    """Make the state folder, private to its owner. Raises ``OperatorError``."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (home / "log").mkdir(exist_ok=True)
    except OSError as error:
        raise OperatorError(
            f"the state folder {home} cannot be written ({error.strerror})",
            "set ATELIER_HOME to a folder you may write",
        ) from error


class StateLock:
    """Held by whoever runs the studio of a state folder; the system drops it when they die."""

    def __init__(self, home: Path) -> None:
        self.path = home / "lock"
        self._file: int | None = None

    def acquire(self) -> bool:
        """Take it now; False when another process has it."""
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise OperatorError(
                f"{self.path} cannot be written ({error.strerror})",
                "set ATELIER_HOME to a folder you may write",
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Let it go; twice is fine."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _write_private(path: Path, text: str) -> None:
    """Replace a file whole, readable by its owner only from its first byte on."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as stream:
        stream.write(text)
    draft.replace(path)


def write_instance(
    home: Path, *, redis_url: str, database_url: str, web_url: str, now: Millis
) -> None:
    """Say that this process runs the studio of ``home``."""
    instance = Instance(
        pid=os.getpid(), born=psutil.Process().create_time(), redis_url=redis_url,
        database_url=database_url, web_url=web_url, started_at=now,
    )  # fmt: skip
    _write_private(home / "instance.json", instance.model_dump_json(indent=2))


def read_instance(home: Path) -> Instance | None:
    """What the last studio of ``home`` wrote; None when it is gone, stopped or unreadable."""
    try:
        instance = Instance.model_validate_json((home / "instance.json").read_bytes())
    except (OSError, ValidationError):
        return None
    return instance if instance.alive() else None


def remove_instance(home: Path) -> None:
    """Say that nobody runs here any more."""
    with suppress(OSError):
        (home / "instance.json").unlink()


def web_token(home: Path) -> str:
    """The token of a state folder: made once, kept private, so that open pages go on."""
    path = home / "token"
    with suppress(OSError):
        kept = path.read_text(encoding="utf-8").strip()
        if len(kept) >= 16:
            return kept
    fresh = secrets.token_urlsafe(24)
    _write_private(path, fresh + "\n")
    return fresh


def lives(process: psutil.Process) -> bool:
    """Whether a process is still at work (a zombie is not)."""
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def valkeys_in(folder: Path) -> list[psutil.Process]:
    """Servers of ours that run in ``folder``: normally none, or one that outlived its parent.

    They are known by their program and working folder; the server overwrites its own arguments.
    """
    found = []
    wanted = folder.resolve()
    for process in psutil.process_iter(["name"]):
        if process.info["name"] != "valkey-server":
            continue
        with suppress(psutil.Error, OSError):
            if Path(process.cwd()) == wanted:
                found.append(process)
    return found


def stop_strays(folder: Path) -> int:
    """Stop them; returns how many. Call with the state lock held, before starting our own."""
    strays = valkeys_in(folder)
    for process in strays:
        with suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(strays, timeout=3)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    return len(strays)
