"""State folders, a studio that is already running, and the real `atelier` program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bot.cli.app import app
from bot.instance import StateLock, make_home, write_instance
from storage.blobs import Blobs
from storage.clock import now_ms
from storage.database import Database
from storage.migrate import migrate
from tests.cli.hands import Hands

ATELIER = [sys.executable, "-m", "bot"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty state folder, chosen as a person chooses it; the working folder is empty too."""
    folder = tmp_path / "state"
    for name in list(os.environ):
        if name.startswith("ATELIER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ATELIER_HOME", str(folder))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return folder


@dataclass
class Outcome:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output, which must be one JSON object and nothing else."""
        data = json.loads(self.out)
        assert isinstance(data, dict)
        return data


Run = Callable[..., Outcome]


@pytest.fixture
def run(home: Path) -> Run:
    """Use the command line inside this process."""

    def invoke(*arguments: str, stdin: bytes | None = None) -> Outcome:
        result = CliRunner().invoke(app, list(arguments), input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return invoke


@pytest.fixture
def studio(home: Path, valkey: str) -> Iterator[Path]:
    """A running studio as others see it: its lock, its card, its database, and a fake worker."""
    make_home(home)
    lock = StateLock(home)
    assert lock.acquire()
    url = f"sqlite:///{home / 'atelier.db'}"
    database = Database(url)
    migrate(database)
    database.close()
    write_instance(
        home, redis_url=valkey, database_url=url, web_url="http://127.0.0.1:1", now=now_ms()
    )
    hands = Hands(url, Blobs(home / "blobs"))
    hands.start()
    yield home
    hands.stop()
    lock.release()


# -- The real program --------------------------------------------------------------------------


@pytest.fixture
def real_home(home: Path, real_models: Path) -> Path:
    """A state folder with the models in place and nothing else."""
    make_home(home)
    (home / "models").symlink_to(real_models)
    return home


def atelier(*arguments: str, timeout: float = 200) -> Outcome:
    """Run the real program to its end."""
    made = subprocess.run(
        [*ATELIER, *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )
    return Outcome(made.returncode, made.stdout, made.stderr)


class Up:
    """A real `atelier up` of the current state folder, its output kept."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.home = home
        self.log = home.parent / f"up-{time.monotonic_ns()}.txt"
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                [*ATELIER, "up", "--port", "0", *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """Everything printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """Until it has said something."""
        until = time.monotonic() + seconds
        while text not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < until, f"never said {text!r}:\n{self.said}"
            time.sleep(0.1)

    @property
    def link(self) -> str:
        """The printed address, token included."""
        return next(word for word in self.said.split() if "/?token=" in word)


@pytest.fixture
def start_up(real_home: Path) -> Iterator[Callable[..., Up]]:
    """Starts real studios, and makes sure that none outlives the test."""
    started: list[Up] = []

    def start(*arguments: str) -> Up:
        up = Up(real_home, *arguments)
        started.append(up)
        return up

    yield start
    for up in started:
        if up.process.poll() is None:
            up.process.terminate()
            try:
                up.process.wait(30)
            except subprocess.TimeoutExpired:
                up.process.kill()
                up.process.wait(10)
    shutil.rmtree(real_home / "valkey", ignore_errors=True)
