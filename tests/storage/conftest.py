"""Fixtures of the storage tests."""

from __future__ import annotations

import pytest

from storage.database import Database
from tests.conftest import actor
from tests.storage.reviewing import Room


@pytest.fixture
def room(database: Database) -> Room:
    """Ann, two moderators and an admin of one workspace."""
    return (
        actor(database, "ann"), actor(database, "mod", role="moderator"),
        actor(database, "mia", role="moderator"), actor(database, "boss", role="admin"),
    )  # fmt: skip
