"""Building a model folder so that it is either whole and current, or not there."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

STAMP = "starter.stamp"
"""The file in a model folder that holds the fingerprint of what it was made from."""


def package_folder(package: str) -> Path:
    """The folder of an installed package, found without importing it.

    Raises FileNotFoundError when the package is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the Python package {package!r} is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


def fingerprint(files: Iterable[Path], *facts: str) -> str:
    """One SHA-256 over the files' names and contents and some facts, in the order given."""
    digest = hashlib.sha256("\n".join(facts).encode())
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def ensure(target: Path, stamp: str, build: Callable[[Path], None]) -> Path:
    """Make sure `target` is the folder that `build` makes; returns `target`.

    Nothing happens when it already carries the same stamp. Otherwise `build`
    fills a fresh folder beside it, which is then renamed into place, so that a
    crash leaves no half model and two processes at once do no harm. Whatever
    `build` raises is passed on.
    """
    if _is_current(target, stamp):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        build(fresh)
        (fresh / STAMP).write_text(stamp)
        fresh.chmod(0o755)
        for path in fresh.rglob("*"):  # readable for other users too, whatever wrote it
            path.chmod(0o755 if path.is_dir() else 0o644)
        _swap(fresh, target, stamp)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def _is_current(target: Path, stamp: str) -> bool:
    try:
        return (target / STAMP).read_text() == stamp
    except OSError:
        return False


def _swap(fresh: Path, target: Path, stamp: str) -> None:
    """Rename `fresh` to `target`, moving an outdated folder out of the way first."""
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
        with contextlib.suppress(FileNotFoundError):  # another process may move it first
            target.rename(old / "model")
        shutil.rmtree(old, ignore_errors=True)
    try:
        fresh.rename(target)
    except OSError:
        if not _is_current(target, stamp):  # else another process was first: same content
            raise
