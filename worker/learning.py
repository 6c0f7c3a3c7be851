"""The worker's share of learning: once a day where there is something new, and read by all."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from moderation.learning import keep
from storage.errors import BadInput

if TYPE_CHECKING:
    from worker.generate import Tools

log = logging.getLogger(__name__)

READ_S = 15.0
"""How soon a head that was promoted, or erased, is known here."""
LOOK_S = 3600.0
"""Between two looks for workspaces with enough new decisions."""


async def keep_learning(tools: Tools) -> None:
    """Read what is in force; learn where it is time; erase where learning was switched off."""
    looked = -LOOK_S
    while True:
        await keep.tidy(tools.database)
        await keep.refresh(tools.database, [tools.gate])
        if time.monotonic() - looked >= LOOK_S:
            await learn_where_due(tools)
            looked = time.monotonic()
        await asyncio.sleep(READ_S)


async def learn_where_due(tools: Tools) -> int:
    """One attempt in each workspace that has enough new decisions; returns how many were made."""
    made = 0
    for workspace_id in await keep.due(tools.database, now=tools.clock()):
        try:
            outcome = await keep.learn(tools.database, workspace_id, now=tools.clock())
        except BadInput:
            continue  # switched off in this moment
        made += 1
        log.info("workspace %s learnt: %s %s", workspace_id, outcome.result, outcome.version)
        await keep.refresh(tools.database, [tools.gate])
    return made
