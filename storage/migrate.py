"""Bring a database to the newest schema; start-up calls this before anything else."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from storage.database import Database


def config(connection: Connection) -> Config:
    """An alembic configuration bound to a live connection; needs no ini file."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    settings.attributes["connection"] = connection
    return settings


def migrate(database: Database) -> None:
    """Upgrade to head. Safe when several processes start at once: one migrates, the rest wait."""
    with database.engine.begin() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(4711)"))
        command.upgrade(config(connection), "head")
