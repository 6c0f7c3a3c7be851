"""The real program with the real models: alone, beside a running studio, interrupted, killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from bot.instance import read_instance, valkeys_in
from tests.cli.conftest import ATELIER, Up, atelier

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

READY = "Ready"
PICTURE = ("imagine", "a red apple", "--seed", "7", "--steps", "6", "--json")


def workers_of(up: Up) -> list[psutil.Process]:
    """The worker process of a studio, as long as it has one."""
    return [c for c in psutil.Process(up.process.pid).children() if "worker" in c.cmdline()]


def until(what: Callable[[], object], seconds: float = 120) -> None:
    """Wait for something to be true."""
    over = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < over, "it never came true"
        time.sleep(0.1)


def status_of(job_id: str) -> str:
    rows = json.loads(atelier("jobs", "--json").out)["jobs"]
    return next(str(row["status"]) for row in rows if row["job_id"] == job_id)


def newest() -> dict[str, object]:
    rows = json.loads(atelier("jobs", "--json").out)["jobs"]
    return rows[0] if rows else {}


def nothing_left(home: Path, pids: list[int]) -> None:
    """No process of a stopped studio lives, and nobody is told that it runs."""
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 30)
    assert valkeys_in(home / "valkey") == []
    assert read_instance(home) is None


def test_alone_it_starts_the_parts_and_stops_them(real_home: Path) -> None:
    made = atelier(*PICTURE, "--out", "apple.png")
    assert made.code == 0, made.err
    assert made.json["files"] == ["apple.png"]
    assert made.json["recipe"]["seed"] == 7
    with Image.open("apple.png") as image:
        assert image.size == (128, 128)
    nothing_left(real_home, [])
    check = atelier("ledger", "verify", "--json")
    assert (check.code, check.json["ok"], check.json["spent"]) == (0, True, made.json["cost"])


def test_a_day_in_the_studio(real_home: Path, start_up: Callable[..., Up]) -> None:
    """One studio through all of it: starting models anew for each would take minutes."""
    up = start_up()
    up.wait_for("/?token=")
    assert httpx.get(up.link, follow_redirects=True).status_code == 200
    assert httpx.get(up.link.split("/?")[0]).status_code == 401

    # A second studio on the same state says where the first is.
    second = atelier("up", timeout=60)
    assert second.code == 2
    assert up.link in second.err

    up.wait_for(READY)
    first = atelier(*PICTURE, "--out", "one.png")
    assert first.code == 0, first.err
    again = atelier(*PICTURE, "--out", "two.png")
    assert again.json["generations"][0]["sha256"] == first.json["generations"][0]["sha256"]
    assert Path("one.png").read_bytes() == Path("two.png").read_bytes()

    answer = atelier("ask", "What is the capital of France?", "--seed", "1", "--json")
    assert answer.code == 0, answer.err
    assert "Paris" in answer.json["text"]

    # Ctrl-C in the middle of a picture.
    process = subprocess.Popen(
        [*ATELIER, "imagine", "a cat", "--steps", "100", "--size", "256x256", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(lambda: newest().get("status") == "running")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    assert json.loads(out)["status"] == "cancelled"

    # kill -9 of the worker in the middle of another: run again, charged once.
    process = subprocess.Popen(
        [*ATELIER, "imagine", "a dog", "--seed", "3", "--steps", "60", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(lambda: newest().get("status") == "running")
    [worker] = workers_of(up)
    worker.kill()
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    data = json.loads(out)
    assert data["status"] == "succeeded"
    assert worker.pid not in [one.pid for one in workers_of(up)]
    check = atelier("ledger", "verify", "--json").json
    spent = first.json["cost"] + again.json["cost"] + answer.json["cost"] + data["cost"]
    assert (check["ok"], check["spent"]) == (True, spent)

    # A clean stop, within seconds, with nothing left behind.
    pids = [child.pid for child in psutil.Process(up.process.pid).children(recursive=True)]
    os.killpg(up.process.pid, signal.SIGINT)  # as a terminal does
    assert up.process.wait(25) == 0
    assert "Traceback" not in up.said
    assert up.said.rstrip().endswith("Stopped.")
    nothing_left(real_home, pids)

    # History and balance are there again.
    before = json.loads(atelier("jobs", "--json").out)["jobs"]
    link = up.link
    up = start_up("--no-worker")
    up.wait_for("/?token=")
    assert up.link.split("=")[1] == link.split("=")[1]
    assert json.loads(atelier("jobs", "--json").out)["jobs"] == before
    assert atelier("ledger", "verify", "--json").json["spent"] == spent


def test_when_the_supervisor_is_killed_nothing_lingers(
    real_home: Path, start_up: Callable[..., Up]
) -> None:
    up = start_up()
    up.wait_for("/?token=")
    until(lambda: workers_of(up))
    pids = [child.pid for child in psutil.Process(up.process.pid).children(recursive=True)]
    assert len(pids) >= 3
    up.process.kill()
    up.process.wait()
    nothing_left(real_home, pids)
    up = start_up("--no-worker")
    up.wait_for("/?token=")


def test_a_killed_valkey_comes_back_at_the_same_address(
    real_home: Path, start_up: Callable[..., Up]
) -> None:
    up = start_up("--no-worker")
    up.wait_for("/?token=")
    before = read_instance(real_home)
    for server in valkeys_in(real_home / "valkey"):
        server.kill()
    up.wait_for("starting it again")
    until(lambda: valkeys_in(real_home / "valkey"))
    made = atelier("imagine", "a", "--seed", "x", "--json")  # reaches Redis with the old password
    assert made.json["code"] == "seed_range"
    assert read_instance(real_home) == before


def test_a_taken_port_is_said_with_the_cure(real_home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        told = atelier("up", "--no-worker", "--port", str(taken.getsockname()[1]))
    assert told.code == 5
    assert "taken by another program" in told.err and "--port" in told.err
    assert "Traceback" not in told.err
    nothing_left(real_home, [])


def test_two_commands_at_once_take_turns(real_home: Path) -> None:
    both = [
        subprocess.Popen(
            [*ATELIER, *PICTURE, "--out", f"{name}.png"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name in ("one", "two")
    ]  # fmt: skip
    for process in both:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    assert Path("one.png").read_bytes() == Path("two.png").read_bytes()


def test_doctor_finds_nothing_that_blocks(real_home: Path) -> None:
    told = atelier("doctor", "--json")
    assert told.code == 0, told.out
    names = {check["name"] for check in told.json["checks"]}
    assert {"python", "packages", "disk", "models", "gpu", "database", "redis", "clock"} <= names
