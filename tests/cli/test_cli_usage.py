"""What is typed: every wrong option has its stable code, exit 2, and costs nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import ATELIER, Run

KEYS = {
    "job_id", "status", "seed", "recipe", "verdict", "cost", "queued_ms", "run_ms", "files",
}  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["imagine", ""], "prompt_empty"),
        (["imagine", " \u200b \u3164 "], "prompt_empty"),
        (["imagine", "x" * 1001], "text_long"),
        (["imagine", "\U0001f34e" * 10_000], "text_long"),
        (["imagine", "a", "--seed", "abc"], "seed_range"),
        (["imagine", "a", "--seed", "-1"], "seed_range"),
        (["imagine", "a", "--seed", str(2**63)], "seed_range"),
        (["imagine", "a", "--size", "100x100"], "size_not_multiple"),
        (["imagine", "a", "--size", "4096x4096"], "size_range"),
        (["imagine", "a", "--size", "big"], "size_invalid"),
        (["imagine", "a", "--steps", "0"], "steps_range"),
        (["imagine", "a", "--steps", "100000"], "steps_range"),
        (["imagine", "a", "--guidance", "-3"], "guidance_range"),
        (["imagine", "a", "--count", "5"], "count_range"),
        (["imagine", "a", "--count", "0"], "count_range"),
        (["imagine", "a", "--style", "cubist"], "style_unknown"),
        (["imagine", "a", "--model", "no-such"], "model_unknown"),
        (["imagine", "a", "--out", "no/such/folder/a.png"], "out_invalid"),
        (["imagine", "a", "--out", "a.gif"], "out_invalid"),
        (["ask", ""], "prompt_empty"),
        (["ask", "x" * 4001], "text_long"),
        (["ask", "a", "--max-tokens", "0"], "option_range"),
        (["ask", "a", "--temperature", "9"], "option_range"),
    ],
)
def test_wrong_input_has_a_stable_code(
    run: Run, studio: Path, arguments: list[str], code: str
) -> None:
    told = run(*arguments, "--json")
    assert (told.code, told.json["code"]) == (2, code)
    assert told.json.keys() >= KEYS
    assert told.json["job_id"] is None and told.json["files"] == []
    assert told.json["message"]
    assert run("jobs", "--json").json == {"jobs": []}


def test_without_json_the_sentence_is_on_standard_error(run: Run, studio: Path) -> None:
    told = run("imagine", "a", "--seed", "abc")
    assert told.code == 2
    assert told.out == ""
    assert "(seed_range)" in told.err


def test_bytes_that_are_not_utf8_are_refused(home: Path) -> None:
    made = subprocess.run(
        [*map(os.fsencode, ATELIER), b"imagine", b"a\xff\xfe", b"--json"],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert made.returncode == 2
    assert b'"text_not_utf8"' in made.stdout


@pytest.mark.parametrize(
    ("typed", "code"), [(b"a\xff", "text_not_utf8"), (b"a\x00b", "text_has_nul")]
)
def test_standard_input_is_judged_too(run: Run, studio: Path, typed: bytes, code: str) -> None:
    told = run("imagine", "-", "--json", stdin=typed)
    assert (told.code, told.json["code"]) == (2, code)


@pytest.mark.parametrize(
    "arguments",
    [[], ["imagine"], ["paint", "a"], ["imagine", "a", "--colour", "red"], ["jobs", "--limit", "0"],
     ["up", "--port", "99999"]],
)  # fmt: skip
def test_unknown_commands_and_options_are_bad_usage(run: Run, arguments: list[str]) -> None:
    assert run(*arguments).code == 2


def test_help_names_every_command_and_the_exit_codes(run: Run) -> None:
    told = run("--help")
    assert told.code == 0
    for word in ("up", "imagine", "ask", "doctor", "ledger", "jobs", "models", "Exit codes"):
        assert word in told.out


def test_version(run: Run) -> None:
    assert run("--version").out.startswith("atelier 0.")


def test_a_setting_that_makes_no_sense_is_named_but_not_shown(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATELIER_WEB_PORT", "sesame")
    made = subprocess.run(
        [*ATELIER, "doctor"], capture_output=True, text=True, timeout=60, check=False
    )
    assert made.returncode == 5
    assert "ATELIER_WEB_PORT" in made.stderr
    assert "sesame" not in made.stderr
    assert "Traceback" not in made.stderr
