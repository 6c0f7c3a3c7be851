"""What the documents name exists: settings, commands, files, models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.cli import app as cli
from bot.settings import BotSettings
from storage.registry import load_registry
from storage.schema import JobKind
from worker.settings import WorkerSettings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
KNOWN = {
    f"ATELIER_{name.upper()}"
    for settings in (BotSettings, WorkerSettings)
    for name in settings.model_fields
}


@pytest.mark.parametrize("name", ["README.md", "docker-compose.yml", ".env.example"])
def test_every_setting_named_exists(name: str) -> None:
    named = set(re.findall(r"ATELIER_[A-Z_]+", (ROOT / name).read_text(encoding="utf-8")))
    assert named
    assert named <= KNOWN


def test_every_setting_is_documented() -> None:
    internal = {"ATELIER_PARENT_PID", "ATELIER_LEASE_MS"}
    later = {name for name in KNOWN if "DISCORD" in name or "SLACK" in name}
    written = README + (ROOT / ".env.example").read_text(encoding="utf-8")
    missing = KNOWN - internal - later - set(re.findall(r"ATELIER_[A-Z_]+", written))
    assert missing == set()


def test_every_linked_file_exists() -> None:
    for document in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "worker/starter/README.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!http|#)([^)#]+)\)", text):
            assert ((ROOT / document).parent / target).exists(), f"{document} links {target}"


def test_every_command_in_the_readme_exists() -> None:
    named = set(re.findall(r"^atelier ([a-z]+)", README, flags=re.M))
    real = {command.name or command.callback.__name__ for command in cli.app.registered_commands}  # type: ignore[union-attr]
    real |= {group.name for group in cli.app.registered_groups}
    assert named <= real
    assert {"up", "imagine", "ask", "doctor", "ledger", "jobs", "models"} <= named


def test_tokens_are_never_shown() -> None:
    settings = BotSettings(
        discord_token="abc-canary", slack_bot_token="xoxb-canary", slack_app_token="xapp-canary",
        slack_signing_secret="0123-canary",
    )  # type: ignore[arg-type]  # fmt: skip
    assert "canary" not in repr(settings)
    assert "canary" not in settings.model_dump_json()


def test_every_model_says_its_licence_and_source() -> None:
    for card in load_registry().cards.values():
        assert card.licence
        assert card.revision
        if card.source == "hub":
            assert re.fullmatch(r"[0-9a-f]{40}", card.revision), card.name


def test_the_starters_revision_is_its_weights() -> None:
    from worker.starter.folders import fingerprint
    from worker.starter.picture import WEIGHTS

    files = sorted(path for path in WEIGHTS.rglob("*") if path.is_file())
    assert load_registry().find("starter-icons", JobKind.IMAGE).revision == fingerprint(files)[:12]
    assert sum(path.stat().st_size for path in files) <= 60_000_000
    assert max(path.stat().st_size for path in files) <= 15_000_000


def test_top_level_is_the_fixed_one() -> None:
    allowed = {
        "bot", "worker", "moderation", "storage", "tests", "pyproject.toml", "docker-compose.yml",
        "README.md", "Makefile", "LICENSE", "constraints.txt", "CHANGELOG.md", "SECURITY.md",
        "CONTRIBUTING.md", "THIRD_PARTY_NOTICES",
    }  # fmt: skip
    ours = {
        line.split("/")[0]
        for line in ((ROOT / ".git").exists() and _tracked()) or []
        if not line.startswith(".")
    }
    assert ours <= allowed


def _tracked() -> list[str]:
    import subprocess

    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
