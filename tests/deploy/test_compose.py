"""The compose file and the images against their schema, the settings they name and each other.

No container engine runs where this is built, so what can be known without one is known here, and
tests/deploy/test_services.py runs each service's command as a process of its own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from bot.settings import BotSettings
from storage.settings import StorageSettings
from worker.settings import WorkerSettings

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("migrate", "bot", "worker-cpu", "worker-gpu")
WORKERS = ("worker-cpu", "worker-gpu")
INTERNAL = {"ATELIER_PARENT_PID", "ATELIER_LEASE_MS"}


def names(settings: type[StorageSettings]) -> set[str]:
    return {f"ATELIER_{name.upper()}" for name in settings.model_fields}


def secrets(settings: type[StorageSettings]) -> set[str]:
    return {
        f"ATELIER_{name.upper()}"
        for name, field in settings.model_fields.items()
        if "SecretStr" in str(field.annotation)
    }


def test_it_follows_the_published_schema() -> None:
    schema = json.loads((HERE / "compose-spec.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    compose = jsonschema.Draft7Validator(schema)
    compose.validate(COMPOSE)
    assert not compose.is_valid({"services": {"a": {"imagee": "x"}}})


def test_the_schema_is_carried_with_its_notice() -> None:
    notice = (HERE / "NOTICE").read_text(encoding="utf-8")
    assert "Apache License 2.0" in notice
    assert "compose-spec" in (ROOT / "THIRD_PARTY_NOTICES").read_text(encoding="utf-8")


def test_the_services_of_the_plan() -> None:
    assert SERVICES.keys() == {"redis", "postgres", *OURS}
    assert "--appendonly yes" in SERVICES["redis"]["command"][-1]
    assert [SERVICES[w]["profiles"] for w in WORKERS] == [["cpu"], ["gpu"]]
    devices = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert SERVICES["migrate"]["restart"] == "no"


@pytest.mark.parametrize(
    ("service", "settings"),
    [
        ("bot", BotSettings), ("migrate", StorageSettings), ("worker-cpu", WorkerSettings),
        ("worker-gpu", WorkerSettings),
    ],
)  # fmt: skip
def test_each_service_names_settings_that_exist_and_misses_none(
    service: str, settings: type[StorageSettings]
) -> None:
    given = set(SERVICES[service]["environment"])
    assert given <= names(settings) | {"ATELIER_LOG_LEVEL"}
    if service != "migrate":
        optional = {"ATELIER_MONTHLY_CREDITS"} if service != "bot" else set()
        assert names(settings) - given <= INTERNAL | optional


@pytest.mark.parametrize("service", OURS)
def test_the_values_it_gives_are_valid(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = WorkerSettings if service in WORKERS else BotSettings
    for name, value in SERVICES[service]["environment"].items():
        if value is not None:
            plain = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
            monkeypatch.setenv(name, re.sub(r"\$\{\w+:\?[^}]*\}", "secret", plain))
    made = settings(_env_file=None)  # type: ignore[call-arg]
    assert made.database == "postgresql://atelier:secret@postgres:5432/atelier"
    assert made.home == Path("/var/lib/atelier")


def test_secrets_are_kept_apart() -> None:
    for worker in WORKERS:
        given = set(SERVICES[worker]["environment"])
        assert not given & (secrets(BotSettings) - secrets(WorkerSettings)), "no platform token"
        assert "env_file" not in SERVICES[worker]
    bot = set(SERVICES["bot"]["environment"])
    assert secrets(BotSettings) <= bot
    assert "ATELIER_PROVIDER_KEYS" not in bot, "keys of chat servers are the worker's"
    assert "env_file" not in SERVICES["bot"]
    assert not set(SERVICES["migrate"]["environment"]) & secrets(BotSettings)
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert not re.search(
        r"(?i)(password|token|secret|key)\S*:\s+[\"']?[a-z0-9]{6,}[\"']?\s*$", text
    )


def test_every_name_it_reads_is_in_the_example() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    read = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    for service in OURS:
        read |= {n for n, value in SERVICES[service]["environment"].items() if value is None}
    offered = set(re.findall(r"^#?(\w+)=", example, flags=re.M))
    assert read <= offered
    known = names(BotSettings) | names(WorkerSettings) | {"POSTGRES_PASSWORD", "REDIS_PASSWORD"}
    assert offered <= known


def test_an_example_that_is_copied_as_it_is_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty values mean "not set", whatever the type."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    bare = [re.sub(r"^#?(ATELIER_\w+=).*", r"\1", line) for line in lines]
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("\n".join(bare), encoding="utf-8")
    BotSettings()
    WorkerSettings()


@pytest.mark.parametrize("service", OURS)
def test_each_of_ours_is_hardened_and_stops_in_time(service: str) -> None:
    made = SERVICES[service]
    assert made["read_only"] is True
    assert made["cap_drop"] == ["ALL"]
    assert made["security_opt"] == ["no-new-privileges:true"]
    assert made["init"] is True
    assert not made.get("privileged")
    for port in made.get("ports", []):
        assert port.startswith("127.0.0.1:")
    if service in WORKERS:
        grace = float(re.sub(r"\D", "", made["environment"]["ATELIER_GRACE_S"].split(":-")[1]))
        assert float(made["stop_grace_period"].rstrip("s")) >= grace + 10


def test_everyone_waits_for_what_they_need() -> None:
    for service in ("bot", *WORKERS):
        assert SERVICES[service]["depends_on"] == {
            "redis": {"condition": "service_healthy"},
            "postgres": {"condition": "service_healthy"},
            "migrate": {"condition": "service_completed_successfully"},
        }
    for service in ("redis", "postgres", "bot", *WORKERS):
        assert SERVICES[service]["healthcheck"]["test"], service


# -- the images ----------------------------------------------------------------------------------


def dockerfile(service: str) -> str:
    return (ROOT / SERVICES[service]["build"]["dockerfile"]).read_text(encoding="utf-8")


@pytest.mark.parametrize("service", ["bot", "worker-cpu"])
def test_an_image_runs_as_nobody_special_and_copies_what_exists(service: str) -> None:
    text = dockerfile(service)
    assert re.search(r"^FROM python:3\.11", text, flags=re.M)
    assert "useradd --system --uid 10001" in text
    assert text.index("USER atelier") < text.index("CMD")
    assert (
        json.loads(re.search(r"^CMD (\[.*\])$", text, flags=re.M)[1])
        == (  # type: ignore[index]
            SERVICES[service]["command"]
        )
    )
    for line in re.findall(r"^COPY (.+) \S+$", text, flags=re.M):
        for name in line.split():
            assert (ROOT / name).exists(), name
    assert "ATELIER_" not in text


def test_the_images_hold_only_their_rooms() -> None:
    bot, worker = dockerfile("bot"), dockerfile("worker-cpu")
    assert "COPY worker" not in bot
    assert "worker]" not in bot
    assert "COPY bot" not in worker
    assert "discord" not in worker
    assert "slack" not in worker


def test_the_workers_extra_packages_are_the_makefiles() -> None:
    pins = re.compile(r"[a-z][\w-]+==[\d.]+")
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").split("--no-deps", 1)[1]
    made = dockerfile("worker-cpu").split("--no-deps", 1)[1].split("&&")[0]
    assert set(pins.findall(made)) == set(pins.findall(recipe.split("@touch")[0]))


def closure(extras: set[str], *more: str) -> set[str]:
    """The distributions an image installs: what is required, and what that requires."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [Requirement(r) for r in project["dependencies"]]
    for extra in extras:
        waiting += [Requirement(r) for r in project["optional-dependencies"][extra]]
    found = {name.lower().replace("_", "-") for name in more}
    while waiting:
        one = waiting.pop()
        name = one.name.lower().replace("_", "-")
        if name in found and not one.extras:
            continue
        found.add(name)
        try:
            needs = metadata.requires(one.name) or []
        except metadata.PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            if need.marker is None or any(
                need.marker.evaluate({"extra": extra}) for extra in (*one.extras, "")
            ):
                waiting.append(need)
    return found


OPTIONAL = {
    "bot", "storage", "moderation", "worker", "_distutils_hack",
    "sniffio", "linkify_it",  # used where they happen to be
}  # fmt: skip
LOOK = """
import importlib, json, pkgutil, sys
for room in sys.argv[1].split(","):
    package = importlib.import_module(room)
    for info in pkgutil.walk_packages(package.__path__, room + "."):
        if info.name.endswith(("__main__", ".env")) or ".versions." in info.name: continue
        if any(info.name.startswith(skip) for skip in sys.argv[2].split(",") if skip): continue
        importlib.import_module(info.name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def imported(rooms: str, skip: str = "") -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, rooms, skip], capture_output=True, text=True, cwd=ROOT,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_bots_image_has_all_that_the_bot_imports() -> None:
    """Every module of bot and storage, imported: each comes from what the image installs."""
    owners = metadata.packages_distributions()
    installed = closure({"discord", "slack"})
    # The pretended Discord is for developers, and says so when simcord is missing.
    missing = {
        module: owners[module]
        for module in imported("bot,storage", "bot.demo_discord,bot.adapters.discord.pretend")
        if module in owners
        and not any(name.lower().replace("_", "-") in installed for name in owners[module])
        and module not in OPTIONAL
        and not module.startswith("__editable__")
    }
    assert missing == {}
    assert not installed & {"torch", "diffusers", "transformers", "nudenet", "onnxruntime"}


def test_the_workers_image_has_no_platform_library() -> None:
    assert not closure({"worker"}) & {"discord.py", "slack-bolt", "slack-sdk"}


def test_the_context_leaves_out_what_no_image_needs() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".*", "var", "tests"} <= set(ignored), "no .env, no .git, no state, no tests"
