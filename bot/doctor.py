"""`atelier doctor`: what could be wrong with the set-up, one line each, with the cure."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sys
import tempfile
import time
import tomllib
from collections.abc import Awaitable, Callable
from enum import StrEnum
from importlib import metadata, util
from pathlib import Path
from urllib.parse import urlsplit

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from bot.instance import Instance, read_instance
from bot.parts import Broker
from bot.settings import BotSettings, is_set
from storage import disabled, duty, ledger
from storage.database import Database
from storage.errors import AtelierError, OperatorError
from storage.migrate import config
from storage.presence import is_present
from storage.profiles import describe, profile_for
from storage.queue import Wire
from storage.schema import Frozen

_FREE_WARN = 2_000_000_000
_FREE_BLOCK = 300_000_000
_SKEW_WARN_S = 2.0
_ROOT = Path(__file__).resolve().parent.parent
_HEAVY = ("torch", "diffusers", "transformers", "safetensors", "onnxruntime", "nudenet")
"""What only the worker imports; the bot can run on a machine without them."""


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "note"
    BLOCK = "bad"


class Finding(Frozen):
    """The result of one check."""

    name: str
    level: Level
    says: str
    cure: str = ""


def _ok(name: str, says: str) -> Finding:
    return Finding(name=name, level=Level.OK, says=says)


def _warn(name: str, says: str, cure: str) -> Finding:
    return Finding(name=name, level=Level.WARN, says=says, cure=cure)


def _block(name: str, says: str, cure: str) -> Finding:
    return Finding(name=name, level=Level.BLOCK, says=says, cure=cure)


async def examine(settings: BotSettings) -> list[Finding]:
    """Run every check; none of them raises, none of them prints a secret."""
    instance = read_instance(settings.home)
    checks: list[Callable[[], Awaitable[list[Finding]]]] = [
        lambda: asyncio.to_thread(_python),
        lambda: asyncio.to_thread(_packages),
        lambda: asyncio.to_thread(_home, settings),
        lambda: asyncio.to_thread(_disk, settings),
        lambda: asyncio.to_thread(_port, settings, instance),
        lambda: asyncio.to_thread(_models, settings),
        lambda: _providers(settings),
        _gpu,
        lambda: asyncio.to_thread(_database, settings, instance),
        lambda: _redis(settings, instance),
        lambda: asyncio.to_thread(_tokens, settings),
        lambda: asyncio.to_thread(_door, settings),
        lambda: _discord(settings),
        lambda: _slack(settings),
    ]
    return [finding for check in checks for finding in await check()]


def _python() -> list[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] == (3, 11):
        return [_ok("python", version)]
    return [_block("python", f"{version} runs this", "use Python 3.11 (make setup finds it)")]


def _pins() -> dict[str, str]:
    """What pyproject.toml pins; falls back to the installed package's own list."""
    wanted: list[str] = []
    with contextlib.suppress(OSError, tomllib.TOMLDecodeError, KeyError):
        data = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        wanted = [
            *data["project"]["dependencies"],
            *data["project"]["optional-dependencies"]["worker"],
        ]
    if not wanted:
        with contextlib.suppress(metadata.PackageNotFoundError):
            wanted = [r for r in metadata.requires("atelier") or [] if 'extra == "dev"' not in r]
    pins = {}
    for requirement in wanted:
        name, _, version = requirement.partition(";")[0].partition("==")
        pins[name.partition("[")[0].strip()] = version.strip()
    return pins


def _packages() -> list[Finding]:
    missing: list[str] = []
    other: list[str] = []
    heavy: list[str] = []
    pins = _pins()
    for name, version in pins.items():
        try:
            has = metadata.version(name)
        except metadata.PackageNotFoundError:
            (heavy if name in _HEAVY else missing).append(name)
            continue
        if version and has.partition("+")[0] != version:
            other.append(f"{name} {has} (pinned {version})")
    if missing:
        return [_block("packages", f"missing: {', '.join(missing)}", "make setup")]
    found = []
    if heavy:
        found.append(
            _warn("packages", f"the worker's are missing: {', '.join(heavy)}", "make setup, "
                  "unless workers run on other machines")
        )  # fmt: skip
    if other:
        found.append(_warn("packages", f"other versions: {', '.join(other)}", "make setup"))
    return found or [_ok("packages", f"{len(pins)} present at the pinned versions")]


def _home(settings: BotSettings) -> list[Finding]:
    home = settings.home.resolve()
    cure = "set ATELIER_HOME to a folder you may write"
    place = home
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return [_block("state folder", f"{home} cannot be written", cure)]
    if not home.exists():
        return [_ok("state folder", f"{home} will be made at the first start")]
    probe = home / f".doctor-{os.getpid()}"
    try:
        probe.write_bytes(b"1")
        probe.unlink()
    except OSError as error:
        return [_block("state folder", f"{home} cannot be written ({error.strerror})", cure)]
    if home.stat().st_mode & 0o077:
        return [_warn("state folder", f"{home} can be read by others", f"chmod 700 {home}")]
    return [_ok("state folder", str(home))]


def _disk(settings: BotSettings) -> list[Finding]:
    place = settings.home.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    says = f"{free / 1e9:.1f} GB free"
    cure = "free some space, or move the state folder with ATELIER_HOME"
    if free < _FREE_BLOCK:
        return [_block("disk", says, cure)]
    return [_warn("disk", says, cure) if free < _FREE_WARN else _ok("disk", says)]


def _port(settings: BotSettings, instance: Instance | None) -> list[Finding]:
    if instance is not None and instance.web_url:
        return [_ok("page", f"a studio is running at {instance.web_url}")]
    port = settings.web_port
    where = f"{settings.web_host} port {port}"
    found = []
    if not settings.is_loopback:
        found.append(
            _warn("page", f"{settings.web_host} can be reached from other machines, and answers "
                  "only to local names", "unset ATELIER_WEB_HOST, and put a proxy in front")
        )  # fmt: skip
    with socket.socket(socket.AF_INET6 if ":" in settings.web_host else socket.AF_INET) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((settings.web_host, port))
        except OSError as error:
            cure = "stop the program that has it, or choose another: ATELIER_WEB_PORT"
            says = f"{where} cannot be used ({error.strerror})"
            make = _block if settings.port_chosen else _warn
            if not settings.port_chosen:
                cure = "nothing to do: the next free one is taken"
            return [*found, make("page", says, cure)]
    return [*found, _ok("page", f"{where} is free")]


def _models(settings: BotSettings) -> list[Finding]:
    try:
        registry = settings.registry
    except OperatorError as error:
        return [_block("models", error.problem, error.cure)]
    found = []
    names = (registry.image_default, registry.chat_default, registry.vision_default)
    for name in dict.fromkeys(filter(None, names)):
        card = registry.cards[name]
        if card.source == "remote" or card.shares:
            continue  # asked for below; in place with its picture model
        if is_present(card, settings.models_dir):
            found.append(_ok("models", f"{name} is in place"))
        elif card.source == "starter":
            if card.repo.startswith("worker/") or util.find_spec(card.repo.replace("-", "_")):
                found.append(_ok("models", f"{name} will be put in place at the first start"))
            else:
                found.append(
                    _block("models", f"{name} needs the package {card.repo}", "make setup")
                )
        else:
            found.append(
                _warn("models", f"{name} is not on this machine ({card.size_bytes / 1e9:.1f} GB)",
                      f"be online at the first start, or put its files into models/{name}")
            )  # fmt: skip
    return found


async def _providers(settings: BotSettings) -> list[Finding]:
    """Whether each chat and vision server can be reached; no key is used and nothing is asked."""
    try:
        registry = settings.registry
    except OperatorError:
        return []  # said by the check of the models
    found = []
    named = {p.name: p for card in registry.cards.values() for p in card.providers}
    for name, provider in named.items():
        place = urlsplit(provider.url)
        port = place.port or (443 if place.scheme == "https" else 80)
        try:
            async with asyncio.timeout(5):
                _, writer = await asyncio.open_connection(place.hostname, port)
            writer.close()
            found.append(_ok("chat server", f"{name} can be reached"))
        except (OSError, TimeoutError):
            found.append(
                _warn("chat server", f"{name} cannot be reached from here",
                      "start it, or correct its address in ATELIER_CHAT_PROVIDERS")
            )  # fmt: skip
    return found


async def _gpu() -> list[Finding]:
    """Asks torch in another process: the bot never imports it."""
    if util.find_spec("torch") is None:
        return [_warn("gpu", "torch is not installed here", "make setup, unless workers run "
                      "elsewhere")]  # fmt: skip
    ask = (
        "import torch; ok = torch.cuda.is_available(); print(torch.__version__);"
        "print(torch.cuda.get_device_name(0) if ok else '');"
        "print(torch.cuda.mem_get_info()[1] if ok else 0)"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", ask,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            out, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return [_warn("gpu", "torch did not answer in 60 s", "see whether the driver hangs")]
    version, device, memory = (*out.decode("utf-8", "replace").splitlines(), "", "", "")[:3]
    if process.returncode:
        return [_block("gpu", "torch cannot be imported", "make setup")]
    profile = profile_for(int(memory or 0))
    says = f"{device or 'none seen, the CPU is used'} (torch {version})"
    return [_ok("gpu", says), _ok("profile", describe(profile))]


def _database(settings: BotSettings, instance: Instance | None) -> list[Finding]:
    url = instance.database_url if instance is not None else settings.database
    path = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite") and not path.exists():
        return [_ok("database", "SQLite, will be made at the first start")]
    database = Database(url)
    kind = "SQLite" if database.is_sqlite else "Postgres"
    try:
        database.ping()
        current, head = _revisions(database)
        if current != head:
            return [
                _warn("database", f"{kind} is at schema {current or 'none'}, not {head}",
                      "atelier up brings it up to date; keep a copy first")
            ]  # fmt: skip
        entries = database.read(ledger.total_entries)
        broken = database.read(ledger.verify)
        unaware, sealed = database.read(duty.unacknowledged), database.read(duty.unread)
        out = database.read(disabled.count)
    except AtelierError as error:
        return [_block("database", f"{kind} does not answer", getattr(error, "cure", "start it"))]
    finally:
        database.close()
    if broken:
        return [_block("database", f"the ledger has drifted in {len(broken)} places",
                       "atelier ledger verify, then keep a copy of the database")]  # fmt: skip
    found = [_ok("database", f"{kind}, migrated, {entries} ledger entries, no drift")]
    if unaware:
        says = f"no admin has taken note of what the law asks: {', '.join(unaware[:5])}"
        found.append(_warn("duty", says, "an admin opens /review there and presses the button"))
    if sealed:
        says = f"{sealed} sealed records that nobody has opened; the law wants them reported"
        found.append(_warn("sealed", says, "atelier moderation sealed"))
    if out:
        says = f"{out} members can make nothing until the owner or you decide"
        found.append(_warn("disabled", says, "atelier moderation sealed lists them"))
    return found


def _revisions(database: Database) -> tuple[str | None, str | None]:
    """The schema the database has, and the newest one."""
    with database.engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        return current, ScriptDirectory.from_config(config(connection)).get_current_head()


async def _redis(settings: BotSettings, instance: Instance | None) -> list[Finding]:
    if instance is not None:
        return await _clock("redis", instance.redis_url)
    if settings.redis_url:
        return await _clock("redis", settings.redis_url)
    with tempfile.TemporaryDirectory(prefix="atelier-doctor-") as folder:
        broker = Broker(settings.model_copy(update={"home": Path(folder)}))
        try:
            url = await broker.start()
            return await _clock("redis", url, "the embedded Valkey starts")
        except OperatorError as error:
            return [_block("redis", error.problem, error.cure)]
        finally:
            await broker.stop()


async def _clock(name: str, url: str, says: str = "Redis answers") -> list[Finding]:
    """Reachable, and whether its clock and ours agree: leases and grants are times."""
    try:
        wire = await Wire.connect(url)
    except OperatorError as error:
        return [_block(name, error.problem, error.cure)]
    try:
        before = time.time()
        seconds, micros = await wire.pool.time()
        middle = (before + time.time()) / 2
    finally:
        await wire.close()
    skew = seconds + micros / 1e6 - middle
    if abs(skew) > _SKEW_WARN_S:
        return [
            _ok(name, says),
            _warn("clock", f"{skew:+.1f} s between this machine and Redis", "turn on NTP on both"),
        ]
    return [_ok(name, says), _ok("clock", f"agrees with Redis to {abs(skew) * 1000:.0f} ms")]


def _tokens(settings: BotSettings) -> list[Finding]:
    """Whether tokens are there; never what they are."""
    discord = is_set(settings.discord_token)
    slack = is_set(settings.slack_bot_token)
    words = f"Discord: {'set' if discord else 'none'}; Slack: {'set' if slack else 'none'}"
    return [_ok("tokens", f"{words} (the local page needs none)")]


def _door(settings: BotSettings) -> list[Finding]:
    """Whether moderators of a chat can come to the page."""
    if not settings.web_url:
        if not (is_set(settings.discord_token) or settings.uses_slack):
            return []
        return [_ok("review page", "for this machine only; ATELIER_WEB_URL lets moderators in")]
    if settings.url_is_plain:
        return [_warn("review page", f"{settings.web_url} sends moderators' visits in clear",
                      "put the page behind https and name that in ATELIER_WEB_URL")]  # fmt: skip
    return [_ok("review page", f"moderators come to {settings.web_url} by /review page:open")]


async def _discord(settings: BotSettings) -> list[Finding]:
    """The token's shape, whether Discord takes it, and the link that adds us to a server."""
    token = settings.discord_token
    if token is None or not is_set(token):
        return []
    try:
        from bot.adapters.discord.checks import check
    except ImportError as error:
        cure = 'pip install "atelier[discord]"'
        return [_block("discord", f"{error.name} is not installed", cure)]
    return [
        Finding(name="discord", level=Level(found.level), says=found.says, cure=found.cure)
        for found in await check(token.get_secret_value())
    ]


async def _slack(settings: BotSettings) -> list[Finding]:
    tokens = (
        settings.slack_bot_token, settings.slack_app_token, settings.slack_signing_secret,
    )  # fmt: skip
    if not any(is_set(token) for token in tokens):
        return []
    try:
        from bot.adapters.slack.check import check
    except ImportError as error:
        cure = 'pip install "atelier[slack]"'
        return [_block("slack", f"{error.name} is not installed", cure)]
    return [
        Finding(name="slack", level=Level(result.level), says=result.says, cure=result.cure)
        for result in await check(*tokens)
    ]
