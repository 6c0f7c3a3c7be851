"""From the engine's outputs to what may be stored: every picture, preview and sentence judged."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from moderation.lists import lists_of
from moderation.marks.facts import LabelProfile, profile_of
from moderation.pii import mask
from moderation.pipeline import Content, Surface
from moderation.record import About
from moderation.settings import policy_of
from storage import prices
from storage.cache import keys_of
from storage.endings import Ending, Exchange
from storage.errors import MemberError, OperatorError
from storage.jobs import Claim, Made
from storage.schema import (
    MAX_SEED,
    AnySpec,
    ChatSpec,
    Event,
    EventType,
    GenerationStatus,
    ImageSpec,
    JobKind,
    JobStatus,
    Outcome,
    Verdict,
    harshest,
    new_id,
)
from storage.workspaces import settings_of
from worker.compare import compared
from worker.encode import encode_preview, in_encoder
from worker.engine.errors import BadPicture, Cancelled, ModelUnavailable, OutOfMemory, StepFailed
from worker.engine.outputs import Answer, Picture, Progress, Restart, Text
from worker.judging import Bench
from worker.marking import finished, remember
from worker.sources import SourceGone, read_sources, sources_of
from worker.verdicts import rejected, status_of
from worker.writing import needs_writing, write_prompt

if TYPE_CHECKING:
    from worker.engine.run import Run
    from worker.generate import Tools

log = logging.getLogger(__name__)

PROGRESS_S = 0.2
"""Shortest time between two progress events of a job: five a second."""
_SENTENCE_END = re.compile(r"[.!?…\n]{1,8}[\"'”’)\]]{0,4}\s|[。！？]")
"""Bounded on purpose: an endless row of dots must not cost more than its length."""


def failed(code: str, run: Run, **params: str) -> Ending:
    """An end without result: nothing is charged."""
    return Ending(
        status=JobStatus.FAILED, error_code=code, error_params=params, engine_ms=run.busy_ms
    )


async def produce(tools: Tools, claim: Claim, run: Run) -> Ending:
    """Run a job to its end. Raises ``Cancelled`` and ``EngineStopped`` for the caller to settle."""
    settings = await tools.database.look(settings_of, claim.workspace_id)
    about = About(claim.workspace_id, claim.member_id, job_id=claim.job_id)
    policy = policy_of(settings, adult=claim.age_restricted)
    bench = Bench(tools, policy, lists_of(settings), about)
    # Only here: they build on this file.
    from worker.composed import ComposedRun, is_composed

    try:
        found = await bench.ask(claim.spec.prompt, claim.verdict)
        if found.flags:
            claim = replace(claim, verdict=claim.verdict | found)
        verdict = claim.verdict
        pictures: Mapping[str, Image.Image] = {}
        if sources_of(claim.spec):
            try:
                pictures, found = await read_sources(bench, claim.spec)
            except SourceGone:
                run.finish()
                return failed("source_gone", run)
            verdict |= found
            if verdict.outcome is Outcome.BLOCK:
                run.finish()
                return rejected(
                    verdict, (), bench.policy, engine_ms=run.busy_ms, code="source_refused"
                )
        spec: AnySpec = claim.spec
        notes: dict[str, Any] = {}
        writes = needs_writing(spec, tools.registry)
        if isinstance(spec, ImageSpec) and writes:
            written = await write_prompt(tools, claim, run, bench)
            notes = written.notes
            spec = spec.model_copy(update={"prompt": written.prompt, "enhance": False})
            run.spec = spec
        if pictures or writes:
            tools.engine.release(run, pictures)
        if isinstance(spec, ImageSpec):
            profile = profile_of(settings)
            return await PictureRun(
                tools, claim, spec, run, bench, verdict, profile, notes
            ).collect()
        if is_composed(spec):
            return await ComposedRun(tools, claim, spec, run, bench).collect()
        return await AnswerRun(tools, claim, spec, run, bench).collect()
    except ModelUnavailable as error:
        log.error("%s", error)
        return failed("model_unavailable", run)
    except MemberError as error:
        # What only the loaded model could tell: a sampler it cannot use, say.
        return failed(error.code, run, **{name: str(value) for name, value in error.params.items()})
    except BadPicture:
        return failed("bad_picture", run)
    except OutOfMemory:
        return failed("too_large", run)
    except StepFailed as error:
        reference = new_id()[-8:]
        log.error("bug %s in job %s", reference, claim.job_id, exc_info=error)
        return failed("bug", run, reference=reference)
    except OperatorError as error:
        log.error("%s", error)
        return failed("operator", run)


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
        key = await asyncio.to_thread(self._tools.blobs.put, data, "webp")
        self._previews.append(key)
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
            context=(self._spec.prompt,),
        )
        return await self._bench.judge(content, sha256=sha256, keep_allowed=keep_allowed)

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
        async for second in more:
            if isinstance(second, Picture):
                note = {"why": "unlike", "first_seed": output.seed}
                recipe = {**second.recipe, "remade": note}
                return replace(second, index=output.index, recipe=recipe)
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


def without_turns(recipe: dict[str, Any]) -> dict[str, Any]:
    """The conversation stays in the job's spec, where deleting a message can reach it."""
    return {key: value for key, value in recipe.items() if key != "turns"}


class Stopped(Cancelled):
    """An answer was stopped; ``ending`` is what it came to until then."""

    def __init__(self, ending: Ending) -> None:
        super().__init__("stopped")
        self.ending = ending


class AnswerRun:
    """Collects one answer: whole sentences are released after their check, never before."""

    def __init__(self, tools: Tools, claim: Claim, spec: ChatSpec, run: Run, bench: Bench) -> None:
        self._tools = tools
        self._claim = claim
        self._spec = spec
        self._run = run
        self._bench = bench
        self._text = ""
        self._released = 0
        self._seen = 0
        """Characters that somebody may have read."""
        self._verdict = claim.verdict

    async def collect(self) -> Ending:
        """Take every piece of the run and say what it came to."""
        end: Answer | None = None
        try:
            async for output in self._run:
                if isinstance(output, Text):
                    self._text += output.text
                    if not await self._release(final=False):
                        break
                elif isinstance(output, Restart):
                    self._text, self._released = "", 0
                elif isinstance(output, Answer):
                    end = output
        except Cancelled as stop:
            raise Stopped(self._stopped()) from stop
        if end is not None:
            self._text = end.text
            await self._release(final=True)
        else:
            self._run.cancel()
        return self._ending(end)

    def _stopped(self) -> Ending:
        """Stopped by the member: what was read stays and is paid; before that, nothing."""
        text = self._text[: self._released].rstrip()
        if not text or not self._verdict.allowed:
            return Ending(
                status=JobStatus.CANCELLED, verdict=self._verdict, engine_ms=self._run.busy_ms
            )
        self._text = text
        return self._ending(None)

    async def _release(self, *, final: bool) -> bool:
        """Judge and publish what is complete; False when the answer must stop here.

        What is held is still written to its end, unseen, so that a moderator reads all of it.
        """
        upto = len(self._text) if final else self._complete()
        if upto <= self._released and not final:
            return True
        # The whole text so far, since a finding may span sentences.
        part = self._text[:upto]
        if part.strip():
            content = Content(surface=Surface.ANSWER, text=part, context=(self._spec.prompt,))
            self._verdict |= await self._bench.judge(content, keep_allowed=final)
        shown = self._verdict.allowed
        if shown:
            self._released = upto
            self._seen = max(self._seen, len(part.strip()))
        await self._tools.wire.publish(
            Event(
                type=EventType.TEXT, job_id=self._claim.job_id,
                # A late finding withdraws what was shown.
                text=mask(part) if shown else "",
            )
        )  # fmt: skip
        return self._verdict.outcome is not Outcome.BLOCK

    def _complete(self) -> int:
        """Length of the text up to the last finished sentence."""
        last = self._released
        for match in _SENTENCE_END.finditer(self._text, self._released):
            last = match.end()
        return last

    def _ending(self, end: Answer | None) -> Ending:
        status = status_of(self._verdict)
        if status is GenerationStatus.BLURRED:
            # A blur veils pictures. For words the taxonomy says label, not hide.
            status = GenerationStatus.VISIBLE
        kept = status is not GenerationStatus.REMOVED
        recipe = without_turns(end.recipe) if end is not None else {"finish": "stopped"}
        taken_back = self._seen > 0 and status is not GenerationStatus.VISIBLE
        if taken_back:
            recipe = {**recipe, "withdrawn": True}  # the card says so
        made = Made(
            index=0, status=status, seed=self._spec.seed, recipe=recipe,
            verdict=self._verdict.dump(), text=mask(self._text) if kept else None,
        )  # fmt: skip
        if not kept:
            return rejected(
                self._verdict, (made,), self._bench.policy, engine_ms=self._run.busy_ms,
                code="answer_withdrawn" if taken_back else "output_refused",
            )  # fmt: skip
        card = self._tools.registry.find(self._spec.model, JobKind.CHAT)
        tokens = end.tokens_out if end is not None else len(self._text.split())
        read = end.tokens_in if end is not None else 0
        cost = prices.tokens_price(tokens, read, card, self._claim.rate)
        visible = status is GenerationStatus.VISIBLE
        return Ending(
            status=JobStatus.SUCCEEDED, made=(made,),
            cost=min(cost, self._claim.reserved),
            verdict=self._verdict, engine_ms=self._run.busy_ms,
            units=tokens if end is not None else 0,
            exchange=Exchange(self._spec.thread, mask(self._spec.prompt), mask(self._text))
            if visible
            else None,
        )  # fmt: skip
