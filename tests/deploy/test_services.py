"""Each service's command as a process of its own, against a real Valkey and a real Postgres."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy.test_compose import SERVICES

TOKEN = "deploy-token"
PROGRAMS = {"atelier": [sys.executable, "-m", "bot"], "python": [sys.executable]}


def command(service: str) -> list[str]:
    """What the container would run, with this machine's programs."""
    first, *rest = SERVICES[service]["command"]
    return [*PROGRAMS[first], *rest]


@pytest.fixture
def env(
    tmp_path: Path, valkey: str, postgres_empty: str, real_models: Path
) -> Callable[[str], dict[str, str]]:
    """A service's environment as compose gives it, its addresses led to what runs here."""
    home = tmp_path / "state"
    home.mkdir(mode=0o700)
    (home / "models").symlink_to(real_models)
    here = {
        "ATELIER_HOME": str(home), "ATELIER_DATABASE_URL": postgres_empty,
        "ATELIER_REDIS_URL": valkey, "ATELIER_WEB_HOST": "127.0.0.1", "ATELIER_WEB_PORT": "0",
    }  # fmt: skip

    def made(service: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ATELIER_")}
        given: dict[str, str] = {}
        for name, value in SERVICES[service]["environment"].items():
            if value is not None:
                given[name] = here.get(name, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))
        if service == "bot":
            given["ATELIER_WEB_TOKEN"] = TOKEN
        return kept | given

    return made


@pytest.fixture
def start(
    tmp_path: Path, env: Callable[[str], dict[str, str]]
) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts services; none outlives the test."""
    running: list[subprocess.Popen[bytes]] = []
    work = tmp_path / "cwd"
    work.mkdir()

    def begin(service: str) -> subprocess.Popen[bytes]:
        with (tmp_path / f"{service}.log").open("wb") as out:
            made = subprocess.Popen(
                command(service), env=env(service), stdout=out, stderr=subprocess.STDOUT,
                cwd=work, start_new_session=True,
            )  # fmt: skip
        running.append(made)
        return made

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def wait_for(file: Path, text: str, process: subprocess.Popen[bytes], seconds: float = 150) -> str:
    until = time.monotonic() + seconds
    while True:
        said = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        if text in said:
            return said
        assert process.poll() is None, said[-3000:]
        assert time.monotonic() < until, f"never said {text!r}:\n{said[-3000:]}"
        time.sleep(0.1)


def stopped(process: subprocess.Popen[bytes], service: str) -> int:
    """Stop it as `docker stop` does; the exit code, which must come within its grace."""
    process.send_signal(signal.SIGTERM)
    return process.wait(float(SERVICES[service]["stop_grace_period"].rstrip("s")))


@pytest.mark.slow
def test_the_whole_of_it(
    tmp_path: Path,
    env: Callable[[str], dict[str, str]],
    start: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    """Migrate, bot and worker: healthy, a picture is made, and each stops in good order."""
    for _ in range(2):
        done = subprocess.run(
            command("migrate"), env=env("migrate"), capture_output=True, text=True, timeout=120,
            cwd=tmp_path, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    assert "newest schema" in done.stdout

    worker, bot = start("worker-cpu"), start("bot")
    said = wait_for(tmp_path / "bot.log", "Ctrl-C stops", bot)
    url = re.search(r"http://127\.0\.0\.1:\d+", said)
    assert url is not None
    check: list[Any] = SERVICES["bot"]["healthcheck"]["test"][1:]
    probe = check[-1].replace("http://127.0.0.1:8642", url[0])
    assert subprocess.run([sys.executable, "-c", probe], timeout=60, check=False).returncode == 0

    wait_for(tmp_path / "worker-cpu.log", "worker ready", worker)
    health = [sys.executable, *SERVICES["worker-cpu"]["healthcheck"]["test"][2:]]
    healthy = subprocess.run(health, env=env("worker-cpu"), timeout=60, check=False)
    assert healthy.returncode == 0

    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=url[0], headers=headers, timeout=30) as client:
        line = {"line": "/imagine a red apple seed:7 steps:4"}
        job = client.post("/api/invoke", json=line).json()["job_id"]
        until = time.monotonic() + 120
        while (card := client.get(f"/api/jobs/{job}").json())["status"] in ("queued", "running"):
            assert time.monotonic() < until
            time.sleep(0.2)
        assert card["status"] == "succeeded", card
        picture = client.get(f"/blobs/{card['pictures'][0]['blob']}")
        assert picture.headers["content-type"] == "image/webp"

    assert stopped(bot, "bot") == 0
    assert stopped(worker, "worker-cpu") == 0
    after = subprocess.run(health, env=env("worker-cpu"), timeout=60, check=False)
    assert after.returncode == 1, "a worker that is gone is not healthy"
    logs = "".join(p.read_text(errors="replace") for p in tmp_path.glob("*.log"))
    assert "Traceback" not in logs


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["ATELIER_DATABASE_URL", "ATELIER_REDIS_URL"])
def test_a_service_whose_neighbour_is_down_says_so_and_goes(
    missing: str, env: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    """Then the container is started again; it does not sit there half alive."""
    nowhere = {
        "ATELIER_DATABASE_URL": "postgresql://atelier:secret@127.0.0.1:9/atelier",
        "ATELIER_REDIS_URL": "redis://127.0.0.1:9/0",
    }
    done = subprocess.run(
        command("bot"), env=env("bot") | {missing: nowhere[missing]}, capture_output=True,
        text=True, timeout=120, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 5
    assert "cure" in done.stderr
    assert "secret" not in done.stdout + done.stderr
