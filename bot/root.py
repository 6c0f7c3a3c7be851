"""The composition root: builds the services from settings, and the core from the services."""

from __future__ import annotations

import asyncio
import dataclasses
from functools import partial
from pathlib import Path

from bot.core.command import CommandInfo, Core, catalog_of
from bot.core.services import Services
from bot.core.texts import texts_for
from bot.core.uploads import Uploads
from bot.settings import BotSettings
from moderation.build import prompt_pipeline
from moderation.marks.identity import authority, ensure_identity
from moderation.marks.manifest import keep_marks, resign
from moderation.record import Recorder
from storage.blobs import Blobs
from storage.clock import now_ms
from storage.database import Database
from storage.posts import Posts
from storage.queue import Wire
from storage.registry import load_registry
from storage.vault import Vault


def kept(home: Path, original: bytes, clean: bytes) -> bytes:
    """An upload's clean copy with the original's manifest, signed by this studio."""
    return keep_marks(original, clean, ensure_identity(home))


def remarked(home: Path, stored: bytes, copy: bytes) -> bytes:
    """A smaller copy of a stored picture, signed by this studio like the picture itself."""
    return resign(stored, copy, ensure_identity(home))


async def build_services(settings: BotSettings, redis_url: str) -> Services:
    """Everything a handler may use. Raises ``OperatorError`` for what is missing."""
    registry = settings.registry
    gate = prompt_pipeline()
    await gate.load()
    vault = await asyncio.to_thread(Vault.open, settings.home)
    database = Database(settings.database)
    try:
        wire = await Wire.connect(redis_url)
    except BaseException:
        database.close()
        raise
    blobs = Blobs(settings.blobs_dir)
    services = Services(
        database=database,
        wire=wire,
        blobs=blobs,
        registry=registry,
        prompt_gate=gate,
        posts=Posts(database, vault),
        uploads=Uploads(blobs, keep_marks=partial(kept, settings.home)),
        recorder=Recorder(database, now_ms, vault),
        authority=lambda: authority(settings.home),
        remark=partial(remarked, settings.home),
        recipe_cache=settings.recipe_cache,
        page_url=settings.web_url,
        page_is_local=settings.is_loopback,
    )
    if settings.monthly_credits is None:
        return services
    return dataclasses.replace(services, monthly_credits=settings.monthly_credits)


async def close_services(services: Services) -> None:
    """Give every connection back."""
    await services.wire.close()
    services.database.close()


def build_core(services: Services) -> Core:
    """The command core with every command and button."""
    from bot.commands import COMMANDS, PRESSES

    return Core(services, COMMANDS, PRESSES)


def known_commands(locale: str) -> list[CommandInfo]:
    """Every command with its options, without a database: for manifests and documents."""
    from bot.commands import COMMANDS

    return catalog_of(COMMANDS, texts_for(locale), load_registry(), all=True)
