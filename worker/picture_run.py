"""A picture job in the making: progress, checked previews, then each picture judged and stored."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from moderation.marks.facts import LabelProfile
from moderation.pipeline import Content, Surface
from moderation.stages.nudity import bare_from_face
from storage import prices
from storage.cache import keys_of
from storage.endings import Ending
from storage.jobs import Claim, Made
from storage.schema import (
    MAX_SEED,
    Event,
    EventType,
    GenerationStatus,
    ImageSpec,
    JobKind,
    JobStatus,
    Outcome,
    Verdict,
    harshest,
)
from worker.compare import compared
from worker.encode import encode_preview, in_encoder
from worker.engine.errors import BadPicture, OutOfMemory, StepFailed
from worker.engine.outputs import Picture, Progress
from worker.judging import Bench
from worker.marking import finished, remember
from worker.sources import sources_of
from worker.verdicts import rejected, status_of

if TYPE_CHECKING:
    from worker.engine.run import Run
    from worker.generate import Tools

log = logging.getLogger(__name__)

PROGRESS_S = 0.2
"""Shortest time between two progress events of a job: five a second."""


class PictureRun:
    """Collects one picture job: progress and checked previews while it runs, then the pictures."""

    def __init__(
        self,
        tools: Tools,
        claim: Claim,
        spec: ImageSpec,
        run: Run,
        bench: Bench,
        verdict: Verdict,
        profile: LabelProfile = LabelProfile.EU,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """``verdict`` is that of the prompt and of the pictures it starts from; ``notes`` are
        added to every recipe."""
        self._notes = dict(notes or {})
        self._profile = profile
        self._tools = tools
        self._claim = claim
        self._spec = spec
        self._run = run
        self._bench = bench
        self._verdict = verdict
        self._made: list[Made] = []
        self._verdicts: list[Verdict] = [verdict]
        self._previews: list[str] = []
        self._shown: str | None = None
        self._checking: asyncio.Task[None] | None = None
        self._storing: asyncio.Future[str] | None = None
        self._told = 0.0
        self._steps: dict[int, int] = {}

    async def collect(self) -> Ending:
        """Take every output of the run and say what it came to."""
        try:
            async for output in self._run:
                if isinstance(output, Progress):
                    await self._progress(output)
                elif isinstance(output, Picture):
                    await self._picture(output)
            return self._ending()
        except BaseException:
            for made in self._made:
                if made.blob is not None:
                    self._tools.blobs.delete(made.blob)
            raise
        finally:
            if self._checking is not None:
                self._checking.cancel()
            if self._storing is not None:
                await asyncio.wait([self._storing])
            for key in self._previews:
                self._tools.blobs.delete(key)

    async def _progress(self, output: Progress) -> None:
        idle = self._checking is None or self._checking.done()
        # While a preview is being judged the next one is skipped: progress never waits for it.
        # A prompt that veils or holds its picture shows no previews: they could not be veiled.
        if output.preview is not None and idle and self._verdict.outcome is Outcome.ALLOW:
            self._checking = asyncio.create_task(self._preview(output.preview))
        # Pictures of a job step side by side; counted as if one after another, progress never
        # runs backwards.
        self._steps[output.index] = output.step
        done = sum(self._steps.values())
        index = min(done // output.steps, self._spec.count - 1)
        now = asyncio.get_running_loop().time()
        if now - self._told < PROGRESS_S and done < output.steps * self._spec.count:
            return
        self._told = now
        await self._tools.wire.publish(
            Event(
                type=EventType.PROGRESS, job_id=self._claim.job_id, index=index,
                step=done - index * output.steps, steps=output.steps, preview=self._shown,
            )
        )  # fmt: skip

    async def _preview(self, image: Image.Image) -> None:
        verdict = await self._judge(image, Surface.PREVIEW, keep_allowed=False)
        if verdict.outcome is not Outcome.ALLOW:
            return
        data = await in_encoder(encode_preview, image)

        def store() -> str:
            key = self._tools.blobs.put(data, "webp")
            # In the thread, which nobody cancels: a preview of a job that ends in this moment is
            # on disk all the same, and has to be known to be deleted.
            self._previews.append(key)
            return key

        self._storing = asyncio.ensure_future(asyncio.to_thread(store))
        key = await asyncio.shield(self._storing)
        await self._tools.wire.allow_preview(key, self._claim.workspace_id)
        self._shown = key

    async def _judge(
        self, image: Image.Image, surface: Surface, sha256: str | None = None,
        keep_allowed: bool = True,
    ) -> Verdict:  # fmt: skip
        image.load()
        content = Content(
            # Not the negative prompt: who asks to keep nudity out is not asking for it.
            surface=surface,
            image=image,
            # The member's own words too: what was written for them may have lost a word.
            context=tuple(dict.fromkeys((self._spec.prompt, self._claim.spec.prompt))),
        )
        return await self._bench.judge(
            content, sha256=sha256, keep_allowed=keep_allowed,
            also=lambda made: bare_from_face(self._verdict, made),
        )  # fmt: skip

    async def _picture(self, output: Picture) -> None:
        output = await self._like_its_prompt(output)
        if self._claim.again_of is not None:
            told = await compared(self._tools, self._claim, output)
            output = replace(output, recipe={**output.recipe, "again": told})
        began = time.perf_counter()
        verdict = self._verdict | await self._judge(output.image, Surface.OUTPUT, output.sha256)
        self._note("gate", began, output.index)
        self._tools.metrics.judged(str(Surface.OUTPUT), time.perf_counter() - began)
        self._verdicts.append(verdict)
        status = status_of(verdict)
        blob = None
        if status is not GenerationStatus.REMOVED:
            began = time.perf_counter()
            data, suffix = await in_encoder(
                finished, output.image, self._spec, identity=self._tools.identity,
                profile=self._profile, blobs=self._tools.blobs,
                now=self._tools.clock(),
            )  # fmt: skip
            self._note("encode", began, output.index)
            began = time.perf_counter()
            blob = await asyncio.to_thread(self._tools.blobs.put, data, suffix)
            self._note("store", began, output.index)
            await remember(self._tools, output.image, data, self._claim.workspace_id)
        self._made.append(
            Made(
                index=output.index, status=status, seed=output.seed,
                recipe={**output.recipe, **self._notes},
                verdict=verdict.dump(), blob=blob, width=output.image.width,
                height=output.image.height, sha256=output.sha256,
                recipe_key=self._key(output),
            )
        )  # fmt: skip

    def _note(self, name: str, began: float, index: int) -> None:
        """A moment of the job's trace that has just ended."""
        self._run.note(name, time.perf_counter() - began, index=index)

    def _key(self, output: Picture) -> str | None:
        """What the recipe cache will find it by: its own seed counts, were it made again."""
        if "remade" in output.recipe or self._notes:
            # What was written for one member's words is no answer to another's.
            return None
        keys = keys_of(self._spec, self._tools.registry)
        return None if keys is None else keys[output.index]

    async def _like_its_prompt(self, output: Picture) -> Picture:
        """The picture, or the one of the next seed when it is unlike its prompt: made once more."""
        likeness = self._tools.likeness
        if likeness is None or "remade" in output.recipe or self._claim.again_of is not None:
            return output
        if sources_of(self._spec) or not await in_encoder(
            likeness.unlike, output.image, self._spec.prompt
        ):
            return output
        seed = (output.seed + self._spec.count) % (MAX_SEED + 1)
        spec = self._spec.model_copy(update={"seed": seed, "count": 1})
        more = self._tools.engine.submit(self._claim.job_id, spec)
        self._run.joined(more)
        try:
            async for second in more:
                if isinstance(second, Picture):
                    note = {"why": "unlike", "first_seed": output.seed}
                    recipe = {**second.recipe, "remade": note}
                    return replace(second, index=output.index, recipe=recipe)
        except (BadPicture, OutOfMemory, StepFailed) as error:
            # The first one is there and sound: a member is better off with it than with nothing.
            log.warning("job %s: not made again: %s", self._claim.job_id, error)
        return output

    def _ending(self) -> Ending:
        verdict = harshest(self._verdicts)
        kept = [made for made in self._made if made.status is not GenerationStatus.REMOVED]
        if not kept:
            return rejected(
                verdict, tuple(self._made), self._bench.policy, engine_ms=self._run.busy_ms
            )
        card = self._tools.registry.find(self._spec.model, JobKind.IMAGE)
        return Ending(
            status=JobStatus.SUCCEEDED,
            made=tuple(sorted(self._made, key=lambda made: made.index)),
            cost=min(
                prices.pictures_price(self._spec, card, len(kept), self._claim.rate),
                self._claim.reserved,
            ),
            verdict=verdict,
            engine_ms=self._run.busy_ms,
            units=prices.steps_made(self._spec),
        )
