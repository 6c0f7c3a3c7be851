"""What goes wrong around a command: one JSON object, the job's id, exit 5, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from bot.cli.follow import Ended
from bot.cli.trouble import guarded
from bot.core.reply import Reply
from storage.database import Database
from storage.schema import JobStatus
from tests.cli.conftest import ATELIER, Run
from tests.cli.test_cli_usage import KEYS


def test_a_working_folder_that_is_gone_is_said_before_anything_is_paid(
    run: Run, studio: Path
) -> None:
    Path.cwd().rmdir()
    told = run("imagine", "a", "--json")
    assert (told.code, told.json["code"], told.json["job_id"]) == (2, "out_invalid", None)
    assert run("ask", "a", "--json").code == 0, "an answer needs no folder"
    os.chdir(studio)
    assert [job["kind"] for job in run("jobs", "--json").json["jobs"]] == ["chat"]


def test_a_name_too_long_for_the_disk_is_bad_usage(run: Run, studio: Path) -> None:
    told = run("imagine", "a", "--out", "x" * 300 + ".png", "--json")
    assert (told.code, told.json["code"]) == (2, "out_invalid")


def test_trying_a_folder_leaves_nothing_in_it(run: Run, studio: Path) -> None:
    assert run("imagine", "a", "--out", "apple.png", "--json").code == 0
    assert [path.name for path in Path().iterdir()] == ["apple.png"]


def test_a_picture_that_cannot_be_saved_is_told_with_its_job(run: Run, studio: Path) -> None:
    Path("a-2.png").mkdir()  # in the way of the second of three
    told = run("imagine", "a", "--seed", "1", "--count", "3", "--out", "a.png", "--json")
    assert told.code == 5
    data = told.json
    assert (data["status"], data["code"], data["files"]) == ("succeeded", "out_failed", ["a-1.png"])
    assert data["cost"] == 3
    assert data["job_id"] in data["message"]
    assert sorted(path.name for path in Path().iterdir()) == ["a-1.png", "a-2.png"]


@pytest.mark.parametrize(
    ("arguments", "table"), [(["jobs"], "generation"), (["ledger", "verify"], "entry")]
)
def test_a_database_that_fails_is_one_object_too(
    run: Run, studio: Path, arguments: list[str], table: str
) -> None:
    database = Database(f"sqlite:///{studio / 'atelier.db'}")
    run("imagine", "a", "--json")
    with database.engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.execute(text(f"ALTER TABLE {table} RENAME TO gone"))
    database.close()
    told = run(*arguments, "--json")
    assert (told.code, told.json["code"], told.json["exit_code"]) == (5, "busy", 5)
    assert "Traceback" not in run(*arguments).err


def test_a_bug_is_a_reference_and_the_log_has_the_rest(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(lambda: 1 // 0, json=True) == 5
    said = capsys.readouterr()
    data = json.loads(said.out)
    assert data["code"] == "bug"
    assert "ZeroDivisionError" not in said.out + said.err
    reference = data["message"].rstrip(".").split()[-1]
    logged = (home / "log" / "cli.log").read_text()
    assert reference in logged and "ZeroDivisionError" in logged


def test_what_the_core_refuses_is_no_bug_of_ours(run: Run, home: Path) -> None:
    told = run("moderation", "learn", "nowhere", "--json")
    assert (told.code, told.json["code"], told.json["exit_code"]) == (2, "workspace_unknown", 2)
    assert "nowhere" in told.json["message"]


def test_a_second_interrupt_insists_and_still_tells(run: Run, studio: Path) -> None:
    process = subprocess.Popen(
        [*ATELIER, "imagine", "stubborn", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + 30
    while not any(job["status"] == "running" for job in run("jobs", "--json").json["jobs"]):
        assert time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.7)
    assert process.poll() is None, "the first one waits for the worker"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    assert "Traceback" not in err
    data = json.loads(out)
    [job] = run("jobs", "--json").json["jobs"]
    assert (data["job_id"], data["code"]) == (job["job_id"], "interrupted")
    assert data["status"] == "running"
    assert data["job_id"] in data["message"]
    assert "charged" not in data["message"]


@pytest.mark.parametrize("why", ["interrupted", "timeout"])
def test_an_unanswered_cancel_promises_nothing(why: str) -> None:
    ended = Ended(Reply(job_id="j-17", status=JobStatus.RUNNING), why)
    assert (ended.exit_code, ended.code) == (5, why)
    assert "charged" not in ended.message
    assert "j-17" in ended.message


def test_an_answer_cut_short_says_that_it_costs() -> None:
    data = {"recipe": {"finish": "stopped"}, "cost": 1, "text": "A whole sentence."}
    ended = Ended(Reply(job_id="j", status=JobStatus.SUCCEEDED, data=data), "timeout")
    assert (ended.exit_code, ended.code) == (5, "timeout")
    assert "charged" in ended.message
    whole = Ended(Reply(job_id="j", status=JobStatus.SUCCEEDED, data={"recipe": {}}), "timeout")
    assert whole.exit_code == 0, "it was quicker than the cancel"


@pytest.mark.parametrize(
    ("command", "prompt", "status", "exit_code"),
    [
        ("ask", "please hold this", "succeeded", 3),
        ("ask", "fail this", "failed", 5),
        ("ask", "reject this", "rejected", 3),
        ("ask", "a story about a naked child", "rejected", 3),
        ("ask", "", "invalid", 2),
        ("ask", "hello", "succeeded", 0),
        ("imagine", "a naked child", "rejected", 3),
        ("imagine", "a", "succeeded", 0),
    ],
)
def test_the_object_has_the_same_keys_whatever_happened(
    run: Run, studio: Path, command: str, prompt: str, status: str, exit_code: int
) -> None:
    data = run(command, prompt, "--json").json
    assert data.keys() >= KEYS
    assert (data["status"], data["exit_code"]) == (status, exit_code)
    assert ("text" in data) == (command == "ask")
    if command == "ask":
        assert (data["text"] is not None) == (prompt == "hello")
    if data["job_id"] is not None and status != "failed":
        assert data["verdict"]["outcome"] in ("allow", "hold", "block")
