"""`imagine` and `ask` against a running studio: results, files, endings and exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from PIL import Image

from storage.database import Database
from storage.models import Job
from tests.cli.conftest import ATELIER, Run


def test_a_picture_is_copied_to_out(run: Run, studio: Path) -> None:
    told = run("imagine", "a red apple", "--seed", "7", "--out", "apple.png", "--json")
    assert told.code == 0
    data = told.json
    assert data["status"] == "succeeded"
    assert (data["seed"], data["cost"], data["files"]) == (7, 1, ["apple.png"])
    assert data["recipe"]["seed"] == 7
    assert data["verdict"]["outcome"] == "allow"
    assert isinstance(data["queued_ms"], int) and isinstance(data["run_ms"], int)
    with Image.open("apple.png") as image:
        assert image.size == (8, 8)


def test_several_pictures_are_numbered(run: Run, studio: Path) -> None:
    told = run("imagine", "a", "--seed", "7", "--count", "3", "--out", "a.png", "--json")
    assert told.json["files"] == ["a-1.png", "a-2.png", "a-3.png"]
    assert [one["seed"] for one in told.json["generations"]] == [7, 8, 9]
    assert all(Path(name).is_file() for name in told.json["files"])


def test_names_of_our_own_never_overwrite(run: Run, studio: Path) -> None:
    first = run("imagine", "a", "--seed", "7", "--json").json["files"]
    second = run("imagine", "b", "--seed", "7", "--json").json["files"]
    assert (first, second) == (["atelier-7.png"], ["atelier-7-2.png"])


def test_out_may_be_a_folder(run: Run, studio: Path) -> None:
    Path("here").mkdir()
    assert run("imagine", "a", "--seed", "7", "--out", "here", "--json").json["files"] == [
        "here/atelier-7.png"
    ]


def test_without_json_standard_output_is_the_file(run: Run, studio: Path) -> None:
    told = run("imagine", "a", "--seed", "7", "--out", "a")
    assert told.out == "a.png\n"
    assert "seed 7" in told.err


def test_a_random_seed_is_chosen_and_shown(run: Run, studio: Path) -> None:
    seeds = {run("imagine", "a", "--json").json["seed"] for _ in range(3)}
    assert len(seeds) == 3


def test_an_answer_is_text_once(run: Run, studio: Path) -> None:
    assert run("ask", "hello there").out == "You said: hello there\n"
    told = run("ask", "hello there", "--json")
    assert told.json["text"] == "You said: hello there"
    assert told.json["files"] == []


def test_a_thread_is_remembered(run: Run, studio: Path) -> None:
    run("ask", "first", "--thread", "tea", "--json")
    run("ask", "elsewhere", "--thread", "milk", "--json")
    told = run("ask", "second", "--thread", "tea", "--json")
    database = Database(f"sqlite:///{studio / 'atelier.db'}")
    with database.transaction(read_only=True) as session:
        spec = session.get_one(Job, told.json["job_id"]).spec
    database.close()
    assert [turn["text"] for turn in spec["turns"]][1:] == [
        "first", "You said: first", "second",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("prompt", "status", "exit_code", "code"),
    [
        ("please hold this", "succeeded", 3, "held"),
        ("reject this", "rejected", 3, "output_refused"),
        ("fail this", "failed", 5, "bad_picture"),
    ],
)
def test_endings_have_their_exit_codes(
    run: Run, studio: Path, prompt: str, status: str, exit_code: int, code: str
) -> None:
    told = run("imagine", prompt, "--json")
    assert (told.code, told.json["status"], told.json["code"]) == (exit_code, status, code)
    assert told.json["files"] == []
    assert list(Path().iterdir()) == []


def test_a_held_picture_says_so(run: Run, studio: Path) -> None:
    told = run("imagine", "please hold this")
    assert told.code == 3
    assert "moderator" in told.err


def test_a_refused_prompt_is_exit_3_and_makes_no_job(run: Run, studio: Path) -> None:
    told = run("imagine", "a naked child", "--json")
    assert (told.code, told.json["status"], told.json["job_id"]) == (3, "rejected", None)
    assert "naked" not in told.out + told.err


def test_no_credits_is_exit_4(run: Run, studio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATELIER_MONTHLY_CREDITS", "0")
    told = run("imagine", "a", "--json")
    assert (told.code, told.json["code"]) == (4, "credits_short")


def test_the_time_limit_cancels(run: Run, studio: Path) -> None:
    told = run("imagine", "slow", "--timeout", "1", "--json")
    assert (told.code, told.json["status"], told.json["code"]) == (5, "cancelled", "timeout")
    assert told.json["cost"] == 0
    assert run("ledger", "verify", "--json").json["spent"] == 0


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_cancels_the_job(run: Run, studio: Path, kind: signal.Signals) -> None:
    process = subprocess.Popen(
        [*ATELIER, "imagine", "slow", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + 30
    while not any(job["status"] == "running" for job in run("jobs", "--json").json["jobs"]):
        assert time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(kind)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    assert "Traceback" not in err
    data = json.loads(out)
    assert (data["status"], data["code"]) == ("cancelled", "interrupted")


def test_progress_is_plain_lines_without_a_terminal(run: Run, studio: Path) -> None:
    told = run("imagine", "a", "--seed", "1")
    assert "\x1b" not in told.err + told.out
    assert "\r" not in told.err


def test_every_file_of_the_state_folder_with_a_secret_is_private(run: Run, studio: Path) -> None:
    run("imagine", "a", "--json")
    assert studio.stat().st_mode & 0o077 == 0
    assert (studio / "instance.json").stat().st_mode & 0o077 == 0
