"""The operator's sums and the stop switch on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import Session
from typer.testing import CliRunner

from bot.cli.app import app
from moderation.pipeline import Content, Judgement
from moderation.policy import DEFAULT_POLICY, Surface, decide
from moderation.record import About, record_of
from storage import audit, decisions, duty, removal, switches
from storage.database import Database
from storage.models import Member, Workspace
from storage.review_words import DISABLED
from storage.schema import Category, Flag, Platform
from storage.vault import Vault
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


def test_a_workspace_is_listed_and_deleted(home: Path) -> None:
    assert CliRunner().invoke(app, ["workspace", "list"]).exit_code == 0
    database = Database(f"sqlite:///{home.resolve() / 'atelier.db'}")
    ann = actor(database, "ann", workspace="100", platform=Platform.DISCORD)
    where = {"platform": Platform.DISCORD, "workspace": "100", "now": START}
    database.write(removal.note_app, there=False, **where)
    told = json.loads(CliRunner().invoke(app, ["workspace", "list", "--json"]).stdout)
    assert [(row["external_id"], row["left"]) for row in told["workspaces"]] == [("100", True)]
    unasked = CliRunner().invoke(app, ["workspace", "delete", "100"])
    assert unasked.exit_code == 3 and "--yes" in unasked.stderr
    assert CliRunner().invoke(app, ["workspace", "delete", "nobody", "--yes"]).exit_code == 2
    done = CliRunner().invoke(app, ["workspace", "delete", "100", "--yes", "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["members"] == 1
    space = database.read(lambda s: s.get_one(Workspace, ann.workspace.id))
    database.close()
    assert space.external_id.startswith("forgotten:") and space.name == ""
    assert "(deleted)" in CliRunner().invoke(app, ["workspace", "list"]).stdout


def test_who_is_disabled_is_listed_and_let_in_again(home: Path) -> None:
    assert CliRunner().invoke(app, ["moderation", "sealed"]).exit_code == 0
    database = Database(f"sqlite:///{home.resolve() / 'atelier.db'}")
    ann = actor(database, "ann")

    def disable(session: Session) -> None:
        session.get_one(Member, ann.member.id).banned_until = DISABLED

    database.write(disable)
    [row] = json.loads(CliRunner().invoke(app, ["moderation", "sealed", "--json"]).stdout)[
        "disabled"
    ]
    assert (row["member"], row["workspace"]) == ("ann", "studio")
    assert row["id"] in CliRunner().invoke(app, ["moderation", "sealed"]).stdout
    assert CliRunner().invoke(app, ["moderation", "enable", row["id"]]).exit_code == 0
    assert CliRunner().invoke(app, ["moderation", "enable", row["id"]]).exit_code == 2
    acts = database.read(lambda s: audit.lines(s, ann.workspace.id))
    assert [(act.verb, act.actor_id) for act in acts] == [("enable", None)]
    database.close()


def test_what_is_sealed_is_listed_without_words_and_opened_on_request(home: Path) -> None:
    assert CliRunner().invoke(app, ["moderation", "sealed"]).exit_code == 0
    database = Database(f"sqlite:///{home.resolve() / 'atelier.db'}")
    ann, vault = actor(database, "ann"), Vault.open(home)
    flag = Flag(category=Category.CSAE, score=1.0, stage="text.terms")
    judged = Judgement(
        verdict=decide([flag], DEFAULT_POLICY, Surface.PROMPT), scores={}, versions={}, ms=1.0
    )
    about = About(ann.workspace.id, ann.member.id)
    content = Content(Surface.PROMPT, text="the words themselves")
    made = record_of(judged, content, DEFAULT_POLICY, about, START, vault)
    found = database.write(decisions.keep, made)
    listed = CliRunner().invoke(app, ["moderation", "sealed", "--json"]).stdout
    [row] = json.loads(listed)["records"]
    assert database.read(duty.unread) == 1
    assert (row["id"], row["member"], row["workspace"]) == (found, "ann", "studio")
    assert "themselves" not in listed
    assert "themselves" not in CliRunner().invoke(app, ["moderation", "sealed"]).stdout
    shown = CliRunner().invoke(app, ["moderation", "sealed", found])
    assert shown.exit_code == 0 and "the words themselves" in shown.stdout
    assert "CyberTipline" in shown.stdout
    assert CliRunner().invoke(app, ["moderation", "sealed", "nothing"]).exit_code == 2
    acts = database.read(lambda s: audit.lines(s, ann.workspace.id))
    assert [(act.verb, act.target) for act in acts] == [("open_sealed", found), ("seal", found)]
    assert "themselves" not in str(acts) and database.read(duty.unread) == 0
    database.close()
