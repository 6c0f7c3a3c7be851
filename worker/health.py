"""Whether this machine's worker is alive, for a container's health check.

The worker touches a file each second while its engine lives (:func:`beat`); the check looks at
the file's age. No port, no database: a check must not fail because something else is down.
"""

from __future__ import annotations

import time
from pathlib import Path

from storage.settings import StorageSettings

STALE_S = 15.0
"""A worker that has not touched its file for so long is dead or hung."""


def beat_file(settings: StorageSettings, host: str) -> Path:
    """The file of one host's worker; containers have host names of their own."""
    return settings.home / "run" / f"worker-{host}.alive"


def beat(file: Path) -> None:
    """Say that the worker is alive. A full disk must not end it."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError:
        return


def rest(file: Path) -> None:
    """Say that the worker is going."""
    file.unlink(missing_ok=True)


def is_alive(file: Path) -> bool:
    """Whether the worker said so lately."""
    try:
        return time.time() - file.stat().st_mtime < STALE_S
    except OSError:
        return False
