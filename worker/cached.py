"""A job that the recipe cache answers: the stored pictures, judged again by today's policy."""

from __future__ import annotations

import asyncio
import io
import logging
from typing import TYPE_CHECKING

from PIL import Image

from moderation.lists import lists_of
from moderation.pipeline import Content, Surface
from moderation.record import About
from moderation.settings import policy_of
from storage.cache import keys_of, lookup
from storage.endings import Ending
from storage.errors import NotFound
from storage.jobs import Claim, Made
from storage.models import Generation
from storage.schema import GenerationStatus, ImageSpec, JobStatus, Verdict, harshest
from storage.workspaces import settings_of
from worker.judging import Bench
from worker.verdicts import rejected, status_of

if TYPE_CHECKING:
    from worker.generate import Tools

log = logging.getLogger(__name__)


async def from_cache(tools: Tools, claim: Claim) -> Ending | None:
    """What a cached job came to, at no cost; None when something of it has gone meanwhile."""
    spec = claim.spec
    if not isinstance(spec, ImageSpec):
        return None
    keys = keys_of(spec, tools.registry)
    found = None
    if keys is not None:
        found = await tools.database.look(lookup, claim.workspace_id, keys)
    if keys is None or found is None:
        return None
    settings = await tools.database.look(settings_of, claim.workspace_id)
    about = About(claim.workspace_id, claim.member_id, job_id=claim.job_id)
    policy = policy_of(settings, adult=claim.age_restricted)
    bench = Bench(tools, policy, lists_of(settings), about)
    made: list[Made] = []
    verdicts: list[Verdict] = [claim.verdict]
    try:
        for index, (key, old) in enumerate(zip(keys, found, strict=True)):
            data = await asyncio.to_thread(tools.blobs.get, old.blob or "")
            verdict = claim.verdict | await _judge(bench, data, spec, old.sha256)
            verdicts.append(verdict)
            made.append(await _copy(tools, index, key, old, data, verdict))
    except NotFound:
        _discard(tools, made)
        return None
    except BaseException:
        _discard(tools, made)  # the job is tried again, and its pictures are copied again
        raise
    verdict = harshest(verdicts)
    if all(item.status is GenerationStatus.REMOVED for item in made):
        return rejected(verdict, tuple(made), bench.policy, engine_ms=0)
    return Ending(status=JobStatus.SUCCEEDED, made=tuple(made), verdict=verdict)


async def _judge(bench: Bench, data: bytes, spec: ImageSpec, sha256: str | None) -> Verdict:
    image = await asyncio.to_thread(_open, data)
    content = Content(surface=Surface.OUTPUT, image=image, context=(spec.prompt,))
    return await bench.judge(content, sha256=sha256)


def _open(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
        return image.convert("RGB")


async def _copy(
    tools: Tools, index: int, key: str, old: Generation, data: bytes, verdict: Verdict
) -> Made:
    """A generation with bytes of its own: deleting one of the two leaves the other."""
    status = status_of(verdict)
    blob = None
    if status is not GenerationStatus.REMOVED and old.blob is not None:
        suffix = old.blob.rpartition(".")[2]
        blob = await asyncio.to_thread(tools.blobs.put, data, suffix)
    recipe = {name: value for name, value in old.recipe.items() if name != "again"}
    return Made(
        index=index, status=status, seed=old.seed, recipe=recipe | {"cached_from": old.id},
        verdict=verdict.dump(), blob=blob, width=old.width, height=old.height, sha256=old.sha256,
        recipe_key=key,
    )  # fmt: skip


def _discard(tools: Tools, made: list[Made]) -> None:
    for item in made:
        if item.blob is not None:
            tools.blobs.delete(item.blob)
