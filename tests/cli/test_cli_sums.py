"""The operator's sums and the stop switch on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import Session
from typer.testing import CliRunner

from bot.cli.app import app
from storage import audit, switches
from storage.database import Database
from tests.conftest import START, actor


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(f"ATELIER_{name}", raising=False)
    monkeypatch.setenv("ATELIER_HOME", str(tmp_path / "var"))
    return tmp_path / "var"


def test_economics_prints_measures_and_every_input(home: Path) -> None:
    ran = CliRunner().invoke(
        app, ["economics", "--json", "--members", "200", "--price", "500", "--months", "2"]
    )
    assert ran.exit_code == 0
    said = json.loads(ran.stdout)
    assert {line["kind"] for line in said["measured"]["kinds"]} >= {"image", "chat"}
    assert said["assumptions"]["members"] == 200
    assert [month["month"] for month in said["projection"]] == [1, 2]
    assert said["projection"][0]["revenue_cents"] == 200 * 0.05 * 500


@pytest.mark.parametrize(
    ("words", "name"),
    [(["--growth", "99"], "growth"), (["--cost", "inf"], "cost_per_member_cents"),
     (["--watts", "1e300"], "watts"), (["--members", "1" + "0" * 30], "members")],
)  # fmt: skip
def test_a_number_that_makes_no_sense_is_named_and_is_no_bug(
    home: Path, words: list[str], name: str
) -> None:
    ran = CliRunner().invoke(app, ["economics", *words])
    assert ran.exit_code == 5 and name in ran.stderr
    assert "(operator)" in ran.stderr and "cure" in ran.stderr


def test_stop_and_resume(home: Path) -> None:
    for words, on in ((["stop", "too hot"], True), (["resume"], False)):
        assert CliRunner().invoke(app, words).exit_code == 0
        database = Database(f"sqlite:///{home.resolve() / 'atelier.db'}")
        assert database.read(switches.is_on, switches.STOP) is on
        database.close()


def test_the_audit_log_is_checked_and_a_cut_is_found(home: Path) -> None:
    assert CliRunner().invoke(app, ["moderation", "verify"]).exit_code == 0
    database = Database(f"sqlite:///{home.resolve() / 'atelier.db'}")
    ann = actor(database, "ann")
    for number in range(3):
        database.write(
            audit.write, ann.workspace.id, actor_id=None, verb="reveal", target=str(number),
            now=START,
        )  # fmt: skip
    whole = CliRunner().invoke(app, ["moderation", "verify", "--json"])
    said = json.loads(whole.stdout)
    assert (whole.exit_code, said["ok"], len(said["last"])) == (0, True, 1)

    def cut(session: Session) -> None:
        session.execute(text("DROP TRIGGER act_no_delete"))
        session.execute(text("DELETE FROM act WHERE number = 2"))

    database.write(cut)
    database.close()
    broken = CliRunner().invoke(app, ["moderation", "verify"])
    assert broken.exit_code == 5 and "line 2 is missing" in broken.stdout
